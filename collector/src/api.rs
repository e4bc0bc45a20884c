//! The HTTP API and the dashboard's routes.
//!
//! Owns addresses, parameters, status codes and headers; what the documents say is computed by
//! `sizing`, `audit` and `dashboard`. Reads everything from one [`ApiState`] and changes nothing. Who may
//! see what is [`access`]'s; without its rules everybody may, and this is served on loopback only.

pub mod access;
pub mod accounting;
pub mod audit;
mod certificate;
pub mod chain;
mod clock;
mod document;
mod error;
mod headers;
mod lines;
mod pages;
mod renders;
mod requests;
mod serve;
mod tail;

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state, map_response_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};

use access::Caller;
pub use access::{Rules, Seen};
pub use accounting::{AccountingDocument, Gap, StageRow};
pub(crate) use audit::Document;
pub(crate) use audit::precise;
pub use audit::{AuditQuery, AuditRecord, AuditRing, NodeStatus, NotAnEvent};
pub use chain::ChainDocument;
pub(crate) use clock::monotonic_ns;
pub use clock::unix_ns;
pub use error::ApiError;
pub use requests::Requests;
pub use serve::{Bounds, serve};
pub use tail::load_tail;

use crate::cluster::access::Right;
use crate::history::{Fleet, History};
use crate::sizing::{self, Report};
use crate::trail::Head;

/// How long a computed report is served again, nanoseconds: a page and its links see one state.
const VIEW_FOR_NS: u64 = 2_000_000_000;

/// A supplier of accounting rows.
pub type AccountingSource = Arc<dyn Fn() -> Vec<StageRow> + Send + Sync>;
/// Gives the end of the chain of audit events, and so many of its last links.
pub type ChainSource = Arc<dyn Fn(usize) -> (Head, Vec<String>) + Send + Sync>;
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
    chain: ChainSource,
    metrics: MetricsSource,
    ready: ReadySource,
    requests: Arc<Requests>,
    renders: renders::Renders,
    now: fn() -> u64,
    any_host: bool,
    access: Option<Arc<Rules>>,
    is_tls: bool,
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
            chain: Arc::new(|_| Default::default()),
            metrics: Arc::new(String::new),
            ready: Arc::new(Health::default),
            requests: Arc::default(),
            renders: renders::Renders::default(),
            now: unix_ns,
            any_host: false,
            access: None,
            is_tls: false,
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

    /// Where the end of the chain of audit events comes from, and its last links.
    #[must_use]
    pub fn with_chain(mut self, source: ChainSource) -> Self {
        self.chain = source;
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

    /// Asks who somebody is, and shows them what these rules allow.
    #[must_use]
    pub fn with_rules(mut self, rules: Arc<Rules>) -> Self {
        self.access = Some(rules);
        self
    }

    /// It is served with TLS, and browsers are told to ask for nothing else.
    #[must_use]
    pub fn with_tls(mut self, is_tls: bool) -> Self {
        self.is_tls = is_tls;
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

    /// The end of the chain, and so many links before it. May wait for a disk.
    pub fn chain(&self, links: usize) -> ChainDocument {
        let (head, links) = (self.chain)(links);
        ChainDocument::new(&head, &links, (self.now)())
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
        .route("/api/v1/audit/chain", get(document::chain))
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
        .layer(from_fn(serve::noted))
        .layer(from_fn_with_state(Arc::clone(&state), access::identified))
        .layer(from_fn_with_state(Arc::clone(&state), headers::addressed))
        .layer(from_fn(error::shown))
        .layer(map_response_with_state(
            Arc::clone(&state),
            headers::secured,
        ))
        .layer(map_response_with_state(Arc::clone(&state), counted))
        .with_state(state)
}

async fn counted(State(state): State<Arc<ApiState>>, response: Response) -> Response {
    state.requests.count(response.status());
    response
}

/// Asks nothing that waits, see [`ReadySource`]: a probe is answered however busy the disk is.
/// Why, whoever may see the metrics is told; names of files and objects are nothing for strangers.
async fn ready(
    State(state): State<Arc<ApiState>>,
    caller: Option<Extension<Caller>>,
) -> Result<Response, ApiError> {
    let in_full = match (&state.access, caller) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(_), Some(Extension(caller))) => caller.may(Right::Path("/metrics")).await?,
    };
    let health = (state.ready)();
    let (status, mut body) = match health.refuses {
        None => (StatusCode::OK, "ok\n".to_owned()),
        Some(why) if in_full => (
            StatusCode::SERVICE_UNAVAILABLE,
            format!("not ready: {why}\n"),
        ),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n".to_owned()),
    };
    if !in_full && !health.degraded.is_empty() {
        body.push_str("degraded: the log says why, and this address with a token\n");
    }
    for what in health.degraded.iter().filter(|_| in_full) {
        body.extend(["degraded: ", what, "\n"]);
    }
    Ok((status, body).into_response())
}

async fn metrics(
    State(state): State<Arc<ApiState>>,
    Extension(caller): Extension<Caller>,
) -> Result<Response, ApiError> {
    caller.needs(Right::Path("/metrics")).await?;
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    renders::scrape(state, move |state| {
        Ok(([(header::CONTENT_TYPE, kind)], (state.metrics)()).into_response())
    })
    .await
}

#[cfg(test)]
pub(crate) mod tests;
