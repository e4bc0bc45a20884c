//! How large an answer of the API server may be. The client keeps a list whole, and an event of a watch until its line
//! ends; one that does not end would take all memory.
//!
//! A layer around the client, as [`super::pace`].

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response, Uri};
use tokio_stream::StreamExt as _;
use tower::{BoxError, Layer, Service};

const MIB: usize = 1 << 20;
/// One event. An object has a few MiB at the most: etcd takes 1.5 MiB in one request, unless it is told otherwise.
const LINE: usize = 16 * MIB;
/// One page of a list, of 500 objects.
const PAGE: usize = 128 * MIB;
/// A list in one piece, which the client holds twice while it reads it; a quarter of the memory that the collector is
/// given. Larger ones are told by pages alone.
const WHOLE: usize = 192 * MIB;

/// See the module.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bound;

/// What came and is not at its end yet.
#[derive(Debug)]
struct Kept {
    bytes: usize,
    most: usize,
    /// It ends with each line.
    lines: bool,
}

/// It is larger than it may be.
#[derive(Debug, thiserror::Error)]
#[error("the answer is too large: more than {most} MiB {of}")]
struct TooLarge {
    most: usize,
    of: &'static str,
}

impl Kept {
    fn of(uri: &Uri) -> Self {
        let query = uri.query().unwrap_or_default();
        let has = |key: &str| query.split('&').any(|pair| pair.starts_with(key));
        let lines = has("watch=");
        let most = match (lines, has("limit=")) {
            (true, _) => LINE,
            (false, true) => PAGE,
            (false, false) => WHOLE,
        };
        Self {
            bytes: 0,
            most,
            lines,
        }
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), TooLarge> {
        let end = bytes.iter().rposition(|byte| self.lines && *byte == b'\n');
        let longest = self.bytes.saturating_add(match end {
            // What is before it was whole when the line before it ended.
            Some(_) => bytes.iter().position(|byte| *byte == b'\n').unwrap_or(0),
            None => bytes.len(),
        });
        self.bytes = end.map_or(longest, |end| bytes.len() - end - 1);
        if longest.max(self.bytes) > self.most {
            return Err(TooLarge {
                most: self.most / MIB,
                of: if self.lines {
                    "in one event"
                } else {
                    "of a list"
                },
            });
        }
        Ok(())
    }
}

impl<S> Layer<S> for Bound {
    type Service = Bounded<S>;

    fn layer(&self, inner: S) -> Bounded<S> {
        Bounded(inner)
    }
}

/// A service whose answers have a bound.
#[derive(Clone, Debug)]
pub(super) struct Bounded<S>(S);

impl<S, B, R> Service<Request<B>> for Bounded<S>
where
    S: Service<Request<B>, Response = Response<R>, Error = BoxError>,
    S::Future: Send + 'static,
    R: HttpBody<Data = Bytes> + Send + 'static,
    R::Error: Into<BoxError>,
{
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let mut kept = Kept::of(request.uri());
        let answer = self.0.call(request);
        Box::pin(async move {
            Ok(answer.await?.map(|body| {
                let pieces = Body::new(body).into_data_stream();
                Body::from_stream(pieces.map(move |piece| {
                    let piece = piece.map_err(BoxError::from)?;
                    kept.take(&piece)?;
                    Ok::<_, BoxError>(piece)
                }))
            }))
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::to_bytes;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    const MEBIBYTE: &[u8] = &[b'x'; MIB];

    /// The bytes of an answer of so many pieces of 1 MiB, with something behind each; or the error.
    async fn ask(query: &str, pieces: usize, behind: &'static str) -> Result<usize, String> {
        let answer = service_fn(move |_: Request<Body>| {
            let pieces = std::iter::repeat_n([MEBIBYTE, behind.as_bytes()], pieces).flatten();
            let pieces = tokio_stream::iter(
                pieces.map(|bytes| Ok::<_, BoxError>(Bytes::from_static(bytes))),
            );
            std::future::ready(Ok::<_, BoxError>(Response::new(Body::from_stream(pieces))))
        });
        let uri = format!("/api/v1/pods?{query}");
        let request = Request::get(uri).body(Body::empty()).unwrap();
        let answer = Bound.layer(answer).oneshot(request).await.unwrap();
        let bytes = to_bytes(answer.into_body(), usize::MAX).await;
        bytes
            .map(|bytes| bytes.len())
            .map_err(|error| crate::errors::chain(&error))
    }

    #[tokio::test]
    async fn an_event_and_a_page_have_a_bound_and_a_watch_has_none() {
        let watch = "watch=true&allowWatchBookmarks=true";
        assert_eq!(ask(watch, 40, "\n").await, Ok(40 * (MIB + 1)));
        assert_eq!(ask(watch, 16, "").await, Ok(16 * MIB));
        let error = ask(watch, 17, "").await.unwrap_err();
        assert!(error.contains("more than 16 MiB in one event"), "{error}");
        assert_eq!(ask("limit=500", 17, "").await, Ok(17 * MIB));
        let error = ask("limit=500", 129, "\n").await.unwrap_err();
        assert!(error.contains("more than 128 MiB of a list"), "{error}");
        assert_eq!(ask("", 129, "").await, Ok(129 * MIB));
    }

    #[test]
    fn an_event_is_what_lies_between_two_line_feeds() {
        let mut kept = Kept {
            bytes: 0,
            most: 8,
            lines: true,
        };
        for (bytes, is_fine) in [
            ("1234567", true),
            ("8\n", true),
            ("12345678\n12345678\n", true),
            ("12\n1234567", true),
            ("8", true),
            ("9", false),
        ] {
            assert_eq!(kept.take(bytes.as_bytes()).is_ok(), is_fine, "{bytes}");
        }
    }
}
