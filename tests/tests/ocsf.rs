//! Events in the terms of SIEMs: the types that are generated from OCSF's schema, and every event of ours judged by
//! that, by Elastic's list of fields, and by the grammar of CEF.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: compares and writes the generated types"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

#[path = "ocsf/cef.rs"]
mod cef;
#[path = "ocsf/ecs.rs"]
mod ecs;
#[path = "ocsf/generate.rs"]
mod generate;

use std::path::Path;

use fastrand::Rng;
use plimsoll_collector::api::AuditRecord;
use plimsoll_collector::ocsf::project::project;
use plimsoll_collector::ocsf::validate::validate;
use plimsoll_collector::ocsf::{Schema, event};
use plimsoll_imds::{Decoder, Direction, Key, Limits};
use plimsoll_tests::imds_cases::{case, segment};
use plimsoll_wire::event::{
    AgentNotice, AgentState, ContainerEnd, Heartbeat, ImdsAccess, Loss, Misplaced, OomKill, Process,
};
use plimsoll_wire::identity::{Qos, Subject};
use plimsoll_wire::{AuditEvent, Class, Identity, RecordId};
use serde_json::{Map, Value, json};

/// Set by `cargo xtask docs`: write instead of compare.
const WRITE: &str = "PLIMSOLL_WRITE_DOCS";

#[test]
fn types_are_those_of_the_schema() {
    let collector = Path::new(env!("CARGO_MANIFEST_DIR")).join("../collector");
    let attributes = std::fs::read_to_string(collector.join("ocsf/attributes.txt")).unwrap();
    let generated = generate::types(Schema::v1_8(), &attributes);
    let path = collector.join("src/ocsf/types.rs");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, generated).unwrap();
        return;
    }
    assert!(
        std::fs::read_to_string(&path).unwrap() == generated,
        "collector/src/ocsf/types.rs is out of date: run `cargo xtask docs`"
    );
}

/// Each kind of event, of every kind of subject; and each request that the decoder's cases hold.
fn records() -> Vec<AuditRecord> {
    let container = |pod_uid: &str| Subject::Container {
        pod_uid: pod_uid.to_owned(),
        container_id: "3f1c9a".repeat(10),
        runtime: Some("containerd".to_owned()),
        qos: Qos::Burstable,
    };
    let subjects = [
        container("5a3f7f0e-2a55-4d62-9f77-1d8f0e0c1a11"),
        container(&"0f".repeat(16)),
        Subject::Pod {
            pod_uid: "5a3f7f0e-2a55-4d62-9f77-1d8f0e0c1a11".to_owned(),
            qos: Qos::Guaranteed,
        },
        Subject::Host {
            unit: "kubelet.service".to_owned(),
        },
        Subject::Unknown,
    ];
    let named = json!({"subject": "shop/api-7c9d/api", "namespace": "shop", "pod": "api-7c9d", "container": "api",
        "workload_kind": "Deployment", "workload_name": "api", "service_account": "api", "host_network": true});
    let pending = json!({"subject": "pod/5a3f7f0e/3f1c9a", "name_pending": true});
    let mut events = vec![
        AuditEvent::Loss(loss(Class::Security, u64::MAX)),
        AuditEvent::Loss(loss(Class::Usage, 3)),
        AuditEvent::Misplaced(Misplaced {
            sender: "n".to_owned(),
            pod_uid: "u".to_owned(),
            pod_node: "m".to_owned(),
            count: 2,
        }),
        AuditEvent::Heartbeat(heartbeat()),
    ];
    for subject in subjects {
        let identity = Identity {
            cgroup_id: 7,
            cgroup_path: Some("/kubepods/x".to_owned()),
            subject,
        };
        for identity_is_trigger in [false, true] {
            events.push(AuditEvent::OomKill(OomKill {
                identity_is_trigger,
                ..kill(identity.clone())
            }));
        }
        for started_unix_ns in [None, Some(1_764_000_000_000_000_000), Some(u64::MAX)] {
            events.push(AuditEvent::ContainerEnd(ContainerEnd {
                identity: identity.clone(),
                started_unix_ns,
                cpu_used_ns: Some(5),
                memory_peak_bytes: None,
            }));
        }
        for (request, process) in requests().into_iter().zip(processes().into_iter().cycle()) {
            events.push(AuditEvent::Imds(ImdsAccess {
                identity: identity.clone(),
                process,
                task_identity: Some(Identity::unknown(3)),
                request,
            }));
        }
    }
    events.extend(
        [
            AgentState::Silent,
            AgentState::Back,
            AgentState::Left,
            AgentState::Rewound,
        ]
        .map(|state| {
            AuditEvent::Agent(AgentNotice {
                agent_node: "n".to_owned(),
                state,
                epoch: "e".to_owned(),
                last_seq: 7,
                heard_unix_ns: 1_764_000_000_000_000_000,
                silent_s: (state == AgentState::Silent).then_some(23),
                seq: (state == AgentState::Rewound).then_some(5),
            })
        }),
    );
    let records = events.into_iter().zip([named, pending].into_iter().cycle());
    let records = records
        .enumerate()
        .map(|(seq, (event, names))| AuditRecord {
            time_unix_ns: 1_764_561_234_123_456_789,
            id: RecordId {
                node: "ip-10-0-1-23.eu-west-1.compute.internal".to_owned(),
                epoch: "e".repeat(32),
                class: Class::Security,
                seq: (seq as u64) << 26,
            },
            event,
            names: names.as_object().unwrap().clone(),
        });
    records.collect()
}

/// What the decoder makes of requests and answers of every kind, and of what is neither.
fn requests() -> Vec<Map<String, Value>> {
    let mut rng = Rng::with_seed(0x6f63_7366);
    let mut sent: Vec<Vec<u8>> = (0..400).map(|_| case(&mut rng).request).collect();
    let role = b"GET /latest/meta-data/iam/security-credentials/node HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n";
    sent.extend([
        role.to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        b"\0\x01\x02\r\n\r\n".to_vec(),
    ]);
    sent.push(b"BREW /pot HTTP/1.1\r\n\r\n".to_vec());
    for method in ["PATCH", "HEAD", "DELETE", "OPTIONS"] {
        let path = "/latest/meta-data/iam/security-credentials/node";
        let head = format!("{method} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n");
        sent.push(head.into_bytes());
    }
    let credentials = "{\"Code\":\"Success\",\"AccessKeyId\":\"ASIAEXAMPLE\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"2026-12-01T00:00:00Z\"}";
    let answers = ["200 OK", "401 Unauthorized", "404 Not Found", "500 Oops"].map(|status| {
        let length = credentials.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{credentials}")
    });
    let mut decoder = Decoder::new(Limits::default(), &Key([5; 32]));
    let mut events = Vec::new();
    let mut key = 0;
    for sent in &sent {
        for answer in answers.iter().map(String::as_bytes).chain([&b""[..]]) {
            key += 1;
            let mut push = |direction, payload: &[u8], syn| {
                let mut segment =
                    segment(key, direction, 1000 - u32::from(syn), payload, key * 1000);
                segment.syn = syn;
                decoder.push(&segment, &mut |event| events.push(event));
            };
            push(Direction::Request, b"", true);
            push(Direction::Response, b"", true);
            push(Direction::Request, sent, false);
            if !answer.is_empty() {
                push(Direction::Response, answer, false);
            }
        }
    }
    decoder.finish(&mut |event| events.push(event));
    let requests = events
        .iter()
        .map(|event| serde_json::to_value(event).unwrap());
    let mut requests: Vec<_> = requests
        .map(|request| request.as_object().unwrap().clone())
        .collect();
    // What a node sends that is not itself any more: of other types, beyond every bound, with members of its own.
    let strange = [
        json!({}),
        json!({"src": {"ip": "x", "port": 70_000, "more": 1}, "dst": 3, "status": 4_294_967_296_u64, "path": 7,
            "outcome": "ok", "class": "CRED", "endpoint": "imds"}),
        json!({"src": {"ip": "::1"}, "status": "200", "user_agent": [], "latency_ns": u64::MAX, "ratio": 1.5,
            "huge": -0.0, "imds_version": "none", "flags": "none", "outcome": "", "method": ""}),
        json!({"outcome": "hop_limit_blocked", "evidence": "silence", "method": "PUT", "path": "/latest/api/token"}),
    ];
    requests.extend(strange.map(|request| request.as_object().unwrap().clone()));
    requests
}

fn processes() -> Vec<Option<Process>> {
    let known = Process {
        pid: 41822,
        uid: Some(1000),
        comm: Some("curl".to_owned()),
        exe: Some("/usr/bin/curl".to_owned()),
        cmdline: Some("curl http://169.254.169.254/".to_owned()),
        missing: None,
    };
    let gone = Process {
        pid: 41823,
        missing: Some("exited".to_owned()),
        ..Process::default()
    };
    vec![Some(known), Some(gone), None]
}

fn loss(lost_class: Class, count: u64) -> Loss {
    Loss {
        stage: "journal".to_owned(),
        lost_class,
        fate: "shed".to_owned(),
        count,
        first_seq: Some(1),
        last_seq: None,
    }
}

fn kill(identity: Identity) -> OomKill {
    OomKill {
        identity,
        identity_is_trigger: false,
        victim_pid: 4_194_304,
        victim_comm: None,
        anon_rss_bytes: Some(1 << 40),
        file_rss_bytes: None,
        shmem_rss_bytes: None,
        memory_peak_bytes: Some(1 << 40),
        memory_limit_bytes: None,
    }
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        agent_started_unix_ns: 1,
        boot_id: "b".to_owned(),
        version: "0.1.0".to_owned(),
        kernel: "6.12.40".to_owned(),
        stages: Vec::new(),
        degraded: vec!["exec: not asked for".to_owned()],
        containers: 3,
        agent_cpu_ns: None,
        agent_rss_bytes: Some(5 << 20),
        ends: false,
    }
}

fn events() -> impl Iterator<Item = (AuditRecord, Value)> {
    records().into_iter().map(|record| {
        let event = serde_json::to_value(event::of(&record, "0.1.0")).unwrap();
        (record, event)
    })
}

#[test]
fn every_event_is_valid() {
    let mut classes = std::collections::BTreeMap::new();
    for (record, event) in events() {
        let found = validate(Schema::v1_8(), &event);
        assert!(found.is_empty(), "{found:?}\n{record:?}\n{event:#}");
        *classes
            .entry(event["type_name"].as_str().unwrap().to_owned())
            .or_insert(0) += 1;
    }
    let kinds: Vec<_> = classes.keys().map(String::as_str).collect();
    for kind in [
        "API Activity: Read",
        "Application Error: General Error",
        "Application Lifecycle: Other",
        "Application Lifecycle: Stop",
        "Detection Finding: Create",
        "HTTP Activity: Get",
        "HTTP Activity: Head",
        "HTTP Activity: Other",
        "HTTP Activity: Put",
        "Network Activity: Traffic",
        "Process Activity: Terminate",
    ] {
        assert!(kinds.contains(&kind), "{kind} is not among {kinds:?}");
    }
}

/// In the order of the members' names, without a blank, and with no number that a double does not hold: so the text is
/// the one that RFC 8785 has for the event.
#[test]
fn events_are_written_in_canonical_form() {
    fn check_numbers(value: &Value) {
        match value {
            Value::Number(number) => {
                let is_exact = number.as_i64().is_some_and(|it| it.abs() < 1 << 53);
                assert!(is_exact, "{number}");
            }
            Value::Array(values) => values.iter().for_each(check_numbers),
            Value::Object(members) => members.values().for_each(check_numbers),
            _ => {}
        }
    }
    for record in records() {
        let event = event::of(&record, "0.1.0");
        let written = serde_json::to_string(&event).unwrap();
        // Members of a value are kept in the order of their names.
        let sorted: Value = serde_json::from_str(&written).unwrap();
        assert_eq!(written, sorted.to_string());
        check_numbers(&sorted);
    }
}

/// Whatever an event says is found in what is written of it, but what says nothing: a null, an empty text or list.
#[test]
fn nothing_of_an_event_is_left_out() {
    fn leaves(value: &Value, out: &mut Vec<String>) {
        match value {
            Value::Null => {}
            Value::Array(values) => values.iter().for_each(|value| leaves(value, out)),
            Value::Object(members) => members.values().for_each(|value| leaves(value, out)),
            Value::String(text) => out.push(text.clone()),
            other => out.push(other.to_string()),
        }
    }
    for (record, event) in events() {
        let (mut said, mut written) = (Vec::new(), Vec::new());
        let mut document = record.to_document();
        // The class is this.
        document.as_object_mut().unwrap().remove("event");
        leaves(&document, &mut said);
        leaves(&event, &mut written);
        for leaf in said.iter().filter(|leaf| !leaf.is_empty()) {
            assert!(written.contains(leaf), "{leaf}\n{document:#}\n{event:#}");
        }
    }
}

/// Whose container it was is said of one that is known, and credentials came back where they did.
#[test]
fn what_is_not_known_is_not_said() {
    let mut seen = std::collections::BTreeSet::new();
    for (record, event) in events() {
        match &record.event {
            AuditEvent::OomKill(kill) if kill.identity_is_trigger => {
                assert!(event["process"]["container"].is_null(), "{event:#}");
                assert!(event["observables"].is_null(), "{event:#}");
                seen.insert("trigger");
            }
            AuditEvent::Imds(access) if event["class_uid"] == 6003 => {
                let request = &access.request;
                assert_ne!(request.get("method").and_then(Value::as_str), Some("HEAD"));
                assert_eq!(request["status"], 200, "{event:#}");
                seen.insert("credentials");
            }
            AuditEvent::Imds(access)
                if access.request.get("evidence") == Some(&json!("silence")) =>
            {
                assert_eq!(event["status_id"], 0, "{event:#}");
                seen.insert("silence");
            }
            _ => {}
        }
        let version = &event["api"]["version"];
        assert!(
            version.is_null() || version == "v1" || version == "v2",
            "{version}"
        );
    }
    assert_eq!(seen.len(), 3, "{seen:?}");
}

/// What an older release does not know stands in `unmapped`, and nothing else is changed.
#[test]
fn every_event_is_valid_for_security_lake_and_nothing_of_it_is_lost() {
    let (from, to) = (Schema::v1_8(), Schema::v1_3());
    let mut classes = std::collections::BTreeSet::new();
    for (_, event) in events() {
        let projected = project(&event, from, to).unwrap();
        let found = validate(to, &projected);
        assert!(found.is_empty(), "{found:?}\n{event:#}\n{projected:#}");
        let left = &projected["unmapped"]["ocsf_1_8_0"];
        check_kept("", &event, &projected, left);
        classes.insert(projected["class_uid"].as_i64().unwrap());
    }
    let classes: Vec<_> = classes.into_iter().collect();
    assert_eq!(classes, [0, 1007, 2004, 4001, 4002, 6002, 6003]);
}

/// A method that the older release does not know is another one there, in number and in name.
#[test]
fn every_activity_has_a_type_in_both_releases() {
    let (from, to) = (Schema::v1_8(), Schema::v1_3());
    let mut others = 0;
    for (_, mut event) in events()
        .filter(|(_, event)| event["http_response"].is_object())
        .take(2)
    {
        let class = from.class(event["class_uid"].as_i64().unwrap()).unwrap();
        for (activity, name) in &class.of.attributes["activity_id"].values {
            let activity: i64 = activity.parse().unwrap();
            event["activity_id"] = activity.into();
            event["activity_name"] = name.as_str().into();
            event["type_uid"] = (class.uid * 100 + activity).into();
            event["type_name"] = format!("{}: {name}", class.of.caption).into();
            assert_eq!(validate(from, &event), []);
            let projected = project(&event, from, to).unwrap();
            assert_eq!(validate(to, &projected), [], "{projected:#}");
            assert_eq!(projected["activity_name"], *name);
            others += usize::from(projected["activity_id"] != activity);
        }
    }
    assert!(others > 0, "PATCH is younger");
}

/// Of the class and the release, which may be others.
const OF_CLASS: [&str; 10] = [
    "activity_id",
    "activity_name",
    "category_name",
    "category_uid",
    "class_name",
    "class_uid",
    "metadata.profiles",
    "metadata.version",
    "type_name",
    "type_uid",
];

fn check_kept(path: &str, before: &Value, after: &Value, left: &Value) {
    for (name, value) in before.as_object().unwrap() {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        if OF_CLASS.contains(&path.as_str()) || left.get(&path) == Some(value) {
            continue;
        }
        match after.get(name) {
            Some(kept) if kept == value => {}
            Some(kept) if value.is_object() => check_kept(&path, value, kept, left),
            other => panic!("{path}: {value} became {other:?}"),
        }
    }
}

#[test]
fn events_as_they_are_written() {
    let mut shown = std::collections::BTreeMap::new();
    for (_, event) in events() {
        let kind = event["type_name"]
            .as_str()
            .unwrap()
            .replace(": ", " ")
            .replace(' ', "-");
        shown.entry(kind).or_insert(event);
    }
    let older = project(
        &shown["Application-Error-General-Error"],
        Schema::v1_8(),
        Schema::v1_3(),
    )
    .unwrap();
    shown.insert("Application-Error-in-1.3".to_owned(), older);
    for kind in [
        "API-Activity-Read",
        "Process-Activity-Terminate",
        "Application-Error-in-1.3",
    ] {
        insta::assert_snapshot!(kind, format!("{:#}", shown[kind]));
    }
}
