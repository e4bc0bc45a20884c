//! One connection: two directions, the requests between them, its bounds and its end.
//!
//! It decides when missing bytes are given up and when the connection is over. What bytes mean is
//! for [`requests`] and [`answers`]; what silence means is for [`exchange`].

mod answers;
mod exchange;
mod forgotten;
mod half;
mod missed;
mod requests;

use std::net::IpAddr;

use crate::http::Framer;
use crate::request::Place;
use crate::stream::{HELD_SEGMENTS, Stream, Verdict, WINDOW_BYTES};
use crate::{Direction, Flags, ImdsEvent, Limits, Redactor, Segment};
use answers::Down;
use exchange::Exchange;
pub(crate) use exchange::{KEPT_NS, Tally};
use half::Half;
use requests::Up;

/// How long bytes out of order wait for what is missing before them, nanoseconds. Nothing that a
/// capture lost is sent again, and TCP repairs a real loss much sooner.
const GAP_PATIENCE_NS: u64 = 1_000_000_000;

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// FIN or RST of the client.
    Client,
    /// FIN or RST of the endpoint, a new connection of the same name, or nothing more to read.
    Other,
    /// No room for it any more.
    Evicted,
    /// Nobody looks any more: what is open is open still.
    Unwatched,
}

#[derive(Debug)]
pub(crate) struct Connection {
    place: Place,
    up: Half,
    down: Half,
    exchange: Exchange,
    pub(crate) last_ns: u64,
    pub(crate) touched: u64,
    client_isn: Option<u32>,
    client_left_ns: Option<u64>,
    closed: bool,
}

impl Connection {
    pub(crate) fn new(place: Place) -> Self {
        Self {
            last_ns: place.time_ns,
            place,
            up: Half::new(Stream::new(true), Framer::requests()),
            down: Half::new(Stream::new(false), Framer::lost_answers()),
            exchange: Exchange::midway(),
            touched: 0,
            client_isn: None,
            client_left_ns: None,
            closed: false,
        }
    }

    /// The client's address.
    pub(crate) const fn client(&self) -> IpAddr {
        self.place.client.ip()
    }

    /// Something would change with time alone.
    pub(crate) fn is_waiting(&self) -> bool {
        self.exchange.is_waiting() || self.out_of_order_bytes() > 0
    }

    /// An event is not handed out yet.
    pub(crate) fn is_awaited(&self) -> bool {
        self.exchange.is_awaited() || self.out_of_order_bytes() > 0
    }

    /// Requests remembered for a late answer alone.
    pub(crate) const fn given_up(&self) -> usize {
        self.exchange.given_up()
    }

    /// Lets go of the oldest `count` of those.
    pub(crate) fn forget_given_up(&mut self, count: usize) {
        self.exchange.forget_given_up(count);
    }

    /// Whether nothing was heard of it for so long that nothing is expected any more. An answer may
    /// still come for a request that was given up, while nobody hung up.
    pub(crate) fn is_idle(&self, now_ns: u64, limits: &Limits) -> bool {
        let is_open = !self.closed && self.client_left_ns.is_none();
        now_ns.saturating_sub(self.last_ns) >= limits.forget_ns()
            && !(is_open && self.given_up() > 0)
    }

    /// Whether this SYN opens another connection under the same name.
    pub(crate) fn is_reopened_by(&self, segment: &Segment<'_>) -> bool {
        segment.syn
            && segment.direction == Direction::Request
            && match self.client_isn {
                Some(isn) => isn != segment.seq,
                None => self.up.stream.next_seq().is_some() || self.closed,
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
            Direction::Request => {
                self.exchange.acked = segment.ack;
                self.push_up(segment, seq, redactor)
            }
            Direction::Response => self.push_down(segment, seq, redactor),
        };
        self.bound(limits, redactor);
        if segment.fin {
            let end = seq.wrapping_add(segment.payload_len);
            match segment.direction {
                Direction::Request => {
                    self.up.ends_at(end);
                    self.client_left_ns.get_or_insert(segment.time_ns);
                }
                Direction::Response => self.down.ends_at(end),
            }
        }
        self.end_directions(redactor);
        verdict
    }

    fn open(&mut self, segment: &Segment<'_>) {
        match segment.direction {
            Direction::Request => {
                self.client_isn.get_or_insert(segment.seq);
                if self.up.stream.next_seq().is_none() {
                    self.exchange.unseen = Flags::NONE;
                }
                self.up.stream.open(segment.seq);
            }
            Direction::Response => {
                if self.down.stream.next_seq().is_none() {
                    self.down.framer = Framer::answers();
                }
                self.exchange.handshake = true;
                self.down.stream.open(segment.seq);
            }
        }
    }

    fn push_up(&mut self, segment: &Segment<'_>, seq: u32, redactor: &Redactor) -> Verdict {
        let (up, mut sink) = self.up(redactor);
        let verdict = up.push(
            seq,
            segment.payload,
            segment.payload_len,
            segment.time_ns,
            &mut sink,
        );
        if verdict.conflict {
            self.exchange.tally.conflicts += 1;
            if self.up.framer.is_in_head() {
                self.exchange.flags.add(Flags::OVERLAP_CONFLICT);
            } else if let Some(last) = self.exchange.waiting.back_mut() {
                last.event.flags.add(Flags::OVERLAP_CONFLICT);
            }
        }
        verdict
    }

    fn push_down(&mut self, segment: &Segment<'_>, seq: u32, redactor: &Redactor) -> Verdict {
        if segment.payload_len > 0 {
            self.cut_answered_head(segment, seq, redactor);
            self.exchange.response_bytes_seen = true;
        }
        let (down, mut sink) = self.down(redactor, segment.time_ns);
        sink.confirm = (segment.hop_limit == Some(1)).then_some(seq);
        down.push(
            seq,
            segment.payload,
            segment.payload_len,
            segment.time_ns,
            &mut sink,
        )
    }

    /// A head of which we have not seen the end goes on as it is once the endpoint answers it: when
    /// nobody else waits for this answer, or when the endpoint has bytes behind what we have seen, and
    /// so has read the rest of it. If it came after the answer, it would take that of the next request.
    fn cut_answered_head(&mut self, segment: &Segment<'_>, seq: u32, redactor: &Redactor) {
        let is_next = self.exchange.waiting.is_empty()
            && self.down.framer.is_between()
            && self.down.stream.next_seq() == Some(seq);
        let next = self.up.stream.next_seq();
        let is_ahead = next
            .zip(segment.ack)
            .is_some_and(|(next, ack)| (1..WINDOW_BYTES).contains(&ack.wrapping_sub(next)));
        if self.up.framer.is_in_head() && (is_next || is_ahead) {
            self.exchange.flags.add_if(is_ahead, Flags::GAP);
            let (up, mut sink) = self.up(redactor);
            up.framer.cut_head(&mut sink);
        }
    }

    /// `direction` is that of the segment that carries the acknowledgement.
    fn acknowledge(&mut self, direction: Direction, ack: u32, redactor: &Redactor) {
        let now_ns = self.place.time_ns;
        let skipped = match direction {
            Direction::Request => {
                self.exchange.confirm(ack);
                self.exchange.reach(ack);
                let (down, mut sink) = self.down(redactor, now_ns);
                down.acknowledged(ack, now_ns, &mut sink)
            }
            Direction::Response => {
                let (up, mut sink) = self.up(redactor);
                let skipped = up.acknowledged(ack, now_ns, &mut sink);
                // The endpoint has bytes that were never captured. A FIN counts as one.
                let is_ahead = up
                    .stream
                    .next_seq()
                    .is_some_and(|next| (2..WINDOW_BYTES).contains(&ack.wrapping_sub(next)));
                self.exchange.unseen.add_if(is_ahead, Flags::GAP);
                skipped
            }
        };
        self.exchange.tally.gaps += u64::from(skipped);
    }

    fn skip_gaps(&mut self, redactor: &Redactor) {
        let now_ns = self.place.time_ns;
        let (up, mut sink) = self.up(redactor);
        let up_skipped = up.skip_gap(now_ns, &mut sink);
        let (down, mut sink) = self.down(redactor, now_ns);
        let down_skipped = down.skip_gap(now_ns, &mut sink);
        self.exchange.tally.gaps += u64::from(up_skipped) + u64::from(down_skipped);
    }

    /// Keeps the connection within its share of memory by giving up on missing bytes.
    fn bound(&mut self, limits: &Limits, redactor: &Redactor) {
        // Each turn hands on at least one held segment.
        for _ in 0..2 * HELD_SEGMENTS {
            let crowded = self.up.stream.is_crowded() || self.down.stream.is_crowded();
            let held = self.up.held_bytes() + self.down.held_bytes();
            if (held <= limits.connection_bytes && !crowded) || self.out_of_order_bytes() == 0 {
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
        let late = |half: &Half| {
            let since_ns = half.stream.waiting_since_ns();
            since_ns.is_some_and(|since_ns| now_ns.saturating_sub(since_ns) >= GAP_PATIENCE_NS)
        };
        if late(&self.up) || late(&self.down) {
            self.place.time_ns = self.place.time_ns.max(now_ns);
            self.skip_gaps(redactor);
            self.end_directions(redactor);
        }
        self.exchange.read_to = self.down.stream.next_seq();
        self.exchange
            .advance(now_ns, limits.response_ns, answered_ns, redactor);
    }

    /// Ends a direction whose last byte has come.
    fn end_directions(&mut self, redactor: &Redactor) {
        let now_ns = self.place.time_ns;
        let (up, mut sink) = self.up(redactor);
        up.close_if_ended(&mut sink);
        let (down, mut sink) = self.down(redactor, now_ns);
        self.closed |= down.close_if_ended(&mut sink);
    }

    /// The end: everything that waits is handed on as what it is by now.
    pub(crate) fn close(&mut self, ending: Ending, answered_ns: Option<u64>, redactor: &Redactor) {
        // What is missing will not come any more. Each turn hands on a held segment.
        for _ in 0..2 * HELD_SEGMENTS {
            if self.out_of_order_bytes() == 0 {
                break;
            }
            self.skip_gaps(redactor);
        }
        let now_ns = self.last_ns;
        let (up, mut sink) = self.up(redactor);
        up.framer.close(&mut sink);
        let (down, mut sink) = self.down(redactor, now_ns);
        down.framer.close(&mut sink);
        let reason = match ending {
            Ending::Evicted => Some("evicted"),
            // Behind the endpoint's last byte no answer comes.
            Ending::Unwatched if !self.closed => Some("observation_ended"),
            _ => None,
        };
        self.closed = true;
        let left_ns = self
            .client_left_ns
            .or((ending == Ending::Client).then_some(now_ns));
        self.exchange.read_to = self.down.stream.next_seq();
        self.exchange.close(left_ns, reason, answered_ns, redactor);
    }

    const fn out_of_order_bytes(&self) -> usize {
        self.up.stream.held_bytes() + self.down.stream.held_bytes()
    }

    /// The client's direction with its sink.
    const fn up<'a>(&'a mut self, redactor: &'a Redactor) -> (&'a mut Half, Up<'a>) {
        let sink = Up {
            exchange: &mut self.exchange,
            place: &self.place,
            redactor,
        };
        (&mut self.up, sink)
    }

    /// The endpoint's direction with its sink.
    const fn down<'a>(
        &'a mut self,
        redactor: &'a Redactor,
        now_ns: u64,
    ) -> (&'a mut Half, Down<'a>) {
        let sink = Down {
            exchange: &mut self.exchange,
            place: &self.place,
            now_ns,
            confirm: None,
            redactor,
        };
        (&mut self.down, sink)
    }
}
