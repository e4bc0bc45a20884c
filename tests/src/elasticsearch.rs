//! Elasticsearch's `_bulk` for tests: it keeps its rules, and can misbehave on request. It records what it was asked
//! and what it stored, so that a test can hold that what was delivered is what was sent.
//!
//! ```no_run
//! use plimsoll_tests::elasticsearch::{Elasticsearch, Fault};
//! # fn main() -> anyhow::Result<()> {
//! let elastic = Elasticsearch::start()?;
//! elastic.accept("ApiKey 8b1d");
//! elastic.fail(Fault::HalfBusy, 2);
//! elastic.fail(Fault::CutAfter, 1);
//! // … point a client to elastic.endpoint() and let it deliver …
//! let delivered = elastic.stored();
//! elastic.finish()?; // an error if something was asked that is not served
//! # drop(delivered);
//! # Ok(())
//! # }
//! ```
//!
//! | module | owns |
//! | --- | --- |
//! | `rules` | what a body has in it, and what is refused of it: pure |
//! | `fault` | misbehaviour |
//! | `answer` | one request from head to answer |
//!
//! It serves `create` alone, as nothing else keeps a repeat from being there twice. Of real ones it differs in this:
//! an index is made when its first document comes, unless its name begins with `missing`, and has one shard that is
//! always there; a data stream is what begins with `logs-`.

mod answer;
mod fault;
mod rules;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};

pub use self::fault::Fault;
use crate::loopback::{Loopback, Version};

/// One request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its path and query.
    pub path: String,
    /// Bytes of its body, as they came.
    pub bytes: usize,
    /// Whether it was packed.
    pub is_packed: bool,
    /// Documents in it.
    pub documents: usize,
    /// Documents that it has created, whatever was answered.
    pub created: usize,
    /// HTTP's number of the answer; `None` without an answer.
    pub status: Option<u16>,
}

#[derive(Debug, Default)]
struct State {
    /// Values of the header `authorization` that are taken; any without.
    accepted: BTreeSet<String>,
    /// Of a body, packed and unpacked: `http.max_content_length`.
    max_content_bytes: usize,
    faults: VecDeque<Fault>,
    /// Texts that make a document one that is refused.
    poison: BTreeSet<String>,
    /// What was refused of them, where such documents are kept.
    failure_store: Option<Vec<String>>,
    /// Indices that nothing may be written to.
    blocked: BTreeSet<String>,
    /// Documents by index and `_id`.
    indices: BTreeMap<String, BTreeMap<String, String>>,
    requests: Vec<Request>,
    unexpected: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running node; connections end when it is dropped.
#[derive(Debug)]
pub struct Elasticsearch {
    shared: Arc<Shared>,
    loopback: Loopback,
}

impl Elasticsearch {
    /// Serves on a free port of 127.0.0.1, and lets everybody in.
    ///
    /// # Errors
    /// No socket.
    pub fn start() -> Result<Self> {
        Self::serve(None)
    }

    /// Serves over TLS, with the certificate of this configuration.
    ///
    /// # Errors
    /// No socket.
    pub fn start_tls(config: rustls::ServerConfig) -> Result<Self> {
        Self::serve(Some(config))
    }

    fn serve(tls: Option<rustls::ServerConfig>) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        shared.state().max_content_bytes = 100 << 20;
        let loopback = Loopback::start(Arc::clone(&shared), tls, Version::Http1)?;
        Ok(Self { shared, loopback })
    }

    /// What a client takes as the endpoint: `http://127.0.0.1:PORT`, or `https://localhost:PORT`.
    pub fn endpoint(&self) -> String {
        self.loopback.endpoint()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// Lets in who shows this, and from now on nobody who shows nothing of it.
    pub fn accept(&self, authorization: &str) {
        self.state().accepted.insert(authorization.to_owned());
    }

    /// Bytes of a body at the most: `http.max_content_length`.
    pub fn set_max_content_bytes(&self, bytes: usize) {
        self.state().max_content_bytes = bytes;
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

    /// A document that contains this is refused from now on.
    pub fn poison(&self, text: &str) {
        self.state().poison.insert(text.to_owned());
    }

    /// From now on a document that is poisoned is kept in a failure store, and its answer is that of one that was taken.
    pub fn keep_failures(&self) {
        self.state().failure_store = Some(Vec::new());
    }

    /// The documents in the failure store.
    pub fn failures(&self) -> Vec<String> {
        self.state().failure_store.clone().unwrap_or_default()
    }

    /// Whether an index may be written to.
    pub fn block(&self, index: &str, is_blocked: bool) {
        let blocked = &mut self.state().blocked;
        if is_blocked {
            blocked.insert(index.to_owned());
        } else {
            blocked.remove(index);
        }
    }

    /// The documents by index and `_id`, their bytes as they came.
    pub fn stored(&self) -> BTreeMap<String, BTreeMap<String, String>> {
        self.state().indices.clone()
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
