//! Ten thousand requests, each reported once and as what it is.

use std::collections::HashMap;

use fastrand::Rng;
use plimsoll_imds::{ConnKey, Decoder, Direction, ImdsEvent, Key, Limits};
use plimsoll_tests::imds_cases::{case, deliver, segment};

const REQUESTS: u64 = 12_000;

#[test]
fn every_request_is_reported_once_with_its_version_and_class() {
    let mut rng = Rng::with_seed(0x706c_696d);
    let mut decoder = Decoder::new(Limits::default(), &Key([5; 32]));
    let mut events: HashMap<ConnKey, Vec<ImdsEvent>> = HashMap::new();
    let mut cases = Vec::new();
    let mut now_ns = 1_000_000;
    for key in 1..=REQUESTS {
        let case = case(&mut rng);
        // The sequence numbers of some connections wrap around.
        let start = if rng.bool() {
            rng.u32(..)
        } else {
            u32::MAX - 20
        };
        let mut push = |direction, seq, payload: &[u8], syn| {
            now_ns += 10_000;
            let mut segment = segment(key, direction, seq, payload, now_ns);
            segment.syn = syn;
            decoder.push(&segment, &mut |event| {
                events.entry(event.key).or_default().push(event);
            });
        };
        push(Direction::Request, start.wrapping_sub(1), b"", true);
        push(Direction::Response, 6999, b"", true);
        for (at, piece) in deliver(&mut rng, &case.request) {
            push(Direction::Request, start.wrapping_add(at), piece, false);
        }
        if rng.u8(0..10) > 0 {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            push(Direction::Response, 7000, answer, false);
        }
        cases.push((ConnKey::Cookie(key), case));
    }
    decoder.finish(&mut |event| events.entry(event.key).or_default().push(event));
    for (key, case) in &cases {
        let text = String::from_utf8_lossy(&case.request);
        let found = events.remove(key).unwrap_or_default();
        assert_eq!(found.len(), 1, "{text}\n{found:?}");
        assert_eq!(
            (found[0].imds_version, found[0].class),
            (case.version, case.class),
            "{text}\n{:?}",
            found[0]
        );
    }
    assert!(events.is_empty());
    assert_eq!(decoder.stats().requests, REQUESTS);
    assert_eq!(decoder.stats().events, REQUESTS);
}
