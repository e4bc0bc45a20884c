//! The settings of a sink to Elasticsearch or OpenSearch. Pure.

use std::path::PathBuf;

use serde::Deserialize;

use super::http;
use crate::config::check::Checks;
use crate::sinks::elasticsearch::prepare::Index;

/// How the collector says who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Not at all, or by its certificate.
    None,
    /// By user name and password.
    Basic,
    /// By an API key, encoded as Elasticsearch hands it out.
    #[default]
    ApiKey,
    /// By a token.
    Bearer,
}

/// An index or a data stream of Elasticsearch or OpenSearch.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Elasticsearch {
    /// Where it is: scheme, host and port.
    pub endpoint: String,
    /// Data stream, alias or index; `%Y`, `%m` and `%d` are of each event's own time in UTC.
    pub index: String,
    /// The ingest pipeline; the index's own without.
    pub pipeline: Option<String>,
    /// How the collector says who it is.
    pub auth: Auth,
    /// The user, with `auth: basic`.
    pub username: Option<String>,
    /// File with the password, the API key or the token; read anew for every call.
    pub secret_file: Option<PathBuf>,
    /// Environment variable with it, in place of a file.
    pub secret_env: Option<String>,
    /// Authorities that its certificate may be signed by, PEM; the system's without.
    pub ca_file: Option<PathBuf>,
    /// The collector's certificate chain, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its private key, PEM.
    pub key_file: Option<PathBuf>,
    /// Whether calls are packed.
    pub gzip: bool,
    /// Bytes of a call at the most, before it is packed.
    pub max_content_bytes: usize,
}

impl Default for Elasticsearch {
    fn default() -> Self {
        Self {
            endpoint: String::new(),
            index: String::new(),
            pipeline: None,
            auth: Auth::default(),
            username: None,
            secret_file: None,
            secret_env: None,
            ca_file: None,
            cert_file: None,
            key_file: None,
            gzip: false,
            // Elastic's advice is a few megabytes; `http.max_content_length` is 100 MiB, Amazon's 10 MiB and more.
            max_content_bytes: 5 << 20,
        }
    }
}

impl Elasticsearch {
    pub(super) fn check(&self, place: &str, checks: &mut Checks) {
        let at = |setting: &str| format!("{place}.{setting}");
        let files = [
            ("ca_file", self.ca_file.as_ref()),
            ("cert_file", self.cert_file.as_ref()),
            ("key_file", self.key_file.as_ref()),
        ];
        http::check(&at, &self.endpoint, files, checks);
        checks.that(
            Index::of(&self.index).is_some(),
            &at("index"),
            "be the name of a data stream, an alias or an index: small letters, 255 bytes at the most, none of \
             \\ / * ? \" < > | , # : or white space, not beginning with - _ + or a dot; %Y, %m and %d may stand in it",
        );
        checks.that(
            self.pipeline.as_deref().is_none_or(is_pipeline),
            &at("pipeline"),
            "be the name of an ingest pipeline: 255 letters, digits and `-_.` at the most",
        );
        self.check_auth(place, &at, checks);
        checks.that(
            (1 << 16..=50 << 20).contains(&self.max_content_bytes),
            &at("max_content_bytes"),
            "lie between 65536 and 52428800",
        );
    }

    fn check_auth(&self, place: &str, at: &impl Fn(&str) -> String, checks: &mut Checks) {
        let secrets =
            usize::from(self.secret_file.is_some()) + usize::from(self.secret_env.is_some());
        let (fine, must) = match self.auth {
            Auth::None => (
                secrets == 0,
                "have neither secret_file nor secret_env with auth: none",
            ),
            _ => (
                secrets == 1,
                "have exactly one of secret_file and secret_env, or auth: none",
            ),
        };
        checks.that(fine, place, must);
        http::check_secret(
            at,
            ("secret_file", self.secret_file.as_ref()),
            ("secret_env", self.secret_env.as_ref()),
            checks,
        );
        let user = self.username.as_deref();
        checks.that(
            user.is_some() == (self.auth == Auth::Basic),
            &at("username"),
            "be given with auth: basic, and not without",
        );
        // RFC 7617, section 2: the first colon ends it.
        let is_user = |user: &str| {
            (1..=256).contains(&user.len()) && !user.contains(|c: char| c == ':' || c.is_control())
        };
        checks.that(
            user.is_none_or(is_user),
            &at("username"),
            "have 1 to 256 bytes, without `:` and control characters",
        );
    }
}

fn is_pipeline(name: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    (1..=255).contains(&name.len()) && name.bytes().all(of_name)
}
