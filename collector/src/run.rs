#![expect(
    clippy::disallowed_methods,
    reason = "shell: wires the parts together, binds the addresses, listens for signals"
)]
//! One life of the collector: everything that runs, who owns it, and how it ends.
//!
//! A task that ends early ends the process. On SIGTERM the receiver finishes what it took, the
//! readers write what is in the journal, and then it ends.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use plimsoll_journal::Recovery;
use plimsoll_wire::{AuditEvent, Class};
use prometheus_client::registry::Registry;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Map, Value};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api::{self, ApiState, AuditRing};
use crate::books::{InventoryBooks, Sources};
use crate::config::Config;
use crate::connections::paced::Pace;
use crate::history::feed::Feed;
use crate::history::{History, HistoryError, Limits};
use crate::ingest::service::IngestError;
use crate::ingest::store::{HISTORY, SINK};
use crate::ingest::{self, Store, StoreError, auth};
use crate::inventory::{IndexReader, Inventory, Reloaded};
use crate::join::{identity_of, is_pending, join};
use crate::reader::{CarryError, Reader};
use crate::sink::{self, FileSink, NameWait, SinkError};
use crate::telemetry::{self, Metrics};

/// Time that the end may take.
const DRAIN: Duration = Duration::from_secs(10);
/// Records in one request; an agent sends at most 10,000.
const MAX_REQUEST_RECORDS: usize = 10_000;
/// Connections of senders at a time, and never more than half of the descriptors.
const MAX_CONNECTIONS: usize = 8192;
/// A sender connects when it has something to say.
const SENDERS_PACE: Pace = Pace {
    known_within: Some(Duration::from_secs(30)),
    taken_within: Duration::from_secs(30),
};
/// One request on its way in; an agent gives up sooner.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// Why the collector cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A folder.
    #[error("make the folder {path} ({setting})")]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The setting that names it.
        setting: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An address.
    #[error("listen on {address} ({setting})")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The setting that names it.
        setting: &'static str,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The journals.
    #[error("open the journal")]
    Store(#[from] StoreError),
    /// The history.
    #[error("open the history")]
    History(#[from] HistoryError),
    /// The receiver.
    #[error(transparent)]
    Ingest(#[from] IngestError),
    /// The audit file.
    #[error("carry audit events into the audit file")]
    Sink(#[from] CarryError<SinkError>),
    /// The way into the history.
    #[error("carry windows into the history")]
    Feed(#[from] CarryError<HistoryError>),
    /// Signals.
    #[error("listen for signals")]
    Signal(#[source] std::io::Error),
    /// A task ended that should not have.
    #[error("{0} ended by itself")]
    EndedEarly(&'static str),
    /// A task panicked.
    #[error("a task of the collector failed")]
    Task(#[source] tokio::task::JoinError),
}

/// Runs until a signal.
pub async fn run(config: Config) -> Result<(), RunError> {
    let data = &config.data.path;
    let audit_path = config.audit_path();
    for (path, setting) in [(data, "data.path"), (&audit_path, "audit_file.path")] {
        std::fs::create_dir_all(path).map_err(|source| RunError::Folder {
            path: path.clone(),
            setting,
            source,
        })?;
    }
    let otlp = bind(config.ingest.listen, "ingest.listen").await?;
    let http = bind(config.http.listen, "http.listen").await?;

    let (store, recoveries) = open_journals(data, config.data.max_journal_bytes)?;
    let history_path = data.join("history.redb");
    let history = open_history(&history_path, config.history.max_series)?;
    let (inventory, first) = Inventory::open(config.inventory.paths.clone());
    let keep_deleted = Duration::from_secs(config.inventory.keep_deleted_s);
    let inventory = inventory.keeping_deleted(keep_deleted);
    let inventory_books = Arc::new(InventoryBooks::default());
    inventory_books.note(&first);
    tell(&first);
    let index = inventory.reader();
    let ring = Arc::new(AuditRing::of_life(api::unix_ns()));
    let options = sink::Options {
        path: audit_path.join("audit.jsonl"),
        rotate_bytes: config.audit_file.rotate_bytes,
        keep_files: config.audit_file.keep_files,
    };
    if options.path.exists()
        && let Err(error) = api::load_tail(&options.path, &ring)
    {
        tracing::warn!(%error, "recent events of the audit file cannot be shown");
    }
    let names = index.clone();
    let file = FileSink::new(
        options,
        Arc::new(move |event| names_of(event, &names)),
        Arc::clone(&ring),
    )
    .waiting(name_wait(&config, &index));
    let sources = Sources {
        data: data.clone(),
        store: store.clone(),
        found: Arc::new(recoveries),
        file: Arc::new(Reader::open(store.clone(), Class::Security, SINK)),
        usage: Arc::new(Reader::open(store.clone(), Class::Usage, HISTORY)),
        history: Arc::clone(&history),
        history_path,
        written: file.written(),
        inventory: Arc::clone(&inventory_books),
        last_look: inventory.last_look(),
        ring: Arc::clone(&ring),
        requests: Arc::default(),
    };
    let state = state(&sources);

    let (stop, last) = (CancellationToken::new(), CancellationToken::new());
    let mut tasks: JoinSet<Result<&'static str, RunError>> = JoinSet::new();
    let receiving = ingest::serve(otlp, store.clone(), ingest_options(&config), stop.clone());
    let after = last.clone();
    tasks.spawn(async move {
        let end = receiving.await;
        // The readers go on until the journal is empty.
        after.cancel();
        end.map(|()| "the receiver").map_err(RunError::from)
    });
    let writing = sources.file.carry(file, last.clone());
    tasks.spawn(async move {
        writing
            .await
            .map(|()| "the audit file")
            .map_err(RunError::from)
    });
    let feed = Feed {
        history: Arc::clone(&history),
        index: index.clone(),
    };
    let feeding = sources.usage.carry(feed, last.clone());
    tasks.spawn(async move {
        feeding
            .await
            .map(|()| "the history")
            .map_err(RunError::from)
    });
    tasks.spawn(watch(
        inventory,
        Duration::from_secs(config.inventory.reload_s),
        inventory_books,
        history,
        index,
        stop.clone(),
    ));
    let (closing, answered) = (last.clone(), Arc::clone(&sources.requests));
    tasks.spawn(async move {
        let router = api::router(Arc::new(state));
        api::serve(http, router, api::Bounds::default(), answered, closing).await;
        Ok("the dashboard")
    });
    tracing::info!(otlp = %config.ingest.listen, dashboard = format!("http://{}/", config.http.listen), "ready");
    let ended = until_told(tasks, stop).await;
    // Also after a failure: what was seen is written down if it can be, and told if it cannot.
    ended.and(reclaim(store).await)
}

fn open_journals(
    data: &Path,
    max_bytes: u64,
) -> Result<(Store, Vec<(Class, Recovery)>), StoreError> {
    let (store, recoveries) = Store::open(data, max_bytes)?;
    for (class, recovery) in &recoveries {
        tracing::info!(
            class = class.as_str(),
            records = recovery.records,
            damaged = recovery.damaged,
            "journal opened"
        );
        if !recovery.unreadable.is_empty() {
            tracing::error!(
                class = class.as_str(),
                files = ?recovery.unreadable,
                "files of the journal could not be read or synced: their records may be lost"
            );
        }
    }
    Ok((store, recoveries))
}

fn open_history(path: &Path, max_series: usize) -> Result<Arc<History>, HistoryError> {
    let limits = Limits {
        max_series,
        ..Limits::default()
    };
    let (history, set_aside) = History::open_or_set_aside(path, limits)?;
    if let Some(reason) = set_aside {
        tracing::error!(%reason, "history was not readable: set aside, begun anew");
    }
    Ok(Arc::new(history))
}

/// The last upkeep of the journals, after the readers' last word: what all of them have passed goes
/// now, and need not be read again by the next life.
async fn reclaim(store: Store) -> Result<(), RunError> {
    Ok(tokio::task::spawn_blocking(move || store.maintain())
        .await
        .map_err(RunError::Task)??)
}

/// Reads the inventory again when it changes, and gives past usage the names that came late.
async fn watch(
    inventory: Inventory,
    every: Duration,
    books: Arc<InventoryBooks>,
    history: Arc<History>,
    index: IndexReader,
    stop: CancellationToken,
) -> Result<&'static str, RunError> {
    inventory
        .watch(every, stop, move |found| {
            books.note(found);
            tell(found);
            if let Err(error) = history.rejoin(&index.get()) {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "names cannot be given to past usage"
                );
            }
        })
        .await
        .map_err(RunError::Task)?;
    Ok("the inventory")
}

async fn bind(address: SocketAddr, setting: &'static str) -> Result<TcpListener, RunError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| RunError::Listen {
            address,
            setting,
            source,
        })
}

/// How many descriptors may be open: as many as the hard limit allows from now on, for the soft one is
/// often 1024, which is for programs that use select(2) (systemd.exec(5), LimitNOFILE).
fn descriptors() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let now = setrlimit(Resource::Nofile, wanted).map_or(limit.current, |()| wanted.current);
    now.map_or(usize::MAX, |now| usize::try_from(now).unwrap_or(usize::MAX))
}

fn ingest_options(config: &Config) -> ingest::Options {
    let token = |token: &crate::config::Token| auth::Token {
        node: token.node.clone(),
        file: token.file.clone(),
    };
    ingest::Options {
        tokens: config.ingest.tokens.iter().map(token).collect(),
        tls: config
            .ingest
            .tls_cert_file
            .clone()
            .zip(config.ingest.tls_key_file.clone()),
        max_request_bytes: config.ingest.max_request_bytes,
        max_request_records: MAX_REQUEST_RECORDS,
        max_connections: MAX_CONNECTIONS.min(descriptors() / 2),
        pace: SENDERS_PACE,
        request_within: REQUEST_WITHIN,
    }
}

/// What the API shows, and where it comes from.
fn state(sources: &Sources) -> ApiState {
    let ring = &sources.ring;
    let mut registry = Registry::with_prefix(telemetry::PREFIX);
    let metrics = Metrics::default();
    metrics.register(&mut registry);
    sources.store.counts.register(&mut registry);
    let scraped = sources.clone();
    let metrics = move || {
        metrics.show(&scraped.books());
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    };
    let (nodes, own) = (Arc::clone(ring), sources.clone());
    let rows = move || {
        let mut rows = nodes.stage_rows();
        rows.extend(own.stages());
        rows
    };
    let (streams, health) = (sources.clone(), sources.clone());
    ApiState::new(Arc::clone(&sources.history), Arc::clone(ring))
        .with_accounting(Arc::new(rows))
        .with_gaps(Arc::new(move || streams.gaps()))
        .with_ready(Arc::new(move || health.health()))
        .with_requests(Arc::clone(&sources.requests))
        .with_metrics(Arc::new(metrics))
}

/// Waits for a signal, then for the tasks, up to the deadline.
async fn until_told(
    mut tasks: JoinSet<Result<&'static str, RunError>>,
    stop: CancellationToken,
) -> Result<(), RunError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(RunError::Signal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(RunError::Signal)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        ended = tasks.join_next() => return Err(match ended {
            Some(Ok(Ok(task))) => RunError::EndedEarly(task),
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => RunError::Task(error),
            None => RunError::EndedEarly("everything"),
        }),
    }
    tracing::info!("stopping: finishing what was received");
    stop.cancel();
    tokio::select! {
        outcome = all_ended(&mut tasks) => outcome,
        () = tokio::time::sleep(DRAIN) => {
            tracing::warn!("deadline reached: what is left stays in the journal");
            Ok(())
        }
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

/// Waits for all of them, also behind one that fails: what it could not do keeps no other from its end.
async fn all_ended(tasks: &mut JoinSet<Result<&'static str, RunError>>) -> Result<(), RunError> {
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        outcome = outcome.and(ended.map_err(RunError::Task).and_then(|end| end.map(drop)));
    }
    outcome
}

fn tell(reloaded: &Reloaded) {
    tracing::info!(
        objects = reloaded.objects,
        of_other_kinds = reloaded.ignored.values().sum::<u64>(),
        changed = reloaded.changed,
        "inventory read"
    );
    for problem in &reloaded.problems {
        tracing::error!("{problem}");
    }
}

/// What the inventory calls the subject of an event.
fn names_of(event: &AuditEvent, index: &IndexReader) -> Map<String, Value> {
    identity_of(event)
        .map(|identity| join(identity, &index.get()).to_map())
        .unwrap_or_default()
}

/// Without an inventory nothing ever gets a name, and nothing waits for one.
fn name_wait(config: &Config, index: &IndexReader) -> NameWait {
    if config.inventory.paths.is_empty() {
        return NameWait::none();
    }
    let index = index.clone();
    NameWait {
        within: Duration::from_secs(config.audit_file.name_wait_s),
        pending: Arc::new(move |event| {
            identity_of(event).is_some_and(|identity| is_pending(identity, &index.get()))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_end_waits_for_all_and_tells_the_first_failure() {
        let (done, mut is_done) = tokio::sync::oneshot::channel();
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            drop(go);
            Err(RunError::EndedEarly("one"))
        });
        tasks.spawn(async move {
            assert!(gone.await.is_err(), "one has ended");
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            done.send(()).unwrap();
            Err(RunError::EndedEarly("two"))
        });
        let first = all_ended(&mut tasks).await.unwrap_err();
        assert!(matches!(first, RunError::EndedEarly("one")), "{first}");
        assert!(is_done.try_recv().is_ok());
    }
}
