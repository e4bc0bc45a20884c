//! The statistics of a series: windows go in, sums, peaks and sketches stay.
//!
//! Pure, and every operation is commutative and associative, so the order of windows, of retries
//! and of foldings cannot change a result. Absent stays absent: a sum of values that no window had
//! is `None`.

mod point;

use plimsoll_wire::usage::{MemoryUsage, Phase, Pressure, Source};
use plimsoll_wire::{Sketch, UsageWindow};
use serde::{Deserialize, Serialize};

pub use point::Point;

/// Windows kept one by one for pictures: three hours of minutes.
pub const RECENT_WINDOWS: usize = 180;
/// Days that are remembered. More than anything asks for: a day that a clock made up pushes out none
/// that is needed.
pub const MAX_DAYS: usize = 14;
/// A minute mean counts for the request only if this share of the window was observed.
pub const MIN_COVERAGE_OF_MEAN: f64 = 0.5;
const NS_PER_SEC: u128 = 1_000_000_000;

/// Highest value and the distribution of the windows' highest values, bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peaks {
    /// Highest of all windows.
    pub max_bytes: Option<u64>,
    /// One value for each window.
    pub windows: Sketch,
}

impl Peaks {
    fn add(&mut self, value: Option<u64>) {
        if let Some(value) = value {
            self.max_bytes = self.max_bytes.max(Some(value));
            self.windows.add(value);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.max_bytes = self.max_bytes.max(other.max_bytes);
        self.windows.merge(&other.windows);
    }
}

/// Stall time, with the time over which it was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stalls {
    /// Microseconds in which at least one task waited.
    pub some_usec: u64,
    /// Microseconds in which every task waited.
    pub full_usec: u64,
    /// Observed time of the windows that had pressure values, nanoseconds; 0: never measured.
    pub observed_ns: u64,
}

impl Stalls {
    fn add(&mut self, pressure: &Pressure, observed_ns: u64) {
        if pressure.some_usec.is_some() || pressure.full_usec.is_some() {
            self.some_usec = self
                .some_usec
                .saturating_add(pressure.some_usec.unwrap_or(0));
            self.full_usec = self
                .full_usec
                .saturating_add(pressure.full_usec.unwrap_or(0));
            self.observed_ns = self.observed_ns.saturating_add(observed_ns);
        }
    }

    fn merge(&mut self, other: &Self) {
        self.some_usec = self.some_usec.saturating_add(other.some_usec);
        self.full_usec = self.full_usec.saturating_add(other.full_usec);
        self.observed_ns = self.observed_ns.saturating_add(other.observed_ns);
    }

    /// Shares of time (some, full), 0 to 1; `None` where it was never measured.
    pub fn shares(&self) -> Option<(f64, f64)> {
        let observed_usec = self.observed_ns as f64 / 1e3;
        (self.observed_ns > 0).then(|| {
            (
                (self.some_usec as f64 / observed_usec).min(1.0),
                (self.full_usec as f64 / observed_usec).min(1.0),
            )
        })
    }
}

/// `cpu.stat` throttling totals over the windows that had them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttling {
    /// Windows that had the values; 0: never measured (no cpu controller).
    pub windows: u64,
    /// Quota periods in which the container ran.
    pub periods: u64,
    /// Of these, throttled.
    pub throttled_periods: u64,
    /// Time throttled, microseconds.
    pub throttled_usec: u64,
}

impl Throttling {
    /// Share of periods throttled, 0 to 1; `None` where it was never measured or there is no quota.
    pub fn share(&self) -> Option<f64> {
        (self.periods > 0).then(|| self.throttled_periods as f64 / self.periods as f64)
    }
}

/// See the module. CPU sketches hold nanoseconds per second (10⁹ is one core).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Begin of the first window, Unix nanoseconds.
    pub first_unix_ns: Option<u64>,
    /// End of the last window, Unix nanoseconds.
    pub last_unix_ns: Option<u64>,
    /// Windows, start-up included.
    pub windows: u64,
    /// Windows of the start-up phase.
    pub startup_windows: u64,
    /// Sum of the windows' lengths, nanoseconds.
    pub span_ns: u64,
    /// Length of the longest window, nanoseconds; 0 in what was kept before it was.
    #[serde(default)]
    pub longest_ns: u64,
    /// Of it, covered by samples.
    pub observed_ns: u64,
    /// Hours of the day (UTC) in which something was observed: bit 0 is the one after midnight.
    #[serde(default)]
    pub day_hours: u32,
    /// Days (UTC, counted from 1970) on which something was observed, the newest [`MAX_DAYS`], in order.
    #[serde(default)]
    pub days: Vec<u32>,
    /// Where CPU time came from.
    pub cpu_sources: Vec<Source>,
    /// Steady state: means of well-covered windows.
    pub minute_means: Sketch,
    /// Steady state: single seconds.
    pub per_second: Sketch,
    /// Steady state: 100 ms periods.
    pub per_100ms: Sketch,
    /// Start-up: means of well-covered windows.
    pub startup_minute_means: Sketch,
    /// Start-up: single seconds.
    pub startup_per_second: Sketch,
    /// CPU time used, nanoseconds, and the observed time it was used in.
    pub cpu_used_ns: Option<u64>,
    /// Throttling.
    pub throttling: Throttling,
    /// CPU pressure.
    pub cpu_pressure: Stalls,
    /// Memory pressure.
    pub memory_pressure: Stalls,
    /// IO pressure.
    pub io_pressure: Stalls,
    /// Where memory came from.
    pub memory_sources: Vec<Source>,
    /// Highest sample of all memory.
    pub memory_sampled: Peaks,
    /// Highest anonymous memory.
    pub memory_anon: Peaks,
    /// Highest page cache.
    pub memory_file: Peaks,
    /// Highest working set.
    pub memory_working_set: Peaks,
    /// The kernel's own high-water mark, which sees what falls between samples.
    pub memory_lifetime_max_bytes: Option<u64>,
    /// OOM kills.
    pub oom_kills: Option<u64>,
    /// Highest memory limit in force in a window with an OOM kill, bytes.
    pub oom_limit_bytes: Option<u64>,
    /// Bytes read.
    pub io_read_bytes: Option<u64>,
    /// Bytes written.
    pub io_written_bytes: Option<u64>,
    /// Most processes.
    pub pids_peak: Option<u64>,
    /// The newest [`RECENT_WINDOWS`] windows, oldest first.
    pub recent: Vec<Point>,
}

impl Usage {
    /// Mean length of the windows, whole seconds. `None` without a window.
    pub fn mean_window_s(&self) -> Option<u64> {
        let mean_ns = self.span_ns.checked_div(self.windows)?;
        Some(mean_ns.saturating_add(500_000_000) / 1_000_000_000)
    }

    /// Length of the longest window, nanoseconds; the mean where it was not kept. 0 without a window.
    pub fn longest_window_ns(&self) -> u64 {
        let mean_ns = self.span_ns.checked_div(self.windows).unwrap_or(0);
        self.longest_ns.max(mean_ns)
    }

    /// Takes back times after `latest`, which turned out not to have been yet: the last window that was
    /// then ended at `end` instead. What was measured stays.
    pub(super) fn forget_after(&mut self, latest_unix_ns: u64, end_unix_ns: u64) {
        if self.last_unix_ns.is_none_or(|last| last <= latest_unix_ns) {
            return;
        }
        self.last_unix_ns = Some(end_unix_ns);
        self.first_unix_ns = self.first_unix_ns.map(|first| first.min(end_unix_ns));
        let latest_s = latest_unix_ns / 1_000_000_000;
        self.recent.retain(|point| point.end_unix_s <= latest_s);
        self.days.retain(|day| *day <= day_of(latest_s));
    }

    /// Adds a window.
    pub fn add(&mut self, window: &UsageWindow) {
        self.first_unix_ns = min_known(self.first_unix_ns, Some(window.start_unix_ns));
        self.last_unix_ns = self.last_unix_ns.max(Some(window.end_unix_ns));
        self.windows = self.windows.saturating_add(1);
        let length_ns = window.end_unix_ns.saturating_sub(window.start_unix_ns);
        self.span_ns = self.span_ns.saturating_add(length_ns);
        self.longest_ns = self.longest_ns.max(length_ns);
        self.observed_ns = self.observed_ns.saturating_add(window.observed_ns);
        if window.observed_ns > 0 {
            let start_unix_s = window.start_unix_ns / 1_000_000_000;
            self.day_hours |= hour_bit(start_unix_s);
            add_day(&mut self.days, day_of(start_unix_s));
        }
        self.add_cpu(window);
        self.cpu_pressure
            .add(&window.cpu_pressure, window.observed_ns);
        self.memory_pressure
            .add(&window.memory_pressure, window.observed_ns);
        self.io_pressure
            .add(&window.io_pressure, window.observed_ns);
        self.add_memory(&window.memory);
        self.io_read_bytes = sum_known(self.io_read_bytes, window.io_read_bytes);
        self.io_written_bytes = sum_known(self.io_written_bytes, window.io_written_bytes);
        self.pids_peak = self.pids_peak.max(window.pids_peak);
        self.add_recent(Point::of(window));
        self.cut_recent();
    }

    fn add_cpu(&mut self, window: &UsageWindow) {
        let cpu = &window.cpu;
        union(&mut self.cpu_sources, cpu.source.as_slice());
        self.cpu_used_ns = sum_known(self.cpu_used_ns, cpu.used_ns);
        let (means, seconds) = match window.phase {
            Phase::Steady => {
                self.per_100ms.merge(&cpu.per_100ms);
                (&mut self.minute_means, &mut self.per_second)
            }
            Phase::Startup => {
                self.startup_windows = self.startup_windows.saturating_add(1);
                (&mut self.startup_minute_means, &mut self.startup_per_second)
            }
        };
        seconds.merge(&cpu.per_second);
        if let Some(mean) = mean_ns_per_s(window) {
            means.add(mean);
        }
        if cpu.periods.is_some() || cpu.throttled_usec.is_some() {
            let t = &mut self.throttling;
            t.windows = t.windows.saturating_add(1);
            t.periods = t.periods.saturating_add(cpu.periods.unwrap_or(0));
            t.throttled_periods = t
                .throttled_periods
                .saturating_add(cpu.throttled_periods.unwrap_or(0));
            t.throttled_usec = t
                .throttled_usec
                .saturating_add(cpu.throttled_usec.unwrap_or(0));
        }
    }

    fn add_memory(&mut self, memory: &MemoryUsage) {
        union(&mut self.memory_sources, memory.source.as_slice());
        self.memory_sampled.add(memory.sampled_peak_bytes);
        self.memory_anon.add(memory.anon_peak_bytes);
        self.memory_file.add(memory.file_peak_bytes);
        self.memory_working_set.add(memory.working_set_peak_bytes);
        self.memory_lifetime_max_bytes = self
            .memory_lifetime_max_bytes
            .max(memory.lifetime_peak_bytes);
        self.oom_kills = sum_known(self.oom_kills, memory.oom_kills);
        // Without any such failure it was the node's memory that ran out, or the pod's.
        let may_be_of_limit = memory.limit_failures.is_none_or(|failures| failures > 0);
        if may_be_of_limit && memory.oom_kills.is_some_and(|kills| kills > 0) {
            self.oom_limit_bytes = self.oom_limit_bytes.max(memory.limit_bytes);
        }
    }

    /// Adds all of another series.
    pub fn merge(&mut self, other: &Self) {
        self.first_unix_ns = min_known(self.first_unix_ns, other.first_unix_ns);
        self.last_unix_ns = self.last_unix_ns.max(other.last_unix_ns);
        self.windows = self.windows.saturating_add(other.windows);
        self.startup_windows = self.startup_windows.saturating_add(other.startup_windows);
        self.span_ns = self.span_ns.saturating_add(other.span_ns);
        self.longest_ns = self.longest_ns.max(other.longest_ns);
        self.observed_ns = self.observed_ns.saturating_add(other.observed_ns);
        self.day_hours |= other.day_hours;
        for day in &other.days {
            add_day(&mut self.days, *day);
        }
        union(&mut self.cpu_sources, &other.cpu_sources);
        union(&mut self.memory_sources, &other.memory_sources);
        self.minute_means.merge(&other.minute_means);
        self.per_second.merge(&other.per_second);
        self.per_100ms.merge(&other.per_100ms);
        self.startup_minute_means.merge(&other.startup_minute_means);
        self.startup_per_second.merge(&other.startup_per_second);
        self.cpu_used_ns = sum_known(self.cpu_used_ns, other.cpu_used_ns);
        let (t, o) = (&mut self.throttling, &other.throttling);
        t.windows = t.windows.saturating_add(o.windows);
        t.periods = t.periods.saturating_add(o.periods);
        t.throttled_periods = t.throttled_periods.saturating_add(o.throttled_periods);
        t.throttled_usec = t.throttled_usec.saturating_add(o.throttled_usec);
        self.cpu_pressure.merge(&other.cpu_pressure);
        self.memory_pressure.merge(&other.memory_pressure);
        self.io_pressure.merge(&other.io_pressure);
        self.memory_sampled.merge(&other.memory_sampled);
        self.memory_anon.merge(&other.memory_anon);
        self.memory_file.merge(&other.memory_file);
        self.memory_working_set.merge(&other.memory_working_set);
        self.memory_lifetime_max_bytes = self
            .memory_lifetime_max_bytes
            .max(other.memory_lifetime_max_bytes);
        self.oom_kills = sum_known(self.oom_kills, other.oom_kills);
        self.oom_limit_bytes = self.oom_limit_bytes.max(other.oom_limit_bytes);
        self.io_read_bytes = sum_known(self.io_read_bytes, other.io_read_bytes);
        self.io_written_bytes = sum_known(self.io_written_bytes, other.io_written_bytes);
        self.pids_peak = self.pids_peak.max(other.pids_peak);
        for point in &other.recent {
            self.add_recent(*point);
        }
        self.cut_recent();
    }

    /// In how many of the 24 hours of the day something was observed.
    pub const fn hours_of_day(&self) -> u32 {
        self.day_hours.count_ones()
    }

    /// On how many days something was observed; [`MAX_DAYS`] stands for more as well.
    pub fn days_seen(&self) -> u32 {
        u32::try_from(self.days.len()).unwrap_or(u32::MAX)
    }

    /// Share of the windows' time that samples covered, 0 to 1; `None` without windows. Time without a
    /// window is in neither: a container that did not run then has none.
    pub fn coverage(&self) -> Option<f64> {
        (self.span_ns > 0).then(|| (self.observed_ns as f64 / self.span_ns as f64).min(1.0))
    }

    fn add_recent(&mut self, point: Point) {
        match self
            .recent
            .binary_search_by_key(&point.end_unix_s, |p| p.end_unix_s)
        {
            Ok(at) => {
                if let Some(known) = self.recent.get_mut(at) {
                    known.merge(&point);
                }
            }
            Err(at) => self.recent.insert(at, point),
        }
    }

    fn cut_recent(&mut self) {
        let surplus = self.recent.len().saturating_sub(RECENT_WINDOWS);
        self.recent.drain(..surplus);
    }
}

/// The hour of the day of a time, as a bit.
pub(super) const fn hour_bit(unix_s: u64) -> u32 {
    1 << (unix_s / 3600 % 24)
}

/// The day of a time, counted from 1970.
pub(super) fn day_of(unix_s: u64) -> u32 {
    u32::try_from(unix_s / 86_400).unwrap_or(u32::MAX)
}

/// The newest of all that are added, in whatever order they come.
pub(super) fn add_day(days: &mut Vec<u32>, day: u32) {
    if let Err(at) = days.binary_search(&day) {
        days.insert(at, day);
    }
    let surplus = days.len().saturating_sub(MAX_DAYS);
    days.drain(..surplus);
}

/// Mean CPU of a window, nanoseconds per second of *observed* time; `None` if too little was observed.
fn mean_ns_per_s(window: &UsageWindow) -> Option<u64> {
    if window.coverage() < MIN_COVERAGE_OF_MEAN {
        return None;
    }
    let used = u128::from(window.cpu.used_ns?);
    let mean = (used * NS_PER_SEC).checked_div(u128::from(window.observed_ns))?;
    Some(u64::try_from(mean).unwrap_or(u64::MAX))
}

fn sum_known(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.saturating_add(b)),
        (known, None) | (None, known) => known,
    }
}

fn min_known(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (known, None) | (None, known) => known,
    }
}

/// Sources in a fixed order, each once.
fn union(into: &mut Vec<Source>, from: &[Source]) {
    const ORDER: [Source; 4] = [
        Source::CgroupV2,
        Source::CgroupV1,
        Source::Ebpf,
        Source::Procfs,
    ];
    if from.iter().any(|source| !into.contains(source)) {
        *into = ORDER
            .into_iter()
            .filter(|s| into.contains(s) || from.contains(s))
            .collect();
    }
}

#[cfg(test)]
mod tests;
