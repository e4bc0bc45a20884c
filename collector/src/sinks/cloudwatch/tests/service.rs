//! PutLogEvents in memory: panics where a call breaks a rule that no event is to blame for.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use super::{DAY_MS, HOUR_MS, NOW_MS};
use crate::sinks::Message;
use crate::sinks::cloudwatch::client::{Calls, Reply};
use crate::sinks::cloudwatch::interpret::{Answer, Failure, Rejected};
use crate::sinks::cloudwatch::prepare::Batch;

/// What goes wrong with a call of PutLogEvents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Refused with this code and status.
    Error(&'static str, u16),
    /// Done, and nobody hears of it.
    LostAnswer,
    /// Done, and the answer is no answer.
    UnreadableAnswer,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) now_ms: u64,
    pub(super) retention_ms: u64,
    pub(super) has_no_date: bool,
    pub(super) has_stream: AtomicBool,
    pub(super) has_group: AtomicBool,
    /// Whoever makes something is told this, as somebody else has made it.
    pub(super) second_to: Option<&'static str>,
    pub(super) takes_poison: bool,
    pub(super) faults: Mutex<VecDeque<Fault>>,
    pub(super) log: Mutex<Vec<&'static str>>,
    pub(super) stored: Mutex<Vec<(u64, String)>>,
}

impl Default for Service {
    fn default() -> Self {
        Self {
            now_ms: NOW_MS,
            retention_ms: 14 * DAY_MS,
            has_no_date: false,
            has_stream: true.into(),
            has_group: true.into(),
            second_to: None,
            takes_poison: false,
            faults: Mutex::default(),
            log: Mutex::default(),
            stored: Mutex::default(),
        }
    }
}

fn error(code: &str, status: u16) -> Failure {
    let message = (code == "InvalidParameterException").then(|| "invalid event".to_owned());
    Failure {
        code: Some(code.to_owned()),
        message,
        status: Some(status),
        is_without_credentials: false,
        is_in_doubt: status >= 500,
        retry_after_ms: None,
        source: code.into(),
    }
}

impl Service {
    /// The next calls go so.
    pub(super) fn will(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    pub(super) fn log(&self) -> Vec<&'static str> {
        self.log.lock().unwrap().clone()
    }

    pub(super) fn texts(&self) -> Vec<String> {
        let stored = self.stored.lock().unwrap();
        stored.iter().map(|(_, text)| text.clone()).collect()
    }

    pub(super) fn times(&self) -> Vec<u64> {
        let stored = self.stored.lock().unwrap();
        stored.iter().map(|(time, _)| *time).collect()
    }

    fn store(&self, messages: &[Message], batch: &Batch) -> Result<Rejected, Failure> {
        if !self.has_stream.load(Ordering::Relaxed) {
            return Err(error("ResourceNotFoundException", 400));
        }
        let events: Vec<(i64, &str)> = batch
            .events
            .iter()
            .map(|event| (event.timestamp_ms, messages[event.at].text.as_str()))
            .collect();
        assert!((1..=10_000).contains(&events.len()), "count");
        let bytes: usize = events.iter().map(|(_, text)| text.len() + 26).sum();
        assert!(bytes <= 1_048_576, "{bytes} bytes");
        assert!(events.is_sorted_by_key(|(time, _)| *time), "order");
        assert!(events.iter().all(|(_, text)| !text.is_empty()), "empty");
        if !self.takes_poison && events.iter().any(|(_, text)| text.contains("poison")) {
            return Err(error("InvalidParameterException", 400));
        }
        let ms = |of: u64| i64::try_from(of).unwrap();
        let now = ms(self.now_ms);
        let (oldest, kept) = (now - ms(14 * DAY_MS), now - ms(self.retention_ms));
        let newest = now + ms(2 * HOUR_MS);
        let before = |limit: i64| events.partition_point(|(time, _)| *time < limit);
        let (too_old, expired, too_new) = (before(oldest), before(kept), before(newest + 1));
        let good = &events[too_old.max(expired)..too_new.max(too_old.max(expired))];
        if let (Some(first), Some(last)) = (good.first(), good.last()) {
            assert!(last.0 - first.0 <= ms(DAY_MS), "span");
        }
        let good = good.iter();
        let good = good.map(|(time, text)| (u64::try_from(*time).unwrap(), (*text).to_owned()));
        self.stored.lock().unwrap().extend(good);
        let place = |of: usize| i32::try_from(of).unwrap();
        Ok(Rejected {
            too_old_end: (too_old > 0).then(|| place(too_old)),
            expired_end: (expired > too_old).then(|| place(expired)),
            too_new_start: (too_new < events.len()).then(|| place(too_new)),
        })
    }

    fn make(&self, what: &AtomicBool) -> Answer<()> {
        what.store(true, Ordering::Relaxed);
        match self.second_to {
            Some(code) => Answer::Failed(error(code, 400)),
            None => Answer::Done(()),
        }
    }
}

impl Calls for Service {
    async fn put(&self, group: &str, stream: &str, messages: &[Message], batch: &Batch) -> Reply {
        assert_eq!((group, stream), ("/plimsoll/prod", "eks/0f"));
        self.log.lock().unwrap().push("put");
        let fault = self.faults.lock().unwrap().pop_front();
        let answer = match fault.unwrap_or(Fault::None) {
            Fault::Error(code, status) => Answer::Failed(error(code, status)),
            fault => match (self.store(messages, batch), fault) {
                (Err(failure), _) => Answer::Failed(failure),
                (Ok(_), Fault::LostAnswer) => Answer::Failed(Failure {
                    code: None,
                    message: None,
                    status: None,
                    is_in_doubt: true,
                    ..error("", 500)
                }),
                (Ok(_), Fault::UnreadableAnswer) => Answer::Unreadable("it is empty".into()),
                (Ok(rejected), _) => Answer::Done(rejected),
            },
        };
        let now = i64::try_from(self.now_ms).unwrap();
        Reply {
            answer,
            date_unix_ms: (!self.has_no_date).then_some(now),
        }
    }

    async fn create_stream(&self, _: &str, _: &str) -> Answer<()> {
        self.log.lock().unwrap().push("create stream");
        if self.has_group.load(Ordering::Relaxed) {
            self.make(&self.has_stream)
        } else {
            Answer::Failed(error("ResourceNotFoundException", 400))
        }
    }

    async fn create_group(&self, _: &str) -> Answer<()> {
        self.log.lock().unwrap().push("create group");
        self.make(&self.has_group)
    }
}
