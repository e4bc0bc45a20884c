//! From the usage journal into the history. The history's own cursor decides what is new, because it
//! is written with the windows in one transaction; the journal's follows.
//!
//! Knows no disk and no format; the reader's threads wait.

use std::sync::Arc;

use plimsoll_journal::Record;

use super::{Entry, History, HistoryError};
use crate::ingest::decode::{self, PayloadError};
use crate::inventory::IndexReader;
use crate::reader::{Destination, Resumed, Taken};

/// The history as a destination of windows.
#[derive(Clone)]
pub struct Feed {
    /// Where windows go.
    pub history: Arc<History>,
    /// Who they belong to.
    pub index: IndexReader,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed").finish_non_exhaustive()
    }
}

impl Feed {
    /// Of the destination.
    pub const NAME: &'static str = "history";
}

impl Destination for Feed {
    type Item = Entry;
    type Error = HistoryError;
    const BATCH: usize = 1024;

    fn name(&self) -> &str {
        Self::NAME
    }

    fn resume(&mut self, epoch: &str) -> Result<Resumed, HistoryError> {
        let renewed = self.history.follow(epoch)?;
        Ok(Resumed {
            last_seq: self.history.cursor(),
            renewed,
        })
    }

    fn decode(record: &Record) -> Result<Entry, PayloadError> {
        let (id, window) = decode::usage_window(&record.payload)?;
        Ok(Entry {
            seq: record.seq,
            node: id.node,
            window,
        })
    }

    fn take(&mut self, entries: Vec<Entry>, _: &str, last_seq: u64) -> Result<Taken, HistoryError> {
        let applied = self.history.apply(&entries, &self.index)?;
        Ok(Taken {
            rejected: applied.rejected,
            ..Taken::all(last_seq)
        })
    }
}
