//! Segments of a capture in the order of their times, where the file has them a little out of it.
//!
//! A capture of several queues or interfaces writes an answer before its request now and then, with
//! the times of both right. Whatever is further apart than [`REORDER_NS`] stays as the file has it: the
//! clock was set, and the file knows better.

use std::collections::BTreeMap;

use plimsoll_imds::Segment;

/// How far apart packets may stand in the wrong order, nanoseconds.
const REORDER_NS: u64 = 10_000_000;
/// Segments held at most; then the oldest goes on.
const HELD_SEGMENTS: usize = 4096;

/// A segment and the payload that it has no more.
#[derive(Debug)]
struct Held {
    segment: Segment<'static>,
    payload: Vec<u8>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// By time, then by place in the file.
    held: BTreeMap<(u64, u64), Held>,
    pushed: u64,
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
        self.pushed += 1;
        let held = Held {
            segment: bare(segment),
            payload: segment.payload.to_vec(),
        };
        self.held.insert((time_ns, self.pushed), held);
        let settled_ns = self.newest_ns.saturating_sub(REORDER_NS);
        while let Some((&(oldest_ns, _), _)) = self.held.first_key_value()
            && (oldest_ns < settled_ns || self.held.len() > HELD_SEGMENTS)
        {
            self.next(out);
        }
    }

    /// Nothing more comes.
    pub(super) fn finish(&mut self, out: &mut impl FnMut(&Segment<'_>)) {
        while self.next(out) {}
    }

    /// Hands on the oldest. False if there is none.
    fn next(&mut self, out: &mut impl FnMut(&Segment<'_>)) -> bool {
        let Some((_, Held { segment, payload })) = self.held.pop_first() else {
            return false;
        };
        out(&Segment {
            payload: &payload,
            ..segment
        });
        true
    }
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

    use plimsoll_imds::{ConnKey, Direction};
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    /// Numbers of the segments with these times, as they come out.
    fn order(times: &[u64]) -> Vec<u32> {
        let end: SocketAddr = "169.254.169.254:80".parse().unwrap();
        let mut order = Order::default();
        let mut seqs = Vec::new();
        let mut out = |segment: &Segment<'_>| {
            assert_eq!(segment.payload, segment.seq.to_le_bytes());
            seqs.push(segment.seq);
        };
        for (seq, time_ns) in (0_u32..).zip(times) {
            let segment = Segment {
                key: ConnKey::Cookie(1),
                direction: Direction::Request,
                seq,
                ack: None,
                syn: false,
                fin: false,
                rst: false,
                fragment: false,
                hop_limit: None,
                payload: &seq.to_le_bytes(),
                payload_len: 4,
                time_ns: *time_ns,
                src: end,
                dst: end,
            };
            order.push(&segment, &mut out);
        }
        order.finish(&mut out);
        seqs
    }

    #[test]
    fn a_little_out_of_order() {
        assert_eq!(order(&[0, 2 * MS, MS, 9 * MS]), [0, 2, 1, 3]);
        assert_eq!(order(&[5, 5, 5]), [0, 1, 2], "as the file has them");
        let back = [100 * MS, 50 * MS, 51 * MS, 0];
        assert_eq!(order(&back), [0, 1, 2, 3], "the clock was set");
        let many: Vec<u64> = (0..HELD_SEGMENTS as u64 + 9).rev().collect();
        assert_eq!(order(&many).len(), many.len());
    }

    proptest! {
        /// Each goes on, once.
        #[test]
        fn any_times(times in proptest::collection::vec(0_u64..40, 0..200)) {
            let times: Vec<u64> = times.into_iter().map(|ms| ms * MS).collect();
            let mut seqs = order(&times);
            seqs.sort_unstable();
            prop_assert_eq!(seqs, (0..u32::try_from(times.len()).unwrap()).collect::<Vec<_>>());
        }
    }
}
