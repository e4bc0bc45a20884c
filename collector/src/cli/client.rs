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

use super::Server;

/// Longest wait for a whole answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer.
const MAX_ANSWER_BYTES: u64 = 256 << 20;

/// Why there is no answer.
#[derive(Debug, Error)]
pub(super) enum ClientError {
    /// No connection, no HTTP, or too late.
    #[error(
        "asking the collector at {url} (is it running? --server or PLIMSOLL_SERVER names another)"
    )]
    Unreachable {
        /// What was asked.
        url: String,
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
            Self::Document { .. } | Self::Authorities { .. } => false,
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

/// See the module.
pub(super) struct Client {
    agent: ureq::Agent,
    server: String,
}

impl Client {
    /// # Errors
    /// The file of authorities, where one is named, cannot be read.
    pub(super) fn new(Server { server, ca_file }: &Server) -> Result<Self, ClientError> {
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(TIMEOUT))
            .http_status_as_error(false)
            // Nothing that is asked is elsewhere: what redirects is no collector.
            .max_redirects(0)
            // The collector is near: a proxy for the internet would not reach it.
            .proxy(None);
        if begins(server, "https://") {
            config = config.tls_config(tls(ca_file.as_deref())?);
        }
        Ok(Self {
            agent: config.build().into(),
            server: server.trim_end_matches('/').to_owned(),
        })
    }

    /// Gets a document; absent parameters are left out.
    pub(super) fn get<T: DeserializeOwned>(
        &self,
        path: &str,
        parameters: &[(&str, Option<String>)],
    ) -> Result<T, ClientError> {
        let url = format!("{}{path}", self.server);
        let unreachable = |source| ClientError::Unreachable {
            url: url.clone(),
            source: Box::new(source),
        };
        let given = parameters
            .iter()
            .filter_map(|(name, value)| Some((*name, value.as_deref()?)));
        let mut response = self
            .agent
            .get(&url)
            .query_pairs(given)
            .call()
            .map_err(unreachable)?;
        let status = response.status().as_u16();
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_string()
            .map_err(unreachable)?;
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
