//! One call out of the messages at the front: objects one behind the other, each with its `event`. Pure.
//!
//! An event that is a JSON object goes over as its bytes are. What is none (another format, a text that is cut)
//! goes over as a JSON string, so that no text can end its object or bring in one of its own.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use super::limits::CALL_EVENTS;
use crate::config::sinks::hec::Hec as Settings;
use crate::sinks::http::Room;
use crate::sinks::{Message, QuarantineReason, Quarantined};

/// What all events of a sink have alike: `"source":"…",…,` as it stands in each object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope(String);

/// What is sent in one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The numbers of the messages in the order in which they are sent, which is their own.
    pub seqs: Vec<u64>,
    /// The request's body.
    pub body: Vec<u8>,
    /// Messages on the way that can never be sent.
    pub unsendable: Vec<Quarantined>,
}

impl Envelope {
    /// Of these settings.
    pub fn new(settings: &Settings) -> Self {
        let fields = [
            ("source", &settings.source),
            ("sourcetype", &settings.sourcetype),
            ("index", &settings.index),
            ("host", &settings.host),
        ];
        let given = fields.into_iter().filter_map(|(name, value)| {
            let value = value.as_deref()?;
            Some(format!("\"{name}\":{},", string(value)))
        });
        Self(given.collect())
    }

    /// The object of a message, at the end of `body`; how much longer it is than the message.
    fn write(&self, message: &Message, body: &mut Vec<u8>) -> usize {
        let before = body.len();
        let ms = message.time_unix_ns / 1_000_000;
        let (seconds, rest) = (ms / 1000, ms % 1000);
        let head = format!("{{\"time\":{seconds}.{rest:03},{}\"event\":", self.0);
        for part in [head.as_bytes(), event(&message.text).as_bytes(), b"}"] {
            body.extend_from_slice(part);
        }
        body.len() - before - message.text.len()
    }
}

fn string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The text as the value of `event`.
fn event(text: &str) -> Cow<'_, str> {
    let is_object = text.starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok();
    if is_object {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(string(text))
    }
}

/// As many messages from the front as there is room for, one at the least. Those that `is_passed` says are passed
/// over: they have their fate already, or wait for it.
pub fn batch(
    messages: &[Message],
    is_passed: impl Fn(u64) -> bool,
    envelope: &Envelope,
    room: Room,
) -> Batch {
    let mut batch = Batch::default();
    for message in messages.iter().filter(|message| !is_passed(message.seq)) {
        let before = batch.body.len();
        let more = envelope.write(message, &mut batch.body);
        let bytes = batch.body.len() - before;
        if let Some(reason) = unsendable(&message.text, more, bytes, room.most_bytes) {
            batch.body.truncate(before);
            let seq = message.seq;
            batch.unsendable.push(Quarantined { seq, reason });
            continue;
        }
        let is_full = batch.seqs.len() >= room.events.min(CALL_EVENTS);
        if is_full || (batch.body.len() > room.bytes && before > 0) {
            batch.body.truncate(before);
            break;
        }
        batch.seqs.push(message.seq);
    }
    batch
}

fn unsendable(text: &str, more: usize, bytes: usize, most: usize) -> Option<QuarantineReason> {
    if text.is_empty() {
        Some(QuarantineReason::Empty)
    } else if bytes > most {
        Some(QuarantineReason::TooLong {
            bytes: text.len(),
            most: most.saturating_sub(more),
        })
    } else {
        None
    }
}

/// The question after these calls.
pub fn question(ack_ids: impl IntoIterator<Item = u64>) -> Vec<u8> {
    let ids: Vec<_> = ack_ids.into_iter().map(|id| id.to_string()).collect();
    format!("{{\"acks\":[{}]}}", ids.join(",")).into_bytes()
}

/// The name of a channel out of random bits: a UUID of version 4 (RFC 9562, section 5.4).
pub fn channel(random: u128) -> String {
    let bits = (random & !(0xf << 76) & !(0b11 << 62)) | (4 << 76) | (0b10 << 62);
    let hex = format!("{bits:032x}");
    let mut name = String::with_capacity(36);
    for (at, digit) in hex.chars().enumerate() {
        if [8, 12, 16, 20].contains(&at) {
            name.push('-');
        }
        name.push(digit);
    }
    name
}

#[cfg(test)]
mod tests;
