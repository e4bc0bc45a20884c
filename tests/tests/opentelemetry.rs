#![expect(
    clippy::disallowed_methods,
    reason = "shell: starts a receiver in Python and looks whether it is there"
)]
#![expect(clippy::unwrap_used, reason = "a test with a main of its own")]
//! The collector's sink over OTLP beside a receiver that is none of ours: OpenTelemetry's own protobufs and gRPC's own
//! server, in Python.
//!
//! Needs both in `target/opentelemetry`, where `.ci/run` installs them:
//!
//! ```sh
//! python3 -m venv target/opentelemetry
//! target/opentelemetry/bin/pip install -r tests/tests/opentelemetry/requirements.txt
//! ```
//!
//! Without them one line is printed, `SKIP OTLP to OpenTelemetry's protobufs: reason`. A word on the command line
//! selects the cases whose name contains it.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use plimsoll_collector::config::sinks::otlp::{Otlp as Settings, Protocol};
use plimsoll_collector::errors;
use plimsoll_collector::sinks::otlp::Otlp;
use plimsoll_collector::sinks::{Message, Sent};
use plimsoll_tests::authority::Authority;
use plimsoll_tests::checks::{self, Verdict};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// More than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::Http];

type Case = fn(&Path) -> Verdict;

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let python = python();
    if !python.is_file() {
        let why = "needs OpenTelemetry's protobufs in target/opentelemetry";
        let skip = || Verdict::Skipped(why.to_owned());
        let name = "OTLP to OpenTelemetry's protobufs";
        return checks::run("opentelemetry", [(name, skip)], None);
    }
    let cases: [(&str, Case); 4] = [
        (
            "what_is_decoded_is_what_was_sent",
            what_is_decoded_is_what_was_sent,
        ),
        (
            "a_message_that_is_longer_than_it_takes_is_halved",
            a_message_that_is_longer_than_it_takes_is_halved,
        ),
        (
            "a_record_that_it_rejects_is_found",
            a_record_that_it_rejects_is_found,
        ),
        (
            "over_tls_it_takes_from_us_alone",
            over_tls_it_takes_from_us_alone,
        ),
    ];
    let python = &python;
    let all = cases.map(|(name, case)| (name, move || case(python)));
    checks::run("opentelemetry", all, filter.as_deref())
}

fn python() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let target = tests.parent().unwrap().join("target");
    target.join("opentelemetry/bin/python")
}

/// A receiver of ours; it ends with this.
struct Running {
    child: Child,
    ports: Value,
    lines: Receiver<String>,
    scheme: &'static str,
}

impl Running {
    fn start(python: &Path, files: &[PathBuf]) -> Self {
        let script = "/tests/opentelemetry/receiver.py";
        let mut child = Command::new(python)
            .arg(format!("{}{script}", env!("CARGO_MANIFEST_DIR")))
            .args(files)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || {
            let mut told = said.lines().map_while(Result::ok);
            told.try_for_each(|line| tell.send(line))
        });
        let scheme = if files.is_empty() {
            "http://127.0.0.1"
        } else {
            "https://localhost"
        };
        let mut running = Self {
            child,
            ports: Value::Null,
            lines,
            scheme,
        };
        running.ports = running.line();
        running
    }

    fn line(&self) -> Value {
        let line = self.lines.recv_timeout(PATIENCE).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// So many records.
    fn records(&self, count: usize) -> Vec<Value> {
        (0..count).map(|_| self.line()).collect()
    }

    fn settings(&self, protocol: Protocol) -> Settings {
        let port = match protocol {
            Protocol::Grpc => &self.ports["grpc"],
            Protocol::Http => &self.ports["http"],
        };
        Settings {
            endpoint: format!("{}:{port}", self.scheme),
            protocol,
            cluster_name: Some("prod".to_owned()),
            ..Settings::default()
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

/// Sends until all have their fate.
fn send_all(settings: &Settings, messages: &[Message]) -> Sent {
    let (mut sink, runtime) = (Otlp::new(settings), runtime());
    let mut all = Sent::default();
    for _ in 0..200 {
        if all.taken == messages.len() {
            return all;
        }
        let sent = runtime.block_on(sink.send(&messages[all.taken..]));
        let sent = sent.unwrap_or_else(|refused| panic!("{}", errors::chain(&refused)));
        all.taken += sent.taken;
        all.delivered += sent.delivered;
        all.maybe_twice += sent.maybe_twice;
        all.quarantined.extend(sent.quarantined);
    }
    panic!("no end of calls that take nothing");
}

fn message(seq: u64, text: &str) -> Message {
    let event = json!({
        "severity_id": 4,
        "device": {"hostname": format!("node-{}", seq % 3)},
        "metadata": {"log_name": "plimsoll.imds.request", "product": {"version": "0.1.0"}},
        "src_endpoint": {"ip": "10.0.0.1", "port": 4000},
        "unmapped": {
            "kubernetes": {"namespace": "shop", "pod": "web-1"},
            "identity": {"subject": {"pod_uid": "5a3f", "container_id": "3f1c"}},
        },
        "text": text,
    });
    Message {
        seq,
        time_unix_ns: 1_796_083_200_123_456_789 + seq,
        uid: format!("node/e/security/{seq}"),
        text: event.to_string(),
    }
}

fn what_is_decoded_is_what_was_sent(python: &Path) -> Verdict {
    let running = Running::start(python, &[]);
    for protocol in BOTH {
        for gzip in [false, true] {
            let settings = Settings {
                gzip,
                ..running.settings(protocol)
            };
            let messages: Vec<_> = (1..=100).map(|seq| message(seq, "ä\u{0}\"")).collect();
            let sent = send_all(&settings, &messages);
            assert_eq!((sent.delivered, sent.maybe_twice), (100, 0));
            let mut records = running.records(100);
            records.sort_by_key(|record| record["time"].as_u64());
            let name = match protocol {
                Protocol::Grpc => "grpc",
                Protocol::Http => "http",
            };
            for (record, message) in records.iter().zip(&messages) {
                let node = format!("node-{}", message.seq % 3);
                let expected = json!({
                    "protocol": name,
                    "resource": {
                        "service.name": "plimsoll",
                        "service.version": "0.1.0",
                        "k8s.cluster.name": "prod",
                        "host.name": node,
                        "k8s.node.name": node,
                        "k8s.namespace.name": "shop",
                        "k8s.pod.name": "web-1",
                        "k8s.pod.uid": "5a3f",
                        "container.id": "3f1c",
                    },
                    "scope": "plimsoll",
                    "time": message.time_unix_ns,
                    "observed": message.time_unix_ns,
                    "severity": [17, "High"],
                    "event": "plimsoll.imds.request",
                    "attributes": {
                        "log.record.uid": message.uid,
                        "source.address": "10.0.0.1",
                        "source.port": 4000,
                    },
                    "body": message.text,
                });
                assert_eq!(*record, expected);
            }
        }
    }
    Verdict::Passed
}

/// gRPC's own server says of a message above 4 MiB that it is exhausted, and not when it will not be.
fn a_message_that_is_longer_than_it_takes_is_halved(python: &Path) -> Verdict {
    let running = Running::start(python, &[]);
    let settings = Settings {
        max_request_bytes: 64 << 20,
        ..running.settings(Protocol::Grpc)
    };
    let long = "x".repeat(1 << 20);
    let messages: Vec<_> = (1..=6).map(|seq| message(seq, &long)).collect();
    let sent = send_all(&settings, &messages);
    assert_eq!((sent.delivered, sent.maybe_twice), (6, 0));
    assert_eq!(running.records(6).len(), 6);
    Verdict::Passed
}

fn a_record_that_it_rejects_is_found(python: &Path) -> Verdict {
    let running = Running::start(python, &[]);
    for protocol in BOTH {
        let text = |seq| if seq == 42 { "poison" } else { "a" };
        let messages: Vec<_> = (1..=64).map(|seq| message(seq, text(seq))).collect();
        let sent = send_all(&running.settings(protocol), &messages);
        let seqs: Vec<_> = sent.quarantined.iter().map(|one| one.seq).collect();
        assert_eq!((sent.delivered, seqs), (63, vec![42]));
        let why = sent.quarantined[0].reason.to_string();
        assert!(
            why.ends_with("1 of 1 records rejected: it is poison"),
            "{why}"
        );
        let (mut there, mut same) = (std::collections::BTreeMap::new(), 0);
        while let Ok(line) = running.lines.try_recv() {
            let record: Value = serde_json::from_str(&line).unwrap();
            let uid = record["attributes"]["log.record.uid"].to_string();
            let first = there.entry(uid).or_insert_with(|| record.clone());
            assert_eq!(*first, record, "the same record");
            same += 1;
        }
        assert_eq!(there.len(), 63);
        assert!(same > 63 && sent.maybe_twice > 0);
    }
    Verdict::Passed
}

fn over_tls_it_takes_from_us_alone(python: &Path) -> Verdict {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let authority = Authority::new().unwrap();
    let ca = write("ca", authority.pem());
    let (chain, secret) = authority.leaf("localhost").unwrap();
    let files = [write("cert", chain), write("key", secret), ca.clone()];
    let running = Running::start(python, &files);
    let (chain, secret) = authority.leaf("collector").unwrap();
    let (cert, key) = (write("ours", chain), write("our-key", secret));
    for protocol in BOTH {
        let stranger = Settings {
            ca_file: Some(ca.clone()),
            ..running.settings(protocol)
        };
        let refused = runtime().block_on(Otlp::new(&stranger).send(&[message(1, "a")]));
        assert!(refused.is_err());
        let ours = Settings {
            cert_file: Some(cert.clone()),
            key_file: Some(key.clone()),
            ..stranger
        };
        assert_eq!(send_all(&ours, &[message(1, "a")]).delivered, 1);
        assert_eq!(running.records(1).len(), 1);
    }
    Verdict::Passed
}
