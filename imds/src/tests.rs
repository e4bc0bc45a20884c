//! From segments to events: the wire cases, what silence means, and the laws.

mod late;
mod secrets;
mod unseen;

use std::net::SocketAddr;

use proptest::prelude::*;

use crate::{
    Class, ConnKey, Decoder, Direction, Evidence, Flags, ImdsEvent, Key, Limits, Opaque, Outcome,
    Segment, Taken, Version,
};

const MS: u64 = 1_000_000;

/// A conversation of one or more connections, played to a decoder.
struct Play {
    decoder: Decoder,
    events: Vec<ImdsEvent>,
    server: SocketAddr,
    port: u16,
    up_seq: u32,
    down_seq: u32,
    now_ns: u64,
    hop_limit: Option<u8>,
    acks: bool,
}

impl Play {
    fn to(server: &str) -> Self {
        Self {
            decoder: Decoder::new(Limits::default(), &Key([1; 32])),
            events: Vec::new(),
            server: server.parse().unwrap(),
            port: 40_000,
            up_seq: 1_000,
            down_seq: 9_000,
            now_ns: MS,
            hop_limit: None,
            acks: true,
        }
    }

    fn imds() -> Self {
        Self::to("169.254.169.254:80")
    }

    fn segment(
        &mut self,
        direction: Direction,
        seq: u32,
        payload: &[u8],
        wire_len: usize,
        flag: &str,
    ) -> Taken {
        let client = SocketAddr::new([10, 0, 0, 5].into(), self.port);
        let (src, dst) = match direction {
            Direction::Request => (client, self.server),
            Direction::Response => (self.server, client),
        };
        let ack = match direction {
            Direction::Request => self.down_seq,
            Direction::Response => self.up_seq,
        };
        let segment = Segment {
            key: ConnKey::Ends {
                client,
                server: self.server,
            },
            direction,
            seq,
            ack: (self.acks && !(flag == "S" && direction == Direction::Request)).then_some(ack),
            syn: flag == "S",
            fin: flag == "F",
            rst: flag == "R",
            fragment: false,
            hop_limit: self.hop_limit,
            payload,
            payload_len: u32::try_from(wire_len).unwrap(),
            time_ns: self.now_ns,
            src,
            dst,
        };
        let events = &mut self.events;
        self.decoder.push(&segment, &mut |event| events.push(event))
    }

    fn open(&mut self) -> &mut Self {
        self.segment(Direction::Request, self.up_seq.wrapping_sub(1), b"", 0, "S");
        self.segment(
            Direction::Response,
            self.down_seq.wrapping_sub(1),
            b"",
            0,
            "S",
        );
        self
    }

    /// The next connection of the same client.
    fn reconnect(&mut self) -> &mut Self {
        self.port += 1;
        self.open()
    }

    /// Sends; `|` marks a segment boundary.
    fn ask(&mut self, text: &str) -> &mut Self {
        text.split('|')
            .for_each(|part| self.ask_bytes(part.as_bytes(), part.len()));
        self
    }

    fn ask_bytes(&mut self, bytes: &[u8], wire_len: usize) {
        let seq = self.up_seq;
        self.up_seq = self.up_seq.wrapping_add(u32::try_from(wire_len).unwrap());
        self.segment(Direction::Request, seq, bytes, wire_len, "");
    }

    fn answer(&mut self, text: &str) -> &mut Self {
        let seq = self.down_seq;
        self.down_seq = self
            .down_seq
            .wrapping_add(u32::try_from(text.len()).unwrap());
        self.segment(Direction::Response, seq, text.as_bytes(), text.len(), "");
        self
    }

    fn wait(&mut self, ms: u64) -> &mut Self {
        self.now_ns += ms * MS;
        let events = &mut self.events;
        self.decoder
            .advance(self.now_ns, &mut |event| events.push(event));
        self
    }

    fn end(&mut self) -> Vec<ImdsEvent> {
        let events = &mut self.events;
        self.decoder.finish(&mut |event| events.push(event));
        let stats = self.decoder.stats();
        assert_eq!(
            stats.segments,
            stats.used + stats.no_payload + stats.repeated + stats.outside + stats.not_endpoint
        );
        assert_eq!(stats.requests + stats.late_answers, stats.events);
        assert_eq!(self.decoder.connections(), 0);
        std::mem::take(&mut self.events)
    }

    fn one(&mut self) -> ImdsEvent {
        let mut events = self.end();
        assert_eq!(events.len(), 1, "{events:?}");
        events.remove(0)
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn status(code: u16) -> String {
    format!("HTTP/1.1 {code} x\r\nContent-Length: 0\r\n\r\n")
}

/// Plays one request with a status, whole and in single bytes, and compares.
fn check(text: &str, code: u16, version: Version, class: Class, flags: &[&str]) -> ImdsEvent {
    let whole = Play::imds().open().ask(text).answer(&status(code)).one();
    let found = (
        whole.imds_version,
        whole.class,
        whole.flags.names().collect::<Vec<_>>(),
    );
    assert_eq!(found, (version, class, flags.to_vec()), "{text}");
    assert_eq!(whole.status, Some(code));
    let mut play = Play::imds();
    play.open();
    text.bytes().for_each(|byte| play.ask_bytes(&[byte], 1));
    let split = play.answer(&status(code)).one();
    assert_eq!(split, whole, "{text}");
    whole
}

const TOKEN: &str = "AQAEAGhVd0xrZ2JqS3B5bVZ0dGZ2Q1pXbk1LUW9hYnN3amR3w5w==";

#[test]
fn wire_cases() {
    use Class::{Cred, CredList, RootEnum, SecretCfg, Token};
    use Version::{V1, V2};
    let host = "Host: 169.254.169.254\r\n";
    check(
        &format!(
            "GET /latest/meta-data/ HTTP/1.1\r\n{host}User-Agent: curl/8\r\nAccept: */*\r\n\r\n"
        ),
        200,
        V1,
        RootEnum,
        &[],
    );
    let event = check(
        &format!(
            "PUT /latest/api/token HTTP/1.1\r\n{host}X-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\r\n"
        ),
        200,
        V2,
        Token,
        &[],
    );
    assert_eq!(event.ttl_seconds, Some(21600));
    let cred = "GET /latest/meta-data/iam/security-credentials/node-role HTTP/1.1\r\n";
    let plain = check(
        &format!("{cred}{host}X-aws-ec2-metadata-token: {TOKEN}\r\n\r\n"),
        200,
        V2,
        Cred,
        &[],
    );
    assert_eq!(plain.role.as_deref(), Some("node-role"));
    assert_eq!(plain.token_hash.as_ref().map(String::len), Some(16));
    let odd = check(
        &format!("{cred}{host}x-AWS-ec2-METADATA-token:\t {TOKEN}\t \r\n\r\n"),
        200,
        V2,
        Cred,
        &[],
    );
    assert_eq!(odd.token_hash, plain.token_hash);
    check(
        "GET /latest/meta-data/iam/security-credentials/ HTTP/1.1\r\nHost: x\r\n\r\n",
        200,
        V1,
        CredList,
        &["bad_host"],
    );
    check(
        "GET /?x-aws-ec2-metadata-token: HTTP/1.1\r\nHost: a\r\n\r\n",
        200,
        V1,
        RootEnum,
        &["bad_host"],
    );
    check(
        "GET /latest/user-data HTTP/1.1\r\nUser-Agent: x-aws-ec2-metadata-token\r\n\r\n",
        200,
        V1,
        SecretCfg,
        &[],
    );
    let event = check(
        "GET /latest/user-data HTTP/1.1\r\nX-aws-ec2-metadata-token: abc\r\n\r\n",
        401,
        V2,
        SecretCfg,
        &["malformed_token"],
    );
    assert_eq!(event.outcome, Outcome::AuthFailed);
    for version in ["2021-03-23", "1.0"] {
        let path = format!("GET /{version}/meta-data/iam/security-credentials/r HTTP/1.1\r\n\r\n");
        assert_eq!(check(&path, 200, V1, Cred, &[]).role.as_deref(), Some("r"));
    }
    check(
        "GET /latest/meta-data/iam/security-credentials-extended/r HTTP/1.1\r\n\r\n",
        200,
        V1,
        Cred,
        &[],
    );
    let event = check(
        "GET //latest/./meta-data/../meta-data/iam/%73ecurity-credentials/r HTTP/1.1\r\n\r\n",
        200,
        V1,
        Cred,
        &["obfuscated", "traversal"],
    );
    assert_eq!(
        event.path.as_deref(),
        Some("/latest/meta-data/iam/security-credentials/r")
    );
    check(
        "GET http://169.254.169.254/latest/user-data HTTP/1.1\r\n\r\n",
        200,
        V1,
        SecretCfg,
        &["absolute_form"],
    );
    let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    let event = check(
        &format!("PUT /2021-03-23/api/token HTTP/1.1\r\n{ttl}\r\n"),
        403,
        V2,
        Token,
        &["wrong_version_path"],
    );
    assert_eq!(event.outcome, Outcome::Denied);
    let event = check(
        &format!("PUT /latest/api/token HTTP/1.1\r\n{ttl}X-Forwarded-For: 1.2.3.4\r\n\r\n"),
        403,
        V2,
        Token,
        &["proxied"],
    );
    assert_eq!(event.outcome, Outcome::Denied);
}

#[test]
fn odd_requests() {
    use Class::{Token, Unknown};
    use Version::{V1, V2};
    let get = "GET /latest/x HTTP/1.1";
    check(&format!("{get}\n\n"), 404, V1, Unknown, &["lf_only"]);
    check(
        "POST /latest/x HTTP/1.1\r\n\r\n",
        405,
        V1,
        Unknown,
        &["method_anomaly"],
    );
    check(
        "get /latest/x HTTP/1.1\r\n\r\n",
        400,
        V1,
        Unknown,
        &["method_anomaly"],
    );
    check("GET /latest/x\r\n\r\n", 200, V1, Unknown, &["http09"]);
    check(
        &format!("{get}\r\nX-aws-ec2-metadata-token : {TOKEN}\r\n\r\n"),
        400,
        Version::Unknown,
        Unknown,
        &["malformed_header", "malformed_token"],
    );
    check(
        &format!("{get}\r\nA: b\r\n X-aws-ec2-metadata-token: {TOKEN}\r\n\r\n"),
        400,
        Version::Unknown,
        Unknown,
        &["malformed_header", "malformed_token"],
    );
    check(
        &format!(
            "{get}\r\nX-aws-ec2-metadata-token: {TOKEN}\r\nX-aws-ec2-metadata-token: {TOKEN}\r\n\r\n"
        ),
        200,
        V2,
        Unknown,
        &["duplicate_token"],
    );
    check(
        &format!("{get}\r\nHost: 169.254.169.254\r\nHost: e\r\n\r\n"),
        200,
        V1,
        Unknown,
        &["bad_host"],
    );
    check(
        &format!("{get}\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n"),
        400,
        V1,
        Unknown,
        &["length_conflict"],
    );
    for ttl in ["", "0", "21601", "-1", "6e1", "99999999999999999999"] {
        let event = check(
            &format!(
                "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: {ttl}\r\n\r\n"
            ),
            400,
            V2,
            Token,
            &["bad_ttl"],
        );
        assert_eq!(event.ttl_seconds, None);
        assert_eq!(event.outcome, Outcome::Error);
    }
    check(
        "PUT /latest/api/token HTTP/1.1\r\n\r\n",
        400,
        V1,
        Token,
        &["bad_ttl"],
    );
    let event = check("nonsense\r\n\r\n", 400, Version::Unknown, Unknown, &[]);
    assert_eq!(event.reason.as_deref(), Some("bad_request_line"));
    let event = check(
        "GET / HTTP/3.0\r\n\r\n",
        400,
        Version::Unknown,
        Unknown,
        &[],
    );
    assert_eq!(event.reason.as_deref(), Some("bad_http_version"));
}

#[test]
fn real_clients() {
    // libcurl offers HTTP/2 and writes names in lower case.
    let h2c = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n";
    let event = check(
        &format!(
            "GET /latest/meta-data/instance-id HTTP/1.1\r\nuser-agent: curl/8\r\n{h2c}x-aws-ec2-metadata-token: {TOKEN}\r\n\r\n"
        ),
        200,
        Version::V2,
        Class::Topology,
        &[],
    );
    assert_eq!(event.user_agent.as_deref(), Some("curl/8"));
    // The same names where they mean nothing.
    check(
        "GET /latest/user-data?X-aws-ec2-metadata-token=a HTTP/1.1\r\nX-aws-ec2-metadata-tokens: b\r\n\r\n",
        200,
        Version::V1,
        Class::SecretCfg,
        &[],
    );
    // Bytes that are no UTF-8.
    let mut play = Play::imds();
    let bytes = b"GET /latest/user-data HTTP/1.1\r\nUser-Agent: a\xff\xfe\r\n\r\n";
    play.open().ask_bytes(bytes, bytes.len());
    let event = play.answer(OK).one();
    assert_eq!(event.class, Class::SecretCfg);
    assert_eq!(event.user_agent.as_deref(), Some("a??"));
}

#[test]
fn requests_of_round_sizes() {
    for size in [512, 1024, 1460, 2048, 4096, 8192] {
        let start = "GET /latest/user-data HTTP/1.1\r\nA: ";
        let filler = "x".repeat(size - start.len() - 4);
        let mut play = Play::imds();
        play.open().ask(&format!("{start}{filler}\r\n\r\n"));
        let event = play.answer(OK).one();
        assert_eq!(
            (event.imds_version, event.class, event.flags),
            (Version::V1, Class::SecretCfg, Flags::NONE),
            "{size}"
        );
    }
}

#[test]
fn pod_identity_answers() {
    let body = r#"{"AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"s","Token":"t","AccountId":"012345678901","Expiration":"2026-01-02T03:04:05Z"}"#;
    let ask = |host: &str, code: u16| {
        let answer = format!(
            "HTTP/1.1 {code} x\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        Play::to("169.254.170.23:80")
            .open()
            .ask(&format!(
                "GET /v1/credentials HTTP/1.1\r\nHost: {host}\r\nAuthorization: x\r\n\r\n"
            ))
            .answer(&answer)
            .one()
    };
    let event = ask("169.254.170.23", 200);
    assert_eq!(event.outcome, Outcome::Ok);
    assert_eq!(event.access_key_id.as_deref(), Some("ASIAIOSFODNN7EXAMPLE"));
    assert_eq!(event.expiration.as_deref(), Some("2026-01-02T03:04:05Z"));
    let event = ask("169.254.170.24", 400);
    assert_eq!(event.outcome, Outcome::Error);
    assert_eq!(event.access_key_id, None);
    assert_eq!(event.flags, Flags::BAD_HOST.with(Flags::MALFORMED_TOKEN));
    assert_eq!(ask("169.254.170.23", 403).outcome, Outcome::Denied);
}

/// What a body tells of a session token or of credentials is whole or nothing.
#[test]
fn bodies_in_any_framing() {
    let put = |head: &str, parts: &[&str], lost: Option<usize>| {
        let mut play = Play::imds();
        play.open()
            .ask(PUT)
            .answer(&format!("HTTP/1.1 200 OK\r\n{head}\r\n"));
        for (at, part) in parts.iter().enumerate() {
            if lost == Some(at) {
                play.down_seq += u32::try_from(part.len()).unwrap();
            } else {
                play.answer(part);
            }
        }
        play.one().minted_token_hash
    };
    let (a, b) = TOKEN.split_at(20);
    let length = format!("Content-Length: {}\r\n", TOKEN.len());
    let whole = put(&length, &[TOKEN], None);
    assert!(whole.is_some());
    let chunks = [
        &format!("14\r\n{a}"),
        &format!("\r\n{:x};x=y\r\n", b.len()),
        b,
        "\r\n0\r\n\r\n",
    ];
    assert_eq!(put("Transfer-Encoding: chunked\r\n", &chunks, None), whole);
    assert_eq!(put("", &[a, b], None), whole, "until the end");
    assert_eq!(put(&length, &[a, b], Some(0)), None);
    assert_eq!(put(&length, &[a, b], Some(1)), None);
    let gzip = format!("Content-Encoding: gzip\r\n{length}");
    assert_eq!(put(&gzip, &[TOKEN], None), None);
}

/// A head that was cut shows of its user agent what every client says.
#[test]
fn words_of_a_cut_head() {
    let mut play = Play::imds();
    let text = "GET /latest/meta-data/x HTTP/1.1\r\nUser-Agent: aws-sdk-go-v2/1.24.0 open-sesame\r\nX-aws-ec2-metadata-token: open";
    play.open().ask_bytes(text.as_bytes(), 3_000);
    let event = play.answer(OK).one();
    let agent = event.user_agent.unwrap();
    assert!(agent.starts_with("aws-sdk-go-v2/1.24.0 ["), "{agent}");
    assert!(event.path.unwrap().starts_with("/latest/["));
}

#[test]
fn other_protocols() {
    for (bytes, opaque) in [
        (b"\x16\x03\x01\x02\0\x01".as_slice(), Opaque::Tls),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Opaque::H2),
        (b"\0\x01\x02\x03", Opaque::Binary),
        (b"abc\x01\x02\r\n\r\n", Opaque::Binary),
    ] {
        let mut play = Play::imds();
        play.open().ask_bytes(bytes, bytes.len());
        play.ask_bytes(bytes, bytes.len());
        let event = play.one();
        assert_eq!(
            (event.opaque, event.class, event.imds_version),
            (Some(opaque), Class::Unknown, Version::Unknown)
        );
    }
}

#[test]
fn pipelining_and_keep_alive() {
    let get = |path: &str| format!("GET /latest/{path} HTTP/1.1\r\n\r\n");
    let put = "PUT /latest/x HTTP/1.1\r\nContent-Length: 30\r\n\r\nGET /latest/user-data HTTP/1.1";
    let text = format!(
        "{}{}{put}{}",
        get("user-data"),
        get("meta-data/mac"),
        get("api/token")
    );
    let mut play = Play::imds();
    play.open()
        .ask(&text)
        .answer(OK)
        .answer(&status(404))
        .answer(OK)
        .answer(&status(405));
    play.ask(&get("meta-data/")).answer(OK);
    let events = play.end();
    let seen: Vec<_> = events.iter().map(|e| (e.class, e.status)).collect();
    assert_eq!(
        seen,
        [
            (Class::SecretCfg, Some(200)),
            (Class::Network, Some(404)),
            (Class::Unknown, Some(200)),
            (Class::Token, Some(405)),
            (Class::RootEnum, Some(200)),
        ]
    );
}

#[test]
fn answers() {
    let mut play = Play::imds();
    let ttl = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    play.open()
        .ask(&format!("PUT /latest/api/token HTTP/1.1\r\n{ttl}\r\n"))
        .wait(3);
    play.answer(&format!(
        "HTTP/1.1 200 OK\r\n{ttl}Content-Length: {}\r\n\r\n{TOKEN}",
        TOKEN.len()
    ));
    play.ask(&format!(
        "GET /latest/meta-data/iam/security-credentials/r HTTP/1.1\r\nX-aws-ec2-metadata-token: {TOKEN}\r\n\r\n"
    ));
    let body = r#"{"AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"s","Token":"t","Expiration":"2026-01-02T03:04:05Z"}"#;
    play.answer(&format!(
        "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
    let events = play.end();
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].token_ttl_seconds, Some(60));
    assert_eq!(events[0].latency_ns, Some(3 * MS));
    assert_eq!(events[0].response_bytes, Some(TOKEN.len() as u64));
    assert!(events[0].minted_token_hash.is_some());
    assert_eq!(events[0].minted_token_hash, events[1].token_hash);
    assert_eq!(
        events[1].access_key_id.as_deref(),
        Some("ASIAIOSFODNN7EXAMPLE")
    );
    assert_eq!(
        events[1].expiration.as_deref(),
        Some("2026-01-02T03:04:05Z")
    );
    assert_eq!(events[1].outcome, Outcome::Ok);
}

const PUT: &str =
    "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n";

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
    assert_eq!(play.one().flags, Flags::HEADER_TRUNCATED);
}

#[test]
fn other_endpoints() {
    let payload = "eyJrdWJlcm5ldGVzLmlvIjp7Im5hbWVzcGFjZSI6InNob3AiLCJwb2QiOnsibmFtZSI6IndlYi0wIiwidWlkIjoidS0xIn0sInNlcnZpY2VhY2NvdW50Ijp7Im5hbWUiOiJ3ZWIifX19";
    let jwt = format!("eyJhbGciOiJub25lIn0.{payload}.c2lnbmF0dXJl");
    for server in ["169.254.170.23:80", "[fd00:ec2::23]:80"] {
        let host = server.trim_end_matches(":80");
        let ask = |value: &str| {
            let text = format!(
                "GET /v1/credentials HTTP/1.1\r\nHost: {host}\r\nAuthorization: {value}\r\n\r\n"
            );
            Play::to(server).open().ask(&text).answer(OK).one()
        };
        let event = ask(&jwt);
        assert_eq!(
            (event.imds_version, event.class, event.flags),
            (Version::None, Class::Cred, Flags::NONE)
        );
        assert_eq!(
            event
                .pod_identity
                .as_ref()
                .and_then(|claims| claims.pod_uid.as_deref()),
            Some("u-1")
        );
        assert!(event.token_hash.is_some());
        assert_eq!(ask(&format!("Bearer {jwt}")).flags, Flags::MALFORMED_TOKEN);
    }
    let id = "9b1deb4d-3b7d-4bad-9bdd-2b0d7b3dcb6d";
    let event = Play::to("169.254.170.2:80")
        .open()
        .ask(&format!("GET /v2/credentials/{id} HTTP/1.1\r\n\r\n"))
        .one();
    assert_eq!(
        (event.class, event.imds_version),
        (Class::Cred, Version::None)
    );
    assert!(event.path.unwrap().starts_with("/v2/credentials/["));
    let event = Play::to("169.254.169.254:8080")
        .open()
        .ask("GET / HTTP/1.1\r\n\r\n")
        .one();
    assert_eq!(event.flags, Flags::ODD_PORT);
    let mut play = Play::to("192.0.2.1:80");
    assert_eq!(
        play.segment(Direction::Request, 1, b"GET", 3, ""),
        Taken::NotEndpoint
    );
}

#[test]
fn json_of_an_event() {
    let event = Play::imds()
        .open()
        .ask(&format!(
            "GET /latest/meta-data/iam/security-credentials/node-role HTTP/1.1\r\nHost: 169.254.169.254\r\n\
             User-Agent: curl/8\r\nX-aws-ec2-metadata-token: {TOKEN}\r\n\r\n"
        ))
        .answer(&status(200))
        .one();
    let json = serde_json::to_string(&event).unwrap();
    assert_eq!(
        json,
        format!(
            "{{\"endpoint\":\"imds\",\"src\":{{\"ip\":\"10.0.0.5\",\"port\":40000}},\
             \"dst\":{{\"ip\":\"169.254.169.254\",\"port\":80}},\"method\":\"GET\",\
             \"path\":\"/latest/meta-data/iam/security-credentials/node-role\",\"imds_version\":\"v2\",\
             \"class\":\"CRED\",\"role\":\"node-role\",\"status\":200,\"outcome\":\"ok\",\"flags\":[],\
             \"token_hash\":\"{}\",\"user_agent\":\"curl/8\",\"response_bytes\":0,\"latency_ns\":0}}",
            event.token_hash.unwrap()
        )
    );
}

proptest! {
    /// Any bytes in any order at any time: no panic, every segment and request counted once.
    #[test]
    fn any_segments(
        segments in proptest::collection::vec(
            (any::<bool>(), 0_u32..300, proptest::collection::vec(any::<u8>(), 0..40), 0_usize..60, 0_u8..12, 0_u64..900),
            0..60,
        ),
    ) {
        let mut play = Play::imds();
        for (up, seq, bytes, more, flag, ms) in segments {
            let direction = if up { Direction::Request } else { Direction::Response };
            let flag = match flag { 0 => "S", 1 => "F", 2 => "R", _ => "" };
            play.hop_limit = Some(if flag.is_empty() { 1 } else { 2 });
            play.segment(direction, seq, &bytes, bytes.len() + more, flag);
            play.wait(ms);
        }
        play.end();
    }

    /// HTTP cut, reordered and repeated at random tells the same as in one piece.
    #[test]
    fn any_order_tells_the_same(
        cuts in proptest::collection::vec((0_usize..250, 1_usize..90), 0..20),
        size in 1_usize..90,
    ) {
        let text = format!("{PUT}GET /latest/user-data HTTP/1.1\r\nX-aws-ec2-metadata-token: {TOKEN}\r\n\r\n");
        let play = |parts: Vec<(usize, usize)>| {
            let mut play = Play::imds();
            play.open();
            let first = play.up_seq;
            for (start, len) in parts {
                let part = &text.as_bytes()[start.min(text.len())..(start + len).min(text.len())];
                play.segment(Direction::Request, first + u32::try_from(start).unwrap(), part, part.len(), "");
            }
            play.up_seq = first + u32::try_from(text.len()).unwrap();
            play.answer(OK).answer(OK).end()
        };
        let whole = play(vec![(0, text.len())]);
        prop_assert_eq!(whole.len(), 2);
        let rest = (0..text.len()).step_by(size).map(|start| (start, size)).rev();
        prop_assert_eq!(play(cuts.into_iter().chain(rest).collect()), whole);
    }
}
