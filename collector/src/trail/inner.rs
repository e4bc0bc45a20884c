//! What happens behind the trail's lock, and in which order.
//!
//! ```text
//!  open ─► open_epoch ─► event … checkpoint … ─ sync: durable, and a key that was said is in force
//! ```
//!
//! Has no clock.

mod hand;

use std::collections::{BTreeMap, BTreeSet};

use plimsoll_journal::{Journal, JournalError, Storage};
use prost::Message as _;

use super::chain::{self, hex};
use super::entry::Entry;
use super::keys::{Keys, PublicKey};
use super::{CHECKPOINT_NS, Draft, Gone, Head, Settings, TrailError};
use crate::hands::{Age, Bound, Hands, Range, Unread};
use crate::ocsf::event::trail::{self as ocsf, Agent, Checkpoint, Previous, Why};

/// A key signs for so long, nanoseconds.
const KEY_NS: u64 = 3_600_000_000_000;
/// The cursor that keeps the last record, in which the next life finds where it is.
pub(super) const HEAD: &str = "head";
/// Bytes of records read at once for whoever asks.
pub(super) const MAX_RECENT_BYTES: usize = 16 << 20;
/// Agents told of in a checkpoint; the others are told of in the next ones.
const MAX_AGENTS: usize = 500;

/// What is behind the trail's lock.
pub(super) struct Inner<S> {
    pub(super) journal: Journal<S>,
    pub(super) keys: Keys<S>,
    pub(super) hands: Hands,
    pub(super) settings: Settings,
    pub(super) head: Head,
    /// The journal that records come from, and the last number of it that is in.
    pub(super) source: (String, u64),
    /// This life has begun its epoch.
    pub(super) is_open: bool,
    /// A checkpoint that says the next key waits for the disk.
    pub(super) turns_key: bool,
    pub(super) key_since_ns: u64,
    /// The chain's end as far as it is on disk.
    pub(super) durable: Head,
    /// Of the last checkpoint by the clock.
    pub(super) ticked_ns: u64,
    /// How far agents were told of.
    pub(super) told: BTreeMap<(String, String), u64>,
    /// The last that was told of.
    pub(super) told_last: (String, String),
    /// The last record's number in the journal.
    pub(super) number: u64,
    pub(super) entered: u64,
    pub(super) unsynced: u64,
    pub(super) gone: Vec<Gone>,
    /// What was gone is being told, and may not be on record yet.
    pub(super) is_telling: bool,
    /// The numbers of that.
    pub(super) telling: Vec<Range>,
}

impl<S: Storage> Inner<S> {
    /// What is gone is with the caller now, who puts it on record.
    pub(super) fn take_gone(&mut self) -> Vec<Gone> {
        let gone = std::mem::take(&mut self.gone);
        self.is_telling |= !gone.is_empty();
        self.telling.extend(gone.iter().map(|gone| gone.range));
        gone
    }

    /// What the start found missing is on record, or means nothing; and so is what went since.
    pub(super) fn mark_told(&mut self) {
        self.journal.mark_told(&std::mem::take(&mut self.telling));
    }

    /// Whether it is time for a checkpoint, also by a clock that was set back.
    pub(super) const fn is_tick_due(&self, now: u64) -> bool {
        !self.is_open || now.abs_diff(self.ticked_ns) >= CHECKPOINT_NS
    }

    /// A checkpoint by the clock, with a new key if the one that signs is old.
    pub(super) fn tick(&mut self, agents: Vec<Agent>, now: u64) -> Result<(), TrailError> {
        self.open_epoch(now)?;
        let is_old = now.abs_diff(self.key_since_ns) >= KEY_NS;
        let why = if is_old { Why::Rotate } else { Why::Periodic };
        let agents = self.untold(agents);
        self.checkpoint(why, agents.clone(), now)?;
        self.sync()?;
        self.ticked_ns = now;
        for agent in agents {
            self.told_last = (agent.node.clone(), agent.epoch.clone());
            self.told.insert((agent.node, agent.epoch), agent.seq);
        }
        Ok(())
    }

    /// The first link of this life's epoch.
    pub(super) fn open_epoch(&mut self, now: u64) -> Result<(), TrailError> {
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

    pub(super) fn checkpoint(
        &mut self,
        why: Why,
        agents: Vec<Agent>,
        now: u64,
    ) -> Result<(), TrailError> {
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

    pub(super) fn append_checkpoint(
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
        if next.is_some() {
            self.turns_key = true;
            self.key_since_ns = now;
        }
        Ok(())
    }

    pub(super) fn event(
        &mut self,
        draft: Draft,
        source_epoch: &str,
        now: u64,
    ) -> Result<(), TrailError> {
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

    pub(super) fn append(&mut self, entry: &Entry, now: u64) -> Result<(), TrailError> {
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
    pub(super) fn sync(&mut self) -> Result<(), TrailError> {
        self.journal.sync()?;
        self.entered += std::mem::take(&mut self.unsynced);
        self.durable.clone_from(&self.head);
        let before = self.number.saturating_sub(1);
        self.journal.set_cursor(HEAD, before)?;
        if self.turns_key {
            self.keys.turn()?;
            self.turns_key = false;
        }
        Ok(())
    }

    /// Those that went on since they were told of, as many as there is room for; those behind the last that was told
    /// first, so that it is everybody's turn.
    pub(super) fn untold(&mut self, agents: Vec<Agent>) -> Vec<Agent> {
        let of = |agent: &Agent| (agent.node.clone(), agent.epoch.clone());
        let known: BTreeSet<_> = agents.iter().map(of).collect();
        self.told.retain(|key, _| known.contains(key));
        let is_new = |agent: &Agent| {
            self.told
                .get(&of(agent))
                .is_none_or(|told| *told < agent.seq)
        };
        let mut new: Vec<Agent> = agents.into_iter().filter(is_new).collect();
        new.sort_by_cached_key(|agent| (of(agent) <= self.told_last, of(agent)));
        new.truncate(MAX_AGENTS);
        new
    }

    /// Whether the oldest segment is to go, and why. That in which the chain's end is stays.
    pub(super) fn is_over(&self, now: u64) -> Option<Bound> {
        let stats = self.journal.stats();
        let last = self.journal.oldest_segment_last();
        last.filter(|last| *last < self.number)?;
        let age = Age {
            most_ns: self.settings.max_age_ns,
            now_ns: now,
        };
        if stats.bytes - stats.pending_bytes > self.settings.max_bytes {
            return Some(Bound::Bytes);
        }
        age.is_over(&self.journal).then_some(Bound::Age)
    }

    /// Sheds a segment, if one is to go and all that went before is on record.
    pub(super) fn hold_bound(&mut self, now: u64) -> Result<bool, TrailError> {
        if let Some(bound) = self.is_over(now)
            && self.gone.is_empty()
            && !self.is_telling
        {
            let readers = &self.settings.readers;
            let shed = self.hands.shed_oldest(&mut self.journal, readers, bound)?;
            for unread in shed.into_iter().flatten() {
                self.note_shed(unread);
            }
        }
        Ok(self.is_over(now).is_none())
    }

    pub(super) fn note_shed(&mut self, unread: Unread) {
        let (count, range) = (unread.count, unread.range);
        let (fate, (first, last)) = (unread.bound.fate(), range);
        tracing::error!(
            count,
            first,
            last,
            fate,
            "audit trail is over its bound (data.max_trail_bytes, data.max_trail_age_s): events are gone that a \
             destination had not taken"
        );
        // One range, however many destinations lacked it.
        let known = self
            .gone
            .iter_mut()
            .find(|gone| gone.fate == fate && gone.range.1 == last);
        match known {
            Some(gone) if gone.count >= count => {}
            Some(gone) => (gone.count, gone.range) = (count, range),
            None => self.gone.push(Gone { fate, count, range }),
        }
    }

    /// The last links, those that are durable: so many, or as many as there is room for.
    pub(super) fn recent(&mut self, links: usize) -> Vec<String> {
        let mut links = links as u64;
        while links > 0 {
            let from = self.number.saturating_sub(links) + 1;
            // What cannot be read is told when a destination comes there.
            let Ok(batch) = self.journal.read(from, usize::MAX, MAX_RECENT_BYTES) else {
                return Vec::new();
            };
            for range in &batch.damaged {
                self.damaged("", *range);
            }
            let last = batch.records.last().map_or(0, |record| record.seq);
            if last >= self.journal.durable_seq().min(self.number) {
                let entries = batch.records.iter();
                let bodies =
                    entries.filter_map(|record| Some(Entry::of(&record.payload).ok()?.body));
                return bodies.collect();
            }
            links /= 2;
        }
        Vec::new()
    }
}
