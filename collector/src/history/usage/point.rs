//! One window in a picture.

use plimsoll_wire::UsageWindow;
use plimsoll_wire::usage::MemoryUsage;
use serde::{Deserialize, Serialize};

use super::mean_ns_per_s;

/// One window, as the pictures need it, rounded up as the numbers are: little is not nothing. Stored
/// as a row: `[second, mean, max, KiB, throttled ‰]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "PointRow", into = "PointRow")]
pub struct Point {
    /// End of the window, Unix seconds.
    pub end_unix_s: u64,
    /// Mean CPU of the window, millicores; `None` if too little of it was observed.
    pub mean_millicores: Option<u64>,
    /// Highest second, millicores.
    pub max_millicores: Option<u64>,
    /// Highest memory, KiB.
    pub memory_kib: Option<u64>,
    /// Throttled periods of a thousand.
    pub throttled_permille: Option<u64>,
}

type PointRow = (u64, Option<u64>, Option<u64>, Option<u64>, Option<u64>);

impl From<PointRow> for Point {
    fn from(
        (end_unix_s, mean_millicores, max_millicores, memory_kib, throttled_permille): PointRow,
    ) -> Self {
        Self {
            end_unix_s,
            mean_millicores,
            max_millicores,
            memory_kib,
            throttled_permille,
        }
    }
}

impl From<Point> for PointRow {
    fn from(p: Point) -> Self {
        (
            p.end_unix_s,
            p.mean_millicores,
            p.max_millicores,
            p.memory_kib,
            p.throttled_permille,
        )
    }
}

impl Point {
    pub(super) fn of(window: &UsageWindow) -> Self {
        let throttled = window
            .cpu
            .throttled_periods
            .zip(window.cpu.periods.filter(|periods| *periods > 0));
        Self {
            end_unix_s: window.end_unix_ns / 1_000_000_000,
            mean_millicores: mean_ns_per_s(window).map(|ns| ns.div_ceil(1_000_000)),
            max_millicores: window.cpu.per_second.max().map(|ns| ns.div_ceil(1_000_000)),
            memory_kib: highest_sample(&window.memory).map(|bytes| bytes.div_ceil(1024)),
            throttled_permille: throttled
                .map(|(throttled, periods)| throttled.saturating_mul(1000).div_ceil(periods)),
        }
    }

    /// Two series at the same time: the hotter value of each.
    pub(super) fn merge(&mut self, other: &Self) {
        self.mean_millicores = self.mean_millicores.max(other.mean_millicores);
        self.max_millicores = self.max_millicores.max(other.max_millicores);
        self.memory_kib = self.memory_kib.max(other.memory_kib);
        self.throttled_permille = self.throttled_permille.max(other.throttled_permille);
    }
}

/// The fullest figure that the window's source had.
fn highest_sample(memory: &MemoryUsage) -> Option<u64> {
    memory
        .sampled_peak_bytes
        .or(memory.working_set_peak_bytes)
        .or(memory.anon_peak_bytes)
}
