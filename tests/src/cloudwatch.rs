#![expect(
    clippy::disallowed_methods,
    reason = "shell: a server on loopback with a runtime of its own"
)]
//! CloudWatch Logs for tests: it keeps every rule of PutLogEvents, has a clock that the test sets, and
//! can misbehave on request. It records what it was asked and what it stored, so that a test can hold
//! that what was delivered is what was sent.
//!
//! ```no_run
//! use plimsoll_tests::cloudwatch::{CloudWatch, Fault, Operation, Times};
//! # fn main() -> anyhow::Result<()> {
//! let logs = CloudWatch::start()?;
//! logs.create_group("/plimsoll/audit")?;
//! logs.create_stream("/plimsoll/audit", "a")?;
//! logs.set_now_ms(1_800_000_000_000);
//! logs.fail(Operation::PutLogEvents, Fault::throttling(), Times::Next(2));
//! logs.fail(Operation::PutLogEvents, Fault::CutAfter, Times::Next(1));
//! // … point a client to logs.endpoint() and let it deliver …
//! logs.wait_for("a batch", |asked| asked.iter().any(|r| r.stored > 0))?;
//! let delivered = logs.stored("/plimsoll/audit", "a");
//! logs.finish()?; // an error if something was asked that is not served, or a fault has not happened
//! # drop(delivered);
//! # Ok(())
//! # }
//! ```
//!
//! | module | owns |
//! | --- | --- |
//! | `judge` | the rules of a batch: a pure function |
//! | `store`, `page` | groups, streams and events; reading them back |
//! | `operation`, `entity`, `object` | requests as they are parsed, and what they do |
//! | `sign`, `signature` | whether a request is signed, and by whom |
//! | `error`, `fault` | errors as AWS sends them, and misbehaviour |
//! | `connection`, `answer` | sockets, and one request from head to answer |
//!
//! It speaks AWS JSON 1.1 over plain HTTP on loopback, with gzip or without. It knows no rates: a
//! client is throttled when the test says so. Requests must be signed; by which secret is looked at only
//! where [`CloudWatch::set_secret`] has told one.

mod answer;
mod connection;
mod entity;
mod error;
mod fault;
pub mod judge;
mod object;
mod operation;
mod page;
mod sign;
mod signature;
mod store;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};

use self::fault::Script;
use self::sign::Doors;
use self::store::Store;

pub use self::error::AwsError;
pub use self::fault::{Canned, Fault, Times};
pub use self::judge::{InputEvent, Rejected, Verdict};
pub use self::operation::Operation;
pub use self::store::StoredEvent;

/// The content type of requests and answers.
pub const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
/// The region that requests are signed for, unless [`CloudWatch::set_region`] says another.
pub const REGION: &str = "eu-central-1";
/// How long a call is held that nobody lets go.
pub const HELD_AT_MOST: Duration = Duration::from_mins(1);
/// How long [`CloudWatch::wait_for`] waits before it gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Not yet: it is held, or being served.
    Open,
    /// As the service says.
    Answered {
        /// HTTP's.
        status: u16,
        /// The type of the error, if it is one.
        error: Option<String>,
    },
    /// Without an answer, by [`Fault::CutBefore`] or [`Fault::CutAfter`].
    Cut,
    /// By [`Fault::Answer`] or [`Fault::AnswerAfter`], with that HTTP status.
    Canned(u16),
}

/// One request, as it came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What it asked for.
    pub operation: Operation,
    /// `X-Amz-Target`.
    pub target: String,
    /// The access key that it was signed with; empty if it was not.
    pub access_key: String,
    /// `logGroupName`.
    pub group: String,
    /// `logStreamName`.
    pub stream: String,
    /// Events of its batch.
    pub events: usize,
    /// Of its batch, as AWS counts them.
    pub bytes: usize,
    /// When it came, by the service's clock, Unix milliseconds.
    pub at_ms: i64,
    /// Events that it has stored, whatever was answered.
    pub stored: usize,
    /// Events that it has not stored though it was taken: `rejectedLogEventsInfo`.
    pub rejected: usize,
    /// How it ended.
    pub outcome: Outcome,
}

#[derive(Debug, Default)]
struct State {
    store: Store,
    /// `None`: the machine's clock.
    now_ms: Option<i64>,
    doors: Doors,
    script: Script,
    /// Texts that make a message one that the service refuses.
    poison: BTreeSet<String>,
    /// Texts that data protection masks for whoever does not ask for them unmasked.
    masks: BTreeSet<String>,
    /// Reads that do not see what is stored from now on.
    unseen_reads: u32,
    requests: Vec<Request>,
    /// Events of streams that are gone, by group and stream.
    deleted: Vec<(String, String, StoredEvent)>,
    unexpected: Vec<String>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// Whether connections are closed as they come.
    down: tokio::sync::watch::Sender<bool>,
    /// How often held calls were let go.
    released: tokio::sync::watch::Sender<u64>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The machine's clock, Unix milliseconds.
fn machine_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.unwrap_or_default().as_millis();
    i64::try_from(ms).unwrap_or(i64::MAX)
}

/// A running service; connections end when it is dropped.
#[derive(Debug)]
pub struct CloudWatch {
    shared: Arc<Shared>,
    address: SocketAddr,
    runtime: Option<tokio::runtime::Runtime>,
}

impl CloudWatch {
    /// Serves on a free port of 127.0.0.1, without groups, with the machine's clock, to whoever signs
    /// for [`REGION`].
    ///
    /// # Errors
    /// No socket.
    pub fn start() -> Result<Self> {
        let shared = Arc::new(Shared::default());
        REGION.clone_into(&mut shared.state().doors.region);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("cloudwatch")
            .enable_all()
            .build()
            .context("the service's runtime")?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("127.0.0.1")?;
        listener
            .set_nonblocking(true)
            .context("the service's socket")?;
        let address = listener.local_addr().context("the service's address")?;
        let listener = {
            let _within = runtime.enter();
            tokio::net::TcpListener::from_std(listener).context("the service's socket")?
        };
        runtime.spawn(connection::accept(Arc::clone(&shared), listener));
        Ok(Self {
            shared,
            address,
            runtime: Some(runtime),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`: what a client takes as the endpoint.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state()
    }

    /// The region that requests must be signed for.
    pub fn set_region(&self, region: &str) {
        region.clone_into(&mut self.state().doors.region);
    }

    /// Requests by other access keys are answered `UnrecognizedClientException` from now on.
    pub fn accept_keys(&self, keys: &[&str]) {
        let keys = keys.iter().map(|key| (*key).to_owned()).collect();
        self.state().doors.keys = Some(keys);
    }

    /// Requests by that access key must be signed with this secret from now on; others are answered
    /// `InvalidSignatureException`.
    pub fn set_secret(&self, key: &str, secret: &str) {
        let (key, secret) = (key.to_owned(), secret.to_owned());
        self.state().doors.secrets.insert(key, secret);
    }

    /// Requests with that session token are answered `ExpiredTokenException` from now on.
    pub fn expire_token(&self, token: &str) {
        self.state().doors.expired.insert(token.to_owned());
    }

    /// Stops the service's clock at that time, Unix milliseconds.
    pub fn set_now_ms(&self, now_ms: i64) {
        self.state().now_ms = Some(now_ms);
    }

    /// Moves the service's clock, and stops it there if it went.
    pub fn advance_ms(&self, by_ms: i64) {
        let mut state = self.state();
        state.now_ms = Some(state.now_ms().saturating_add(by_ms));
    }

    /// The service's clock, Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.state().now_ms()
    }

    /// A new group.
    ///
    /// # Errors
    /// There is one already, or it may not have that name.
    pub fn create_group(&self, group: &str) -> Result<(), AwsError> {
        store::check_group_name(group)?;
        self.state().store.create_group(group, false)
    }

    /// A new stream.
    ///
    /// # Errors
    /// There is one already, it may not have that name, or there is no such group.
    pub fn create_stream(&self, group: &str, stream: &str) -> Result<(), AwsError> {
        store::check_stream_name(stream)?;
        let mut state = self.state();
        state.store.group_mut(group)?.create_stream(stream)
    }

    /// Somebody deletes a group; [`CloudWatch::deleted`] still has its events.
    ///
    /// # Errors
    /// There is none.
    pub fn delete_group(&self, group: &str) -> Result<(), AwsError> {
        self.state().delete_group(group)
    }

    /// Somebody deletes a stream; [`CloudWatch::deleted`] still has its events.
    ///
    /// # Errors
    /// There is none.
    pub fn delete_stream(&self, group: &str, stream: &str) -> Result<(), AwsError> {
        self.state().delete_stream(group, stream)
    }

    /// How many days a group retains events; `None`: for ever. What is stored already stays.
    ///
    /// # Errors
    /// There is no such group.
    pub fn set_retention(&self, group: &str, days: Option<u32>) -> Result<(), AwsError> {
        let mut state = self.state();
        state.store.group_mut(group)?.retention_days = days;
        Ok(())
    }

    /// Scripts a misbehaviour for calls of an operation.
    pub fn fail(&self, operation: Operation, fault: Fault, times: Times) {
        self.state().script.push(Some(operation), fault, times);
    }

    /// Scripts a misbehaviour for any call.
    pub fn fail_any(&self, fault: Fault, times: Times) {
        self.state().script.push(None, fault, times);
    }

    /// A batch with a message that contains this is answered `InvalidParameterException` from now on.
    pub fn poison(&self, text: &str) {
        self.state().poison.insert(text.to_owned());
    }

    /// Data protection: events with this text are read with asterisks in its place from now on, but by whoever asks for
    /// them unmasked.
    pub fn mask(&self, text: &str) {
        self.state().masks.insert(text.to_owned());
    }

    /// Somebody changes what is stored in a stream, as nobody can at AWS: alters, removes, adds, or moves it.
    ///
    /// # Errors
    /// There is no such stream.
    pub fn tamper(
        &self,
        group: &str,
        stream: &str,
        change: impl FnOnce(&mut Vec<StoredEvent>),
    ) -> Result<(), AwsError> {
        let mut state = self.state();
        let stream = state.store.group_mut(group)?.stream_mut(stream)?;
        let mut events = stream.stored();
        change(&mut events);
        let held = |event| store::Held { event, unseen: 0 };
        stream.events = events.into_iter().map(held).collect();
        Ok(())
    }

    /// What is stored from now on is not found by the next so many reads of its stream.
    pub fn lag(&self, reads: u32) {
        self.state().unseen_reads = reads;
    }

    /// Lets calls go that are held now.
    pub fn release(&self) {
        self.shared.released.send_modify(|times| *times += 1);
    }

    /// No more faults and no more poison; held calls are let go.
    pub fn heal(&self) {
        let mut state = self.state();
        state.script.clear();
        state.poison.clear();
        drop(state);
        self.release();
    }

    /// Down: all connections are closed, new ones as soon as they are made. Up: they are served.
    pub fn set_down(&self, down: bool) {
        self.shared.down.send_replace(down);
    }

    /// The events of a stream in the order in which they were stored; none if there is no such stream.
    pub fn stored(&self, group: &str, stream: &str) -> Vec<StoredEvent> {
        let mut streams = self.stored_in(group);
        streams.remove(stream).unwrap_or_default()
    }

    /// The events of a group by stream.
    pub fn stored_in(&self, group: &str) -> BTreeMap<String, Vec<StoredEvent>> {
        let state = self.state();
        let streams = state.store.groups.get(group).map(|group| &group.streams);
        let stored = streams.into_iter().flatten();
        stored.map(|(name, s)| (name.clone(), s.stored())).collect()
    }

    /// Events that were stored in streams that are gone: group, stream, event.
    pub fn deleted(&self) -> Vec<(String, String, StoredEvent)> {
        self.state().deleted.clone()
    }

    /// The names of the groups.
    pub fn groups(&self) -> Vec<String> {
        self.state().store.groups.keys().cloned().collect()
    }

    /// Everything that was asked so far.
    pub fn requests(&self) -> Vec<Request> {
        self.state().requests.clone()
    }

    /// Waits until what was asked is as `is` wants it.
    ///
    /// # Errors
    /// It is not, for a long while.
    pub fn wait_for(&self, what: &str, is: impl Fn(&[Request]) -> bool) -> Result<()> {
        let begin = Instant::now();
        while !is(&self.state().requests) {
            self.check_patience(begin, what)?;
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// As [`CloudWatch::wait_for`], for tests whose client runs on the same thread.
    ///
    /// # Errors
    /// It is not, for a long while.
    pub async fn until(&self, what: &str, is: impl Fn(&[Request]) -> bool) -> Result<()> {
        let begin = Instant::now();
        while !is(&self.state().requests) {
            self.check_patience(begin, what)?;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        Ok(())
    }

    fn check_patience(&self, begin: Instant, what: &str) -> Result<()> {
        if begin.elapsed() > PATIENCE {
            bail!("{what}: not in {PATIENCE:?}: {:#?}", self.requests());
        }
        Ok(())
    }

    /// The end: everything that was asked.
    ///
    /// # Errors
    /// Something was asked that is not served, or a scripted fault has not happened.
    pub fn finish(self) -> Result<Vec<Request>> {
        let mut state = self.state();
        let unexpected = std::mem::take(&mut state.unexpected);
        let left = state.script.left();
        let requests = std::mem::take(&mut state.requests);
        drop(state);
        if !unexpected.is_empty() {
            bail!("unexpected calls:\n  {}", unexpected.join("\n  "));
        }
        if !left.is_empty() {
            bail!("faults that did not happen:\n  {}", left.join("\n  "));
        }
        Ok(requests)
    }
}

impl Drop for CloudWatch {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not blocking: it may be dropped within a test's own runtime.
            runtime.shutdown_background();
        }
    }
}
