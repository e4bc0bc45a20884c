#![expect(
    clippy::disallowed_methods,
    reason = "shell: asks the collector over HTTP, waits between questions"
)]
//! Asks the collector.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use serde::de::DeserializeOwned;
use serde_json::Value;
use thiserror::Error;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

use super::Collector;
use super::through::{Place, Through, ThroughError, kubeconfig};

/// Longest wait for a whole answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer.
const MAX_ANSWER_BYTES: u64 = 256 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum ClientError {
    /// No connection, no HTTP, or too late.
    #[error("asking the collector at {url} ({hint})")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What may be otherwise than it was meant.
        hint: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// Those whom an answer over TLS would have to be from.
    #[error("reading authorities from {path} (--ca-file or PLIMSOLL_CA_FILE)")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The token that is to be shown.
    #[error("reading the token from {path} (--token-file or PLIMSOLL_TOKEN_FILE)")]
    Token {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What is in its file is none.
    #[error("the token file {path} (--token-file or PLIMSOLL_TOKEN_FILE) {what}")]
    NoToken {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: &'static str,
    },
    /// Whoever answers is not known.
    #[error("no certificate to trust at {url}: one is expected that names its host, {known_by}")]
    Certificate {
        /// What was asked.
        url: String,
        /// Those who may have signed it.
        known_by: String,
        /// Why.
        #[source]
        source: rustls::Error,
    },
    /// A token is shown over TLS only.
    #[error("a token is shown over https:// only, and {0} is plain text")]
    PlainToken(String),
    /// The cluster in which it is.
    #[error("asking the collector")]
    Through(#[from] ThroughError),
    /// It answered with an error.
    #[error("the collector at {url} refused ({status}): {message}")]
    Refused {
        /// What was asked.
        url: String,
        /// HTTP status.
        status: u16,
        /// Its words.
        message: String,
    },
    /// It answered with something else.
    #[error("the answer of {url} is not the document it should be")]
    Document {
        /// What was asked.
        url: String,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl ClientError {
    /// A collector that is not there, or not now: the same question may be answered later.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { status, .. } => *status >= 500,
            Self::Through(error) => error.may_pass(),
            Self::Document { .. }
            | Self::Authorities { .. }
            | Self::Token { .. }
            | Self::NoToken { .. }
            | Self::Certificate { .. }
            | Self::PlainToken(_) => false,
        }
    }
}

/// Why a text is no address of a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(super) enum NoAddress {
    /// `localhost:8080`, an empty text.
    #[error("it does not begin with http:// or https://, as http://127.0.0.1:8080 does")]
    Scheme,
    /// What is asked comes behind it.
    #[error("it ends with a query or a fragment, and what is asked is put behind it")]
    Query,
    /// No host, no port, or what no address holds.
    #[error("there is no host in it, or it is malformed")]
    Malformed,
}

/// A collector's address as it was given, if it is one.
pub(super) fn address(text: &str) -> Result<String, NoAddress> {
    if !begins(text, "http://") && !begins(text, "https://") {
        return Err(NoAddress::Scheme);
    }
    if text.contains(['?', '#']) {
        return Err(NoAddress::Query);
    }
    let uri: ureq::http::Uri = text.parse().map_err(|_| NoAddress::Malformed)?;
    match uri.host() {
        Some(host) if !host.is_empty() => Ok(text.to_owned()),
        _ => Err(NoAddress::Malformed),
    }
}

fn begins(address: &str, scheme: &str) -> bool {
    let start = address.get(..scheme.len());
    start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
}

/// Trusts the authorities in a file, or those of the system.
fn tls(ca_file: Option<&Path>) -> Result<TlsConfig, ClientError> {
    let authorities = match ca_file {
        None => rustls_native_certs::load_native_certs().certs,
        Some(path) => CertificateDer::pem_file_iter(path)
            .and_then(Iterator::collect)
            .and_then(|found: Vec<_>| {
                let is_some = (!found.is_empty()).then_some(found);
                is_some.ok_or(pem::Error::NoItemsFound)
            })
            .map_err(|source| ClientError::Authorities {
                path: path.to_owned(),
                source,
            })?,
    };
    let authorities = authorities.iter();
    let authorities = authorities.map(|found| Certificate::from_der(found).to_owned());
    Ok(TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(authorities.collect())))
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .build())
}

/// A token without the white space around it.
fn token(path: &Path) -> Result<String, ClientError> {
    let read = std::fs::read_to_string(path).map_err(|source| ClientError::Token {
        path: path.to_owned(),
        source,
    })?;
    let token = read.trim();
    let what = if token.is_empty() {
        "is empty"
    } else if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        "must hold a token and nothing else: one line, without white space"
    } else {
        return Ok(token.to_owned());
    };
    Err(ClientError::NoToken {
        path: path.to_owned(),
        what,
    })
}

/// By whom a certificate must be signed.
fn known_by(ca_file: Option<&Path>) -> String {
    const OPTION: &str = "--ca-file or PLIMSOLL_CA_FILE";
    match ca_file {
        Some(path) => format!("signed by an authority in {} ({OPTION})", path.display()),
        None => format!(
            "signed by an authority of the system; {OPTION} names a file of others, as ca.crt of ConfigMap plimsoll-ca"
        ),
    }
}

/// What is wrong with a certificate, if that is why there is no answer.
fn of_certificate(error: &ureq::Error) -> Option<&rustls::Error> {
    let error = match error {
        ureq::Error::Rustls(error) => error,
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref()?,
        _ => return None,
    };
    matches!(error, rustls::Error::InvalidCertificate(_)).then_some(error)
}

/// Whether somebody is there, who does not answer as HTTP has it.
fn is_no_http(error: &ureq::Error) -> bool {
    use std::io::ErrorKind;
    match error {
        ureq::Error::Protocol(_) | ureq::Error::Http(_) => true,
        ureq::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        ),
        _ => false,
    }
}

/// Where the collector is when nothing says it.
const HERE: &str = "http://127.0.0.1:8080";

/// See the module.
pub(super) enum Client {
    /// At an address.
    Direct(Direct),
    /// Behind an API server.
    Through(Box<Through>),
}

impl Client {
    /// # Errors
    /// A file that is named cannot be read.
    pub(super) fn new(collector: &Collector) -> Result<Self, ClientError> {
        if let Some(address) = &collector.server {
            let hint = "is it running? --server or PLIMSOLL_SERVER names another".to_owned();
            return Direct::new(address, collector, hint).map(Self::Direct);
        }
        let named = collector.kubeconfig.is_some() || collector.context.is_some();
        let none = match kubeconfig::find(collector.kubeconfig.as_deref()) {
            Ok(found) if named || found.has_context() => {
                let place = Place {
                    context: collector.context.clone(),
                    namespace: collector.within.clone(),
                    ca_file: collector.ca_file.clone(),
                };
                return Ok(Self::Through(Box::new(Through::new(place, found)?)));
            }
            Ok(found) => format!("the kubeconfig {} has no current-context", found.name()),
            Err(ThroughError::NoKubeconfig { looked_for }) if !named => {
                format!("no kubeconfig was found, looked for {looked_for}")
            }
            Err(error) => return Err(error.into()),
        };
        let hint =
            format!("{none}; --kubeconfig and --context name a cluster, --server a collector");
        Direct::new(HERE, collector, hint).map(Self::Direct)
    }

    /// Gets a document; absent parameters are left out.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &[(&str, Option<String>)],
    ) -> Result<T, ClientError> {
        let given = parameters
            .iter()
            .filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let (url, status, body) = match self {
            Self::Direct(direct) => direct.get(path, given)?,
            Self::Through(through) => {
                let asked = with_query(path, given);
                let most = usize::try_from(MAX_ANSWER_BYTES).unwrap_or(usize::MAX);
                let (status, body) = through.get(&asked, most)?;
                let body = String::from_utf8_lossy(&body).into_owned();
                (through.url(path), status, body)
            }
        };
        if status != 200 {
            return Err(ClientError::Refused {
                url,
                status,
                message: message_of(&body),
            });
        }
        serde_json::from_str(&body).map_err(|source| ClientError::Document { url, source })
    }
}

fn with_query<'a>(path: &str, pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(pairs);
    match query.finish().as_str() {
        "" => path.to_owned(),
        query => format!("{path}?{query}"),
    }
}

/// A collector at an address.
pub(super) struct Direct {
    agent: ureq::Agent,
    server: String,
    /// What to say where nobody answers.
    hint: String,
    /// By whom a certificate must be signed, with TLS.
    known_by: Option<String>,
    authorization: Option<String>,
}

impl Direct {
    fn new(server: &str, options: &Collector, hint: String) -> Result<Self, ClientError> {
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // Nothing that is asked is elsewhere: what redirects is no collector.
            .max_redirects(0)
            // The collector is near: a proxy for the internet would not reach it.
            .proxy(None);
        let is_secret = begins(server, "https://");
        if is_secret {
            config = config.tls_config(tls(options.ca_file.as_deref())?);
        } else if options.token_file.is_some() {
            return Err(ClientError::PlainToken(server.to_owned()));
        }
        let token = options.token_file.as_deref().map(token).transpose()?;
        Ok(Self {
            agent: config.build().into(),
            server: server.trim_end_matches('/').to_owned(),
            hint,
            known_by: is_secret.then(|| known_by(options.ca_file.as_deref())),
            authorization: token.map(|token| format!("Bearer {token}")),
        })
    }

    /// What was asked, status and body of the answer.
    fn get<'a>(
        &self,
        path: &str,
        given: impl Iterator<Item = (&'a str, &'a str)>,
    ) -> Result<(String, u16, String), ClientError> {
        let url = format!("{}{path}", self.server);
        let unreachable = |source| self.unreachable(&url, source);
        let mut request = self.agent.get(&url).query_pairs(given);
        if let Some(authorization) = &self.authorization {
            request = request.header("authorization", authorization);
        }
        let mut response = request.call().map_err(unreachable)?;
        let status = response.status().as_u16();
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_string()
            .map_err(unreachable)?;
        Ok((url, status, body))
    }
}

impl Direct {
    fn unreachable(&self, url: &str, source: ureq::Error) -> ClientError {
        let url = url.to_owned();
        let hint = match (&self.known_by, of_certificate(&source)) {
            (Some(known_by), Some(source)) => {
                return ClientError::Certificate {
                    url,
                    known_by: known_by.clone(),
                    source: source.clone(),
                };
            }
            (None, _) if is_no_http(&source) => {
                "what is there does not speak plain HTTP: where it does TLS, --server begins with https://".to_owned()
            }
            _ => self.hint.clone(),
        };
        ClientError::Unreachable {
            url,
            hint,
            source: Box::new(source),
        }
    }
}

/// Waits before the next question of a `--follow`.
pub(super) fn wait(pause: Duration) {
    std::thread::sleep(pause);
}

fn message_of(body: &str) -> String {
    let message = serde_json::from_str::<Value>(body)
        .ok()
        .and_then(|document| {
            document
                .pointer("/error/message")
                .and_then(Value::as_str)
                .map(str::to_owned)
        });
    message.unwrap_or_else(|| "it gave no reason".to_owned())
}
