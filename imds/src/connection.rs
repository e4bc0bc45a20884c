//! One connection: two streams, the requests that wait for an answer, and what silence means.
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

use std::borrow::Cow;
use std::collections::VecDeque;

use crate::http::{Cut, Framer, Framing, NotHttp, Sink};
use crate::request::Place;
use crate::stream::{HELD_SEGMENTS, Piece, Stream, Verdict, WINDOW_BYTES};
use crate::{
    Class, Direction, Evidence, Flags, ImdsEvent, Limits, Opaque, Outcome, Redactor, Segment,
    request, response,
};

/// Requests that wait on one connection at most.
pub(crate) const PIPELINE_REQUESTS: usize = 64;
/// How long bytes out of order wait for what is missing before them, nanoseconds. Nothing that a
/// capture lost is sent again, and TCP repairs a real loss much sooner.
const GAP_PATIENCE_NS: u64 = 1_000_000_000;
/// Silence after which a client that hangs up is taken to have waited in vain. SDKs wait 1 s.
const SILENCE_NS: u64 = 500_000_000;

/// What happened, for the decoder's counts.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) answered: bool,
    pub(crate) orphan_responses: u64,
    pub(crate) gaps: u64,
    pub(crate) conflicts: u64,
}

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// FIN or RST of the client.
    Client,
    /// FIN or RST of the endpoint, a new connection of the same name, or nothing more to read.
    Other,
    /// No room for it any more.
    Evicted,
}

#[derive(Debug)]
struct Pending {
    event: ImdsEvent,
    is_head: bool,
    sent_ns: u64,
    body: Vec<u8>,
}

#[derive(Debug, Default)]
struct Exchange {
    waiting: VecDeque<Pending>,
    /// Its answer's body is still coming.
    answering: Option<Pending>,
    /// Its answer has hop limit 1 and awaits the acknowledgement of this sequence number.
    unconfirmed: Option<(Pending, u32)>,
    /// Remarks for the next request head.
    flags: Flags,
    /// Requests given up whose answers may still come: answers keep the order of requests.
    abandoned: u32,
    /// When the first byte of the head under way was seen.
    started_ns: u64,
    response_bytes_seen: bool,
    ready: Vec<ImdsEvent>,
    tally: Tally,
}

#[derive(Debug)]
pub(crate) struct Connection {
    place: Place,
    handshake: bool,
    up: Stream,
    down: Stream,
    up_framer: Framer,
    down_framer: Framer,
    exchange: Exchange,
    pub(crate) last_ns: u64,
    pub(crate) touched: u64,
    client_isn: Option<u32>,
    /// Sequence numbers behind the last byte of each direction.
    up_end: Option<u32>,
    down_end: Option<u32>,
    client_left_ns: Option<u64>,
    closed: bool,
}

impl Connection {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            last_ns: place.time_ns,
            place,
            handshake: false,
            up: Stream::new(true),
            down: Stream::new(false),
            up_framer: Framer::default(),
            down_framer: Framer::lost(),
            exchange: Exchange::default(),
            touched: 0,
            client_isn: None,
            up_end: None,
            down_end: None,
            client_left_ns: None,
            closed: false,
        }
    }

    /// The client's address.
    pub(crate) const fn client(&self) -> std::net::IpAddr {
        self.place.client.ip()
    }

    /// Something would change with time alone.
    pub(crate) fn is_waiting(&self) -> bool {
        let exchange = &self.exchange;
        !exchange.waiting.is_empty()
            || exchange.answering.is_some()
            || exchange.unconfirmed.is_some()
            || self.up.held_bytes() > 0
            || self.down.held_bytes() > 0
    }

    /// Whether this SYN opens another connection under the same name.
    pub(crate) fn is_reopened_by(&self, segment: &Segment<'_>) -> bool {
        segment.syn
            && segment.direction == Direction::Request
            && match self.client_isn {
                Some(isn) => isn != segment.seq,
                None => self.up.next_seq().is_some() || self.closed,
            }
    }

    /// Finished events and counts since the last call.
    pub(crate) fn take(&mut self) -> (Vec<ImdsEvent>, Tally) {
        (
            std::mem::take(&mut self.exchange.ready),
            std::mem::take(&mut self.exchange.tally),
        )
    }

    pub(crate) fn push(
        &mut self,
        segment: &Segment<'_>,
        limits: &Limits,
        redactor: &Redactor,
    ) -> Verdict {
        self.last_ns = self.last_ns.max(segment.time_ns);
        self.place.time_ns = segment.time_ns;
        if segment.fragment && segment.direction == Direction::Request {
            self.exchange.flags.add(Flags::FRAGMENTED);
        }
        if let Some(ack) = segment.ack {
            self.acknowledge(segment.direction, ack, redactor);
        }
        let seq = if segment.syn {
            self.open(segment);
            segment.seq.wrapping_add(1)
        } else {
            segment.seq
        };
        let verdict = match segment.direction {
            Direction::Request => self.push_up(segment, seq, redactor),
            Direction::Response => self.push_down(segment, seq, redactor),
        };
        self.bound(limits, redactor);
        if segment.fin {
            let end = Some(seq.wrapping_add(segment.payload_len));
            match segment.direction {
                Direction::Request => {
                    self.up_end = end;
                    self.client_left_ns.get_or_insert(segment.time_ns);
                }
                Direction::Response => self.down_end = end,
            }
        }
        self.end_directions(redactor);
        verdict
    }

    fn open(&mut self, segment: &Segment<'_>) {
        match segment.direction {
            Direction::Request => {
                self.client_isn.get_or_insert(segment.seq);
                self.up.open(segment.seq);
            }
            Direction::Response => {
                if self.down.next_seq().is_none() {
                    self.down_framer = Framer::default();
                }
                self.handshake = true;
                self.down.open(segment.seq);
            }
        }
    }

    fn push_up(&mut self, segment: &Segment<'_>, seq: u32, redactor: &Redactor) -> Verdict {
        let Self {
            up,
            up_framer,
            exchange,
            place,
            ..
        } = self;
        if !up_framer.is_in_head() {
            exchange.started_ns = segment.time_ns;
        }
        let mut sink = Up {
            exchange,
            place,
            redactor,
        };
        let now_ns = segment.time_ns;
        let verdict = up.push(
            seq,
            segment.payload,
            segment.payload_len,
            now_ns,
            &mut |piece| {
                feed(up_framer, piece, &mut sink);
            },
        );
        if verdict.conflict {
            exchange.tally.conflicts += 1;
            if up_framer.is_in_head() {
                exchange.flags.add(Flags::OVERLAP_CONFLICT);
            } else if let Some(last) = exchange.waiting.back_mut() {
                last.event.flags.add(Flags::OVERLAP_CONFLICT);
            }
        }
        verdict
    }

    fn push_down(&mut self, segment: &Segment<'_>, seq: u32, redactor: &Redactor) -> Verdict {
        let Self {
            up_framer,
            down,
            down_framer,
            exchange,
            place,
            ..
        } = self;
        if segment.payload_len > 0 {
            if exchange.waiting.is_empty()
                && down_framer.is_between()
                && down.next_seq() == Some(seq)
            {
                // An answer to a head of which we have not seen the end.
                up_framer.cut_head(&mut Up {
                    exchange,
                    place,
                    redactor,
                });
            }
            exchange.response_bytes_seen = true;
        }
        let confirm = (segment.hop_limit == Some(1)).then_some(seq);
        let mut sink = Down {
            exchange,
            now_ns: segment.time_ns,
            confirm,
            redactor,
        };
        down.push(
            seq,
            segment.payload,
            segment.payload_len,
            segment.time_ns,
            &mut |piece| {
                feed(down_framer, piece, &mut sink);
            },
        )
    }

    /// `direction` is that of the segment that carries the acknowledgement.
    fn acknowledge(&mut self, direction: Direction, ack: u32, redactor: &Redactor) {
        let now_ns = self.place.time_ns;
        let Self {
            up,
            up_framer,
            down,
            down_framer,
            exchange,
            place,
            ..
        } = self;
        let skipped = match direction {
            Direction::Request => {
                let arrived = |seq: u32| (1..WINDOW_BYTES).contains(&ack.wrapping_sub(seq));
                if let Some((pending, _)) = exchange.unconfirmed.take_if(|(_, seq)| arrived(*seq)) {
                    exchange.ready.push(pending.event);
                }
                let mut sink = Down {
                    exchange,
                    now_ns,
                    confirm: None,
                    redactor,
                };
                down.acknowledged(ack, now_ns, &mut |piece| {
                    feed(down_framer, piece, &mut sink);
                })
            }
            Direction::Response => {
                let mut sink = Up {
                    exchange,
                    place,
                    redactor,
                };
                up.acknowledged(ack, now_ns, &mut |piece| feed(up_framer, piece, &mut sink))
            }
        };
        exchange.tally.gaps += u64::from(skipped);
    }

    fn skip_gaps(&mut self, redactor: &Redactor) {
        let now_ns = self.place.time_ns;
        let Self {
            up,
            up_framer,
            down,
            down_framer,
            exchange,
            place,
            ..
        } = self;
        let mut sink = Up {
            exchange,
            place,
            redactor,
        };
        let up_skipped = up.skip_gap(now_ns, &mut |piece| feed(up_framer, piece, &mut sink));
        let mut sink = Down {
            exchange,
            now_ns,
            confirm: None,
            redactor,
        };
        let down_skipped = down.skip_gap(now_ns, &mut |piece| feed(down_framer, piece, &mut sink));
        exchange.tally.gaps += u64::from(up_skipped) + u64::from(down_skipped);
    }

    /// Keeps the connection within its share of memory by giving up on missing bytes.
    fn bound(&mut self, limits: &Limits, redactor: &Redactor) {
        // Each turn hands on at least one held segment.
        for _ in 0..2 * HELD_SEGMENTS {
            let held = self.up.held_bytes()
                + self.down.held_bytes()
                + self.up_framer.held_bytes()
                + self.down_framer.held_bytes();
            let crowded = self.up.is_crowded() || self.down.is_crowded();
            if (held <= limits.connection_bytes && !crowded)
                || (self.up.held_bytes() + self.down.held_bytes() == 0)
            {
                break;
            }
            self.skip_gaps(redactor);
        }
    }

    /// Time passes: gaps, timeouts.
    pub(crate) fn advance(
        &mut self,
        now_ns: u64,
        limits: &Limits,
        answered_ns: Option<u64>,
        redactor: &Redactor,
    ) {
        let late = |since: Option<u64>| {
            since.is_some_and(|since| now_ns.saturating_sub(since) >= GAP_PATIENCE_NS)
        };
        if late(self.up.waiting_since_ns()) || late(self.down.waiting_since_ns()) {
            self.place.time_ns = self.place.time_ns.max(now_ns);
            self.skip_gaps(redactor);
            self.end_directions(redactor);
        }
        let overdue =
            |pending: &Pending| now_ns.saturating_sub(pending.sent_ns) >= limits.response_ns;
        while self.exchange.waiting.front().is_some_and(overdue) {
            if let Some(pending) = self.exchange.waiting.pop_front() {
                self.exchange.abandoned = self.exchange.abandoned.saturating_add(1);
                self.silent(pending, true, answered_ns);
            }
        }
        if let Some(pending) = self.exchange.answering.take_if(|pending| overdue(pending)) {
            self.exchange.finish(pending, redactor);
        }
        if let Some((pending, _)) = self
            .exchange
            .unconfirmed
            .take_if(|(pending, _)| overdue(pending))
        {
            self.exchange
                .blocked(pending.event, Evidence::ResponseHopLimit);
        }
    }

    /// Ends a direction whose last byte has come.
    fn end_directions(&mut self, redactor: &Redactor) {
        let now_ns = self.place.time_ns;
        let Self {
            up,
            up_framer,
            up_end,
            down,
            down_framer,
            down_end,
            exchange,
            place,
            ..
        } = self;
        if up_end.is_some() && *up_end == up.next_seq() {
            *up_end = None;
            up_framer.close(&mut Up {
                exchange,
                place,
                redactor,
            });
        }
        if down_end.is_some() && *down_end == down.next_seq() {
            *down_end = None;
            self.closed = true;
            down_framer.close(&mut Down {
                exchange,
                now_ns,
                confirm: None,
                redactor,
            });
        }
    }

    /// The end: everything that waits is handed on as what it is by now.
    pub(crate) fn close(&mut self, ending: Ending, answered_ns: Option<u64>, redactor: &Redactor) {
        // What is missing will not come any more. Each turn hands on a held segment.
        for _ in 0..2 * HELD_SEGMENTS {
            if self.up.held_bytes() + self.down.held_bytes() == 0 {
                break;
            }
            self.skip_gaps(redactor);
        }
        let now_ns = self.last_ns;
        let Self {
            up_framer,
            down_framer,
            exchange,
            place,
            ..
        } = self;
        up_framer.close(&mut Up {
            exchange,
            place,
            redactor,
        });
        down_framer.close(&mut Down {
            exchange,
            now_ns,
            confirm: None,
            redactor,
        });
        self.closed = true;
        let left_ns = self
            .client_left_ns
            .or((ending == Ending::Client).then_some(now_ns));
        while let Some(mut pending) = self.exchange.waiting.pop_front() {
            if ending == Ending::Evicted {
                pending.event.reason.get_or_insert(Cow::Borrowed("evicted"));
            }
            let waited =
                left_ns.is_some_and(|left| left.saturating_sub(pending.sent_ns) >= SILENCE_NS);
            self.silent(pending, waited, answered_ns);
        }
        if let Some(pending) = self.exchange.answering.take() {
            self.exchange.finish(pending, redactor);
        }
        if let Some((pending, _)) = self.exchange.unconfirmed.take() {
            self.exchange
                .blocked(pending.event, Evidence::ResponseHopLimit);
        }
    }

    /// A request without answer. `waited`: long enough for the silence to mean something.
    fn silent(&mut self, pending: Pending, waited: bool, answered_ns: Option<u64>) {
        let mut event = pending.event;
        let token_put = event.class == Class::Token && event.method.as_deref() == Some("PUT");
        let suspicious = token_put && self.handshake && !self.exchange.response_bytes_seen;
        let backed = answered_ns.is_some_and(|answered| answered >= pending.sent_ns);
        if suspicious && (waited || backed) {
            let evidence = if backed {
                Evidence::OtherRequestAnswered
            } else {
                Evidence::Silence
            };
            self.exchange.blocked(event, evidence);
            return;
        }
        event.outcome = Outcome::NoResponse;
        self.exchange.ready.push(event);
    }
}

fn feed(framer: &mut Framer, piece: Piece<'_>, sink: &mut impl Heard) {
    match piece {
        Piece::Bytes {
            bytes,
            starts_segment,
        } => framer.bytes(bytes, starts_segment, sink),
        Piece::Hole { len, cut } => {
            // Before the hole: the head that it cuts takes the remark with it.
            if !cut {
                sink.gap();
            }
            framer.hole(u64::from(len), sink);
        }
    }
}

/// A sink that is told of missing bytes as well.
trait Heard: Sink {
    fn gap(&mut self);
}

impl Exchange {
    fn wait(&mut self, pending: Pending) {
        if self.waiting.len() >= PIPELINE_REQUESTS
            && let Some(mut oldest) = self.waiting.pop_front()
        {
            oldest
                .event
                .reason
                .get_or_insert(Cow::Borrowed("pipeline_limit"));
            self.abandoned = self.abandoned.saturating_add(1);
            self.ready.push(oldest.event);
        }
        self.waiting.push_back(pending);
    }

    fn blocked(&mut self, mut event: ImdsEvent, evidence: Evidence) {
        event.outcome = Outcome::HopLimitBlocked;
        event.evidence = Some(evidence);
        self.ready.push(event);
    }

    /// The answer is complete, or as complete as it gets.
    fn finish(&mut self, mut pending: Pending, redactor: &Redactor) {
        read_body(&mut pending, redactor);
        self.ready.push(pending.event);
    }
}

fn read_body(pending: &mut Pending, redactor: &Redactor) {
    let body = std::mem::take(&mut pending.body);
    match pending.event.class {
        Class::Token => {
            let token = body.trim_ascii();
            pending.event.minted_token_hash = (!token.is_empty()).then(|| redactor.hash(token));
        }
        Class::Cred => {
            pending.event.access_key_id = response::access_key_id(&body);
            pending.event.expiration = response::expiration(&body);
        }
        _ => {}
    }
}

struct Up<'a> {
    exchange: &'a mut Exchange,
    place: &'a Place,
    redactor: &'a Redactor,
}

impl Up<'_> {
    fn wait(&mut self, mut event: ImdsEvent, is_head: bool) {
        event.flags.add(std::mem::take(&mut self.exchange.flags));
        event.time_ns = self.exchange.started_ns;
        self.exchange.tally.requests += 1;
        self.exchange.response_bytes_seen = false;
        self.exchange.wait(Pending {
            event,
            is_head,
            sent_ns: self.place.time_ns,
            body: Vec::new(),
        });
    }
}

impl Sink for Up<'_> {
    fn head(&mut self, bytes: &[u8], cut: Cut) -> Framing {
        let request = request::read(bytes, cut, self.place, self.redactor);
        self.wait(request.event, request.is_head);
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
        self.wait(event, false);
    }
}

impl Heard for Up<'_> {
    fn gap(&mut self) {
        self.exchange.flags.add(Flags::GAP);
    }
}

struct Down<'a> {
    exchange: &'a mut Exchange,
    now_ns: u64,
    /// The segment has hop limit 1: sequence number that must be acknowledged.
    confirm: Option<u32>,
    redactor: &'a Redactor,
}

impl Down<'_> {
    fn settle(&mut self, mut pending: Pending) {
        match self.confirm.filter(|_| pending.event.class == Class::Token) {
            Some(seq) => {
                read_body(&mut pending, self.redactor);
                if let Some((earlier, _)) = self.exchange.unconfirmed.replace((pending, seq)) {
                    self.exchange.ready.push(earlier.event);
                }
            }
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
        if wanted && has_body {
            self.exchange.answering = Some(pending);
        } else {
            self.settle(pending);
        }
        answer.framing
    }

    fn body(&mut self, bytes: &[u8]) {
        if let Some(pending) = &mut self.exchange.answering {
            let room = response::BODY_BYTES.saturating_sub(pending.body.len());
            pending
                .body
                .extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
    }

    fn body_hole(&mut self) {
        // Half a token has another hash than the token.
        if let Some(pending) = self
            .exchange
            .answering
            .as_mut()
            .filter(|p| p.event.class == Class::Token)
        {
            pending.body = Vec::new();
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
