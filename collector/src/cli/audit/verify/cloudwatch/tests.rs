//! Reads of a log that shows events late, in pages, and without end.

use std::collections::BTreeMap;

use plimsoll_journal::testing::CrashStorage;
use serde_json::json;

use super::*;
use crate::reader::Source as _;
use crate::trail::entry::Entry;
use crate::trail::verify::{Expect, Kind, Report};
use crate::trail::{Draft, Settings, Trail};

const NOW: i64 = 1_800_000_000_000;

/// Links of one life, of so many events at that time.
fn links(disk: &CrashStorage, epoch: &str, events: u64) -> Vec<String> {
    let settings = Settings {
        readers: vec!["all".to_owned()],
        max_bytes: 1 << 30,
        max_age_ns: None,
        epoch: epoch.to_owned(),
        new_journal_epoch: "aa".repeat(16),
        version: "0",
    };
    let (trail, _) = Trail::open(disk.folder("trail"), disk.folder("keys"), settings).unwrap();
    let now_ns = u64::try_from(NOW).unwrap() * 1_000_000;
    let drafts = (1..=events).map(|seq| Draft {
        event: json!({"class_uid": 4002, "time": 1, "unmapped": {}})
            .as_object()
            .unwrap()
            .clone(),
        document: "{}".to_owned(),
        time_unix_ns: now_ns,
        source_seq: seq,
    });
    trail.publish(drafts.collect(), "s", now_ns).unwrap();
    trail.close(now_ns).unwrap();
    let batch = trail.hand_out("all", 1000, 1 << 30).unwrap();
    let bodies = batch.records.iter();
    let bodies = bodies.map(|record| Entry::of(&record.payload).unwrap().body);
    let last = batch.records.last().unwrap().seq;
    let bodies = bodies.collect();
    trail.settle("all", last).unwrap();
    bodies
}

/// An event, and when reads begin to find it.
type Stored = (Logged, i64);

/// A service of streams, with a clock that goes on as it is waited for.
#[derive(Default)]
struct Scripted {
    streams: BTreeMap<String, Vec<Stored>>,
    now_ms: i64,
    page: usize,
    /// Pages without events that come first, each time.
    empty: usize,
    told: Vec<String>,
    waited: usize,
    /// From when on each read asked for events.
    asked: Vec<Option<i64>>,
    /// Each read finds one more event, which was just stored.
    grows: bool,
}

impl Service for Scripted {
    fn streams(
        &mut self,
        prefix: Option<&str>,
        token: Option<&str>,
    ) -> Result<(Vec<String>, Option<String>), Failed> {
        let names = self
            .streams
            .keys()
            .filter(|name| name.starts_with(prefix.unwrap_or_default()));
        let behind = names.filter(|name| token.is_none_or(|token| name.as_str() > token));
        let names: Vec<String> = behind.take(1).cloned().collect();
        let next = names.last().cloned();
        Ok((names, next))
    }

    fn events(
        &mut self,
        stream: &str,
        token: Option<&str>,
        from_ms: Option<i64>,
    ) -> Result<Page, Failed> {
        self.asked.push(from_ms);
        let from: usize = token.map_or(0, |token| token.parse().unwrap());
        if from < self.empty {
            return Ok(Page {
                events: Vec::new(),
                next: (from + 1).to_string(),
            });
        }
        if self.grows {
            let stored = self.streams.get_mut(stream).unwrap();
            let mut newest = stored.last().unwrap().clone();
            newest.0.ingestion_ms = self.now_ms + 1;
            newest.0.timestamp_ms = self.now_ms + 1;
            stored.push(newest);
        }
        let now_ms = self.now_ms;
        let mut seen: Vec<Logged> = self.streams[stream]
            .iter()
            .filter(|(event, from)| {
                *from <= now_ms && from_ms.is_none_or(|from| event.timestamp_ms >= from)
            })
            .map(|(event, _)| event.clone())
            .collect();
        seen.sort_by_key(|event| event.timestamp_ms);
        let at = from - self.empty;
        let events: Vec<Logged> = seen.into_iter().skip(at).take(self.page).collect();
        let next = (from + events.len()).to_string();
        Ok(Page { events, next })
    }

    fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn wait(&mut self, ms: u64) {
        self.waited += 1;
        self.now_ms += i64::try_from(ms).unwrap();
    }

    fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        self.told.push(what.to_string());
    }

    fn progress(&mut self, _: u64, _: &str) {}
}

fn service(streams: impl IntoIterator<Item = (&'static str, Vec<Stored>)>) -> Scripted {
    let streams = streams.into_iter();
    Scripted {
        streams: streams.map(|(name, all)| (name.to_owned(), all)).collect(),
        now_ms: NOW,
        page: 2,
        ..Scripted::default()
    }
}

/// Stored so long ago, and found by now.
fn stored(links: &[String], ago_ms: i64) -> Vec<Stored> {
    let event = |(at, link): (usize, &String)| Logged {
        message: link.clone(),
        timestamp_ms: NOW - ago_ms + i64::try_from(at).unwrap(),
        ingestion_ms: NOW - ago_ms,
    };
    let events = links.iter().enumerate();
    events.map(|event_of| (event(event_of), 0)).collect()
}

fn read(service: &mut Scripted, heads: Vec<(String, u64, [u8; 32])>) -> Report {
    let expect = Expect {
        loose: true,
        heads,
        now_ms: Some(NOW),
        lag_ms: LAG_MS,
        may_rest: true,
        ..Expect::default()
    };
    let names = Which::default().names(service).unwrap();
    let place = |at: u64| format!("stream {}, event {}", at >> STREAM, at & (YOUNG - 1));
    let mut verifier = Verifier::new(expect, &place);
    Reading::new(service, &mut verifier, &names).read().unwrap();
    verifier.finish()
}

#[test]
fn streams_are_read_to_their_ends_in_the_order_of_their_names() {
    let disk = CrashStorage::default();
    let (one, two) = (
        links(&disk, "20261201T110000Z-1", 7),
        links(&disk, "20261201T120000Z-2", 3),
    );
    let old = 7_200_000;
    let mut service = service([
        ("c/20261201T110000Z-1", stored(&one, old)),
        ("c/20261201T120000Z-2", stored(&two, old)),
    ]);
    service.empty = 3;
    let report = read(&mut service, Vec::new());
    assert!(report.ok, "{:#?}", report.findings);
    assert_eq!((report.events, report.epochs.len()), (14, 2));
    assert_eq!((service.waited, service.told.len()), (0, 0));
    // Nothing of the first is there: no event says that it was not removed long ago.
    service
        .streams
        .get_mut("c/20261201T110000Z-1")
        .unwrap()
        .clear();
    assert!(read(&mut service, Vec::new()).ok);
}

#[test]
fn what_is_missing_from_long_ago_is_a_gap_at_once() {
    let disk = CrashStorage::default();
    let all = links(&disk, "e", 7);
    let mut events = stored(&all, LAG_MS + 1);
    events.remove(3);
    let mut service = service([("e", events)]);
    let report = read(&mut service, Vec::new());
    assert_eq!(report.findings[0].kind, Kind::Gap);
    assert_eq!((report.findings[0].seq, service.waited), (Some(4), 0));
}

#[test]
fn what_is_missing_from_just_now_is_waited_for() {
    let disk = CrashStorage::default();
    let all = links(&disk, "e", 7);
    // The fourth shows after 20 s; the sixth, whose time is a day ago, as well.
    let mut events = stored(&all, 10_000);
    events[3].1 = NOW + 20_000;
    events[5].1 = NOW + 20_000;
    events[5].0.timestamp_ms -= 86_400_000;
    let mut service = service([("e", events.clone())]);
    let report = read(&mut service, Vec::new());
    assert!(report.ok, "{:#?}", report.findings);
    assert_eq!((report.events, report.duplicates), (9, 0));
    assert_eq!(service.told.len(), 1, "{:?}", service.told);
    // Only the last look is at everything, as late as may be.
    let windows = service.asked.iter().filter(|from| from.is_some());
    assert!(windows.count() > 10);
    assert!(service.now_ms >= NOW - 10_000 + LAG_MS);
    // What does not show until then is missing.
    events[3].1 = i64::MAX;
    let mut service = self::service([("e", events)]);
    let report = read(&mut service, Vec::new());
    let missing: Vec<_> = report
        .findings
        .iter()
        .map(|found| (found.kind, found.seq))
        .collect();
    assert_eq!(missing, [(Kind::Gap, Some(4))]);
}

#[test]
fn the_end_that_somebody_knows_is_waited_for() {
    let disk = CrashStorage::default();
    let all = links(&disk, "e", 3);
    let head = crate::trail::chain::link(all[4].as_bytes()).unwrap();
    let head = ("e".to_owned(), head.seq, head.hash);
    let mut events = stored(&all, 10_000);
    events[4].1 = NOW + 9_000;
    let mut service = service([("e", events.clone())]);
    let report = read(&mut service, vec![head.clone()]);
    assert!(report.ok, "{:#?}", report.findings);
    assert_eq!(service.waited, 3);
    events.pop();
    let mut service = self::service([("e", events)]);
    let report = read(&mut service, vec![head]);
    assert_eq!(report.findings[0].kind, Kind::Rollback);
}

#[test]
fn what_is_new_needs_no_signature_yet_and_an_old_end_does() {
    let disk = CrashStorage::default();
    let all = links(&disk, "e", 3);
    let mut service = service([("e", stored(&all[..4], 10_000))]);
    // The checkpoint is of this moment, by the links' own time.
    assert!(read(&mut service, Vec::new()).ok);
    let place = |_| String::new();
    let expect = Expect {
        loose: true,
        now_ms: Some(NOW + LAG_MS + 31_000),
        lag_ms: LAG_MS,
        may_rest: true,
        ..Expect::default()
    };
    let mut verifier = Verifier::new(expect, &place);
    let names = ["e".to_owned()];
    Reading::new(&mut service, &mut verifier, &names)
        .read()
        .unwrap();
    let found = verifier.finish().findings;
    assert_eq!(
        found.iter().map(|f| f.kind).collect::<Vec<_>>(),
        [Kind::UnsignedTail]
    );
}

#[test]
fn a_stream_that_grows_all_the_time_has_an_end() {
    let disk = CrashStorage::default();
    let mut service = service([("e", stored(&links(&disk, "e", 3), 10_000))]);
    service.grows = true;
    service.page = 1;
    let report = read(&mut service, Vec::new());
    assert!(report.ok, "{:#?}", report.findings);
    assert!(report.events < 40);
}

#[test]
fn masked_events_are_counted() {
    let disk = CrashStorage::default();
    let mut events = stored(&links(&disk, "e", 3), 7_200_000);
    events[2].0.message = events[2].0.message.replace("4002", "****");
    let mut service = service([("e", events)]);
    let place = |_| String::new();
    let mut verifier = Verifier::new(Expect::default(), &place);
    let names = ["e".to_owned()];
    let mut reading = Reading::new(&mut service, &mut verifier, &names);
    reading.read().unwrap();
    assert_eq!(reading.masked, 1);
}
