//! What the scenarios need of the host, made for them and taken away afterwards: cgroups, network
//! namespaces, sysctls. Everything carries the test's process id in its name.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

static COUNT: AtomicU32 = AtomicU32::new(0);

/// A name that no other test or process uses.
pub(crate) fn unique() -> String {
    format!(
        "plk{}-{}",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    )
}

/// A cgroup of the v2 hierarchy.
pub(crate) struct Cgroup {
    /// Its directory.
    pub(crate) path: PathBuf,
    /// Its id, which is the directory's inode.
    pub(crate) id: u64,
}

impl Cgroup {
    /// Makes one below the root.
    pub(crate) fn make(root: &Path) -> Self {
        let path = root.join(unique());
        fs::create_dir(&path).unwrap();
        let id = fs::metadata(&path).unwrap().ino();
        Self { path, id }
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A child that has just ended can keep it busy for a moment.
        for _ in 0..200 {
            if fs::remove_dir(&self.path).is_ok() {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Two network namespaces with a cable between them: a pod's, and one that owns the metadata
/// addresses.
pub(crate) struct Network {
    /// The pod's namespace.
    pub(crate) pod: String,
    /// The namespace of the metadata service.
    pub(crate) imds: String,
}

impl Network {
    pub(crate) fn make() -> Self {
        let name = unique();
        let network = Self {
            pod: format!("{name}p"),
            imds: format!("{name}i"),
        };
        let (pod, imds) = (&network.pod, &network.imds);
        ip(&format!("netns add {pod}"));
        ip(&format!("netns add {imds}"));
        ip(&format!(
            "-n {pod} link add eth0 type veth peer name eth0 netns {imds}"
        ));
        for (namespace, v4, v6) in [
            (pod, "10.66.0.1", "fd66::1"),
            (imds, "10.66.0.2", "fd66::2"),
        ] {
            ip(&format!("-n {namespace} link set lo up"));
            ip(&format!("-n {namespace} addr add {v4}/24 dev eth0"));
            ip(&format!(
                "-n {namespace} -6 addr add {v6}/64 dev eth0 nodad"
            ));
            ip(&format!("-n {namespace} link set eth0 up"));
        }
        ip(&format!("-n {imds} addr add 169.254.169.254/32 dev lo"));
        ip(&format!(
            "-n {imds} -6 addr add fd00:ec2::254/128 dev lo nodad"
        ));
        ip(&format!(
            "-n {pod} route add 169.254.169.254/32 via 10.66.0.2"
        ));
        ip(&format!(
            "-n {pod} -6 route add fd00:ec2::254/128 via fd66::2"
        ));
        network
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in [&self.pod, &self.imds] {
            drop(
                Command::new("ip")
                    .args(["netns", "del", namespace])
                    .status(),
            );
        }
    }
}

fn ip(arguments: &str) {
    let output = Command::new("ip")
        .args(arguments.split(' '))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "ip {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Moves the calling thread into a named network namespace. Panics if it is still in the machine's
/// own: nothing is ever sent to a metadata address from there.
pub(crate) fn enter(namespace: &str) {
    let before = fs::read_link("/proc/thread-self/ns/net").unwrap();
    let file = fs::File::open(Path::new("/run/netns").join(namespace)).unwrap();
    move_into_link_name_space(
        std::os::fd::AsFd::as_fd(&file),
        Some(LinkNameSpaceType::Network),
    )
    .unwrap();
    let own = fs::read_link("/proc/thread-self/ns/net").unwrap();
    assert_ne!(own, before, "still in the machine's own namespace");
    assert_eq!(
        own,
        Path::new(&format!("net:[{}]", file.metadata().unwrap().ino()))
    );
}

/// Starts this binary again as a workload.
pub(crate) fn workload(arguments: &[&str]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// A sysctl that gets its value back.
pub(crate) struct Sysctl {
    path: PathBuf,
    before: String,
}

impl Sysctl {
    /// Sets it, if the kernel lets us.
    pub(crate) fn set(name: &str, value: &str) -> std::io::Result<Self> {
        let path = Path::new("/proc/sys").join(name);
        let before = fs::read_to_string(&path)?;
        fs::write(&path, value)?;
        Ok(Self { path, before })
    }
}

impl Drop for Sysctl {
    fn drop(&mut self) {
        drop(fs::write(&self.path, self.before.trim()));
    }
}
