//! What an answer to an export means, by the OTLP specification ("Failures", "Partial Success"). Pure: the client says
//! what came back in these types.
//!
//! What the specification calls not retryable is not dropped here, as it would be by its letter: it waits, is tried
//! again as seldom as what an operator has to mend, and says so.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use prost::Message as _;
use tonic::Code;

use super::limits::SAID_CHARS;
use crate::sinks::http::{Failure, words};
use crate::sinks::{BoxError, RefusalKind};

/// What came back of a call.
#[derive(Debug)]
pub enum Reply {
    /// An answer of OTLP/HTTP, or what stands before a receiver over gRPC.
    Http(Answer),
    /// An answer of OTLP/gRPC.
    Grpc {
        /// Of the call.
        code: Code,
        /// The receiver's words.
        message: String,
        /// `google.rpc.Status` with its details; empty without.
        details: Vec<u8>,
        /// The messages, each behind its length.
        body: Vec<u8>,
    },
    /// No answer.
    Failed(Failure),
}

/// An answer over HTTP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// HTTP's.
    pub status: u16,
    /// Whether its body is protobuf by its own word.
    pub is_protobuf: bool,
    /// Its body.
    pub body: Vec<u8>,
    /// Milliseconds after which to come again, as it says.
    pub retry_after_ms: Option<u64>,
}

/// What became of a call.
#[derive(Debug)]
pub enum Outcome {
    /// All of it was taken.
    Taken {
        /// What the receiver says all the same.
        warning: Option<String>,
    },
    /// So many of its records, one at the least, were not taken and will not be; which is not said.
    Partial {
        /// How many.
        rejected: usize,
        /// What the receiver says.
        said: Said,
    },
    /// Nothing of it was taken, as the receiver cannot read it or one of its records.
    Invalid(Said),
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
    /// The records may have been taken all the same.
    pub is_in_doubt: bool,
    /// Milliseconds after which to come again, as the answer says.
    pub retry_after_ms: Option<u64>,
    /// What the other side, or the way to it, said.
    pub source: BoxError,
}

/// What an answer says, to be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{status}{}{text}", if text.is_empty() { "" } else { ": " })]
pub struct Said {
    /// `HTTP status 503`, `gRPC status Unavailable`.
    pub status: String,
    /// The receiver's words, without control characters.
    pub text: String,
}

/// `google.rpc.Status`, which has the reasons of both protocols.
#[derive(Clone, PartialEq, prost::Message)]
struct Status {
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, prost::Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, prost::Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

impl Status {
    /// Milliseconds after which to come again, if it says that one may; 0 if it says no time.
    fn retry_ms(&self) -> Option<u64> {
        let is = |any: &&Any| any.type_url.ends_with("/google.rpc.RetryInfo");
        let any = self.details.iter().find(is)?;
        let info = RetryInfo::decode(any.value.as_slice()).ok()?;
        let delay = info.retry_delay.unwrap_or_default();
        let (seconds, nanos) = (
            u64::try_from(delay.seconds).unwrap_or(0),
            u64::try_from(delay.nanos).unwrap_or(0),
        );
        Some(
            seconds
                .saturating_mul(1000)
                .saturating_add(nanos / 1_000_000),
        )
    }
}

impl Said {
    fn new(status: String, text: &str) -> Self {
        let text = words(text, SAID_CHARS);
        Self { status, text }
    }
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self {
            kind: failure.kind,
            help: failure.help,
            is_in_doubt: failure.is_in_doubt,
            retry_after_ms: None,
            source: failure.source,
        }
    }
}

/// Of a call with so many records.
pub fn of(reply: Reply, records: usize) -> Outcome {
    match reply {
        Reply::Failed(failure) => Outcome::Refused(failure.into()),
        Reply::Http(answer) => of_http(&answer, records),
        Reply::Grpc {
            code: Code::Ok,
            body,
            ..
        } => {
            let said = |text: &str| Said::new("gRPC status Ok".to_owned(), text);
            match framed(&body) {
                Some(message) => of_success(message, records, said),
                None => unbelieved(RefusalKind::Unavailable, said("its answer is no message")),
            }
        }
        Reply::Grpc {
            code,
            message,
            details,
            ..
        } => of_code(code, &message, &details),
    }
}

/// The one message of an answer over gRPC: not packed, behind its length.
fn framed(body: &[u8]) -> Option<&[u8]> {
    let (head, message) = body.split_at_checked(5)?;
    let (flag, length) = head.split_first()?;
    let length = u32::from_be_bytes(length.try_into().ok()?);
    (*flag == 0 && usize::try_from(length) == Ok(message.len())).then_some(message)
}

fn of_success(message: &[u8], records: usize, said: impl Fn(&str) -> Said) -> Outcome {
    let Ok(response) = ExportLogsServiceResponse::decode(message) else {
        return unbelieved(RefusalKind::Other, said("its answer is none of OTLP's"));
    };
    let Some(partial) = response.partial_success else {
        return Outcome::Taken { warning: None };
    };
    let words = words(&partial.error_message, SAID_CHARS);
    match usize::try_from(partial.rejected_log_records) {
        Ok(0) => Outcome::Taken {
            warning: (!words.is_empty()).then_some(words),
        },
        Ok(rejected) if rejected <= records => Outcome::Partial {
            rejected,
            said: said(&format!(
                "{rejected} of {records} records rejected: {words}"
            )),
        },
        _ => {
            let said = said(&format!(
                "{} of {records} records are said to be rejected: {words}",
                partial.rejected_log_records
            ));
            unbelieved(RefusalKind::Unavailable, said)
        }
    }
}

fn unbelieved(kind: RefusalKind, said: Said) -> Outcome {
    Outcome::Refused(Refusal {
        kind,
        help: ": its answer is none to this call, so that it is not believed".to_owned(),
        is_in_doubt: true,
        retry_after_ms: None,
        source: said.into(),
    })
}

fn of_http(answer: &Answer, records: usize) -> Outcome {
    let status = Status::decode(answer.body.as_slice()).unwrap_or_default();
    let text = if answer.is_protobuf && answer.status != 200 {
        status.message.as_str()
    } else {
        ""
    };
    let said = |text: &str| Said::new(format!("HTTP status {}", answer.status), text);
    match answer.status {
        // A message in which nothing is set has no bytes, and some send it so.
        204 => Outcome::Taken { warning: None },
        200 if answer.body.is_empty() => Outcome::Taken { warning: None },
        200 if answer.is_protobuf => of_success(&answer.body, records, said),
        // Something else answers there, and will the next time.
        200..=299 => unbelieved(RefusalKind::Other, said("its answer is no protobuf")),
        // By its own word a receiver of OTLP, and not what stands before it.
        400 if answer.is_protobuf => Outcome::Invalid(said(text)),
        413 => Outcome::TooLarge(said(text)),
        _ => {
            let asked = answer.is_protobuf.then(|| status.retry_ms()).flatten();
            let (kind, help) = by_http(answer.status);
            Outcome::Refused(Refusal {
                kind,
                help: help.to_owned(),
                is_in_doubt: matches!(answer.status, 408 | 500..),
                retry_after_ms: answer.retry_after_ms.or(asked),
                source: said(text).into(),
            })
        }
    }
}

const fn by_http(status: u16) -> (RefusalKind, &'static str) {
    match status {
        300..=399 => (
            RefusalKind::Other,
            ": it sends elsewhere, and that is not followed: set endpoint to where it is",
        ),
        401 => (RefusalKind::Credentials, NOT_KNOWN),
        403 => (RefusalKind::Denied, ": the collector may not send logs"),
        404 | 405 => (RefusalKind::Missing, NOT_THERE),
        429 => (RefusalKind::Throttled, ""),
        408 | 502..=504 => (RefusalKind::Unavailable, ""),
        _ => (RefusalKind::Other, NOT_AGAIN),
    }
}

const NOT_KNOWN: &str =
    ": who the collector says that it is, it does not take: look at headers_file or headers_env";
const NOT_THERE: &str =
    ": logs are not taken there, or not so: look at endpoint, protocol, path and gzip";
const NOT_AGAIN: &str =
    ": by OTLP this is nothing to be tried again: look at the receiver, and at what it says";
const EXHAUSTED: &str =
    ": it has no room, and does not say when it will: look at the receiver's limits";

/// Of a call over gRPC that failed.
fn of_code(code: Code, message: &str, details: &[u8]) -> Outcome {
    let said = Said::new(format!("gRPC status {code:?}"), message);
    let asked = Status::decode(details).unwrap_or_default().retry_ms();
    let (kind, help, is_in_doubt) = match code {
        Code::InvalidArgument => return Outcome::Invalid(said),
        // As receivers in Go and in Rust say of a message that is longer than they take.
        Code::ResourceExhausted | Code::OutOfRange
            if message.contains("larger than max") || message.contains("length too large") =>
        {
            return Outcome::TooLarge(said);
        }
        Code::ResourceExhausted if asked.is_some() => (RefusalKind::Throttled, "", false),
        Code::ResourceExhausted => (RefusalKind::Other, EXHAUSTED, false),
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Cancelled
        | Code::OutOfRange
        | Code::DataLoss => (RefusalKind::Unavailable, "", true),
        Code::Unauthenticated => (RefusalKind::Credentials, NOT_KNOWN, false),
        Code::PermissionDenied => (
            RefusalKind::Denied,
            ": the collector may not send logs",
            false,
        ),
        Code::Unimplemented | Code::NotFound => (RefusalKind::Missing, NOT_THERE, false),
        _ => (RefusalKind::Other, NOT_AGAIN, true),
    };
    Outcome::Refused(Refusal {
        kind,
        help: help.to_owned(),
        is_in_doubt,
        retry_after_ms: asked.filter(|ms| *ms > 0),
        source: said.into(),
    })
}

#[cfg(test)]
mod tests;
