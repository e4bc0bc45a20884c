//! Clocks that jump and machines that sleep, from the sample and the event to the spool: whatever the
//! wall clock does, windows neither overlap nor run backwards, events have the clock's time at the
//! moment they are written, and the order is that of the numbers.
#![expect(
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use plimsoll_agent::containers::{Containers, Options, Output};
use plimsoll_agent::spool::Spool;
use plimsoll_agent::usage::window::Spec;
use plimsoll_agent::usage::{Sample, Timeline};
use plimsoll_journal::testing::CrashStorage;
use plimsoll_wire::event::ContainerEnd;
use plimsoll_wire::{AuditEvent, Class, UsageWindow, otlp};
use proptest::prelude::*;
use prost::Message;

const MS: u64 = 1_000_000;
const S: u64 = 1_000 * MS;
const HOUR: i64 = 3600;
/// 2027-01-15 08:00:00 UTC.
const EIGHT: u64 = 1_800_000_000 * S;
const LENGTH: u64 = 60 * S;

#[derive(Clone, Copy, Debug)]
enum Act {
    /// Time passes, then the main loop turns.
    Pass(u64),
    /// Somebody sets the wall clock, seconds.
    Step(i64),
    /// The machine sleeps, seconds: CLOCK_BOOTTIME and the wall clock go on, CLOCK_MONOTONIC does not.
    Suspend(u64),
    Make,
    /// Ends the oldest container, so many milliseconds before the loop turns.
    End(u64),
}

/// The node's part that has to do with time: what the main loop does in its order.
struct Node {
    mono: u64,
    wall: u64,
    timeline: Timeline,
    containers: Containers,
    spool: Spool<CrashStorage>,
    out: Vec<Output>,
    /// Cgroup id and CLOCK_MONOTONIC of its making.
    living: Vec<(u64, u64)>,
    next_id: u64,
    windows: BTreeMap<u64, Vec<UsageWindow>>,
    /// What each end must say, in the order of its happening.
    ends: Vec<(u64, u64, u64)>,
    /// Cgroup id → seconds of CPU that its samples told, and CLOCK_MONOTONIC of the last.
    sampled: BTreeMap<u64, (u64, u64)>,
}

fn path(id: u64) -> String {
    format!("/kubepods.slice/kubepods-poda1.slice/cri-containerd-{id:064x}.scope")
}

impl Node {
    fn new() -> Self {
        let spec = Spec {
            length_ns: LENGTH,
            startup_ns: 120 * S,
        };
        let (spool, _) = Spool::open(
            CrashStorage::default(),
            CrashStorage::default(),
            1 << 30,
            "abcd",
        )
        .unwrap();
        Self {
            mono: 1000 * S,
            wall: EIGHT,
            timeline: Timeline::new(1000 * S, EIGHT),
            containers: Containers::new(Options {
                spec,
                max_followed: 100,
                ..Options::default()
            }),
            spool,
            out: Vec::new(),
            living: Vec::new(),
            next_id: 1,
            windows: BTreeMap::new(),
            ends: Vec::new(),
            sampled: BTreeMap::new(),
        }
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Pass(ns) => {
                self.mono += ns;
                self.wall += ns;
                self.turn();
            }
            Act::Step(by_s) => {
                self.wall = self
                    .wall
                    .checked_add_signed(by_s * S.cast_signed())
                    .unwrap();
            }
            Act::Suspend(s) => self.wall += s * S,
            Act::Make => {
                let id = self.next_id;
                self.next_id += 1;
                self.living.push((id, self.mono));
                self.containers.learn(id, &path(id), self.mono, true);
            }
            Act::End(ms) => self.end(ms * MS),
        }
    }

    /// The record of an end waits in its ring until the loop turns, and the clock may step meanwhile.
    fn end(&mut self, waits_ns: u64) {
        if self.living.is_empty() {
            return;
        }
        let (id, made) = self.living.remove(0);
        let at = (self.mono - waits_ns.min(self.mono)).max(made);
        self.timeline.remeasure(self.mono, self.wall);
        self.containers
            .removed(id, at, Some(7), &self.timeline, &mut self.out);
        self.ends.push((
            id,
            self.wall - (self.mono - at),
            self.wall - (self.mono - made),
        ));
        self.write();
    }

    fn turn(&mut self) {
        let shown = self.timeline.wall_at(self.mono);
        self.timeline.remeasure(self.mono, self.wall);
        assert!(self.timeline.wall_at(self.mono) >= shown, "never falls");
        assert_eq!(self.timeline.stamp(self.mono), self.wall);
        for (id, made) in self.living.clone() {
            let used = (self.mono - made) / 4;
            let sample = Sample {
                ebpf_cpu_ns: Some(used),
                ..Sample::empty(id, self.mono)
            };
            self.containers
                .sample(&sample, &self.timeline, &mut self.out);
            self.sampled.insert(id, (used, self.mono - made));
        }
        self.write();
    }

    fn write(&mut self) {
        for output in self.out.drain(..) {
            match output {
                Output::Window(window) => {
                    self.spool.window(&window, self.wall);
                    let of = self.windows.entry(window.identity.cgroup_id);
                    of.or_default().push(window);
                }
                Output::Event(at, event) => self.spool.event(&event, at, self.wall),
            }
        }
        self.spool.commit(self.wall).unwrap();
    }

    fn check(mut self) {
        self.containers.finish(&mut self.out);
        self.write();
        self.check_windows();
        self.check_events();
    }

    fn check_windows(&self) {
        for (id, windows) in &self.windows {
            for window in windows {
                let (start, end) = (window.start_unix_ns, window.end_unix_ns);
                assert_eq!(start % LENGTH, 0, "aligned");
                assert!(start <= end && end <= start + LENGTH, "{start}..{end}");
                assert!((0.0..=1.0).contains(&window.coverage()));
                // While the timeline runs slower than the clock, a window holds up to 1/15 more.
                assert!(window.observed_ns <= LENGTH / 15 * 16 + MS);
            }
            for pair in windows.windows(2) {
                assert!(
                    pair[0].end_unix_ns <= pair[1].start_unix_ns,
                    "{id}: {}..{} before {}..{}",
                    pair[0].start_unix_ns,
                    pair[0].end_unix_ns,
                    pair[1].start_unix_ns,
                    pair[1].end_unix_ns
                );
            }
            let used: u64 = windows.iter().filter_map(|window| window.cpu.used_ns).sum();
            let observed: u64 = windows.iter().map(|window| window.observed_ns).sum();
            assert_eq!(
                Some(&(used, observed)),
                self.sampled.get(id),
                "nothing is lost or counted twice"
            );
        }
        assert_eq!(self.windows.len(), self.sampled.len());
    }

    fn check_events(&mut self) {
        let batch = self
            .spool
            .next_batch(Class::Security, 100_000, 1 << 30)
            .unwrap();
        let told: Vec<(u64, u64, ContainerEnd)> = batch
            .records
            .iter()
            .map(|(seq, payload)| {
                let record = LogRecord::decode(payload.as_slice()).unwrap();
                let (at, event) = otlp::logs::decode(&record).unwrap();
                let AuditEvent::ContainerEnd(end) = event else {
                    panic!("{event:?}");
                };
                (*seq, at, end)
            })
            .collect();
        assert_eq!(told.len(), self.ends.len());
        for ((number, (seq, at, end)), (id, ended, made)) in (1..).zip(&told).zip(&self.ends) {
            assert_eq!((*seq, end.identity.cgroup_id), (number, *id), "in order");
            assert_eq!((*at, end.started_unix_ns), (*ended, Some(*made)));
            assert!(*made <= *at, "ends after it began, whatever the clock did");
        }
    }
}

fn play(acts: &[Act]) {
    let mut node = Node::new();
    for act in acts {
        node.act(*act);
    }
    node.check();
}

#[test]
fn an_hour_back_a_day_ahead_and_a_night_asleep() {
    let second = [Act::Pass(S)];
    let jumps = [
        Act::Step(-HOUR),
        Act::Step(24 * HOUR),
        Act::Suspend(8 * 3600),
    ];
    for jump in jumps {
        for before in [0, 1, 59, 60, 61] {
            let mut acts = vec![Act::Make, Act::Make];
            acts.extend(second.repeat(before));
            // Its record waits while the clock jumps.
            acts.extend([jump, Act::End(50)]);
            acts.extend(second.repeat(130));
            acts.extend([Act::Make, Act::Pass(S / 5), Act::End(0), Act::End(0)]);
            play(&acts);
        }
    }
}

/// Steps back and forth by any amount within two days, some while records wait.
fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (1..=3000_u64).prop_map(|ms| Act::Pass(ms * MS)),
        2 => (30..120_u64).prop_map(|s| Act::Pass(s * S)),
        1 => (-48 * HOUR..48 * HOUR).prop_map(Act::Step),
        1 => prop_oneof![Just(-HOUR), Just(24 * HOUR), Just(-1), Just(1)].prop_map(Act::Step),
        1 => (1..100_000_u64).prop_map(Act::Suspend),
        2 => Just(Act::Make),
        2 => (0..200_u64).prop_map(Act::End),
    ]
}

proptest! {
    #[test]
    fn any_clock(acts in prop::collection::vec(act(), 1..150)) {
        play(&acts);
    }
}
