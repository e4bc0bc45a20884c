//! Records that are put somewhere together: read once, in flight until they are stored.

use plimsoll_journal::Trouble;
use serde_json::json;

use super::*;
use crate::ocsf::event::trail as ocsf;
use crate::reader::gather::Attempt;
use crate::reader::{Gatherer, Made};
use crate::trail::Draft;

#[derive(Debug, thiserror::Error)]
#[error("not now")]
struct NotNow;

/// Puts so many together.
#[derive(Default)]
struct Fake {
    most: usize,
    held: Vec<u64>,
    asked: usize,
    stored: Vec<Vec<u64>>,
    refuses_at: Option<u64>,
    refuses_to_store: bool,
}

impl Gatherer for Fake {
    type Error = NotNow;
    const BATCH: usize = 3;

    fn name(&self) -> &'static str {
        "fake"
    }

    fn gather(&mut self, record: &Record) -> Result<bool, NotNow> {
        self.asked += 1;
        if self.refuses_at == Some(record.seq) {
            return Err(NotNow);
        }
        if self.held.len() == self.most {
            return Ok(false);
        }
        self.held.push(record.seq);
        Ok(true)
    }

    fn wait(&self, _: u64) -> Option<Duration> {
        (self.refuses_to_store && self.held.len() == self.most).then_some(Duration::ZERO)
    }

    fn store(&mut self) -> Result<(u64, Made), NotNow> {
        if self.refuses_to_store {
            return Err(NotNow);
        }
        let held = std::mem::take(&mut self.held);
        let made = Made {
            delivered: held.len() as u64,
            ..Made::default()
        };
        let last = *held.last().unwrap();
        self.stored.push(held);
        Ok((last, made))
    }

    fn forget(&mut self) {
        self.held.clear();
    }

    fn pause(&mut self) -> Duration {
        Duration::ZERO
    }
}

const NAME: &str = "sink/fake";

fn open(folder: &Path, max_bytes: u64) -> Trail {
    let storage = |name: &str| FileStorage::open(&folder.join(name)).unwrap();
    let settings = trail::Settings {
        readers: vec![NAME.to_owned()],
        max_bytes,
        max_age_ns: None,
        epoch: "e".to_owned(),
        new_journal_epoch: "0".repeat(32),
        version: "0",
    };
    Trail::open(storage("trail"), storage("keys"), settings)
        .unwrap()
        .0
}

/// Besides the checkpoint that begins the epoch.
fn publish(trail: &Trail, count: u64, padding: usize) {
    let draft = |seq: u64| {
        let event = serde_json::to_value(ocsf::probe(&seq.to_string(), seq, "0")).unwrap();
        let mut event = event.as_object().unwrap().clone();
        event.insert("unmapped".to_owned(), json!({"x": "x".repeat(padding)}));
        Draft {
            event,
            document: "{}".to_owned(),
            time_unix_ns: seq,
            source_seq: seq,
        }
    };
    trail
        .publish((1..=count).map(draft).collect(), "s", 1)
        .unwrap();
}

fn until_nothing(reader: &Reader<Trail>, fake: &mut Fake) {
    while matches!(reader.gather_or_store(fake), Ok(Attempt::Went)) {}
}

#[test]
fn records_are_read_once_and_in_flight_until_they_are_stored() {
    let folder = tempfile::tempdir().unwrap();
    let trail = open(folder.path(), 1 << 30);
    let reader = Reader::open(trail.clone(), NAME);
    publish(&trail, 24, 0);
    let mut fake = Fake {
        most: 10,
        ..Fake::default()
    };
    until_nothing(&reader, &mut fake);
    let ten = |from: u64| (from..from + 10).collect::<Vec<_>>();
    assert_eq!(
        (fake.stored.clone(), fake.held.len()),
        (vec![ten(1), ten(11)], 5)
    );
    // The one behind each ten comes again, and nothing else.
    assert_eq!(fake.asked, 27);
    let fates = reader.fates();
    assert_eq!(
        (fates.delivered, fates.in_flight, fates.emitted),
        (20, 5, 25)
    );
    publish(&trail, 5, 0);
    fake.refuses_to_store = true;
    until_nothing(&reader, &mut fake);
    assert_eq!(fake.held, ten(21));
    assert_eq!(reader.fates().in_flight, 10);
    fake.refuses_to_store = false;
    // A place of another life begins where the cursor is.
    drop(reader);
    let reader = Reader::open(trail, NAME);
    reader.put_back().unwrap();
    let mut fake = Fake {
        most: 10,
        ..Fake::default()
    };
    until_nothing(&reader, &mut fake);
    assert_eq!(fake.held, ten(21));
}

#[test]
fn what_there_is_no_room_for_comes_again_with_all_that_was_held() {
    let folder = tempfile::tempdir().unwrap();
    let trail = open(folder.path(), 1 << 30);
    let reader = Reader::open(trail.clone(), NAME);
    publish(&trail, 9, 0);
    let mut fake = Fake {
        most: 10,
        refuses_at: Some(8),
        ..Fake::default()
    };
    until_nothing(&reader, &mut fake);
    assert_eq!((fake.held.len(), reader.fates().in_flight), (0, 10));
    fake.refuses_at = None;
    until_nothing(&reader, &mut fake);
    assert_eq!(fake.held, (1..=10).collect::<Vec<_>>());
}

/// Long before the window that is gathered is stored.
#[test]
fn a_refusal_is_over_when_records_are_gathered_again() {
    let folder = tempfile::tempdir().unwrap();
    let trail = open(folder.path(), 1 << 30);
    let reader = Reader::open(trail.clone(), NAME);
    publish(&trail, 9, 0);
    let mut fake = Fake {
        most: 10,
        refuses_at: Some(2),
        ..Fake::default()
    };
    let mut trouble = Trouble::default();
    let attempt = reader.gather_some(&mut fake, &mut trouble);
    assert!(matches!(attempt, Attempt::Refused(_)));
    let since = reader.state().stuck_since_unix_ns;
    assert!(reader.failing().is_some() && since.is_some());
    fake.refuses_at = None;
    while fake.held.len() < 10 {
        let attempt = reader.gather_some(&mut fake, &mut trouble);
        assert!(matches!(attempt, Attempt::Went));
        assert_eq!(reader.state().stuck_since_unix_ns, None);
    }
    assert_eq!(reader.failing(), None);
    fake.refuses_to_store = true;
    let attempt = reader.gather_some(&mut fake, &mut trouble);
    assert!(matches!(attempt, Attempt::Refused(_)));
    assert_eq!(reader.state().stuck_since_unix_ns, since);
}

/// Each record has one fate, also if the trail has no room for what is held.
#[test]
fn what_is_shed_while_it_is_held_is_delivered_and_the_rest_is_shed() {
    let folder = tempfile::tempdir().unwrap();
    let trail = open(folder.path(), 1 << 20);
    let reader = Reader::open(trail.clone(), NAME);
    publish(&trail, 400, 1000);
    let mut fake = Fake {
        most: 100,
        refuses_to_store: true,
        ..Fake::default()
    };
    until_nothing(&reader, &mut fake);
    publish(&trail, 4000, 1000);
    while !trail.hold_bound(0).1.unwrap() {
        trail.told();
    }
    fake.refuses_to_store = false;
    until_nothing(&reader, &mut fake);
    assert_eq!(fake.stored.first().unwrap(), &(1..=100).collect::<Vec<_>>());
    let fates = reader.fates();
    let stored: usize = fake.stored.iter().map(Vec::len).sum();
    assert_eq!(fates.delivered, stored as u64);
    assert!(fates.shed > 1000 && fates.delivered > 300, "{fates:?}");
    assert_eq!(
        fates.emitted,
        fates.delivered + fates.shed + fates.in_flight
    );
}

/// What went behind the hand is told by its own numbers, also when it was read on behind that.
#[test]
fn what_is_shed_behind_what_is_held_is_told_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let trail = open(folder.path(), 1 << 20);
    let reader = Reader::open(trail.clone(), NAME);
    publish(&trail, 99, 1000);
    let mut fake = Fake {
        most: 150,
        ..Fake::default()
    };
    until_nothing(&reader, &mut fake);
    assert_eq!(fake.held.len(), 100);
    publish(&trail, 4000, 1000);
    let mut gone = Vec::new();
    let mut hold = || loop {
        let (more, held) = trail.hold_bound(0);
        gone.extend(more.into_iter().map(|gone| (gone.count, gone.range)));
        trail.told();
        if held.unwrap() {
            break;
        }
    };
    hold();
    until_nothing(&reader, &mut fake);
    hold();
    let fates = reader.fates();
    assert!(fates.shed > 1000, "{fates:?}");
    assert_eq!(gone.iter().map(|(count, _)| count).sum::<u64>(), fates.shed);
    let (_, (first, last)) = gone[0];
    assert!(first == 101 && last > first, "{gone:?}");
    assert_eq!(fates.unaccounted(), 0);
}
