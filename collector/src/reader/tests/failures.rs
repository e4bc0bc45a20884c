//! A journal that cannot be read, and a destination that refuses.

use std::sync::atomic::AtomicBool;

use plimsoll_journal::Files as _;

use super::*;
use crate::api::AuditQuery;
use crate::api::Seen;

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
    const BATCH: usize = 1;

    fn name(&self) -> &'static str {
        "counting"
    }

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

    fn take(&mut self, items: Vec<u64>, _: &str, last_seq: u64) -> Result<Taken, Refuses> {
        if self.refusals > 0 {
            self.refusals -= 1;
            return Err(Refuses);
        }
        self.taken.lock().unwrap().extend(items);
        if last_seq >= self.last {
            self.stop.cancel();
        }
        Ok(Taken::all(last_seq))
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
    let reader = Arc::new(Reader::open(
        Shelf::of(store.clone(), Class::Security),
        SINK,
    ));
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
        .carry_with(
            destination,
            stop,
            Pace {
                retry: Duration::ZERO,
                late: Duration::MAX,
            },
        )
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

/// After a sync that failed, lines can be read that are not on the disk, and the next sync says that all
/// is well: they are written again, and are shown like all others.
#[test]
fn lines_that_could_not_be_synced_are_written_again() {
    let dir = tempfile::tempdir().unwrap();
    let life = Life::begin(dir.path());
    let fails = Arc::new(AtomicBool::new(false));
    let is_failing = Arc::clone(&fails);
    let mut sink = life.sink.syncing(Arc::new(move |_| {
        if is_failing.load(Ordering::Relaxed) {
            return Err(std::io::Error::other("the disk failed"));
        }
        Ok(())
    }));
    let path = dir.path().join("audit/audit.jsonl");
    let lines = || {
        let text = std::fs::read_to_string(&path).unwrap();
        text.lines().count()
    };
    let mut publisher = life.publisher;
    let mut publish = |seqs| {
        commit(&life.store, Class::Security, seqs, 0);
        life.security.carry_some(&mut publisher, None).unwrap();
    };
    publish(1..=2);
    life.file.carry_some(&mut sink, None).unwrap();
    publish(3..=5);
    fails.store(true, Ordering::Relaxed);
    for _ in 0..2 {
        assert!(life.file.carry_some(&mut sink, None).is_err());
    }
    fails.store(false, Ordering::Relaxed);
    // The trail's first record is its own.
    let resumed = sink.resume(&life.file.source().epoch()).unwrap();
    assert_eq!(resumed.last_seq, 3);
    assert_eq!(lines(), 2, "cut back to what was synced");
    life.file.carry_some(&mut sink, None).unwrap();
    assert_eq!(lines(), 5);
    let fates = life.file.fates();
    assert_eq!((fates.delivered, fates.filtered), (5, 1));
    let (shown, _) = life
        .shown
        .query(&AuditQuery::default(), &Seen::All, 0)
        .unwrap();
    assert_eq!(shown.len(), 5);
}
