//! The settings of a sink to Splunk's HTTP Event Collector. Pure.

use std::path::PathBuf;

use serde::Deserialize;

use super::http::is_variable;
use super::is_endpoint;
use crate::config::check::Checks;

/// An HTTP Event Collector of Splunk.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Hec {
    /// Where it is: scheme, host and port.
    pub endpoint: String,
    /// File with the token; read anew for every call.
    pub token_file: Option<PathBuf>,
    /// Environment variable with the token, in place of a file.
    pub token_env: Option<String>,
    /// The index; the token's own without.
    pub index: Option<String>,
    /// `source` of the events; the token's own without.
    pub source: Option<String>,
    /// `sourcetype` of the events; the token's own without.
    pub sourcetype: Option<String>,
    /// `host` of the events; what Splunk makes of the connection without.
    pub host: Option<String>,
    /// Authorities that its certificate may be signed by, PEM; the system's without.
    pub ca_file: Option<PathBuf>,
    /// Whether calls are packed.
    pub gzip: bool,
    /// Whether events count as delivered only once they are indexed.
    pub acknowledgement: bool,
    /// Seconds after which what was not acknowledged is sent again.
    pub ack_timeout_s: u64,
    /// Bytes of a call at the most, before it is packed.
    pub max_content_bytes: usize,
}

impl Default for Hec {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            token_file: None,
            token_env: None,
            index: None,
            source: None,
            sourcetype: None,
            host: None,
            ca_file: None,
            gzip: false,
            acknowledgement: false,
            ack_timeout_s: 60,
            // Splunk's own `max_content_length` was a megabyte in old versions.
            max_content_bytes: 1_000_000,
        }
    }
}

/// Characters of a text about the events at the most.
const TEXT_CHARS: usize = 256;

impl Hec {
    pub(super) fn check(&self, place: &str, checks: &mut Checks) {
        let at = |setting: &str| format!("{place}.{setting}");
        checks.that(
            is_endpoint(&self.endpoint),
            &at("endpoint"),
            "be https://HOST or https://HOST:PORT; http:// is taken only for loopback addresses",
        );
        checks.that(
            self.token_file.is_some() != self.token_env.is_some(),
            place,
            "have exactly one of token_file and token_env",
        );
        for (setting, path) in [("token_file", &self.token_file), ("ca_file", &self.ca_file)] {
            let is_named = |path: &PathBuf| !path.as_os_str().is_empty();
            checks.that(
                path.as_ref().is_none_or(is_named),
                &at(setting),
                "be the path of a file",
            );
        }
        checks.that(
            self.token_env.as_deref().is_none_or(is_variable),
            &at("token_env"),
            "be an environment variable's name: letters, digits and `_`",
        );
        checks.that(
            self.index.as_deref().is_none_or(is_index),
            &at("index"),
            "be an index's name: small letters, digits, `_` and `-`, beginning with a letter or digit",
        );
        let texts = [
            ("source", &self.source),
            ("sourcetype", &self.sourcetype),
            ("host", &self.host),
        ];
        for (setting, text) in texts {
            checks.that(
                text.as_deref().is_none_or(is_text),
                &at(setting),
                &format!("have 1 to {TEXT_CHARS} characters, none of them a control character"),
            );
        }
        checks.that(
            (1..=3600).contains(&self.ack_timeout_s),
            &at("ack_timeout_s"),
            "lie between 1 and 3600",
        );
        checks.that(
            (1 << 16..=1 << 24).contains(&self.max_content_bytes),
            &at("max_content_bytes"),
            "lie between 65536 and 16777216",
        );
    }
}

fn is_index(name: &str) -> bool {
    let of_name = |byte: u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-'
    };
    (1..=80).contains(&name.len()) && name.bytes().all(of_name) && !name.starts_with(['_', '-'])
}

fn is_text(text: &str) -> bool {
    (1..=TEXT_CHARS).contains(&text.chars().count()) && !text.contains(char::is_control)
}
