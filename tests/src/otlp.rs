//! A receiver of OpenTelemetry's logs for tests, over gRPC with tonic's own server or over HTTP: it keeps OTLP's rules,
//! and can misbehave on request. It records what it was asked and what it stored, so that a test can hold that what was
//! delivered is what was sent.
//!
//! ```no_run
//! use plimsoll_tests::otlp::{Fault, Otlp, Protocol};
//! # fn main() -> anyhow::Result<()> {
//! let otel = Otlp::start(Protocol::Grpc)?;
//! otel.fail(Fault::Busy, 2);
//! otel.fail(Fault::CutAfter, 1);
//! // … point a client to otel.endpoint() and let it deliver …
//! let delivered = otel.stored();
//! otel.finish()?; // an error if something was asked that is not served
//! # drop(delivered);
//! # Ok(())
//! # }
//! ```
//!
//! | module | owns |
//! | --- | --- |
//! | `fault` | misbehaviour |
//! | `answer` | one request from head to answer |

mod answer;
mod fault;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

pub use self::fault::{Fault, Manner};
use crate::loopback::{Loopback, Version};

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP with protobuf.
    Http,
}

/// A record as it was stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// The attributes of its resource.
    pub resource: Vec<KeyValue>,
    /// Itself.
    pub record: LogRecord,
}

impl Stored {
    /// Its body, which is a text.
    pub fn body(&self) -> &str {
        let body = self
            .record
            .body
            .as_ref()
            .and_then(|body| body.value.as_ref());
        match body {
            Some(Value::StringValue(text)) => text,
            _ => "",
        }
    }

    /// Its `log.record.uid`.
    pub fn uid(&self) -> &str {
        text(&self.record.attributes, "log.record.uid").unwrap_or_default()
    }

    /// A text of its resource.
    pub fn resource(&self, key: &str) -> Option<&str> {
        text(&self.resource, key)
    }
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let one = attributes.iter().find(|one| one.key == key)?;
    match one.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// One request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Whether it was packed.
    pub is_packed: bool,
    /// Records in it.
    pub records: usize,
    /// Records that it has stored, whatever was answered.
    pub stored: usize,
}

#[derive(Debug)]
struct State {
    protocol: Protocol,
    /// A header and its value, if one is asked for.
    accepted: Option<(String, String)>,
    /// Bytes of a message at the most.
    max_bytes: usize,
    faults: VecDeque<Fault>,
    /// Texts that make a record one that is rejected.
    poison: BTreeSet<String>,
    manner: Manner,
    stored: Vec<Stored>,
    requests: Vec<Request>,
    unexpected: Vec<String>,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running receiver; connections end when it is dropped.
#[derive(Debug)]
pub struct Otlp {
    shared: Arc<Shared>,
    loopback: Loopback,
}

impl Otlp {
    /// Serves on a free port of 127.0.0.1, and lets everybody in.
    ///
    /// # Errors
    /// No socket.
    pub fn start(protocol: Protocol) -> Result<Self> {
        Self::serve(protocol, None)
    }

    /// Serves over TLS, with the certificate of this configuration.
    ///
    /// # Errors
    /// No socket.
    pub fn start_tls(protocol: Protocol, config: rustls::ServerConfig) -> Result<Self> {
        Self::serve(protocol, Some(config))
    }

    fn serve(protocol: Protocol, tls: Option<rustls::ServerConfig>) -> Result<Self> {
        let state = State {
            protocol,
            accepted: None,
            max_bytes: 4 << 20,
            faults: VecDeque::new(),
            poison: BTreeSet::new(),
            manner: Manner::Counts,
            stored: Vec::new(),
            requests: Vec::new(),
            unexpected: Vec::new(),
        };
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
        });
        let version = match protocol {
            Protocol::Grpc => Version::Http2,
            Protocol::Http => Version::Http1,
        };
        let loopback = Loopback::start(Arc::clone(&shared), tls, version)?;
        Ok(Self { shared, loopback })
    }

    /// What a client takes as the endpoint: `http://127.0.0.1:PORT`, or `https://localhost:PORT`.
    pub fn endpoint(&self) -> String {
        self.loopback.endpoint()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Lets in who shows this header.
    pub fn accept(&self, name: &str, value: &str) {
        self.state().accepted = Some((name.to_owned(), value.to_owned()));
    }

    /// Bytes of a message at the most; 4 MiB if nobody says otherwise.
    pub fn set_max_bytes(&self, bytes: usize) {
        self.state().max_bytes = bytes;
    }

    /// Scripts a misbehaviour for the next calls.
    pub fn fail(&self, fault: Fault, times: usize) {
        let faults = std::iter::repeat_n(fault, times);
        self.state().faults.extend(faults);
    }

    /// No scripted misbehaviour is left.
    pub fn heal(&self) {
        self.state().faults.clear();
    }

    /// A record that contains this is rejected from now on, in this manner.
    pub fn poison(&self, text: &str, manner: Manner) {
        let mut state = self.state();
        state.poison.insert(text.to_owned());
        state.manner = manner;
    }

    /// The records in the order in which they were stored.
    pub fn stored(&self) -> Vec<Stored> {
        self.state().stored.clone()
    }

    /// Everything that was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// The end: everything that was asked.
    ///
    /// # Errors
    /// Something was asked that is not served, or a scripted fault has not happened.
    pub fn finish(self) -> Result<Vec<Request>> {
        let state = self.state();
        if !state.unexpected.is_empty() {
            bail!("unexpected calls:\n  {}", state.unexpected.join("\n  "));
        }
        if !state.faults.is_empty() {
            bail!("faults that did not happen: {:?}", state.faults);
        }
        Ok(state.requests.clone())
    }
}
