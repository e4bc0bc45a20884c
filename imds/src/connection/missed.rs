//! Answers that were on the wire and not in the capture: which requests they belong to.
//!
//! A hole does not say how many answers it holds, but the client does. One that asks one thing at a
//! time has had the answers to all its requests when it sends the next, and acknowledges them in it:
//! an answer that begins behind that acknowledgement belongs to none of them.
//!
//! With pipelining an acknowledgement may stand for some of the answers only. A request that brings
//! no new one tells of it, and what is counted on from then is that a hole holds the answer that it
//! begins with; the requests that still wait bear its remark, for theirs may be in it too.
//!
//! Where nothing of the endpoint follows, there is no hole, but the client tells all the same: its next
//! request, or its FIN, acknowledges bytes that nobody captured.

use super::exchange::{Exchange, Pending};
use crate::stream::{WINDOW_BYTES, is_up_to};
use crate::{Flags, Outcome};

impl Exchange {
    /// A request is about to wait: whether it was sent before the answers to those before it.
    pub(super) fn note_pipelining(&mut self, pending: &mut Pending) {
        let is_alone =
            self.waiting.is_empty() && self.forgotten.is_empty() && self.answering.is_none();
        let acks = pending.acked.zip(self.asked_at);
        let has_more = acks.is_some_and(|(now, before)| now != before);
        self.is_pipelined = !is_alone && (self.is_pipelined || !has_more);
        self.asked_at = pending.acked;
        if is_alone {
            self.doubt = Flags::NONE;
        }
        pending.event.flags.add(self.doubt);
    }

    /// The client has all of the endpoint's bytes below `ack`.
    pub(super) fn reach(&mut self, ack: u32) {
        if self.reached.is_none_or(|reached| is_up_to(reached, ack)) {
            self.reached = Some(ack);
        }
    }

    /// Whether the client got bytes that were never read, after it had those below `acked` and asked. A
    /// FIN counts as one byte and is no answer.
    pub(super) fn was_missed(&self, acked: Option<u32>) -> bool {
        let since = match (self.read_to, acked) {
            (Some(read), Some(acked)) if is_up_to(read, acked) => Some(acked),
            (read, acked) => read.or(acked),
        };
        self.reached.zip(since).is_some_and(|(reached, since)| {
            (2..WINDOW_BYTES).contains(&reached.wrapping_sub(since))
        })
    }

    /// The beginning of the next answer was on the wire and not in the capture.
    pub(super) fn answer_missed(&mut self, remark: Flags) {
        if self.forgotten.pop() {
            return;
        }
        if self.repeated > 0 {
            self.repeated -= 1;
            return;
        }
        if let Some(mut pending) = self.take_oldest()
            && !pending.is_given_up()
        {
            pending.event.outcome = Outcome::Unreadable;
            pending.event.flags.add(remark);
            self.ready.push(pending.event);
        }
    }

    /// An answer begins at `seq`, and what was before it was not read, or not all of it.
    pub(super) fn answers_missed_before(&mut self, seq: u32) {
        let missed = std::mem::take(&mut self.missed);
        if self.is_pipelined {
            self.doubt.add(missed);
            for pending in &mut self.waiting {
                pending.event.flags.add(missed);
            }
            return;
        }
        let is_asked = |pending: &Pending| pending.acked.is_some_and(|acked| is_up_to(acked, seq));
        let Some(earlier) = self.waiting.iter().rposition(is_asked) else {
            return;
        };
        let remark = if missed == Flags::NONE {
            Flags::GAP
        } else {
            missed
        };
        self.forgotten.clear();
        for _ in 0..earlier {
            self.repeated = 0;
            self.answer_missed(remark);
        }
        self.repeated = 0;
    }
}
