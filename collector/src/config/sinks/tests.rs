//! Lists of sinks, and what is said about them.

mod elasticsearch;
mod hec;
mod otlp;

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
