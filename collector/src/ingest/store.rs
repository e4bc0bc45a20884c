#![expect(
    clippy::disallowed_methods,
    reason = "shell: opens the journals' folders, has the clock"
)]
//! The collector's journals and what was seen already, behind one lock; and the readers' view.
//!
//! What happens behind the lock, in which order, is `inner`'s; what readers are given, `hand`'s; what
//! a start does, `start`'s.

mod agents;
mod hand;
mod inner;
mod start;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use plimsoll_journal::{Batch, FileStorage, JournalError, Recovery, Stats, Storage};
use plimsoll_wire::{Class, stage};
use thiserror::Error;
use tokio::sync::watch;

use super::decode::Incoming;
use super::dedupe::{Bounds, Forgotten, Stream};
use super::placed::{Elsewhere, Findings};
use super::watch::Watch;
use super::{Counts, Fate};
use crate::errors::chain;
pub use crate::hands::Held;
use crate::trail::Gone;
use inner::{Inner, keep};

/// The cursor on the security journal of what publishes it in the trail; until there was a trail, the audit file's.
pub const SINK: &str = "file-sink";
/// The usage history's cursor on the usage journal.
pub const HISTORY: &str = "history";

/// Why the store could not be opened or written.
#[derive(Debug, Error)]
pub enum StoreError {
    /// A folder or the checkpoint file.
    #[error("cannot {doing} {path}")]
    File {
        /// `open`, `write`.
        doing: &'static str,
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A journal.
    #[error("{class} journal", class = .class.as_str())]
    Journal {
        /// Which.
        class: Class,
        /// Why.
        #[source]
        source: JournalError,
    },
    /// The trail's journal.
    #[error("audit trail")]
    Trail(#[from] JournalError),
    /// The thread that waits for the disk ended.
    #[error("the journal's thread ended early")]
    Thread(#[from] tokio::task::JoinError),
}

impl StoreError {
    /// What a journal said.
    pub const fn journal(&self) -> Option<&JournalError> {
        match self {
            Self::Journal { source, .. } | Self::Trail(source) => Some(source),
            Self::File { .. } | Self::Thread(_) => None,
        }
    }
}

/// The folders of a store.
#[derive(Debug)]
pub struct Folders<S> {
    /// The usage journal's.
    pub usage: S,
    /// The security journal's.
    pub security: S,
    /// The checkpoint's.
    pub seen: S,
}

/// Cheap to clone; clones are the same store.
pub struct Store<S = FileStorage> {
    inner: Arc<Mutex<Inner<S>>>,
    commits: Arc<watch::Sender<u64>>,
    /// Why the last request was not taken; a lock of its own, so that asking never waits for the disk.
    refuses: Arc<Mutex<Option<Refusal>>>,
    /// Why the last upkeep failed; likewise.
    upkeep: Arc<Mutex<Option<String>>>,
    /// What waits to be told; likewise.
    findings: Arc<Mutex<Findings>>,
    /// Which agents are heard; taken behind the lock of the journals, or alone.
    watch: Arc<Mutex<Watch>>,
    /// The door's books.
    pub counts: Arc<Counts>,
}

/// Why requests are not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Refusal {
    kind: &'static str,
    /// The kind, and the error with its causes.
    text: String,
}

impl Refusal {
    fn of(error: &StoreError) -> Self {
        let kind = if error.is_disk_full() {
            "the journal's disk is full"
        } else {
            "the journal cannot be written"
        };
        let text = format!("{kind}: {}", chain(error));
        Self { kind, text }
    }
}

/// A word for the log, at the times at which there is something new: a full disk refuses request after
/// request, in words that differ by the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Turn {
    Refuses,
    TakesAgain,
}

fn turn(before: Option<&Refusal>, now: Option<&Refusal>) -> Option<Turn> {
    match (before, now) {
        (Some(_), None) => Some(Turn::TakesAgain),
        (before, Some(now)) if before.is_none_or(|before| before.kind != now.kind) => {
            Some(Turn::Refuses)
        }
        _ => None,
    }
}

impl<S> Clone for Store<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            commits: Arc::clone(&self.commits),
            refuses: Arc::clone(&self.refuses),
            upkeep: Arc::clone(&self.upkeep),
            findings: Arc::clone(&self.findings),
            watch: Arc::clone(&self.watch),
            counts: Arc::clone(&self.counts),
        }
    }
}

/// One request: its records, and what did not become one.
#[derive(Debug)]
pub struct Arrival {
    /// Of all records.
    pub class: Class,
    /// In the order sent.
    pub records: Vec<Incoming>,
    /// Fate and count of the others.
    pub others: Vec<(Fate, u64)>,
}

/// What became of one request's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// New, and in the journal's hands.
    pub taken: u64,
    /// There before.
    pub duplicates: u64,
    /// New, and not to be understood.
    pub undecodable: u64,
    /// New, and about a pod on another node.
    pub elsewhere: u64,
    /// New, and longer than the journal takes.
    pub too_large: u64,
    /// What the sender is told: refused for good, now or when it came first.
    pub refused: u64,
    /// Of which too long: only the store knows that.
    pub refused_too_large: u64,
}

impl StoreError {
    /// The disk has no room: `ENOSPC` or `EDQUOT`.
    pub fn is_disk_full(&self) -> bool {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        match self {
            Self::File { source, .. } => matches!(source.kind(), StorageFull | QuotaExceeded),
            Self::Journal { source, .. } | Self::Trail(source) => source.is_disk_full(),
            Self::Thread(_) => false,
        }
    }
}

fn now_unix_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    nanoseconds(since)
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn failed(class: Class) -> impl Fn(JournalError) -> StoreError {
    move |source| StoreError::Journal { class, source }
}

impl Store {
    /// Opens the store's folders below `folder`/journal; see [`Store::with`].
    pub fn open(
        folder: &Path,
        max_bytes: u64,
    ) -> Result<(Self, Vec<(Class, Recovery)>), StoreError> {
        let open = |name: &str| {
            let path = folder.join("journal").join(name);
            FileStorage::open(&path).map_err(|source| StoreError::File {
                doing: "open",
                path,
                source,
            })
        };
        let folders = Folders {
            usage: open(Class::Usage.as_str())?,
            security: open(Class::Security.as_str())?,
            seen: open("seen")?,
        };
        let new_epoch = || format!("{:032x}", fastrand::u128(..));
        Self::with(
            folders,
            max_bytes,
            [new_epoch(), new_epoch()],
            Bounds::default(),
        )
    }
}

impl<S: Storage> Store<S> {
    /// Opens both journals and remembers what was seen: from the checkpoint, and from the records
    /// behind it. Records that damage has taken are counted, and told in the security stream.
    /// `new_epochs` name journals that are new, usage first.
    pub fn with(
        folders: Folders<S>,
        max_bytes: u64,
        new_epochs: [String; 2],
        bounds: Bounds,
    ) -> Result<(Self, Vec<(Class, Recovery)>), StoreError> {
        let counts = Arc::<Counts>::default();
        let (mut inner, recoveries) =
            Inner::open(folders, max_bytes, new_epochs, bounds, Arc::clone(&counts))?;
        inner.begin(&recoveries, now_unix_ns());
        let store = Self {
            watch: Arc::clone(&inner.watch),
            inner: Arc::new(Mutex::new(inner)),
            commits: Arc::new(watch::Sender::new(0)),
            refuses: Arc::default(),
            upkeep: Arc::default(),
            findings: Arc::default(),
            counts,
        };
        Ok((store, Class::ALL.into_iter().zip(recoveries).collect()))
    }

    /// From now on, records older than this are shed whether read or not; a start keeps them as they are.
    pub fn bound_age(&self, max_age: Option<Duration>) {
        self.lock().max_age_ns = max_age.map(nanoseconds);
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Several requests, one wait for the disk. The answers are in the order of the requests. An
    /// error concerns all of them: some records may be in the journal all the same, so sending the
    /// requests again is safe, and right.
    pub fn commit(&self, requests: &[Arrival]) -> Result<Vec<Outcome>, StoreError> {
        let committed = self.lock().commit(requests, now_unix_ns());
        self.note(committed.as_ref().err());
        if committed.is_err() {
            let first = |arrival: &Arrival| Some(arrival.records.first()?.id.node.clone());
            requests
                .iter()
                .filter_map(first)
                .for_each(|node| self.excuse(&node));
        }
        let outcomes = committed?;
        self.commits.send_modify(|count| *count += 1);
        Ok(outcomes)
    }

    /// Writes down what was seen, moves the cursors, removes what every reader has passed, holds
    /// the byte bound, and tells what was lost and what was found. To be called every few seconds and at the end. One
    /// step that fails keeps no other from being done; the first error is given back.
    pub fn maintain(&self) -> Result<(), StoreError> {
        let mut inner = self.lock();
        let before = inner.journal(Class::Security).durable_seq();
        let now = now_unix_ns();
        let mut done = inner.maintain(now);
        let mut due = self.lock_findings().due(now);
        keep(&mut done, inner.tell_findings(&mut due, now));
        for finding in due {
            self.lock_findings().put_back(finding);
        }
        let after = inner.journal(Class::Security).durable_seq();
        // Senders may be kept away by what was noted, so that no request would show that it is past.
        let probed = self.refuses().map(|_| inner.probe());
        drop(inner);
        if let Some(probed) = probed {
            self.note(done.as_ref().and(probed.as_ref()).err());
        }
        let failed = done.as_ref().err().map(|error| chain(error));
        *self.upkeep.lock().unwrap_or_else(PoisonError::into_inner) = failed;
        if after > before {
            // Losses that were told are records to be read.
            self.commits.send_modify(|count| *count += 1);
        }
        done
    }

    /// Puts on record what is gone from the trail. After an error it is kept, and told with the next call or the next
    /// [`maintain`](Self::maintain) that succeeds.
    pub fn tell_gone(&self, gone: &[Gone]) -> Result<(), StoreError> {
        let mut inner = self.lock();
        for gone in gone {
            let (stage, class) = (stage::TRAIL, Class::Security);
            inner
                .losses
                .note_at(stage, class, gone.fate, gone.count, gone.range);
        }
        inner.tell(now_unix_ns())?;
        drop(inner);
        if !gone.is_empty() {
            self.commits.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    fn lock_findings(&self) -> MutexGuard<'_, Findings> {
        let findings = self.findings.lock();
        findings.unwrap_or_else(PoisonError::into_inner)
    }

    /// A record that `sender` was let in with turned out to be about a pod elsewhere: told as those
    /// are that the door refuses.
    pub fn found_elsewhere(&self, sender: &str, pod: &Elsewhere) {
        if self.lock_findings().note(sender, pod, 1) {
            tracing::warn!(
                node = sender,
                pod.pod_uid,
                pod.node,
                "written without names: an event about a pod that is on another node (said again in a minute at the earliest)"
            );
        }
    }

    /// Where the door leaves what it finds.
    pub(super) fn findings(&self) -> Arc<Mutex<Findings>> {
        Arc::clone(&self.findings)
    }

    /// Why requests cannot be taken now, with its causes; `None` if the last one was, or if the disk has
    /// shown since that it takes what is written. Never waits for the disk.
    pub fn refuses(&self) -> Option<String> {
        let refuses = self.refuses.lock().unwrap_or_else(PoisonError::into_inner);
        refuses.as_ref().map(|refusal| refusal.text.clone())
    }

    /// Why the last [`maintain`](Self::maintain) failed, with its causes; `None` if it went well. While it
    /// fails, the journal may grow. Never waits for the disk.
    pub fn upkeep_fails(&self) -> Option<String> {
        let upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        upkeep.clone()
    }

    fn note(&self, error: Option<&StoreError>) {
        let now = error.map(Refusal::of);
        let mut refuses = self.refuses.lock().unwrap_or_else(PoisonError::into_inner);
        let before = std::mem::replace(&mut *refuses, now.clone());
        drop(refuses);
        match turn(before.as_ref(), now.as_ref()) {
            Some(Turn::Refuses) => tracing::error!(
                reason = now.map(|refusal| refusal.text),
                "requests are not taken (said once); agents keep their records and send again"
            ),
            Some(Turn::TakesAgain) => tracing::info!("requests are taken again"),
            None => {}
        }
    }

    /// Changes with every commit.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Durable records of a class from number `from_seq` on. Damage found on the way is told in the
    /// security stream with the next [`maintain`](Self::maintain).
    pub fn read(
        &self,
        class: Class,
        from_seq: u64,
        records: usize,
        bytes: usize,
    ) -> Result<Batch, StoreError> {
        self.lock().read(class, from_seq, records, bytes)
    }

    /// Records behind a reader's cursor ([`SINK`], [`HISTORY`]), of one moment with the cursor. They
    /// are in its hand until [`settle`](Self::settle) or [`put_back`](Self::put_back): if the
    /// journal sheds them meanwhile, they count as shed only if the reader does not settle them.
    pub fn hand_out(
        &self,
        class: Class,
        reader: &str,
        records: usize,
        bytes: usize,
    ) -> Result<Batch, StoreError> {
        self.lock().hand_out(class, reader, records, bytes)
    }

    /// The reader has not taken what is in its hand.
    pub fn put_back(&self, class: Class, reader: &str) -> Result<(), StoreError> {
        self.lock().put_back(class, reader)
    }

    /// Gives up the segment behind a reader's cursor, because it cannot be read. How many records
    /// that were; they are told in the security stream with the next [`maintain`](Self::maintain).
    pub fn give_up(&self, class: Class, reader: &str) -> Result<u64, StoreError> {
        self.lock().give_up(class, reader)
    }

    /// The last number that a reader ([`SINK`], [`HISTORY`]) is done with.
    pub fn cursor(&self, class: Class, name: &str) -> u64 {
        self.lock().journal(class).cursor(name).unwrap_or(0)
    }

    /// The reader is done up to `seq`, and has nothing in its hand.
    pub fn settle(&self, class: Class, reader: &str, seq: u64) -> Result<(), StoreError> {
        self.lock().settle(class, reader, seq)
    }

    /// What a reader has before it, what came in since the start, and what it never had: all of
    /// one moment.
    pub fn held(&self, class: Class, name: &str) -> Held {
        self.lock().held(class, name)
    }

    /// The journal's own epoch.
    pub fn journal_epoch(&self, class: Class) -> String {
        self.lock().journal(class).epoch().to_owned()
    }

    /// Sizes.
    pub fn stats(&self, class: Class) -> Stats {
        self.lock().journal(class).stats()
    }

    /// Every stream that was seen.
    pub fn streams(&self) -> Vec<Stream> {
        self.lock().seen.streams().cloned().collect()
    }

    /// Streams that a bound has pushed out since the start.
    pub fn forgotten(&self) -> Forgotten {
        self.lock().seen.forgotten()
    }
}

#[cfg(test)]
mod tests;
