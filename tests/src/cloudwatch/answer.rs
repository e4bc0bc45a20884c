//! One request from its head to its answer: read, recorded, met by a fault or not, let in and served.

use std::io::{self, Read as _};
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Response, header};
use flate2::read::MultiGzDecoder;
use hyper::body::{Body as _, Incoming};
use tokio::sync::watch::Receiver;

use super::error::AwsError;
use super::fault::{Canned, Fault};
use super::judge::charged_bytes;
use super::operation::{Call, Done, Operation};
use super::sign::Signed;
use super::{CONTENT_TYPE, HELD_AT_MOST, Outcome, Request, Shared, State};

/// Bytes of a body that are taken, before and after it is unpacked. A batch of the largest size has up
/// to six times its bytes as JSON.
const BODY_AT_MOST: usize = 16 * 1024 * 1024;

/// A request whose body was read.
struct Asked {
    method: Method,
    path: String,
    headers: HeaderMap,
    /// As it was sent.
    body: Bytes,
    operation: Operation,
    call: Result<Call, AwsError>,
}

impl Asked {
    fn signed(&self) -> Signed<'_> {
        Signed {
            headers: &self.headers,
            body: &self.body,
        }
    }
}

pub(super) async fn answer(
    shared: Arc<Shared>,
    request: axum::http::Request<Incoming>,
) -> io::Result<Response<Body>> {
    let (parts, body) = request.into_parts();
    let is_short = is_short(&body);
    let body = axum::body::to_bytes(Body::new(body), BODY_AT_MOST).await;
    let operation = Operation::of(text(&parts.headers, "x-amz-target").unwrap_or_default());
    let (body, call) = match body {
        Ok(body) => {
            let unpacked = unpack(&parts.headers, body.clone());
            (body, unpacked.and_then(|body| Call::parse(&body)))
        }
        // The client has left before it was whole: that is no request.
        Err(e) if is_short => return Err(io::Error::other(e)),
        Err(_) => (Bytes::new(), Err(too_large())),
    };
    let asked = Asked {
        method: parts.method,
        path: parts.uri.path().to_owned(),
        headers: parts.headers,
        body,
        operation,
        call,
    };
    let (number, fault, held) = begin(&shared, &asked);
    if fault == Some(Fault::HeldBefore) {
        hold(held.clone()).await;
    }
    let done = match &fault {
        Some(Fault::CutBefore) => {
            end(&shared, number, Outcome::Cut);
            return Err(io::Error::other("scripted"));
        }
        Some(Fault::Answer(canned)) => {
            end(&shared, number, Outcome::Canned(canned.status));
            return Ok(respond(&shared, number, canned.clone(), None));
        }
        Some(Fault::Error(error)) => Err(error.clone()),
        _ => decide(&shared, asked, number, fault == Some(Fault::EmptyPage)),
    };
    match fault {
        Some(Fault::CutAfter) => {
            end(&shared, number, Outcome::Cut);
            return Err(io::Error::other("scripted"));
        }
        Some(Fault::AnswerAfter(canned)) => {
            end(&shared, number, Outcome::Canned(canned.status));
            return Ok(respond(&shared, number, canned, None));
        }
        Some(Fault::HeldAfter) => hold(held).await,
        _ => {}
    }
    let (canned, error) = told(done);
    let outcome = Outcome::Answered {
        status: canned.status,
        error: error.clone(),
    };
    end(&shared, number, outcome);
    Ok(respond(&shared, number, canned, error.as_deref()))
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

/// Whether a body says that it is not too large.
fn is_short(body: &Incoming) -> bool {
    let limit = u64::try_from(BODY_AT_MOST).unwrap_or(u64::MAX);
    body.size_hint().upper().is_some_and(|bytes| bytes <= limit)
}

fn too_large() -> AwsError {
    let message = format!("bodies of {BODY_AT_MOST} bytes are taken");
    AwsError::new("RequestEntityTooLargeException", message).with_status(413)
}

/// The body as it was before it was packed.
fn unpack(headers: &HeaderMap, body: Bytes) -> Result<Bytes, AwsError> {
    match text(headers, header::CONTENT_ENCODING.as_str()) {
        None | Some("identity") => Ok(body),
        Some("gzip") => {
            let mut unpacked = Vec::new();
            let limit = u64::try_from(BODY_AT_MOST).unwrap_or(u64::MAX);
            let read = MultiGzDecoder::new(&body[..])
                .take(limit.saturating_add(1))
                .read_to_end(&mut unpacked);
            match read {
                Err(e) => Err(AwsError::serialization(format!("gzip: {e}"))),
                Ok(bytes) if bytes > BODY_AT_MOST => Err(too_large()),
                Ok(_) => Ok(unpacked.into()),
            }
        }
        Some(other) => {
            let message = format!("Content-Encoding {other:?}");
            Err(AwsError::new("UnsupportedMediaTypeException", message).with_status(415))
        }
    }
}

/// Records a request; its number, its fault, and what lets it go if that holds it.
fn begin(shared: &Shared, asked: &Asked) -> (usize, Option<Fault>, Receiver<u64>) {
    let target = text(&asked.headers, "x-amz-target").unwrap_or_default();
    let call = asked.call.as_ref().ok();
    let name = |name: &Option<String>| name.clone().unwrap_or_default();
    let batch = call.map_or(&[][..], Call::batch);
    let mut state = shared.state();
    let request = Request {
        operation: asked.operation,
        target: target.to_owned(),
        access_key: asked.signed().access_key().to_owned(),
        group: call
            .map(|call| name(&call.log_group_name))
            .unwrap_or_default(),
        stream: call
            .map(|call| name(&call.log_stream_name))
            .unwrap_or_default(),
        events: batch.len(),
        bytes: charged_bytes(batch),
        at_ms: state.now_ms(),
        stored: 0,
        rejected: 0,
        outcome: Outcome::Open,
    };
    let number = state.requests.len();
    state.requests.push(request);
    (
        number,
        state.script.next(asked.operation),
        shared.released.subscribe(),
    )
}

/// Waits until the test lets go, or long enough.
async fn hold(mut released: Receiver<u64>) {
    drop(tokio::time::timeout(HELD_AT_MOST, released.changed()).await);
}

fn decide(
    shared: &Shared,
    asked: Asked,
    number: usize,
    empty_page: bool,
) -> Result<Done, AwsError> {
    let mut state = shared.state();
    let content_type = text(&asked.headers, header::CONTENT_TYPE.as_str());
    let is_call = asked.method == Method::POST && asked.path == "/";
    let target = text(&asked.headers, "x-amz-target").unwrap_or_default();
    if !is_call || content_type != Some(CONTENT_TYPE) || asked.operation == Operation::Other {
        let (method, path) = (&asked.method, &asked.path);
        state
            .unexpected
            .push(format!("{method} {path} {target:?} {content_type:?}"));
        return Err(AwsError::unknown_operation(target));
    }
    state.doors.check(asked.signed())?;
    let done = state.serve(asked.operation, asked.call?, number, empty_page)?;
    if let Some(request) = state.requests.get_mut(number) {
        (request.stored, request.rejected) = (done.stored, done.rejected);
    }
    Ok(done)
}

fn end(shared: &Shared, number: usize, outcome: Outcome) {
    if let Some(request) = shared.state().requests.get_mut(number) {
        request.outcome = outcome;
    }
}

/// What the service says, and the type of its error.
fn told(done: Result<Done, AwsError>) -> (Canned, Option<String>) {
    let (status, body, error) = match done {
        Ok(done) => (200, done.answer.map(|answer| answer.to_string()), None),
        Err(error) => {
            let body = serde_json::json!({"__type": error.kind, "message": error.message});
            (error.status, Some(body.to_string()), Some(error.kind))
        }
    };
    let canned = Canned {
        status,
        content_type: CONTENT_TYPE.to_owned(),
        body: body.unwrap_or_default(),
    };
    (canned, error)
}

fn respond(shared: &Shared, number: usize, canned: Canned, error: Option<&str>) -> Response<Body> {
    let date = date(shared.state().now_ms());
    let mut builder = Response::builder()
        .status(canned.status)
        .header(header::CONTENT_TYPE, canned.content_type)
        .header(header::DATE, date)
        .header(
            "x-amzn-RequestId",
            format!("00000000-0000-4000-8000-{number:012}"),
        );
    if let Some(error) = error {
        builder = builder.header("x-amzn-ErrorType", error);
    }
    let answer = builder.body(Body::from(canned.body));
    answer.unwrap_or_else(|_| Response::new(Body::empty()))
}

/// HTTP's date: by the service's own clock, by which a client measures its own.
fn date(now_ms: i64) -> String {
    let time = jiff::Timestamp::from_millisecond(now_ms).unwrap_or_default();
    let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&time);
    date.unwrap_or_default()
}

impl State {
    /// By the service's clock, Unix milliseconds.
    pub(super) fn now_ms(&self) -> i64 {
        self.now_ms.unwrap_or_else(super::machine_ms)
    }
}
