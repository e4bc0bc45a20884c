//! A record's way from the agent's spool to the collector's audit file, over TLS and without, with
//! either side killed or refusing on the way: nothing is lost, nothing is there twice, and the books
//! balance.
//!
//! The collector is a process. The agent's half (spool and export) is one where it is killed, and
//! runs in here where it is only asked.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: runs a collector and looks at its files"
)]
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

#[path = "delivery/cluster.rs"]
mod cluster;
#[path = "delivery/collector.rs"]
mod collector;
#[path = "delivery/emitter.rs"]
mod emitter;
#[path = "delivery/kills.rs"]
mod kills;
#[path = "delivery/moves.rs"]
mod moves;
#[path = "delivery/silence.rs"]
mod silence;
#[path = "delivery/sinks.rs"]
mod sinks;
#[path = "delivery/tls.rs"]
mod tls;
#[path = "delivery/verify.rs"]
mod verify;

use std::path::Path;
use std::sync::{Arc, Mutex};

use collector::{Collector, PATIENCE, wait_until};
use plimsoll_agent::config::Export;
use plimsoll_agent::export::{Exporter, SharedSpool};
use plimsoll_agent::spool::Spool;
use plimsoll_journal::FileStorage;
use plimsoll_tests::emit::{self, record as oom};
use plimsoll_wire::Class;
use plimsoll_wire::event::Loss;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The agent's half in here: a spool for `plimsoll_tests::emit` records.
fn open(folder: &Path) -> SharedSpool {
    emit::open(folder).unwrap()
}

fn export(
    runtime: &tokio::runtime::Runtime,
    spool: &SharedSpool,
    otlp: u16,
    token: &Path,
) -> (Exporter, Arc<Notify>) {
    let _within = runtime.enter();
    let config = Export {
        endpoint: format!("http://127.0.0.1:{otlp}"),
        token_file: Some(token.into()),
        batch_records: 32,
        ..Export::default()
    };
    let committed = Arc::new(Notify::new());
    (
        Exporter::new(&config, "node-1", Arc::clone(spool), Arc::clone(&committed)).unwrap(),
        committed,
    )
}

/// Sends everything that is in the spool.
fn empty(runtime: &tokio::runtime::Runtime, spool: &SharedSpool, otlp: u16, token: &Path) {
    let (exporter, _) = export(runtime, spool, otlp, token);
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    stop.cancel();
    let sent = exporter.run(Class::Security, emit::pulse(), stop, abort);
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, sent).await })
        .expect("the spool is emptied in time");
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn a_wrong_token_is_refused_and_costs_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::new(&folder.path().join("collector"));
    collector.start();
    let wrong = folder.path().join("wrong");
    std::fs::write(&wrong, "guess\n").unwrap();
    let spool = open(&folder.path().join("spool"));
    spool.lock().unwrap().event(&oom(1), 1, 1);
    spool.lock().unwrap().commit(1).unwrap();
    let runtime = runtime();
    let token = CancellationToken::new();
    let (exporter, _) = export(&runtime, &spool, collector.otlp, &wrong);
    runtime.spawn(exporter.run(Class::Security, emit::pulse(), token.clone(), token.clone()));
    wait_until("the refusal is counted", || {
        collector.refused("unauthenticated") >= Some(1)
    });
    assert_eq!(collector.written().len(), 0);
    assert_eq!(
        spool.lock().unwrap().levels()[1].records,
        1,
        "the agent keeps it"
    );
    // The token is put right: it is read again, and the record arrives.
    std::fs::write(&wrong, "secret\n").unwrap();
    wait_until("the record arrives", || collector.written().len() == 1);
    token.cancel();
}

#[test]
fn foreign_telemetry_is_told_what_is_not_used() {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
    use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};

    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::new(&folder.path().join("collector"));
    collector.start();
    wait_until("the collector answers", || {
        collector.get("/api/v1/nodes").is_some()
    });
    let foreign = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: vec![LogRecord::default(); 3],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    let url = format!("http://127.0.0.1:{}", collector.otlp);
    let answer = runtime().block_on(async {
        let mut client = LogsServiceClient::connect(url).await.unwrap();
        let mut request = tonic::Request::new(foreign);
        request
            .metadata_mut()
            .insert("authorization", "Bearer secret".parse().unwrap());
        client.export(request).await.unwrap().into_inner()
    });
    let partial = answer
        .partial_success
        .expect("foreign records are mentioned");
    assert_eq!(partial.rejected_log_records, 3);
    assert!(!partial.error_message.is_empty());
    let accounting = collector.get("/api/v1/accounting").unwrap();
    let door = accounting["stages"]
        .as_array()
        .unwrap()
        .iter()
        .find(|row| row["stage"] == "ingest" && row["class"] == "security")
        .unwrap();
    assert_eq!(
        (&door["fates"]["filtered"], &door["unaccounted"]),
        (&3.into(), &0.into()),
        "{door:#}"
    );
}

#[test]
fn what_the_spool_shed_is_told_at_the_other_end() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::new(&folder.path().join("collector"));
    collector.start();
    let storage = |class: Class| FileStorage::open(&folder.path().join(class.as_str())).unwrap();
    let (spool, _) = Spool::open(
        storage(Class::Usage),
        storage(Class::Security),
        1 << 20,
        "ab",
    )
    .unwrap();
    let spool = Arc::new(Mutex::new(spool));
    let runtime = runtime();
    let token = collector.token();
    // The collector knows the stream before anything is missing in it.
    spool.lock().unwrap().event(&oom(0), 1, 1);
    spool.lock().unwrap().commit(1).unwrap();
    empty(&runtime, &spool, collector.otlp, &token);
    // More evidence than the bound holds, while the collector is not asked.
    for pid in 1..=8_000 {
        let mut held = spool.lock().unwrap();
        held.event(&oom(pid), 1, 1);
        if pid % 500 == 0 {
            held.commit(1).unwrap();
        }
    }
    spool.lock().unwrap().commit(1).unwrap();
    let shed = spool.lock().unwrap().fates()[1].fates.shed;
    assert!(shed > 0, "nothing was shed");
    empty(&runtime, &spool, collector.otlp, &token);
    wait_until("everything is written", || collector.is_idle());
    let told: u64 = collector
        .written_once()
        .into_values()
        .filter(|line| line["event"] == "loss")
        .filter_map(|line| serde_json::from_value::<Loss>(line).ok())
        .filter(|loss| loss.fate == "shed" && loss.lost_class == Class::Security)
        .map(|loss| loss.count)
        .sum();
    assert_eq!(told, shed);
    let gaps = collector.get("/api/v1/accounting").unwrap()["gaps"].clone();
    let missing: u64 = gaps
        .as_array()
        .unwrap()
        .iter()
        .map(|gap| gap["missing"].as_u64().unwrap())
        .sum();
    assert_eq!(
        missing, shed,
        "the gap at the other end is what was shed: {gaps:#}"
    );
}
