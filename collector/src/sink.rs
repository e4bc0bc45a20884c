//! Audit events as JSON lines in a file of bounded size and number.
//!
//! Owns the way from the security journal to that file, and that each record is in it once: a line
//! carries its place in the journal, so that a start reads the last whole line and goes on behind
//! it. The names of pods are added by a function that the owner passes in.

mod file;
pub mod line;

use std::path::PathBuf;
use std::time::Duration;

use plimsoll_wire::fate::Fates;
use plimsoll_wire::{AuditEvent, Class};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use serde_json::{Map, Value};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::ingest::decode;
use crate::ingest::store::{SINK, Store, StoreError};
use file::AuditFile;

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
    #[error("audit file {path}")]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The journal.
    #[error("audit file")]
    Store(#[from] StoreError),
    /// The thread that waits for the disk ended.
    #[error("the sink's thread ended early")]
    Thread(#[from] tokio::task::JoinError),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FateLabels {
    fate: &'static str,
}

/// Counts by fate.
#[derive(Debug, Default)]
pub struct Counts {
    records: Family<FateLabels, Counter>,
    books: Mutex<Fates>,
}

impl Counts {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "file_sink_records",
            "Audit records at the file sink, by fate",
            self.records.clone(),
        );
    }

    fn settle(&self, fate: &'static str, count: u64) {
        if count == 0 {
            return;
        }
        self.records
            .get_or_create(&FateLabels { fate })
            .inc_by(count);
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        books.emitted += count;
        match fate {
            "delivered" => books.delivered += count,
            "filtered_written_before" => books.filtered += count,
            _ => books.undecodable += count,
        }
    }
}

/// Adds what is known of the event's subject to its line.
pub type Join = Arc<dyn Fn(&AuditEvent) -> Map<String, Value> + Send + Sync>;

/// See the module.
#[derive(Clone)]
pub struct FileSink {
    store: Store,
    options: Options,
    join: Join,
    counts: Arc<Counts>,
}

impl FileSink {
    /// Nothing is opened before [`run`](Self::run).
    pub fn new(store: Store, options: Options, join: Join) -> Self {
        Self {
            store,
            options,
            join,
            counts: Arc::default(),
        }
    }

    /// The sink's metrics.
    pub fn counts(&self) -> Arc<Counts> {
        Arc::clone(&self.counts)
    }

    /// Counts since the start; what waits in the journal is in flight.
    pub fn fates(&self) -> Fates {
        let waiting = self.store.waiting(Class::Security, SINK);
        let books = *self
            .counts
            .books
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        Fates {
            emitted: books.emitted + waiting,
            in_flight: waiting,
            ..books
        }
    }

    /// Writes until `shutdown`, then what is in the journal by then.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), SinkError> {
        let mut commits = self.store.commits();
        let mut file: Option<AuditFile> = None;
        loop {
            let ending = shutdown.is_cancelled();
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
                    () = shutdown.cancelled() => {}
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
                    drop(tokio::time::timeout(RETRY, shutdown.cancelled()).await);
                }
            }
        }
    }

    /// One batch, durable in the file before the cursor moves; gives back how many records.
    fn write_some(&self, file: &mut Option<AuditFile>) -> Result<u64, SinkError> {
        let epoch = self.store.journal_epoch(Class::Security);
        let broken = |source| SinkError::File {
            path: self.options.path.clone(),
            source,
        };
        let file = match file {
            Some(file) => file,
            None => file.insert(AuditFile::open(&self.options, &epoch).map_err(broken)?),
        };
        let cursor = self.store.cursor(Class::Security, SINK);
        let batch = self
            .store
            .read(Class::Security, cursor + 1, BATCH, BATCH_BYTES)?;
        let damaged: u64 = batch.damaged.iter().map(|(from, to)| to - from + 1).sum();
        let Some(last) = batch.records.last().map(|record| record.seq) else {
            self.counts.settle("undecodable", damaged);
            return Ok(0);
        };
        let (mut lines, mut written, mut before, mut undecodable) = (Vec::new(), 0, 0, 0);
        for record in &batch.records {
            if record.seq <= file.last_seq() {
                before += 1;
                continue;
            }
            match decode::audit_event(&record.payload) {
                Ok((id, time_unix_ns, event)) => {
                    line::write(
                        &mut lines,
                        &epoch,
                        record.seq,
                        &id,
                        time_unix_ns,
                        &event,
                        (self.join)(&event),
                    );
                    written += 1;
                }
                Err(error) => {
                    tracing::error!(
                        seq = record.seq,
                        error = &error as &dyn std::error::Error,
                        "journal record cannot be read"
                    );
                    undecodable += 1;
                }
            }
        }
        file.append(&lines, last).map_err(broken)?;
        self.store.set_cursor(Class::Security, SINK, last)?;
        self.counts.settle("delivered", written);
        self.counts.settle("filtered_written_before", before);
        self.counts.settle("undecodable", undecodable + damaged);
        Ok(batch.records.len() as u64)
    }
}
