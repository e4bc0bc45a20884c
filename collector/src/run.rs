#![expect(
    clippy::disallowed_methods,
    reason = "shell: wires the parts together, binds the addresses, listens for signals"
)]
//! One life of the collector: everything that runs, who owns it, and how it ends. What it consists of is
//! in `parts`.
//!
//! A task that ends early ends the process. On SIGTERM the receiver finishes what it took, the
//! readers write what is in the journal, and then it ends.

mod keeper;
mod parts;
mod way;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plimsoll_journal::make_folder;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::books::InventoryBooks;
use crate::cluster::census::Census;
use crate::cluster::watch::WatchError;
use crate::cluster::{self, ClusterError, Reviewer};
use crate::config::{Access, Config, Kubernetes};
use crate::history::feed::Feed;
use crate::history::{History, HistoryError};
use crate::ingest::service::IngestError;
use crate::ingest::{self, Store, StoreError};
use crate::inventory::{IndexReader, Inventory};
use crate::reader::CarryError;
use crate::sink::SinkError;
use crate::sinks::Refused;
use crate::tls::{self, TlsError};
use crate::trail::TrailError;
use keeper::Keeper;
use parts::{Objects, Parts, tell};

/// Between two looks whether past usage can be given names.
const REJOIN_EVERY: Duration = Duration::from_secs(30);
/// Time that the end may take: a pod's grace must be longer.
pub const DRAIN: Duration = Duration::from_secs(10);
/// Of that, what sinks have for the calls that are under way.
const LAST_CALL: Duration = Duration::from_secs(5);
/// Everything that runs; a task says what it was.
type Tasks = JoinSet<Result<&'static str, RunError>>;

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
    /// Certificate or key of the dashboard.
    #[error("dashboard")]
    Tls(#[from] TlsError),
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
    /// The audit trail.
    #[error("open the audit trail")]
    Trail(#[from] TrailError),
    /// The way into the trail.
    #[error("publish audit events in the trail")]
    Publish(#[from] CarryError<TrailError>),
    /// A sink.
    #[error("deliver audit events")]
    Deliver(#[from] CarryError<Refused>),
    /// The way into the history.
    #[error("carry windows into the history")]
    Feed(#[from] CarryError<HistoryError>),
    /// There is no way to the API server.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The watch of the cluster's objects.
    #[error(transparent)]
    Watch(#[from] WatchError),
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
    for (path, setting) in [
        (config.data.path.clone(), "data.path"),
        (config.audit_path(), "audit_file.path"),
    ] {
        make_folder(&path).map_err(|source| RunError::Folder {
            path,
            setting,
            source,
        })?;
    }
    // Before anybody can be answered: whoever has been may tell us to end.
    let signals = [
        signal(SignalKind::terminate()).map_err(RunError::Signal)?,
        signal(SignalKind::interrupt()).map_err(RunError::Signal)?,
    ];
    let descriptors = descriptors();
    let otlp = bind(config.ingest.listen, "ingest.listen").await?;
    let http = bind(config.http.listen, "http.listen").await?;
    let client = match &config.kubernetes {
        Kubernetes { watch: false, .. } => None,
        Kubernetes { kubeconfig, .. } => {
            Some(cluster::client::patient(kubeconfig.as_deref()).await?)
        }
    };
    let reviewers = Reviewers::of(&config).await?;
    let shown = config.http.tls().map(tls::Shown::read).transpose()?;
    let clock = cluster::watch::clock();
    let stop = CancellationToken::new();
    let last_call = CancellationToken::new();
    let calls = (&Handle::current(), &last_call);
    let parts = Parts::open(&config, client, api::unix_ns(), &clock, calls)?;
    let store = parts.sources.store.clone();
    let scheme = if shown.is_some() { "https" } else { "http" };
    let asking = Asking {
        reviewers,
        shown: shown.map(Arc::new),
    };
    let tasks = begin(parts, asking, &config, descriptors, [otlp, http], &stop);
    tracing::info!(otlp = %config.ingest.listen, dashboard = format!("{scheme}://{}/", config.http.listen), "ready");
    let ended = until_told(tasks, signals, stop, last_call).await;
    // Also after a failure: what was seen is written down if it can be, and told if it cannot.
    ended.and(reclaim(store).await)
}

/// Sets everything going. Whoever brings records in ends at `stop`; the readers and the dashboard go on
/// until the receiver has ended and the journal is empty.
fn begin(
    parts: Parts,
    Asking { reviewers, shown }: Asking,
    config: &Config,
    descriptors: usize,
    [otlp, http]: [TcpListener; 2],
    stop: &CancellationToken,
) -> Tasks {
    let Parts {
        mut sources,
        publisher,
        file,
        outlets,
        objects,
        index,
    } = parts;
    sources.shown.clone_from(&shown);
    let trouble = Arc::<Mutex<Option<String>>>::default();
    let state = parts::state(&sources, &reviewers, Arc::clone(&trouble)).with_tls(shown.is_some());
    let history = Arc::clone(&sources.history);
    let last = CancellationToken::new();
    let published = CancellationToken::new();
    let mut tasks = JoinSet::new();
    let options = parts::ingest_options(config, descriptors, &index, reviewers.of_senders.as_ref());
    let receiving = ingest::serve(otlp, sources.store.clone(), options, stop.clone());
    let after = last.clone();
    tasks.spawn(async move {
        let end = receiving.await;
        after.cancel();
        end.map(|()| "the receiver").map_err(RunError::from)
    });
    let keeper = Keeper {
        trail: sources.trail.clone(),
        store: sources.store.clone(),
        is_there: parts::nodes(&index, sources.census.clone()),
    };
    let publishing = Arc::clone(&sources.published).carry(publisher, last.clone());
    let keeping = keeper.clone().run(last.clone());
    let after = published.clone();
    tasks.spawn(async move {
        let (end, kept) = tokio::join!(publishing, keeping);
        // The destinations have its last word as well.
        let closed = keeper.close().await;
        after.cancel();
        end.map_err(RunError::from).and(kept).and(closed)?;
        Ok("the audit trail")
    });
    for (reader, way) in outlets {
        tasks.spawn(way.run(reader, published.clone()));
    }
    let writing = Arc::clone(&sources.file).carry(file, published);
    tasks.spawn(async move {
        let end = writing.await;
        end.map(|()| "the audit file").map_err(RunError::from)
    });
    let feed = Feed {
        history: Arc::clone(&history),
        index: index.clone(),
    };
    let feeding = sources.usage.carry(feed, last.clone());
    tasks.spawn(async move {
        let end = feeding.await;
        end.map(|()| "the history").map_err(RunError::from)
    });
    match objects {
        Objects::Files(inventory) => {
            let every = Duration::from_secs(config.inventory.reload_s);
            let stop = stop.clone();
            tasks.spawn(watch(
                inventory,
                every,
                sources.inventory,
                history,
                index,
                stop,
            ));
        }
        Objects::Cluster(writer, census, client) => {
            let names = rejoin(Arc::clone(&census), history, index, stop.clone());
            tasks.spawn(names);
            let clock = Arc::clone(&sources.clock);
            let waits = cluster::watch::Waits::default();
            let following = cluster::watch::run(client, writer, census, clock, waits, stop.clone());
            tasks.spawn(async move {
                let end = following.await;
                end.map(|()| "the cluster's watch").map_err(RunError::from)
            });
        }
    }
    let serving = shown.clone();
    tasks.spawn(async move {
        let router = api::router(Arc::new(state));
        let (bounds, requests) = (api::Bounds::default(), sources.requests);
        api::serve(http, router, bounds, requests, serving, last).await;
        Ok("the dashboard")
    });
    if shown.is_some() {
        let note = move |now| *trouble.lock().unwrap_or_else(PoisonError::into_inner) = now;
        let looking = tls::watch(shown, Arc::new(note), stop.clone());
        tasks.spawn(async move {
            looking.await.map_err(RunError::Task)?;
            Ok("the look at the dashboard's certificate")
        });
    }
    tasks
}

/// What is made before anything begins.
struct Asking {
    reviewers: Reviewers,
    /// What the dashboard shows, if it does TLS.
    shown: Option<Arc<tls::Shown>>,
}

/// Who asks the API server: about senders' tokens, and about people and their rights. Each has a client
/// and turns of its own, so that neither keeps the other waiting.
#[derive(Clone)]
struct Reviewers {
    of_senders: Option<Reviewer>,
    of_people: Option<Reviewer>,
}

impl Reviewers {
    /// Those that are needed.
    async fn of(config: &Config) -> Result<Self, ClusterError> {
        let kubeconfig = config.kubernetes.kubeconfig.as_deref();
        let reviewer = async |needed: bool| {
            if !needed {
                return Ok(None);
            }
            cluster::client(kubeconfig)
                .await
                .map(Reviewer::new)
                .map(Some)
        };
        Ok(Self {
            of_senders: reviewer(config.ingest.token_review.audience.is_some()).await?,
            of_people: reviewer(config.http.access == Access::Kubernetes).await?,
        })
    }

    fn troubles(&self) -> impl Iterator<Item = String> {
        let all = [&self.of_senders, &self.of_people].into_iter().flatten();
        all.filter_map(Reviewer::trouble)
    }
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

/// The last upkeep of the journals, after the readers' last word: what all of them have passed goes
/// now, and need not be read again by the next life.
async fn reclaim(store: Store) -> Result<(), RunError> {
    Ok(tokio::task::spawn_blocking(move || store.maintain())
        .await
        .map_err(RunError::Task)??)
}

/// Gives past usage the names that came late, while the cluster tells of changes.
async fn rejoin(
    census: Arc<Census>,
    history: Arc<History>,
    index: IndexReader,
    stop: CancellationToken,
) -> Result<&'static str, RunError> {
    let mut known = 0;
    while stop
        .run_until_cancelled(tokio::time::sleep(REJOIN_EVERY))
        .await
        .is_some()
    {
        let changes = census.changes();
        if std::mem::replace(&mut known, changes) == changes {
            continue;
        }
        let (history, index) = (Arc::clone(&history), index.clone());
        tokio::task::spawn_blocking(move || give_names(&history, &index))
            .await
            .map_err(RunError::Task)?;
    }
    Ok("the names of past usage")
}

fn give_names(history: &History, index: &IndexReader) {
    if let Err(error) = history.rejoin(index) {
        tracing::error!(
            error = &error as &dyn std::error::Error,
            "names cannot be given to past usage"
        );
    }
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
            give_names(&history, &index);
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

/// Waits for a signal, then for the tasks, up to the deadline.
async fn until_told(
    mut tasks: Tasks,
    mut signals: [Signal; 2],
    stop: CancellationToken,
    last_call: CancellationToken,
) -> Result<(), RunError> {
    let [terminate, interrupt] = &mut signals;
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
    // Dropped with the rest, it gives up what nobody waits for any more.
    let _gives_up = last_call.clone().drop_guard();
    let last_calls = async {
        tokio::time::sleep(LAST_CALL).await;
        last_call.cancel();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        outcome = all_ended(&mut tasks) => outcome,
        () = last_calls => Ok(()),
        () = tokio::time::sleep(DRAIN) => {
            tracing::warn!("deadline reached: what is left stays in the journal");
            Ok(())
        }
        _ = terminate.recv() => Ok(()),
        _ = interrupt.recv() => Ok(()),
    }
}

/// Waits for all of them, also behind one that fails: what it could not do keeps no other from its end.
async fn all_ended(tasks: &mut Tasks) -> Result<(), RunError> {
    let mut outcome = Ok(());
    while let Some(ended) = tasks.join_next().await {
        outcome = outcome.and(ended.map_err(RunError::Task).and_then(|end| end.map(drop)));
    }
    outcome
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
