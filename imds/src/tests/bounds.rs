//! Which connections are remembered, and for how long.

use super::{OK, Play, status};
use crate::decoder::GIVEN_UP_REQUESTS;
use crate::{Class, Decoder, Flags, Key, Limits, Outcome};

#[test]
fn address_used_again() {
    let mut play = Play::imds();
    play.open().ask("GET /latest/user-data HTTP/1.1\r\n\r\n");
    play.up_seq += 1_000_000;
    play.down_seq += 1_000_000;
    play.open()
        .ask("GET /latest/meta-data/ HTTP/1.1\r\n\r\n")
        .answer(OK);
    let events = play.end();
    assert_eq!(
        (events[0].class, events[0].outcome),
        (Class::SecretCfg, Outcome::NoResponse)
    );
    assert_eq!(
        (events[1].class, events[1].outcome),
        (Class::RootEnum, Outcome::Ok)
    );
}

#[test]
fn connections_are_bounded() {
    for (opened, evicted) in [(15, 0), (16, 0), (17, 1)] {
        let mut play = Play::imds();
        play.decoder = Decoder::new(
            Limits {
                connections: 16,
                ..Limits::default()
            },
            &Key([1; 32]),
        );
        for _ in 0..opened {
            play.reconnect().ask("GET /latest/ HTTP/1.1\r\n\r\n");
        }
        assert_eq!(play.decoder.connections(), opened.min(16));
        assert_eq!(play.decoder.stats().evicted, evicted);
        let reasons = play
            .end()
            .iter()
            .filter(|event| event.reason.as_deref() == Some("evicted"))
            .count();
        assert_eq!(reasons as u64, evicted);
    }
}

/// So many requests are remembered for a late answer; of the others the place alone.
#[test]
fn requests_given_up_are_bounded() {
    const EACH: usize = 64;
    let connections = GIVEN_UP_REQUESTS / EACH + 2;
    let mut play = Play::imds();
    let mut opened = Vec::new();
    for _ in 0..connections {
        play.reconnect();
        for at in 0..EACH {
            play.ask(&format!(
                "GET /latest/meta-data/tags/instance/{at} HTTP/1.1\r\n\r\n"
            ));
        }
        opened.push((play.port, play.up_seq, play.down_seq));
    }
    play.wait(2_000);
    assert_eq!(play.decoder.stats().forgotten, 2 * EACH as u64);
    play.wait(2_000);
    assert_eq!(play.decoder.stats().forgotten, 2 * EACH as u64);
    assert_eq!(play.events.len(), connections * EACH);
    play.events.clear();
    for (port, up_seq, down_seq) in opened {
        (play.port, play.up_seq, play.down_seq) = (port, up_seq, down_seq);
        for at in 0..EACH {
            play.answer(&status(400 + u16::try_from(at).unwrap()));
        }
    }
    let events = play.end();
    assert_eq!(events.len(), connections * EACH);
    let mut unknown = 0;
    for event in events {
        assert!(event.flags.has(Flags::LATE_ANSWER), "{event:?}");
        match event.path {
            Some(path) => {
                let at = event.status.unwrap() - 400;
                assert_eq!(path, format!("/latest/meta-data/tags/instance/{at}"));
            }
            None => unknown += 1,
        }
    }
    assert_eq!(unknown, 2 * EACH);
}

#[test]
fn bytes_of_a_connection_are_bounded() {
    let mut play = Play::imds();
    play.acks = false;
    play.open();
    play.up_seq += 1;
    for _ in 0..200 {
        play.ask_bytes(&[b'x'; 1000], 1000);
        play.up_seq += 1;
    }
    assert!(play.decoder.stats().gaps > 0);
    play.end();
}

#[test]
fn idle_connections_are_forgotten() {
    let mut play = Play::imds();
    play.open().ask("GET /latest/ HTT").wait(4_900);
    assert_eq!(play.decoder.connections(), 1);
    play.wait(200);
    assert_eq!(play.decoder.connections(), 0);
    assert_eq!(play.decoder.stats().idle, 1);
    assert_eq!(play.one().flags, Flags::HEADER_TRUNCATED);
}

/// Clients that keep a connection for the next request and never come back are the ordinary case.
#[test]
fn a_connection_of_which_nothing_is_awaited_is_no_irregularity() {
    let mut play = Play::imds();
    play.open()
        .ask("GET /latest/ HTTP/1.1\r\n\r\n")
        .answer(OK)
        .wait(60_000);
    assert_eq!(play.decoder.connections(), 0);
    assert_eq!(play.decoder.stats().idle, 0);
    play.one();
}
