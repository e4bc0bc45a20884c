#![expect(clippy::disallowed_methods, reason = "shell: reads the clocks")]
//! The time at which a document is made, and a clock that nobody sets.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Now, Unix nanoseconds; 0 on a machine whose clock stands before 1970.
pub fn unix_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds of `CLOCK_MONOTONIC`, for how long something lasts.
pub(crate) fn monotonic_ns() -> u64 {
    let since = Duration::try_from(clock_gettime(ClockId::Monotonic)).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
