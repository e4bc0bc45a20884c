//! The OTLP services and the task that commits for all of them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use plimsoll_journal::Storage;
use plimsoll_wire::Class;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::codegen::BoxFuture;
use tonic::server::NamedService;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::accept::{self, Peer};
use super::auth::{self, Token, Tokens};
use super::codec::{Export, Exports, Limits};
use super::decode::{self, Decoded};
use super::foreign::{Told, Traces};
use super::guard::{Guard, Guarded};
use super::placed::{Findings, Pods};
use super::rate::{Rate, Rates};
use super::review::Reviews;
use super::room::Taken;
use super::store::{Arrival, Outcome, Store, StoreError};
use super::weigh::{self, Kind};
use super::{Counts, Fate};
use crate::cluster::memo::Clock;
use crate::connections::Connections;
use crate::connections::paced::Pace;
use crate::tls::{self, TlsError};

/// Requests that wait for the committer; more wait in their connections.
const QUEUE: usize = 256;
/// Requests of one connection that are worked on at a time.
const REQUESTS_PER_CONNECTION: usize = 8;
/// Connections that were taken and wait for the server.
const TAKEN: usize = 16;
/// One address may have this share of all connections: a node has one or two.
const PEER_SHARE: usize = 4;
/// And this share with connections that have shown no token yet: somebody without one has to have many
/// addresses to keep nodes out, and many nodes behind one address may come back at once.
const STRANGER_SHARE: usize = 32;
/// Addresses whose refusal is remembered, to log it once.
const MAX_REFUSED_PEERS: usize = 1024;
/// Time between checkpoints.
const MAINTAIN: Duration = Duration::from_secs(5);

/// Who may send, and how much.
#[derive(Clone)]
pub struct Options {
    /// Tokens and their nodes.
    pub tokens: Vec<Token>,
    /// Whose tokens the API server is asked about.
    pub reviews: Option<Arc<Reviews>>,
    /// Where pods are.
    pub pods: Pods,
    /// What one node may send.
    pub rate: Rate,
    /// What time it is.
    pub clock: Clock,
    /// PEM certificate and key; plain text without.
    pub tls: Option<tls::Files>,
    /// Longest request.
    pub max_request_bytes: usize,
    /// Records in one request.
    pub max_request_records: usize,
    /// Connections at a time.
    pub max_connections: usize,
    /// How long a sender may take.
    pub pace: Pace,
    /// Time that a request may take to come in, from its head to its last byte.
    pub request_within: Duration,
}

/// The receiver ended.
#[derive(Debug, Error)]
pub enum IngestError {
    /// Certificate or key.
    #[error("OTLP receiver")]
    Tls(#[from] TlsError),
    /// The gRPC server.
    #[error("OTLP receiver")]
    Transport(#[from] tonic::transport::Error),
    /// The journal.
    #[error("OTLP receiver")]
    Store(#[from] StoreError),
}

struct Job {
    arrival: Arrival,
    answer: oneshot::Sender<Option<Outcome>>,
    room: Option<Taken>,
}

#[derive(Clone)]
struct Door {
    counts: Arc<Counts>,
    options: Arc<Options>,
    guard: Guard,
    jobs: mpsc::Sender<Job>,
    findings: Arc<Mutex<Findings>>,
    /// Addresses that were told to have another node's token.
    of_another_node: Arc<Refused>,
}

/// Addresses that were refused, so that each is named in the log once.
#[derive(Debug, Default)]
pub(super) struct Refused(Mutex<BTreeSet<IpAddr>>);

impl Refused {
    pub(super) fn is_new(&self, peer: SocketAddr) -> bool {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.len() < MAX_REFUSED_PEERS && known.insert(peer.ip())
    }
}

/// Receives until `shutdown`, then finishes what was taken and writes the last checkpoint.
pub async fn serve<S: Storage + Send + 'static>(
    listener: tokio::net::TcpListener,
    store: Store<S>,
    options: Options,
    shutdown: CancellationToken,
) -> Result<(), IngestError> {
    let (jobs, queue) = mpsc::channel(QUEUE);
    let shown = match &options.tls {
        Some(files) => Some(Arc::new(tls::Shown::read(files.clone())?)),
        None => None,
    };
    if let Some(shown) = &shown {
        store.counts.shows(Arc::clone(shown));
    }
    let options = Arc::new(options);
    let tokens = Arc::new(Tokens::new(options.tokens.clone()));
    auth::refresh(&tokens, &store.counts)
        .await
        .map_err(StoreError::from)?;
    let guard = Guard {
        counts: Arc::clone(&store.counts),
        tokens: Arc::clone(&tokens),
        reviews: options.reviews.clone(),
        rates: Rates::new(options.rate),
        clock: Arc::clone(&options.clock),
        longest: options.max_request_bytes,
        refused: Arc::default(),
        excuse: {
            let store = store.clone();
            Arc::new(move |node| store.excuse(node))
        },
    };
    let findings = store.findings();
    let door = Door {
        counts: Arc::clone(&store.counts),
        guard,
        options: Arc::clone(&options),
        jobs,
        findings,
        of_another_node: Arc::default(),
    };
    let traces = Traces {
        counts: Arc::clone(&store.counts),
    };
    let router = Server::builder()
        .http2_keepalive_interval(Some(Duration::from_secs(30)))
        .concurrency_limit_per_connection(REQUESTS_PER_CONNECTION)
        .add_service(door.before(Logs(door.clone())))
        .add_service(door.before(Metrics(door.clone())))
        .add_service(door.before(traces));
    drop(door);
    let counts = Arc::clone(&store.counts);
    let watching = auth::watch(tokens, Arc::clone(&counts), shutdown.clone());
    let noted = Arc::clone(&counts);
    let note = Arc::new(move |trouble| noted.note_certificate(trouble));
    let looking = tls::watch(shown.clone(), note, shutdown.clone());
    let serving = async {
        let (taken, connections) = mpsc::channel(TAKEN);
        let end = shutdown.clone().cancelled_owned();
        let (end, ()) = tokio::join!(
            router.serve_with_incoming_shutdown(ReceiverStream::new(connections), end),
            accept::accept(listener, entrance(counts, &options, shown), taken, shutdown),
        );
        end
    };
    // The committer ends when the last connection has dropped its end of the queue.
    let commits = commit_all(store, queue);
    let (end_of_serving, end_of_commits, watched, looked) =
        tokio::join!(serving, commits, watching, looking);
    end_of_serving?;
    end_of_commits?;
    Ok(watched.and(looked).map_err(StoreError::from)?)
}

/// Counts and names in the log what does not come in.
fn entrance(
    counts: Arc<Counts>,
    options: &Options,
    tls: Option<Arc<tls::Shown>>,
) -> accept::Door<impl Fn(&'static str, SocketAddr, &str) + use<>> {
    let most_of_peer = options.max_connections.div_ceil(PEER_SHARE);
    let connections = Connections::new(options.max_connections, most_of_peer);
    let most_strangers = options.max_connections.div_ceil(STRANGER_SHARE);
    let strangers = Connections::new(options.max_connections, most_strangers);
    counts.watch(connections.clone());
    let (known, expired) = (Refused::default(), Arc::clone(&counts));
    accept::Door {
        tls,
        connections,
        strangers,
        pace: options.pace,
        expired: Arc::new(move |late| expired.refuse(late.reason())),
        refused: move |kind, peer: SocketAddr, reason: &str| {
            counts.refuse(kind);
            if !known.is_new(peer) {
                return;
            }
            if kind == "tls" {
                tracing::warn!(%peer, reason, "refused: no TLS with it (said once for this address)");
            } else {
                tracing::warn!(%peer, reason, "refused (said once for this address)");
            }
        },
    }
}

async fn commit_all<S: Storage + Send + 'static>(
    store: Store<S>,
    mut queue: mpsc::Receiver<Job>,
) -> Result<(), StoreError> {
    let mut maintain = tokio::time::interval(MAINTAIN);
    let mut is_failing = false;
    let mut jobs = Vec::new();
    loop {
        tokio::select! {
            taken = queue.recv_many(&mut jobs, QUEUE) => {
                if taken == 0 {
                    break;
                }
                commit_some(&store, std::mem::take(&mut jobs)).await?;
            }
            _ = maintain.tick() => {
                let store = store.clone();
                let done = tokio::task::spawn_blocking(move || store.maintain()).await?;
                if let (Err(error), false) = (&done, is_failing) {
                    tracing::error!(error = error as &dyn std::error::Error, "journal upkeep failed (said once), will try again");
                }
                if done.is_ok() && is_failing {
                    tracing::info!("journal upkeep goes well again");
                }
                is_failing = done.is_err();
            }
        }
    }
    tokio::task::spawn_blocking(move || store.maintain()).await?
}

async fn commit_some<S: Storage + Send + 'static>(
    store: &Store<S>,
    jobs: Vec<Job>,
) -> Result<(), StoreError> {
    // What they take is free again when they are in the journal.
    let (requests, (answers, rooms)): (Vec<_>, (Vec<_>, Vec<_>)) = jobs
        .into_iter()
        .map(|job| (job.arrival, (job.answer, job.room)))
        .unzip();
    let committing = store.clone();
    let committed = tokio::task::spawn_blocking(move || committing.commit(&requests)).await?;
    let outcomes = if let Ok(outcomes) = committed {
        outcomes.into_iter().map(Some).collect()
    } else {
        // The store has said why.
        store.counts.refuse_all("journal", answers.len() as u64);
        vec![None; answers.len()]
    };
    drop(rooms);
    for (answer, outcome) in answers.into_iter().zip(outcomes) {
        // A peer that is gone sends again, and its records are known then.
        answer.send(outcome).ok();
    }
    Ok(())
}

/// The node that a request's token stands for.
#[derive(Clone)]
pub(super) struct Node(pub(super) String);

fn node_of<T>(request: &Request<T>) -> Result<String, Status> {
    let node = request.extensions().get::<Node>();
    node.map(|node| node.0.clone())
        .ok_or_else(|| Status::unauthenticated("no known bearer token"))
}

fn peer_of<T>(request: &Request<T>) -> Option<SocketAddr> {
    let peer = request.extensions().get::<Peer>()?;
    Some(peer.address)
}

impl Door {
    /// The guard comes first, see there.
    fn before<T>(&self, method: T) -> Guarded<Told<Exports<T>>> {
        let limits = Limits {
            counts: Arc::clone(&self.counts),
            max_request_bytes: self.options.max_request_bytes,
            max_request_records: self.options.max_request_records,
        };
        let told = Told {
            service: Exports { method, limits },
            counts: Arc::clone(&self.counts),
            within: self.options.request_within,
        };
        Guarded {
            guard: self.guard.clone(),
            service: told,
        }
    }

    /// With a valid token of another node nothing is taken and nothing is given up: the sender
    /// keeps its records until its token or its name is put right.
    fn same_node(
        &self,
        decoded: &Decoded,
        token: &str,
        peer: Option<SocketAddr>,
    ) -> Result<(), Status> {
        if !decoded.is_of_another_node() {
            return Ok(());
        }
        self.counts.refuse("wrong_node");
        if let Some(peer) = peer.filter(|peer| self.of_another_node.is_new(*peer)) {
            tracing::warn!(%peer, node_of_token = token, "refused: records of another node than the token's (said once for this address)");
        }
        Err(Status::permission_denied(format!(
            "{} is not {token}, the node of the token",
            plimsoll_wire::names::K8S_NODE_NAME
        )))
    }

    /// Records about pods on other nodes are refused one by one, and told as a finding.
    fn note_elsewhere(&self, decoded: &Decoded, node: &str) {
        let Some((pod, count)) = decoded.elsewhere() else {
            return;
        };
        let mut findings = self.findings.lock().unwrap_or_else(PoisonError::into_inner);
        if findings.note(node, pod, count) {
            tracing::warn!(
                node,
                pod.pod_uid,
                pod.node,
                "refused: records about a pod that is on another node (said again in a minute at the earliest)"
            );
        }
    }

    /// What every kind of request goes through: who sent it, what is in it, whether it may be that.
    async fn serve<T>(
        &self,
        class: Class,
        mut request: Request<T>,
        decode: impl FnOnce(T, &str) -> Decoded,
    ) -> Result<(i64, String), Status> {
        let (node, peer) = (node_of(&request)?, peer_of(&request));
        let room = request.extensions_mut().remove::<Taken>();
        let decoded = decode(request.into_inner(), &node);
        self.same_node(&decoded, &node, peer)?;
        self.note_elsewhere(&decoded, &node);
        self.take(class, decoded, room).await
    }

    /// Gives back what the answer says: refused records and a message.
    async fn take(
        &self,
        class: Class,
        decoded: Decoded,
        room: Option<Taken>,
    ) -> Result<(i64, String), Status> {
        if let Some(room) = &room {
            // The request itself is gone by now.
            room.shrink(decoded.held_bytes());
        }
        let (mut refused, mut message) = (decoded.nameless_refused(), decoded.message());
        let (answer, outcome) = oneshot::channel();
        let arrival = Arrival {
            class,
            records: decoded.records,
            others: decoded.others,
        };
        // Counted by the committer, so that a peer that goes away meanwhile leaves no open count.
        self.jobs
            .send(Job {
                arrival,
                answer,
                room,
            })
            .await
            .map_err(|_| Status::unavailable("shutting down"))?;
        let Ok(Some(outcome)) = outcome.await else {
            return Err(Status::unavailable("the journal cannot be written now"));
        };
        refused += outcome.refused;
        if outcome.refused_too_large > 0 {
            let more = format!("{} {}", outcome.refused_too_large, Fate::TooLarge.told());
            message = [message, more]
                .into_iter()
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join("; ");
        }
        Ok((i64::try_from(refused).unwrap_or(i64::MAX), message))
    }
}

/// The logs service.
#[derive(Clone)]
struct Logs(Door);

impl NamedService for Logs {
    const NAME: &'static str = "opentelemetry.proto.collector.logs.v1.LogsService";
}

impl Export for Logs {
    type Asked = ExportLogsServiceRequest;
    type Answer = ExportLogsServiceResponse;

    fn kind() -> &'static Kind {
        &weigh::LOGS
    }

    fn export(&self, request: Request<Self::Asked>) -> BoxFuture<Response<Self::Answer>, Status> {
        let door = self.0.clone();
        Box::pin(async move {
            let pods = door.options.pods.clone();
            let decode =
                |asked: Self::Asked, node: &str| decode::security(asked.resource_logs, node, &pods);
            let (rejected_log_records, error_message) =
                door.serve(Class::Security, request, decode).await?;
            let partial = ExportLogsPartialSuccess {
                rejected_log_records,
                error_message,
            };
            let partial_success =
                (partial != ExportLogsPartialSuccess::default()).then_some(partial);
            Ok(Response::new(ExportLogsServiceResponse { partial_success }))
        })
    }
}

/// The metrics service.
#[derive(Clone)]
struct Metrics(Door);

impl NamedService for Metrics {
    const NAME: &'static str = "opentelemetry.proto.collector.metrics.v1.MetricsService";
}

impl Export for Metrics {
    type Asked = ExportMetricsServiceRequest;
    type Answer = ExportMetricsServiceResponse;

    fn kind() -> &'static Kind {
        &weigh::METRICS
    }

    fn export(&self, request: Request<Self::Asked>) -> BoxFuture<Response<Self::Answer>, Status> {
        let door = self.0.clone();
        Box::pin(async move {
            let pods = door.options.pods.clone();
            let decode =
                |asked: Self::Asked, node: &str| decode::usage(asked.resource_metrics, node, &pods);
            let (rejected_data_points, error_message) =
                door.serve(Class::Usage, request, decode).await?;
            let partial = ExportMetricsPartialSuccess {
                rejected_data_points,
                error_message,
            };
            let partial_success =
                (partial != ExportMetricsPartialSuccess::default()).then_some(partial);
            Ok(Response::new(ExportMetricsServiceResponse {
                partial_success,
            }))
        })
    }
}

#[cfg(test)]
mod tests;
