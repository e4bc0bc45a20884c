#![expect(
    clippy::disallowed_methods,
    reason = "shell: makes and removes cgroups of the stage"
)]
//! The cgroups of the stage: made where the v2 tree is mounted, removed at the end.
//!
//! Only folders made here are limited, killed in or removed. A folder that was there already is
//! walked through and left alone, except in the lab, where the whole machine is ours and
//! controllers may be enabled from the root. It does not know what a pod is.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Controllers that the stage uses where the tree offers them.
const WANTED: [&str; 4] = ["cpu", "io", "memory", "pids"];
/// Wait for killed processes to leave their cgroup.
const EMPTY_WITHIN: Duration = Duration::from_secs(5);

/// Limits of one cgroup; `None` leaves the kernel's "max".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// CPU time per 100 ms, microseconds.
    pub cpu_quota_usec: Option<u64>,
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
}

/// The v2 tree, and the folders made in it.
#[derive(Debug)]
pub struct Cgroups {
    root: PathBuf,
    controllers: BTreeSet<String>,
    own_root: bool,
    made: Vec<PathBuf>,
}

/// Where cgroup v2 is mounted: `/sys/fs/cgroup`, or below it on a hybrid host.
///
/// # Errors
/// `/proc/self/mounts` cannot be read or names no cgroup2 mount.
pub fn mounted_root() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("reading /proc/self/mounts")?;
    cgroup2_mount(&mounts)
        .map(PathBuf::from)
        .context("no cgroup v2 tree is mounted")
}

fn cgroup2_mount(mounts: &str) -> Option<&str> {
    mounts.lines().find_map(|line| {
        let mut fields = line.split(' ').skip(1);
        let target = fields.next()?;
        (fields.next()? == "cgroup2").then_some(target)
    })
}

impl Cgroups {
    /// Opens the tree at `root`. With `own_root` controllers are enabled from the root down.
    ///
    /// # Errors
    /// The root has no `cgroup.controllers`, or enabling fails.
    pub fn open(root: PathBuf, own_root: bool) -> Result<Self> {
        let path = root.join("cgroup.controllers");
        let offered =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let offered: BTreeSet<String> = offered.split_whitespace().map(str::to_owned).collect();
        let controllers: BTreeSet<String> = WANTED
            .iter()
            .map(|&c| c.to_owned())
            .filter(|c| offered.contains(c))
            .collect();
        if own_root {
            enable(&root, &controllers)?;
        }
        Ok(Self {
            root,
            controllers,
            own_root,
            made: Vec::new(),
        })
    }

    /// The mount point.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Whether limits of this controller take effect in cgroups made here.
    pub fn has(&self, controller: &str) -> bool {
        self.controllers.contains(controller)
    }

    /// Makes `relative` and its missing parents and returns its path.
    ///
    /// # Errors
    /// The kernel refuses a folder or a controller.
    pub fn make(&mut self, relative: &str) -> Result<PathBuf> {
        let mut path = self.root.clone();
        let parts: Vec<&str> = relative
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        for (depth, part) in parts.iter().enumerate() {
            path.push(part);
            let fresh = match fs::create_dir(&path) {
                Ok(()) => {
                    self.made.push(path.clone());
                    true
                }
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => false,
                Err(e) => {
                    return Err(e).with_context(|| format!("making cgroup {}", path.display()));
                }
            };
            let parent = depth + 1 < parts.len();
            if parent && (fresh || self.own_root || self.made.contains(&path)) {
                let available = read_words(&path.join("cgroup.controllers"))?;
                let usable = self.controllers.intersection(&available).cloned().collect();
                enable(&path, &usable)?;
            }
        }
        Ok(path)
    }

    /// Sets limits as far as the controllers are there; says which were set.
    ///
    /// # Errors
    /// A limit file exists and refuses the value.
    pub fn limit(&self, path: &Path, limits: Limits) -> Result<Vec<&'static str>> {
        let mut set = Vec::new();
        if let Some(quota) = limits.cpu_quota_usec
            && path.join("cpu.max").exists()
        {
            write(&path.join("cpu.max"), &format!("{quota} 100000"))?;
            set.push("cpu.max");
        }
        if let Some(bytes) = limits.memory_bytes
            && path.join("memory.max").exists()
        {
            write(&path.join("memory.max"), &bytes.to_string())?;
            // As kubelet does on cgroup v2 since Kubernetes 1.28.
            write(&path.join("memory.oom.group"), "1")?;
            set.push("memory.max");
        }
        Ok(set)
    }

    /// Kills what runs in a cgroup made here and removes it. Absent is fine.
    ///
    /// # Errors
    /// The folder is not of the stage, or stays busy.
    pub fn remove(&mut self, path: &Path) -> Result<()> {
        if !self.made.iter().any(|made| made == path) {
            bail!("{} was not made by the stage", path.display());
        }
        remove_tree(path)?;
        self.made.retain(|made| !made.starts_with(path));
        Ok(())
    }

    /// Removes every folder made here, deepest first. Folders that another run uses meanwhile stay.
    pub fn remove_all(&mut self) -> Vec<anyhow::Error> {
        let mut failed = Vec::new();
        for path in std::mem::take(&mut self.made).into_iter().rev() {
            let shared = is_shared(&self.root, &path);
            let removed = if shared {
                remove_if_empty(&path)
            } else {
                remove_tree(&path)
            };
            if let Err(e) = removed {
                failed.push(e);
            }
        }
        failed
    }
}

/// Slices that several runs put their pods in.
fn is_shared(root: &Path, path: &Path) -> bool {
    path.strip_prefix(root).is_ok_and(|relative| {
        let relative = relative.to_string_lossy();
        SHARED.contains(&relative.as_ref())
    })
}

/// Slices that kubelet and systemd own on a real node.
pub const SHARED: [&str; 4] = [
    "kubepods.slice/kubepods-burstable.slice",
    "kubepods.slice/kubepods-besteffort.slice",
    "kubepods.slice",
    "system.slice",
];

fn remove_if_empty(path: &Path) -> Result<()> {
    match fs::remove_dir(path) {
        Ok(()) => Ok(()),
        Err(e) if matches!(e.raw_os_error(), Some(code) if code == BUSY || code == NOT_EMPTY || code == ABSENT) => {
            Ok(())
        }
        Err(e) => Err(e).with_context(|| format!("removing cgroup {}", path.display())),
    }
}

const ABSENT: i32 = 2;
const BUSY: i32 = 16;
const NOT_EMPTY: i32 = 39;

/// Kills every process in and below `path` (`cgroup.kill`, kernel 5.14) and removes the folders.
///
/// # Errors
/// Something stays in it longer than five seconds.
pub fn remove_tree(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    write(&path.join("cgroup.kill"), "1")?;
    let deadline = Instant::now() + EMPTY_WITHIN;
    while read_words_or_empty(&path.join("cgroup.events"))
        .windows(2)
        .any(|w| w[0] == "populated" && w[1] == "1")
    {
        if Instant::now() > deadline {
            bail!("processes do not leave cgroup {}", path.display());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    remove_folders(path, deadline)
}

fn remove_folders(path: &Path, deadline: Instant) -> Result<()> {
    let entries = fs::read_dir(path).with_context(|| format!("listing {}", path.display()))?;
    for entry in entries.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_folders(&entry.path(), deadline)?;
        }
    }
    loop {
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(e) if e.raw_os_error() == Some(ABSENT) => return Ok(()),
            // A process that is dead but not yet reaped keeps the folder busy for a moment.
            Err(e) if e.raw_os_error() == Some(BUSY) && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(e) => return Err(e).with_context(|| format!("removing cgroup {}", path.display())),
        }
    }
}

fn enable(path: &Path, controllers: &BTreeSet<String>) -> Result<()> {
    for controller in controllers {
        write(
            &path.join("cgroup.subtree_control"),
            &format!("+{controller}"),
        )?;
    }
    Ok(())
}

fn read_words(path: &Path) -> Result<BTreeSet<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

fn read_words_or_empty(path: &Path) -> Vec<String> {
    fs::read_to_string(path)
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

fn write(path: &Path, value: &str) -> Result<()> {
    fs::write(path, value).with_context(|| format!("writing {value:?} to {}", path.display()))
}

/// One number of a `key value` file such as `cpu.stat` or `memory.events`.
///
/// # Errors
/// The file cannot be read. `Ok(None)` when it has no such key.
pub fn keyed(path: &Path, key: &str) -> Result<Option<u64>> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    Ok(keyed_value(&text, key))
}

fn keyed_value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        line.strip_prefix(key)?
            .strip_prefix(' ')?
            .trim()
            .parse()
            .ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_v2_mount_of_a_hybrid_host() {
        let mounts = "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n\
                      cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroup2_mount(mounts), Some("/sys/fs/cgroup/unified"));
        assert_eq!(cgroup2_mount("proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn reads_one_key_and_not_its_prefix() {
        let text = "usage_usec 12\nusage 3\nnr_throttled 4\n";
        assert_eq!(keyed_value(text, "usage"), Some(3));
        assert_eq!(keyed_value(text, "nr_throttled"), Some(4));
        assert_eq!(keyed_value(text, "nr"), None);
    }

    #[test]
    fn shared_slices_are_known_and_pods_are_not_shared() {
        let root = Path::new("/sys/fs/cgroup");
        assert!(is_shared(root, &root.join("kubepods.slice")));
        assert!(!is_shared(
            root,
            &root.join("kubepods.slice/kubepods-podab.slice")
        ));
    }
}
