//! What is too much at once, and bytes that are no message.

use super::malformed::MALFORMED;
use super::*;

#[tokio::test]
async fn bytes_that_are_no_message_are_refused_for_good_and_counted() {
    let receiver = Receiver::start().await;
    // A log record's time (field 1, fixed64) as a varint, within resource_logs, scope_logs.
    let wrong_wire_type = vec![0x0a, 0x06, 0x12, 0x04, 0x12, 0x02, 0x08, 0x05];
    let cut = {
        let mut bytes = request("node-1", vec![record(1, |_| {})]);
        bytes.pop();
        bytes
    };
    let not_utf8 = vec![0x0a, 0x08, 0x12, 0x06, 0x12, 0x04, 0x1a, 0x02, 0xff, 0xfe];
    let without_floor = {
        let mut record = record(1, |_| {});
        for _ in 0..6 {
            MALFORMED.last().unwrap().1(&mut record);
        }
        request("node-1", vec![record])
    };
    let cases = [
        (LOGS, wrong_wire_type, "time_unix_nano"),
        (LOGS, cut, "resource_logs"),
        (LOGS, without_floor, "recursion limit"),
        (LOGS, not_utf8, "severity_text"),
        (LOGS, b"GET / HTTP/1.1".to_vec(), ""),
        (METRICS, vec![0x0a, 0xff, 0xff, 0xff, 0xff, 0x7f], ""),
        (TRACES, vec![0x0a, 0x7f], ""),
    ];
    let count = cases.len();
    for (path, bytes, field) in cases {
        let status = receiver.send_raw(path, bytes).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{path}: {status:?}");
        assert!(
            status.message().contains("failed to decode Protobuf"),
            "{status:?}"
        );
        assert!(status.message().contains(field), "{field}: {status:?}");
        assert!(status.message().len() < 500, "{status:?}");
    }
    receiver.assert_metric(&format!(
        "ingest_refused_total{{reason=\"undecodable\"}} {count}"
    ));
    receiver.end(0).await;
}

/// The limit is on what comes out of a compressed message, which may be a thousand times as long.
#[tokio::test]
async fn compressed_messages_are_taken_and_bounded() {
    let receiver = Receiver::start().await;
    let few = request("node-1", vec![record(1, |_| {})]);
    assert_eq!(
        receiver.send_gzip(LOGS, few).await.unwrap(),
        Partial::default()
    );
    let bomb = vec![record(2, |record| {
        record.severity_text = "x".repeat(100 * LIMIT);
    })];
    let status = receiver
        .send_gzip(LOGS, request("node-1", bomb))
        .await
        .unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    receiver.assert_metric("ingest_refused_total{reason=\"too_large\"} 1");
    for path in [METRICS, TRACES] {
        assert_eq!(
            receiver.send_gzip(path, Vec::new()).await.unwrap(),
            Partial::default()
        );
    }
    receiver.end(1).await;
}

#[tokio::test]
async fn too_much_at_once_is_refused_for_good_and_counted() {
    let receiver = Receiver::start().await;
    let long = request(
        "node-1",
        vec![record(1, |record| {
            record.severity_text = "x".repeat(LIMIT);
        })],
    );
    let status = receiver.send_raw(LOGS, long).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().contains("100000"), "{status:?}");
    receiver.assert_metric("ingest_refused_total{reason=\"too_large\"} 1");
    let many = (1..=21).map(|seq| record(seq, |_| {})).collect();
    let status = receiver.send(many).await.unwrap_err();
    assert_eq!(
        status.code(),
        Code::InvalidArgument,
        "the agent sends half of it"
    );
    receiver.assert_metric("ingest_refused_total{reason=\"too_many_records\"} 1");
    receiver.end(0).await;
}

/// Within one resource and one scope.
fn of_one_scope(records: &[u8]) -> Vec<u8> {
    [0x12, 0x0a].iter().fold(records.to_vec(), |bytes, key| {
        let mut around = vec![*key];
        prost::encode_length_delimiter(bytes.len(), &mut around).unwrap();
        [around, bytes].concat()
    })
}

/// A message is weighed before it is decoded: two bytes of it may be two hundred then.
#[tokio::test]
async fn what_swells_when_decoded_is_refused_before() {
    let receiver = Receiver::start_with(|options| options.max_request_bytes = 8 << 20).await;
    let empty = [0x12, 0x00].repeat((4 << 20) - 16);
    // The decoder would take offence at the last byte, had it come so far.
    let bytes = [of_one_scope(&empty), vec![0x0f]].concat();
    let status = receiver.send_raw(LOGS, bytes).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert_eq!(
        status.message(),
        "4194288 records in a request, at most 20 are taken"
    );
    receiver.assert_metric("ingest_refused_total{reason=\"too_many_records\"} 1");
    // Attributes of one record (field 6).
    let attributes = [0x32, 0x00].repeat(2 << 20);
    let mut one = vec![0x12];
    prost::encode_length_delimiter(attributes.len(), &mut one).unwrap();
    let bytes = of_one_scope(&[one, attributes].concat());
    let status = receiver.send_raw(LOGS, bytes).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    assert!(status.message().contains("bytes decoded"), "{status:?}");
    // Spans, which nothing uses.
    let bytes = of_one_scope(&[0x12, 0x00].repeat(3 << 20));
    let status = receiver.send_raw(TRACES, bytes).await.unwrap_err();
    assert!(status.message().contains("bytes decoded"), "{status:?}");
    receiver.assert_metric("ingest_refused_total{reason=\"too_large\"} 2");
    receiver.assert_metric("ingest_refused_total{reason=\"undecodable\"} 0");
    assert_eq!(receiver.store.counts.in_hand_bytes(), 0);
    receiver.end(0).await;
}

#[tokio::test]
async fn as_many_as_may_be_are_taken_and_what_has_no_name_counts_too() {
    let receiver = Receiver::start().await;
    let most = (1..=20).map(|seq| record(seq, |_| {})).collect();
    assert_eq!(receiver.send(most).await.unwrap(), Partial::default());
    let foreign = vec![LogRecord::default(); 21];
    let status = receiver.send(foreign).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    receiver.assert_metric("ingest_refused_total{reason=\"too_many_records\"} 1");
    receiver.end(20).await;
}
