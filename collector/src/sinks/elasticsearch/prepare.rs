//! One call of `_bulk` out of the messages at the front: two lines for each, what to do and the document. Pure.
//!
//! A document goes over as its bytes are. Its `_id` is the event's `metadata.uid`, and the action is `create`: what is
//! there already is not written again.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::de::IgnoredAny;
use sha2::{Digest as _, Sha256};

use super::limits::{CALL_EVENTS, ID_BYTES, INDEX_BYTES};
use crate::sinks::http::Room;
use crate::sinks::{Message, QuarantineReason, Quarantined};

/// The name of a data stream, an alias or an index; of an index for each day, month or year with `%Y`, `%m`, `%d`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index(String);

/// What is sent in one call.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The numbers of the messages in the order in which they are sent, which is their own.
    pub seqs: Vec<u64>,
    /// Their names there, in that order.
    pub ids: Vec<String>,
    /// The request's body.
    pub body: Vec<u8>,
    /// Messages on the way that can never be sent.
    pub unsendable: Vec<Quarantined>,
}

impl Index {
    /// Of that text, if it is one by Elastic's rules ("Create index", path parameters), and not one of its own.
    pub fn of(text: &str) -> Option<Self> {
        let index = Self(text.to_owned());
        let name = index.at(0);
        let is_pattern = name.contains('%');
        let of_name = |c: char| {
            !(c.is_uppercase()
                || c.is_whitespace()
                || c.is_control()
                || "\\/*?\"<>|,#:".contains(c))
        };
        let is_name = (1..=INDEX_BYTES).contains(&name.len())
            && name.chars().all(of_name)
            && !name.starts_with(['-', '_', '+', '.']);
        (is_name && !is_pattern).then_some(index)
    }

    /// That of an event of this time, Unix nanoseconds.
    fn at(&self, time_unix_ns: u64) -> String {
        if !self.0.contains('%') {
            return self.0.clone();
        }
        let time = Timestamp::from_nanosecond(time_unix_ns.into()).unwrap_or_default();
        let day = TimeZone::UTC.to_datetime(time);
        self.0
            .replace("%Y", &format!("{:04}", day.year()))
            .replace("%m", &format!("{:02}", day.month()))
            .replace("%d", &format!("{:02}", day.day()))
    }
}

/// The event's name there: its own, or where it has none that can be one, a hash of its text.
fn id(message: &Message) -> String {
    if (1..=ID_BYTES).contains(&message.uid.len()) {
        return message.uid.clone();
    }
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(message.text.as_bytes()) {
        // Nothing that is written to memory fails.
        let _infallible = write!(hex, "{byte:02x}");
    }
    hex
}

/// As many messages from the front as there is room for, one at the least. Those that `is_passed` says are passed
/// over: they have their fate already.
pub fn batch(
    messages: &[Message],
    is_passed: impl Fn(u64) -> bool,
    index: &Index,
    room: Room,
) -> Batch {
    let mut batch = Batch::default();
    for message in messages.iter().filter(|message| !is_passed(message.seq)) {
        let (before, id) = (batch.body.len(), id(message));
        write(
            message,
            &index.at(message.time_unix_ns),
            &id,
            &mut batch.body,
        );
        let bytes = batch.body.len() - before;
        if let Some(reason) = unsendable(&message.text, bytes, room.most_bytes) {
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
        batch.ids.push(id);
    }
    batch
}

fn write(message: &Message, index: &str, id: &str, body: &mut Vec<u8>) {
    let action = serde_json::json!({"create": {"_index": index, "_id": id}});
    for part in [&action.to_string(), "\n", &message.text, "\n"] {
        body.extend_from_slice(part.as_bytes());
    }
}

fn unsendable(text: &str, bytes: usize, most: usize) -> Option<QuarantineReason> {
    let is_document = || {
        let is_object = text.starts_with('{') && serde_json::from_str::<IgnoredAny>(text).is_ok();
        is_object && !text.contains(['\n', '\r'])
    };
    if text.is_empty() {
        Some(QuarantineReason::Empty)
    } else if bytes > most {
        Some(QuarantineReason::TooLong {
            bytes: text.len(),
            most: most.saturating_sub(bytes - text.len()),
        })
    } else if is_document() {
        None
    } else {
        let why = "it is no JSON object in one line";
        Some(QuarantineReason::Invalid(why.to_owned()))
    }
}

#[cfg(test)]
mod tests;
