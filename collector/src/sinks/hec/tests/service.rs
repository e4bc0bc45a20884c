//! An HTTP Event Collector in memory: panics where a call breaks a rule that no event is to blame for.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::sinks::RefusalKind;
use crate::sinks::hec::client::Calls;
use crate::sinks::hec::interpret::{Answer, Reply};
use crate::sinks::http::Failure;

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Refused with this status and code; nothing is stored.
    Refused(u16, i64),
    /// Stored, and nobody hears of it.
    LostAnswer,
    /// Stored, and the answer is none.
    Unreadable,
    /// Stored, and never acknowledged.
    NeverIndexed,
    /// Taken, and lost before it is stored: never acknowledged.
    Lost,
    /// It begins anew before the call: what waits is forgotten, and numbers begin at 0.
    Restart,
}

/// How it says which event is invalid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    From0,
    From1,
    Falsely,
    Not,
}

#[derive(Debug, Default)]
pub(super) struct Channel {
    next: u64,
    /// Looks until the call is indexed.
    waiting: BTreeMap<u64, u32>,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) has_acks: bool,
    /// Looks that a call takes to be indexed.
    pub(super) looks: u32,
    pub(super) names: Names,
    /// Whether what stands before an invalid event is stored.
    pub(super) stores_before: bool,
    pub(super) most_bytes: usize,
    pub(super) faults: Mutex<VecDeque<Fault>>,
    /// Questions that fail so.
    pub(super) failing: Mutex<VecDeque<(u16, i64)>>,
    pub(super) stored: Mutex<Vec<String>>,
    /// Events of each call.
    pub(super) calls: Mutex<Vec<usize>>,
    pub(super) waits: Mutex<Vec<u64>>,
    pub(super) channels: Mutex<BTreeMap<String, Channel>>,
    pub(super) elapsed_ms: AtomicU64,
    pub(super) drawn: AtomicU64,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            has_acks: false,
            looks: 2,
            names: Names::From0,
            stores_before: true,
            most_bytes: usize::MAX,
            faults: Mutex::default(),
            failing: Mutex::default(),
            stored: Mutex::default(),
            calls: Mutex::default(),
            waits: Mutex::default(),
            channels: Mutex::default(),
            elapsed_ms: AtomicU64::new(5),
            drawn: AtomicU64::default(),
        }
    }
}

#[derive(Deserialize)]
struct Object {
    time: f64,
    event: Box<RawValue>,
}

fn answer(status: u16, body: &str) -> Reply {
    Reply::Answered(Answer {
        status,
        body: body.as_bytes().to_vec(),
        retry_after_ms: None,
    })
}

fn refused(status: u16, code: i64) -> Reply {
    answer(status, &format!(r#"{{"text":"no","code":{code}}}"#))
}

impl Service {
    pub(super) fn acknowledging(looks: u32) -> Self {
        Self {
            has_acks: true,
            looks,
            ..Self::default()
        }
    }

    /// The next calls go so.
    pub(super) fn will(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    pub(super) fn stored(&self) -> Vec<String> {
        self.stored.lock().unwrap().clone()
    }

    pub(super) fn calls(&self) -> Vec<usize> {
        self.calls.lock().unwrap().clone()
    }

    pub(super) fn channels(&self) -> BTreeSet<String> {
        self.channels.lock().unwrap().keys().cloned().collect()
    }

    fn serve(&self, channel: Option<&str>, body: &[u8], fault: Fault) -> Reply {
        let objects = serde_json::Deserializer::from_slice(body).into_iter::<Object>();
        let texts: Vec<String> = objects
            .map(|object| {
                let object = object.unwrap();
                assert!(object.time > 0.0);
                object.event.get().to_owned()
            })
            .collect();
        assert!(!texts.is_empty(), "a call without events");
        self.calls.lock().unwrap().push(texts.len());
        if body.len() > self.most_bytes {
            return refused(413, 0);
        }
        if let Fault::Refused(status, code) = fault {
            return refused(status, code);
        }
        let bad = texts.iter().position(|text| text.contains("poison"));
        if let Some(bad) = bad {
            if self.stores_before {
                self.stored.lock().unwrap().extend_from_slice(&texts[..bad]);
            }
            let place = match self.names {
                Names::From0 => bad,
                Names::From1 => bad + 1,
                Names::Falsely => texts.len() - 1 - bad,
                Names::Not => return refused(400, 6),
            };
            let body = format!(r#"{{"text":"no","code":6,"invalid-event-number":{place}}}"#);
            return answer(400, &body);
        }
        if fault != Fault::Lost {
            self.stored.lock().unwrap().extend(texts);
        }
        if !self.has_acks {
            return answer(200, r#"{"text":"Success","code":0}"#);
        }
        let Some(channel) = channel else {
            return refused(400, 10);
        };
        self.take(channel, fault)
    }

    fn take(&self, channel: &str, fault: Fault) -> Reply {
        assert_eq!(channel.len(), 36);
        let mut channels = self.channels.lock().unwrap();
        if fault == Fault::Restart {
            for channel in channels.values_mut() {
                *channel = Channel::default();
            }
        }
        let channel = channels.entry(channel.to_owned()).or_default();
        let number = channel.next;
        channel.next += 1;
        if !matches!(fault, Fault::NeverIndexed | Fault::Lost) {
            channel.waiting.insert(number, self.looks);
        }
        let body = format!(r#"{{"text":"Success","code":0,"ackId":{number}}}"#);
        answer(200, &body)
    }
}

impl Calls for Service {
    async fn post(&self, channel: Option<&str>, body: Vec<u8>) -> Reply {
        let fault = self.faults.lock().unwrap().pop_front();
        let fault = fault.unwrap_or(Fault::None);
        let reply = self.serve(channel, &body, fault);
        match fault {
            Fault::LostAnswer => Reply::Failed(Failure {
                kind: RefusalKind::Unavailable,
                help: String::new(),
                is_in_doubt: true,
                source: "lost".into(),
            }),
            Fault::Unreadable => answer(200, "<html>"),
            _ => reply,
        }
    }

    async fn ask(&self, channel: &str, body: Vec<u8>) -> Reply {
        if let Some((status, code)) = self.failing.lock().unwrap().pop_front() {
            return refused(status, code);
        }
        let question: BTreeMap<String, Vec<u64>> = serde_json::from_slice(&body).unwrap();
        let ids = &question["acks"];
        assert!(!ids.is_empty() && ids.len() <= 8);
        let mut channels = self.channels.lock().unwrap();
        let waiting = &mut channels.get_mut(channel).unwrap().waiting;
        let mut acks = BTreeMap::new();
        for id in ids {
            let is_indexed = waiting.get_mut(id).is_some_and(|looks| {
                *looks = looks.saturating_sub(1);
                *looks == 0
            });
            // What was told is forgotten.
            if is_indexed {
                waiting.remove(id);
            }
            acks.insert(id, is_indexed);
        }
        answer(200, &serde_json::json!({"acks": acks}).to_string())
    }

    async fn wait(&self, ms: u64) {
        self.waits.lock().unwrap().push(ms);
        self.elapsed_ms.fetch_add(ms, Ordering::Relaxed);
    }

    fn elapsed_ms(&self) -> u64 {
        self.elapsed_ms.load(Ordering::Relaxed)
    }

    fn random(&self) -> u128 {
        u128::from(self.drawn.fetch_add(1, Ordering::Relaxed))
    }
}
