#![expect(
    clippy::disallowed_methods,
    reason = "shell: makes and removes network namespaces"
)]
//! The network of the stage: a node, the metadata service behind it, and pods in front of it.
//!
//! ```text
//!   imds ── node ─┬─ pod 1
//!  (link-local    ├─ pod 2
//!   addresses)    └─ hop ── pod 3      one routed hop further
//! ```
//!
//! Every piece is a namespace named `plimsoll-<run>-…`; nothing is added to the machine's own
//! namespace, and no packet leaves these. It does not know what runs in them.

use std::fs::{self, File};
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsFd;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, anyhow, bail};

use crate::pods::Place;

/// Time-to-live of a token answer: enough for a pod behind the node, one too few behind `hop`.
pub const HOP_LIMIT: u8 = 2;
/// IPv4 and IPv6 addresses of the instance metadata service.
pub const IMDS: [&str; 2] = ["169.254.169.254", "fd00:ec2::254"];
/// IPv4 and IPv6 addresses of EKS Pod Identity.
pub const POD_IDENTITY: [&str; 2] = ["169.254.170.23", "fd00:ec2::23"];

const NAMES: &str = "/run/netns";
const PODS_AT_MOST: u8 = 250;

/// The namespaces of one run; removed when dropped.
#[derive(Debug)]
pub struct Network {
    prefix: String,
    pods: u8,
}

impl Network {
    /// Makes node, hop and imds.
    ///
    /// # Errors
    /// `ip` is missing or refuses; what was made is removed.
    pub fn build(run: &str) -> Result<Self> {
        let network = Self {
            prefix: format!("plimsoll-{run}-"),
            pods: 0,
        };
        let [node, hop, imds] = ["node", "hop", "imds"].map(|name| network.name(name));
        for name in [&node, &hop, &imds] {
            add(name)?;
        }
        batch(
            &node,
            &link("to-imds", &imds, "100.64.0.1/30", "fd00:64::1/64"),
        )?;
        batch(
            &node,
            &link("to-hop", &hop, "100.64.0.5/30", "fd00:64:1::1/64"),
        )?;
        batch(
            &imds,
            &end("100.64.0.2/30", "100.64.0.1", "fd00:64::2/64", "fd00:64::1"),
        )?;
        batch(
            &hop,
            &end(
                "100.64.0.6/30",
                "100.64.0.5",
                "fd00:64:1::2/64",
                "fd00:64:1::1",
            ),
        )?;
        for [v4, v6] in [IMDS, POD_IDENTITY] {
            batch(
                &imds,
                &format!("addr add {v4}/32 dev lo\n-6 addr add {v6}/128 dev lo nodad\n"),
            )?;
            batch(
                &node,
                &format!(
                    "route add {v4}/32 via 100.64.0.2\n-6 route add {v6}/128 via fd00:64::2\n"
                ),
            )?;
        }
        for name in [&node, &hop] {
            forward(name)?;
        }
        Ok(network)
    }

    /// Full name of one namespace of this run.
    pub fn name(&self, part: &str) -> String {
        format!("{}{part}", self.prefix)
    }

    /// Gives a pod its namespace and address; a host-network pod gets the node's.
    ///
    /// # Errors
    /// `ip` refuses, or there are 250 pods already.
    pub fn place(&mut self, place: Place) -> Result<(String, Ipv4Addr)> {
        let router = match place {
            Place::Node => return Ok((self.name("node"), Ipv4Addr::new(100, 64, 0, 1))),
            Place::BesideService => return Ok((self.name("imds"), POD_IDENTITY[0].parse()?)),
            Place::Pod => self.name("node"),
            Place::BehindHop => self.name("hop"),
        };
        let n = self
            .pods
            .checked_add(1)
            .filter(|n| *n <= PODS_AT_MOST)
            .context("too many pods")?;
        self.pods = n;
        let pod = self.name(&format!("pod{n}"));
        add(&pod)?;
        batch(
            &router,
            &link(
                &format!("pod{n}"),
                &pod,
                &format!("100.65.{n}.1/24"),
                &format!("fd00:65:{n}::1/64"),
            ),
        )?;
        batch(
            &pod,
            &end(
                &format!("100.65.{n}.2/24"),
                &format!("100.65.{n}.1"),
                &format!("fd00:65:{n}::2/64"),
                &format!("fd00:65:{n}::1"),
            ),
        )?;
        if place == Place::BehindHop {
            batch(
                &self.name("node"),
                &format!(
                    "route add 100.65.{n}.0/24 via 100.64.0.6\n-6 route add fd00:65:{n}::/64 via fd00:64:1::2\n"
                ),
            )?;
        }
        Ok((pod, Ipv4Addr::new(100, 65, n, 2)))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove_prefixed(&self.prefix);
    }
}

/// A pod's namespace beside the machine's own, and not on the stage: whoever is in it speaks with what runs on
/// the machine, as a pod does with another node. It adds an interface to the machine: for one of the lab.
#[derive(Debug)]
pub struct Beside {
    /// Name of the namespace.
    pub name: String,
    /// Address of the machine, as it is seen from there.
    pub machine: Ipv4Addr,
    /// Address of the pod.
    pub pod: Ipv4Addr,
}

impl Beside {
    /// Makes it.
    ///
    /// # Errors
    /// `ip` is missing or refuses; what was made is removed.
    pub fn build(run: &str) -> Result<Self> {
        let beside = Self {
            name: format!("plimsoll-{run}-beside"),
            machine: Ipv4Addr::new(100, 66, 0, 1),
            pod: Ipv4Addr::new(100, 66, 0, 2),
        };
        let Self { name, machine, pod } = &beside;
        add(name)?;
        let here = format!(
            "link add to-{run} type veth peer name eth0 netns {name}\n\
             addr add {machine}/30 dev to-{run}\nlink set to-{run} up\n"
        );
        ip(&["-batch", "-"], Some(&here))?;
        let there = format!(
            "addr add {pod}/30 dev eth0\nlink set eth0 up\nroute add default via {machine}\n"
        );
        batch(name, &there)?;
        Ok(beside)
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // The interface goes with its other end.
        remove_prefixed(&self.name);
    }
}

/// Removes every namespace whose name starts with `prefix`; only ever called with a run's own. Whether
/// none is left.
pub fn remove_prefixed(prefix: &str) -> bool {
    for name in prefixed(prefix) {
        // A namespace that is gone already is what we want.
        drop(ip(&["netns", "del", &name], None));
    }
    prefixed(prefix).is_empty()
}

fn prefixed(prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(NAMES).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(prefix) && name.starts_with("plimsoll-"))
        .collect()
}

/// Runs `work` on a thread inside a namespace: sockets opened there stay there.
///
/// # Errors
/// The namespace cannot be entered, or `work` failed.
pub fn inside<T: Send + 'static>(
    namespace: &str,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let path = format!("{NAMES}/{namespace}");
    let handle = std::thread::spawn(move || {
        enter(&path)?;
        work()
    });
    handle
        .join()
        .map_err(|_| anyhow!("the thread in {namespace} panicked"))?
}

/// Moves the calling thread into the namespace at `path`.
///
/// # Errors
/// The file cannot be opened or the kernel refuses.
pub fn enter(path: &str) -> Result<()> {
    let file = File::open(path).with_context(|| format!("opening namespace {path}"))?;
    rustix::thread::move_into_link_name_space(
        file.as_fd(),
        Some(rustix::thread::LinkNameSpaceType::Network),
    )
    .with_context(|| format!("entering namespace {path}"))
}

/// Whether two addresses are of one pod: the numbers in them tell.
pub fn same_pod(v4: Ipv4Addr, client: IpAddr) -> bool {
    match client {
        IpAddr::V4(client) => client == v4,
        IpAddr::V6(client) => {
            let [_, kind, n, _] = v4.octets();
            let segments = client.segments();
            // The third group is written as the number looks in decimal: pod 12 is fd00:65:12::2.
            let third = u16::from_str_radix(&n.to_string(), 16).unwrap_or(0);
            let second = u16::from_str_radix(&kind.to_string(), 16).unwrap_or(0);
            segments[0] == 0xfd00 && segments[1] == second && segments[2] == third
        }
    }
}

fn add(name: &str) -> Result<()> {
    ip(&["netns", "add", name], None)?;
    // Addresses are usable at once: a load that starts now must not wait for duplicate detection.
    set(name, &["/proc/sys/net/ipv6/conf/default/accept_dad"], "0")?;
    batch(name, "link set lo up\n")
}

/// Two ends of a cable: ours, with its addresses, and `eth0` in the peer's namespace.
fn link(name: &str, peer: &str, v4: &str, v6: &str) -> String {
    format!(
        "link add {name} type veth peer name eth0 netns {peer}\n\
         addr add {v4} dev {name}\n-6 addr add {v6} dev {name} nodad\nlink set {name} up\n"
    )
}

fn end(v4: &str, gateway: &str, v6: &str, gateway6: &str) -> String {
    format!(
        "addr add {v4} dev eth0\n-6 addr add {v6} dev eth0 nodad\nlink set eth0 up\n\
         route add default via {gateway}\n-6 route add default via {gateway6}\n"
    )
}

fn forward(name: &str) -> Result<()> {
    set(
        name,
        &[
            "/proc/sys/net/ipv4/ip_forward",
            "/proc/sys/net/ipv6/conf/all/forwarding",
        ],
        "1",
    )
}

/// `/proc/sys/net` shows the namespace of the thread that opens it.
fn set(name: &str, paths: &'static [&'static str], value: &'static str) -> Result<()> {
    inside(name, move || {
        for path in paths {
            fs::write(path, value).with_context(|| format!("writing {path}"))?;
        }
        Ok(())
    })
}

/// Lines for `ip -batch`; those that begin with `-6` are of the other family.
fn batch(namespace: &str, lines: &str) -> Result<()> {
    for (family, text) in split_families(lines) {
        if !text.is_empty() {
            ip(&["-n", namespace, family, "-batch", "-"], Some(&text))?;
        }
    }
    Ok(())
}

fn split_families(lines: &str) -> [(&'static str, String); 2] {
    let mut v4 = String::new();
    let mut v6 = String::new();
    for line in lines.lines() {
        match line.strip_prefix("-6 ") {
            Some(rest) => v6 = v6 + rest + "\n",
            None => v4 = v4 + line + "\n",
        }
    }
    [("-4", v4), ("-6", v6)]
}

fn ip(args: &[&str], input: Option<&str>) -> Result<()> {
    let mut child = Command::new("ip")
        .args(args)
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting ip (package iproute2)")?;
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(text.as_bytes()).context("writing to ip")?;
    }
    let output = child.wait_with_output().context("waiting for ip")?;
    if !output.status.success() {
        bail!(
            "ip {}: {} (input: {})",
            args.join(" "),
            String::from_utf8_lossy(&output.stderr).trim(),
            input.unwrap_or("none").trim()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_split_by_family() {
        let [(_, v4), (_, v6)] = split_families("link set lo up\n-6 addr add x\naddr add y\n");
        assert_eq!(v4, "link set lo up\naddr add y\n");
        assert_eq!(v6, "addr add x\n");
    }

    #[test]
    fn a_pod_is_known_by_either_address() {
        let v4 = "100.65.12.2".parse().unwrap();
        for (client, same) in [
            ("100.65.12.2", true),
            ("100.65.11.2", false),
            ("fd00:65:12::2", true),
            ("fd00:65:1::2", false),
            ("fd00:64::1", false),
        ] {
            assert_eq!(same_pod(v4, client.parse().unwrap()), same, "{client}");
        }
        assert!(same_pod(
            "100.64.0.1".parse().unwrap(),
            "fd00:64::1".parse().unwrap()
        ));
    }
}
