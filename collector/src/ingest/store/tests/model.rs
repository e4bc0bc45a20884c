//! What is acknowledged is durable and comes once, whatever the disk does: a model against the store.

use super::*;

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
                self.store.settle(class, reader, record.seq).unwrap();
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
