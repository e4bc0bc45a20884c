#![expect(
    clippy::disallowed_methods,
    reason = "shell: unpacks images, runs their programs in a network of their own"
)]
//! Tries images without an engine: reads the layout back, unpacks its layers as a runtime would, and runs each program
//! with that folder as its root, in a network namespace with nothing but a loopback and a name server.
//!
//! The agent finds the collector by the name that the manifests give it, through search domains and `ndots:5` as the
//! kubelet writes them: a static program whose C library could not resolve names would fail here.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use super::layout::{Layout, digest};
use super::names;
use super::plan::{AGENT, COLLECTOR, Image};
use super::sbom::Crate;
use crate::shell;

/// Bad configuration: what both programs promise to end with.
const EXIT_CONFIG: i32 = 64;
/// For a program to answer, to send, or to end.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(100);
/// The agent's name for its node.
const NODE: &str = "image-check";
/// Bytes of the list of crates in a program at the most.
const MAX_LIST_BYTES: usize = 8 << 20;

/// Reads a layout back and unpacks it, every digest and size compared; the configuration.
pub(crate) fn unpack(layout: &Layout, into: &Path) -> Result<Value> {
    let index = json(file(layout, "index.json")?)?;
    let manifest = json(blob(layout, &index["manifests"][0])?)?;
    let config = json(blob(layout, &manifest["config"])?)?;
    let layers = manifest["layers"].as_array().context("layers")?;
    let ids = config["rootfs"]["diff_ids"]
        .as_array()
        .context("diff_ids")?;
    ensure!(
        layers.len() == ids.len(),
        "{} layers, {} diff_ids",
        layers.len(),
        ids.len()
    );
    for (layer, id) in layers.iter().zip(ids) {
        let mut tar = Vec::new();
        flate2::read::GzDecoder::new(blob(layout, layer)?).read_to_end(&mut tar)?;
        ensure!(
            id.as_str() == Some(&digest(&tar)),
            "a layer is not its diff_id"
        );
        let mut archive = tar::Archive::new(tar.as_slice());
        archive.set_preserve_ownerships(shell::is_root());
        archive.set_preserve_permissions(true);
        archive
            .unpack(into)
            .with_context(|| format!("unpacking into {}", into.display()))?;
    }
    Ok(config)
}

fn json(bytes: &[u8]) -> Result<Value> {
    serde_json::from_slice(bytes).context("JSON of an image")
}

fn file<'a>(layout: &'a Layout, path: &str) -> Result<&'a [u8]> {
    let found = layout.files.get(path);
    found
        .map(Vec::as_slice)
        .with_context(|| format!("the layout has no {path}"))
}

fn blob<'a>(layout: &'a Layout, descriptor: &Value) -> Result<&'a [u8]> {
    let name = descriptor["digest"]
        .as_str()
        .context("a descriptor has a digest")?;
    let bytes = file(layout, &format!("blobs/{}", name.replace(':', "/")))?;
    ensure!(digest(bytes) == name, "{name} is of another digest");
    ensure!(
        descriptor["size"] == bytes.len(),
        "{name} is of another size"
    );
    Ok(bytes)
}

/// Whether a program carries the list of its crates, and all that are linked into it are on that.
pub(crate) fn lists_its_crates(program: &[u8], linked: &BTreeSet<Crate>) -> Result<()> {
    let list = auditable_info::json_from_slice(program, MAX_LIST_BYTES)
        .context("the list of crates that cargo auditable puts into a program")?;
    let list = json(list.as_bytes())?;
    let packages = list["packages"].as_array().context("packages")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let listed: BTreeSet<Crate> = packages
        .iter()
        .map(|one| (text(&one["name"]), text(&one["version"])))
        .collect();
    let unlisted: Vec<&Crate> = linked.difference(&listed).collect();
    ensure!(
        unlisted.is_empty(),
        "linked, and not on a program's list: {unlisted:?}"
    );
    Ok(())
}

/// Runs the programs below these folders, each as the root of its image's.
pub(crate) fn run(folder: &Path) -> Result<()> {
    let me = std::env::current_exe().context("where xtask is")?;
    let mut command = shell::command("unshare", &["--net", "--mount"]);
    if !shell::is_root() {
        command.arg("--map-root-user");
    }
    command
        .arg("--")
        .arg(me)
        .arg("image")
        .arg("--inside")
        .arg(folder);
    shell::run(&mut command).context("trying the images")
}

/// The part of [`run`] that has a network of its own.
pub(crate) fn inside(folder: &Path) -> Result<()> {
    shell::run(&mut shell::command("ip", &["link", "set", "lo", "up"]))?;
    let names = names::Server::start()?;
    let agent = Root::new(folder, &AGENT)?;
    let collector = Root::new(folder, &COLLECTOR)?;
    for root in [&agent, &collector] {
        root.answers()?;
    }
    together(&agent, &collector)?;
    names.was_asked()
}

/// An unpacked image.
struct Root {
    image: &'static Image,
    folder: PathBuf,
}

impl Root {
    /// Puts into it what the kubelet and the runtime put into every container, and the host's folders.
    fn new(folder: &Path, image: &'static Image) -> Result<Self> {
        let root = Self {
            image,
            folder: folder.join(image.folder),
        };
        root.write("etc/hosts", "127.0.0.1 localhost\n")?;
        root.write("etc/resolv.conf", names::RESOLV_CONF)?;
        for (from, to) in [
            ("/dev", "dev"),
            ("/proc", "host/proc"),
            ("/proc", "proc"),
            ("/sys", "sys"),
            ("/sys/fs/cgroup", "host/cgroup"),
        ] {
            let to = root.folder.join(to);
            std::fs::create_dir_all(&to).with_context(|| to.display().to_string())?;
            rustix::mount::mount_bind_recursive(from, &to)
                .with_context(|| format!("{from} at {}", to.display()))?;
        }
        Ok(root)
    }

    fn write(&self, path: &str, text: &str) -> Result<()> {
        let path = self.folder.join(path);
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        }
        std::fs::write(&path, text).with_context(|| path.display().to_string())
    }

    /// A program of it, by its image's user where we may choose.
    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = shell::command("chroot", &[]);
        let users = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
        let all = users.split_whitespace().next_back() == Some("4294967295");
        if all {
            command.arg(format!("--userspec={0}:{0}", self.image.user));
            command.arg("--groups=");
        }
        command
            .arg(&self.folder)
            .arg(format!("/{program}"))
            .args(args);
        command
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }

    fn output(&self, program: &str, args: &[&str]) -> Result<Output> {
        let output = self.command(program, args).output();
        output.with_context(|| format!("starting {program}"))
    }

    /// Every program says its version; the first one says that its configuration is missing.
    fn answers(&self) -> Result<()> {
        for program in self.image.programs {
            let output = self.output(program, &["--version"])?;
            ensure!(
                output.status.success(),
                "{program} --version: {}",
                said(&output)
            );
        }
        let output = self.output(self.image.name, self.image.arguments)?;
        let names_it = said(&output).contains("/etc/plimsoll/");
        ensure!(
            output.status.code() == Some(EXIT_CONFIG) && names_it,
            "{} without its configuration: {}, {}",
            self.image.name,
            output.status,
            said(&output)
        );
        Ok(())
    }

    fn start(&self) -> Result<Running> {
        let name = self.image.name;
        let log = self.folder.join("log");
        let file = std::fs::File::create(&log).with_context(|| log.display().to_string())?;
        let mut command = self.command(name, self.image.arguments);
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn();
        let child = child.with_context(|| format!("starting {name}"))?;
        Ok(Running { name, child, log })
    }
}

fn said(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).trim().to_owned()
}

/// A program that ends with its value.
struct Running {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Running {
    /// Waits until something is so; an error if the program ends or it takes too long.
    fn until(&mut self, what: &str, mut is_so: impl FnMut() -> bool) -> Result<()> {
        let began = Instant::now();
        while !is_so() {
            let ended = self.child.try_wait().context("waiting")?;
            if ended.is_some() || began.elapsed() > PATIENCE {
                let log = std::fs::read_to_string(&self.log).unwrap_or_default();
                bail!("{}: not {what} ({ended:?}):\n{log}", self.name);
            }
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Asks it to end, as the kubelet does.
    fn stop(mut self) -> Result<()> {
        let id = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(id, rustix::process::Signal::TERM).context("SIGTERM")?;
        let began = Instant::now();
        loop {
            match self.child.try_wait().context("waiting")? {
                Some(status) if status.success() => return Ok(()),
                Some(status) => bail!("{} after SIGTERM: {status}", self.name),
                None if began.elapsed() > PATIENCE => bail!("{} outlives SIGTERM", self.name),
                None => std::thread::sleep(PAUSE),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Gone already, or by now.
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// The agent finds the collector by its name and sends to it; the command line sees that.
fn together(agent: &Root, collector: &Root) -> Result<()> {
    collector.write(
        "etc/plimsoll/collector.yaml",
        "data: { path: /var/lib/plimsoll/collector }\n",
    )?;
    let config = format!(
        "node: {NODE}\nhost: {{ proc: /host/proc, cgroup: /host/cgroup }}\nkernel: {{ enabled: false }}\n\
         export: {{ endpoint: 'http://{}:4317', insecure: true }}\n",
        names::COLLECTOR
    );
    agent.write("etc/plimsoll/agent.yaml", &config)?;

    let output = agent.output(AGENT.name, &["check", "-o", "json"])?;
    let check = json(&output.stdout);
    let programs = check
        .as_ref()
        .ok()
        .and_then(|check| check["programs"].as_array());
    let built_in = programs.is_some_and(|programs| {
        let reasons = programs
            .iter()
            .filter_map(|program| program["reason"].as_str());
        !programs.is_empty()
            && !reasons
                .into_iter()
                .any(|reason| reason.contains("built without"))
    });
    ensure!(
        built_in,
        "plimsoll-agent check: {}, {}",
        output.status,
        said(&output)
    );

    let mut receiver = collector.start()?;
    receiver.until("alive at /livez", || {
        let asked = ureq::get("http://127.0.0.1:8080/livez").call();
        asked.is_ok_and(|answer| answer.status() == 200)
    })?;
    let mut sender = agent.start()?;
    let ask = [
        "audit",
        "accounting",
        "--server",
        "http://localhost:8080",
        "-o",
        "json",
    ];
    sender.until("seen by the collector", || {
        let output = collector.output("plimsoll", &ask);
        output.is_ok_and(|output| said(&output).contains(NODE))
    })?;
    sender.stop()?;
    receiver.stop()
}
