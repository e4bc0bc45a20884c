//! The double of CloudWatch Logs itself, over HTTP: that it keeps each rule at its limit, that it
//! misbehaves as it is told, and that its books are true.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: leaves a connection before its answer"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

#[path = "cloudwatch/client.rs"]
mod client;
#[path = "cloudwatch/faults.rs"]
mod faults;
#[path = "cloudwatch/protocol.rs"]
mod protocol;
#[path = "cloudwatch/reads.rs"]
mod reads;
#[path = "cloudwatch/rules.rs"]
mod rules;

use client::{Answer, Client};
use plimsoll_tests::cloudwatch::CloudWatch;
use serde_json::{Value, json};

const NOW: i64 = 1_800_000_000_000;
const GROUP: &str = "/plimsoll/audit";
const STREAM: &str = "cluster/i-0/1";

/// A service whose clock stands, with a group and a stream, and a client of it.
fn service() -> (CloudWatch, Client) {
    let logs = CloudWatch::start().unwrap();
    logs.set_now_ms(NOW);
    logs.create_group(GROUP).unwrap();
    logs.create_stream(GROUP, STREAM).unwrap();
    let client = Client::new(&logs.endpoint());
    (logs, client)
}

fn event(timestamp: i64, message: &str) -> Value {
    json!({"timestamp": timestamp, "message": message})
}

fn batch(events: impl IntoIterator<Item = Value>) -> Value {
    let events: Vec<Value> = events.into_iter().collect();
    json!({"logGroupName": GROUP, "logStreamName": STREAM, "logEvents": events})
}

/// Events of these times, all alike.
fn at(timestamps: &[i64]) -> Value {
    batch(timestamps.iter().map(|t| event(*t, "m")))
}

fn put(client: &Client, body: &Value) -> Answer {
    client.call("PutLogEvents", body)
}

/// What is stored, as it was sent.
fn messages(logs: &CloudWatch) -> Vec<String> {
    let stored = logs.stored(GROUP, STREAM);
    stored.into_iter().map(|event| event.message).collect()
}
