#![expect(
    clippy::disallowed_methods,
    reason = "a receiver on a real socket, with a token file"
)]
//! The receiver as a sender sees it: a real connection over loopback, any bytes, a disk that fails.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use plimsoll_journal::testing::CrashStorage;
use plimsoll_wire::event::Loss;
use plimsoll_wire::otlp::{id, logs, value};
use plimsoll_wire::{AuditEvent, names};
use prometheus_client::registry::Registry;
use prost::Message;
use prost::bytes::{Buf, BufMut};
use tonic::Code;
use tonic::codec::{Codec, CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;

use super::*;
use crate::ingest::dedupe::Bounds;
use crate::ingest::store::Folders;

const LOGS: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const EPOCH: &str = "00112233445566778899aabbccddeeff";
const LIMIT: usize = 100_000;

/// Bytes as they are.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        *self
    }
    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn encode(&mut self, item: Vec<u8>, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.put_slice(&item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;
    fn decode(&mut self, bytes: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let len = bytes.remaining();
        Ok(Some(bytes.copy_to_bytes(len).to_vec()))
    }
}

/// What every answer of OTLP may hold (`Export*PartialSuccess` are alike).
#[derive(Clone, PartialEq, Message)]
struct Answer {
    #[prost(message, optional, tag = "1")]
    partial: Option<Partial>,
}

#[derive(Clone, PartialEq, Message)]
struct Partial {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    message: String,
}

struct Receiver {
    store: Store<CrashStorage>,
    disk: CrashStorage,
    address: SocketAddr,
    channel: Channel,
    stop: CancellationToken,
    serving: tokio::task::JoinHandle<Result<(), IngestError>>,
    _token: tempfile::TempDir,
}

impl Receiver {
    async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    async fn start_with(change: impl FnOnce(&mut Options)) -> Self {
        let disk = CrashStorage::default();
        let store = store_on(&disk);
        let token = tempfile::tempdir().unwrap();
        let file = token.path().join("token");
        std::fs::write(&file, "secret").unwrap();
        let mut options = Options {
            tokens: vec![Token {
                node: "node-1".into(),
                file,
            }],
            tls: None,
            max_request_bytes: LIMIT,
            max_request_records: 20,
            max_connections: 100,
            pace: Pace {
                known_within: None,
                taken_within: Duration::from_mins(1),
            },
            request_within: Duration::from_mins(1),
        };
        change(&mut options);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let serving = tokio::spawn(serve(listener, store.clone(), options, stop.clone()));
        let channel = Channel::from_shared(format!("http://{address}"))
            .unwrap()
            .connect()
            .await
            .unwrap();
        Self {
            store,
            disk,
            address,
            channel,
            stop,
            serving,
            _token: token,
        }
    }

    async fn send_raw(&self, path: &'static str, bytes: Vec<u8>) -> Result<Partial, Status> {
        let client = tonic::client::Grpc::new(self.channel.clone());
        self.send_by(client, path, bytes).await
    }

    /// As an OpenTelemetry Collector sends it.
    async fn send_gzip(&self, path: &'static str, bytes: Vec<u8>) -> Result<Partial, Status> {
        let client = tonic::client::Grpc::new(self.channel.clone())
            .send_compressed(CompressionEncoding::Gzip);
        self.send_by(client, path, bytes).await
    }

    async fn send_by(
        &self,
        mut client: tonic::client::Grpc<Channel>,
        path: &'static str,
        bytes: Vec<u8>,
    ) -> Result<Partial, Status> {
        client.ready().await.unwrap();
        let mut request = Request::new(bytes);
        request
            .metadata_mut()
            .insert("authorization", "Bearer secret".parse().unwrap());
        let path = PathAndQuery::from_static(path);
        let answer: Response<Vec<u8>> = client.unary(request, path, Raw).await?;
        let answer = Answer::decode(answer.into_inner().as_slice()).unwrap();
        Ok(answer.partial.unwrap_or_default())
    }

    async fn send(&self, records: Vec<LogRecord>) -> Result<Partial, Status> {
        self.send_raw(LOGS, request("node-1", records)).await
    }

    fn metrics(&self) -> String {
        let mut registry = Registry::default();
        self.store.counts.register(&mut registry);
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        text
    }

    #[track_caller]
    fn assert_metric(&self, line: &str) {
        let metrics = self.metrics();
        assert!(
            metrics.lines().any(|found| found == line),
            "{line}\n{metrics}"
        );
    }

    /// The receiver still works, its books balance, and it ends when told.
    async fn end(self, delivered: u64) {
        let last = vec![record(1_000_000, |_| {})];
        assert_eq!(self.send(last).await.unwrap(), Partial::default());
        for class in Class::ALL {
            let fates = self.store.counts.fates(class);
            assert_eq!(fates.unaccounted(), 0, "{fates:?}");
        }
        let fates = self.store.counts.fates(Class::Security);
        assert_eq!(fates.delivered, delivered + 1);
        self.stop.cancel();
        drop(self.channel);
        self.serving.await.unwrap().unwrap();
    }
}

fn store_on(disk: &CrashStorage) -> Store<CrashStorage> {
    let folders = Folders {
        usage: disk.folder("usage"),
        security: disk.folder("security"),
        seen: disk.folder("seen"),
    };
    let epochs = ["aa".repeat(16), "bb".repeat(16)];
    let opened = Store::with(folders, 16 << 20, epochs, Bounds::default());
    opened.unwrap().0
}

fn request(node: &str, log_records: Vec<LogRecord>) -> Vec<u8> {
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(id::node_resource(node)),
            scope_logs: vec![ScopeLogs {
                log_records,
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    request.encode_to_vec()
}

fn record(seq: u64, change: impl FnOnce(&mut LogRecord)) -> LogRecord {
    let event = AuditEvent::Loss(Loss {
        stage: "spool".into(),
        lost_class: Class::Usage,
        fate: "shed".into(),
        count: 1,
        first_seq: None,
        last_seq: None,
    });
    let mut record = logs::encode(&event, 5);
    let stream = id::StreamId {
        epoch: EPOCH.into(),
        class: Class::Security,
        seq,
    };
    id::stamp(&mut record.attributes, &stream);
    change(&mut record);
    record
}

fn set(record: &mut LogRecord, name: &str, value: Option<Value>) {
    record.attributes.retain(|attribute| attribute.key != name);
    record
        .attributes
        .extend(value.map(|value| value::attribute(name, value)));
}

fn text(text: &str) -> Value {
    Value::StringValue(text.into())
}

/// One kind of malformed record, and what the sender is told of it.
type Malformed = (&'static str, fn(&mut LogRecord), &'static str);

const MALFORMED: &[Malformed] = &[
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

#[tokio::test]
async fn what_is_not_used_is_named() {
    let receiver = Receiver::start().await;
    let foreign = LogRecord {
        event_name: "checkout.paid".into(),
        ..LogRecord::default()
    };
    let partial = receiver.send(vec![foreign; 3]).await.unwrap();
    assert_eq!(partial.rejected, 0);
    assert!(
        partial
            .message
            .starts_with("3 not used: log record \"checkout.paid\" without plimsoll.epoch"),
        "{partial:?}"
    );
    let metrics = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: vec![Metric {
                    name: "http.server.request.duration".into(),
                    ..Metric::default()
                }],
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        }],
    };
    let partial = receiver
        .send_raw(METRICS, metrics.encode_to_vec())
        .await
        .unwrap();
    assert!(
        partial
            .message
            .starts_with("1 not used: metric \"http.server.request.duration\" without"),
        "{partial:?}"
    );
    // Two spans in one scope, one in another.
    let spans = vec![
        0x0a, 0x0c, 0x12, 0x06, 0x12, 0x01, 0x00, 0x12, 0x01, 0x00, 0x12, 0x02, 0x12, 0x00,
    ];
    let partial = receiver.send_raw(TRACES, spans).await.unwrap();
    assert_eq!(partial.rejected, 3);
    assert!(
        partial.message.starts_with("3 spans not used"),
        "{partial:?}"
    );
    receiver.assert_metric("ingest_unused_spans_total 3");
    let empty = receiver.send_raw(TRACES, Vec::new()).await.unwrap();
    assert_eq!(empty, Partial::default());
    receiver.end(0).await;
}

type Fault = (&'static str, fn(&CrashStorage));

#[tokio::test]
async fn a_disk_that_refuses_is_a_reason_to_send_again() {
    let receiver = Receiver::start().await;
    assert_eq!(
        receiver.send(vec![record(1, |_| {})]).await.unwrap(),
        Partial::default()
    );
    let faults: [Fault; 3] = [
        ("no room", |disk| disk.set_room(Some(disk.used()))),
        ("a failing write", |disk| disk.fail_writes(1)),
        ("a failing sync", |disk| disk.fail_syncs(1)),
    ];
    for (at, (what, fault)) in faults.into_iter().enumerate() {
        let seq = at as u64 + 2;
        fault(&receiver.disk);
        let status = receiver.send(vec![record(seq, |_| {})]).await.unwrap_err();
        assert_eq!(
            status.code(),
            Code::Unavailable,
            "{what}: OTLP sends it again"
        );
        receiver.disk.set_room(None);
        let again = receiver.send(vec![record(seq, |_| {})]).await.unwrap();
        assert_eq!(again, Partial::default(), "{what}");
        let fates = receiver.store.counts.fates(Class::Security);
        assert_eq!((fates.delivered, fates.in_flight), (seq, 0), "{what}");
    }
    let held = receiver
        .store
        .held(Class::Security, crate::ingest::store::SINK);
    assert_eq!(held.entered, 4, "nothing came twice");
    receiver.assert_metric("ingest_refused_total{reason=\"journal\"} 3");
    receiver.end(4).await;
}

/// What was acknowledged is on disk, and what was seen is written in room that was taken before: a full
/// disk is no failure then. A record that was never acknowledged and cannot be written, or a checkpoint
/// that cannot, is one.
#[tokio::test]
async fn the_end_on_a_full_disk_fails_only_if_something_could_not_be_written() {
    let full: fn(&CrashStorage) = |disk| disk.set_room(Some(disk.used()));
    let faults: [(Fault, bool, bool); 3] = [
        (("no room", full), false, true),
        (("no room for a record", full), true, false),
        (
            ("no checkpoint", |disk| disk.fail_writes(100)),
            false,
            false,
        ),
    ];
    for ((what, fault), is_sent, ends_well) in faults {
        let receiver = Receiver::start().await;
        receiver.send(vec![record(1, |_| {})]).await.unwrap();
        receiver.store.maintain().unwrap();
        receiver.send(vec![record(2, |_| {})]).await.unwrap();
        fault(&receiver.disk);
        if is_sent {
            receiver.send(vec![record(3, |_| {})]).await.unwrap_err();
        }
        receiver.stop.cancel();
        drop(receiver.channel);
        let ended = receiver.serving.await.unwrap();
        assert_eq!(ended.is_ok(), ends_well, "{what}: {ended:?}");
        // Power goes too: what was acknowledged is there, and known.
        let disk = receiver.disk.crash(|_| 0);
        disk.set_room(None);
        let store = store_on(&disk);
        let held = store.held(Class::Security, crate::ingest::store::SINK);
        assert_eq!(held.waiting, 2, "{what}");
    }
}

/// A message whose end does not come holds room for its time and no longer, and keeps no other out.
#[tokio::test]
async fn a_message_that_dribbles_in_is_broken_off() {
    let within = Duration::from_millis(200);
    let receiver = Receiver::start_with(|options| options.request_within = within).await;
    let mut client = tonic::client::Grpc::new(receiver.channel.clone());
    client.ready().await.unwrap();
    let mut endless = Request::new(tokio_stream::pending::<Vec<u8>>());
    let token = "Bearer secret".parse().unwrap();
    endless.metadata_mut().insert("authorization", token);
    let path = PathAndQuery::from_static(LOGS);
    let dribbling = client.client_streaming::<_, Vec<u8>, Vec<u8>, _>(endless, path, Raw);
    let (dribbled, sent) = tokio::join!(dribbling, receiver.send(vec![record(1, |_| {})]));
    assert_eq!(sent.unwrap(), Partial::default());
    let status = dribbled.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    receiver.assert_metric("ingest_refused_total{reason=\"slow\"} 1");
    assert_eq!(receiver.store.counts.in_hand_bytes(), 0);
    receiver.end(1).await;
}

/// Reads until the receiver has closed the connection.
async fn closed(address: SocketAddr) {
    use tokio::io::AsyncReadExt as _;
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    // What HTTP/2 says at its beginning may come first; a reset is an end too.
    drop(client.read_to_end(&mut Vec::new()).await);
}

#[tokio::test]
async fn connections_over_a_bound_are_refused_and_counted() {
    for (max_connections, reason) in [
        (1, "too_many_connections"),
        (4, "too_many_connections_of_peer"),
    ] {
        let receiver =
            Receiver::start_with(|options| options.max_connections = max_connections).await;
        assert_eq!(
            receiver.send(vec![record(1, |_| {})]).await.unwrap(),
            Partial::default()
        );
        assert_eq!(receiver.store.counts.connections(), 1);
        closed(receiver.address).await;
        receiver.assert_metric(&format!("ingest_refused_total{{reason=\"{reason}\"}} 1"));
        receiver.end(1).await;
    }
}

/// Of one address a few may be open that have shown no token; one that has is none of them.
#[tokio::test]
async fn strangers_of_one_address_have_a_share_of_their_own() {
    let max_connections = 2 * STRANGER_SHARE;
    let receiver = Receiver::start_with(|options| options.max_connections = max_connections).await;
    assert_eq!(
        receiver.send(vec![record(1, |_| {})]).await.unwrap(),
        Partial::default()
    );
    let mut strangers = Vec::new();
    for _ in 0..2 {
        let stranger = tokio::net::TcpStream::connect(receiver.address).await;
        strangers.push(stranger.unwrap());
    }
    closed(receiver.address).await;
    receiver.assert_metric("ingest_refused_total{reason=\"too_many_connections_of_peer\"} 1");
    assert_eq!(receiver.store.counts.connections(), 3);
    assert_eq!(
        receiver.send(vec![record(2, |_| {})]).await.unwrap(),
        Partial::default()
    );
    drop(strangers);
    receiver.end(2).await;
}

#[tokio::test]
async fn a_connection_that_shows_no_token_is_let_go() {
    let within = Some(Duration::from_secs(1));
    let receiver = Receiver::start_with(|options| options.pace.known_within = within).await;
    assert_eq!(
        receiver.send(vec![record(1, |_| {})]).await.unwrap(),
        Partial::default()
    );
    closed(receiver.address).await;
    // And not the one that did.
    receiver.assert_metric("ingest_refused_total{reason=\"silent\"} 1");
    receiver.end(1).await;
}
