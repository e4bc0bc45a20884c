//! What is known of the messages from the cursor on: their fates, and which calls they wait in. Pure.

use super::limits::{CALL_EVENTS, CALLS_IN_FLIGHT};
use super::prepare::{self, Batch, Envelope};
use crate::sinks::fates::Fates;
use crate::sinks::http::Room;
use crate::sinks::{Message, QuarantineReason, Quarantined, Sent};

/// A call that was taken and not acknowledged yet.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Flight {
    ack_id: u64,
    /// Its messages, by number.
    seqs: Vec<u64>,
    since_ms: u64,
}

/// See the module. At the most what is handed in at a time: every call begins with the first message that has no
/// fate and is in none.
#[derive(Debug, Default)]
pub(super) struct Front {
    fates: Fates,
    flights: Vec<Flight>,
    /// The highest number of a call in this channel.
    highest: Option<u64>,
    /// The one of those that make a call invalid that is said to be it: the next call has it alone.
    named: Option<u64>,
    /// Those behind the named one: not taken, if it is it.
    behind: Vec<u64>,
}

/// A number that was given before: whoever gives it has begun anew, or is somebody else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the number {0} of the call is not above those before it")]
pub(super) struct SecondHand(u64);

impl Front {
    /// What lies before the first message is the cursor's matter.
    pub(super) fn begin_at(&mut self, first: u64) {
        self.fates.begin_at(first);
        for flight in &mut self.flights {
            flight.seqs.retain(|seq| *seq >= first);
        }
        self.flights.retain(|flight| !flight.seqs.is_empty());
    }

    /// The next call: all that fits, or of messages that make a call invalid the one that is named, or the first
    /// half. Those that can never be sent have their fate then.
    pub(super) fn next(&mut self, messages: &[Message], envelope: &Envelope, room: Room) -> Batch {
        let named = self.named.take();
        let is_passed = |seq: u64| {
            self.fates.is_settled(seq)
                || self.is_in_flight(seq)
                || named.is_some_and(|named| named != seq)
        };
        let most = self.fates.most(messages, CALL_EVENTS, is_passed);
        let events = room.events.min(most);
        let mut batch = prepare::batch(messages, is_passed, envelope, Room { events, ..room });
        for Quarantined { seq, reason } in batch.unsendable.drain(..) {
            self.quarantine(seq, reason);
        }
        batch
    }

    fn is_in_flight(&self, seq: u64) -> bool {
        let mut flights = self.flights.iter();
        flights.any(|flight| flight.seqs.binary_search(&seq).is_ok())
    }

    pub(super) fn deliver(&mut self, seqs: &[u64]) {
        self.fates.deliver(seqs);
    }

    pub(super) fn quarantine(&mut self, seq: u64, reason: QuarantineReason) {
        self.fates.quarantine(seq, reason);
    }

    pub(super) fn doubt(&mut self, seqs: &[u64]) {
        self.fates.doubt(seqs);
    }

    /// One of them makes a call invalid, that at `place` if this is said. Those before it may have been taken.
    pub(super) fn suspect(&mut self, seqs: &[u64], place: Option<usize>) {
        let place = place.filter(|place| *place < seqs.len());
        let (before, rest) = seqs.split_at(place.unwrap_or(seqs.len()));
        self.doubt(before);
        self.fates.suspect(seqs);
        self.named = rest.first().copied();
        self.behind = rest.to_vec();
    }

    /// A call after it was taken: it was not the one that was named, so nothing that was said of places is true.
    pub(super) fn acquit(&mut self) {
        let behind = std::mem::take(&mut self.behind);
        self.doubt(&behind);
    }

    /// It was found.
    pub(super) fn convict(&mut self) {
        self.fates.convict();
        self.behind.clear();
    }

    /// Whether a fate can be told.
    pub(super) fn has_news(&self, messages: &[Message]) -> bool {
        let first = messages.first();
        first.is_some_and(|message| self.fates.is_settled(message.seq))
    }

    /// Whether no further call can wait.
    pub(super) fn is_full(&self) -> bool {
        self.flights.len() >= CALLS_IN_FLIGHT
    }

    /// The numbers of the calls that wait.
    pub(super) fn waiting(&self) -> impl Iterator<Item = u64> {
        self.flights.iter().map(|flight| flight.ack_id)
    }

    /// A call waits from now on.
    ///
    /// # Errors
    /// Its number says nothing: what it and the others have is in doubt, and the channel is done with.
    pub(super) fn fly(&mut self, ack_id: u64, seqs: &[u64], now_ms: u64) -> Result<(), SecondHand> {
        let is_new = self.highest.is_none_or(|highest| ack_id > highest);
        self.flights.push(Flight {
            ack_id,
            seqs: seqs.to_vec(),
            since_ms: now_ms,
        });
        if !is_new {
            self.leave_channel();
            return Err(SecondHand(ack_id));
        }
        self.highest = Some(ack_id);
        Ok(())
    }

    /// These are acknowledged.
    pub(super) fn land(&mut self, ack_ids: &[u64]) {
        let is = |flight: &mut Flight| ack_ids.contains(&flight.ack_id);
        for flight in self.flights.extract_if(.., is).collect::<Vec<_>>() {
            self.deliver(&flight.seqs);
        }
    }

    /// Those that have waited for so long are to be sent again; how many messages.
    pub(super) fn lapse(&mut self, now_ms: u64, timeout_ms: u64) -> usize {
        let is = |flight: &mut Flight| now_ms.saturating_sub(flight.since_ms) >= timeout_ms;
        let late: Vec<_> = self.flights.extract_if(.., is).collect();
        for flight in &late {
            self.doubt(&flight.seqs);
        }
        late.iter().map(|flight| flight.seqs.len()).sum()
    }

    /// No call waits any more; numbers are counted anew.
    pub(super) fn leave_channel(&mut self) {
        self.highest = None;
        self.lapse(u64::MAX, 0);
    }

    /// The fates of the run from the front that has them all; they are told once.
    pub(super) fn take(&mut self, messages: &[Message]) -> Sent {
        self.fates.take(messages)
    }
}
