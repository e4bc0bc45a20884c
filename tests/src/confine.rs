#![expect(
    clippy::disallowed_methods,
    reason = "shell: makes a container's namespaces and mounts, and becomes a program in it"
)]
//! `plimsoll-lab confine`: becomes a program as a container runtime starts a container of ours.
//!
//! ```text
//!  confine             in the container's cgroup; new mount, PID, IPC, UTS and cgroup namespaces
//!    └ confine --inside   process 1 there: the root file system, read-only; the capabilities;
//!        └ exec           the user; no new privileges; the runtime's seccomp filter; becomes the program
//! ```
//!
//! What containerd does for a pod that asks for UID 0 and some capabilities, or for another user and none, with
//! `drop: [ALL]` and `seccompProfile: RuntimeDefault`, without `hostPID` and `privileged`: nothing of the host is
//! seen but what is mounted. The network namespace stays: whoever asks the program does so over the machine's own
//! loopback. It knows no Kubernetes.

mod seccomp;

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Gid, Pid, Signal, Uid};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};

use self::seccomp::Filters;
use crate::stop::Stop;

/// Between two looks at whether the program has ended, or is to.
const LOOK: Duration = Duration::from_millis(50);
/// Read-only, as a container's mounts of the host are.
const READ_ONLY: MountFlags = MountFlags::RDONLY
    .union(MountFlags::NOSUID)
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC);

/// What the program is given, and what it is.
#[derive(Clone, Debug, Args)]
pub struct Confine {
    /// An empty folder, over which the container's root is mounted.
    #[arg(long)]
    pub root: PathBuf,
    /// Capabilities that it has, without `CAP_`; no others.
    #[arg(long, value_delimiter = ',')]
    pub capabilities: Vec<String>,
    /// Who it is; root if absent. Whoever is not root has no capabilities.
    #[arg(long, value_name = "UID:GID:GROUP")]
    pub user: Option<User>,
    /// Files and folders of the host that it may read.
    #[arg(long, value_name = "HOST:INSIDE")]
    pub read: Vec<Bind>,
    /// Those that it may run as well.
    #[arg(long, value_name = "HOST:INSIDE")]
    pub run: Vec<Bind>,
    /// Those that it may write.
    #[arg(long, value_name = "HOST:INSIDE")]
    pub write: Vec<Bind>,
    /// Process 1 of the namespaces.
    #[arg(long, hide = true)]
    inside: bool,
    /// The program, as a path inside, and its arguments.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

/// Who a program is, with one group besides its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// Of the user.
    pub uid: u32,
    /// Of its own group.
    pub gid: u32,
    /// The group of its volumes.
    pub group: u32,
}

impl FromStr for User {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let ids: Result<Vec<u32>, _> = text.split(':').map(str::parse).collect();
        match ids.as_deref() {
            Ok(&[uid, gid, group]) => Ok(Self { uid, gid, group }),
            _ => Err("it is not three numbers with colons between them"),
        }
    }
}

/// Something of the host, and where it is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    host: PathBuf,
    inside: PathBuf,
}

impl Bind {
    /// Both are absolute.
    pub fn new(host: impl Into<PathBuf>, inside: impl Into<PathBuf>) -> Self {
        Self {
            host: host.into(),
            inside: inside.into(),
        }
    }
}

impl FromStr for Bind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (host, inside) = text.split_once(':').ok_or("it has no colon")?;
        Ok(Self::new(host, inside))
    }
}

impl Confine {
    /// A container that is to be started; see the fields.
    pub fn new(root: PathBuf, capabilities: &[&str], command: Vec<String>) -> Self {
        Self {
            root,
            capabilities: capabilities.iter().map(|&name| name.to_owned()).collect(),
            user: None,
            read: Vec::new(),
            run: Vec::new(),
            write: Vec::new(),
            inside: false,
            command,
        }
    }

    /// The words of `plimsoll-lab` that do this.
    pub fn words(&self) -> Vec<String> {
        let mut words = vec!["confine".to_owned()];
        words.extend(["--root".to_owned(), self.root.display().to_string()]);
        if !self.capabilities.is_empty() {
            words.extend(["--capabilities".to_owned(), self.capabilities.join(",")]);
        }
        if let Some(User { uid, gid, group }) = self.user {
            words.extend(["--user".to_owned(), format!("{uid}:{gid}:{group}")]);
        }
        let options = [
            ("--read", &self.read),
            ("--run", &self.run),
            ("--write", &self.write),
        ];
        for (option, binds) in options {
            for Bind { host, inside } in binds {
                let pair = format!("{}:{}", host.display(), inside.display());
                words.extend([option.to_owned(), pair]);
            }
        }
        if self.inside {
            words.push("--inside".to_owned());
        }
        words.push("--".to_owned());
        words.extend(self.command.iter().cloned());
        words
    }

    /// Runs the program, hands it the signals to end, and ends as it did.
    ///
    /// # Errors
    /// The kernel refuses a namespace, a mount or the program, or that did not end with success.
    pub fn start(self) -> Result<()> {
        if self.inside {
            return self.become_program();
        }
        // Before the namespaces: no thread can be made once children belong into another one.
        let stop = Stop::on_signals()?;
        #[expect(
            deprecated,
            reason = "its replacement is unsafe for the sake of a flag that is not used here"
        )]
        rustix::thread::unshare(
            UnshareFlags::NEWNS
                | UnshareFlags::NEWPID
                | UnshareFlags::NEWIPC
                | UnshareFlags::NEWUTS
                | UnshareFlags::NEWCGROUP,
        )
        .context("making the container's namespaces")?;
        let inside = Self {
            inside: true,
            ..self
        };
        let mut child = Command::new("/proc/self/exe")
            .args(inside.words())
            .spawn()
            .context("starting process 1 of the container")?;
        let status = wait(&mut child, &stop)?;
        ensure!(status.success(), "the container ended with {status}");
        Ok(())
    }

    fn become_program(self) -> Result<()> {
        end_with_parent()?;
        let kept = capability_set(&self.capabilities)?;
        let filters = Filters::of(&self.capabilities)?;
        self.mount_root()?;
        limit_capabilities(kept, self.user)?;
        // Whoever becomes somebody else has to ask again (prctl(2), PR_SET_PDEATHSIG).
        end_with_parent()?;
        filters.apply()?;
        let Some((program, arguments)) = self.command.split_first() else {
            bail!("no program is given");
        };
        Err(Command::new(program).args(arguments).exec())
            .with_context(|| format!("becoming {program}"))
    }

    /// The container's file systems, as containerd mounts them: a root that cannot be written, procfs,
    /// sysfs and cgroup2 of its own namespaces, some devices, and what the pod asks of the host.
    fn mount_root(&self) -> Result<()> {
        let root = &self.root;
        // Nothing of this is to be seen outside.
        rustix::mount::mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .context("keeping the mounts to ourselves")?;
        new_mount("tmpfs", root, MountFlags::empty())?;
        new_mount("proc", &root.join("proc"), MountFlags::NOSUID)?;
        new_mount("sysfs", &root.join("sys"), READ_ONLY)?;
        let own_cgroups = root.join("sys/fs/cgroup");
        mount_at("cgroup2", &own_cgroups, READ_ONLY)?;
        new_mount("tmpfs", &root.join("dev"), MountFlags::NOSUID)?;
        for device in ["null", "zero", "urandom"] {
            let path = format!("/dev/{device}");
            bind(&Bind::new(&path, &path), root, MountFlags::NOSUID)?;
        }
        for shown in &self.read {
            bind(shown, root, READ_ONLY)?;
        }
        for shown in &self.run {
            let flags = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV;
            bind(shown, root, flags)?;
        }
        for shown in &self.write {
            bind(shown, root, MountFlags::NOSUID | MountFlags::NODEV)?;
        }
        rustix::mount::mount_remount(
            root,
            MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV,
            "",
        )
        .context("making the root read-only")?;
        // The first root file system cannot be pivoted away from (kernel:
        // Documentation/filesystems/ramfs-rootfs-initramfs.rst): moved over, as switch_root(8) does.
        std::env::set_current_dir(root).context("entering the root")?;
        rustix::mount::mount_move(".", "/").context("moving the root into its place")?;
        rustix::process::chroot(".").context("changing the root")?;
        std::env::set_current_dir("/").context("entering the new root")?;
        let sysctls = Bind::new("/proc/sys", "/proc/sys");
        bind(&sysctls, Path::new("/"), READ_ONLY)
    }
}

/// Waits for the container's end; who is asked to end meanwhile asks it.
fn wait(child: &mut Child, stop: &Stop) -> Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait().context("waiting for the container")? {
            return Ok(status);
        }
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if stop.wait(LOOK)
            && let Some(pid) = pid
        {
            rustix::process::kill_process(pid, Signal::TERM).context("ending the container")?;
        }
    }
}

fn new_mount(kind: &str, place: &Path, flags: MountFlags) -> Result<()> {
    fs::create_dir_all(place).with_context(|| format!("making {}", place.display()))?;
    mount_at(kind, place, flags)
}

fn mount_at(kind: &str, place: &Path, flags: MountFlags) -> Result<()> {
    rustix::mount::mount(kind, place, kind, flags, None)
        .with_context(|| format!("mounting {kind} at {}", place.display()))
}

/// Shows a file or folder below the root, where its place is made if it is not there.
fn bind(shown: &Bind, root: &Path, flags: MountFlags) -> Result<()> {
    let inside = shown.inside.strip_prefix("/").unwrap_or(&shown.inside);
    let (from, to) = (&shown.host, root.join(inside));
    let failed = || format!("showing {} at {}", from.display(), to.display());
    if from.is_dir() {
        fs::create_dir_all(&to).with_context(failed)?;
    } else if !to.exists() {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent).with_context(failed)?;
        }
        File::create(&to).with_context(failed)?;
    }
    rustix::mount::mount_bind_recursive(from, &to).with_context(failed)?;
    // The flags of a bind mount count from its second mount on (mount(2)).
    rustix::mount::mount_remount(&to, MountFlags::BIND | flags, "").with_context(failed)
}

fn end_with_parent() -> Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .context("asking to end with the parent")
}

fn capability_set(names: &[String]) -> Result<CapabilitySet> {
    let mut set = CapabilitySet::empty();
    for name in names {
        set |= CapabilitySet::from_name(name)
            .with_context(|| format!("there is no capability {name}"))?;
    }
    Ok(set)
}

/// Exactly these in every set, and this user, for this program and all that it becomes.
fn limit_capabilities(kept: CapabilitySet, user: Option<User>) -> Result<()> {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if kept.contains(one) {
            continue;
        }
        match rustix::thread::remove_capability_from_bounding_set(one) {
            // Beyond the last that this kernel knows.
            Err(rustix::io::Errno::INVAL) => break,
            outcome => outcome.with_context(|| format!("dropping capability {bit}"))?,
        }
    }
    rustix::thread::set_no_new_privs(true).context("giving up new privileges")?;
    if let Some(user) = user {
        become_user(user).with_context(|| format!("becoming user {}", user.uid))?;
    }
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: kept,
    };
    rustix::thread::set_capabilities(None, sets).context("setting the capabilities")
}

/// It takes capabilities, and none is left afterwards (capabilities(7), from root to another user).
fn become_user(User { uid, gid, group }: User) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::thread::set_thread_groups(&[Gid::from_raw(group)])?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        confine: Confine,
    }

    #[test]
    fn what_is_handed_on_is_what_was_given() {
        let mut confine = Confine::new(
            "/r".into(),
            &["BPF", "SYS_PTRACE"],
            vec!["/agent".to_owned(), "--config".to_owned()],
        );
        confine.read.push(Bind::new("/proc", "/host/proc"));
        confine.write.push(Bind::new("/tmp/s", "/var/lib/s"));
        confine.user = "65532:65532:65533".parse().ok();
        let words = confine.words();
        let parsed = Line::try_parse_from(&words).unwrap().confine;
        assert_eq!(parsed.words(), words);
        assert_eq!(parsed.read, confine.read);
        assert_eq!(parsed.capabilities, confine.capabilities);
        assert_eq!(parsed.user.unwrap().group, 65533);
        let none = Confine::new("/r".into(), &[], vec!["/agent".to_owned()]);
        let parsed = Line::try_parse_from(none.words()).unwrap().confine;
        assert!(parsed.capabilities.is_empty());
    }

    #[test]
    fn capabilities_have_the_kernels_numbers() {
        let of = |name: &str| {
            capability_set(&[name.to_owned()])
                .ok()
                .map(|set| set.bits())
        };
        for (name, number) in [
            ("NET_ADMIN", 12),
            ("SYS_PTRACE", 19),
            ("PERFMON", 38),
            ("BPF", 39),
        ] {
            assert_eq!(of(name), Some(1 << number), "{name}");
        }
        assert_eq!(of("CAP_BPF"), None);
    }
}
