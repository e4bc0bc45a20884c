//! The sink to a receiver of OpenTelemetry's logs, over OTLP/gRPC or OTLP/HTTP.
//!
//! ```text
//!  messages ─► prepare ─► Batch ─► client (shell) ─► Reply ─► interpret ─┬─ all taken ─► delivered
//!                 ▲                                                      ├─ all rejected ─► quarantined
//!                 └────────────── its halves, each a call ◄──────────────┴─ some rejected
//! ```
//!
//! A receiver may take a part of a call and say only how many records it has rejected. The specification forbids to send
//! such a call again, so that nothing comes twice, and leaves the rejected ones lost without anybody knowing which they
//! are. Here each record has a fate that is known: halves of the call are sent, and halves of those, until each record
//! was in a call that was taken whole, which is delivered, or in one that was rejected whole, which is quarantined. No
//! fate is reckoned from the counts of other calls: a receiver may judge otherwise the next time. What it had taken comes
//! to it again for that, the same record with the same `log.record.uid`, and is counted as perhaps there twice: of a call
//! of n records each at the most log₂ n times more, however many of them are rejected.

pub mod client;
pub mod interpret;
pub mod limits;
pub mod prepare;
pub mod resource;

use self::client::{Calls, Client};
use self::interpret::{Outcome, Refusal, Said};
use self::limits::{CALL_RECORDS, MAX_QUARANTINED_IN_A_ROW};
use self::prepare::Batch;
use self::resource::Common;
use super::fates::Fates;
use super::http::{Fit, Room};
use super::{Message, QuarantineReason, RefusalKind, Refused, Sent};
use crate::config::sinks::otlp::Otlp as Settings;

/// A part of a call.
#[derive(Debug)]
struct Group {
    /// Its messages, by number.
    seqs: Vec<u64>,
    /// The receiver took at least half of a call that it is part of: what it rejects is the events' fault.
    is_vouched: bool,
}

/// A receiver that messages are sent to.
///
/// Dropped and made anew it forgets what is behind the cursor only: that is sent twice then.
#[derive(Debug)]
pub struct Otlp<C = Client> {
    calls: C,
    endpoint: String,
    common: Common,
    room: Room,
    fit: Fit,
    fates: Fates,
    /// Parts of calls that were not taken whole; the last one is next.
    groups: Vec<Group>,
    quarantined_in_a_row: usize,
    /// What the receiver said last of a call that it took.
    warned: Option<String>,
}

impl Otlp {
    /// A sink that has asked nobody yet.
    pub fn new(settings: &Settings) -> Self {
        Self::with_calls(settings, Client::new(settings))
    }
}

impl<C: Calls> Otlp<C> {
    fn with_calls(settings: &Settings, calls: C) -> Self {
        Self {
            calls,
            endpoint: settings.endpoint.clone(),
            common: Common::new(settings),
            room: Room {
                events: CALL_RECORDS,
                bytes: settings.max_request_bytes,
                most_bytes: settings.max_request_bytes,
            },
            fit: Fit::default(),
            fates: Fates::default(),
            groups: Vec::new(),
            quarantined_in_a_row: 0,
            warned: None,
        }
    }

    /// Sends one call's worth from the front of `messages`, which begin at the cursor and whose numbers rise.
    ///
    /// Dropped while it waits, it may have sent messages that it does not know of.
    ///
    /// # Errors
    /// Nothing more was taken, see [`Refused`].
    pub async fn send(&mut self, messages: &[Message]) -> Result<Sent, Refused> {
        let Some(first) = messages.first() else {
            return Ok(Sent::default());
        };
        self.fates.begin_at(first.seq);
        let outcome = self.export(messages).await;
        let sent = self.fates.take(messages);
        match outcome {
            Err(refused) if sent.taken == 0 => Err(refused),
            _ => Ok(sent),
        }
    }

    /// Makes the next call, if there is something to send.
    async fn export(&mut self, messages: &[Message]) -> Result<(), Refused> {
        let batch = self.next(messages);
        if batch.seqs.is_empty() {
            return Ok(());
        }
        let bytes = batch.bytes();
        let (seqs, length) = (batch.seqs, bytes.len());
        let reply = self.calls.export(bytes).await;
        match interpret::of(reply, seqs.len()) {
            Outcome::Taken { warning } => {
                self.warn(warning);
                self.fit.whole(&mut self.room);
                self.quarantined_in_a_row = 0;
                self.fates.deliver(&seqs);
                Ok(())
            }
            Outcome::Partial { rejected, said } => self.partial(&seqs, rejected, said),
            Outcome::Invalid(said) => self.invalid(&seqs, said),
            Outcome::TooLarge(said) if seqs.len() == 1 => self.rejected(&seqs, said),
            Outcome::TooLarge(_) => {
                self.fit.too_large(&mut self.room, length);
                Ok(())
            }
            Outcome::Refused(refusal) => {
                if refusal.is_in_doubt {
                    self.fates.doubt(&seqs);
                }
                Err(self.refused(refusal))
            }
        }
    }

    /// The next part of a call that was not taken whole, or all that fits of what has no fate. What can never be sent
    /// has its fate then.
    fn next(&mut self, messages: &[Message]) -> Batch {
        let is_open = |fates: &Fates, seq: &u64| {
            let place = messages.binary_search_by_key(seq, |message| message.seq);
            place.is_ok() && !fates.is_settled(*seq)
        };
        let has_open =
            |fates: &Fates, group: &Group| group.seqs.iter().any(|seq| is_open(fates, seq));
        while self
            .groups
            .pop_if(|group| !has_open(&self.fates, group))
            .is_some()
        {}
        let group = self.groups.last().map(|group| group.seqs.as_slice());
        let is_passed = |seq| {
            self.fates.is_settled(seq)
                || group.is_some_and(|group| group.binary_search(&seq).is_err())
        };
        let mut batch = prepare::batch(messages, is_passed, &self.common, self.room);
        for one in batch.unsendable.drain(..) {
            self.fates.quarantine(one.seq, one.reason);
        }
        batch
    }

    /// Each half of them is sent by itself.
    fn split(&mut self, seqs: &[u64], is_vouched: bool) {
        let is_vouched = is_vouched || self.is_vouched();
        let (first, second) = seqs.split_at(seqs.len().div_ceil(2));
        let halves = [second, first].map(|seqs| Group {
            seqs: seqs.to_vec(),
            is_vouched,
        });
        self.groups.extend(halves);
    }

    /// Whether what was sent last is part of a call that was mostly taken.
    fn is_vouched(&self) -> bool {
        self.groups.last().is_some_and(|group| group.is_vouched)
    }

    /// So many of them are rejected, and the others are there.
    fn partial(&mut self, seqs: &[u64], rejected: usize, said: Said) -> Result<(), Refused> {
        if rejected >= seqs.len() {
            return self.rejected(seqs, said);
        }
        self.quarantined_in_a_row = 0;
        self.fates.doubt(seqs);
        self.split(seqs, rejected <= seqs.len() / 2);
        Ok(())
    }

    /// One of them makes the call one that cannot be read.
    fn invalid(&mut self, seqs: &[u64], said: Said) -> Result<(), Refused> {
        if let [_] = seqs {
            return self.rejected(seqs, said);
        }
        self.split(seqs, false);
        Ok(())
    }

    /// None of them is taken, and none will be.
    fn rejected(&mut self, seqs: &[u64], said: Said) -> Result<(), Refused> {
        let is_vouched = self.is_vouched();
        let in_a_row = self.quarantined_in_a_row + seqs.len();
        if is_vouched || in_a_row <= MAX_QUARANTINED_IN_A_ROW {
            if !is_vouched {
                self.quarantined_in_a_row = in_a_row;
            }
            for seq in seqs {
                let reason = QuarantineReason::Invalid(said.to_string());
                self.fates.quarantine(*seq, reason);
            }
            return Ok(());
        }
        if seqs.len() > 1 {
            self.split(seqs, false);
            return Ok(());
        }
        let what = format!(
            "send events to the receiver of OTLP at {}: it does not take any of the last {MAX_QUARANTINED_IN_A_ROW} \
             events, one by one",
            self.endpoint
        );
        Err(Refused {
            kind: RefusalKind::Other,
            what,
            source: Some(said.into()),
            retry_after_ms: None,
        })
    }

    /// Tells what the receiver says of a call that it took, once.
    fn warn(&mut self, warning: Option<String>) {
        if let Some(said) = warning.as_ref().filter(|_| self.warned != warning) {
            tracing::warn!(
                endpoint = self.endpoint,
                said,
                "a receiver of OTLP takes events, and has something to say of it"
            );
        }
        self.warned = warning;
    }

    /// What an operator is told, with what to do about it.
    fn refused(&self, refusal: Refusal) -> Refused {
        Refused {
            kind: refusal.kind,
            what: format!(
                "send events to the receiver of OTLP at {}{}",
                self.endpoint, refusal.help
            ),
            source: Some(refusal.source),
            retry_after_ms: refusal.retry_after_ms,
        }
    }
}

#[cfg(test)]
mod tests;
