#![expect(clippy::disallowed_methods, reason = "shell: reads the clocks")]
//! The two clocks: one that the kernel stamps records with, one that people read.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, Timespec};

/// CLOCK_MONOTONIC, nanoseconds: the same as `bpf_ktime_get_ns()`.
pub fn monotonic_ns() -> u64 {
    nanoseconds(rustix::time::clock_gettime(ClockId::Monotonic))
}

/// Time that the machine was suspended since its boot, nanoseconds: CLOCK_BOOTTIME counts it and
/// CLOCK_MONOTONIC does not.
pub fn suspended_ns() -> u64 {
    // In this order, so that what passes between the two reads makes it smaller and never larger.
    let boot = nanoseconds(rustix::time::clock_gettime(ClockId::Boottime));
    boot.saturating_sub(monotonic_ns())
}

/// Unix nanoseconds. A clock before 1970 shows as 1970.
pub fn wall_unix_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// A time of the kernel's, which is never negative for the clocks we read.
pub(super) fn nanoseconds(time: Timespec) -> u64 {
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}
