//! A collector's process.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::{Value, json};

/// Nodes that send.
pub(crate) const NODES: usize = 8;

/// Killed when dropped.
pub(crate) struct Collector {
    child: Child,
    pub(crate) otlp: u16,
    http: u16,
}

impl Collector {
    /// With its state in that folder; it answers.
    pub(crate) fn start(folder: &Path, sinks: &Value) -> Self {
        let (otlp, http) = (free_port(), free_port());
        let tokens: Vec<Value> = (1..=NODES)
            .map(|node| {
                let file = folder.join(format!("token-{node}"));
                std::fs::write(&file, format!("{}\n", token(node))).unwrap();
                json!({"node": format!("node-{node}"), "file": file})
            })
            .collect();
        let config = json!({
            "data": {
                "path": folder.join("state"),
                "max_journal_bytes": 16_u64 << 30,
                "max_trail_bytes": 64_u64 << 30,
            },
            "ingest": {
                "listen": format!("127.0.0.1:{otlp}"),
                "tokens": tokens,
                "node_bytes_per_s": 1 << 30,
                "node_burst_bytes": 1 << 30,
                "node_requests_per_s": 100_000,
                "node_burst_requests": 100_000,
            },
            "kubernetes": {"watch": false},
            "http": {"listen": format!("127.0.0.1:{http}"), "access": "loopback"},
            "sinks": sinks,
        });
        let path = folder.join("collector.yaml");
        std::fs::write(&path, config.to_string()).unwrap();
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(folder.join("log"))
            .unwrap();
        let child = Command::new(program("plimsoll-collector"))
            .arg("--config")
            .arg(&path)
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        let collector = Self { child, otlp, http };
        until(Duration::from_mins(1), || {
            collector.get("/metrics").is_some()
        });
        collector
    }

    fn get(&self, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        let mut answer = ureq::get(&url).call().ok()?;
        answer.body_mut().read_to_string().ok()
    }

    fn metric(&self, name: &str) -> f64 {
        let text = self.get("/metrics").unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value.unwrap().trim().parse().unwrap()
    }

    pub(crate) fn cpu_seconds(&self) -> f64 {
        self.metric("plimsoll_collector_cpu_seconds_total ")
    }

    pub(crate) fn mebibytes(&self) -> f64 {
        self.metric("plimsoll_collector_resident_memory_bytes ") / f64::from(1 << 20)
    }

    /// Records that wait for anything, by where they wait and for what.
    fn in_flight(&self) -> Vec<(String, String, u64)> {
        let text = self.get("/api/v1/accounting").unwrap();
        let accounting: Value = serde_json::from_str(&text).unwrap();
        let rows = accounting["stages"].as_array().unwrap().iter();
        let text = |row: &Value, name: &str| row[name].as_str().unwrap_or_default().to_owned();
        rows.filter(|row| row["class"] == "security")
            .map(|row| {
                let waiting = row["fates"]["in_flight"].as_u64().unwrap();
                (text(row, "stage"), text(row, "destination"), waiting)
            })
            .collect()
    }

    /// Records that are not at every destination yet.
    pub(crate) fn waiting(&self) -> u64 {
        let all = self.in_flight();
        let of = |name: &str| {
            let of_stage = all.iter().filter(|(stage, ..)| stage == name);
            of_stage.map(|(.., waiting)| *waiting).max().unwrap_or(0)
        };
        of("journal") + of("trail")
    }

    pub(crate) fn until_delivered(&self, within: Duration) {
        until(within, || self.waiting() == 0);
    }

    pub(crate) fn until_waiting_only_for(&self, sink: &str, within: Duration) {
        until(within, || {
            let all = self.in_flight();
            all.iter()
                .all(|(_, destination, waiting)| destination == sink || *waiting == 0)
        });
    }

    /// As a drain ends it.
    pub(crate) fn stop(&mut self) {
        rustix::process::kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub(crate) fn until(within: Duration, reached: impl Fn() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(begin.elapsed() < within, "not within {within:?}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a node shows.
pub(crate) fn token(node: usize) -> String {
    format!("secret-{node}")
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Built beside this bench: `cargo xtask bench` sees to it.
fn program(name: &str) -> PathBuf {
    let bench = std::env::current_exe().unwrap();
    let path = bench.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} is not built", path.display());
    path
}
