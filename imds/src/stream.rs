//! One direction of a TCP connection: segments in any order become bytes in order, and holes.
//!
//! The first bytes seen for a position win; a later, different copy is a conflict. What was never
//! captured becomes a hole of known length. Holds at most what its caller allows; knows nothing of
//! HTTP.

/// What comes out, in stream order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// Bytes; `starts_segment` where they are the first of a segment, the only places at which a
    /// reader that lost its place may look for a new message.
    Bytes {
        /// In order, never empty.
        bytes: &'a [u8],
        /// See above.
        starts_segment: bool,
        /// Sequence number of the first of them.
        seq: u32,
        /// When their segment was captured, however long it was held, nanoseconds.
        time_ns: u64,
    },
    /// So many bytes were on the wire and not in the capture.
    Hole {
        /// Never zero.
        len: u32,
        /// The segment was seen but cut; otherwise it was never seen.
        cut: bool,
    },
}

/// Sequence distance beyond which a segment cannot belong to the window.
pub(crate) const WINDOW_BYTES: u32 = 1 << 20;
/// Delivered bytes that are kept to compare retransmissions with.
pub(crate) const RECENT_BYTES: usize = 1024;
/// Segments out of order that one direction holds at most.
pub(crate) const HELD_SEGMENTS: usize = 512;

#[derive(Debug)]
struct Held {
    seq: u32,
    bytes: Vec<u8>,
    wire_len: u32,
    time_ns: u64,
}

/// Whether `seq` is not behind `other`, modulo 2^32 (RFC 9293 section 3.4).
pub(crate) const fn is_up_to(seq: u32, other: u32) -> bool {
    other.wrapping_sub(seq) <= u32::MAX / 2
}

/// What a segment turned out to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "remarks are independent")]
pub(crate) struct Verdict {
    /// Nothing new: a retransmission, or no payload.
    pub repeated: bool,
    /// Other bytes for a position that was seen before.
    pub conflict: bool,
    /// Too far from the window to belong to it.
    pub outside: bool,
    /// Bytes are missing before it; it is held.
    pub held: bool,
}

/// Reassembly of one direction.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    next: Option<u32>,
    held: Vec<Held>,
    held_bytes: usize,
    recent: Vec<u8>,
    waiting_since_ns: Option<u64>,
    keeps_recent: bool,
}

impl Stream {
    /// `keeps_recent`: whether retransmissions are compared with what was delivered.
    pub(crate) const fn new(keeps_recent: bool) -> Self {
        Self {
            next: None,
            held: Vec::new(),
            held_bytes: 0,
            recent: Vec::new(),
            waiting_since_ns: None,
            keeps_recent,
        }
    }

    /// A SYN: the first payload byte has the next number.
    pub(crate) fn open(&mut self, syn_seq: u32) {
        if self.next.is_none() {
            self.next = Some(syn_seq.wrapping_add(1));
        }
    }

    /// The next sequence number expected, if any segment was seen.
    pub(crate) const fn next_seq(&self) -> Option<u32> {
        self.next
    }

    /// Captured bytes held out of order.
    pub(crate) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Since when the direction waits for missing bytes.
    pub(crate) const fn waiting_since_ns(&self) -> Option<u64> {
        self.waiting_since_ns
    }

    /// Takes a segment and hands on what is now in order. A connection that was open before the
    /// capture starts at the first number seen.
    pub(crate) fn push(
        &mut self,
        seq: u32,
        bytes: &[u8],
        wire_len: u32,
        now_ns: u64,
        out: &mut impl FnMut(Piece<'_>),
    ) -> Verdict {
        let wire_len = wire_len.max(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        let mut verdict = Verdict::default();
        if wire_len == 0 {
            verdict.repeated = true;
            return verdict;
        }
        let next = *self.next.get_or_insert(seq);
        let ahead = seq.wrapping_sub(next);
        if ahead == 0 && self.held.is_empty() {
            self.deliver(bytes, wire_len, true, now_ns, out);
            return verdict;
        }
        if ahead < WINDOW_BYTES {
            verdict.conflict = self.differs_from_held(seq, bytes);
            verdict.held = ahead != 0;
            self.hold(seq, bytes, wire_len, now_ns);
            self.drain(now_ns, out);
            return verdict;
        }
        let behind = next.wrapping_sub(seq);
        if behind > WINDOW_BYTES {
            verdict.outside = true;
            return verdict;
        }
        verdict.conflict = self.differs_from_recent(behind, bytes);
        if wire_len <= behind {
            verdict.repeated = true;
            return verdict;
        }
        let fresh = bytes.get(behind as usize..).unwrap_or_default();
        verdict.conflict |= self.differs_from_held(next, fresh);
        if self.held.is_empty() {
            self.deliver(fresh, wire_len - behind, false, now_ns, out);
        } else {
            self.hold(next, fresh, wire_len - behind, now_ns);
            self.drain(now_ns, out);
        }
        verdict
    }

    /// Gives up on missing bytes: hands on a hole and what lies behind it, up to the next hole.
    /// Returns whether there was one.
    pub(crate) fn skip_gap(&mut self, now_ns: u64, out: &mut impl FnMut(Piece<'_>)) -> bool {
        let (Some(next), Some(first)) = (self.next, self.held.first()) else {
            return false;
        };
        let missing = first.seq.wrapping_sub(next);
        if missing == 0 || missing >= WINDOW_BYTES {
            return false;
        }
        out(Piece::Hole {
            len: missing,
            cut: false,
        });
        self.recent.clear();
        self.next = Some(first.seq);
        self.drain(now_ns, out);
        true
    }

    /// The peer acknowledged everything below `ack`: what is missing below it was on the wire and
    /// will not be sent again. Returns whether a gap was given up.
    pub(crate) fn acknowledged(
        &mut self,
        ack: u32,
        now_ns: u64,
        out: &mut impl FnMut(Piece<'_>),
    ) -> bool {
        let mut skipped = false;
        // Each turn takes at least one held segment.
        for _ in 0..=HELD_SEGMENTS {
            let (Some(next), Some(first)) = (self.next, self.held.first()) else {
                break;
            };
            let known = ack.wrapping_sub(next);
            let missing = first.seq.wrapping_sub(next);
            if known > WINDOW_BYTES || missing > known || !self.skip_gap(now_ns, out) {
                break;
            }
            skipped = true;
        }
        skipped
    }

    fn deliver(
        &mut self,
        bytes: &[u8],
        wire_len: u32,
        starts_segment: bool,
        time_ns: u64,
        out: &mut impl FnMut(Piece<'_>),
    ) {
        let seq = self.next.unwrap_or_default();
        self.next = Some(seq.wrapping_add(wire_len));
        if !bytes.is_empty() {
            self.remember(bytes);
            out(Piece::Bytes {
                bytes,
                starts_segment,
                seq,
                time_ns,
            });
        }
        let missing = wire_len.saturating_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        if missing > 0 {
            self.recent.clear();
            out(Piece::Hole {
                len: missing,
                cut: true,
            });
        }
    }

    /// Keeps what no held segment covers yet: the first bytes for a position win.
    fn hold(&mut self, seq: u32, bytes: &[u8], wire_len: u32, time_ns: u64) {
        let next = self.next.unwrap_or(seq);
        let start = seq.wrapping_sub(next);
        let end = start.saturating_add(wire_len);
        let mut free = Vec::new();
        let mut cursor = start;
        for held in &self.held {
            let held_start = held.seq.wrapping_sub(next);
            if held_start >= end {
                break;
            }
            if held_start > cursor {
                free.push((cursor, held_start));
            }
            cursor = cursor.max(held_start.saturating_add(held.wire_len));
        }
        if cursor < end {
            free.push((cursor, end));
        }
        for (from, to) in free {
            let known = bytes.len();
            let part =
                bytes.get(((from - start) as usize).min(known)..((to - start) as usize).min(known));
            let part = part.unwrap_or_default().to_vec();
            let at = self
                .held
                .partition_point(|held| held.seq.wrapping_sub(next) < from);
            self.held_bytes += part.len();
            self.held.insert(
                at,
                Held {
                    seq: next.wrapping_add(from),
                    bytes: part,
                    wire_len: to - from,
                    time_ns,
                },
            );
        }
    }

    /// Hands on held segments as far as they are in order. They do not overlap each other.
    fn drain(&mut self, now_ns: u64, out: &mut impl FnMut(Piece<'_>)) {
        let mut taken = 0;
        let mut held = std::mem::take(&mut self.held);
        for segment in &held {
            let next = self.next.unwrap_or(segment.seq);
            let ahead = segment.seq.wrapping_sub(next);
            if ahead == 0 {
                let Held {
                    bytes,
                    wire_len,
                    time_ns,
                    ..
                } = segment;
                self.deliver(bytes, *wire_len, true, *time_ns, out);
            } else {
                break;
            }
            self.held_bytes = self.held_bytes.saturating_sub(segment.bytes.len());
            taken += 1;
        }
        held.drain(..taken);
        self.held = held;
        self.waiting_since_ns = if self.held.is_empty() {
            None
        } else if taken > 0 {
            Some(now_ns)
        } else {
            self.waiting_since_ns.or(Some(now_ns))
        };
    }

    /// Whether so many segments are held that a gap must be given up.
    pub(crate) const fn is_crowded(&self) -> bool {
        self.held.len() >= HELD_SEGMENTS
    }

    fn remember(&mut self, bytes: &[u8]) {
        if !self.keeps_recent {
            return;
        }
        if let Some(tail) = bytes.len().checked_sub(RECENT_BYTES) {
            self.recent.clear();
            self.recent
                .extend_from_slice(bytes.get(tail..).unwrap_or_default());
            return;
        }
        let surplus = (self.recent.len() + bytes.len()).saturating_sub(RECENT_BYTES);
        self.recent.drain(..surplus);
        self.recent.extend_from_slice(bytes);
    }

    /// `bytes` starts `behind` bytes before `next`; compares the part that `recent` still covers.
    fn differs_from_recent(&self, behind: u32, bytes: &[u8]) -> bool {
        let behind = behind as usize;
        let (old, new) = match self.recent.len().checked_sub(behind) {
            Some(start) => (self.recent.get(start..).unwrap_or_default(), bytes),
            None => (
                self.recent.as_slice(),
                bytes.get(behind - self.recent.len()..).unwrap_or_default(),
            ),
        };
        old.iter().zip(new).any(|(a, b)| a != b)
    }

    fn differs_from_held(&self, seq: u32, bytes: &[u8]) -> bool {
        self.held.iter().any(|held| {
            let ahead = seq.wrapping_sub(held.seq);
            let (old, new) = if ahead < WINDOW_BYTES {
                (held.bytes.get(ahead as usize..).unwrap_or_default(), bytes)
            } else {
                let skip = held.seq.wrapping_sub(seq) as usize;
                (held.bytes.as_slice(), bytes.get(skip..).unwrap_or_default())
            };
            old.iter().zip(new).any(|(a, b)| a != b)
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pushes `(offset, bytes, wire_len)` segments and returns the text, holes as `_`.
    fn check(isn: u32, segments: &[(u32, &str, u32)], expected: &str) -> Stream {
        let mut stream = Stream::new(true);
        stream.open(isn.wrapping_sub(1));
        let mut text = String::new();
        for (offset, bytes, wire_len) in segments {
            let seq = isn.wrapping_add(*offset);
            stream.push(seq, bytes.as_bytes(), *wire_len, 0, &mut |piece| {
                collect(&mut text, piece);
            });
        }
        assert_eq!(text, expected);
        stream
    }

    fn collect(text: &mut String, piece: Piece<'_>) {
        match piece {
            Piece::Bytes { bytes, .. } => text.push_str(std::str::from_utf8(bytes).unwrap()),
            Piece::Hole { len, .. } => text.extend(std::iter::repeat_n('_', len as usize)),
        }
    }

    #[test]
    fn order_and_overlap() {
        for isn in [0, 1, u32::MAX, u32::MAX - 2] {
            check(isn, &[(0, "abc", 3), (3, "def", 3)], "abcdef");
            check(isn, &[(3, "def", 3), (0, "abc", 3)], "abcdef");
            check(isn, &[(0, "abc", 3), (0, "abc", 3), (3, "d", 1)], "abcd");
            check(isn, &[(0, "abc", 3), (1, "bcde", 4)], "abcde");
            check(isn, &[(0, "abc", 3), (1, "XXde", 4)], "abcde");
            check(isn, &[(4, "e", 1), (2, "cd", 2), (0, "abcX", 4)], "abcde");
            check(isn, &[(0, "abc", 6), (6, "g", 1)], "abc___g");
            check(isn, &[(2, "c", 1), (2, "Z", 1), (0, "ab", 2)], "abc");
        }
    }

    #[test]
    fn order_of_numbers() {
        for (seq, other, expected) in [
            (7, 7, true),
            (7, 8, true),
            (8, 7, false),
            (u32::MAX, 0, true),
            (0, u32::MAX, false),
        ] {
            assert_eq!(is_up_to(seq, other), expected, "{seq} {other}");
        }
    }

    #[test]
    fn conflicts_are_noticed() {
        let mut stream = check(7, &[(0, "abcdef", 6), (8, "ij", 2)], "abcdef");
        let none = &mut |_: Piece<'_>| {};
        assert!(!stream.push(9, b"cd", 2, 0, none).conflict);
        assert!(stream.push(9, b"cX", 2, 0, none).conflict);
        assert!(stream.push(14, b"hiX", 3, 0, none).conflict);
        assert!(stream.push(15, b"X", 1, 0, none).conflict);
        let far = stream.push(7_u32.wrapping_sub(WINDOW_BYTES * 2), b"x", 1, 0, none);
        assert!(far.outside);
    }

    #[test]
    fn a_gap_is_given_up_when_told_or_acknowledged() {
        let mut text = String::new();
        let mut stream = check(0, &[(2, "c", 1), (4, "e", 1)], "");
        assert_eq!(stream.waiting_since_ns(), Some(0));
        assert!(!stream.acknowledged(1, 0, &mut |p| collect(&mut text, p)));
        assert!(stream.acknowledged(3, 0, &mut |p| collect(&mut text, p)));
        assert_eq!(text, "__c");
        assert!(stream.skip_gap(0, &mut |p| collect(&mut text, p)));
        assert_eq!(text, "__c_e");
        assert!(!stream.skip_gap(0, &mut |p| collect(&mut text, p)));
        assert_eq!(stream.held_bytes(), 0);
    }

    proptest! {
        /// Any split, order and repetition of a text gives the text.
        #[test]
        fn any_order_gives_the_text(
            isn: u32,
            text in "[a-z]{1,200}",
            cuts in proptest::collection::vec((0_usize..200, 1_usize..60), 0..40),
        ) {
            let bytes = text.as_bytes();
            let mut stream = Stream::new(true);
            stream.open(isn);
            let first = isn.wrapping_add(1);
            let mut seen = String::new();
            let mut conflict = false;
            let all = bytes.chunks(7).enumerate().map(|(i, chunk)| (i * 7, chunk.len())).rev();
            for (start, len) in cuts.into_iter().chain(all) {
                let start = start.min(bytes.len());
                let part = &bytes[start..(start + len).min(bytes.len())];
                let seq = first.wrapping_add(u32::try_from(start).unwrap());
                let len = u32::try_from(part.len()).unwrap();
                conflict |= stream.push(seq, part, len, 0, &mut |p| collect(&mut seen, p)).conflict;
            }
            prop_assert_eq!(seen, text);
            prop_assert!(!conflict);
            prop_assert_eq!(stream.held_bytes(), 0);
        }
    }
}
