//! Metadata requests: what is reported is what the service was asked, request for request.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::stage_only::{NEVER_MS, all_ended};
use super::{Context, rng};
use crate::imds_server::truth::Truth;
use crate::plimsoll::config::Settings;
use crate::plimsoll::read;
use crate::pods::{self, Place, Pod};
use crate::stage::Stage;
use crate::workloads::imds::SLOW_MS;

/// Unexpected events that are shown at most.
const SHOWN: usize = 5;

/// Pod UID, version, method, path, status.
pub(super) type Key = (String, String, String, String, u64);

/// Both versions and Pod Identity, both families, from pods and from the node's own network.
pub(super) fn every_way(context: &Context) -> Result<String> {
    let mut list = Vec::new();
    for v6 in [false, true] {
        list.push(client("v1", Place::Pod, "imds-v1", 5, v6));
        list.push(client("v2", Place::Pod, "imds-v2", 5, v6));
        list.push(client("identity", Place::Pod, "pod-identity", 5, v6));
    }
    // One of them: all pods of the node's network have one address.
    list.push(client("node", Place::Node, "imds-v2", 5, false));
    // The service's own socket is no client.
    let beside = client("beside", Place::BesideService, "pod-identity", 5, false);
    list.push(beside);
    let events = play(context, list, Duration::from_mins(1), |_| ())?;
    Ok(told(&events))
}

/// Every answer comes after the timeout: each request is told twice, as one without an answer and
/// with its answer, under one name.
pub(super) fn late(context: &Context) -> Result<String> {
    let list = [false, true].map(|v6| client("late", Place::Pod, "imds-slow", 2, v6));
    let events = play(context, list.into(), Duration::from_mins(1), |settings| {
        settings.response_timeout_ms = SLOW_MS / 3;
    })?;
    let imds = || events.iter().filter(|event| read::is_kind(event, "imds"));
    let (late, first): (Vec<_>, Vec<_>) = imds().partition(|event| is_late(event));
    let names = |events: &[&Value]| -> BTreeSet<String> {
        let names = events.iter().filter_map(|event| request_id(event));
        names.map(str::to_owned).collect()
    };
    ensure!(
        late.len() == first.len() && names(&late).len() == late.len(),
        "{} late answers to {} requests",
        late.len(),
        first.len()
    );
    ensure!(
        names(&late) == names(&first),
        "answers and requests do not bear the same names"
    );
    for (event, outcome) in first
        .iter()
        .map(|event| (event, "no_response"))
        .chain(late.iter().map(|event| (event, "ok")))
    {
        let seen = &read::body(event)["request"]["outcome"];
        ensure!(seen == outcome, "{seen} instead of {outcome}: {event}");
    }
    Ok(format!("{} late answers", late.len()))
}

fn told(events: &[Value]) -> String {
    format!("{} requests", requests(events).count())
}

/// Room for what four clients without pause send while the machine stands still for some ten seconds.
const RING_OF_AN_EMULATED_MACHINE: u32 = 16 << 20;

/// 2 × 1,000 × 2 requests without a token, 2 × 1,000 × 3 with one.
pub(super) fn ten_thousand(context: &Context) -> Result<String> {
    let mut list = Vec::new();
    for v6 in [false, true] {
        list.push(client("v1", Place::Pod, "imds-v1", 1_000, v6));
        list.push(client("v2", Place::Pod, "imds-v2", 1_000, v6));
    }
    // An emulated machine stands still for seconds at times. Whether an answer is late and whether a
    // ring can hold that much is not the question here.
    let events = play(context, list, Duration::from_secs(400), |settings| {
        settings.response_timeout_ms = 20_000;
        settings.security_ring_bytes = RING_OF_AN_EMULATED_MACHINE;
    })?;
    Ok(told(&events))
}

fn client(name: &str, place: Place, load: &str, count: u32, v6: bool) -> Pod {
    let family = if v6 { "6" } else { "4" };
    let count = count.to_string();
    let mut args = vec![load, "--count", &count, "--interval-ms", "1"];
    if v6 {
        args.push("--v6");
    }
    let mut pod = pods::pod(&mut rng(), &format!("{name}-{family}"), &args);
    pod.place = place;
    pod.restart_after_ms = NEVER_MS;
    pod
}

fn play(
    context: &Context,
    list: Vec<Pod>,
    within: Duration,
    change: impl FnOnce(&mut Settings),
) -> Result<Vec<Value>> {
    let names: Vec<_> = list.iter().map(|pod| pod.workload.clone()).collect();
    let mut act = context.play(list, change)?;
    all_ended(&mut act.stage, &names, within)?;
    for name in &names {
        let failed = act.stage.ends_of(name).iter().any(|end| !end.success);
        ensure!(!failed, "the load {name} failed");
    }
    let expected = count(truth_keys(&act.stage)?);
    let total: usize = expected.values().sum();
    // A request that was given up is told before its answer is.
    let is_answered = |event: &&Value| !read::body(event)["request"]["status"].is_null();
    let all = |events: &[Value]| requests(events).filter(is_answered).count() >= total;
    let events = act
        .plimsoll
        .wait_events(Duration::from_mins(1), all)
        // What is missing is said below.
        .or_else(|_| act.plimsoll.wait_events(Duration::ZERO, |_| true))?;
    let seen = count(requests(&events).map(event_key));
    compare(&expected, &seen).with_context(|| odd(&events, &expected))?;
    for event in requests(&events) {
        let process = &read::body(event)["process"];
        // A process that is there is called what its load is called.
        let is_client = |name: &str| name.ends_with("-client");
        ensure!(
            process.is_null() || process["comm"].as_str().is_some_and(is_client),
            "the load's process is {process}"
        );
    }
    act.end()?;
    Ok(events)
}

pub(super) fn count(keys: impl IntoIterator<Item = Key>) -> BTreeMap<Key, usize> {
    let mut map = BTreeMap::new();
    for key in keys {
        *map.entry(key).or_default() += 1;
    }
    map
}

/// The events of requests, each request once: one that was given up is told again with its late
/// answer, and that says what came of it.
pub(super) fn requests(events: &[Value]) -> impl Iterator<Item = &Value> {
    let imds = || events.iter().filter(|event| read::is_kind(event, "imds"));
    let late: BTreeSet<&str> = imds()
        .filter(|event| is_late(event))
        .filter_map(request_id)
        .collect();
    imds().filter(move |event| {
        is_late(event) || request_id(event).is_none_or(|id| !late.contains(id))
    })
}

fn request_id(event: &Value) -> Option<&str> {
    read::body(event)["request"]["request_id"].as_str()
}

fn is_late(event: &Value) -> bool {
    let flags = read::body(event)["request"]["flags"].as_array();
    flags.is_some_and(|flags| flags.iter().any(|flag| flag == "late_answer"))
}

/// Events that nothing expected explains, in their own words.
pub(super) fn odd(events: &[Value], expected: &BTreeMap<Key, usize>) -> String {
    let odd = requests(events).filter(|event| !expected.contains_key(&event_key(event)));
    let requests: Vec<String> = odd
        .take(SHOWN)
        .map(|event| read::body(event)["request"].to_string())
        .collect();
    let losses: Vec<String> = events
        .iter()
        .filter(|event| read::is_kind(event, "loss"))
        .map(|event| read::body(event).to_string())
        .collect();
    format!(
        "unexpected: {}; told as lost: {}",
        requests.join(" "),
        losses.join(" ")
    )
}

/// Every difference at once: what is missing under one key is often there under another.
pub(super) fn compare(expected: &BTreeMap<Key, usize>, seen: &BTreeMap<Key, usize>) -> Result<()> {
    let keys: BTreeSet<&Key> = expected.keys().chain(seen.keys()).collect();
    let differences: Vec<String> = keys
        .into_iter()
        .map(|key| {
            let times = |map: &BTreeMap<Key, usize>| map.get(key).copied().unwrap_or(0);
            (key, times(expected), times(seen))
        })
        .filter(|(_, happened, reported)| happened != reported)
        .map(|(key, happened, reported)| {
            format!("{key:?} happened {happened} times, {reported} are reported")
        })
        .collect();
    ensure!(differences.is_empty(), "{}", differences.join("; "));
    Ok(())
}

/// What the service was asked, by whom.
pub(super) fn truth_keys(stage: &Stage) -> Result<Vec<Key>> {
    let truth = stage.truth().context("no metadata service")?;
    let key = |t: Truth| -> Result<Key> {
        let uid = stage
            .uid_at(t.client)
            .with_context(|| format!("nobody lives at {}", t.client))?;
        let method = t.method.unwrap_or_default();
        Ok((
            uid,
            t.imds_version,
            method,
            t.path.unwrap_or_default(),
            u64::from(t.status),
        ))
    };
    truth.all().into_iter().map(key).collect()
}

pub(super) fn event_key(event: &Value) -> Key {
    let request = &read::body(event)["request"];
    let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
    let uid = read::pod_uid(event).unwrap_or_default().to_owned();
    let status = request["status"].as_u64().unwrap_or_default();
    (
        uid,
        text("imds_version"),
        text("method"),
        text("path"),
        status,
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// A request that was given up counts once if its answer came, and once if not.
    #[test]
    fn a_late_answer_takes_the_place_of_the_silence() {
        let event = |id: Value, flags: Value, status: Value| json!({"event": "imds", "request": {"request_id": id, "flags": flags, "status": status}});
        let events = [
            event(Value::Null, json!([]), json!(200)),
            event(json!("a"), json!([]), Value::Null),
            event(json!("b"), json!([]), Value::Null),
            event(json!("a"), json!(["gap", "late_answer"]), json!(404)),
        ];
        let statuses: Vec<u64> = requests(&events).map(|event| event_key(event).4).collect();
        assert_eq!(statuses, [200, 0, 404]);
    }

    #[test]
    fn a_request_too_few_or_too_many_is_found() {
        let key = |path: &str| {
            (
                "u".to_owned(),
                "v1".to_owned(),
                "GET".to_owned(),
                path.to_owned(),
                200,
            )
        };
        let truth = count([key("a"), key("a"), key("b")]);
        assert!(compare(&truth, &truth).is_ok());
        assert!(compare(&truth, &count([key("a"), key("b")])).is_err());
        assert!(compare(&truth, &count([key("a"), key("a"), key("b"), key("c")])).is_err());
    }
}
