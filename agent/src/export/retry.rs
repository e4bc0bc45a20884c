//! What to do about a failed request. Pure: chance is an argument.

use std::io;
use std::time::Duration;

use rustix::io::Errno;
use tonic::{Code, Status};

use crate::causes;

/// First bound of a pause.
const FIRST: Duration = Duration::from_millis(200);
/// Last bound of a pause.
const LAST: Duration = Duration::from_secs(30);
/// Longest pause that a collector may ask for.
pub(super) const LONGEST: Duration = Duration::from_mins(1);

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The collector is away or busy: the same again, after a pause.
    Later,
    /// The token was refused: read it again, and the same after a pause. Nothing is given up for
    /// want of rights; the spool's bound decides how long.
    NewToken,
    /// The batch did not get through in time: half of it, after a pause, so that a slow path makes
    /// progress.
    Shorter,
    /// Something in the batch is refused for good: find it, with half of the batch.
    Halve,
    /// This single record is refused for good.
    Reject,
}

/// The class of a gRPC status for a batch of that many records. Which codes a client may send again
/// is OTLP's table ("OTLP/gRPC response", retryable codes); the others are about the content only
/// where they say so.
pub fn verdict(code: Code, records: usize) -> Verdict {
    match code {
        Code::Unauthenticated | Code::PermissionDenied => Verdict::NewToken,
        // Too large, or malformed: a smaller batch gets the good records through.
        Code::InvalidArgument | Code::OutOfRange if records > 1 => Verdict::Halve,
        Code::InvalidArgument | Code::OutOfRange => Verdict::Reject,
        // The collector's deadline, and the client's own, which tonic calls cancelled.
        Code::DeadlineExceeded | Code::Cancelled if records > 1 => Verdict::Shorter,
        _ => Verdict::Later,
    }
}

/// Why a request failed, in one line: what was said and what is at the bottom of it. The status' own
/// display shows each twice, with the names of types around it.
pub fn cause(status: &Status) -> String {
    let message = status.message();
    let Some(bottom) = causes::bottom(status) else {
        return message.to_owned();
    };
    let bottom = bottom.to_string();
    if message.contains(&bottom) {
        message.to_owned()
    } else if message.is_empty() {
        bottom
    } else {
        format!("{message}: {bottom}")
    }
}

/// Exponential back-off with full jitter: a pause is any time up to a bound that doubles, so that a
/// fleet that lost its collector does not come back in step.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The next pause; `chance` lies in 0 to 1.
    pub fn next(&mut self, chance: f64) -> Duration {
        let bound = FIRST.saturating_mul(1 << self.failures.min(16)).min(LAST);
        self.failures = self.failures.saturating_add(1);
        bound.mul_f64(chance.clamp(0.0, 1.0))
    }
}

/// Our own pause, after the one that the collector asks for: who comes sooner is refused again, and so are most of
/// those who come together.
pub fn pause(own: Duration, asked: Option<Duration>) -> Duration {
    own.saturating_add(asked.unwrap_or_default()).min(LONGEST)
}

/// Reads of one place of the spool before it is given up. A device that comes back does so within
/// seconds; a sector that is gone stays gone.
const READ_ATTEMPTS: u32 = 5;

/// Failed reads of the spool: what to do about them, and which were told already.
#[derive(Clone, Debug, Default)]
pub struct Unreadable {
    failures: u32,
    told: Vec<(io::ErrorKind, Option<i32>)>,
}

/// What follows from a failed read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The same again, after a pause.
    Again,
    /// The segment is given up.
    Skip,
}

impl Unreadable {
    /// A read failed. Whether this kind of failure is told the first time, and what to do.
    pub fn failed(&mut self, error: &io::Error) -> (bool, Reading) {
        let kind = (error.kind(), error.raw_os_error());
        let is_new = !self.told.contains(&kind);
        if is_new {
            self.told.push(kind);
        }
        // Want of descriptors or memory is ours and passes; the records are not damaged by it.
        if let Some(Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::ACCESS) =
            Errno::from_io_error(error)
        {
            return (is_new, Reading::Again);
        }
        self.failures += 1;
        if self.failures < READ_ATTEMPTS {
            return (is_new, Reading::Again);
        }
        self.failures = 0;
        (is_new, Reading::Skip)
    }

    /// A read succeeded.
    pub const fn succeeded(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_is_given_up_after_some_attempts_and_told_once_for_each_kind() {
        let mut unreadable = Unreadable::default();
        let mut fail = |errno: Errno| unreadable.failed(&errno.into());
        assert_eq!(fail(Errno::IO), (true, Reading::Again));
        for _ in 2..READ_ATTEMPTS {
            assert_eq!(fail(Errno::IO), (false, Reading::Again));
        }
        assert_eq!(fail(Errno::IO), (false, Reading::Skip));
        assert_eq!(fail(Errno::NOENT), (true, Reading::Again));
        for attempt in 0..100 {
            let found = fail(Errno::MFILE);
            assert_eq!(found, (attempt == 0, Reading::Again), "passes by itself");
        }
        unreadable.succeeded();
        for _ in 1..READ_ATTEMPTS {
            assert_eq!(unreadable.failed(&Errno::IO.into()).1, Reading::Again);
        }
    }

    #[test]
    fn pauses_grow_to_a_bound_and_are_spread() {
        let mut backoff = Backoff::default();
        let bounds: Vec<u128> = (0..10).map(|_| backoff.next(1.0).as_millis()).collect();
        assert_eq!(
            bounds,
            [
                200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000
            ]
        );
        assert_eq!(Backoff::default().next(0.0), Duration::ZERO);
        assert_eq!(Backoff::default().next(0.5), Duration::from_millis(100));
    }

    #[test]
    fn a_pause_is_as_long_as_the_collector_asks_for_within_a_bound() {
        let seconds = Duration::from_secs;
        assert_eq!(pause(seconds(2), None), seconds(2));
        assert_eq!(pause(seconds(2), Some(seconds(5))), seconds(7));
        assert_eq!(pause(seconds(0), Some(seconds(5))), seconds(5));
        assert_eq!(pause(seconds(2), Some(Duration::MAX)), LONGEST);
    }

    #[test]
    fn a_cause_is_told_once_and_to_the_bottom() {
        let check = |message: &str, bottom: Option<&'static str>, expect: &str| {
            let mut status = Status::unavailable(message);
            if let Some(bottom) = bottom {
                status.set_source(std::sync::Arc::new(std::io::Error::other(bottom)));
            }
            assert_eq!(cause(&status), expect);
        };
        check("no known bearer token", None, "no known bearer token");
        check(
            "tcp connect error",
            Some("refused"),
            "tcp connect error: refused",
        );
        check(
            "certificate: expired",
            Some("expired"),
            "certificate: expired",
        );
        check("", Some("refused"), "refused");
    }

    #[test]
    fn only_the_content_is_ever_given_up() {
        for code in (0..=16).map(Code::from_i32) {
            let one = verdict(code, 1);
            assert_eq!(
                one == Verdict::Reject,
                matches!(code, Code::InvalidArgument | Code::OutOfRange),
                "{code:?}"
            );
            assert_ne!(verdict(code, 2), Verdict::Reject, "{code:?}");
        }
        assert_eq!(verdict(Code::Unauthenticated, 5), Verdict::NewToken);
        assert_eq!(verdict(Code::ResourceExhausted, 5), Verdict::Later);
        assert_eq!(verdict(Code::InvalidArgument, 5), Verdict::Halve);
        for late in [Code::DeadlineExceeded, Code::Cancelled] {
            assert_eq!(verdict(late, 5), Verdict::Shorter);
            assert_eq!(verdict(late, 1), Verdict::Later);
        }
    }
}
