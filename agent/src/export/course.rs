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

    pub(super) fn went_well(&mut self, max_records: usize) {
        if self.failing.take().is_some() {
            let class = self.class.as_str();
            tracing::info!(class, "collector takes records again");
        }
        self.backoff = Backoff::default();
        self.max_records = max_records;
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
