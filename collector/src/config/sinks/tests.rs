//! Lists of sinks, and what is said about them.

use super::elasticsearch::Auth;
use super::otlp::Protocol;
use super::*;
use crate::config::{Config, ConfigError};

#[track_caller]
fn check(text: &str, expect: &[&str]) {
    let said = match Config::parse("", text) {
        Ok(_) => Vec::new(),
        Err(ConfigError(lines)) => lines,
    };
    assert_eq!(said, expect);
}

const CLOUDWATCH: &str = "cloudwatch: {group: /g, stream: s}";

fn one(inner: &str) -> String {
    format!("sinks:\n- name: a\n  {inner}\n")
}

#[test]
fn a_sink_is_what_it_says() {
    let text = "sinks:\n\
                - name: cloudwatch\n\
                \x20 cloudwatch:\n\
                \x20   group: /plimsoll/prod\n\
                \x20   stream: prod-eks-1\n\
                \x20   region: eu-west-1\n\
                \x20   endpoint: https://vpce.example.com:8443\n\
                \x20   create_group: true\n\
                \x20 format: ocsf-1.3\n\
                \x20 route:\n\
                \x20   classes: [imds, oom_kill]\n\
                \x20   min_severity: low\n\
                \x20   namespaces: [payments]\n\
                - name: siem-file\n\
                \x20 file: { path: /var/lib/plimsoll/audit-ocsf, rotate_bytes: 65536, keep_files: 3 }\n";
    let sinks = Config::parse("", text).unwrap().sinks();
    let cloudwatch = CloudWatch {
        group: "/plimsoll/prod".into(),
        stream: "prod-eks-1".into(),
        region: Some("eu-west-1".into()),
        endpoint: Some("https://vpce.example.com:8443".into()),
        create_group: true,
    };
    let route = Route {
        classes: vec![EventClass::Imds, EventClass::OomKill],
        min_severity: Some(Severity::Low),
        namespaces: vec!["payments".into()],
    };
    let file = File {
        path: "/var/lib/plimsoll/audit-ocsf".into(),
        rotate_bytes: 65_536,
        keep_files: 3,
    };
    let expect = [
        Sink {
            name: "cloudwatch".into(),
            kind: SinkKind::CloudWatch(cloudwatch),
            format: Format::Ocsf13,
            route,
        },
        Sink {
            name: "siem-file".into(),
            kind: SinkKind::File(file),
            format: Format::Ocsf18,
            route: Route::default(),
        },
    ];
    assert_eq!(sinks, expect);
}

#[test]
fn every_mistake_is_told_at_once_with_its_line_and_place() {
    check(
        "sinks:\n\
         - name: Prod\n\
         \x20 cloudwatch:\n\
         \x20   group: aws/x\n\
         \x20   streem: s\n\
         \x20   region: eu west\n\
         \x20   endpoint: http://logs.example.com\n\
         \x20   create_group: maybe\n\
         \x20 format: json\n\
         - name: b\n\
         \x20 file: { path: '', rotate_bytes: 64MiB, keep_files: 0 }\n\
         \x20 route:\n\
         \x20   classes: [imds, kill]\n\
         \x20   min_severity: fatal\n\
         \x20   namespaces: ['', kube-system, a.b]\n\
         - name: b\n\
         \x20 splunk: {}\n",
        &[
            ":2: sinks[0].name: must be a name: 40 small letters, digits and `-` at the most",
            ":3: sinks[0].cloudwatch.stream: must begin a log stream's name: 447 characters at the most, \
             without `:` and `*`",
            ":4: sinks[0].cloudwatch.group: must be a log group's name: 512 letters, digits and `.-_/#` at \
             the most, not beginning with aws/",
            ":5: sinks[0].cloudwatch.streem: there is no such setting; did you mean stream?",
            ":6: sinks[0].cloudwatch.region: must be a Region, as eu-west-1",
            ":7: sinks[0].cloudwatch.endpoint: must be https://HOST or https://HOST:PORT; http:// is taken \
             only for loopback addresses",
            ":8: sinks[0].cloudwatch.create_group: must be true or false, not maybe",
            ":9: sinks[0].format: unknown variant `json`, expected one of ocsf-1.8, ocsf-1.3, ecs, cef, \
             not json",
            ":11: sinks[1].file.rotate_bytes: must be a plain number of bytes, as 1048576, not 64MiB",
            ":11: sinks[1].file.path: must be the path of a folder",
            ":11: sinks[1].file.keep_files: must be at least 1",
            ":13: sinks[1].route.classes[1]: unknown variant `kill`, expected one of imds, oom_kill, \
             container_end, loss, misplaced, agent, heartbeat, not kill",
            ":14: sinks[1].route.min_severity: unknown variant `fatal`, expected one of informational, low, \
             medium, high, critical, not fatal",
            ":15: sinks[1].route.namespaces[0]: must be a namespace's name, as kube-system",
            ":15: sinks[1].route.namespaces[2]: must be a namespace's name, as kube-system",
            ":16: sinks[2]: must have exactly one of cloudwatch, hec, file, security_lake, stdout, syslog, elasticsearch, otlp, and has 0",
            ":16: sinks[2].name: must not be the name of another sink",
            ":17: sinks[2].splunk: there is no such setting; there are name, cloudwatch, hec, file, security_lake, stdout, \
             syslog, elasticsearch, otlp, format, route",
        ],
    );
}

#[test]
fn a_sink_has_exactly_one_kind_and_its_own_folder() {
    check(&one(CLOUDWATCH), &[]);
    check(
        "sinks:\n- name: a\n",
        &[
            ":2: sinks[0]: must have exactly one of cloudwatch, hec, file, security_lake, stdout, syslog, elasticsearch, otlp, and has 0",
        ],
    );
    check(
        &one(&format!("{CLOUDWATCH}\n  file: {{path: /a}}")),
        &[
            ":2: sinks[0]: must have exactly one of cloudwatch, hec, file, security_lake, stdout, syslog, elasticsearch, otlp, and has 2",
        ],
    );
    check(
        &one("cloudwatch: {}"),
        &[
            ":3: sinks[0].cloudwatch.group: must be a log group's name: 512 letters, digits and `.-_/#` at \
             the most, not beginning with aws/",
            ":3: sinks[0].cloudwatch.stream: must begin a log stream's name: 447 characters at the most, \
             without `:` and `*`",
        ],
    );
    check(
        "data: {path: /d}\n\
         sinks:\n\
         - {name: a, file: {path: /d/audit}}\n\
         - {name: b, file: {path: /b}}\n\
         - {name: c, file: {path: /b}}\n",
        &[
            ":3: sinks[0].file.path: must not be the folder of another sink or of audit_file",
            ":5: sinks[2].file.path: must not be the folder of another sink or of audit_file",
        ],
    );
    let many = |count| {
        let sinks = (0..count).map(|at| format!("- {{name: a{at}, {CLOUDWATCH}}}\n"));
        format!("sinks:\n{}", sinks.collect::<String>())
    };
    check(&many(16), &[]);
    check(&many(17), &[":1: sinks: must be 16 at the most"]);
    check("sinks: a\n", &[":1: sinks: must be a list, not a"]);
}

#[test]
fn an_endpoint_is_safe_or_near() {
    for (endpoint, is) in [
        ("https://logs.eu-west-1.amazonaws.com", true),
        (
            "https://vpce-1.logs.eu-west-1.vpce.amazonaws.com:443/",
            true,
        ),
        ("http://127.0.0.1:4566", true),
        ("http://[::1]:4566", true),
        ("http://localhost:4566", false),
        ("http://10.0.0.1", false),
        ("https://user:word@logs.example.com", false),
        ("https://logs.example.com/path", false),
        ("https://logs.example.com/?a", false),
        ("logs.example.com", false),
        ("https://", false),
        ("", false),
    ] {
        assert_eq!(is_endpoint(endpoint), is, "{endpoint}");
    }
}

#[test]
fn an_event_is_sent_if_all_conditions_hold() {
    let all = Route::default();
    assert!(all.matches(EventClass::Heartbeat, SeverityId::Unknown, None));
    let of = |classes: &[EventClass], min_severity, namespaces: &[&str]| Route {
        classes: classes.to_vec(),
        min_severity,
        namespaces: namespaces.iter().map(|&name| name.to_owned()).collect(),
    };
    let kills = of(&[EventClass::OomKill, EventClass::Loss], None, &[]);
    assert!(kills.matches(EventClass::Loss, SeverityId::Low, None));
    assert!(!kills.matches(EventClass::Imds, SeverityId::Low, None));
    let grave = of(&[], Some(Severity::Medium), &[]);
    for (severity, is) in [
        (SeverityId::Unknown, true),
        (SeverityId::Informational, false),
        (SeverityId::Low, false),
        (SeverityId::Medium, true),
        (SeverityId::High, true),
        (SeverityId::Critical, true),
        (SeverityId::Fatal, true),
        (SeverityId::Other, true),
    ] {
        assert_eq!(
            grave.matches(EventClass::Imds, severity, Some("a")),
            is,
            "{severity:?}"
        );
    }
    for (least, first) in [
        (Severity::Informational, SeverityId::Informational),
        (Severity::Low, SeverityId::Low),
        (Severity::High, SeverityId::High),
        (Severity::Critical, SeverityId::Critical),
    ] {
        assert_eq!(i64::from(least as u8), first.number());
    }
    let near = of(&[], None, &["a", "b"]);
    assert!(near.matches(EventClass::Imds, SeverityId::Low, Some("b")));
    assert!(!near.matches(EventClass::Imds, SeverityId::Low, Some("c")));
    assert!(!near.matches(EventClass::Loss, SeverityId::High, None));
    let strict = of(&[EventClass::Imds], Some(Severity::High), &["a"]);
    assert!(strict.matches(EventClass::Imds, SeverityId::High, Some("a")));
    for (class, severity, namespace) in [
        (EventClass::Loss, SeverityId::High, "a"),
        (EventClass::Imds, SeverityId::Medium, "a"),
        (EventClass::Imds, SeverityId::High, "b"),
    ] {
        assert!(!strict.matches(class, severity, Some(namespace)));
    }
}

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

#[test]
fn standard_output_is_of_one_sink() {
    let sinks = Config::parse("", "sinks:\n- {name: a, stdout: true}\n")
        .unwrap()
        .sinks();
    assert_eq!(sinks[0].kind, SinkKind::Stdout);
    check(
        "sinks:\n- {name: a, stdout: true}\n- {name: b, stdout: true}\n- {name: c, stdout: '-'}\n\
         - {name: d, stdout: false}\n",
        &[
            ":3: sinks[1].stdout: must be of one sink: another has it already",
            ":4: sinks[2].stdout: must be true or false without quotes, not '-'",
            ":4: sinks[2]: must have exactly one of cloudwatch, hec, file, security_lake, stdout, syslog, elasticsearch, otlp, and has 0",
            ":5: sinks[3]: must have exactly one of cloudwatch, hec, file, security_lake, stdout, syslog, elasticsearch, otlp, and has 0",
        ],
    );
}

/// The names of kinds are those of the lines.
#[test]
fn a_class_is_called_as_its_line_says() {
    let event = AuditEvent::Loss(plimsoll_wire::event::Loss {
        stage: String::new(),
        lost_class: plimsoll_wire::Class::Usage,
        fate: String::new(),
        count: 0,
        first_seq: None,
        last_seq: None,
    });
    let line = serde_json::to_value(&event).unwrap();
    let read: EventClass = serde_json::from_value(line["event"].clone()).unwrap();
    assert_eq!(read, EventClass::from(&event));
}
