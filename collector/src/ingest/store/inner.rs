//! What happens behind the store's lock, and in which order: that is what makes an answer true.
//! The readers' side is in `hand`.
//!
//! ```text
//!  commit:    judge ─ append ─ sync ─ (refused numbers: checkpoint) ─ answer
//!  maintain:  sync ─ checkpoint ─ cursors, passed segments go ─ shed what is over the bound ─ tell losses
//! ```
//!
//! A full disk: what is held already stays, new requests fail and come again, and all that sets
//! room free (checkpoint, position files) lies in room that was taken before. Has no clock.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use plimsoll_journal::{Batch, Journal, JournalError, Storage};
use plimsoll_wire::event::{AgentNotice, Misplaced};
use plimsoll_wire::{AuditEvent, Class, RecordId};
use prost::Message;

use super::{Arrival, HISTORY, Outcome, SINK, StoreError, failed};
use crate::hands::Hands;
use crate::ingest::checkpoint::Slots;
use crate::ingest::decode::{Content, Incoming};
use crate::ingest::dedupe::{Dedupe, OWN_NODE, StoredStream, Verdict};
use crate::ingest::losses::{self, Losses};
use crate::ingest::watch::{StoredAgent, Watch};
use crate::ingest::{Counts, Fate, place};

/// Cursor of the checkpoint of what was seen: records behind it need not be read at a start.
pub(super) const SEEN: &str = "seen";

/// What was seen, as it is written down.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Checkpoint {
    #[prost(message, repeated, tag = "1")]
    pub(super) streams: Vec<StoredStream>,
    /// How far each journal is told of, usage first; with the journal's epoch, for one that was
    /// wiped counts from 1 again.
    #[prost(uint64, repeated, tag = "2")]
    pub(super) journal_seq: Vec<u64>,
    #[prost(string, repeated, tag = "3")]
    pub(super) epochs: Vec<String>,
    /// Agents that are watched.
    #[prost(message, repeated, tag = "5")]
    pub(super) agents: Vec<StoredAgent>,
}

/// The most bytes of a checkpoint without streams: two epochs, four numbers, tags and lengths.
const CHECKPOINT_BYTES: usize = 256;

pub(super) struct Inner<S> {
    pub(super) journals: [Journal<S>; 2],
    pub(super) slots: Slots<S>,
    pub(super) seen: Dedupe,
    pub(super) losses: Losses,
    /// Taken while the store's lock is held, never the other way about.
    pub(super) watch: Arc<Mutex<Watch>>,
    pub(super) counts: Arc<Counts>,
    pub(super) max_bytes: u64,
    /// Records are no older, nanoseconds; `None`: as old as may be.
    pub(super) max_age_ns: Option<u64>,
    pub(super) max_record_bytes: usize,
    /// Numbers were used up by refused records, which no journal tells of: the answer waits for a
    /// checkpoint.
    pub(super) refused_unwritten: bool,
    /// Records that became durable since the start, by class.
    pub(super) entered: [u64; 2],
    /// Records in the journals' hands that are not durable yet, by class: all, and those received.
    pub(super) unsynced: [(u64, u64); 2],
    /// What the readers of each journal have in hand, and what they never had.
    pub(super) hands: [Hands; 2],
}

pub(super) const fn reader_of(class: Class) -> &'static str {
    match class {
        Class::Usage => HISTORY,
        Class::Security => SINK,
    }
}

/// Remembers the first failure and lets the others pass.
pub(super) fn keep<T>(first: &mut Result<(), StoreError>, done: Result<T, StoreError>) {
    if let (Ok(()), Err(error)) = (&first, done) {
        *first = Err(error);
    }
}

pub(super) fn checkpoint_failed(source: io::Error) -> StoreError {
    StoreError::File {
        doing: "write",
        path: PathBuf::from("journal/seen"),
        source,
    }
}

impl<S: Storage> Inner<S> {
    pub(super) const fn journal(&mut self, class: Class) -> &mut Journal<S> {
        let [usage, security] = &mut self.journals;
        match class {
            Class::Usage => usage,
            Class::Security => security,
        }
    }

    pub(super) fn commit(
        &mut self,
        requests: &[Arrival],
        now: u64,
    ) -> Result<Vec<Outcome>, StoreError> {
        // What a failed sync left goes by itself: all records of one write share a time, which is how
        // the next start tells a torn write from damage.
        self.sync_all()?;
        let mut outcomes = Vec::with_capacity(requests.len());
        for arrival in requests {
            let mut outcome = Outcome::default();
            let taken = self.take(arrival.class, &arrival.records, now, &mut outcome);
            // Counted even if no answer follows: these have their fate, and come again as repeats.
            self.counts.taken(arrival.class, &outcome);
            taken?;
            outcomes.push(outcome);
        }
        self.counts.forgotten(self.seen.forgotten());
        self.sync_all()?;
        if self.refused_unwritten {
            self.write_checkpoint()?;
        }
        for arrival in requests {
            for (fate, count) in &arrival.others {
                self.counts.met(arrival.class, *fate, *count);
            }
        }
        Ok(outcomes)
    }

    /// A record counts as seen once it is in the journal's hands, and the answer waits for the
    /// sync that follows: if that fails, the repeat is answered by a later one.
    fn take(
        &mut self,
        class: Class,
        records: &[Incoming],
        now: u64,
        outcome: &mut Outcome,
    ) -> Result<(), StoreError> {
        for Incoming { id, content, sign } in records {
            let refusal = match content {
                Content::Refused(fate) => Some(*fate),
                Content::Payload(payload) => {
                    (payload.len() > self.max_record_bytes).then_some(Fate::TooLarge)
                }
            };
            let is = |fate| u64::from(refusal == Some(fate));
            let (too_large, elsewhere) = (is(Fate::TooLarge), is(Fate::PodElsewhere));
            if self.seen.judge(id) == Verdict::Repeat {
                outcome.duplicates += 1;
                if class == Class::Security {
                    self.watch().comes_again(id, *sign, now);
                }
            } else {
                let most_bytes = self.most_checkpoint_bytes(id);
                self.slots.reserve(most_bytes).map_err(checkpoint_failed)?;
                if let (Content::Payload(payload), None) = (content, refusal) {
                    self.append(class, payload, now)?;
                    self.note_unsynced(class, true);
                    outcome.taken += 1;
                } else {
                    self.refused_unwritten = true;
                    outcome.too_large += too_large;
                    outcome.elsewhere += elsewhere;
                    outcome.undecodable += 1 - too_large - elsewhere;
                }
                if class == Class::Security {
                    let was_known = self.seen.watermark(id) > 0;
                    self.watch().goes_on(id, *sign, was_known, now);
                }
                self.seen.accept(id);
            }
            outcome.refused += u64::from(refusal.is_some());
            outcome.refused_too_large += too_large;
        }
        Ok(())
    }

    pub(super) fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most bytes of a checkpoint, this record taken.
    fn most_checkpoint_bytes(&self, id: &RecordId) -> usize {
        CHECKPOINT_BYTES + self.seen.most_bytes_with(id) + self.watch().most_bytes_with(id)
    }

    fn note_unsynced(&mut self, class: Class, is_received: bool) {
        if let Some((all, received)) = self.unsynced.get_mut(place(class)) {
            *all += 1;
            *received += u64::from(is_received);
        }
    }

    fn append(&mut self, class: Class, payload: &[u8], now: u64) -> Result<u64, StoreError> {
        match self.journal(class).append(payload, now) {
            Err(JournalError::PendingFull { .. }) => {
                self.sync(class)?;
                self.journal(class)
                    .append(payload, now)
                    .map_err(failed(class))
            }
            appended => appended.map_err(failed(class)),
        }
    }

    /// Makes a class durable. What a failed sync left behind comes in with the next that succeeds.
    fn sync(&mut self, class: Class) -> Result<(), StoreError> {
        self.journal(class).sync().map_err(failed(class))?;
        self.seen.synced(class);
        let unsynced = self.unsynced.get_mut(place(class)).map(std::mem::take);
        let (all, received) = unsynced.unwrap_or_default();
        if let Some(entered) = self.entered.get_mut(place(class)) {
            *entered += all;
        }
        self.counts.durable(class, received);
        if class == Class::Security {
            self.losses.synced();
            for (lost, range) in self.losses.take_told() {
                self.journal(lost).mark_told(&[range]);
            }
        }
        Ok(())
    }

    fn sync_all(&mut self) -> Result<(), StoreError> {
        let mut done = Ok(());
        for class in Class::ALL {
            keep(&mut done, self.sync(class));
        }
        done
    }

    /// Puts losses on record. On a full disk the room that was held for them is given up.
    pub(super) fn tell(&mut self, now: u64) -> Result<(), StoreError> {
        if self.losses.is_empty() {
            return Ok(());
        }
        self.with_held_room(|inner| inner.sync(Class::Security))?;
        while let Some(loss) = self.losses.next() {
            match self.append_own(&AuditEvent::Loss(loss.clone()), now) {
                Ok(seq) => self.losses.taken(seq, loss),
                Err(error) => {
                    self.losses.put_back(loss);
                    return Err(error);
                }
            }
        }
        self.with_held_room(|inner| inner.sync(Class::Security))?;
        // So that a kill tells little again. What keeps this from the disk is told by the upkeep.
        for class in Class::ALL {
            drop(self.journal(class).sync_positions());
        }
        Ok(())
    }

    /// Puts on record what was noticed of agents. What is left in `notices` was not.
    pub(super) fn tell_notices(
        &mut self,
        notices: &mut VecDeque<AgentNotice>,
        now: u64,
    ) -> Result<(), StoreError> {
        self.sync(Class::Security)?;
        while let Some(notice) = notices.front() {
            self.append_own(&AuditEvent::Agent(notice.clone()), now)?;
            notices.pop_front();
        }
        self.sync(Class::Security)
    }

    /// Puts findings on record. Those that are left in `due` were not.
    pub(super) fn tell_findings(
        &mut self,
        due: &mut Vec<Misplaced>,
        now: u64,
    ) -> Result<(), StoreError> {
        if due.is_empty() {
            return Ok(());
        }
        self.sync(Class::Security)?;
        while let Some(finding) = due.last() {
            self.append_own(&AuditEvent::Misplaced(finding.clone()), now)?;
            due.pop();
        }
        self.sync(Class::Security)
    }

    /// Appends a record of our own to the security journal; gives back its number there.
    fn append_own(&mut self, event: &AuditEvent, now: u64) -> Result<u64, StoreError> {
        let mut id = RecordId {
            node: OWN_NODE.to_owned(),
            epoch: self.journal(Class::Security).epoch().to_owned(),
            class: Class::Security,
            seq: 0,
        };
        id.seq = self.seen.watermark(&id) + 1;
        let payload = losses::payload(event, &id, now);
        let reserve = |inner: &mut Self| {
            let bytes = inner.most_checkpoint_bytes(&id);
            inner.slots.reserve(bytes).map_err(checkpoint_failed)
        };
        self.with_held_room(reserve)?;
        let seq = self.with_held_room(|inner| inner.append(id.class, &payload, now))?;
        self.seen.accept(&id);
        self.note_unsynced(id.class, false);
        Ok(seq)
    }

    /// Tries again with the room that was held for this, if the disk is full.
    fn with_held_room<T>(
        &mut self,
        attempt: impl Fn(&mut Self) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        match attempt(self) {
            Err(error) if error.is_disk_full() && self.slots.give_up_room() => attempt(self),
            done => done,
        }
    }

    pub(super) fn read(
        &mut self,
        class: Class,
        from_seq: u64,
        records: usize,
        bytes: usize,
    ) -> Result<Batch, StoreError> {
        let journal = self.journal(class);
        let batch = journal
            .read(from_seq, records, bytes)
            .map_err(failed(class))?;
        let unwanted = journal.cursor(reader_of(class)).unwrap_or(0);
        let untold = journal.untold(&batch.damaged);
        for (first, last) in &untold {
            tracing::error!(class = class.as_str(), first, last, "journal is damaged");
        }
        journal.mark_told(&losses::within(&untold, 0, unwanted + 1));
        let wanted = losses::within(&untold, unwanted, u64::MAX);
        self.losses.note_all(class, "undecodable", &wanted);
        Ok(batch)
    }

    pub(super) fn maintain(&mut self, now: u64) -> Result<(), StoreError> {
        let mut done = self.sync_all();
        match self.write_checkpoint() {
            Ok(journal_seq) => {
                for (class, seq) in Class::ALL.into_iter().zip(journal_seq) {
                    let moved = self.journal(class).set_cursor(SEEN, seq);
                    keep(&mut done, moved.map_err(failed(class)));
                }
            }
            failed => keep(&mut done, failed),
        }
        for class in Class::ALL {
            let moved = self.journal(class).sync_positions();
            keep(&mut done, moved.map_err(failed(class)));
        }
        for class in Class::ALL {
            keep(&mut done, self.hold_bound(class, now));
        }
        keep(&mut done, self.tell(now));
        keep(&mut done, self.slots.hold_room().map_err(checkpoint_failed));
        done
    }

    /// Whether the disk that holds the journals takes anything now.
    pub(super) fn probe(&mut self) -> Result<(), StoreError> {
        self.slots.probe().map_err(checkpoint_failed)
    }

    fn write_checkpoint(&mut self) -> Result<[u64; 2], StoreError> {
        let journal_seq = self.journals.each_ref().map(Journal::durable_seq);
        let epochs = self.journals.each_ref().map(Journal::epoch);
        let checkpoint = Checkpoint {
            streams: self.seen.stored(),
            journal_seq: journal_seq.to_vec(),
            epochs: epochs.map(str::to_owned).to_vec(),
            agents: self.watch().stored(),
        };
        self.slots
            .write(&checkpoint.encode_to_vec())
            .map_err(checkpoint_failed)?;
        // While a sync fails, the checkpoint is that of the last one that did not.
        self.refused_unwritten &= !self.seen.is_synced();
        Ok(journal_seq)
    }
}
