#![expect(
    clippy::disallowed_methods,
    reason = "shell: looks at the stage's processes"
)]
//! The stage itself: what the other scenarios take for the truth must be true.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Context, folder, rng};
use crate::cgroups::keyed;
use crate::pods::{self, Place, Qos};
use crate::stage::Stage;

/// Every pod's process is in its cgroup and, unless it is the host's, in a namespace of its own.
pub(super) fn pods(context: &Context) -> Result<String> {
    let dir = folder()?;
    let mut stage = context.stage(&dir, pods::sample(&mut rng()))?;
    let own = fs::read_link("/proc/self/ns/net").context("reading our namespace")?;
    let names: Vec<_> = stage.pods().map(|pod| pod.workload.clone()).collect();
    for name in &names {
        let path = until(&mut stage, Duration::from_secs(20), |stage| {
            let path = stage.cgroup_of(name)?;
            let pid = fs::read_to_string(path.join("cgroup.procs")).ok()?;
            let pid = pid.lines().next()?.to_owned();
            // A short-lived one may be gone between two looks: then look again.
            let namespace = fs::read_link(format!("/proc/{pid}/ns/net")).ok()?;
            (namespace != own).then(|| path.to_owned())
        })
        .with_context(|| format!("process of {name}"))?;
        ensure!(
            path.to_string_lossy().contains("cri-containerd-"),
            "{} is no scope",
            path.display()
        );
    }
    let text = fs::read_to_string(stage.inventory()).context("reading the inventory")?;
    drop(stage);
    for name in &names {
        ensure!(
            text.contains(name.as_str()),
            "{name} is not in the inventory"
        );
    }
    Ok(format!("{} pods", names.len()))
}

/// Limits bite: a CPU quota throttles, a memory limit kills.
pub(super) fn limits(context: &Context) -> Result<String> {
    let mut rng = rng();
    let mut busy = pods::pod(&mut rng, "busy", &["spin", "--millis", "60000"]);
    busy.qos = Qos::Guaranteed;
    busy.resources.cpu_limit_millicores = Some(200);
    let mut leak = pods::pod(&mut rng, "leak", &["leak", "--bound-mib", "60"]);
    leak.resources.memory_limit_bytes = Some(40 << 20);
    leak.restart_after_ms = NEVER_MS;
    let dir = folder()?;
    let mut stage = context.stage(&dir, vec![busy, leak])?;
    let throttled = until(&mut stage, Duration::from_secs(30), |stage| {
        let stat = stage.cgroup_of("busy")?.join("cpu.stat");
        keyed(&stat, "nr_throttled")
            .ok()
            .flatten()
            .filter(|n| *n >= 10)
    })
    .context("throttling")?;
    let kills = until(&mut stage, Duration::from_mins(1), |stage| {
        stage.ends_of("leak").first().map(|end| end.oom_kills)
    })
    .context("the leak's end")?;
    ensure!(
        kills.is_some_and(|n| n > 0),
        "memory.events says {kills:?} kills"
    );
    Ok(format!(
        "throttled {throttled} periods, killed {}",
        kills.unwrap_or(0)
    ))
}

/// The metadata service over both families and both versions, and the wall of the hop limit.
pub(super) fn imds(context: &Context) -> Result<String> {
    let mut rng = rng();
    let mut pod = |name: &str, place: Place, args: &[&str]| {
        let mut pod = pods::pod(&mut rng, name, args);
        pod.place = place;
        pod.restart_after_ms = NEVER_MS;
        pod
    };
    let list = vec![
        pod(
            "one",
            Place::Pod,
            &["imds-v1", "--count", "2", "--interval-ms", "1"],
        ),
        pod(
            "two",
            Place::Pod,
            &["imds-v2", "--count", "2", "--interval-ms", "1", "--v6"],
        ),
        pod(
            "node",
            Place::Node,
            &["imds-v2", "--count", "2", "--interval-ms", "1"],
        ),
        pod("wall", Place::BehindHop, &["imds-v2", "--count", "1"]),
        pod(
            "identity",
            Place::Pod,
            &["pod-identity", "--count", "2", "--interval-ms", "1", "--v6"],
        ),
    ];
    let names: Vec<_> = list.iter().map(|pod| pod.workload.clone()).collect();
    let dir = folder()?;
    let mut stage = context.stage(&dir, list)?;
    let truth = stage
        .truth()
        .cloned()
        .with_context(|| stage.missing().join("; "))?;
    all_ended(&mut stage, &names, Duration::from_secs(30))?;
    for (name, success) in [
        ("one", true),
        ("two", true),
        ("node", true),
        ("wall", false),
        ("identity", true),
    ] {
        let end = stage
            .ends_of(name)
            .first()
            .with_context(|| format!("{name} did not end"))?;
        ensure!(
            end.success == success,
            "{name}: success is {}, not {success}",
            end.success
        );
    }
    let all = truth.all();
    // 2×2 without token, 2×3 + 2×3 with, one token asked for behind the wall, 2 of Pod Identity.
    ensure!(
        all.len() == 19,
        "the service saw {} requests, not 19",
        all.len()
    );
    let bad = all.iter().find(|t| t.status != 200);
    if let Some(bad) = bad {
        bail!("answered {}: {:?}", bad.status, bad.path);
    }
    Ok(format!("{} requests", all.len()))
}

/// Longer than any scenario.
pub(super) const NEVER_MS: u64 = 86_400_000;

/// Keeps the stage going until `look` finds something.
pub(super) fn until<T>(
    stage: &mut Stage,
    within: Duration,
    mut look: impl FnMut(&Stage) -> Option<T>,
) -> Result<T> {
    let deadline = Instant::now() + within;
    loop {
        stage.tick()?;
        if let Some(found) = look(stage) {
            return Ok(found);
        }
        if Instant::now() > deadline {
            bail!("not within {} s", within.as_secs());
        }
        // An interval of looking, not a synchronisation.
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits until each of these workloads has ended once.
pub(super) fn all_ended(stage: &mut Stage, names: &[String], within: Duration) -> Result<()> {
    until(stage, within, |stage| {
        names.iter().all(|name| stage.ended(name)).then_some(())
    })
    .context("until every load has ended")
}
