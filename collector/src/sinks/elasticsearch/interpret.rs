//! What an answer of `_bulk` means. Pure: the client says what came back in these types.
//!
//! A call is answered with 200 whether or not its events were taken: each has a status of its own, in the order in
//! which they were sent, with its `_id`. An answer that does not say exactly this is not believed. What stands between
//! Elasticsearch and us never makes an event invalid.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::limits::SAID_CHARS;
use crate::sinks::http::{Failure, words};
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
    /// Each of its events, in their order.
    Items(Vec<Item>),
    /// Elasticsearch cannot read the call: one of its events makes it so.
    Invalid(Said),
    /// It is too large.
    TooLarge(Said),
    /// It was not taken.
    Refused(Refusal),
}

/// What became of an event.
#[derive(Debug)]
pub enum Item {
    /// It is there: now, or since an earlier call.
    There,
    /// It will never be.
    Invalid(Said),
    /// It is not there yet.
    Refused(Refusal),
}

/// A refusal that no other call would change.
#[derive(Debug)]
pub struct Refusal {
    /// Who can end it.
    pub kind: RefusalKind,
    /// What to do about it; begins with `: `, or is empty.
    pub help: String,
    /// Milliseconds after which to come again, as the answer says.
    pub retry_after_ms: Option<u64>,
    /// What the other side, or the way to it, said.
    pub source: BoxError,
}

/// What an answer says, to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq, thiserror::Error)]
#[error("status {status}{}{}", after(class), after(reason))]
pub struct Said {
    /// HTTP's, or the event's own.
    pub status: u16,
    /// The kind of the error by Elasticsearch's name for it; empty if it says none.
    pub class: String,
    /// Its words, without control characters.
    pub reason: String,
}

fn after(text: &str) -> String {
    if text.is_empty() {
        String::new()
    } else {
        format!(": {text}")
    }
}

#[derive(Debug, Deserialize)]
struct Body {
    errors: bool,
    items: Vec<BTreeMap<String, One>>,
}

#[derive(Debug, Deserialize)]
struct One {
    #[serde(rename = "_id")]
    id: String,
    status: u16,
    error: Option<Value>,
    /// What a data stream's store of what it could not take had to do with it.
    failure_store: Option<String>,
}

/// The document is not in the data stream, but under another name in its failure store.
const FAILURE_STORE: &str =
    "it is in the failure store of the data stream, as the mapping or a pipeline did not take it";
/// Kinds of errors that are of a document alone.
const OF_DOCUMENT: [&str; 3] = [
    "document_parsing_exception",
    "mapper_parsing_exception",
    "strict_dynamic_mapping_exception",
];
/// What a reason has in it if an `illegal_argument_exception` is of a document, as mappers and Lucene say it. What is
/// said with the same name of an alias, a pipeline or the limit of shards is the operator's to mend.
const OF_FIELD: [&str; 4] = [
    "field",
    "mapper [",
    "object mapping [",
    "Document contains at least one immense term",
];

impl Said {
    /// Of what stands under `error`: an object, or a text of something that stands before.
    fn of(status: u16, error: Option<&Value>) -> Self {
        let text = |of: Option<&Value>| {
            let text = of.and_then(Value::as_str).unwrap_or_default();
            words(text, SAID_CHARS)
        };
        let class = error.and_then(|error| error.get("type"));
        let reason = error.and_then(|error| error.get("reason").or(Some(error)));
        let cause = error.and_then(|error| error.pointer("/caused_by/reason"));
        let mut reason = text(reason);
        if let Some(cause) = cause.and_then(Value::as_str) {
            reason = words(&format!("{reason}: {cause}"), SAID_CHARS);
        }
        Self {
            status,
            class: text(class),
            reason,
        }
    }

    /// Whether it is said of a document, and not of what stands around it.
    fn is_of_document(&self) -> bool {
        let class = self.class.as_str();
        OF_DOCUMENT.contains(&class)
            || class == "illegal_argument_exception"
                && OF_FIELD.iter().any(|words| self.reason.contains(words))
    }

    /// Who can end a refusal, and what to do about it.
    fn meaning(&self) -> (RefusalKind, &'static str) {
        match self.class.as_str() {
            "index_not_found_exception" => (
                RefusalKind::Missing,
                ": make the data stream, alias or index, or a template for it",
            ),
            "cluster_block_exception" => (
                RefusalKind::Denied,
                ": the index or the cluster is blocked for writing: look at its disks, then take the block away",
            ),
            "" => self.by_status(),
            _ if self.status == 400 => (
                RefusalKind::Other,
                ": look at the setting index and pipeline, and at the template behind them",
            ),
            _ => self.by_status(),
        }
    }

    fn by_status(&self) -> (RefusalKind, &'static str) {
        match self.status {
            200..=299 => (
                RefusalKind::Unavailable,
                ": its answer is none to this call, so that it is not believed",
            ),
            300..=399 => (
                RefusalKind::Other,
                ": it sends elsewhere, and that is not followed: set endpoint to where it is",
            ),
            401 => (
                RefusalKind::Credentials,
                ": who the collector says that it is, it does not take: look at auth and the secret",
            ),
            403 => (
                RefusalKind::Denied,
                ": the collector may not: it needs the privilege create_doc for the index",
            ),
            404 | 405 => (
                RefusalKind::Missing,
                ": there is no _bulk: look at the address",
            ),
            429 => (RefusalKind::Throttled, ""),
            408 | 500.. => (RefusalKind::Unavailable, ""),
            _ => (RefusalKind::Other, ""),
        }
    }

    fn refusal(self, retry_after_ms: Option<u64>) -> Refusal {
        let (kind, help) = self.meaning();
        Refusal {
            kind,
            help: help.to_owned(),
            retry_after_ms,
            source: self.into(),
        }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            kind: failure.kind,
            help: failure.help,
            retry_after_ms: None,
            source: failure.source,
        }
    }
}

/// Of a call with the events of these names.
pub fn of(reply: Reply, ids: &[String]) -> Outcome {
    let answer = match reply {
        Reply::Answered(answer) => answer,
        Reply::Failed(failure) => return Outcome::Refused(failure.into()),
    };
    if answer.status == 200 {
        return match items(&answer, ids) {
            Ok(items) => Outcome::Items(items),
            Err(why) => {
                let said = Said {
                    status: 200,
                    reason: why.to_owned(),
                    ..Said::default()
                };
                Outcome::Refused(said.refusal(answer.retry_after_ms))
            }
        };
    }
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    let said = Said::of(answer.status, body.get("error"));
    match answer.status {
        // Of Elasticsearch's own, as its error has a kind.
        400 if !said.class.is_empty() && said.class != "illegal_argument_exception" => {
            Outcome::Invalid(said)
        }
        413 => Outcome::TooLarge(said),
        _ => Outcome::Refused(said.refusal(answer.retry_after_ms)),
    }
}

fn items(answer: &Answer, ids: &[String]) -> Result<Vec<Item>, &'static str> {
    let body: Body = serde_json::from_slice(&answer.body)
        .map_err(|_| "it does not say what became of each event")?;
    if body.items.len() != ids.len() {
        return Err("it tells of more or fewer events than there are in the call");
    }
    let told = body.items.iter().zip(ids).map(|(item, id)| {
        let one = item.get("create")?;
        let is_it = one.is_in_failure_store() || one.id == *id;
        is_it.then(|| one.item(answer.retry_after_ms))
    });
    let items: Option<Vec<_>> = told.collect();
    let items = items.ok_or("it tells of an event that does not stand there in the call")?;
    if !body.errors && !items.iter().all(Item::is_taken) {
        return Err("it says that nothing is wrong, and what is");
    }
    Ok(items)
}

impl Item {
    /// Whether Elasticsearch has the document, be it elsewhere than it was to be.
    const fn is_taken(&self) -> bool {
        match self {
            Self::There => true,
            Self::Invalid(said) => said.status < 300,
            Self::Refused(_) => false,
        }
    }
}

impl One {
    /// Taken, and under a name that Elasticsearch has made.
    fn is_in_failure_store(&self) -> bool {
        matches!(self.status, 200 | 201) && self.failure_store.as_deref() == Some("used")
    }

    fn item(&self, retry_after_ms: Option<u64>) -> Item {
        let mut said = Said::of(self.status, self.error.as_ref());
        if self.is_in_failure_store() {
            FAILURE_STORE.clone_into(&mut said.reason);
            return Item::Invalid(said);
        }
        match (self.status, said.class.as_str()) {
            (200 | 201, "") | (409, "version_conflict_engine_exception") => Item::There,
            (400, _) if said.is_of_document() => Item::Invalid(said),
            _ => Item::Refused(said.refusal(retry_after_ms)),
        }
    }
}

#[cfg(test)]
mod tests;
