//! The collector's way from its door to a destination, as processes: what an acknowledgement takes, what a record
//! costs out to each destination, how an outage is made up for, and a plain sender beside it, which keeps records in a
//! bounded channel and sends them in batches.
//!
//! Prints a line of JSON for each part, and writes it to `$PLIMSOLL_BENCH_DIR` where that is set. A part's name as an
//! argument picks it. CPU time is that of the collector's process alone; the receivers are in this one.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: runs a collector, measures time, writes the figures"
)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench says by failing what it expected, and prints its figures"
)]

#[path = "delivery/collector.rs"]
mod collector;
#[path = "delivery/load.rs"]
mod load;
#[path = "delivery/plain.rs"]
mod plain;
#[path = "delivery/receiver.rs"]
mod receiver;

use std::path::Path;
use std::time::{Duration, Instant};

use collector::Collector;
use load::Load;
use plimsoll_tests::cloudwatch::CloudWatch;
use receiver::Receiver;
use serde_json::{Value, json};

/// Records a second while acknowledgements are measured, and for how long.
const RATE: u32 = 5_000;
const RATE_FOR: Duration = Duration::from_secs(20);
/// Records that wait for each destination.
const BACKLOG: u32 = 200_000;
/// Records a second before, during and after the outage, and how long it lasts.
const LIVE: u32 = 1_000;
const OUTAGE: Duration = Duration::from_mins(1);
/// Before the outage, and after it as soon as nothing waits any more.
const CALM: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_mins(5);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == plain::SELF) {
        return plain::run(&arguments);
    }
    let chosen: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    for (name, part) in [
        ("delivery-ack", ack as fn() -> Value),
        ("delivery-out", out),
        ("delivery-outage", outage),
        ("delivery-plain", plain::beside),
    ] {
        if !chosen.is_empty() && !chosen.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let figures = part();
        println!("bench {name} {figures}");
        if let Some(folder) = std::env::var_os("PLIMSOLL_BENCH_DIR") {
            let file = Path::new(&folder).join(format!("{name}.json"));
            std::fs::write(file, figures.to_string()).unwrap();
        }
    }
}

/// Requests of 50 records from eight nodes, each answered once it is on the disk.
fn ack() -> Value {
    let receiver = Receiver::start();
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path(), &json!([receiver.sink(folder.path())]));
    let before = collector.cpu_seconds();
    let load = Load::at(RATE, 50);
    let mut took = load.run(&collector, RATE_FOR);
    collector.until_delivered(PATIENCE);
    let cpu = collector.cpu_seconds() - before;
    let (records, mut delays) = (took.records, receiver.delays_ms());
    json!({
        "records_per_second": f64::from(records) / took.wall.as_secs_f64(),
        "ack_ms": quantiles(&mut took.acks_ms),
        "delay_ms": quantiles(&mut delays),
        "cpu_percent": 100.0 * cpu / took.wall.as_secs_f64(),
        "records_per_cpu_second": f64::from(records) / cpu,
        "rss_mib": collector.mebibytes(),
    })
}

/// Everything waits in the trail; then the destination is there.
fn out() -> Value {
    let mut figures = serde_json::Map::new();
    for (name, figure) in [
        ("file", out_to(&File)),
        ("hec", out_to(&Receiver::start())),
        ("cloudwatch", out_to(&Logs(CloudWatch::start().unwrap()))),
    ] {
        figures.insert(name.to_owned(), figure);
    }
    Value::Object(figures)
}

/// Where events go.
trait Place {
    /// The sink, while nobody takes anything.
    fn away(&self, folder: &Path) -> Value;
    /// The same sink from then on.
    fn there(&self, folder: &Path) -> Value;
}

struct File;

impl Place for File {
    fn away(&self, folder: &Path) -> Value {
        // No folder is made below a file.
        let below = folder.join("token-1/lines");
        json!({"name": "out", "file": {"path": below}})
    }

    fn there(&self, folder: &Path) -> Value {
        json!({"name": "out", "file": {"path": folder.join("lines"), "rotate_bytes": 1_u64 << 30}})
    }
}

impl Place for Receiver {
    fn away(&self, folder: &Path) -> Value {
        let mut sink = self.sink(folder);
        sink["hec"]["endpoint"] = json!("http://127.0.0.1:9");
        sink
    }

    fn there(&self, folder: &Path) -> Value {
        self.sink(folder)
    }
}

struct Logs(CloudWatch);

impl Logs {
    fn sink(endpoint: &str) -> Value {
        json!({
            "name": "out",
            "cloudwatch": {
                "group": "/plimsoll/bench",
                "stream": "bench",
                "region": "eu-central-1",
                "endpoint": endpoint,
            },
        })
    }
}

impl Place for Logs {
    fn away(&self, _: &Path) -> Value {
        Self::sink("http://127.0.0.1:9")
    }

    fn there(&self, _: &Path) -> Value {
        // Twice is no matter: it is there then.
        drop(self.0.create_group("/plimsoll/bench"));
        Self::sink(&self.0.endpoint())
    }
}

fn out_to(place: &dyn Place) -> Value {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::start(folder.path(), &json!([place.away(folder.path())]));
    let before = collector.cpu_seconds();
    Load::all(BACKLOG).run(&collector, PATIENCE);
    collector.until_waiting_only_for("out", PATIENCE);
    let published = collector.cpu_seconds() - before;
    collector.stop();
    let mut collector = Collector::start(folder.path(), &json!([place.there(folder.path())]));
    // What the start took is not the destination's.
    let (before, begin) = (collector.cpu_seconds(), Instant::now());
    collector.until_delivered(PATIENCE);
    let (cpu, wall) = (collector.cpu_seconds() - before, begin.elapsed());
    let rss = collector.mebibytes();
    collector.stop();
    let backlog = f64::from(BACKLOG);
    json!({
        "records": BACKLOG,
        "in_and_published_per_cpu_second": (backlog / published).round(),
        "out_per_cpu_second": (backlog / cpu).round(),
        "out_per_second": (backlog / wall.as_secs_f64()).round(),
        "rss_mib": rss,
    })
}

/// The destination takes nothing for a while, and records go on coming.
fn outage() -> Value {
    let receiver = Receiver::start();
    let folder = tempfile::tempdir().unwrap();
    let collector = Collector::start(folder.path(), &json!([receiver.sink(folder.path())]));
    let load = Load::at(LIVE, 10);
    let (healed_at, drained_for, waiting) = std::thread::scope(|scope| {
        let running = scope.spawn(|| load.run(&collector, CALM + OUTAGE + CALM + CALM));
        std::thread::sleep(CALM);
        receiver.set_down(true);
        std::thread::sleep(OUTAGE);
        let waiting = collector.waiting();
        receiver.set_down(false);
        let begin = Instant::now();
        let healed_at = receiver::now_ns();
        // The rest is what comes in the meantime.
        collector::until(PATIENCE, || collector.waiting() <= u64::from(LIVE));
        let drained_for = begin.elapsed();
        running.join().unwrap();
        (healed_at, drained_for, waiting)
    });
    collector.until_delivered(PATIENCE);
    let drained = (waiting as f64).mul_add(1.0, f64::from(LIVE) * drained_for.as_secs_f64());
    let rate = drained / drained_for.as_secs_f64();
    let mut delays = receiver.delays_ms_since(healed_at);
    json!({
        "live_per_second": LIVE,
        "outage_seconds": OUTAGE.as_secs(),
        "waiting_at_its_end": waiting,
        "drained_in_seconds": drained_for.as_secs_f64(),
        "drained_per_second": rate,
        "ratio_to_live": rate / f64::from(LIVE),
        "live_delay_ms_from_then_on": quantiles(&mut delays),
        "rss_mib": collector.mebibytes(),
    })
}

fn quantiles(of: &mut [f64]) -> Value {
    of.sort_by(f64::total_cmp);
    let at = |part: usize| of.get(of.len() * part / 1_000).copied().unwrap_or(f64::NAN);
    json!({"p50": at(500), "p99": at(990), "max": of.last()})
}
