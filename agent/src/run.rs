#![expect(
    clippy::disallowed_methods,
    reason = "shell: wires the parts together, reads the host's name and random bytes"
)]
//! One life of the agent: everything that runs, who owns it, and how it ends.
//!
//! A task that ends early is named by `/livez` and ends the process. SIGTERM or SIGINT: stop taking,
//! close the windows as partial, write the spool, export until the deadline, end. A second signal
//! ends at once.

use std::io::Read as _;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plimsoll_imds::Key;
use plimsoll_journal::{FileStorage, JournalError, Storage};
use plimsoll_wire::Class;
use prometheus_client::registry::Registry;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use crate::admin::{self, AdminError, Status};
use crate::causes;
use crate::config::Config;
use crate::export::{ExportError, Exporter, SharedSpool};
use crate::host;
use crate::node::{Node, Setup};
use crate::spool::Spool;
use crate::telemetry::Metrics;
use crate::usage::clock::wall_unix_ns;

/// A task that ended gives its name.
type Ended = Result<&'static str, RunError>;
type Tasks = JoinSet<Ended>;

const MAIN_LOOP: &str = "the main loop";

/// Why the agent cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The spool's folder.
    #[error("open the spool in {path} (spool.path)")]
    SpoolFolder {
        /// The folder.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The spool's files.
    #[error("open the spool in {path} (spool.path)")]
    Spool {
        /// The folder.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: JournalError,
    },
    /// `/dev/urandom`.
    #[error("draw the secret of the token hashes from /dev/urandom")]
    Random(#[source] std::io::Error),
    /// Health endpoint.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// Way to the collector.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// Signals.
    #[error("listen for signals")]
    Signal(#[source] std::io::Error),
    /// A task ended that should not have.
    #[error("{0} ended by itself")]
    EndedEarly(&'static str),
    /// The agent ends, and the disk refuses to the last.
    #[error(
        "write the last of the spool: windows that are lost: {usage}, audit events that are lost: {security}"
    )]
    NotKept {
        /// Usage windows.
        usage: u64,
        /// Audit events.
        security: u64,
        /// Why.
        #[source]
        source: JournalError,
    },
    /// A task panicked.
    #[error("a task of the agent failed")]
    Task(#[source] tokio::task::JoinError),
}

/// How the tasks are told to end, in this order.
#[derive(Default)]
struct Ends {
    /// The main loop: closes everything and leaves it in the spool.
    stop: CancellationToken,
    /// The exports: end when the spool is empty.
    drained: CancellationToken,
    /// Everybody.
    abort: CancellationToken,
}

/// Runs until a signal. The configuration has the node's name, as [`file::read`](crate::config::file::read)
/// fills it in.
pub async fn run(config: Config) -> Result<(), RunError> {
    // First of all: a signal that comes while the parts are made waits until they are. The first
    // process of a container is not even ended by one that it does not listen to.
    let mut signals = Signals::listen()?;
    let node = config.node.clone();
    let drain = Duration::from_millis(config.export.drain_ms);
    let ends = Ends::default();
    let spool = open_spool(&config)?;
    let (mut tasks, health) = start(config, &node, Arc::clone(&spool), &ends).await?;

    let died = tokio::select! {
        () = signals.received() => None,
        ended = tasks.join_next() => Some(early(ended)),
    };
    if let Some(error) = &died {
        // `/livez` names it meanwhile; what the others hold is still written and sent.
        tracing::error!(
            error = causes::chain(error),
            "a task ended by itself, the agent ends"
        );
    }
    tracing::info!(
        deadline_ms = drain.as_millis(),
        "stopping: closing windows and sending what is left"
    );
    ends.stop.cancel();
    let outcome = wind_down(&mut tasks, &health, drain, &mut signals).await;
    ends.abort.cancel();
    // What died is in the log already.
    keep(&spool).and(died.map_or(outcome, Err))
}

/// The last attempt to write what the disk has refused so far. What it does not take now is in no book:
/// the next life gives out the same numbers.
fn keep<S: Storage>(spool: &Mutex<Spool<S>>) -> Result<(), RunError> {
    let mut spool = spool.lock().unwrap_or_else(PoisonError::into_inner);
    if !spool.is_failing() {
        return Ok(());
    }
    // The second has room for what tells of losses.
    let now = wall_unix_ns();
    let written = spool.commit(now).and_then(|()| spool.commit(now));
    match (written, spool.undurable()) {
        (Ok(()), _) | (Err(_), [0, 0]) => Ok(()),
        (Err(source), [usage, security]) => Err(RunError::NotKept {
            usage,
            security,
            source,
        }),
    }
}

/// Makes the parts and starts their tasks: the health endpoint, which the handle is of, an export of
/// each class, the main loop.
async fn start(
    config: Config,
    node: &str,
    spool: SharedSpool,
    ends: &Ends,
) -> Result<(Tasks, AbortHandle), RunError> {
    let facts = host::read::facts(&config.host.cgroup);
    tracing::info!(
        node,
        kernel = facts.kernel_release,
        cgroup = %facts.cgroup.mode,
        lockdown = ?facts.lockdown,
        jit_harden = facts.jit_harden,
        "starting"
    );
    let committed = Arc::new(Notify::new());
    let metrics = Metrics::default();
    let mut registry = Registry::default();
    metrics.register(&mut registry);
    let status = Status::new(registry);
    let mut tasks = Tasks::new();
    let listener = admin::listen(&config.admin.listen).await?;
    let exporter = Exporter::new(
        &config.export,
        node,
        Arc::clone(&spool),
        Arc::clone(&committed),
    )?;
    let served = admin::serve(listener, Arc::clone(&status), ends.abort.clone());
    let health = tasks.spawn(async move {
        served
            .await
            .map(|()| "the health endpoint")
            .map_err(RunError::from)
    });
    start_exports(&mut tasks, &exporter, &status, ends);
    let pulse = status.task(MAIN_LOOP, Duration::from_millis(config.usage.interval_ms));
    let setup = Setup {
        config,
        facts,
        spool,
        committed,
        exports: exporter.standing(),
        status,
        metrics,
        key: secret()?,
    };
    let (stop, drained) = (ends.stop.clone(), ends.drained.clone());
    tasks.spawn(async move {
        Node::start(setup).run(pulse, stop).await;
        // The export goes on until the spool is empty.
        drained.cancel();
        Ok(MAIN_LOOP)
    });
    Ok((tasks, health))
}

fn start_exports(tasks: &mut Tasks, exporter: &Exporter, status: &Arc<Status>, ends: &Ends) {
    for class in Class::ALL {
        let name = match class {
            Class::Usage => "the export of usage",
            Class::Security => "the export of security",
        };
        let pulse = status.task(name, exporter.may_wait());
        let (drained, abort) = (ends.drained.clone(), ends.abort.clone());
        let sent = exporter.clone().run(class, pulse, drained, abort);
        tasks.spawn(async move {
            sent.await;
            Ok(name)
        });
    }
}

/// Waits until all have ended but the health endpoint, the deadline is reached or a second signal
/// comes.
async fn wind_down(
    tasks: &mut Tasks,
    health: &AbortHandle,
    drain: Duration,
    signals: &mut Signals,
) -> Result<(), RunError> {
    tokio::select! {
        outcome = all_but(health, tasks) => outcome,
        () = tokio::time::sleep(drain) => {
            tracing::warn!("deadline reached: what is left stays in the spool");
            Ok(())
        }
        () = signals.received() => Ok(()),
    }
}

/// Waits until all have ended but the health endpoint, which lives until the end, unless it was the
/// one that died.
async fn all_but(health: &AbortHandle, tasks: &mut Tasks) -> Result<(), RunError> {
    while tasks.len() > usize::from(!health.is_finished()) {
        if let Some(ended) = tasks.join_next().await {
            ended.map_err(RunError::Task)??;
        }
    }
    Ok(())
}

/// SIGTERM and SIGINT.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn listen() -> Result<Self, RunError> {
        Ok(Self {
            terminate: signal(SignalKind::terminate()).map_err(RunError::Signal)?,
            interrupt: signal(SignalKind::interrupt()).map_err(RunError::Signal)?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

fn early(ended: Option<Result<Ended, tokio::task::JoinError>>) -> RunError {
    match ended {
        Some(Ok(Ok(task))) => RunError::EndedEarly(task),
        Some(Ok(Err(error))) => error,
        Some(Err(error)) => RunError::Task(error),
        None => RunError::EndedEarly("everything"),
    }
}

fn open_spool(config: &Config) -> Result<SharedSpool, RunError> {
    let path = &config.spool.path;
    let folder = |class: Class| {
        FileStorage::open(&path.join(class.as_str())).map_err(|source| RunError::SpoolFolder {
            path: path.clone(),
            source,
        })
    };
    let epoch = format!("{:032x}", fastrand::u128(..));
    let (usage, security) = (folder(Class::Usage)?, folder(Class::Security)?);
    let (spool, recoveries) = Spool::open(usage, security, config.spool.max_bytes, &epoch)
        .map_err(|source| RunError::Spool {
            path: path.clone(),
            source,
        })?;
    for (class, recovery) in Class::ALL.into_iter().zip(recoveries) {
        tracing::info!(
            class = class.as_str(),
            records = recovery.records,
            damaged = recovery.damaged,
            "spool opened"
        );
        if !recovery.unreadable.is_empty() {
            tracing::warn!(
                class = class.as_str(),
                unreadable = ?recovery.unreadable,
                "the disk would not give a part of the spool: what was in it is told as undecodable"
            );
        }
        if recovery.positions_lost {
            tracing::warn!(
                class = class.as_str(),
                "nobody knows what was delivered of the spool: all of it is sent again, under the same numbers"
            );
        }
    }
    Ok(Arc::new(Mutex::new(spool)))
}

fn secret() -> Result<Key, RunError> {
    let mut key = [0; 32];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut random| random.read_exact(&mut key))
        .map_err(RunError::Random)?;
    Ok(Key(key))
}

/// Leaves the reason of a failed life where Kubernetes shows it: `kubectl describe pod`.
pub fn write_termination_log(error: &dyn std::error::Error) {
    let path = Path::new("/dev/termination-log");
    // Outside a pod there is none, and that is no second failure.
    if path.exists() {
        drop(std::fs::write(path, causes::chain(error)));
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_journal::testing::CrashStorage;
    use plimsoll_wire::{AuditEvent, Identity};

    use super::*;

    fn end(pid: u32) -> AuditEvent {
        AuditEvent::ContainerEnd(plimsoll_wire::event::ContainerEnd {
            identity: Identity::unknown(u64::from(pid)),
            started_unix_ns: None,
            cpu_used_ns: None,
            memory_peak_bytes: None,
        })
    }

    #[test]
    fn what_the_disk_refuses_to_the_last_is_no_good_end() {
        let disk = CrashStorage::default();
        let folder = |name| disk.folder(name);
        let (spool, _) = Spool::open(folder("usage"), folder("security"), 1 << 30, "ab").unwrap();
        let spool = Mutex::new(spool);
        keep(&spool).unwrap();
        disk.set_room(Some(disk.used()));
        let mut inner = spool.lock().unwrap();
        for pid in [1, 2, 3] {
            inner.event(&end(pid), 5, 5);
        }
        inner.commit(5).unwrap_err();
        drop(inner);
        let error = keep(&spool).unwrap_err();
        let RunError::NotKept {
            usage: 0,
            security: 3,
            ..
        } = error
        else {
            panic!("{error:?}");
        };
        // More than memory holds: what is shed is in no record either.
        let mut inner = spool.lock().unwrap();
        (0..30_000).for_each(|pid| inner.event(&end(pid), 5, 5));
        inner.commit(5).unwrap_err();
        assert!(inner.shed_total() > 0);
        assert_eq!(inner.undurable(), [0, 30_003]);
        drop(inner);
        disk.set_room(None);
        keep(&spool).unwrap();
        assert_eq!(spool.lock().unwrap().undurable(), [0, 0]);
    }

    /// Whoever died, the others are waited for, and the health endpoint is not.
    #[tokio::test]
    async fn who_is_waited_for() {
        const NAMES: [&str; 4] = ["health", "usage", "security", MAIN_LOOP];
        for dead in [None, Some(0), Some(1), Some(3)] {
            let mut tasks = Tasks::new();
            let ends = NAMES.map(|_| CancellationToken::new());
            let handles: Vec<_> = NAMES
                .into_iter()
                .zip(&ends)
                .map(|(name, end)| {
                    let end = end.clone();
                    tasks.spawn(async move {
                        end.cancelled().await;
                        Ok(name)
                    })
                })
                .collect();
            if let Some(dead) = dead {
                ends[dead].cancel();
                tasks.join_next().await.unwrap().unwrap().unwrap();
            }
            ends[1..].iter().for_each(CancellationToken::cancel);
            all_but(&handles[0], &mut tasks).await.unwrap();
            let alive = handles.iter().map(|handle| !handle.is_finished());
            let expected = [dead != Some(0), false, false, false];
            assert!(alive.eq(expected), "{dead:?}");
            assert_eq!(tasks.len(), usize::from(expected[0]), "{dead:?}");
        }
    }
}
