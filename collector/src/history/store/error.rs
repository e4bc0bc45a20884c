//! Why the store cannot be opened, read or written.

use std::io::ErrorKind;
use std::path::PathBuf;

use rustix::io::Errno;
use thiserror::Error;

use super::FORMAT;
use crate::history::encoding::EncodingError;

/// What went wrong with the store.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The folder for the file, or the file's place in it.
    #[error("making room for {path}")]
    Folder {
        /// The store's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Opening, or repairing after a kill.
    #[error("opening the usage history {path}")]
    Open {
        /// The store's file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// Reading.
    #[error("reading the usage history")]
    Read(#[source] Box<redb::Error>),
    /// Writing; nothing of the batch is in.
    #[error("writing a batch of usage history")]
    Write(#[source] Box<redb::Error>),
    /// A write before failed, and the store could not be opened since.
    #[error("the usage history {path} is closed")]
    Closed {
        /// The store's file.
        path: PathBuf,
    },
    /// A series that does not fit its own encoding.
    #[error("encoding series {key}")]
    Encode {
        /// The series.
        key: String,
        /// Why.
        #[source]
        source: EncodingError,
    },
    /// A newer version of the program made the store; an older one would lose what it added.
    #[error(
        "the usage history {path} has format {found}, and this version knows {FORMAT} at the most"
    )]
    Newer {
        /// The store's file.
        path: PathBuf,
        /// Its format.
        found: u64,
    },
}

impl HistoryError {
    /// The file itself is not a store, or no longer one.
    pub(super) fn is_unreadable(&self) -> bool {
        let (Self::Open { source, .. } | Self::Read(source)) = self else {
            return false;
        };
        match source.as_ref() {
            redb::Error::Corrupted(_) | redb::Error::UpgradeRequired(_) => true,
            redb::Error::Io(error) => error.kind() == std::io::ErrorKind::InvalidData,
            _ => false,
        }
    }

    /// The disk has no room for what opening takes, such as a repair after a kill, or it fails.
    pub(super) fn is_of_disk(&self) -> bool {
        let (Self::Open { source, .. } | Self::Read(source) | Self::Write(source)) = self else {
            return false;
        };
        let redb::Error::Io(error) = source.as_ref() else {
            return false;
        };
        let is_failure = error.raw_os_error() == Some(Errno::IO.raw_os_error());
        let is_full = matches!(
            error.kind(),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded
        );
        is_full || is_failure
    }
}

pub(super) fn read_error(error: impl Into<redb::Error>) -> HistoryError {
    HistoryError::Read(Box::new(error.into()))
}

pub(super) fn write_error(error: impl Into<redb::Error>) -> HistoryError {
    HistoryError::Write(Box::new(error.into()))
}
