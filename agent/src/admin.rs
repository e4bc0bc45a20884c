#![expect(
    clippy::disallowed_methods,
    reason = "shell: listens for health checks and scrapes"
)]
//! `/livez`, `/readyz` and `/metrics`.
//!
//! Ready means sampling: it does not depend on the collector, so that a collector that is away
//! never makes the kubelet restart a fleet of agents. Live means that every task of the agent turns:
//! each has a [`Pulse`], and one that stopped or hangs is named.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// A task that has not turned for this long, beyond what it may wait by itself, is dead.
const LIVE_WITHIN: Duration = Duration::from_secs(30);

/// Health as `/readyz` prints it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Health {
    /// `starting`, `running`, `draining`.
    pub phase: &'static str,
    /// Samples are being taken.
    pub ready: bool,
    /// Each kernel program: `attached`, or `skipped: reason`, or `failed: reason`.
    pub programs: Vec<(String, String)>,
    /// What is switched off or limited, `capability: reason`.
    pub degraded: Vec<String>,
}

/// Shared by the main loop, which writes it, and the endpoint, which reads it.
#[derive(Debug)]
pub struct Status {
    health: Mutex<Health>,
    tasks: Mutex<BTreeMap<&'static str, Turn>>,
    registry: Registry,
}

/// When a task last turned.
#[derive(Debug)]
struct Turn {
    at: Instant,
    within: Duration,
    ended: bool,
}

/// A task's sign of life. Dropped, the task has ended; one that ends as it should says so with
/// [`done`](Self::done).
#[derive(Debug)]
pub struct Pulse {
    name: &'static str,
    status: Arc<Status>,
}

impl Pulse {
    /// The task turned.
    pub fn beat(&self) {
        if let Some(turn) = self.status.tasks().get_mut(self.name) {
            turn.at = Instant::now();
        }
    }

    /// The task has done all that it was to do.
    pub fn done(self) {
        self.status.tasks().remove(self.name);
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        if let Some(turn) = self.status.tasks().get_mut(self.name) {
            turn.ended = true;
        }
    }
}

/// The endpoint cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The address is taken or not ours.
    #[error("listen on {address} for health checks and metrics (admin.listen)")]
    Listen {
        /// The configured address.
        address: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The server ended.
    #[error("serve health checks and metrics")]
    Serve(#[source] std::io::Error),
}

impl Status {
    /// A status that is not ready yet.
    pub fn new(registry: Registry) -> Arc<Self> {
        let health = Health {
            phase: "starting",
            ..Health::default()
        };
        Arc::new(Self {
            health: Mutex::new(health),
            tasks: Mutex::default(),
            registry,
        })
    }

    /// The main loop says how it is.
    pub fn turned(&self, health: Health) {
        *self.health.lock().unwrap_or_else(PoisonError::into_inner) = health;
    }

    /// A task begins; it may wait for `may_wait` between two beats.
    pub fn task(self: &Arc<Self>, name: &'static str, may_wait: Duration) -> Pulse {
        let turn = Turn {
            at: Instant::now(),
            within: LIVE_WITHIN.saturating_add(may_wait),
            ended: false,
        };
        self.tasks().insert(name, turn);
        Pulse {
            name,
            status: Arc::clone(self),
        }
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<&'static str, Turn>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn health(&self) -> Health {
        self.health
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// One line for each task that does not turn.
    fn dead(&self, now: Instant) -> String {
        let mut lines = String::new();
        for (name, turn) in &*self.tasks() {
            let silent = now.saturating_duration_since(turn.at);
            let _infallible = if turn.ended {
                writeln!(lines, "{name} ended by itself")
            } else if silent > turn.within {
                writeln!(lines, "{name} has not turned for {} s", silent.as_secs())
            } else {
                Ok(())
            };
        }
        lines
    }
}

/// Binds the address at once, so that a mistake in it ends the start, and serves until `stop`.
pub async fn listen(address: &str) -> Result<TcpListener, AdminError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| AdminError::Listen {
            address: address.to_owned(),
            source,
        })
}

/// Serves until `stop`.
pub async fn serve(
    listener: TcpListener,
    status: Arc<Status>,
    stop: CancellationToken,
) -> Result<(), AdminError> {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(status);
    axum::serve(listener, router)
        .with_graceful_shutdown(async move { stop.cancelled().await })
        .await
        .map_err(AdminError::Serve)
}

async fn livez(State(status): State<Arc<Status>>) -> Response {
    let dead = status.dead(Instant::now());
    if dead.is_empty() {
        (StatusCode::OK, "ok\n").into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, dead).into_response()
    }
}

async fn readyz(State(status): State<Arc<Status>>) -> Response {
    let health = status.health();
    let code = if health.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (code, axum::Json(health)).into_response()
}

async fn metrics(State(status): State<Arc<Status>>) -> Response {
    let mut text = String::new();
    match prometheus_client::encoding::text::encode(&mut text, &status.registry) {
        Ok(()) => (
            [(
                header::CONTENT_TYPE,
                "application/openmetrics-text; version=1.0.0; charset=utf-8",
            )],
            text,
        )
            .into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn ask(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn ready_follows_the_main_loop_and_live_does_not_need_it_ready() {
        let status = Status::new(Registry::default());
        let listener = listen("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, Arc::clone(&status), stop.clone()));
        assert!(ask(address, "/livez").await.starts_with("HTTP/1.1 200"));
        assert!(ask(address, "/readyz").await.starts_with("HTTP/1.1 503"));
        status.turned(Health {
            phase: "running",
            ready: true,
            ..Health::default()
        });
        let ready = ask(address, "/readyz").await;
        assert!(
            ready.starts_with("HTTP/1.1 200") && ready.contains("\"running\""),
            "{ready}"
        );
        assert!(ask(address, "/metrics").await.contains("# EOF"));
        let main = status.task("the main loop", Duration::ZERO);
        let done = status.task("the start", Duration::ZERO);
        drop(status.task("the export of usage", Duration::ZERO));
        done.done();
        let live = ask(address, "/livez").await;
        assert!(
            live.starts_with("HTTP/1.1 503")
                && live.ends_with("the export of usage ended by itself\n"),
            "{live}"
        );
        main.done();
        stop.cancel();
        server.await.unwrap().unwrap();
    }

    #[test]
    fn a_task_that_hangs_is_named_until_it_turns_again() {
        let status = Status::new(Registry::default());
        let begun = Instant::now();
        let main = status.task("the main loop", Duration::ZERO);
        let export = status.task("the export", Duration::from_secs(40));
        let at = |s| status.dead(begun + Duration::from_secs(s));
        assert_eq!(at(29), "");
        assert_eq!(at(60), "the main loop has not turned for 59 s\n");
        let both = at(100);
        assert_eq!(both.lines().count(), 2, "{both}");
        main.beat();
        export.beat();
        assert_eq!(status.dead(Instant::now()), "");
    }

    #[tokio::test]
    async fn a_taken_address_is_named() {
        let first = listen("127.0.0.1:0").await.unwrap();
        let address = first.local_addr().unwrap().to_string();
        let error = listen(&address).await.unwrap_err();
        assert!(error.to_string().contains(&address), "{error}");
    }
}
