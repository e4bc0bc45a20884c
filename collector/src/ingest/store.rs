#![expect(
    clippy::disallowed_methods,
    reason = "shell: opens the journals' folders, has the clock"
)]
//! The collector's journals and what was seen already, behind one lock; and the readers' view.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use plimsoll_journal::{
    Batch, FileStorage, Journal, JournalError, Options as JournalOptions, Recovery, Stats,
};
use plimsoll_wire::Class;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::watch;

use super::decode::{self, Incoming};
use super::dedupe::{Dedupe, Stream, Verdict};
use super::{Counts, Fate, place};

/// Cursor of the checkpoint of what was seen: records behind it need not be read at a start.
const SEEN: &str = "seen";
/// The file sink's cursor on the security journal.
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
    /// The thread that waits for the disk ended.
    #[error("the journal's thread ended early")]
    Thread(#[from] tokio::task::JoinError),
}

#[derive(Default, Serialize, Deserialize)]
struct Checkpoint {
    seen: Dedupe,
    journal_seq: [u64; 2],
}

struct Inner {
    folder: PathBuf,
    journals: [Journal<FileStorage>; 2],
    seen: Dedupe,
    max_bytes: u64,
    /// Records that became durable since the start, by class.
    entered: [u64; 2],
    /// Records in the journals' hands that are not durable yet, by class.
    unsynced: [u64; 2],
    /// Of each reader, the records that were shed before it had them.
    shed: BTreeMap<&'static str, u64>,
}

/// Cheap to clone; clones are the same store.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Mutex<Inner>>,
    commits: Arc<watch::Sender<u64>>,
    /// The door's books.
    pub counts: Arc<Counts>,
}

/// The journal as one reader sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Records before the reader.
    pub waiting: u64,
    /// Records that came in since the start.
    pub entered: u64,
    /// Records that were shed before the reader had them, since the start.
    pub shed: u64,
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
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// In the journal.
    pub delivered: u64,
    /// There before.
    pub duplicates: u64,
    /// Longer than the journal takes.
    pub too_large: u64,
}

fn now_unix_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn failed(class: Class) -> impl Fn(JournalError) -> StoreError {
    move |source| StoreError::Journal { class, source }
}

impl Store {
    /// Opens both journals below `folder` and remembers what was seen: from the checkpoint, and
    /// from the records behind it.
    pub fn open(
        folder: &Path,
        max_bytes: u64,
    ) -> Result<(Self, Vec<(Class, Recovery)>), StoreError> {
        let open = |class: Class, cursors: &[&str]| {
            let path = folder.join("journal").join(class.as_str());
            let storage = FileStorage::open(&path).map_err(|source| StoreError::File {
                doing: "open",
                path,
                source,
            })?;
            let stream = if class == Class::Usage { 1 } else { 2 };
            let epoch = format!("{:032x}", fastrand::u128(..));
            Journal::open(storage, JournalOptions::new(stream, cursors, epoch))
                .map_err(failed(class))
        };
        let (usage, usage_found) = open(Class::Usage, &[SEEN, HISTORY])?;
        let (security, security_found) = open(Class::Security, &[SEEN, SINK])?;
        let checkpoint: Checkpoint = std::fs::read(folder.join("seen.json"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let mut inner = Inner {
            folder: folder.to_owned(),
            journals: [usage, security],
            seen: checkpoint.seen,
            max_bytes,
            entered: [0; 2],
            unsynced: [0; 2],
            shed: BTreeMap::new(),
        };
        for class in Class::ALL {
            inner.replay(
                class,
                checkpoint
                    .journal_seq
                    .get(place(class))
                    .copied()
                    .unwrap_or(0),
            )?;
        }
        let store = Self {
            inner: Arc::new(Mutex::new(inner)),
            commits: Arc::new(watch::Sender::new(0)),
            counts: Arc::default(),
        };
        Ok((
            store,
            vec![
                (Class::Usage, usage_found),
                (Class::Security, security_found),
            ],
        ))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Several requests, one wait for the disk. The answers are in the order of the requests; an
    /// error concerns all of them, nothing is counted then, and sending them again is safe.
    pub fn commit(&self, requests: &[Arrival]) -> Result<Vec<Outcome>, StoreError> {
        let mut inner = self.lock();
        let now = now_unix_ns();
        let outcomes = requests
            .iter()
            .map(|arrival| inner.take(arrival.class, &arrival.records, now))
            .collect::<Result<Vec<_>, _>>()?;
        for class in Class::ALL {
            inner.sync(class)?;
        }
        for (arrival, outcome) in requests.iter().zip(&outcomes) {
            self.counts.arrived(arrival, outcome);
        }
        drop(inner);
        self.commits.send_modify(|count| *count += 1);
        Ok(outcomes)
    }

    /// Writes down what was seen, moves the cursors, removes what every reader has passed, and
    /// holds the byte bound. To be called every few seconds and at the end.
    pub fn maintain(&self) -> Result<(), StoreError> {
        self.lock().maintain()
    }

    /// Changes with every commit.
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Durable records of a class from number `from_seq` on.
    pub fn read(
        &self,
        class: Class,
        from_seq: u64,
        records: usize,
        bytes: usize,
    ) -> Result<Batch, StoreError> {
        self.lock()
            .journal(class)
            .read(from_seq, records, bytes)
            .map_err(failed(class))
    }

    /// The last number that a reader ([`SINK`], [`HISTORY`]) is done with.
    pub fn cursor(&self, class: Class, name: &str) -> u64 {
        self.lock().journal(class).cursor(name).unwrap_or(0)
    }

    /// The reader is done up to `seq`.
    pub fn set_cursor(&self, class: Class, name: &str, seq: u64) -> Result<(), StoreError> {
        self.lock()
            .journal(class)
            .set_cursor(name, seq)
            .map_err(failed(class))
    }

    /// What a reader has before it, what came in since the start, and what was shed before the
    /// reader had it: all of one moment.
    pub fn held(&self, class: Class, name: &str) -> Held {
        let mut inner = self.lock();
        let entered = inner.entered.get(place(class)).copied().unwrap_or(0);
        let shed = inner.shed.get(name).copied().unwrap_or(0);
        let unsynced = inner.unsynced.get(place(class)).copied().unwrap_or(0);
        let journal = inner.journal(class);
        let waiting = journal
            .count_after(journal.cursor(name).unwrap_or(0))
            .saturating_sub(unsynced);
        Held {
            waiting,
            entered,
            shed,
        }
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
}

impl Inner {
    const fn journal(&mut self, class: Class) -> &mut Journal<FileStorage> {
        let [usage, security] = &mut self.journals;
        match class {
            Class::Usage => usage,
            Class::Security => security,
        }
    }

    fn replay(&mut self, class: Class, checkpoint: u64) -> Result<(), StoreError> {
        let mut from = checkpoint + 1;
        loop {
            let batch = self
                .journal(class)
                .read(from, 1000, 4 << 20)
                .map_err(failed(class))?;
            let Some(last) = batch.records.last().map(|record| record.seq) else {
                return Ok(());
            };
            for record in &batch.records {
                let id = match class {
                    Class::Usage => decode::usage_window(&record.payload).map(|(id, _)| id),
                    Class::Security => decode::audit_event(&record.payload).map(|(id, ..)| id),
                };
                if let Ok(id) = id {
                    self.seen.accept(&id);
                }
            }
            from = last + 1;
        }
    }

    /// Makes a class durable. What a failed sync left behind comes in with the next that succeeds.
    fn sync(&mut self, class: Class) -> Result<(), StoreError> {
        self.journal(class).sync().map_err(failed(class))?;
        let unsynced = self.unsynced.get_mut(place(class)).map(std::mem::take);
        if let (Some(entered), Some(unsynced)) = (self.entered.get_mut(place(class)), unsynced) {
            *entered += unsynced;
        }
        Ok(())
    }

    /// A record counts as seen once it is in the journal's hands, and the answer waits for the
    /// sync that follows: if that fails, the repeat is answered by a later one.
    fn take(
        &mut self,
        class: Class,
        records: &[Incoming],
        now: u64,
    ) -> Result<Outcome, StoreError> {
        let mut outcome = Outcome::default();
        for record in records {
            if self.seen.judge(&record.id) == Verdict::Repeat {
                outcome.duplicates += 1;
                continue;
            }
            let mut appended = self.journal(class).append(&record.payload, now);
            if matches!(appended, Err(JournalError::PendingFull { .. })) {
                self.sync(class)?;
                appended = self.journal(class).append(&record.payload, now);
            }
            match appended {
                Ok(_) => {
                    outcome.delivered += 1;
                    if let Some(unsynced) = self.unsynced.get_mut(place(class)) {
                        *unsynced += 1;
                    }
                }
                Err(JournalError::RecordTooLarge { .. }) => {
                    outcome.too_large += 1;
                    continue;
                }
                Err(error) => return Err(failed(class)(error)),
            }
            self.seen.accept(&record.id);
        }
        Ok(outcome)
    }

    fn maintain(&mut self) -> Result<(), StoreError> {
        for class in Class::ALL {
            self.sync(class)?;
        }
        let journal_seq = [
            self.journals[0].durable_seq(),
            self.journals[1].durable_seq(),
        ];
        self.write_checkpoint(journal_seq)?;
        for (class, seq) in Class::ALL.into_iter().zip(journal_seq) {
            let journal = self.journal(class);
            journal.set_cursor(SEEN, seq).map_err(failed(class))?;
            journal.sync_positions().map_err(failed(class))?;
        }
        for class in Class::ALL {
            while self.bytes() > self.max_bytes && self.shed_oldest(class)? {}
        }
        Ok(())
    }

    fn bytes(&self) -> u64 {
        self.journals
            .iter()
            .map(|journal| journal.stats().bytes)
            .sum()
    }

    /// Sheds a segment, and each reader's books learn what it never had; false if there is none.
    fn shed_oldest(&mut self, class: Class) -> Result<bool, StoreError> {
        let reader = if class == Class::Usage { HISTORY } else { SINK };
        let journal = self.journal(class);
        let before = journal.count_after(journal.cursor(reader).unwrap_or(0));
        let Some(shed) = journal.shed_oldest().map_err(failed(class))? else {
            return Ok(false);
        };
        let after = journal.count_after(journal.cursor(reader).unwrap_or(0));
        let unread = before.saturating_sub(after);
        if unread > 0 {
            journal
                .set_cursor(reader, shed.last_seq)
                .map_err(failed(class))?;
            *self.shed.entry(reader).or_default() += unread;
            tracing::error!(
                class = class.as_str(),
                count = unread,
                last = shed.last_seq,
                "journal is over its bound (data.max_journal_bytes): records were shed"
            );
        }
        Ok(true)
    }

    /// To a new file first, so that there is always a whole one.
    fn write_checkpoint(&self, journal_seq: [u64; 2]) -> Result<(), StoreError> {
        let path = self.folder.join("seen.json");
        let new = self.folder.join("seen.json.new");
        let checkpoint = Checkpoint {
            seen: self.seen.clone(),
            journal_seq,
        };
        let write = || {
            std::fs::write(&new, serde_json::to_vec(&checkpoint)?)?;
            std::fs::File::open(&new)?.sync_all()?;
            std::fs::rename(&new, &path)?;
            std::fs::File::open(&self.folder)?.sync_all()
        };
        write().map_err(|source| StoreError::File {
            doing: "write",
            path: path.clone(),
            source,
        })
    }
}
