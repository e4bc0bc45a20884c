//! Readers on real folders.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plimsoll_journal::testing::CrashStorage;
use plimsoll_journal::{Batch, Record, Storage};
use plimsoll_wire::event::{ContainerEnd, Loss};
use plimsoll_wire::identity::{Qos, Subject};
use plimsoll_wire::otlp::{id, logs};
use plimsoll_wire::{AuditEvent, Identity};
use serde_json::Map;
use tokio_util::sync::CancellationToken;

use super::carry::{Carried, sort};
use super::*;
use crate::api::{self, AuditRing};
use crate::history::feed::Feed;
use crate::history::{History, Limits};
use crate::ingest::decode::{self, PayloadError};
use crate::ingest::dedupe::Bounds;
use crate::ingest::store::{Arrival, Folders, HISTORY, SINK};
use crate::inventory::{Index, IndexReader};
use crate::join;
use crate::records;
use crate::sink::{self, FileSink};

fn commit<S: Storage>(
    store: &Store<S>,
    class: Class,
    seqs: std::ops::RangeInclusive<u64>,
    padding: usize,
) {
    let of = |seq| match class {
        Class::Usage => {
            let mut window = records::minute(1, seq);
            window.identity.cgroup_path = Some("x".repeat(padding));
            decode::usage(vec![records::metrics(&window, seq)], records::NODE)
        }
        Class::Security => {
            let event = AuditEvent::Loss(Loss {
                stage: "x".repeat(padding),
                lost_class: Class::Usage,
                fate: "shed".to_owned(),
                count: 1,
                first_seq: None,
                last_seq: None,
            });
            decode::security(vec![records::logs(&event, seq)], records::NODE)
        }
    };
    let arrival = Arrival {
        class,
        records: seqs.flat_map(|seq| of(seq).records).collect(),
        others: Vec::new(),
    };
    store.commit(&[arrival]).unwrap();
}

/// A collector's readers and what they write, on one folder.
struct Life {
    store: Store,
    history: Arc<History>,
    usage: Arc<Reader>,
    security: Arc<Reader>,
    written: Arc<sink::Written>,
    sink: FileSink,
}

impl Life {
    fn begin(folder: &Path) -> Self {
        let (store, _) = Store::open(folder, 1 << 30).unwrap();
        let history = History::open(&folder.join("history.redb"), Limits::default()).unwrap();
        let options = sink::Options {
            path: folder.join("audit/audit.jsonl"),
            rotate_bytes: 1 << 30,
            keep_files: 1,
        };
        let sink = FileSink::new(
            options,
            Arc::new(|_| Map::new()),
            Arc::new(AuditRing::default()),
        );
        Self {
            history: Arc::new(history),
            usage: Arc::new(Reader::open(store.clone(), Class::Usage, HISTORY)),
            security: Arc::new(Reader::open(store.clone(), Class::Security, SINK)),
            written: sink.written(),
            sink,
            store,
        }
    }

    /// Everything that is in the journals by now.
    fn drain(self) -> Ended {
        let stop = CancellationToken::new();
        stop.cancel();
        let feed = Feed {
            history: Arc::clone(&self.history),
            index: IndexReader::fixed(Index::default()),
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            Arc::clone(&self.usage)
                .carry(feed, stop.clone())
                .await
                .unwrap();
            Arc::clone(&self.security)
                .carry(self.sink, stop)
                .await
                .unwrap();
        });
        Ended {
            store: self.store,
            history: self.history,
            usage: self.usage,
            security: self.security,
            lines: self.written.lines.load(Ordering::Relaxed),
        }
    }
}

struct Ended {
    store: Store,
    history: Arc<History>,
    usage: Arc<Reader>,
    security: Arc<Reader>,
    lines: u64,
}

impl Ended {
    fn windows(&self) -> u64 {
        let snapshot = self.history.snapshot();
        snapshot.iter().map(|(_, s)| s.usage.windows).sum()
    }
}

fn segments(folder: &Path, class: Class) -> usize {
    std::fs::read_dir(folder.join("journal").join(class.as_str()))
        .unwrap()
        .filter(|entry| {
            let name = entry.as_ref().unwrap().file_name();
            name.to_string_lossy().ends_with(".plj")
        })
        .count()
}

#[test]
fn a_batch_is_sorted_into_new_known_and_unreadable() {
    let record = |seq| Record {
        seq,
        time_unix_ns: 0,
        payload: vec![u8::try_from(seq).unwrap()],
    };
    let decode = |record: &Record| match record.payload.as_slice() {
        [4] => Err(PayloadError::Absent("sense")),
        _ => Ok(record.seq),
    };
    let batch = Batch {
        records: [1, 2, 4, 5].map(record).to_vec(),
        damaged: vec![(3, 3), (6, 9)],
    };
    let free = |_: &Record, _: &u64| false;
    let sorted = sort(&batch, 2, decode, free);
    assert_eq!(sorted.items, [5]);
    assert_eq!((sorted.last_seq, sorted.is_held), (Some(9), false));
    let made = Made {
        delivered: 1,
        filtered: 2,
        undecodable: 1,
    };
    assert_eq!(sorted.made, made);
    let nothing = sort(&Batch::default(), 2, decode, free);
    assert_eq!((nothing.last_seq, nothing.is_held), (None, false));

    // What is known is not held, and what is before the held one is settled, damage as well.
    let held = |_: &Record, item: &u64| *item <= 2 || *item == 5;
    let sorted = sort(&batch, 2, decode, held);
    assert_eq!((sorted.items.len(), sorted.last_seq), (0, Some(4)));
    assert!(sorted.is_held);
    assert_eq!(
        sorted.made,
        Made {
            delivered: 0,
            ..made
        }
    );
    let sorted = sort(&batch, 0, decode, held);
    assert_eq!((sorted.last_seq, sorted.is_held), (None, true));
    assert_eq!(sorted.made, Made::default());
}

const WAIT: Duration = Duration::from_secs(10);

/// A sink that waits for the names of the pods that are not `learnt`, by their UID.
struct Waiting {
    store: Store,
    reader: Arc<Reader>,
    sink: FileSink,
    path: PathBuf,
    learnt: Arc<Mutex<BTreeSet<String>>>,
    _folder: tempfile::TempDir,
}

impl Waiting {
    fn begin() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let life = Life::begin(folder.path());
        let learnt = Arc::<Mutex<BTreeSet<String>>>::default();
        let known = Arc::clone(&learnt);
        let pending = move |event: &AuditEvent| {
            let subject = &join::identity_of(event).unwrap().subject;
            matches!(subject, Subject::Pod { pod_uid, .. } if !known.lock().unwrap().contains(pod_uid))
        };
        let wait = sink::NameWait {
            within: WAIT,
            pending: Arc::new(pending),
        };
        Self {
            store: life.store,
            reader: life.security,
            sink: life.sink.waiting(wait),
            path: folder.path().join("audit/audit.jsonl"),
            learnt,
            _folder: folder,
        }
    }

    /// An event of that pod, which happened so long before it arrives; the time of its arrival.
    fn arrive(&self, seq: u64, pod: &str, age: Duration) -> u64 {
        let event = AuditEvent::ContainerEnd(ContainerEnd {
            identity: Identity {
                cgroup_id: 7,
                cgroup_path: None,
                subject: Subject::Pod {
                    pod_uid: pod.to_owned(),
                    qos: Qos::Burstable,
                },
            },
            started_unix_ns: None,
            cpu_used_ns: None,
            memory_peak_bytes: None,
        });
        let age = u64::try_from(age.as_nanos()).unwrap();
        let mut record = logs::encode(&event, api::unix_ns() - age);
        let stream = id::StreamId {
            epoch: "00112233445566778899aabbccddeeff".to_owned(),
            class: Class::Security,
            seq,
        };
        id::stamp(&mut record.attributes, &stream);
        let envelope = decode::envelope(record, records::NODE);
        let arrival = Arrival {
            class: Class::Security,
            records: decode::security(vec![envelope], records::NODE).records,
            others: Vec::new(),
        };
        self.store.commit(&[arrival]).unwrap();
        let batch = self.store.read(Class::Security, seq, 1, 1 << 20).unwrap();
        batch.records[0].time_unix_ns
    }

    /// Carries until nothing more goes at that time; the numbers that are in the file then.
    fn written_at(&mut self, now_unix_ns: u64) -> Vec<u64> {
        while self
            .reader
            .carry_some(&mut self.sink, Some(now_unix_ns))
            .unwrap()
            == Carried::Some
        {}
        let text = std::fs::read_to_string(&self.path).unwrap_or_default();
        let lines = text.lines().map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["journal"]["seq"].as_u64().unwrap()
        });
        lines.collect()
    }
}

const SECOND: u64 = 1_000_000_000;

#[test]
fn an_event_waits_for_its_name_in_its_place_and_no_longer_than_its_time() {
    let mut waiting = Waiting::begin();
    waiting.learnt.lock().unwrap().insert("known".to_owned());
    waiting.arrive(1, "known", Duration::ZERO);
    let arrived = waiting.arrive(2, "new", Duration::ZERO);
    waiting.arrive(3, "known", Duration::ZERO);
    let unknown = waiting.arrive(4, "never", Duration::ZERO);
    assert_eq!(waiting.written_at(arrived), [1], "the order stays");
    assert_eq!(waiting.reader.state().stuck_since_unix_ns, None);
    assert_eq!(waiting.reader.fates().in_flight, 3);
    assert_eq!(waiting.written_at(arrived + 9 * SECOND), [1]);
    waiting.learnt.lock().unwrap().insert("new".to_owned());
    assert_eq!(waiting.written_at(arrived + 9 * SECOND), [1, 2, 3]);
    assert_eq!(waiting.written_at(unknown + 10 * SECOND - 1), [1, 2, 3]);
    assert_eq!(waiting.written_at(unknown + 10 * SECOND), [1, 2, 3, 4]);
    assert_eq!(waiting.reader.fates().unaccounted(), 0);
}

/// Each waits for its own time, counted from its own arrival: they all wait at once.
#[test]
fn a_stream_of_unknown_pods_is_late_and_not_slow() {
    let mut waiting = Waiting::begin();
    let arrivals: Vec<u64> = (1..=40)
        .map(|seq| waiting.arrive(seq, &format!("pod-{seq}"), Duration::ZERO))
        .collect();
    assert_eq!(waiting.written_at(arrivals[39]), [0; 0]);
    let first_ten: Vec<u64> = (1..=10).collect();
    assert_eq!(waiting.written_at(arrivals[9] + 10 * SECOND), first_ten);
    assert_eq!(waiting.written_at(arrivals[39] + 10 * SECOND).len(), 40);
}

#[test]
fn a_backlog_does_not_wait_nor_does_anything_when_the_clock_was_set_back() {
    let mut waiting = Waiting::begin();
    let arrived = waiting.arrive(1, "old", WAIT);
    assert_eq!(waiting.written_at(arrived), [1]);
    let arrived = waiting.arrive(2, "new", Duration::ZERO);
    assert_eq!(waiting.written_at(arrived), [1]);
    assert_eq!(waiting.written_at(arrived - 3600 * SECOND), [1, 2]);
}

/// At the end nothing is held back: the file has what the journal has.
#[tokio::test]
async fn the_end_waits_for_no_name() {
    let waiting = Waiting::begin();
    waiting.arrive(1, "new", Duration::ZERO);
    let stop = CancellationToken::new();
    stop.cancel();
    let written = waiting.sink.written();
    Arc::clone(&waiting.reader)
        .carry(waiting.sink, stop)
        .await
        .unwrap();
    assert_eq!(written.lines.load(Ordering::Relaxed), 1);
}

#[test]
fn a_journal_that_was_wiped_is_read_from_its_start() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::begin(dir.path());
    for class in Class::ALL {
        commit(&life.store, class, 1..=7, 0);
    }
    let first = life.drain();
    assert_eq!((first.windows(), first.lines), (7, 7));
    assert_eq!(first.usage.state().renewals, 0);
    drop(first);

    std::fs::remove_dir_all(dir.path().join("journal")).unwrap();
    let life = Life::begin(dir.path());
    for class in Class::ALL {
        commit(&life.store, class, 8..=10, 0);
    }
    let second = life.drain();
    assert_eq!((second.windows(), second.lines), (10, 3));
    for reader in [&second.usage, &second.security] {
        assert_eq!(reader.state().renewals, 1);
        let fates = reader.fates();
        assert_eq!((fates.delivered, fates.filtered), (3, 0));
        assert_eq!(fates.unaccounted(), 0);
    }
    drop(second);

    // The same journal again: nothing is new, nothing is counted.
    let third = Life::begin(dir.path()).drain();
    assert_eq!((third.windows(), third.lines), (10, 0));
    assert_eq!(third.usage.state().renewals, 0);
    assert_eq!(third.security.state().renewals, 0);
    let text = std::fs::read_to_string(dir.path().join("audit/audit.jsonl")).unwrap();
    assert_eq!(text.lines().count(), 10);
}

#[test]
fn what_all_readers_have_passed_is_reclaimed_at_the_end_and_after_a_kill() {
    const PADDING: usize = 900 << 10;
    let dir = tempfile::tempdir().unwrap();
    let life = Life::begin(dir.path());
    for seq in 1..=12 {
        for class in Class::ALL {
            commit(&life.store, class, seq..=seq, PADDING);
        }
    }
    // What the receiver does last, before the readers have read on: nothing may go.
    life.store.maintain().unwrap();
    for class in Class::ALL {
        assert!(segments(dir.path(), class) >= 3);
    }
    // Killed here: the readers' records are where they should be, their cursors not on disk.
    let read = life.drain();
    assert_eq!((read.windows(), read.lines), (12, 12));
    drop(read);

    let life = Life::begin(dir.path());
    let again = life.drain();
    assert_eq!((again.windows(), again.lines), (12, 0));
    assert_eq!(again.usage.fates().filtered, 12);
    again.store.maintain().unwrap();
    for class in Class::ALL {
        assert_eq!(segments(dir.path(), class), 1);
    }
    drop(again);

    let life = Life::begin(dir.path());
    commit(&life.store, Class::Usage, 13..=13, 0);
    let last = life.drain();
    assert_eq!(last.usage.fates().filtered, 0, "the cursors were on disk");
    assert_eq!(last.windows(), 13);
}

/// A destination that counts the attempts, mends a segment before one of them, refuses as often as it
/// is told, and ends the reader when it has the last record.
struct Counting {
    attempts: u32,
    mend: (u32, CrashStorage, String),
    refusals: u32,
    taken: Arc<Mutex<Vec<u64>>>,
    last: u64,
    stop: CancellationToken,
}

#[derive(Debug, thiserror::Error)]
#[error("it refuses")]
struct Refuses;

impl Destination for Counting {
    type Item = u64;
    type Error = Refuses;
    const NAME: &'static str = "counting";
    const BATCH: usize = 1;

    fn resume(&mut self, _: &str) -> Result<Resumed, Refuses> {
        self.attempts += 1;
        let (at, folder, segment) = &self.mend;
        if *at == self.attempts {
            folder.mend_reads(segment);
        }
        Ok(Resumed::default())
    }

    fn decode(record: &Record) -> Result<u64, PayloadError> {
        Ok(record.seq)
    }

    fn take(&mut self, items: Vec<u64>, _: &str, last_seq: u64) -> Result<(), Refuses> {
        if self.refusals > 0 {
            self.refusals -= 1;
            return Err(Refuses);
        }
        self.taken.lock().unwrap().extend(items);
        if last_seq >= self.last {
            self.stop.cancel();
        }
        Ok(())
    }
}

/// The first segment cannot be read until attempt number `mended`; what is taken then, the reader's
/// fates, and how often it failed.
async fn carried_with_a_bad_segment(mended: u32, refusals: u32) -> (Vec<u64>, Fates, u64) {
    const PADDING: usize = 900 << 10;
    let disk = CrashStorage::default();
    let folder = disk.folder("security");
    let folders = Folders {
        usage: disk.folder("usage"),
        security: folder.clone(),
        seen: disk.folder("seen"),
    };
    let epochs = ["aa".repeat(16), "bb".repeat(16)];
    let (store, _) = Store::with(folders, 1 << 30, epochs, Bounds::default()).unwrap();
    let reader = Arc::new(Reader::open(store.clone(), Class::Security, SINK));
    for seq in 1..=12 {
        commit(&store, Class::Security, seq..=seq, PADDING);
    }
    let mut names = folder.list().unwrap();
    names.retain(|name| name.contains(".plj"));
    names.sort();
    assert!(names.len() >= 3, "{names:?}");
    folder.fail_reads(&names[0]);
    let (taken, stop) = (Arc::default(), CancellationToken::new());
    let destination = Counting {
        attempts: 0,
        mend: (mended, folder, names[0].clone()),
        refusals,
        taken: Arc::clone(&taken),
        last: 12,
        stop: stop.clone(),
    };
    Arc::clone(&reader)
        .carry_with(destination, stop, Duration::ZERO)
        .await
        .unwrap();
    let taken = taken.lock().unwrap().clone();
    (taken, reader.fates(), reader.state().failures)
}

#[tokio::test]
async fn a_segment_is_given_up_after_five_failed_reads_and_not_before() {
    let all: Vec<u64> = (1..=12).collect();
    // The fifth attempt can read it again.
    let (taken, fates, failures) = carried_with_a_bad_segment(5, 0).await;
    assert_eq!((taken, failures), (all, 4));
    assert_eq!((fates.delivered, fates.undecodable), (12, 0));
    // The sixth would have.
    let (taken, fates, failures) = carried_with_a_bad_segment(6, 0).await;
    assert_eq!(failures, 5);
    assert!(
        !taken.contains(&1) && taken.last() == Some(&12),
        "{taken:?}"
    );
    let lost = 12 - taken.len() as u64;
    assert_eq!((fates.delivered, fates.undecodable), (12 - lost, lost));
    assert_eq!(fates.unaccounted(), 0);
}

/// However often the destination refuses, nothing of the journal is given up for it.
#[tokio::test]
async fn a_destination_that_refuses_costs_no_record() {
    let (taken, fates, failures) = carried_with_a_bad_segment(1, 20).await;
    assert_eq!((taken.len(), failures), (12, 20));
    assert_eq!((fates.delivered, fates.undecodable), (12, 0));
}
