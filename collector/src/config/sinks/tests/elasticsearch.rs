//! Sinks to Elasticsearch.

use super::*;
use crate::config::sinks::elasticsearch::Auth;

#[test]
fn an_elasticsearch_is_what_it_says_and_has_defaults() {
    let text = one("elasticsearch: {endpoint: 'https://e:9200', index: audit, secret_env: ES_KEY}");
    let [sink] = &Config::parse("", &text).unwrap().sinks()[..] else {
        panic!("one sink");
    };
    let few = Elasticsearch {
        endpoint: "https://e:9200".into(),
        index: "audit".into(),
        secret_env: Some("ES_KEY".into()),
        ..Elasticsearch::default()
    };
    assert_eq!((few.auth, few.max_content_bytes), (Auth::ApiKey, 5 << 20));
    assert_eq!(
        (&sink.kind, sink.format),
        (&SinkKind::Elasticsearch(few), Format::Ecs)
    );
    let text = one(
        "format: ocsf-1.8\n  elasticsearch: {endpoint: 'https://e', index: 'a-%Y', pipeline: p, auth: basic, \
         username: u, secret_file: /s, ca_file: /ca, cert_file: /c, key_file: /k, gzip: true, \
         max_content_bytes: 65536}",
    );
    let [sink] = &Config::parse("", &text).unwrap().sinks()[..] else {
        panic!("one sink");
    };
    let all = Elasticsearch {
        endpoint: "https://e".into(),
        index: "a-%Y".into(),
        pipeline: Some("p".into()),
        auth: Auth::Basic,
        username: Some("u".into()),
        secret_file: Some("/s".into()),
        secret_env: None,
        ca_file: Some("/ca".into()),
        cert_file: Some("/c".into()),
        key_file: Some("/k".into()),
        gzip: true,
        max_content_bytes: 65_536,
    };
    assert_eq!(
        (&sink.kind, sink.format),
        (&SinkKind::Elasticsearch(all), Format::Ocsf18)
    );
    check(
        &one("elasticsearch: {endpoint: 'http://127.0.0.1:9200', index: a, auth: none}"),
        &[],
    );
}

#[test]
fn every_mistake_about_an_elasticsearch_is_told_at_once() {
    check(
        "sinks:\n\
         - name: a\n\
         \x20 format: cef\n\
         \x20 elasticsearch:\n\
         \x20   endpoint: http://127.0.0.1:9200\n\
         \x20   password: secret\n\
         \x20   index: Audit\n\
         \x20   pipeline: a/b\n\
         \x20   auth: api_key\n\
         \x20   username: 'a:b'\n\
         \x20   secret_file: ''\n\
         \x20   secret_env: 1A\n\
         \x20   ca_file: /ca\n\
         \x20   cert_file: ''\n\
         \x20   gzip: 1\n\
         \x20   max_content_bytes: 1000\n\
         - {name: b, elasticsearch: {endpoint: 'https://e', index: a, auth: token}}\n\
         - {name: c, elasticsearch: {endpoint: 'https://e', index: a, auth: basic, secret_env: A}}\n\
         - {name: d, elasticsearch: {endpoint: 'https://e', index: a, auth: none, secret_env: A}}\n",
        &[
            ":3: sinks[0].format: must be ecs, ocsf-1.8 or ocsf-1.3 for elasticsearch: a document is an object",
            ":4: sinks[0].elasticsearch: must have exactly one of secret_file and secret_env, or auth: none",
            ":6: sinks[0].elasticsearch.password: there is no such setting; there are endpoint, index, \
             pipeline, auth, username, secret_file, secret_env, ca_file, cert_file, key_file, gzip, \
             max_content_bytes",
            ":7: sinks[0].elasticsearch.index: must be the name of a data stream, an alias or an index: small \
             letters, 255 bytes at the most, none of \\ / * ? \" < > | , # : or white space, not beginning \
             with - _ + or a dot; %Y, %m and %d may stand in it",
            ":8: sinks[0].elasticsearch.pipeline: must be the name of an ingest pipeline: 255 letters, digits \
             and `-_.` at the most",
            ":10: sinks[0].elasticsearch.username: must be given with auth: basic, and not without",
            ":10: sinks[0].elasticsearch.username: must have 1 to 256 bytes, without `:` and control characters",
            ":11: sinks[0].elasticsearch.secret_file: must be the path of a file",
            ":12: sinks[0].elasticsearch.secret_env: must be an environment variable's name: letters, digits \
             and `_`",
            ":13: sinks[0].elasticsearch.ca_file: must be left out where endpoint is http://",
            ":14: sinks[0].elasticsearch.cert_file: must be the path of a file",
            ":14: sinks[0].elasticsearch.cert_file: must be left out where endpoint is http://",
            ":14: sinks[0].elasticsearch.cert_file: must be given together with key_file",
            ":15: sinks[0].elasticsearch.gzip: must be true or false, not 1",
            ":16: sinks[0].elasticsearch.max_content_bytes: must lie between 65536 and 52428800",
            ":17: sinks[1].elasticsearch.auth: unknown variant `token`, expected one of none, basic, api_key, \
             bearer, not token",
            ":17: sinks[1].elasticsearch: must have exactly one of secret_file and secret_env, or auth: none",
            ":18: sinks[2].elasticsearch.username: must be given with auth: basic, and not without",
            ":19: sinks[3].elasticsearch: must have neither secret_file nor secret_env with auth: none",
        ],
    );
}
