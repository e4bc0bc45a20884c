//! Sinks over OTLP.

use super::*;
use crate::config::sinks::otlp::Protocol;

#[test]
fn an_otlp_is_what_it_says_and_has_defaults() {
    let [sink] = &Config::parse("", &one("otlp: {endpoint: 'https://o:4317'}"))
        .unwrap()
        .sinks()[..]
    else {
        panic!("one sink");
    };
    let few = Otlp {
        endpoint: "https://o:4317".into(),
        ..Otlp::default()
    };
    assert_eq!(
        (few.protocol, few.path.as_str()),
        (Protocol::Grpc, "/v1/logs")
    );
    assert_eq!(
        (&sink.kind, sink.format),
        (&SinkKind::Otlp(few), Format::Ocsf18)
    );
    let text = one(
        "otlp: {endpoint: 'https://o', protocol: http, path: /otlp/v1/logs, headers_file: /h, ca_file: /ca, \
         cert_file: /c, key_file: /k, gzip: true, max_request_bytes: 65536, cluster_name: prod, \
         cloud_account_id: '123456789012', cloud_region: eu-west-1}",
    );
    let [sink] = &Config::parse("", &text).unwrap().sinks()[..] else {
        panic!("one sink");
    };
    let all = Otlp {
        endpoint: "https://o".into(),
        protocol: Protocol::Http,
        path: "/otlp/v1/logs".into(),
        headers_file: Some("/h".into()),
        headers_env: None,
        ca_file: Some("/ca".into()),
        cert_file: Some("/c".into()),
        key_file: Some("/k".into()),
        gzip: true,
        max_request_bytes: 65_536,
        cluster_name: Some("prod".into()),
        cloud_account_id: Some("123456789012".into()),
        cloud_region: Some("eu-west-1".into()),
    };
    assert_eq!(sink.kind, SinkKind::Otlp(all));
}

#[test]
fn every_mistake_about_an_otlp_is_told_at_once() {
    check(
        "sinks:\n\
         - name: a\n\
         \x20 format: ecs\n\
         \x20 otlp:\n\
         \x20   endpoint: http://otel.example.com:4317\n\
         \x20   protocol: json\n\
         \x20   path: v1\n\
         \x20   headers: {}\n\
         \x20   headers_file: ''\n\
         \x20   headers_env: 1A\n\
         \x20   ca_file: ''\n\
         \x20   max_request_bytes: 1000\n\
         \x20   cluster_name: ''\n\
         - {name: b, otlp: {endpoint: 'https://o', path: /a}}\n",
        &[
            ":3: sinks[0].format: must be ocsf-1.8 for otlp: its records say of an event what that form says",
            ":4: sinks[0].otlp: must have one of headers_file and headers_env at the most",
            ":5: sinks[0].otlp.endpoint: must be https://HOST or https://HOST:PORT; http:// is taken only for \
             loopback addresses",
            ":6: sinks[0].otlp.protocol: unknown variant `json`, expected one of grpc, http, not json",
            ":7: sinks[0].otlp.path: must be a path, as /v1/logs: letters, digits and `-._~/` at the most",
            ":7: sinks[0].otlp.path: must be left out with protocol: grpc",
            ":8: sinks[0].otlp.headers: there is no such setting; did you mean headers_env?",
            ":9: sinks[0].otlp.headers_file: must be the path of a file",
            ":10: sinks[0].otlp.headers_env: must be an environment variable's name: letters, digits and `_`",
            ":11: sinks[0].otlp.ca_file: must be the path of a file",
            ":12: sinks[0].otlp.max_request_bytes: must lie between 65536 and 67108864",
            ":13: sinks[0].otlp.cluster_name: must have 1 to 256 characters, none of them a control character",
            ":14: sinks[1].otlp.path: must be left out with protocol: grpc",
        ],
    );
}
