#![expect(
    clippy::disallowed_methods,
    reason = "shell: speaks to Splunk over HTTP, reads token and authorities, waits"
)]
//! The calls to an HTTP Event Collector: HTTP/1.1 over TLS, and what came back. It holds no opinion of the
//! answers, never tries twice, follows no redirect and uses no proxy. The token is read for each call and not
//! kept, so that nothing shows it.

use std::fmt;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use axum::body::Body;
use hyper::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::{ClientConfig, RootCertStore};

use super::interpret::{Answer, Reply};
use crate::config::sinks::hec::Hec as Settings;
use crate::sinks::http::client::{self, CALL_TIME, Http, Version};
use crate::sinks::http::{Failure, packed};
use crate::sinks::{BoxError, RefusalKind};

/// Bytes of an answer that are read: it has one line.
const ANSWER_BYTES: usize = 64 << 10;

/// Bytes of a token at the most: Splunk's own has 36.
const TOKEN_BYTES: u64 = 4096;

/// The calls that the sink makes, and its clock.
pub trait Calls {
    /// Events; the channel where acknowledgements are asked for.
    fn post(&self, channel: Option<&str>, body: Vec<u8>) -> impl Future<Output = Reply> + Send;

    /// Which calls are acknowledged.
    fn ask(&self, channel: &str, body: Vec<u8>) -> impl Future<Output = Reply> + Send;

    /// Waits so many milliseconds.
    fn wait(&self, ms: u64) -> impl Future<Output = ()> + Send;

    /// Milliseconds since a time of its own that does not move.
    fn elapsed_ms(&self) -> u64;

    /// Any number, another each time.
    fn random(&self) -> u128;
}

/// A client of one address.
pub struct Client {
    endpoint: String,
    token: TokenSource,
    ca_file: Option<PathBuf>,
    packs: bool,
    since: Instant,
    made: Mutex<Option<Made>>,
}

#[derive(Clone, Debug)]
enum TokenSource {
    File(PathBuf),
    Environment(String),
}

#[derive(Clone)]
struct Made {
    http: Http,
    /// Of the file of authorities that it trusts.
    stamp: Option<Stamp>,
}

/// Modification time, length and inode of a file.
type Stamp = (SystemTime, u64, u64);

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("endpoint", &self.endpoint)
            .field("token", &self.token)
            .field("ca_file", &self.ca_file)
            .finish_non_exhaustive()
    }
}

/// Why a request cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum Unmade {
    /// The token's file.
    #[error("read the token from {path} (token_file)")]
    TokenFile {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The token's variable.
    #[error("there is no environment variable {0} (token_env)")]
    NoVariable(String),
    /// What is there is none.
    #[error("{place} must hold a token and nothing else: one line, without white space")]
    NoToken {
        /// Where it is.
        place: String,
    },
    /// The authorities.
    #[error("read authorities from {path} (ca_file)")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// TLS.
    #[error("set up TLS")]
    Tls(#[from] rustls::Error),
    /// The request itself.
    #[error("make the request")]
    Request(#[from] hyper::http::Error),
}

impl Client {
    /// For these settings; asks nobody yet.
    pub fn new(settings: &Settings) -> Self {
        let variable = settings.token_env.clone().map(TokenSource::Environment);
        let file = settings.token_file.clone().map(TokenSource::File);
        Self {
            endpoint: settings.endpoint.trim_end_matches('/').to_owned(),
            token: file
                .or(variable)
                .unwrap_or_else(|| TokenSource::Environment(String::new())),
            ca_file: settings.ca_file.clone(),
            packs: settings.gzip,
            since: Instant::now(),
            made: Mutex::default(),
        }
    }

    /// The client, made anew when the authorities have changed.
    fn http(&self) -> Result<Http, Unmade> {
        let stamp = self.ca_file.as_deref().and_then(stamp);
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = made.as_ref().filter(|made| made.stamp == stamp) {
            return Ok(made.http.clone());
        }
        let http = client::client(tls(self.ca_file.as_deref())?, Version::Http1);
        *made = Some(Made {
            http: http.clone(),
            stamp,
        });
        Ok(http)
    }

    fn request(
        &self,
        path: &str,
        channel: Option<&str>,
        body: Vec<u8>,
    ) -> Result<(Http, Request<Body>), Unmade> {
        let mut request = Request::builder()
            .method(Method::POST)
            .uri(format!("{}{path}", self.endpoint))
            .header(AUTHORIZATION, self.token.header()?)
            .header(CONTENT_TYPE, "application/json");
        if let Some(channel) = channel {
            request = request.header("x-splunk-request-channel", channel);
        }
        let body = if self.packs {
            request = request.header(CONTENT_ENCODING, "gzip");
            packed(&body)
        } else {
            body
        };
        Ok((self.http()?, request.body(Body::from(body))?))
    }

    async fn call(&self, path: &str, channel: Option<&str>, body: Vec<u8>) -> Reply {
        let (http, request) = match self.request(path, channel, body) {
            Ok(made) => made,
            Err(error) => return Reply::Failed(unmade(error)),
        };
        match tokio::time::timeout(CALL_TIME, exchange(&http, request)).await {
            Ok(Ok(answer)) => Reply::Answered(answer),
            Ok(Err(failure)) => Reply::Failed(failure),
            Err(late) => Reply::Failed(Failure {
                kind: RefusalKind::Unavailable,
                help: format!(": there is no answer within {} s", CALL_TIME.as_secs()),
                is_in_doubt: true,
                source: late.into(),
            }),
        }
    }
}

impl Calls for Client {
    async fn post(&self, channel: Option<&str>, body: Vec<u8>) -> Reply {
        self.call("/services/collector/event", channel, body).await
    }

    async fn ask(&self, channel: &str, body: Vec<u8>) -> Reply {
        let path = format!("/services/collector/ack?channel={channel}");
        self.call(&path, Some(channel), body).await
    }

    async fn wait(&self, ms: u64) {
        tokio::time::sleep(Duration::from_millis(ms)).await;
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn random(&self) -> u128 {
        fastrand::u128(..)
    }
}

impl TokenSource {
    fn header(&self) -> Result<HeaderValue, Unmade> {
        let (place, text) = match self {
            Self::File(path) => {
                let place = format!("{} (token_file)", path.display());
                (
                    place,
                    small(path).map_err(|source| Unmade::TokenFile {
                        path: path.clone(),
                        source,
                    })?,
                )
            }
            Self::Environment(name) => {
                let found = std::env::var(name).map_err(|_| Unmade::NoVariable(name.clone()));
                (format!("environment variable {name} (token_env)"), found?)
            }
        };
        let token = text.trim();
        let is_token = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let header = is_token.then(|| HeaderValue::try_from(format!("Splunk {token}")).ok());
        let mut header = header.flatten().ok_or(Unmade::NoToken { place })?;
        header.set_sensitive(true);
        Ok(header)
    }
}

/// The text of a plain file that is not large.
fn small(path: &Path) -> std::io::Result<String> {
    let about = std::fs::metadata(path)?;
    if !about.is_file() || about.len() > TOKEN_BYTES {
        return Err(std::io::Error::other("it is no small plain file"));
    }
    std::fs::read_to_string(path)
}

fn stamp(path: &Path) -> Option<Stamp> {
    let about = std::fs::metadata(path).ok()?;
    Some((about.modified().ok()?, about.len(), about.ino()))
}

/// TLS 1.2 or 1.3; trusts the authorities in a file, or those of the system.
fn tls(ca_file: Option<&Path>) -> Result<ClientConfig, Unmade> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        }
        Some(path) => authorities(path, &mut roots).map_err(|source| Unmade::Authorities {
            path: path.to_owned(),
            source,
        })?,
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(config)
}

fn authorities(path: &Path, roots: &mut RootCertStore) -> Result<(), BoxError> {
    for certificate in CertificateDer::pem_file_iter(path)? {
        roots.add(certificate?)?;
    }
    if roots.is_empty() {
        return Err(pem::Error::NoItemsFound.into());
    }
    Ok(())
}

/// What is wrong with the files that the settings name, each with its setting. Paths that are empty are told by
/// whoever checks values.
pub fn unusable(settings: &Settings) -> Vec<(&'static str, Unmade)> {
    let given = |path: &&PathBuf| !path.as_os_str().is_empty();
    let token = settings.token_file.as_ref().filter(given);
    let token = token.map(|path| TokenSource::File(path.clone()).header());
    let token = token.and_then(Result::err);
    let authorities = settings.ca_file.as_ref().filter(given);
    let authorities = authorities.and_then(|path| tls(Some(path)).err());
    let token = token.map(|error| ("token_file", error));
    let authorities = authorities.map(|error| ("ca_file", error));
    token.into_iter().chain(authorities).collect()
}

fn unmade(error: Unmade) -> Failure {
    let kind = match error {
        Unmade::TokenFile { .. } | Unmade::NoVariable(_) | Unmade::NoToken { .. } => {
            RefusalKind::Credentials
        }
        Unmade::Authorities { .. } | Unmade::Tls(_) | Unmade::Request(_) => RefusalKind::Other,
    };
    Failure::unmade(kind, error)
}

async fn exchange(http: &Http, request: Request<Body>) -> Result<Answer, Failure> {
    let received = client::exchange(http, request, ANSWER_BYTES).await?;
    Ok(Answer {
        status: received.status,
        retry_after_ms: received.retry_after_ms(),
        body: received.body,
    })
}

#[cfg(test)]
mod tests;
