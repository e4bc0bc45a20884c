//! Times that cannot be: a window that ends in the collector's future.
//!
//! A node's clock may be ahead. What such a window measured is true and counts; when it was is not
//! known better than that it is over, so it is taken to have ended as it came. Else a container of that
//! node would run until the collector's clock caught up, whatever became of it, and keep its place.
//! Pure. A clock that is behind is believed: a window may have waited for long.

use std::borrow::Cow;

use plimsoll_wire::UsageWindow;

/// How far ahead of the collector's clock a window's end is believed, nanoseconds.
pub const CLOCK_SLACK_NS: u64 = 300 * 1_000_000_000;
/// The longest window that an agent makes (`usage.window_s`), nanoseconds.
pub const LONGEST_WINDOW_NS: u64 = 3600 * 1_000_000_000;

/// The window with times that can be, given that it arrived at `now_unix_ns`.
pub fn plausible(window: &UsageWindow, now_unix_ns: u64) -> Cow<'_, UsageWindow> {
    if window.end_unix_ns <= now_unix_ns.saturating_add(CLOCK_SLACK_NS) {
        return Cow::Borrowed(window);
    }
    let mut moved = window.clone();
    moved.end_unix_ns = now_unix_ns;
    // The clock was set forward within the window, or before it.
    if window.start_unix_ns > now_unix_ns {
        let length_ns = window.end_unix_ns.saturating_sub(window.start_unix_ns);
        moved.start_unix_ns = now_unix_ns.saturating_sub(length_ns.min(LONGEST_WINDOW_NS));
    }
    Cow::Owned(moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::series::tests::window;

    const S: u64 = 1_000_000_000;

    /// Of a window from `start` to `end` that came at 10,000, all in seconds.
    #[track_caller]
    fn check((start, end): (u64, u64), expected: (u64, u64)) {
        let mut given = window("c", 0, 10, 1);
        (given.start_unix_ns, given.end_unix_ns) = (start * S, end * S);
        let taken = plausible(&given, 10_000 * S);
        let found = (taken.start_unix_ns / S, taken.end_unix_ns / S);
        assert_eq!(found, expected);
        assert_eq!(taken.cpu, given.cpu);
    }

    #[test]
    fn a_window_from_the_future_ended_as_it_came() {
        check((100, 160), (100, 160));
        check((9_900, 9_960), (9_900, 9_960));
        check((10_240, 10_300), (10_240, 10_300));
        check((10_241, 10_301), (9_940, 10_000));
        check((90_000, 90_060), (9_940, 10_000));
        // Set forward within it.
        check((9_970, 90_000), (9_970, 10_000));
        // Absurd, and no longer than a window can be.
        check((20_000, 900_000), (6_400, 10_000));
        check((90_060, 90_000), (10_000, 10_000));
    }
}
