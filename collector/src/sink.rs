//! Audit events as JSON lines in a file of bounded size and number.
//!
//! Owns the way from the trail to that file, and that each event is in it once: a line carries its
//! place in the trail's journal, so that a start reads the last whole line and goes on behind it.
//! What is shown of recent events is fed from here as well.

pub(crate) mod file;
pub mod line;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use plimsoll_journal::Record;
use thiserror::Error;

use crate::api::{AuditRecord, AuditRing};
use crate::ingest::decode::PayloadError;
use crate::reader::{Destination, Resumed, Taken};
use crate::trail::entry::Entry;
use file::{AuditFile, SyncFile, to_disk};

/// Where the lines go.
#[derive(Clone, Debug)]
pub struct Options {
    /// The current file; older ones are beside it with `.1`, `.2`, … added, `.1` the newest.
    pub path: PathBuf,
    /// A file that has reached this length is put aside.
    pub rotate_bytes: u64,
    /// Files kept beside the current one, one at least.
    pub keep_files: usize,
}

/// The sink cannot go on.
#[derive(Debug, Error)]
#[error("write the audit file {path} (audit_file)")]
pub struct SinkError {
    /// Which.
    path: PathBuf,
    /// Why.
    #[source]
    source: std::io::Error,
}

/// What the sink wrote since the start.
#[derive(Debug, Default)]
pub struct Written {
    /// Lines.
    pub lines: AtomicU64,
    /// Bytes of lines.
    pub bytes: AtomicU64,
    /// Files put aside because they were full.
    pub rotations: AtomicU64,
    /// Files removed because `keep_files` were there, or more.
    pub removed: AtomicU64,
}

/// See the module.
pub struct FileSink {
    options: Options,
    shown: Arc<AuditRing>,
    written: Arc<Written>,
    sync: SyncFile,
    /// Closed at first and after an error: it is opened anew then, from its last line.
    file: Option<AuditFile>,
    /// After an error, until it is open again: how much of the file was on disk before.
    synced_len: Option<u64>,
}

impl std::fmt::Debug for FileSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileSink")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

impl FileSink {
    /// Nothing is opened before the first record is wanted.
    pub fn new(options: Options, shown: Arc<AuditRing>) -> Self {
        Self {
            options,
            shown,
            written: Arc::default(),
            sync: to_disk(),
            file: None,
            synced_len: None,
        }
    }

    /// With a disk that may fail.
    #[cfg(test)]
    pub(crate) fn syncing(mut self, sync: SyncFile) -> Self {
        self.sync = sync;
        self
    }

    /// What it wrote, for metrics.
    pub fn written(&self) -> Arc<Written> {
        Arc::clone(&self.written)
    }

    fn open(&mut self, epoch: &str) -> Result<(AuditFile, bool), SinkError> {
        let written = Arc::clone(&self.written);
        let opened = AuditFile::open(&self.options, epoch, self.synced_len, &self.sync, written)
            .map_err(self.broken())?;
        self.synced_len = None;
        Ok(opened)
    }

    fn broken(&self) -> impl Fn(std::io::Error) -> SinkError + use<> {
        let path = self.options.path.clone();
        move |source| SinkError {
            path: path.clone(),
            source,
        }
    }
}

/// An event of the trail, with what the trail says of it.
#[derive(Debug)]
pub struct Item {
    seq: u64,
    /// When it came into the trail, Unix nanoseconds.
    arrived_unix_ns: u64,
    /// `None` for what the trail says of itself.
    audit: Option<AuditRecord>,
    /// Of its line, once that is written.
    bytes: usize,
}

impl FileSink {
    /// Of the destination.
    pub const NAME: &'static str = "file";
}

impl Destination for FileSink {
    type Item = Item;
    type Error = SinkError;
    const BATCH: usize = 512;

    fn name(&self) -> &str {
        Self::NAME
    }

    fn resume(&mut self, epoch: &str) -> Result<Resumed, SinkError> {
        if let Some(file) = &self.file {
            return Ok(Resumed {
                last_seq: file.last_seq(),
                renewed: false,
            });
        }
        let (file, renewed) = self.open(epoch)?;
        let last_seq = file.last_seq();
        self.file = Some(file);
        Ok(Resumed { last_seq, renewed })
    }

    fn decode(record: &Record) -> Result<Self::Item, PayloadError> {
        let entry = Entry::of(&record.payload)?;
        let audit = if entry.is_checkpoint() {
            None
        } else {
            let document = serde_json::from_str(&entry.document)
                .map_err(|_| PayloadError::Absent("a document"))?;
            let audit = AuditRecord::from_document(&document);
            Some(audit.map_err(|_| PayloadError::Absent("an event"))?)
        };
        Ok(Item {
            seq: record.seq,
            arrived_unix_ns: record.time_unix_ns,
            audit,
            bytes: 0,
        })
    }

    fn take(
        &mut self,
        mut items: Vec<Self::Item>,
        epoch: &str,
        last_seq: u64,
    ) -> Result<Taken, SinkError> {
        let mut lines = Vec::new();
        for item in &mut items {
            let before = lines.len();
            if let Some(audit) = &item.audit {
                line::write(&mut lines, epoch, item.seq, audit);
            }
            item.bytes = lines.len() - before;
        }
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open(epoch)?.0,
        };
        if let Err(error) = file.append(&lines, last_seq) {
            self.synced_len = Some(file.synced_len());
            return Err(self.broken()(error));
        }
        self.file = Some(file);
        let all = items.len() as u64;
        let mut count = 0;
        for item in items {
            if let Some(audit) = item.audit {
                count += 1;
                self.shown.arrived(audit, item.bytes, item.arrived_unix_ns);
            }
        }
        self.written.lines.fetch_add(count, Ordering::Relaxed);
        Ok(Taken {
            filtered: all - count,
            ..Taken::all(last_seq)
        })
    }
}
