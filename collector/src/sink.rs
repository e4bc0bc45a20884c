//! Audit events as JSON lines in a file of bounded size and number.
//!
//! Owns the way from the security journal to that file, and that each record is in it once: a line
//! carries its place in the journal, so that a start reads the last whole line and goes on behind
//! it. What is shown of recent events is fed from here as well. Does not know how names are found.

mod file;
pub mod line;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_wire::AuditEvent;
use serde_json::{Map, Value};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::api::{AuditRecord, AuditRing};
use crate::ingest::{StoreError, decode};
use crate::reader::{Made, Reader};
use file::AuditFile;
use plimsoll_wire::Class;

/// Records taken from the journal at once.
const BATCH: usize = 512;
/// Payload bytes taken at once.
const BATCH_BYTES: usize = 4 << 20;
/// Time between attempts while the file cannot be written.
const RETRY: Duration = Duration::from_secs(1);

/// Where the lines go.
#[derive(Clone, Debug)]
pub struct Options {
    /// The current file; older ones are beside it with `.1`, `.2`, … added, `.1` the newest.
    pub path: PathBuf,
    /// A file that has reached this length is put aside.
    pub rotate_bytes: u64,
    /// Files kept beside the current one.
    pub keep_files: usize,
}

/// The sink cannot go on.
#[derive(Debug, Error)]
pub enum SinkError {
    /// The file.
    #[error("write the audit file {path} (audit_file)")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The journal.
    #[error("read the journal for the audit file")]
    Store(#[from] StoreError),
    /// The thread that waits for the disk ended.
    #[error("the thread of the audit file ended early")]
    Thread(#[from] tokio::task::JoinError),
}

/// What is known of the event's subject.
pub type Join = Arc<dyn Fn(&AuditEvent) -> Map<String, Value> + Send + Sync>;

/// See the module.
#[derive(Clone)]
pub struct FileSink {
    reader: Arc<Reader>,
    options: Options,
    join: Join,
    shown: Arc<AuditRing>,
}

impl std::fmt::Debug for FileSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSink")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl FileSink {
    /// Nothing is opened before [`run`](Self::run).
    pub fn new(reader: Arc<Reader>, options: Options, join: Join, shown: Arc<AuditRing>) -> Self {
        Self {
            reader,
            options,
            join,
            shown,
        }
    }

    /// Writes until `stop`, then what is in the journal by then.
    pub async fn run(self, stop: CancellationToken) -> Result<(), SinkError> {
        let mut commits = self.reader.store().commits();
        let mut file: Option<AuditFile> = None;
        loop {
            let ending = stop.is_cancelled();
            let sink = self.clone();
            let (given_back, outcome) = tokio::task::spawn_blocking(move || {
                let outcome = sink.write_some(&mut file);
                (file, outcome)
            })
            .await?;
            file = given_back;
            match outcome {
                Ok(0) if ending => return Ok(()),
                Ok(0) => tokio::select! {
                    _ = commits.changed() => {}
                    () = stop.cancelled() => {}
                },
                Ok(_) => {}
                Err(error) if ending => return Err(error),
                Err(error) => {
                    // The records wait in the journal; the file is opened anew, from its last line.
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "audit file cannot be written, will try again"
                    );
                    file = None;
                    drop(tokio::time::timeout(RETRY, stop.cancelled()).await);
                }
            }
        }
    }

    /// One batch, durable in the file before the cursor moves; gives back how many records.
    fn write_some(&self, file: &mut Option<AuditFile>) -> Result<u64, SinkError> {
        let epoch = self.reader.store().journal_epoch(Class::Security);
        let broken = |source| SinkError::File {
            path: self.options.path.clone(),
            source,
        };
        let file = match file {
            Some(file) => file,
            None => file.insert(AuditFile::open(&self.options, &epoch).map_err(broken)?),
        };
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
        let (mut lines, mut shown) = (Vec::new(), Vec::new());
        for record in &batch.records {
            if record.seq <= file.last_seq() {
                made.filtered += 1;
                continue;
            }
            match decode::audit_event(&record.payload) {
                Ok((id, time_unix_ns, event)) => {
                    let names = (self.join)(&event);
                    let audit = AuditRecord {
                        time_unix_ns,
                        id,
                        event,
                        names,
                    };
                    line::write(&mut lines, &epoch, record.seq, &audit);
                    shown.push(audit);
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
        file.append(&lines, last).map_err(broken)?;
        self.reader.settle(last, made)?;
        for audit in shown {
            self.shown.push(audit);
        }
        Ok(batch.records.len().max(1) as u64)
    }
}
