//! From the endpoint's direction to the request that it answers: always the first that waits, given
//! up or not.
//!
//! Where bytes of the client's direction are missing, requests may be missing with them, and the
//! endpoint answers those too. So an answer for which nobody waits is an event of its own then, and
//! credentials never count as the answer to a request for something else.

use super::exchange::{Exchange, Pending};
use super::forgotten::Asked;
use super::half::{Heard, Missing};
use crate::http::{Cut, Framing, NotHttp, Sink};
use crate::request::Place;
use crate::{Class, Flags, Outcome, Redactor, response};

/// Receives what the endpoint sends.
pub(super) struct Down<'a> {
    pub(super) exchange: &'a mut Exchange,
    pub(super) place: &'a Place,
    pub(super) now_ns: u64,
    /// The segment has hop limit 1: sequence number that must be acknowledged.
    pub(super) confirm: Option<u32>,
    pub(super) redactor: &'a Redactor,
}

impl Down<'_> {
    fn settle(&mut self, pending: Pending) {
        match self.confirm.filter(|_| pending.event.class == Class::Token) {
            Some(seq) => self
                .exchange
                .await_confirmation(pending, seq, self.redactor),
            None => self.exchange.finish(pending, self.redactor),
        }
    }

    /// The request that an answer belongs to, or an event without one. `None`: there is none, and
    /// the answer says nothing.
    fn asked(&mut self, status: Option<u16>) -> Option<Pending> {
        let is_late = self.exchange.forgotten.pop();
        if is_late {
            // Of its request nothing else is known.
        } else if self.exchange.takes_refusal(status) {
            self.exchange.tally.orphan_responses += 1;
            return None;
        } else if let Some(pending) = self.exchange.take_oldest() {
            return Some(pending);
        }
        self.exchange.tally.orphan_responses += 1;
        let unseen = self.exchange.unseen;
        // With all bytes seen, what we read as no request was one to the endpoint.
        let was_served = status.is_some_and(|status| status < 400);
        (unseen != Flags::NONE || was_served || is_late).then(|| {
            let mut pending = self.unasked(unseen);
            pending.event.flags.add_if(is_late, Flags::LATE_ANSWER);
            pending.event.time_ns = self.now_ns;
            pending
        })
    }

    fn unasked(&mut self, unseen: Flags) -> Pending {
        self.exchange.tally.requests += 1;
        Pending::unasked(self.place, unseen)
    }
}

impl Sink for Down<'_> {
    fn head(&mut self, bytes: &[u8], cut: Cut) -> Framing {
        let asked = self.exchange.asked_next();
        let mut answer = response::read(bytes, cut, asked == Some(Asked::Head));
        if asked == Some(Asked::Unknown)
            && !matches!(answer.framing, Framing::Length(0) | Framing::Opaque)
        {
            // What a body would be is perhaps the next answer.
            answer.framing = Framing::Lost;
        }
        if answer
            .status
            .is_some_and(|status| status < 200 && status != 101)
        {
            return answer.framing;
        }
        let Some(mut pending) = self.asked(answer.status) else {
            return answer.framing;
        };
        pending.answered_ns = Some(self.now_ns);
        let latency_ns = pending.latency_ns(self.now_ns);
        let event = &mut pending.event;
        event.status = answer.status;
        event.outcome = answer.status.map_or(Outcome::Unreadable, response::outcome);
        event.response_bytes = answer.length;
        event.token_ttl_seconds = answer.token_ttl_seconds;
        // Where answers may be missing, this may be that of another request.
        event.latency_ns = (self.exchange.doubt == Flags::NONE)
            .then_some(latency_ns)
            .flatten();
        self.exchange.tally.answered |= self.confirm.is_none();
        let is_doubtful = pending.is_unasked || self.exchange.unseen != Flags::NONE;
        let wanted = answer.status.is_some_and(|status| {
            response::wants_body(pending.event.class, status) || (is_doubtful && status == 200)
        });
        let has_body = !matches!(
            answer.framing,
            Framing::Length(0) | Framing::Lost | Framing::Opaque
        );
        if wanted && has_body && !answer.encoded {
            self.exchange.answering = Some(pending);
        } else {
            self.settle(pending);
        }
        answer.framing
    }

    fn body(&mut self, bytes: &[u8]) {
        if let Some(pending) = &mut self.exchange.answering {
            let room = response::BODY_BYTES.saturating_sub(pending.body.len());
            let kept = bytes.get(..room).unwrap_or(bytes);
            pending.body.extend_from_slice(kept);
        }
    }

    fn body_hole(&mut self) {
        // Half a token has another hash than the token, and no value may span what is missing.
        if let Some(pending) = &mut self.exchange.answering {
            pending.body.push(response::HOLE);
        }
    }

    fn end(&mut self) {
        let Some(mut pending) = self.exchange.answering.take() else {
            return;
        };
        let unseen = self.exchange.unseen;
        if unseen != Flags::NONE && pending.is_mistaken() {
            let other = pending.disown(self.place, unseen);
            self.exchange.tally.requests += 1;
            self.exchange.wait_on(pending, self.redactor);
            pending = other;
        }
        self.settle(pending);
    }

    fn not_http(&mut self, _: NotHttp) {
        let Some(mut pending) = self.asked(None) else {
            return;
        };
        pending.answered_ns = Some(self.now_ns);
        pending.event.outcome = Outcome::Unreadable;
        self.settle(pending);
    }
}

impl Heard for Down<'_> {
    fn missing(&mut self, missing: Missing) {
        if missing.of_others {
            // Should an answer go to the wrong request after all, its body is to tell so.
            self.exchange.unseen.add(missing.remark);
            self.exchange.missed.add(missing.remark);
        }
        if missing.of_next {
            self.exchange.answer_missed(missing.remark);
        }
    }

    fn found(&mut self, seq: u32) {
        self.exchange.answers_missed_before(seq);
    }

    fn captured(&mut self, time_ns: u64, begins: bool) {
        self.now_ns = if begins {
            time_ns
        } else {
            self.now_ns.max(time_ns)
        };
    }
}
