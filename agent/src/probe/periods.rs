//! From what the kernel booked to closed 100 ms periods, each exactly once.
//!
//! ```text
//!             since                 now
//!   CPU 0  ────┬──── still running ──┤      in flight: not booked yet, added here
//!   slots  ▇▇▇▇│▇▇ booked            │
//!   period   p │ p+1 │ p+2 │ p+3 │ p+4      p+4 is open, p+3 is the grace, p+2 closes
//! ```
//!
//! A task that never yields is booked only when it is switched out. What it used of a period is
//! therefore added when the period closes; when the kernel books it later, that period has been
//! handed out and is not looked at again. Pure: the caller reads the maps, says which cgroup a
//! thread belongs to and has the clock.

use std::collections::HashMap;

use plimsoll_abi::{CpuUse, OnCpu, PERIOD_NS, PERIOD_SLOTS};

/// Periods between now and the last one that closes. With one whole period of grace, only
/// stretches longer than that can be ambiguous in a [`Snapshot`], and those are rare.
const GRACE_PERIODS: u64 = 1;
/// Periods before the current one that the kernel still has (`PAST_PERIODS` of the hook).
const KEPT_PERIODS: u64 = PERIOD_SLOTS as u64 - 2;

/// Both maps, read as one.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// CLOCK_MONOTONIC before the first read, nanoseconds.
    pub now_ns: u64,
    /// What each CPU was doing, read before `uses`.
    pub on_cpu: Vec<OnCpu>,
    /// What is booked, by cgroup id.
    pub uses: Vec<(u64, CpuUse)>,
    /// False if a long stretch ended between the reads even on the last try: it may be in both
    /// maps or in neither, and its periods can be wrong by it.
    pub settled: bool,
}

impl Snapshot {
    /// The first period that is not closed at `now_ns`.
    pub fn open_period(now_ns: u64) -> u64 {
        (now_ns / PERIOD_NS).saturating_sub(GRACE_PERIODS)
    }

    /// Whether `before` belongs to what was booked when `uses` was read, `after` being read behind
    /// it. The hook writes what runs now first and books after that: a CPU that shows the same
    /// stretch twice had not begun to book it. One that does not matters only if its stretch
    /// reaches into a closed period.
    pub fn is_settled(now_ns: u64, before: &[OnCpu], after: &[OnCpu]) -> bool {
        let closed_ns = Self::open_period(now_ns) * PERIOD_NS;
        before.len() == after.len()
            && before.iter().zip(after).all(|(before, after)| {
                let reaches =
                    before.since_ns != 0 && before.tid != 0 && before.since_ns < closed_ns;
                !reaches || (before.since_ns, before.tid) == (after.since_ns, after.tid)
            })
    }
}

/// One closed period of one cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Which cgroup.
    pub cgroup_id: u64,
    /// CLOCK_MONOTONIC divided by 100 ms.
    pub period: u64,
    /// CPU time used in it on all CPUs together, nanoseconds.
    pub used_ns: u64,
}

/// What one closing could not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Periods, summed over cgroups, that the kernel no longer had: the reader came too late.
    pub missed_periods: u64,
    /// Nanoseconds in closed periods of threads whose cgroup the caller could not name.
    pub unresolved_ns: u64,
}

/// What has been handed out so far, per cgroup. No more of them than the kernel's map and CPUs hold.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The first period that was not handed out yet.
    next: HashMap<u64, u64>,
    /// Where the closing before ended: what nobody could have seen before it.
    closed: u64,
}

impl Ledger {
    /// Hands every period that closed since the last call to `each`, in order per cgroup, idle ones
    /// included. A cgroup starts with the first period that it used. `cgroup_of` names the cgroup
    /// of a thread; it is asked only for threads that run through a closed period.
    pub fn close(
        &mut self,
        snapshot: &Snapshot,
        cgroup_of: impl Fn(u32) -> Option<u64>,
        mut each: impl FnMut(Closed),
    ) -> Gaps {
        let mut gaps = Gaps::default();
        let end = Snapshot::open_period(snapshot.now_ns);
        let oldest = (snapshot.now_ns / PERIOD_NS).saturating_sub(KEPT_PERIODS);
        let in_flight = self.in_flight(snapshot, end, cgroup_of, &mut gaps);
        let mut next = HashMap::with_capacity(snapshot.uses.len());
        let nothing = CpuUse::default();
        let booked = snapshot
            .uses
            .iter()
            .map(|(cgroup_id, booked)| (*cgroup_id, booked));
        let only_in_flight = in_flight
            .keys()
            .filter(|cgroup_id| !snapshot.uses.iter().any(|(booked, _)| booked == *cgroup_id))
            .map(|cgroup_id| (*cgroup_id, &nothing));
        for (cgroup_id, booked) in booked.chain(only_in_flight) {
            let stretches = in_flight.get(&cgroup_id).map_or(&[][..], Vec::as_slice);
            let Some(start) = self
                .next
                .get(&cgroup_id)
                .copied()
                .or_else(|| first_use(booked, stretches, oldest))
            else {
                continue;
            };
            let from = start.max(oldest).min(end.max(start));
            gaps.missed_periods += from - start;
            for period in from..end {
                let used_ns = in_slot(booked, period)
                    + stretches
                        .iter()
                        .map(|since| overlap(*since, period))
                        .sum::<u64>();
                each(Closed {
                    cgroup_id,
                    period,
                    used_ns,
                });
            }
            next.insert(cgroup_id, from.max(end));
        }
        self.next = next;
        self.closed = self.closed.max(end);
        gaps
    }

    /// Forgets a cgroup that is gone.
    pub fn forget(&mut self, cgroup_id: u64) {
        self.next.remove(&cgroup_id);
    }

    /// Starts of the running stretches that reach into a closed period, by cgroup.
    fn in_flight(
        &self,
        snapshot: &Snapshot,
        end: u64,
        cgroup_of: impl Fn(u32) -> Option<u64>,
        gaps: &mut Gaps,
    ) -> HashMap<u64, Vec<u64>> {
        let mut stretches: HashMap<u64, Vec<u64>> = HashMap::new();
        let running = snapshot
            .on_cpu
            .iter()
            .filter(|on_cpu| on_cpu.tid != 0 && on_cpu.since_ns != 0);
        for on_cpu in running.filter(|on_cpu| on_cpu.since_ns < end * PERIOD_NS) {
            match cgroup_of(on_cpu.tid) {
                Some(cgroup_id) => stretches
                    .entry(cgroup_id)
                    .or_default()
                    .push(on_cpu.since_ns),
                // Only what was not counted as unresolved by the closing before.
                None => {
                    gaps.unresolved_ns +=
                        (end * PERIOD_NS) - on_cpu.since_ns.max(self.closed * PERIOD_NS);
                }
            }
        }
        stretches
    }
}

/// The first period in which a cgroup used anything, as far as can be seen.
fn first_use(booked: &CpuUse, stretches: &[u64], oldest: u64) -> Option<u64> {
    let slots = booked.period.iter().zip(&booked.used_ns);
    slots
        .filter(|(period, used_ns)| **period >= oldest && **used_ns > 0)
        .map(|(period, _)| *period)
        .chain(
            stretches
                .iter()
                .map(|since| (since / PERIOD_NS).max(oldest)),
        )
        .min()
}

/// What the kernel has booked for a period.
fn in_slot(booked: &CpuUse, period: u64) -> u64 {
    let mut slots = booked.period.iter().zip(&booked.used_ns);
    slots
        .find(|(tag, _)| **tag == period)
        .map_or(0, |(_, used_ns)| *used_ns)
}

/// Nanoseconds of a whole closed period that lie behind `since_ns`.
fn overlap(since_ns: u64, period: u64) -> u64 {
    ((period + 1) * PERIOD_NS)
        .saturating_sub(since_ns)
        .min(PERIOD_NS)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// The kernel side: the arithmetic of `ebpf/src/switch.rs` on a machine that exists only here.
    #[derive(Default)]
    struct Machine {
        on_cpu: Vec<OnCpu>,
        uses: BTreeMap<u64, CpuUse>,
        /// What was really used, by cgroup and period.
        truth: BTreeMap<(u64, u64), u64>,
    }

    /// Threads 1 to 6 live in cgroups 101 to 103.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "the shape that the ledger asks for"
    )]
    fn cgroup_of(tid: u32) -> Option<u64> {
        Some(101 + u64::from(tid) % 3)
    }

    impl Machine {
        fn switch(&mut self, cpu: usize, tid: u32, now: u64) {
            let before = self.on_cpu[cpu];
            self.on_cpu[cpu] = OnCpu {
                since_ns: now,
                tid,
                ..before
            };
            if before.since_ns == 0 || before.tid == 0 || now <= before.since_ns {
                return;
            }
            let cgroup_id = cgroup_of(before.tid).unwrap();
            let entry = self.uses.entry(cgroup_id).or_default();
            entry.total_ns += now - before.since_ns;
            entry.switches += 1;
            for (period, used) in split(before.since_ns, now) {
                if period + KEPT_PERIODS < now / PERIOD_NS {
                    continue;
                }
                let index = usize::try_from(period).unwrap() % PERIOD_SLOTS;
                if entry.period[index] < period {
                    entry.period[index] = period;
                    entry.used_ns[index] = 0;
                }
                if entry.period[index] == period {
                    entry.used_ns[index] += used;
                }
            }
            self.record(cgroup_id, before.since_ns, now);
        }

        fn record(&mut self, cgroup_id: u64, since: u64, now: u64) {
            for (period, used) in split(since, now) {
                *self.truth.entry((cgroup_id, period)).or_default() += used;
            }
        }

        fn snapshot(&self, now_ns: u64) -> Snapshot {
            let uses = self.uses.iter().map(|(id, used)| (*id, *used)).collect();
            Snapshot {
                now_ns,
                on_cpu: self.on_cpu.clone(),
                uses,
                settled: true,
            }
        }

        /// What was used until `now`, running stretches included.
        fn truth(mut self, now: u64) -> BTreeMap<(u64, u64), u64> {
            for on_cpu in self.on_cpu.clone() {
                if on_cpu.tid != 0 && on_cpu.since_ns != 0 {
                    self.record(cgroup_of(on_cpu.tid).unwrap(), on_cpu.since_ns, now);
                }
            }
            self.truth
        }
    }

    fn split(since: u64, now: u64) -> Vec<(u64, u64)> {
        (since / PERIOD_NS..=now / PERIOD_NS)
            .map(|period| {
                (
                    period,
                    now.min((period + 1) * PERIOD_NS) - since.max(period * PERIOD_NS),
                )
            })
            .collect()
    }

    #[derive(Clone, Debug)]
    enum Step {
        Switch { cpu: usize, tid: u32, after_ns: u64 },
        Read { after_ns: u64 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let gap = prop_oneof![1..200_000_u64, 1..PERIOD_NS * 2];
        let switch = (0..3_usize, 0..7_u32, gap).prop_map(|(cpu, tid, after_ns)| Step::Switch {
            cpu,
            tid,
            after_ns,
        });
        let read = (1..PERIOD_NS * 12).prop_map(|after_ns| Step::Read { after_ns });
        prop::collection::vec(prop_oneof![6 => switch, 1 => read], 1..200)
    }

    proptest! {
        /// Whatever the scheduler does: every period of every cgroup once, in order, and with
        /// exactly what was used in it.
        #[test]
        fn periods_are_exact_and_once(steps in steps(), boot in 1..PERIOD_NS * 40) {
            let mut machine = Machine { on_cpu: vec![OnCpu::default(); 3], ..Machine::default() };
            let mut ledger = Ledger::default();
            let mut seen: BTreeMap<(u64, u64), u64> = BTreeMap::new();
            let mut now = boot;
            let mut last_read = boot;
            let mut read = |machine: &Machine, now| {
                let gaps = ledger.close(&machine.snapshot(now), cgroup_of, |closed| {
                    let again = seen.insert((closed.cgroup_id, closed.period), closed.used_ns);
                    assert_eq!(again, None, "{closed:?} twice");
                });
                assert_eq!(gaps, Gaps::default());
            };
            for step in steps {
                match step {
                    Step::Switch { cpu, tid, after_ns } => {
                        now += after_ns;
                        machine.switch(cpu, tid, now);
                    }
                    Step::Read { after_ns } => {
                        now += after_ns;
                        read(&machine, now);
                        last_read = now;
                    }
                }
                // A reader that comes every 2 s misses nothing.
                if now - last_read > PERIOD_NS * 15 {
                    read(&machine, now);
                    last_read = now;
                }
            }
            read(&machine, now);
            let end = Snapshot::open_period(now);
            let truth = machine.truth(now);
            for (key, used) in &truth {
                if key.1 < end {
                    prop_assert_eq!(seen.get(key), Some(used), "cgroup and period {:?}", key);
                }
            }
            let sum = |all: &BTreeMap<(u64, u64), u64>| all.iter().filter(|(key, _)| key.1 < end).map(|(_, used)| used).sum::<u64>();
            prop_assert_eq!(sum(&seen), sum(&truth));
            prop_assert!(seen.keys().all(|key| key.1 < end));
        }
    }

    #[test]
    fn a_late_reader_says_what_it_missed() {
        let mut machine = Machine {
            on_cpu: vec![OnCpu::default()],
            ..Machine::default()
        };
        let mut ledger = Ledger::default();
        machine.switch(0, 3, PERIOD_NS * 10);
        machine.switch(0, 0, PERIOD_NS * 11);
        let mut periods = Vec::new();
        ledger.close(&machine.snapshot(PERIOD_NS * 13), cgroup_of, |closed| {
            periods.push(closed.period);
        });
        assert_eq!(periods, [10, 11]);
        let gaps = ledger.close(&machine.snapshot(PERIOD_NS * 113), cgroup_of, |closed| {
            periods.push(closed.period);
        });
        // 12 to 111 are closed, 83 to 111 are still known.
        assert_eq!(gaps.missed_periods, 71);
        assert_eq!(
            (periods.len(), periods[2], periods.last()),
            (2 + 29, 83, Some(&111))
        );
    }

    #[test]
    fn time_of_unknown_threads_is_counted_once() {
        let mut machine = Machine {
            on_cpu: vec![OnCpu::default()],
            ..Machine::default()
        };
        let mut ledger = Ledger::default();
        machine.switch(0, 3, PERIOD_NS * 10);
        let first = ledger.close(
            &machine.snapshot(PERIOD_NS * 13),
            |_| None,
            |_| panic!("nobody to close for"),
        );
        assert_eq!(first.unresolved_ns, PERIOD_NS * 2);
        let second = ledger.close(
            &machine.snapshot(PERIOD_NS * 14),
            |_| None,
            |_| panic!("nobody to close for"),
        );
        assert_eq!(second.unresolved_ns, PERIOD_NS);
    }

    #[test]
    fn only_long_stretches_unsettle() {
        let now = PERIOD_NS * 10 + 5;
        let stretch = |since_ns| OnCpu {
            since_ns,
            tid: 7,
            ..OnCpu::default()
        };
        let long = [stretch(PERIOD_NS * 8)];
        let short = [stretch(PERIOD_NS * 9 + 1)];
        assert!(Snapshot::is_settled(now, &long, &long));
        assert!(!Snapshot::is_settled(now, &long, &short));
        assert!(Snapshot::is_settled(now, &short, &[stretch(now)]));
        let idle = [OnCpu {
            tid: 0,
            ..stretch(PERIOD_NS)
        }];
        assert!(Snapshot::is_settled(now, &idle, &short));
    }
}
