//! A client of one address: HTTP/1.1 or HTTP/2 over TLS 1.2 or 1.3, and what came back. It holds no opinion of the
//! answers, never tries twice, follows no redirect and uses no proxy.

use std::error::Error;
use std::fmt;
use std::future::poll_fn;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::Body;
use hyper::body::{Body as _, Incoming};
use hyper::header::{HeaderMap, RETRY_AFTER};
use hyper::{Request, Response};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};

use super::Failure;
use crate::sinks::trust::{Files, Trust};
use crate::sinks::{BoxError, RefusalKind};

/// How long a whole call may take.
pub const CALL_TIME: Duration = Duration::from_secs(30);

/// How long it may take to reach the other side.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// How long a connection is kept that is not used.
const IDLE_TIME: Duration = Duration::from_secs(20);

/// A client, with its pool.
pub type Http = legacy::Client<HttpsConnector<HttpConnector>, Body>;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2, also where there is no TLS.
    Http2,
}

/// What came back, whole.
#[derive(Debug)]
pub struct Received {
    /// HTTP's.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// What stands behind the body.
    pub trailers: HeaderMap,
}

impl Received {
    /// Milliseconds after which to come again, as it says.
    pub fn retry_after_ms(&self) -> Option<u64> {
        let seconds = self.headers.get(RETRY_AFTER)?.to_str().ok()?;
        seconds.trim().parse::<u64>().ok()?.checked_mul(1000)
    }
}

/// See the module.
pub struct Client {
    endpoint: String,
    ca_file: Option<PathBuf>,
    cert_file: Option<PathBuf>,
    key_file: Option<PathBuf>,
    version: Version,
    call_time: Duration,
    made: Mutex<Made>,
}

#[derive(Default)]
struct Made {
    trust: Trust,
    http: Option<Http>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Of that address, whose files are these; asks nobody yet.
    pub fn new(endpoint: &str, files: Files<'_>, version: Version) -> Self {
        let [ca_file, cert_file, key_file] =
            [files.ca_file, files.cert_file, files.key_file].map(|path| path.map(PathBuf::from));
        Self {
            endpoint: endpoint.trim_end_matches('/').to_owned(),
            ca_file,
            cert_file,
            key_file,
            version,
            call_time: CALL_TIME,
            made: Mutex::default(),
        }
    }

    /// Scheme, host and port.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Makes a call within [`CALL_TIME`]; of its answer so many bytes are read at the most.
    ///
    /// # Errors
    /// There is no answer, see [`Failure`].
    pub async fn call(&self, request: Request<Body>, most: usize) -> Result<Received, Failure> {
        let http = self.http()?;
        match tokio::time::timeout(self.call_time, exchange(&http, request, most)).await {
            Ok(answer) => answer,
            Err(late) => {
                // A connection over which nothing comes would be taken for the next call too.
                self.made().http = None;
                Err(Failure {
                    kind: RefusalKind::Unavailable,
                    help: format!(": there is no answer within {} s", self.call_time.as_secs()),
                    is_in_doubt: true,
                    source: late.into(),
                })
            }
        }
    }

    fn made(&self) -> MutexGuard<'_, Made> {
        self.made.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The client, made anew when its files have changed.
    fn http(&self) -> Result<Http, Failure> {
        let mut made = self.made();
        let Made { trust, http } = &mut *made;
        if !self.endpoint.starts_with("https:") {
            let known = http.take().map_or_else(|| self.plain(), Ok)?;
            return Ok(http.insert(known).clone());
        }
        let (tls, is_new) = trust.look(self.files(), &self.endpoint)?;
        let known = http.take().filter(|_| !is_new);
        let known = known.unwrap_or_else(|| client((*tls).clone(), self.version));
        Ok(http.insert(known).clone())
    }

    /// For an address without TLS.
    fn plain(&self) -> Result<Http, Failure> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Failure::unmade(RefusalKind::Other, error))?;
        let builder = builder.with_root_certificates(RootCertStore::empty());
        Ok(client(builder.with_no_client_auth(), self.version))
    }

    fn files(&self) -> Files<'_> {
        Files {
            ca_file: self.ca_file.as_deref(),
            cert_file: self.cert_file.as_deref(),
            key_file: self.key_file.as_deref(),
        }
    }
}

/// With that trust.
pub fn client(tls: ClientConfig, version: Version) -> Http {
    let mut connector = HttpConnector::new();
    connector.set_connect_timeout(Some(CONNECT_TIME));
    connector.set_nodelay(true);
    connector.enforce_http(false);
    let builder = HttpsConnectorBuilder::new()
        .with_tls_config(tls)
        .https_or_http();
    let connector = match version {
        Version::Http1 => builder.enable_http1().wrap_connector(connector),
        Version::Http2 => builder.enable_http2().wrap_connector(connector),
    };
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE_TIME)
        .http2_only(version == Version::Http2)
        .build(connector)
}

/// One request, and its answer with so many bytes at the most.
///
/// # Errors
/// There is no answer, or it is cut, or too long for what is no error.
pub async fn exchange(
    http: &Http,
    request: Request<Body>,
    most: usize,
) -> Result<Received, Failure> {
    let response: Response<Incoming> = http.request(request).await.map_err(unanswered)?;
    let (head, body) = response.into_parts();
    let status = head.status.as_u16();
    let (body, trailers) = match whole(body, most).await {
        Ok(read) => read,
        // An error is one whatever its page says; a success that is cut is none.
        Err(_) if status >= 300 => (Vec::new(), HeaderMap::new()),
        Err(source) => {
            return Err(Failure {
                kind: RefusalKind::Unavailable,
                help: ": its answer ends too early, or does not end".to_owned(),
                is_in_doubt: true,
                source,
            });
        }
    };
    Ok(Received {
        status,
        headers: head.headers,
        body,
        trailers,
    })
}

async fn whole(mut body: Incoming, most: usize) -> Result<(Vec<u8>, HeaderMap), BoxError> {
    let (mut bytes, mut trailers) = (Vec::new(), HeaderMap::new());
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        match frame?.into_data() {
            Ok(data) if bytes.len() + data.len() > most => {
                return Err(format!("it has more than {most} bytes").into());
            }
            Ok(data) => bytes.extend_from_slice(&data),
            Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
        }
    }
    Ok((bytes, trailers))
}

fn unanswered(error: legacy::Error) -> Failure {
    let (kind, help) = if is_untrusted(&error) {
        (
            RefusalKind::Other,
            ": its certificate is not trusted: ca_file must hold the authority that signed it, and it must name \
             the host of endpoint",
        )
    } else {
        (RefusalKind::Unavailable, "")
    };
    Failure {
        kind,
        help: help.to_owned(),
        is_in_doubt: !error.is_connect(),
        source: error.into(),
    }
}

/// Whether there is no answer as the other side's certificate is not trusted.
fn is_untrusted(error: &(dyn Error + 'static)) -> bool {
    if let Some(tls) = error.downcast_ref::<rustls::Error>() {
        return matches!(tls, rustls::Error::InvalidCertificate(_));
    }
    // An error of I/O names the causes of the one within it, and not that one.
    let io = error.downcast_ref::<std::io::Error>();
    match io.and_then(std::io::Error::get_ref) {
        Some(within) => is_untrusted(within),
        None => error.source().is_some_and(is_untrusted),
    }
}

#[cfg(test)]
mod tests;
