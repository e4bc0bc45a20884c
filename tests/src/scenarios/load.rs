#![expect(
    clippy::disallowed_methods,
    reason = "shell: waits for the kernel to have counted enough"
)]
//! CPU and memory: what is reported against what the kernel's own files say.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::stage_only::{NEVER_MS, until};
use super::{Act, Context, rng};
use crate::cgroups::keyed;
use crate::plimsoll::read;
use crate::pods::{self, Pod, Qos};

/// Memory limit of the leak, bytes.
const LEAK_LIMIT: u64 = 40 << 20;
/// Time that a load runs before it is judged: four windows of five seconds, and their way.
const RUN: Duration = Duration::from_secs(25);
/// Window of the agent in scenarios.
const WINDOW: Duration = Duration::from_secs(5);
/// 2.2 % are the sketch's own; the rest is a window in which the load began.
const TOLERANCE: f64 = 0.08;

/// A quota of a fifth of a core under full load: its use and its throttled share.
pub(super) fn throttle(context: &Context) -> Result<String> {
    let mut pod = pods::pod(&mut rng(), "busy", &["spin", "--millis", "600000"]);
    pod.qos = Qos::Guaranteed;
    pod.resources.cpu_request_millicores = Some(200);
    pod.resources.cpu_limit_millicores = Some(200);
    let (act, truth, seen) = run_one(context, pod)?;
    let share = seen["cpu"]["throttled_share"]
        .as_f64()
        .context("no throttled share is reported")?;
    let true_share = truth.throttled.context("cpu.stat has no nr_throttled")?;
    ensure!(
        (share - true_share).abs() <= 0.1,
        "throttled share {share:.3}, in truth {true_share:.3}"
    );
    let said = compare_cpu(&truth, &seen)?;
    act.end()?;
    Ok(format!("{said}, throttled {share:.2}"))
}

/// An even share of a core, on any host.
pub(super) fn steady(context: &Context) -> Result<String> {
    let pod = pods::pod(&mut rng(), "catalog", &["steady", "--millicores", "200"]);
    let (act, truth, seen) = run_one(context, pod)?;
    let said = compare_cpu(&truth, &seen)?;
    let memory = seen["memory"]["peaks"]["sampled_bytes"]
        .as_u64()
        .context("no memory is reported")?;
    ensure!(
        (1 << 18..64 << 20).contains(&memory),
        "{memory} bytes cannot be"
    );
    act.end()?;
    Ok(said)
}

/// A killed container: the event names it.
pub(super) fn oom(context: &Context) -> Result<String> {
    let mut pod = pods::pod(&mut rng(), "leak", &["leak", "--bound-mib", "60"]);
    pod.resources.memory_limit_bytes = Some(LEAK_LIMIT);
    pod.restart_after_ms = NEVER_MS;
    let uid = pod.uid.clone();
    let mut act = context.play(vec![pod], |_| ())?;
    let end = until(&mut act.stage, Duration::from_secs(90), |stage| {
        stage.ends_of("leak").first().cloned()
    })
    .context("the leak's end")?;
    ensure!(
        end.oom_kills.is_some_and(|n| n > 0),
        "the kernel counted {:?} kills",
        end.oom_kills
    );
    let events = act
        .plimsoll
        .wait_events(Duration::from_secs(30), |events| {
            events.iter().any(|event| read::is_kind(event, "oom_kill"))
        })?;
    let event = events
        .iter()
        .find(|event| read::is_kind(event, "oom_kill"))
        .context("no event")?;
    ensure!(
        read::container_id(event) == Some(&end.container_id),
        "another container: {event}"
    );
    ensure!(read::pod_uid(event) == Some(&uid), "another pod: {event}");
    // The kill is handled some milliseconds later; the cgroup may be gone by then.
    for (field, want) in [
        ("memory_limit_bytes", LEAK_LIMIT),
        ("memory_peak_bytes", LEAK_LIMIT),
    ] {
        let found = read::body(event)[field].as_u64();
        ensure!(
            found.is_none_or(|bytes| bytes.abs_diff(want) <= 1 << 20),
            "{field} is {found:?}, in truth about {want}: {event}"
        );
    }
    // The container ended with the kill: no later sample of its files can tell of it.
    let sized = until_sized(&mut act, |memory| memory["oom_kills"].as_u64() >= Some(1))?;
    let request = sized["request_bytes"].as_u64();
    ensure!(
        request >= Some(LEAK_LIMIT * 5 / 4),
        "killed at {LEAK_LIMIT}, and {request:?} is recommended: {sized}"
    );
    act.end()?;
    Ok(format!("container {:.12}", end.container_id))
}

/// The memory part of the one recommendation, once it is as awaited.
fn until_sized(act: &mut Act, is_there: impl Fn(&Value) -> bool) -> Result<Value> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let sizing = act.plimsoll.api("/api/v1/sizing")?;
        let memory = &sizing["recommendations"][0]["memory"];
        if is_there(memory) {
            return Ok(memory.clone());
        }
        ensure!(
            Instant::now() < deadline,
            "sizing does not come to it: {memory}"
        );
        std::thread::sleep(Duration::from_millis(250));
    }
}

pub(super) struct Truth {
    pub(super) windows: Windows,
    pub(super) throttled: Option<f64>,
}

fn run_one(context: &Context, pod: Pod) -> Result<(Act, Truth, Value)> {
    let workload = pod.workload.clone();
    let mut act = context.play(vec![pod], |_| ())?;
    let stat = act
        .stage
        .cgroup_of(&workload)
        .context("it does not run")?
        .join("cpu.stat");
    let begin = Instant::now();
    let mut looks = Vec::new();
    while begin.elapsed() < RUN {
        let used = keyed(&stat, "usage_usec")?.context("usage_usec")?;
        looks.push((begin.elapsed(), used));
        act.stage.tick()?;
        std::thread::sleep(Duration::from_millis(250));
    }
    let windows = windows(&looks).context("the load ran for less than a window")?;
    let throttled = match (keyed(&stat, "nr_periods")?, keyed(&stat, "nr_throttled")?) {
        (Some(periods), Some(throttled)) if periods > 0 => Some(throttled as f64 / periods as f64),
        _ => None,
    };
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let sizing = act.plimsoll.api("/api/v1/sizing")?;
        let list = sizing["recommendations"].as_array();
        let found = list
            .into_iter()
            .flatten()
            .find(|r| r["workload"] == workload.as_str());
        if let Some(found) = found
            && found["confidence"]["windows"].as_u64() >= Some(3)
        {
            return Ok((act, Truth { windows, throttled }, found.clone()));
        }
        ensure!(
            Instant::now() < deadline,
            "{workload} is not in the sizing report: {sizing}"
        );
        act.stage.tick()?;
        std::thread::sleep(Duration::from_millis(250));
    }
}

/// Millicores of windows as long as the agent's.
pub(super) struct Windows {
    least: f64,
    median: f64,
    most: f64,
}

/// Windows that begin at each look. The agent's begin at moments of their own: on a busy machine a
/// load is uneven, and the median of its few windows lies anywhere between the least and the most.
pub(super) fn windows(looks: &[(Duration, u64)]) -> Option<Windows> {
    let mut means: Vec<f64> = looks
        .iter()
        .filter_map(|(begin, before)| {
            let (end, after) = looks.iter().find(|(at, _)| *at >= *begin + WINDOW)?;
            let seconds = end.saturating_sub(*begin).as_secs_f64();
            Some(after.saturating_sub(*before) as f64 / 1_000.0 / seconds)
        })
        .collect();
    means.sort_by(f64::total_cmp);
    Some(Windows {
        least: *means.first()?,
        median: *means.get(means.len() / 2)?,
        most: *means.last()?,
    })
}

pub(super) fn compare_cpu(truth: &Truth, seen: &Value) -> Result<String> {
    let p50 = seen["cpu"]["statistics"]["minute_means"]["p50_millicores"].as_f64();
    let p50 = p50.context("no CPU is reported")?;
    let Windows {
        least,
        median,
        most,
    } = truth.windows;
    ensure!(
        (least * (1.0 - TOLERANCE)..=most * (1.0 + TOLERANCE)).contains(&p50),
        "{p50} millicores, in truth {median:.1} ({least:.1} to {most:.1})"
    );
    Ok(format!("{p50} of {median:.1} millicores"))
}
