#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "shell: measures against the clock and a real disk, and says what it found"
)]
//! Audit records a second through the collector's door: protobuf, checks, dedupe, journal, and one
//! `fdatasync` for each group, in a temporary folder (`TMPDIR` says on which disk).
//!
//! `cargo xtask bench ingest`, or `cargo bench -p plimsoll-collector --bench ingest`. CPU time is of
//! the whole process, which has one thread; where the disk is slow, records per second of CPU say
//! what a core could do.

use plimsoll_collector::ingest::placed::Pods;
use std::fs;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use plimsoll_collector::ingest::Store;
use plimsoll_collector::ingest::decode;
use plimsoll_collector::ingest::store::{Arrival, SINK};
use plimsoll_wire::event::OomKill;
use plimsoll_wire::otlp::{id, logs};
use plimsoll_wire::{AuditEvent, Class, Identity};
use prost::Message;

const NODES: usize = 32;
const ROUNDS: u64 = 40;

fn request(node: &str, from: u64, records: u64) -> Vec<u8> {
    let records = (from..from + records).map(|seq| {
        let event = AuditEvent::OomKill(OomKill {
            identity: Identity::unknown(seq),
            identity_is_trigger: false,
            victim_pid: seq as u32,
            victim_comm: Some("java".to_owned()),
            anon_rss_bytes: Some(512 << 20),
            file_rss_bytes: Some(8 << 20),
            shmem_rss_bytes: Some(0),
            memory_peak_bytes: Some(513 << 20),
            memory_limit_bytes: Some(512 << 20),
        });
        let mut record = logs::encode(&event, seq);
        let stream = id::StreamId {
            epoch: "00112233445566778899aabbccddeeff".to_owned(),
            class: Class::Security,
            seq,
        };
        id::stamp(&mut record.attributes, &stream);
        record
    });
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(id::node_resource(node)),
            scope_logs: vec![ScopeLogs {
                log_records: records.collect(),
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    request.encode_to_vec()
}

/// User and system time of this process (proc(5), `stat`, fields 14 and 15).
fn cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let (_, rest) = stat.rsplit_once(") ").unwrap();
    let ticks: u64 = rest
        .split(' ')
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u64>().unwrap())
        .sum();
    // `USER_HZ` is 100 on every architecture that we run on.
    Duration::from_millis(ticks * 10)
}

#[derive(Clone, Copy)]
struct Shape {
    /// Requests that share a wait for the disk.
    group: usize,
    /// Records in a request.
    records: u64,
}

fn measure(shape: Shape) -> serde_json::Value {
    let folder = tempfile::tempdir().unwrap();
    let (store, _) = Store::open(folder.path(), 1 << 30).unwrap();
    let nodes: Vec<String> = (0..NODES).map(|at| format!("node-{at}")).collect();
    let (mut wall, mut used, mut bytes, mut done) = (Duration::ZERO, Duration::ZERO, 0, 0);
    for round in 0..ROUNDS {
        let requests: Vec<_> = nodes
            .iter()
            .map(|node| request(node, 1 + round * shape.records, shape.records))
            .collect();
        bytes += requests.iter().map(Vec::len).sum::<usize>();
        let (begin, cpu_begin) = (Instant::now(), cpu());
        let mut arrived = nodes.iter().zip(&requests);
        loop {
            let arrivals: Vec<_> = arrived
                .by_ref()
                .take(shape.group)
                .map(|(node, bytes)| {
                    let request = ExportLogsServiceRequest::decode(bytes.as_slice()).unwrap();
                    let decoded = decode::security(request.resource_logs, node, &Pods::default());
                    Arrival {
                        class: Class::Security,
                        records: decoded.records,
                        others: decoded.others,
                    }
                })
                .collect();
            if arrivals.is_empty() {
                break;
            }
            let outcomes = store.commit(&arrivals).unwrap();
            done += outcomes.iter().map(|outcome| outcome.taken).sum::<u64>();
        }
        wall += begin.elapsed();
        used += cpu().saturating_sub(cpu_begin);
        let last = store.stats(Class::Security).last_seq.unwrap();
        store.settle(Class::Security, SINK, last).unwrap();
        store.maintain().unwrap();
    }
    assert_eq!(done, ROUNDS * NODES as u64 * shape.records);
    serde_json::json!({
        "records": done,
        "records_in_request": shape.records,
        "requests_in_group": shape.group,
        "bytes_per_record": bytes as u64 / done,
        "records_per_second": (done as f64 / wall.as_secs_f64()).round(),
        "records_per_cpu_second": (done as f64 / used.as_secs_f64()).round(),
        "groups_per_second": ((done / (shape.records * shape.group as u64)) as f64 / wall.as_secs_f64()).round(),
    })
}

fn main() {
    // Cargo passes `--bench`; a filter that names another target leaves this one out.
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    if filter.is_some_and(|filter| !"ingest".contains(&filter)) {
        return;
    }
    let shapes = [(1, 10), (1, 100), (8, 100), (32, 100), (32, 500)];
    let results: Vec<_> = shapes
        .into_iter()
        .map(|(group, records)| {
            let result = measure(Shape { group, records });
            println!("bench ingest {result}");
            result
        })
        .collect();
    if let Some(folder) = std::env::var_os("PLIMSOLL_BENCH_DIR") {
        let path = std::path::Path::new(&folder).join("ingest.json");
        fs::write(path, serde_json::to_string_pretty(&results).unwrap()).unwrap();
    }
}
