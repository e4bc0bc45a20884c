//! What an answer of an HTTP Event Collector means. Pure: the client says what came back in these types.
//!
//! The numbers are Splunk's ("Troubleshoot HTTP Event Collector", possible error codes). What stands between it
//! and us answers with none, and is believed less: it never makes an event invalid.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::limits::SAID_CHARS;
use crate::sinks::http::Failure;
use crate::sinks::{BoxError, RefusalKind};

/// What came back of a call.
#[derive(Debug)]
pub enum Reply {
    /// An answer, whole.
    Answered(Answer),
    /// No answer.
    Failed(Failure),
}

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
    /// Milliseconds after which to come again, as it says.
    pub retry_after_ms: Option<u64>,
}

/// What became of a call.
#[derive(Debug)]
pub enum Outcome {
    /// It was taken, and is waited for under this number if the token has acknowledgement.
    Taken {
        /// The number.
        ack_id: Option<u64>,
    },
    /// One of its events is invalid: this one, if Splunk says which. Those before it may have been taken.
    Invalid {
        /// Its place in the call, from 0. Some versions count from 1: it is a hint.
        place: Option<usize>,
        /// What Splunk says.
        said: Said,
    },
    /// It is too large.
    TooLarge(Said),
    /// It was not taken.
    Refused(Refusal),
}

/// A refusal that no other call would change.
#[derive(Debug)]
pub struct Refusal {
    /// Who can end it.
    pub kind: RefusalKind,
    /// What to do about it; begins with `: `, or is empty.
    pub help: String,
    /// The events may have been taken all the same.
    pub is_in_doubt: bool,
    /// The channel is of no use: another is needed.
    pub is_of_channel: bool,
    /// Milliseconds after which to come again, as the answer says.
    pub retry_after_ms: Option<u64>,
    /// What the other side, or the way to it, said.
    pub source: BoxError,
}

/// What an answer says, to be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("HTTP status {status}{}", said(text, *code))]
pub struct Said {
    /// HTTP's.
    pub status: u16,
    /// Splunk's number.
    pub code: Option<i64>,
    /// Splunk's words, without control characters.
    pub text: String,
}

fn said(text: &str, code: Option<i64>) -> String {
    match code {
        Some(code) => format!(": {text} (code {code})"),
        None => String::new(),
    }
}

/// An answer's body as Splunk writes it.
#[derive(Debug, Default, Deserialize)]
struct Body {
    #[serde(default)]
    text: String,
    code: Option<i64>,
    #[serde(rename = "invalid-event-number")]
    place: Option<i64>,
    #[serde(rename = "ackId")]
    ack_id: Option<Value>,
}

#[derive(Debug, Deserialize)]
struct Acks {
    acks: BTreeMap<u64, bool>,
}

impl Answer {
    fn read(&self) -> (Body, Said) {
        let body: Body = serde_json::from_slice(&self.body).unwrap_or_default();
        let text = body.text.chars().take(SAID_CHARS);
        let text = text.map(|c| if c.is_control() { ' ' } else { c }).collect();
        let said = Said {
            status: self.status,
            code: body.code,
            text,
        };
        (body, said)
    }

    fn refusal(&self, said: Said) -> Refusal {
        let (kind, help) = said.meaning();
        Refusal {
            kind,
            help: help.to_owned(),
            is_in_doubt: matches!(self.status, 200..=299 | 408 | 500..),
            is_of_channel: said.code == Some(11),
            retry_after_ms: self.retry_after_ms,
            source: said.into(),
        }
    }
}

impl Said {
    /// Who can end a refusal, and what to do about it.
    fn meaning(&self) -> (RefusalKind, &'static str) {
        match self.code {
            Some(1 | 22) => (
                RefusalKind::Credentials,
                ": the token is disabled: enable it, or give another",
            ),
            Some(2 | 3 | 4 | 21) => (
                RefusalKind::Credentials,
                ": the token is not known there: make it, or give another",
            ),
            Some(5) => (
                RefusalKind::Other,
                ": it says that there was nothing in the call: look at what stands between",
            ),
            Some(7) => (
                RefusalKind::Missing,
                ": make the index, let the token write to it, or set another",
            ),
            Some(9 | 26 | 27) => (RefusalKind::Throttled, ""),
            Some(10) => (
                RefusalKind::Other,
                ": the token has indexer acknowledgement: set acknowledgement: true, or take it from the token",
            ),
            Some(11) => (RefusalKind::Unavailable, ": another channel is tried"),
            Some(14) => (RefusalKind::Other, NO_ACKNOWLEDGEMENT),
            _ => self.by_status(),
        }
    }

    fn by_status(&self) -> (RefusalKind, &'static str) {
        match self.status {
            200..=299 => (
                RefusalKind::Unavailable,
                ": its answer is none of Splunk's, so that it is not believed",
            ),
            300..=399 => (
                RefusalKind::Other,
                ": it sends elsewhere, and that is not followed: set endpoint to where it is",
            ),
            401 => (RefusalKind::Credentials, ": the token is not taken"),
            403 => (
                RefusalKind::Denied,
                ": the token, or what stands between, does not let the collector in",
            ),
            404 | 405 => (
                RefusalKind::Missing,
                ": there is no HTTP Event Collector: look at the address, and whether it is enabled",
            ),
            429 => (RefusalKind::Throttled, ""),
            408 | 500.. => (RefusalKind::Unavailable, ""),
            _ => (RefusalKind::Other, ""),
        }
    }
}

/// What to do where acknowledgements are asked for and the token has none.
pub const NO_ACKNOWLEDGEMENT: &str = ": the token has no indexer acknowledgement: give it to the token, or set acknowledgement: false";

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            kind: failure.kind,
            help: failure.help,
            is_in_doubt: failure.is_in_doubt,
            is_of_channel: false,
            retry_after_ms: None,
            source: failure.source,
        }
    }
}

/// Of a call with events.
pub fn of_events(reply: Reply) -> Outcome {
    let answer = match reply {
        Reply::Answered(answer) => answer,
        Reply::Failed(failure) => return Outcome::Refused(failure.into()),
    };
    let (body, said) = answer.read();
    match (answer.status, said.code) {
        (200, Some(0)) => Outcome::Taken {
            ack_id: body.ack_id.and_then(|id| id.as_u64()),
        },
        // Invalid format; no event; an empty event; indexed fields.
        (400, Some(6 | 12 | 13 | 15)) => Outcome::Invalid {
            place: body.place.and_then(|place| usize::try_from(place).ok()),
            said,
        },
        (413, _) => Outcome::TooLarge(said),
        _ => Outcome::Refused(answer.refusal(said)),
    }
}

/// Of a question after acknowledgements: the numbers of those that are indexed.
pub fn of_question(reply: Reply) -> Result<Vec<u64>, Refusal> {
    let answer = match reply {
        Reply::Answered(answer) => answer,
        Reply::Failed(failure) => return Err(failure.into()),
    };
    let acks = (answer.status == 200).then(|| serde_json::from_slice::<Acks>(&answer.body));
    let Some(Ok(acks)) = acks else {
        let (_, said) = answer.read();
        return Err(answer.refusal(said));
    };
    let are = acks.acks.into_iter().filter(|(_, is)| *is);
    Ok(are.map(|(id, _)| id).collect())
}

#[cfg(test)]
mod tests;
