#![expect(
    clippy::disallowed_methods,
    reason = "a receiver on a real socket, with a token file"
)]
//! The receiver as a sender sees it: a real connection over loopback, any bytes, a disk that fails.

mod bounds;
mod connections;
mod disk;
mod guard;
mod malformed;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics,
};
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
    /// Holds the file `token`.
    folder: tempfile::TempDir,
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
            reviews: None,
            pods: Pods::default(),
            rate: Rate {
                bytes_per_s: 1 << 30,
                burst_bytes: 1 << 30,
                requests_per_s: 1 << 20,
                burst_requests: 1 << 20,
            },
            clock: crate::cluster::reviews::clock(),
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
            folder: token,
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

#[tokio::test]
async fn what_is_not_used_is_named() {
    let receiver = Receiver::start().await;
    let foreign = LogRecord {
        event_name: "checkout.paid".into(),
        ..LogRecord::default()
    };
    let partial = receiver.send(vec![foreign; 3]).await.unwrap();
    assert_eq!(partial.rejected, 3);
    assert!(
        partial
            .message
            .starts_with("3 not used: log record \"checkout.paid\" without plimsoll.epoch"),
        "{partial:?}"
    );
    // One without a data point, and five data points in two scopes.
    let metric = |name: &str, points| Metric {
        name: name.into(),
        data: Some(Data::Gauge(Gauge {
            data_points: vec![NumberDataPoint::default(); points],
        })),
        ..Metric::default()
    };
    let scope = |metrics| ScopeMetrics {
        metrics,
        ..ScopeMetrics::default()
    };
    let metrics = ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics {
            scope_metrics: vec![
                scope(vec![metric("empty", 0), metric("http.server.duration", 3)]),
                scope(vec![metric("a", 1), metric("b", 1)]),
            ],
            ..ResourceMetrics::default()
        }],
    };
    let partial = receiver
        .send_raw(METRICS, metrics.encode_to_vec())
        .await
        .unwrap();
    assert_eq!(partial.rejected, 5);
    assert!(
        partial
            .message
            .starts_with("5 not used: metric \"http.server.duration\" without"),
        "{partial:?}"
    );
    for (class, count) in [("security", 3), ("usage", 5)] {
        receiver.assert_metric(&format!(
            "ingest_records_total{{class=\"{class}\",fate=\"filtered_foreign\"}} {count}"
        ));
    }
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
