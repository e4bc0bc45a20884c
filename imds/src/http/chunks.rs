//! A body in chunks (RFC 9112 section 7.1), and where it ends.

use super::{HEAD_BYTES, Sink};

/// Longest chunk-size line, extensions included.
const LINE_BYTES: usize = 256;

/// Place within such a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Chunks {
    /// In the line that says how long the next chunk is.
    Size {
        size: u64,
        digits: u8,
        length: usize,
        in_digits: bool,
    },
    /// So many bytes of the chunk are left.
    Data(u64),
    /// Before the line end behind a chunk.
    End,
    /// In the lines behind the last chunk.
    Trailer { line: usize, seen: usize },
}

/// What follows.
pub(super) enum Next {
    Within(Chunks),
    /// The body is over.
    Over,
    /// These are no chunks.
    Lost,
}

impl Chunks {
    /// Where the body begins.
    pub(super) const START: Self = Self::Size {
        size: 0,
        digits: 0,
        length: 0,
        in_digits: true,
    };

    /// Takes bytes in order, at least one of them; what is left.
    pub(super) fn take<'a>(self, bytes: &'a [u8], sink: &mut impl Sink) -> (Next, &'a [u8]) {
        if let Self::Data(left) = self {
            let take = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            let (body, rest) = bytes.split_at(take);
            sink.body(body);
            let left = left - take as u64;
            let next = if left == 0 {
                Self::End
            } else {
                Self::Data(left)
            };
            return (Next::Within(next), rest);
        }
        match bytes.split_first() {
            Some((byte, rest)) => (self.byte(*byte), rest),
            None => (Next::Within(self), &[]),
        }
    }

    /// Whether so many bytes belong to the chunk and to nothing else.
    pub(super) const fn is_data_of(self, len: u64) -> bool {
        matches!(self, Self::Data(left) if len < left)
    }

    /// The place behind so many bytes that are missing, if that is certain.
    pub(super) fn skip(self, len: u64) -> Option<Self> {
        match self {
            Self::Data(left) if len < left => Some(Self::Data(left - len)),
            _ => None,
        }
    }

    fn byte(self, byte: u8) -> Next {
        let next = match self {
            Self::Size {
                size,
                digits,
                length,
                in_digits,
            } => return size_line(byte, size, digits, length, in_digits),
            Self::End => match byte {
                b'\r' => Self::End,
                b'\n' => Self::START,
                _ => return Next::Lost,
            },
            Self::Trailer { line, seen } => match byte {
                b'\n' if line == 0 => return Next::Over,
                b'\n' => Self::Trailer {
                    line: 0,
                    seen: seen + 1,
                },
                b'\r' => Self::Trailer {
                    line,
                    seen: seen + 1,
                },
                _ if seen >= HEAD_BYTES => return Next::Lost,
                _ => Self::Trailer {
                    line: line + 1,
                    seen: seen + 1,
                },
            },
            data @ Self::Data(_) => data,
        };
        Next::Within(next)
    }
}

/// One byte of a chunk-size line.
fn size_line(byte: u8, size: u64, digits: u8, length: usize, in_digits: bool) -> Next {
    if byte == b'\n' {
        return match (digits, size) {
            (0, _) => Next::Lost,
            (_, 0) => Next::Within(Chunks::Trailer { line: 0, seen: 0 }),
            (_, size) => Next::Within(Chunks::Data(size)),
        };
    }
    if length >= LINE_BYTES {
        return Next::Lost;
    }
    let digit = char::from(byte).to_digit(16).filter(|_| in_digits);
    Next::Within(match digit {
        Some(_) if digits >= 15 => return Next::Lost,
        Some(digit) => Chunks::Size {
            size: size * 16 + u64::from(digit),
            digits: digits + 1,
            length: length + 1,
            in_digits,
        },
        None => Chunks::Size {
            size,
            digits,
            length: length + 1,
            in_digits: false,
        },
    })
}
