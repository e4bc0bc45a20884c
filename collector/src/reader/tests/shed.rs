//! A journal that sheds while a destination is about to take what it was given.

use super::*;

const PADDING: usize = 2000;
/// Records in one batch: more than a segment holds.
const BATCH: usize = 50;
/// The journal's bound, which some five hundred records fill.
const BOUND: u64 = 1 << 20;

/// A destination that lets the journal shed in the midst of a take, and then does as it is told.
struct Slow {
    store: Store<CrashStorage>,
    reader: Arc<Reader<Shelf<CrashStorage>>>,
    /// Numbers that come in during the take.
    arriving: Option<std::ops::RangeInclusive<u64>>,
    refuses: bool,
    /// The first number that is held back.
    holds_from: u64,
    taken: Arc<Mutex<Vec<u64>>>,
}

#[derive(Debug, thiserror::Error)]
#[error("it refuses")]
struct Refuses;

impl Destination for Slow {
    type Item = u64;
    type Error = Refuses;
    const BATCH: usize = BATCH;

    fn name(&self) -> &'static str {
        "slow"
    }

    fn resume(&mut self, _: &str) -> Result<Resumed, Refuses> {
        Ok(Resumed::default())
    }

    fn decode(record: &Record) -> Result<u64, PayloadError> {
        Ok(record.seq)
    }

    fn holds(&self, record: &Record, _: &u64, _: u64) -> bool {
        record.seq >= self.holds_from
    }

    fn take(&mut self, items: Vec<u64>, _: &str, last_seq: u64) -> Result<Taken, Refuses> {
        if let Some(arriving) = self.arriving.take() {
            arrive(&self.store, arriving);
            self.store.maintain().unwrap();
            let first = self.store.stats(Class::Usage).first_seq;
            assert!(
                first > items.first().copied(),
                "what it has is shed: {first:?}"
            );
            assert_eq!(self.reader.fates().unaccounted(), 0, "nor in between");
        }
        if self.refuses {
            return Err(Refuses);
        }
        self.taken.lock().unwrap().extend(items);
        Ok(Taken::all(last_seq))
    }
}

/// Windows in requests of ten, so that no segment gets longer than it should.
fn arrive(store: &Store<CrashStorage>, seqs: std::ops::RangeInclusive<u64>) {
    for first in seqs.clone().step_by(10) {
        commit(
            store,
            Class::Usage,
            first..=(first + 9).min(*seqs.end()),
            PADDING,
        );
    }
}

/// What was taken in the end, and how many records the losses tell of.
fn shed_during_a_take(more: u64, refuses: bool, holds_from: u64) -> (Vec<u64>, Fates, u64) {
    let disk = CrashStorage::default();
    let folders = Folders {
        usage: disk.folder("usage"),
        security: disk.folder("security"),
        seen: disk.folder("seen"),
    };
    let epochs = ["aa".repeat(16), "bb".repeat(16)];
    let (store, _) = Store::with(folders, BOUND, epochs, Bounds::default()).unwrap();
    let reader = Arc::new(Reader::open(
        Shelf::of(store.clone(), Class::Usage),
        HISTORY,
    ));
    arrive(&store, 1..=400);
    let mut slow = Slow {
        store: store.clone(),
        reader: Arc::clone(&reader),
        arriving: Some(401..=400 + more),
        refuses,
        holds_from,
        taken: Arc::default(),
    };
    let first = reader.carry_some(&mut slow, Some(1));
    assert_eq!(first.is_err(), refuses);
    assert_eq!(reader.fates().unaccounted(), 0);
    (slow.refuses, slow.holds_from) = (false, u64::MAX);
    while reader.carry_some(&mut slow, Some(1)).unwrap() != Carried::Nothing {
        assert_eq!(reader.fates().unaccounted(), 0);
    }
    store.maintain().unwrap();
    let told = store.read(Class::Security, 1, 100, 1 << 20).unwrap();
    let told = told.records.iter().map(|record| {
        let (_, _, event) = decode::audit_event(&record.payload).unwrap();
        match event {
            AuditEvent::Loss(loss) if loss.fate == "shed" => loss.count,
            other => panic!("{other:?}"),
        }
    });
    let taken = slow.taken.lock().unwrap().clone();
    (taken, reader.fates(), told.sum())
}

#[track_caller]
fn check(more: u64, refuses: bool, holds_from: u64, from_the_first: u64) {
    let (taken, fates, told) = shed_during_a_take(more, refuses, holds_from);
    assert_eq!(fates.unaccounted(), 0, "{fates:?}");
    assert_eq!((fates.emitted, fates.in_flight), (400 + more, 0));
    assert_eq!(fates.delivered, taken.len() as u64);
    assert_eq!(fates.shed, 400 + more - fates.delivered);
    assert!(fates.shed > 0);
    assert_eq!(told, fates.shed, "the losses on record say the same");
    let once: BTreeSet<u64> = taken.iter().copied().collect();
    assert_eq!(once.len(), taken.len(), "nothing is taken twice");
    let kept: Vec<u64> = (1..=from_the_first).collect();
    assert_eq!(
        once.range(..=BATCH as u64).copied().collect::<Vec<_>>(),
        kept
    );
}

#[test]
fn what_a_destination_takes_is_not_shed_as_well() {
    // All that it has in its hand, and much behind it.
    check(400, false, u64::MAX, BATCH as u64);
}

#[test]
fn what_a_destination_refuses_is_shed() {
    check(400, true, u64::MAX, 0);
}

#[test]
fn of_what_a_destination_takes_in_part_the_rest_is_shed() {
    check(400, false, 21, 20);
}
