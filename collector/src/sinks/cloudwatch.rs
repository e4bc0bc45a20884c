//! The sink to a log stream of CloudWatch Logs, by PutLogEvents.
//!
//! ```text
//!  messages ─► prepare ─► Batch ─► client (shell) ─► Answer ─► interpret ─► fates by seq ─► Sent
//! ```
//!
//! What the service does not say by an error is what others lose: a call that succeeds may have thrown away some
//! of its events, or all. Each event has its fate by its place in the call, and what was refused for its time is
//! sent once more under the present time; its own is in its text, which is never changed.
//!
//! Retries are the caller's: one [`send`](CloudWatch::send) is one call (and, of a stream that is missing, the
//! calls that make it). Duplicates after a lost answer cannot be avoided: the service does not know events again.
//! They have one `metadata.uid`.

pub mod client;
pub mod interpret;
pub mod limits;
pub mod prepare;

use std::collections::{BTreeMap, BTreeSet};

use aws_config::SdkConfig;

use self::client::{Calls, Client};
use self::interpret::{Answer, Cause, Failure};
use self::prepare::{Batch, Event};
use super::{Message, QuarantineReason, Quarantined, RefusalKind, Refused, Sent};
use crate::config::sinks::CloudWatch as Settings;

/// Messages in a row that may be quarantined while nothing is taken. More are not events' faults: something is
/// wrong with every call, and to quarantine one event after the other would be to lose them all.
pub const MAX_QUARANTINED_IN_A_ROW: u32 = 8;

/// A difference between the service's clock and ours below this is the time that an answer takes, milliseconds.
const CLOCK_TOLERANCE_MS: i64 = 60_000;

/// A signature is good for five minutes of difference between the clocks, milliseconds.
const SIGNATURE_MS: i64 = 300_000;

/// What became of a message whose turn has not come: one before it has no fate yet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Delivered { is_restamped: bool },
    Quarantined(QuarantineReason),
}

/// A log stream that messages are sent to.
///
/// Dropped and made anew it forgets what is behind the cursor only: at the most one call's messages are sent
/// twice then.
#[derive(Debug)]
pub struct CloudWatch<C = Client> {
    calls: C,
    group: String,
    prefix: String,
    stream: String,
    creates_group: bool,
    front: Front,
    /// The service's clock less ours, as of its last answer, milliseconds.
    clock_offset_ms: i64,
    quarantined_in_a_row: u32,
}

/// What is known of the messages from the cursor on. At the most a few calls' worth: every call begins with the
/// first message that has no fate.
#[derive(Debug, Default)]
struct Front {
    settled: BTreeMap<u64, Fate>,
    /// Their own time was refused.
    restamp: BTreeSet<u64>,
    /// They may have been taken.
    in_doubt: BTreeSet<u64>,
    /// One of the messages up to this number makes a call invalid.
    suspect_until: Option<u64>,
}

impl CloudWatch {
    /// A sink that has asked nobody yet: the first [`send`](Self::send) looks for Region and credentials. `epoch`
    /// names the life of the chain that the messages belong to, and so the stream: 64 characters at the most.
    pub fn new(settings: &Settings, epoch: &str) -> Self {
        Self::with_calls(settings, epoch, Client::new(settings))
    }

    /// [`new`](Self::new) with credentials, and a Region where the settings have none, that were found before.
    pub fn with_aws(settings: &Settings, epoch: &str, aws: &SdkConfig) -> Self {
        Self::with_calls(settings, epoch, Client::with_aws(settings, aws))
    }
}

impl<C: Calls> CloudWatch<C> {
    fn with_calls(settings: &Settings, epoch: &str, calls: C) -> Self {
        Self {
            calls,
            group: settings.group.clone(),
            prefix: settings.stream.clone(),
            stream: format!("{}/{epoch}", settings.stream),
            creates_group: settings.create_group,
            front: Front::default(),
            clock_offset_ms: 0,
            quarantined_in_a_row: 0,
        }
    }

    /// What is sent from now on belongs to that life of the chain. A trail can hold messages of several: each send
    /// is of one, and those of the life before have their fate when it changes.
    pub fn begin(&mut self, epoch: &str) {
        let stream = format!("{}/{epoch}", self.prefix);
        if stream != self.stream {
            self.stream = stream;
            self.front = Front::default();
        }
    }

    /// The stream that it sends to.
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// The service's clock less ours as of its last answer that had a date, milliseconds. An answer's date has
    /// whole seconds, and its way takes time: below a minute it says nothing.
    pub const fn clock_offset_ms(&self) -> i64 {
        self.clock_offset_ms
    }

    /// Sends one call's worth from the front of `messages`, which begin at the cursor and whose numbers rise. More
    /// than one call can have ([`limits`]) helps nothing.
    ///
    /// Whatever a call achieved is kept: of messages behind one that has no fate yet it is told once that one has
    /// its own. Dropped while it waits, it may have sent messages that it does not know of.
    ///
    /// # Errors
    /// Nothing more was taken, see [`Refused`].
    pub async fn send(&mut self, messages: &[Message], now_unix_ms: u64) -> Result<Sent, Refused> {
        let Some(first) = messages.first() else {
            return Ok(Sent::default());
        };
        self.front.begin_at(first.seq);
        let batch = self.front.next(messages, self.now_ms(now_unix_ms));
        self.front.quarantine_unsendable(messages, &batch);
        if batch.events.is_empty() {
            return Ok(self.front.take(messages));
        }
        let outcome = self.deliver(messages, &batch, now_unix_ms).await;
        let sent = self.front.take(messages);
        match outcome {
            Err(refused) if sent.taken == 0 => Err(refused),
            _ => Ok(sent),
        }
    }

    /// The present time by the service's clock, where that differs from ours by more than chance.
    fn now_ms(&self, now_unix_ms: u64) -> i64 {
        let now = i64::try_from(now_unix_ms).unwrap_or(i64::MAX);
        if self.clock_offset_ms.abs() < CLOCK_TOLERANCE_MS {
            now
        } else {
            now.saturating_add(self.clock_offset_ms)
        }
    }

    /// Puts a call's events, makes the stream if it is missing and puts them once more.
    async fn deliver(
        &mut self,
        messages: &[Message],
        batch: &Batch,
        now_unix_ms: u64,
    ) -> Result<(), Refused> {
        let mut has_made = false;
        loop {
            let reply = self
                .calls
                .put(&self.group, &self.stream, messages, batch)
                .await;
            if let Some(date_ms) = reply.date_unix_ms {
                let now = i64::try_from(now_unix_ms).unwrap_or(i64::MAX);
                self.clock_offset_ms = date_ms.saturating_sub(now);
            }
            let failure = match reply.answer {
                Answer::Done(rejected) => {
                    return self.taken(batch, rejected.accepted(batch.events.len()));
                }
                Answer::Unreadable(source) => {
                    self.front.doubt(batch);
                    let what = self.about("read the answer to PutLogEvents to");
                    return Err(Refused {
                        kind: RefusalKind::Unavailable,
                        what,
                        source: Some(source),
                        retry_after_ms: None,
                    });
                }
                Answer::Failed(failure) => failure,
            };
            if failure.is_in_doubt {
                self.front.doubt(batch);
            }
            match failure.cause() {
                Cause::NotFound if !has_made => {
                    self.make_stream().await?;
                    has_made = true;
                }
                Cause::Invalid => return self.invalid(batch, failure),
                // It was made a moment ago, and not everywhere is it known yet.
                Cause::NotFound => {
                    let cause = Cause::Refusal(RefusalKind::Unavailable);
                    return Err(self.refused(failure, cause, "put events into"));
                }
                cause => return Err(self.refused(failure, cause, "put events into")),
            }
        }
    }

    /// The events in these places of the call were taken, the others refused for their time.
    fn taken(&mut self, batch: &Batch, accepted: std::ops::Range<usize>) -> Result<(), Refused> {
        let (mut refused_again, mut is_news) = (0_usize, !accepted.is_empty());
        for (place, event) in batch.events.iter().enumerate() {
            if accepted.contains(&place) {
                self.front.deliver(event);
            } else if event.is_restamped {
                refused_again += 1;
            } else {
                is_news = true;
                self.front.restamp.insert(event.seq);
            }
        }
        if !accepted.is_empty() {
            self.quarantined_in_a_row = 0;
        }
        if is_news {
            return Ok(());
        }
        let what = format!(
            "{}: it refuses {refused_again} events for their time, which is the present one by this node's \
             clock: set the clock right",
            self.about("put events into")
        );
        Err(Refused {
            kind: RefusalKind::Other,
            what,
            source: None,
            retry_after_ms: None,
        })
    }

    /// One of the events makes the call invalid: the next one has half of them, until it is found.
    fn invalid(&mut self, batch: &Batch, failure: Failure) -> Result<(), Refused> {
        let [event] = batch.events.as_slice() else {
            self.front.suspect_until = batch.events.iter().map(|event| event.seq).max();
            return Ok(());
        };
        if self.quarantined_in_a_row >= MAX_QUARANTINED_IN_A_ROW {
            let what = format!(
                "{}: it calls the last {MAX_QUARANTINED_IN_A_ROW} events invalid, one by one",
                self.about("put events into")
            );
            return Err(failure.refused(RefusalKind::Other, what));
        }
        self.quarantined_in_a_row += 1;
        self.front.suspect_until = None;
        let why = failure
            .message
            .unwrap_or_else(|| failure.source.to_string());
        let fate = Fate::Quarantined(QuarantineReason::Invalid(why));
        self.front.settled.insert(event.seq, fate);
        Ok(())
    }

    /// Makes the stream, and the group if it may.
    async fn make_stream(&mut self) -> Result<(), Refused> {
        let mut may_make_group = self.creates_group;
        loop {
            let answer = self.calls.create_stream(&self.group, &self.stream).await;
            let Some(failure) = failure(answer) else {
                return Ok(());
            };
            match failure.cause() {
                Cause::Exists | Cause::Aborted => return Ok(()),
                Cause::NotFound if may_make_group => {
                    may_make_group = false;
                    self.make_group().await?;
                }
                cause => return Err(self.refused(failure, cause, "make")),
            }
        }
    }

    async fn make_group(&mut self) -> Result<(), Refused> {
        let answer = self.calls.create_group(&self.group).await;
        let Some(failure) = failure(answer) else {
            return Ok(());
        };
        match failure.cause() {
            Cause::Exists | Cause::Aborted => Ok(()),
            cause => Err(self.refused(failure, cause, "make the group of")),
        }
    }

    fn about(&self, doing: &str) -> String {
        format!(
            "{doing} log stream {} of log group {}",
            self.stream, self.group
        )
    }

    /// What an operator is told, with what to do about it.
    fn refused(&self, failure: Failure, cause: Cause, doing: &str) -> Refused {
        let kind = match cause {
            Cause::NotFound if !self.creates_group => RefusalKind::Missing,
            Cause::NotFound | Cause::Exists | Cause::Aborted => RefusalKind::Unavailable,
            Cause::Invalid => RefusalKind::Other,
            Cause::Refusal(kind) => kind,
        };
        let help = match kind {
            RefusalKind::Missing => {
                ": the log group is missing: make it, with its retention and key, or set create_group: true"
            }
            RefusalKind::Denied => {
                ": the role needs logs:PutLogEvents and logs:CreateLogStream on the log group's streams"
            }
            RefusalKind::Credentials => {
                ": give the collector's service account a role, or renew its credentials"
            }
            RefusalKind::Key => {
                ": the log group's key must be enabled and let CloudWatch Logs use it"
            }
            RefusalKind::Throttled | RefusalKind::Unavailable | RefusalKind::Other => "",
        };
        let clock = match self.clock_offset_ms {
            offset if offset.abs() < SIGNATURE_MS => String::new(),
            offset => format!(
                "; this node's clock differs from its by {} s",
                offset.abs() / 1000
            ),
        };
        let what = format!("{}{help}{clock}", self.about(doing));
        failure.refused(kind, what)
    }
}

/// What is wrong with a call that has nothing to say; an answer that cannot be read says that it was done.
fn failure(answer: Answer<()>) -> Option<Failure> {
    match answer {
        Answer::Done(()) | Answer::Unreadable(_) => None,
        Answer::Failed(failure) => Some(failure),
    }
}

impl Front {
    /// What lies before the first message is the cursor's matter.
    fn begin_at(&mut self, first: u64) {
        self.settled = self.settled.split_off(&first);
        self.restamp = self.restamp.split_off(&first);
        self.in_doubt = self.in_doubt.split_off(&first);
        self.suspect_until = self.suspect_until.filter(|last| *last >= first);
    }

    /// Those that are never sent, as far as the call reaches and up to the next that can be.
    fn quarantine_unsendable(&mut self, messages: &[Message], batch: &Batch) {
        let reach = batch.events.iter().map(|event| event.at).max();
        for (at, message) in messages.iter().enumerate() {
            if let Some(reason) = prepare::unsendable(&message.text) {
                self.settled.insert(message.seq, Fate::Quarantined(reason));
            } else if Some(at) > reach && !self.settled.contains_key(&message.seq) {
                break;
            }
        }
    }

    /// The next call: all that fits, or of messages that make a call invalid the first half.
    fn next(&self, messages: &[Message], now_ms: i64) -> Batch {
        let is_settled = |seq: u64| self.settled.contains_key(&seq);
        let suspects = self.suspect_until.map_or(0, |last| {
            let until = messages.iter().take_while(|message| message.seq <= last);
            let is_open = |message: &&Message| {
                !is_settled(message.seq) && prepare::unsendable(&message.text).is_none()
            };
            until.filter(is_open).count()
        });
        let most = match suspects {
            0 => limits::CALL_EVENTS,
            suspects => suspects.div_ceil(2),
        };
        prepare::batch(messages, is_settled, &self.restamp, most, now_ms)
    }

    fn deliver(&mut self, event: &Event) {
        self.restamp.remove(&event.seq);
        let is_restamped = event.is_restamped;
        self.settled
            .insert(event.seq, Fate::Delivered { is_restamped });
    }

    fn doubt(&mut self, batch: &Batch) {
        self.in_doubt
            .extend(batch.events.iter().map(|event| event.seq));
    }

    /// The fates of the run from the front that has them all; they are told once.
    fn take(&mut self, messages: &[Message]) -> Sent {
        let mut sent = Sent::default();
        for message in messages {
            let seq = message.seq;
            let Some(fate) = self.settled.remove(&seq) else {
                break;
            };
            sent.taken += 1;
            let was_in_doubt = self.in_doubt.remove(&seq);
            match fate {
                Fate::Delivered { is_restamped } => {
                    sent.delivered += 1;
                    sent.restamped += u64::from(is_restamped);
                    sent.maybe_twice += u64::from(was_in_doubt);
                }
                Fate::Quarantined(reason) => {
                    sent.quarantined.push(Quarantined { seq, reason });
                }
            }
        }
        sent
    }
}

#[cfg(test)]
mod tests;
