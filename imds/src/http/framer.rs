//! Where messages begin and end in one direction of a connection.
//!
//! A head may be split anywhere, several may lie in one segment, bodies are skipped by their
//! length. A whole head ends with its blank line, whoever can read it. After a hole, or a body of
//! unknown length, the place is lost, and found again at the next segment that begins like a message.

#[cfg(test)]
mod tests;

use super::chunks::{Chunks, Next};
use super::head::{METHODS, is_blank, names_method, newline};
use super::sink::{Cut, Framing, NotHttp, Sink};

/// Longest head that is read whole, bytes, blank line included.
pub(crate) const HEAD_BYTES: usize = 8 * 1024;
/// Bytes of a longer head that are searched for its end before the place counts as lost.
const SKIP_BYTES: usize = 64 * 1024;
/// How TLS begins: a handshake record, major version 3.
const TLS: [u8; 2] = [0x16, 0x03];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    SkipHead { seen: usize, last: [u8; 2] },
    Body(u64),
    Chunks(Chunks),
    UntilClose,
    Lost,
    Opaque,
}

/// State of one direction.
#[derive(Debug)]
pub(crate) struct Framer {
    state: State,
    head: Vec<u8>,
    kind: Kind,
}

/// Whose messages they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Requests,
    Answers,
}

/// How answers begin. The version ends a request line as well, so no request is looked for by it.
const ANSWER: &[u8] = b"HTTP/1.";

impl Framer {
    /// Of the client's direction, at the beginning of a message.
    pub(crate) const fn requests() -> Self {
        Self::at(State::Head, Kind::Requests)
    }

    /// Of the endpoint's direction, at the beginning of a message.
    pub(crate) const fn answers() -> Self {
        Self::at(State::Head, Kind::Answers)
    }

    /// Of the endpoint's direction, somewhere within it: a message must be found first.
    pub(crate) const fn lost_answers() -> Self {
        Self::at(State::Lost, Kind::Answers)
    }

    const fn at(state: State, kind: Kind) -> Self {
        Self {
            state,
            head: Vec::new(),
            kind,
        }
    }

    /// Bytes of an unfinished head held.
    pub(crate) const fn held_bytes(&self) -> usize {
        self.head.len()
    }

    /// Whether part of a head was seen and not its end.
    pub(crate) const fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head) && !self.head.is_empty()
    }

    /// Whether the next byte begins a message.
    pub(crate) const fn is_between(&self) -> bool {
        matches!(self.state, State::Head) && self.head.is_empty()
    }

    /// Whether a head was handed on and the end of its message was not seen yet.
    pub(crate) const fn is_within(&self) -> bool {
        !matches!(self.state, State::Head | State::Lost | State::Opaque)
    }

    /// Whether so many bytes belong to the body of the last head and to nothing else.
    pub(crate) const fn is_body_of(&self, len: u64) -> bool {
        match self.state {
            State::Body(left) => len <= left,
            State::Chunks(chunks) => chunks.is_data_of(len),
            State::UntilClose => true,
            _ => false,
        }
    }

    /// Whether the next message certainly begins within the next so many bytes.
    pub(crate) const fn is_before(&self, len: u64) -> bool {
        match self.state {
            State::Body(left) => left < len,
            _ => self.is_between(),
        }
    }

    /// Whether the place was lost and these bytes are where it is found again.
    pub(crate) fn finds(&self, bytes: &[u8], starts_segment: bool) -> bool {
        self.state == State::Lost && starts_segment && self.looks_like_start(bytes)
    }

    /// Whether bytes behind a hole begin like a message of this direction, perhaps after what stands
    /// before one: empty lines, and the blanks that make a request line odd.
    fn looks_like_start(&self, bytes: &[u8]) -> bool {
        let bytes = match self.kind {
            Kind::Requests => skip(bytes, |byte| is_line_end(*byte) || is_blank(*byte)),
            Kind::Answers => bytes,
        };
        let is_part_of = |start: &[u8]| !bytes.is_empty() && start.starts_with(bytes);
        match self.kind {
            Kind::Requests => {
                names_method(bytes) || METHODS.iter().any(|method| is_part_of(method.as_bytes()))
            }
            Kind::Answers => bytes.starts_with(ANSWER) || is_part_of(ANSWER),
        }
    }

    /// Takes bytes in order.
    pub(crate) fn bytes(&mut self, bytes: &[u8], starts_segment: bool, sink: &mut impl Sink) {
        if self.state == State::Lost {
            if !self.finds(bytes, starts_segment) {
                return;
            }
            self.state = State::Head;
        }
        let mut rest = bytes;
        // Every turn consumes at least one byte or changes the state to one that does.
        while !rest.is_empty() {
            rest = match self.state {
                State::Head => self.in_head(rest, sink),
                State::SkipHead { seen, last } => self.skip_head(rest, seen, last, sink),
                State::Body(left) => self.in_body(rest, left, sink),
                State::UntilClose => {
                    sink.body(rest);
                    &[]
                }
                State::Lost | State::Opaque => &[],
                State::Chunks(chunks) => self.in_chunks(chunks, rest, sink),
            };
        }
    }

    /// So many bytes are missing here.
    pub(crate) fn hole(&mut self, len: u64, sink: &mut impl Sink) {
        match self.state {
            State::Head if self.head.is_empty() => self.state = State::Lost,
            State::Head => self.cut_head(sink),
            State::Body(left) => {
                sink.body_hole();
                if len < left {
                    self.state = State::Body(left - len);
                } else {
                    sink.end();
                    self.state = if len == left {
                        State::Head
                    } else {
                        State::Lost
                    };
                }
            }
            State::Chunks(chunks) => {
                sink.body_hole();
                self.state = chunks.skip(len).map_or_else(
                    || {
                        sink.end();
                        State::Lost
                    },
                    State::Chunks,
                );
            }
            State::SkipHead { .. } => {
                sink.end();
                self.state = State::Lost;
            }
            State::UntilClose => sink.body_hole(),
            State::Lost | State::Opaque => {}
        }
    }

    /// Hands on an unfinished head as it is: the connection ended, or an answer came.
    pub(crate) fn cut_head(&mut self, sink: &mut impl Sink) {
        if self.is_in_head() {
            let head = std::mem::take(&mut self.head);
            if sink.head(&head, Cut::Missing) == Framing::Opaque {
                self.state = State::Opaque;
            } else {
                sink.end();
                self.state = State::Lost;
            }
        }
    }

    /// The direction is closed.
    pub(crate) fn close(&mut self, sink: &mut impl Sink) {
        self.cut_head(sink);
        match self.state {
            State::Head | State::Lost | State::Opaque => {}
            State::UntilClose => sink.end(),
            _ => {
                sink.body_hole();
                sink.end();
            }
        }
        self.state = State::Lost;
    }

    fn in_head<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        let mut bytes = bytes;
        if self.head.is_empty() {
            // RFC 9112 section 2.2: empty lines before a request line are to be ignored.
            bytes = skip(bytes, |byte| is_line_end(*byte));
            if bytes.is_empty() {
                return &[];
            }
        }
        if let Some(kind) = self.other_protocol(bytes) {
            return self.not_http(kind, sink);
        }
        let room = HEAD_BYTES - self.head.len();
        if self.head.is_empty()
            && let Some(end) = head_end(bytes, 0).filter(|end| *end <= room)
        {
            let (head, rest) = bytes.split_at(end);
            self.finish_head(head, rest, sink);
            return rest;
        }
        let old = self.head.len();
        let (taken, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(taken);
        if let Some(end) = head_end(&self.head, old) {
            let unused = self.head.len() - end;
            let head = std::mem::take(&mut self.head);
            let rest = bytes.get(taken.len() - unused..).unwrap_or_default();
            self.finish_head(head.get(..end).unwrap_or_default(), rest, sink);
            return rest;
        }
        if self.head.len() == HEAD_BYTES && !rest.is_empty() {
            let head = std::mem::take(&mut self.head);
            let mut tail = head.iter().rev().copied();
            let second = tail.next().unwrap_or_default();
            let last = [tail.next().unwrap_or_default(), second];
            self.state = match sink.head(&head, Cut::TooLong) {
                Framing::Opaque => State::Opaque,
                _ => State::SkipHead { seen: 0, last },
            };
        }
        rest
    }

    /// Whether the first bytes of a head, `bytes` behind those held, tell that it is none. Of requests
    /// only TLS, behind which none comes: an endpoint reads anything else up to a blank line.
    fn other_protocol(&self, bytes: &[u8]) -> Option<NotHttp> {
        let mut start = self.head.iter().chain(bytes).copied();
        let first = start.next()?;
        let is_tls = start.next().map(|second| [first, second] == TLS);
        match (self.kind, is_tls) {
            (_, Some(true)) => Some(NotHttp::Tls),
            (_, None) if TLS.starts_with(&[first]) => None,
            (Kind::Answers, _) if !first.is_ascii_graphic() && !is_blank(first) => {
                Some(NotHttp::Binary)
            }
            _ => None,
        }
    }

    fn not_http(&mut self, kind: NotHttp, sink: &mut impl Sink) -> &'static [u8] {
        self.head = Vec::new();
        // Behind bytes that begin no answer there may still be one.
        self.state = match kind {
            NotHttp::Tls => State::Opaque,
            NotHttp::Binary => State::Lost,
        };
        sink.not_http(kind);
        &[]
    }

    /// A whole head; `rest` follows it in the same segment.
    fn finish_head(&mut self, head: &[u8], rest: &[u8], sink: &mut impl Sink) {
        self.state = match sink.head(head, Cut::Whole) {
            Framing::Length(0) => {
                sink.end();
                State::Head
            }
            Framing::Length(left) => State::Body(left),
            Framing::Chunked => State::Chunks(Chunks::START),
            Framing::UntilClose => State::UntilClose,
            // A body of unknown length: behind the blank line as good a place as the beginning of a
            // segment.
            Framing::Lost => {
                sink.end();
                if !rest.is_empty() && self.looks_like_start(rest) {
                    State::Head
                } else {
                    State::Lost
                }
            }
            Framing::Opaque => State::Opaque,
        };
    }

    fn skip_head<'a>(
        &mut self,
        bytes: &'a [u8],
        seen: usize,
        last: [u8; 2],
        sink: &mut impl Sink,
    ) -> &'a [u8] {
        let [mut before, mut previous] = last;
        for (at, byte) in bytes.iter().enumerate() {
            if *byte == b'\n' && (previous == b'\n' || (previous == b'\r' && before == b'\n')) {
                self.state = State::Head;
                sink.end();
                return bytes.get(at + 1..).unwrap_or_default();
            }
            (before, previous) = (previous, *byte);
        }
        let seen = seen + bytes.len();
        self.state = if seen > SKIP_BYTES {
            sink.end();
            State::Lost
        } else {
            State::SkipHead {
                seen,
                last: [before, previous],
            }
        };
        &[]
    }

    fn in_body<'a>(&mut self, bytes: &'a [u8], left: u64, sink: &mut impl Sink) -> &'a [u8] {
        let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let (body, rest) = bytes.split_at(take);
        sink.body(body);
        let left = left - take as u64;
        self.state = if left == 0 {
            sink.end();
            State::Head
        } else {
            State::Body(left)
        };
        rest
    }

    fn in_chunks<'a>(&mut self, chunks: Chunks, bytes: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        let (next, rest) = chunks.take(bytes, sink);
        self.state = match next {
            Next::Within(chunks) => State::Chunks(chunks),
            Next::Over => {
                sink.end();
                State::Head
            }
            Next::Lost => {
                sink.body_hole();
                sink.end();
                State::Lost
            }
        };
        rest
    }
}

const fn is_line_end(byte: u8) -> bool {
    matches!(byte, b'\r' | b'\n')
}

/// What there is behind the first bytes that are such.
fn skip(bytes: &[u8], is_such: impl Fn(&u8) -> bool) -> &[u8] {
    let count = bytes.iter().take_while(|byte| is_such(byte)).count();
    bytes.get(count..).unwrap_or_default()
}

/// End of the head (after the blank line) in `bytes`, whose first `from` bytes hold no end.
fn head_end(bytes: &[u8], from: usize) -> Option<usize> {
    let mut start = from;
    while let Some(offset) = bytes.get(start..).and_then(newline) {
        let at = start + offset;
        let before = bytes.get(at.saturating_sub(2)..at).unwrap_or_default();
        if matches!(before, [_, b'\n'] | [b'\n', b'\r'] | [b'\n']) {
            return Some(at + 1);
        }
        start = at + 1;
    }
    None
}
