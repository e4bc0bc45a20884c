#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the processes behind audit events from /proc"
)]
//! What `/proc` still says of a process when its record is handled, some milliseconds later.
//!
//! A process id may have a new owner by then: what is read counts only if the process was started
//! before the record was written, or has the very name that the record says.

use std::cell::Cell;
use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use plimsoll_imds::Redactor;
use plimsoll_wire::Identity;
use plimsoll_wire::event::Process;
use plimsoll_wire::identity::Subject;

use super::text::{self, Stat};
use super::{Lookup, Task, Victim};
use crate::cgroup::path;
use crate::identity::Index;
use crate::usage::clock::suspended_ns;
use crate::usage::timeline::Timeline;

/// Bytes of command line that an event carries.
const CMDLINE_BYTES: usize = 256;
/// Bytes of a `/proc` file that are read at most.
const FILE_BYTES: u64 = 4096;
/// Of `cgroup`, which has a line for each v1 hierarchy, a path of up to 4 KiB in each, and that of v2
/// at its end.
const CGROUP_FILE_BYTES: u64 = 64 << 10;
/// Where the root of our own cgroup namespace is seen: its inode is the cgroup's id.
const OWN_CGROUP: &str = "/sys/fs/cgroup";
/// A clock tick of `/proc/<pid>/stat`.
const TICK_NS: u64 = 10_000_000;

/// What became of the texts of `/proc` that were read: `read` is the sum of the others. Cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TextCounts {
    /// Read, to be understood.
    pub read: u64,
    /// Understood.
    pub parsed: u64,
    /// Not what the kernel documents.
    pub malformed: u64,
}

/// The processes below a `/proc`.
#[derive(Clone, Debug)]
pub struct Proc {
    root: PathBuf,
    redactor: Redactor,
    /// The root of our own cgroup namespace, from which the paths of others are seen.
    own_cgroup: Option<u64>,
    counts: Cell<TextCounts>,
}

impl Proc {
    /// `root` is usually `/proc`; command lines are redacted with the auditor's own hashes.
    pub fn new(root: &Path, redactor: Redactor) -> Self {
        Self {
            root: root.to_owned(),
            redactor,
            own_cgroup: std::fs::metadata(OWN_CGROUP).ok().map(|found| found.ino()),
            counts: Cell::default(),
        }
    }

    /// What was read so far.
    pub const fn counts(&self) -> TextCounts {
        self.counts.get()
    }

    /// Reads a text that is to be understood.
    fn text(&self, path: &Path, max_bytes: u64) -> std::io::Result<Vec<u8>> {
        let bytes = read(path, max_bytes)?;
        let mut counts = self.counts.get();
        counts.read += 1;
        self.counts.set(counts);
        Ok(bytes)
    }

    /// Counts a text by whether it was understood.
    fn count<T>(&self, parsed: Option<T>) -> Option<T> {
        let mut counts = self.counts.get();
        if parsed.is_some() {
            counts.parsed += 1;
        } else {
            counts.malformed += 1;
        }
        self.counts.set(counts);
        parsed
    }

    /// What is known of a task. `exe` and `cmdline` are both there, or `missing` says why not.
    pub fn process(&self, task: Task<'_>) -> Process {
        self.process_after(task, suspended_ns())
    }

    fn process_after(&self, task: Task<'_>, suspended_ns: u64) -> Process {
        let mut process = Process {
            pid: task.tgid,
            uid: Some(task.uid),
            comm: text::comm(task.comm),
            ..Process::default()
        };
        let folder = self.root.join(task.tgid.to_string());
        // In this order: if the process is the right one after the reads, it was during them.
        let exe = std::fs::read_link(folder.join("exe"));
        let cmdline = read(&folder.join("cmdline"), FILE_BYTES);
        let stat = self.text(&folder.join("stat"), FILE_BYTES);
        let Ok(stat) = stat else {
            process.missing = Some("exited".to_owned());
            return process;
        };
        let Some(stat) = self.count(Stat::parse(&stat)) else {
            process.missing = Some("undecodable".to_owned());
            return process;
        };
        if stat.is_zombie || !is_same(&stat, task, suspended_ns) {
            process.missing = Some("exited".to_owned());
            return process;
        }
        if stat.is_kernel_thread {
            process.missing = Some("kernel_thread".to_owned());
            return process;
        }
        process.missing = [
            exe.as_ref().err().map(std::io::Error::kind),
            cmdline.as_ref().err().map(std::io::Error::kind),
        ]
        .into_iter()
        .flatten()
        .next()
        .map(|kind| match kind {
            ErrorKind::PermissionDenied => "denied".to_owned(),
            _ => "exited".to_owned(),
        });
        process.exe = exe.ok().map(|exe| exe.to_string_lossy().into_owned());
        process.cmdline = cmdline
            .ok()
            .map(|bytes| self.redactor.command_line(&bytes, CMDLINE_BYTES));
        process
    }

    /// Process id and cgroup path, each as far as it can be told, of a thread that is still there and
    /// bears this name.
    fn thread(&self, tid: u32, comm: &[u8]) -> (Option<u32>, Option<String>) {
        let folder = self.root.join(tid.to_string());
        let path = || {
            let bytes = self.text(&folder.join("cgroup"), CGROUP_FILE_BYTES).ok()?;
            let text = self.count(std::str::from_utf8(&bytes).ok())?;
            text::cgroup_path(text).map(str::to_owned)
        };
        let process = || {
            let bytes = self.text(&folder.join("status"), FILE_BYTES).ok()?;
            self.count(text::tgid(&bytes))
        };
        let is_there = || {
            let stat = self.text(&folder.join("stat"), FILE_BYTES).ok()?;
            let name = trimmed(comm);
            let stat = self.count(Stat::parse(&stat))?;
            Some(name.is_empty() || stat.comm == name)
        };
        // In this order: if the thread is the right one after the reads, it was during them.
        let found = (process(), path());
        if is_there() == Some(true) {
            found
        } else {
            (None, None)
        }
    }
}

/// A process's start is in CLOCK_BOOTTIME (proc(5), since Linux 2.6.38: with the time of suspension),
/// a record's time in CLOCK_MONOTONIC (without).
fn is_same(stat: &Stat<'_>, task: Task<'_>, suspended_ns: u64) -> bool {
    let started_ns = stat
        .start_ticks
        .saturating_mul(TICK_NS)
        .saturating_sub(suspended_ns);
    started_ns <= task.at_ns.saturating_add(TICK_NS) || stat.comm == trimmed(task.comm)
}

fn trimmed(comm: &[u8]) -> &[u8] {
    comm.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn read(path: &Path, max_bytes: u64) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(max_bytes).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The [`Lookup`] of a node: its index of cgroups, its timeline and its `/proc`.
#[derive(Clone, Copy, Debug)]
pub struct NodeLookup<'a> {
    /// Who had which cgroup when.
    pub index: &'a Index,
    /// From monotonic to wall-clock time.
    pub timeline: &'a Timeline,
    /// The processes.
    pub proc: &'a Proc,
}

impl Lookup for NodeLookup<'_> {
    fn identity(&self, cgroup_id: u64, ancestors: &[u64], at_ns: u64) -> Identity {
        self.index
            .resolve_with_ancestors(cgroup_id, ancestors, at_ns)
    }

    fn process(&self, task: Task<'_>) -> Process {
        self.proc.process(task)
    }

    fn victim(&self, tid: u32, comm: &[u8]) -> Victim {
        let (process, seen) = self.proc.thread(tid, comm);
        let own = self.proc.own_cgroup.and_then(|id| self.index.get(id));
        let own = own.and_then(|entry| entry.identity.cgroup_path.as_deref());
        let identity = seen.and_then(|seen| whose(self.index, own, &seen));
        Victim {
            tgid: process,
            identity,
        }
    }

    fn wall(&self, at_ns: u64) -> u64 {
        self.timeline.stamp(at_ns)
    }
}

/// Whose cgroup a path is, as seen from our own cgroup namespace; `own` is the path of its root, if
/// that is known. `None` where the path does not say it, or says it of several.
fn whose(index: &Index, own: Option<&str>, seen: &str) -> Option<Identity> {
    let living = || {
        let entries = index.living();
        entries.filter_map(|entry| Some((entry.identity.cgroup_path.as_deref()?, &entry.identity)))
    };
    let (below, steps) = text::below_detour(seen);
    let is_cut = steps > 0;
    if let Some(path) = own.and_then(|own| text::absolute(own, seen)) {
        let exact = living().find(|(known, _)| *known == path);
        if let Some((_, identity)) = exact {
            return Some(identity.clone());
        }
    }
    if below.is_empty() {
        return None;
    }
    // Nobody knows what the steps up lead to: whoever is the only one that ends so is meant.
    let mut alike =
        living().filter(|(known, _)| *known == below || (is_cut && known.ends_with(below)));
    match (alike.next(), alike.next()) {
        (Some((_, identity)), None) => Some(identity.clone()),
        (Some(_), Some(_)) => None,
        // The path of a container says who it is even where the folder's inode is not known: 0 then.
        (None, _) => {
            let mut told = path::identity(0, seen);
            if is_cut {
                told.cgroup_path = None;
            }
            let is_told = !is_cut || matches!(told.subject, Subject::Container { .. });
            is_told.then_some(told)
        }
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_imds::Key;

    use super::*;

    fn proc(root: &Path) -> Proc {
        Proc::new(root, Redactor::new(&Key([7; 32])))
    }

    fn task(tgid: u32, comm: &[u8], at_ns: u64) -> Task<'_> {
        Task {
            tgid,
            tid: tgid,
            uid: 1000,
            comm,
            at_ns,
        }
    }

    /// A process as files.
    fn folder(stat: &str, cmdline: &[u8], cgroup: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let pid = root.path().join("42");
        std::fs::create_dir(&pid).unwrap();
        std::os::unix::fs::symlink("/usr/bin/curl", pid.join("exe")).unwrap();
        std::fs::write(pid.join("cmdline"), cmdline).unwrap();
        std::fs::write(pid.join("stat"), stat).unwrap();
        std::fs::write(pid.join("cgroup"), cgroup).unwrap();
        root
    }

    fn stat(comm: &str, state: char, flags: u64, start_ticks: u64) -> String {
        format!(
            "42 ({comm}) {state} 1 42 42 0 -1 {flags} 1 0 0 0 0 0 0 0 20 0 1 0 {start_ticks} 0 0"
        )
    }

    #[test]
    fn secrets_stay_out_of_command_lines() {
        let token = "AQAEAGhVd0xrZ2JqS3B5bVZ0dGZ2Q1pXbk1LUW9hYnN3w5w==";
        let words = format!("curl\0-H\0X-aws-ec2-metadata-token: {token}\0http://x/\0");
        let root = folder(&stat("curl", 'S', 0, 100), words.as_bytes(), "");
        let process = proc(root.path()).process(task(42, b"curl\0\0", 2_000_000_000));
        let cmdline = process.cmdline.unwrap();
        assert!(
            cmdline.starts_with("curl -H X-aws-ec2-metadata-token: ["),
            "{cmdline}"
        );
        assert!(cmdline.ends_with("] http://x/"), "{cmdline}");
        assert_eq!(process.exe.as_deref(), Some("/usr/bin/curl"));
        assert_eq!((process.uid, process.missing), (Some(1000), None));
        let words = b"app\0--password\0hunter2\0";
        let root = folder(&stat("app", 'S', 0, 100), words, "");
        let process = proc(root.path()).process(task(42, b"app", 2_000_000_000));
        let cmdline = process.cmdline.unwrap();
        assert!(cmdline.starts_with("app --password ["), "{cmdline}");
        let long = folder(&stat("curl", 'S', 0, 100), &[b'a'; 9000], "");
        let process = proc(long.path()).process(task(42, b"curl", 2_000_000_000));
        assert!(process.cmdline.unwrap().len() <= CMDLINE_BYTES);
    }

    #[test]
    fn a_process_id_with_a_new_owner_says_nothing() {
        let check = |stat: String, comm: &[u8], at_ns, missing: Option<&str>| {
            let root = folder(&stat, b"curl\0", "");
            let process = proc(root.path()).process_after(task(42, comm, at_ns), 0);
            assert_eq!(process.missing.as_deref(), missing, "{stat}");
            assert_eq!(process.exe.is_none(), missing.is_some(), "{stat}");
        };
        // Started at 5 s.
        check(
            stat("other", 'S', 0, 500),
            b"curl",
            4_000_000_000,
            Some("exited"),
        );
        check(stat("renamed", 'S', 0, 500), b"curl", 6_000_000_000, None);
        check(stat("curl", 'S', 0, 500), b"curl", 4_000_000_000, None);
        check(
            stat("curl", 'Z', 0, 500),
            b"curl",
            6_000_000_000,
            Some("exited"),
        );
        check(
            stat("kworker", 'S', 0x0020_0000, 1),
            b"kworker",
            6_000_000_000,
            Some("kernel_thread"),
        );
        let empty = tempfile::tempdir().unwrap();
        let process = proc(empty.path()).process(task(42, b"curl", 1));
        assert_eq!(process.missing.as_deref(), Some("exited"));
        assert_eq!(process.comm.as_deref(), Some("curl"));
    }

    /// After an hour of suspension a start of 3605 s in CLOCK_BOOTTIME is 5 s in CLOCK_MONOTONIC.
    #[test]
    fn suspension_makes_no_new_owner() {
        const HOUR_NS: u64 = 3_600_000_000_000;
        let root = folder(&stat("java", 'S', 0, 360_500), b"java\0", "");
        // A thread has a name of its own, so only the time tells that it is the same process.
        let seen = |at_s: u64, suspended_ns| {
            let task = task(42, b"http-worker-7", at_s * 1_000_000_000);
            proc(root.path()).process_after(task, suspended_ns).missing
        };
        assert_eq!(seen(6, HOUR_NS), None);
        assert_eq!(seen(4, HOUR_NS).as_deref(), Some("exited"));
        assert_eq!(seen(6, 0).as_deref(), Some("exited"));
    }

    #[test]
    fn our_own_process_is_found() {
        let me = std::process::id();
        let process = proc(Path::new("/proc")).process(task(me, b"any", u64::MAX));
        assert_eq!(process.missing, None);
        let exe = std::env::current_exe().unwrap();
        assert_eq!(process.exe, Some(exe.to_string_lossy().into_owned()));
    }

    const PODS: &str = "/kubepods.slice/kubepods-burstable.slice";

    /// A container of pod a1 and one of pod a2, the same unit on the host and within a container, and
    /// ourselves in pod a9.
    fn known() -> Index {
        let mut index = Index::new(crate::identity::Limits::default());
        let pod = |pod, name| format!("{PODS}/kubepods-burstable-pod{pod}.slice/{name}");
        for (id, path) in [
            (1, "/".to_owned()),
            (7, pod("a1", "cri-containerd-c1.scope")),
            (8, pod("a2", "cri-containerd-c2.scope")),
            (9, pod("a9", "cri-containerd-c9.scope")),
            (20, "/system.slice/db.service".to_owned()),
            (
                21,
                pod("a2", "cri-containerd-c2.scope/system.slice/db.service"),
            ),
        ] {
            index.found(id, &path, 0);
        }
        index
    }

    /// Process 42 with a thread 43.
    fn victim(own: Option<u64>, cgroup: &str, comm: &[u8]) -> Victim {
        let root = folder(&stat("hog", 'S', 0, 1), b"hog", cgroup);
        let status = "Name:\thog\nTgid:\t42\nPid:\t43\n";
        std::fs::write(root.path().join("42/status"), status).unwrap();
        std::fs::rename(root.path().join("42"), root.path().join("43")).unwrap();
        let (index, timeline) = (known(), Timeline::new(0, 0));
        let mut proc = proc(root.path());
        proc.own_cgroup = own;
        NodeLookup {
            index: &index,
            timeline: &timeline,
            proc: &proc,
        }
        .victim(43, comm)
    }

    #[test]
    fn victims_by_path() {
        // Seen from: a place that nobody knows, the host, our own pod.
        for (own, up) in [
            (None, ""),
            (Some(1), ""),
            (None, "/../.."),
            (Some(9), "/../.."),
        ] {
            let check = |path: &str, want: Option<(u64, Option<&str>)>| {
                let seen = if up.is_empty() {
                    format!("{PODS}{path}")
                } else {
                    format!("{up}{path}")
                };
                let found = victim(own, &format!("0::{seen}\n"), b"hog\0");
                assert_eq!(found.tgid, Some(42));
                let found = found.identity;
                let found = found.as_ref().map(|it| (it.cgroup_id, it.container_id()));
                assert_eq!(found, want, "{seen} from {own:?}");
            };
            let pod = |pod: &str| format!("/kubepods-burstable-pod{pod}.slice");
            check(
                &(pod("a1") + "/cri-containerd-c1.scope"),
                Some((7, Some("c1"))),
            );
            check(
                &(pod("a2") + "/cri-containerd-c2.scope"),
                Some((8, Some("c2"))),
            );
            check(
                &(pod("a3") + "/cri-containerd-c3.scope"),
                Some((0, Some("c3"))),
            );
        }
    }

    /// A path of which too little is left says nothing, rather than name somebody else.
    #[test]
    fn a_path_that_is_cut_names_nobody_else() {
        let id = |own, cgroup: &str| Some(victim(own, cgroup, b"hog").identity?.cgroup_id);
        let unit = "0::/../../../../system.slice/db.service\n";
        assert_eq!(id(Some(9), unit), Some(20), "resolved from our own path");
        assert_eq!(id(None, unit), None, "two end so");
        for own in [None, Some(9), Some(1)] {
            for seen in ["/..", "/../..", "/../../nowhere.slice", "/"] {
                assert_eq!(
                    id(own, &format!("0::{seen}\n")),
                    None,
                    "{seen} from {own:?}"
                );
            }
        }
        let gone = victim(None, &format!("0::{PODS}\n"), b"other");
        assert_eq!(gone, Victim::default(), "another has its id by now");
    }

    /// On a host with both versions the line of v2 comes after thirteen others.
    #[test]
    fn the_line_of_v2_is_found_behind_long_ones() {
        let long = format!("3:cpu:/{}\n", "a".repeat(1000)).repeat(13);
        let path = format!("{PODS}/kubepods-burstable-poda1.slice/cri-containerd-c1.scope");
        let found = victim(None, &format!("{long}0::{path}\n"), b"hog");
        assert_eq!(found.identity.map(|it| it.cgroup_id), Some(7));
        let cut = victim(None, &format!("{long}0::{path}"), b"hog");
        assert_eq!(cut.identity, None, "a line without an end is cut");
    }
}
