//! What an answer adds to the request's event.

use super::{MS, OK, PUT, Play, TOKEN, status};
use crate::{Class, Flags, Outcome};

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
