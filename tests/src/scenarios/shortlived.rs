//! 500 containers that live 200 ms: each is named, with its CPU time and, where the kernel counts
//! memory, with its memory peak.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::stage_only::until;
use super::{Context, Need, rng};
use crate::plimsoll::read;
use crate::pods;

const PODS: usize = 10;
const EACH: usize = 50;
/// CPU time may differ by the ends of the accounting: a tenth, or this.
const SLACK_NS: u64 = 10_000_000;
/// The kernel's own figure leaves out interrupts, and under software emulation one can last as long
/// as a whole period: so many in a hundred containers may be further off.
const UNLUCKY_PERCENT: usize = 2;
/// The sum over all containers may differ by this much.
const SUM_OFF_PERCENT: u64 = 5;

pub(super) fn five_hundred(context: &Context) -> Result<String> {
    let mut rng = rng();
    let pods: Vec<_> = (0..PODS)
        .map(|n| {
            let mut pod = pods::pod(&mut rng, &format!("short-{n}"), &["shortlived"]);
            pod.restart_after_ms = 0;
            pod
        })
        .collect();
    let names: Vec<_> = pods.iter().map(|pod| pod.workload.clone()).collect();
    let mut act = context.play(pods, |_| ())?;
    until(&mut act.stage, Duration::from_mins(4), |stage| {
        names
            .iter()
            .all(|name| stage.ends_of(name).len() >= EACH)
            .then_some(())
    })
    .context("until 500 containers have ended")?;
    let mut truth = BTreeMap::new();
    for end in names.iter().flat_map(|name| act.stage.ends_of(name)) {
        truth.insert(
            end.container_id.clone(),
            end.cpu_usec.context("cpu.stat was not there")? * 1_000,
        );
    }
    let all_reported = |events: &[serde_json::Value]| {
        let reported = events
            .iter()
            .filter(|event| read::is_kind(event, "container_end"));
        let ids: Vec<_> = reported.filter_map(read::container_id).collect();
        truth.keys().all(|id| ids.contains(&id.as_str()))
    };
    let events = act
        .plimsoll
        .wait_events(Duration::from_mins(1), all_reported)?;
    let (seen, peaks) = reported(&events, &truth)?;
    compare(&seen, &truth)?;
    // Read with each tick of 100 ms: who comes and goes between two ticks has none.
    ensure!(
        context.facts.missing(Need::Memory).is_some() || peaks > truth.len() / 2,
        "only {peaks} of {} containers have a memory peak",
        truth.len()
    );
    act.end()?;
    Ok(format!(
        "{} containers, {peaks} with a memory peak",
        truth.len()
    ))
}

/// CPU time by container as it was told, nanoseconds, and how many of ours have a memory peak.
fn reported<'a>(
    events: &'a [serde_json::Value],
    truth: &BTreeMap<String, u64>,
) -> Result<(BTreeMap<&'a str, u64>, usize)> {
    let mut seen = BTreeMap::new();
    let mut peaks = 0;
    for event in events
        .iter()
        .filter(|event| read::is_kind(event, "container_end"))
    {
        let Some(id) = read::container_id(event) else {
            continue;
        };
        let used = read::body(event)["cpu_used_ns"].as_u64();
        let used = used.with_context(|| format!("container {id} has no CPU time"))?;
        match read::body(event)["memory_peak_bytes"].as_u64() {
            Some(0) => bail!("container {id} has a memory peak of zero, which nobody has"),
            Some(_) => peaks += usize::from(truth.contains_key(id)),
            None => {}
        }
        ensure!(
            seen.insert(id, used).is_none(),
            "container {id} is reported twice"
        );
    }
    Ok((seen, peaks))
}

/// Each and all together: what was told, and what the cgroups themselves said, nanoseconds.
fn compare(seen: &BTreeMap<&str, u64>, truth: &BTreeMap<String, u64>) -> Result<()> {
    let mut unlucky = Vec::new();
    let (mut sum, mut true_sum) = (0_u64, 0_u64);
    for (id, true_ns) in truth {
        let used = seen.get(id.as_str()).copied();
        let used = used.with_context(|| format!("container {id} is not reported"))?;
        (sum, true_sum) = (sum + used, true_sum + true_ns);
        if used.abs_diff(*true_ns) > SLACK_NS.max(true_ns / 10) {
            unlucky.push(format!("{id}: {used} ns, in truth {true_ns}"));
        }
    }
    ensure!(
        unlucky.len() * 100 <= truth.len() * UNLUCKY_PERCENT,
        "{} of {} are off: {unlucky:#?}",
        unlucky.len(),
        truth.len()
    );
    ensure!(
        sum.abs_diff(true_sum) * 100 <= true_sum * SUM_OFF_PERCENT,
        "{sum} ns in all, in truth {true_sum}"
    );
    Ok(())
}
