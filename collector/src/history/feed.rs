//! From the usage journal into the history. The history's own cursor decides what is new, because it
//! is written with the windows in one transaction; the journal's follows.
//!
//! Knows no disk and no format; the owner's threads wait.

use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::{Entry, History, HistoryError};
use crate::ingest::{StoreError, decode};
use crate::inventory::IndexReader;
use crate::reader::{Made, Reader};

/// Windows taken from the journal at once.
const BATCH: usize = 1024;
/// Payload bytes taken at once.
const BATCH_BYTES: usize = 4 << 20;
/// Time between attempts while the history cannot be written.
const RETRY: Duration = Duration::from_secs(1);

/// Why the history falls behind.
#[derive(Debug, Error)]
pub enum FeedError {
    /// The journal.
    #[error("read the journal for the history")]
    Store(#[from] StoreError),
    /// The history.
    #[error("write the history")]
    History(#[from] HistoryError),
    /// The thread that waits for the disk ended.
    #[error("the thread of the history ended early")]
    Thread(#[from] tokio::task::JoinError),
}

/// See the module.
#[derive(Clone)]
pub struct Feed {
    /// The usage journal.
    pub reader: Arc<Reader>,
    /// Where windows go.
    pub history: Arc<History>,
    /// Who they belong to.
    pub index: IndexReader,
}

impl std::fmt::Debug for Feed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Feed")
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}

impl Feed {
    /// Feeds until `stop`, then what is in the journal by then.
    pub async fn run(self, stop: CancellationToken) -> Result<(), FeedError> {
        let mut commits = self.reader.store().commits();
        loop {
            let ending = stop.is_cancelled();
            let feed = self.clone();
            match tokio::task::spawn_blocking(move || feed.some()).await? {
                Ok(0) if ending => return Ok(()),
                Ok(0) => tokio::select! {
                    _ = commits.changed() => {}
                    () = stop.cancelled() => {}
                },
                Ok(_) => {}
                Err(error) if ending => return Err(error),
                Err(error) => {
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "history cannot be written, windows wait in the journal"
                    );
                    drop(tokio::time::timeout(RETRY, stop.cancelled()).await);
                }
            }
        }
    }

    /// One batch; gives back how many records.
    fn some(&self) -> Result<u64, FeedError> {
        let known = self.history.cursor();
        let batch = self.reader.read(1, BATCH, BATCH_BYTES)?;
        let last_damaged = batch.damaged.last().map(|(_, last)| *last);
        let Some(last) = batch
            .records
            .last()
            .map(|record| record.seq)
            .max(last_damaged)
        else {
            return Ok(0);
        };
        let mut made = Made {
            undecodable: batch.damaged.iter().map(|(from, to)| to - from + 1).sum(),
            ..Made::default()
        };
        let mut entries = Vec::with_capacity(batch.records.len());
        for record in &batch.records {
            if record.seq <= known {
                // Written before the process ended, and the cursor not yet.
                made.filtered += 1;
                continue;
            }
            match decode::usage_window(&record.payload) {
                Ok((id, window)) => {
                    entries.push(Entry {
                        seq: record.seq,
                        node: id.node,
                        window,
                    });
                    made.delivered += 1;
                }
                Err(error) => {
                    tracing::error!(
                        seq = record.seq,
                        error = &error as &dyn std::error::Error,
                        "journal record cannot be read"
                    );
                    made.undecodable += 1;
                }
            }
        }
        if !entries.is_empty() {
            self.history.apply(&entries, &self.index.get())?;
        }
        self.reader.settle(last, made)?;
        Ok(batch.records.len().max(1) as u64)
    }
}
