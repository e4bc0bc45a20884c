//! One direction of a connection: reassembly, message framing, and where its last byte is.
//!
//! Knows neither requests nor answers; what it finds goes to a sink.

use crate::Flags;
use crate::http::{Framer, Sink};
use crate::stream::{Piece, Stream, Verdict};

/// Bytes that were on the wire and that nobody captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missing {
    /// [`Flags::CUT`] where their segment was seen, else [`Flags::GAP`].
    pub(super) remark: Flags,
    /// The message whose head came last goes on into them.
    pub(super) of_last: bool,
    /// They reach beyond that message, or there is none: others may hide there.
    pub(super) of_others: bool,
    /// The first byte of the next message is certainly among them.
    pub(super) of_next: bool,
}

/// A sink that is told of missing bytes as well.
pub(super) trait Heard: Sink {
    /// Called before the hole cuts a head, so that the head takes the remark with it.
    fn missing(&mut self, missing: Missing);
    /// The place was lost, and a message begins at this sequence number. Called before its head.
    fn found(&mut self, seq: u32);
    /// The next bytes were captured then, nanoseconds; they may have been held since. `begins`:
    /// they do not go on with a head. Called before them.
    fn captured(&mut self, time_ns: u64, begins: bool);
}

/// State of one direction.
#[derive(Debug)]
pub(super) struct Half {
    pub(super) stream: Stream,
    pub(super) framer: Framer,
    /// Sequence number behind the last byte.
    end: Option<u32>,
}

impl Half {
    pub(super) const fn new(stream: Stream, framer: Framer) -> Self {
        Self {
            stream,
            framer,
            end: None,
        }
    }

    /// Bytes held: out of order, or of an unfinished head.
    pub(super) const fn held_bytes(&self) -> usize {
        self.stream.held_bytes() + self.framer.held_bytes()
    }

    /// Takes a segment's payload.
    pub(super) fn push(
        &mut self,
        seq: u32,
        payload: &[u8],
        wire_len: u32,
        now_ns: u64,
        sink: &mut impl Heard,
    ) -> Verdict {
        let Self { stream, framer, .. } = self;
        stream.push(seq, payload, wire_len, now_ns, &mut |piece| {
            feed(framer, piece, sink);
        })
    }

    /// The other end acknowledged all below `ack`. Whether a gap was given up.
    pub(super) fn acknowledged(&mut self, ack: u32, now_ns: u64, sink: &mut impl Heard) -> bool {
        let Self { stream, framer, .. } = self;
        stream.acknowledged(ack, now_ns, &mut |piece| feed(framer, piece, sink))
    }

    /// Gives up on the bytes missing next. Whether there were any.
    pub(super) fn skip_gap(&mut self, now_ns: u64, sink: &mut impl Heard) -> bool {
        let Self { stream, framer, .. } = self;
        stream.skip_gap(now_ns, &mut |piece| feed(framer, piece, sink))
    }

    /// A FIN: no byte comes at `end` or behind it.
    pub(super) const fn ends_at(&mut self, end: u32) {
        self.end = Some(end);
    }

    /// Closes the direction if its last byte has come. Whether it did so now.
    pub(super) fn close_if_ended(&mut self, sink: &mut impl Heard) -> bool {
        let ended = self.end.is_some() && self.end == self.stream.next_seq();
        if ended {
            self.end = None;
            self.framer.close(sink);
        }
        ended
    }
}

fn feed(framer: &mut Framer, piece: Piece<'_>, sink: &mut impl Heard) {
    match piece {
        Piece::Bytes {
            bytes,
            starts_segment,
            seq,
            time_ns,
        } => {
            sink.captured(time_ns, !framer.is_in_head());
            if framer.finds(bytes, starts_segment) {
                sink.found(seq);
            }
            framer.bytes(bytes, starts_segment, sink);
        }
        Piece::Hole { len, cut } => {
            let len = u64::from(len);
            sink.missing(Missing {
                remark: if cut { Flags::CUT } else { Flags::GAP },
                of_last: framer.is_within(),
                of_others: !framer.is_body_of(len),
                of_next: framer.is_before(len),
            });
            framer.hole(len, sink);
        }
    }
}
