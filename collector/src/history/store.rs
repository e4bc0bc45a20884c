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

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use thiserror::Error;

use super::series::{Entry, Series, key_of};
use crate::inventory::Index;
use crate::join::join;

const SERIES: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("series.v1");
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta.v1");
const CURSOR: &str = "cursor";
const EXPIRED: &str = "expired";

/// Bounds of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most series; beyond it ended ones are folded by workload, then the oldest expire.
    pub max_series: usize,
    /// redb's page cache, bytes.
    pub cache_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_series: 20_000,
            cache_bytes: 16 << 20,
        }
    }
}

/// What went wrong with the store.
#[derive(Debug, Error)]
pub enum HistoryError {
    /// The folder for the file.
    #[error("making the folder of {path}")]
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
    /// A series that does not fit its own encoding.
    #[error("encoding series {key}")]
    Encode {
        /// The series.
        key: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

fn read_error(error: impl Into<redb::Error>) -> HistoryError {
    HistoryError::Read(Box::new(error.into()))
}

fn write_error(error: impl Into<redb::Error>) -> HistoryError {
    HistoryError::Write(Box::new(error.into()))
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
    /// Series that could not be decoded when the store was opened.
    pub undecodable: u64,
}

#[derive(Clone)]
struct Stored {
    series: Arc<Series>,
    bytes: u64,
}

#[derive(Default)]
struct State {
    series: BTreeMap<String, Stored>,
    cursor: u64,
    expired: u64,
    undecodable: u64,
}

/// See the module.
pub struct History {
    db: Database,
    limits: Limits,
    /// One writer at a time; readers never wait for the disk.
    writer: Mutex<()>,
    state: RwLock<State>,
}

impl History {
    /// Opens or makes the store, and reads it.
    pub fn open(path: &Path, limits: Limits) -> Result<Self, HistoryError> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(|source| HistoryError::Folder {
                path: path.to_owned(),
                source,
            })?;
        }
        let open_error = |source: redb::Error| HistoryError::Open {
            path: path.to_owned(),
            source: Box::new(source),
        };
        let db = Database::builder()
            .set_cache_size(limits.cache_bytes)
            .create(path)
            .map_err(|error| open_error(error.into()))?;
        let state = read_all(&db)?;
        Ok(Self {
            db,
            limits,
            writer: Mutex::new(()),
            state: RwLock::new(state),
        })
    }

    /// Journal sequence of the last window that is in: feed on from the next one.
    pub fn cursor(&self) -> u64 {
        self.state
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .cursor
    }

    /// Takes a batch in, durably, exactly once. Sequences rise within and over batches.
    pub fn apply(&self, entries: &[Entry], index: &Index) -> Result<Applied, HistoryError> {
        let _writing = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = self.begin();
        let mut applied = Applied::default();
        let before = batch.cursor;
        for entry in entries {
            if entry.seq <= before {
                applied.repeated += 1;
                continue;
            }
            applied.applied += 1;
            batch.cursor = batch.cursor.max(entry.seq);
            let key = key_of(&entry.node, &entry.window.identity);
            let series = batch.entry(&key, || Series::new(&entry.node, &entry.window.identity));
            series.add(&entry.node, &entry.window);
        }
        let changed: Vec<String> = batch.changed.keys().cloned().collect();
        for key in changed {
            batch.rename(&key, index);
        }
        batch.shrink(self.limits.max_series, &mut applied);
        self.commit(batch)?;
        Ok(applied)
    }

    /// Asks the inventory again for every series: names that came late, requests that changed.
    /// Returns how many series changed.
    pub fn rejoin(&self, index: &Index) -> Result<usize, HistoryError> {
        let _writing = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut batch = self.begin();
        for key in batch.base.keys().cloned().collect::<Vec<_>>() {
            batch.rename(&key, index);
        }
        let renamed = batch.changed.len();
        if renamed > 0 {
            self.commit(batch)?;
        }
        Ok(renamed)
    }

    /// Every series with its key.
    pub fn snapshot(&self) -> Vec<(String, Arc<Series>)> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        state
            .series
            .iter()
            .map(|(key, stored)| (key.clone(), Arc::clone(&stored.series)))
            .collect()
    }

    /// The store's size.
    pub fn stats(&self) -> HistoryStats {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        HistoryStats {
            series: state.series.len() as u64,
            bytes: state.series.values().map(|stored| stored.bytes).sum(),
            cursor: state.cursor,
            expired: state.expired,
            undecodable: state.undecodable,
        }
    }

    fn begin(&self) -> Batch {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        let base = state
            .series
            .iter()
            .map(|(key, stored)| (key.clone(), Arc::clone(&stored.series)))
            .collect();
        Batch {
            base,
            changed: BTreeMap::new(),
            cursor: state.cursor,
            expired: state.expired,
        }
    }

    /// Writes with an fsync, then shows the result to readers.
    fn commit(&self, batch: Batch) -> Result<(), HistoryError> {
        let mut encoded = Vec::with_capacity(batch.changed.len());
        for (key, series) in batch.changed {
            let bytes = match &series {
                Some(series) => {
                    Some(
                        serde_json::to_vec(series).map_err(|source| HistoryError::Encode {
                            key: key.clone(),
                            source,
                        })?,
                    )
                }
                None => None,
            };
            encoded.push((key, series, bytes));
        }
        let transaction = self.db.begin_write().map_err(write_error)?;
        {
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
            meta.insert(CURSOR, batch.cursor).map_err(write_error)?;
            meta.insert(EXPIRED, batch.expired).map_err(write_error)?;
        }
        transaction.commit().map_err(write_error)?;

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
        state.cursor = batch.cursor;
        state.expired = batch.expired;
        Ok(())
    }
}

fn read_all(db: &Database) -> Result<State, HistoryError> {
    // Tables exist from the first open on, so that reading an empty store is no special case.
    let transaction = db.begin_write().map_err(write_error)?;
    transaction.open_table(SERIES).map_err(write_error)?;
    transaction.open_table(META).map_err(write_error)?;
    transaction.commit().map_err(write_error)?;

    let reading = db.begin_read().map_err(read_error)?;
    let mut state = State::default();
    let table = reading.open_table(SERIES).map_err(read_error)?;
    for row in table.iter().map_err(read_error)? {
        let (key, value) = row.map_err(read_error)?;
        match serde_json::from_slice::<Series>(value.value()) {
            Ok(series) => {
                let stored = Stored {
                    series: Arc::new(series),
                    bytes: value.value().len() as u64,
                };
                state.series.insert(key.value().to_owned(), stored);
            }
            // One bad series must not keep the rest from starting.
            Err(_) => state.undecodable += 1,
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
    Ok(state)
}

/// Changes on top of what is durable. `None` is removed.
struct Batch {
    base: BTreeMap<String, Arc<Series>>,
    changed: BTreeMap<String, Option<Series>>,
    cursor: u64,
    expired: u64,
}

impl Batch {
    fn get(&self, key: &str) -> Option<&Series> {
        match self.changed.get(key) {
            Some(changed) => changed.as_ref(),
            None => self.base.get(key).map(AsRef::as_ref),
        }
    }

    fn entry(&mut self, key: &str, new: impl FnOnce() -> Series) -> &mut Series {
        let current = self.base.get(key);
        let slot = self
            .changed
            .entry(key.to_owned())
            .or_insert_with(|| current.map(|series| (**series).clone()));
        slot.get_or_insert_with(new)
    }

    /// Joins a container's own series again; what the inventory has forgotten stays as it was.
    fn rename(&mut self, key: &str, index: &Index) {
        let Some(series) = self.get(key).filter(|series| series.folded == 0) else {
            return;
        };
        let joined = join(&series.identity, index);
        let forgotten = joined.names.is_none() && series.names.is_some();
        let lost_name = series.names.as_ref().is_some_and(|known| {
            known.container.is_some()
                && joined
                    .names
                    .as_ref()
                    .is_some_and(|now| now.container.is_none())
        });
        if forgotten
            || lost_name
            || (joined.names == series.names && joined.pending == series.name_pending)
        {
            return;
        }
        let identity = series.identity.clone();
        let node = series.node.clone();
        let series = self.entry(key, || Series::new(&node, &identity));
        series.names = joined.names;
        series.name_pending = joined.pending;
    }

    /// Brings the number of series back under its bound, a tenth below it, so that the next batch
    /// need not do it again.
    fn shrink(&mut self, max_series: usize, applied: &mut Applied) {
        let added = self
            .changed
            .keys()
            .filter(|key| !self.base.contains_key(*key))
            .count();
        let mut count = self.base.len() + added;
        if count <= max_series {
            return;
        }
        let target = max_series - max_series / 10;
        // Named and ended first, then by age: what is folded keeps its numbers, what expires does not.
        let mut order: Vec<(bool, bool, u64, String)> = self
            .base
            .keys()
            .chain(
                self.changed
                    .keys()
                    .filter(|key| !self.base.contains_key(*key)),
            )
            .filter_map(|key| {
                let series = self.get(key).filter(|series| series.folded == 0)?;
                let last = series.usage.last_unix_ns.unwrap_or(0);
                Some((
                    series.fold_key().is_none(),
                    !series.ended,
                    last,
                    key.clone(),
                ))
            })
            .collect();
        order.sort();
        for (_, _, _, key) in order {
            if count <= target {
                return;
            }
            let Some(series) = self.get(&key).cloned() else {
                continue;
            };
            self.changed.insert(key, None);
            count -= 1;
            if let Some(fold_key) = series.fold_key() {
                count += usize::from(self.get(&fold_key).is_none());
                self.entry(&fold_key, || Series::new(&series.node, &series.identity))
                    .fold(&series);
                applied.folded += 1;
            } else {
                self.expired += 1;
                applied.expired += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests;
