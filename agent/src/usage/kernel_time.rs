//! CPU time as the scheduler hook books it, per followed cgroup: what lies within a container is the
//! container's.
//!
//! Pure: snapshots and removals in, closed 100 ms periods and running totals out.

use std::collections::{BTreeMap, HashMap, HashSet};

use crate::probe::periods::{Ledger, Snapshot, Unbooked};

/// What the kernel's accounting could not say, and how full it is. Cumulative, but for `cgroups`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Cgroups in the last snapshot: rows of the kernel's map.
    pub cgroups: u64,
    /// Rows given up because nobody knew the cgroup; see [`KernelTime::walked`].
    pub forgotten: u64,
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
    /// Of the last snapshot, those that nobody knew.
    strangers: HashSet<u64>,
    counts: Counts,
}

impl KernelTime {
    /// Takes in a snapshot. `owner` names the followed cgroup that a cgroup's time belongs to;
    /// `period` is told of each closed period of a followed cgroup and the time used in it.
    pub fn take(
        &mut self,
        snapshot: &Snapshot,
        owner: impl Fn(u64) -> Option<u64>,
        mut period: impl FnMut(u64, u64),
    ) {
        let mut closed: BTreeMap<(u64, u64), u64> = BTreeMap::new();
        let gaps = self.ledger.close(snapshot, |part| {
            if let Some(owner) = owner(part.cgroup_id) {
                *closed.entry((owner, part.period)).or_default() += part.used_ns;
            }
        });
        self.counts.missed_periods += gaps.missed_periods;
        self.counts.unsettled += u64::from(!snapshot.settled);
        self.counts.unbooked = snapshot.unbooked;
        self.counts.cgroups = snapshot.uses.len() as u64;
        for ((owner, _), used_ns) in closed {
            period(owner, used_ns);
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

    /// A cgroup was removed, having used `total_ns` in all. Its time stays with its owner, unless it
    /// was the owner: then the answer is the time of all that was in it.
    pub fn removed(
        &mut self,
        cgroup_id: u64,
        owner: Option<u64>,
        total_ns: Option<u64>,
    ) -> Option<u64> {
        if owner == Some(cgroup_id) {
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

    /// Notes which cgroups of a snapshot nobody knows. They may be new, their record still in a ring or
    /// lost.
    pub fn note_strangers(&mut self, snapshot: &Snapshot, is_known: impl Fn(u64) -> bool) {
        let ids = snapshot.uses.iter().map(|(id, _)| *id);
        self.strangers = ids.filter(|id| !is_known(*id)).collect();
    }

    /// The whole tree was walked, and `found` lists all that live: of those that nobody knew before,
    /// the ones that are not there, which the kernel may forget. The last task of a cgroup is switched
    /// out after the directory is gone, which makes a new row that nothing else would ever take away.
    pub fn walked(&mut self, found: &HashSet<u64>) -> Vec<u64> {
        let strangers = std::mem::take(&mut self.strangers);
        let gone: Vec<u64> = strangers.difference(found).copied().collect();
        self.counts.forgotten += gone.len() as u64;
        gone
    }

    /// What could not be said, and how full the kernel's map is.
    pub const fn counts(&self) -> Counts {
        self.counts
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_abi::{CpuUse, PERIOD_NS};

    use super::*;

    fn used(total_ns: u64, period: u64, in_period_ns: u64) -> CpuUse {
        let mut used = CpuUse {
            total_ns,
            ..CpuUse::default()
        };
        used.period[0] = period;
        used.used_ns[0] = in_period_ns;
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
        time.take(&snapshot, owner, |id, used_ns| periods.push((id, used_ns)));
        assert_eq!(periods, [(1, 42)]);
        assert_eq!(time.used_ns(1), Some(42));
        assert_eq!(time.used_ns(99), None, "nobody follows it");
        assert_eq!(time.removed(11, Some(1), Some(12)), None);
        assert_eq!(
            time.removed(1, Some(1), Some(31)),
            Some(43),
            "the last word, and what went before"
        );
        assert_eq!(time.used_ns(1), None);
    }

    #[test]
    fn a_stranger_that_a_whole_walk_does_not_find_is_gone() {
        let mut time = KernelTime::default();
        let note = |time: &mut KernelTime, ids: &[u64], known: &[u64]| {
            let snapshot = Snapshot {
                uses: ids.iter().map(|id| (*id, CpuUse::default())).collect(),
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
        assert_eq!(time.counts().forgotten, 1);
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
            time.take(&snapshot, Some, |_, _| {});
        };
        read(101, true, 0);
        read(101 + 50, false, 3);
        assert_eq!(
            time.counts(),
            Counts {
                cgroups: 2,
                forgotten: 0,
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
