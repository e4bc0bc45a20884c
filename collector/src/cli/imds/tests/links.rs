//! What lies around a segment: link layers, IP headers, fragments, cuts.

use etherparse::{IpFragOffset, Ipv4Header, Ipv6FragmentHeader, ip_number};

use super::made::{ANSWER, REQUEST, exchange, pcap, pcapng, tcp, v4, v6};
use super::{behind, check_exchange, run};

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

/// The word of the link type says how long the frame check sequence is, too.
#[test]
fn frames_with_a_check_sequence() {
    let ethernet = [&[2; 12][..], &[0x08, 0x00]].concat();
    let frames = behind(&ethernet, &exchange());
    let frames: Vec<_> = frames
        .iter()
        .map(|frame| [frame, &[9; 4][..]].concat())
        .collect();
    check_exchange(&pcap(0x2400_0001, &frames, false, 65535));
    check_exchange(&pcap(0x1400_0065, &exchange(), false, 65535));
    // Other bits are none that are known.
    let (result, _) = run(&pcap(0x0100_0001, &frames, false, 65535));
    let error = crate::cli::chain(&result.unwrap_err());
    assert!(error.contains("its link type 16777217"), "{error}");
}

#[test]
fn ethernet_padding_is_no_payload() {
    let ethernet = [&[2; 12][..], &[0x08, 0x00]].concat();
    let mut frames = behind(&ethernet, &exchange());
    let empty = behind(&ethernet, &[v4(true, &tcp(true, b"", 1030))]);
    frames.insert(1, [&empty[0][..], &[0; 6]].concat());
    let (result, document) = run(&pcap(1, &frames, false, 65535));
    assert_eq!(result.unwrap().events, 1);
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
    assert_eq!(result.unwrap().events, 1, "{document}");
    let event = &document["events"][0];
    assert_eq!(event["imds_version"], "unknown", "{event}");
    let flags = ["fragmented", "gap", "header_truncated"];
    assert_eq!(event["flags"], serde_json::json!(flags), "{event}");
    assert_eq!(event["status"], 404, "its own answer: {event}");
}

#[test]
fn a_cut_capture_says_what_it_cannot_know() {
    let (result, document) = run(&pcap(101, &exchange()[..1], false, 60));
    assert_eq!(result.unwrap().events, 1);
    assert_eq!(document["events"][0]["imds_version"], "unknown");
    let mut frames = exchange();
    frames.insert(0, b"neither IPv4 nor IPv6".to_vec());
    frames.insert(0, Vec::new());
    let (result, _) = run(&pcap(101, &frames, false, 65535));
    assert_eq!(result.unwrap().events, 1);
}

/// As a client of the node's network has it, where the service is on the node itself.
#[test]
fn of_two_ends_at_one_address_the_port_tells_which_is_the_service() {
    let mut packets = exchange();
    for packet in &mut packets {
        packet[12..16].copy_from_slice(&[169, 254, 169, 254]);
        packet[16..20].copy_from_slice(&[169, 254, 169, 254]);
    }
    let event = check_exchange(&pcap(101, &packets, false, 65_535));
    assert_eq!(event["src"]["port"], 40_000, "{event}");
}
