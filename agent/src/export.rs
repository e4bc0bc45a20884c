#![expect(
    clippy::disallowed_methods,
    reason = "shell: speaks to the collector, waits"
)]
//! The way to the collector: OTLP over gRPC, one task for each class, each with its own cursor.
//!
//! A record leaves the spool only when the collector has said that it is on its disk. What to do
//! about a failure is decided in [`retry`], what a request looks like in [`request`]; here it is
//! only done.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_client::LogsServiceClient;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use plimsoll_journal::{FileStorage, JournalError, Storage};
use plimsoll_wire::Class;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use crate::admin::Pulse;
use crate::causes;
use crate::config;
use crate::spool::{Outgoing, Spool};

mod course;
mod link;
pub mod request;
pub mod retry;
pub mod standing;

use course::Course;
use link::{Link, Token};
use retry::{Backoff, Reading, Unreadable, Verdict};
use standing::Standing;

/// Payload bytes of one request; the collector takes 8 MiB.
const BATCH_BYTES: usize = 2 << 20;
/// Time that a connection may take to be made.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// An idle task looks at the spool this often even if nobody woke it.
const IDLE: Duration = Duration::from_secs(1);

/// The spool as the main loop and the export tasks share it.
pub type SharedSpool<S = FileStorage> = Arc<Mutex<Spool<S>>>;

/// The export cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The address is none.
    #[error("export.endpoint {endpoint:?} is not usable")]
    Endpoint {
        /// As configured.
        endpoint: String,
        /// Why.
        #[source]
        source: tonic::transport::Error,
    },
    /// Plain text to another machine.
    #[error(
        "export.endpoint {0:?} is plain text to another machine; use https, or set export.insecure"
    )]
    Insecure(String),
    /// No authority is built in, so that no certificate would ever be taken.
    #[error(
        "export.endpoint {0:?} needs export.ca_file: no authorities are trusted but those in it"
    )]
    NoAuthority(String),
    /// A file that the configuration names.
    #[error("read {path} ({setting})")]
    Read {
        /// The file.
        path: PathBuf,
        /// The setting that names it.
        setting: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The token file holds no token.
    #[error("{path} (export.token_file) holds no bearer token: {why}")]
    Token {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Everything that a task needs; one is cloned for each class.
#[derive(Debug)]
pub struct Exporter<S = FileStorage> {
    link: Arc<Link>,
    config: Arc<config::Export>,
    node: String,
    spool: SharedSpool<S>,
    /// Told by the main loop when something was committed.
    committed: Arc<Notify>,
    standing: Arc<Standing>,
}

impl<S> Clone for Exporter<S> {
    fn clone(&self) -> Self {
        Self {
            link: Arc::clone(&self.link),
            config: Arc::clone(&self.config),
            node: self.node.clone(),
            spool: Arc::clone(&self.spool),
            committed: Arc::clone(&self.committed),
            standing: Arc::clone(&self.standing),
        }
    }
}

impl<S: Storage> Exporter<S> {
    /// Prepares the connection; it is made when it is first needed, so that a collector that is away
    /// does not keep the agent from starting.
    pub fn new(
        config: &config::Export,
        node: &str,
        spool: SharedSpool<S>,
        committed: Arc<Notify>,
    ) -> Result<Self, ExportError> {
        Ok(Self {
            link: Arc::new(Link::new(config)?),
            config: Arc::new(config.clone()),
            node: node.to_owned(),
            spool,
            committed,
            standing: Arc::default(),
        })
    }

    /// How it goes, for all classes.
    pub fn standing(&self) -> Arc<Standing> {
        Arc::clone(&self.standing)
    }

    /// The longest time between two beats of [`run`](Self::run)'s pulse.
    pub fn may_wait(&self) -> Duration {
        Duration::from_millis(self.config.timeout_ms) + CONNECT_TIMEOUT + retry::LONGEST
    }

    /// Sends one class until `stop`, then what is left until `abort`. Nothing else ends it: what the
    /// collector or the disk refuses is tried again, or counted and given up.
    pub async fn run(
        self,
        class: Class,
        pulse: Pulse,
        stop: CancellationToken,
        abort: CancellationToken,
    ) {
        tokio::select! {
            () = self.send_all(class, &pulse, stop) => {}
            () = abort.cancelled() => {}
        }
        pulse.done();
    }

    async fn send_all(&self, class: Class, pulse: &Pulse, stop: CancellationToken) {
        let mut course = Course::new(class, &self.config, self.standing());
        loop {
            pulse.beat();
            let epoch = self.spool().epoch(class).to_owned();
            let Some(batch) = self.next_batch(&mut course) else {
                pause(IDLE, &stop).await;
                continue;
            };
            let Some(last_seq) = batch.last_seq() else {
                if stop.is_cancelled() {
                    return;
                }
                tokio::select! {
                    () = self.committed.notified() => {}
                    () = tokio::time::sleep(IDLE) => {}
                    () = stop.cancelled() => {}
                }
                continue;
            };
            match self.send(class, &epoch, &batch, &mut course.token).await {
                Ok(rejected) => {
                    self.acknowledge(class, last_seq, rejected);
                    course.went_well(self.config.batch_records);
                }
                Err(status) => match course.failed(&status, batch.records.len()) {
                    Verdict::Halve => course.halve(batch.records.len()),
                    Verdict::Reject => {
                        self.acknowledge(class, last_seq, batch.records.len() as u64);
                    }
                    verdict @ (Verdict::NewToken | Verdict::Later | Verdict::Shorter) => {
                        match verdict {
                            Verdict::NewToken => course.token.refused(),
                            Verdict::Shorter => course.halve(batch.records.len()),
                            _ => {}
                        }
                        let length = course.pause(&status, fastrand::f64());
                        if pause(length, &stop).await == Pause::CutShort {
                            // The last chance is taken at once, and again until the deadline.
                            course.backoff = Backoff::default();
                        }
                    }
                },
            }
        }
    }

    /// What is to be sent next, which may be nothing; `None` where the disk refuses.
    fn next_batch(&self, course: &mut Course) -> Option<Outgoing> {
        let read = self
            .spool()
            .next_batch(course.class, course.max_records, BATCH_BYTES);
        match read {
            Ok(batch) => {
                course.unreadable.succeeded();
                Some(batch)
            }
            Err(error) => {
                self.could_not_read(course.class, &error, &mut course.unreadable);
                None
            }
        }
    }

    /// The disk refused a read: told once for each kind, tried again, and given up in the end.
    fn could_not_read(&self, class: Class, error: &JournalError, unreadable: &mut Unreadable) {
        let JournalError::Io { source, .. } = error else {
            // No other error comes of reading; it is no reason to stop either.
            return;
        };
        let class_name = class.as_str();
        let (is_new, then) = unreadable.failed(source);
        if is_new {
            let error = causes::chain(error);
            tracing::warn!(
                class = class_name,
                error,
                "the spool cannot be read; further failures of this kind are only counted"
            );
        }
        if then == Reading::Skip {
            let records = self.spool().skip_unreadable(class);
            tracing::warn!(
                class = class_name,
                records,
                "gave up a part of the spool that cannot be read; a loss record says which"
            );
        }
    }

    fn spool(&self) -> MutexGuard<'_, Spool<S>> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn acknowledge(&self, class: Class, seq: u64, rejected: u64) {
        if let Err(error) = self.spool().acknowledge(class, seq, rejected) {
            // The cursor stands in memory; the collector recognises what is sent again after a crash.
            tracing::warn!(class = class.as_str(), %error, "could not write down what was delivered");
        }
    }

    /// One request; how many records the collector refused for good.
    async fn send(
        &self,
        class: Class,
        epoch: &str,
        batch: &Outgoing,
        token: &mut Token,
    ) -> Result<u64, Status> {
        let token = token.now(self.config.token_file.as_ref());
        let token = token.map_err(|error| {
            let mut status = Status::unauthenticated(error.to_string());
            status.set_source(Arc::new(error));
            status
        })?;
        let channel = self.link.channel(&self.config);
        let timeout = Duration::from_millis(self.config.timeout_ms);
        match class {
            Class::Security => {
                let message = request::logs(&self.node, epoch, batch);
                let mut client = LogsServiceClient::new(channel);
                let answer = client
                    .export(dressed(message, token, timeout))
                    .await?
                    .into_inner();
                Ok(refused(answer.partial_success.map(|part| {
                    (part.rejected_log_records, part.error_message)
                })))
            }
            Class::Usage => {
                let message = request::metrics(&self.node, epoch, batch);
                let mut client = MetricsServiceClient::new(channel);
                let answer = client
                    .export(dressed(message, token, timeout))
                    .await?
                    .into_inner();
                Ok(refused(answer.partial_success.map(|part| {
                    (part.rejected_data_points, part.error_message)
                })))
            }
        }
    }
}

/// What a partial success says; OTLP counts may be 0 with a message that is only a warning.
fn refused(partial: Option<(i64, String)>) -> u64 {
    let Some((count, message)) = partial else {
        return 0;
    };
    if !message.is_empty() {
        tracing::warn!(rejected = count, %message, "the collector did not take all of a batch");
    }
    u64::try_from(count).unwrap_or(0)
}

/// How a pause ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pause {
    Whole,
    CutShort,
}

/// Waits, but not on while the agent is told to end. A pause that begins after that is whole: what is
/// tried then is not tried without pause.
async fn pause(length: Duration, stop: &CancellationToken) -> Pause {
    if stop.is_cancelled() {
        tokio::time::sleep(length).await;
        return Pause::Whole;
    }
    tokio::select! {
        () = tokio::time::sleep(length) => Pause::Whole,
        () = stop.cancelled() => Pause::CutShort,
    }
}

fn dressed<T>(message: T, token: Option<&MetadataValue<Ascii>>, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    if let Some(token) = token {
        request
            .metadata_mut()
            .insert("authorization", token.clone());
    }
    request
}

/// Where the records go; `authorities` is the content of `export.ca_file`.
fn endpoint(config: &config::Export, authorities: Option<&[u8]>) -> Result<Endpoint, ExportError> {
    let failed = |source| ExportError::Endpoint {
        endpoint: config.endpoint.clone(),
        source,
    };
    let endpoint = Endpoint::from_shared(config.endpoint.clone())
        .map_err(failed)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(10));
    if endpoint.uri().scheme_str() != Some("https") {
        let local = endpoint.uri().host().is_some_and(request::is_loopback);
        return if local || config.insecure {
            Ok(endpoint)
        } else {
            Err(ExportError::Insecure(config.endpoint.clone()))
        };
    }
    let Some(pem) = authorities else {
        return Err(ExportError::NoAuthority(config.endpoint.clone()));
    };
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
    if let Some(name) = &config.server_name {
        tls = tls.domain_name(name.clone());
    }
    endpoint.tls_config(tls).map_err(failed)
}

#[cfg(test)]
mod tests;
