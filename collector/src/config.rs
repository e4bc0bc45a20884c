//! The collector's configuration: YAML text in, a checked [`Config`] or every mistake at once out.
//!
//! Knows no environment, and files only in [`file`]: the name is only used to say where a mistake is.
//! `docs/configuration.md` is generated from [`DOCUMENTED`], which a test parses back.

mod check;
pub mod file;
pub mod sinks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use plimsoll_settings::ConfigError;
use plimsoll_settings::{Layout, Wrong, names_of};
use serde::Deserialize;

use crate::history::MAX_SERIES;
use crate::ingest::auth;
use crate::tls;
use check::Checks;
use sinks::{Sink, SinkSettings};

/// Every setting with its default and meaning; parses to [`Config::default`].
pub const DOCUMENTED: &str = include_str!("config/default.yaml");

/// What the collector was told.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder of journal, history and, by default, the file sink.
    pub data: Data,
    /// OTLP receiver.
    pub ingest: Ingest,
    /// Dashboard and API.
    pub http: Http,
    /// The API server.
    pub kubernetes: Kubernetes,
    /// Kubernetes objects from files.
    pub inventory: Inventory,
    /// Audit events as JSON lines.
    pub audit_file: AuditFile,
    /// Where audit events are sent besides, see [`Self::sinks`].
    pub sinks: Vec<SinkSettings>,
    /// What containers used.
    pub history: History,
}

/// Usage history.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct History {
    /// Series at the most: containers, and their workloads' earlier pods.
    pub max_series: usize,
}

/// Durable state.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// Folder, made if absent.
    pub path: PathBuf,
    /// Bytes of journal on disk at the most, both classes together; usage is shed first.
    pub max_journal_bytes: u64,
    /// Seconds for which a record stays in the journal at the most, read or not; `None`: as long as there is room.
    pub max_journal_age_s: Option<u64>,
    /// Bytes of audit trail on disk at the most: events that some destination has not taken.
    pub max_trail_bytes: u64,
    /// Seconds for which an event stays in the trail at the most, taken or not; `None`: as long as there is room.
    pub max_trail_age_s: Option<u64>,
    /// Bytes kept of each sink at the most of what it can never take.
    pub max_quarantine_bytes: u64,
}

/// The OTLP/gRPC receiver.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ingest {
    /// Address and port to listen on.
    pub listen: SocketAddr,
    /// Certificate chain, PEM; without it only loopback addresses are served, in plain text.
    pub tls_cert_file: Option<PathBuf>,
    /// Private key, PEM.
    pub tls_key_file: Option<PathBuf>,
    /// Who may send.
    pub tokens: Vec<Token>,
    /// Who else may send: pods that prove to the API server who they are.
    pub token_review: TokenReview,
    /// Largest request taken, bytes.
    pub max_request_bytes: usize,
    /// Bytes of requests that a node may send in a second, for long.
    pub node_bytes_per_s: u64,
    /// Bytes that it may send at once, after a rest.
    pub node_burst_bytes: u64,
    /// Requests that a node may send in a second, for long.
    pub node_requests_per_s: u64,
    /// Requests that it may send at once, after a rest.
    pub node_burst_requests: u64,
}

/// Senders that show a service account's token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TokenReview {
    /// Audience that a token must be for; without it the API server is not asked.
    pub audience: Option<String>,
    /// Who may send, each as `NAMESPACE/NAME`.
    pub service_accounts: Vec<String>,
}

/// A bearer token and the node that it stands for. Neither may be left out; that is a check of the
/// values, so that each can be read for itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Token {
    /// Node name that records sent with this token must carry.
    pub node: String,
    /// File that holds the token; white space around it is ignored.
    pub file: PathBuf,
}

impl From<&Token> for auth::Token {
    fn from(token: &Token) -> Self {
        Self {
            node: token.node.clone(),
            file: token.file.clone(),
        }
    }
}

/// Dashboard, API, health and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port; must be loopback without TLS, and while nobody is asked who they are.
    pub listen: SocketAddr,
    /// Certificate chain, PEM; plain text without.
    pub tls_cert_file: Option<PathBuf>,
    /// Private key, PEM.
    pub tls_key_file: Option<PathBuf>,
    /// Authorities whose certificates of clients say who somebody is, PEM.
    pub client_ca_file: Option<PathBuf>,
    /// Who may see what.
    pub access: Access,
}

/// Who may see what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Whoever can reach a loopback address sees everything.
    #[default]
    Loopback,
    /// As the API server's rules say, for users that it knows or that show a certificate.
    Kubernetes,
}

impl Ingest {
    /// What the receiver shows, if it does TLS.
    pub fn tls(&self) -> Option<tls::Files> {
        Some(tls::Files {
            door: tls::Door::Ingest,
            certificate: self.tls_cert_file.clone()?,
            key: self.tls_key_file.clone()?,
            client_ca: None,
        })
    }
}

impl Http {
    /// What dashboard and API show, if they do TLS.
    pub fn tls(&self) -> Option<tls::Files> {
        Some(tls::Files {
            door: tls::Door::Http,
            certificate: self.tls_cert_file.clone()?,
            key: self.tls_key_file.clone()?,
            client_ca: self.client_ca_file.clone(),
        })
    }
}

/// The API server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kubernetes {
    /// Whether containers are named by the objects that it tells of, as they change.
    pub watch: bool,
    /// A kubeconfig file; the pod's own service account without.
    pub kubeconfig: Option<PathBuf>,
}

/// Objects that containers are named by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inventory {
    /// Files or folders of Kubernetes YAML or JSON.
    pub paths: Vec<PathBuf>,
    /// Seconds between looks for a change.
    pub reload_s: u64,
    /// Seconds for which a deleted pod and its owners keep their names.
    pub keep_deleted_s: u64,
}

/// The file sink.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuditFile {
    /// Folder; `audit` below the data folder when absent.
    pub path: Option<PathBuf>,
    /// Bytes after which a file is closed and the next begun.
    pub rotate_bytes: u64,
    /// Closed files kept; the oldest is removed beyond that.
    pub keep_files: usize,
    /// Seconds for which an event waits for the names of a pod that the inventory does not know yet.
    pub name_wait_s: u64,
}

impl Default for Data {
    fn default() -> Self {
        Self {
            path: "/var/lib/plimsoll/collector".into(),
            max_journal_bytes: 4 << 30,
            max_journal_age_s: None,
            max_trail_bytes: 4 << 30,
            max_trail_age_s: None,
            max_quarantine_bytes: 64 << 20,
        }
    }
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4317)),
            tls_cert_file: None,
            tls_key_file: None,
            tokens: Vec::new(),
            token_review: TokenReview::default(),
            max_request_bytes: 8 << 20,
            node_bytes_per_s: 4 << 20,
            node_burst_bytes: 64 << 20,
            node_requests_per_s: 500,
            node_burst_requests: 5000,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            tls_cert_file: None,
            tls_key_file: None,
            client_ca_file: None,
            access: Access::Loopback,
        }
    }
}

impl Default for Inventory {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            reload_s: 5,
            keep_deleted_s: 600,
        }
    }
}

impl Default for AuditFile {
    fn default() -> Self {
        Self {
            path: None,
            rotate_bytes: 64 << 20,
            keep_files: 16,
            name_wait_s: 10,
        }
    }
}

impl Default for History {
    fn default() -> Self {
        Self {
            max_series: MAX_SERIES,
        }
    }
}

impl Config {
    /// Parses and checks a whole configuration text.
    ///
    /// # Errors
    /// Every mistake, each as `name:line: place: what is wrong`. A text that is no YAML yields the one
    /// mistake at which reading had to stop.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        Self::parse_with_files(name, text, |_| Vec::new())
    }

    /// [`parse`](Self::parse); `files` says what is wrong with the files that the settings name.
    ///
    /// # Errors
    /// As there.
    pub fn parse_with_files(
        name: &str,
        text: &str,
        files: impl FnOnce(&Self) -> Vec<Wrong>,
    ) -> Result<Self, ConfigError> {
        let layout = Layout {
            top: &["sinks"],
            sections: &sections(),
            lists: &lists(),
        };
        plimsoll_settings::read(name, text, layout, |config: &Self| {
            let mut mistakes = config.mistakes();
            mistakes.extend(files(config));
            mistakes
        })
    }

    /// Folder of the file sink.
    pub fn audit_path(&self) -> PathBuf {
        self.audit_file
            .path
            .clone()
            .unwrap_or_else(|| self.data.path.join("audit"))
    }

    /// The sinks besides the audit file, in the order of the file.
    pub fn sinks(&self) -> Vec<Sink> {
        self.sinks
            .iter()
            .filter_map(SinkSettings::checked)
            .collect()
    }

    /// Every path that is given: by which setting, to what, and the path.
    fn paths(&self) -> Vec<(String, &'static str, &Path)> {
        let (ingest, http) = (&self.ingest, &self.http);
        let kubeconfig = self.kubernetes.kubeconfig.as_ref();
        let single = [
            ("data.path", "folder", Some(&self.data.path)),
            (
                "ingest.tls_cert_file",
                "file",
                ingest.tls_cert_file.as_ref(),
            ),
            ("ingest.tls_key_file", "file", ingest.tls_key_file.as_ref()),
            ("http.tls_cert_file", "file", http.tls_cert_file.as_ref()),
            ("http.tls_key_file", "file", http.tls_key_file.as_ref()),
            ("http.client_ca_file", "file", http.client_ca_file.as_ref()),
            ("kubernetes.kubeconfig", "file", kubeconfig),
            ("audit_file.path", "folder", self.audit_file.path.as_ref()),
        ];
        let single = single
            .into_iter()
            .filter_map(|(place, kind, path)| Some((place.to_owned(), kind, path?.as_path())));
        let tokens = ingest.tokens.iter().enumerate().map(|(at, token)| {
            let place = format!("ingest.tokens[{at}].file");
            (place, "file", token.file.as_path())
        });
        let objects = self.inventory.paths.iter().enumerate().map(|(at, path)| {
            let place = format!("inventory.paths[{at}]");
            (place, "file or folder", path.as_path())
        });
        single.chain(tokens).chain(objects).collect()
    }

    fn mistakes(&self) -> Vec<Wrong> {
        let mut checks = Checks::default();
        for (place, kind, path) in self.paths() {
            let must = format!("be the path of a {kind}");
            checks.that(!path.as_os_str().is_empty(), &place, &must);
        }
        self.data.check(&mut checks);
        self.ingest.check(&mut checks);
        self.http.check(&mut checks);
        let (ingest, http) = (self.ingest.listen, self.http.listen);
        let is_all = |address: SocketAddr| address.ip().is_unspecified();
        let shared = ingest.port() == http.port() && ingest.port() != 0;
        checks.that(
            !shared || !(ingest.ip() == http.ip() || is_all(ingest) || is_all(http)),
            "http.listen",
            "not be the address of ingest.listen",
        );
        self.inventory.check(&mut checks);
        checks.that(
            !self.kubernetes.watch || self.inventory.paths.is_empty(),
            "inventory.paths",
            "be empty while kubernetes.watch is true: names come from one of the two",
        );
        self.audit_file.check(&mut checks);
        sinks::check(&self.sinks, &self.audit_path(), &self.data, &mut checks);
        self.history.check(&mut checks);
        checks.0
    }
}

type Names = (&'static str, &'static [&'static str]);

fn sections() -> Vec<Names> {
    let own = [
        ("data", names_of::<Data>()),
        ("ingest", names_of::<Ingest>()),
        ("ingest.token_review", names_of::<TokenReview>()),
        ("http", names_of::<Http>()),
        ("kubernetes", names_of::<Kubernetes>()),
        ("inventory", names_of::<Inventory>()),
        ("audit_file", names_of::<AuditFile>()),
        ("history", names_of::<History>()),
    ];
    own.into_iter().chain(sinks::sections()).collect()
}

fn lists() -> Vec<Names> {
    let own: [Names; 3] = [
        ("ingest.tokens", names_of::<Token>()),
        ("ingest.token_review.service_accounts", &[]),
        ("inventory.paths", &[]),
    ];
    own.into_iter().chain(sinks::lists()).collect()
}

#[cfg(test)]
mod tests;
