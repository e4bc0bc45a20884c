//! From what the kernel booked to closed 100 ms periods, each exactly once.
//!
//! ```text
//!                     read
//!   slots ▇▇▇▇│▇▇▇ │▁▁▁▁│▇▇ │
//!           p   p+1  p+2  p+3        p+3 is open, the others close
//! ```
//!
//! A snapshot is taken after every CPU has booked what it was running, so that a period that was
//! over before is complete, and nothing more will be booked into it. Pure: the caller reads the map
//! and has the clock.

use std::collections::HashMap;

use plimsoll_abi::{CpuUse, PERIOD_NS, PERIOD_SLOTS};

/// Periods before the current one that the kernel still has (`PAST_PERIODS` of the hook).
const KEPT_PERIODS: u64 = PERIOD_SLOTS as u64 - 2;

/// What is booked, of all cgroups.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// CLOCK_MONOTONIC before anything was settled or read, nanoseconds: complete up to here.
    pub now_ns: u64,
    /// What is booked, by cgroup id.
    pub uses: Vec<(u64, CpuUse)>,
    /// False if a CPU could not be made to book what it is running: periods can lack the time of
    /// tasks that do not yield.
    pub settled: bool,
    /// What found no room in the kernel's map.
    pub unbooked: Unbooked,
}

/// CPU time that belongs to nobody, because the map of cgroups was full. Cumulative since load.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unbooked {
    /// Stretches of one task on one CPU.
    pub switches: u64,
    /// Their time, nanoseconds.
    pub ns: u64,
}

impl Snapshot {
    /// The period that has not ended yet.
    pub(crate) const fn open_period(&self) -> u64 {
        self.now_ns / PERIOD_NS
    }
}

/// Closed periods of one cgroup, without a gap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Closed<'a> {
    /// Which cgroup.
    pub cgroup_id: u64,
    /// The first of them, CLOCK_MONOTONIC divided by 100 ms.
    pub from: u64,
    /// The one behind the last.
    pub end: u64,
    booked: &'a CpuUse,
}

impl Closed<'_> {
    /// Those of them in which anything was used, in no order, with the CPU time used on all CPUs
    /// together, nanoseconds.
    pub fn used(&self) -> impl Iterator<Item = (u64, u64)> {
        let slots = self.booked.period.iter().zip(&self.booked.used_ns);
        let within = self.from..self.end;
        slots
            .filter(move |(period, used_ns)| **used_ns > 0 && within.contains(period))
            .map(|(period, used_ns)| (*period, *used_ns))
    }

    /// All of them in order, idle ones included.
    pub fn all(&self) -> impl Iterator<Item = (u64, u64)> {
        let used = |of| {
            let found = self.used().find(|(period, _)| *period == of);
            found.map_or(0, |(_, used_ns)| used_ns)
        };
        (self.from..self.end).map(move |period| (period, used(period)))
    }
}

/// What one closing could not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gaps {
    /// Periods, summed over cgroups, that the kernel no longer had: the reader came too late.
    pub missed_periods: u64,
}

/// What has been handed out so far, per cgroup; as many of them as the kernel's map holds.
#[derive(Debug, Default)]
pub struct Ledger {
    /// The first period that was not handed out yet.
    next: HashMap<u64, u64>,
}

impl Ledger {
    /// Hands every period that closed since the last call to `each`, once for each cgroup. A cgroup starts with the first period that it used; one that is `followed`, whether it
    /// ever ran or not, with the first that closes after it was named here.
    pub fn close(
        &mut self,
        snapshot: &Snapshot,
        followed: impl Iterator<Item = u64>,
        mut each: impl FnMut(Closed<'_>),
    ) -> Gaps {
        let mut gaps = Gaps::default();
        let end = snapshot.open_period();
        let oldest = end.saturating_sub(KEPT_PERIODS);
        let mut next = HashMap::with_capacity(snapshot.uses.len());
        for (cgroup_id, booked) in &snapshot.uses {
            let known = self.next.get(cgroup_id).copied();
            let Some(start) = known.or_else(|| first_use(booked, oldest)) else {
                continue;
            };
            let from = start.max(oldest);
            gaps.missed_periods += from - start;
            each(Closed {
                cgroup_id: *cgroup_id,
                from,
                end,
                booked,
            });
            next.insert(*cgroup_id, from.max(end));
        }
        let idle = CpuUse::default();
        for cgroup_id in followed {
            // The kernel has no row for it, or none that says that it ran of late.
            if next.contains_key(&cgroup_id) {
                continue;
            }
            let start = self.next.get(&cgroup_id).copied().unwrap_or(end);
            let from = start.max(oldest);
            gaps.missed_periods += from - start;
            each(Closed {
                cgroup_id,
                from,
                end,
                booked: &idle,
            });
            next.insert(cgroup_id, from.max(end));
        }
        self.next = next;
        gaps
    }

    /// A cgroup was removed at `at_ns` (CLOCK_MONOTONIC), having booked this: hands what it was not
    /// asked for yet to `each`, up to the period in which it ended, and forgets it.
    pub fn end(
        &mut self,
        cgroup_id: u64,
        booked: &CpuUse,
        at_ns: u64,
        mut each: impl FnMut(Closed<'_>),
    ) -> Gaps {
        let slots = booked.period.iter().zip(&booked.used_ns);
        let used = slots.filter(|(_, used_ns)| **used_ns > 0);
        let last_used = used.map(|(period, _)| *period).max();
        // Of the period in which it ended it had a part only: without use that is no period.
        let end = (at_ns / PERIOD_NS).max(last_used.map_or(0, |period| period + 1));
        let oldest = end.saturating_sub(KEPT_PERIODS);
        let known = self.next.remove(&cgroup_id);
        let Some(start) = known.or_else(|| first_use(booked, oldest)) else {
            return Gaps::default();
        };
        let from = start.max(oldest);
        each(Closed {
            cgroup_id,
            from,
            end,
            booked,
        });
        Gaps {
            missed_periods: from - start,
        }
    }
}

/// The first period in which a cgroup used anything, as far as can be seen.
fn first_use(booked: &CpuUse, oldest: u64) -> Option<u64> {
    let slots = booked.period.iter().zip(&booked.used_ns);
    slots
        .filter(|(period, used_ns)| **period >= oldest && **used_ns > 0)
        .map(|(period, _)| *period)
        .min()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use plimsoll_abi::OnCpu;

    use super::*;

    /// The kernel side: the arithmetic of `ebpf/src/switch.rs` on a machine that exists only here.
    #[derive(Default)]
    struct Machine {
        on_cpu: Vec<OnCpu>,
        uses: BTreeMap<u64, CpuUse>,
        /// What was really used, by cgroup and period.
        truth: BTreeMap<(u64, u64), u64>,
    }

    /// Threads 1 to 6 live in cgroups 101 to 103; 0 is the idle task.
    fn cgroup_of(tid: u32) -> u64 {
        101 + u64::from(tid) % 3
    }

    impl Machine {
        fn switch(&mut self, cpu: usize, tid: u32, now: u64) {
            self.account(cpu, now);
            self.on_cpu[cpu].tid = tid;
        }

        /// Every CPU books what it is running.
        fn settle(&mut self, now: u64) {
            for cpu in 0..self.on_cpu.len() {
                self.account(cpu, now);
            }
        }

        fn account(&mut self, cpu: usize, now: u64) {
            let before = self.on_cpu[cpu];
            self.on_cpu[cpu].since_ns = now;
            if before.since_ns == 0 || before.tid == 0 || now <= before.since_ns {
                return;
            }
            let cgroup_id = cgroup_of(before.tid);
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
            for (period, used) in split(before.since_ns, now) {
                *self.truth.entry((cgroup_id, period)).or_default() += used;
            }
        }

        /// As the agent reads: each CPU settles a little later than the clock was read.
        fn snapshot(&mut self, now_ns: u64) -> Snapshot {
            self.settle(now_ns + 20_000);
            let uses = self.uses.iter().map(|(id, used)| (*id, *used)).collect();
            Snapshot {
                now_ns,
                uses,
                settled: true,
                unbooked: Unbooked::default(),
            }
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
        fn periods_are_exact_and_once(
            steps in steps(),
            boot in 1..PERIOD_NS * 40,
            last_ns in 1..PERIOD_NS * 12,
        ) {
            let mut machine = Machine { on_cpu: vec![OnCpu::default(); 3], ..Machine::default() };
            let mut ledger = Ledger::default();
            let mut seen: BTreeMap<(u64, u64), u64> = BTreeMap::new();
            let mut now = boot;
            let mut last_read = boot;
            let mut read = |machine: &mut Machine, now| {
                let gaps = ledger.close(&machine.snapshot(now), [].into_iter(), |closed| {
                    for (period, used_ns) in closed.all() {
                        let again = seen.insert((closed.cgroup_id, period), used_ns);
                        assert_eq!(again, None, "{closed:?} twice");
                    }
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
                        read(&mut machine, now);
            now += 20_000;
                        last_read = now;
                    }
                }
                // A reader that comes every 2 s misses nothing.
                if now - last_read > PERIOD_NS * 15 {
                    read(&mut machine, now);
            now += 20_000;
                    last_read = now;
                }
            }
            read(&mut machine, now);
            now += 20_000;
            let end = (now - 20_000) / PERIOD_NS;
            for (key, used) in &machine.truth {
                if key.1 < end {
                    prop_assert_eq!(seen.get(key), Some(used), "cgroup and period {:?}", key);
                }
            }
            let sum = |all: &BTreeMap<(u64, u64), u64>| all.iter().filter(|(key, _)| key.1 < end).map(|(_, used)| used).sum::<u64>();
            prop_assert_eq!(sum(&seen), sum(&machine.truth));
            prop_assert!(seen.keys().all(|key| key.1 < end));
            // They run on for a while, and end: nothing of that is left out.
            now += last_ns;
            machine.settle(now);
            for (id, used) in &machine.uses {
                let gaps = ledger.end(*id, used, now, |closed| {
                    for (period, used_ns) in closed.all() {
                        let again = seen.insert((closed.cgroup_id, period), used_ns);
                        assert_eq!(again, None, "{closed:?} twice");
                    }
                });
                prop_assert_eq!(gaps, Gaps::default());
            }
            for (key, used) in &machine.truth {
                prop_assert_eq!(seen.get(key), Some(used), "cgroup and period {:?}", key);
            }
            prop_assert_eq!(seen.values().sum::<u64>(), machine.truth.values().sum::<u64>());
            prop_assert!(seen.keys().all(|key| key.1 <= now / PERIOD_NS));
            prop_assert!(ledger.next.is_empty());
        }
    }

    #[test]
    fn a_late_reader_says_what_it_missed() {
        let mut machine = Machine {
            on_cpu: vec![OnCpu::default()],
            ..Machine::default()
        };
        let mut ledger = Ledger::default();
        let mut periods = Vec::new();
        machine.switch(0, 3, PERIOD_NS * 10);
        machine.switch(0, 0, PERIOD_NS * 11);
        let mut close = |machine: &mut Machine, now| {
            ledger.close(&machine.snapshot(now), [].into_iter(), |closed| {
                periods.extend(closed.all().map(|(period, _)| period));
            })
        };
        assert_eq!(close(&mut machine, PERIOD_NS * 13), Gaps::default());
        // 13 to 112 closed since; 83 to 112 are still known.
        assert_eq!(close(&mut machine, PERIOD_NS * 113).missed_periods, 70);
        let expected: Vec<u64> = (10..13).chain(83..113).collect();
        assert_eq!(periods, expected);
    }

    #[test]
    fn a_task_that_never_yields_has_its_time_in_each_period() {
        let mut machine = Machine {
            on_cpu: vec![OnCpu::default()],
            ..Machine::default()
        };
        let mut ledger = Ledger::default();
        let mut used = Vec::new();
        machine.switch(0, 3, PERIOD_NS * 10 + 1);
        for read in 1..=5 {
            let snapshot = machine.snapshot(PERIOD_NS * (10 + read * 10));
            ledger.close(&snapshot, [].into_iter(), |closed| {
                used.extend(closed.all().map(|(_, used_ns)| used_ns));
            });
        }
        assert_eq!(used.len(), 50);
        assert_eq!(used[0], PERIOD_NS - 1);
        assert!(used[1..].iter().all(|used_ns| *used_ns == PERIOD_NS));
    }
}
