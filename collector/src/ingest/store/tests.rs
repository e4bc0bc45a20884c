mod damage;
mod full_disk;
mod model;

use std::collections::{BTreeMap, BTreeSet};

use plimsoll_journal::Files as _;
use plimsoll_journal::testing::CrashStorage;
use plimsoll_wire::event::{Loss, OomKill};
use plimsoll_wire::otlp::{id, logs, metrics};
use plimsoll_wire::usage::{CpuUsage, MemoryUsage, Phase, Pressure};
use plimsoll_wire::{AuditEvent, Identity, RecordId, UsageWindow};
use proptest::prelude::*;
use prost::Message as _;

use super::*;
use crate::ingest::decode::{self, Content};
use crate::ingest::dedupe::OWN_NODE;

const EPOCH: &str = "00112233445566778899aabbccddeeff";

fn open(disk: &CrashStorage, max_bytes: u64) -> Store<CrashStorage> {
    let folders = Folders {
        usage: disk.folder("usage"),
        security: disk.folder("security"),
        seen: disk.folder("seen"),
    };
    let epochs = ["aa".repeat(16), "bb".repeat(16)];
    Store::with(folders, max_bytes, epochs, Bounds::default())
        .unwrap()
        .0
}

fn record_id(node: &str, class: Class, seq: u64) -> RecordId {
    RecordId {
        node: node.into(),
        epoch: EPOCH.into(),
        class,
        seq,
    }
}

fn stream_id(id: &RecordId) -> id::StreamId {
    id::StreamId {
        epoch: id.epoch.clone(),
        class: id.class,
        seq: id.seq,
    }
}

fn oom(id: &RecordId, comm: usize) -> Vec<u8> {
    let event = AuditEvent::OomKill(OomKill {
        identity: Identity::unknown(7),
        identity_is_trigger: false,
        victim_pid: u32::try_from(id.seq).unwrap(),
        victim_comm: Some("x".repeat(comm)),
        anon_rss_bytes: None,
        file_rss_bytes: None,
        shmem_rss_bytes: None,
        memory_peak_bytes: None,
        memory_limit_bytes: None,
    });
    let mut record = logs::encode(&event, 5);
    id::stamp(&mut record.attributes, &stream_id(id));
    decode::envelope(record, &id.node).encode_to_vec()
}

fn window(id: &RecordId) -> Vec<u8> {
    let mut message = metrics::encode(&UsageWindow {
        identity: Identity::unknown(7),
        start_unix_ns: id.seq * 60_000_000_000,
        end_unix_ns: (id.seq + 1) * 60_000_000_000,
        observed_ns: 60_000_000_000,
        phase: Phase::Steady,
        last: false,
        cpu: CpuUsage::default(),
        memory: MemoryUsage::default(),
        cpu_pressure: Pressure::default(),
        memory_pressure: Pressure::default(),
        io_pressure: Pressure::default(),
        io_read_bytes: None,
        io_written_bytes: None,
        pids_peak: None,
    });
    let resource = message.resource.get_or_insert_default();
    id::stamp(&mut resource.attributes, &stream_id(id));
    resource
        .attributes
        .extend(id::node_resource(&id.node).attributes);
    message.encode_to_vec()
}

fn incoming(node: &str, class: Class, seq: u64, len: usize) -> Incoming {
    let id = record_id(node, class, seq);
    let payload = match class {
        Class::Usage => window(&id),
        Class::Security => oom(&id, len),
    };
    Incoming {
        content: Content::Payload(payload),
        sign: decode::Sign::default(),
        id,
    }
}

fn arrival(class: Class, records: Vec<Incoming>) -> Arrival {
    Arrival {
        class,
        records,
        others: Vec::new(),
    }
}

fn send(store: &Store<CrashStorage>, class: Class, seqs: std::ops::Range<u64>, len: usize) {
    let records = seqs.map(|seq| incoming("n", class, seq, len)).collect();
    store.commit(&[arrival(class, records)]).unwrap();
}

/// Every readable record behind `from`: its number in the journal, its id, its event.
fn events(store: &Store<CrashStorage>, from: u64) -> Vec<(u64, RecordId, AuditEvent)> {
    let batch = store
        .read(Class::Security, from, usize::MAX, usize::MAX)
        .unwrap();
    let decoded = batch.records.into_iter().map(|record| {
        let (id, _, event) = decode::audit_event(&record.payload).unwrap();
        (record.seq, id, event)
    });
    decoded.collect()
}

fn told(store: &Store<CrashStorage>) -> Vec<Loss> {
    events(store, 1)
        .into_iter()
        .filter_map(|(_, id, event)| match event {
            AuditEvent::Loss(loss) => {
                assert_eq!(id.node, OWN_NODE);
                Some(loss)
            }
            _ => None,
        })
        .collect()
}

/// The segments of a class, three or more, oldest first.
fn segments(disk: &CrashStorage, class: Class) -> Vec<String> {
    let mut names = disk.folder(class.as_str()).list().unwrap();
    names.retain(|name| name.starts_with("segment"));
    names.sort_unstable();
    assert!(names.len() > 2, "{names:?}");
    names
}

/// Fails every read of the second segment of a class, from now on.
fn spoil_second_segment(disk: &CrashStorage, class: Class) {
    let names = segments(disk, class);
    disk.folder(class.as_str()).fail_reads(&names[1]);
}

#[test]
fn a_segment_that_cannot_be_read_is_given_up_counted_and_told() {
    let disk = CrashStorage::default();
    let store = open(&disk, 1 << 20);
    for seq in 1..200 {
        send(&store, Class::Security, seq..seq + 1, 2000);
    }
    spoil_second_segment(&disk, Class::Security);
    let read = |from| store.read(Class::Security, from, usize::MAX, usize::MAX);
    let behind = read(1).unwrap().records.last().unwrap().seq + 1;
    assert!(read(behind).is_err());
    store.settle(Class::Security, SINK, behind - 1).unwrap();
    let count = store.give_up(Class::Security, SINK).unwrap();
    assert!(count > 0);
    assert_eq!(read(behind).unwrap().records[0].seq, behind + count);
    store.maintain().unwrap();
    let losses: Vec<Loss> = events(&store, behind)
        .into_iter()
        .filter_map(|(_, _, event)| match event {
            AuditEvent::Loss(loss) => Some(loss),
            _ => None,
        })
        .collect();
    assert_eq!(losses.len(), 1);
    assert_eq!(
        (losses[0].fate.as_str(), losses[0].count),
        ("undecodable", count)
    );
    assert_eq!(losses[0].first_seq, Some(behind));
    let all = store.stats(Class::Security).last_seq.unwrap();
    store.settle(Class::Security, SINK, all).unwrap();
    assert_eq!(store.give_up(Class::Security, SINK).unwrap(), 0);
}

/// The start reads what the checkpoint does not cover; a bad sector there is a loss, no refusal.
#[test]
fn a_start_passes_a_segment_that_cannot_be_read() {
    let disk = CrashStorage::default();
    let store = open(&disk, 1 << 20);
    for seq in 1..200 {
        send(&store, Class::Security, seq..seq + 1, 2000);
    }
    spoil_second_segment(&disk, Class::Security);
    let before = store.held(Class::Security, SINK);
    store.lock().replay(Class::Security, 0).unwrap();
    let after = store.held(Class::Security, SINK);
    assert!(after.lost > 0);
    assert_eq!(after.waiting + after.lost, before.waiting);
    store.maintain().unwrap();
    let losses = told(&store);
    assert_eq!(
        (losses[0].fate.as_str(), losses[0].count),
        ("lost", after.lost)
    );
}

/// A torn write would lie there as well; but what the checkpoint covers was durable.
#[test]
fn a_newest_segment_that_a_start_cannot_read_is_a_loss() {
    let disk = CrashStorage::default();
    let store = open(&disk, 1 << 20);
    for seq in 1..200 {
        send(&store, Class::Security, seq..seq + 1, 2000);
    }
    store.maintain().unwrap();
    let before = store.held(Class::Security, SINK);
    drop(store);
    let names = segments(&disk, Class::Security);
    disk.folder(Class::Security.as_str())
        .fail_reads(names.last().unwrap());
    let store = open(&disk, 1 << 20);
    let losses = told(&store);
    assert_eq!(losses.len(), 1);
    assert!(losses[0].count > 0);
    assert_eq!(losses[0].fate, "lost");
    let after = store.held(Class::Security, SINK);
    assert_eq!(after.lost, losses[0].count);
    // The record of the loss waits as well.
    assert_eq!(after.waiting + after.lost, before.waiting + 1);
}

/// As with too few descriptors, or with files of another user: passing over them would lose them.
#[test]
fn what_this_process_may_not_read_ends_the_start_and_is_there_for_the_next() {
    let disk = CrashStorage::default();
    let store = open(&disk, 1 << 20);
    for seq in 1..200 {
        send(&store, Class::Security, seq..seq + 1, 2000);
    }
    let before = store.held(Class::Security, SINK);
    let names = segments(&disk, Class::Security);
    let (folder, last) = (disk.folder(Class::Security.as_str()), names.last().unwrap());
    folder.deny(Some((last, 24)));
    assert!(store.lock().replay(Class::Security, 0).is_err());
    drop(store);
    let folders = Folders {
        usage: disk.folder("usage"),
        security: disk.folder("security"),
        seen: disk.folder("seen"),
    };
    let epochs = ["aa".repeat(16), "bb".repeat(16)];
    let error = Store::with(folders, 1 << 20, epochs, Bounds::default()).err();
    assert!(error.is_some_and(|error| error.journal().unwrap().is_of_process()));
    folder.deny(None);
    let after = open(&disk, 1 << 20).held(Class::Security, SINK);
    assert_eq!((after.waiting, after.lost), (before.waiting, 0));
}

/// What is shown of a reader: `emitted` and everything that became of it.
fn reader_balance(store: &Store<CrashStorage>, class: Class, name: &str) -> (u64, u64) {
    let held = store.held(class, name);
    let carried = held.waiting.saturating_sub(held.entered);
    (
        carried + held.entered + held.lost,
        held.waiting + held.shed + held.expired + held.lost,
    )
}

#[track_caller]
fn assert_law(store: &Store<CrashStorage>) {
    for class in Class::ALL {
        let fates = store.counts.fates(class);
        assert_eq!(fates.unaccounted(), 0, "{fates:?}");
    }
}

#[test]
fn a_refused_record_has_one_fate_and_is_no_gap() {
    let disk = CrashStorage::default();
    let mut store = open(&disk, 1 << 30);
    let refused = |seq| Incoming {
        id: record_id("n", Class::Security, seq),
        content: Content::Refused(Fate::Undecodable),
        sign: decode::Sign::default(),
    };
    let request = || {
        let records = vec![
            incoming("n", Class::Security, 1, 10),
            refused(2),
            incoming("n", Class::Security, 3, 2 << 20),
            incoming("n", Class::Security, 4, 10),
            refused(5),
        ];
        [arrival(Class::Security, records)]
    };
    let first = store.commit(&request()).unwrap();
    let expected = Outcome {
        taken: 2,
        duplicates: 0,
        undecodable: 2,
        elsewhere: 0,
        too_large: 1,
        refused: 3,
        refused_too_large: 1,
    };
    assert_eq!(first, [expected]);
    let fates = store.counts.fates(Class::Security);
    assert_eq!(
        (
            fates.emitted,
            fates.delivered,
            fates.undecodable,
            fates.rejected
        ),
        (5, 2, 2, 1)
    );
    assert_law(&store);
    for life in 0..3 {
        let again = store.commit(&request()).unwrap();
        let expected = Outcome {
            duplicates: 5,
            refused: 3,
            refused_too_large: 1,
            ..Outcome::default()
        };
        assert_eq!(
            again,
            [expected],
            "life {life}: the sender is told the same again"
        );
        assert_law(&store);
        let streams = store.streams();
        let [stream] = streams.as_slice() else {
            panic!("{streams:?}");
        };
        assert_eq!((stream.watermark(), stream.missing()), (5, 0));
        // No upkeep came in between: the answer itself waited for the checkpoint.
        store = open(&disk.crash(|_| 0), 1 << 30);
    }
}

/// What is too old goes although there is room, with a word on what its reader had not had.
#[test]
fn what_is_older_than_its_bound_expires_and_is_told() {
    let (hour, now) = (3_600_000_000_000, 1_700_000_000_000_000_000);
    let disk = CrashStorage::default();
    let store = open(&disk, 1 << 20);
    store.bound_age(Some(Duration::from_hours(1)));
    for seq in 1..=100 {
        let request = [arrival(
            Class::Security,
            vec![incoming("n", Class::Security, seq, 2000)],
        )];
        store.lock().commit(&request, now + seq).unwrap();
    }
    let before = store.stats(Class::Security).records;
    store.lock().maintain(now + hour).unwrap();
    assert_eq!(store.stats(Class::Security).records, before, "not yet");
    store.settle(Class::Security, SINK, 10).unwrap();
    let late = [arrival(
        Class::Security,
        vec![incoming("n", Class::Security, 101, 2000)],
    )];
    store.lock().commit(&late, now + hour).unwrap();
    store.lock().maintain(now + hour + 50).unwrap();
    let held = store.held(Class::Security, SINK);
    assert!(held.expired > 10 && held.shed == 0, "{held:?}");
    let told = told(&store);
    let [loss] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(
        (
            loss.fate.as_str(),
            loss.count,
            loss.first_seq,
            loss.last_seq
        ),
        ("expired", held.expired, Some(11), Some(10 + held.expired))
    );
    assert_law(&store);
    let (emitted, fates) = reader_balance(&store, Class::Security, SINK);
    assert_eq!(emitted, fates + 10, "ten were settled");
    let again = open(&disk.crash(|_| 0), 1 << 20);
    assert_eq!(self::told(&again), told, "once");
}
