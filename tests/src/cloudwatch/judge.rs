//! What CloudWatch Logs says of a batch of events: the rules of PutLogEvents (API reference, "The
//! batch of events must satisfy the following constraints") as one pure function.
//!
//! A broken rule about the whole batch refuses it: nothing is stored. An event outside the time that
//! is taken is rejected alone: the rest is stored, the answer is 200 and tells the indexes. Groups,
//! streams and signatures are not known here.

use std::ops::Range;

use super::error::AwsError;

/// Bytes of a batch: its messages in UTF-8 and [`EVENT_OVERHEAD_BYTES`] for each event.
pub const BATCH_BYTES_AT_MOST: usize = 1_048_576;
/// What an event weighs beside its message.
pub const EVENT_OVERHEAD_BYTES: usize = 26;
/// The largest message that fits: it fills a batch on its own.
pub const MESSAGE_BYTES_AT_MOST: usize = BATCH_BYTES_AT_MOST - EVENT_OVERHEAD_BYTES;
/// Events of a batch.
pub const EVENTS_AT_MOST: usize = 10_000;
/// From the first valid event of a batch to its last.
pub const SPAN_MS_AT_MOST: i64 = 24 * HOUR_MS;
/// How far ahead an event may be.
pub const AHEAD_MS_AT_MOST: i64 = 2 * HOUR_MS;
/// How old an event may be, whatever the group retains.
pub const AGE_MS_AT_MOST: i64 = 14 * DAY_MS;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// An event as it was sent; what must be there may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub struct InputEvent {
    /// Of the event itself, Unix milliseconds.
    pub timestamp: Option<i64>,
    /// Its bytes in UTF-8 count.
    pub message: Option<String>,
}

impl InputEvent {
    /// A whole one.
    pub fn new(timestamp_ms: i64, message: impl Into<String>) -> Self {
        Self {
            timestamp: Some(timestamp_ms),
            message: Some(message.into()),
        }
    }
}

/// Indexes of rejected events, as `rejectedLogEventsInfo` tells them. Events are in order of time, so
/// that what is too old comes first, then what has expired, then what is stored, then what is too new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// The first event that is too new.
    pub too_new_start: Option<usize>,
    /// After the last event that is older than [`AGE_MS_AT_MOST`].
    pub too_old_end: Option<usize>,
    /// After the last event that the group does not retain any more, though it is not too old. AWS
    /// does not say whether its index is exclusive; that of the other one is.
    pub expired_end: Option<usize>,
}

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it fails, and nothing is stored.
    Refused(AwsError),
    /// Events of these indexes are stored: all, some or none of them.
    Taken {
        /// What is stored.
        stored: Range<usize>,
        /// What is not.
        rejected: Rejected,
    },
}

/// Decides about a batch that comes at `now_ms` (Unix milliseconds) for a group that retains events
/// for `retention_days`; `None`: for ever.
pub fn judge(batch: &[InputEvent], now_ms: i64, retention_days: Option<u32>) -> Verdict {
    let timestamps = match check(batch) {
        Ok(timestamps) => timestamps,
        Err(refusal) => return Verdict::Refused(refusal),
    };
    let (stored, rejected) = place(&timestamps, now_ms, retention_days);
    // Of what is within 14 days and 2 hours, as the API reference has it, retained or not.
    let within = rejected.too_old_end.unwrap_or(0)..stored.end;
    let valid = timestamps.get(within).unwrap_or_default();
    let ends = valid.first().zip(valid.last());
    if ends.is_some_and(|(first, last)| last.saturating_sub(*first) > SPAN_MS_AT_MOST) {
        return Verdict::Refused(AwsError::invalid_parameter(
            "The batch of log events in a single PutLogEvents request cannot span more than 24 hours.",
        ));
    }
    Verdict::Taken { stored, rejected }
}

/// Bytes of a batch as AWS counts them.
pub fn charged_bytes(batch: &[InputEvent]) -> usize {
    let message = |event: &InputEvent| event.message.as_ref().map_or(0, String::len);
    let charged = batch.iter().map(|e| message(e) + EVENT_OVERHEAD_BYTES);
    charged.sum()
}

/// The rules that need neither clock nor group; the timestamps of the events.
pub(super) fn check(batch: &[InputEvent]) -> Result<Vec<i64>, AwsError> {
    if batch.is_empty() {
        return Err(length(
            "logEvents",
            "Member must have length greater than or equal to 1",
        ));
    }
    if batch.len() > EVENTS_AT_MOST {
        return Err(length(
            "logEvents",
            "Member must have length less than or equal to 10000",
        ));
    }
    let checked = batch.iter().enumerate().map(|(at, event)| one(at, event));
    let timestamps: Vec<i64> = checked.collect::<Result<_, _>>()?;
    let bytes = charged_bytes(batch);
    if bytes > BATCH_BYTES_AT_MOST {
        return Err(AwsError::invalid_parameter(format!(
            "Upload too large: {bytes} bytes exceeds limit of {BATCH_BYTES_AT_MOST}"
        )));
    }
    if !timestamps.is_sorted() {
        return Err(AwsError::invalid_parameter(
            "Log events in a single PutLogEvents request must be in chronological order.",
        ));
    }
    Ok(timestamps)
}

fn one(at: usize, event: &InputEvent) -> Result<i64, AwsError> {
    // AWS counts members from one.
    let member = |field: &str| format!("logEvents.{}.member.{field}", at.saturating_add(1));
    let Some(timestamp) = event.timestamp else {
        return Err(length(&member("timestamp"), "Member must not be null"));
    };
    let Some(message) = &event.message else {
        return Err(length(&member("message"), "Member must not be null"));
    };
    if timestamp < 0 {
        return Err(length(
            &member("timestamp"),
            "Member must have value greater than or equal to 0",
        ));
    }
    if message.is_empty() {
        return Err(length(
            &member("message"),
            "Member must have length greater than or equal to 1",
        ));
    }
    if message.len() > MESSAGE_BYTES_AT_MOST {
        let bytes = message.len().saturating_add(EVENT_OVERHEAD_BYTES);
        return Err(AwsError::invalid_parameter(format!(
            "Log event too large: {bytes} bytes exceeds limit of {BATCH_BYTES_AT_MOST}"
        )));
    }
    Ok(timestamp)
}

fn length(member: &str, constraint: &str) -> AwsError {
    AwsError::constraint(member, constraint)
}

/// Which of the sorted timestamps are stored, and which not.
fn place(timestamps: &[i64], now_ms: i64, retention_days: Option<u32>) -> (Range<usize>, Rejected) {
    let before = |limit: i64| timestamps.partition_point(|t| *t < limit);
    let retained_ms = retention_days.map(|days| i64::from(days).saturating_mul(DAY_MS));
    let too_old = before(now_ms.saturating_sub(AGE_MS_AT_MOST));
    let expired = retained_ms.map_or(0, |retained| before(now_ms.saturating_sub(retained)));
    let too_new = before(now_ms.saturating_add(AHEAD_MS_AT_MOST).saturating_add(1));
    let rejected = Rejected {
        too_new_start: (too_new < timestamps.len()).then_some(too_new),
        too_old_end: (too_old > 0).then_some(too_old),
        expired_end: (expired > too_old).then_some(expired),
    };
    (too_old.max(expired)..too_new, rejected)
}

#[cfg(test)]
mod tests;
