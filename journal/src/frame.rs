//! The bytes of one record, and finding records among damaged bytes. Pure.
//!
//! All integers are little-endian. Two checksums: the first covers the header alone, so that a
//! reader of a record with a damaged payload still knows its number and where the next one begins.
//!
//! ```text
//!  0   4  magic "PLJ1"
//!  4   1  version, 1
//!  5   1  kind: 0 segment start, 1 record, 2 segment end
//!  6   2  header length, 40
//!  8   4  payload length
//! 12   1  stream: the owner's number for the class of record
//! 13   3  zero
//! 16   8  sequence number; in a segment start: of the first record to follow, in an end: of the last one
//! 24   8  time, Unix nanoseconds; in a segment end: of the last record
//! 32   4  crc32c of bytes 0..32
//! 36   4  crc32c of bytes 0..36 and the payload
//! 40   …  payload; in a segment start: the epoch; in a segment end: what `seal` says
//! ```
//!
//! Behind the last record, and before the end if there is one, may lie zeros: room that was never written to.

use std::ops::Range;

/// First four bytes of every frame.
pub(crate) const MAGIC: [u8; 4] = *b"PLJ1";
/// Version of the layout.
pub const VERSION: u8 = 1;
/// Bytes before the payload.
pub const HEADER_LEN: usize = 40;
const HEADER_LEN_U16: u16 = 40;
/// No payload is longer, whatever its header says: a bound on what a reader allocates.
pub const MAX_PAYLOAD: usize = 16 << 20;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// First frame of a segment file.
    Start,
    /// A record of the owner's.
    Record,
    /// Last frame of a segment file that is not written again.
    End,
}

/// A frame without its payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What it is.
    pub kind: Kind,
    /// The owner's number for the class of record.
    pub stream: u8,
    /// Sequence number.
    pub seq: u64,
    /// Unix nanoseconds.
    pub time_unix_ns: u64,
    /// Bytes of payload.
    pub payload_len: usize,
}

impl Header {
    /// Bytes of the whole frame.
    pub const fn frame_len(&self) -> usize {
        HEADER_LEN + self.payload_len
    }
}

/// Appends a frame to `out`. The payload is at most [`MAX_PAYLOAD`] long: the journal's own, much
/// lower bound is checked before.
pub fn encode(
    out: &mut Vec<u8>,
    kind: Kind,
    stream: u8,
    seq: u64,
    time_unix_ns: u64,
    payload: &[u8],
) {
    let start = out.len();
    let kind = match kind {
        Kind::Start => 0,
        Kind::Record => 1,
        Kind::End => 2,
    };
    let payload_len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    out.reserve(HEADER_LEN + payload.len());
    out.extend_from_slice(&MAGIC);
    out.extend_from_slice(&[VERSION, kind]);
    out.extend_from_slice(&HEADER_LEN_U16.to_le_bytes());
    out.extend_from_slice(&payload_len.to_le_bytes());
    out.extend_from_slice(&[stream, 0, 0, 0]);
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(&time_unix_ns.to_le_bytes());
    let header_crc = crc32c::crc32c(out.get(start..).unwrap_or_default());
    out.extend_from_slice(&header_crc.to_le_bytes());
    let crc = crc32c::crc32c_append(
        crc32c::crc32c(out.get(start..).unwrap_or_default()),
        payload,
    );
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

/// The header at the start of `bytes`, if there is an undamaged one.
pub(crate) fn decode_header(bytes: &[u8]) -> Option<Header> {
    let header = bytes.first_chunk::<HEADER_LEN>()?;
    if u32_at(header, 32)? != crc32c::crc32c(header.get(..32)?) {
        return None;
    }
    let [magic @ .., version, kind] = header.first_chunk::<6>()?;
    let kind = match kind {
        0 => Kind::Start,
        1 => Kind::Record,
        2 => Kind::End,
        _ => return None,
    };
    let header_len = u16::from_le_bytes(*header.get(6..8)?.first_chunk()?);
    let payload_len = usize::try_from(u32_at(header, 8)?).ok()?;
    let plausible = *magic == MAGIC
        && *version == VERSION
        && header_len == HEADER_LEN_U16
        && payload_len <= MAX_PAYLOAD;
    plausible.then_some(Header {
        kind,
        stream: *header.get(12)?,
        seq: u64_at(header, 16)?,
        time_unix_ns: u64_at(header, 24)?,
        payload_len,
    })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// What lies at a place in a run of bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// A whole, undamaged frame.
    Frame {
        /// Where it begins.
        offset: usize,
        /// Its header.
        header: Header,
        /// Where its payload lies.
        payload: Range<usize>,
    },
    /// Bytes that are no frame.
    Damage {
        /// Where they begin.
        offset: usize,
        /// How many.
        len: usize,
        /// The header, where that part survived.
        header: Option<Header>,
    },
    /// Zeros up to the end of the bytes, or up to the end of the segment.
    Blank {
        /// Where they begin.
        offset: usize,
        /// How many.
        len: usize,
    },
    /// The bytes end within a frame, which may go on beyond them.
    Cut {
        /// Where the frame begins.
        offset: usize,
        /// The header, if all of it is there.
        header: Option<Header>,
    },
}

/// Walks `bytes`, which begin at a frame: each step yields what lies at the offset, and moves on.
#[derive(Clone, Debug)]
pub struct Scan<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Scan<'a> {
    /// From the first byte.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, offset: 0 }
    }

    /// Where the next valid header begins, after the current offset, and what it says.
    fn resync(&self) -> Option<(usize, Header)> {
        let from = self.offset + 1;
        let rest = self.bytes.get(from..)?;
        let mut windows = rest.windows(HEADER_LEN).enumerate();
        windows.find_map(|(at, window)| {
            let header = window
                .starts_with(&MAGIC)
                .then(|| decode_header(window))
                .flatten()?;
            Some((from + at, header))
        })
    }

    /// What lies here is no header.
    fn unknown(&mut self, offset: usize, rest: &[u8]) -> Found {
        let next = self.resync();
        let end = next.map_or(self.bytes.len(), |(at, _)| at);
        let unknown = rest.get(..end - offset).unwrap_or(rest);
        let written = unknown.iter().rposition(|byte| *byte != 0);
        let written = written.map_or(0, |last| last + 1);
        let is_last = next.is_none_or(|(_, header)| header.kind == Kind::End);
        self.offset = end;
        if is_last && written == 0 {
            let len = unknown.len();
            return Found::Blank { offset, len };
        }
        // Fewer bytes than a header at the end look the same whether torn or damaged.
        if next.is_none() && rest.len() < HEADER_LEN {
            let header = None;
            return Found::Cut { offset, header };
        }
        let len = if is_last { written } else { unknown.len() };
        self.offset = offset + len;
        Found::Damage {
            offset,
            len,
            header: None,
        }
    }
}

impl Iterator for Scan<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        let offset = self.offset;
        let rest = self.bytes.get(offset..).filter(|rest| !rest.is_empty())?;
        let Some(header) = decode_header(rest) else {
            return Some(self.unknown(offset, rest));
        };
        let len = header.frame_len();
        let Some(frame) = rest.get(..len) else {
            self.offset = self.bytes.len();
            return Some(Found::Cut {
                offset,
                header: Some(header),
            });
        };
        self.offset += len;
        let covered = crc32c::crc32c(frame.get(..36).unwrap_or_default());
        let payload = offset + HEADER_LEN..offset + len;
        let crc = crc32c::crc32c_append(covered, frame.get(HEADER_LEN..).unwrap_or_default());
        Some(if u32_at(frame, 36) == Some(crc) {
            Found::Frame {
                offset,
                header,
                payload,
            }
        } else {
            Found::Damage {
                offset,
                len,
                header: Some(header),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn three() -> Vec<u8> {
        let mut bytes = Vec::new();
        for seq in 1..=3 {
            encode(&mut bytes, Kind::Record, 7, seq, 1000 + seq, &[b'x'; 10]);
        }
        bytes
    }

    fn seqs(bytes: &[u8]) -> Vec<u64> {
        Scan::new(bytes)
            .filter_map(|found| match found {
                Found::Frame { header, .. } => Some(header.seq),
                _ => None,
            })
            .collect()
    }

    #[test]
    fn damaged_payload_costs_one_record_and_is_named() {
        let mut bytes = three();
        bytes[50 + 45] ^= 1;
        assert_eq!(seqs(&bytes), [1, 3]);
        assert!(Scan::new(&bytes).any(|found| matches!(
            found,
            Found::Damage {
                offset: 50,
                len: 50,
                header: Some(Header { seq: 2, .. })
            }
        )));
    }

    #[test]
    fn damaged_header_costs_one_record() {
        let mut bytes = three();
        bytes[50 + 9] ^= 0x80;
        assert_eq!(seqs(&bytes), [1, 3]);
    }

    #[test]
    fn cut_end_is_told_from_damage() {
        let bytes = three();
        let last = Scan::new(&bytes[..145]).last();
        assert!(matches!(
            last,
            Some(Found::Cut {
                offset: 100,
                header: Some(Header { seq: 3, .. })
            })
        ));
    }

    #[test]
    fn zeros_are_room_at_the_end_and_damage_before_a_record() {
        let kinds = |bytes: &[u8]| -> Vec<String> {
            let of = |found| match found {
                Found::Frame { header, .. } => format!("{:?}", header.kind),
                Found::Damage { len, .. } => format!("damage {len}"),
                Found::Blank { len, .. } => format!("blank {len}"),
                Found::Cut { .. } => "cut".to_owned(),
            };
            Scan::new(bytes).map(of).collect()
        };
        let mut bytes = three();
        bytes.truncate(50);
        bytes.resize(150, 0);
        assert_eq!(kinds(&bytes), ["Record", "blank 100"]);
        encode(&mut bytes, Kind::End, 7, 1, 0, b"");
        assert_eq!(kinds(&bytes), ["Record", "blank 100", "End"]);
        let ended = bytes.len();
        encode(&mut bytes, Kind::Record, 7, 2, 0, b"");
        assert_eq!(kinds(&bytes), ["Record", "blank 100", "End", "Record"]);
        bytes.drain(150..ended);
        assert_eq!(kinds(&bytes), ["Record", "damage 100", "Record"]);
        bytes.truncate(150);
        bytes[60] = 1;
        assert_eq!(kinds(&bytes), ["Record", "damage 11", "blank 89"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_walked_to_their_end(mut bytes in prop::collection::vec(any::<u8>(), 0..400), at in 0usize..400) {
            let frames = three();
            let at = at.min(bytes.len());
            bytes.splice(at..at, frames);
            let mut covered = 0;
            for found in Scan::new(&bytes) {
                let (offset, end) = match found {
                    Found::Frame { offset, payload, .. } => (offset, payload.end),
                    Found::Damage { offset, len, .. } | Found::Blank { offset, len } => {
                        (offset, offset + len)
                    }
                    Found::Cut { offset, .. } => (offset, bytes.len()),
                };
                prop_assert_eq!(offset, covered);
                covered = end;
            }
            prop_assert_eq!(covered, bytes.len());
        }

        #[test]
        fn one_flipped_bit_costs_at_most_one_record(bit in 0usize..150 * 8) {
            let mut bytes = three();
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(seqs(&bytes).len(), 2);
        }
    }
}
