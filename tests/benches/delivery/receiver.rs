//! A receiver that takes what Splunk's collector takes, and notes when what came: it is to cost next to nothing.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::post;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Deserializer, Value, json};

#[derive(Default)]
struct Seen {
    is_down: AtomicBool,
    /// Of each event: when it happened, and when it came; Unix nanoseconds.
    events: Mutex<Vec<(u64, u64)>>,
}

/// It ends with this.
pub(crate) struct Receiver {
    port: u16,
    seen: Arc<Seen>,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    time: &'a RawValue,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let seen = Arc::new(Seen::default());
        let router = Router::new()
            .route("/services/collector/event", post(take))
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&seen));
        let listener = runtime
            .block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))
            .unwrap();
        let port = listener.local_addr().unwrap().port();
        runtime.spawn(async move { axum::serve(listener, router).await });
        Self {
            port,
            seen,
            _runtime: runtime,
        }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The sink `out` to it.
    pub(crate) fn sink(&self, folder: &Path) -> Value {
        let token = folder.join("hec-token");
        std::fs::write(&token, "secret").unwrap();
        json!({"name": "out", "hec": {"endpoint": self.endpoint(), "token_file": token}})
    }

    /// It answers that it is busy.
    pub(crate) fn set_down(&self, is_down: bool) {
        self.seen.is_down.store(is_down, Ordering::Relaxed);
    }

    pub(crate) fn received(&self) -> usize {
        self.seen.events.lock().unwrap().len()
    }

    /// Milliseconds from when it happened to when it came, of each event.
    pub(crate) fn delays_ms(&self) -> Vec<f64> {
        self.delays_ms_since(0)
    }

    /// The same of those that happened since then.
    pub(crate) fn delays_ms_since(&self, begin: u64) -> Vec<f64> {
        let events = self.seen.events.lock().unwrap();
        let since = events.iter().filter(|(happened, _)| *happened >= begin);
        let delays = since.map(|(happened, came)| came.saturating_sub(*happened) as f64 / 1e6);
        delays.collect()
    }
}

async fn take(State(seen): State<Arc<Seen>>, body: Bytes) -> (StatusCode, String) {
    let answer =
        |status, code: u32, text: &str| (status, json!({"text": text, "code": code}).to_string());
    if seen.is_down.load(Ordering::Relaxed) {
        return answer(StatusCode::SERVICE_UNAVAILABLE, 9, "Server is busy");
    }
    let came = now_ns();
    let mut events = Vec::new();
    for envelope in Deserializer::from_slice(&body).into_iter::<Envelope<'_>>() {
        let time: f64 = envelope
            .unwrap()
            .time
            .get()
            .trim_matches('"')
            .parse()
            .unwrap();
        events.push((nanoseconds(time), came));
    }
    seen.events.lock().unwrap().extend(events);
    answer(StatusCode::OK, 0, "Success")
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a time after 1970, to the microsecond"
)]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

/// Unix nanoseconds.
pub(crate) fn now_ns() -> u64 {
    let since = SystemTime::UNIX_EPOCH.elapsed().unwrap();
    u64::try_from(since.as_nanos()).unwrap()
}
