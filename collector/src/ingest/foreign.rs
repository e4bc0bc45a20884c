//! What a sender gets that is not our agent, or that sends what no decoder understands: a clear
//! word, once, and no reason to send the same again.
//!
//! * [`Traces`]: the trace service. We use no spans, and say so in the words of OTLP instead of
//!   leaving the exporter with a bare `UNIMPLEMENTED`
//! * [`Told`]: around each service. Bytes that are no protobuf message, or too many of them, never
//!   reach a handler; here they are counted, and answered with a code that OTLP does not send again

use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use prost::Message;
use tonic::body::Body;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic::{Code, Request, Response, Status};

use super::weigh::Kind;
use super::{Counts, codec, weigh};
use crate::connections::paced::{BoxError, Timed};

/// Characters of a decoder's message that go back to the sender: it names every level of a nesting.
const MAX_MESSAGE: usize = 300;

/// `ExportTraceServiceRequest`, as far as it takes to count spans
/// (opentelemetry/proto/collector/trace/v1/trace_service.proto). The generated types would bring in
/// the SDK.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Export {
    #[prost(message, repeated, tag = "1")]
    resources: Vec<ResourceSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ResourceSpans {
    #[prost(message, repeated, tag = "2")]
    scopes: Vec<ScopeSpans>,
}

#[derive(Clone, PartialEq, Message)]
struct ScopeSpans {
    #[prost(bytes = "vec", repeated, tag = "2")]
    spans: Vec<Vec<u8>>,
}

/// `ExportTraceServiceResponse`.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Answer {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected_spans: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

/// The trace service.
#[derive(Clone)]
pub(super) struct Traces {
    pub(super) counts: Arc<Counts>,
}

impl NamedService for Traces {
    const NAME: &'static str = "opentelemetry.proto.collector.trace.v1.TraceService";
}

impl codec::Export for Traces {
    type Asked = Export;
    type Answer = Answer;

    fn kind() -> &'static Kind {
        &weigh::TRACES
    }

    fn export(&self, request: Request<Export>) -> BoxFuture<Response<Answer>, Status> {
        let scopes = request.get_ref().resources.iter().flat_map(|r| &r.scopes);
        let spans: usize = scopes.map(|scope| scope.spans.len()).sum();
        self.counts.unused_spans(spans as u64);
        let partial_success = (spans > 0).then(|| PartialSuccess {
            rejected_spans: i64::try_from(spans).unwrap_or(i64::MAX),
            error_message: format!(
                "{spans} spans not used: this collector takes the logs and metrics of the Plimsoll agent and no traces; send traces to an OpenTelemetry Collector"
            ),
        });
        Box::pin(async move { Ok(Response::new(Answer { partial_success })) })
    }
}

/// Around a service; see the module.
#[derive(Clone)]
pub(super) struct Told<S> {
    pub(super) service: S,
    pub(super) counts: Arc<Counts>,
    /// Time for a message, from its head to its last byte: until then it holds room.
    pub(super) within: Duration,
}

impl<S: NamedService> NamedService for Told<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<http::Request<Body>> for Told<S>
where
    S: Service<http::Request<Body>, Response = http::Response<Body>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<S::Response, S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.service.poll_ready(context)
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let counts = Arc::clone(&self.counts);
        let within = self.within;
        let answer = self
            .service
            .call(request.map(|body| Body::new(Timed::new(body, within, late))));
        Box::pin(async move {
            let answer = answer.await?;
            let Some(status) = Status::from_header_map(answer.headers()) else {
                return Ok(answer);
            };
            if status.code() == Code::DeadlineExceeded {
                counts.refuse("slow");
            }
            Ok(match refusal(status.code()) {
                Some(reason) => {
                    counts.refuse(reason);
                    Status::invalid_argument(middle_out(status.message())).into_http()
                }
                None => answer,
            })
        })
    }
}

/// A code that OTLP sends again.
fn late() -> BoxError {
    Status::deadline_exceeded("the request was not there in time").into()
}

/// A message without its middle, where it is long: it ends with the cause, and begins with where.
fn middle_out(message: &str) -> String {
    let count = message.chars().count();
    if count <= MAX_MESSAGE {
        return message.to_owned();
    }
    let head = message.chars().take(MAX_MESSAGE / 2);
    let tail = message.chars().skip(count - MAX_MESSAGE / 2);
    head.chain("…".chars()).chain(tail).collect()
}

/// Codes that only the codec gives here. `OUT_OF_RANGE` is one that OTLP sends again;
/// `RESOURCE_EXHAUSTED` is a message that is too long once it is decompressed.
const fn refusal(code: Code) -> Option<&'static str> {
    match code {
        Code::Internal => Some("undecodable"),
        Code::OutOfRange | Code::ResourceExhausted => Some("too_large"),
        _ => None,
    }
}
