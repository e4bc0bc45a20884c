//! The way on from the collector: doubles of CloudWatch Logs, Splunk, Elasticsearch and a receiver of OTLP, and files of
//! lines, with the collector killed and the services failing in every way at random. What was acknowledged is there, what
//! is there twice is the same twice, and the chain is whole in each place that has it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use plimsoll_tests::cloudwatch::{CloudWatch, Fault, Operation, Times};
use plimsoll_tests::elasticsearch::Elasticsearch;
use plimsoll_tests::hec::{Hec, Token};
use plimsoll_tests::otlp::{Otlp, Protocol};
use serde_json::{Value, json};

use crate::collector::{Collector, program, verify, wait_until};
use crate::emitter::{Emitter, Way};
use crate::kills::LIFE;

const GROUP: &str = "/plimsoll/test";
const TOKEN: &str = "5ec7e7-0f";
/// Kills of the collector. More, and of everything, are in the soak.
const KILLS: u32 = 12;
/// Events between two of them, at the most.
const EVENTS: u32 = 500;

/// Where documents go: a data stream.
const INDEX: &str = "logs-plimsoll.audit-test";

/// Everywhere that events go.
struct Places {
    cloudwatch: CloudWatch,
    hec: Hec,
    elastic: Elasticsearch,
    otel: Otlp,
}

impl Places {
    fn open(folder: &Path) -> Self {
        let (cloudwatch, hec) = (CloudWatch::start().unwrap(), Hec::start().unwrap());
        cloudwatch.create_group(GROUP).unwrap();
        let token = Token {
            has_acks: true,
            ..Token::default()
        };
        hec.add_token(TOKEN, token);
        std::fs::write(folder.join("hec-token"), TOKEN).unwrap();
        let elastic = Elasticsearch::start().unwrap();
        elastic.accept(&format!("ApiKey {TOKEN}"));
        Self {
            cloudwatch,
            hec,
            elastic,
            otel: Otlp::start(Protocol::Grpc).unwrap(),
        }
    }

    fn sinks(&self, folder: &Path) -> Value {
        let mut all = sinks(&self.cloudwatch, &self.hec, folder);
        let more = [
            json!({
                "name": "elastic",
                "elasticsearch": {
                    "endpoint": self.elastic.endpoint(),
                    "index": INDEX,
                    "secret_file": folder.join("hec-token"),
                },
            }),
            json!({"name": "otel", "otlp": {"endpoint": self.otel.endpoint(), "gzip": true}}),
        ];
        all.as_array_mut().unwrap().extend(more);
        all
    }

    /// Something that goes wrong for a while, and passes.
    fn trouble(&self, dice: &mut fastrand::Rng) {
        self.cloudwatch.trouble(dice);
        self.elastic.trouble(dice);
        self.otel.trouble(dice);
        self.hec.trouble(dice);
    }
}

fn sinks(cloudwatch: &CloudWatch, hec: &Hec, folder: &Path) -> Value {
    json!([
        {
            "name": "aws",
            "cloudwatch": {
                "group": GROUP,
                "stream": "cluster-1",
                "region": "eu-central-1",
                "endpoint": cloudwatch.endpoint(),
            },
        },
        {
            "name": "splunk",
            "hec": {
                "endpoint": hec.endpoint(),
                "token_file": folder.join("hec-token"),
                "acknowledgement": true,
                "ack_timeout_s": 2,
            },
        },
        {"name": "lines", "file": {"path": folder.join("lines"), "rotate_bytes": 65_536, "keep_files": 10_000}},
        {"name": "older", "format": "ocsf-1.3", "file": {"path": folder.join("older")}},
        {
            "name": "grave",
            "file": {"path": folder.join("grave")},
            "route": {"min_severity": "high"},
        },
    ])
}

/// The lines of a folder's files, the oldest first.
fn lines(folder: &Path) -> Vec<Value> {
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .collect();
    files.sort_by_key(|path| {
        let number = path
            .extension()
            .and_then(|number| number.to_str()?.parse::<i64>().ok());
        -number.unwrap_or(0)
    });
    let texts = files
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap());
    let text: Vec<String> = texts.collect();
    text.iter()
        .flat_map(|text| text.lines())
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn uid(event: &Value) -> String {
    event["metadata"]["uid"].as_str().unwrap().to_owned()
}

#[test]
fn kills_and_failures_lose_nothing_on_the_way_to_sinks() {
    let folder = tempfile::tempdir().unwrap();
    let places = Places::open(folder.path());
    let mut collector = Collector::new(&folder.path().join("collector"));
    collector.sinks = places.sinks(folder.path());
    collector.start();
    let way = Way {
        endpoint: format!("http://127.0.0.1:{}", collector.otlp),
        token: collector.token(),
        ca: None,
        server_name: None,
        environment: Vec::new(),
    };
    let spool = folder.path().join("spool");
    let mut dice = fastrand::Rng::with_seed(20_261_201);
    let mut durable = 0;
    for round in 0..KILLS {
        let emitter = Emitter::start(&spool, &way, round * LIFE + 1, EVENTS);
        for _ in 0..dice.u32(1..4) {
            std::thread::sleep(Duration::from_millis(dice.u64(..200)));
            places.trouble(&mut dice);
        }
        collector.kill();
        durable += emitter.kill() - round * LIFE;
        collector.start();
    }
    assert!(durable > KILLS, "nearly nothing was emitted: {durable}");
    places.cloudwatch.heal();
    places.hec.heal();
    places.elastic.heal();
    places.otel.heal();
    let mut rest = Emitter::start(&spool, &way, 1, 0);
    wait_until("the spool is emptied", || rest.ended().is_some());
    assert!(rest.ended().unwrap().success(), "{}", rest.log());
    wait_until("everything is delivered", || collector.is_idle());
    let accounting = collector.get("/api/v1/accounting").unwrap();
    assert_eq!(accounting["balanced"], true, "{accounting:#}");
    assert!(collector.terminate().success());

    let ids: BTreeSet<String> = collector.written_once().into_keys().collect();
    assert!(ids.len() >= durable as usize);
    // Each file has each event once, what the trail says of itself besides.
    let is_own = |event: &Value| event["metadata"]["log_name"] == "checkpoint";
    for name in ["lines", "older"] {
        let events = lines(&folder.path().join(name));
        let uids: Vec<String> = events
            .iter()
            .filter(|event| !is_own(event))
            .map(uid)
            .collect();
        let once: BTreeSet<String> = uids.iter().cloned().collect();
        assert_eq!(once.len(), uids.len(), "{name}: none is there twice");
        assert_eq!(once, ids, "{name}");
    }
    // Nothing here is grave: what the trail says of itself is all of it.
    let grave = lines(&folder.path().join("grave"));
    assert!(!grave.is_empty());
    assert!(
        grave
            .iter()
            .all(|event| is_own(event) || event["severity_id"].as_i64() >= Some(4))
    );
    // Each service has each at least once, and what it has twice is the same.
    let mut in_streams = Vec::new();
    for (stream, events) in places.cloudwatch.stored_in(GROUP) {
        assert!(stream.starts_with("cluster-1/"), "{stream}");
        for event in events {
            let parsed: Value = serde_json::from_str(&event.message).unwrap();
            assert!(stream.ends_with(parsed["unmapped"]["chain"]["epoch"].as_str().unwrap()));
            in_streams.push(event.message);
        }
    }
    assert_indexed_once(&places.elastic, &ids);
    let indexed = places.hec.stored().into_iter().map(|stored| stored.event);
    assert_eq!(places.hec.skipped(), 0);
    let mut of_services = Vec::new();
    for events in [in_streams, indexed.collect(), bodies(&places.otel)] {
        let mut there: BTreeMap<String, &String> = BTreeMap::new();
        for event in &events {
            let parsed: Value = serde_json::from_str(event).unwrap();
            assert_eq!(there.entry(uid(&parsed)).or_insert(event), &event);
        }
        assert!(ids.iter().all(|id| there.contains_key(id)));
        let copy = folder.path().join("copy.jsonl");
        std::fs::write(&copy, events.join("\n")).unwrap();
        let (is_whole, report) = verify(&["--at-least-once"], &copy);
        assert!(is_whole, "{report:#}");
        of_services.push(report["epochs"].clone());
    }
    let (is_whole, of_files) = verify(&[], &folder.path().join("lines"));
    assert!(is_whole, "{of_files:#}");
    for epochs in of_services {
        assert_eq!(epochs, of_files["epochs"]);
    }
    assert_eq!(
        of_files["epochs"].as_array().unwrap().last().unwrap()["closed"],
        true
    );
}

/// What is created under its own name is there once.
fn assert_indexed_once(elastic: &Elasticsearch, ids: &BTreeSet<String>) {
    let indices = elastic.stored();
    assert_eq!(indices.keys().collect::<Vec<_>>(), [INDEX]);
    assert!(indices[INDEX].keys().eq(ids), "each event once");
    for (id, document) in &indices[INDEX] {
        let document: Value = serde_json::from_str(document).unwrap();
        assert_eq!(document["event"]["id"], **id);
    }
}

/// The events that a receiver of OTLP has, as it has them.
fn bodies(otel: &Otlp) -> Vec<String> {
    let records = otel.stored().into_iter().map(|stored| {
        let event: Value = serde_json::from_str(stored.body()).unwrap();
        assert_eq!(stored.uid(), uid(&event));
        stored.body().to_owned()
    });
    records.collect()
}

/// A marked event arrives, or the sink is named with what the other side says.
#[test]
fn a_probe_says_of_each_sink_what_becomes_of_an_event() {
    let folder = tempfile::tempdir().unwrap();
    let places = Places::open(folder.path());
    let cloudwatch = &places.cloudwatch;
    let path = folder.path().join("collector.yaml");
    let config = json!({
        "data": {"path": folder.path().join("state")},
        "sinks": places.sinks(folder.path()),
    });
    std::fs::write(&path, config.to_string()).unwrap();
    let check = |arguments: &[&str]| {
        let ran = Command::new(program("plimsoll-collector"))
            .arg("check-config")
            .arg("--config")
            .arg(&path)
            .args(arguments)
            .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8(ran.stdout), String::from_utf8(ran.stderr));
        (ran.status.code(), out.unwrap() + &err.unwrap())
    };
    let (code, said) = check(&[]);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "the configuration is sound, with 7 sinks\n")
    );
    assert_eq!(cloudwatch.requests().len(), 0);
    let (code, said) = check(&["--probe"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(said.lines().count(), 7, "{said}");
    let stored = cloudwatch.stored(GROUP, "cluster-1/probe");
    let event: Value = serde_json::from_str(&stored[0].message).unwrap();
    assert_eq!(
        (stored.len(), &event["metadata"]["log_name"]),
        (1, &json!("probe"))
    );
    assert!(said.contains(&uid(&event)), "{said}");
    assert_eq!(places.elastic.stored()[INDEX].len(), 1);
    let records = places.otel.stored();
    assert!(records.len() == 1 && records[0].uid().starts_with("probe/"));
    assert!(!folder.path().join("lines").exists() && !folder.path().join("state").exists());
    cloudwatch.fail(
        Operation::PutLogEvents,
        Fault::access_denied(),
        Times::Always,
    );
    let (code, said) = check(&["--probe"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("aws: refused: ") && said.contains("logs:PutLogEvents"),
        "{said}"
    );
    assert!(!said.contains("secret"), "{said}");
    cloudwatch.heal();
}
