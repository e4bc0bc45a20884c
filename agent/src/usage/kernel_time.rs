//! CPU time as the scheduler hook books it, per followed cgroup: what lies within a container is the
//! container's.
//!
//! Pure: snapshots and removals in, closed 100 ms periods and running totals out.

use std::collections::{BTreeMap, HashMap, HashSet};

use plimsoll_abi::CpuUse;

use crate::probe::periods::{Ledger, Snapshot, Unbooked};

/// Periods of removed cgroups that wait for the next snapshot, at the most: 32 of 512 cgroups in a
/// second. Beyond, they count as missed.
const MAX_LAST_PERIODS: usize = 16_384;

/// What the kernel's accounting could not say, and how full it is. Cumulative, but for `cgroups`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Cgroups in the last snapshot: rows of the kernel's map.
    pub cgroups: u64,
    /// Rows given up because nobody knew the cgroup; see [`KernelTime::walked`].
    pub forgotten: u64,
    /// The CPU time in those rows, nanoseconds: of cgroups whose end was told before, or that came
    /// and went unseen.
    pub forgotten_ns: u64,
    /// Periods, summed over cgroups, that were no longer there when they were read.
    pub missed_periods: u64,
    /// Snapshots taken while a CPU could not be made to book what it was running.
    pub unsettled: u64,
    /// What the kernel could not book for want of rows.
    pub unbooked: Unbooked,
}

/// See the module.
#[derive(Debug, Default)]
pub struct KernelTime {
    ledger: Ledger,
    /// Of the living, by followed cgroup.
    used_ns: HashMap<u64, u64>,
    /// Of cgroups that were removed from within a followed one.
    retired_ns: HashMap<u64, u64>,
    /// Of cgroups that were removed from within a followed one: followed cgroup and period → time.
    last_periods: BTreeMap<(u64, u64), u64>,
    /// Of the last snapshot, those that nobody knew, with their CPU time.
    strangers: HashMap<u64, u64>,
    counts: Counts,
}

impl KernelTime {
    /// Takes in a snapshot. `owner` names the followed cgroup that a cgroup's time belongs to, and
    /// `followed` all those that live, of which the kernel knows only who ran; `period` is told of each closed period of a followed cgroup and the time used in it.
    pub fn take(
        &mut self,
        snapshot: &Snapshot,
        owner: impl Fn(u64) -> Option<u64>,
        followed: impl Iterator<Item = u64>,
        mut period: impl FnMut(u64, u64, u64),
    ) {
        let open = snapshot.open_period();
        let ended = |(_, period): &(u64, u64)| *period < open;
        let mut closed: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        for (key, used_ns) in std::mem::take(&mut self.last_periods) {
            let into = if ended(&key) {
                &mut closed
            } else {
                &mut self.last_periods
            };
            into.insert(key, used_ns);
        }
        // All that closed now end together, so that those of one owner have no gap between them.
        let mut since: HashMap<u64, u64> = HashMap::new();
        let gaps = self.ledger.close(snapshot, followed, |part| {
            if let Some(owner) = owner(part.cgroup_id) {
                for (period, used_ns) in part.used() {
                    *closed.entry((owner, period)).or_default() += used_ns;
                }
                if part.from < part.end {
                    let from = since.entry(owner).or_insert(part.from);
                    *from = part.from.min(*from);
                }
            }
        });
        self.counts.missed_periods += gaps.missed_periods;
        self.counts.unsettled += u64::from(!snapshot.settled);
        self.counts.unbooked = snapshot.unbooked;
        self.counts.cgroups = snapshot.uses.len() as u64;
        for (owner, from) in since {
            let named = closed.range((owner, from)..(owner, open)).count() as u64;
            let idle = (open - from).saturating_sub(named);
            if idle > 0 {
                period(owner, 0, idle);
            }
        }
        for ((owner, _), used_ns) in closed {
            period(owner, used_ns, 1);
        }
        self.used_ns.clear();
        for (cgroup_id, booked) in &snapshot.uses {
            if let Some(owner) = owner(*cgroup_id) {
                *self.used_ns.entry(owner).or_default() += booked.total_ns;
            }
        }
    }

    /// CPU time of a followed cgroup since its first, nanoseconds; `None` if it never ran.
    pub fn used_ns(&self, followed: u64) -> Option<u64> {
        let retired = self.retired_ns.get(&followed).copied();
        match self.used_ns.get(&followed) {
            Some(used) => Some(used + retired.unwrap_or(0)),
            None => retired,
        }
    }

    /// A cgroup was removed at `at_ns` (CLOCK_MONOTONIC), having booked this. Its time and its last
    /// periods stay with its owner, unless it was the owner: then `period` is told of them, and the
    /// answer is the time of all that was in it.
    pub fn removed(
        &mut self,
        cgroup_id: u64,
        owner: Option<u64>,
        booked: Option<&CpuUse>,
        at_ns: u64,
        mut period: impl FnMut(u64),
    ) -> Option<u64> {
        if let (Some(owner), Some(booked)) = (owner, booked) {
            self.keep_last_periods(cgroup_id, owner, booked, at_ns);
        }
        let total_ns = booked.map(|booked| booked.total_ns);
        if owner == Some(cgroup_id) {
            let periods = self
                .last_periods
                .range((cgroup_id, 0)..=(cgroup_id, u64::MAX));
            periods.for_each(|(_, used_ns)| period(*used_ns));
            self.last_periods.retain(|(of, _), _| *of != cgroup_id);
            self.used_ns.remove(&cgroup_id);
            let retired = self.retired_ns.remove(&cgroup_id);
            return match (total_ns, retired) {
                (None, None) => None,
                (total, retired) => Some(total.unwrap_or(0) + retired.unwrap_or(0)),
            };
        }
        if let (Some(owner), Some(total_ns)) = (owner, total_ns) {
            *self.retired_ns.entry(owner).or_default() += total_ns;
        }
        None
    }

    fn keep_last_periods(&mut self, cgroup_id: u64, owner: u64, booked: &CpuUse, at_ns: u64) {
        let (kept, counts) = (&mut self.last_periods, &mut self.counts);
        let gaps = self.ledger.end(cgroup_id, booked, at_ns, |part| {
            for (period, used_ns) in part.all() {
                let key = (owner, period);
                if kept.len() < MAX_LAST_PERIODS || kept.contains_key(&key) {
                    *kept.entry(key).or_default() += used_ns;
                } else {
                    counts.missed_periods += 1;
                }
            }
        });
        counts.missed_periods += gaps.missed_periods;
    }

    /// Notes which cgroups of a snapshot nobody knows. They may be new, their record still in a ring or
    /// lost.
    pub fn note_strangers(&mut self, snapshot: &Snapshot, is_known: impl Fn(u64) -> bool) {
        let uses = snapshot.uses.iter();
        self.strangers = uses
            .filter(|(id, _)| !is_known(*id))
            .map(|(id, booked)| (*id, booked.total_ns))
            .collect();
    }

    /// The whole tree was walked, and `found` lists all that live: of those that nobody knew before,
    /// the ones that are not there, which the kernel may forget. The last task of a cgroup is switched
    /// out after the directory is gone, which makes a new row that nothing else would ever take away.
    pub fn walked(&mut self, found: &HashSet<u64>) -> Vec<u64> {
        let mut gone = std::mem::take(&mut self.strangers);
        gone.retain(|id, _| !found.contains(id));
        self.counts.forgotten += gone.len() as u64;
        self.counts.forgotten_ns += gone.values().sum::<u64>();
        gone.into_keys().collect()
    }

    /// What could not be said, and how full the kernel's map is.
    pub const fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_abi::PERIOD_NS;

    use super::*;

    fn used(total_ns: u64, period: u64, in_period_ns: u64) -> CpuUse {
        let mut used = CpuUse {
            total_ns,
            ..CpuUse::default()
        };
        let slot = usize::try_from(period).unwrap() % plimsoll_abi::PERIOD_SLOTS;
        (used.period[slot], used.used_ns[slot]) = (period, in_period_ns);
        used
    }

    #[test]
    fn what_lies_within_is_the_containers_in_the_same_period() {
        let mut time = KernelTime::default();
        let owner = |id| (id < 20).then_some(1);
        let snapshot = Snapshot {
            now_ns: 101 * PERIOD_NS,
            uses: vec![
                (1, used(30, 100, 30)),
                (11, used(12, 100, 12)),
                (99, used(5, 100, 5)),
            ],
            settled: true,
            unbooked: Unbooked::default(),
        };
        let mut periods = Vec::new();
        let nobody = [].into_iter();
        time.take(&snapshot, owner, nobody, |id, used_ns, times| {
            periods.push((id, used_ns, times));
        });
        assert_eq!(periods, [(1, 42, 1)]);
        assert_eq!(time.used_ns(1), Some(42));
        assert_eq!(time.used_ns(99), None, "nobody follows it");
        let at_ns = 101 * PERIOD_NS + 1;
        let none = |used_ns| panic!("{used_ns} was told before");
        let within = time.removed(11, Some(1), Some(&used(12, 100, 12)), at_ns, none);
        assert_eq!(within, None);
        assert_eq!(
            time.removed(1, Some(1), Some(&used(31, 100, 30)), at_ns, none),
            Some(43),
            "the last word, and what went before"
        );
        assert_eq!(time.used_ns(1), None);
    }

    /// What was used after the last snapshot is in the row that is read when the cgroup has gone.
    #[test]
    fn the_last_periods_are_the_containers_too() {
        let owner = |id| (id < 20).then_some(1);
        let take = |time: &mut KernelTime, open: u64, uses: &[(u64, CpuUse)]| {
            let snapshot = Snapshot {
                now_ns: open * PERIOD_NS,
                uses: uses.to_vec(),
                settled: true,
                unbooked: Unbooked::default(),
            };
            let mut periods = Vec::new();
            let nobody = [].into_iter();
            time.take(&snapshot, owner, nobody, |_, used_ns, times| {
                periods.extend((0..times).map(|_| used_ns));
            });
            periods.sort_unstable();
            periods
        };
        let mut row = used(30, 100, 30);
        let mut last = |period: u64, used_ns: u64| {
            let slot = usize::try_from(period).unwrap() % plimsoll_abi::PERIOD_SLOTS;
            (row.period[slot], row.used_ns[slot]) = (period, used_ns);
            row.total_ns += used_ns;
            row
        };
        let mut time = KernelTime::default();
        assert_eq!(take(&mut time, 101, &[(1, last(100, 30))]), [30]);
        let row = last(103, 7);
        // Made, used and removed between two snapshots, within the container.
        let at_ns = 105 * PERIOD_NS + 1;
        let none = |used_ns| panic!("{used_ns} is not told yet");
        time.removed(11, Some(1), Some(&used(12, 103, 12)), at_ns, none);
        time.removed(12, Some(1), Some(&used(5, 106, 5)), at_ns, none);
        time.removed(99, None, Some(&used(5, 103, 5)), at_ns, none);
        assert_eq!(
            take(&mut time, 106, &[(1, row)]),
            [0, 0, 0, 0, 12 + 7],
            "each period once, idle ones included"
        );
        let mut periods = Vec::new();
        let row = last(107, 8);
        time.removed(1, Some(1), Some(&row), 109 * PERIOD_NS + 1, |used_ns| {
            periods.push(used_ns);
        });
        assert_eq!(periods, [5, 8, 0]);
        assert!(time.last_periods.is_empty() && take(&mut time, 120, &[]).is_empty());
    }

    /// The kernel has no row for who never ran, and an old one for who has not run since.
    #[test]
    fn who_is_followed_and_idle_has_idle_periods() {
        let mut time = KernelTime::default();
        let mut idle = HashMap::new();
        for open in [200_u64, 210, 220, 300] {
            let snapshot = Snapshot {
                now_ns: open * PERIOD_NS,
                uses: vec![(1, used(30, 100, 30)), (3, used(7, open - 1, 7))],
                settled: true,
                unbooked: Unbooked::default(),
            };
            time.take(
                &snapshot,
                Some,
                [1, 2, 3].into_iter(),
                |id, used_ns, times| {
                    let (zeros, others) = idle.entry(id).or_insert((0, 0));
                    *(if used_ns == 0 { zeros } else { others }) += times;
                },
            );
        }
        // Of the last eighty periods the kernel has kept thirty.
        assert_eq!(idle[&1], (50, 0));
        assert_eq!(idle[&2], (50, 0));
        assert_eq!(idle[&3], (47, 4));
        assert_eq!(time.counts().missed_periods, 3 * 50);
    }

    #[test]
    fn a_stranger_that_a_whole_walk_does_not_find_is_gone() {
        let mut time = KernelTime::default();
        let note = |time: &mut KernelTime, ids: &[u64], known: &[u64]| {
            let snapshot = Snapshot {
                uses: ids.iter().map(|id| (*id, used(*id, 1, *id))).collect(),
                ..Snapshot::default()
            };
            time.note_strangers(&snapshot, |id| known.contains(&id));
        };
        let set = |ids: &[u64]| ids.iter().copied().collect::<HashSet<u64>>();
        note(&mut time, &[1, 7, 8, 9], &[1]);
        note(&mut time, &[1, 7, 8], &[1]);
        let mut gone = time.walked(&set(&[8]));
        gone.sort_unstable();
        assert_eq!(gone, [7], "1 is known, 8 lives, 9 has no row any more");
        assert!(
            time.walked(&set(&[])).is_empty(),
            "each is judged by a snapshot of its own"
        );
        let counts = time.counts();
        assert_eq!((counts.forgotten, counts.forgotten_ns), (1, 7));
    }

    #[test]
    fn what_the_kernel_could_not_say_is_counted() {
        let mut time = KernelTime::default();
        let mut read = |period: u64, settled: bool, unbooked: u64| {
            let snapshot = Snapshot {
                now_ns: period * PERIOD_NS,
                uses: vec![(1, used(30, 100, 30)), (2, CpuUse::default())],
                settled,
                unbooked: Unbooked {
                    switches: unbooked,
                    ns: unbooked * 1000,
                },
            };
            time.take(&snapshot, Some, [].into_iter(), |_, _, _| {});
        };
        read(101, true, 0);
        read(101 + 50, false, 3);
        assert_eq!(
            time.counts(),
            Counts {
                cgroups: 2,
                forgotten: 0,
                forgotten_ns: 0,
                missed_periods: 20,
                unsettled: 1,
                unbooked: Unbooked {
                    switches: 3,
                    ns: 3000
                },
            }
        );
    }
}
