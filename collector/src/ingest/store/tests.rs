use std::collections::{BTreeMap, BTreeSet};

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

/// Fails every read of the second segment of a class, from now on.
fn spoil_second_segment(disk: &CrashStorage, class: Class) {
    let folder = disk.folder(class.as_str());
    let mut names = folder.list().unwrap();
    names.retain(|name| name.starts_with("segment"));
    names.sort_unstable();
    assert!(names.len() > 2, "{names:?}");
    folder.fail_reads(&names[1]);
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
    let count = store.give_up(Class::Security, behind);
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
    assert_eq!(store.give_up(Class::Security, 1_000), 0);
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
    store.lock().replay(Class::Security, 0);
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

/// What is shown of a reader: `emitted` and everything that became of it.
fn reader_balance(store: &Store<CrashStorage>, class: Class, name: &str) -> (u64, u64) {
    let held = store.held(class, name);
    let carried = held.waiting.saturating_sub(held.entered);
    (
        carried + held.entered + held.lost,
        held.waiting + held.shed + held.lost,
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

/// Flips a byte in the middle of the journal's record `seq`.
fn damage(disk: &CrashStorage, class: Class, needle: &[u8]) {
    let mut folder = disk.folder(class.as_str());
    for name in folder.list().unwrap() {
        let mut bytes = vec![0; usize::try_from(folder.len(&name).unwrap()).unwrap()];
        folder.read_at(&name, 0, &mut bytes).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|part| part == needle) {
            folder.write_at(&name, at as u64, b"?").unwrap();
            folder.sync(&name).unwrap();
            return;
        }
    }
    panic!("the record is not there");
}

#[test]
fn damage_is_counted_and_told_once_over_all_lives() {
    for class in Class::ALL {
        let disk = CrashStorage::default();
        let store = open(&disk, 1 << 30);
        for seq in 1..=5 {
            send(&store, class, seq..seq + 1, 10);
        }
        let needle = match class {
            Class::Usage => window(&record_id("n", class, 3)),
            Class::Security => oom(&record_id("n", class, 3), 10),
        };
        damage(&disk, class, &needle);
        let reader = if class == Class::Usage { HISTORY } else { SINK };
        let mut disk = disk.crash(|_| 0);
        for life in 0..4 {
            let store = open(&disk, 1 << 30);
            let lost = u64::from(life == 0);
            assert_eq!(
                store.held(class, reader).lost,
                lost,
                "{class:?}, life {life}"
            );
            let (emitted, fates) = reader_balance(&store, class, reader);
            assert_eq!(emitted, fates);
            let expected = Loss {
                stage: "journal".into(),
                lost_class: class,
                fate: "lost".into(),
                count: 1,
                first_seq: Some(3),
                last_seq: Some(3),
            };
            assert_eq!(told(&store), [expected], "{class:?}, life {life}");
            assert_law(&store);
            // A life with upkeep and one without, a clean end and a crash.
            if life == 1 {
                store.maintain().unwrap();
            }
            disk = if life == 2 {
                disk.copy()
            } else {
                disk.crash(|_| 0)
            };
        }
    }
}

#[test]
fn damage_that_a_reader_finds_is_told_too() {
    let disk = CrashStorage::default();
    let store = open(&disk, 1 << 30);
    for seq in 1..=5 {
        send(&store, Class::Security, seq..seq + 1, 10);
    }
    damage(
        &disk,
        Class::Security,
        &oom(&record_id("n", Class::Security, 2), 10),
    );
    assert_eq!(events(&store, 1).len(), 4);
    store.maintain().unwrap();
    let told = told(&store);
    let [loss] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(
        (loss.fate.as_str(), loss.count, loss.first_seq),
        ("undecodable", 1, Some(2))
    );
}

#[test]
fn what_the_full_journal_sheds_is_told_even_on_a_full_disk() {
    let disk = CrashStorage::default();
    let bound = 1 << 20;
    let store = open(&disk, bound);
    send(&store, Class::Usage, 1..200, 0);
    // What is told must itself be read, or told again when it is shed.
    for round in 0..20 {
        send(
            &store,
            Class::Security,
            1 + round * 10..11 + round * 10,
            9_000,
        );
        disk.set_room(Some(disk.used()));
        store.maintain().unwrap();
        disk.set_room(None);
    }
    store.maintain().unwrap();
    let told = told(&store);
    for (class, reader) in [(Class::Usage, HISTORY), (Class::Security, SINK)] {
        let held = store.held(class, reader);
        assert!(held.shed > 0, "{class:?}: nothing was shed");
        let of_class: u64 = told
            .iter()
            .filter(|loss| loss.lost_class == class && loss.fate == "shed")
            .map(|loss| loss.count)
            .sum();
        assert_eq!(of_class, held.shed, "{class:?}: {told:?}");
        let (emitted, fates) = reader_balance(&store, class, reader);
        assert_eq!(emitted, fates);
    }
    let bytes: u64 = Class::ALL
        .iter()
        .map(|class| store.stats(*class).bytes)
        .sum();
    assert!(bytes < bound + 10_000, "{bytes} bytes");
    // The collector's own numbers have no holes but those it shed.
    assert!(store.streams().iter().all(|stream| stream.missing() == 0));
    let before = told.len();
    let disk = disk.crash(|_| 0);
    assert_eq!(self::told(&open(&disk, bound)).len(), before, "told once");
}

#[test]
fn a_loss_is_told_in_room_that_was_held_for_it() {
    let disk = CrashStorage::default();
    let store = open(&disk, 16 << 20);
    send(&store, Class::Security, 1..3, 10);
    disk.set_room(Some(disk.used()));
    let mut inner = store.lock();
    inner.begin(
        &[
            Recovery {
                missing: vec![(1, 4)],
                unsure_from: 9,
                ..Recovery::default()
            },
            Recovery::default(),
        ],
        7,
    );
    drop(inner);
    assert_eq!(told(&store).len(), 1);
    assert_eq!(told(&open(&disk.crash(|_| 0), 16 << 20)).len(), 1);
}

#[test]
fn a_full_disk_sets_itself_free_when_readers_go_on() {
    let disk = CrashStorage::default();
    let store = open(&disk, 1 << 30);
    let mut seq = 1;
    let refused = loop {
        let records = vec![incoming("n", Class::Security, seq, 60_000)];
        match store.commit(&[arrival(Class::Security, records)]) {
            Ok(_) => seq += 1,
            Err(error) => break error,
        }
        if seq == 100 {
            disk.set_room(Some(disk.used() + 500_000));
        }
    };
    assert!(refused.is_disk_full());
    assert!(
        store.maintain().is_err(),
        "the disk is still full of what nobody has read"
    );
    let durable = store.stats(Class::Security).last_seq.unwrap();
    store
        .set_cursor(Class::Security, SINK, durable - 1)
        .unwrap();
    // The record that waits cannot be written, and the room is set free all the same.
    drop(store.maintain());
    let records = vec![incoming("n", Class::Security, seq, 60_000)];
    let outcome = store
        .commit(&[arrival(Class::Security, records)])
        .expect("there is room again");
    assert_eq!(
        outcome[0].duplicates, 1,
        "it waited, and is durable with this answer"
    );
    assert_law(&store);
    let fates = store.counts.fates(Class::Security);
    assert_eq!((fates.delivered, fates.in_flight), (seq, 0));
}

#[derive(Clone, Debug)]
enum Act {
    Send {
        node: usize,
        class: Class,
        count: u64,
        len: usize,
    },
    Read,
    Maintain,
    Crash,
    Kill,
    FailWrites(u32),
    FailSyncs(u32),
    Room(Option<u64>),
}

fn act() -> impl Strategy<Value = Act> {
    let class = prop_oneof![Just(Class::Usage), Just(Class::Security)];
    prop_oneof![
        8 => (0..NODES.len(), class, 1u64..12, 0usize..6000)
            .prop_map(|(node, class, count, len)| Act::Send { node, class, count, len }),
        3 => Just(Act::Read),
        3 => Just(Act::Maintain),
        2 => Just(Act::Crash),
        2 => Just(Act::Kill),
        2 => (1u32..5).prop_map(Act::FailWrites),
        2 => (1u32..5).prop_map(Act::FailSyncs),
        2 => prop_oneof![Just(None), (0u64..120_000).prop_map(Some)].prop_map(Act::Room),
    ]
}

const NODES: [&str; 2] = ["a", "b"];
const BOUND: u64 = 1 << 30;

/// Two agents, a collector whose disk fails, and a reader.
struct Model {
    disk: CrashStorage,
    store: Store<CrashStorage>,
    random: fastrand::Rng,
    clock: u64,
    /// The last number that each stream got an answer for.
    acknowledged: BTreeMap<(usize, Class), u64>,
    /// The last number that each stream ever sent.
    sent: BTreeMap<(usize, Class), u64>,
    /// Numbers that are refused, whenever they come.
    refused: BTreeSet<(usize, Class, u64)>,
    /// What readers got, by class and journal number.
    got: BTreeMap<(Class, u64), RecordId>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let disk = CrashStorage::default();
        Self {
            store: open(&disk, BOUND),
            disk,
            random: fastrand::Rng::with_seed(seed),
            clock: 1,
            acknowledged: BTreeMap::new(),
            sent: BTreeMap::new(),
            refused: BTreeSet::new(),
            got: BTreeMap::new(),
        }
    }

    fn step(&mut self, act: &Act) {
        match act {
            Act::Send {
                node,
                class,
                count,
                len,
            } => drop(self.send(*node, *class, *count, *len)),
            Act::Read => self.read(),
            Act::Maintain => drop(self.store.maintain()),
            Act::Crash => {
                let disk = self.disk.crash(|n| self.random.u64(0..n));
                self.reopen(disk);
            }
            Act::Kill => self.reopen(self.disk.copy()),
            Act::FailWrites(count) => self.disk.fail_writes(*count),
            Act::FailSyncs(count) => self.disk.fail_syncs(*count),
            Act::Room(room) => self.disk.set_room(room.map(|more| self.disk.used() + more)),
        }
        assert_law(&self.store);
        for (class, reader) in [(Class::Usage, HISTORY), (Class::Security, SINK)] {
            let held = self.store.held(class, reader);
            assert_eq!((held.shed, held.lost), (0, 0), "nothing was damaged");
        }
    }

    /// As an agent does: everything behind the last acknowledged number, again and again.
    fn send(
        &mut self,
        node: usize,
        class: Class,
        count: u64,
        len: usize,
    ) -> Result<(), StoreError> {
        let from = self
            .acknowledged
            .get(&(node, class))
            .copied()
            .unwrap_or_default()
            + 1;
        let records = (from..from + count).map(|seq| {
            let mut record = incoming(NODES[node], class, seq, len);
            // The same number is refused each time that it comes.
            if (seq * 7 + node as u64).is_multiple_of(5) {
                self.refused.insert((node, class, seq));
                record.content = Content::Refused(Fate::Undecodable);
            }
            record
        });
        let request = [arrival(class, records.collect())];
        self.clock += 1;
        let sent = self.sent.entry((node, class)).or_default();
        *sent = (*sent).max(from + count - 1);
        self.store.lock().commit(&request, self.clock)?;
        self.acknowledged.insert((node, class), from + count - 1);
        Ok(())
    }

    fn reopen(&mut self, disk: CrashStorage) {
        self.store = open(&disk, BOUND);
        self.disk = disk;
    }

    fn read(&mut self) {
        for (class, reader) in [(Class::Usage, HISTORY), (Class::Security, SINK)] {
            let from = self.store.cursor(class, reader) + 1;
            let Ok(batch) = self.store.read(class, from, 7, usize::MAX) else {
                continue;
            };
            assert_eq!(batch.damaged, []);
            for record in batch.records {
                let id = match class {
                    Class::Usage => decode::usage_window(&record.payload).unwrap().0,
                    Class::Security => decode::audit_event(&record.payload).unwrap().0,
                };
                assert_ne!(id.node, OWN_NODE, "nothing was lost");
                let known = self.got.insert((class, record.seq), id.clone());
                assert!(known.is_none_or(|known| known == id), "a number changed");
                self.store.set_cursor(class, reader, record.seq).unwrap();
            }
        }
    }

    /// Room is back and the disk works: everything goes on, and each acknowledged record came once.
    fn settle(&mut self) {
        self.disk.set_room(None);
        self.disk.fail_writes(0);
        self.disk.fail_syncs(0);
        for node in 0..NODES.len() {
            for class in Class::ALL {
                let acknowledged = self.acknowledged.get(&(node, class)).copied();
                let sent = self.sent.get(&(node, class)).copied();
                let count = sent.unwrap_or(0) - acknowledged.unwrap_or(0) + 1;
                self.send(node, class, count, 100)
                    .expect("it goes on after space returns");
            }
        }
        self.store.maintain().expect("upkeep goes on");
        let waiting = |store: &Store<CrashStorage>| {
            store.held(Class::Usage, HISTORY).waiting + store.held(Class::Security, SINK).waiting
        };
        while waiting(&self.store) > 0 {
            let before = waiting(&self.store);
            self.read();
            assert!(waiting(&self.store) < before, "readers go on");
        }
        let mut ids = BTreeSet::new();
        for id in self.got.values() {
            assert!(ids.insert(id.clone()), "{id} came twice");
        }
        for ((node, class), last) in &self.acknowledged {
            for seq in 1..=*last {
                let id = record_id(NODES[*node], *class, seq);
                let refused = self.refused.contains(&(*node, *class, seq));
                assert_eq!(
                    ids.contains(&id),
                    !refused,
                    "{id} was acknowledged; refused: {refused}"
                );
            }
        }
        for stream in self.store.streams() {
            assert_eq!(stream.missing(), 0, "{stream:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn acknowledged_is_durable_and_comes_once_whatever_the_disk_does(
        seed in any::<u64>(),
        acts in prop::collection::vec(act(), 1..50),
    ) {
        let mut model = Model::new(seed);
        for act in &acts {
            model.step(act);
        }
        model.settle();
    }
}

#[test]
fn a_refusal_is_told_when_it_begins_when_its_kind_changes_and_when_it_ends() {
    let full = |file: &str| StoreError::File {
        doing: "write",
        path: file.into(),
        source: std::io::ErrorKind::StorageFull.into(),
    };
    let fails = StoreError::File {
        doing: "write",
        path: "seen".into(),
        source: std::io::ErrorKind::TimedOut.into(),
    };
    let [one, other, fails] = [full("one"), full("other"), fails].map(|error| Refusal::of(&error));
    assert_ne!(one, other);
    for (before, now, expect) in [
        (None, None, None),
        (None, Some(&one), Some(Turn::Refuses)),
        (Some(&one), Some(&other), None),
        (Some(&other), Some(&fails), Some(Turn::Refuses)),
        (Some(&fails), Some(&fails), None),
        (Some(&fails), None, Some(Turn::TakesAgain)),
    ] {
        assert_eq!(turn(before, now), expect, "{before:?} -> {now:?}");
    }
}

/// Nobody may be let in while it refuses: it has to find out by itself that it could take again.
#[test]
fn what_keeps_requests_out_is_told_until_the_disk_takes_again() {
    let disk = CrashStorage::default();
    let store = open(&disk, 16 << 20);
    let try_send = |seq: u64| {
        let record = incoming("n", Class::Security, seq, 100);
        store.commit(&[arrival(Class::Security, vec![record])])
    };
    try_send(1).unwrap();
    store.maintain().unwrap();
    assert_eq!(store.refuses(), None);

    disk.set_room(Some(disk.used()));
    try_send(2).unwrap_err();
    let why = store.refuses().unwrap();
    assert!(
        why.starts_with("the journal's disk is full: security journal: "),
        "{why}"
    );
    store.maintain().ok();
    assert!(store.refuses().is_some(), "the disk is still full");
    disk.set_room(None);
    store.maintain().unwrap();
    assert_eq!(store.refuses(), None);
    try_send(2).unwrap();

    disk.fail_writes(1);
    try_send(3).unwrap_err();
    let why = store.refuses().unwrap();
    assert!(why.starts_with("the journal cannot be written: "), "{why}");
    try_send(3).unwrap();
    assert_eq!(store.refuses(), None);
    let used = disk.used();
    store.maintain().unwrap();
    assert!(
        disk.used() <= used + 4096,
        "the probe leaves nothing behind"
    );
}
