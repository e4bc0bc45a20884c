//! Captures made here: packets of a request and its answer, and the files that hold them.

use etherparse::{Ipv4Header, Ipv6Header, TcpHeader, ip_number};

pub(super) const REQUEST: &str = "GET /latest/meta-data/iam/security-credentials/node-role HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token: AQAEAGhVd0xrZ2JqS3B5bVZ0dGZ2Q1pXbk1LUW9hYnN3w5w==\r\n\r\n";
pub(super) const ANSWER: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
pub(super) const CLIENT: [u8; 4] = [10, 0, 0, 5];
const SERVER: [u8; 4] = [169, 254, 169, 254];
pub(super) const START_S: u64 = 1_700_000_000;

pub(super) fn tcp(up: bool, payload: &[u8], seq: u32) -> Vec<u8> {
    let (from, to) = if up { (40_000, 80) } else { (80, 40_000) };
    let mut header = TcpHeader::new(from, to, seq, 1000);
    header.ack = true;
    let asked = u32::try_from(REQUEST.len()).unwrap();
    header.acknowledgment_number = if up { 9000 } else { 1000 + asked };
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

pub(super) fn v4(up: bool, segment: &[u8]) -> Vec<u8> {
    let (from, to) = if up {
        (CLIENT, SERVER)
    } else {
        (SERVER, CLIENT)
    };
    let len = u16::try_from(segment.len()).unwrap();
    let header = Ipv4Header::new(len, 64, ip_number::TCP, from, to).unwrap();
    [&header.to_bytes()[..], segment].concat()
}

pub(super) fn v6(up: bool, next: etherparse::IpNumber, rest: &[u8]) -> Vec<u8> {
    let client = "2001:db8::5"
        .parse::<std::net::Ipv6Addr>()
        .unwrap()
        .octets();
    let server = "fd00:ec2::254"
        .parse::<std::net::Ipv6Addr>()
        .unwrap()
        .octets();
    let (source, destination) = if up {
        (client, server)
    } else {
        (server, client)
    };
    let header = Ipv6Header {
        payload_length: u16::try_from(rest.len()).unwrap(),
        next_header: next,
        hop_limit: 64,
        source,
        destination,
        ..Ipv6Header::default()
    };
    [&header.to_bytes()[..], rest].concat()
}

/// IPv4 packets of one request, cut in two, and its answer.
pub(super) fn exchange() -> Vec<Vec<u8>> {
    let (first, second) = REQUEST.as_bytes().split_at(30);
    vec![
        v4(true, &tcp(true, first, 1000)),
        v4(true, &tcp(true, second, 1030)),
        v4(false, &tcp(false, ANSWER.as_bytes(), 9000)),
    ]
}

/// A classic file: packets 1 ms apart, each captured to `snap` bytes.
pub(super) fn pcap(link: u32, frames: &[Vec<u8>], nanoseconds: bool, snap: usize) -> Vec<u8> {
    let mut file = Vec::new();
    let magic: u32 = if nanoseconds {
        0xa1b2_3c4d
    } else {
        0xa1b2_c3d4
    };
    let unit = if nanoseconds { 1_000_000 } else { 1000 };
    file.extend(magic.to_le_bytes());
    file.extend([2, 0, 4, 0]);
    for word in [0, 0, 65535, link] {
        file.extend(word.to_le_bytes());
    }
    for (index, frame) in frames.iter().enumerate() {
        let captured = frame.len().min(snap);
        for word in [
            u32::try_from(START_S).unwrap(),
            u32::try_from(index).unwrap() * unit,
            u32::try_from(captured).unwrap(),
            u32::try_from(frame.len()).unwrap(),
        ] {
            file.extend(word.to_le_bytes());
        }
        file.extend_from_slice(&frame[..captured]);
    }
    file
}

pub(super) fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let len = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
    [&kind.to_le_bytes()[..], &len, &body, &len].concat()
}

/// The newer format, with nanoseconds, behind an interface of another kind.
pub(super) fn pcapng(link: u16, frames: &[Vec<u8>]) -> Vec<u8> {
    let packets: Vec<_> = frames.iter().map(|frame| (1, frame.clone())).collect();
    newer(link, (9, 1_000_000_000), &packets)
}

/// The newer format: packets of interface 0, whose link type is 147, and of interface 1, whose time has
/// that `if_tsresol` and so many units in a second.
pub(super) fn newer(
    link: u16,
    (resolution, per_second): (u8, u64),
    packets: &[(u32, Vec<u8>)],
) -> Vec<u8> {
    let mut file = block(
        0x0a0d_0d0a,
        &[
            &0x1a2b_3c4d_u32.to_le_bytes()[..],
            &[1, 0, 0, 0],
            &[0xff; 8],
        ]
        .concat(),
    );
    file.extend(block(1, &[147, 0, 0, 0, 0, 0, 0, 0]));
    let resolution = [9, 0, 1, 0, resolution, 0, 0, 0, 0, 0, 0, 0];
    file.extend(block(
        1,
        &[&link.to_le_bytes()[..], &[0, 0, 0, 0, 0, 0], &resolution].concat(),
    ));
    for (index, (interface, frame)) in packets.iter().enumerate() {
        let ms = u64::try_from(index).unwrap();
        let time = START_S * per_second + ms * per_second / 1000;
        let len = u32::try_from(frame.len()).unwrap();
        let mut body = Vec::new();
        let high = u32::try_from(time >> 32).unwrap();
        let low = u32::try_from(time & 0xffff_ffff).unwrap();
        for word in [*interface, high, low, len, len] {
            body.extend(word.to_le_bytes());
        }
        body.extend_from_slice(frame);
        file.extend(block(6, &body));
    }
    file
}
