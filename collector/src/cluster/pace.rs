#![expect(
    clippy::disallowed_methods,
    reason = "shell: has the clock by which requests wait"
)]
//! How often the API server is asked for the same thing, and that it is let alone when it says so.
//!
//! A watch that ends at once, however politely, is begun again at once by whoever follows it; a hundred
//! of them are a storm. Here every path waits between two of its requests, but not between different
//! pages of one list; and after `Retry-After` (RFC 9110, section 10.2.3) nothing is asked before its time.
//!
//! A layer around the client: holds no request back that it has once let go.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::http::{HeaderMap, Request, Response, StatusCode, Uri, header};
use tokio::time::Instant;
use tower::{BoxError, Layer, Service};

/// Between two requests of one path.
const BETWEEN: Duration = Duration::from_secs(1);
/// Added to it, at the most: those that began together do not go on together.
const JITTER: Duration = Duration::from_millis(500);
/// Longest `Retry-After` that is believed.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(1);
/// From the sending of a request to the head of its answer: a watch's head comes at once.
const HEAD_WITHIN: Duration = Duration::from_mins(1);

/// See the module. Clones pace together.
#[derive(Clone, Debug, Default)]
pub(super) struct Pace(Arc<Mutex<Times>>);

#[derive(Debug, Default)]
struct Times {
    /// Of each path, when it may be asked for again.
    next: HashMap<String, Instant>,
    /// Of each path, the page that was asked for last.
    page: HashMap<String, String>,
    /// Nothing is asked before.
    held_until: Option<Instant>,
}

impl Pace {
    /// When a request may go; it is taken as gone then.
    fn book(&self, uri: &Uri, now: Instant, jitter: Duration) -> Instant {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Those that were held back together do not go together.
        let held = times.held_until.filter(|held| *held > now);
        let held = held.map_or(now, |held| held + jitter);
        let page = uri.query().filter(|query| query.contains("continue="));
        if let Some(page) = page {
            // A server that points from a page to the same one is asked for it without end.
            let last = times.page.insert(uri.path().to_owned(), page.to_owned());
            if last.as_deref() != Some(page) {
                return held;
            }
        }
        let next = times.next.get(uri.path()).copied().unwrap_or(now);
        let at = held.max(next);
        times
            .next
            .insert(uri.path().to_owned(), at + BETWEEN + jitter);
        at
    }

    /// What the server answered.
    fn heed(&self, status: StatusCode, headers: &HeaderMap, now: Instant) {
        let is_refusal = [
            StatusCode::TOO_MANY_REQUESTS,
            StatusCode::SERVICE_UNAVAILABLE,
        ];
        let seconds = headers
            .get(header::RETRY_AFTER)
            .filter(|_| is_refusal.contains(&status))
            .and_then(|value| value.to_str().ok()?.trim().parse().ok());
        if let Some(seconds) = seconds {
            let until = now + Duration::from_secs(seconds).min(MAX_RETRY_AFTER);
            let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            times.held_until = times.held_until.max(Some(until));
        }
    }
}

impl<S> Layer<S> for Pace {
    type Service = Paced<S>;

    fn layer(&self, inner: S) -> Paced<S> {
        Paced {
            inner,
            pace: self.clone(),
        }
    }
}

/// A service whose requests are paced.
#[derive(Clone, Debug)]
pub(super) struct Paced<S> {
    inner: S,
    pace: Pace,
}

impl<S, B, R> Service<Request<B>> for Paced<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = BoxError>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let jitter = JITTER.mul_f64(fastrand::f64());
        let at = self.pace.book(request.uri(), Instant::now(), jitter);
        let pace = self.pace.clone();
        // Nothing is sent before this is polled.
        let answer = self.inner.call(request);
        Box::pin(async move {
            tokio::time::sleep_until(at).await;
            let answer = tokio::time::timeout(HEAD_WITHIN, answer).await??;
            pace.heed(answer.status(), answer.headers(), Instant::now());
            Ok(answer)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATCH: &str = "/api/v1/pods?watch=true&resourceVersion=5";

    fn seconds(pace: &Pace, uri: &str, start: Instant, now: f64) -> f64 {
        let now = start + Duration::from_secs_f64(now);
        let at = pace.book(&uri.parse().unwrap(), now, Duration::ZERO);
        at.duration_since(start).as_secs_f64()
    }

    #[track_caller]
    fn check(is: f64, expected: f64) {
        assert!((is - expected).abs() < 1e-6, "{is} instead of {expected}");
    }

    #[test]
    fn a_path_waits_and_neither_another_nor_the_pages_of_a_list_do() {
        let (pace, start) = (Pace::default(), Instant::now());
        check(seconds(&pace, WATCH, start, 0.0), 0.0);
        check(seconds(&pace, WATCH, start, 0.0), 1.0);
        check(seconds(&pace, WATCH, start, 1.1), 2.0);
        check(seconds(&pace, "/api/v1/nodes?limit=5", start, 0.0), 0.0);
        for page in ["a", "b", "c"] {
            let more = format!("/api/v1/nodes?limit=5&continue={page}");
            check(seconds(&pace, &more, start, 1.1), 1.1);
        }
        let same = "/api/v1/nodes?limit=5&continue=c";
        check(seconds(&pace, same, start, 1.1), 1.1);
        check(seconds(&pace, same, start, 1.1), 2.1);
        check(seconds(&pace, WATCH, start, 9.0), 9.0);
    }

    #[test]
    fn after_retry_after_nothing_is_asked_before_its_time() {
        let (pace, start) = (Pace::default(), Instant::now());
        let answer = |status: u16, after: &str, now: f64| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, after.parse().unwrap());
            let now = start + Duration::from_secs_f64(now);
            pace.heed(StatusCode::from_u16(status).unwrap(), &headers, now);
        };
        answer(200, "50", 0.0);
        answer(429, "soon", 0.0);
        check(seconds(&pace, WATCH, start, 0.0), 0.0);
        answer(429, "7", 1.0);
        answer(503, "2", 1.0);
        check(seconds(&pace, "/api/v1/nodes?continue=a", start, 2.0), 8.0);
        check(seconds(&pace, "/api/v1/nodes", start, 8.5), 8.5);
        answer(429, "86400", 9.0);
        check(seconds(&pace, "/api/v1/services", start, 9.0), 69.0);
        // Of those that wait together, each goes at a time of its own.
        let now = start + Duration::from_secs(10);
        let at = |path: &str, jitter| pace.book(&path.parse().unwrap(), now, jitter);
        let times = [at("/a", JITTER), at("/b", Duration::ZERO)];
        assert_eq!(times[0].duration_since(times[1]), JITTER);
    }
}
