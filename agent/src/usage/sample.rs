//! One look at one container. Counters are totals since its start; absent is `None`.

use plimsoll_wire::usage::Source;

use crate::cgroup::parse::{CpuStat, IoStat, MemoryEvents, MemoryStat, PressureTotal};

/// CPU counters and where `usage_ns` among them came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuSample {
    /// Of `usage_ns`; throttling on a hybrid host comes from the v1 hierarchy.
    pub source: Source,
    /// The counters.
    pub stat: CpuStat,
}

/// Memory levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemorySample {
    /// Of all of them.
    pub source: Source,
    /// `memory.current`; with procfs the resident memory of all processes, in which shared pages
    /// count once for each process.
    pub current_bytes: Option<u64>,
    /// `memory.peak`, when it was read this time.
    pub peak_bytes: Option<u64>,
    /// `memory.stat`, when it was read this time: see [`memory_stat_is_due`].
    pub stat: Option<MemoryStat>,
    /// `memory.max` when it was last read; `None` is unlimited or unknown.
    pub limit_bytes: Option<u64>,
    /// Since the start.
    pub events: MemoryEvents,
}

/// What the kernel's record of an OOM kill leads to be looked at, at once; unknown is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryNow {
    /// `memory.peak`, or `memory.current` where there is none.
    pub peak_bytes: Option<u64>,
    /// `memory.max`.
    pub limit_bytes: Option<u64>,
    /// Since the start.
    pub events: MemoryEvents,
}

/// See the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// CLOCK_MONOTONIC at the first read, nanoseconds.
    pub at_mono_ns: u64,
    /// Whose.
    pub inode: u64,
    /// From cgroup files.
    pub cpu: Option<CpuSample>,
    /// From our own accounting, beside the files: it outlives them, and stands in for them.
    pub ebpf_cpu_ns: Option<u64>,
    /// Memory.
    pub memory: Option<MemorySample>,
    /// `cpu.pressure`.
    pub cpu_pressure: Option<PressureTotal>,
    /// `memory.pressure`.
    pub memory_pressure: Option<PressureTotal>,
    /// `io.pressure`.
    pub io_pressure: Option<PressureTotal>,
    /// `io.stat`.
    pub io: Option<IoStat>,
    /// `pids.current`.
    pub pids: Option<u64>,
}

impl Sample {
    /// Nothing known.
    pub const fn empty(inode: u64, at_mono_ns: u64) -> Self {
        Self {
            at_mono_ns,
            inode,
            cpu: None,
            ebpf_cpu_ns: None,
            memory: None,
            cpu_pressure: None,
            memory_pressure: None,
            io_pressure: None,
            io: None,
            pids: None,
        }
    }

    /// Whether anything in it came from files.
    pub fn was_read(&self) -> bool {
        let of_files = Self {
            ebpf_cpu_ns: None,
            ..*self
        };
        of_files != Self::empty(self.inode, self.at_mono_ns)
    }

    /// The sample that the container of `self` would have given at its start: every counter that `self`
    /// has and that is compared from sample to sample, at zero. So a container whose start was seen is
    /// accounted for from there, even if it ends before a second sample.
    #[must_use]
    pub fn at_birth(&self, born_mono_ns: u64) -> Self {
        let zero = |counter: Option<u64>| counter.map(|_| 0);
        let pressure = |total: PressureTotal| PressureTotal {
            some_usec: zero(total.some_usec),
            full_usec: zero(total.full_usec),
        };
        Self {
            cpu: self.cpu.map(|CpuSample { source, stat }| CpuSample {
                source,
                stat: CpuStat {
                    usage_ns: zero(stat.usage_ns),
                    periods: zero(stat.periods),
                    throttled_periods: zero(stat.throttled_periods),
                    throttled_usec: zero(stat.throttled_usec),
                },
            }),
            ebpf_cpu_ns: zero(self.ebpf_cpu_ns),
            cpu_pressure: self.cpu_pressure.map(pressure),
            memory_pressure: self.memory_pressure.map(pressure),
            io_pressure: self.io_pressure.map(pressure),
            io: self.io.map(|_| IoStat::default()),
            ..Self::empty(self.inode, born_mono_ns)
        }
    }
}

/// Below this, a change of `memory.current` is noise.
const STEP_FLOOR_BYTES: u64 = 1 << 20;
/// A change above this matters whatever the size.
const STEP_CEILING_BYTES: u64 = 8 << 20;

/// When `memory.stat` was last read, and `memory.current` then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastStat {
    /// CLOCK_MONOTONIC.
    pub at_ns: u64,
    /// `memory.current`.
    pub current_bytes: u64,
}

/// Whether to read `memory.stat` again.
///
/// It costs more than all the other files together (59 % of them by instructions: the kernel prints
/// some forty counters, we use three). The split of memory changes slowly while the total stands
/// still, so it is read every `every_ns`, and at once when the total moved by 5 % (at least 1 MiB,
/// at most 8 MiB). A peak of the working set can therefore be missed by that much and no more,
/// except by a swap of one kind for another at an unchanged total.
pub fn memory_stat_is_due(
    last: Option<LastStat>,
    current_bytes: u64,
    now_ns: u64,
    every_ns: u64,
) -> bool {
    let Some(last) = last else { return true };
    let step = (last.current_bytes / 20).clamp(STEP_FLOOR_BYTES, STEP_CEILING_BYTES);
    now_ns.saturating_sub(last.at_ns) >= every_ns
        || current_bytes.abs_diff(last.current_bytes) > step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_stat_is_read_by_time_and_by_change() {
        const MIB: u64 = 1 << 20;
        let check = |last_mib: u64, now_mib: u64, after_s: u64, want: bool| {
            let last = LastStat {
                at_ns: 7,
                current_bytes: last_mib * MIB,
            };
            let found = memory_stat_is_due(
                Some(last),
                now_mib * MIB,
                7 + after_s * 1_000_000_000,
                5_000_000_000,
            );
            assert_eq!(
                found, want,
                "{last_mib} MiB to {now_mib} MiB after {after_s} s"
            );
        };
        assert!(memory_stat_is_due(None, 0, 0, 5));
        check(100, 100, 4, false);
        check(100, 100, 5, true);
        check(100, 105, 1, false);
        check(100, 106, 1, true);
        check(100, 94, 1, true);
        check(1000, 1008, 1, false);
        check(1000, 1009, 1, true);
        check(1, 2, 1, false);
        check(1, 3, 1, true);
    }
}
