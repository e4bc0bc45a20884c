//! From the client's direction to requests that wait for an answer.

use super::exchange::{Exchange, Pending};
use super::half::{Heard, Missing};
use crate::http::{Cut, Framing, NotHttp, Sink};
use crate::request::{self, Place};
use crate::{ImdsEvent, Opaque, Redactor};

/// Receives what the client sends.
pub(super) struct Up<'a> {
    pub(super) exchange: &'a mut Exchange,
    pub(super) place: &'a Place,
    pub(super) redactor: &'a Redactor,
}

impl Up<'_> {
    /// `is_whole`: its last byte was captured.
    fn wait(&mut self, mut event: ImdsEvent, is_head: bool, is_whole: bool) {
        event.flags.add(std::mem::take(&mut self.exchange.flags));
        event.time_ns = self.exchange.started_ns;
        self.exchange.tally.requests += 1;
        self.exchange.response_bytes_seen = false;
        self.exchange.asked += 1;
        self.exchange.wait(Pending {
            event,
            is_head,
            sent_ns: self.exchange.heard_ns,
            is_whole,
            answered_ns: None,
            repeated: 0,
            number: self.exchange.asked,
            acked: self.exchange.acked,
            body: Vec::new(),
            is_unasked: false,
        });
    }
}

impl Sink for Up<'_> {
    fn head(&mut self, bytes: &[u8], cut: Cut) -> Framing {
        let request = request::read(bytes, cut, self.place, self.redactor);
        // What is cut short may have been readable, unless its beginning was not.
        let is_known = cut != Cut::Missing || request.event.opaque.is_some();
        if is_known && self.exchange.repeats(&request.event) {
            return request.framing;
        }
        self.wait(request.event, request.is_head, cut == Cut::Whole);
        request.framing
    }

    fn body(&mut self, _: &[u8]) {}

    fn body_hole(&mut self) {}

    fn end(&mut self) {}

    fn not_http(&mut self, kind: NotHttp) {
        let mut event = self.place.event();
        event.opaque = Some(match kind {
            NotHttp::Tls => Opaque::Tls,
            NotHttp::Binary => Opaque::Binary,
        });
        self.wait(event, false, true);
    }
}

impl Heard for Up<'_> {
    fn missing(&mut self, missing: Missing) {
        let Exchange {
            waiting, answering, ..
        } = self.exchange;
        if missing.of_last
            && let Some(last) = waiting.back_mut().or(answering.as_mut())
        {
            last.event.flags.add(missing.remark);
        }
        if missing.of_others {
            self.exchange.flags.add(missing.remark);
        }
        // Of a body as well: an endpoint may take for a request what we take for a body.
        self.exchange.unseen.add(missing.remark);
    }

    fn found(&mut self, _: u32) {}

    fn captured(&mut self, time_ns: u64, begins: bool) {
        if begins {
            self.exchange.started_ns = time_ns;
            self.exchange.heard_ns = time_ns;
        }
        // Of a head in pieces, whichever came last.
        self.exchange.heard_ns = self.exchange.heard_ns.max(time_ns);
    }
}
