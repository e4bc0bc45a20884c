//! Requests of one connection between their head and their event, in the order of the wire, and
//! what a request without an answer means.
//!
//! ## When the hop limit is to blame
//!
//! IMDS sends the answer to a token request, and nothing else, with the configured hop limit. With
//! the default of 1 it dies on its way into a pod: the handshake works, the PUT is acknowledged,
//! no byte comes back. So a PUT on the token path, on a connection whose SYN-ACK was seen, with no
//! byte of an answer, is `hop_limit_blocked` once it was silent for the timeout, or was given up
//! by the client after [`SILENCE_NS`]. That alone is a suspicion ([`Evidence::Silence`]); it is
//! backed when another request of the same address was answered meanwhile
//! ([`Evidence::OtherRequestAnswered`]). A capture on the host sees the answer itself: hop limit 1
//! and never acknowledged ([`Evidence::ResponseHopLimit`]); an acknowledged one arrived.
//!
//! ## When an answer is late
//!
//! The event of a request says after the timeout what is known by then. The request keeps its place
//! among those that wait, because answers keep the order of requests: its answer, if it comes, is an
//! event of its own, with all that is known of the request, and both bear one
//! [`request_id`](ImdsEvent::request_id). What is known is let go after [`KEPT_NS`], or where
//! [`PIPELINE_REQUESTS`] wait; the place is kept even then.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::forgotten::{Asked, Forgotten};
use crate::request::Place;
use crate::stream::WINDOW_BYTES;
use crate::{Class, Evidence, Flags, ImdsEvent, Opaque, Outcome, Redactor, response};

/// Requests that wait on one connection at most.
pub(super) const PIPELINE_REQUESTS: usize = 64;
/// How long the identity of a request that was given up is kept for a late answer, nanoseconds.
pub(crate) const KEPT_NS: u64 = 60_000_000_000;
/// Silence after which a client that hangs up is taken to have waited in vain. SDKs wait 1 s.
const SILENCE_NS: u64 = 500_000_000;

/// What happened, for the decoder's counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) late_answers: u64,
    pub(crate) forgotten: u64,
    pub(crate) answered: bool,
    pub(crate) orphan_responses: u64,
    pub(crate) gaps: u64,
    pub(crate) conflicts: u64,
    pub(crate) repeated_heads: u64,
}

/// A request whose answer is not finished.
#[derive(Debug)]
pub(super) struct Pending {
    pub(super) event: ImdsEvent,
    pub(super) is_head: bool,
    /// When the last of it was captured.
    pub(super) sent_ns: u64,
    /// That was its last byte.
    pub(super) is_whole: bool,
    /// When the head of its answer was seen.
    pub(super) answered_ns: Option<u64>,
    /// Which of its connection.
    pub(super) number: u64,
    /// The endpoint's bytes that the client had when it asked: all below this sequence number.
    pub(super) acked: Option<u32>,
    /// The answer's body, as much of it as the event wants.
    pub(super) body: Vec<u8>,
    /// There is an answer, and no request that we know of.
    pub(super) is_unasked: bool,
    /// So many heads right behind it could not be read either, and its event stands for them.
    pub(super) repeated: u64,
}

impl Pending {
    /// An answer whose request is not known. `unseen`: why that can be.
    pub(super) fn unasked(place: &Place, unseen: Flags) -> Self {
        let mut event = place.event();
        event.flags.add(unseen);
        event.reason = Some(Cow::Borrowed("request_unknown"));
        Self {
            event,
            is_head: false,
            sent_ns: place.time_ns,
            is_whole: false,
            answered_ns: None,
            number: 0,
            acked: None,
            body: Vec::new(),
            is_unasked: true,
            repeated: 0,
        }
    }

    /// Its event was handed out without an answer.
    pub(super) const fn is_given_up(&self) -> bool {
        self.event.request_id.is_some()
    }

    /// Its event as it stands without an answer; the answer, if it comes, gets another that bears
    /// the same name.
    fn give_up(&mut self, redactor: &Redactor) -> ImdsEvent {
        let ImdsEvent { src, dst, .. } = &self.event;
        let name = format!(
            "request {} of {} {} to {} {} at {}",
            self.number, src.ip, src.port, dst.ip, dst.port, self.event.time_ns
        );
        self.event.request_id = Some(redactor.hash(name.as_bytes()));
        self.event.clone()
    }

    /// Since when it waits for what it waits for now: the rest of an answer has its own time.
    fn waits_since_ns(&self) -> u64 {
        self.answered_ns.unwrap_or(self.sent_ns)
    }

    /// The answer turned out to be that of a request which was not seen: it goes to an event of its
    /// own, and the request waits on as if nothing had come.
    pub(super) fn disown(&mut self, place: &Place, unseen: Flags) -> Self {
        let mut other = Self::unasked(place, unseen);
        let (from, to) = (&mut self.event, &mut other.event);
        to.status = from.status.take();
        to.outcome = std::mem::replace(&mut from.outcome, Outcome::NoResponse);
        to.response_bytes = from.response_bytes.take();
        to.token_ttl_seconds = from.token_ttl_seconds.take();
        from.latency_ns = None;
        other.answered_ns = self.answered_ns.take();
        other.body = std::mem::take(&mut self.body);
        other
    }

    /// What it asked for is not known, though it is known to be a request of HTTP.
    fn is_unread(&self) -> bool {
        self.is_unasked || (self.event.path.is_none() && self.event.opaque.is_none())
    }

    /// Whether the answer brings credentials for which the request did not ask. One that could not be
    /// read may well have asked for them.
    pub(super) fn is_mistaken(&self) -> bool {
        !self.is_unread() && self.event.class != Class::Cred && response::is_credentials(&self.body)
    }

    /// From its last byte to the answer that begins at `now_ns`, where both are known.
    pub(super) fn latency_ns(&self, now_ns: u64) -> Option<u64> {
        self.is_whole
            .then(|| now_ns.checked_sub(self.sent_ns))
            .flatten()
    }
}

/// The requests under way.
#[derive(Debug, Default)]
pub(super) struct Exchange {
    /// In the order of the wire. Those given up are the first of them.
    pub(super) waiting: VecDeque<Pending>,
    /// How many those are.
    given_up: usize,
    /// Its answer's body is still coming.
    pub(super) answering: Option<Pending>,
    /// Its answer has hop limit 1 and awaits the acknowledgement of this sequence number.
    unconfirmed: Option<(Pending, u32)>,
    /// Remarks for the next request head.
    pub(super) flags: Flags,
    /// Why requests of this connection may have gone by unseen, which are answered all the same, or
    /// answers, after which the next may be taken for that of another request.
    pub(super) unseen: Flags,
    /// Why answers may be missing since the last one that was read.
    pub(super) missed: Flags,
    /// Why answers of now on may go to the wrong request, until none is awaited.
    pub(super) doubt: Flags,
    /// The acknowledgement in the client's last segment.
    pub(super) acked: Option<u32>,
    /// The furthest that it acknowledged.
    pub(super) reached: Option<u32>,
    /// How far the endpoint's bytes were read, or given up, when time or the end was last looked at.
    pub(super) read_to: Option<u32>,
    /// The one in its last request.
    pub(super) asked_at: Option<u32>,
    /// The client asks without having had the answer to what it asked before, or may do so.
    pub(super) is_pipelined: bool,
    /// Requests before all that wait, whose answers may still come and of which nothing else is
    /// known any more.
    pub(super) forgotten: Forgotten,
    /// Heads that no event stands for any more and that may still be refused, after those.
    pub(super) repeated: u64,
    /// Requests so far.
    pub(super) asked: u64,
    /// When the first byte of the head under way was seen.
    pub(super) started_ns: u64,
    /// When the client's last bytes were captured that were read.
    pub(super) heard_ns: u64,
    /// SYN-ACK seen.
    pub(super) handshake: bool,
    pub(super) response_bytes_seen: bool,
    pub(super) ready: Vec<ImdsEvent>,
    pub(super) tally: Tally,
}

impl Exchange {
    /// Of a connection whose opening was not seen yet: requests may have come before us.
    pub(super) fn midway() -> Self {
        Self {
            unseen: Flags::GAP,
            ..Self::default()
        }
    }

    /// Something would change with time alone.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty() || self.answering.is_some() || self.unconfirmed.is_some()
    }

    /// For so many a late answer would be known.
    pub(super) const fn given_up(&self) -> usize {
        self.given_up
    }

    /// Lets go of what is known of so many that were given up, the oldest first.
    pub(super) fn forget_given_up(&mut self, count: usize) {
        for _ in 0..count.min(self.given_up) {
            self.forget_oldest();
        }
    }

    /// An event is not handed out yet.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.len() > self.given_up || self.answering.is_some() || self.unconfirmed.is_some()
    }

    /// A request begins to wait for its answer.
    pub(super) fn wait(&mut self, mut pending: Pending) {
        self.note_pipelining(&mut pending);
        if self.waiting.len() >= PIPELINE_REQUESTS
            && let Some(mut oldest) = self.forget_oldest()
            && !oldest.is_given_up()
        {
            oldest
                .event
                .reason
                .get_or_insert(Cow::Borrowed("pipeline_limit"));
            self.ready.push(oldest.event);
        }
        self.waiting.push_back(pending);
    }

    /// Whether this says no more than the last request that waits, neither being readable: a stream
    /// of another protocol is one event, however many blank lines are in it.
    pub(super) fn repeats(&mut self, event: &ImdsEvent) -> bool {
        let Some(last) = self.waiting.back_mut() else {
            return false;
        };
        let is_read =
            |event: &ImdsEvent| event.method.is_some() || event.opaque == Some(Opaque::Tls);
        let is_same = !is_read(event)
            && !is_read(&last.event)
            && (event.opaque, &event.reason) == (last.event.opaque, &last.event.reason);
        if is_same {
            last.event.flags.add(event.flags);
            last.event.flags.add(std::mem::take(&mut self.flags));
            last.repeated += 1;
            self.tally.repeated_heads += 1;
        }
        is_same
    }

    /// An answer to a head that no event stands for. No endpoint serves one, so what serves is the
    /// answer to another.
    pub(super) fn takes_refusal(&mut self, status: Option<u16>) -> bool {
        let is_refusal = status.is_none_or(|status| status >= 400);
        let takes = self.repeated > 0 && is_refusal;
        self.repeated = if takes { self.repeated - 1 } else { 0 };
        takes
    }

    /// How the request was asked whose answer comes next.
    pub(super) fn asked_next(&self) -> Option<Asked> {
        let next = self.waiting.front();
        let next = next.map(|pending| Asked::with(pending.is_head));
        self.forgotten.next().or(match next {
            Some(Asked::Head) if self.repeated > 0 => Some(Asked::Unknown),
            _ => next,
        })
    }

    /// The oldest request leaves.
    pub(super) fn take_oldest(&mut self) -> Option<Pending> {
        let mut oldest = self.waiting.pop_front()?;
        self.given_up -= usize::from(oldest.is_given_up());
        self.repeated = std::mem::take(&mut oldest.repeated);
        Some(oldest)
    }

    /// What came was not the answer to the oldest request, which waits on. Where one behind it was
    /// given up meanwhile, its own time is over too.
    pub(super) fn wait_on(&mut self, mut oldest: Pending, redactor: &Redactor) {
        if self.given_up > 0 && !oldest.is_given_up() {
            self.ready.push(oldest.give_up(redactor));
        }
        self.given_up += usize::from(oldest.is_given_up());
        oldest.repeated = std::mem::take(&mut self.repeated);
        self.waiting.push_front(oldest);
    }

    /// The oldest request leaves; its answer may still come.
    fn forget_oldest(&mut self) -> Option<Pending> {
        for _ in 0..self.repeated {
            self.forgotten.push(false);
        }
        let oldest = self.take_oldest()?;
        self.forgotten.push(oldest.is_head);
        self.tally.forgotten += 1;
        Some(oldest)
    }

    /// The answer is complete, or as complete as it gets.
    pub(super) fn finish(&mut self, mut pending: Pending, redactor: &Redactor) {
        self.complete(&mut pending, redactor);
        self.ready.push(pending.event);
    }

    fn complete(&mut self, pending: &mut Pending, redactor: &Redactor) {
        read_body(pending, redactor);
        if pending.is_given_up() {
            pending.event.flags.add(Flags::LATE_ANSWER);
            pending.event.time_ns = pending.answered_ns.unwrap_or(pending.event.time_ns);
            self.tally.late_answers += 1;
        }
    }

    /// The answer is complete and counts once the client acknowledges `seq`.
    pub(super) fn await_confirmation(
        &mut self,
        mut pending: Pending,
        seq: u32,
        redactor: &Redactor,
    ) {
        self.complete(&mut pending, redactor);
        if let Some((earlier, _)) = self.unconfirmed.replace((pending, seq)) {
            self.ready.push(earlier.event);
        }
    }

    /// The client acknowledged everything below `ack`.
    pub(super) fn confirm(&mut self, ack: u32) {
        let arrived = |seq: u32| (1..WINDOW_BYTES).contains(&ack.wrapping_sub(seq));
        if let Some((pending, _)) = self.unconfirmed.take_if(|(_, seq)| arrived(*seq)) {
            self.ready.push(pending.event);
        }
    }

    /// Gives up what has waited for `response_ns`.
    pub(super) fn advance(
        &mut self,
        now_ns: u64,
        response_ns: u64,
        answered_ns: Option<u64>,
        redactor: &Redactor,
    ) {
        let overdue =
            |pending: &Pending| now_ns.saturating_sub(pending.waits_since_ns()) >= response_ns;
        // Sent one after the other: behind the first that has time all have.
        for at in self.given_up..self.waiting.len() {
            let Some(pending) = self.waiting.get_mut(at).filter(|pending| overdue(pending)) else {
                break;
            };
            let (sent_ns, acked) = (pending.sent_ns, pending.acked);
            let event = pending.give_up(redactor);
            self.given_up += 1;
            self.silent(event, sent_ns, acked, true, answered_ns);
        }
        let kept_ns = response_ns.saturating_add(KEPT_NS);
        let is_old = |pending: &Pending| now_ns.saturating_sub(pending.sent_ns) >= kept_ns;
        while self.waiting.front().is_some_and(is_old) && self.forget_oldest().is_some() {}
        if let Some(pending) = self.answering.take_if(|pending| overdue(pending)) {
            self.finish(pending, redactor);
        }
        if let Some((pending, _)) = self.unconfirmed.take_if(|(pending, _)| overdue(pending)) {
            self.blocked(pending.event, Evidence::ResponseHopLimit);
        }
    }

    /// Nothing more will come. `left_ns`: when the client hung up; `reason`: for what still waits.
    pub(super) fn close(
        &mut self,
        left_ns: Option<u64>,
        reason: Option<&'static str>,
        answered_ns: Option<u64>,
        redactor: &Redactor,
    ) {
        while let Some(mut pending) = self.take_oldest() {
            if pending.is_given_up() {
                continue;
            }
            if let Some(reason) = reason {
                pending.event.reason.get_or_insert(Cow::Borrowed(reason));
            }
            let waited =
                left_ns.is_some_and(|left| left.saturating_sub(pending.sent_ns) >= SILENCE_NS);
            let (sent_ns, acked) = (pending.sent_ns, pending.acked);
            self.silent(pending.event, sent_ns, acked, waited, answered_ns);
        }
        if let Some(pending) = self.answering.take() {
            self.finish(pending, redactor);
        }
        if let Some((mut pending, _)) = self.unconfirmed.take() {
            if let Some(reason) = reason {
                pending.event.reason.get_or_insert(Cow::Borrowed(reason));
            }
            self.blocked(pending.event, Evidence::ResponseHopLimit);
        }
    }

    /// A request without answer. `acked`: what the client had when it asked; `waited`: long enough for
    /// the silence to mean something.
    fn silent(
        &mut self,
        mut event: ImdsEvent,
        sent_ns: u64,
        acked: Option<u32>,
        waited: bool,
        answered_ns: Option<u64>,
    ) {
        if self.was_missed(acked) {
            event.flags.add(Flags::GAP);
            // Of what was asked ahead, nobody can tell whose answer it was.
            if !self.is_pipelined {
                event.outcome = Outcome::Unreadable;
                self.ready.push(event);
                return;
            }
        }
        let token_put = event.class == Class::Token && event.method.as_deref() == Some("PUT");
        let suspicious = token_put && self.handshake && !self.response_bytes_seen;
        let backed = answered_ns.is_some_and(|answered| answered >= sent_ns);
        if suspicious && (waited || backed) {
            let evidence = if backed {
                Evidence::OtherRequestAnswered
            } else {
                Evidence::Silence
            };
            self.blocked(event, evidence);
            return;
        }
        event.outcome = Outcome::NoResponse;
        self.ready.push(event);
    }

    fn blocked(&mut self, mut event: ImdsEvent, evidence: Evidence) {
        event.outcome = Outcome::HopLimitBlocked;
        event.evidence = Some(evidence);
        self.ready.push(event);
    }
}

fn read_body(pending: &mut Pending, redactor: &Redactor) {
    let body = std::mem::take(&mut pending.body);
    match pending.event.class {
        Class::Token => {
            pending.event.minted_token_hash =
                response::session_token(&body).map(|token| redactor.hash(token));
        }
        Class::Cred => {
            pending.event.access_key_id = response::access_key_id(&body);
            pending.event.expiration = response::expiration(&body);
        }
        _ if response::is_credentials(&body) => {
            pending.event.access_key_id = response::access_key_id(&body);
            pending.event.expiration = response::expiration(&body);
            if pending.is_unread() {
                pending.event.class = Class::Cred;
                pending.event.flags.add(Flags::CLASS_FROM_ANSWER);
            }
        }
        _ => {}
    }
}
