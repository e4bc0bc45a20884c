//! Whatever is written wherever, and however it is cut, no secret comes out.

use std::collections::HashSet;

use proptest::prelude::*;
use serde_json::Value;

use super::{OK, Play};
use crate::redact::WINDOW;
use crate::{Direction, ImdsEvent};

/// Text of that length, each letter as likely as any other and none simplified on failure: random
/// is what a secret looks like.
fn random_text(letters: &'static [u8], length: usize) -> impl Strategy<Value = String> {
    let letter = (0..letters.len()).prop_map(|at| char::from(letters[at]));
    proptest::collection::vec(letter, length)
        .prop_map(String::from_iter)
        .no_shrink()
}

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Secrets that are known by their form, wherever they stand.
fn marked() -> impl Strategy<Value = String> {
    prop_oneof![
        random_text(BASE64, 54).prop_map(|body| format!("{body}==")),
        random_text(BASE64, 51).prop_map(|body| format!("AQAEA{body}")),
        random_text(BASE64, 40),
        random_text(BASE64_URL, 86),
        random_text(b"0123456789abcdef", 64),
        (random_text(BASE64_URL, 86), random_text(BASE64_URL, 86))
            .prop_map(|(claims, signed)| format!("eyJhbGciOiJSUzI1NiJ9.{claims}.{signed}")),
        random_text(BASE64, 300).prop_map(|body| format!("IQoJb3JpZ2luX2VjE{body}")),
    ]
}

/// Events as a reader of their JSON sees them share [`WINDOW`] bytes with a secret.
fn leaks(events: &[ImdsEvent], secret: &str) -> bool {
    fn texts(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::String(text) => found.push(text.clone()),
            Value::Array(values) => values.iter().for_each(|value| texts(value, found)),
            Value::Object(fields) => fields.values().for_each(|value| texts(value, found)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    texts(&serde_json::to_value(events).unwrap(), &mut found);
    let windows: HashSet<&[u8]> = secret.as_bytes().windows(WINDOW).collect();
    found.iter().any(|text| {
        text.as_bytes()
            .windows(WINDOW)
            .any(|window| windows.contains(window))
    })
}

/// Choices, one after the other.
struct Dice(u64);

impl Dice {
    /// Below `sides`; splitmix64.
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) >> 32).unwrap() % sides
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }

    /// A header name in some letter case.
    fn case(&mut self, name: &str) -> String {
        match self.roll(4) {
            0 => name.to_owned(),
            1 => name.to_ascii_lowercase(),
            2 => name.to_ascii_uppercase(),
            _ => name
                .chars()
                .map(|letter| match self.roll(2) {
                    0 => letter.to_ascii_lowercase(),
                    _ => letter.to_ascii_uppercase(),
                })
                .collect(),
        }
    }

    /// In pieces of some sizes.
    fn pieces<'a>(&mut self, bytes: &'a [u8]) -> Vec<&'a [u8]> {
        let most = self.pick(&[1, 7, 100, 1460, usize::MAX - 1]);
        let mut pieces = Vec::new();
        let mut rest = bytes;
        while !rest.is_empty() {
            let size = (self.roll(most) + 1).min(rest.len());
            let (piece, after) = rest.split_at(size);
            pieces.push(piece);
            rest = after;
        }
        pieces
    }
}

/// A request that authenticates with a secret and repeats it elsewhere. `marked`: also in places
/// in which only the form can tell.
fn request(dice: &mut Dice, secret: &str, marked: bool) -> Vec<u8> {
    let target = match dice.roll(if marked { 11 } else { 5 }) {
        0 => "/latest/user-data".to_owned(),
        1 => "/latest/meta-data/iam/security-credentials/node-role".to_owned(),
        2 => format!("/latest/?t={secret}"),
        3 => format!("/latest/{secret}"),
        4 => format!("/latest/meta-data/{secret}/x"),
        5 => format!("/latest/meta-data/tags/instance/{secret}"),
        6 => format!("/latest/meta-data/public-keys/{secret}"),
        7 => format!("http://u:{secret}@{secret}/%2e/{secret}"),
        8 => format!("/latest/x/%2e%2e/{secret}/../user-data"),
        9 => format!("/v2/credentials/{secret}"),
        _ => format!("//{secret}/./"),
    };
    let method = match dice.roll(8) {
        0 if marked => secret,
        1 => "PUT",
        2 => "HEAD",
        _ => "GET",
    };
    let name = dice.pick(&[
        "X-aws-ec2-metadata-token",
        "X-aws-ec2-metadata-token",
        "Authorization",
        "Cookie",
        "X-Amz-Security-Token",
        "Proxy-Authorization",
        "X-Access-Token",
        "X-My-Access-Token",
    ]);
    let mut headers = vec![
        format!(
            "{}:{}{secret}\r\n",
            dice.case(name),
            dice.pick(&["", " ", "\t "])
        ),
        format!("{}: {secret} x\r\n", dice.case("User-Agent")),
        format!("{}: */*\r\n", dice.case("Accept")),
    ];
    match dice.roll(6) {
        0 => headers.push(format!("{}: {secret}\r\n", dice.case("Host"))),
        1 => headers.push("Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n".to_owned()),
        2 => headers.push(format!("X-Filler: {}\r\n", "f".repeat(dice.roll(9000)))),
        3 => headers[0] = format!("{}:\r\n {secret}\r\n", dice.case(name)),
        _ => {}
    }
    for at in (1..headers.len()).rev() {
        headers.swap(at, dice.roll(at + 1));
    }
    let body = match dice.roll(6) {
        0 => {
            headers.push(format!("Content-Length: {}\r\n", secret.len()));
            secret.to_owned()
        }
        1 => {
            headers.push("Transfer-Encoding: chunked\r\n".to_owned());
            format!("{:x}\r\n{secret}\r\n0\r\n\r\n", secret.len())
        }
        _ => String::new(),
    };
    format!(
        "{method} {target} HTTP/1.1\r\n{}\r\n{body}",
        headers.concat()
    )
    .into_bytes()
}

/// An answer that brings a secret: a session token, or credentials.
fn answer(dice: &mut Dice, secret: &str) -> Vec<u8> {
    let body = match dice.roll(3) {
        0 => secret.to_owned(),
        1 => format!(
            r#"{{"AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"{secret}","Token":"{secret}","Expiration":"2026-01-02T03:04:05Z"}}"#
        ),
        _ => format!(
            r#"{{ "Token" : "{secret}", "SecretAccessKey" : "{secret}",  "AccessKeyId" : "{secret}", "Expiration" : "{secret}" }}"#
        ),
    };
    let mut head = vec!["HTTP/1.1 200 OK\r\nServer: EC2ws\r\n".to_owned()];
    let mut body = body.into_bytes();
    if dice.roll(5) == 0 {
        // RFC 1952 with one stored block of RFC 1951: the worst that compression can do.
        head.push("Content-Encoding: gzip\r\n".to_owned());
        let length = u16::try_from(body.len()).unwrap();
        let mut packed = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
        packed.extend(length.to_le_bytes());
        packed.extend((!length).to_le_bytes());
        packed.append(&mut body);
        packed.extend([0; 8]);
        body = packed;
    }
    match dice.roll(3) {
        0 => {}
        1 => head.push(format!("Content-Length: {}\r\n", body.len())),
        _ => {
            head.push(format!("{}: chunked\r\n", dice.case("Transfer-Encoding")));
            let mut chunks = Vec::new();
            for piece in dice.pieces(&body) {
                chunks.extend(format!("{:x}\r\n", piece.len()).into_bytes());
                chunks.extend(piece);
                chunks.extend(b"\r\n");
            }
            chunks.extend(b"0\r\n\r\n");
            body = chunks;
        }
    }
    let mut bytes = (head.concat() + "\r\n").into_bytes();
    bytes.append(&mut body);
    bytes
}

/// Sends in pieces. Sometimes the capture keeps only so many bytes of each, or misses one.
fn send(play: &mut Play, dice: &mut Dice, direction: Direction, bytes: &[u8], whole: bool) {
    let bound = match dice.roll(3) {
        0 if !whole => dice.roll(400),
        _ => usize::MAX,
    };
    for piece in dice.pieces(bytes) {
        let seq = match direction {
            Direction::Request => &mut play.up_seq,
            Direction::Response => &mut play.down_seq,
        };
        let at = *seq;
        *seq = seq.wrapping_add(u32::try_from(piece.len()).unwrap());
        if whole || dice.roll(30) > 0 {
            let kept = &piece[..bound.min(piece.len())];
            play.segment(direction, at, kept, piece.len(), "");
        }
    }
}

const SERVERS: [&str; 3] = [
    "169.254.169.254:80",
    "169.254.170.23:80",
    "169.254.170.2:80",
];

/// Whatever the length of its name: `Content-Length` and `Transfer-Encoding` have 14 and 17 bytes.
#[test]
fn a_header_that_names_a_secret_is_one() {
    let secret = "correct horse battery";
    for name in [
        "X-Access-Token",
        "X-Secret-Token",
        "X-My-Access-Token",
        "Token",
        "X-Vault-Token",
        "Authorisation2",
    ] {
        let text = format!(
            "GET /latest/user-data HTTP/1.1\r\nUser-Agent: {secret}\r\n{name}: {secret}\r\n\r\n"
        );
        let events = Play::imds().open().ask(&text).answer(OK).end();
        assert_eq!(events.len(), 1);
        assert!(!leaks(&events, secret), "{name}: {events:?}");
    }
    let text = format!("GET /latest/user-data HTTP/1.1\r\nUser-Agent: {secret}\r\n\r\n");
    let events = Play::imds().open().ask(&text).answer(OK).end();
    assert!(leaks(&events, secret), "a user agent is shown");
}

proptest! {
    #[test]
    fn secrets_stay_here(secret in marked(), seed in any::<u64>()) {
        let mut dice = Dice(seed);
        let mut play = Play::to(dice.pick(&SERVERS));
        if dice.roll(4) > 0 {
            play.open();
        }
        for _ in 0..=dice.roll(2) {
            let mut asked = request(&mut dice, &secret, true);
            if dice.roll(3) == 0 {
                asked.extend(request(&mut dice, &secret, true));
            }
            send(&mut play, &mut dice, Direction::Request, &asked, false);
            let answered = answer(&mut dice, &secret);
            send(&mut play, &mut dice, Direction::Response, &answered, false);
        }
        let events = play.end();
        prop_assert!(!leaks(&events, &secret), "{secret} in {events:?}");
    }

    /// A secret without marks is known by its header alone; where that is cut, by nothing.
    #[test]
    fn secrets_without_marks_stay_here(
        secret in "[!-~&&[^:]][ -~]{7,58}[!-~]",
        seed in any::<u64>(),
        cut in 0_usize..400,
    ) {
        let mut dice = Dice(seed);
        let mut play = Play::to("169.254.169.254:80");
        play.open();
        let asked = request(&mut dice, &secret, false);
        if dice.roll(2) == 0 {
            send(&mut play, &mut dice, Direction::Request, &asked, true);
        } else {
            play.ask_bytes(&asked[..cut.min(asked.len())], asked.len());
        }
        let events = play.answer(OK).end();
        prop_assert!(!leaks(&events, &secret), "{secret} in {events:?}");
    }
}
