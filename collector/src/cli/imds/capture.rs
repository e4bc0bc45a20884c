//! From the bytes of a pcap or pcapng file to link-layer frames with their times.
//!
//! Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng. Knows nothing of what is in a frame.
//! Packets of an interface whose link type is not known are passed over and counted; a capture that
//! holds no others is refused.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{
    Block, InterfaceDescriptionBlock, PcapBlockOwned, PcapError, PcapHeader, create_reader,
};
use thiserror::Error;

use super::packet::{LINKS, Link, Packet};

/// Bytes that are read at a time; a block that is longer makes it grow to [`BLOCK_BYTES`].
const BUFFER_BYTES: usize = 1 << 20;
/// Longest block. A frame has 256 KiB at most in libpcap.
const BLOCK_BYTES: usize = 1 << 24;
/// Interfaces of one section.
const INTERFACES: usize = 1 << 16;
const NS: u128 = 1_000_000_000;
/// Bytes of the header of a classic file: enough to tell one, and where a newer file's first block ends.
const HEADER_BYTES: usize = 24;
/// Type of the block with which a newer file begins, the same from either end.
const SECTION: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Its byte order mark in a file of least significant bytes first.
const LITTLE_ENDIAN: [u8; 4] = [0x4d, 0x3c, 0x2b, 0x1a];
/// Of a classic header's link type: above it stands how long the frame check sequence of each frame is
/// (draft-ietf-opsawg-pcap section 4).
const LINK_BITS: i32 = 0x03ff_ffff;

/// What is wrong with a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Broken {
    /// Not a byte.
    #[error("the file is empty")]
    Empty,
    /// Neither magic number.
    #[error("this is neither pcap nor pcapng")]
    NotCapture,
    /// It ends within a block.
    #[error("the file ends in the middle of it")]
    Truncated,
    /// A length or a field that cannot be.
    #[error("its block is malformed")]
    Malformed,
    /// A block beyond all sense.
    #[error("its block is longer than {BLOCK_BYTES} bytes")]
    TooLong,
    /// The operating system says no.
    #[error("the file cannot be read further")]
    Unreadable,
    /// A packet of an interface that no block describes.
    #[error("its interface {0} is not described")]
    Interface(u32),
    /// More than we keep.
    #[error("more than {INTERFACES} interfaces")]
    Interfaces,
    /// We do not know where the IP header is.
    #[error("its link type {0} is not one of {LINKS}")]
    Link(i32),
}

#[derive(Clone, Copy)]
struct Interface {
    link: i32,
    snap_bytes: u32,
    /// Units of time in a second.
    per_second: u128,
    offset_s: i64,
}

impl Interface {
    fn of(header: &PcapHeader) -> Self {
        Self {
            link: header.network.0 & LINK_BITS,
            snap_bytes: header.snaplen,
            per_second: if header.is_nanosecond_precision() {
                NS
            } else {
                1_000_000
            },
            offset_s: 0,
        }
    }

    fn described(description: &InterfaceDescriptionBlock<'_>) -> Self {
        Self {
            link: description.linktype.0,
            snap_bytes: description.snaplen,
            per_second: per_second(description.if_tsresol),
            offset_s: description.ts_offset(),
        }
    }

    fn time_ns(&self, units: u64) -> Option<u64> {
        let whole = u128::from(units) * NS / self.per_second.max(1);
        let ns = i128::try_from(whole).ok()?;
        let offset_ns = i128::from(self.offset_s) * 1_000_000_000;
        u64::try_from((ns + offset_ns).max(0)).ok()
    }
}

/// `if_tsresol`: a power of two where its highest bit is set, else of ten.
fn per_second(resolution: u8) -> u128 {
    let power = u32::from(resolution & 0x7f);
    if resolution & 0x80 == 0 {
        // Of finer units than these 2^64 are no nanosecond.
        10_u128.checked_pow(power).unwrap_or(u128::MAX)
    } else {
        1 << power
    }
}

/// The beginning of a file, up to where its format can be told: a pipe may give less at a time.
fn beginning(input: &mut impl Read) -> Result<Vec<u8>, Broken> {
    let mut bytes = Vec::new();
    let mut read_to = |len: usize, bytes: &mut Vec<u8>| {
        let more = u64::try_from(len.saturating_sub(bytes.len())).unwrap_or(u64::MAX);
        let read = input.by_ref().take(more).read_to_end(bytes);
        read.map(drop).map_err(|_| Broken::Unreadable)
    };
    read_to(HEADER_BYTES, &mut bytes)?;
    if let (Some(&SECTION), Some(&len), Some(&order)) = (
        bytes.first_chunk::<4>(),
        bytes.get(4..).and_then(<[u8]>::first_chunk::<4>),
        bytes.get(8..).and_then(<[u8]>::first_chunk::<4>),
    ) {
        let len = if order == LITTLE_ENDIAN {
            u32::from_le_bytes(len)
        } else {
            u32::from_be_bytes(len)
        };
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        read_to(len.min(BUFFER_BYTES), &mut bytes)?;
    }
    Ok(bytes)
}

/// The frames of a capture, one after the other.
pub(super) struct Packets<'a> {
    reader: Box<dyn PcapReaderIterator + Send + 'a>,
    interfaces: Vec<Interface>,
    taken: u64,
    /// Passed over, by link type.
    skipped: BTreeMap<i32, u64>,
    /// The first of those: its number, its place and its link type.
    first_skipped: Option<(u64, u64, i32)>,
    /// Where the next block begins in the file, bytes.
    offset: u64,
    last_ns: u64,
}

impl<'a> Packets<'a> {
    pub(super) fn open(mut input: impl Read + Send + 'a) -> Result<Self, Broken> {
        let input = Cursor::new(beginning(&mut input)?).chain(input);
        Ok(Self {
            reader: create_reader(BUFFER_BYTES, input).map_err(|error| match error {
                PcapError::HeaderNotRecognized => Broken::NotCapture,
                PcapError::Eof => Broken::Empty,
                PcapError::ReadError => Broken::Unreadable,
                _ => Broken::Truncated,
            })?,
            interfaces: Vec::new(),
            taken: 0,
            skipped: BTreeMap::new(),
            first_skipped: None,
            offset: 0,
            last_ns: 0,
        })
    }

    /// Frames handed out or passed over.
    pub(super) fn seen(&self) -> u64 {
        self.skipped.values().sum::<u64>() + self.taken
    }

    /// Frames passed over, by link type.
    pub(super) const fn skipped(&self) -> &BTreeMap<i32, u64> {
        &self.skipped
    }

    /// The first frame, its place and its link type, if of no frame the link type was known.
    pub(super) fn unknown(&self) -> Option<(u64, u64, i32)> {
        self.first_skipped.filter(|_| self.taken == 0)
    }

    /// Where the block begins that is next or could not be read, bytes from the start of the file.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next block; if it is a packet, `take` gets it. False at the end.
    pub(super) fn next(&mut self, take: &mut dyn FnMut(&Packet<'_>)) -> Result<bool, Broken> {
        let number = self.seen() + 1;
        let Self {
            reader,
            interfaces,
            taken,
            skipped,
            first_skipped,
            offset,
            last_ns,
        } = self;
        let failed = match reader.next() {
            Ok((len, block)) => {
                match packet(&block, interfaces, *last_ns)? {
                    Some(Found::Packet(packet)) => {
                        take(&packet);
                        *taken += 1;
                        *last_ns = packet.time_ns;
                    }
                    Some(Found::Unknown(link)) => {
                        *skipped.entry(link).or_default() += 1;
                        first_skipped.get_or_insert((number, *offset, link));
                    }
                    None => {}
                }
                reader.consume(len);
                *offset += len as u64;
                return Ok(true);
            }
            Err(error) => why(&error),
        };
        match failed {
            Stop::End => Ok(false),
            Stop::Broken(broken) => Err(broken),
            Stop::More => match reader.refill().map_err(|error| why(&error)) {
                Ok(()) => Ok(true),
                Err(Stop::Broken(broken)) => Err(broken),
                Err(Stop::End | Stop::More | Stop::Room) => Err(Broken::Truncated),
            },
            Stop::Room => {
                let room = (reader.data().len().max(BUFFER_BYTES)).saturating_mul(2);
                if room > BLOCK_BYTES || !reader.grow(room) {
                    return Err(Broken::TooLong);
                }
                Ok(true)
            }
        }
    }
}

/// Why there is no block yet.
enum Stop {
    End,
    More,
    Room,
    Broken(Broken),
}

fn why(error: &PcapError<&[u8]>) -> Stop {
    match error {
        PcapError::Eof => Stop::End,
        PcapError::Incomplete(_) => Stop::More,
        PcapError::BufferTooSmall => Stop::Room,
        PcapError::UnexpectedEof => Stop::Broken(Broken::Truncated),
        PcapError::ReadError => Stop::Broken(Broken::Unreadable),
        PcapError::HeaderNotRecognized => Stop::Broken(Broken::NotCapture),
        PcapError::NomError(..) | PcapError::OwnedNomError(..) => Stop::Broken(Broken::Malformed),
    }
}

/// What a packet's block says, before its interface is looked up.
struct Frame<'a> {
    interface: u32,
    /// Since the epoch, in units of the interface; `None` where the block has no time.
    units: Option<u64>,
    data: &'a [u8],
    original: u32,
}

/// A packet, if we know how to read it.
enum Found<'a> {
    Packet(Packet<'a>),
    /// Its link type.
    Unknown(i32),
}

/// The packet of a block, if it is one.
fn packet<'a>(
    block: &'a PcapBlockOwned<'_>,
    interfaces: &mut Vec<Interface>,
    last_ns: u64,
) -> Result<Option<Found<'a>>, Broken> {
    let Some(frame) = frame(block, interfaces)? else {
        return Ok(None);
    };
    let id = frame.interface;
    let known = usize::try_from(id).ok().and_then(|id| interfaces.get(id));
    let interface = known.ok_or(Broken::Interface(id))?;
    let Some(link) = Link::of(interface.link) else {
        return Ok(Some(Found::Unknown(interface.link)));
    };
    let time_ns = match frame.units {
        Some(units) => interface.time_ns(units).ok_or(Broken::Malformed)?,
        // A simple packet has no time: that of the packet before.
        None => last_ns,
    };
    Ok(Some(Found::Packet(Packet {
        link,
        time_ns,
        frame: frame.data,
        frame_len: frame.original,
    })))
}

/// The frame of a block; a block that describes interfaces is taken up into `interfaces`.
fn frame<'a>(
    block: &'a PcapBlockOwned<'_>,
    interfaces: &mut Vec<Interface>,
) -> Result<Option<Frame<'a>>, Broken> {
    let frame = match block {
        PcapBlockOwned::LegacyHeader(header) => {
            interfaces.push(Interface::of(header));
            return Ok(None);
        }
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            interfaces.clear();
            return Ok(None);
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(description)) => {
            if interfaces.len() >= INTERFACES {
                return Err(Broken::Interfaces);
            }
            interfaces.push(Interface::described(description));
            return Ok(None);
        }
        PcapBlockOwned::Legacy(frame) => {
            let interface = interfaces.first().ok_or(Broken::Malformed)?;
            let units = u64::try_from(interface.per_second).unwrap_or(u64::MAX);
            let seconds = u64::from(frame.ts_sec).saturating_mul(units);
            Frame {
                interface: 0,
                units: Some(seconds.saturating_add(u64::from(frame.ts_usec))),
                data: frame.data,
                original: frame.origlen,
            }
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => Frame {
            interface: packet.if_id,
            units: Some(u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low)),
            data: first(packet.data, packet.caplen)?,
            original: packet.origlen,
        },
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            // Padded to four bytes, and its length is not in it.
            let snap = interfaces.first().map_or(0, |first| first.snap_bytes);
            let most = if snap == 0 { u32::MAX } else { snap };
            Frame {
                interface: 0,
                units: None,
                data: first(packet.data, packet.origlen.min(most))?,
                original: packet.origlen,
            }
        }
        PcapBlockOwned::NG(_) => return Ok(None),
    };
    Ok(Some(frame))
}

/// The first `len` bytes; a block that has fewer lies about its length.
fn first(data: &[u8], len: u32) -> Result<&[u8], Broken> {
    let kept = usize::try_from(len).ok().and_then(|len| data.get(..len));
    kept.ok_or(Broken::Malformed)
}
