//! One request from its head to its answer: recorded, met by a fault or not, let in and served.

use std::io::{self, Read as _};
use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request as HttpRequest, Response, header};
use flate2::read::MultiGzDecoder;
use hyper::body::Incoming;
use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use prost::Message as _;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service as _;
use tonic::{Code, Status};

use super::fault::{Fault, Manner};
use super::{Protocol, Request, Shared, State, Stored};
use crate::loopback::Double;

/// Bytes of a body that are read at all.
const BODY_AT_MOST: usize = 128 << 20;

const GRPC: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const HTTP: &str = "/v1/logs";
const PROTOBUF: &str = "application/x-protobuf";

/// `google.rpc.Status` and what stands in it, as far as a time to come again needs it.
#[derive(Clone, PartialEq, prost::Message)]
struct RpcStatus {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<RpcAny>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct RpcAny {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// A status whose `RetryInfo` says: at once.
fn busy() -> Status {
    let status = RpcStatus {
        code: Code::ResourceExhausted as i32,
        message: "scripted".to_owned(),
        details: vec![RpcAny {
            type_url: "type.googleapis.com/google.rpc.RetryInfo".to_owned(),
            value: Vec::new(),
        }],
    };
    let details = status.encode_to_vec().into();
    Status::with_details(Code::ResourceExhausted, "scripted", details)
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

fn response(status: u16, kind: &str, body: Vec<u8>) -> io::Result<Response<Body>> {
    let response = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, kind)
        .header(header::LOCATION, "http://127.0.0.1:9/");
    response.body(Body::from(body)).map_err(io::Error::other)
}

impl Double for Shared {
    async fn answer(self: Arc<Self>, request: HttpRequest<Incoming>) -> io::Result<Response<Body>> {
        let (fault, number, is_let_in) = self.state().begin(&request);
        let is_grpc = self.state().protocol == Protocol::Grpc;
        let page = || b"<html>".to_vec();
        match fault {
            // The client has handed over all of it by then, or knows that it has not.
            Fault::CutBefore => return Err(io::Error::other("scripted")),
            Fault::BadGateway => return response(502, "text/html", page()),
            Fault::Redirect => return response(307, "text/html", page()),
            _ => {}
        }
        let call = Call {
            shared: Arc::clone(&self),
            fault,
            number,
            is_let_in,
        };
        let answer = if is_grpc {
            call.grpc(request).await?
        } else {
            call.http(request).await?
        };
        match fault {
            Fault::CutAfter => Err(io::Error::other("scripted")),
            Fault::UnusableBody => response(200, "text/html", page()),
            _ => Ok(answer),
        }
    }
}

/// A call with what happens to it.
struct Call {
    shared: Arc<Shared>,
    fault: Fault,
    number: usize,
    is_let_in: bool,
}

impl Call {
    /// By tonic's own server.
    async fn grpc(self, request: HttpRequest<Incoming>) -> io::Result<Response<Body>> {
        let most = self.shared.state().max_bytes;
        let mut server = LogsServiceServer::new(self)
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(most);
        let answer = server.call(request).await.map_err(io::Error::other)?;
        Ok(answer.map(Body::new))
    }

    async fn http(self, request: HttpRequest<Incoming>) -> io::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let body = axum::body::to_bytes(Body::new(body), BODY_AT_MOST)
            .await
            .map_err(io::Error::other)?;
        let mut message = Vec::new();
        if parts.headers.contains_key(header::CONTENT_ENCODING) {
            MultiGzDecoder::new(&body[..]).read_to_end(&mut message)?;
        } else {
            message.extend_from_slice(&body);
        }
        if message.len() > self.shared.state().max_bytes {
            return response(413, "text/plain", Vec::new());
        }
        let served = match ExportLogsServiceRequest::decode(message.as_slice()) {
            Ok(request) => self.serve(request),
            Err(error) => Err(Status::invalid_argument(error.to_string())),
        };
        match served {
            Ok(answer) => response(200, PROTOBUF, answer.encode_to_vec()),
            Err(status) => {
                let http = match status.code() {
                    Code::InvalidArgument => 400,
                    Code::Unauthenticated => 401,
                    Code::ResourceExhausted if !status.details().is_empty() => 429,
                    Code::Unavailable => 503,
                    _ => 500,
                };
                let said = RpcStatus {
                    code: status.code() as i32,
                    message: status.message().to_owned(),
                    details: Vec::new(),
                };
                response(http, PROTOBUF, said.encode_to_vec())
            }
        }
    }

    fn serve(
        &self,
        request: ExportLogsServiceRequest,
    ) -> Result<ExportLogsServiceResponse, Status> {
        if !self.is_let_in {
            return Err(Status::unauthenticated("nobody knows you"));
        }
        match self.fault {
            Fault::Busy => return Err(busy()),
            Fault::Exhausted => return Err(Status::resource_exhausted("scripted")),
            Fault::Unavailable => return Err(Status::unavailable("scripted")),
            Fault::Internal => return Err(Status::internal("scripted")),
            _ => {}
        }
        let mut state = self.shared.state();
        let (records, rejected) = state.store(request, self.number)?;
        let (rejected, words) = match self.fault {
            Fault::Overcount => (records + 1, "scripted"),
            Fault::Warning => (rejected, "scripted"),
            _ if rejected > 0 => (rejected, "some are not as they should be"),
            _ => (0, ""),
        };
        let partial_success = Some(ExportLogsPartialSuccess {
            rejected_log_records: i64::try_from(rejected).unwrap_or(i64::MAX),
            error_message: words.to_owned(),
        });
        Ok(ExportLogsServiceResponse { partial_success })
    }
}

#[tonic::async_trait]
impl LogsService for Call {
    async fn export(
        &self,
        request: tonic::Request<ExportLogsServiceRequest>,
    ) -> Result<tonic::Response<ExportLogsServiceResponse>, Status> {
        self.serve(request.into_inner()).map(tonic::Response::new)
    }
}

impl State {
    /// Records a request; its fault, its number, and whether it is let in.
    fn begin(&mut self, request: &HttpRequest<Incoming>) -> (Fault, usize, bool) {
        let headers = request.headers();
        let (path, kind, packed) = match self.protocol {
            Protocol::Grpc => (GRPC, "application/grpc", "grpc-encoding"),
            Protocol::Http => (HTTP, PROTOBUF, "content-encoding"),
        };
        let is_it = request.method() == Method::POST
            && request.uri().path() == path
            && text(headers, "content-type") == Some(kind)
            && text(headers, "user-agent").is_some();
        if !is_it {
            let line = format!("{} {} {headers:?}", request.method(), request.uri());
            self.unexpected.push(line);
        }
        let number = self.requests.len();
        self.requests.push(Request {
            is_packed: headers.contains_key(packed),
            records: 0,
            stored: 0,
        });
        let is_let_in = self
            .accepted
            .as_ref()
            .is_none_or(|(name, value)| text(headers, name) == Some(value));
        let fault = self.faults.pop_front().unwrap_or(Fault::None);
        (fault, number, is_let_in)
    }

    /// Stores what is good of it; how many records there are, and how many are rejected.
    fn store(
        &mut self,
        request: ExportLogsServiceRequest,
        number: usize,
    ) -> Result<(usize, usize), Status> {
        let all: Vec<Stored> = request.resource_logs.into_iter().flat_map(stored).collect();
        let records = all.len();
        let is_poison = |one: &Stored| self.poison.iter().any(|text| one.body().contains(text));
        let (bad, good): (Vec<_>, Vec<_>) = all.into_iter().partition(is_poison);
        if let Some(request) = self.requests.get_mut(number) {
            request.records = records;
        }
        if !bad.is_empty() && self.manner == Manner::Refuses {
            return Err(Status::invalid_argument("one is not as it should be"));
        }
        if let Some(request) = self.requests.get_mut(number) {
            request.stored = good.len();
        }
        self.stored.extend(good);
        Ok((records, bad.len()))
    }
}

fn stored(of: opentelemetry_proto::tonic::logs::v1::ResourceLogs) -> impl Iterator<Item = Stored> {
    let resource = of.resource.unwrap_or_default().attributes;
    let records = of
        .scope_logs
        .into_iter()
        .flat_map(|scope| scope.log_records);
    records.map(move |record| Stored {
        resource: resource.clone(),
        record,
    })
}
