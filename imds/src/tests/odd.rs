//! What a strict reader refuses hides nothing behind it, and is not told more often than it says
//! something.

use super::{OK, Play, status};
use crate::{Class, Flags, ImdsEvent, Opaque, Outcome};

const USER_DATA: &str = "GET /latest/user-data HTTP/1.1\r\n\r\n";
const REFUSED: &str = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";

/// How the client's bytes come in segments, and how many of them before the first answer.
fn ways<'a>(odd: &'a [u8], behind: &'a [u8]) -> [(Vec<Vec<u8>>, usize); 5] {
    let both = [odd, behind].concat();
    let (first, rest) = both.split_at(1);
    let (most, last) = both.split_at(both.len() - 1);
    [
        (vec![odd.to_vec(), behind.to_vec()], 1),
        (vec![odd.to_vec(), behind.to_vec()], 2),
        (vec![both.clone()], 1),
        (vec![first.to_vec(), rest.to_vec()], 2),
        (vec![most.to_vec(), last.to_vec()], 2),
    ]
}

/// Plays an odd head that is refused and a request that is served, in every way.
fn check(odd: &[u8], behind: &[u8], expected: impl Fn(&ImdsEvent, &ImdsEvent)) {
    let shown = String::from_utf8_lossy(&[odd, behind].concat()).into_owned();
    for (pieces, before) in ways(odd, behind) {
        let mut play = Play::imds();
        play.open();
        for (at, piece) in pieces.iter().enumerate() {
            if at == before {
                play.answer(REFUSED);
            }
            play.ask_bytes(piece, piece.len());
        }
        if before == pieces.len() {
            play.answer(REFUSED);
        }
        let events = play.answer(OK).end();
        let [first, second] = events.as_slice() else {
            panic!("{shown:?} {pieces:?}: {events:?}");
        };
        assert_eq!(first.status, Some(400), "{shown:?} {pieces:?}");
        expected(first, second);
        assert_eq!(
            (second.class, second.status, second.outcome),
            (Class::SecretCfg, Some(200), Outcome::Ok),
            "{shown:?} {pieces:?}"
        );
    }
}

#[test]
fn what_stands_behind_an_odd_request_is_read() {
    let odd_method = ["method_anomaly", "obfuscated"];
    for (line, method, flags) in [
        (
            b"GET /\x1b HTTP/1.1".as_slice(),
            Some("GET"),
            ["obfuscated"].as_slice(),
        ),
        (b"GET /\0 HTTP/1.1", Some("GET"), &["obfuscated"]),
        (b"GET /\r/a HTTP/1.1", Some("GET"), &["obfuscated"]),
        (b"GET /\x1b", Some("GET"), &["http09", "obfuscated"]),
        (b" GET / HTTP/1.1", Some("GET"), &["obfuscated"]),
        (b"G\x1bT / HTTP/1.1", Some("OTHER"), &odd_method),
        (b"(GET / HTTP/1.1", Some("OTHER"), &odd_method),
        (b"\x01GET / HTTP/1.1", Some("OTHER"), &odd_method),
        (b"\xe9GET / HTTP/1.1", Some("OTHER"), &odd_method),
        (b"\x16GET / HTTP/1.1", Some("OTHER"), &odd_method),
        (b"\0GET / HTTP/1.1", Some("OTHER"), &odd_method),
        (b"GET / HTTP/2.0", None, &[]),
        (b"nonsense", None, &[]),
        (b"non\x01sense", None, &[]),
        (b"\x01", None, &[]),
        (b"\x16", None, &[]),
        (b"\xff\xfe\0", None, &[]),
    ] {
        let odd = [line, b"\r\n\r\n"].concat();
        check(&odd, USER_DATA.as_bytes(), |first, second| {
            let names: Vec<_> = first.flags.names().collect();
            let found = (first.method.as_deref(), names.as_slice(), second.flags);
            assert_eq!(found, (method, flags, Flags::NONE), "{odd:?}");
        });
    }
}

/// Nor is it missed for how it begins itself.
#[test]
fn what_stands_behind_it_may_be_odd_too() {
    for odd in ["nonsense", "\x01", "GET / HTTP/2.0"] {
        for (behind, flags) in [
            ("\r\nGET", [].as_slice()),
            ("\nGET", &[]),
            (" GET", &["obfuscated"]),
            ("\r\n\tGET", &["obfuscated"]),
            ("get", &["method_anomaly"]),
            ("CONNECT", &["method_anomaly"]),
            ("PROPFIND", &["method_anomaly"]),
            ("\x01GET", &["method_anomaly", "obfuscated"]),
        ] {
            let behind = format!("{behind} /latest/user-data HTTP/1.1\r\n\r\n");
            let odd = format!("{odd}\r\n\r\n");
            check(odd.as_bytes(), behind.as_bytes(), |_, second| {
                let names: Vec<_> = second.flags.names().collect();
                assert_eq!(names, flags, "{odd:?} {behind:?}");
            });
        }
    }
}

/// Cut before its end, it is no other protocol.
#[test]
fn half_a_line() {
    let mut play = Play::imds();
    play.open().ask_bytes(b"GET /\x1b", 9);
    assert_eq!(play.one().reason.as_deref(), Some("no_request_line"));
    // Nor does what is answered before its end keep what comes then from being read.
    let mut play = Play::imds();
    play.open().ask_bytes(b"\x01\x02", 2);
    let events = play.answer(REFUSED).ask(USER_DATA).answer(OK).end();
    assert_eq!(events.len(), 2);
    assert_eq!(
        (events[0].opaque, events[0].flags, events[0].status),
        (Some(Opaque::Binary), Flags::NONE, Some(400))
    );
    assert_eq!(
        (events[1].class, events[1].status),
        (Class::SecretCfg, Some(200))
    );
}

/// A stream of another protocol has blank lines by chance: one event stands for all of it, as long as
/// nothing comes back.
#[test]
fn a_stream_of_nonsense_is_one_event() {
    let bytes = b"\x0a\x0a\x0a\x0a\x08\x01\x12\x06\x0a\x0a\xff\x0a\x0a\x0d\x0a\x7f".repeat(4_000);
    for size in [1, 7, 1_460, 60_000] {
        let mut play = Play::imds();
        play.open();
        for piece in bytes.chunks(size) {
            play.ask_bytes(piece, piece.len());
        }
        let stats = play.decoder.stats();
        assert_eq!(stats.requests, 1, "{size}");
        assert!(stats.repeated_heads > 4_000, "{size} {stats:?}");
        let event = play.wait(3_000).one();
        assert_eq!(
            (event.opaque, event.outcome),
            (Some(Opaque::Binary), Outcome::NoResponse)
        );
    }
}

/// The refusals of the others are theirs, and not those of what stands behind them.
#[test]
fn each_of_many_odd_heads_has_its_refusal() {
    let odd = "\x01\r\n\r\n".repeat(3);
    let mut play = Play::imds();
    play.open().ask(&format!("{odd}{USER_DATA}{USER_DATA}"));
    for _ in 0..3 {
        play.answer(REFUSED);
    }
    let events = play.answer(OK).answer(&status(401)).end();
    let found: Vec<_> = events.iter().map(|e| (e.class, e.status)).collect();
    assert_eq!(
        found,
        [
            (Class::Unknown, Some(400)),
            (Class::SecretCfg, Some(200)),
            (Class::SecretCfg, Some(401))
        ]
    );
    // An endpoint that takes them for one refuses one, and serves what stands behind them.
    let mut play = Play::imds();
    play.open().ask(&format!("{odd}{USER_DATA}"));
    let events = play.answer(REFUSED).answer(OK).end();
    let found: Vec<_> = events.iter().map(|e| (e.class, e.status)).collect();
    assert_eq!(
        found,
        [(Class::Unknown, Some(400)), (Class::SecretCfg, Some(200))]
    );
    // After the answer to the first, the next are an event of their own.
    let mut play = Play::imds();
    play.open().ask("\x01\r\n\r\n").answer(REFUSED);
    let events = play.ask("\x01\r\n\r\n").answer(REFUSED).end();
    assert_eq!(events.len(), 2);
}
