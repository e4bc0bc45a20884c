//! Splunk's HTTP Event Collector for tests: it keeps its rules, acknowledges, and can misbehave on
//! request. It records what it was asked and what it stored, so that a test can hold that what was
//! delivered is what was sent.
//!
//! ```no_run
//! use plimsoll_tests::hec::{Fault, Hec, Token};
//! # fn main() -> anyhow::Result<()> {
//! let splunk = Hec::start()?;
//! splunk.add_token("8b1d", Token { has_acks: true, ..Token::default() });
//! splunk.fail(Fault::Busy, 2);
//! splunk.fail(Fault::CutAfter, 1);
//! // … point a client to splunk.endpoint() and let it deliver …
//! let delivered = splunk.stored();
//! splunk.finish()?; // an error if something was asked that is not served, or an object was skipped
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
//! It speaks plain HTTP on loopback, or TLS with the certificate that it is given. An object without
//! `event` is skipped without a word; a test that ends with [`Hec::finish`] fails on it.

mod answer;
mod fault;
mod rules;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::fault::Fault;
pub use self::rules::Stored;
use crate::loopback::{Loopback, Version};
use anyhow::{Result, bail};

/// How long a call is held that nobody lets go.
pub const HELD_AT_MOST: Duration = Duration::from_mins(1);

/// What a token may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Token {
    /// Whether it is refused.
    pub is_disabled: bool,
    /// Indexes that it may write to; any without.
    pub indexes: Vec<String>,
    /// Whether it has indexer acknowledgement.
    pub has_acks: bool,
}

/// One request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its path, without the query.
    pub path: String,
    /// The channel that it names.
    pub channel: Option<String>,
    /// Bytes of its body, as they came.
    pub bytes: usize,
    /// Whether it was packed.
    pub is_packed: bool,
    /// Events that it has stored, whatever was answered.
    pub stored: usize,
    /// HTTP's and Splunk's number of the answer; `None` without an answer.
    pub answer: Option<(u16, Option<i64>)>,
}

/// Calls of a channel.
#[derive(Debug, Default)]
struct Channel {
    next: u64,
    /// Questions until each is indexed.
    waiting: BTreeMap<u64, u32>,
}

#[derive(Debug, Default)]
struct State {
    tokens: BTreeMap<String, Token>,
    /// Of a body, packed and unpacked.
    max_content_bytes: usize,
    /// Questions until a call is indexed.
    looks: u32,
    faults: VecDeque<Fault>,
    ack_faults: VecDeque<Fault>,
    /// Texts that make an event one that is refused.
    poison: BTreeSet<String>,
    channels: BTreeMap<String, Channel>,
    stored: Vec<Stored>,
    skipped: usize,
    requests: Vec<Request>,
    unexpected: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// How often held calls were let go.
    released: tokio::sync::watch::Sender<u64>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A running collector; connections end when it is dropped.
#[derive(Debug)]
pub struct Hec {
    shared: Arc<Shared>,
    loopback: Loopback,
}

impl Hec {
    /// Serves on a free port of 127.0.0.1, without tokens.
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
        {
            let mut state = shared.state();
            (state.max_content_bytes, state.looks) = (1_000_000, 1);
        }
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

    /// A token; replaces the one of that name.
    pub fn add_token(&self, token: &str, may: Token) {
        self.state().tokens.insert(token.to_owned(), may);
    }

    /// Bytes of a body at the most: `max_content_length`.
    pub fn set_max_content_bytes(&self, bytes: usize) {
        self.state().max_content_bytes = bytes;
    }

    /// How many questions after a call it takes until the call is indexed; at least 1.
    pub fn set_looks(&self, looks: u32) {
        self.state().looks = looks;
    }

    /// Scripts a misbehaviour for the next calls with events.
    pub fn fail(&self, fault: Fault, times: usize) {
        let faults = std::iter::repeat_n(fault, times);
        self.state().faults.extend(faults);
    }

    /// Scripts a misbehaviour for the next questions after acknowledgements.
    pub fn fail_ack(&self, fault: Fault, times: usize) {
        let faults = std::iter::repeat_n(fault, times);
        self.state().ack_faults.extend(faults);
    }

    /// No scripted misbehaviour is left.
    pub fn heal(&self) {
        let mut state = self.state();
        state.faults.clear();
        state.ack_faults.clear();
    }

    /// An event that contains this is refused as invalid from now on.
    pub fn poison(&self, text: &str) {
        self.state().poison.insert(text.to_owned());
    }

    /// It begins anew: what waits for its acknowledgement is forgotten, and calls are numbered from 0.
    pub fn restart(&self) {
        self.state().channels.clear();
    }

    /// Lets calls go that are held now.
    pub fn release(&self) {
        self.shared.released.send_modify(|times| *times += 1);
    }

    /// The events in the order in which they were stored.
    pub fn stored(&self) -> Vec<Stored> {
        self.state().stored.clone()
    }

    /// Objects that were skipped, as they had no `event`.
    pub fn skipped(&self) -> usize {
        self.state().skipped
    }

    /// Everything that was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// The end: everything that was asked.
    ///
    /// # Errors
    /// Something was asked that is not served, an object was skipped, or a scripted fault has not
    /// happened.
    pub fn finish(self) -> Result<Vec<Request>> {
        let state = self.state();
        if !state.unexpected.is_empty() {
            bail!("unexpected calls:\n  {}", state.unexpected.join("\n  "));
        }
        if state.skipped > 0 {
            bail!("{} objects had no event and were skipped", state.skipped);
        }
        let left: Vec<_> = state.faults.iter().chain(&state.ack_faults).collect();
        if !left.is_empty() {
            bail!("faults that did not happen: {left:?}");
        }
        Ok(state.requests.clone())
    }
}
