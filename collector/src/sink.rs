//! Audit events as JSON lines in a file of bounded size and number.
//!
//! Owns the way from the security journal to that file, and that each record is in it once: a line
//! carries its place in the journal, so that a start reads the last whole line and goes on behind
//! it. What is shown of recent events is fed from here as well. Does not know how names are found.

mod file;
pub mod line;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plimsoll_journal::Record;
use plimsoll_wire::AuditEvent;
use serde_json::{Map, Value};
use thiserror::Error;

use crate::api::{AuditRecord, AuditRing};
use crate::ingest::decode::{self, PayloadError};
use crate::ingest::placed::Elsewhere;
use crate::reader::{Destination, Resumed};
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

/// What is known of the subject of an event.
#[derive(Debug, Default)]
pub struct Known {
    /// Its names, as they stand beside the event.
    pub names: Map<String, Value>,
    /// Its pod, if that is on another node than the one that tells of it.
    pub elsewhere: Option<Elsewhere>,
}

/// What is known of the subject of an event that a node tells of.
pub type Join = Arc<dyn Fn(&str, &AuditEvent) -> Known + Send + Sync>;

/// Told of each event that was written without names because that pod is not on its node.
pub type Misplaced = Arc<dyn Fn(&str, &Elsewhere) + Send + Sync>;

/// Whether the names of an event's subject may still come.
pub type Pending = Arc<dyn Fn(&AuditEvent) -> bool + Send + Sync>;

/// From its arrival an event waits so long at the most while names are not told.
const INTERRUPTED: Duration = Duration::from_mins(1);

/// How long an event may wait for its names.
#[derive(Clone)]
pub struct NameWait {
    /// From the time at which the record came into the journal.
    pub within: Duration,
    /// Asked of each event that is young enough.
    pub pending: Pending,
    /// Whether names are only now being told, so that the age of an event says nothing.
    pub listing: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Whether names are not told for now: then there is more time, a minute, unless there is none at all.
    pub interrupted: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl NameWait {
    /// Nothing waits: nothing could name it later.
    pub fn none() -> Self {
        Self {
            within: Duration::ZERO,
            pending: Arc::new(|_| false),
            listing: Arc::new(|| false),
            interrupted: Arc::new(|| false),
        }
    }

    /// Whether there is time left for an event of that time that arrived then. What was old when it
    /// came, as a node's backlog, does not wait: its pod was listed long ago or never. A clock that was
    /// set back makes nobody wait for longer than the bound.
    fn is_open(&self, event_unix_ns: u64, arrived_unix_ns: u64, now_unix_ns: u64) -> bool {
        if (self.listing)() {
            return true;
        }
        let waited = now_unix_ns.checked_sub(arrived_unix_ns);
        let age_at_arrival = arrived_unix_ns.saturating_sub(event_unix_ns);
        let is_young = |within: Duration| {
            let within = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
            age_at_arrival < within && waited.is_some_and(|waited| waited < within)
        };
        let may_be_longer = !self.within.is_zero() && is_young(INTERRUPTED);
        is_young(self.within) || (may_be_longer && (self.interrupted)())
    }
}

/// See the module.
pub struct FileSink {
    options: Options,
    join: Join,
    wait: NameWait,
    misplaced: Misplaced,
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
    pub fn new(options: Options, join: Join, shown: Arc<AuditRing>) -> Self {
        Self {
            options,
            join,
            wait: NameWait::none(),
            misplaced: Arc::new(|_, _| ()),
            shown,
            written: Arc::default(),
            sync: to_disk(),
            file: None,
            synced_len: None,
        }
    }

    /// Lets events wait for names that may still come.
    #[must_use]
    pub fn waiting(mut self, wait: NameWait) -> Self {
        self.wait = wait;
        self
    }

    /// Tells of events that turn out to be about pods elsewhere.
    #[must_use]
    pub fn telling(mut self, misplaced: Misplaced) -> Self {
        self.misplaced = misplaced;
        self
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

/// What a journal record says, with what the journal says of it.
#[derive(Debug)]
pub struct Item {
    seq: u64,
    /// When it came into the journal, Unix nanoseconds.
    arrived_unix_ns: u64,
    audit: AuditRecord,
    /// Of its line, once that is written.
    bytes: usize,
}

impl Destination for FileSink {
    type Item = Item;
    type Error = SinkError;
    const NAME: &'static str = "file";
    const BATCH: usize = 512;

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
        let (id, time_unix_ns, event) = decode::audit_event(&record.payload)?;
        let audit = AuditRecord {
            time_unix_ns,
            id,
            event,
            names: Map::new(),
        };
        Ok(Item {
            seq: record.seq,
            arrived_unix_ns: record.time_unix_ns,
            audit,
            bytes: 0,
        })
    }

    fn holds(&self, _: &Record, item: &Item, now_unix_ns: u64) -> bool {
        let of = &item.audit;
        self.wait
            .is_open(of.time_unix_ns, item.arrived_unix_ns, now_unix_ns)
            && (self.wait.pending)(&of.event)
    }

    fn take(
        &mut self,
        mut items: Vec<Self::Item>,
        epoch: &str,
        last_seq: u64,
    ) -> Result<u64, SinkError> {
        let (mut lines, mut misplaced) = (Vec::new(), Vec::new());
        for item in &mut items {
            let before = lines.len();
            let known = (self.join)(&item.audit.id.node, &item.audit.event);
            item.audit.names = known.names;
            misplaced.extend(known.elsewhere.map(|pod| (item.audit.id.node.clone(), pod)));
            line::write(&mut lines, epoch, item.seq, &item.audit);
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
        for (node, pod) in &misplaced {
            (self.misplaced)(node, pod);
        }
        let count = items.len() as u64;
        self.written.lines.fetch_add(count, Ordering::Relaxed);
        for item in items {
            self.shown
                .arrived(item.audit, item.bytes, item.arrived_unix_ns);
        }
        Ok(0)
    }
}
