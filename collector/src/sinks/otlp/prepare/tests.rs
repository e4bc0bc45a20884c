use opentelemetry_proto::tonic::common::v1::KeyValue;
use serde_json::json;

use super::*;
use crate::config::sinks::otlp::Otlp as Settings;

const ALL: Room = Room {
    events: CALL_RECORDS,
    bytes: 1 << 20,
    most_bytes: 1 << 20,
};

fn message(seq: u64, text: &str) -> Message {
    Message {
        seq,
        time_unix_ns: 1_796_083_200_123_456_789 + seq,
        uid: format!("n/{seq}"),
        text: text.to_owned(),
    }
}

fn of(messages: &[Message], room: Room) -> Batch {
    let settings = Settings {
        cluster_name: Some("prod".into()),
        cloud_region: Some("eu-west-1".into()),
        ..Settings::default()
    };
    batch(messages, |_| false, &Common::new(&settings), room)
}

fn event(pod: &str) -> String {
    json!({
        "severity_id": 4,
        "device": {"hostname": "node-1"},
        "metadata": {"log_name": "plimsoll.imds.request", "product": {"version": "0.1.0"}},
        "actor": {"process": {"pid": 7, "file": {"path": "/bin/curl"}}},
        "src_endpoint": {"ip": "10.0.0.1", "port": 4000},
        "http_request": {"http_method": "GET", "url": {"url_string": "http://x/"}, "user_agent": "curl"},
        "unmapped": {
            "kubernetes": {"namespace": "shop", "pod": pod, "container": "app",
                "workload_kind": "Deployment", "workload_name": "web"},
            "identity": {"subject": {"kind": "container", "pod_uid": "5a3f", "container_id": "3f1c"}},
        },
    })
    .to_string()
}

fn told(attributes: &[KeyValue]) -> Vec<String> {
    let told = attributes.iter().map(|one| {
        let value = one.value.clone().unwrap().value.unwrap();
        match value {
            Value::StringValue(text) => format!("{}={text}", one.key),
            Value::IntValue(number) => format!("{}={number}", one.key),
            other => panic!("{other:?}"),
        }
    });
    told.collect()
}

#[test]
fn an_event_is_said_by_the_names_of_the_conventions_and_its_body_is_it() {
    let messages = [message(1, &event("web-1"))];
    let batch = of(&messages, ALL);
    let [resource] = &batch.request.resource_logs[..] else {
        panic!("one resource");
    };
    assert_eq!(
        told(&resource.resource.as_ref().unwrap().attributes),
        [
            "service.name=plimsoll",
            "cloud.provider=aws",
            "cloud.region=eu-west-1",
            "k8s.cluster.name=prod",
            "service.version=0.1.0",
            "host.name=node-1",
            "k8s.node.name=node-1",
            "k8s.namespace.name=shop",
            "k8s.pod.name=web-1",
            "k8s.pod.uid=5a3f",
            "k8s.container.name=app",
            "container.id=3f1c",
            "k8s.deployment.name=web",
        ]
    );
    let scope = &resource.scope_logs[0];
    assert_eq!(scope.scope.as_ref().unwrap().name, "plimsoll");
    let [record] = &scope.log_records[..] else {
        panic!("one record");
    };
    let time = messages[0].time_unix_ns;
    assert_eq!(
        (record.time_unix_nano, record.observed_time_unix_nano),
        (time, time)
    );
    assert_eq!(
        (record.severity_number, record.severity_text.as_str()),
        (17, "High")
    );
    assert_eq!(record.event_name, "plimsoll.imds.request");
    let body = record.body.clone().unwrap().value.unwrap();
    assert_eq!(body, Value::StringValue(messages[0].text.clone()));
    assert_eq!(
        told(&record.attributes),
        [
            "log.record.uid=n/1",
            "source.address=10.0.0.1",
            "source.port=4000",
            "http.request.method=GET",
            "url.full=http://x/",
            "user_agent.original=curl",
            "process.pid=7",
            "process.executable.path=/bin/curl",
        ]
    );
}

#[test]
fn events_of_one_pod_are_together_and_the_same_at_every_attempt() {
    let texts = ["web-1", "web-2", "web-1"].map(event);
    let messages: Vec<_> = (1..)
        .zip(&texts)
        .map(|(seq, text)| message(seq, text))
        .collect();
    let batch = of(&messages, ALL);
    let counts = batch.request.resource_logs.iter();
    let counts: Vec<_> = counts
        .map(|of| of.scope_logs[0].log_records.len())
        .collect();
    assert_eq!(
        (counts, batch.seqs.as_slice()),
        (vec![2, 1], &[1, 2, 3][..])
    );
    assert_eq!(of(&messages, ALL).bytes(), batch.bytes());
}

/// It is there with its text and its name, and says nothing that is not so.
#[test]
fn what_cannot_be_read_is_sent_all_the_same() {
    let odd = r#"{"severity_id":"high"}"#;
    let batch = of(
        &[message(1, "no event"), message(2, odd), message(3, "")],
        ALL,
    );
    let records = &batch.request.resource_logs[0].scope_logs[0].log_records;
    assert_eq!(records.len(), 2);
    assert_eq!(
        (
            records[0].severity_number,
            records[0].severity_text.as_str()
        ),
        (0, "Unknown")
    );
    assert_eq!(told(&records[1].attributes), ["log.record.uid=n/2"]);
    assert_eq!(batch.unsendable[0].reason, QuarantineReason::Empty);
}

#[test]
fn severities_have_the_numbers_of_the_data_model() {
    for (id, number, text) in [
        (0, 0, "Unknown"),
        (1, 9, "Informational"),
        (2, 10, "Low"),
        (3, 13, "Medium"),
        (4, 17, "High"),
        (5, 18, "Critical"),
        (6, 21, "Fatal"),
        (99, 0, "Other"),
        (7, 0, "Unknown"),
    ] {
        let event = Event::of(&format!(r#"{{"severity_id":{id}}}"#));
        assert_eq!(event.severity(), (number, text));
    }
}

#[test]
fn a_call_is_no_longer_than_it_may_be() {
    let texts: Vec<_> = (0..1000)
        .map(|n| event(&format!("web-{}", n % 7)))
        .collect();
    let messages: Vec<_> = (1..)
        .zip(&texts)
        .map(|(seq, text)| message(seq, text))
        .collect();
    assert_eq!(of(&messages, ALL).seqs.len(), 512);
    for bytes in [1, 2_000, 10_000, 100_000] {
        let room = Room { bytes, ..ALL };
        let batch = of(&messages, room);
        assert!(
            batch.bytes().len() <= bytes || batch.seqs.len() == 1,
            "{bytes}"
        );
    }
    let long = message(1, &"x".repeat(70_000));
    let room = Room {
        most_bytes: 65_536,
        ..ALL
    };
    let batch = of(&[long, message(2, "{}")], room);
    assert_eq!(
        (batch.seqs, batch.unsendable[0].reason.label()),
        (vec![2], "too_long")
    );
}
