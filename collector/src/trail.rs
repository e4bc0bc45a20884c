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
//! * [`keys`]: what signs, and is erased
//! * [`verify`]: whether a chain is whole, pure
//!
//! Deliberately not known here: how names are found, and where events go.

pub mod chain;
pub mod entry;
pub mod keys;
pub mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll_journal::{
    Batch, FileStorage, Journal, JournalError, Options, Recovery, Stats, Storage,
};
use plimsoll_wire::{Class, stage};
use prost::Message as _;
use serde_json::{Map, Value};
use thiserror::Error;
use tokio::sync::watch;

use crate::hands::{Hands, Held, Range};
use crate::ingest::StoreError;
use crate::ocsf::event::trail::{self as ocsf, Agent, Checkpoint, Previous, Why};
use crate::reader::Source;
use chain::{Hash, hex};
use entry::Entry;
use keys::{KeyError, Keys, PublicKey};

/// Events between two checkpoints at the most.
pub const CHECKPOINT_EVENTS: u64 = 1000;
/// Time between two checkpoints at the most, also when nothing happens, nanoseconds.
pub const CHECKPOINT_NS: u64 = 10_000_000_000;
/// A key signs for so long, nanoseconds.
const KEY_NS: u64 = 3_600_000_000_000;
/// An event has at most so many bytes; CloudWatch Logs takes 1,048,550.
pub const MAX_EVENT_BYTES: usize = 1_000_000;
/// Frames of the trail have this stream number; the other journals have 1 to 3.
const STREAM: u8 = 4;
/// The cursor that keeps the last record, in which the next life finds where it is.
const HEAD: &str = "head";
/// Agents told of in a checkpoint; the others are told of in the next ones.
const MAX_AGENTS: usize = 500;

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
    /// `shed`, `undecodable`, `lost`.
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
}

impl<S> Clone for Trail<S> {
    fn clone(&self) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            commits: Arc::clone(&self.commits),
        }
    }
}

impl<S> std::fmt::Debug for Trail<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trail").finish_non_exhaustive()
    }
}

struct Inner<S> {
    journal: Journal<S>,
    keys: Keys<S>,
    hands: Hands,
    settings: Settings,
    head: Head,
    /// The journal that records come from, and the last number of it that is in.
    source: (String, u64),
    /// This life has begun its epoch.
    is_open: bool,
    /// A checkpoint that says the next key waits for the disk.
    turns_key: bool,
    key_since_ns: u64,
    checkpoint_ns: u64,
    /// How far agents were told of.
    told: BTreeMap<(String, String), u64>,
    /// The last record's number in the journal.
    number: u64,
    entered: u64,
    unsynced: u64,
    gone: Vec<Gone>,
    /// The start knows what is missing up to this number.
    found_up_to: u64,
    /// What was gone is being told, and may not be on record yet.
    is_telling: bool,
}

impl<S: Storage> Trail<S> {
    /// Opens the trail's folder and that of its keys.
    ///
    /// # Errors
    /// As of [`Journal::open`].
    pub fn open(storage: S, keys: S, settings: Settings) -> Result<(Self, Recovery), TrailError> {
        let cursors: Vec<&str> = std::iter::once(HEAD)
            .chain(settings.readers.iter().map(String::as_str))
            .collect();
        let mut options = Options::new(STREAM, &cursors, settings.new_journal_epoch.clone());
        options.segment_bytes = options
            .segment_bytes
            .min(settings.max_bytes / 16)
            .max(64 << 10);
        // Twice an event, and what is around it.
        options.max_record_bytes = 4 << 20;
        options.max_pending_bytes = 8 << 20;
        let (mut journal, recovery) = Journal::open(storage, options)?;
        // What a loss of power has torn nobody has read: it is published again, in its order.
        if let Some(torn) = torn_from(&recovery) {
            journal.take_back(torn)?;
        }
        let (last_number, last) = last_entry(&mut journal)?.unzip();
        let link = last.as_ref().and_then(|entry| entry.link().ok());
        let announced = last.as_ref().and_then(Entry::key);
        let keys = Keys::open(keys, announced);
        let mut head = Head {
            key: keys.current(),
            ..Head::default()
        };
        if let Some(link) = link {
            (head.epoch, head.seq, head.hash) = (link.epoch, link.seq, link.hash);
        }
        let mut inner = Inner {
            keys,
            hands: Hands::default(),
            head,
            source: last
                .map(|entry| (entry.source_epoch, entry.source_seq))
                .unwrap_or_default(),
            is_open: false,
            turns_key: false,
            key_since_ns: 0,
            checkpoint_ns: 0,
            told: BTreeMap::new(),
            number: last_number.unwrap_or(0),
            entered: 0,
            unsynced: 0,
            gone: Vec::new(),
            found_up_to: journal.next_seq().saturating_sub(1),
            is_telling: false,
            settings,
            journal,
        };
        inner.lost(&recovery);
        if inner.gone.is_empty() {
            // The numbers of what was torn mean nothing. If this cannot be written, they are told of as lost.
            inner.mark_told();
            drop(inner.journal.sync_positions());
        }
        let trail = Self {
            inner: Arc::new(Mutex::new(inner)),
            commits: Arc::new(watch::Sender::new(0)),
        };
        Ok((trail, recovery))
    }

    fn lock(&self) -> MutexGuard<'_, Inner<S>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal that was published from, and the last number of it that is in for good.
    pub fn published(&self) -> Result<(String, u64), TrailError> {
        let mut inner = self.lock();
        inner.sync()?;
        Ok(inner.source.clone())
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
        self.commits.send_modify(|count| *count += 1);
        Ok(())
    }

    /// A checkpoint, if it is time for one. To be called each second; `agents` is asked for then.
    pub fn tick(
        &self,
        agents: impl FnOnce() -> Vec<Agent>,
        now_unix_ns: u64,
    ) -> Result<(), TrailError> {
        let mut inner = self.lock();
        if now_unix_ns.saturating_sub(inner.checkpoint_ns) < CHECKPOINT_NS && inner.is_open {
            return Ok(());
        }
        inner.open_epoch(now_unix_ns)?;
        let agents = inner.untold(agents());
        let is_old = now_unix_ns.saturating_sub(inner.key_since_ns) >= KEY_NS;
        let why = if is_old { Why::Rotate } else { Why::Periodic };
        inner.checkpoint(why, agents, now_unix_ns)?;
        inner.sync()?;
        drop(inner);
        self.commits.send_modify(|count| *count += 1);
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
        self.commits.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Sheds the oldest segment, if the trail is over its bound; whether it is not any more. What is gone since the
    /// last call, from this and from damage, is to be told, and then [`told`](Self::told) is to be called.
    pub fn hold_bound(&self) -> (Vec<Gone>, Result<bool, TrailError>) {
        let mut inner = self.lock();
        let held = inner.hold_bound();
        let gone = std::mem::take(&mut inner.gone);
        inner.is_telling |= !gone.is_empty();
        (gone, held)
    }

    /// All that [`hold_bound`](Self::hold_bound) said is on record.
    pub fn told(&self) {
        let mut inner = self.lock();
        inner.is_telling = false;
        inner.mark_told();
    }

    /// Makes the cursors durable, and removes what all destinations have. Not while something that is gone is untold:
    /// the next start would not find it missing.
    pub fn sync_positions(&self) -> Result<(), TrailError> {
        Ok(self.lock().sync_positions()?)
    }

    /// Where the chain ends.
    pub fn head(&self) -> Head {
        self.lock().head.clone()
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

/// The first number of what was torn while it was written, if anything was.
fn torn_from(recovery: &Recovery) -> Option<u64> {
    let unsure = recovery.unsure_from;
    let mut missing = recovery.missing.iter();
    let (first, _) = missing.find(|(_, last)| unsure > 0 && *last >= unsure)?;
    Some((*first).max(unsure))
}

/// The last record that can be read.
fn last_entry<S: Storage>(journal: &mut Journal<S>) -> Result<Option<(u64, Entry)>, JournalError> {
    let Some(last) = journal.stats().last_seq else {
        return Ok(None);
    };
    let batch = journal.read(last, 1, 0)?;
    let record = batch.records.first();
    Ok(record.and_then(|record| Some((record.seq, Entry::of(&record.payload).ok()?))))
}

impl<S: Storage> Inner<S> {
    /// What the start found missing, of the records that some destination had not had.
    fn lost(&mut self, recovery: &Recovery) {
        let sure = recovery.missing.iter().copied().filter(|(first, _)| {
            // What may never have been durable was never read either.
            recovery.unsure_from == 0 || *first < recovery.unsure_from
        });
        for range in sure.collect::<Vec<_>>() {
            let (first, last) = range;
            for reader in self.settings.readers.clone() {
                let had = self.journal.cursor(&reader).unwrap_or(0);
                let count = (last + 1).saturating_sub(first.max(had + 1));
                self.hands.lose(&reader, count);
            }
            self.gone.push(Gone {
                fate: "lost",
                count: last - first + 1,
                range,
            });
        }
    }

    /// What the start found missing is on record, or means nothing.
    fn mark_told(&mut self) {
        self.journal.mark_reported(self.found_up_to);
    }

    /// The first link of this life's epoch.
    fn open_epoch(&mut self, now: u64) -> Result<(), TrailError> {
        if self.is_open {
            return Ok(());
        }
        let next = self.keys.prepare()?;
        let previous = (self.head.seq > 0).then(|| Previous {
            epoch: self.head.epoch.clone(),
            seq: self.head.seq,
            hash: hex(&self.head.hash),
        });
        let checkpoint = Checkpoint {
            why: Why::Open,
            key: hex(&self.keys.current().unwrap_or(next)),
            next_key: Some(hex(&next)),
            previous,
            agents: Vec::new(),
        };
        let before = self.head.clone();
        self.head.epoch.clone_from(&self.settings.epoch);
        self.head.seq = 0;
        self.head.signed_seq = 0;
        if let Err(error) = self.append_checkpoint(&checkpoint, Some(next), now) {
            self.head = before;
            return Err(error);
        }
        self.is_open = true;
        Ok(())
    }

    fn checkpoint(&mut self, why: Why, agents: Vec<Agent>, now: u64) -> Result<(), TrailError> {
        // A key that was said and is not in force yet has to be first.
        self.sync()?;
        let next = match why {
            Why::Rotate => Some(self.keys.prepare()?),
            _ => None,
        };
        let checkpoint = Checkpoint {
            why,
            key: self.keys.current().map(|key| hex(&key)).unwrap_or_default(),
            next_key: next.map(|key| hex(&key)),
            previous: None,
            agents,
        };
        self.append_checkpoint(&checkpoint, next, now)
    }

    fn append_checkpoint(
        &mut self,
        checkpoint: &Checkpoint,
        next: Option<PublicKey>,
        now: u64,
    ) -> Result<(), TrailError> {
        let (epoch, seq) = (self.head.epoch.clone(), self.head.seq + 1);
        let event = ocsf::of(checkpoint, &epoch, seq, now, self.settings.version);
        // Its keys are texts: it can always be one.
        let event = serde_json::to_value(event).unwrap_or_default();
        let event = event.as_object().cloned().unwrap_or_default();
        let (mut body, hash) = chain::seal(event, &epoch, seq, &self.head.hash);
        if let Some(signature) = self.keys.sign(&chain::signed(&epoch, seq, &hash)) {
            chain::put_signature(&mut body, &signature);
        }
        let key = next.or_else(|| self.keys.current());
        let entry = Entry {
            body,
            document: String::new(),
            time_unix_ns: now,
            source_epoch: self.source.0.clone(),
            source_seq: self.source.1,
            key: key.map(Vec::from).unwrap_or_default(),
        };
        self.append(&entry, now)?;
        self.head.seq = seq;
        self.head.hash = hash;
        self.head.signed_seq = seq;
        self.head.key = key;
        self.checkpoint_ns = now;
        if next.is_some() {
            self.turns_key = true;
            self.key_since_ns = now;
        }
        Ok(())
    }

    fn event(&mut self, draft: Draft, source_epoch: &str, now: u64) -> Result<(), TrailError> {
        let seq = self.head.seq + 1;
        let (body, hash) = chain::seal(draft.event, &self.head.epoch, seq, &self.head.hash);
        let entry = Entry {
            body,
            document: draft.document,
            time_unix_ns: draft.time_unix_ns,
            source_epoch: source_epoch.to_owned(),
            source_seq: draft.source_seq,
            key: self.head.key.map(Vec::from).unwrap_or_default(),
        };
        self.append(&entry, now)?;
        self.head.seq = seq;
        self.head.hash = hash;
        self.source = (source_epoch.to_owned(), draft.source_seq);
        Ok(())
    }

    fn append(&mut self, entry: &Entry, now: u64) -> Result<(), TrailError> {
        let payload = entry.encode_to_vec();
        let appended = match self.journal.append(&payload, now) {
            Err(JournalError::PendingFull { .. }) => {
                self.sync()?;
                self.journal.append(&payload, now)
            }
            appended => appended,
        };
        self.number = appended?;
        self.unsynced += 1;
        Ok(())
    }

    /// Makes all of it durable; a key that was said is in force then, and the one before it erased.
    fn sync(&mut self) -> Result<(), TrailError> {
        self.journal.sync()?;
        self.entered += std::mem::take(&mut self.unsynced);
        let before = self.number.saturating_sub(1);
        self.journal.set_cursor(HEAD, before)?;
        if self.turns_key {
            self.keys.turn()?;
            self.turns_key = false;
        }
        Ok(())
    }

    /// Those that went on since they were told of, as many as there is room for.
    fn untold(&mut self, agents: Vec<Agent>) -> Vec<Agent> {
        let is_new = |agent: &Agent| {
            let key = (agent.node.clone(), agent.epoch.clone());
            self.told.get(&key).is_none_or(|told| *told < agent.seq)
        };
        let known: BTreeSet<_> = agents
            .iter()
            .map(|agent| (agent.node.clone(), agent.epoch.clone()))
            .collect();
        let new: Vec<Agent> = agents.into_iter().filter(is_new).take(MAX_AGENTS).collect();
        self.told.retain(|key, _| known.contains(key));
        for agent in &new {
            self.told
                .insert((agent.node.clone(), agent.epoch.clone()), agent.seq);
        }
        new
    }

    fn sync_positions(&mut self) -> Result<(), JournalError> {
        if self.gone.is_empty() && !self.is_telling {
            self.journal.sync_positions()?;
        }
        Ok(())
    }

    /// The newest segment stays: the chain's end is in it.
    fn is_over(&self) -> bool {
        self.journal.stats().bytes > self.settings.max_bytes && self.journal.segments() > 1
    }

    fn hold_bound(&mut self) -> Result<bool, TrailError> {
        if self.is_over() {
            let readers = &self.settings.readers;
            let shed = self.hands.shed_oldest(&mut self.journal, readers)?;
            for unread in shed.into_iter().flatten() {
                self.note_shed(unread.count, unread.range);
            }
        }
        Ok(!self.is_over())
    }

    fn note_shed(&mut self, count: u64, range: Range) {
        let (first, last) = range;
        tracing::error!(
            count,
            first,
            last,
            "audit trail is over its bound (data.max_trail_bytes): events were shed that a destination had not taken"
        );
        // One range, however many destinations lacked it.
        let known = self
            .gone
            .iter_mut()
            .find(|gone| gone.fate == "shed" && gone.range.1 == last);
        match known {
            Some(gone) if gone.count >= count => {}
            Some(gone) => (gone.count, gone.range) = (count, range),
            None => self.gone.push(Gone {
                fate: "shed",
                count,
                range,
            }),
        }
    }

    fn settle(&mut self, reader: &str, seq: u64) -> Result<(), JournalError> {
        if let Some(unread) = self.hands.settle(&mut self.journal, reader, seq)? {
            self.note_shed(unread.count, unread.range);
        }
        Ok(())
    }

    fn put_back(&mut self, reader: &str) -> Result<(), JournalError> {
        let cursor = self.journal.cursor(reader).unwrap_or(0);
        self.settle(reader, cursor)
    }

    fn hand_out(
        &mut self,
        reader: &str,
        records: usize,
        bytes: usize,
    ) -> Result<Batch, JournalError> {
        self.put_back(reader)?;
        let next = self.journal.cursor(reader).unwrap_or(0) + 1;
        let batch = self.journal.read(next, records, bytes)?;
        for range in &batch.damaged {
            self.damaged(reader, *range);
        }
        self.hands.given(reader, &batch);
        Ok(batch)
    }

    /// One reader came upon damage, and has booked it: no other will find these numbers.
    fn damaged(&mut self, finder: &str, (first, last): Range) {
        tracing::error!(first, last, "audit trail is damaged");
        for reader in self
            .settings
            .readers
            .iter()
            .filter(|reader| *reader != finder)
        {
            let had = self.journal.cursor(reader).unwrap_or(0);
            self.hands.damage(reader, (first.max(had + 1), last));
        }
        self.gone.push(Gone {
            fate: "undecodable",
            count: last - first + 1,
            range: (first, last),
        });
    }

    fn give_up(&mut self, reader: &str) -> Result<u64, JournalError> {
        self.put_back(reader)?;
        let from = self.journal.cursor(reader).unwrap_or(0) + 1;
        let mut count = 0;
        for (first, last) in self.journal.give_up_segment(from) {
            count += last - first + 1;
            self.damaged(reader, (first, last));
        }
        Ok(count)
    }
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
        drop(inner.sync_positions());
        Ok(())
    }

    fn put_back(&self, reader: &str) -> Result<(), StoreError> {
        Ok(self.lock().put_back(reader)?)
    }

    fn give_up(&self, reader: &str) -> Result<u64, StoreError> {
        Ok(self.lock().give_up(reader)?)
    }

    fn held(&self, reader: &str) -> Held {
        let mut inner = self.lock();
        let (entered, unsynced) = (inner.entered, inner.unsynced);
        let Inner { hands, journal, .. } = &mut *inner;
        hands.held(journal, reader, entered, unsynced)
    }
}

#[cfg(test)]
mod tests;
