//! The HTTP API and the dashboard's routes.
//!
//! Owns addresses, parameters, status codes and headers; what the documents say is computed by
//! `sizing`, `audit` and `dashboard`. Reads everything from one [`ApiState`] and changes nothing.
//! Deliberately has no authentication: without a cluster it is served on 127.0.0.1 only.

pub mod accounting;
pub mod audit;
mod clock;
mod document;
mod error;
mod pages;
mod renders;
mod requests;
mod serve;
mod tail;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn, from_fn_with_state, map_response, map_response_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

pub use accounting::{AccountingDocument, Gap, StageRow};
pub(crate) use audit::Document;
pub use audit::{AuditQuery, AuditRecord, AuditRing, NodeStatus};
pub(crate) use clock::monotonic_ns;
pub use clock::unix_ns;
pub use error::ApiError;
pub use requests::Requests;
pub use serve::{Bounds, serve};
pub use tail::load_tail;

use crate::history::{Fleet, History};
use crate::sizing::{self, Report};

/// How long a computed report is served again, nanoseconds: a page and its links see one state.
const VIEW_FOR_NS: u64 = 2_000_000_000;

/// A supplier of accounting rows.
pub type AccountingSource = Arc<dyn Fn() -> Vec<StageRow> + Send + Sync>;
/// A supplier of gaps in the nodes' streams.
pub type GapSource = Arc<dyn Fn() -> Vec<Gap> + Send + Sync>;
/// A supplier of the metrics text.
pub type MetricsSource = Arc<dyn Fn() -> String + Send + Sync>;
/// A supplier of health; it must not wait for a disk.
pub type ReadySource = Arc<dyn Fn() -> Health + Send + Sync>;

/// What is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Why nothing can be taken in: the collector is not ready.
    pub refuses: Option<String>,
    /// What does not work while records are taken in all the same.
    pub degraded: Vec<String>,
}

/// Everything that the API reads.
pub struct ApiState {
    history: Arc<History>,
    audit: Arc<AuditRing>,
    accounting: AccountingSource,
    gaps: GapSource,
    metrics: MetricsSource,
    ready: ReadySource,
    requests: Arc<Requests>,
    renders: renders::Renders,
    now: fn() -> u64,
    any_host: bool,
    view: Mutex<Option<(u64, Arc<View>)>>,
}

/// The fleet and its report at one time.
#[derive(Debug)]
pub struct View {
    /// The fleet.
    pub fleet: Fleet,
    /// Its report.
    pub report: Report,
    /// When, Unix nanoseconds.
    pub now_unix_ns: u64,
}

impl ApiState {
    /// State with empty accounting and metrics, always ready, on the machine's clock.
    pub fn new(history: Arc<History>, audit: Arc<AuditRing>) -> Self {
        Self {
            history,
            audit,
            accounting: Arc::new(Vec::new),
            gaps: Arc::new(Vec::new),
            metrics: Arc::new(String::new),
            ready: Arc::new(Health::default),
            requests: Arc::default(),
            renders: renders::Renders::default(),
            now: unix_ns,
            any_host: false,
            view: Mutex::new(None),
        }
    }

    /// Where accounting rows come from.
    #[must_use]
    pub fn with_accounting(mut self, source: AccountingSource) -> Self {
        self.accounting = source;
        self
    }

    /// Where gaps come from.
    #[must_use]
    pub fn with_gaps(mut self, source: GapSource) -> Self {
        self.gaps = source;
        self
    }

    /// Where the metrics text comes from (OpenMetrics).
    #[must_use]
    pub fn with_metrics(mut self, source: MetricsSource) -> Self {
        self.metrics = source;
        self
    }

    /// What decides `/readyz`.
    #[must_use]
    pub fn with_ready(mut self, source: ReadySource) -> Self {
        self.ready = source;
        self
    }

    /// Where answers are counted.
    #[must_use]
    pub fn with_requests(mut self, requests: Arc<Requests>) -> Self {
        self.requests = requests;
        self
    }

    /// Another clock (Unix nanoseconds), for tests and pictures.
    #[must_use]
    pub fn with_clock(mut self, now: fn() -> u64) -> Self {
        self.now = now;
        self
    }

    /// Answers whatever host name a request carries. Without it only loopback names are answered: a
    /// web page elsewhere that points its own name at 127.0.0.1 (DNS rebinding) must not read us.
    #[must_use]
    pub fn with_any_host(mut self) -> Self {
        self.any_host = true;
        self
    }

    /// The fleet and its report, computed now or within the last two seconds. Takes its time.
    pub fn view(&self) -> Arc<View> {
        let now_unix_ns = (self.now)();
        let mut kept = self.view.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, view)) = kept.as_ref()
            && now_unix_ns.saturating_sub(*at) < VIEW_FOR_NS
            && now_unix_ns >= *at
        {
            return Arc::clone(view);
        }
        let fleet = Fleet::group(self.history.snapshot(), now_unix_ns);
        let report = sizing::report(&fleet, now_unix_ns);
        let view = Arc::new(View {
            fleet,
            report,
            now_unix_ns,
        });
        *kept = Some((now_unix_ns, Arc::clone(&view)));
        view
    }

    /// The accounting document as it is now. May wait for a disk.
    pub fn accounting(&self) -> AccountingDocument {
        let mut document = AccountingDocument::new((self.accounting)(), (self.now)());
        document.gaps = (self.gaps)();
        document
    }
}

/// All routes.
pub fn router(state: Arc<ApiState>) -> Router {
    let documents = Router::new()
        .route("/api/v1/sizing", get(document::sizing))
        .route(
            "/api/v1/sizing/{namespace}/{kind}/{name}",
            get(document::sizing_of_workload),
        )
        .route("/api/v1/audit", get(document::audit))
        .route("/api/v1/accounting", get(document::accounting))
        .route("/api/v1/nodes", get(document::nodes))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics));
    let pages = Router::new()
        .route("/", get(pages::overview))
        .route("/workloads/{namespace}/{kind}/{name}", get(pages::workload))
        .route("/audit", get(pages::audit))
        .route("/nodes", get(pages::nodes))
        .route("/assets/plimsoll.css", get(pages::style));
    documents
        .merge(pages)
        .fallback(|| async {
            ApiError::not_found("there is nothing at this address; the dashboard is at /")
        })
        .method_not_allowed_fallback(|| async { ApiError::method() })
        .layer(from_fn_with_state(Arc::clone(&state), addressed))
        .layer(from_fn(error::shown))
        .layer(map_response(secured))
        .layer(map_response_with_state(Arc::clone(&state), counted))
        .with_state(state)
}

async fn counted(State(state): State<Arc<ApiState>>, response: Response) -> Response {
    state.requests.count(response.status());
    response
}

/// Asks nothing that waits, see [`ReadySource`]: a probe is answered however busy the disk is.
async fn ready(State(state): State<Arc<ApiState>>) -> Response {
    let health = (state.ready)();
    let (status, mut body) = match health.refuses {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {why}\n"),
        ),
    };
    for what in health.degraded {
        body.extend(["degraded: ", &what, "\n"]);
    }
    (status, body).into_response()
}

async fn metrics(State(state): State<Arc<ApiState>>) -> Result<Response, ApiError> {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    renders::scrape(state, move |state| {
        Ok(([(header::CONTENT_TYPE, kind)], (state.metrics)()).into_response())
    })
    .await
}

/// Refuses requests that were not meant for this address, see [`ApiState::with_any_host`].
async fn addressed(State(state): State<Arc<ApiState>>, request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|host| host.to_str().ok());
    // HTTP/1.0 probes have no Host; a browser always has one.
    if state.any_host || host.is_none_or(is_loopback) {
        return next.run(request).await;
    }
    ApiError::misdirected().into_response()
}

/// `localhost`, `127.0.0.1`, `[::1]`, with or without a port.
fn is_loopback(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    ["localhost", "127.0.0.1", "[::1]"].contains(&name)
}

/// Headers of every answer: nothing but our own style sheet may load, nobody may frame us, nothing
/// is kept by caches unless a route said otherwise.
async fn secured(mut response: Response) -> Response {
    const POLICY: &str = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
        (
            HeaderName::from_static("cross-origin-resource-policy"),
            "same-origin",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
pub(crate) mod tests;
