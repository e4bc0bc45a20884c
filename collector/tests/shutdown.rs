//! The end of a collector's life, on a real process: what its readers have passed is gone from the
//! journal, and its metrics told of all that went on.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: runs a collector and looks at its files"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

use plimsoll_collector::ingest::placed::Pods;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use plimsoll_collector::ingest::store::Arrival;
use plimsoll_collector::ingest::{Store, decode};
use plimsoll_wire::event::Loss;
use plimsoll_wire::{AuditEvent, Class};

mod records;

const PATIENCE: Duration = Duration::from_mins(1);
/// Records of each class; with the padding, several segments.
const RECORDS: u64 = 12;
const PADDING: usize = 900 << 10;

/// Leaves records in the journals that nobody has read, as a kill does.
fn fill(state: &Path) {
    let (store, _) = Store::open(state, 1 << 30).unwrap();
    for seq in 1..=RECORDS {
        let mut window = records::minute(1, seq);
        window.identity.cgroup_path = Some("x".repeat(PADDING));
        let event = AuditEvent::Loss(Loss {
            stage: "x".repeat(PADDING),
            lost_class: Class::Usage,
            fate: "shed".to_owned(),
            count: 1,
            first_seq: None,
            last_seq: None,
        });
        let windows = decode::usage(
            vec![records::metrics(&window, seq)],
            records::NODE,
            &Pods::default(),
        );
        let events = decode::security(
            vec![records::logs(&event, seq)],
            records::NODE,
            &Pods::default(),
        );
        let arrivals =
            [(Class::Usage, windows), (Class::Security, events)].map(|(class, decoded)| Arrival {
                class,
                records: decoded.records,
                others: Vec::new(),
            });
        store.commit(&arrivals).unwrap();
    }
}

fn segments(state: &Path, class: Class) -> usize {
    std::fs::read_dir(state.join("journal").join(class.as_str()))
        .unwrap()
        .filter(|file| {
            let name = file.as_ref().unwrap().file_name();
            name.to_string_lossy().ends_with(".plj")
        })
        .count()
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Killed if the test ends without having stopped it.
struct Collector {
    child: Child,
    http: u16,
}

impl Collector {
    fn start(folder: &Path) -> Self {
        Self::start_with(folder, &[])
    }

    fn start_with(folder: &Path, inventory: &[&Path]) -> Self {
        let http = free_port();
        std::fs::write(folder.join("token"), "secret\n").unwrap();
        let config = serde_json::json!({
            "data": {"path": folder.join("state")},
            "ingest": {
                "listen": format!("127.0.0.1:{}", free_port()),
                "tokens": [{"node": records::NODE, "file": folder.join("token")}],
            },
            "http": {"listen": format!("127.0.0.1:{http}")},
            "inventory": {"paths": inventory, "reload_s": 1},
        });
        let path = folder.join("collector.yaml");
        std::fs::write(&path, config.to_string()).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_plimsoll-collector"))
            .arg("--config")
            .arg(&path)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let collector = Self { child, http };
        collector.wait_for("/livez", |_| true);
        collector
    }

    fn get(&self, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        ureq::get(&url)
            .call()
            .ok()?
            .body_mut()
            .read_to_string()
            .ok()
    }

    /// Asks until the answer is as wanted; connecting is what takes the time between two questions.
    fn wait_for(&self, path: &str, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.get(path);
            if let Some(answer) = answer.as_ref().filter(|answer| wanted(answer)) {
                return answer.clone();
            }
            assert!(
                Instant::now() < deadline,
                "{path} never answered as wanted: {answer:?}"
            );
            std::thread::yield_now();
        }
    }

    fn terminate(&mut self) -> ExitStatus {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[test]
fn what_was_read_until_the_end_is_reclaimed() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fill(&state);
    for class in Class::ALL {
        assert!(segments(&state, class) >= 3);
    }
    let mut collector = Collector::start(folder.path());
    let ended = collector.terminate();
    assert!(ended.success(), "{ended:?}");
    for class in Class::ALL {
        assert_eq!(segments(&state, class), 1, "{}", class.as_str());
    }
    let text = std::fs::read_to_string(state.join("audit/audit.jsonl")).unwrap();
    assert_eq!(text.lines().count() as u64, RECORDS);
}

#[test]
fn metrics_tell_what_the_readers_did() {
    let folder = tempfile::tempdir().unwrap();
    fill(&folder.path().join("state"));
    let collector = Collector::start(folder.path());
    let read = [
        r#"records_total{stage="trail",class="security",destination="file",fate="delivered"} 12"#,
        r#"records_total{stage="journal",class="usage",destination="history",fate="delivered"} 12"#,
    ];
    let text = collector.wait_for("/metrics", |text| {
        read.iter().all(|line| text.contains(line))
    });
    for expected in [
        "plimsoll_collector_history_windows_total 12",
        "plimsoll_collector_history_series 1",
        "plimsoll_collector_sink_lines_total 12",
        r#"plimsoll_collector_destination_stuck_age_seconds{destination="file"} 0.0"#,
        r#"plimsoll_collector_ingest_refused_total{reason="unauthenticated"} 0"#,
        r#"plimsoll_collector_streams{class="usage"} 1"#,
    ] {
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(name));
        let line = line.unwrap_or_else(|| panic!("{name} is not in\n{text}"));
        line.rsplit_once(' ').unwrap().1.parse().unwrap()
    };
    assert!(value("plimsoll_collector_resident_memory_bytes") > 1e6);
    assert!(value("plimsoll_collector_cpu_seconds_total") > 0.0);
    assert!(value("plimsoll_collector_sink_written_bytes_total") > 12.0 * PADDING as f64);
    assert!(value("plimsoll_collector_history_file_bytes") > 0.0);
    assert!(value(r#"plimsoll_collector_http_requests_total{status="2xx"}"#) >= 1.0);
    assert!(value(r#"plimsoll_collector_journal_segments{class="usage"}"#) >= 1.0);
    drop(collector);
}

#[test]
fn readiness_names_what_does_not_work() {
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state");
    fill(&state);
    let objects = folder.path().join("objects.yaml");
    // A folder where the audit file should be.
    let in_the_way = state.join("audit/audit.jsonl");
    std::fs::create_dir_all(&in_the_way).unwrap();
    let collector = Collector::start_with(folder.path(), &[&objects]);
    let told = collector.wait_for("/readyz", |text| text.contains("degraded: file: "));
    let lines: Vec<&str> = told.lines().collect();
    assert_eq!(lines[0], "ok", "records are taken in all the same: {told}");
    assert!(lines[1].contains("audit.jsonl (audit_file): "), "{told}");
    assert!(lines[2].starts_with("degraded: inventory: "), "{told}");
    assert!(
        lines[2].contains("objects.yaml: cannot be looked at: "),
        "{told}"
    );
    assert_eq!(lines.len(), 3, "{told}");

    std::fs::write(&objects, "apiVersion: v1\nkind: List\nitems: []\n").unwrap();
    std::fs::remove_dir(&in_the_way).unwrap();
    collector.wait_for("/readyz", |text| text == "ok\n");
}

/// Before it says that it is ready, and before it makes anything.
#[test]
fn files_that_cannot_be_used_end_the_start_with_64_and_their_lines() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("token"), " ").unwrap();
    std::fs::write(at("rubbish"), "no certificate").unwrap();
    let config = format!(
        "data:\n  path: {}\ningest:\n  tls_cert_file: {}\n  tls_key_file: {}\n  tokens:\n  - {{node: a, file: {}}}\n",
        at("state"),
        at("rubbish"),
        at("rubbish"),
        at("token"),
    );
    std::fs::write(at("collector.yaml"), config).unwrap();
    let ended = Command::new(env!("CARGO_BIN_EXE_plimsoll-collector"))
        .args(["--config", &at("collector.yaml")])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(64), "{said}");
    for mistake in [
        "collector.yaml:4: ingest.tls_cert_file: must be usable: ",
        "collector.yaml:7: ingest.tokens[0].file: must hold a token: ",
    ] {
        assert!(said.contains(mistake), "{mistake}: {said}");
    }
    assert!(!std::fs::exists(at("state")).unwrap());
}
