//! From the bytes of a pcap or pcapng file to link-layer frames with their times.
//!
//! Formats: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng. Knows nothing of what is in a frame.

use std::io::Read;

use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{
    Block, InterfaceDescriptionBlock, PcapBlockOwned, PcapError, PcapHeader, create_reader,
};
use thiserror::Error;

use super::packet::{Link, Packet};

/// Bytes that are read at a time; a block that is longer makes it grow to [`BLOCK_BYTES`].
const BUFFER_BYTES: usize = 1 << 20;
/// Longest block. A frame has 256 KiB at most in libpcap.
const BLOCK_BYTES: usize = 1 << 24;
/// Interfaces of one section.
const INTERFACES: usize = 1 << 16;
const NS: u128 = 1_000_000_000;

/// What is wrong with a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Broken {
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
    #[error("its link type {0} is not one of Ethernet, Linux cooked, raw IP or loopback")]
    Link(i32),
}

#[derive(Clone, Copy)]
struct Interface {
    link: i32,
    snap_bytes: u32,
    /// Units in a second; `None` if the file says one that no integer holds.
    resolution: Option<u64>,
    offset_s: i64,
}

impl Interface {
    fn of(header: &PcapHeader) -> Self {
        Self {
            link: header.network.0,
            snap_bytes: header.snaplen,
            resolution: Some(if header.is_nanosecond_precision() {
                1_000_000_000
            } else {
                1_000_000
            }),
            offset_s: 0,
        }
    }

    fn described(description: &InterfaceDescriptionBlock<'_>) -> Self {
        Self {
            link: description.linktype.0,
            snap_bytes: description.snaplen,
            resolution: description.ts_resolution(),
            offset_s: description.ts_offset(),
        }
    }

    fn time_ns(&self, units: u64) -> Option<u64> {
        let resolution = u128::from(self.resolution.filter(|units| *units > 0)?);
        let ns = i128::try_from(u128::from(units) * NS / resolution).ok()?;
        let offset_ns = i128::from(self.offset_s) * 1_000_000_000;
        u64::try_from((ns + offset_ns).max(0)).ok()
    }
}

/// The frames of a capture, one after the other.
pub(super) struct Packets<'a> {
    reader: Box<dyn PcapReaderIterator + Send + 'a>,
    interfaces: Vec<Interface>,
    taken: u64,
    /// Where the next block begins in the file, bytes.
    offset: u64,
    last_ns: u64,
}

impl<'a> Packets<'a> {
    pub(super) fn open(input: impl Read + Send + 'a) -> Result<Self, Broken> {
        Ok(Self {
            reader: create_reader(BUFFER_BYTES, input).map_err(|error| match error {
                PcapError::HeaderNotRecognized => Broken::NotCapture,
                PcapError::ReadError => Broken::Unreadable,
                _ => Broken::Truncated,
            })?,
            interfaces: Vec::new(),
            taken: 0,
            offset: 0,
            last_ns: 0,
        })
    }

    /// Frames handed out.
    pub(super) const fn taken(&self) -> u64 {
        self.taken
    }

    /// Where the block begins that is next or could not be read, bytes from the start of the file.
    pub(super) const fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads the next block; if it is a packet, `take` gets it. False at the end.
    pub(super) fn next(&mut self, take: &mut dyn FnMut(&Packet<'_>)) -> Result<bool, Broken> {
        let Self {
            reader,
            interfaces,
            taken,
            offset,
            last_ns,
        } = self;
        let failed = match reader.next() {
            Ok((len, block)) => {
                if let Some(packet) = packet(&block, interfaces, *last_ns)? {
                    take(&packet);
                    *taken += 1;
                    *last_ns = packet.time_ns;
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

/// The packet of a block, if it is one.
fn packet<'a>(
    block: &'a PcapBlockOwned<'_>,
    interfaces: &mut Vec<Interface>,
    last_ns: u64,
) -> Result<Option<Packet<'a>>, Broken> {
    let Some(frame) = frame(block, interfaces)? else {
        return Ok(None);
    };
    let id = frame.interface;
    let known = usize::try_from(id).ok().and_then(|id| interfaces.get(id));
    let interface = known.ok_or(Broken::Interface(id))?;
    let time_ns = match frame.units {
        Some(units) => interface.time_ns(units).ok_or(Broken::Malformed)?,
        // A simple packet has no time: that of the packet before.
        None => last_ns,
    };
    Ok(Some(Packet {
        link: Link::of(interface.link).ok_or(Broken::Link(interface.link))?,
        time_ns,
        frame: frame.data,
        frame_len: frame.original,
    }))
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
            let seconds = u64::from(frame.ts_sec).saturating_mul(interface.resolution.unwrap_or(0));
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
