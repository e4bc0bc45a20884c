//! CPU time as the scheduler hook books it, per followed cgroup: what lies within a container is the
//! container's.
//!
//! Pure: snapshots and removals in, closed 100 ms periods and running totals out.

use std::collections::{BTreeMap, HashMap};

use crate::probe::periods::{Ledger, Snapshot};

/// See the module.
#[derive(Debug, Default)]
pub struct KernelTime {
    ledger: Ledger,
    /// Of the living, by followed cgroup.
    used_ns: HashMap<u64, u64>,
    /// Of cgroups that were removed from within a followed one.
    retired_ns: HashMap<u64, u64>,
    /// Periods that were no longer there when they were read, summed over cgroups.
    missed_periods: u64,
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
        self.missed_periods += gaps.missed_periods;
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

    /// Periods that were read too late.
    pub const fn missed_periods(&self) -> u64 {
        self.missed_periods
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
}
