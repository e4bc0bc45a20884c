#![expect(
    clippy::disallowed_methods,
    reason = "shell: waits until what was written is there"
)]
//! The agent in its container, as the DaemonSet has it: with all its capabilities, and once without
//! each. What works, what the kernel refuses, and what the agent says about it.
//!
//! A run says `recorded …` with its findings, which `cargo xtask lab` compares with
//! `tests/recorded/node-rights.json`; docs/security.md has its table from there.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use super::stage_only::{NEVER_MS, until};
use super::{Act, Context, rng};
use crate::cgroups::{self, Cgroups};
use crate::plimsoll::config::Container;
use crate::plimsoll::read;
use crate::pods::{self, Pod};
use crate::stage::{End, Stage};

/// Of the DaemonSet, which the manifests' tests compare.
pub const CAPABILITIES: [&str; 4] = ["BPF", "NET_ADMIN", "PERFMON", "SYS_PTRACE"];
/// Pods whose containers live 200 ms, and so many of all that must be seen: a walk each second sees
/// some of them, but never all.
const SHORT: [&str; 4] = ["short-0", "short-1", "short-2", "short-3"];
const SHORT_ENDS: usize = 24;
/// On a busy machine a container lives on until it is removed; one of this age any walk may see.
const SHORT_LIFE: Duration = Duration::from_secs(1);
const LEAK_LIMIT: u64 = 40 << 20;
/// Until usage is in the sizing report.
const USAGE_WITHIN: Duration = Duration::from_mins(1);
/// Between two looks at the audit file after the agent's end: nothing more comes then.
const LOOK: Duration = Duration::from_secs(2);

/// All of them, then one less each time, then none.
pub(super) fn each(context: &Context) -> Result<String> {
    let mut runs = vec![run(context, "none", &CAPABILITIES)?];
    for without in CAPABILITIES {
        runs.push(run(context, without, &all_but(without))?);
    }
    runs.push(run(context, "all", &[])?);
    (context.record)("capabilities", &Value::Array(runs));
    Ok(format!("{} runs", CAPABILITIES.len() + 2))
}

/// The kernel keeps its memory from everybody; all capabilities are there.
pub(super) fn confidentiality(context: &Context) -> Result<String> {
    let found = run(context, "lockdown=confidentiality", &CAPABILITIES)?;
    (context.record)("lockdown", &found);
    Ok("it runs on".to_owned())
}

fn all_but(without: &str) -> Vec<&'static str> {
    let mut kept = CAPABILITIES.to_vec();
    kept.retain(|name| *name != without);
    kept
}

/// One life of the agent with these capabilities.
fn run(context: &Context, without: &str, capabilities: &[&'static str]) -> Result<Value> {
    let refused = refused(context, capabilities)
        .with_context(|| format!("without {without}, the kernel being asked"))?;
    let seen = seen(context, capabilities).with_context(|| format!("without {without}"))?;
    let says: Vec<&Value> = seen.health["degraded"]
        .as_array()
        .into_iter()
        .flatten()
        .collect();
    ensure!(
        seen.health["ready"] == true,
        "without {without} it is not ready: {}",
        seen.health
    );
    // What is known beforehand `check` says as well, in the same words.
    let checked = seen.check["missing"].as_array();
    for line in says.iter().filter(|line| text(line).contains("CAP_")) {
        ensure!(
            checked.is_some_and(|missing| missing.contains(line)),
            "check does not say {line}: {}",
            seen.check
        );
    }
    Ok(json!({
        "without": without,
        "works": seen.works,
        "says": says,
        "refused": refused,
    }))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// What was seen of a stage on which everything happens.
struct Seen {
    works: BTreeMap<&'static str, bool>,
    health: Value,
    check: Value,
}

fn seen(context: &Context, capabilities: &[&'static str]) -> Result<Seen> {
    let mut rng = rng();
    let steady = pods::pod(&mut rng, "catalog", &["steady", "--millicores", "150"]);
    // Some seconds: a container that no event names is found by a walk meanwhile.
    let load = ["imds-v2", "--count", "40", "--interval-ms", "100"];
    let mut client = pods::pod(&mut rng, "uploader", &load);
    client.restart_after_ms = NEVER_MS;
    let mut leak = pods::pod(&mut rng, "leak", &["leak", "--bound-mib", "60"]);
    leak.resources.memory_limit_bytes = Some(LEAK_LIMIT);
    leak.restart_after_ms = NEVER_MS;
    let short = SHORT.map(|name| {
        let mut pod = pods::pod(&mut rng, name, &["shortlived"]);
        pod.restart_after_ms = 0;
        pod
    });
    let (asks, leaks) = (client.uid.clone(), leak.uid.clone());

    let mut all = vec![steady, client, leak];
    all.extend(short);
    let (mut cgroups, mut act) = start(context, capabilities, false, all)?;
    until(&mut act.stage, Duration::from_mins(3), |stage| {
        let has_ended = |name: &str| !stage.ends_of(name).is_empty();
        (has_ended("uploader") && has_ended("leak")).then_some(())
    })
    .context("until the metadata client and the leak have ended")?;
    until(&mut act.stage, Duration::from_mins(3), |stage| {
        (short_ends(stage).count() >= SHORT_ENDS).then_some(())
    })
    .with_context(|| {
        format!("until {SHORT_ENDS} containers have lived less than {SHORT_LIFE:?}")
    })?;
    let usage = usage(&mut act)?;
    let ends: Vec<String> = short_ends(&act.stage)
        .map(|end| end.container_id.clone())
        .collect();
    let health = act.plimsoll.agent()?["health"].clone();
    let check = act.plimsoll.check_agent()?;
    act.plimsoll.stop_agent()?;
    let events = settled(&act)?;
    let of = |kind: &'static str| {
        events
            .iter()
            .filter(move |event| read::is_kind(event, kind))
    };
    let requests = || of("imds").filter(|event| read::pod_uid(event) == Some(&asks));
    let told: Vec<&str> = of("container_end").filter_map(read::container_id).collect();
    let statistics = &usage["cpu"]["statistics"];
    let works = BTreeMap::from([
        (
            "use of containers",
            statistics["minute_means"]["p50_millicores"].is_number(),
        ),
        (
            "CPU time by 100 ms",
            statistics["periods_100ms"]["p50_millicores"].is_number(),
        ),
        ("metadata requests", requests().next().is_some()),
        (
            "programs behind metadata requests",
            requests().any(|event| read::body(event)["process"]["exe"].is_string()),
        ),
        (
            "OOM kills",
            of("oom_kill").any(|event| read::pod_uid(event) == Some(&leaks)),
        ),
        (
            "containers of less than a second",
            ends.iter().all(|id| told.contains(&id.as_str())),
        ),
    ]);
    act.end()?;
    drop(cgroups.remove_all());
    Ok(Seen {
        works,
        health,
        check,
    })
}

/// The containers that did not live long enough for a walk to be sure of them.
fn short_ends(stage: &Stage) -> impl Iterator<Item = &End> {
    SHORT
        .iter()
        .flat_map(|name| stage.ends_of(name))
        .filter(|end| end.lived < SHORT_LIFE)
}

/// The recommendation for the steady load.
fn usage(act: &mut Act) -> Result<Value> {
    let deadline = Instant::now() + USAGE_WITHIN;
    loop {
        let sizing = act.plimsoll.api("/api/v1/sizing")?;
        let list = sizing["recommendations"].as_array();
        let found = list
            .into_iter()
            .flatten()
            .find(|it| it["workload"] == "catalog");
        if let Some(found) = found
            && found["confidence"]["windows"].as_u64() >= Some(2)
        {
            return Ok(found.clone());
        }
        ensure!(Instant::now() < deadline, "no usage is reported: {sizing}");
        act.stage.tick()?;
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// The events once no more come.
fn settled(act: &Act) -> Result<Vec<Value>> {
    let mut events = act.plimsoll.events()?;
    loop {
        std::thread::sleep(LOOK);
        let more = act.plimsoll.events()?;
        if more.len() == events.len() {
            return Ok(more);
        }
        events = more;
    }
}

/// Programs that the kernel itself refuses: the agent does not know its capabilities and tries all.
fn refused(context: &Context, capabilities: &[&'static str]) -> Result<Vec<String>> {
    let (mut cgroups, act) = start(context, capabilities, true, Vec::new())?;
    let health = act.plimsoll.agent()?["health"].clone();
    act.end()?;
    drop(cgroups.remove_all());
    let programs = health["programs"].as_array();
    if programs.is_none_or(Vec::is_empty) {
        return Ok(vec!["all".to_owned()]);
    }
    let failed = |program: &&Value| !text(&program[1]).starts_with("attached");
    let refused = programs.into_iter().flatten().filter(failed);
    Ok(refused
        .map(|program| text(&program[0]).to_owned())
        .collect())
}

/// The agent's container in a cgroup of a pod of its own, and a stage.
fn start(
    context: &Context,
    capabilities: &[&'static str],
    unknown: bool,
    pods: Vec<Pod>,
) -> Result<(Cgroups, Act)> {
    let mut cgroups = Cgroups::open(cgroups::mounted_root()?, context.facts.lab)?;
    let own = pods::pod(&mut rng(), "plimsoll-agent", &[]);
    let cgroup = cgroups.make(&own.scope())?;
    let act = context.play(pods, |settings| {
        settings.container = Some(Container {
            capabilities: capabilities.to_vec(),
            cgroup: cgroup.clone(),
            capabilities_unknown: unknown,
            libraries: Vec::new(),
        });
    })?;
    ensure!(
        is_filtered(&cgroup)?,
        "the agent's system calls are not filtered"
    );
    Ok((cgroups, act))
}

/// Whether the agent in this cgroup has a seccomp filter (proc_pid_status(5): 2), as a runtime gives it.
fn is_filtered(cgroup: &Path) -> Result<bool> {
    let processes = std::fs::read_to_string(cgroup.join("cgroup.procs"))
        .context("reading the agent's cgroup")?;
    let mut statuses = processes
        .lines()
        .filter_map(|pid| std::fs::read_to_string(format!("/proc/{pid}/status")).ok());
    let agent = statuses.find(|status| status.starts_with("Name:\tplimsoll-agent\n"));
    Ok(agent.is_some_and(|status| status.contains("\nSeccomp:\t2\n")))
}
