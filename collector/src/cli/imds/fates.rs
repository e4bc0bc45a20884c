//! One event for each request: what a capture tells of a request after it was given up replaces
//! what was told when it was.
//!
//! The agent cannot wait for a late answer and tells it as a second event with the same
//! `request_id`. A capture lies there whole, so an event that was given up is held back until its
//! answer came or can no longer be told apart, and whatever completed after it stands behind it.

use std::collections::{BTreeMap, HashMap};

use plimsoll_imds::{Flags, ImdsEvent};

/// Events held at most; then the oldest goes out as it stands.
const HELD_EVENTS: usize = 16_384;

/// In order of completion.
#[derive(Debug)]
pub(super) struct Fates {
    late_ns: u64,
    held: BTreeMap<u64, Held>,
    /// Where the request of an id is held.
    open: HashMap<String, u64>,
    pushed: u64,
}

#[derive(Debug)]
struct Held {
    event: ImdsEvent,
    /// Until when an answer may replace it.
    open_until_ns: Option<u64>,
}

impl Fates {
    /// `late_ns`: how long after an event its late answer may come, of the capture's time.
    pub(super) fn new(late_ns: u64) -> Self {
        Self {
            late_ns,
            held: BTreeMap::new(),
            open: HashMap::new(),
            pushed: 0,
        }
    }

    /// Takes an event that is told at `now_ns`.
    pub(super) fn push(&mut self, mut event: ImdsEvent, now_ns: u64) {
        let at = self.pushed;
        self.pushed += 1;
        let mut open_until_ns = None;
        match event.request_id.clone() {
            Some(id) if event.flags.has(Flags::LATE_ANSWER) => {
                let earlier = self.open.remove(&id).and_then(|at| self.held.remove(&at));
                if let Some(earlier) = earlier {
                    event.time_ns = earlier.event.time_ns;
                    event.request_id = None;
                }
            }
            Some(id) => {
                open_until_ns = Some(now_ns.saturating_add(self.late_ns));
                self.open.insert(id, at);
            }
            None => {}
        }
        let held = Held {
            event,
            open_until_ns,
        };
        self.held.insert(at, held);
    }

    /// The next event of which all is known at `now_ns`; `None` as the time: at the capture's end.
    pub(super) fn next(&mut self, now_ns: Option<u64>) -> Option<ImdsEvent> {
        let full = self.held.len() > HELD_EVENTS;
        let first = self.held.first_entry()?;
        let is_open = |until: u64| now_ns.is_some_and(|now| now < until);
        if first.get().open_until_ns.is_some_and(is_open) && !full {
            return None;
        }
        let mut event = first.remove().event;
        if let Some(id) = &event.request_id
            && self.open.remove(id).is_some()
            && !full
        {
            // Nothing else bears it.
            event.request_id = None;
        }
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_held_than_the_bound() {
        let lost: ImdsEvent = serde_json::from_value(serde_json::json!({
            "endpoint": "imds",
            "src": {"ip": "10.0.0.5", "port": 40000},
            "dst": {"ip": "169.254.169.254", "port": 80},
            "method": "GET", "path": "/", "imds_version": "v1", "class": "UNKNOWN", "role": null,
            "status": null, "outcome": "no_response", "flags": [], "token_hash": null,
            "request_id": "0f1e2d3c4b5a6978",
        }))
        .unwrap();
        let answered = ImdsEvent {
            request_id: None,
            ..lost.clone()
        };
        let mut fates = Fates::new(60);
        fates.push(lost.clone(), 1);
        for _ in 1..HELD_EVENTS {
            fates.push(answered.clone(), 2);
            assert_eq!(fates.next(Some(2)), None);
        }
        fates.push(answered.clone(), 2);
        // As it stands: its answer may still be told.
        assert_eq!(fates.next(Some(2)), Some(lost.clone()));
        let late = ImdsEvent {
            flags: serde_json::from_str(r#"["late_answer"]"#).unwrap(),
            ..lost
        };
        for _ in 0..HELD_EVENTS {
            assert_eq!(fates.next(Some(2)), Some(answered.clone()));
        }
        fates.push(late.clone(), 3);
        assert_eq!(fates.next(Some(3)), Some(late));
        assert_eq!((fates.next(None), fates.open.len()), (None, 0));
    }
}
