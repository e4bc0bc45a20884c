//! The calls to a receiver of OTLP: one export over gRPC or HTTP with who we are, and what came back. Headers are read
//! for each call and not kept.

use axum::body::Body;
use hyper::header::{
    CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT,
};
use hyper::{Method, Request};
use tonic::Status;

use super::interpret::{Answer, Reply};
use super::limits::ANSWER_BYTES;
use crate::config::sinks::otlp::{Otlp as Settings, Protocol};
use crate::sinks::http::client::{CALL_TIME, Client as Http, Received, Version};
use crate::sinks::http::secret::{NoSecret, Secret};
use crate::sinks::http::{Failure, packed};
use crate::sinks::trust::{self, Files};
use crate::sinks::{BoxError, RefusalKind};

/// Where logs are taken over gRPC.
const METHOD: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

/// Who sends, as the specification asks for it.
const AGENT: &str = concat!("plimsoll-collector/", env!("CARGO_PKG_VERSION"));

/// The calls that the sink makes.
pub trait Calls {
    /// A message of OTLP.
    fn export(&self, message: Vec<u8>) -> impl Future<Output = Reply> + Send;
}

/// A client of one address.
#[derive(Debug)]
pub struct Client {
    http: Http,
    protocol: Protocol,
    path: String,
    headers: Option<Secret>,
    packs: bool,
}

/// Why there are no headers.
#[derive(Debug, thiserror::Error)]
enum NoHeaders {
    #[error(transparent)]
    Unread(#[from] NoSecret),
    #[error(
        "headers must be written NAME=VALUE,NAME=VALUE, values with %2C for a comma, and none of them one that OTLP \
         itself needs"
    )]
    Unwritten,
}

impl Client {
    /// For these settings; asks nobody yet.
    pub fn new(settings: &Settings) -> Self {
        let (version, path) = match settings.protocol {
            Protocol::Grpc => (Version::Http2, METHOD),
            Protocol::Http => (Version::Http1, settings.path.as_str()),
        };
        Self {
            http: Http::new(&settings.endpoint, files(settings), version),
            protocol: settings.protocol,
            path: path.to_owned(),
            headers: headers(settings),
            packs: settings.gzip,
        }
    }

    fn request(&self, message: &[u8]) -> Result<Request<Body>, Failure> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{}", self.http.endpoint(), self.path))
            .header(USER_AGENT, AGENT);
        let message = match self.protocol {
            Protocol::Grpc => {
                request = request
                    .header(CONTENT_TYPE, "application/grpc")
                    .header(TE, "trailers")
                    .header("grpc-timeout", format!("{}S", CALL_TIME.as_secs()));
                if self.packs {
                    request = request.header("grpc-encoding", "gzip");
                }
                frame(message, self.packs)
            }
            Protocol::Http => {
                request = request.header(CONTENT_TYPE, "application/x-protobuf");
                if self.packs {
                    request = request.header(CONTENT_ENCODING, "gzip");
                    packed(message)
                } else {
                    message.to_vec()
                }
            }
        };
        if let (Some(secret), Some(headers)) = (&self.headers, request.headers_mut()) {
            let ours = read(secret);
            let ours = ours.map_err(|error| Failure::unmade(RefusalKind::Credentials, error))?;
            headers.extend(ours);
        }
        let request = request.body(Body::from(message));
        request.map_err(|error| Failure::unmade(RefusalKind::Other, error))
    }

    fn reply(&self, received: Received) -> Reply {
        let is = |wanted: &str| {
            let given = received.headers.get(CONTENT_TYPE);
            let given = given.and_then(|given| given.to_str().ok());
            given.is_some_and(|given| given.split(';').next().map(str::trim) == Some(wanted))
        };
        let status = Status::from_header_map(&received.trailers)
            .or_else(|| Status::from_header_map(&received.headers));
        match (self.protocol, status) {
            (Protocol::Grpc, Some(status)) => Reply::Grpc {
                code: status.code(),
                message: status.message().to_owned(),
                details: status.details().to_vec(),
                body: received.body,
            },
            _ => Reply::Http(Answer {
                status: received.status,
                is_protobuf: self.protocol == Protocol::Http && is("application/x-protobuf"),
                retry_after_ms: received.retry_after_ms(),
                body: received.body,
            }),
        }
    }
}

impl Calls for Client {
    async fn export(&self, message: Vec<u8>) -> Reply {
        let received = match self.request(&message) {
            Ok(request) => self.http.call(request, ANSWER_BYTES).await,
            Err(failure) => Err(failure),
        };
        match received {
            Ok(received) => self.reply(received),
            Err(failure) => Reply::Failed(failure),
        }
    }
}

/// A message as gRPC has it: behind whether it is packed, and its length.
fn frame(message: &[u8], packs: bool) -> Vec<u8> {
    let message = if packs {
        packed(message)
    } else {
        message.to_vec()
    };
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let mut framed = vec![u8::from(packs)];
    framed.extend_from_slice(&length.to_be_bytes());
    framed.extend_from_slice(&message);
    framed
}

fn headers(settings: &Settings) -> Option<Secret> {
    Secret::of(
        settings.headers_file.as_ref(),
        settings.headers_env.as_ref(),
    )
}

/// The headers in a secret, which nothing prints.
fn read(secret: &Secret) -> Result<HeaderMap, NoHeaders> {
    let text = secret.read()?;
    let mut headers = HeaderMap::new();
    for pair in text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty())
    {
        let (name, value) = pair.split_once('=').ok_or(NoHeaders::Unwritten)?;
        let name = name.trim().to_ascii_lowercase();
        let name = HeaderName::try_from(name).map_err(|_| NoHeaders::Unwritten)?;
        let value = unescaped(value.trim()).ok_or(NoHeaders::Unwritten)?;
        let value = HeaderValue::from_bytes(&value);
        let mut value = value.map_err(|_| NoHeaders::Unwritten)?;
        value.set_sensitive(true);
        if is_own(name.as_str()) || headers.insert(name, value).is_some() {
            return Err(NoHeaders::Unwritten);
        }
    }
    Ok(headers)
}

/// Whether OTLP itself writes the header.
fn is_own(name: &str) -> bool {
    let own = [
        "accept-encoding",
        "connection",
        "host",
        "te",
        "transfer-encoding",
        "upgrade",
    ];
    own.contains(&name) || name.starts_with("content-") || name.starts_with("grpc-")
}

/// A value of W3C's baggage (RFC 3986, section 2.1).
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || (rest.next()? as char).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        bytes.push(u8::try_from(high * 16 + low).ok()?);
    }
    Some(bytes)
}

fn files(settings: &Settings) -> Files<'_> {
    Files {
        ca_file: settings.ca_file.as_deref(),
        cert_file: settings.cert_file.as_deref(),
        key_file: settings.key_file.as_deref(),
    }
}

/// What is wrong with the files that the settings name, each with its setting.
pub fn unusable(settings: &Settings) -> Vec<(&'static str, BoxError)> {
    let headers = settings.headers_file.as_ref();
    let headers = headers.filter(|path| !path.as_os_str().is_empty());
    let headers = headers.map(|path| read(&Secret::File(path.clone())));
    let headers = headers.and_then(Result::err);
    let headers = headers.map(|error| ("headers_file", error.into()));
    headers
        .into_iter()
        .chain(trust::unusable(files(settings)))
        .collect()
}

#[cfg(test)]
mod tests;
