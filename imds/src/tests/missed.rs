//! Answers that the client got and the capture did not: the next one goes to its own request.

use proptest::prelude::*;

use super::{OK, Play, ok, status};
use crate::{Class, Direction, Flags, ImdsEvent, Outcome};

const MAC: &str = "GET /latest/meta-data/mac HTTP/1.1\r\n\r\n";
const CRED: &str = "GET /latest/meta-data/iam/security-credentials/role HTTP/1.1\r\n\r\n";

fn credentials(number: usize) -> String {
    ok(&format!(
        r#"{{"AccessKeyId":"ASIA{number:016}","SecretAccessKey":"s","Token":"t","Expiration":"2026-01-02T03:04:05Z"}}"#
    ))
}

fn found(events: &[ImdsEvent]) -> Vec<(Class, Option<u16>, Outcome, Flags)> {
    let found = |event: &ImdsEvent| (event.class, event.status, event.outcome, event.flags);
    events.iter().map(found).collect()
}

/// Two in a row, in the middle of a connection or from where the capture begins.
#[test]
fn two_in_a_row() {
    for opened in [true, false] {
        let mut play = Play::imds();
        if opened {
            play.open();
        }
        play.ask(MAC)
            .lose(OK)
            .ask(CRED)
            .lose(&credentials(1))
            .ask(MAC)
            .answer(&status(404))
            .ask(CRED)
            .answer(&credentials(2));
        let events = play.end();
        assert_eq!(
            found(&events),
            [
                (Class::Network, None, Outcome::Unreadable, Flags::GAP),
                (Class::Cred, None, Outcome::Unreadable, Flags::GAP),
                (Class::Network, Some(404), Outcome::NotFound, Flags::NONE),
                (Class::Cred, Some(200), Outcome::Ok, Flags::NONE),
            ],
            "opened: {opened}"
        );
        assert_eq!(
            events[3].access_key_id.as_deref(),
            Some("ASIA0000000000000002")
        );
    }
}

/// The hole begins in an answer and ends behind the next.
#[test]
fn from_within_an_answer() {
    let mut play = Play::imds();
    play.open().ask(MAC).answer("HTTP/1.1 200 OK\r\nContent-Le");
    play.lose("ngth: 2\r\n\r\nok")
        .ask(CRED)
        .lose(&credentials(1))
        .ask(MAC)
        .answer(&status(404))
        .wait(1_100);
    let events = play.end();
    assert_eq!(
        (events[0].class, events[0].status),
        (Class::Network, Some(200))
    );
    assert_eq!(
        found(&events[1..]),
        [
            (Class::Cred, None, Outcome::Unreadable, Flags::GAP),
            (Class::Network, Some(404), Outcome::NotFound, Flags::NONE),
        ]
    );
}

/// An acknowledgement says nothing about what was asked ahead: one answer is missing, not two.
#[test]
fn requests_that_were_sent_ahead() {
    let mut play = Play::imds();
    play.open()
        .ask(MAC)
        .ask(CRED)
        .lose(OK)
        .ask(MAC)
        .answer(&credentials(1))
        .answer(&status(404));
    let events = play.end();
    assert_eq!(
        found(&events),
        [
            (Class::Network, None, Outcome::Unreadable, Flags::GAP),
            (Class::Cred, Some(200), Outcome::Ok, Flags::GAP),
            (Class::Network, Some(404), Outcome::NotFound, Flags::GAP),
        ],
        "any of them may be another's"
    );
}

/// Where the count is off after all, credentials do not become the answer to something else.
#[test]
fn credentials_for_a_request_sent_ahead() {
    let mut play = Play::imds();
    play.open()
        .ask(MAC)
        .ask(MAC)
        .ask(CRED)
        .lose(OK)
        .lose(OK)
        .answer(&credentials(1))
        .wait(1_100);
    let events = play.end();
    let told: Vec<_> = events
        .iter()
        .filter(|event| event.access_key_id.is_some())
        .collect();
    assert_eq!(told.len(), 1, "{events:?}");
    assert_eq!((told[0].class, told[0].outcome), (Class::Cred, Outcome::Ok));
    assert!(told[0].flags.has(Flags::GAP), "{events:?}");
    for event in events.iter().filter(|event| event.class == Class::Network) {
        assert_eq!(event.status, None, "{event:?}");
    }
}

/// Nothing of the endpoint is captured any more, but the client's next words tell that it had the
/// answer: a request, or a FIN.
#[test]
fn the_last_of_a_connection() {
    let missed = (Class::Cred, None, Outcome::Unreadable, Flags::GAP);
    let silent = (Class::Network, None, Outcome::NoResponse, Flags::NONE);
    for opened in [true, false] {
        let begin = || {
            let mut play = Play::imds();
            if opened {
                play.open();
            }
            play.ask(CRED);
            play
        };
        let mut play = begin();
        play.lose(&credentials(1)).ask(MAC).wait(2_100);
        assert_eq!(found(&play.end()), [missed, silent], "its own is none");

        let hang_up = |play: &mut Play| {
            play.segment(Direction::Request, play.up_seq, b"", 0, "F");
        };
        let mut play = begin();
        hang_up(play.lose(&credentials(1)).wait(10));
        assert_eq!(found(&play.wait(2_100).end()), [missed]);

        // The endpoint's FIN is one byte, and no answer.
        let mut play = begin();
        hang_up(play.lose("F"));
        let given_up = (Class::Cred, None, Outcome::NoResponse, Flags::NONE);
        assert_eq!(found(&play.wait(2_100).end()), [given_up]);
    }
}

/// Whose answer arrived is not known then, only that one did.
#[test]
fn the_last_of_what_was_sent_ahead() {
    let mut play = Play::imds();
    play.open().ask(CRED).ask(MAC).lose(&credentials(1));
    play.segment(Direction::Request, play.up_seq, b"", 0, "F");
    let events = play.wait(2_100).end();
    let doubtful = |class| (class, None, Outcome::NoResponse, Flags::GAP);
    assert_eq!(
        found(&events),
        [doubtful(Class::Cred), doubtful(Class::Network)]
    );
}

/// A request and its answer: whether that is captured, how long it takes, and the pause before.
type Exchange = (bool, u64, u64);

/// Each captured answer comes behind so many that are lost.
fn exchanges() -> impl Strategy<Value = Vec<Exchange>> {
    let delay = || prop_oneof![4 => 0_u64..120, 1 => 1_800_u64..2_300];
    let pause = prop_oneof![6 => 0_u64..120, 2 => 900_u64..1_200, 1 => 0_u64..6_500];
    let run = (0_usize..=4, delay(), pause);
    proptest::collection::vec(run, 1..12).prop_map(|runs| {
        let captured = |(lost, delay, pause): (usize, u64, u64)| {
            (0..=lost).map(move |at| (at == lost, delay, pause))
        };
        runs.into_iter().flat_map(captured).collect()
    })
}

proptest! {
    /// One thing asked at a time, any runs of lost answers: each answer goes to its own request.
    #[test]
    fn any_runs(exchanges in exchanges(), opened: bool, before_wrap in 0_u32..3_000) {
        let mut play = Play::imds();
        play.down_seq = u32::MAX - before_wrap;
        if opened {
            play.open();
        }
        let answer = |number: usize| match number % 3 {
            0 => status(404),
            _ => credentials(number),
        };
        for (number, (is_captured, delay, pause)) in exchanges.iter().enumerate() {
            play.wait(*pause).ask(&CRED.replace("role", &format!("role-{number}"))).wait(*delay);
            if *is_captured {
                play.answer(&answer(number));
            } else {
                play.lose(&answer(number));
            }
        }
        let events = play.end();
        for (number, (is_captured, ..)) in exchanges.iter().enumerate() {
            let role = format!("role-{number}");
            let answered: Vec<_> = events
                .iter()
                .filter(|event| event.role.as_ref() == Some(&role) && event.status.is_some())
                .collect();
            prop_assert_eq!(answered.len(), usize::from(*is_captured), "{} {:?}", number, events);
            for event in answered {
                let id = (number % 3 != 0).then(|| format!("ASIA{number:016}"));
                prop_assert_eq!(event.status, Some(if id.is_some() { 200 } else { 404 }));
                prop_assert_eq!(&event.access_key_id, &id);
            }
        }
        prop_assert!(events.iter().all(|event| event.role.is_some()), "{:?}", events);
    }
}
