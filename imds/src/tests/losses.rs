//! Captures with holes, cuts and repetitions.

use super::{OK, Play, TOKEN};
use crate::{Class, Direction, Flags, Taken, Version};

#[test]
fn cut_capture() {
    // 100 bytes of a head were captured, its end was not.
    let cut = |text: &str, wire_len: usize| {
        let mut play = Play::imds();
        play.open().ask_bytes(text.as_bytes(), wire_len);
        play.answer(OK).one()
    };
    let event = cut("GET /latest/user-data HTTP/1.1\r\nA: b\r\nX-aws", 3_000);
    assert_eq!(
        (event.imds_version, event.class),
        (Version::Unknown, Class::SecretCfg)
    );
    assert_eq!(event.flags, Flags::CUT.with(Flags::HEADER_TRUNCATED));
    assert_eq!(event.status, Some(200));
    let event = cut(
        &format!("GET /latest/user-data HTTP/1.1\r\nX-aws-ec2-metadata-token: {TOKEN}\r\nA: b"),
        3_000,
    );
    assert_eq!(
        (event.imds_version, event.flags),
        (Version::V2, Flags::CUT.with(Flags::HEADER_TRUNCATED))
    );
    let event = cut("GET /latest/us", 3_000);
    assert_eq!(
        (event.imds_version, event.class, event.path),
        (Version::Unknown, Class::Unknown, None)
    );
}

#[test]
fn long_heads() {
    for (extra, version, flags) in [
        (-1, Version::V1, Flags::NONE),
        (0, Version::V1, Flags::NONE),
        (1, Version::Unknown, Flags::HEADER_TRUNCATED),
    ] {
        let start = "GET /latest/user-data HTTP/1.1\r\nA: ";
        let length = crate::http::HEAD_BYTES.checked_add_signed(extra).unwrap();
        let text = format!("{start}{}\r\n\r\n", "x".repeat(length - start.len() - 4));
        let mut play = Play::imds();
        play.open();
        text.as_bytes()
            .chunks(1460)
            .for_each(|part| play.ask_bytes(part, part.len()));
        play.answer(OK)
            .ask("GET /latest/meta-data/ HTTP/1.1\r\n\r\n")
            .answer(OK);
        let events = play.end();
        assert_eq!(
            (events[0].imds_version, events[0].flags),
            (version, flags),
            "{extra}"
        );
        assert_eq!(events[0].class, Class::SecretCfg);
        assert_eq!(events[1].class, Class::RootEnum, "the place is found again");
    }
}

#[test]
fn lost_segments() {
    // The middle of the head was never captured; the endpoint acknowledges and answers.
    let play = |acks: bool| {
        let mut play = Play::imds();
        play.acks = acks;
        play.open().ask("GET /latest/user-data HTTP/1.1\r\n");
        play.up_seq += 10;
        play.ask("b\r\n\r\n");
        assert!(play.events.is_empty());
        if !acks {
            play.wait(1_100);
        }
        play.answer(OK).one()
    };
    for acks in [true, false] {
        let event = play(acks);
        assert_eq!(
            event.flags,
            Flags::GAP.with(Flags::HEADER_TRUNCATED),
            "acks: {acks}"
        );
        assert_eq!(
            (event.imds_version, event.status),
            (Version::Unknown, Some(200))
        );
    }
}

#[test]
fn retransmission_with_other_bytes() {
    let text = "GET /latest/user-data HTTP/1.1\r\n\r\n";
    let mut play = Play::imds();
    play.open().ask(text);
    let forged = text.replace("user-data", "meta-data");
    let seq = play.up_seq - u32::try_from(text.len()).unwrap();
    assert_eq!(
        play.segment(Direction::Request, seq, text.as_bytes(), text.len(), ""),
        Taken::Repeated
    );
    play.segment(Direction::Request, seq, forged.as_bytes(), forged.len(), "");
    let event = play.answer(OK).one();
    assert_eq!(
        (event.class, event.flags),
        (Class::SecretCfg, Flags::OVERLAP_CONFLICT)
    );
}

#[test]
fn connection_older_than_the_capture() {
    let mut play = Play::imds();
    play.up_seq = u32::MAX - 10;
    let event = play
        .ask("GET /latest/us|er-data HTTP/1.1\r\n\r\n")
        .answer(OK)
        .one();
    assert_eq!((event.class, event.status), (Class::SecretCfg, Some(200)));
    // The middle of an answer that nobody asked for tells nothing.
    let mut play = Play::imds();
    play.answer("middle of a body")
        .ask("GET /latest/ HTTP/1.1\r\n\r\n")
        .answer(OK);
    assert_eq!(play.one().status, Some(200));
}
