//! The trail: audit events as they are delivered, in one order, each a link of the chain, until every destination has
//! them.
//!
//! ```text
//!  security journal ─ names, OCSF ─► publish: number, chain ─ sync ─► the trail's journal ─► each destination's cursor
//!                                    checkpoint: signed ───┘
//! ```
//!
//! A record is written once, so that every destination and every attempt gets the same bytes. Each says how far the
//! journal before it has been read: what was published is not published again, whenever the process is killed.
//!
//! * [`chain`]: links and their hashes, pure
//! * [`entry`]: a record as the journal keeps it, pure
//! * `inner`: what happens behind the lock, and in which order
//! * `start`: where the chain ends, and what earlier lives left
//! * [`keys`]: what signs, and is erased
//! * [`verify`]: whether a chain is whole, pure
//!
//! Deliberately not known here: how names are found, and where events go.

pub mod chain;
pub mod entry;
mod inner;
pub mod keys;
mod start;
pub mod verify;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll_journal::{Batch, FileStorage, JournalError, Record, Recovery, Stats, Storage};
use plimsoll_wire::{Class, stage};
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::sync::watch;

use crate::hands::{Held, Range};
use crate::ingest::StoreError;
use crate::ocsf::event::trail::{Agent, Why};
use crate::reader::{Onward, Source};
use chain::Hash;
use inner::Inner;
use keys::{KeyError, PublicKey};

/// Events between two checkpoints at the most.
pub const CHECKPOINT_EVENTS: u64 = 1000;
/// Time between two checkpoints at the most, also when nothing happens, nanoseconds.
pub const CHECKPOINT_NS: u64 = 10_000_000_000;
/// An event has at most so many bytes; CloudWatch Logs takes 1,048,550.
pub const MAX_EVENT_BYTES: usize = 1_000_000;

/// The trail could not be written.
#[derive(Debug, Error)]
pub enum TrailError {
    /// Its journal.
    #[error("audit trail")]
    Journal(#[from] JournalError),
    /// A key.
    #[error("audit trail")]
    Key(#[from] KeyError),
}

/// An event on its way into the trail.
#[derive(Clone, Debug, PartialEq)]
pub struct Draft {
    /// In OCSF 1.8, at most [`MAX_EVENT_BYTES`] long.
    pub event: Map<String, Value>,
    /// As the API shows it.
    pub document: String,
    /// When it happened, Unix nanoseconds.
    pub time_unix_ns: u64,
    /// Its number in the journal that it comes from.
    pub source_seq: u64,
}

/// Records of the trail that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone {
    /// `shed`, `expired`, `undecodable`, `lost`.
    pub fate: &'static str,
    /// How many, and the first and the last.
    pub count: u64,
    /// See there.
    pub range: Range,
}

/// What a trail is opened with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Names of the destinations; what all of them have is removed.
    pub readers: Vec<String>,
    /// Bytes on disk at the most.
    pub max_bytes: u64,
    /// Events are no older, nanoseconds; `None`: as old as may be.
    pub max_age_ns: Option<u64>,
    /// This life's name in the chain.
    pub epoch: String,
    /// Random hex, used if the folder is new.
    pub new_journal_epoch: String,
    /// Of the collector.
    pub version: &'static str,
}

/// Where the chain ends.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// The last link's epoch.
    pub epoch: String,
    /// Its number there; 0 before the first of all.
    pub seq: u64,
    /// Its hash.
    pub hash: Hash,
    /// The key that signs the next checkpoint.
    pub key: Option<PublicKey>,
    /// The last checkpoint's number in this epoch.
    pub signed_seq: u64,
}

/// Cheap to clone; clones are the same trail.
pub struct Trail<S = FileStorage> {
    inner: Arc<Mutex<Inner<S>>>,
    commits: Arc<watch::Sender<u64>>,
    /// Why the last upkeep failed; a lock of its own, so that asking never waits for the disk.
    upkeep: Arc<Mutex<Option<String>>>,
}

impl<S> Clone for Trail<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            commits: Arc::clone(&self.commits),
            upkeep: Arc::clone(&self.upkeep),
        }
    }
}

impl<S> std::fmt::Debug for Trail<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trail").finish_non_exhaustive()
    }
}

impl<S: Storage> Trail<S> {
    /// Opens the trail's folder and that of its keys.
    ///
    /// # Errors
    /// As of [`Journal::open`].
    pub fn open(storage: S, keys: S, settings: Settings) -> Result<(Self, Recovery), TrailError> {
        let (inner, recovery) = Inner::open(storage, keys, settings)?;
        let trail = Self {
            inner: Arc::new(Mutex::new(inner)),
            commits: Arc::new(watch::Sender::new(0)),
            upkeep: Arc::default(),
        };
        Ok((trail, recovery))
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal that was published from, and the last number of it that is in for good.
    pub fn published(&self) -> Result<(String, u64), TrailError> {
        let mut inner = self.lock();
        let had_pending = inner.unsynced > 0;
        inner.sync()?;
        let source = inner.source.clone();
        drop(inner);
        if had_pending {
            self.announce();
        }
        Ok(source)
    }

    /// There is more to read.
    fn announce(&self) {
        self.commits.send_modify(|count| *count += 1);
    }

    /// Takes events in for good, in their order. After an error some may be in, and [`published`](Self::published)
    /// says how far, once that succeeds.
    pub fn publish(
        &self,
        drafts: Vec<Draft>,
        source_epoch: &str,
        now_unix_ns: u64,
    ) -> Result<(), TrailError> {
        let mut inner = self.lock();
        inner.open_epoch(now_unix_ns)?;
        for draft in drafts {
            inner.event(draft, source_epoch, now_unix_ns)?;
            if inner.head.seq - inner.head.signed_seq >= CHECKPOINT_EVENTS {
                inner.checkpoint(Why::Periodic, Vec::new(), now_unix_ns)?;
            }
        }
        inner.sync()?;
        drop(inner);
        self.announce();
        Ok(())
    }

    /// A checkpoint, if it is time for one. To be called each second; `agents` is asked for then.
    pub fn tick(
        &self,
        agents: impl FnOnce() -> Vec<Agent>,
        now_unix_ns: u64,
    ) -> Result<(), TrailError> {
        let mut inner = self.lock();
        if !inner.is_tick_due(now_unix_ns) {
            return Ok(());
        }
        inner.tick(agents(), now_unix_ns)?;
        drop(inner);
        self.announce();
        Ok(())
    }

    /// The last checkpoint of this life. Nothing is to be published after it.
    pub fn close(&self, now_unix_ns: u64) -> Result<(), TrailError> {
        let mut inner = self.lock();
        if inner.is_open {
            inner.checkpoint(Why::Close, Vec::new(), now_unix_ns)?;
            inner.sync()?;
        }
        drop(inner);
        self.announce();
        Ok(())
    }

    /// Sheds the oldest segment, if the trail is over a bound; whether it is not any more. What is gone since the
    /// last call, from this and from damage, is to be told, and then [`told`](Self::told) is to be called.
    pub fn hold_bound(&self, now_unix_ns: u64) -> (Vec<Gone>, Result<bool, TrailError>) {
        let mut inner = self.lock();
        let held = inner.hold_bound(now_unix_ns);
        (inner.take_gone(), held)
    }

    /// All that [`hold_bound`](Self::hold_bound) said is on record.
    pub fn told(&self) {
        let mut inner = self.lock();
        inner.is_telling = false;
        inner.mark_told();
    }

    /// Makes the cursors durable, and removes what all destinations have. What is gone and untold is written with them.
    pub fn sync_positions(&self) -> Result<(), TrailError> {
        Ok(self.lock().journal.sync_positions()?)
    }

    /// What came of the upkeep: why it fails, or nothing.
    pub fn note_upkeep(&self, failed: Option<String>) {
        *self.upkeep.lock().unwrap_or_else(PoisonError::into_inner) = failed;
    }

    /// Why the last upkeep failed, with its causes; `None` if it went well. While it fails there may be no
    /// checkpoints, and the trail may grow. Never waits for the disk.
    pub fn upkeep_fails(&self) -> Option<String> {
        let upkeep = self.upkeep.lock().unwrap_or_else(PoisonError::into_inner);
        upkeep.clone()
    }

    /// Where the chain ends, as far as it is on disk.
    pub fn head(&self) -> Head {
        self.lock().durable.clone()
    }

    /// Where the chain ends, and as many of its last links as can be read, up to so many.
    pub fn recent(&self, links: usize) -> (Head, Vec<String>) {
        let mut inner = self.lock();
        let links = inner.recent(links);
        (inner.durable.clone(), links)
    }

    /// Sizes.
    pub fn stats(&self) -> Stats {
        self.lock().journal.stats()
    }
}

/// A name for a life that begins then: in order of time, and unique by what is random.
pub fn new_epoch(now_unix_ns: u64, random: u64) -> String {
    let second = i64::try_from(now_unix_ns / 1_000_000_000).ok();
    let began = second.and_then(|second| jiff::Timestamp::from_second(second).ok());
    let began = began.unwrap_or_default().strftime("%Y%m%dT%H%M%SZ");
    format!("{began}-{random:016x}")
}

impl<S: Storage + Send + 'static> Source for Trail<S> {
    fn class(&self) -> Class {
        Class::Security
    }

    fn stage(&self) -> &'static str {
        stage::TRAIL
    }

    fn epoch(&self) -> String {
        self.lock().journal.epoch().to_owned()
    }

    fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    fn hand_out(&self, reader: &str, records: usize, bytes: usize) -> Result<Batch, StoreError> {
        Ok(self.lock().hand_out(reader, records, bytes)?)
    }

    fn settle(&self, reader: &str, seq: u64) -> Result<(), StoreError> {
        let mut inner = self.lock();
        inner.settle(reader, seq)?;
        // So that a kill sends little again. What keeps this from the disk is told by the upkeep.
        drop(inner.journal.sync_positions());
        Ok(())
    }

    fn put_back(&self, reader: &str) -> Result<(), StoreError> {
        Ok(self.lock().put_back(reader)?)
    }

    fn give_up(&self, reader: &str) -> Result<u64, StoreError> {
        Ok(self.lock().give_up(reader)?)
    }

    fn last(&self) -> Option<u64> {
        let inner = self.lock();
        Some(inner.journal.durable_seq().min(inner.number))
    }

    fn settle_behind(
        &self,
        reader: &str,
        upto: &mut dyn FnMut(u64) -> Option<u64>,
    ) -> Result<(), StoreError> {
        let mut inner = self.lock();
        if let Some(seq) = upto(inner.journal.cursor(reader).unwrap_or(0)) {
            inner.settle(reader, seq)?;
            drop(inner.journal.sync_positions());
        }
        Ok(())
    }

    fn peek(&self, from: u64, records: usize, bytes: usize) -> Result<Vec<Record>, StoreError> {
        let mut inner = self.lock();
        let batch = inner.journal.read(from, records, bytes)?;
        for range in &batch.damaged {
            inner.damaged("", *range);
        }
        Ok(batch.records)
    }

    fn held(&self, reader: &str) -> Held {
        let mut inner = self.lock();
        let (entered, unsynced) = (inner.entered, inner.unsynced);
        let Inner { hands, journal, .. } = &mut *inner;
        hands.held(journal, reader, entered, unsynced)
    }
}

impl<S: Storage + Send + 'static> Onward for Trail<S> {
    fn hand_on(&self, reader: &str, records: usize, bytes: usize) -> Result<Batch, StoreError> {
        Ok(self.lock().hand_on(reader, records, bytes)?)
    }
}

#[cfg(test)]
mod tests;
