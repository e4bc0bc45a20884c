#![expect(
    clippy::disallowed_methods,
    reason = "shell: has the clock by which use is measured"
)]
//! The whole of Plimsoll as it is in a cluster: the agent in its container with its kernel programs, the
//! collector, the command line, and an API server that names, vouches and allows, and misbehaves.
//!
//! ```text
//!   pods ─ ─ ─ kernel ─► agent ══ TLS, projected token ══► collector ◄══ TLS, bearer token ══ people
//!    │ (the stage)                                            │ watches, TokenReview,
//!    └─► objects ─────────────────────► API server ◄──────────┘ SubjectAccessReview
//! ```
//!
//! One story, told in the order of its steps; the stage knows what is true.

mod play;

use std::collections::BTreeSet;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use self::play::{ELSEWHERE, OFFICER, Play, TEAM, TOKENS};
use super::imds::{compare, count, event_key, odd, requests, truth_keys};
use super::load::{self, Truth};
use super::stage_only::NEVER_MS;
use super::{Context, law, rng};
use crate::apiserver::{Fault, On, Token, amid};
use crate::cgroups::keyed;
use crate::plimsoll::read;
use crate::pods::{self, NODE, Owner, Pod};

/// Where the API server has its pods.
const PODS: &str = "/api/v1/pods";
/// Everything that the newest events are asked by.
const AUDIT: &str = "/api/v1/audit?limit=5000";

pub(super) fn whole(context: &Context) -> Result<String> {
    let mut play = Play::open(context)?;
    let use_of = sizing(&mut play).context("sizing")?;
    audit(&mut play).context("audit")?;
    short(&mut play).context("a short life")?;
    breaks(&mut play).context("an API server that breaks off")?;
    tokens(&mut play).context("tokens")?;
    stray(&mut play).context("a pod of another node")?;
    drain(&mut play).context("a drain")?;
    command_line(&play).context("the command line")?;
    let told = end(play).context("the end")?;
    Ok(format!("{use_of}; {told}"))
}

/// A pod that asks for credentials so often, and then is done.
fn client(name: &str, load: &str, count: u32) -> Pod {
    let count = count.to_string();
    let mut pod = pods::pod(
        &mut rng(),
        name,
        &[load, "--count", &count, "--interval-ms", "1"],
    );
    pod.restart_after_ms = NEVER_MS;
    pod
}

/// A team sees what its own workloads use, under the names of what owns them, and nothing of others.
fn sizing(play: &mut Play) -> Result<String> {
    let steady = ["steady", "--millicores", "150"];
    let catalog = pods::pod(&mut rng(), "catalog", &steady);
    let mut import = pods::pod(
        &mut rng(),
        "price-import",
        &["steady", "--millicores", "20"],
    );
    "batch".clone_into(&mut import.namespace);
    import.owner = Owner::CronJob;
    play.admit(catalog)?;
    play.admit(import)?;
    let stat = play.stage.cgroup_of("catalog").context("it does not run")?;
    let (stat, begin) = (stat.join("cpu.stat"), Instant::now());
    let mut looks = Vec::new();
    let seen = play.until("what catalog uses", |play| {
        let used = keyed(&stat, "usage_usec")?.context("usage_usec")?;
        looks.push((begin.elapsed(), used));
        let report = play.as_person("/api/v1/sizing?namespace=shop", TEAM)?;
        let found = recommendation(&report, "catalog").cloned();
        Ok(found.filter(|it| it["confidence"]["windows"].as_u64() >= Some(3)))
    })?;
    let owner = ["namespace", "kind", "container"].map(|field| seen[field].as_str());
    ensure!(
        owner == [Some("shop"), Some("Deployment"), Some("app")],
        "catalog is known as {owner:?}"
    );
    let windows = load::windows(&looks).context("the load ran for less than a window")?;
    let truth = Truth {
        windows,
        throttled: None,
    };
    let told = load::compare_cpu(&truth, &seen)?;
    let memory = seen["memory"]["peaks"]["sampled_bytes"].as_u64();
    // In a PID namespace of its own the agent cannot add up processes where no controller counts.
    ensure!(
        memory.map_or(!play.counts_memory, |bytes| bytes >= 1 << 16),
        "{memory:?} bytes cannot be"
    );
    let report = play.as_person("/api/v1/sizing", TEAM)?;
    ensure!(
        recommendation(&report, "catalog").is_some(),
        "not told without its namespace: {report}"
    );
    let others = |list: &str| {
        let of_others = |found: &&Value| found["namespace"] != "shop";
        let mut list = report[list].as_array().into_iter().flatten();
        list.find(of_others).cloned()
    };
    let beyond = others("recommendations").or_else(|| others("hosts"));
    let beyond = beyond.or_else(|| others("unnamed"));
    ensure!(beyond.is_none(), "the team of shop sees {beyond:?}");
    for (path, who, status) in [
        ("/api/v1/sizing?namespace=batch", Some(TEAM), 403),
        ("/api/v1/nodes", Some(TEAM), 403),
        ("/api/v1/sizing", Some("nobody"), 401),
        ("/api/v1/sizing", None, 401),
        ("/api/v1/sizing?namespace=batch", Some(OFFICER), 200),
    ] {
        play.check_status(path, who, status)?;
    }
    play.until("the CronJob's use", |play| {
        let report = play.plimsoll.api("/api/v1/sizing?namespace=batch")?;
        let found = recommendation(&report, "price-import");
        Ok(found.map(|found| found["kind"].clone()))
    })
    .and_then(|kind| {
        ensure!(kind == "CronJob", "price-import is of a {kind}");
        Ok(())
    })?;
    Ok(told)
}

fn recommendation<'a>(report: &'a Value, workload: &str) -> Option<&'a Value> {
    let mut list = report["recommendations"].as_array()?.iter();
    list.find(|found| found["workload"] == workload)
}

/// Who read credentials is told by name, in the file and to those who may ask.
fn audit(play: &mut Play) -> Result<()> {
    let pod = client("uploader", "imds-v2", 2);
    let told = play.ask(&pod)?;
    let read = |event: &&Value| read::body(event)["request"]["class"] == "CRED";
    let event = told.iter().find(read);
    let event = event.context("no read of credentials is told")?;
    ensure!(event["node"] == NODE, "of another node: {event}");
    let id = &event["id"];
    play.until("the API tells it", |play| {
        let document = play.as_person(AUDIT, OFFICER)?;
        let events = read::events(&document);
        Ok(events.into_iter().find(|it| it["id"] == *id))
    })
    .and_then(|event| play::check_names(&event, &pod))?;
    for (path, who, status) in [
        ("/api/v1/audit?namespace=shop", Some(TEAM), 403),
        ("/api/v1/audit", Some(TEAM), 403),
        ("/api/v1/accounting", Some(TEAM), 403),
        ("/metrics", Some(TEAM), 403),
        ("/api/v1/audit", None, 401),
        ("/metrics", Some(OFFICER), 200),
    ] {
        play.check_status(path, who, status)?;
    }
    // The token of an agent is nobody's at the other door.
    play.check_status(AUDIT, Some(TOKENS[0]), 401)
}

/// A pod that comes, asks and is deleted at once keeps its name: nothing of it comes in before its end is
/// known, for the agent's token is refused, which loses nothing.
fn short(play: &mut Play) -> Result<()> {
    let [first, second, _] = TOKENS;
    play.server.token(first, Token::invalidated());
    let before = refused_tokens(play)?;
    play.until("the agent is kept out", |play| {
        Ok((refused_tokens(play)? > before).then_some(()))
    })?;
    let others = known(play)?;
    let pod = client("migrate", "imds-v1", 1);
    play.run(&pod)?;
    // Besides the pod its ReplicaSet and its Deployment, which stay.
    until_known(play, others + 3.0).context("the pod")?;
    play.delete(&pod)?;
    until_known(play, others + 2.0).context("its end")?;
    play::agents(&play.server, second);
    play.tokens.put(second)?;
    play.told(&pod)?;
    Ok(())
}

/// Number of objects that the collector knows to be there.
fn known(play: &Play) -> Result<f64> {
    let answer = play.plimsoll.answer("/metrics", Some(OFFICER))?;
    let metrics = read::metrics(&answer.text);
    let known = metrics.get("plimsoll_collector_inventory_objects");
    let known = known.and_then(Value::as_f64);
    known.with_context(|| format!("{} and no number of objects", answer.status))
}

fn until_known(play: &mut Play, count: f64) -> Result<()> {
    let what = format!("{count} objects are known");
    #[expect(clippy::float_cmp, reason = "a number of objects is whole")]
    play.until(&what, |play| Ok((known(play)? == count).then_some(())))
}

/// Names arrive though watches break off, in every way, while pods come.
fn breaks(play: &mut Play) -> Result<()> {
    for (name, fault) in [
        ("throttled", Fault::too_many_requests(1)),
        ("gone", Fault::gone()),
        ("gone-later", Fault::gone_event(1)),
        // In the middle of the line of an event.
        ("reset", Fault::Reset(amid(1, 60))),
    ] {
        play.server.fault(On::watch(PODS), fault);
        play.server.end_watches();
        play.ask(&client(name, "imds-v1", 1)).context(name)?;
    }
    play.server.set_down(true);
    let pod = client("away", "imds-v1", 1);
    let came = play.run(&pod);
    play.server.set_down(false);
    came?;
    play.told(&pod).context("away")?;
    Ok(())
}

/// The kubelet renews a token before the old one ends (too late, see [`short`]): no request is refused.
fn tokens(play: &mut Play) -> Result<()> {
    let [_, second, third] = TOKENS;
    play::agents(&play.server, third);
    play.tokens.put(third)?;
    play.until("the new token is shown", |play| {
        let asked = play.server.requests();
        let mut reviews = asked
            .iter()
            .filter(|asked| asked.path.ends_with("/tokenreviews"));
        Ok(reviews
            .any(|asked| asked.body.contains(third))
            .then_some(()))
    })?;
    play.server.token(second, Token::invalidated());
    // What is under way with the one before may still be refused, and is sent again.
    play.ask(&client("renewed", "imds-v1", 1))?;
    let before = refused_tokens(play)?;
    play.ask(&client("in-time", "imds-v1", 1))?;
    let refused = refused_tokens(play)? - before;
    ensure!(
        refused == 0.0,
        "a renewed token was refused {refused} times"
    );
    Ok(())
}

/// Requests of the agent that failed because of its token.
fn refused_tokens(play: &Play) -> Result<f64> {
    let agent = play.plimsoll.agent()?;
    let metrics = agent["metrics"].as_object().into_iter().flatten();
    let of = |(name, _): &(&String, &Value)| {
        name.starts_with("plimsoll_agent_export_failures_total")
            && name.contains("reason=\"refused_token\"")
    };
    Ok(metrics
        .filter(of)
        .filter_map(|(_, count)| count.as_f64())
        .sum())
}

/// A node tells of a pod that, as the API server says, is on another one: refused, and told.
fn stray(play: &mut Play) -> Result<()> {
    let pod = client("stray", "imds-v1", 1);
    play.tell_elsewhere(&pod)?;
    // What is told later is known later: then the stray is known by now.
    play.ask(&client("known", "imds-v1", 1))?;
    play.run(&pod)?;
    let found = play.until("it is told as misplaced", |play| {
        let events = play.plimsoll.events()?;
        let mut found = events
            .into_iter()
            .filter(|it| read::is_kind(it, "misplaced"));
        Ok(found.next())
    })?;
    let fields = ["sender", "pod_uid", "pod_node"].map(|field| found[field].as_str());
    ensure!(
        fields == [Some(NODE), Some(pod.uid.as_str()), Some(ELSEWHERE)],
        "another finding: {found}"
    );
    Ok(())
}

/// The collector's node is drained: its volume comes to another one, and the agent holds what it has
/// meanwhile.
fn drain(play: &mut Play) -> Result<()> {
    let before = client("before-drain", "imds-v2", 2);
    play.run(&before)?;
    play.plimsoll.stop_collector()?;
    let between = client("in-drain", "imds-v2", 2);
    play.run(&between)?;
    let volume = play.dir.path().join("volume-elsewhere");
    play.plimsoll.start_collector_at(volume)?;
    let after = client("after-drain", "imds-v2", 2);
    play.run(&after)?;
    for pod in [before, between, after] {
        play.told(&pod).with_context(|| pod.workload.clone())?;
    }
    // What was known before is known still.
    let report = play.as_person("/api/v1/sizing?namespace=shop", TEAM)?;
    let windows = recommendation(&report, "catalog");
    let windows = windows.and_then(|it| it["confidence"]["windows"].as_u64());
    ensure!(windows >= Some(3), "catalog has {windows:?} windows");
    Ok(())
}

/// With nothing but a kubeconfig: the pod is found, a port forwarded, and the rules are the same.
fn command_line(play: &Play) -> Result<()> {
    let report = ["sizing", "report", "-n", "shop", "-o", "json"];
    let output = play.plimsoll(TEAM, &report)?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{}: {said}", output.status);
    let document: Value = serde_json::from_slice(&output.stdout).context("it printed no JSON")?;
    let found = recommendation(&document, "catalog").context("catalog is not in the report")?;
    ensure!(
        found["kind"] == "Deployment",
        "catalog is a {}",
        found["kind"]
    );
    let output = play.plimsoll(TEAM, &["audit", "query", "-n", "shop", "-o", "json"])?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(2) && said.contains("refused (403)"),
        "{} of a query that is not allowed: {said}",
        output.status
    );
    Ok(())
}

/// Records that came to this, at all stages.
fn fates(accounting: &Value, fate: &str) -> Result<u64> {
    let of = |stage: &serde_json::Map<String, Value>| stage.get(fate).and_then(Value::as_u64);
    let counts: Vec<_> = read::fates(accounting).into_iter().filter_map(of).collect();
    ensure!(!counts.is_empty(), "no stage has the fate {fate}");
    Ok(counts.into_iter().sum())
}

/// Everything that happened is told once, every record has its fate, and the API server was asked for
/// nothing that it does not know.
fn end(mut play: Play) -> Result<String> {
    let keys = truth_keys(&play.stage)?.into_iter();
    let expected = count(keys.filter(|(uid, ..)| !play.is_elsewhere(uid)));
    let happened: usize = expected.values().sum();
    play.until("everything is told", |play| {
        let events = play.plimsoll.events()?;
        Ok((requests(&events).count() >= happened).then_some(()))
    })?;
    let stopped = play.stop()?;
    let events = &stopped.events;
    let seen = count(requests(events).map(event_key));
    compare(&expected, &seen).with_context(|| odd(events, &expected))?;
    let ids: BTreeSet<&str> = events
        .iter()
        .filter_map(|event| event["id"].as_str())
        .collect();
    ensure!(
        ids.len() == events.len(),
        "{} lines have {} ids",
        events.len(),
        ids.len()
    );
    law(&stopped.accounting)?;
    let gaps = &stopped.accounting["gaps"];
    ensure!(
        gaps.as_array().is_some_and(Vec::is_empty),
        "records never came: {gaps}"
    );
    let of = |fate| fates(&stopped.accounting, fate);
    for fate in ["lost", "undecodable", "shed", "expired", "quarantined"] {
        let count = of(fate)?;
        ensure!(count == 0, "{count} records are {fate}");
    }
    // What the node told of the stray pod.
    ensure!(of("rejected")? > 0, "no record was rejected");
    let asked = stopped.server.finish()?;
    Ok(format!(
        "{happened} requests of pods told, {} calls to the API server",
        asked.len()
    ))
}
