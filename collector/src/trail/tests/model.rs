//! Random actions with crashes: what was read once is there for ever as it was, nothing is published twice, and the
//! chain is whole.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(u64),
    Tick,
    Read { second: bool, settles: bool },
    Upkeep,
    FailSyncs(u32),
    FailWrites(u32),
    Full(bool),
    Close,
    Crash(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1_u64..30).prop_map(Step::Publish),
        3 => Just(Step::Tick),
        6 => any::<(bool, bool)>().prop_map(|(second, settles)| Step::Read { second, settles }),
        2 => Just(Step::Upkeep),
        1 => (1_u32..3).prop_map(Step::FailSyncs),
        1 => (1_u32..3).prop_map(Step::FailWrites),
        1 => any::<bool>().prop_map(Step::Full),
        1 => Just(Step::Close),
        3 => any::<u64>().prop_map(Step::Crash),
    ]
}

const READERS: [&str; 2] = ["first", "second"];

struct Model {
    disk: CrashStorage,
    trail: Trail<CrashStorage>,
    life: u64,
    now: u64,
    /// What the journal before it has, up to this number.
    source: u64,
    /// Every record that a reader was ever given, by its number.
    given: BTreeMap<u64, Entry>,
    settled: BTreeMap<&'static str, u64>,
}

impl Model {
    fn run(steps: Vec<Step>) {
        let disk = CrashStorage::default();
        let trail = open(&disk, settings(0, &READERS, 1 << 30));
        let mut model = Self {
            disk,
            trail,
            life: 0,
            now: START,
            source: 0,
            given: BTreeMap::new(),
            settled: BTreeMap::new(),
        };
        for step in steps {
            model.now += SECOND;
            model.step(step);
        }
        model.end();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish(count) => self.publish(count),
            Step::Tick => drop(
                self.trail
                    .tick(|| vec![agent(self.source)], self.now + 10 * SECOND),
            ),
            Step::Read { second, settles } => self.read(READERS[usize::from(second)], settles),
            Step::Upkeep => {
                let (gone, _) = self.trail.hold_bound(START);
                assert_eq!(
                    gone,
                    [],
                    "nothing is over the bound, and nothing is damaged"
                );
                drop(self.trail.sync_positions());
            }
            Step::FailSyncs(count) => self.disk.fail_syncs(count),
            Step::FailWrites(count) => self.disk.fail_writes(count),
            Step::Full(is_full) => {
                let room = is_full.then(|| self.disk.used() + 100);
                self.disk.set_room(room);
            }
            Step::Close => drop(self.trail.close(self.now)),
            Step::Crash(seed) => self.crash(seed),
        }
    }

    /// As the publisher does: behind what is in, and again if that is not known.
    fn publish(&mut self, count: u64) {
        let Ok((epoch, seq)) = self.trail.published() else {
            return;
        };
        assert!(epoch.is_empty() || epoch == SOURCE);
        assert!(seq <= self.source, "{seq} of {}", self.source);
        self.source = self.source.max(seq + count);
        let drafts = (seq + 1..=seq + count).map(draft).collect();
        if self.trail.publish(drafts, SOURCE, self.now).is_ok() {
            assert_eq!(self.trail.published().unwrap().1, seq + count);
        }
    }

    fn read(&mut self, reader: &'static str, settles: bool) {
        let Ok(batch) = self.trail.hand_out(reader, 20, 1 << 20) else {
            return;
        };
        assert_eq!(batch.damaged, []);
        for record in &batch.records {
            let entry = Entry::of(&record.payload).unwrap();
            let known = self
                .given
                .entry(record.seq)
                .or_insert_with(|| entry.clone());
            assert_eq!(*known, entry, "one number is one record");
        }
        if let (Some(last), true) = (batch.records.last(), settles) {
            self.trail.settle(reader, last.seq).unwrap();
            self.settled.insert(reader, last.seq);
        }
        for reader in READERS {
            let held = self.trail.held(reader);
            assert_eq!((held.shed, held.lost, held.damaged), (0, 0, 0));
        }
    }

    fn crash(&mut self, seed: u64) {
        let mut dice = fastrand::Rng::with_seed(seed);
        self.disk = self.disk.crash(|below| dice.u64(0..below));
        self.life += 1;
        // Twice: a start that does nothing changes nothing.
        for _ in 0..2 {
            self.trail = open(&self.disk, settings(self.life, &READERS, 1 << 30));
        }
    }

    fn end(mut self) {
        self.disk.set_room(None);
        self.disk.fail_syncs(0);
        self.disk.fail_writes(0);
        self.crash(7);
        self.publish(3);
        self.trail.close(self.now + SECOND).unwrap();
        for reader in READERS {
            while self.trail.held(reader).waiting > 0 {
                self.read(reader, true);
            }
        }
        let sources: Vec<u64> = self
            .given
            .values()
            .filter(|entry| !entry.is_checkpoint())
            .map(|entry| entry.source_seq)
            .collect();
        let once: Vec<u64> = (1..=sources.len() as u64).collect();
        assert_eq!(sources, once, "everything is in once, in its order");
        let bodies = self.given.values().map(|entry| entry.body.as_str());
        let report = verify(bodies, Expect::default());
        let silent = |finding: &verify::Finding| finding.kind == Kind::Silence;
        assert!(report.findings.iter().all(silent), "{:?}", report.findings);
        assert!(report.epochs.last().unwrap().closed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_trail_that_crashes_is_whole(steps in prop::collection::vec(step(), 1..60)) {
        Model::run(steps);
    }
}
