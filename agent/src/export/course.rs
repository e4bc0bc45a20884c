//! How the sending of one class goes: what the last answers were, and what follows from the next.
//! Pure but for the log.

use plimsoll_wire::Class;
use tonic::Status;
use tonic::metadata::{Ascii, MetadataValue};

use super::retry::{self, Backoff, Unreadable, Verdict};

/// See the module.
pub(super) struct Course {
    pub(super) class: Class,
    pub(super) token: Option<MetadataValue<Ascii>>,
    pub(super) backoff: Backoff,
    pub(super) max_records: usize,
    /// Why the last request failed, if it did.
    failing: Option<String>,
    pub(super) unreadable: Unreadable,
}

impl Course {
    pub(super) fn new(class: Class, max_records: usize) -> Self {
        Self {
            class,
            token: None,
            backoff: Backoff::default(),
            max_records,
            failing: None,
            unreadable: Unreadable::default(),
        }
    }

    /// The next batch has half of what this one had.
    pub(super) fn halve(&mut self, records: usize) {
        self.max_records = (records / 2).max(1);
    }

    /// A batch was taken: the next may have twice as many records, up to `max_records`, because a
    /// path that is slow stays slow.
    pub(super) fn went_well(&mut self, max_records: usize) {
        if self.failing.take().is_some() {
            let class = self.class.as_str();
            tracing::info!(class, "collector takes records again");
        }
        self.backoff = Backoff::default();
        self.max_records = self.max_records.saturating_mul(2).min(max_records);
    }

    /// What follows. Each cause is told once: the spool's age tells the rest.
    pub(super) fn failed(&mut self, status: &Status, records: usize) -> Verdict {
        let verdict = retry::verdict(status.code(), records);
        let error = retry::cause(status);
        if self.failing.as_ref() != Some(&error) {
            tracing::warn!(
                class = self.class.as_str(),
                code = ?status.code(),
                error,
                ?verdict,
                records,
                "collector did not take a batch; trying until it does"
            );
            self.failing = Some(error);
        }
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where only `fits` records get through in time, everything gets through, and when the path is fast
    /// again, whole batches go.
    #[test]
    fn a_slow_path_gets_what_fits_and_grows_again() {
        let mut course = Course::new(Class::Usage, 512);
        let mut sent = |waiting: usize, fits: usize| {
            let (mut left, mut requests) = (waiting, 0);
            while left > 0 {
                requests += 1;
                assert!(requests < 1_000, "{left} left");
                let records = left.min(course.max_records);
                if records <= fits {
                    left -= records;
                    course.went_well(512);
                } else {
                    let late = Status::deadline_exceeded("too slow");
                    assert_eq!(course.failed(&late, records), Verdict::Shorter);
                    course.halve(records);
                }
            }
            requests
        };
        assert_eq!(sent(1_024, 512), 2);
        assert!(sent(1_024, 100) > 10);
        assert!(sent(10_240, 512) < 30);
    }
}
