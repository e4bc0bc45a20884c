//! What the kernel's cgroup files say, from bytes, without allocation.
//!
//! Formats: Documentation/admin-guide/cgroup-v2.rst, Documentation/accounting/psi.rst and
//! admin-guide/cgroup-v1/{cpuacct,memory,blkio-controller}.rst. A field that the kernel does not
//! print is `None`; a line we do not know is passed over, so that newer kernels work; a field that we
//! do know with text that is no number is an error that names it. Only what a window uses is read.
//!
//! It knows neither paths nor descriptors, nor which hierarchy a file belongs to beyond its format.

mod lines;
mod procfs;
mod v1;
mod v2;

pub use lines::ParseError;
pub use procfs::{Resident, cgroup_procs, status_resident};
pub use v1::{blkio, cpu_stat_v1, cpuacct_usage, memory_limit_v1, memory_stat_v1, oom_control};
pub use v2::{cpu_stat, io_stat, memory_events, memory_max, memory_stat, pids, pressure, single};

/// `cpu.stat`, in the units of the kernel's v2 file turned to nanoseconds where v1 has them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuStat {
    /// CPU time used since the cgroup was made, nanoseconds (v2: in steps of 1000).
    pub usage_ns: Option<u64>,
    /// Quota periods in which it ran; absent without the cpu controller or without a quota (v1: 0).
    pub periods: Option<u64>,
    /// Of these, the ones in which it was throttled.
    pub throttled_periods: Option<u64>,
    /// Time that it was throttled, microseconds, summed over CPUs.
    pub throttled_usec: Option<u64>,
}

/// `memory.stat`, bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStat {
    /// Anonymous memory (v1: `total_rss`).
    pub anon_bytes: Option<u64>,
    /// Page cache, with tmpfs and shared memory (v1: `total_cache`).
    pub file_bytes: Option<u64>,
    /// Page cache that the kernel would give up first.
    pub inactive_file_bytes: Option<u64>,
}

/// What happened to a cgroup's memory since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// Processes of this cgroup and below that an OOM killer ended, whoever's memory was short.
    pub oom_kills: Option<u64>,
    /// Allocations that failed because this cgroup's limit, or one below, was reached (v1 does not count
    /// them).
    pub limit_failures: Option<u64>,
}

/// Stall totals since the cgroup was made, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PressureTotal {
    /// At least one task waited.
    pub some_usec: Option<u64>,
    /// Every task waited; `cpu.pressure` has no such line before 5.13.
    pub full_usec: Option<u64>,
}

/// Bytes moved since the cgroup was made, all devices together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IoStat {
    /// Read.
    pub read_bytes: u64,
    /// Written.
    pub written_bytes: u64,
}

impl IoStat {
    const fn add_read(&mut self, bytes: u64) {
        self.read_bytes = self.read_bytes.saturating_add(bytes);
    }

    const fn add_written(&mut self, bytes: u64) {
        self.written_bytes = self.written_bytes.saturating_add(bytes);
    }
}

#[cfg(test)]
mod tests;
