//! Bytes that are not what the kernel documents, as deep in the agent as their count is visible: in
//! the metrics, under `undecodable`, with the law still balanced. One table per decoder.
#![expect(clippy::disallowed_methods, reason = "tests write trees of files")]

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Mutex;

use plimsoll_abi::{
    ABI_VERSION, CGROUP_PATH_BYTES, Cgroup, Connect, Header, KIND_CGROUP_MKDIR, KIND_CGROUP_RMDIR,
    KIND_CONNECT, KIND_OOM, KIND_SEGMENT, OOM_UNKNOWN, Oom, SEGMENT_CAPTURE_BYTES, Segment,
};
use plimsoll_journal::FileStorage;
use plimsoll_wire::{AuditEvent, Identity};
use prometheus_client::registry::Registry;
use zerocopy::{Immutable, IntoBytes};

use super::*;
use crate::spool::Spool;

mod lives;
mod malformed;
mod trouble;

const POD: &str = "kubepods.slice/kubepods-pod11111111_2222_3333_4444_555555555555.slice";

/// A node without kernel programs, over a tree of files.
struct Stage {
    folder: tempfile::TempDir,
    container: PathBuf,
    node: Node,
    registry: Registry,
}

impl Stage {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (cgroup, proc) = (folder.path().join("cgroup"), folder.path().join("proc"));
        let container = cgroup
            .join(POD)
            .join(format!("cri-containerd-{}.scope", "a".repeat(64)));
        std::fs::create_dir_all(&container).unwrap();
        std::fs::create_dir_all(&proc).unwrap();
        std::fs::write(cgroup.join("cgroup.controllers"), "cpu memory\n").unwrap();
        for (name, text) in files {
            std::fs::write(container.join(name), text).unwrap();
        }
        let mut config = Config::default();
        config.kernel.enabled = false;
        config.host.cgroup = cgroup;
        config.host.proc = proc;
        let storage = |class| FileStorage::open(&folder.path().join(class)).unwrap();
        let (spool, _) = Spool::open(storage("usage"), storage("security"), 1 << 30, "ab").unwrap();
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let node = Node::start(Setup {
            config,
            facts: HostFacts::default(),
            spool: Arc::new(Mutex::new(spool)),
            committed: Arc::new(Notify::new()),
            exports: Arc::default(),
            status: Status::new(Registry::default()),
            metrics,
            key: Key([7; 32]),
        });
        Self {
            folder,
            container,
            node,
            registry,
        }
    }

    /// Feeds a ring, as a drain would, with the kernel's own count of it.
    fn feed(&mut self, ring: &str, bytes: &[u8]) {
        let counters = self.node.ring_counters.get_or_insert_default();
        let kind = match ring {
            "security" => KIND_OOM,
            _ => KIND_CGROUP_MKDIR,
        };
        counters[usize::from(kind)].emitted += 1;
        let mut cgroups = Vec::new();
        if ring == "security" {
            self.node.hold_evidence(bytes);
        } else {
            self.node.take_process(bytes, &mut cgroups);
        }
        self.node.settle(cgroups, Some(monotonic_ns()));
    }

    /// A count of `plimsoll_agent_records_total`.
    fn count(&self, stage: &str, class: &str, fate: &str) -> u64 {
        let labels = format!(r#"stage="{stage}",class="{class}",fate="{fate}""#);
        self.metric(&format!("plimsoll_agent_records_total{{{labels}}} "))
    }

    fn metric(&self, name: &str) -> u64 {
        self.node.show();
        for stage in self.node.stages() {
            assert_eq!(stage.fates.unaccounted(), 0, "{stage:?}");
        }
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.rsplit(' ').next())
            .unwrap_or_else(|| panic!("{name} is not in\n{text}"))
            .parse()
            .unwrap()
    }

    /// Events since this was last asked.
    fn events(&mut self) -> Vec<AuditEvent> {
        let out = self.node.out.drain(..);
        out.filter_map(|output| match output {
            Output::Event(_, event) => Some(event),
            Output::Window(_) => None,
        })
        .collect()
    }
}

fn header<T>(kind: u16, tail: usize) -> Header {
    Header {
        version: ABI_VERSION,
        kind,
        len: u32::try_from(size_of::<T>() + tail).unwrap(),
        ..Header::default()
    }
}

fn bytes<T: IntoBytes + Immutable>(record: &T, tail: &[u8]) -> Vec<u8> {
    [record.as_bytes(), tail].concat()
}

fn connect() -> Connect {
    Connect {
        header: header::<Connect>(KIND_CONNECT, 0),
        protocol: 6,
        tgid: 42,
        comm: *b"\xff\xfecurl\0\0\0\0\0\0\0\0\0\0",
        ..Connect::default()
    }
}

fn oom() -> Oom {
    Oom {
        header: header::<Oom>(KIND_OOM, 0),
        victim_tid: 42,
        trigger_tgid: 43,
        anon_rss_kib: 1,
        file_rss_kib: OOM_UNKNOWN,
        shmem_rss_kib: u64::MAX - 1,
        comm: *b"\xff\xfehog\0\0\0\0\0\0\0\0\0\0\0",
        ..Oom::default()
    }
}

fn segment(said: usize, tail: &[u8]) -> Vec<u8> {
    let segment = Segment {
        header: header::<Segment>(KIND_SEGMENT, tail.len()),
        captured_len: u32::try_from(said).unwrap(),
        ..Segment::default()
    };
    bytes(&segment, tail)
}

fn cgroup(kind: u16, said: usize, tail: &[u8]) -> Vec<u8> {
    let cgroup = Cgroup {
        header: header::<Cgroup>(kind, tail.len()),
        path_len: u32::try_from(said).unwrap(),
        ..Cgroup::default()
    };
    bytes(&cgroup, tail)
}

#[test]
fn a_record_that_is_dropped_on_its_way_breaks_the_law() {
    let mut stage = Stage::new(&[]);
    let missing = |stage: &Stage| -> Vec<(String, i128)> {
        let stages = stage.node.stages().into_iter();
        stages
            .map(|stage| (stage.stage, stage.fates.unaccounted()))
            .filter(|(_, missing)| *missing != 0)
            .collect()
    };
    let look = |stage: &mut Stage, emptied| {
        let counters = stage.node.ring_counters.unwrap();
        for _ in 0..100 {
            stage.node.check_rings(&counters, emptied, &counters);
        }
    };
    stage.feed("security", &bytes(&oom(), b""));
    look(&mut stage, [true; 2]);
    assert_eq!(missing(&stage), []);
    // The kernel put in a second one of each, and nobody took them.
    let counters = stage.node.ring_counters.as_mut().unwrap();
    counters[usize::from(KIND_OOM)].emitted += 1;
    counters[usize::from(KIND_CGROUP_MKDIR)].emitted += 1;
    look(&mut stage, [true, false]);
    assert_eq!(missing(&stage), [("security_ring".to_owned(), 1)]);
    look(&mut stage, [false, true]);
    let rings = ["security_ring", "process_ring"].map(|ring| (ring.to_owned(), 1));
    assert_eq!(missing(&stage), rings);
    // Held evidence that is cut is dropped on the way to the auditor.
    stage.node.hold_evidence(&bytes(&oom(), b""));
    stage.node.evidence.pop();
    stage.node.settle(Vec::new(), None);
    assert_eq!(stage.events().len(), 1);
    let counters = stage.node.ring_counters.as_mut().unwrap();
    counters[usize::from(KIND_OOM)].emitted += 1;
    look(&mut stage, [true; 2]);
    assert_eq!(missing(&stage)[0], ("security_ring".to_owned(), 2));
}

#[test]
fn names_that_are_no_text_are_shown_as_far_as_they_are() {
    let mut stage = Stage::new(&[]);
    stage.feed("security", &bytes(&connect(), b""));
    stage.feed("security", &bytes(&oom(), b""));
    stage.feed("process", &cgroup(KIND_CGROUP_MKDIR, 3, b"/\xff\xfe"));
    stage.feed("process", &cgroup(KIND_CGROUP_RMDIR, 3, b"/\xff\xfe"));
    for (ring, records) in [("security", 2), ("process", 2)] {
        let stage_name = format!("{ring}_ring");
        assert_eq!(stage.count(&stage_name, ring, "undecodable"), 0);
        assert_eq!(stage.count(&stage_name, ring, "delivered"), records);
    }
    let events = stage.events();
    let [AuditEvent::OomKill(kill)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(kill.victim_comm.as_deref(), Some("\u{fffd}\u{fffd}hog"));
    assert_eq!(
        (kill.anon_rss_bytes, kill.shmem_rss_bytes),
        (Some(1024), None)
    );
}

#[test]
fn an_oom_kill_has_the_peak_and_the_limit_of_its_container() {
    let mut stage = Stage::new(&[
        ("cpu.stat", "usage_usec 1\n"),
        ("memory.current", "1\n"),
        ("memory.peak", "40000000\n"),
        ("memory.max", "41943040\n"),
        ("memory.stat", "anon 1\n"),
    ]);
    let mut kill = oom();
    kill.header.cgroup_id = std::fs::metadata(&stage.container).unwrap().ino();
    kill.header.ktime_ns = monotonic_ns();
    stage.feed("security", &bytes(&kill, b""));
    let events = stage.events();
    let [AuditEvent::OomKill(kill)] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(kill.identity.container_id(), Some("a".repeat(64).as_str()));
    assert_eq!(
        (kill.memory_peak_bytes, kill.memory_limit_bytes),
        (Some(40_000_000), Some(41_943_040))
    );
}

#[test]
fn a_walk_that_fails_each_second_is_told_once() {
    let mut stage = Stage::new(&[("cpu.stat", "usage_usec 1\n")]);
    let log = crate::test_log::TestLog::default();
    let _logging = log.start();
    let cgroup = stage.folder.path().join("cgroup");
    let away = stage.folder.path().join("away");
    for times in 1..=2 {
        std::fs::rename(&cgroup, &away).unwrap();
        (0..3).for_each(|_| stage.node.rescan());
        assert_eq!(log.lines("could not walk the cgroup tree").len(), times);
        std::fs::rename(&away, &cgroup).unwrap();
        stage.node.rescan();
    }
}

/// The runtime removes the cgroup as soon as the kill has ended its last process: both records may be
/// taken in one go.
#[test]
fn a_kill_and_the_end_that_it_brings_are_told_in_their_order() {
    let mut stage = Stage::new(&[
        ("cpu.stat", "usage_usec 1\n"),
        ("memory.current", "1\n"),
        ("memory.peak", "40000000\n"),
        ("memory.max", "41943040\n"),
        ("memory.stat", "anon 1\n"),
        ("memory.events", "oom 4\noom_kill 1\n"),
    ]);
    let id = std::fs::metadata(&stage.container).unwrap().ino();
    let (mut kill, mut gone) = (oom(), Cgroup::default());
    kill.header.cgroup_id = id;
    kill.trigger_tgid = kill.victim_tid;
    gone.header = header::<Cgroup>(KIND_CGROUP_RMDIR, 1);
    gone.path_len = 1;
    for header in [&mut kill.header, &mut gone.header] {
        (header.cgroup_id, header.ktime_ns) = (id, monotonic_ns());
    }
    stage.node.hold_evidence(&bytes(&kill, b""));
    let mut cgroups = Vec::new();
    stage.node.take_process(&bytes(&gone, b"/"), &mut cgroups);
    stage.node.settle(cgroups, None);
    let [
        Output::Event(_, AuditEvent::OomKill(kill)),
        Output::Window(window),
        Output::Event(_, AuditEvent::ContainerEnd(end)),
    ] = stage.node.out.as_slice()
    else {
        panic!("{:?}", stage.node.out);
    };
    assert_eq!(kill.memory_limit_bytes, Some(41_943_040));
    assert_eq!(
        (window.memory.oom_kills, window.memory.limit_bytes),
        (Some(1), Some(41_943_040))
    );
    assert!(window.last);
    assert_eq!(end.memory_peak_bytes, Some(40_000_000));
}

#[test]
fn a_walk_that_is_not_whole_ends_nobody() {
    use rustix::fs::{Mode, OFlags};
    let mut stage = Stage::new(&[("cpu.stat", "usage_usec 1\n")]);
    let ends = |stage: &mut Stage| {
        stage.node.rescan();
        let events = stage.events();
        let ends = events.iter();
        ends.filter(|event| matches!(event, AuditEvent::ContainerEnd(_)))
            .count()
    };
    // Folders below each other until their path is too long to be listed.
    let cgroup = stage.folder.path().join("cgroup");
    let name = "x".repeat(250);
    let flags = OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = rustix::fs::open(&cgroup, flags, Mode::empty()).unwrap();
    for _ in 0..18 {
        rustix::fs::mkdirat(&at, &name, Mode::RWXU).unwrap();
        at = rustix::fs::openat(&at, &name, flags, Mode::empty()).unwrap();
    }
    std::fs::remove_dir_all(&stage.container).unwrap();
    assert_eq!(ends(&mut stage), 0, "it may be in what was not listed");
    std::fs::remove_dir_all(cgroup.join(&name)).unwrap();
    assert_eq!(ends(&mut stage), 1);
}

#[test]
fn a_container_that_is_followed_and_not_sampled_is_taken_up_by_the_next_walk() {
    let mut stage = Stage::new(&[("cpu.stat", "usage_usec 1\n")]);
    let id = std::fs::metadata(&stage.container).unwrap().ino();
    // As after a failure to open its files.
    assert!(stage.node.sampler.remove(id));
    stage.node.rescan();
    assert!(stage.node.sampler.has(id));
    stage.node.unopened = 3;
    let degraded = stage.node.all_degraded();
    assert!(
        degraded
            .iter()
            .any(|reason| reason.contains("3 are not sampled")),
        "{degraded:?}"
    );
}

#[test]
fn a_full_map_of_cpu_time_is_told_while_it_is_full() {
    use crate::probe::periods::Snapshot;
    let mut stage = Stage::new(&[]);
    let told = |node: &Node| {
        let degraded = node.all_degraded();
        degraded.iter().any(|why| why.starts_with("CPU time: "))
    };
    for (cgroups, want) in [(4095, false), (4096, true), (10, false)] {
        let uses = (0..cgroups).map(|id| (id, plimsoll_abi::CpuUse::default()));
        let snapshot = Snapshot {
            uses: uses.collect(),
            ..Snapshot::default()
        };
        stage
            .node
            .kernel_time
            .take(&snapshot, |_| None, [].into_iter(), |_, _, _| {});
        assert_eq!(told(&stage.node), want, "{cgroups}");
        assert_eq!(stage.metric("plimsoll_agent_cpu_time_cgroups "), cgroups);
    }
}
