//! Sinks to Splunk.

use super::*;

#[test]
fn a_hec_is_what_it_says_and_has_defaults() {
    let text = one("hec: {endpoint: 'https://s:8088', token_env: SPLUNK_TOKEN}");
    let [sink] = &Config::parse("", &text).unwrap().sinks()[..] else {
        panic!("one sink");
    };
    let few = Hec {
        endpoint: "https://s:8088".into(),
        token_env: Some("SPLUNK_TOKEN".into()),
        ..Hec::default()
    };
    assert_eq!((few.ack_timeout_s, few.max_content_bytes), (60, 1_000_000));
    assert!(!few.gzip && !few.acknowledgement);
    assert_eq!(sink.kind, SinkKind::Hec(few));
    let text = one(
        "hec: {endpoint: 'http://127.0.0.1:8088', token_file: /t, index: a_1-b, source: s, \
                    sourcetype: 'a:b', host: h, ca_file: /ca, gzip: true, acknowledgement: true, \
                    ack_timeout_s: 1, max_content_bytes: 65536}",
    );
    let all = Hec {
        endpoint: "http://127.0.0.1:8088".into(),
        token_file: Some("/t".into()),
        token_env: None,
        index: Some("a_1-b".into()),
        source: Some("s".into()),
        sourcetype: Some("a:b".into()),
        host: Some("h".into()),
        ca_file: Some("/ca".into()),
        gzip: true,
        acknowledgement: true,
        ack_timeout_s: 1,
        max_content_bytes: 65_536,
    };
    let [sink] = &Config::parse("", &text).unwrap().sinks()[..] else {
        panic!("one sink");
    };
    assert_eq!(sink.kind, SinkKind::Hec(all));
}

#[test]
fn every_mistake_about_a_hec_is_told_at_once() {
    check(
        "sinks:\n\
         - name: a\n\
         \x20 hec:\n\
         \x20   endpoint: http://splunk.example.com:8088\n\
         \x20   token: secret\n\
         \x20   token_file: ''\n\
         \x20   token_env: 1A\n\
         \x20   index: _internal\n\
         \x20   source: ''\n\
         \x20   sourcetype: \"a\\nb\"\n\
         \x20   host: ''\n\
         \x20   ca_file: ''\n\
         \x20   gzip: perhaps\n\
         \x20   ack_timeout_s: 0\n\
         \x20   max_content_bytes: 1000\n\
         - {name: b, hec: {endpoint: 'https://s'}}\n",
        &[
            ":3: sinks[0].hec: must have exactly one of token_file and token_env",
            ":4: sinks[0].hec.endpoint: must be https://HOST or https://HOST:PORT; http:// is taken only for \
             loopback addresses",
            ":5: sinks[0].hec.token: there is no such setting; there are endpoint, token_file, token_env, index, \
             source, sourcetype, host, ca_file, gzip, acknowledgement, ack_timeout_s, max_content_bytes",
            ":6: sinks[0].hec.token_file: must be the path of a file",
            ":7: sinks[0].hec.token_env: must be an environment variable's name: letters, digits and `_`",
            ":8: sinks[0].hec.index: must be an index's name: small letters, digits, `_` and `-`, beginning with \
             a letter or digit",
            ":9: sinks[0].hec.source: must have 1 to 256 characters, none of them a control character",
            ":10: sinks[0].hec.sourcetype: must have 1 to 256 characters, none of them a control character",
            ":11: sinks[0].hec.host: must have 1 to 256 characters, none of them a control character",
            ":12: sinks[0].hec.ca_file: must be the path of a file",
            ":13: sinks[0].hec.gzip: must be true or false, not perhaps",
            ":14: sinks[0].hec.ack_timeout_s: must lie between 1 and 3600",
            ":15: sinks[0].hec.max_content_bytes: must lie between 65536 and 16777216",
            ":16: sinks[1].hec: must have exactly one of token_file and token_env",
        ],
    );
}
