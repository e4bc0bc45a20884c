use plimsoll_wire::Class;

use super::*;

const START: u64 = 1_800_000_000 * SECOND_NS;

/// A collector's watch, and what time it is.
struct Rig {
    watch: Watch,
    now_unix_ns: u64,
    /// Of the node's stream.
    seq: u64,
    is_there: Option<bool>,
}

impl Rig {
    fn new() -> Self {
        let mut rig = Self {
            watch: Watch::default(),
            now_unix_ns: START,
            seq: 0,
            is_there: None,
        };
        rig.watch.look(START, |_| None);
        rig
    }

    /// A look each second.
    fn run(&mut self, seconds: u64) -> &mut Self {
        for _ in 0..seconds {
            self.now_unix_ns += SECOND_NS;
            self.watch.look(self.now_unix_ns, |_| self.is_there);
        }
        self
    }

    fn id(&self, epoch: &str) -> RecordId {
        RecordId {
            node: "n".to_owned(),
            epoch: epoch.to_owned(),
            class: Class::Security,
            seq: self.seq,
        }
    }

    /// The next record of the node, with the time of this moment.
    fn hear(&mut self) -> &mut Self {
        self.hear_that(false)
    }

    fn hear_that(&mut self, ends: bool) -> &mut Self {
        self.seq += 1;
        let (id, time_unix_ns) = (self.id("e"), self.now_unix_ns);
        let sign = Sign { time_unix_ns, ends };
        self.watch.goes_on(&id, sign, false, self.now_unix_ns);
        self
    }

    fn restart(&mut self) -> &mut Self {
        self.watch = Watch::restore(self.watch.stored());
        self
    }

    /// What was told since: the state, and seconds.
    fn told(&mut self) -> Vec<(&'static str, Option<u64>)> {
        let notices = self.watch.take();
        self.watch.put_back(VecDeque::new(), true);
        let notices = notices.into_iter();
        notices.map(|of| (of.state.as_str(), of.silent_s)).collect()
    }
}

#[test]
fn an_agent_that_misses_two_heartbeats_is_told_once_and_once_that_it_is_back() {
    let mut rig = Rig::new();
    for _ in 0..6 {
        rig.hear().run(10);
    }
    assert_eq!(rig.told(), []);
    // The last was ten seconds ago.
    rig.run(12);
    assert_eq!(rig.told(), []);
    rig.run(1);
    assert_eq!(rig.told(), [("silent", Some(23))]);
    assert_eq!(rig.watch.books().silent, 1);
    rig.run(600);
    assert_eq!(rig.told(), []);
    rig.hear().run(5);
    assert_eq!(rig.told(), [("back", Some(623))]);
    rig.hear().run(5);
    assert_eq!(rig.told(), []);
    assert_eq!(
        rig.watch.books(),
        Watched {
            heard: 1,
            ..Watched::default()
        }
    );
    // A silence that begins later is another one.
    rig.run(30);
    assert_eq!(rig.told(), [("silent", Some(23))]);
}

#[test]
fn silence_and_return_are_one_finding() {
    let mut rig = Rig::new();
    rig.hear().run(30);
    let silent = rig.watch.take().pop_front().unwrap();
    assert_eq!((silent.last_seq, silent.heard_unix_ns), (1, START));
    rig.hear();
    let back = rig.watch.take().pop_front().unwrap();
    assert_eq!((back.last_seq, back.heard_unix_ns), (1, START));
}

#[test]
fn whoever_says_that_it_ends_is_not_silent_while_its_node_may_be_gone() {
    let mut rig = Rig::new();
    rig.hear_that(true).run(3600);
    assert_eq!(rig.told(), []);
    // A new agent on the node.
    rig.hear().run(22);
    assert_eq!(rig.told(), []);
    rig.run(1);
    assert_eq!(rig.told(), [("silent", Some(23))]);
    // The node is there, and no other agent comes.
    let mut rig = Rig::new();
    rig.is_there = Some(true);
    rig.hear_that(true).run(599);
    assert_eq!(rig.told(), []);
    rig.run(1);
    assert_eq!(rig.told(), [("silent", Some(600))]);
}

#[test]
fn an_agent_whose_node_was_deleted_is_forgotten() {
    let mut rig = Rig::new();
    rig.is_there = Some(false);
    rig.hear().run(60);
    assert_eq!((rig.told(), rig.watch.books().heard), (vec![], 0));
    // It was deleted only after its silence was told.
    let mut rig = Rig::new();
    rig.is_there = Some(true);
    rig.hear().run(60);
    assert_eq!(rig.told(), [("silent", Some(23))]);
    rig.is_there = Some(false);
    rig.run(10);
    assert_eq!(rig.told(), [("left", None)]);
    assert_eq!(rig.watch.books(), Watched::default());
    assert_eq!(rig.watch.most_bytes, 0);
}

#[test]
fn the_next_life_of_the_collector_goes_on_watching() {
    let mut rig = Rig::new();
    rig.hear().run(5);
    rig.restart().run(80);
    assert_eq!(rig.told(), [], "it needs time to find the collector again");
    rig.run(4);
    assert_eq!(rig.told(), [("silent", Some(89))]);
    rig.restart().run(600);
    assert_eq!(rig.told(), [], "it was told");
    rig.restart().hear();
    assert_eq!(rig.told(), [("back", Some(689))]);
    // One that said that it ends has done so.
    rig.hear_that(true).restart().run(600);
    assert_eq!(rig.told(), []);
}

#[test]
fn what_the_journal_has_behind_the_checkpoint_is_known() {
    let mut rig = Rig::new();
    rig.hear().run(30);
    let stored = rig.watch.stored();
    let silent = rig.watch.take().pop_front().unwrap();
    let own = RecordId {
        node: OWN_NODE.to_owned(),
        ..rig.id("own")
    };
    let told = AuditEvent::Agent(silent.clone());
    // The checkpoint is from before it was told, and has it as silent, or as going.
    for standing in [2, 0] {
        let mut agents = stored.clone();
        agents[0].standing = standing;
        rig.watch = Watch::restore(agents);
        let now = (rig.now_unix_ns, rig.now_unix_ns);
        rig.watch.found(&own, now, &told);
        rig.run(600);
        assert_eq!(rig.told(), []);
        rig.hear();
        assert_eq!(rig.told().len(), 1, "back");
    }
    // Heard, and not told as back: it is told now. Told: it is not.
    let loss = AuditEvent::Loss(plimsoll_wire::event::Loss {
        stage: "spool".to_owned(),
        lost_class: Class::Usage,
        fate: "shed".to_owned(),
        count: 1,
        first_seq: None,
        last_seq: None,
    });
    for is_told in [false, true] {
        let mut agents = stored.clone();
        agents[0].standing = 2;
        rig.watch = Watch::restore(agents);
        rig.seq += 1;
        let now = (rig.now_unix_ns, rig.now_unix_ns);
        rig.watch.found(&rig.id("e"), now, &loss);
        if is_told {
            let back = AgentNotice {
                state: AgentState::Back,
                ..silent.clone()
            };
            rig.watch.found(&own, now, &AuditEvent::Agent(back));
        }
        assert_eq!(rig.told().len(), usize::from(!is_told));
    }
}

/// A checkpoint may be written while what was noticed is not on record yet, and the collector be killed then.
#[test]
fn what_was_noticed_and_not_told_is_noticed_by_the_next_life() {
    let mut rig = Rig::new();
    rig.hear().run(30);
    rig.restart().run(90);
    assert_eq!(rig.told().len(), 1, "silent");
    rig.hear();
    rig.restart().hear();
    assert_eq!(rig.told().len(), 1, "back");
    // What could not be written is kept.
    rig.run(30);
    let notices = rig.watch.take();
    rig.watch.put_back(notices, false);
    rig.restart().run(90);
    assert_eq!(rig.told().len(), 1, "silent");
    rig.restart().run(90);
    assert_eq!(rig.told(), []);
}

/// However late a start finds it.
#[test]
fn a_return_is_of_the_silence_that_was_told() {
    let mut rig = Rig::new();
    rig.hear();
    let before = rig.watch.stored();
    rig.run(30);
    let silent = rig.watch.take().pop_front().unwrap();
    let own = RecordId {
        node: OWN_NODE.to_owned(),
        ..rig.id("own")
    };
    let mut agents = before;
    agents[0].heard_unix_ns -= 5 * SECOND_NS;
    rig.watch = Watch::restore(agents);
    let now = (rig.now_unix_ns, rig.now_unix_ns);
    rig.watch
        .found(&own, now, &AuditEvent::Agent(silent.clone()));
    rig.hear();
    let back = rig.watch.take().pop_front().unwrap();
    assert_eq!(back.heard_unix_ns, silent.heard_unix_ns);
}

#[test]
fn nobody_is_silent_while_the_collector_was_away() {
    let mut rig = Rig::new();
    rig.hear().run(10);
    // The process was stopped, or the clock put on.
    rig.now_unix_ns += 3600 * SECOND_NS;
    rig.run(7);
    assert_eq!(rig.told(), []);
    // Set back.
    rig.hear();
    rig.now_unix_ns -= 7200 * SECOND_NS;
    rig.run(22);
    assert_eq!(rig.told(), []);
    rig.run(10);
    assert_eq!(rig.told().len(), 1);
}

#[test]
fn whom_the_collector_sends_away_is_not_silent() {
    let mut rig = Rig::new();
    rig.hear().run(20);
    for _ in 0..10 {
        rig.watch.excuse("n");
        rig.run(60);
    }
    assert_eq!(rig.told(), []);
    rig.run(23);
    assert_eq!(rig.told(), [("silent", Some(643))]);
}

#[test]
fn numbers_that_go_back_are_told_once_an_hour() {
    let mut rig = Rig::new();
    for _ in 0..10 {
        rig.hear().run(10);
    }
    let again = |rig: &mut Rig, seq: u64, time_unix_ns: u64| {
        let id = RecordId { seq, ..rig.id("e") };
        let sign = Sign {
            time_unix_ns,
            ends: false,
        };
        rig.watch.comes_again(&id, sign, rig.now_unix_ns);
    };
    // Sent again after a lost answer: of its own time, or of a clock that was set right by a little.
    again(&mut rig, 9, START + 80 * SECOND_NS);
    again(&mut rig, 10, START + 95 * SECOND_NS);
    assert_eq!(rig.told(), []);
    // A spool that was put back makes new records under old numbers.
    let now = rig.now_unix_ns;
    again(&mut rig, 5, now);
    let notice = rig.watch.take().pop_front().unwrap();
    assert_eq!(
        (notice.state, notice.seq, notice.last_seq),
        (AgentState::Rewound, Some(5), 10)
    );
    again(&mut rig, 6, now + SECOND_NS);
    assert_eq!((rig.told(), rig.watch.books().rewound), (vec![], 2));
    for _ in 0..360 {
        rig.hear().run(10);
    }
    let now = rig.now_unix_ns;
    again(&mut rig, 7, now);
    assert_eq!(rig.told(), [("rewound", None)]);
    // The next life of the collector knows what time it was.
    rig.restart();
    again(&mut rig, 8, now - 30 * SECOND_NS);
    assert_eq!(rig.told(), []);
    again(&mut rig, 8, now + 30 * SECOND_NS);
    assert_eq!(rig.told(), [("rewound", None)]);
}

#[test]
fn a_life_of_a_spool_that_comes_back_after_another_is_told() {
    let mut rig = Rig::new();
    rig.hear().run(10);
    let sign = Sign::default();
    // A spool that was made anew.
    let id = rig.id("f");
    rig.watch.goes_on(&id, sign, false, rig.now_unix_ns);
    assert_eq!(rig.told(), []);
    rig.seq += 1;
    let id = rig.id("e");
    rig.watch.goes_on(&id, sign, true, rig.now_unix_ns);
    assert_eq!(rig.told(), [("rewound", None)]);
}

#[test]
fn agents_are_bounded_and_what_they_take_is_known() {
    let mut watch = Watch::default();
    let id = |n: usize| RecordId {
        node: format!("node-{n}"),
        epoch: "e".repeat(32),
        class: Class::Security,
        seq: u64::MAX,
    };
    let sign = Sign {
        time_unix_ns: u64::MAX,
        ends: true,
    };
    for n in 0..MAX_AGENTS + 5 {
        watch.goes_on(&id(n), sign, false, u64::MAX);
    }
    assert_eq!(watch.agents.len(), MAX_AGENTS);
    let stored = watch.stored();
    let bytes: usize = stored.iter().map(|agent| agent.encoded_len() + 8).sum();
    assert!(bytes <= watch.most_bytes, "{bytes} {}", watch.most_bytes);
    let restored = Watch::restore(stored);
    assert_eq!(restored.most_bytes, watch.most_bytes);
    let own = RecordId {
        node: OWN_NODE.to_owned(),
        ..id(0)
    };
    let mut watch = Watch::default();
    watch.goes_on(&own, sign, false, 1);
    assert!(watch.agents.is_empty());
}
