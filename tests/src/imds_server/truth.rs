#![expect(
    clippy::disallowed_methods,
    reason = "shell: appends to the truth log, with the clock's time"
)]
//! What the stage's metadata service was really asked: the truth that an agent is measured by.

use std::fs::File;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::answer::Endpoint;
use super::head::Request;

/// One request and its status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Truth {
    /// When the head was complete, Unix nanoseconds.
    pub time_unix_ns: u64,
    /// Which service.
    pub endpoint: Endpoint,
    /// Client's address; IPv4 is written as IPv4.
    pub client: IpAddr,
    /// Client's port.
    pub client_port: u16,
    /// Method; `None` if the bytes were no HTTP.
    pub method: Option<String>,
    /// Target as sent.
    pub path: Option<String>,
    /// `v2` if a token header was there, `v1` if not, `none` for Pod Identity.
    pub imds_version: String,
    /// Status answered.
    pub status: u16,
}

impl Truth {
    pub(super) fn new(
        endpoint: Endpoint,
        client: SocketAddr,
        request: Option<&Request>,
        status: u16,
    ) -> Self {
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            time_unix_ns: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
            endpoint,
            client: client.ip().to_canonical(),
            client_port: client.port(),
            method: request.map(|r| r.method.clone()),
            path: request.map(|r| r.path.clone()),
            imds_version: version(endpoint, request).to_owned(),
            status,
        }
    }
}

/// AWS: a request is of version 2 if the headers unique to it are present in that request.
fn version(endpoint: Endpoint, request: Option<&Request>) -> &'static str {
    match (endpoint, request) {
        (Endpoint::PodIdentity, _) => "none",
        (Endpoint::Imds, None) => "unknown",
        (Endpoint::Imds, Some(request)) => {
            let v2 = request.header("x-aws-ec2-metadata-token").is_some()
                || request
                    .header("x-aws-ec2-metadata-token-ttl-seconds")
                    .is_some();
            if v2 { "v2" } else { "v1" }
        }
    }
}

/// Requests remembered, most.
const REMEMBERED: usize = 200_000;

/// All requests, in memory and, if asked for, as JSON lines in a file.
#[derive(Debug, Default)]
pub struct TruthLog {
    inner: Mutex<(Vec<Truth>, Option<File>)>,
}

impl TruthLog {
    /// Writes to a new file as well.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn to_file(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self {
            inner: Mutex::new((Vec::new(), Some(file))),
        })
    }

    pub(super) fn push(&self, truth: Truth) -> Result<()> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = &mut inner.1 {
            let mut line = serde_json::to_string(&truth).context("writing the truth log")?;
            line.push('\n');
            file.write_all(line.as_bytes())
                .context("writing the truth log")?;
        }
        if inner.0.len() < REMEMBERED {
            inner.0.push(truth);
        }
        Ok(())
    }

    /// Every request so far, in order.
    pub fn all(&self) -> Vec<Truth> {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .0
            .clone()
    }
}
