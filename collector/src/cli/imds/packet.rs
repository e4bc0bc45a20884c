//! From a link-layer frame to a TCP segment of a metadata connection.
//!
//! Total: a frame that is cut, or is none of ours, is no segment. Headers that the capture has in
//! full are enough; how much payload there was on the wire is taken from the IP header.

use std::net::SocketAddr;

use etherparse::{Ipv6ExtensionSlice, LaxIpSlice, TcpSlice, ip_number};
use plimsoll_imds::{ConnKey, Direction, Endpoint, Segment};

/// What comes before the IP header (tcpdump.org/linktypes.html).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// LINKTYPE_ETHERNET.
    Ethernet,
    /// LINKTYPE_LINUX_SLL: `tcpdump -i any`.
    Cooked,
    /// LINKTYPE_LINUX_SLL2.
    Cooked2,
    /// LINKTYPE_RAW, LINKTYPE_IPV4, LINKTYPE_IPV6.
    Raw,
    /// LINKTYPE_NULL, LINKTYPE_LOOP: four bytes of address family.
    Loopback,
}

/// Those that [`Link`] knows, in words.
pub const LINKS: &str = "Ethernet, Linux cooked, raw IP or loopback";

impl Link {
    /// By number; 12 and 14 are what some systems write for raw IP.
    pub(super) const fn of(number: i32) -> Option<Self> {
        match number {
            0 | 108 => Some(Self::Loopback),
            1 => Some(Self::Ethernet),
            12 | 14 | 101 | 228 | 229 => Some(Self::Raw),
            113 => Some(Self::Cooked),
            276 => Some(Self::Cooked2),
            _ => None,
        }
    }

    /// Where the IP header starts; `None` if the frame holds something else.
    fn ip_at(self, frame: &[u8]) -> Option<usize> {
        match self {
            Self::Raw => Some(0),
            Self::Loopback => Some(4),
            Self::Ethernet => ip_behind(frame, 12, 14),
            Self::Cooked => ip_behind(frame, 14, 16),
            Self::Cooked2 => ip_behind(frame, 0, 20),
        }
    }
}

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// VLAN tags of IEEE 802.1Q, 802.1ad and their old stand-in.
const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// Tags in a row.
const TAGS: usize = 4;

/// Follows tags from the EtherType at `type_at`; the first payload is at `at`.
fn ip_behind(frame: &[u8], mut type_at: usize, mut at: usize) -> Option<usize> {
    for _ in 0..=TAGS {
        let bytes = frame.get(type_at..type_at.checked_add(2)?)?;
        let ether_type = u16::from_be_bytes(bytes.try_into().ok()?);
        if ether_type == IPV4 || ether_type == IPV6 {
            return Some(at);
        }
        if !VLAN.contains(&ether_type) {
            return None;
        }
        // Tag control, then the next type.
        type_at = at + 2;
        at += 4;
    }
    None
}

/// A frame as captured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    pub(super) link: Link,
    /// Unix nanoseconds.
    pub(super) time_ns: u64,
    /// What was captured.
    pub(super) frame: &'a [u8],
    /// Length on the wire, bytes.
    pub(super) frame_len: u32,
}

/// The IP layer of a packet.
struct Ip<'a> {
    hop_limit: u8,
    fragment: bool,
    /// Bytes between the start of the IP header and `payload`.
    headers_len: usize,
    /// Length that the header says, `None` for jumbograms and unset lengths of offloading.
    wire_len: Option<usize>,
    payload: &'a [u8],
}

/// The segment in a frame, if it belongs to a connection to a metadata endpoint.
pub(super) fn segment<'a>(packet: &Packet<'a>) -> Option<Segment<'a>> {
    let ip_at = packet.link.ip_at(packet.frame)?;
    let (slice, _) = LaxIpSlice::from_slice(packet.frame.get(ip_at..)?).ok()?;
    let (source, destination) = (slice.source_addr(), slice.destination_addr());
    let ends = (Endpoint::of(source), Endpoint::of(destination));
    if let (None, None) = ends {
        return None;
    }
    let ip = ip(slice)?;
    let tcp = TcpSlice::from_slice(ip.payload).ok()?;
    let direction = match ends {
        (_, None) => Direction::Response,
        // A client of the service's own node has its address: the port tells which is which.
        (Some(_), _) if tcp.source_port() == 80 && tcp.destination_port() != 80 => {
            Direction::Response
        }
        _ => Direction::Request,
    };
    let captured = tcp.payload();
    let on_wire = ip
        .wire_len
        .or_else(|| usize::try_from(packet.frame_len).ok()?.checked_sub(ip_at));
    let on_wire = on_wire
        .and_then(|len| len.checked_sub(ip.headers_len + tcp.header_slice().len()))
        .unwrap_or(0)
        .max(captured.len());
    let src = SocketAddr::new(source, tcp.source_port());
    let dst = SocketAddr::new(destination, tcp.destination_port());
    let (client, server) = match direction {
        Direction::Request => (src, dst),
        Direction::Response => (dst, src),
    };
    Some(Segment {
        key: ConnKey::Ends { client, server },
        direction,
        seq: tcp.sequence_number(),
        ack: tcp.ack().then(|| tcp.acknowledgment_number()),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        fragment: ip.fragment,
        hop_limit: Some(ip.hop_limit),
        payload: captured,
        payload_len: u32::try_from(on_wire).ok()?,
        time_ns: packet.time_ns,
        src,
        dst,
    })
}

/// The IP headers and what follows them; `None` for other protocols than TCP and for fragments
/// without a TCP header.
fn ip(slice: LaxIpSlice<'_>) -> Option<Ip<'_>> {
    let payload = slice.payload().clone();
    if payload.ip_number != ip_number::TCP {
        return None;
    }
    let length = |says: usize, of: usize| (says > 0).then_some(of);
    match slice {
        LaxIpSlice::Ipv4(v4) => {
            let header = v4.header();
            let authentication = v4.extensions().auth.map_or(0, |auth| auth.slice().len());
            let total = usize::from(header.total_len());
            (header.fragments_offset().value() == 0).then_some(Ip {
                hop_limit: header.ttl(),
                fragment: payload.fragmented,
                headers_len: header.slice().len() + authentication,
                wire_len: length(total, total),
                payload: payload.payload,
            })
        }
        LaxIpSlice::Ipv6(v6) => {
            let header = v6.header();
            let says = usize::from(header.payload_length());
            let later = v6.extensions().clone().into_iter().any(|extension| {
                matches!(extension, Ipv6ExtensionSlice::Fragment(fragment)
                    if fragment.fragment_offset().value() != 0)
            });
            (!later).then_some(Ip {
                hop_limit: header.hop_limit(),
                fragment: payload.fragmented,
                headers_len: header.slice().len() + v6.extensions().slice().len(),
                wire_len: length(says, header.slice().len() + says),
                payload: payload.payload,
            })
        }
    }
}
