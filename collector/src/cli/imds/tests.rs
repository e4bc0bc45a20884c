//! Captures made here, decoded by the command.

use std::io::Write as _;

use etherparse::{IpFragOffset, Ipv4Header, Ipv6FragmentHeader, Ipv6Header, TcpHeader, ip_number};
use plimsoll_imds::Key;
use serde_json::Value;

use super::*;

const REQUEST: &str = "GET /latest/meta-data/iam/security-credentials/node-role HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token: AQAEAGhVd0xrZ2JqS3B5bVZ0dGZ2Q1pXbk1LUW9hYnN3w5w==\r\n\r\n";
const ANSWER: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
const CLIENT: [u8; 4] = [10, 0, 0, 5];
const SERVER: [u8; 4] = [169, 254, 169, 254];
const START_S: u64 = 1_700_000_000;

fn tcp(up: bool, payload: &[u8], seq: u32) -> Vec<u8> {
    let (from, to) = if up { (40_000, 80) } else { (80, 40_000) };
    let mut header = TcpHeader::new(from, to, seq, 1000);
    header.ack = true;
    header.acknowledgment_number = if up { 9000 } else { seq };
    let mut bytes = header.to_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

fn v4(up: bool, segment: &[u8]) -> Vec<u8> {
    let (from, to) = if up {
        (CLIENT, SERVER)
    } else {
        (SERVER, CLIENT)
    };
    let len = u16::try_from(segment.len()).unwrap();
    let header = Ipv4Header::new(len, 64, ip_number::TCP, from, to).unwrap();
    [&header.to_bytes()[..], segment].concat()
}

fn v6(up: bool, next: etherparse::IpNumber, rest: &[u8]) -> Vec<u8> {
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
fn exchange() -> Vec<Vec<u8>> {
    let (first, second) = REQUEST.as_bytes().split_at(30);
    vec![
        v4(true, &tcp(true, first, 1000)),
        v4(true, &tcp(true, second, 1030)),
        v4(false, &tcp(false, ANSWER.as_bytes(), 9000)),
    ]
}

/// A classic file: packets 1 ms apart, each captured to `snap` bytes.
fn pcap(link: u32, frames: &[Vec<u8>], nanoseconds: bool, snap: usize) -> Vec<u8> {
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

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let mut body = body.to_vec();
    body.resize(body.len().next_multiple_of(4), 0);
    let len = u32::try_from(body.len() + 12).unwrap().to_le_bytes();
    [&kind.to_le_bytes()[..], &len, &body, &len].concat()
}

/// The newer format, with nanoseconds, behind an interface of another kind.
fn pcapng(link: u16, frames: &[Vec<u8>]) -> Vec<u8> {
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
    let resolution = [9, 0, 1, 0, 9, 0, 0, 0, 0, 0, 0, 0];
    file.extend(block(
        1,
        &[&link.to_le_bytes()[..], &[0, 0, 0, 0, 0, 0], &resolution].concat(),
    ));
    for (index, frame) in frames.iter().enumerate() {
        let time = START_S * 1_000_000_000 + u64::try_from(index).unwrap() * 1_000_000;
        let len = u32::try_from(frame.len()).unwrap();
        let mut body = Vec::new();
        let high = u32::try_from(time >> 32).unwrap();
        let low = u32::try_from(time & 0xffff_ffff).unwrap();
        for word in [1, high, low, len, len] {
            body.extend(word.to_le_bytes());
        }
        body.extend_from_slice(frame);
        file.extend(block(6, &body));
    }
    file
}

fn run(file: &[u8]) -> (Result<u64, DecodeError>, Value) {
    let mut out = Vec::new();
    let result = decode_from("test.pcap", file, &Key([3; 32]), &mut out);
    let document = if out.is_empty() {
        Value::Null
    } else {
        serde_json::from_slice(&out).unwrap()
    };
    (result, document)
}

/// One event of the exchange.
#[track_caller]
fn check_exchange(file: &[u8]) -> Value {
    let (result, mut document) = run(file);
    assert_eq!(result.unwrap(), 1, "{document}");
    assert_eq!(document["schema"], "plimsoll.imds/v1");
    let event = document["events"][0].take();
    for (field, expected) in [
        ("time", "2023-11-14T22:13:20Z"),
        ("endpoint", "imds"),
        ("method", "GET"),
        (
            "path",
            "/latest/meta-data/iam/security-credentials/node-role",
        ),
        ("imds_version", "v2"),
        ("class", "CRED"),
        ("role", "node-role"),
        ("outcome", "not_found"),
    ] {
        assert_eq!(event[field], expected, "{event}");
    }
    assert_eq!(event["status"], 404);
    assert_eq!(event["latency_ns"], 1_000_000, "{event}");
    assert_eq!(event["token_hash"].as_str().unwrap().len(), 16);
    assert!(!event.to_string().contains("AQAEAGhV"));
    event
}

fn behind(header: &[u8], packets: &[Vec<u8>]) -> Vec<Vec<u8>> {
    packets
        .iter()
        .map(|packet| [header, packet].concat())
        .collect()
}

#[test]
fn link_layers() {
    let packets = exchange();
    let ethernet = [&[2; 12][..], &[0x08, 0x00]].concat();
    let tagged = [&[2; 12][..], &[0x88, 0xa8, 0, 1, 0x81, 0, 0, 2, 0x08, 0x00]].concat();
    let cooked = [&[0; 14][..], &[0x08, 0x00]].concat();
    let cooked2 = [&[0x08, 0x00][..], &[0; 18]].concat();
    for (link, header) in [
        (1, &ethernet[..]),
        (1, &tagged),
        (113, &cooked),
        (276, &cooked2),
        (101, &[]),
        (228, &[]),
        (0, &[2, 0, 0, 0]),
    ] {
        let frames = behind(header, &packets);
        let event = check_exchange(&pcap(link, &frames, false, 65535));
        check_exchange(&pcap(link, &frames, true, 65535));
        check_exchange(&pcapng(u16::try_from(link).unwrap(), &frames));
        assert_eq!(event["src"]["ip"], "10.0.0.5");
        assert_eq!(event["src"]["port"], 40_000);
        assert_eq!(event["dst"]["ip"], "169.254.169.254");
        assert_eq!(event["flags"], serde_json::json!([]));
    }
}

#[test]
fn ethernet_padding_is_no_payload() {
    let ethernet = [&[2; 12][..], &[0x08, 0x00]].concat();
    let mut frames = behind(&ethernet, &exchange());
    let empty = behind(&ethernet, &[v4(true, &tcp(true, b"", 1030))]);
    frames.insert(1, [&empty[0][..], &[0; 6]].concat());
    let (result, document) = run(&pcap(1, &frames, false, 65535));
    assert_eq!(result.unwrap(), 1);
    assert_eq!(document["events"][0]["imds_version"], "v2");
    assert_eq!(document["events"][0]["flags"], serde_json::json!([]));
}

#[test]
fn ipv6_with_extension_headers_and_fragments() {
    // Hop-by-hop options: six bytes of padding.
    let options = |rest: &[u8]| [&[6, 0, 1, 4, 0, 0, 0, 0][..], rest].concat();
    let packets = vec![
        v6(
            true,
            ip_number::IPV6_HEADER_HOP_BY_HOP,
            &options(&tcp(true, REQUEST.as_bytes(), 1000)),
        ),
        v6(false, ip_number::TCP, &tcp(false, ANSWER.as_bytes(), 9000)),
    ];
    let event = check_exchange(&pcap(101, &packets, false, 65535));
    assert_eq!(event["dst"]["ip"], "fd00:ec2::254");

    let segment = tcp(true, REQUEST.as_bytes(), 1000);
    let (first, later) = segment.split_at(80);
    let fragment = |offset: u16, more: bool, rest: &[u8]| {
        let offset = IpFragOffset::try_new(offset).unwrap();
        let header = Ipv6FragmentHeader::new(ip_number::TCP, offset, more, 7);
        let rest = [&header.to_bytes()[..], rest].concat();
        v6(true, ip_number::IPV6_FRAGMENTATION_HEADER, &rest)
    };
    let packets = vec![
        fragment(0, true, first),
        fragment(10, false, later),
        v6(false, ip_number::TCP, &tcp(false, ANSWER.as_bytes(), 9000)),
    ];
    check_fragmented(&packets);

    let fragment = |offset: u16, more: bool, rest: &[u8]| {
        let mut packet = v4(true, rest);
        let mut header = Ipv4Header::from_slice(&packet).unwrap().0;
        header.fragment_offset = IpFragOffset::try_new(offset).unwrap();
        header.more_fragments = more;
        header.header_checksum = header.calc_header_checksum();
        packet[..20].copy_from_slice(&header.to_bytes());
        packet
    };
    let packets = vec![
        fragment(0, true, first),
        fragment(10, false, later),
        v4(false, &tcp(false, ANSWER.as_bytes(), 9000)),
    ];
    check_fragmented(&packets);
}

/// Only the first fragment has ports: the rest of the head is missing, and the event says so.
#[track_caller]
fn check_fragmented(packets: &[Vec<u8>]) {
    let (result, document) = run(&pcap(101, packets, false, 65535));
    // The answer acknowledges the whole request, so it is that request's, unread as it is.
    assert_eq!(result.unwrap(), 1, "{document}");
    let event = &document["events"][0];
    assert_eq!(event["imds_version"], "unknown", "{event}");
    assert_eq!(event["outcome"], "not_found", "{event}");
    let flags = event["flags"].as_array().unwrap();
    for flag in ["fragmented", "gap"] {
        assert!(flags.contains(&flag.into()), "{event}");
    }
}

#[test]
fn a_cut_capture_says_what_it_cannot_know() {
    let (result, document) = run(&pcap(101, &exchange()[..1], false, 60));
    assert_eq!(result.unwrap(), 1);
    assert_eq!(document["events"][0]["imds_version"], "unknown");
    let mut frames = exchange();
    frames.insert(0, b"neither IPv4 nor IPv6".to_vec());
    frames.insert(0, Vec::new());
    let (result, _) = run(&pcap(101, &frames, false, 65535));
    assert_eq!(result.unwrap(), 1);
}

/// Moves packet `at` of a classic file to `second`.
fn postpone(file: &mut [u8], frames: &[Vec<u8>], at: usize, second: u64) {
    let header = 24 + frames[..at].iter().map(|f| 16 + f.len()).sum::<usize>();
    let second = u32::try_from(second).unwrap();
    file[header..header + 4].copy_from_slice(&second.to_le_bytes());
}

#[test]
fn a_late_answer_is_told_with_its_request() {
    let mut frames = exchange();
    // Another connection's request and answer, while the first still waits.
    let other = frames.clone().into_iter().map(|mut packet| {
        let ours = if packet[12..16] == CLIENT { 15 } else { 19 };
        packet[ours] = 6;
        packet
    });
    let answer = frames.pop().unwrap();
    frames.extend(other);
    frames.push(answer);
    let mut file = pcap(101, &frames, false, 65535);
    for at in 2..5 {
        postpone(&mut file, &frames, at, START_S + 3);
    }
    postpone(&mut file, &frames, 5, START_S + 30);
    let (result, document) = run(&file);
    assert_eq!(result.unwrap(), 2, "{document}");
    let [other, late] = [0, 1].map(|at| &document["events"][at]);
    assert_eq!(
        (&other["src"]["ip"], &other["flags"]),
        (&"10.0.0.6".into(), &serde_json::json!([]))
    );
    assert_eq!(
        (&late["outcome"], &late["flags"]),
        (&"not_found".into(), &serde_json::json!(["late_answer"]))
    );
    assert_eq!(late["time"], "2023-11-14T22:13:20Z");
    assert_eq!(late["latency_ns"], 30_004_000_000_u64);
    assert_eq!(late["request_id"], Value::Null);
    for field in ["path", "class", "imds_version", "token_hash"] {
        assert_eq!(other[field], late[field], "{field}");
    }
}

#[test]
fn an_answer_that_never_comes_is_no_response_in_its_turn() {
    let mut frames = exchange();
    frames[2] = v4(true, &tcp(true, REQUEST.as_bytes(), 1000));
    frames[2][15] = 6;
    frames.push(frames[2].clone());
    frames[3][15] = 7;
    let mut file = pcap(101, &frames, false, 65535);
    postpone(&mut file, &frames, 2, START_S + 5);
    postpone(&mut file, &frames, 3, START_S + 100);
    let (result, document) = run(&file);
    assert_eq!(result.unwrap(), 3);
    let told = [0, 1, 2].map(|at| &document["events"][at]);
    assert_eq!(
        told.map(|event| event["src"]["ip"].as_str().unwrap()),
        ["10.0.0.5", "10.0.0.6", "10.0.0.7"]
    );
    assert!(told.iter().all(|event| event["outcome"] == "no_response"));
    assert!(told.iter().all(|event| event["request_id"].is_null()));
}

#[test]
fn broken_files_name_the_packet() {
    let whole = pcap(101, &exchange(), false, 65535);
    let message = |file: &[u8]| {
        let (result, document) = run(file);
        let error = result.unwrap_err();
        (crate::cli::chain(&error), document)
    };
    let (text, document) = message(&whole[..whole.len() - 1]);
    // The file's header, and two packets with theirs.
    let frames = exchange();
    let third = 24 + 16 + frames[0].len() + 16 + frames[1].len();
    assert_eq!(
        text,
        format!("decoding test.pcap, packet 3 at byte {third}: the file ends in the middle of it")
    );
    // What was complete is told, in a whole document.
    assert_eq!(document["events"][0]["outcome"], "no_response");
    let text = message(b"GET / HTTP/1.1\r\n and more than the length of a header").0;
    assert_eq!(
        text,
        "decoding test.pcap, packet 1 at byte 0: this is neither pcap nor pcapng"
    );
    for short in [&[][..], &whole[..10]] {
        assert!(message(short).0.contains("packet 1 at byte 0: "));
    }
    let text = message(&pcap(147, &exchange(), false, 65535)).0;
    assert!(
        text.contains("packet 1 at byte 24: its link type 147"),
        "{text}"
    );
    let newer = pcapng(101, &exchange());
    let text = message(&newer[..newer.len() - 3]).0;
    assert!(text.contains("packet 3 at byte "), "{text}");
    let mut bad = newer.clone();
    // The first packet's interface.
    let at = newer
        .windows(4)
        .position(|kind| kind == [6, 0, 0, 0])
        .unwrap();
    bad[at + 8] = 9;
    let text = message(&bad).0;
    assert_eq!(
        text,
        format!("decoding test.pcap, packet 1 at byte {at}: its interface 9 is not described")
    );
}

/// Wherever a capture is cut: it is whole up to there, or the message names the block that is not.
fn check_every_cut(whole: &[u8], blocks: &[usize]) {
    for len in 1..whole.len() {
        let begin = *blocks.iter().rfind(|begin| **begin <= len).unwrap();
        let near_an_end = blocks.iter().any(|begin| begin.saturating_sub(len) == 1);
        // Each byte of a block's head; of its inside some.
        if len - begin > 20 && !near_an_end && len % 64 != 0 {
            continue;
        }
        match run(&whole[..len]).0 {
            Ok(_) => assert!(begin == len, "cut at {len}, and nobody saw it"),
            Err(DecodeError::Capture { offset, .. }) => {
                assert_eq!(offset, begin as u64, "cut at {len}");
                assert!(begin != len, "cut at {len}, which is between two blocks");
            }
            Err(other) => panic!("cut at {len}: {other}"),
        }
    }
}

#[test]
fn every_cut_is_seen_where_it_is() {
    let frames = exchange();
    let mut blocks = vec![0];
    let mut end = 24;
    for frame in &frames {
        blocks.push(end);
        end += 16 + frame.len();
    }
    check_every_cut(&pcap(101, &frames, false, 65535), &blocks);

    let newer = pcapng(101, &frames);
    let mut blocks = vec![0];
    while let Some(len) = newer
        .get(blocks[blocks.len() - 1] + 4..)
        .and_then(|rest| rest.first_chunk())
    {
        blocks.push(blocks[blocks.len() - 1] + u32::from_le_bytes(*len) as usize);
    }
    check_every_cut(&newer, &blocks);
}

#[test]
fn garbage_is_refused_with_file_and_place() {
    let mut dice = fastrand::Rng::with_seed(5);
    for file in [
        pcap(101, &exchange(), true, 65535),
        pcapng(101, &exchange()),
    ] {
        for _ in 0..60 {
            let mut bad = file.clone();
            for _ in 0..dice.usize(1..4) {
                let at = dice.usize(..bad.len());
                bad[at] = dice.u8(..);
            }
            // Many a flipped bit is in a payload and no error; where it is one, it has a place.
            if let Err(error) = run(&bad).0 {
                let DecodeError::Capture { offset, .. } = &error else {
                    panic!("{error}");
                };
                assert!(*offset < bad.len() as u64, "{error}");
                assert!(error.to_string().starts_with("decoding test.pcap, packet "));
            }
        }
    }
}

#[test]
fn the_command_decodes_a_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&pcap(101, &exchange(), false, 65535))
        .unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let call = |path: &str| {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let args = ["plimsoll", "imds", "decode", path, "-o", "json"];
        let exit = crate::cli::run(args.map(Into::into), &mut out, &mut err);
        (exit, out, String::from_utf8(err).unwrap())
    };
    let (exit, out, err) = call(&path);
    assert_eq!((exit, err.as_str()), (crate::cli::Exit::Success, ""));
    let document: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(document["events"].as_array().unwrap().len(), 1);
    let (exit, out, err) = call("/no/such/file.pcap");
    assert_eq!((exit, out.len()), (crate::cli::Exit::Usage, 0));
    assert!(err.contains("/no/such/file.pcap"), "{err}");
}
