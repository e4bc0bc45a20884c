//! A journal against a model of it, on a disk that fails in every way: what must hold all the same.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Append(usize),
    Sync,
    SyncPositions,
    Ack(u64),
    Tell,
    Shed,
    Crash,
    Kill,
    Flip,
    FailWrites(u32),
    FailSyncs(u32),
    FailDirSyncs(u32),
    FailRemoves(u32),
    Room(Option<u64>),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        8 => (0usize..900).prop_map(Act::Append),
        6 => Just(Act::Sync),
        2 => Just(Act::SyncPositions),
        2 => (0u64..8).prop_map(Act::Ack),
        2 => Just(Act::Tell),
        1 => Just(Act::Shed),
        2 => Just(Act::Crash),
        2 => Just(Act::Kill),
        1 => Just(Act::Flip),
        1 => (1u32..3).prop_map(Act::FailWrites),
        1 => (1u32..3).prop_map(Act::FailSyncs),
        1 => (1u32..3).prop_map(Act::FailDirSyncs),
        1 => (1u32..3).prop_map(Act::FailRemoves),
        1 => prop_oneof![Just(None), (9000u64..14000).prop_map(Some)].prop_map(Act::Room),
    ]
}

/// What must hold, whatever the disk did.
struct Model {
    storage: CrashStorage,
    journal: Journal<CrashStorage>,
    random: fastrand::Rng,
    /// Every payload that a number was ever given to and that a crash may have kept.
    appended: BTreeMap<u64, Vec<Vec<u8>>>,
    /// Numbers that a sync acknowledged and nobody shed.
    durable: BTreeSet<u64>,
    /// Bits were flipped: durable records may be missing, but only with a report.
    flipped: bool,
    /// A reader saw these: no other record may ever get the number.
    seen: BTreeMap<u64, Vec<u8>>,
    /// Numbers that were acknowledged, that no reader had, and that are not told as gone.
    owed: BTreeSet<u64>,
    /// What the owner knows to be gone, and has not put on record.
    to_tell: Vec<(u64, u64)>,
    /// What a read gave last.
    readable: BTreeSet<u64>,
    /// Numbers that were told as gone, and those of them of which the disk knows that.
    told: BTreeSet<u64>,
    told_durable: BTreeSet<u64>,
}

impl Model {
    fn new(seed: u64) -> Self {
        let storage = CrashStorage::default();
        let (mut journal, _) = open(&storage);
        // As every owner does: a folder without positions counts as one that lost them.
        journal.sync_positions().unwrap();
        Self {
            storage,
            journal,
            random: fastrand::Rng::with_seed(seed),
            appended: BTreeMap::new(),
            durable: BTreeSet::new(),
            flipped: false,
            seen: BTreeMap::new(),
            owed: BTreeSet::new(),
            to_tell: Vec::new(),
            readable: BTreeSet::new(),
            told: BTreeSet::new(),
            told_durable: BTreeSet::new(),
        }
    }

    fn step(&mut self, act: &Act) {
        match act {
            Act::Append(len) => self.append(*len),
            Act::Sync => {
                let pending: Vec<u64> = self
                    .journal
                    .pending
                    .records
                    .iter()
                    .map(|(seq, ..)| *seq)
                    .collect();
                if self.journal.sync().is_ok() {
                    self.owed.extend(&pending);
                    self.durable.extend(pending);
                }
            }
            Act::SyncPositions => {
                if self.journal.sync_positions().is_ok() {
                    self.told_durable.clone_from(&self.told);
                }
            }
            Act::Ack(more) => {
                let cursor = self.journal.cursor("reader").unwrap();
                let to = (cursor + more).min(self.journal.durable_seq()).max(cursor);
                self.journal.set_cursor("reader", to).unwrap();
                let had = self.readable.range(..=to);
                self.owed = &self.owed - &had.copied().collect();
            }
            Act::Tell => self.tell(),
            Act::Shed => {
                let last = self
                    .journal
                    .segments
                    .front()
                    .map_or(0, |segment| segment.last);
                if let Ok(Some(shed)) = self.journal.shed_oldest() {
                    self.durable.retain(|seq| *seq > last);
                    if shed.count > 0 {
                        let range = (shed.first_seq, shed.last_seq);
                        self.journal.note_untold(range);
                        let mut shed = crate::numbers::Numbers::default();
                        shed.add_or_join(range);
                        // The count leaves out what was damaged in between, and told.
                        self.told.iter().for_each(|seq| shed.remove((*seq, *seq)));
                        self.to_tell.extend(shed.runs());
                    }
                    self.journal.set_cursor("reader", shed.last_seq).unwrap();
                }
            }
            Act::Crash => {
                let crashed = self.storage.crash(|n| self.random.u64(0..n));
                self.reopen(&crashed);
            }
            Act::Kill => {
                let left = self.storage.copy();
                self.reopen(&left);
            }
            Act::Flip => self.flipped |= self.storage.flip_bit(|n| self.random.u64(0..n)),
            Act::FailWrites(count) => self.storage.fail_writes(*count),
            Act::FailSyncs(count) => self.storage.fail_syncs(*count),
            Act::FailDirSyncs(count) => self.storage.fail_dir_syncs(*count),
            Act::FailRemoves(count) => self.storage.fail_removes(*count),
            Act::Room(room) => self.storage.set_room(*room),
        }
        self.read_all(&[]);
    }

    fn append(&mut self, len: usize) {
        let payload: Vec<u8> = std::iter::repeat_with(|| self.random.u8(..))
            .take(len)
            .collect();
        if let Ok(seq) = self.journal.append(&payload, seq_time(len)) {
            assert!(
                !self.seen.contains_key(&seq),
                "number {seq} was given out twice"
            );
            assert!(
                !self.durable.contains(&seq),
                "number {seq} was acknowledged before"
            );
            self.appended.entry(seq).or_default().push(payload);
        }
    }

    fn reopen(&mut self, storage: &CrashStorage) {
        storage.set_room(None);
        let (journal, recovery) = open(&storage.copy());
        assert_eq!(
            open(&storage.copy()).1,
            recovery,
            "recovering twice is recovering once"
        );
        let low = journal.cursor("reader").unwrap();
        assert!(
            recovery
                .missing
                .iter()
                .all(|(from, to)| from <= to && *to < journal.next_seq() && *from > low)
        );
        self.storage = storage.clone();
        self.journal = open(storage).0;
        self.told.clone_from(&self.told_durable);
        self.to_tell = [&recovery.missing[..], &recovery.untold].concat();
        self.read_all(&recovery.missing);
    }

    /// The owner puts on record what is gone.
    fn tell(&mut self) {
        let ranges = std::mem::take(&mut self.to_tell);
        for seq in ranges.iter().flat_map(|(from, to)| *from..=*to) {
            assert!(!self.told_durable.contains(&seq), "{seq} is told twice");
            self.told.insert(seq);
            self.owed.remove(&seq);
        }
        self.journal.mark_told(&ranges);
    }

    /// Everything durable that the reader has not passed is there with its own bytes.
    fn read_all(&mut self, missing: &[(u64, u64)]) {
        let cursor = self.journal.cursor("reader").unwrap();
        let count = self.journal.count_after(cursor);
        let pending = self.journal.pending.records.len() as u64;
        let batch = self
            .journal
            .read(cursor + 1, usize::MAX, usize::MAX)
            .unwrap();
        let lost: u64 = batch.damaged.iter().map(|(from, to)| to - from + 1).sum();
        assert_eq!(
            count,
            batch.records.len() as u64 + lost + pending,
            "the count is exact"
        );
        let untold = self.journal.untold(&batch.damaged);
        self.to_tell.extend(&untold);
        let mut got = BTreeSet::new();
        for record in batch.records {
            assert!(
                self.appended[&record.seq].contains(&record.payload),
                "number {} has other bytes",
                record.seq
            );
            let seen = self
                .seen
                .entry(record.seq)
                .or_insert_with(|| record.payload.clone());
            assert_eq!(*seen, record.payload, "number {} changed", record.seq);
            assert!(got.insert(record.seq));
        }
        for seq in self
            .durable
            .iter()
            .filter(|seq| **seq > cursor && !got.contains(seq))
        {
            let told = missing
                .iter()
                .chain(&untold)
                .any(|(from, to)| (from..=to).contains(&seq));
            assert!(
                self.flipped && told,
                "record {seq} is gone; told: {told}, flipped: {}",
                self.flipped
            );
        }
        for seq in &self.owed {
            let is_known = self
                .to_tell
                .iter()
                .any(|(from, to)| (from..=to).contains(&seq));
            assert!(
                got.contains(seq) || is_known,
                "{seq} is gone, and nobody will tell it"
            );
        }
        self.readable.clone_from(&got);
        // Told once: from here on the owner has it on record.
        self.durable
            .retain(|seq| *seq <= cursor || got.contains(seq));
    }
}

const fn seq_time(len: usize) -> u64 {
    len as u64
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]
    #[test]
    fn acknowledged_is_durable_whatever_the_disk_does(seed in any::<u64>(), acts in prop::collection::vec(act(), 1..60)) {
        let mut model = Model::new(seed);
        for act in &acts {
            model.step(act);
        }
    }
}
