//! A record's way from the agent's spool to the collector's audit file, with either side killed on
//! the way: nothing is lost, nothing is there twice, and the books balance.
//!
//! The collector is a process, ended by SIGKILL. The agent's half (spool and export) runs in here
//! and is dropped in mid-flight, with what was not committed; what counts is what was committed.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: runs a collector and looks at its files"
)]
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use plimsoll_agent::config::Export;
use plimsoll_agent::export::{Exporter, SharedSpool};
use plimsoll_agent::spool::Spool;
use plimsoll_journal::FileStorage;
use plimsoll_wire::event::{Loss, OomKill};
use plimsoll_wire::{AuditEvent, Class, Identity};
use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

const PATIENCE: Duration = Duration::from_mins(1);

struct Collector {
    folder: PathBuf,
    otlp: u16,
    http: u16,
    child: Option<Child>,
}

impl Collector {
    fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("token"), "secret\n").unwrap();
        Self {
            folder: folder.into(),
            otlp: free_port(),
            http: free_port(),
            child: None,
        }
    }

    fn start(&mut self) {
        let config = serde_json::json!({
            "data": {"path": self.folder.join("state")},
            "ingest": {
                "listen": format!("127.0.0.1:{}", self.otlp),
                "tokens": [{"node": "node-1", "file": self.folder.join("token")}],
            },
            "http": {"listen": format!("127.0.0.1:{}", self.http)},
            // Small, so that rotation is part of every run.
            "audit_file": {"rotate_bytes": 65536, "keep_files": 10_000},
        });
        let path = self.folder.join("collector.yaml");
        std::fs::write(&path, config.to_string()).unwrap();
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.folder.join("collector.log"))
            .unwrap();
        let child = Command::new(program("plimsoll-collector"))
            .arg("--config")
            .arg(&path)
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn get(&self, path: &str) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        ureq::get(&url).call().ok()?.body_mut().read_json().ok()
    }

    /// Every line of every audit file. A file that is put aside meanwhile may be read twice: what
    /// is there twice is judged when nothing moves any more.
    fn written(&self) -> Vec<Value> {
        let Ok(entries) = std::fs::read_dir(self.folder.join("state/audit")) else {
            return Vec::new();
        };
        let texts = entries.filter_map(|entry| std::fs::read_to_string(entry.ok()?.path()).ok());
        texts
            .flat_map(|text| {
                text.split_inclusive('\n')
                    .filter(|line| line.ends_with('\n'))
                    .map(|line| serde_json::from_str(line).unwrap())
                    .collect::<Vec<Value>>()
            })
            .collect()
    }

    /// The same by record id, when nothing is written any more; fails on an id that is there twice.
    fn written_once(&self) -> BTreeMap<String, Value> {
        let mut lines = BTreeMap::new();
        for line in self.written() {
            let id = line["id"].as_str().unwrap().to_owned();
            assert!(
                lines.insert(id.clone(), line).is_none(),
                "{id} is there twice"
            );
        }
        lines
    }

    /// Nothing waits in the journal.
    fn is_idle(&self) -> bool {
        let row = |row: &Value| row["stage"] == "journal" && row["class"] == "security";
        self.get("/api/v1/accounting").is_some_and(|accounting| {
            let rows = accounting["stages"].as_array().unwrap().clone();
            rows.iter()
                .any(|stage| row(stage) && stage["fates"]["in_flight"] == 0)
        })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.kill();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Built beside this test by `cargo test --workspace`.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(
        path.exists(),
        "{} is not built: cargo build -p {name}",
        path.display()
    );
    path
}

fn oom(victim_pid: u32) -> AuditEvent {
    AuditEvent::OomKill(OomKill {
        identity: Identity::unknown(7),
        identity_is_trigger: false,
        victim_pid,
        victim_comm: Some("x".repeat(200)),
        anon_rss_bytes: None,
        file_rss_bytes: None,
        shmem_rss_bytes: None,
        memory_peak_bytes: None,
        memory_limit_bytes: None,
    })
}

fn open(folder: &Path) -> SharedSpool {
    let storage = |class: Class| FileStorage::open(&folder.join(class.as_str())).unwrap();
    let epoch = "00112233445566778899aabbccddeeff";
    let spool = Spool::open(
        storage(Class::Usage),
        storage(Class::Security),
        64 << 20,
        epoch,
    );
    Arc::new(Mutex::new(spool.unwrap().0))
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
    let sent = exporter.run(Class::Security, stop, abort);
    runtime
        .block_on(async { tokio::time::timeout(PATIENCE, sent).await })
        .expect("the spool is emptied in time");
}

/// Waits for a state of the world, not for a time.
fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(
            begin.elapsed() < PATIENCE,
            "waited {PATIENCE:?} until {what}"
        );
        std::thread::yield_now();
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

#[test]
fn nothing_committed_is_lost_or_doubled_by_kills_of_either_side() {
    let kills = if std::env::var_os("PLIMSOLL_TEST_LONG").is_some() {
        200
    } else {
        20
    };
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::new(&folder.path().join("collector"));
    collector.start();
    let mut dice = fastrand::Rng::with_seed(20_261_124);
    let mut events = 0_u32;
    for _ in 0..kills {
        let spool = open(&folder.path().join("spool"));
        let runtime = runtime();
        let (exporter, committed) = export(
            &runtime,
            &spool,
            collector.otlp,
            &folder.path().join("collector/token"),
        );
        let token = CancellationToken::new();
        runtime.spawn(exporter.run(Class::Security, token.clone(), token.clone()));
        for _ in 0..dice.u32(1..20) {
            let mut held = spool.lock().unwrap();
            for _ in 0..dice.u32(1..60) {
                events += 1;
                held.event(&oom(events), 1, 1);
            }
            held.commit(1).unwrap();
            drop(held);
            committed.notify_waiters();
            if dice.u32(..4) == 0 {
                std::thread::sleep(Duration::from_millis(dice.u64(..10)));
            }
        }
        if dice.bool() {
            collector.kill();
            collector.start();
        }
        // The agent's half is killed: its tasks vanish wherever they are.
        runtime.shutdown_background();
    }
    let spool = open(&folder.path().join("spool"));
    empty(
        &runtime(),
        &spool,
        collector.otlp,
        &folder.path().join("collector/token"),
    );
    wait_until("every event is in the audit file", || {
        collector.written().len() >= events as usize && collector.is_idle()
    });

    let written = collector.written_once();
    let mut victims: Vec<u64> = written
        .values()
        .map(|line| line["victim_pid"].as_u64().unwrap())
        .collect();
    victims.sort_unstable();
    assert_eq!(
        victims,
        (1..=u64::from(events)).collect::<Vec<_>>(),
        "each committed event, once"
    );
    let accounting = collector
        .get("/api/v1/accounting")
        .expect("the collector answers");
    assert_eq!(accounting["balanced"], true, "{accounting:#}");
    assert_eq!(
        accounting["gaps"].as_array().map(Vec::len),
        Some(0),
        "{accounting:#}"
    );
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
    runtime.spawn(exporter.run(Class::Security, token.clone(), token.clone()));
    let refused = "plimsoll_collector_ingest_refused_total{reason=\"unauthenticated\"}";
    wait_until("the refusal is counted", || {
        let url = format!("http://127.0.0.1:{}/metrics", collector.http);
        let metrics = ureq::get(&url)
            .call()
            .ok()
            .and_then(|mut answer| answer.body_mut().read_to_string().ok());
        metrics.is_some_and(|text| text.contains(refused))
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
    assert_eq!(partial.rejected_log_records, 0, "accepted, as OTLP wants");
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
    let token = folder.path().join("collector/token");
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
