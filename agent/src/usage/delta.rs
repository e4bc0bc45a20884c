//! What happened between two samples of one container.

use plimsoll_wire::usage::{Pressure, Source};

use super::Sample;
use crate::cgroup::parse::PressureTotal;

/// Why two samples have no difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reset {
    /// Another cgroup.
    OtherInode,
    /// The later one is not later.
    TimeNotRising,
}

/// Use within an interval. `None`: not known at both ends, from the same source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delta {
    /// Length of the interval.
    pub length_ns: u64,
    /// Where `cpu_used_ns` came from.
    pub cpu_source: Option<Source>,
    /// CPU time.
    pub cpu_used_ns: Option<u64>,
    /// Quota periods.
    pub periods: Option<u64>,
    /// Throttled ones.
    pub throttled_periods: Option<u64>,
    /// Throttled time.
    pub throttled_usec: Option<u64>,
    /// CPU pressure.
    pub cpu_pressure: Pressure,
    /// Memory pressure.
    pub memory_pressure: Pressure,
    /// IO pressure.
    pub io_pressure: Pressure,
    /// Bytes read.
    pub io_read_bytes: Option<u64>,
    /// Bytes written.
    pub io_written_bytes: Option<u64>,
    /// Counters that were lower than before, and are `None` here: a disk that was taken out takes
    /// its bytes with it; a CPU counter that falls is another container's.
    pub fallen: u32,
}

impl Delta {
    /// The difference; only for the same cgroup and rising time.
    pub fn between(earlier: &Sample, later: &Sample) -> Result<Self, Reset> {
        if earlier.inode != later.inode {
            return Err(Reset::OtherInode);
        }
        let length_ns = later
            .at_mono_ns
            .checked_sub(earlier.at_mono_ns)
            .filter(|ns| *ns > 0)
            .ok_or(Reset::TimeNotRising)?;
        let mut rises = Rises::default();
        let (cpu_source, cpu_used_ns) = cpu(earlier, later, &mut rises);
        let same_cpu = earlier.cpu.zip(later.cpu);
        let mut cpu_counter = |pick: fn(&crate::cgroup::parse::CpuStat) -> Option<u64>| {
            same_cpu.and_then(|(before, after)| rises.of(pick(&before.stat), pick(&after.stat)))
        };
        let periods = cpu_counter(|stat| stat.periods);
        let throttled_periods = cpu_counter(|stat| stat.throttled_periods);
        let throttled_usec = cpu_counter(|stat| stat.throttled_usec);
        let io = earlier.io.zip(later.io);
        Ok(Self {
            length_ns,
            cpu_source,
            cpu_used_ns,
            periods,
            throttled_periods,
            throttled_usec,
            cpu_pressure: rises.pressure(earlier.cpu_pressure, later.cpu_pressure),
            memory_pressure: rises.pressure(earlier.memory_pressure, later.memory_pressure),
            io_pressure: rises.pressure(earlier.io_pressure, later.io_pressure),
            io_read_bytes: io.and_then(|(b, a)| rises.of(Some(b.read_bytes), Some(a.read_bytes))),
            io_written_bytes: io
                .and_then(|(b, a)| rises.of(Some(b.written_bytes), Some(a.written_bytes))),
            fallen: rises.fallen,
        })
    }

    /// Splits off the first `part_ns` of `whole_ns` and leaves the rest, so that nothing is lost or
    /// counted twice. Within an interval, use is taken as even.
    #[must_use]
    pub fn split_off(&mut self, part_ns: u64, whole_ns: u64) -> Self {
        if part_ns >= whole_ns {
            return std::mem::take(self);
        }
        let cut = |from: &mut u64| {
            let share = u128::from(*from) * u128::from(part_ns) / u128::from(whole_ns);
            let share = u64::try_from(share).unwrap_or(u64::MAX);
            *from -= share;
            share
        };
        let optional = |from: &mut Option<u64>| from.as_mut().map(cut);
        let pressure = |from: &mut Pressure| Pressure {
            some_usec: optional(&mut from.some_usec),
            full_usec: optional(&mut from.full_usec),
        };
        Self {
            length_ns: cut(&mut self.length_ns),
            cpu_source: self.cpu_source,
            cpu_used_ns: optional(&mut self.cpu_used_ns),
            periods: optional(&mut self.periods),
            throttled_periods: optional(&mut self.throttled_periods),
            throttled_usec: optional(&mut self.throttled_usec),
            cpu_pressure: pressure(&mut self.cpu_pressure),
            memory_pressure: pressure(&mut self.memory_pressure),
            io_pressure: pressure(&mut self.io_pressure),
            io_read_bytes: optional(&mut self.io_read_bytes),
            io_written_bytes: optional(&mut self.io_written_bytes),
            fallen: 0,
        }
    }
}

/// From files if both samples have the same, else from our own accounting: after the end of a
/// container only that is left.
fn cpu(earlier: &Sample, later: &Sample, rises: &mut Rises) -> (Option<Source>, Option<u64>) {
    if let Some((before, after)) = earlier.cpu.zip(later.cpu)
        && before.source == after.source
        && before.stat.usage_ns.is_some()
        && after.stat.usage_ns.is_some()
    {
        return (
            Some(after.source),
            rises.of(before.stat.usage_ns, after.stat.usage_ns),
        );
    }
    let used = rises.of(earlier.ebpf_cpu_ns, later.ebpf_cpu_ns);
    (used.map(|_| Source::Ebpf), used)
}

#[derive(Default)]
struct Rises {
    fallen: u32,
}

impl Rises {
    fn of(&mut self, before: Option<u64>, after: Option<u64>) -> Option<u64> {
        let (before, after) = before.zip(after)?;
        let rise = after.checked_sub(before);
        self.fallen += u32::from(rise.is_none());
        rise
    }

    fn pressure(
        &mut self,
        before: Option<PressureTotal>,
        after: Option<PressureTotal>,
    ) -> Pressure {
        let Some((before, after)) = before.zip(after) else {
            return Pressure::default();
        };
        Pressure {
            some_usec: self.of(before.some_usec, after.some_usec),
            full_usec: self.of(before.full_usec, after.full_usec),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cgroup::parse::{CpuStat, IoStat};
    use crate::usage::sample::CpuSample;

    fn sample(at_mono_ns: u64, usage_ns: u64) -> Sample {
        let stat = CpuStat {
            usage_ns: Some(usage_ns),
            ..CpuStat::default()
        };
        Sample {
            cpu: Some(CpuSample {
                source: Source::CgroupV2,
                stat,
            }),
            ..Sample::empty(1, at_mono_ns)
        }
    }

    #[test]
    fn only_the_same_cgroup_and_rising_time() {
        let (a, b) = (sample(10, 100), sample(20, 130));
        let delta = Delta::between(&a, &b).unwrap();
        assert_eq!(
            (delta.length_ns, delta.cpu_used_ns, delta.cpu_source),
            (10, Some(30), Some(Source::CgroupV2))
        );
        assert_eq!(Delta::between(&b, &a), Err(Reset::TimeNotRising));
        assert_eq!(Delta::between(&a, &a), Err(Reset::TimeNotRising));
        assert_eq!(
            Delta::between(&a, &Sample { inode: 2, ..b }),
            Err(Reset::OtherInode)
        );
    }

    #[test]
    fn a_counter_that_falls_is_unknown_and_counted() {
        let io = |bytes| {
            Some(IoStat {
                read_bytes: bytes,
                written_bytes: 7,
            })
        };
        let (a, b) = (
            Sample {
                io: io(50),
                ..sample(10, 100)
            },
            Sample {
                io: io(40),
                ..sample(20, 130)
            },
        );
        let delta = Delta::between(&a, &b).unwrap();
        assert_eq!(
            (delta.io_read_bytes, delta.io_written_bytes, delta.fallen),
            (None, Some(0), 1)
        );
        assert_eq!(delta.cpu_used_ns, Some(30), "the others are not touched");
    }

    #[test]
    fn our_own_accounting_stands_in_for_files_that_are_gone() {
        let a = Sample {
            ebpf_cpu_ns: Some(90),
            ..sample(10, 100)
        };
        let gone = Sample {
            ebpf_cpu_ns: Some(95),
            ..Sample::empty(1, 20)
        };
        let delta = Delta::between(&a, &gone).unwrap();
        assert_eq!(
            (delta.cpu_used_ns, delta.cpu_source),
            (Some(5), Some(Source::Ebpf))
        );
        let other = CpuSample {
            source: Source::CgroupV1,
            ..a.cpu.unwrap()
        };
        let delta = Delta::between(
            &a,
            &Sample {
                cpu: Some(other),
                ..Sample::empty(1, 20)
            },
        )
        .unwrap();
        assert_eq!(
            (delta.cpu_used_ns, delta.cpu_source),
            (None, None),
            "sources are never subtracted from each other"
        );
    }

    proptest! {
        #[test]
        fn splitting_loses_nothing(used in any::<u64>(), length in 1..u64::MAX, part in any::<u64>(), whole in 1..u64::MAX) {
            let all = Delta { length_ns: length, cpu_used_ns: Some(used), ..Delta::default() };
            let mut rest = all;
            let first = rest.split_off(part, whole);
            prop_assert_eq!(first.length_ns + rest.length_ns, length);
            prop_assert_eq!(first.cpu_used_ns.unwrap_or(0) + rest.cpu_used_ns.unwrap_or(0), used);
            prop_assert_eq!(first.io_read_bytes, None);
        }
    }
}
