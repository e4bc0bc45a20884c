//! What it means that nothing comes back, and what tells that the hop limit is to blame.

use super::{OK, PUT, Play, TOKEN};
use crate::{Direction, Evidence, ImdsEvent, Outcome, Version};

#[test]
fn silence() {
    let outcome = |event: ImdsEvent| (event.outcome, event.evidence);
    let silence = (Outcome::HopLimitBlocked, Some(Evidence::Silence));
    let none = (Outcome::NoResponse, None);
    assert_eq!(
        outcome(Play::imds().open().ask(PUT).wait(2_000).one()),
        silence
    );
    assert_eq!(
        outcome(Play::imds().open().ask(PUT).wait(1_900).one()),
        none
    );
    assert_eq!(
        outcome(Play::imds().ask(PUT).wait(2_000).one()),
        none,
        "no handshake"
    );
    assert_eq!(
        outcome(
            Play::imds()
                .open()
                .ask("GET /latest/ HTTP/1.1\r\n\r\n")
                .wait(2_000)
                .one()
        ),
        none
    );
    let mut play = Play::imds();
    play.open().ask(PUT).wait(1_000);
    play.segment(Direction::Request, play.up_seq, b"", 0, "F");
    assert_eq!(outcome(play.one()), silence);
    let mut play = Play::imds();
    play.open().ask(PUT).wait(1);
    play.segment(Direction::Response, play.down_seq, b"", 0, "R");
    assert_eq!(outcome(play.one()), none);
}

/// Who stops looking does not know what would have come.
#[test]
fn a_request_that_is_open_when_the_capture_ends() {
    const GET: &str = "GET /latest/ HTTP/1.1\r\n\r\n";
    let told = |event: ImdsEvent| (event.outcome, event.reason.map(String::from));
    let none = |reason: Option<&str>| (Outcome::NoResponse, reason.map(str::to_owned));
    let ended = none(Some("observation_ended"));
    for request in [GET, PUT] {
        assert_eq!(
            told(Play::imds().open().ask(request).wait(1_900).one()),
            ended
        );
    }
    let over = told(Play::imds().open().ask(GET).wait(2_000).one());
    assert_eq!(over, none(None), "its time was over");
    let mut play = Play::imds();
    play.open().ask(GET);
    play.segment(Direction::Response, play.down_seq, b"", 0, "F");
    assert_eq!(
        told(play.one()),
        none(None),
        "the endpoint had said its last"
    );
    let mut play = Play::imds();
    play.open().ask(GET);
    play.segment(Direction::Response, play.down_seq, b"", 0, "R");
    assert_eq!(told(play.one()), none(None));
    assert_eq!(
        told(Play::imds().open().ask(GET).answer(OK).one()),
        (Outcome::Ok, None)
    );
}

#[test]
fn hop_limit_with_fallback_to_version_1() {
    let mut play = Play::imds();
    play.open().ask(PUT).wait(1_000);
    play.segment(Direction::Request, play.up_seq, b"", 0, "F");
    play.reconnect()
        .ask("GET /latest/meta-data/ HTTP/1.1\r\n\r\n")
        .wait(1)
        .answer(OK)
        .wait(1_000);
    let events = play.end();
    assert_eq!(events[0].imds_version, Version::V1);
    assert_eq!(events[1].outcome, Outcome::HopLimitBlocked);
    assert_eq!(events[1].evidence, Some(Evidence::OtherRequestAnswered));
}

#[test]
fn hop_limit_seen_on_the_host() {
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{TOKEN}",
        TOKEN.len()
    );
    let play = |acknowledged: bool| {
        let mut play = Play::imds();
        play.open().ask(PUT);
        let down_seq = play.down_seq;
        play.hop_limit = Some(1);
        play.answer(&answer);
        assert!(play.events.is_empty());
        if !acknowledged {
            play.down_seq = down_seq;
        }
        // The client's next segment: an acknowledgement, or its PUT once more.
        play.segment(
            Direction::Request,
            play.up_seq - u32::try_from(PUT.len()).unwrap(),
            PUT.as_bytes(),
            PUT.len(),
            "",
        );
        play.wait(2_000).one()
    };
    let event = play(false);
    assert_eq!(
        (event.outcome, event.evidence),
        (Outcome::HopLimitBlocked, Some(Evidence::ResponseHopLimit))
    );
    assert_eq!(event.status, Some(200));
    assert_eq!(play(true).outcome, Outcome::Ok);
}
