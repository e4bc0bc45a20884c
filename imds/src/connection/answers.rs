//! From the endpoint's direction to the request that it answers: always the first that waits.

use super::exchange::{Exchange, Pending};
use super::half::Heard;
use crate::http::{Cut, Framing, NotHttp, Sink};
use crate::{Class, Outcome, Redactor, response};

/// Receives what the endpoint sends.
pub(super) struct Down<'a> {
    pub(super) exchange: &'a mut Exchange,
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
}

impl Sink for Down<'_> {
    fn head(&mut self, bytes: &[u8], cut: Cut) -> Framing {
        let to_head = self
            .exchange
            .waiting
            .front()
            .is_some_and(|pending| pending.is_head);
        let answer = response::read(bytes, cut, to_head);
        if answer
            .status
            .is_some_and(|status| status < 200 && status != 101)
        {
            return answer.framing;
        }
        if self.exchange.abandoned > 0 {
            self.exchange.abandoned -= 1;
            self.exchange.tally.orphan_responses += 1;
            return answer.framing;
        }
        let Some(mut pending) = self.exchange.waiting.pop_front() else {
            self.exchange.tally.orphan_responses += 1;
            return answer.framing;
        };
        let event = &mut pending.event;
        event.status = answer.status;
        event.outcome = answer.status.map_or(Outcome::Unreadable, response::outcome);
        event.response_bytes = answer.length;
        event.token_ttl_seconds = answer.token_ttl_seconds;
        event.latency_ns = self.now_ns.checked_sub(pending.sent_ns);
        self.exchange.tally.answered |= self.confirm.is_none();
        let wanted = answer
            .status
            .is_some_and(|status| response::wants_body(pending.event.class, status));
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
        if let Some(pending) = self.exchange.answering.take() {
            self.settle(pending);
        }
    }

    fn not_http(&mut self, _: NotHttp) {
        let Some(mut pending) = self.exchange.waiting.pop_front() else {
            self.exchange.tally.orphan_responses += 1;
            return;
        };
        pending.event.outcome = Outcome::Unreadable;
        self.settle(pending);
    }
}

impl Heard for Down<'_> {
    fn gap(&mut self) {}
}
