//! Records and windows that are ours but not to be understood, or of another node.

use super::*;

/// One kind of malformed record, and what the sender is told of it.
pub(super) type Malformed = (&'static str, fn(&mut LogRecord), &'static str);

pub(super) const MALFORMED: &[Malformed] = &[
    (
        "sequence of another type",
        |record| set(record, names::SEQ, Some(text("seven"))),
        "plimsoll.seq is not an unsigned integer",
    ),
    (
        "negative sequence",
        |record| set(record, names::SEQ, Some(Value::IntValue(-1))),
        "plimsoll.seq is not an unsigned integer",
    ),
    (
        "sequence of seven bytes",
        |record| set(record, names::SEQ, Some(Value::BytesValue(vec![1; 7]))),
        "plimsoll.seq is not an unsigned integer",
    ),
    (
        "no sequence",
        |record| set(record, names::SEQ, None),
        "plimsoll.seq is absent",
    ),
    (
        "sequence zero",
        |record| set(record, names::SEQ, Some(Value::IntValue(0))),
        "plimsoll.seq is absent",
    ),
    (
        "no epoch",
        |record| set(record, names::EPOCH, None),
        "plimsoll.epoch is absent",
    ),
    (
        "epoch that is no hex",
        |record| set(record, names::EPOCH, Some(text("../../etc"))),
        "plimsoll.epoch has an unknown value",
    ),
    (
        "epoch without end",
        |record| set(record, names::EPOCH, Some(text(&"a".repeat(5000)))),
        "plimsoll.epoch has an unknown value",
    ),
    (
        "no class",
        |record| set(record, names::CLASS, None),
        "plimsoll.class is absent",
    ),
    (
        "unknown class",
        |record| set(record, names::CLASS, Some(text("gossip"))),
        "plimsoll.class has an unknown value",
    ),
    (
        "class of the other service",
        |record| set(record, names::CLASS, Some(text("usage"))),
        "plimsoll.class is not security",
    ),
    ("no body", |record| record.body = None, "body is absent"),
    (
        "body of another type",
        |record| {
            record.body = Some(AnyValue {
                value: Some(Value::IntValue(3)),
            });
        },
        "the body is no plimsoll.loss event",
    ),
    (
        "body without a field",
        |record| {
            let Some(Value::KvlistValue(list)) =
                record.body.as_mut().and_then(|body| body.value.as_mut())
            else {
                return;
            };
            list.values.retain(|field| field.key != "count");
        },
        "missing field `count`",
    ),
    (
        "name of another event",
        |record| record.event_name = "plimsoll.oom_kill".into(),
        "the record is named plimsoll.oom_kill, its body is plimsoll.loss",
    ),
    (
        "body without a floor",
        |record| {
            for _ in 0..20 {
                let inner = KeyValue {
                    key: "deeper".into(),
                    value: record.body.take(),
                    ..KeyValue::default()
                };
                let list = opentelemetry_proto::tonic::common::v1::KeyValueList {
                    values: vec![inner],
                };
                record.body = Some(AnyValue {
                    value: Some(Value::KvlistValue(list)),
                });
            }
        },
        "nested deeper",
    ),
];

#[tokio::test]
async fn malformed_records_are_refused_with_the_field_named() {
    let receiver = Receiver::start().await;
    for (at, (what, change, told)) in MALFORMED.iter().enumerate() {
        let seq = 2 * at as u64 + 1;
        // A good one beside it is taken.
        let records = vec![record(seq, change), record(seq + 1, |_| {})];
        let partial = receiver.send(records).await.unwrap();
        assert_eq!(partial.rejected, 1, "{what}: {partial:?}");
        assert!(partial.message.contains(told), "{what}: {partial:?}");
        assert!(
            partial.message.starts_with("1 not understood: "),
            "{partial:?}"
        );
        let fates = receiver.store.counts.fates(Class::Security);
        assert_eq!(
            (fates.undecodable, fates.delivered),
            (at as u64 + 1, at as u64 + 1),
            "{what}"
        );
    }
    receiver.end(MALFORMED.len() as u64).await;
}

#[tokio::test]
async fn records_of_another_node_are_refused() {
    let receiver = Receiver::start().await;
    let wrong = request("node-2", vec![record(1, |_| {})]);
    let nowhere = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: vec![record(1, |_| {})],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    for bytes in [wrong, nowhere.encode_to_vec()] {
        let status = receiver.send_raw(LOGS, bytes).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "the sender keeps it");
        assert_eq!(
            status.message(),
            "k8s.node.name is not node-1, the node of the token"
        );
    }
    receiver.assert_metric("ingest_refused_total{reason=\"wrong_node\"} 2");
    // Among records of its own, another's is refused by itself.
    let mut mixed =
        ExportLogsServiceRequest::decode(request("node-1", vec![record(1, |_| {})]).as_slice())
            .unwrap();
    let other = request("node-2", vec![record(1, |_| {})]);
    mixed.resource_logs.extend(
        ExportLogsServiceRequest::decode(other.as_slice())
            .unwrap()
            .resource_logs,
    );
    let partial = receiver
        .send_raw(LOGS, mixed.encode_to_vec())
        .await
        .unwrap();
    assert_eq!(partial.rejected, 1);
    assert_eq!(
        partial.message,
        "1 of another node: k8s.node.name is not the token's node"
    );
    let fates = receiver.store.counts.fates(Class::Security);
    assert_eq!((fates.rejected, fates.delivered), (1, 1));
    let streams = receiver.store.streams();
    assert!(
        streams.iter().all(|stream| stream.node == "node-1"),
        "and it is in nobody's books: {streams:?}"
    );
    receiver.end(1).await;
}

#[tokio::test]
async fn malformed_windows_are_refused_with_the_field_named() {
    let receiver = Receiver::start().await;
    let mut attributes = id::node_resource("node-1").attributes;
    let stream = id::StreamId {
        epoch: EPOCH.into(),
        class: Class::Usage,
        seq: 1,
    };
    id::stamp(&mut attributes, &stream);
    let message = |attributes: Vec<KeyValue>| {
        let request = ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(Resource {
                    attributes,
                    ..Resource::default()
                }),
                ..ResourceMetrics::default()
            }],
        };
        request.encode_to_vec()
    };
    let partial = receiver
        .send_raw(METRICS, message(attributes.clone()))
        .await
        .unwrap();
    assert_eq!(partial.rejected, 1);
    assert!(
        partial.message.starts_with("1 not understood: plimsoll."),
        "{partial:?}"
    );
    let streams = receiver.store.streams();
    assert_eq!(
        streams[0].watermark(),
        1,
        "refused, and not missing as well"
    );
    attributes.retain(|attribute| attribute.key != names::SEQ);
    attributes.push(value::text(names::SEQ, "1"));
    let partial = receiver
        .send_raw(METRICS, message(attributes))
        .await
        .unwrap();
    assert!(partial.message.contains("plimsoll.seq"), "{partial:?}");
    assert_eq!(receiver.store.counts.fates(Class::Usage).undecodable, 2);
    receiver.end(0).await;
}
