//! One question over HTTP, or over HTTPS with a token: what agent and collector serve.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;
use ureq::tls::{Certificate, RootCerts, TlsConfig};

/// One HTTP request.
const ASK_WITHIN: Duration = Duration::from_secs(10);
/// Largest document read, bytes.
const DOCUMENT_AT_MOST: u64 = 256 * 1024 * 1024;

/// How somebody asks.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    /// File of the authority that is trusted, PEM; `None` for plain text.
    pub authority: Option<PathBuf>,
    /// The bearer token that is shown.
    pub token: Option<String>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Body.
    pub text: String,
}

impl Asker {
    /// The same with another token, or none.
    #[must_use]
    pub fn showing(&self, token: Option<&str>) -> Self {
        Self {
            authority: self.authority.clone(),
            token: token.map(str::to_owned),
        }
    }

    /// Asks, whatever the status of the answer.
    ///
    /// # Errors
    /// Nobody answers.
    pub fn ask(&self, url: &str) -> Result<Answer> {
        let mut config = ureq::Agent::config_builder()
            .timeout_global(Some(ASK_WITHIN))
            .http_status_as_error(false);
        if let Some(path) = &self.authority {
            let trusted = CertificateDer::pem_file_iter(path)
                .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                .with_context(|| format!("reading {}", path.display()))?;
            let trusted = trusted
                .iter()
                .map(|it| Certificate::from_der(it).to_owned());
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let tls = TlsConfig::builder()
                .root_certs(RootCerts::Specific(Arc::new(trusted.collect())))
                .unversioned_rustls_crypto_provider(provider);
            config = config.tls_config(tls.build());
        }
        let agent: ureq::Agent = config.build().into();
        let mut request = agent.get(url);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let mut response = request.call().with_context(|| format!("asking {url}"))?;
        let body = response.body_mut().with_config().limit(DOCUMENT_AT_MOST);
        Ok(Answer {
            text: body
                .read_to_string()
                .with_context(|| format!("reading {url}"))?,
            status: response.status().as_u16(),
        })
    }

    /// The text of an answer that is none of refusal.
    ///
    /// # Errors
    /// Nobody answers, or with a status that is an error.
    pub fn text(&self, url: &str) -> Result<String> {
        let answer = self.ask(url)?;
        if answer.status >= 400 {
            bail!("{url} answered {}: {}", answer.status, answer.text);
        }
        Ok(answer.text)
    }

    /// The same as a document.
    ///
    /// # Errors
    /// As for [`Asker::text`], or it is no JSON.
    pub fn document(&self, url: &str) -> Result<Value> {
        let text = self.text(url)?;
        serde_json::from_str(&text).with_context(|| format!("{url} answered no JSON"))
    }
}
