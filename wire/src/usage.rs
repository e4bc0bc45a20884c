//! One container's use of one window of wall-clock time.
//!
//! Absent is `None`, never zero: a host without cgroup v2 controllers has no throttling figures, a
//! kernel below 5.19 has no `memory.peak`. Each group of values says where it came from.

use serde::{Deserialize, Serialize};

use crate::{Identity, Sketch};

/// Where a value came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// cgroup v2 interface files.
    CgroupV2,
    /// cgroup v1 interface files of the same container.
    CgroupV1,
    /// Our own accounting at `sched_switch`.
    Ebpf,
    /// Sums over the container's processes in procfs.
    Procfs,
}

/// Which part of a container's life the window shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The first minutes after the container's start, kept apart from the steady state.
    Startup,
    /// Anything later, or a container whose start was not seen.
    Steady,
}

/// CPU.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CpuUsage {
    /// Where `used_ns` came from.
    pub source: Option<Source>,
    /// CPU time used within the observed part of the window, nanoseconds.
    pub used_ns: Option<u64>,
    /// Distribution of use over one-second samples, nanoseconds per second (10⁹ = one core).
    pub per_second: Sketch,
    /// Distribution of use over 100 ms periods, nanoseconds per second; empty without eBPF.
    pub per_100ms: Sketch,
    /// `cpu.stat nr_periods`: quota periods in which the container ran.
    pub periods: Option<u64>,
    /// `cpu.stat nr_throttled`.
    pub throttled_periods: Option<u64>,
    /// `cpu.stat throttled_usec`.
    pub throttled_usec: Option<u64>,
}

/// Memory, bytes. Peaks are over the window's samples unless said otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryUsage {
    /// Where the values came from.
    pub source: Option<Source>,
    /// Highest `memory.current` sampled (procfs: highest resident sum).
    pub sampled_peak_bytes: Option<u64>,
    /// `memory.peak`: the kernel's own high-water mark since the container began.
    pub lifetime_peak_bytes: Option<u64>,
    /// Highest `anon`.
    pub anon_peak_bytes: Option<u64>,
    /// Highest `file`.
    pub file_peak_bytes: Option<u64>,
    /// Highest `current − inactive_file`, what the kubelet calls working set.
    pub working_set_peak_bytes: Option<u64>,
    /// Mean of the samples of `memory.current`.
    pub mean_bytes: Option<u64>,
    /// Processes that an OOM killer ended in the window, whoever's memory was short:
    /// `memory.events oom_kill`, and what the kernel told besides (`oom:mark_victim`).
    pub oom_kills: Option<u64>,
    /// `memory.events oom` in the window: allocations that failed because the container's own limit was
    /// reached. Kills without any are the node's want of memory, or the pod's.
    pub limit_failures: Option<u64>,
    /// `memory.max` at the last sample; `None` is unlimited or unknown.
    pub limit_bytes: Option<u64>,
}

/// Pressure stall time within the window, microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pressure {
    /// At least one task waited.
    pub some_usec: Option<u64>,
    /// Every task waited.
    pub full_usec: Option<u64>,
}

/// Everything about one container in one window.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UsageWindow {
    /// Whose.
    pub identity: Identity,
    /// Begin, Unix nanoseconds, a multiple of the window length.
    pub start_unix_ns: u64,
    /// End, Unix nanoseconds (`start + length`; less for a partial last window).
    pub end_unix_ns: u64,
    /// Time within it that samples covered, nanoseconds. Coverage is this over `end − start`.
    pub observed_ns: u64,
    /// Start-up or steady.
    pub phase: Phase,
    /// The container ended in this window, or the agent did: no further window follows directly.
    pub last: bool,
    /// CPU.
    pub cpu: CpuUsage,
    /// Memory.
    pub memory: MemoryUsage,
    /// CPU pressure.
    pub cpu_pressure: Pressure,
    /// Memory pressure.
    pub memory_pressure: Pressure,
    /// IO pressure.
    pub io_pressure: Pressure,
    /// `io.stat rbytes`, all devices, within the window.
    pub io_read_bytes: Option<u64>,
    /// `io.stat wbytes`.
    pub io_written_bytes: Option<u64>,
    /// Highest `pids.current`.
    pub pids_peak: Option<u64>,
}

impl UsageWindow {
    /// Share of the window that samples covered, 0 to 1.
    pub fn coverage(&self) -> f64 {
        let length = self.end_unix_ns.saturating_sub(self.start_unix_ns);
        if length == 0 {
            0.0
        } else {
            (self.observed_ns as f64 / length as f64).min(1.0)
        }
    }
}
