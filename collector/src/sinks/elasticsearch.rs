//! The sink to Elasticsearch, and to OpenSearch, which has the same `_bulk`.
//!
//! ```text
//!  messages ─► prepare ─► Batch ─► client (shell) ─► Reply ─► interpret ─► a fate for each by seq ─► Sent
//! ```
//!
//! Each event is a document that is created under its `metadata.uid`. One that is there already (409) is delivered: so
//! whatever answer was lost, what is sent again is there once. That holds within one index. Where a data stream or an
//! alias has gone over to another index between two attempts, it can be there twice, once in each, with one `_id`; an
//! index by the event's own date (`audit-%Y.%m.%d`) is the same at every attempt.
//!
//! A call that is taken says of each event what became of it. Those that are refused for now are sent again, and only
//! those; what is taken behind one of them stays known. Those that are invalid are quarantined with Elasticsearch's
//! reason, unless too many are in a row.

pub mod client;
pub mod interpret;
pub mod limits;
pub mod prepare;

use self::client::{Calls, Client};
use self::interpret::{Item, Outcome, Refusal, Said};
use self::limits::{CALL_EVENTS, MAX_QUARANTINED_IN_A_ROW};
use self::prepare::{Batch, Index};
use super::fates::Fates;
use super::http::{Fit, Room};
use super::{Message, QuarantineReason, RefusalKind, Refused, Sent};
use crate::config::sinks::elasticsearch::Elasticsearch as Settings;

/// An index that messages are sent to.
///
/// Dropped and made anew it forgets what is behind the cursor only: what is sent again for that is known there.
#[derive(Debug)]
pub struct Elasticsearch<C = Client> {
    calls: C,
    endpoint: String,
    /// `None` where the setting is none: then nothing is sent.
    index: Option<Index>,
    room: Room,
    fit: Fit,
    fates: Fates,
    quarantined_in_a_row: u32,
}

impl Elasticsearch {
    /// A sink that has asked nobody yet.
    pub fn new(settings: &Settings) -> Self {
        Self::with_calls(settings, Client::new(settings))
    }
}

impl<C: Calls> Elasticsearch<C> {
    fn with_calls(settings: &Settings, calls: C) -> Self {
        Self {
            calls,
            endpoint: settings.endpoint.clone(),
            index: Index::of(&settings.index),
            room: Room {
                events: CALL_EVENTS,
                bytes: settings.max_content_bytes,
                most_bytes: settings.max_content_bytes,
            },
            fit: Fit::default(),
            fates: Fates::default(),
            quarantined_in_a_row: 0,
        }
    }

    /// Sends one call's worth from the front of `messages`, which begin at the cursor and whose numbers rise.
    ///
    /// Whatever the call achieved is kept: of messages behind one that has no fate yet it is told once that one has its
    /// own.
    ///
    /// # Errors
    /// Nothing more was taken, see [`Refused`].
    pub async fn send(&mut self, messages: &[Message]) -> Result<Sent, Refused> {
        let Some(first) = messages.first() else {
            return Ok(Sent::default());
        };
        self.fates.begin_at(first.seq);
        let outcome = self.post(messages).await;
        let sent = self.fates.take(messages);
        match outcome {
            Err(refused) if sent.taken == 0 => Err(refused),
            _ => Ok(sent),
        }
    }

    /// Makes the next call, if there is something to send.
    async fn post(&mut self, messages: &[Message]) -> Result<(), Refused> {
        let batch = self.next(messages)?;
        if batch.seqs.is_empty() {
            return Ok(());
        }
        let (seqs, bytes) = (batch.seqs, batch.body.len());
        let reply = self.calls.post(batch.body).await;
        match interpret::of(reply, &batch.ids) {
            Outcome::Items(items) => {
                self.fit.whole(&mut self.room);
                self.settle(&seqs, items)
            }
            Outcome::Invalid(said) | Outcome::TooLarge(said) if seqs.len() == 1 => seqs
                .iter()
                .try_for_each(|seq| self.quarantine(*seq, said.clone())),
            Outcome::Invalid(_) => {
                self.fates.suspect(&seqs);
                Ok(())
            }
            Outcome::TooLarge(_) => {
                self.fit.too_large(&mut self.room, bytes);
                Ok(())
            }
            Outcome::Refused(refusal) => Err(self.refused(refusal, "send events to")),
        }
    }

    /// All that fits of what has no fate. What can never be sent has its fate then.
    fn next(&mut self, messages: &[Message]) -> Result<Batch, Refused> {
        let Some(index) = &self.index else {
            let what = format!("{}: its index has no name that can be one", self.about());
            return Err(other(what, None));
        };
        let is_passed = |seq| self.fates.is_settled(seq);
        let events = self.fates.most(messages, self.room.events, is_passed);
        let mut batch = prepare::batch(
            messages,
            is_passed,
            index,
            Room {
                events,
                ..self.room
            },
        );
        for one in batch.unsendable.drain(..) {
            self.fates.quarantine(one.seq, one.reason);
        }
        Ok(batch)
    }

    /// The fates of those that have one; the first refusal of the others.
    fn settle(&mut self, seqs: &[u64], items: Vec<Item>) -> Result<(), Refused> {
        let (mut refused, mut waiting) = (None, 0_usize);
        for (seq, item) in seqs.iter().zip(items) {
            let told = match item {
                Item::There => {
                    self.quarantined_in_a_row = 0;
                    self.fates.deliver(&[*seq]);
                    Ok(())
                }
                Item::Invalid(said) => self.quarantine(*seq, said),
                Item::Refused(refusal) => {
                    let doing = format!("have event {seq} taken by");
                    Err(self.refused(refusal, &doing))
                }
            };
            if let Err(why) = told {
                waiting += 1;
                refused.get_or_insert(why);
            }
        }
        match refused {
            None => Ok(()),
            Some(mut why) => {
                why.what = format!("{} ({waiting} of {} events wait)", why.what, seqs.len());
                Err(why)
            }
        }
    }

    /// It will never be taken.
    fn quarantine(&mut self, seq: u64, said: Said) -> Result<(), Refused> {
        if self.quarantined_in_a_row >= MAX_QUARANTINED_IN_A_ROW {
            let what = format!(
                "{}: it does not take any of the last {MAX_QUARANTINED_IN_A_ROW} events: look at the mapping of \
                 the index",
                self.about()
            );
            return Err(other(what, Some(said.into())));
        }
        self.quarantined_in_a_row += 1;
        self.fates.convict();
        let reason = QuarantineReason::Invalid(said.to_string());
        self.fates.quarantine(seq, reason);
        Ok(())
    }

    fn about(&self) -> String {
        format!("send events to Elasticsearch at {}", self.endpoint)
    }

    /// What an operator is told, with what to do about it.
    fn refused(&self, refusal: Refusal, doing: &str) -> Refused {
        Refused {
            kind: refusal.kind,
            what: format!("{doing} Elasticsearch at {}{}", self.endpoint, refusal.help),
            source: Some(refusal.source),
            retry_after_ms: refusal.retry_after_ms,
        }
    }
}

fn other(what: String, source: Option<super::BoxError>) -> Refused {
    Refused {
        kind: RefusalKind::Other,
        what,
        source,
        retry_after_ms: None,
    }
}

#[cfg(test)]
mod tests;
