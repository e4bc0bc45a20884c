//! The settings of a sink to a receiver of OTLP. Pure.

use std::path::PathBuf;

use serde::Deserialize;

use super::http;
use crate::config::check::Checks;

/// What is spoken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// OTLP/gRPC.
    #[default]
    Grpc,
    /// OTLP/HTTP with protobuf, to `/v1/logs`.
    Http,
}

/// A receiver of logs over OTLP.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Otlp {
    /// Where it is: scheme, host and port.
    pub endpoint: String,
    /// What is spoken.
    pub protocol: Protocol,
    /// Where logs are taken over HTTP.
    pub path: String,
    /// File with headers that say who the collector is, `NAME=VALUE,…` as in `OTEL_EXPORTER_OTLP_HEADERS`; read anew
    /// for every call.
    pub headers_file: Option<PathBuf>,
    /// Environment variable with them, in place of a file.
    pub headers_env: Option<String>,
    /// Authorities that its certificate may be signed by, PEM; the system's without.
    pub ca_file: Option<PathBuf>,
    /// The collector's certificate chain, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub key_file: Option<PathBuf>,
    /// Whether calls are packed.
    pub gzip: bool,
    /// Bytes of a call at the most, before it is packed.
    pub max_request_bytes: usize,
    /// `k8s.cluster.name` of everything; not said without.
    pub cluster_name: Option<String>,
    /// `cloud.account.id` of everything; not said without.
    pub cloud_account_id: Option<String>,
    /// `cloud.region` of everything; not said without.
    pub cloud_region: Option<String>,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            protocol: Protocol::default(),
            path: "/v1/logs".to_owned(),
            headers_file: None,
            headers_env: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            gzip: false,
            // Receivers over gRPC take 4 MiB where nobody says otherwise.
            max_request_bytes: 4_000_000,
            cluster_name: None,
            cloud_account_id: None,
            cloud_region: None,
        }
    }
}

impl Otlp {
    pub(super) fn check(&self, place: &str, checks: &mut Checks) {
        let at = |setting: &str| format!("{place}.{setting}");
        let files = [
            ("ca_file", self.ca_file.as_ref()),
            ("cert_file", self.cert_file.as_ref()),
            ("key_file", self.key_file.as_ref()),
        ];
        http::check(&at, &self.endpoint, files, checks);
        checks.that(
            is_path(&self.path),
            &at("path"),
            "be a path, as /v1/logs: letters, digits and `-._~/` at the most",
        );
        let is_default = self.path == Self::default().path;
        checks.that(
            self.protocol == Protocol::Http || is_default,
            &at("path"),
            "be left out with protocol: grpc",
        );
        checks.that(
            self.headers_file.is_none() || self.headers_env.is_none(),
            place,
            "have one of headers_file and headers_env at the most",
        );
        http::check_secret(
            &at,
            ("headers_file", self.headers_file.as_ref()),
            ("headers_env", self.headers_env.as_ref()),
            checks,
        );
        checks.that(
            (1 << 16..=64 << 20).contains(&self.max_request_bytes),
            &at("max_request_bytes"),
            "lie between 65536 and 67108864",
        );
        for (setting, text) in [
            ("cluster_name", &self.cluster_name),
            ("cloud_account_id", &self.cloud_account_id),
            ("cloud_region", &self.cloud_region),
        ] {
            let is_text = |text: &str| {
                (1..=256).contains(&text.chars().count()) && !text.contains(char::is_control)
            };
            checks.that(
                text.as_deref().is_none_or(is_text),
                &at(setting),
                "have 1 to 256 characters, none of them a control character",
            );
        }
    }
}

fn is_path(path: &str) -> bool {
    let of_path = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    (1..=256).contains(&path.len()) && path.starts_with('/') && path.bytes().all(of_path)
}
