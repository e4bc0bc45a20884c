//! The sink to Splunk's HTTP Event Collector (HEC).
//!
//! ```text
//!  messages ─► prepare ─► Batch ─► client (shell) ─► Reply ─► interpret ─┬─► fates by seq ─► Sent
//!                                                                        └─► in flight ─► acknowledged ─┘
//! ```
//!
//! Without acknowledgement Splunk says of a call that it could read it, which is before it is on a disk there.
//! With it (`acknowledgement: true`) a call has a number in a channel of ours, Splunk is asked after it, and its
//! events are delivered once they are indexed. Splunk says "no" of numbers that it has forgotten as well: what is
//! not acknowledged in time is sent again.
//!
//! Of a call that is refused for one of its events, those before it may be in. Each event is found and quarantined
//! by its own call, and never by a number alone; what was sent twice for that is counted so. Splunk does not know
//! events again: they have one `metadata.uid`.

pub mod client;
mod front;
pub mod interpret;
pub mod limits;
pub mod prepare;

use self::client::{Calls, Client};
use self::front::Front;
use self::interpret::{NO_ACKNOWLEDGEMENT, Outcome, Refusal, Said};
use self::limits::{CALL_EVENTS, FIRST_LOOK_MS, LAST_LOOK_MS, MAX_QUARANTINED_IN_A_ROW};
use self::prepare::Envelope;
use super::http::{Fit, Room};
use super::{Message, QuarantineReason, RefusalKind, Refused, Sent};
use crate::config::sinks::hec::Hec as Settings;

/// An HTTP Event Collector that messages are sent to.
///
/// Dropped and made anew it forgets what is behind the cursor only: at the most the calls that wait for their
/// acknowledgement, and one more, are sent twice then.
#[derive(Debug)]
pub struct Hec<C = Client> {
    calls: C,
    endpoint: String,
    envelope: Envelope,
    room: Room,
    fit: Fit,
    /// The channel of this life, if acknowledgements are asked for.
    channel: Option<String>,
    ack_timeout_ms: u64,
    front: Front,
    quarantined_in_a_row: u32,
}

impl Hec {
    /// A sink that has asked nobody yet.
    pub fn new(settings: &Settings) -> Self {
        Self::with_calls(settings, Client::new(settings))
    }
}

impl<C: Calls> Hec<C> {
    fn with_calls(settings: &Settings, calls: C) -> Self {
        let channel = settings
            .acknowledgement
            .then(|| prepare::channel(calls.random()));
        Self {
            calls,
            endpoint: settings.endpoint.clone(),
            envelope: Envelope::new(settings),
            room: Room {
                events: CALL_EVENTS,
                bytes: settings.max_content_bytes,
                most_bytes: settings.max_content_bytes,
            },
            fit: Fit::default(),
            channel,
            ack_timeout_ms: settings.ack_timeout_s.saturating_mul(1000),
            front: Front::default(),
            quarantined_in_a_row: 0,
        }
    }

    /// Sends one call's worth from the front of `messages`, which begin at the cursor and whose numbers rise. The
    /// present time, Unix milliseconds, is not needed: Splunk takes an event of any time.
    ///
    /// With acknowledgement it sends what it may have in flight, and returns when the first message has its fate
    /// or has waited for too long. Whatever a call achieved is kept: of messages behind one that has no fate yet
    /// it is told once that one has its own. Dropped while it waits, it may have sent messages that it does not
    /// know of.
    ///
    /// # Errors
    /// Nothing more was taken, see [`Refused`].
    pub async fn send(&mut self, messages: &[Message], _now_unix_ms: u64) -> Result<Sent, Refused> {
        let Some(first) = messages.first() else {
            return Ok(Sent::default());
        };
        self.front.begin_at(first.seq);
        let outcome = if self.channel.is_some() {
            self.deliver_acknowledged(messages).await
        } else {
            self.post(messages).await.map(drop)
        };
        let sent = self.front.take(messages);
        match outcome {
            Err(refused) if sent.taken == 0 => Err(refused),
            _ => Ok(sent),
        }
    }

    async fn deliver_acknowledged(&mut self, messages: &[Message]) -> Result<(), Refused> {
        let mut look_ms = FIRST_LOOK_MS;
        loop {
            let asked = self.ask().await;
            self.lapse()?;
            asked?;
            if self.front.has_news(messages) {
                return Ok(());
            }
            if !self.front.is_full() && self.post(messages).await? {
                continue;
            }
            if self.front.waiting().next().is_none() {
                return Ok(());
            }
            self.calls.wait(look_ms).await;
            look_ms = (look_ms * 2).min(LAST_LOOK_MS);
        }
    }

    /// Asks after the calls that wait.
    async fn ask(&mut self) -> Result<(), Refused> {
        let Some(channel) = self.channel.as_deref() else {
            return Ok(());
        };
        let waiting: Vec<_> = self.front.waiting().collect();
        if waiting.is_empty() {
            return Ok(());
        }
        let reply = self.calls.ask(channel, prepare::question(waiting)).await;
        match interpret::of_question(reply) {
            Ok(indexed) => {
                self.front.land(&indexed);
                Ok(())
            }
            Err(refusal) => Err(self.refused(refusal, "ask after events sent to")),
        }
    }

    /// What has waited for too long is told once, and sent again.
    fn lapse(&mut self) -> Result<(), Refused> {
        let now_ms = self.calls.elapsed_ms();
        match self.front.lapse(now_ms, self.ack_timeout_ms) {
            0 => Ok(()),
            events => {
                let what = format!(
                    "{}: {events} events are not acknowledged within {} s, and are sent again",
                    self.about("have events indexed by"),
                    self.ack_timeout_ms / 1000
                );
                Err(unavailable(what, None))
            }
        }
    }

    /// Makes the next call, if there is something to send. Whether there was.
    async fn post(&mut self, messages: &[Message]) -> Result<bool, Refused> {
        let batch = self.front.next(messages, &self.envelope, self.room);
        if batch.seqs.is_empty() {
            return Ok(false);
        }
        let (seqs, bytes) = (batch.seqs, batch.body.len());
        let reply = self.calls.post(self.channel.as_deref(), batch.body).await;
        match interpret::of_events(reply) {
            Outcome::Taken { ack_id } => self.taken(&seqs, ack_id)?,
            Outcome::Invalid { place, said } => self.invalid(&seqs, place, said)?,
            Outcome::TooLarge(said) => self.too_large(&seqs, bytes, said)?,
            Outcome::Refused(refusal) => {
                if refusal.is_in_doubt {
                    self.front.doubt(&seqs);
                }
                return Err(self.refused(refusal, "send events to"));
            }
        }
        Ok(true)
    }

    fn taken(&mut self, seqs: &[u64], ack_id: Option<u64>) -> Result<(), Refused> {
        self.front.acquit();
        match (&self.channel, ack_id) {
            (None, _) => self.front.deliver(seqs),
            (Some(_), Some(ack_id)) => {
                let now_ms = self.calls.elapsed_ms();
                if let Err(error) = self.front.fly(ack_id, seqs, now_ms) {
                    self.renew_channel();
                    let what = format!(
                        "{}: it has begun to count anew, or is one of several without sticky sessions; what \
                         waits is sent again",
                        self.about("have events indexed by")
                    );
                    return Err(unavailable(what, Some(error.into())));
                }
            }
            (Some(_), None) => {
                self.front.doubt(seqs);
                // What is sent until somebody mends it comes twice: as little as there can be.
                self.room.events = 1;
                let what = format!(
                    "{}{NO_ACKNOWLEDGEMENT}",
                    self.about("have events indexed by")
                );
                return Err(Refused {
                    kind: RefusalKind::Other,
                    what,
                    source: None,
                    retry_after_ms: None,
                });
            }
        }
        self.room.events = CALL_EVENTS;
        self.fit.whole(&mut self.room);
        self.quarantined_in_a_row = 0;
        Ok(())
    }

    /// One of the events makes the call invalid: the next one has it alone, if it is named, or half of them.
    fn invalid(&mut self, seqs: &[u64], place: Option<usize>, said: Said) -> Result<(), Refused> {
        if let [seq] = seqs {
            return self.quarantine(*seq, said);
        }
        // The last before all of them would wait is looked for: halves that are taken show that not all are bad.
        let is_believed = self.quarantined_in_a_row + 1 < MAX_QUARANTINED_IN_A_ROW;
        self.front.suspect(seqs, place.filter(|_| is_believed));
        Ok(())
    }

    /// From now on a call has half of it at the most.
    fn too_large(&mut self, seqs: &[u64], bytes: usize, said: Said) -> Result<(), Refused> {
        if let [seq] = seqs {
            return self.quarantine(*seq, said);
        }
        self.fit.too_large(&mut self.room, bytes);
        Ok(())
    }

    /// A call with this message alone is not taken.
    fn quarantine(&mut self, seq: u64, said: Said) -> Result<(), Refused> {
        if self.quarantined_in_a_row >= MAX_QUARANTINED_IN_A_ROW {
            let what = format!(
                "{}: it does not take any of the last {MAX_QUARANTINED_IN_A_ROW} events, one by one",
                self.about("send events to")
            );
            return Err(Refused {
                kind: RefusalKind::Other,
                what,
                source: Some(said.into()),
                retry_after_ms: None,
            });
        }
        self.quarantined_in_a_row += 1;
        self.front.convict();
        let reason = QuarantineReason::Invalid(said.to_string());
        self.front.quarantine(seq, reason);
        Ok(())
    }

    fn renew_channel(&mut self) {
        self.front.leave_channel();
        self.channel = Some(prepare::channel(self.calls.random()));
    }

    fn about(&self, doing: &str) -> String {
        format!("{doing} Splunk at {}", self.endpoint)
    }

    /// What an operator is told, with what to do about it.
    fn refused(&mut self, refusal: Refusal, doing: &str) -> Refused {
        if refusal.is_of_channel && self.channel.is_some() {
            self.renew_channel();
        }
        Refused {
            kind: refusal.kind,
            what: format!("{}{}", self.about(doing), refusal.help),
            source: Some(refusal.source),
            retry_after_ms: refusal.retry_after_ms,
        }
    }
}

fn unavailable(what: String, source: Option<super::BoxError>) -> Refused {
    Refused {
        kind: RefusalKind::Unavailable,
        what,
        source,
        retry_after_ms: None,
    }
}

#[cfg(test)]
mod tests;
