//! kill -9 and what comes after: the spool's files as a crash leaves them, cut anywhere, and the
//! program itself, killed and started again.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test that starts the program and damages its files, and says by failing what it expected"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use plimsoll_agent::spool::Spool;
use plimsoll_journal::{FileStorage, Recovery};
use plimsoll_wire::event::{Loss, OomKill};
use plimsoll_wire::{AuditEvent, Class, Identity, otlp};
use proptest::prelude::*;
use prost::Message;

const EPOCH: &str = "00112233445566778899aabbccddeeff";
/// Waiting for the program ends a test after this.
const PATIENCE: Duration = Duration::from_mins(1);

/// A process that another test starts at that moment has a copy of each descriptor, locked files as well, until it is
/// the program.
fn storage(folder: &Path) -> FileStorage {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match FileStorage::open(folder) {
            Err(e) if e.kind() == ErrorKind::ResourceBusy && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(5));
            }
            opened => return opened.unwrap(),
        }
    }
}

fn open(folder: &Path, new_epoch: &str) -> (Spool<FileStorage>, Recovery) {
    let storage = |class: Class| storage(&folder.join(class.as_str()));
    let (spool, [_, security]) = Spool::open(
        storage(Class::Usage),
        storage(Class::Security),
        1 << 20,
        new_epoch,
    )
    .unwrap();
    (spool, security)
}

fn oom(victim_pid: u32, comm: usize) -> AuditEvent {
    AuditEvent::OomKill(OomKill {
        identity: Identity::unknown(7),
        identity_is_trigger: false,
        victim_pid,
        victim_comm: Some("x".repeat(comm)),
        anon_rss_bytes: None,
        file_rss_bytes: None,
        shmem_rss_bytes: None,
        memory_peak_bytes: None,
        memory_limit_bytes: None,
    })
}

/// Everything that waits for the collector, by number.
fn waiting(spool: &mut Spool<FileStorage>) -> Vec<(u64, AuditEvent)> {
    let batch = spool.next_batch(Class::Security, 100_000, 1 << 30).unwrap();
    let decode = |(seq, payload): &(u64, Vec<u8>)| {
        let record = LogRecord::decode(payload.as_slice()).unwrap();
        (*seq, otlp::logs::decode(&record).unwrap().1)
    };
    batch.records.iter().map(decode).collect()
}

/// The segment files of the security class, oldest first.
fn segments(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("security")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|end| end == "plj"));
    paths.sort_unstable();
    paths
}

fn cut(path: &Path, len: u64) {
    let file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(len).unwrap();
}

/// What one life writes: sizes of commits, how much of it is delivered, and how it is cut.
#[derive(Clone, Debug)]
struct Life {
    commits: Vec<u8>,
    /// Of everything so far, in 256ths.
    delivered: u8,
    /// Which of the segments is cut, and where, in parts of 2¹⁶.
    cut: Option<(u16, u16)>,
}

fn life() -> impl Strategy<Value = Life> {
    (
        prop::collection::vec(1..60_u8, 1..6),
        any::<u8>(),
        prop::option::weighted(0.8, (any::<u16>(), any::<u16>())),
    )
        .prop_map(|(commits, delivered, cut)| Life {
            commits,
            delivered,
            cut,
        })
}

fn share(of: u64, part: u64, whole: u64) -> u64 {
    of * part / whole
}

/// Lives one after the other over the same files. After each start: the epoch is the first one's; every
/// number is either there, with the very record that had it, or delivered, or told to be missing; and
/// no number that anybody has seen is given out again.
fn play(lives: &[Life]) {
    let folder = tempfile::tempdir().unwrap();
    // Number → victim of the records that this life or an earlier one wrote.
    let mut given: Vec<(u64, u32)> = Vec::new();
    let (mut delivered, mut told) = (0, BTreeSet::new());
    let mut victim = 0;
    for (number, life) in lives.iter().enumerate() {
        let new_epoch = if number == 0 { EPOCH } else { "another" };
        let (mut spool, recovery) = open(folder.path(), new_epoch);
        assert_eq!(spool.epoch(Class::Security), EPOCH, "life {number}");
        told.extend(recovery.missing.iter().flat_map(|(from, to)| *from..=*to));

        let here = waiting(&mut spool);
        assert!(here.is_sorted_by_key(|(seq, _)| *seq));
        let seqs: BTreeSet<u64> = here.iter().map(|(seq, _)| *seq).collect();
        for (seq, event) in &here {
            assert!(*seq > delivered, "{seq} was delivered and comes again");
            if let AuditEvent::OomKill(kill) = event {
                assert!(given.contains(&(*seq, kill.victim_pid)), "{seq} is another");
            }
        }
        // What neither is here nor was told was at the very end, and nobody has seen it.
        given.retain(|(seq, _)| *seq <= delivered || seqs.contains(seq) || told.contains(seq));
        let seen = given.iter().map(|(seq, _)| *seq).max().unwrap_or(0);
        let last = seqs.last().copied().unwrap_or(0).max(seen).max(delivered);
        for seq in delivered + 1..=last {
            assert!(
                seqs.contains(&seq) || told.contains(&seq),
                "{seq} of {last} is neither there nor told, life {number}"
            );
        }

        // The first commit tells what is missing, as a record of its own.
        spool.commit(1).unwrap();
        for size in &life.commits {
            for _ in 0..*size {
                victim += 1;
                spool.event(&oom(victim, 700), 1, 1);
            }
            spool.commit(1).unwrap();
        }
        let all = waiting(&mut spool);
        let fresh: Vec<u64> = all
            .iter()
            .map(|(seq, _)| *seq)
            .filter(|seq| !seqs.contains(seq))
            .collect();
        assert!(
            fresh.iter().all(|seq| *seq > last),
            "{fresh:?} after {last}, life {number}"
        );
        assert!(
            fresh.windows(2).all(|pair| pair[1] == pair[0] + 1),
            "numbers go on one by one"
        );
        let mut losses = 0;
        for (seq, event) in &all {
            match event {
                AuditEvent::OomKill(kill) => given.push((*seq, kill.victim_pid)),
                AuditEvent::Loss(Loss { fate, .. }) => {
                    assert_eq!(fate, "undecodable");
                    losses += u64::from(*seq > last);
                    given.push((*seq, 0));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(losses, u64::from(!recovery.missing.is_empty()));
        let at = share(all.len() as u64, u64::from(life.delivered), 256);
        if let Some((seq, _)) = usize::try_from(at).ok().and_then(|at| all.get(at)) {
            spool.acknowledge(Class::Security, *seq, 0).unwrap();
            delivered = *seq;
        }
        // kill -9: what the process held is gone, what it wrote is there.
        spool.event(&oom(u32::MAX, 700), 1, 1);
        drop(spool);
        if let Some((which, at)) = life.cut {
            let files = segments(folder.path());
            let file = &files[usize::from(which) % files.len()];
            let len = fs::metadata(file).unwrap().len();
            cut(file, share(len, u64::from(at), 1 << 16));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn numbers_go_on_after_a_cut_anywhere(lives in prop::collection::vec(life(), 2..5)) {
        play(&lives);
    }
}

/// A write that the kill interrupted: every byte of a last, unfinished frame.
#[test]
fn a_torn_tail_costs_nothing_that_was_committed() {
    let folder = tempfile::tempdir().unwrap();
    let (mut spool, _) = open(folder.path(), EPOCH);
    for victim in 1..=3 {
        spool.event(&oom(victim, 20), 1, 1);
        spool.commit(1).unwrap();
    }
    let file = segments(folder.path()).pop().unwrap();
    let committed = fs::metadata(&file).unwrap().len();
    spool.event(&oom(4, 20), 1, 1);
    spool.commit(1).unwrap();
    drop(spool);
    let whole = fs::read(&file).unwrap();
    for len in committed..whole.len() as u64 {
        fs::write(&file, &whole[..usize::try_from(len).unwrap()]).unwrap();
        let (mut spool, recovery) = open(folder.path(), "another");
        assert_eq!(spool.epoch(Class::Security), EPOCH);
        let here = waiting(&mut spool);
        assert_eq!(here, [(1, oom(1, 20)), (2, oom(2, 20)), (3, oom(3, 20))]);
        assert_eq!(recovery.damaged, u64::from(len > committed), "at {len}");
    }
}

/// The program, with a tree of files instead of a node and a collector that is away.
struct Agent {
    folder: tempfile::TempDir,
}

impl Agent {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("cgroup/system.slice/a.service")).unwrap();
        fs::create_dir_all(folder.path().join("proc/self")).unwrap();
        fs::write(folder.path().join("cgroup/cgroup.controllers"), "").unwrap();
        let root = folder.path().display();
        let config = format!(
            "node: n1\n\
             host: {{ proc: {root}/proc, cgroup: {root}/cgroup }}\n\
             kernel: {{ enabled: false }}\n\
             spool: {{ path: {root}/spool }}\n\
             export: {{ endpoint: \"http://127.0.0.1:9\" }}\n\
             admin: {{ listen: \"127.0.0.1:0\" }}\n"
        );
        fs::write(folder.path().join("agent.yaml"), config).unwrap();
        Self { folder }
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn start(&self) -> Child {
        Command::new(env!("CARGO_BIN_EXE_plimsoll-agent"))
            .arg("--config")
            .arg(self.folder.path().join("agent.yaml"))
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Bytes of records on disk.
    fn written(&self) -> u64 {
        if !self.spool().join("security").exists() {
            return 0;
        }
        let files = segments(&self.spool());
        files
            .iter()
            .map(|path| fs::metadata(path).unwrap().len())
            .sum()
    }
}

#[test]
fn the_program_goes_on_where_kill_9_stopped_it() {
    let agent = Agent::new();
    let mut dice = fastrand::Rng::with_seed(20_261_124);
    let (mut epoch, mut before) = (None, Vec::new());
    for life in 0..4 {
        let had = agent.written();
        let mut child = agent.start();
        let begun = Instant::now();
        // The first heartbeat is written at once; a new segment begins with about a hundred bytes.
        while agent.written() < had + 300 {
            assert!(begun.elapsed() < PATIENCE, "life {life} wrote nothing");
            std::thread::sleep(Duration::from_millis(5));
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let (mut spool, _) = open(&agent.spool(), "another");
        let now = spool.epoch(Class::Security).to_owned();
        assert_eq!(*epoch.get_or_insert_with(|| now.clone()), now);
        let here = waiting(&mut spool);
        drop(spool);
        assert!(here.is_sorted_by_key(|(seq, _)| *seq));
        assert!(here.starts_with(&before), "what was there is there");
        let heartbeats = |records: &[(u64, AuditEvent)]| {
            let beats = records
                .iter()
                .filter(|(_, event)| matches!(event, AuditEvent::Heartbeat(_)));
            beats.count()
        };
        assert!(heartbeats(&here) > heartbeats(&before), "life {life}");
        before = here;
        // Some bytes of what the kill interrupted.
        let file = segments(&agent.spool()).pop().unwrap();
        let mut torn = fs::read(&file).unwrap();
        torn.extend((0..dice.usize(..40)).map(|_| dice.u8(..)));
        fs::write(&file, torn).unwrap();
    }
}

#[test]
fn a_bad_configuration_ends_with_64_and_every_mistake() {
    let agent = Agent::new();
    let config = agent.folder.path().join("agent.yaml");
    fs::write(&config, "usage:\n  window: 60\n  rescan_s: 0\n").unwrap();
    let out = Command::new(env!("CARGO_BIN_EXE_plimsoll-agent"))
        .arg("--config")
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8(out.stderr).unwrap();
    assert_eq!(out.status.code(), Some(64), "{said}");
    for (line, mistake) in [(2, "usage.window"), (3, "usage.rescan_s")] {
        let want = format!("{}:{line}: {mistake}: ", config.display());
        assert!(said.contains(&want), "{want} is not in {said}");
    }
    assert!(out.stdout.is_empty());
}
