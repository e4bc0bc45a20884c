//! A ring that is too small and an agent that does not read: what is lost is counted to the record.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Map, Value};

use super::stage_only::{NEVER_MS, all_ended};
use super::{Context, rng};
use crate::plimsoll::read;
use crate::pods;

/// The smallest ring that the agent's configuration takes, bytes.
const RING: u32 = 1 << 16;

pub(super) fn overflow(context: &Context) -> Result<String> {
    let args = ["imds-v1", "--count", "300", "--interval-ms", "1"];
    let mut pod = pods::pod(&mut rng(), "flood", &args);
    pod.restart_after_ms = NEVER_MS;
    let mut act = context.play(vec![], |settings| settings.security_ring_bytes = RING)?;
    // The stage is built again with the pod while nobody reads the ring.
    let agent = act
        .plimsoll
        .agent_pid()
        .and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
    let agent = agent.context("the agent does not run")?;
    kill_process(agent, Signal::STOP).context("stopping the agent")?;
    let flooded = (|| {
        act.stage.admit(pod)?;
        all_ended(
            &mut act.stage,
            &["flood".to_owned()],
            Duration::from_mins(2),
        )
    })();
    kill_process(agent, Signal::CONT).context("continuing the agent")?;
    flooded?;
    let lost_now = |events: &[Value]| ring_of(events).is_some_and(|ring| lost(ring) > 0);
    let events = act.plimsoll.wait_events(Duration::from_mins(1), lost_now)?;
    let ring = ring_of(&events).context("no heartbeat")?;
    let missing = read::unaccounted(ring);
    ensure!(missing == 0, "{missing} records unaccounted for: {ring:?}");
    act.plimsoll
        .wait_events(Duration::from_secs(30), |events| {
            events.iter().any(|event| read::is_kind(event, "loss"))
        })?;
    let said = format!("{} of {} lost", lost(ring), ring["emitted"]);
    act.end()?;
    Ok(said)
}

/// Fates of the security ring in the newest heartbeat that has lost something.
fn ring_of(events: &[Value]) -> Option<&Map<String, Value>> {
    let beats = events
        .iter()
        .rev()
        .filter(|event| read::is_kind(event, "heartbeat"));
    beats
        .filter_map(|beat| read::body(beat)["stages"].as_array())
        .flatten()
        .filter(|stage| stage["stage"] == "security_ring")
        .filter_map(|stage| stage["fates"].as_object())
        .find(|fates| lost(fates) > 0)
}

fn lost(fates: &Map<String, Value>) -> u64 {
    fates.get("lost").and_then(Value::as_u64).unwrap_or(0)
}
