//! Requests that no capture shows, and what their answers tell.

use super::{Play, ok, status};
use crate::{Class, Flags, ImdsEvent, Outcome, Version};

const CREDENTIALS: &str = r#"{ "Code" : "Success", "AccessKeyId" : "ASIAIOSFODNN7EXAMPLE",
    "SecretAccessKey" : "s", "Token" : "t", "Expiration" : "2026-01-02T03:04:05Z" }"#;
const CRED: &str = "GET /latest/meta-data/iam/security-credentials/role HTTP/1.1\r\n\r\n";
const MAC: &str = "GET /latest/meta-data/mac HTTP/1.1\r\n\r\n";
const KEPT: usize = 8 * 1024;

/// One packet, of which a capture keeps the first bytes.
fn ask_cut(play: &mut Play, text: &str) {
    let kept = KEPT.min(text.len());
    play.ask_bytes(&text.as_bytes()[..kept], text.len());
}

/// The event of a credential read of which only the answer was seen.
fn assert_told_by_answer(event: &ImdsEvent, flags: Flags) {
    assert_eq!(
        (event.class, event.imds_version, event.outcome),
        (Class::Cred, Version::Unknown, Outcome::Ok)
    );
    assert_eq!(event.flags, flags.with(Flags::CLASS_FROM_ANSWER));
    assert_eq!(event.access_key_id.as_deref(), Some("ASIAIOSFODNN7EXAMPLE"));
    assert_eq!(event.expiration.as_deref(), Some("2026-01-02T03:04:05Z"));
    assert_eq!(event.status, Some(200));
    assert_eq!(event.reason.as_deref(), Some("request_unknown"));
    assert_eq!(
        (&event.method, &event.path, event.latency_ns),
        (&None, &None, None)
    );
}

#[test]
fn behind_blank_lines() {
    let mut play = Play::imds();
    play.open();
    ask_cut(&mut play, &("\r\n".repeat(4100) + CRED));
    let event = play.answer(&ok(CREDENTIALS)).one();
    assert_told_by_answer(&event, Flags::CUT);
}

#[test]
fn behind_a_long_body() {
    let body = "x".repeat(9000);
    let first = format!("GET /latest/meta-data/mac HTTP/1.1\r\nContent-Length: 9000\r\n\r\n{body}");
    let mut play = Play::imds();
    play.open();
    ask_cut(&mut play, &(first.clone() + CRED));
    let events = play.answer(&ok("m")).answer(&ok(CREDENTIALS)).end();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(
        (events[0].class, events[0].flags),
        (Class::Network, Flags::CUT)
    );
    assert_told_by_answer(&events[1], Flags::CUT);
    // Nothing behind the body: the body's request is touched and no other.
    let mut play = Play::imds();
    play.open();
    ask_cut(&mut play, &first);
    let events = play.answer(&ok("m")).ask(MAC).answer(&ok("m")).end();
    let flags: Vec<_> = events.iter().map(|event| event.flags).collect();
    assert_eq!(flags, [Flags::CUT, Flags::NONE]);
}

#[test]
fn behind_a_long_head() {
    let filler = format!("A: {}\r\n\r\n", "x".repeat(9000));
    let mut play = Play::imds();
    play.open();
    ask_cut(
        &mut play,
        &(MAC.replace("\r\n\r\n", "\r\n") + &filler + CRED),
    );
    let events = play.answer(&ok("m")).answer(&ok(CREDENTIALS)).end();
    assert_eq!(events.len(), 2, "{events:?}");
    assert!(events[0].flags.has(Flags::CUT));
    assert_told_by_answer(&events[1], Flags::CUT);
}

/// Another request right behind the hole does not take the answer for its own.
#[test]
fn before_a_request_for_something_else() {
    let mut play = Play::imds();
    play.open();
    ask_cut(&mut play, &("\r\n".repeat(4100) + CRED));
    let events = play
        .ask(MAC)
        .answer(&ok(CREDENTIALS))
        .answer(&status(404))
        .end();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_told_by_answer(&events[0], Flags::CUT);
    assert_eq!(
        (events[1].class, events[1].status, events[1].flags),
        (Class::Network, Some(404), Flags::CUT)
    );
    assert_eq!(events[1].access_key_id, None);
}

/// A whole segment was lost; the acknowledgement in the answer tells that it existed.
#[test]
fn in_a_lost_segment() {
    let mut play = Play::imds();
    play.open().ask(MAC).answer(&ok("m"));
    play.up_seq += u32::try_from(CRED.len()).unwrap();
    let events = play.answer(&ok(CREDENTIALS)).end();
    assert_eq!(events.len(), 2, "{events:?}");
    assert_eq!(events[0].flags, Flags::NONE);
    assert_told_by_answer(&events[1], Flags::GAP);
}

#[test]
fn before_the_capture_began() {
    let event = Play::imds().answer(&ok(CREDENTIALS)).one();
    assert_told_by_answer(&event, Flags::GAP);
}

/// What the body does not tell for certain is left unknown.
#[test]
fn answers_that_tell_little() {
    for body in [
        "ASIAIOSFODNN7EXAMPLE",
        r#"{"AccessKeyId":"ASIAIOSFODNN7EXAMPLE"}"#,
        "",
    ] {
        let event = Play::imds().answer(&ok(body)).one();
        assert_eq!((event.class, event.flags), (Class::Unknown, Flags::GAP));
        assert_eq!((event.status, event.access_key_id), (Some(200), None));
    }
    let event = Play::imds().answer(&status(401)).one();
    assert_eq!(
        (event.outcome, event.flags),
        (Outcome::AuthFailed, Flags::GAP)
    );
}

/// All bytes were seen: an answer that serves somebody says that the endpoint reads requests where
/// we do not; a refusal says nothing new.
#[test]
fn with_nothing_missing() {
    let play = |answer: &str| {
        let mut play = Play::imds();
        play.open().ask(MAC).answer(&ok("m")).answer(answer);
        assert_eq!(play.decoder.stats().orphan_responses, 1);
        play.end()
    };
    let events = play(&ok(CREDENTIALS));
    assert_eq!(events.len(), 2);
    assert_told_by_answer(&events[1], Flags::NONE);
    assert_eq!(play(&status(408)).len(), 1);
}
