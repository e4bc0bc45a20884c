//! Readers on real folders.

mod ahead;
mod failures;
mod gather;
mod names;
mod shed;

use crate::ingest::placed::Pods;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use plimsoll_journal::testing::CrashStorage;
use plimsoll_journal::{Batch, FileStorage, Record, Storage};
use plimsoll_wire::Class;
use plimsoll_wire::event::{ContainerEnd, Loss};
use plimsoll_wire::identity::{Qos, Subject};
use plimsoll_wire::otlp::{id, logs};
use plimsoll_wire::{AuditEvent, Identity};
use tokio_util::sync::CancellationToken;

use super::carry::{Carried, Pace};
use super::sorted::sort;
use super::*;
use crate::api::{self, AuditRing};
use crate::history::feed::Feed;
use crate::history::{History, Limits};
use crate::ingest::Store;
use crate::ingest::decode::{self, PayloadError};
use crate::ingest::dedupe::Bounds;
use crate::ingest::store::{Arrival, Folders, HISTORY, SINK};
use crate::inventory::IndexReader;
use crate::join;
use crate::publish::{self, Publisher};
use crate::records;
use crate::sink::{self, FileSink};
use crate::trail::{self, Trail};

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
            decode::usage(
                vec![records::metrics(&window, seq)],
                records::NODE,
                &Pods::default(),
            )
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
            decode::security(
                vec![records::logs(&event, seq)],
                records::NODE,
                &Pods::default(),
            )
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
    publisher: Publisher,
    file: Arc<Reader<Trail>>,
    written: Arc<sink::Written>,
    sink: FileSink,
    shown: Arc<AuditRing>,
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
        let shown = Arc::new(AuditRing::default());
        let sink = FileSink::new(options, Arc::clone(&shown));
        let open = |name: &str| FileStorage::open(&folder.join("journal").join(name)).unwrap();
        let settings = trail::Settings {
            readers: vec![FileSink::NAME.to_owned()],
            max_bytes: 1 << 30,
            max_age_ns: None,
            epoch: trail::new_epoch(api::unix_ns(), fastrand::u64(..)),
            new_journal_epoch: format!("{:032x}", fastrand::u128(..)),
            version: "0",
        };
        let (trail, _) = Trail::open(open("trail"), open("keys"), settings).unwrap();
        let known = Arc::new(|_: &str, _: &AuditEvent| publish::Known::default());
        Self {
            publisher: Publisher::new(trail.clone(), known),
            file: Arc::new(Reader::open(trail, FileSink::NAME)),
            history: Arc::new(history),
            usage: Arc::new(Reader::open(
                Shelf::of(store.clone(), Class::Usage),
                HISTORY,
            )),
            security: Arc::new(Reader::open(
                Shelf::of(store.clone(), Class::Security),
                SINK,
            )),
            written: sink.written(),
            sink,
            shown,
            store,
        }
    }

    /// Everything that is in the journals by now.
    fn drain(self) -> Ended {
        let stop = CancellationToken::new();
        stop.cancel();
        let feed = Feed {
            history: Arc::clone(&self.history),
            index: IndexReader::default(),
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
                .carry(self.publisher, stop.clone())
                .await
                .unwrap();
            Arc::clone(&self.file).carry(self.sink, stop).await.unwrap();
        });
        Ended {
            store: self.store,
            history: self.history,
            usage: self.usage,
            security: self.security,
            file: self.file,
            lines: self.written.lines.load(Ordering::Relaxed),
        }
    }
}

struct Ended {
    store: Store,
    history: Arc<History>,
    usage: Arc<Reader>,
    security: Arc<Reader>,
    file: Arc<Reader<Trail>>,
    lines: u64,
}

impl Ended {
    fn windows(&self) -> u64 {
        let snapshot = self.history.snapshot();
        snapshot.iter().map(|(_, s)| s.usage.windows).sum()
    }
}

#[test]
fn windows_that_a_full_history_turns_away_are_not_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let mut life = Life::begin(dir.path());
    let limits = Limits {
        max_series: 2,
        ..Limits::default()
    };
    life.history = Arc::new(History::open(&dir.path().join("small.redb"), limits).unwrap());
    let window = |seq| records::metrics(&records::minute(seq, 1), seq);
    let windows = (1..=5).map(window).collect();
    let arrival = Arrival {
        class: Class::Usage,
        records: decode::usage(windows, records::NODE, &Pods::default()).records,
        others: Vec::new(),
    };
    life.store.commit(&[arrival]).unwrap();
    let ended = life.drain();
    assert_eq!(ended.windows(), 2);
    let fates = ended.usage.row(Feed::NAME).fates;
    assert_eq!((fates.delivered, fates.rejected), (2, 3));
    assert_eq!(fates.unaccounted(), 0);
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
    assert_eq!((sorted.known, sorted.seqs.as_slice()), (2, [5].as_slice()));
    assert_eq!(sorted.unreadable, [4]);
    let nothing = sort(&Batch::default(), 2, decode, free);
    assert_eq!((nothing.last_seq, nothing.is_held), (None, false));

    // What is known is not held, and what is before the held one is settled, damage as well.
    let held = |_: &Record, item: &u64| *item <= 2 || *item == 5;
    let sorted = sort(&batch, 2, decode, held);
    assert_eq!((sorted.items.len(), sorted.last_seq), (0, Some(4)));
    assert!(sorted.is_held);
    assert_eq!(
        (sorted.known, sorted.unreadable.as_slice()),
        (2, [4].as_slice())
    );
    let sorted = sort(&batch, 0, decode, held);
    assert_eq!((sorted.last_seq, sorted.is_held), (None, true));
    assert_eq!((sorted.known, sorted.unreadable.len()), (0, 0));
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
    // What the trail says of itself is no line.
    for (fates, renewals, filtered) in [
        (second.usage.fates(), second.usage.state().renewals, 0),
        (second.file.fates(), second.file.state().renewals, 1),
    ] {
        assert_eq!(renewals, 1);
        assert_eq!((fates.delivered, fates.filtered), (3, filtered));
        assert_eq!(fates.unaccounted(), 0);
    }
    assert_eq!(second.security.fates().delivered, 3);
    assert_eq!(second.security.fates().unaccounted(), 0);
    drop(second);

    // The same journal again: nothing is new, nothing is counted.
    let third = Life::begin(dir.path()).drain();
    assert_eq!((third.windows(), third.lines), (10, 0));
    assert_eq!(third.usage.state().renewals, 0);
    assert_eq!(third.security.state().renewals, 0);
    assert_eq!(third.file.state().renewals, 0);
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
