//! What it costs to follow a cluster of 1,000 nodes and 50,000 pods: CPU time and memory of a collector's
//! process from its start until everything is known, then with 200 pods a second that come and go; and
//! what a pod takes, beside the same pods held whole, as a reflector's store holds them.
//!
//! Prints one line of JSON, and writes it to `$PLIMSOLL_BENCH_DIR` where that is set.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: runs a collector, writes the figures"
)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench says by failing what it expected, and prints its figures"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use allocation_counter::measure;
use k8s_openapi::api::core::v1::Pod;
use plimsoll_collector::inventory::{Index, Moment, Object};
use plimsoll_tests::apiserver::fleet::{Churn, Fleet, Stage};
use plimsoll_tests::apiserver::{ApiServer, Options};
use serde_json::{Value, json};

/// Pods that come and go each second.
const CHURN: u32 = 200;
const CHURN_FOR: Duration = Duration::from_secs(20);
/// Pods that are weighed.
const WEIGHED: u32 = 10_000;

fn main() {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if !chosen.is_empty() && !chosen.iter().any(|part| "cluster".contains(part.as_str())) {
        return;
    }
    let mut figures = weigh();
    let followed = follow();
    figures
        .as_object_mut()
        .unwrap()
        .extend(followed.as_object().unwrap().clone());
    println!("bench cluster {figures}");
    if let Some(folder) = std::env::var_os("PLIMSOLL_BENCH_DIR") {
        let file = Path::new(&folder).join("cluster.json");
        std::fs::write(file, figures.to_string()).unwrap();
    }
}

/// Bytes that a pod takes in the index, and held whole.
fn weigh() -> Value {
    let fleet = Fleet::new(WEIGHED / 50, WEIGHED);
    let texts: Vec<String> = (0..WEIGHED)
        .map(|number| {
            let (_, recipe) = fleet.pod(number, Stage::Running);
            recipe.whole()
        })
        .collect();
    let read = |text: &String| serde_json::from_str::<Pod>(text).unwrap();
    let mut index = Index::default();
    let ours = measure(|| {
        for text in &texts {
            index.apply(&Object::Pod(Box::new(read(text))), Moment::default());
        }
    });
    let mut whole = Vec::new();
    let theirs = measure(|| whole.extend(texts.iter().map(read)));
    let each = |bytes: i64| bytes / i64::from(WEIGHED);
    json!({
        "json_bytes_per_pod": texts.iter().map(String::len).sum::<usize>() / texts.len(),
        "index_bytes_per_pod": each(ours.bytes_current),
        "whole_bytes_per_pod": each(theirs.bytes_current),
        "ratio_to_whole": ours.bytes_current as f64 / theirs.bytes_current as f64,
    })
}

struct Collector {
    child: Child,
    http: u16,
}

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Collector {
    fn start(folder: &Path, server: &ApiServer) -> Self {
        let kubeconfig = folder.join("kubeconfig");
        std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
        let (otlp, http) = (free_port(), free_port());
        let config = json!({
            "data": {"path": folder.join("state")},
            "ingest": {"listen": format!("127.0.0.1:{otlp}")},
            "http": {"listen": format!("127.0.0.1:{http}")},
            "kubernetes": {"watch": true, "kubeconfig": kubeconfig},
        });
        let path = folder.join("collector.yaml");
        std::fs::write(&path, config.to_string()).unwrap();
        let child = Command::new(program("plimsoll-collector"))
            .arg("--config")
            .arg(&path)
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { child, http }
    }

    fn metric(&self, name: &str) -> Option<f64> {
        let url = format!("http://127.0.0.1:{}/metrics", self.http);
        let text = ureq::get(&url)
            .call()
            .ok()?
            .body_mut()
            .read_to_string()
            .ok()?;
        let value = text.lines().find_map(|line| line.strip_prefix(name));
        value?.trim().parse().ok()
    }

    fn cpu_seconds(&self) -> f64 {
        self.metric("plimsoll_collector_cpu_seconds_total ")
            .unwrap()
    }

    fn mebibytes(&self) -> f64 {
        self.metric("plimsoll_collector_resident_memory_bytes ")
            .unwrap()
            / f64::from(1 << 20)
    }

    /// Until so many objects are known.
    fn until_known(&self, objects: f64) {
        let begin = Instant::now();
        while self.metric("plimsoll_collector_cluster_synced ") != Some(1.0)
            || self.metric("plimsoll_collector_inventory_objects ") < Some(objects)
        {
            assert!(
                begin.elapsed() < Duration::from_mins(5),
                "not known in time"
            );
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

fn follow() -> Value {
    let folder = tempfile::tempdir().unwrap();
    let server = ApiServer::start(Options::default()).unwrap();
    let fleet = Fleet::large();
    fleet.load(&server).unwrap();
    let collector = Collector::start(folder.path(), &server);
    let begin = Instant::now();
    collector.until_known(50_000.0);
    let (known, known_seconds) = (collector.cpu_seconds(), begin.elapsed().as_secs_f64());
    let memory = collector.mebibytes();
    let made = Churn::new(&server, fleet).run(CHURN, CHURN_FOR).unwrap();
    let churned = collector.cpu_seconds() - known;
    json!({
        "pods": 50_000,
        "nodes": 1_000,
        "cpu_seconds_until_known": known,
        "seconds_until_known": known_seconds,
        "rss_mib": memory,
        "churned_pods": made,
        "churn_cpu_percent": 100.0 * churned / CHURN_FOR.as_secs_f64(),
        "rss_mib_after_churn": collector.mebibytes(),
    })
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
