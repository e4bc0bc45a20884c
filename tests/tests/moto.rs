#![expect(
    clippy::disallowed_methods,
    reason = "shell: starts moto and looks whether it is there"
)]
#![expect(clippy::unwrap_used, reason = "a test with a main of its own")]
//! The double of CloudWatch Logs beside moto, which others have held against AWS: the same requests
//! have the same outcome, but for what moto is known to do otherwise. And beside boto3, which comes
//! with moto: AWS's own SDK understands what the double says.
//!
//! Needs moto in `target/moto`, where `.ci/run` installs it:
//!
//! ```sh
//! python3 -m venv target/moto
//! target/moto/bin/pip install -r tests/tests/moto/requirements.txt
//! ```
//!
//! Without it one line is printed, `SKIP contract with moto: reason`. A word on the command line selects the
//! cases whose name contains it.

#[path = "moto/cases.rs"]
mod cases;
#[path = "cloudwatch/client.rs"]
mod client;
#[path = "moto/differences.rs"]
mod differences;
#[path = "moto/server.rs"]
mod server;

use std::collections::BTreeSet;
use std::io::Write as _;
use std::process::{Command, ExitCode};
use std::time::{SystemTime, UNIX_EPOCH};

use cases::{Case, Step};
use client::Client;
use differences::DIFFERENCES;
use plimsoll_tests::checks::{self, Verdict};
use plimsoll_tests::cloudwatch::{CloudWatch, Fault, Operation, Times};
use serde_json::{Value, json};
use server::{Moto, program};

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let program = program();
    if !program.is_file() {
        let skip = || Verdict::Skipped("needs moto in target/moto".to_owned());
        return checks::run("moto", [("contract with moto", skip)], None);
    }
    let moto = Moto::start(&program);
    let ours = CloudWatch::start().unwrap();
    let beside = Beside {
        ours: Client::new(&ours.endpoint()),
        moto: Client::new(&moto.endpoint),
        now_ms: now_ms(),
    };
    let compare = cases::ALL.iter().map(|case| {
        let beside = &beside;
        let check: Box<dyn FnOnce() -> Verdict> = Box::new(move || beside.check(case));
        (case.name, check)
    });
    let named: Box<dyn FnOnce() -> Verdict> = Box::new(every_difference_is_of_a_case);
    let sdk: Box<dyn FnOnce() -> Verdict> = Box::new(an_sdk_understands_it);
    let more = [
        ("every_difference_is_of_a_case", named),
        ("an_sdk_understands_it", sdk),
    ];
    let all = compare.chain(more);
    checks::run("moto", all, filter.as_deref())
}

/// Moto keeps the machine's clock, and so does the double beside it.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    i64::try_from(since.as_millis()).unwrap()
}

fn every_difference_is_of_a_case() -> Verdict {
    let names: BTreeSet<_> = cases::ALL.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases::ALL.len(), "two cases of one name");
    let mut seen = BTreeSet::new();
    for difference in DIFFERENCES {
        assert!(names.contains(difference.case), "{}", difference.case);
        assert!(seen.insert(difference.case), "{} twice", difference.case);
        assert_ne!(difference.ours, difference.moto, "{}", difference.why);
    }
    Verdict::Passed
}

/// boto3 signs its requests truly, and makes of each error the class that the API's model has.
fn an_sdk_understands_it() -> Verdict {
    let logs = CloudWatch::start().unwrap();
    let now_ms = now_ms();
    logs.set_now_ms(now_ms);
    logs.accept_keys(&["AKIDEXAMPLE"]);
    logs.set_secret("AKIDEXAMPLE", "secret");
    let two = |skip| Times::After { skip, times: 1 };
    // Of those that are not refused by then.
    logs.fail(Operation::PutLogEvents, Fault::throttling(), two(4));
    logs.fail(
        Operation::PutLogEvents,
        Fault::service_unavailable(),
        two(4),
    );
    logs.fail(Operation::GetLogEvents, Fault::EmptyPage, Times::Next(1));
    let python = program().with_file_name("python");
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/moto/client.py"))
        .args([logs.endpoint(), now_ms.to_string()])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let seen: Value = serde_json::from_slice(&output.stdout).unwrap();
    let missing = "ResourceNotFoundException";
    let exists = "ResourceAlreadyExistsException";
    let invalid = "InvalidParameterException";
    let order = "Log events in a single PutLogEvents request must be in chronological order.";
    let (throttled, unavailable) = ("ThrottlingException", "ServiceUnavailableException");
    let expected = json!({
        "no group": [missing, 400, missing, "The specified log group does not exist."],
        "group": {},
        "no stream": [missing, 400, missing, "The specified log stream does not exist."],
        "stream": {},
        "again": [exists, 400, exists, "The specified log stream already exists"],
        "retention": {},
        "rejected": {"rejectedLogEventsInfo": {"tooOldLogEventEndIndex": 1,
            "expiredLogEventEndIndex": 2, "tooNewLogEventStartIndex": 4}},
        "order": [invalid, 400, invalid, order],
        "throttled": [throttled, 400, throttled, "Rate exceeded"],
        "unavailable": [unavailable, 503, unavailable, "The service cannot complete the request."],
        "pages": [[], ["a"], ["é"], []],
        "deleted": {},
    });
    assert_eq!(seen, expected);
    logs.finish().unwrap();
    Verdict::Passed
}

/// The two services, and what time it is.
struct Beside {
    ours: Client,
    moto: Client,
    now_ms: i64,
}

impl Beside {
    fn check(&self, case: &Case) -> Verdict {
        let [ours, moto] =
            [&self.ours, &self.moto].map(|client| outcome(client, case, self.now_ms));
        let known = DIFFERENCES.iter().find(|known| known.case == case.name);
        match known {
            None => assert_eq!(ours, moto, "{}: left is ours, right is moto's", case.name),
            Some(known) => {
                assert_eq!(moto, known.moto, "{}: moto is another by now", case.name);
                assert_eq!(ours, known.ours, "{}: ours is another by now", case.name);
            }
        }
        Verdict::Passed
    }
}

/// What came of each step, and what is stored: `ok, ok {"tooOldLogEventEndIndex":1}; ["a", "b"]`. Of
/// errors the type, and the words where clients read them: what is missing or there already.
fn outcome(client: &Client, case: &Case, now_ms: i64) -> String {
    let group = format!("/contract/{}", case.name);
    let mut told = Vec::new();
    for step in (case.steps)(now_ms) {
        told.push(taken(client, &group, step));
    }
    let stored = match read(client, &group) {
        Ok(stored) if stored.len() > 20 => format!("{} events", stored.len()),
        Ok(stored) => format!("{stored:?}"),
        Err(error) => error,
    };
    format!("{}; {stored}", told.join(", "))
}

fn taken(client: &Client, group: &str, step: Step) -> String {
    let mut body = step.body;
    let members = body.as_object_mut().unwrap();
    members.entry("logGroupName").or_insert(group.into());
    let stream = cases::STREAM.into();
    members.entry("logStreamName").or_insert(stream);
    let mut headers = client.headers(step.operation);
    let mut body = body.to_string().into_bytes();
    if step.packed {
        headers.push(("content-encoding", "gzip".to_owned()));
        body = gzip(&body);
    }
    let answer = client.send(&headers, &body).unwrap();
    match answer.error() {
        error if error.is_empty() => {
            assert!(answer.header("x-amzn-requestid").is_some(), "{answer:?}");
            let answer = answer.json();
            let of = |name: &str| {
                let told = answer.get(name).filter(|told| **told != json!({}));
                told.map(|told| format!(" {told}")).unwrap_or_default()
            };
            let told = [
                of("rejectedLogEventsInfo"),
                of("rejectedEntityInfo"),
                streams(&answer),
            ];
            format!("ok{}", told.concat())
        }
        error if error.starts_with("Resource") => format!("{error} ({})", answer.message()),
        error => error,
    }
}

/// Of DescribeLogStreams the names, and whether there are more.
fn streams(answer: &Value) -> String {
    let Some(streams) = answer["logStreams"].as_array() else {
        return String::new();
    };
    let names = streams.iter().map(|stream| &stream["logStreamName"]);
    let more = answer["nextToken"].as_str().map_or("", |_| " …");
    format!(" {}{more}", json!(names.collect::<Vec<_>>()))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

/// The messages of the case's stream, shortened, in pages of three until the token does not change.
fn read(client: &Client, group: &str) -> Result<Vec<String>, String> {
    let (mut all, mut token) = (Vec::new(), Value::Null);
    // More than any case has.
    for _ in 0..10_000 {
        let limit = if all.len() > 20 { 10_000 } else { 3 };
        let mut body = json!({"logGroupName": group, "logStreamName": cases::STREAM,
            "startFromHead": true, "limit": limit});
        if let Some(token) = token.as_str() {
            body["nextToken"] = token.into();
        }
        let answer = client.call("GetLogEvents", &body);
        if !answer.error().is_empty() {
            return Err(answer.error());
        }
        let answer = answer.json();
        let message = |e: &Value| e["message"].as_str().unwrap().chars().take(20).collect();
        all.extend(answer["events"].as_array().unwrap().iter().map(message));
        if answer["nextForwardToken"] == token {
            return Ok(all);
        }
        token = answer["nextForwardToken"].clone();
    }
    Err("without end".to_owned())
}
