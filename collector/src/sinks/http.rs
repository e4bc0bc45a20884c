//! What sinks over HTTP share: a client of one address, secrets, and what came back. The client is the shell; what
//! an answer means each sink says itself.

pub mod client;
pub mod secret;

use std::io::Write as _;

use super::{BoxError, RefusalKind, Refused};

/// What a call may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Events at the most.
    pub events: usize,
    /// Bytes at the most, if it has more than one event.
    pub bytes: usize,
    /// Bytes at the most of any call: a longer event is never sent.
    pub most_bytes: usize,
}

/// Calls in a row that are taken whole before the next may be twice as long.
const WHOLE_CALLS: u32 = 16;

/// How a room shrinks and grows with what the other side takes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Fit {
    whole: u32,
}

impl Fit {
    /// A call with so many bytes was too large: from now on one has half of it.
    pub const fn too_large(&mut self, room: &mut Room, bytes: usize) {
        self.whole = 0;
        room.bytes = bytes / 2;
    }

    /// A call was taken whole. What was too large once need not be so for ever.
    pub fn whole(&mut self, room: &mut Room) {
        if room.bytes >= room.most_bytes {
            return;
        }
        self.whole += 1;
        if self.whole >= WHOLE_CALLS {
            self.whole = 0;
            room.bytes = room.bytes.saturating_mul(2).clamp(1, room.most_bytes);
        }
    }
}

/// Why there is no answer.
#[derive(Debug)]
pub struct Failure {
    /// Who can end it.
    pub kind: RefusalKind,
    /// What to do about it; begins with `: `, or is empty.
    pub help: String,
    /// The request may have come there all the same.
    pub is_in_doubt: bool,
    /// The client's error.
    pub source: BoxError,
}

impl Failure {
    /// A request that was not made.
    pub fn unmade(kind: RefusalKind, source: impl Into<BoxError>) -> Self {
        Self {
            kind,
            help: String::new(),
            is_in_doubt: false,
            source: source.into(),
        }
    }
}

/// Files that TLS cannot use.
impl From<Refused> for Failure {
    fn from(refused: Refused) -> Self {
        Self::unmade(refused.kind, refused)
    }
}

/// Bytes in the alphabet of headers (RFC 4648, section 4).
pub fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, at| {
            bits << 8 | u32::from(three.get(at).copied().unwrap_or_default())
        });
        for at in 0..4 {
            let value = (bits >> (18 - 6 * at)) as usize & 63;
            let letter = ALPHABET.get(value).copied().unwrap_or(b'=');
            text.push(if at <= three.len() {
                letter.into()
            } else {
                '='
            });
        }
    }
    text
}

/// A body as it goes over the wire, packed.
pub fn packed(body: &[u8]) -> Vec<u8> {
    let out = Vec::with_capacity(body.len() / 4);
    let mut encoder = flate2::write::GzEncoder::new(out, flate2::Compression::fast());
    // Nothing that is written to memory fails.
    let _infallible = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

/// Words of the other side as they are repeated: `most` characters, none of them a control character.
pub fn words(text: &str, most: usize) -> String {
    let text = text.chars().take(most);
    text.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_room_grows_again_after_a_run_of_calls_that_are_taken_whole() {
        let mut room = Room {
            events: 10,
            bytes: 1000,
            most_bytes: 1000,
        };
        let mut fit = Fit::default();
        let whole = |fit: &mut Fit, room: &mut Room, times| {
            (0..times).for_each(|_| fit.whole(room));
            room.bytes
        };
        assert_eq!(whole(&mut fit, &mut room, 100), 1000);
        fit.too_large(&mut room, 600);
        assert_eq!(whole(&mut fit, &mut room, 15), 300);
        // Not in a row.
        fit.too_large(&mut room, 600);
        assert_eq!(whole(&mut fit, &mut room, 15), 300);
        assert_eq!(whole(&mut fit, &mut room, 1), 600);
        assert_eq!(whole(&mut fit, &mut room, 100), 1000);
    }

    #[test]
    fn bytes_are_written_as_the_rfc_writes_them() {
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foobar", "Zm9vYmFy"),
            ("user:p\u{e4}ss>", "dXNlcjpww6Rzcz4="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
