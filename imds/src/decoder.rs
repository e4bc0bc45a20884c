//! All connections together: the bounds, the clock that is passed in, and the counts.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use crate::connection::{Connection, Ending, KEPT_NS, Tally};
use crate::request::Place;
use crate::{ConnKey, Direction, Endpoint, ImdsEvent, Key, Redactor, Segment};

/// Bounds. A head has 8 KiB at most; of a longer one the rest is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections remembered; the one longest untouched is closed for a new one.
    pub connections: usize,
    /// Bytes held for one connection.
    pub connection_bytes: usize,
    /// A connection untouched for so long is forgotten, nanoseconds; see [`Limits::forget_ns`].
    pub idle_ns: u64,
    /// How long a request waits for its answer, nanoseconds.
    pub response_ns: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            connection_bytes: 64 * 1024,
            idle_ns: 5_000_000_000,
            response_ns: 2_000_000_000,
        }
    }
}

impl Limits {
    /// When a connection untouched is forgotten, nanoseconds: never before its requests are given
    /// up. One that was given up keeps its connection a minute longer, for a late answer.
    pub const fn forget_ns(&self) -> u64 {
        if self.idle_ns > self.response_ns {
            self.idle_ns
        } else {
            self.response_ns
        }
    }

    /// How long after a request was given up its late answer may still be told with its
    /// [`request_id`](ImdsEvent::request_id), nanoseconds.
    pub const fn late_ns(&self) -> u64 {
        // The answer's own bytes have as long to come as the answer had.
        KEPT_NS.saturating_add(self.response_ns.saturating_mul(2))
    }
}

/// Addresses of which the time of the last answer is remembered.
const ANSWERED_ADDRESSES: usize = 4096;
/// Requests given up that are remembered for a late answer, of all connections together.
pub(crate) const GIVEN_UP_REQUESTS: usize = 4096;
/// How often time alone is acted upon.
const SWEEP_NS: u64 = 100_000_000;

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Taken {
    /// New payload, or the opening or end of a connection.
    Used,
    /// A bare acknowledgement.
    NoPayload,
    /// A retransmission.
    Repeated,
    /// A sequence number far from what the connection is at.
    Outside,
    /// Neither end is a metadata endpoint.
    NotEndpoint,
}

/// Cumulative counts. `segments = used + no_payload + repeated + outside + not_endpoint`, and
/// `requests + late_answers = events + in flight` ([`Stats::waiting`]).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Segments pushed.
    pub segments: u64,
    /// See [`Taken::Used`].
    pub used: u64,
    /// See [`Taken::NoPayload`].
    pub no_payload: u64,
    /// See [`Taken::Repeated`].
    pub repeated: u64,
    /// See [`Taken::Outside`].
    pub outside: u64,
    /// See [`Taken::NotEndpoint`].
    pub not_endpoint: u64,
    /// Payload bytes pushed.
    pub bytes: u64,
    /// Requests begun, opaque ones and those that only their answer tells of included.
    pub requests: u64,
    /// Events handed out.
    pub events: u64,
    /// Answers to requests that were given up: each is an event of its own.
    pub late_answers: u64,
    /// Requests whose late answer would find nothing but their place: too many wait, on one
    /// connection or on all, or for too long.
    pub forgotten: u64,
    /// Answers without a request: it was lost, forgotten, or older than the decoder. Where a request
    /// may have gone by unseen, such an answer is an event as well.
    pub orphan_responses: u64,
    /// Heads that could not be read and that the event of one before them stands for, which could
    /// not be read either and had no answer yet.
    pub repeated_heads: u64,
    /// Gaps given up.
    pub gaps: u64,
    /// Retransmissions with other bytes.
    pub conflicts: u64,
    /// Connections closed to make room while something of them was awaited.
    pub evicted: u64,
    /// Connections forgotten because nothing happened, in the midst of something.
    pub idle: u64,
}

impl Stats {
    /// Requests begun whose event was not handed out yet.
    pub const fn waiting(&self) -> u64 {
        (self.requests + self.late_answers).saturating_sub(self.events)
    }
}

/// Segments in, events out.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    redactor: Redactor,
    connections: HashMap<ConnKey, Connection>,
    /// By time of last touch, oldest first.
    order: BTreeMap<u64, ConnKey>,
    touches: u64,
    answered_ns: HashMap<IpAddr, u64>,
    next_sweep_ns: u64,
    stats: Stats,
}

impl Decoder {
    /// A decoder without connections.
    pub fn new(limits: Limits, key: &Key) -> Self {
        Self {
            limits,
            redactor: Redactor::new(key),
            connections: HashMap::new(),
            order: BTreeMap::new(),
            touches: 0,
            answered_ns: HashMap::new(),
            next_sweep_ns: 0,
            stats: Stats::default(),
        }
    }

    /// Cumulative counts.
    pub const fn stats(&self) -> Stats {
        self.stats
    }

    /// Connections remembered now.
    pub fn connections(&self) -> usize {
        self.connections.len()
    }

    /// Takes a segment; events that it completes go to `out`. Its time moves the clock on.
    pub fn push(&mut self, segment: &Segment<'_>, out: &mut impl FnMut(ImdsEvent)) -> Taken {
        self.advance(segment.time_ns, out);
        let taken = self.take(segment, out);
        self.stats.segments += 1;
        self.stats.bytes += segment.payload.len() as u64;
        match taken {
            Taken::Used => self.stats.used += 1,
            Taken::NoPayload => self.stats.no_payload += 1,
            Taken::Repeated => self.stats.repeated += 1,
            Taken::Outside => self.stats.outside += 1,
            Taken::NotEndpoint => self.stats.not_endpoint += 1,
        }
        taken
    }

    /// Tells the decoder what time it is: requests without answer, missing bytes and idle connections are
    /// given up. Call it at least each second; nothing happens in shorter steps than 100 ms.
    pub fn advance(&mut self, now_ns: u64, out: &mut impl FnMut(ImdsEvent)) {
        if now_ns < self.next_sweep_ns {
            return;
        }
        self.next_sweep_ns = now_ns.saturating_add(SWEEP_NS);
        let mut over = Vec::new();
        let waiting = self.connections.iter_mut().filter(|(_, c)| c.is_waiting());
        let mut finished = Vec::new();
        let mut given_up = 0_usize;
        for (key, connection) in waiting {
            let answered_ns = self.answered_ns.get(&connection.client()).copied();
            connection.advance(now_ns, &self.limits, answered_ns, &self.redactor);
            given_up += connection.given_up();
            let surplus = given_up.saturating_sub(GIVEN_UP_REQUESTS);
            connection.forget_given_up(surplus);
            given_up -= surplus;
            finished.push(*key);
        }
        for key in finished {
            self.collect(key, out);
        }
        for (key, connection) in &self.connections {
            if connection.is_idle(now_ns, &self.limits) {
                over.push(*key);
            }
        }
        for key in over {
            let events = self.stats.events;
            self.close(key, Ending::Other, out);
            self.stats.idle += u64::from(self.stats.events > events);
        }
        let horizon = now_ns.saturating_sub(self.limits.forget_ns());
        self.answered_ns.retain(|_, answered| *answered >= horizon);
    }

    /// The capture is over: what still waits is handed out as what it is by now, and says by its
    /// reason, `observation_ended`, that nobody waited until the end.
    pub fn finish(&mut self, out: &mut impl FnMut(ImdsEvent)) {
        while let Some((_, key)) = self.order.first_key_value() {
            let key = *key;
            self.close(key, Ending::Unwatched, out);
        }
    }

    fn take(&mut self, segment: &Segment<'_>, out: &mut impl FnMut(ImdsEvent)) -> Taken {
        let (client, server) = segment.ends();
        let Some(endpoint) = Endpoint::of(server.ip()) else {
            return Taken::NotEndpoint;
        };
        let key = segment.key;
        let is_reopened = |known: &Connection| known.is_reopened_by(segment);
        if segment.syn && self.connections.get(&key).is_some_and(is_reopened) {
            self.close(key, Ending::Other, out);
        }
        let bare = segment.payload_len == 0 && segment.payload.is_empty();
        let control = segment.syn || segment.fin || segment.rst;
        if !self.connections.contains_key(&key) {
            if bare && !segment.syn {
                // The tail of a connection that is over, or the middle of one older than us.
                return Taken::NoPayload;
            }
            self.make_room(out);
            let place = Place {
                key,
                client,
                server,
                endpoint,
                time_ns: segment.time_ns,
            };
            self.connections.insert(key, Connection::new(place));
        }
        let Some(connection) = self.connections.get_mut(&key) else {
            return Taken::Outside;
        };
        if connection.touched != self.touches || connection.touched == 0 {
            self.order.remove(&connection.touched);
            self.touches += 1;
            connection.touched = self.touches;
            self.order.insert(self.touches, key);
        }
        let verdict = connection.push(segment, &self.limits, &self.redactor);
        if segment.rst {
            let client = segment.direction == Direction::Request;
            let answered_ns = self.answered_ns.get(&connection.client()).copied();
            connection.close(
                if client {
                    Ending::Client
                } else {
                    Ending::Other
                },
                answered_ns,
                &self.redactor,
            );
        }
        let client = connection.client();
        let at_ns = connection.last_ns;
        let finished = connection.take();
        self.hand_out(client, at_ns, finished, out);
        match verdict {
            _ if verdict.outside => Taken::Outside,
            _ if control => Taken::Used,
            _ if bare => Taken::NoPayload,
            _ if verdict.repeated => Taken::Repeated,
            _ => Taken::Used,
        }
    }

    fn make_room(&mut self, out: &mut impl FnMut(ImdsEvent)) {
        while self.connections.len() >= self.limits.connections.max(1) {
            let Some((_, oldest)) = self.order.first_key_value() else {
                break;
            };
            let oldest = *oldest;
            self.stats.evicted += u64::from(
                self.connections
                    .get(&oldest)
                    .is_some_and(Connection::is_awaited),
            );
            self.close(oldest, Ending::Evicted, out);
        }
    }

    fn close(&mut self, key: ConnKey, ending: Ending, out: &mut impl FnMut(ImdsEvent)) {
        if let Some(connection) = self.connections.get_mut(&key) {
            let answered_ns = self.answered_ns.get(&connection.client()).copied();
            connection.close(ending, answered_ns, &self.redactor);
        }
        self.collect(key, out);
        self.forget(key);
    }

    fn forget(&mut self, key: ConnKey) {
        if let Some(connection) = self.connections.remove(&key) {
            self.order.remove(&connection.touched);
        }
    }

    /// Hands out what a connection has finished and adds up its counts.
    fn collect(&mut self, key: ConnKey, out: &mut impl FnMut(ImdsEvent)) {
        let Some(connection) = self.connections.get_mut(&key) else {
            return;
        };
        let client = connection.client();
        let at_ns = connection.last_ns;
        let finished = connection.take();
        self.hand_out(client, at_ns, finished, out);
    }

    /// `at_ns`: when something last happened on the connection of `client`.
    fn hand_out(
        &mut self,
        client: IpAddr,
        at_ns: u64,
        (ready, tally): (Vec<ImdsEvent>, Tally),
        out: &mut impl FnMut(ImdsEvent),
    ) {
        if tally.answered {
            let room = self.answered_ns.len() < ANSWERED_ADDRESSES;
            if let Some(answered) = self.answered_ns.get_mut(&client) {
                *answered = at_ns;
            } else if room {
                self.answered_ns.insert(client, at_ns);
            }
        }
        self.stats.requests += tally.requests;
        self.stats.late_answers += tally.late_answers;
        self.stats.forgotten += tally.forgotten;
        self.stats.orphan_responses += tally.orphan_responses;
        self.stats.repeated_heads += tally.repeated_heads;
        self.stats.gaps += tally.gaps;
        self.stats.conflicts += tally.conflicts;
        self.stats.events += ready.len() as u64;
        ready.into_iter().for_each(out);
    }
}
