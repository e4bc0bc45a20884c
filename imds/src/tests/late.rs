//! Answers that come after their request was given up.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{MS, OK, PUT, Play, TOKEN, ok, status};
use crate::{Class, Decoder, Evidence, Flags, ImdsEvent, Key, Limits, Outcome, Version};

fn get(path: &str) -> String {
    format!("GET /latest/{path} HTTP/1.1\r\n\r\n")
}

fn credentials(id: &str) -> String {
    format!(
        r#"{{"AccessKeyId":"{id}","SecretAccessKey":"s","Token":"t","Expiration":"2026-01-02T03:04:05Z"}}"#
    )
}

const ROLE: &str = "meta-data/iam/security-credentials/role";
const ID: &str = "ASIAIOSFODNN7EXAMPLE";

#[test]
fn credentials_that_come_late_are_told() {
    let mut play = Play::imds();
    play.open().ask(&format!(
        "GET /latest/{ROLE} HTTP/1.1\r\nX-aws-ec2-metadata-token: {TOKEN}\r\n\r\n"
    ));
    play.wait(2_000);
    assert_eq!(play.events.len(), 1, "the request is told in time");
    play.wait(600).answer(&ok(&credentials(ID)));
    let stats = play.decoder.stats();
    assert_eq!((stats.requests, stats.late_answers), (1, 1));
    assert_eq!((stats.orphan_responses, stats.forgotten), (0, 0));
    let events = play.end();
    let [first, late] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!((first.outcome, first.status), (Outcome::NoResponse, None));
    assert_eq!((first.flags, first.time_ns), (Flags::NONE, MS));
    assert_eq!((late.outcome, late.status), (Outcome::Ok, Some(200)));
    assert_eq!(
        (late.class, late.imds_version, late.flags),
        (Class::Cred, Version::V2, Flags::LATE_ANSWER)
    );
    assert_eq!(late.access_key_id.as_deref(), Some(ID));
    assert_eq!(late.role.as_deref(), Some("role"));
    assert_eq!(
        (late.time_ns, late.latency_ns),
        (2_601 * MS, Some(2_600 * MS))
    );
    assert_eq!(late.request_id.as_ref().map(String::len), Some(16));
    assert_eq!(
        (&late.request_id, &late.token_hash, &late.path),
        (&first.request_id, &first.token_hash, &first.path)
    );
}

/// What was blamed on the hop limit turns out to have arrived.
#[test]
fn a_token_that_comes_late_is_told() {
    let mut play = Play::imds();
    play.open().ask(PUT).wait(2_100).answer(&ok(TOKEN));
    let events = play.end();
    let [first, late] = events.as_slice() else {
        panic!("{events:?}");
    };
    assert_eq!(
        (first.outcome, first.evidence),
        (Outcome::HopLimitBlocked, Some(Evidence::Silence))
    );
    assert_eq!((late.outcome, late.evidence), (Outcome::Ok, None));
    assert!(late.minted_token_hash.is_some());
    assert!(first.request_id.is_some());
    assert_eq!(first.request_id, late.request_id);
}

#[test]
fn an_answer_in_time_needs_no_name() {
    let mut play = Play::imds();
    play.open().ask(&get(ROLE)).wait(1_900);
    let event = play.answer(OK).one();
    assert_eq!((event.flags, event.request_id), (Flags::NONE, None));
}

/// The head came in time, so that the rest has its time too.
#[test]
fn a_body_may_come_after_the_timeout() {
    let body = credentials(ID);
    let mut play = Play::imds();
    play.open().ask(&get(ROLE)).wait(1_900).answer(&format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ));
    let event = play.wait(1_000).answer(&body).one();
    assert_eq!(event.access_key_id.as_deref(), Some(ID));
    assert_eq!(event.flags, Flags::NONE);
}

#[test]
fn late_answers_are_not_mistaken() {
    let mut play = Play::imds();
    play.open()
        .ask(&get("user-data"))
        .wait(2_100)
        .ask(&get("meta-data/mac"))
        .answer(&status(404))
        .answer(OK);
    let events = play.end();
    let found: Vec<_> = events
        .iter()
        .map(|event| (event.class, event.status, event.flags))
        .collect();
    assert_eq!(
        found,
        [
            (Class::SecretCfg, None, Flags::NONE),
            (Class::SecretCfg, Some(404), Flags::LATE_ANSWER),
            (Class::Network, Some(200), Flags::NONE),
        ]
    );
}

/// The answer to HEAD has no body, late or not.
#[test]
fn late_answers_are_framed_as_their_request_wants() {
    let mut play = Play::imds();
    play.open()
        .ask("HEAD /latest/user-data HTTP/1.1\r\n\r\n")
        .wait(2_100)
        .ask(&get("meta-data/mac"))
        .answer("HTTP/1.1 200 OK\r\nContent-Length: 70\r\n\r\n")
        .answer(&status(404));
    assert_eq!(play.end()[2].status, Some(404));
}

/// Only so many requests wait on a connection. Those that had to go keep their place.
#[test]
fn more_requests_than_are_remembered() {
    let mut play = Play::imds();
    play.open();
    for at in 0..80 {
        if at == 40 {
            play.wait(2_000);
        }
        play.ask(&get(ROLE));
    }
    assert_eq!(play.decoder.stats().forgotten, 16);
    for at in 0..80 {
        play.answer(&ok(&credentials(&format!("ASIA{at:016}"))));
    }
    let stats = play.decoder.stats();
    assert_eq!((stats.requests, stats.late_answers), (80 + 16, 24));
    let events = play.end();
    let mut ids: Vec<_> = events
        .iter()
        .filter_map(|event| Some((event.access_key_id.clone()?, event)))
        .collect();
    ids.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(ids.len(), 80);
    for (at, (_, event)) in ids.iter().enumerate() {
        let is_late = event.flags.has(Flags::LATE_ANSWER);
        let is_known = event.path.is_some();
        assert_eq!((is_late, is_known), (at < 40, at >= 16), "{at}: {event:?}");
    }
}

/// The answers to HEAD have no body even where nothing else is known of their requests, and where not
/// even that is known, the place is found again.
#[test]
fn forgotten_requests_without_bodies() {
    for gets_between in [false, true] {
        let mut play = Play::imds();
        play.open();
        let is_head = |at: usize| !gets_between || at.is_multiple_of(2);
        for at in 0..200 {
            let method = if is_head(at) { "HEAD" } else { "GET" };
            play.ask(&format!("{method} /latest/user-data HTTP/1.1\r\n\r\n"));
        }
        play.wait(2_000).ask(&get(ROLE));
        assert_eq!(play.decoder.stats().forgotten, 137);
        for at in 0..200 {
            let whole = ok("#!/bin/sh");
            let head = whole.strip_suffix("#!/bin/sh").unwrap();
            play.answer(if is_head(at) { head } else { &whole });
        }
        let events = play.answer(&ok(&credentials(ID))).end();
        let told: Vec<_> = events
            .iter()
            .filter(|event| event.class == Class::Cred)
            .map(|event| (event.access_key_id.as_deref(), event.path.is_some()))
            .collect();
        assert_eq!(told, [(Some(ID), true)], "with GET: {gets_between}");
        let answers = events.iter().filter(|event| event.status == Some(200));
        assert_eq!(answers.count(), 201, "with GET: {gets_between}");
    }
}

/// A busy connection does not keep what nobody answers for ever; its order stays.
#[test]
fn what_is_known_of_a_request_is_let_go() {
    let mut play = Play::imds();
    play.open().ask(&get(ROLE));
    for _ in 0..70 {
        play.wait(1_000);
        play.segment(crate::Direction::Request, play.up_seq, b"", 0, "");
    }
    assert_eq!(play.decoder.stats().forgotten, 1);
    play.ask(&get("user-data"))
        .answer(&ok(&credentials(ID)))
        .answer(&status(404));
    let events = play.end();
    assert_eq!(events.len(), 3, "{events:?}");
    let late = &events[1];
    assert_eq!(late.reason.as_deref(), Some("request_unknown"));
    assert!(late.flags.has(Flags::LATE_ANSWER), "{late:?}");
    assert_eq!(late.access_key_id.as_deref(), Some(ID));
    assert_eq!(
        (events[2].class, events[2].status),
        (Class::SecretCfg, Some(404))
    );
}

/// A longer timeout: nothing is forgotten before it has run out.
#[test]
fn a_connection_lives_as_long_as_its_requests() {
    let mut play = Play::imds();
    play.decoder = Decoder::new(
        Limits {
            response_ns: 20_000 * MS,
            ..Limits::default()
        },
        &Key([1; 32]),
    );
    play.open().ask(&get(ROLE)).wait(19_000);
    let event = play.answer(&ok(&credentials(ID))).one();
    assert_eq!(
        (event.flags, event.latency_ns),
        (Flags::NONE, Some(19_000 * MS))
    );
}

/// The answer was on the wire and not in the capture: the next one is not taken for it.
#[test]
fn an_answer_that_was_not_captured() {
    for given_up in [false, true] {
        let mut play = Play::imds();
        play.open().ask(&get(ROLE));
        if given_up {
            play.wait(2_000);
        }
        play.down_seq += 200;
        play.ask(&get("user-data"))
            .answer(&status(404))
            .wait(1_100)
            .ask(&get("meta-data/mac"))
            .answer(OK);
        let events = play.end();
        let found: Vec<_> = events
            .iter()
            .map(|event| (event.class, event.status, event.outcome, event.flags))
            .collect();
        let first = if given_up {
            (Class::Cred, None, Outcome::NoResponse, Flags::NONE)
        } else {
            (Class::Cred, None, Outcome::Unreadable, Flags::GAP)
        };
        assert_eq!(
            found,
            [
                first,
                (Class::SecretCfg, Some(404), Outcome::NotFound, Flags::NONE),
                (Class::Network, Some(200), Outcome::Ok, Flags::NONE),
            ],
            "given up: {given_up}"
        );
    }
}

/// What happens on a connection: a request, an answer, or its answer in two parts; and when.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ask,
    Answer,
    AnswerInParts(u64),
}

fn steps() -> impl Strategy<Value = Vec<(u64, Step)>> {
    // Around the timeout, around a sweep, and beyond what an idle connection is remembered for.
    let delay = prop_oneof![
        4 => 0_u64..120,
        3 => 1_800_u64..2_200,
        1 => 0_u64..6_500,
    ];
    let step = prop_oneof![
        3 => Just(Step::Ask),
        2 => Just(Step::Answer),
        1 => (0_u64..2_300).prop_map(Step::AnswerInParts),
    ];
    proptest::collection::vec((delay, step), 1..40)
}

/// What was seen of the steps, and what happened.
struct Played {
    events: Vec<ImdsEvent>,
    asked: usize,
    answered: usize,
    forgotten: u64,
}

fn play(steps: &[(u64, Step)]) -> Played {
    let mut play = Play::imds();
    play.open();
    let (mut asked, mut answered) = (0, 0);
    for (delay, step) in steps {
        play.wait(*delay);
        match step {
            Step::Ask => {
                play.ask(&get(&format!("{ROLE}-{asked}")));
                asked += 1;
                continue;
            }
            Step::Answer | Step::AnswerInParts(_) if answered == asked => continue,
            Step::Answer => {
                play.answer(&ok(&credentials(&format!("ASIA{answered:016}"))));
            }
            Step::AnswerInParts(pause) => {
                let text = ok(&credentials(&format!("ASIA{answered:016}")));
                let (head, body) = text.split_at(text.len() / 2);
                play.answer(head).wait(*pause).answer(body);
            }
        }
        answered += 1;
    }
    Played {
        forgotten: play.decoder.stats().forgotten,
        events: play.end(),
        asked,
        answered,
    }
}

proptest! {
    /// Each request has one event of its own, each answer is in exactly one event, and that bears
    /// the name of its request, unless all but the place of that had been let go.
    #[test]
    fn any_delays(steps in steps()) {
        let Played { events, asked, answered, forgotten } = play(&steps);
        let number = |event: &ImdsEvent| -> Option<usize> {
            event.role.as_ref()?.strip_prefix("role-")?.parse().ok()
        };
        let mut own: HashMap<usize, &ImdsEvent> = HashMap::new();
        let mut answers: HashMap<usize, &ImdsEvent> = HashMap::new();
        for event in &events {
            let is_late = event.flags.has(Flags::LATE_ANSWER);
            if let Some(number) = number(event).filter(|_| !is_late) {
                prop_assert!(own.insert(number, event).is_none(), "twice: {event:?}");
            }
            if let Some(id) = &event.access_key_id {
                let answer = id.strip_prefix("ASIA").unwrap().parse().unwrap();
                prop_assert!(answers.insert(answer, event).is_none(), "twice: {event:?}");
                prop_assert_eq!(event.outcome, Outcome::Ok);
            } else {
                // Neither a request nor an answer, or half an answer, or a request without one.
                prop_assert!(event.status.is_some() || number(event).is_some(), "{event:?}");
            }
        }
        prop_assert_eq!(own.len(), asked);
        for answer in 0..answered {
            let Some(event) = answers.get(&answer) else {
                // Its second half was given up; the first says that credentials came.
                let told = events.iter().find(|event| {
                    number(event) == Some(answer) && event.outcome == Outcome::Ok
                });
                let in_parts = steps.iter().any(|(_, step)| matches!(step, Step::AnswerInParts(_)));
                prop_assert!(in_parts && told.is_some(), "{answer} is not told");
                continue;
            };
            let Some(number) = number(event) else {
                prop_assert!(forgotten > 0 && event.flags.has(Flags::LATE_ANSWER), "{event:?}");
                prop_assert_eq!(event.reason.as_deref(), Some("request_unknown"));
                continue;
            };
            prop_assert_eq!(number, answer);
            let first = own[&answer];
            if event.flags.has(Flags::LATE_ANSWER) {
                prop_assert_eq!(first.outcome, Outcome::NoResponse);
                prop_assert!(first.request_id.is_some());
                prop_assert_eq!(&first.request_id, &event.request_id);
            } else {
                prop_assert_eq!(*event, first);
                prop_assert_eq!(&event.request_id, &None);
            }
        }
        let mut names: Vec<_> = own.values().filter_map(|event| event.request_id.as_ref()).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        prop_assert_eq!(names.len(), count, "two requests of one name");
    }
}
