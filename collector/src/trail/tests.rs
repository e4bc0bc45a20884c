//! The trail on disks that crash, fail and are damaged; and what was done to a chain, by what is said of it.

mod forged;
mod model;

use plimsoll_journal::Files as _;
use plimsoll_journal::frame::{Found, Kind as FrameKind, Scan};
use plimsoll_journal::testing::CrashStorage;
use serde_json::json;

use super::entry::Entry;
use super::verify::{Expect, Kind, Report, Verifier};
use super::*;

const SOURCE: &str = "5ec0";
const START: u64 = 1_764_561_234_000_000_000;
const SECOND: u64 = 1_000_000_000;

fn settings(life: u64, readers: &[&str], max_bytes: u64) -> Settings {
    Settings {
        readers: readers.iter().map(ToString::to_string).collect(),
        max_bytes,
        max_age_ns: None,
        epoch: new_epoch(START + life * 100 * SECOND, life),
        new_journal_epoch: "aa".repeat(16),
        version: "0.1.0",
    }
}

fn open(disk: &CrashStorage, settings: Settings) -> Trail<CrashStorage> {
    Trail::open(disk.folder("trail"), disk.folder("keys"), settings)
        .unwrap()
        .0
}

fn draft(source_seq: u64) -> Draft {
    let event =
        json!({"class_uid": 4002, "time": START / 1_000_000, "unmapped": {"n": source_seq}});
    Draft {
        event: event.as_object().unwrap().clone(),
        document: format!("{{\"n\":{source_seq}}}"),
        time_unix_ns: START,
        source_seq,
    }
}

fn agent(seq: u64) -> Agent {
    Agent {
        node: "node-1".to_owned(),
        epoch: "e1".to_owned(),
        seq,
    }
}

/// Everything behind the reader, settled.
fn drain(trail: &Trail<CrashStorage>, reader: &str) -> Vec<Entry> {
    let mut entries = Vec::new();
    loop {
        let batch = trail.hand_out(reader, 7, 1 << 20).unwrap();
        let Some(last) = batch.records.last() else {
            return entries;
        };
        trail.settle(reader, last.seq).unwrap();
        entries.extend(
            batch
                .records
                .iter()
                .map(|record| Entry::of(&record.payload).unwrap()),
        );
    }
}

fn verify<'a>(bodies: impl IntoIterator<Item = &'a str>, expect: Expect) -> Report {
    let place = |at: u64| format!("line {at}");
    let mut verifier = Verifier::new(expect, &place);
    for (at, body) in (1..).zip(bodies) {
        verifier.add(body.as_bytes(), at);
    }
    verifier.finish()
}

/// Two lives, the first with a checkpoint for its number of events and a key that was changed; 1,059 links.
fn two_lives() -> Vec<String> {
    let disk = CrashStorage::default();
    let trail = open(&disk, settings(1, &["all"], 1 << 30));
    let drafts = |from: u64, to: u64| (from..=to).map(draft).collect::<Vec<_>>();
    trail.publish(drafts(1, 1020), SOURCE, START).unwrap();
    trail.tick(|| vec![agent(5)], START + 10 * SECOND).unwrap();
    trail
        .publish(drafts(1021, 1030), SOURCE, START + 15 * SECOND)
        .unwrap();
    trail.close(START + 20 * SECOND).unwrap();
    let mut entries = drain(&trail, "all");
    drop(trail);
    let trail = open(&disk, settings(2, &["all"], 1 << 30));
    assert_eq!(trail.published().unwrap(), (SOURCE.to_owned(), 1030));
    trail
        .publish(drafts(1031, 1035), SOURCE, START + 100 * SECOND)
        .unwrap();
    trail.tick(|| vec![agent(9)], START + 110 * SECOND).unwrap();
    trail
        .publish(drafts(1036, 1050), SOURCE, START + 115 * SECOND)
        .unwrap();
    trail.tick(|| vec![agent(9)], START + 120 * SECOND).unwrap();
    entries.extend(drain(&trail, "all"));
    entries.into_iter().map(|entry| entry.body).collect()
}

#[test]
fn a_chain_goes_on_over_lives_and_is_whole() {
    let chain = two_lives();
    let report = verify(chain.iter().map(String::as_str), Expect::default());
    assert_eq!(report.findings, []);
    assert!(report.ok);
    // Begin, a thousand events, time, end; begin and time twice.
    assert_eq!((report.events, report.checkpoints), (1050 + 7, 7));
    let [first, second] = report.epochs.as_slice() else {
        panic!("{report:?}");
    };
    assert_eq!(
        (
            first.first_seq,
            first.last_seq,
            first.signed_seq,
            first.closed
        ),
        (1, 1034, 1034, true)
    );
    assert_eq!(
        (second.last_seq, second.signed_seq, second.closed),
        (23, 23, false)
    );
    assert_eq!(first.next_key, second.first_key);
    assert_ne!(
        second.first_key, second.next_key,
        "the key that an earlier life had is gone"
    );
}

#[test]
fn a_checkpoint_comes_when_it_is_time_also_when_nothing_happens() {
    let disk = CrashStorage::default();
    let trail = open(&disk, settings(1, &["all"], 1 << 30));
    for second in 0..=60 {
        trail
            .tick(|| vec![agent(1)], START + second * SECOND)
            .unwrap();
    }
    let checkpoints = drain(&trail, "all");
    assert_eq!(checkpoints.len(), 8, "the beginning, and each ten seconds");
    let agents = |entry: &Entry| {
        let body: Value = serde_json::from_str(&entry.body).unwrap();
        body["unmapped"]["checkpoint"]["agents"]
            .as_array()
            .unwrap()
            .len()
    };
    let told: Vec<_> = checkpoints.iter().map(agents).collect();
    assert_eq!(told, [0, 1, 0, 0, 0, 0, 0, 0], "told when it goes on");
    // An hour later the key has been another for a while.
    trail.tick(Vec::new, START + 3_700 * SECOND).unwrap();
    trail.tick(Vec::new, START + 3_710 * SECOND).unwrap();
    let all = checkpoints
        .iter()
        .chain(&drain(&trail, "all"))
        .map(|entry| entry.body.clone())
        .collect::<Vec<_>>();
    let report = verify(all.iter().map(String::as_str), Expect::default());
    let kinds: Vec<_> = report
        .findings
        .iter()
        .map(|finding| (finding.kind, finding.seq))
        .collect();
    assert_eq!(kinds, [(Kind::Silence, Some(9))]);
    assert_eq!(report.checkpoints, 10);
}

/// What is shed is gone for those that lacked it, and is told once.
#[test]
fn what_is_over_the_bound_is_shed_for_whoever_had_it_not() {
    let disk = CrashStorage::default();
    let trail = open(&disk, settings(1, &["fast", "slow"], 1 << 20));
    let mut fast = 0;
    for seq in 1..=4000 {
        trail
            .publish(vec![draft(seq)], SOURCE, START + seq)
            .unwrap();
        if seq % 500 == 0 {
            fast += drain(&trail, "fast").len() as u64;
        }
    }
    let mut told = 0;
    let last = loop {
        let (gone, held) = trail.hold_bound(START);
        let count = gone.iter().map(|gone| gone.count).sum::<u64>();
        assert!(gone.iter().all(|gone| gone.fate == "shed"));
        if held.unwrap() {
            break count;
        }
        told += count;
        trail.told();
    };
    assert!(trail.stats().bytes <= 1 << 20);
    let (fast_held, slow) = (trail.held("fast"), trail.held("slow"));
    assert_eq!(
        (fast_held.shed, fast_held.waiting, fast_held.entered),
        (0, 0, fast)
    );
    assert!(last > 0 && told > 0);
    assert_eq!(slow.shed, told + last);
    assert_eq!(slow.shed + slow.waiting, slow.entered);
    // While the last is not on record, a start is to tell it, however far the cursors are on disk.
    trail.sync_positions().unwrap();
    drop(trail);
    let disk = disk.copy();
    let again = open(&disk, settings(2, &["fast", "slow"], 1 << 20));
    let (gone_again, _) = again.hold_bound(START);
    let missing: u64 = gone_again.iter().map(|gone| gone.count).sum();
    assert_eq!(missing, last);
    again.told();
    again.sync_positions().unwrap();
    drop(again);
    let third = open(&disk, settings(3, &["fast", "slow"], 1 << 20));
    assert_eq!(third.hold_bound(START).0, []);
}

/// Damage is booked by every reader that had not passed it, by whomever it is found.
#[test]
fn damage_closes_the_books_of_every_reader() {
    let disk = CrashStorage::default();
    let trail = open(&disk, settings(1, &["a", "b"], 1 << 30));
    trail
        .publish((1..=200).map(draft).collect(), SOURCE, START)
        .unwrap();
    let mut dice = fastrand::Rng::with_seed(3);
    assert!(disk.folder("trail").flip_bit(|below| dice.u64(0..below)));
    let found = drain(&trail, "a").len() as u64;
    let (a, b) = (trail.held("a"), trail.held("b"));
    assert_eq!((a.waiting, a.entered), (0, 201));
    assert_eq!(b.waiting + b.damaged, b.entered);
    let (gone, _) = trail.hold_bound(START);
    let lost: u64 = gone.iter().map(|gone| gone.count).sum();
    assert_eq!((lost, b.damaged), (201 - found, 201 - found));
}

/// The last record of a file that was sealed cannot be read: the chain goes on behind the one before it.
#[test]
fn a_damaged_end_of_the_chain_is_told_once_and_gone_on_before() {
    let disk = CrashStorage::default();
    let trail = open(&disk, settings(1, &["a"], 1 << 20));
    trail
        .publish((1..=200).map(draft).collect(), SOURCE, START)
        .unwrap();
    let end = trail.head();
    drop(trail);
    // The start seals what it finds.
    drop(open(&disk, settings(2, &["a"], 1 << 20)));
    let mut folder = disk.folder("trail");
    let mut names = folder.list().unwrap();
    names.retain(|name| name.starts_with("segment"));
    names.sort_unstable();
    let name = names.last().unwrap();
    let mut bytes = vec![0; usize::try_from(folder.len(name).unwrap()).unwrap()];
    folder.read_at(name, 0, &mut bytes).unwrap();
    let last = Scan::new(&bytes).filter_map(|found| match found {
        Found::Frame {
            header, payload, ..
        } if header.kind == FrameKind::Record => Some(payload.start),
        _ => None,
    });
    let at = last.last().unwrap() as u64;
    folder.write_at(name, at, b"?").unwrap();
    folder.sync(name).unwrap();
    let mut gone_total = 0;
    for life in 3..6 {
        let trail = open(&disk, settings(life, &["a"], 1 << 20));
        if life == 3 {
            assert_eq!(
                (trail.head().seq, trail.head().epoch),
                (end.seq - 1, end.epoch.clone())
            );
        }
        let (gone, _) = trail.hold_bound(START);
        gone_total += gone.iter().map(|gone| gone.count).sum::<u64>();
        assert_eq!(gone_total, 1, "life {life}");
        trail.told();
        trail.sync_positions().unwrap();
        assert_eq!(trail.held("a").lost, u64::from(life == 3));
        if life == 4 {
            trail.publish(vec![draft(201)], SOURCE, START).unwrap();
        }
    }
}

#[test]
fn what_a_destination_does_not_take_in_time_expires_for_it() {
    let disk = CrashStorage::default();
    let hour = 3600 * SECOND;
    let bounds = Settings {
        max_age_ns: Some(hour),
        ..settings(1, &["fast", "slow"], 1 << 20)
    };
    let trail = open(&disk, bounds);
    for seq in 1..=1000 {
        trail
            .publish(vec![draft(seq)], SOURCE, START + seq)
            .unwrap();
    }
    drain(&trail, "fast");
    let (gone, held) = trail.hold_bound(START + hour);
    assert!(gone.is_empty() && held.unwrap());
    let mut expired = 0;
    loop {
        let (gone, held) = trail.hold_bound(START + 2 * hour);
        assert!(gone.iter().all(|gone| gone.fate == "expired"));
        expired += gone.iter().map(|gone| gone.count).sum::<u64>();
        trail.told();
        if held.unwrap() {
            break;
        }
    }
    let (fast, slow) = (trail.held("fast"), trail.held("slow"));
    assert_eq!((fast.expired, slow.expired, slow.shed), (0, expired, 0));
    assert!(expired > 0 && slow.waiting > 0, "the chain's end stays");
    assert_eq!(slow.expired + slow.waiting, slow.entered);
}
