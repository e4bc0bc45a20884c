//! A collector's process, with what it says and writes.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A collector of its own, with its folder and its ports; killed when dropped.
pub(crate) struct Collector {
    pub(crate) folder: PathBuf,
    /// What it keeps; its volume.
    pub(crate) state: PathBuf,
    pub(crate) otlp: u16,
    http: u16,
    /// Certificate and key, from the next start on.
    pub(crate) tls: Option<(PathBuf, PathBuf)>,
    /// The API server's rules say who sees what, from the next start on.
    pub(crate) has_rules: bool,
    /// Where the API server is that it follows, from the next start on.
    pub(crate) kubeconfig: Option<PathBuf>,
    /// Where events go besides the audit file, from the next start on.
    pub(crate) sinks: Value,
    /// Nodes besides the first, each with the file of its token; from the next start on.
    pub(crate) more_nodes: Vec<(&'static str, PathBuf)>,
    /// In its environment, from the next start on.
    pub(crate) environment: Vec<(String, PathBuf)>,
    child: Option<Child>,
}

impl Collector {
    pub(crate) fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("token"), "secret\n").unwrap();
        Self {
            folder: folder.into(),
            state: folder.join("state"),
            otlp: free_port(),
            http: free_port(),
            tls: None,
            kubeconfig: None,
            has_rules: false,
            sinks: serde_json::json!([]),
            more_nodes: Vec::new(),
            environment: Vec::new(),
            child: None,
        }
    }

    pub(crate) fn start(&mut self) {
        let (certificate, key) = self.tls.clone().unzip();
        let senders = serde_json::json!({
            "audience": "plimsoll-collector",
            "service_accounts": ["plimsoll-agent/plimsoll-agent"],
        });
        let senders = self
            .kubeconfig
            .as_ref()
            .map_or(serde_json::json!({}), |_| senders);
        let first = ("node-1", self.token());
        let nodes = std::iter::once(&first).chain(&self.more_nodes);
        let tokens: Vec<Value> = nodes
            .map(|(node, file)| serde_json::json!({"node": node, "file": file}))
            .collect();
        let config = serde_json::json!({
            "data": {"path": self.state},
            "ingest": {
                "listen": format!("127.0.0.1:{}", self.otlp),
                "tls_cert_file": certificate,
                "tls_key_file": key,
                "tokens": tokens,
                "token_review": senders,
            },
            "kubernetes": {"watch": self.kubeconfig.is_some(), "kubeconfig": self.kubeconfig},
            "http": {
                "listen": format!("127.0.0.1:{}", self.http),
                "access": if self.has_rules { "kubernetes" } else { "loopback" },
            },
            "sinks": self.sinks,
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
            // Of nobody: what a sink's calls are signed with.
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// SIGTERM, as a drain does it; how it ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        let child = self.child.as_ref().unwrap();
        let pid = rustix::process::Pid::from_child(child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.wait()
    }

    /// How it ended by itself, within the test's patience.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let mut status = None;
        wait_until("the collector has ended", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    pub(crate) fn get(&self, path: &str) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        ureq::get(&url).call().ok()?.body_mut().read_json().ok()
    }

    /// The same of what is no JSON.
    pub(crate) fn text(&self, path: &str) -> Option<String> {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        ureq::get(&url)
            .call()
            .ok()?
            .body_mut()
            .read_to_string()
            .ok()
    }

    /// What somebody with a token gets: the status; `None` while there is no answer.
    pub(crate) fn status_for(&self, path: &str, token: Option<&str>) -> Option<u16> {
        let url = format!("http://127.0.0.1:{}{path}", self.http);
        let mut request = ureq::get(&url);
        if let Some(token) = token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        match request.call() {
            Ok(answer) => Some(answer.status().as_u16()),
            Err(ureq::Error::StatusCode(status)) => Some(status),
            Err(_) => None,
        }
    }

    /// Number of requests that were refused for this reason; `None` while there is no answer.
    pub(crate) fn refused(&self, reason: &str) -> Option<u64> {
        self.metric(&format!("ingest_refused_total{{reason=\"{reason}\"}}"))
    }

    /// A metric's value, by its name and labels; 0 of what is not shown, `None` while there is no answer.
    pub(crate) fn metric(&self, name: &str) -> Option<u64> {
        let url = format!("http://127.0.0.1:{}/metrics", self.http);
        let text = ureq::get(&url)
            .call()
            .ok()?
            .body_mut()
            .read_to_string()
            .ok()?;
        let name = format!("plimsoll_collector_{name} ");
        let line = text.lines().find_map(|line| line.strip_prefix(&name));
        Some(line.map_or(0, |count| count.parse().unwrap()))
    }

    /// The log of all its lives.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("collector.log")).unwrap_or_default()
    }

    /// The file of the token that it takes.
    pub(crate) fn token(&self) -> PathBuf {
        self.folder.join("token")
    }

    /// Every line of every audit file. A file that is put aside meanwhile may be read twice: what
    /// is there twice is judged when nothing moves any more.
    pub(crate) fn written(&self) -> Vec<Value> {
        let Ok(entries) = std::fs::read_dir(self.state.join("audit")) else {
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
    pub(crate) fn written_once(&self) -> BTreeMap<String, Value> {
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

    /// Nothing waits in the journal, and none in the trail for any destination.
    pub(crate) fn is_idle(&self) -> bool {
        let is_on_the_way = |row: &Value| {
            let is_after_the_door = row["stage"] == "journal" || row["stage"] == "trail";
            is_after_the_door && row["class"] == "security"
        };
        self.get("/api/v1/accounting").is_some_and(|accounting| {
            let rows = accounting["stages"].as_array().unwrap().iter();
            let mut rows = rows.filter(|row| is_on_the_way(row)).peekable();
            rows.peek().is_some() && rows.all(|stage| stage["fates"]["in_flight"] == 0)
        })
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.kill();
    }
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

/// Built beside this test by `cargo test --workspace`.
pub(crate) fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(
        path.exists(),
        "{} is not built: cargo build -p {name}",
        path.display()
    );
    path
}

/// `plimsoll audit verify`: its report, and whether it found nothing.
pub(crate) fn verify(arguments: &[&str], path: &Path) -> (bool, Value) {
    let ran = Command::new(program("plimsoll"))
        .args(["audit", "verify", "-o", "json"])
        .args(arguments)
        .arg(path)
        .output()
        .unwrap();
    let report = serde_json::from_slice(&ran.stdout);
    let report = report.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&ran.stderr)));
    (ran.status.success(), report)
}

/// Waits for a state of the world, not for a time.
pub(crate) fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
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
