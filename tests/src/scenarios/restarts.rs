//! An agent that starts while pods ask for credentials: what it sees of a request it sees of the answer.
//!
//! Its programs are attached one after the other, and requests go on meanwhile. One whose request was
//! seen and whose answer was not would be told as unanswered, which is an alarm about nothing, or, where
//! the client's FIN tells of the answer, as unreadable.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use serde_json::Value;

use super::imds::requests;
use super::{Context, rng};
use crate::plimsoll::read;
use crate::pods;

/// Starts of the agent, the first included.
const LIVES: usize = 10;
/// Time that a request has for its answer, milliseconds; the service takes much less.
const RESPONSE_TIMEOUT_MS: u64 = 1_000;
/// Longer than that: what the start has done to a request is told in the same life.
const LIFE: Duration = Duration::from_millis(2 * RESPONSE_TIMEOUT_MS);
/// Answered requests by which a life has seen the load.
const SEEN: usize = 50;

pub(super) fn under_load(context: &Context) -> Result<String> {
    let args = ["imds-v1", "--interval-ms", "4"];
    let list = ["first", "second"].map(|name| pods::pod(&mut rng(), name, &args));
    let mut act = context.play(list.into(), |settings| {
        settings.response_timeout_ms = RESPONSE_TIMEOUT_MS;
    })?;
    let mut before = 0;
    for life in 1..=LIVES {
        if life > 1 {
            act.plimsoll.stop_agent()?;
            act.plimsoll.start_agent()?;
        }
        let begun = Instant::now();
        let is_over =
            |events: &[Value]| begun.elapsed() >= LIFE && answered(events).count() >= before + SEEN;
        let events = act.plimsoll.wait_events(Duration::from_mins(1), is_over)?;
        before = answered(&events).count();
        act.stage.tick()?;
    }
    let events = act.plimsoll.events()?;
    let unanswered: Vec<&Value> = requests(&events).filter(|event| is_silent(event)).collect();
    if let Some(first) = unanswered.first() {
        bail!(
            "{} of {} requests are told without their answer, and all were answered; the first: {first}",
            unanswered.len(),
            requests(&events).count()
        );
    }
    let open = requests(&events).filter(|event| is_open(event)).count();
    // One client asks one thing at a time, so that each stop finds at most one request of each open.
    ensure!(
        open <= 2 * LIVES,
        "{open} requests were open at {LIVES} stops"
    );
    let said = format!("{before} requests over {LIVES} starts, {open} open at a stop");
    act.end()?;
    Ok(said)
}

fn answered(events: &[Value]) -> impl Iterator<Item = &Value> {
    requests(events).filter(|event| !read::body(event)["request"]["status"].is_null())
}

/// Told without its answer, by an agent that waited for it.
fn is_silent(event: &Value) -> bool {
    read::body(event)["request"]["status"].is_null() && !is_open(event)
}

/// Under way when the agent ended.
fn is_open(event: &Value) -> bool {
    read::body(event)["request"]["reason"] == "observation_ended"
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_who_waited_can_say_that_nothing_came() {
        let event = |request: Value| json!({"event": "imds", "request": request});
        let silent = event(json!({"outcome": "no_response"}));
        let unread = event(json!({"outcome": "unreadable", "flags": ["gap"]}));
        let open = event(json!({"outcome": "no_response", "reason": "observation_ended"}));
        let answered_one = event(json!({"outcome": "ok", "status": 200}));
        assert!(is_silent(&silent) && is_silent(&unread));
        assert!(!is_silent(&open) && !is_silent(&answered_one));
        assert!(is_open(&open));
        let events = [silent, open, answered_one];
        assert_eq!(answered(&events).count(), 1);
    }
}
