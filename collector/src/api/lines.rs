//! Lines of the log that anybody can cause: so many in a minute, and how many were left out. Pure.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lines of one kind in a minute.
pub(super) const LINES_A_MINUTE: u32 = 60;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lines(Mutex<Minute>);

#[derive(Debug, Default)]
struct Minute {
    /// When this minute began.
    begun: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Lines {
    /// Whether one more may be written, and how many were left out before it.
    pub(super) fn take(&self, now: Instant) -> Option<u64> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let goes_on = |begun| now.duration_since(begun) < Duration::from_mins(1);
        if !lines.begun.is_some_and(goes_on) {
            (lines.begun, lines.written) = (Some(now), 0);
        }
        if lines.written == LINES_A_MINUTE {
            lines.left_out = lines.left_out.saturating_add(1);
            return None;
        }
        lines.written += 1;
        Some(std::mem::take(&mut lines.left_out))
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a clock has to begin somewhere")]

    use super::*;

    #[test]
    fn so_many_are_written_in_a_minute_and_the_next_says_how_many_were_not() {
        let (lines, begin) = (Lines::default(), Instant::now());
        for _ in 0..LINES_A_MINUTE {
            assert_eq!(lines.take(begin), Some(0));
        }
        let late = begin + Duration::from_secs(59);
        assert_eq!([lines.take(late), lines.take(late)], [None, None]);
        let next = begin + Duration::from_mins(1);
        assert_eq!([lines.take(next), lines.take(next)], [Some(2), Some(0)]);
    }
}
