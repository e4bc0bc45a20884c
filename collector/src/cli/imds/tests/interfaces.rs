//! Interfaces of the newer format: their clocks, and those that cannot be read.

use std::io::Read;

use plimsoll_imds::Key;

use super::made::{exchange, newer, pcap, pcapng};
use super::{check_exchange, decode_from, run};

/// Units of time of which a second has so many: powers of ten and of two.
#[test]
fn clocks() {
    let packets: Vec<_> = exchange().into_iter().map(|packet| (1, packet)).collect();
    for (resolution, per_second) in [(3, 1000), (6, 1_000_000), (9, 1_000_000_000)] {
        check_exchange(&newer(101, (resolution, per_second), &packets));
    }
    for power in [20, 30, 33] {
        let (result, document) = run(&newer(101, (0x80 | power, 1 << power), &packets));
        assert_eq!(result.unwrap().events, 1);
        let event = &document["events"][0];
        assert_eq!(event["time"], "2023-11-14T22:13:20Z", "2^{power}");
        let latency_ns = event["latency_ns"].as_u64().unwrap();
        assert!(latency_ns.abs_diff(1_000_000) < 1000, "{latency_ns}");
    }
    // Units so fine that their 64 bits are no second, or no nanosecond.
    for resolution in [19, 38, 39, 127, 0x80 | 64, 0xff] {
        let (result, document) = run(&newer(101, (resolution, 0), &packets));
        assert_eq!(result.unwrap().events, 1, "{resolution}");
        assert_eq!(document["events"][0]["time"], "1970-01-01T00:00:00Z");
    }
}

#[test]
fn what_cannot_be_read_is_passed_over_and_counted() {
    let mut packets = vec![(0, b"of another kind".to_vec())];
    packets.extend(exchange().into_iter().map(|packet| (1, packet)));
    packets.push((0, Vec::new()));
    let (result, document) = run(&newer(101, (9, 1_000_000_000), &packets));
    let decoded = result.unwrap();
    assert_eq!((decoded.events, decoded.skipped), (1, [(147, 2)].into()));
    let skipped = serde_json::json!([{ "link_type": 147, "packets": 2 }]);
    assert_eq!(document["skipped"], skipped);
    // Nothing was passed over, and nothing is said of it.
    assert!(run(&pcapng(101, &exchange())).1.get("skipped").is_none());
    // Nothing but that: the capture is not one that is read.
    packets.retain(|(interface, _)| *interface == 0);
    let (result, document) = run(&newer(101, (9, 1_000_000_000), &packets));
    let error = crate::cli::chain(&result.unwrap_err());
    assert!(
        error.contains("packet 1 at byte 80: its link type 147 is not one of Ethernet"),
        "{error}"
    );
    assert_eq!(document["skipped"], skipped);
}

/// As a pipe may give it.
struct Drops<'a>(&'a [u8]);

impl Read for Drops<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let len = into.len().min(1);
        self.0.read(&mut into[..len])
    }
}

#[test]
fn a_capture_may_come_in_drops() {
    for file in [
        pcap(101, &exchange(), false, 65535),
        pcapng(101, &exchange()),
    ] {
        let mut out = Vec::new();
        let decoded = decode_from("-", Drops(&file), &Key([3; 32]), &mut out);
        assert_eq!(decoded.unwrap().events, 1);
        assert_eq!(out, {
            let mut whole = Vec::new();
            decode_from("-", &file[..], &Key([3; 32]), &mut whole).unwrap();
            whole
        });
    }
}
