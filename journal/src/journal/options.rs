//! Bounds of a journal, and why it could not do what it was asked.

use std::io;

use rustix::io::Errno;
use thiserror::Error;

/// Bounds and names of one journal.
#[derive(Clone, Debug)]
pub struct Options {
    /// The owner's number for the class of record; frames of another stream are damage.
    pub stream: u8,
    /// A segment is closed when it has reached this length.
    pub segment_bytes: u64,
    /// Longest payload.
    pub max_record_bytes: usize,
    /// Bytes held in memory until [`Journal::sync`](super::Journal::sync); also what is held while the
    /// disk refuses.
    pub max_pending_bytes: usize,
    /// Every reader. What all of them have passed is removed. Others in the file are forgotten.
    pub cursors: Vec<String>,
    /// Random hex, used if the folder has no epoch yet.
    pub new_epoch: String,
}

impl Options {
    /// The usual bounds: segments of 4 MiB, records of 1 MiB, 2 MiB pending.
    pub fn new(stream: u8, cursors: &[&str], new_epoch: String) -> Self {
        Self {
            stream,
            segment_bytes: 4 << 20,
            max_record_bytes: 1 << 20,
            max_pending_bytes: 2 << 20,
            cursors: cursors.iter().map(ToString::to_string).collect(),
            new_epoch,
        }
    }
}

/// Why the journal could not do what it was asked.
#[derive(Debug, Error)]
pub enum JournalError {
    /// The disk refused. Pending records are kept; the same call may succeed later.
    #[error("journal could not {doing} {file}")]
    Io {
        /// `create`, `write`, `sync`, `read`, `remove`, `list`.
        doing: &'static str,
        /// File within the folder.
        file: String,
        /// What the disk said.
        #[source]
        source: io::Error,
    },
    /// The record will never fit.
    #[error("record of {bytes} bytes is longer than the bound of {limit} bytes")]
    RecordTooLarge {
        /// Its length.
        bytes: usize,
        /// The bound.
        limit: usize,
    },
    /// The memory bound is reached: sync, or shed.
    #[error("{pending} bytes wait for the disk, which is the bound")]
    PendingFull {
        /// Bytes held.
        pending: usize,
    },
    /// A name that the options did not list.
    #[error("journal has no cursor named {0}")]
    NoSuchCursor(String),
    /// Too many or too long names of cursors, or too long an epoch.
    #[error("journal options are out of bounds: {0}")]
    Options(&'static str),
}

impl JournalError {
    /// The disk has no room: `ENOSPC` or `EDQUOT`.
    pub fn is_disk_full(&self) -> bool {
        matches!(self, Self::Io { source, .. }
            if matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }

    /// Want of descriptors, memory or permission: this process's, and no damage to the records.
    pub fn is_of_process(&self) -> bool {
        matches!(self, Self::Io { source, .. } if is_of_process(source))
    }
}

/// Whether a disk's refusal is of this process and passes: want of descriptors, memory or permission. What
/// is on the disk is not damaged by it.
fn is_of_process(error: &io::Error) -> bool {
    matches!(
        Errno::from_io_error(error),
        Some(
            Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN | Errno::ACCESS | Errno::PERM
        )
    )
}

/// The error, if it is [of this process](JournalError::is_of_process): else the file counts as damaged.
pub(crate) fn unless_damaged(
    doing: &'static str,
    file: &str,
    error: io::Error,
) -> Result<(), JournalError> {
    if is_of_process(&error) {
        Err(io_error(doing, file)(error))
    } else {
        Ok(())
    }
}

pub(crate) fn io_error<'a>(
    doing: &'static str,
    file: &'a str,
) -> impl FnOnce(io::Error) -> JournalError + use<'a> {
    move |source| JournalError::Io {
        doing,
        file: file.to_owned(),
        source,
    }
}
