//! What the journal's readers can carry: windows into the history, audit events into the file.
//!
//! Prints one line of JSON for each, and writes it to `$PLIMSOLL_BENCH_DIR` where that is set. A
//! name as argument picks one. Times are of one thread, the disk's part included.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: measures time, writes the figures"
)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench says by failing what it expected, and prints its figures"
)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::signature::Ed25519KeyPair;
use plimsoll_collector::api::{AuditRecord, AuditRing};
use plimsoll_collector::history::feed::Feed;
use plimsoll_collector::history::{History, Limits};
use plimsoll_collector::inventory::{Index, IndexReader, parse};
use plimsoll_collector::join::join;
use plimsoll_collector::ocsf;
use plimsoll_collector::publish::{Known, Publisher};
use plimsoll_collector::reader::{Destination, Source};
use plimsoll_collector::sink::{self, FileSink};
use plimsoll_collector::trail::chain as links;
use plimsoll_collector::trail::verify::{Expect, Verifier};
use plimsoll_collector::trail::{self, Trail};
use plimsoll_journal::{FileStorage, Record};
use plimsoll_wire::event::ImdsAccess;
use plimsoll_wire::{AuditEvent, Class, RecordId};
use prost::Message as _;
use rustix::time::ClockId;
use serde_json::{Value, json};

#[path = "../tests/records/mod.rs"]
mod records;

const CONTAINERS: u64 = 1_000;
const MINUTES: u64 = 200;
const EVENTS: u64 = 100_000;
const EPOCH: &str = "4f5c7c3a9d0e4b1f8a2b6c5d7e9f0a1b";

fn main() {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    for (name, bench) in [
        ("history", history as fn() -> Value),
        ("sink", audit_file),
        ("chain", chain),
    ] {
        if !chosen.is_empty() && !chosen.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let figures = bench();
        println!("bench {name} {figures}");
        if let Some(folder) = std::env::var_os("PLIMSOLL_BENCH_DIR") {
            let file = std::path::Path::new(&folder).join(format!("{name}.json"));
            std::fs::write(file, figures.to_string()).unwrap();
        }
    }
}

/// Wall and CPU time of some pieces of work.
#[derive(Default)]
struct Meter {
    wall: Duration,
    cpu: Duration,
}

impl Meter {
    fn time<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let cpu = || Duration::try_from(rustix::time::clock_gettime(ClockId::ProcessCPUTime));
        let (wall_before, cpu_before) = (Instant::now(), cpu().unwrap());
        let result = work();
        self.wall += wall_before.elapsed();
        self.cpu += cpu().unwrap().saturating_sub(cpu_before);
        result
    }

    /// Of `count` pieces, how many in a second.
    fn rates(&self, count: u64) -> Value {
        json!({
            "per_second": (count as f64 / self.wall.as_secs_f64()).round(),
            "per_cpu_second": (count as f64 / self.cpu.as_secs_f64()).round(),
        })
    }
}

/// Every container named, with labels and requests as usual.
fn inventory() -> Index {
    let mut index = Index::default();
    for container in 0..CONTAINERS {
        let identity = records::identity(container);
        let (uid, id) = (
            identity.pod_uid().unwrap(),
            identity.container_id().unwrap(),
        );
        let node = records::NODE;
        let text = format!(
            "apiVersion: v1
kind: Pod
metadata:
  name: checkout-{container}
  namespace: shop
  uid: {uid}
  labels: {{app.kubernetes.io/name: checkout, app.kubernetes.io/instance: checkout-prod, team: payments}}
  ownerReferences: [{{apiVersion: apps/v1, kind: StatefulSet, name: checkout, uid: s, controller: true}}]
spec:
  nodeName: {node}
  containers: [{{name: app, image: a, resources: {{requests: {{cpu: 250m, memory: 256Mi}}, limits: {{memory: 512Mi}}}}}}]
status:
  containerStatuses: [{{name: app, containerID: \"containerd://{id}\", image: a, imageID: a, ready: true, restartCount: 0}}]
"
        );
        for object in &parse::parse("bench", &text).objects {
            index.apply(object, plimsoll_collector::inventory::Moment::default());
        }
    }
    assert_eq!(index.pods() as u64, CONTAINERS);
    index
}

const fn record(seq: u64, payload: Vec<u8>) -> Record {
    Record {
        seq,
        time_unix_ns: seq,
        payload,
    }
}

/// A fleet's minutes, in the order in which they come: each container once, then the next minute.
fn history() -> Value {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("history.redb");
    let history = Arc::new(History::open(&path, Limits::default()).unwrap());
    let mut feed = Feed {
        history: Arc::clone(&history),
        index: IndexReader::fixed(inventory()),
    };
    let order = (0..MINUTES).flat_map(|minute| (0..CONTAINERS).map(move |c| (c, minute)));
    let mut order = (1..).zip(order).peekable();
    let (mut decoding, mut applying) = (Meter::default(), Meter::default());
    while order.peek().is_some() {
        let journal: Vec<Record> = order
            .by_ref()
            .take(Feed::BATCH)
            .map(|(seq, (container, minute))| {
                let window = records::minute(container, minute);
                record(seq, records::metrics(&window, seq).encode_to_vec())
            })
            .collect();
        let last_seq = journal.last().unwrap().seq;
        let entries = decoding.time(|| {
            let entries = journal.iter().map(|record| Feed::decode(record).unwrap());
            entries.collect()
        });
        applying.time(|| {
            feed.resume(EPOCH).unwrap();
            feed.take(entries, EPOCH, last_seq).unwrap();
        });
    }
    let (stats, windows) = (history.stats(), CONTAINERS * MINUTES);
    assert_eq!((stats.series, stats.applied), (CONTAINERS, windows));
    drop((feed, history));
    let mut opening = Meter::default();
    opening.time(|| History::open(&path, Limits::default()).unwrap());
    let file_bytes = std::fs::metadata(&path).unwrap().len();
    json!({
        "containers": CONTAINERS,
        "windows_per_container": MINUTES,
        "windows_decoded": decoding.rates(windows),
        "windows_applied": applying.rates(windows),
        "bytes_per_container": stats.bytes / CONTAINERS,
        "file_bytes_per_container": file_bytes / CONTAINERS,
        "series_opened": opening.rates(CONTAINERS),
    })
}

/// What the agent says of a request.
fn request() -> Value {
    json!({
        "endpoint": "imds", "method": "GET", "imds_version": "v2", "class": "CRED", "role": "node-role",
        "path": "/latest/meta-data/iam/security-credentials/node-role",
        "src": {"ip": "10.0.0.5", "port": 40000}, "dst": {"ip": "169.254.169.254", "port": 80},
        "status": 200, "outcome": "ok", "flags": [], "token_hash": "0f1e2d3c4b5a69788796a5b4c3d2e1f0",
    })
}

/// Metadata requests as links of a chain: made, and looked at again.
fn chain() -> Value {
    let request = request();
    let events: Vec<_> = (1..=EVENTS)
        .map(|seq| {
            let audit = AuditRecord {
                time_unix_ns: 1_764_561_234_000_000_000 + seq,
                id: RecordId {
                    node: records::NODE.to_owned(),
                    epoch: EPOCH.to_owned(),
                    class: Class::Security,
                    seq,
                },
                event: AuditEvent::Imds(ImdsAccess {
                    identity: records::identity(seq % CONTAINERS),
                    process: None,
                    task_identity: None,
                    request: request.as_object().unwrap().clone(),
                }),
                names: serde_json::Map::new(),
            };
            let event = serde_json::to_value(ocsf::event::of(&audit, "0")).unwrap();
            event.as_object().unwrap().clone()
        })
        .collect();
    let (mut sealing, mut verifying) = (Meter::default(), Meter::default());
    let mut hashing = Meter::default();
    let mut head = links::NOTHING;
    let bodies: Vec<String> = sealing.time(|| {
        let sealed = (1..).zip(events).map(|(seq, event)| {
            let (body, hash) = links::seal(event, "20261201T073000Z-1", seq, &head);
            head = hash;
            body
        });
        sealed.collect()
    });
    // Of sealing, what the proof takes: the rest writes the event, with a chain or without.
    let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
    let signatures = hashing.time(|| {
        let hashes = bodies.iter().map(|body| links::sha256(&[body.as_bytes()]));
        let signed = hashes.filter(|hash| hash.first() == Some(&0));
        signed.inspect(|hash| _ = key.sign(hash)).count()
    });
    let share = hashing.cpu.as_secs_f64() / EVENTS as f64 * 10_000.0;
    let place = |at: u64| at.to_string();
    let report = verifying.time(|| {
        let mut verifier = Verifier::new(Expect::default(), &place);
        for (at, body) in (1..).zip(&bodies) {
            verifier.add(body.as_bytes(), at);
        }
        verifier.finish()
    });
    assert_eq!(report.findings_total, 1, "nothing but the unsigned tail");
    let bytes: usize = bodies.iter().map(String::len).sum();
    json!({
        "events": EVENTS,
        "bytes_per_event": bytes as u64 / EVENTS,
        "events_sealed": sealing.rates(EVENTS),
        "events_hashed": hashing.rates(EVENTS),
        "events_per_signature": EVENTS / (signatures as u64).max(1),
        "cpu_percent_at_10000_a_second": 100.0 * share,
        "events_verified": verifying.rates(EVENTS),
    })
}

/// Metadata requests, with the names of their pods.
fn audit_file() -> Value {
    let folder = tempfile::tempdir().unwrap();
    let options = sink::Options {
        path: folder.path().join("audit.jsonl"),
        rotate_bytes: 100 << 20,
        keep_files: 2,
    };
    let index = inventory();
    let names = move |_: &str, event: &AuditEvent| match event {
        AuditEvent::Imds(access) => Known {
            names: join(&access.identity, &index).to_map(),
            elsewhere: None,
        },
        _ => Known::default(),
    };
    let open = |name: &str| FileStorage::open(&folder.path().join(name)).unwrap();
    let settings = trail::Settings {
        readers: vec![FileSink::NAME.to_owned()],
        max_bytes: 1 << 30,
        max_age_ns: None,
        epoch: trail::new_epoch(1_764_561_234_000_000_000, 7),
        new_journal_epoch: EPOCH.to_owned(),
        version: "0",
    };
    let (trail, _) = Trail::open(open("trail"), open("keys"), settings).unwrap();
    let mut publisher = Publisher::new(trail.clone(), Arc::new(names));
    let mut sink = FileSink::new(options, Arc::new(AuditRing::default()));
    let written = sink.written();
    let request = request();
    let (mut decoding, mut publishing) = (Meter::default(), Meter::default());
    let mut writing = Meter::default();
    let mut seqs = (1..=EVENTS).peekable();
    while seqs.peek().is_some() {
        let journal: Vec<Record> = seqs
            .by_ref()
            .take(<Publisher as Destination>::BATCH)
            .map(|seq| {
                let event = AuditEvent::Imds(ImdsAccess {
                    identity: records::identity(seq % CONTAINERS),
                    process: None,
                    task_identity: None,
                    request: request.as_object().unwrap().clone(),
                });
                record(seq, records::logs(&event, seq).encode_to_vec())
            })
            .collect();
        let last_seq = journal.last().unwrap().seq;
        let items = decoding.time(|| {
            let items = journal
                .iter()
                .map(|record| <Publisher as Destination>::decode(record).unwrap());
            items.collect()
        });
        publishing.time(|| {
            publisher.resume(EPOCH).unwrap();
            publisher.take(items, EPOCH, last_seq).unwrap();
        });
        let batch = trail
            .hand_out(FileSink::NAME, usize::MAX, usize::MAX)
            .unwrap();
        writing.time(|| {
            let items = batch.records.iter();
            let items = items.map(|record| FileSink::decode(record).unwrap());
            sink.resume(EPOCH).unwrap();
            let last_seq = batch.records.last().unwrap().seq;
            sink.take(items.collect(), EPOCH, last_seq).unwrap();
            trail.settle(FileSink::NAME, last_seq).unwrap();
        });
    }
    let bytes = written.bytes.load(std::sync::atomic::Ordering::Relaxed);
    json!({
        "events": EVENTS,
        "events_decoded": decoding.rates(EVENTS),
        "events_published": publishing.rates(EVENTS),
        "lines_written": writing.rates(EVENTS),
        "bytes_per_line": bytes / EVENTS,
    })
}
