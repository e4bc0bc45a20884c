//! Bytes missing within a request: its answer stays its own, and so do the answers behind it.

use proptest::prelude::*;

use super::{MS, Play, ok, status};
use crate::{Class, Flags, ImdsEvent, Outcome};

const CREDENTIALS: &str = r#"{ "Code" : "Success", "AccessKeyId" : "ASIAIOSFODNN7EXAMPLE",
    "SecretAccessKey" : "s", "Token" : "t", "Expiration" : "2026-01-02T03:04:05Z" }"#;
const CRED: &str = "GET /latest/meta-data/iam/security-credentials/node-role HTTP/1.1\r\n\
    Host: 169.254.169.254\r\n\r\n";
const MAC: &str = "GET /latest/meta-data/mac HTTP/1.1\r\n\r\n";

/// Sends `text` without the bytes of `hole`.
fn ask_without(play: &mut Play, text: &str, hole: std::ops::Range<usize>) {
    let (before, rest) = text.split_at(hole.start);
    let (missing, after) = rest.split_at(hole.len());
    play.ask(before);
    play.up_seq += u32::try_from(missing.len()).unwrap();
    play.ask(after);
}

fn told(event: &ImdsEvent) -> (Class, Option<u16>, Flags, Option<u64>) {
    (event.class, event.status, event.flags, event.latency_ns)
}

/// A request with a hole is answered with credentials; the next, long after or at once, gets its own
/// answer.
#[test]
fn the_next_answer_is_not_shifted() {
    let holes = [
        ("middle", 40..60),
        ("tail", 60..CRED.len()),
        ("line", 66..80),
    ];
    for (name, hole) in holes {
        for pause_ms in [1, 60_000] {
            let mut play = Play::imds();
            play.open();
            ask_without(&mut play, CRED, hole.clone());
            play.wait(2).answer(&ok(CREDENTIALS)).wait(pause_ms);
            play.ask(MAC).wait(3).answer(&status(404));
            let events = play.end();
            assert_eq!(events.len(), 2, "{name}: {events:?}");
            let first = &events[0];
            assert!(first.flags.has(Flags::GAP), "{name}");
            assert_eq!(
                (first.class, first.status, first.latency_ns),
                (Class::Cred, Some(200), None),
                "{name}"
            );
            assert_eq!(first.access_key_id.as_deref(), Some("ASIAIOSFODNN7EXAMPLE"));
            let is_read = first.path.is_some();
            assert_eq!(first.flags.has(Flags::CLASS_FROM_ANSWER), !is_read);
            assert_eq!(first.reason.is_none(), is_read, "{name}: {first:?}");
            let next = &events[1];
            assert_eq!(
                (next.class, next.status, next.latency_ns),
                (Class::Network, Some(404), Some(3 * MS)),
                "{name}"
            );
        }
    }
}

/// Two answers in one segment: the second is that of the head whose end is missing, and not left
/// for the next request.
#[test]
fn behind_a_request_that_waits() {
    let mut play = Play::imds();
    play.open().ask(MAC);
    ask_without(&mut play, CRED, 60..CRED.len());
    let both = ok("m") + &ok(CREDENTIALS);
    play.wait(1).answer(&both).ask(MAC).wait(1);
    let events = play.answer(&status(404)).end();
    let found: Vec<_> = events.iter().map(told).collect();
    let cut = Flags::GAP
        .with(Flags::HEADER_TRUNCATED)
        .with(Flags::CLASS_FROM_ANSWER);
    assert_eq!(
        found,
        [
            (Class::Network, Some(200), Flags::NONE, Some(MS)),
            (Class::Cred, Some(200), cut, None),
            (Class::Network, Some(404), Flags::GAP, Some(MS)),
        ]
    );
}

/// The beginning is missing: nothing is left that could wait.
#[test]
fn without_the_beginning() {
    let mut play = Play::imds();
    play.open();
    ask_without(&mut play, CRED, 0..60);
    play.wait(1).answer(&ok(CREDENTIALS)).ask(MAC).wait(1);
    let events = play.answer(&status(404)).end();
    let found: Vec<_> = events.iter().map(told).collect();
    let unknown = Flags::GAP.with(Flags::CLASS_FROM_ANSWER);
    assert_eq!(
        found,
        [
            (Class::Cred, Some(200), unknown, None),
            (Class::Network, Some(404), Flags::GAP, Some(MS)),
        ]
    );
}

/// A request that was held because of a hole was sent when it was captured, not when it was let go.
#[test]
fn a_held_request_has_its_own_time() {
    let mut play = Play::imds();
    play.open().wait(1);
    play.up_seq += u32::try_from(CRED.len()).unwrap();
    play.answer(&ok(CREDENTIALS)).wait(4);
    let asked_ns = play.now_ns;
    let events = play.ask(MAC).wait(5).answer(&status(404)).end();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(
        (events[1].time_ns, events[1].latency_ns),
        (asked_ns, Some(5 * MS))
    );
}

/// A head in pieces is there when the last of them is, and so is an answer's.
#[test]
fn pieces_out_of_order() {
    let mut play = Play::imds();
    play.open();
    let (first, second) = CRED.split_at(60);
    let at = play.up_seq;
    play.up_seq += 60;
    play.ask(second).wait(1);
    let behind = std::mem::replace(&mut play.up_seq, at);
    play.ask(first).wait(2);
    play.up_seq = behind;
    let answer = status(404);
    let (first, second) = answer.split_at(10);
    let at = play.down_seq;
    play.down_seq += 10;
    play.answer(second).wait(4);
    play.down_seq = at;
    play.answer(first);
    let event = play.one();
    assert_eq!((event.status, event.latency_ns), (Some(404), Some(6 * MS)));
}

/// Where two wait and an answer was lost, nobody knows how long which of them took.
#[test]
fn no_latency_in_doubt() {
    let mut play = Play::imds();
    play.open().ask(MAC).ask(MAC).ask(MAC).wait(1);
    play.lose(&ok("m")).answer(&ok("n")).answer(&ok("o"));
    let events = play.end();
    assert!(events.len() == 3, "{events:?}");
    for event in &events {
        assert_eq!(event.latency_ns, None, "{event:?}");
        assert!(event.flags.has(Flags::GAP));
    }
    assert_eq!(events[0].outcome, Outcome::Unreadable);
}

proptest! {
    /// One request after the other, each with any hole: every answer is told once, in order, and that
    /// of a whole request with its request.
    #[test]
    fn any_holes(
        exchanges in proptest::collection::vec((0_usize..130, 0_usize..130, 0_u64..3_000), 1..8),
        pause_ms in 0_u64..3_000,
    ) {
        let mut play = Play::imds();
        play.open();
        let mut expected = Vec::new();
        for (number, (start, len, after_ms)) in exchanges.into_iter().enumerate() {
            let start = start.min(CRED.len());
            let end = (start + len).min(CRED.len());
            ask_without(&mut play, CRED, start..end);
            let code = 404 + u16::try_from(number).unwrap();
            play.answer(&status(code)).wait(after_ms).wait(pause_ms);
            expected.push((code, (start == end).then_some(Class::Cred)));
        }
        let events = play.end();
        prop_assert_eq!(events.len(), expected.len(), "{:?}", events);
        for (event, (code, class)) in events.iter().zip(expected) {
            prop_assert_eq!(event.status, Some(code));
            if let Some(class) = class {
                prop_assert_eq!(event.class, class);
            }
        }
    }
}
