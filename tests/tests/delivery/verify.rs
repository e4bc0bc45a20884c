//! The chain read back out of CloudWatch Logs by `plimsoll audit verify` itself, and out of what AWS's own tools print:
//! whole as it came, and with everything found that somebody has done to it since.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use plimsoll_tests::cloudwatch::{AwsError, CloudWatch, Fault, Operation, StoredEvent, Times};
use serde_json::{Value, json};

use crate::collector::{Collector, program, wait_until};
use crate::emitter::{Emitter, Way};

const GROUP: &str = "/plimsoll/verify";
const MINUTES_MS: i64 = 60_000;

/// Two lives of a collector, and where its events went.
struct Rig {
    logs: CloudWatch,
    collector: Collector,
    folder: tempfile::TempDir,
    emitted: u32,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let logs = CloudWatch::start().unwrap();
        logs.create_group(GROUP).unwrap();
        let mut collector = Collector::new(&folder.path().join("collector"));
        collector.sinks = json!([{"name": "aws", "cloudwatch": {"group": GROUP, "stream": "cluster-1",
            "region": "eu-central-1", "endpoint": logs.endpoint()}}]);
        Self {
            logs,
            collector,
            folder,
            emitted: 0,
        }
    }

    fn emit(&mut self, events: u32) {
        let way = Way {
            endpoint: format!("http://127.0.0.1:{}", self.collector.otlp),
            token: self.collector.token(),
            ca: None,
            server_name: None,
            environment: Vec::new(),
        };
        let spool = self.folder.path().join("spool");
        let mut emitter = Emitter::start(&spool, &way, self.emitted + 1, events);
        self.emitted += events;
        wait_until("all is emitted", || emitter.ended().is_some());
        assert!(emitter.ended().unwrap().success(), "{}", emitter.log());
        wait_until("all is delivered", || self.collector.is_idle());
    }

    fn verify(&self, arguments: &[&str]) -> (bool, Value, String) {
        let endpoint = self.logs.endpoint();
        let mut words = vec!["--cloudwatch", GROUP, "--endpoint-url", &endpoint];
        words.extend(["--region", "eu-central-1"]);
        words.extend(arguments);
        told(&verify(&words, None))
    }

    /// The kinds of what is found after a change to the stream of the first life.
    fn found_after(&self, change: impl FnOnce(&mut Vec<StoredEvent>)) -> Vec<String> {
        let streams = self.logs.stored_in(GROUP);
        // Names of lives that began within a second are in no order.
        let began = |(_, events): &(&String, &Vec<StoredEvent>)| {
            events.iter().map(|event| event.timestamp_ms).min()
        };
        let lives = streams.iter().filter(|(_, events)| !events.is_empty());
        let (stream, before) = lives.min_by_key(began).unwrap();
        let in_order = |events: &mut Vec<StoredEvent>| {
            events.sort_by_key(number);
            change(events);
        };
        self.logs.tamper(GROUP, stream, in_order).unwrap();
        let (ok, report, said) = self.verify(&[]);
        let put_back = |events: &mut Vec<StoredEvent>| events.clone_from(before);
        self.logs.tamper(GROUP, stream, put_back).unwrap();
        let findings = report["findings"].as_array().unwrap();
        assert_eq!(ok, findings.is_empty(), "{report:#} {said}");
        let kind = |finding: &Value| finding["kind"].as_str().unwrap().to_owned();
        findings.iter().map(kind).collect()
    }
}

/// Of the link.
fn number(event: &StoredEvent) -> u64 {
    let event: Value = serde_json::from_str(&event.message).unwrap();
    event["unmapped"]["chain"]["seq"].as_u64().unwrap()
}

/// `plimsoll audit verify -o json`, with that on standard input.
fn verify(arguments: &[&str], input: Option<&[u8]>) -> Output {
    let mut child = Command::new(program("plimsoll"))
        .args(["audit", "verify", "-o", "json"])
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "secret")
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.unwrap_or_default()).unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

fn told(ran: &Output) -> (bool, Value, String) {
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    let report = serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("{said}"));
    (ran.status.success(), report, said)
}

#[test]
fn the_chain_in_cloudwatch_is_whole_and_everything_done_to_it_is_found() {
    let mut rig = Rig::new();
    // What was stored long ago is not waited for.
    rig.logs.set_now_ms(rig.logs.now_ms() - 10 * MINUTES_MS);
    for _ in 0..2 {
        rig.collector.start();
        rig.emit(40);
        assert!(rig.collector.terminate().success());
    }
    // Somebody else's stream, and what goes wrong and passes.
    rig.logs.create_stream(GROUP, "other/1").unwrap();
    for fault in [
        Fault::throttling(),
        Fault::service_unavailable(),
        Fault::no_body(),
        Fault::CutBefore,
    ] {
        rig.logs
            .fail(Operation::GetLogEvents, fault, Times::Next(1));
    }
    rig.logs.fail(
        Operation::DescribeLogStreams,
        Fault::throttling(),
        Times::Next(2),
    );
    rig.logs
        .fail(Operation::GetLogEvents, Fault::EmptyPage, Times::Next(3));
    let (ok, report, said) = rig.verify(&["--stream-prefix", "cluster-1/"]);
    assert!(ok, "{report:#} {said}");
    let stored: usize = rig.logs.stored_in(GROUP).values().map(Vec::len).sum();
    assert_eq!(report["events"].as_u64(), Some(stored as u64));
    assert_eq!(report["epochs"].as_array().unwrap().len(), 2);
    assert!(stored >= 84, "{stored}");

    let found = rig.found_after(|events| drop(events.remove(5)));
    assert_eq!(found, ["gap"]);
    let found = rig.found_after(|events| drop(events.pop()));
    assert_eq!(
        found,
        ["gap"],
        "the next life says where the one before ended"
    );
    let found = rig.found_after(|events| {
        events[5].message = events[5].message.replace("victim", "culprit");
    });
    assert_eq!(found, ["edit"]);
    let found = rig.found_after(|events| events.push(events[7].clone()));
    assert!(found.is_empty(), "identical copies are what may be");
    // The texts of two change places: each is there, whole. No order is kept there, and so none is broken.
    let found = rig.found_after(|events| {
        let (one, two) = (events[5].message.clone(), events[6].message.clone());
        (events[5].message, events[6].message) = (two, one);
    });
    assert!(found.is_empty());
    let found = rig.found_after(|events| {
        let renumbered = events[6].message.replace("\"seq\":7", "\"seq\":8");
        events[6].message = renumbered;
    });
    assert!(
        found.contains(&"edit".to_owned()) && found.contains(&"gap".to_owned()),
        "{found:?}"
    );
    let found = rig.found_after(|events| {
        let mut made = events[5].clone();
        made.message = "{\"made\":\"up\"}".to_owned();
        events.push(made);
    });
    assert_eq!(found, ["insertion"]);
    // What data protection masks is not what was signed, unless it is asked for.
    rig.logs.mask("victim");
    let (ok, report, said) = rig.verify(&["--stream-prefix", "cluster-1/"]);
    assert!(!ok && report["findings"][0]["kind"] == "edit");
    assert!(said.contains("--unmask"), "{said}");
    assert!(rig.verify(&["--stream-prefix", "cluster-1/", "--unmask"]).0);
    printed(&rig);
    refused(&rig);
}

/// What AWS's own tools print of the streams.
fn printed(rig: &Rig) {
    let streams = rig.logs.stored_in(GROUP);
    let event = |event: &StoredEvent| {
        json!({"timestamp": event.timestamp_ms, "message": event.message,
            "ingestionTime": event.ingestion_ms})
    };
    let pages = streams.values().flat_map(|events| events.chunks(25));
    let pages = pages.map(|events| {
        let page = json!({"events": events.iter().map(event).collect::<Vec<_>>(),
            "nextForwardToken": "f/1/s", "nextBackwardToken": "b/0/s"});
        serde_json::to_string_pretty(&page).unwrap()
    });
    let documents = pages.collect::<Vec<_>>().join("\n");
    let all: Vec<&StoredEvent> = streams.values().flatten().rev().collect();
    let lines: Vec<String> = all.iter().map(|one| event(one).to_string()).collect();
    let detailed = all.iter().map(|one| {
        format!(
            "2026-12-01T11:00:00.000000+00:00 cluster-1/e {}",
            one.message
        )
    });
    let pretty = all.iter().map(|one| {
        let message: Value = serde_json::from_str(&one.message).unwrap();
        let message = serde_json::to_string_pretty(&message).unwrap();
        format!("2026-12-01T11:00:00+00:00 cluster-1/e \n{message}")
    });
    for text in [
        documents,
        lines.join("\n"),
        detailed.collect::<Vec<_>>().join("\n"),
        pretty.collect::<Vec<_>>().join("\n") + "\n",
    ] {
        let (ok, report, _) = told(&verify(&["-"], Some(text.as_bytes())));
        assert!(ok, "{report:#}");
        assert_eq!(report["events"], all.len());
        let cut = text.replacen("for want of", "by want of", 1);
        assert!(cut != text);
        let (ok, report, _) = told(&verify(&["-"], Some(cut.as_bytes())));
        assert!(!ok && report["findings"][0]["kind"] == "edit", "{report:#}");
    }
}

/// What will not be answered is an error that says what is missing.
fn refused(rig: &Rig) {
    let endpoint = rig.logs.endpoint();
    let said = |group: &str| {
        let words = [
            "--cloudwatch",
            group,
            "--endpoint-url",
            &endpoint,
            "--region",
            "eu-central-1",
        ];
        let ran = verify(&words, None);
        assert_eq!(ran.status.code(), Some(2));
        String::from_utf8(ran.stderr).unwrap()
    };
    assert!(said("/none").contains("The specified log group does not exist."));
    rig.logs.create_group("/empty").unwrap();
    assert!(said("/empty").contains("/empty has no event with unmapped.chain"));
    let denied = AwsError::new("AccessDeniedException", "not authorized");
    rig.logs
        .fail(Operation::GetLogEvents, Fault::Error(denied), Times::Always);
    assert!(said(GROUP).contains("the credentials need logs:GetLogEvents"));
    rig.logs.heal();
}

#[test]
fn what_the_service_does_not_show_yet_is_waited_for() {
    let mut rig = Rig::new();
    rig.collector.start();
    rig.emit(10);
    // Reads do not find these yet, and do find what comes behind them.
    rig.logs.lag(3);
    rig.emit(10);
    rig.logs.lag(0);
    rig.emit(10);
    assert!(rig.collector.terminate().success());
    let (ok, report, said) = rig.verify(&[]);
    assert!(ok, "{report:#}");
    assert!(said.contains("looking for them"), "{said}");
    let stored: usize = rig.logs.stored_in(GROUP).values().map(Vec::len).sum();
    assert_eq!(report["events"].as_u64(), Some(stored as u64));
    assert_eq!(report["duplicates"], 0);
}
