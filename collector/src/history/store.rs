#![expect(
    clippy::disallowed_methods,
    reason = "shell: keeps usage history in a redb file"
)]
//! The durable store: series in redb, a copy in memory for reading.
//!
//! A batch and its cursor (the journal sequence of its last window) are one transaction with an
//! fsync, so after a kill the batch is in as a whole or not at all, and windows that are given
//! again are known by their sequence. Readers see only what is durable. Owns no opinion on what
//! the numbers mean.

mod error;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};

use super::batch::{Batch, Changes, Stored};
use super::encoding;
use super::series::{Entry, Series};
use crate::inventory::IndexReader;
pub use error::HistoryError;
use error::{read_error, write_error};

const SERIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("series.v1");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta.v1");
const ORIGIN: TableDefinition<'_, &str, &str> = TableDefinition::new("origin.v1");
/// Epoch of the journal that the cursor counts in.
const JOURNAL: &str = "journal_epoch";
const CURSOR: &str = "cursor";
const EXPIRED: &str = "expired";
/// What the store holds: 1 (not written down) JSON values, 2 values with a version of their own.
const FORMAT: u64 = 2;
const FORMAT_KEY: &str = "format";
/// Unreadable series that are named in the log; more are only counted.
const MAX_NAMED: u64 = 20;

/// Series at the most, if nothing else is set.
pub const MAX_SERIES: usize = 50_000;

/// Bounds of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most series. Beyond it ended ones are folded by workload, then the oldest expire, and if all
    /// of them report, new ones are turned away.
    pub max_series: usize,
    /// redb's page cache, bytes.
    pub cache_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_series: MAX_SERIES,
            cache_bytes: 16 << 20,
        }
    }
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Windows that are in now.
    pub applied: u64,
    /// Windows that were in already.
    pub repeated: u64,
    /// Series folded into their workload's.
    pub folded: u64,
    /// Series forgotten because nothing else was left to fold.
    pub expired: u64,
    /// Windows of new containers that were turned away: the store is full of others that report.
    pub rejected: u64,
}

/// The store's size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HistoryStats {
    /// Series now.
    pub series: u64,
    /// Sum of their encoded sizes, bytes.
    pub bytes: u64,
    /// Journal sequence of the last window that is in.
    pub cursor: u64,
    /// Series forgotten since the store was made.
    pub expired: u64,
    /// Windows taken in since it was opened.
    pub applied: u64,
    /// Series folded into their workload's since it was opened.
    pub folded: u64,
    /// Series that could not be decoded when the store was opened.
    pub undecodable: u64,
    /// Windows turned away since it was opened.
    pub rejected: u64,
    /// Its bound on series.
    pub max_series: u64,
    /// New containers are being turned away: as many report as there may be series.
    pub full: bool,
}

impl HistoryStats {
    /// What is wrong with it now, for people.
    pub fn trouble(&self) -> Option<String> {
        self.full.then(|| {
            format!(
                "{} containers report, as many as history.max_series allows: new ones are turned away",
                self.max_series
            )
        })
    }
}

#[derive(Default)]
struct State {
    series: BTreeMap<String, Stored>,
    journal: Option<String>,
    cursor: u64,
    expired: u64,
    undecodable: u64,
    applied: u64,
    folded: u64,
    rejected: u64,
    full: bool,
}

/// See the module.
///
/// A disk that is full, or fails, is no reason to end: what audits goes on. The store is closed then, as redb takes
/// nothing more after a failed write, and opened again when somebody next writes to it.
pub struct History {
    path: PathBuf,
    limits: Limits,
    /// One writer at a time; readers never wait for the disk.
    writer: Mutex<Option<Database>>,
    state: RwLock<State>,
}

impl History {
    /// Opens or makes the store, and reads it. On a disk that is full or fails it has nothing to show until that is over.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, HistoryError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| HistoryError::Folder {
                path: path.to_owned(),
                source,
            })?;
        }
        let (db, state) = match open(path, limits) {
            Ok((db, state)) => (Some(db), state),
            Err(error) if error.is_of_disk() => {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the usage history is shown once its disk gives and takes it"
                );
                (None, State::default())
            }
            Err(error) => return Err(error),
        };
        Ok(Self {
            path: path.to_owned(),
            limits,
            writer: Mutex::new(db),
            state: RwLock::new(state),
        })
    }

    /// As [`History::open`]; a file that is no readable store is renamed to `….unreadable` (one is
    /// kept) and a new one begun, with the reason. A store that another process holds, or a disk that
    /// fails, stays an error: there is nothing wrong with the file.
    pub fn open_or_set_aside(
        path: &Path,
        limits: Limits,
    ) -> Result<(Self, Option<HistoryError>), HistoryError> {
        let refused = match Self::open(path, limits) {
            Ok(history) => return Ok((history, None)),
            Err(refused) if refused.is_unreadable() => refused,
            Err(refused) => return Err(refused),
        };
        std::fs::rename(path, path.with_added_extension("unreadable")).map_err(|source| {
            HistoryError::Folder {
                path: path.to_owned(),
                source,
            }
        })?;
        Ok((Self::open(path, limits)?, Some(refused)))
    }

    /// Journal sequence of the last window that is in: feed on from the next one.
    pub fn cursor(&self) -> u64 {
        self.durable().cursor
    }

    /// Ties the cursor to the journal of that epoch, durably. The cursor of another journal says
    /// nothing about this one's numbers, so it goes back to 0, and `true` is returned. A store that
    /// was never tied keeps its cursor.
    pub fn follow(&self, epoch: &str) -> Result<bool, HistoryError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.open_again(&mut writer)?;
        let (known, cursor) = {
            let state = self.durable();
            if state.journal.as_deref() == Some(epoch) {
                return Ok(false);
            }
            (state.journal.is_some(), state.cursor)
        };
        let cursor = if known { 0 } else { cursor };
        self.write(&mut writer, |transaction| {
            let mut meta = transaction.open_table(META).map_err(write_error)?;
            meta.insert(CURSOR, cursor).map_err(write_error)?;
            let mut origin = transaction.open_table(ORIGIN).map_err(write_error)?;
            origin.insert(JOURNAL, epoch).map_err(write_error)?;
            Ok(())
        })?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.cursor = cursor;
        state.journal = Some(epoch.to_owned());
        Ok(known)
    }

    /// Takes a batch in, durably, exactly once. Sequences rise within and over batches.
    pub fn apply(&self, entries: &[Entry], index: &IndexReader) -> Result<Applied, HistoryError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.open_again(&mut writer)?;
        let mut applied = Applied::default();
        let state = self.durable();
        let mut batch = Batch::new(&state.series, state.expired);
        let mut cursor = state.cursor;
        let now_unix_ns = unix_ns();
        for entry in entries {
            if entry.seq <= state.cursor {
                applied.repeated += 1;
                continue;
            }
            applied.applied += 1;
            cursor = cursor.max(entry.seq);
            let key = batch.key_for(&entry.node, &entry.window.identity);
            let series = batch.entry(&key, || Series::new(&entry.node, &entry.window.identity));
            series.receive(&entry.node, &entry.window, now_unix_ns);
        }
        let keys = batch.changed_keys();
        batch.rename_all(keys.iter(), index);
        batch.shrink(self.limits.max_series, now_unix_ns, &mut applied);
        let changes = batch.changes(cursor);
        drop(state);
        self.commit(&mut writer, changes)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        state.applied += applied.applied;
        state.folded += applied.folded;
        state.rejected += applied.rejected;
        // A batch without newcomers says nothing; room does.
        state.full =
            applied.rejected > 0 || (state.full && state.series.len() >= self.limits.max_series);
        drop(state);
        Ok(applied)
    }

    /// Asks the inventory again for every series: names that came late, requests that changed.
    /// Returns how many series changed.
    pub fn rejoin(&self, index: &IndexReader) -> Result<usize, HistoryError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let state = self.durable();
        let mut batch = Batch::new(&state.series, state.expired);
        batch.rename_all(state.series.keys(), index);
        let changes = batch.changes(state.cursor);
        drop(state);
        let renamed = changes.series.len();
        if renamed > 0 {
            self.open_again(&mut writer)?;
            self.commit(&mut writer, changes)?;
        }
        Ok(renamed)
    }

    /// Every series with its key.
    pub fn snapshot(&self) -> Vec<(String, Arc<Series>)> {
        let state = self.durable();
        state
            .series
            .iter()
            .map(|(key, stored)| (key.clone(), Arc::clone(&stored.series)))
            .collect()
    }

    /// The store's size.
    pub fn stats(&self) -> HistoryStats {
        let state = self.durable();
        HistoryStats {
            series: state.series.len() as u64,
            bytes: state.series.values().map(|stored| stored.bytes).sum(),
            cursor: state.cursor,
            expired: state.expired,
            applied: state.applied,
            folded: state.folded,
            undecodable: state.undecodable,
            rejected: state.rejected,
            max_series: self.limits.max_series as u64,
            full: state.full,
        }
    }

    fn durable(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What was counted since the start is kept.
    fn open_again(&self, writer: &mut Option<Database>) -> Result<(), HistoryError> {
        if writer.is_some() {
            return Ok(());
        }
        let (db, read) = open(&self.path, self.limits)?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State {
            applied: state.applied,
            folded: state.folded,
            rejected: state.rejected,
            full: state.full,
            ..read
        };
        *writer = Some(db);
        Ok(())
    }

    /// One transaction with an fsync. The store is closed after a failure: see [`History`].
    fn write(
        &self,
        writer: &mut Option<Database>,
        change: impl FnOnce(&WriteTransaction) -> Result<(), HistoryError>,
    ) -> Result<(), HistoryError> {
        let db = writer.as_ref().ok_or_else(|| HistoryError::Closed {
            path: self.path.clone(),
        })?;
        let transact = || {
            let transaction = db.begin_write().map_err(write_error)?;
            change(&transaction)?;
            transaction.commit().map_err(write_error)
        };
        transact().inspect_err(|_| *writer = None)
    }

    /// Writes, then shows the result to readers.
    fn commit(&self, writer: &mut Option<Database>, changes: Changes) -> Result<(), HistoryError> {
        let mut encoded = Vec::with_capacity(changes.series.len());
        for (key, series) in changes.series {
            let bytes = match &series {
                Some(series) => {
                    Some(
                        encoding::encode(series).map_err(|source| HistoryError::Encode {
                            key: key.clone(),
                            source,
                        })?,
                    )
                }
                None => None,
            };
            encoded.push((key, series, bytes));
        }
        self.write(writer, |transaction| {
            let mut table = transaction.open_table(SERIES).map_err(write_error)?;
            for (key, _, bytes) in &encoded {
                match bytes {
                    Some(bytes) => table
                        .insert(key.as_str(), bytes.as_slice())
                        .map_err(write_error)?,
                    None => table.remove(key.as_str()).map_err(write_error)?,
                };
            }
            let mut meta = transaction.open_table(META).map_err(write_error)?;
            meta.insert(CURSOR, changes.cursor).map_err(write_error)?;
            meta.insert(EXPIRED, changes.expired).map_err(write_error)?;
            Ok(())
        })?;

        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for (key, series, bytes) in encoded {
            match series.zip(bytes) {
                Some((series, bytes)) => {
                    state.series.insert(
                        key,
                        Stored {
                            series: Arc::new(series),
                            bytes: bytes.len() as u64,
                        },
                    );
                }
                None => {
                    state.series.remove(&key);
                }
            }
        }
        state.cursor = changes.cursor;
        state.expired = changes.expired;
        Ok(())
    }
}

fn open(path: &Path, limits: Limits) -> Result<(Database, State), HistoryError> {
    let open_error = |source: redb::Error| HistoryError::Open {
        path: path.to_owned(),
        source: Box::new(source),
    };
    let db = Database::builder()
        .set_cache_size(limits.cache_bytes)
        .create(path)
        .map_err(|error| open_error(error.into()))?;
    let state = read_all(&db, path)?;
    Ok((db, state))
}

/// The wall clock; 0 before 1970.
fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

fn read_all(db: &Database, path: &Path) -> Result<State, HistoryError> {
    // Tables exist from the first open on, so that reading an empty store is no special case.
    let transaction = db.begin_write().map_err(write_error)?;
    transaction.open_table(SERIES).map_err(write_error)?;
    transaction.open_table(ORIGIN).map_err(write_error)?;
    {
        let mut meta = transaction.open_table(META).map_err(write_error)?;
        let before = meta.insert(FORMAT_KEY, FORMAT).map_err(write_error)?;
        let found = before.map_or(FORMAT, |format| format.value());
        if found > FORMAT {
            let path = path.to_owned();
            // Not committed: the store stays as it was.
            return Err(HistoryError::Newer { path, found });
        }
    }
    transaction.commit().map_err(write_error)?;

    let reading = db.begin_read().map_err(read_error)?;
    let mut state = State::default();
    let table = reading.open_table(SERIES).map_err(read_error)?;
    for row in table.iter().map_err(read_error)? {
        let (key, value) = row.map_err(read_error)?;
        match encoding::decode(value.value()) {
            Ok(series) => {
                let stored = Stored {
                    series: Arc::new(series),
                    bytes: value.value().len() as u64,
                };
                state.series.insert(key.value().to_owned(), stored);
            }
            // One bad series must not keep the rest from starting. Its row stays, for a person to
            // look at, until the same container is written anew.
            Err(error) => {
                state.undecodable += 1;
                if state.undecodable <= MAX_NAMED {
                    tracing::error!(
                        series = key.value(),
                        error = &error as &dyn std::error::Error,
                        "series of the usage history cannot be read, left out"
                    );
                }
            }
        }
    }
    let meta = reading.open_table(META).map_err(read_error)?;
    let number = |key: &str| -> Result<u64, HistoryError> {
        Ok(meta
            .get(key)
            .map_err(read_error)?
            .map_or(0, |value| value.value()))
    };
    state.cursor = number(CURSOR)?;
    state.expired = number(EXPIRED)?;
    let origin = reading.open_table(ORIGIN).map_err(read_error)?;
    let journal = origin.get(JOURNAL).map_err(read_error)?;
    state.journal = journal.map(|epoch| epoch.value().to_owned());
    Ok(state)
}

#[cfg(test)]
mod tests;
