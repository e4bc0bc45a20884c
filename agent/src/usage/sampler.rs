//! shell
use rustix::time::Timespec;
pub struct Sampler;
pub(super) fn nanoseconds(time: Timespec) -> u64 {
    let s = u64::try_from(time.tv_sec).unwrap_or(0);
    s.saturating_mul(1_000_000_000)
        .saturating_add(u64::try_from(time.tv_nsec).unwrap_or(0))
}
