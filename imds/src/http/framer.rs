//! Where messages begin and end in one direction of a connection.
//!
//! A head may be split anywhere, several may lie in one segment, bodies are skipped by their
//! length. After a hole or nonsense the place is lost, and found again at the next segment that
//! begins like a message.

use super::head::{is_token, newline};

/// Longest head that is read whole, bytes, blank line included.
pub const HEAD_BYTES: usize = 8 * 1024;
/// Bytes of a longer head that are searched for its end before the place counts as lost.
const SKIP_BYTES: usize = 64 * 1024;
/// Longest chunk-size line, extensions included.
const CHUNK_LINE_BYTES: usize = 256;

/// Whether all of a head was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// All of it.
    Whole,
    /// Longer than [`HEAD_BYTES`].
    TooLong,
    /// A hole in it, or the connection ended or answered first.
    Missing,
}

/// First bytes that are no HTTP/1.x.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotHttp {
    /// TLS record: handshake (0x16), major version 3.
    Tls,
    /// Anything else that cannot start a head.
    Binary,
}

/// What follows a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// So many bytes of body.
    Length(u64),
    /// A body in chunks.
    Chunked,
    /// A body up to the end of the connection.
    UntilClose,
    /// Unknown: look for the next message.
    Lost,
    /// Not HTTP/1.x any more: ignore the rest.
    Opaque,
}

/// Receives what a [`Framer`] finds.
pub trait Sink {
    /// A head, as bytes up to and including the blank line, or as much as there was.
    fn head(&mut self, bytes: &[u8], cut: Cut) -> Framing;
    /// Bytes of the body of the last head.
    fn body(&mut self, bytes: &[u8]);
    /// Bytes of the body were not captured, or the chunking was lost.
    fn body_hole(&mut self);
    /// The body (perhaps empty) of the last head is over.
    fn end(&mut self);
    /// The direction does not speak HTTP/1.x; nothing more will come.
    fn not_http(&mut self, kind: NotHttp);
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    SkipHead {
        seen: usize,
        last: [u8; 2],
    },
    Body(u64),
    ChunkSize {
        size: u64,
        digits: u8,
        length: usize,
        in_digits: bool,
    },
    ChunkData(u64),
    ChunkEnd,
    Trailer {
        line: usize,
        seen: usize,
    },
    UntilClose,
    Lost,
    Opaque,
}

const CHUNK_SIZE: State = State::ChunkSize {
    size: 0,
    digits: 0,
    length: 0,
    in_digits: true,
};

/// State of one direction.
#[derive(Debug)]
pub struct Framer {
    state: State,
    head: Vec<u8>,
}

impl Default for Framer {
    fn default() -> Self {
        Self {
            state: State::Head,
            head: Vec::new(),
        }
    }
}

impl Framer {
    /// Bytes of an unfinished head held.
    pub const fn held_bytes(&self) -> usize {
        self.head.len()
    }

    /// Whether part of a head was seen and not its end.
    pub const fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head) && !self.head.is_empty()
    }

    /// Whether the next byte begins a message.
    pub const fn is_between(&self) -> bool {
        matches!(self.state, State::Head) && self.head.is_empty()
    }

    /// Whether a head was handed on and the end of its message was not seen yet.
    pub const fn is_within(&self) -> bool {
        !matches!(self.state, State::Head | State::Lost | State::Opaque)
    }

    /// Whether so many bytes belong to the body of the last head and to nothing else.
    pub const fn is_body_of(&self, len: u64) -> bool {
        match self.state {
            State::Body(left) => len <= left,
            State::ChunkData(left) => len < left,
            State::UntilClose => true,
            _ => false,
        }
    }

    /// Whether the next message certainly begins within the next so many bytes.
    pub const fn is_before(&self, len: u64) -> bool {
        match self.state {
            State::Body(left) => left < len,
            _ => self.is_between(),
        }
    }

    /// A framer that begins somewhere within a direction and must find a message first.
    pub const fn lost() -> Self {
        Self {
            state: State::Lost,
            head: Vec::new(),
        }
    }

    /// Takes bytes in order.
    pub fn bytes(&mut self, bytes: &[u8], starts_segment: bool, sink: &mut impl Sink) {
        if self.state == State::Lost {
            if !starts_segment || !looks_like_start(bytes) {
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
                _ => self.in_chunks(rest, sink),
            };
        }
    }

    /// So many bytes are missing here.
    pub fn hole(&mut self, len: u64, sink: &mut impl Sink) {
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
            State::ChunkData(left) if len < left => {
                sink.body_hole();
                self.state = State::ChunkData(left - len);
            }
            State::ChunkSize { .. }
            | State::ChunkData(_)
            | State::ChunkEnd
            | State::Trailer { .. } => {
                sink.body_hole();
                sink.end();
                self.state = State::Lost;
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
    pub fn cut_head(&mut self, sink: &mut impl Sink) {
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
    pub fn close(&mut self, sink: &mut impl Sink) {
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
            let blank = bytes
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                .count();
            bytes = bytes.get(blank..).unwrap_or_default();
            match bytes.first() {
                None => return &[],
                Some(0x16) if bytes.len() < 2 => {}
                Some(first) if !is_token(*first) => {
                    let tls = bytes.starts_with(&[0x16, 0x03]);
                    return self.not_http(if tls { NotHttp::Tls } else { NotHttp::Binary }, sink);
                }
                Some(_) => {}
            }
        } else if self.head.first() == Some(&0x16) {
            let tls = bytes.first() == Some(&0x03);
            return self.not_http(if tls { NotHttp::Tls } else { NotHttp::Binary }, sink);
        }
        let room = HEAD_BYTES - self.head.len();
        if self.head.is_empty()
            && let Some(end) = head_end(bytes, 0).filter(|end| *end <= room)
        {
            let (head, rest) = bytes.split_at(end);
            self.finish_head(head, Cut::Whole, sink);
            return rest;
        }
        let old = self.head.len();
        let (taken, rest) = bytes.split_at(room.min(bytes.len()));
        self.head.extend_from_slice(taken);
        if let Some(end) = head_end(&self.head, old) {
            let unused = self.head.len() - end;
            let head = std::mem::take(&mut self.head);
            self.finish_head(head.get(..end).unwrap_or_default(), Cut::Whole, sink);
            return bytes.get(taken.len() - unused..).unwrap_or_default();
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

    fn not_http(&mut self, kind: NotHttp, sink: &mut impl Sink) -> &'static [u8] {
        self.head = Vec::new();
        self.state = State::Opaque;
        sink.not_http(kind);
        &[]
    }

    fn finish_head(&mut self, head: &[u8], cut: Cut, sink: &mut impl Sink) {
        self.state = match sink.head(head, cut) {
            Framing::Length(0) => {
                sink.end();
                State::Head
            }
            Framing::Length(left) => State::Body(left),
            Framing::Chunked => CHUNK_SIZE,
            Framing::UntilClose => State::UntilClose,
            Framing::Lost => {
                sink.end();
                State::Lost
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

    fn in_chunks<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        if let State::ChunkData(left) = self.state {
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (body, rest) = bytes.split_at(take);
            sink.body(body);
            let left = left - take as u64;
            self.state = if left == 0 {
                State::ChunkEnd
            } else {
                State::ChunkData(left)
            };
            return rest;
        }
        let Some((byte, rest)) = bytes.split_first() else {
            return &[];
        };
        self.state = match self.state {
            State::ChunkSize {
                size,
                digits,
                length,
                in_digits,
            } => chunk_size(*byte, size, digits, length, in_digits),
            State::ChunkEnd => match byte {
                b'\r' => State::ChunkEnd,
                b'\n' => CHUNK_SIZE,
                _ => State::Lost,
            },
            State::Trailer { line, seen } => match byte {
                b'\n' if line == 0 => State::Head,
                b'\n' => State::Trailer {
                    line: 0,
                    seen: seen + 1,
                },
                b'\r' => State::Trailer {
                    line,
                    seen: seen + 1,
                },
                _ if seen >= HEAD_BYTES => State::Lost,
                _ => State::Trailer {
                    line: line + 1,
                    seen: seen + 1,
                },
            },
            other => other,
        };
        match self.state {
            State::Head => sink.end(),
            State::Lost => {
                sink.body_hole();
                sink.end();
            }
            _ => {}
        }
        rest
    }
}

/// One byte of a chunk-size line (RFC 9112 section 7.1).
fn chunk_size(byte: u8, size: u64, digits: u8, length: usize, in_digits: bool) -> State {
    if byte == b'\n' {
        return match (digits, size) {
            (0, _) => State::Lost,
            (_, 0) => State::Trailer { line: 0, seen: 0 },
            (_, size) => State::ChunkData(size),
        };
    }
    if length >= CHUNK_LINE_BYTES {
        return State::Lost;
    }
    let digit = char::from(byte).to_digit(16).filter(|_| in_digits);
    match digit {
        Some(_) if digits >= 15 => State::Lost,
        Some(digit) => State::ChunkSize {
            size: size * 16 + u64::from(digit),
            digits: digits + 1,
            length: length + 1,
            in_digits,
        },
        None => State::ChunkSize {
            size,
            digits,
            length: length + 1,
            in_digits: false,
        },
    }
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

/// Whether a segment begins like a request or a response.
fn looks_like_start(bytes: &[u8]) -> bool {
    const STARTS: [&[u8]; 9] = [
        b"GET ",
        b"PUT ",
        b"HEAD ",
        b"POST ",
        b"DELETE ",
        b"OPTIONS ",
        b"PATCH ",
        b"TRACE ",
        b"HTTP/1.",
    ];
    STARTS
        .iter()
        .any(|start| bytes.starts_with(start) || start.starts_with(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Writes down what the framer says; the framing comes from the head's own words.
    #[derive(Default)]
    struct Log(Vec<String>);

    impl Sink for Log {
        fn head(&mut self, bytes: &[u8], cut: Cut) -> Framing {
            let text = String::from_utf8_lossy(bytes).into_owned();
            let first = text.lines().next().unwrap_or_default().to_owned();
            self.0.push(format!("{first} {cut:?} {}", bytes.len()));
            if text.contains("chunked") {
                Framing::Chunked
            } else if let Some((_, length)) = text.split_once("Length: ") {
                Framing::Length(length.lines().next().unwrap().parse().unwrap())
            } else {
                Framing::Length(0)
            }
        }
        fn body(&mut self, bytes: &[u8]) {
            self.0
                .push(format!("body {}", String::from_utf8_lossy(bytes)));
        }
        fn body_hole(&mut self) {
            self.0.push("hole".into());
        }
        fn end(&mut self) {
            self.0.push("end".into());
        }
        fn not_http(&mut self, kind: NotHttp) {
            self.0.push(format!("{kind:?}"));
        }
    }

    /// `_` in the text is a hole of one byte.
    fn run(pieces: &[&str]) -> Vec<String> {
        let mut framer = Framer::default();
        let mut log = Log::default();
        for piece in pieces {
            if *piece == "_" {
                framer.hole(1, &mut log);
            } else {
                framer.bytes(piece.as_bytes(), true, &mut log);
            }
        }
        framer.close(&mut log);
        log.0
    }

    #[test]
    fn split_anywhere() {
        let text = "GET /a HTTP/1.1\r\nA: b\r\n\r\nPUT /b HTTP/1.1\r\nLength: 3\r\n\r\nxyzGET /c HTTP/1.1\n\n";
        let join = |log: Vec<String>| log.join("|").replace("|body ", "");
        let whole = run(&[text]);
        assert_eq!(
            whole,
            [
                "GET /a HTTP/1.1 Whole 25",
                "end",
                "PUT /b HTTP/1.1 Whole 30",
                "body xyz",
                "end",
                "GET /c HTTP/1.1 Whole 17",
                "end"
            ]
        );
        for at in 1..text.len() {
            let (a, b) = text.split_at(at);
            assert_eq!(join(run(&[a, b])), join(whole.clone()), "split at {at}");
        }
        let single: Vec<_> = text.split("").filter(|s| !s.is_empty()).collect();
        assert_eq!(join(run(&single)), join(run(&[text])));
    }

    #[test]
    fn chunks() {
        let log = run(&[
            "GET / HTTP/1.1\r\nTE: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\nT: 1\r\n\r\nGET /n HTTP/1.1\r\n\r\n",
        ]);
        assert_eq!(
            log[1..],
            ["body abc", "end", "GET /n HTTP/1.1 Whole 19", "end"]
        );
        let log = run(&[
            "GET / HTTP/1.1\r\nTE: chunked\r\n\r\nzz\r\n",
            "GET /n HTTP/1.1\r\n\r\n",
        ]);
        assert_eq!(log[1..], ["hole", "end", "GET /n HTTP/1.1 Whole 19", "end"]);
    }

    #[test]
    fn holes() {
        let log = run(&[
            "GET /a HTTP/1.1\r\nHo",
            "_",
            "st: x\r\n\r\n",
            "GET /b HTTP/1.1\r\n\r\n",
        ]);
        assert_eq!(
            log,
            [
                "GET /a HTTP/1.1 Missing 19",
                "end",
                "GET /b HTTP/1.1 Whole 19",
                "end"
            ]
        );
        let log = run(&[
            "GET /a HTTP/1.1\r\nLength: 3\r\n\r\n",
            "_",
            "xyGET /b HTTP/1.1\r\n\r\n",
        ]);
        assert_eq!(
            log[1..],
            ["hole", "body xy", "end", "GET /b HTTP/1.1 Whole 19", "end"]
        );
    }

    #[test]
    fn head_limit() {
        for (extra, cut) in [(-1_isize, "Whole"), (0, "Whole"), (1, "TooLong")] {
            let length = HEAD_BYTES.checked_add_signed(extra).unwrap();
            let mut text = String::from("GET /a HTTP/1.1\r\nA: ");
            text.push_str(&"x".repeat(length - text.len() - 4));
            text.push_str("\r\n\r\n");
            assert_eq!(text.len(), length);
            let seen = HEAD_BYTES.min(length);
            for split in [0, 1, 5000, length - 1] {
                let (a, b) = text.split_at(split);
                let log = run(&[a, b, "GET /b HTTP/1.1\r\n\r\n"]);
                let first = format!("GET /a HTTP/1.1 {cut} {seen}");
                assert_eq!(
                    log,
                    [first.as_str(), "end", "GET /b HTTP/1.1 Whole 19", "end"],
                    "{extra} {split}"
                );
            }
        }
    }

    #[test]
    fn other_protocols() {
        for (pieces, expected) in [
            (vec!["\x16\x03\x01"], "Tls"),
            (vec!["\x16", "\x03"], "Tls"),
            (vec!["\x16\x02"], "Binary"),
            (vec!["\0\0"], "Binary"),
            (vec!["\r\n\u{80}"], "Binary"),
        ] {
            assert_eq!(run(&pieces), [expected]);
        }
    }
}
