//! Segments of a capture in the order in which TCP must have carried them, where the file has them a
//! little out of it.
//!
//! A capture of several queues or interfaces writes an answer before its request now and then. Times
//! alone do not say so: those of several processors differ as well. So a segment goes before another
//! that the file has first only where that one knows of it: it acknowledges its last byte, or stands
//! behind it in its direction and is newer too (a repetition may come behind what followed it). Whatever
//! is further apart than [`REORDER_NS`] stays as the file has it: the clock was set, and the file knows
//! better.

use std::collections::VecDeque;

use plimsoll_imds::{Direction, Segment};

/// How far apart packets may stand in the wrong order, nanoseconds.
const REORDER_NS: u64 = 10_000_000;
/// Segments held at most; then the first goes on.
const HELD_SEGMENTS: usize = 1024;

/// A segment and the payload that it has no more.
#[derive(Debug)]
struct Held {
    segment: Segment<'static>,
    payload: Vec<u8>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// As they are to go on.
    held: VecDeque<Held>,
    newest_ns: u64,
}

impl Order {
    /// Takes the next segment of the file; `out` gets those that nothing can come before any more.
    pub(super) fn push(&mut self, segment: &Segment<'_>, out: &mut impl FnMut(&Segment<'_>)) {
        let time_ns = segment.time_ns;
        if time_ns < self.newest_ns.saturating_sub(REORDER_NS) {
            self.finish(out);
            self.newest_ns = time_ns;
        }
        self.newest_ns = self.newest_ns.max(time_ns);
        self.settle(out);
        // Ports are used again: what is before an opening is of another connection.
        let opens = |held: &Held| {
            let held = &held.segment;
            held.syn && held.direction == Direction::Request && held.key == segment.key
        };
        let from = self.held.iter().rposition(opens).map_or(0, |at| at + 1);
        let later = self.held.iter().skip(from);
        let at = later
            .map(|held| &held.segment)
            .position(|held| knows_of(held, segment))
            .map(|at| from + at);
        let held = Held {
            segment: bare(segment),
            payload: segment.payload.to_vec(),
        };
        self.held.insert(at.unwrap_or(self.held.len()), held);
        self.settle(out);
    }

    /// Hands on what nothing can come before any more, and what there is no room for.
    fn settle(&mut self, out: &mut impl FnMut(&Segment<'_>)) {
        let settled_ns = self.newest_ns.saturating_sub(REORDER_NS);
        while let Some(first) = self.held.front()
            && (first.segment.time_ns < settled_ns || self.held.len() > HELD_SEGMENTS)
        {
            self.next(out);
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self, out: &mut impl FnMut(&Segment<'_>)) {
        while self.next(out) {}
    }

    /// Hands on the first. False if there is none.
    fn next(&mut self, out: &mut impl FnMut(&Segment<'_>)) -> bool {
        let Some(Held { segment, payload }) = self.held.pop_front() else {
            return false;
        };
        out(&Segment {
            payload: &payload,
            ..segment
        });
        true
    }
}

/// Whether one segment was sent when the other was on its way already (RFC 9293 section 3.4), see the
/// module.
fn knows_of(later: &Segment<'_>, earlier: &Segment<'_>) -> bool {
    let len = earlier
        .payload_len
        .saturating_add(u32::from(earlier.syn) + u32::from(earlier.fin));
    if len == 0 || later.key != earlier.key {
        return false;
    }
    let is_same_way = later.direction == earlier.direction;
    // An opening is of another connection perhaps.
    if (is_same_way || earlier.syn) && later.time_ns <= earlier.time_ns {
        return false;
    }
    let known = if is_same_way {
        Some(later.seq)
    } else {
        later.ack
    };
    let end = earlier.seq.wrapping_add(len);
    // Numbers wrap: what is less than half the circle ahead is ahead.
    known.is_some_and(|seq| seq.wrapping_sub(end) < 1 << 31)
}

/// Without its payload, of which it borrows.
const fn bare(segment: &Segment<'_>) -> Segment<'static> {
    let Segment {
        key,
        direction,
        seq,
        ack,
        syn,
        fin,
        rst,
        fragment,
        hop_limit,
        payload: _,
        payload_len,
        time_ns,
        src,
        dst,
    } = *segment;
    Segment {
        key,
        direction,
        seq,
        ack,
        syn,
        fin,
        rst,
        fragment,
        hop_limit,
        payload: &[],
        payload_len,
        time_ns,
        src,
        dst,
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use plimsoll_imds::ConnKey;
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    /// Of four bytes.
    fn segment(direction: Direction, seq: u32, ack: u32, time_ns: u64) -> Segment<'static> {
        let end: SocketAddr = "169.254.169.254:80".parse().unwrap();
        Segment {
            key: ConnKey::Cookie(1),
            direction,
            seq,
            ack: Some(ack),
            syn: false,
            fin: false,
            rst: false,
            fragment: false,
            hop_limit: None,
            payload: b"four",
            payload_len: 4,
            time_ns,
            src: end,
            dst: end,
        }
    }

    /// Places of these segments, as they come out.
    fn order(segments: &[Segment<'_>]) -> Vec<usize> {
        let payloads: Vec<_> = (0..segments.len()).map(usize::to_le_bytes).collect();
        let mut order = Order::default();
        let mut places = Vec::new();
        let mut out = |segment: &Segment<'_>| {
            places.push(usize::from_le_bytes(segment.payload.try_into().unwrap()));
        };
        for (segment, payload) in segments.iter().zip(&payloads) {
            let segment = Segment {
                payload,
                ..*segment
            };
            order.push(&segment, &mut out);
        }
        order.finish(&mut out);
        places
    }

    /// Two requests and their answers, as they were sent; they end where numbers begin anew.
    fn exchanges(times: [u64; 4]) -> [Segment<'static>; 4] {
        let start = 0_u32.wrapping_sub(6);
        let (up, down) = (Direction::Request, Direction::Response);
        let [first, second] = [start.wrapping_add(4), start.wrapping_add(8)];
        [
            segment(up, start, 70, times[0]),
            segment(down, 70, first, times[1]),
            segment(up, first, 74, times[2]),
            segment(down, 74, second, times[3]),
        ]
    }

    #[test]
    fn a_little_out_of_order() {
        let sent = exchanges([0, MS, 2 * MS, 3 * MS]);
        for file in [
            [1, 0, 2, 3],
            [0, 2, 1, 3],
            [3, 2, 1, 0],
            [2, 3, 0, 1],
            [1, 3, 0, 2],
        ] {
            let segments = file.map(|at| sent[at]);
            let told: Vec<_> = order(&segments).into_iter().map(|at| file[at]).collect();
            assert_eq!(told, [0, 1, 2, 3], "{file:?}");
        }
    }

    /// Its numbers may be lower than those of the connection before.
    #[test]
    fn a_port_that_is_used_again() {
        for later_ns in [0, MS, 10_000 * MS] {
            let [request, answer, ..] = exchanges([0; 4]);
            let opening = Segment {
                syn: true,
                payload: b"",
                payload_len: 0,
                ..segment(Direction::Request, request.seq - 100, 0, later_ns)
            };
            let next = segment(Direction::Request, request.seq - 99, 20, later_ns);
            assert_eq!(order(&[request, answer, opening, next]), [0, 1, 2, 3]);
        }
    }

    /// The times are those of the file, and TCP says otherwise.
    #[test]
    fn an_answer_that_both_the_file_and_the_clock_have_first() {
        let [request, answer, ..] = exchanges([2 * MS, MS, 0, 0]);
        assert_eq!(order(&[answer, request]), [1, 0]);
        // A repetition is none that comes first.
        let [first, _, second, _] = exchanges([MS, 0, 2 * MS, 0]);
        let again = Segment {
            time_ns: 3 * MS,
            ..first
        };
        assert_eq!(order(&[first, second, again]), [0, 1, 2]);
    }

    #[test]
    fn the_file_knows_better_than_the_clock() {
        for times in [
            [2 * MS, MS, 3 * MS, 2 * MS],
            [3 * MS, 2 * MS, MS, 0],
            [0, 5 * MS, MS, 6 * MS],
            [100 * MS, 50 * MS, 51 * MS, 0],
            [5; 4],
        ] {
            assert_eq!(order(&exchanges(times)), [0, 1, 2, 3], "{times:?}");
        }
        // Another connection is no reason either.
        let mut others = exchanges([3 * MS, 2 * MS, MS, 0]);
        others.reverse();
        for (cookie, other) in (2..).zip(&mut others) {
            other.key = ConnKey::Cookie(cookie);
        }
        assert_eq!(order(&others), [0, 1, 2, 3]);
    }

    #[test]
    fn no_more_are_held_than_there_is_room_for() {
        let mut order = Order::default();
        let mut told = 0;
        for ns in (0..HELD_SEGMENTS as u64 + 9).rev() {
            let segment = segment(Direction::Request, u32::try_from(ns).unwrap() * 4, 0, ns);
            order.push(&segment, &mut |_| told += 1);
        }
        assert_eq!(told, 9);
    }

    proptest! {
        /// Each goes on, once.
        #[test]
        fn any_times(sent in proptest::collection::vec((any::<bool>(), any::<[u32; 2]>(), 0_u64..40), 0..200)) {
            let segments: Vec<_> = sent.iter().map(|&(up, [seq, ack], ms)| {
                let direction = if up { Direction::Request } else { Direction::Response };
                segment(direction, seq, ack, ms * MS)
            }).collect();
            let mut places = order(&segments);
            places.sort_unstable();
            prop_assert_eq!(places, (0..segments.len()).collect::<Vec<_>>());
        }
    }
}
