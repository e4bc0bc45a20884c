//! What a request is read as: version, class, remarks.

use super::{OK, Play, TOKEN, status};
use crate::{Class, Direction, Flags, ImdsEvent, Opaque, Outcome, Taken, Version};

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
