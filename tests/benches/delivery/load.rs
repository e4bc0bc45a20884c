//! Nodes that send metadata requests: so many a second, or all at once.

use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use plimsoll_wire::event::ImdsAccess;
use plimsoll_wire::otlp::{id, logs};
use plimsoll_wire::{AuditEvent, Class, Identity};
use serde_json::json;
use tonic::Request;
use tonic::transport::Channel;

use crate::collector::{Collector, NODES, token};
use crate::receiver::now_ns;

/// Records in one request when all are sent at once.
const AT_ONCE: u32 = 1_000;

/// What is sent.
pub(crate) struct Load {
    /// A second, by all nodes; none for as many as are taken.
    rate: Option<u32>,
    /// In one request.
    records: u32,
    /// At the most.
    all: u32,
}

/// What came of it.
#[derive(Default)]
pub(crate) struct Took {
    pub(crate) records: u32,
    pub(crate) wall: Duration,
    /// Of each request, milliseconds from when it was to be sent.
    pub(crate) acks_ms: Vec<f64>,
}

impl Load {
    /// So many records a second, in requests of so many.
    pub(crate) const fn at(rate: u32, records: u32) -> Self {
        Self {
            rate: Some(rate),
            records,
            all: u32::MAX,
        }
    }

    /// So many, as fast as they are taken.
    pub(crate) const fn all(all: u32) -> Self {
        Self {
            rate: None,
            records: AT_ONCE,
            all,
        }
    }

    /// For so long at the most.
    pub(crate) fn run(&self, collector: &Collector, within: Duration) -> Took {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let begin = Instant::now();
        let url = format!("http://127.0.0.1:{}", collector.otlp);
        let mut took = runtime.block_on(async {
            let nodes = (1..=NODES).map(|node| {
                let client = LogsServiceClient::connect(url.clone());
                async move { self.node(node, client.await.unwrap(), begin, within).await }
            });
            let all = futures_util::future::join_all(nodes).await;
            all.into_iter().fold(Took::default(), |mut sum, took| {
                sum.records += took.records;
                sum.acks_ms.extend(took.acks_ms);
                sum
            })
        });
        took.wall = begin.elapsed();
        took
    }

    async fn node(
        &self,
        node: usize,
        mut client: LogsServiceClient<Channel>,
        begin: Instant,
        within: Duration,
    ) -> Took {
        let nodes = u32::try_from(NODES).unwrap();
        let every = self
            .rate
            .map(|rate| Duration::from_secs(1) * self.records * nodes / rate);
        let epoch = format!("{:032x}", fastrand::u128(..));
        let mut took = Took::default();
        let mut turn = 0;
        while took.records < self.all / nodes && begin.elapsed() < within {
            let mut due = Instant::now();
            if let Some(every) = every {
                // In its turn, and never all nodes at one time.
                let part = u32::try_from(node).unwrap();
                due = begin + every * turn + every * part / nodes;
                tokio::time::sleep_until(due.into()).await;
            }
            let body = request(node, &epoch, u64::from(took.records) + 1, self.records);
            let mut request = Request::new(body);
            let shown = format!("Bearer {}", token(node)).parse().unwrap();
            request.metadata_mut().insert("authorization", shown);
            client.export(request).await.unwrap();
            took.acks_ms.push(due.elapsed().as_secs_f64() * 1_000.0);
            took.records += self.records;
            turn += 1;
        }
        took
    }
}

fn request(node: usize, epoch: &str, first: u64, records: u32) -> ExportLogsServiceRequest {
    let now = now_ns();
    let records = (first..first + u64::from(records)).map(|seq| {
        let mut record = logs::encode(&event(seq), now);
        let stream = id::StreamId {
            epoch: epoch.to_owned(),
            class: Class::Security,
            seq,
        };
        id::stamp(&mut record.attributes, &stream);
        record
    });
    let of_node = ResourceLogs {
        resource: Some(id::node_resource(&format!("node-{node}"))),
        scope_logs: vec![ScopeLogs {
            log_records: records.collect(),
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![of_node],
    }
}

/// A read of credentials, as an agent tells it.
fn event(seq: u64) -> AuditEvent {
    let request = json!({
        "endpoint": "imds", "method": "GET", "imds_version": "v2", "class": "CRED", "role": "node-role",
        "path": "/latest/meta-data/iam/security-credentials/node-role",
        "src": {"ip": "10.0.0.5", "port": 40_000}, "dst": {"ip": "169.254.169.254", "port": 80},
        "status": 200, "outcome": "ok", "flags": [], "token_hash": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    });
    AuditEvent::Imds(ImdsAccess {
        identity: Identity::unknown(seq % 1_000),
        process: None,
        task_identity: None,
        request: request.as_object().unwrap().clone(),
    })
}
