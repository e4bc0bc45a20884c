//! The collector's configuration: YAML text in, a checked [`Config`] or every mistake at once out.
//!
//! Knows no file and no environment: the name is only used to say where a mistake is.
//! `docs/configuration.md` is generated from [`DOCUMENTED`], which a test parses back.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::Deserialize;

/// Every setting with its default and meaning; parses to [`Config::default`].
pub const DOCUMENTED: &str = include_str!("config/default.yaml");

/// The configuration text cannot be used. Displayed as one line per mistake.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

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
    /// Kubernetes objects from files.
    pub inventory: Inventory,
    /// Audit events as JSON lines.
    pub audit_file: AuditFile,
}

/// Durable state.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Data {
    /// Folder, made if absent.
    pub path: PathBuf,
    /// Bytes of journal on disk at the most, both classes together; usage is shed first.
    pub max_journal_bytes: u64,
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
    /// Largest request taken, bytes.
    pub max_request_bytes: usize,
}

/// A bearer token and the node that it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// Node name that records sent with this token must carry.
    pub node: String,
    /// File that holds the token; white space around it is ignored.
    pub file: PathBuf,
}

/// Dashboard, API, health and metrics.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Http {
    /// Address and port; must be loopback while there is no authentication.
    pub listen: SocketAddr,
}

/// Objects that containers are named by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Inventory {
    /// Files or folders of Kubernetes YAML or JSON.
    pub paths: Vec<PathBuf>,
    /// Seconds between looks for a change.
    pub reload_s: u64,
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
}

impl Default for Data {
    fn default() -> Self {
        Self {
            path: "/var/lib/plimsoll/collector".into(),
            max_journal_bytes: 4 << 30,
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
            max_request_bytes: 8 << 20,
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
        }
    }
}

impl Default for Inventory {
    fn default() -> Self {
        Self {
            paths: Vec::new(),
            reload_s: 5,
        }
    }
}

impl Default for AuditFile {
    fn default() -> Self {
        Self {
            path: None,
            rotate_bytes: 64 << 20,
            keep_files: 16,
        }
    }
}

impl Config {
    /// Parses and checks a whole configuration text.
    ///
    /// # Errors
    /// Every mistake, each as `name: place: what is wrong`. A text that is not YAML of the right
    /// shape yields the one mistake at which reading had to stop.
    pub fn parse(name: &str, text: &str) -> Result<Self, ConfigError> {
        let config: Self = if text.trim().is_empty() {
            Self::default()
        } else {
            serde_saphyr::from_str(text)
                .map_err(|error| ConfigError(vec![format!("{name}: {error}")]))?
        };
        let mistakes: Vec<String> = config
            .mistakes()
            .into_iter()
            .map(|mistake| format!("{name}: {mistake}"))
            .collect();
        if mistakes.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError(mistakes))
        }
    }

    /// Folder of the file sink.
    pub fn audit_path(&self) -> PathBuf {
        self.audit_file
            .path
            .clone()
            .unwrap_or_else(|| self.data.path.join("audit"))
    }

    fn mistakes(&self) -> Vec<String> {
        let mut mistakes = Vec::new();
        let mut check = |fine: bool, place: &str, must: &str| {
            if !fine {
                mistakes.push(format!("{place}: must {must}"));
            }
        };
        check(
            self.data.max_journal_bytes >= 1 << 20,
            "data.max_journal_bytes",
            "be at least 1048576 (1 MiB)",
        );
        let ingest = &self.ingest;
        check(
            ingest.tls_cert_file.is_some() == ingest.tls_key_file.is_some(),
            "ingest.tls_cert_file, ingest.tls_key_file",
            "be given both or neither",
        );
        check(
            ingest.tls_cert_file.is_some() || ingest.listen.ip().is_loopback(),
            "ingest.listen",
            "be a loopback address while ingest.tls_cert_file is not given",
        );
        check(
            (1 << 16..=1 << 28).contains(&ingest.max_request_bytes),
            "ingest.max_request_bytes",
            "lie between 65536 and 268435456",
        );
        for (index, token) in ingest.tokens.iter().enumerate() {
            check(
                !token.node.is_empty(),
                &format!("ingest.tokens[{index}].node"),
                "not be empty",
            );
            check(
                !ingest.tokens[..index]
                    .iter()
                    .any(|other| other.file == token.file),
                &format!("ingest.tokens[{index}].file"),
                "not be the file of another token",
            );
        }
        check(
            self.http.listen.ip().is_loopback(),
            "http.listen",
            "be a loopback address: the dashboard does not authenticate anybody yet",
        );
        check(
            self.inventory.reload_s > 0,
            "inventory.reload_s",
            "be at least 1",
        );
        check(
            self.audit_file.rotate_bytes >= 1 << 16,
            "audit_file.rotate_bytes",
            "be at least 65536",
        );
        check(
            self.audit_file.keep_files > 0,
            "audit_file.keep_files",
            "be at least 1",
        );
        mistakes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        let said = match Config::parse("collector.yaml", text) {
            Ok(_) => Vec::new(),
            Err(ConfigError(lines)) => lines,
        };
        assert_eq!(said.len(), expect.len(), "{said:#?}");
        for (said, expect) in said.iter().zip(expect) {
            assert!(said.contains(expect), "{said:?} does not say {expect:?}");
        }
    }

    #[test]
    fn the_documented_file_is_the_default() {
        assert_eq!(
            Config::parse("default.yaml", DOCUMENTED).unwrap(),
            Config::default()
        );
        assert_eq!(Config::parse("empty.yaml", "").unwrap(), Config::default());
    }

    #[test]
    fn mistakes_come_all_at_once_with_their_place() {
        check("http: { listen: '127.0.0.1:1' }\n", &[]);
        check(
            "http: { listen: '0.0.0.0:1' }\ningest: { listen: '0.0.0.0:1', tls_key_file: k }\n",
            &[
                "ingest.tls_cert_file, ingest.tls_key_file: must be given both",
                "ingest.listen: must be a loopback",
                "collector.yaml: http.listen: must be a loopback",
            ],
        );
        check(
            "ingest:\n  tokens: [{ node: '', file: a }, { node: b, file: a }]\n",
            &[
                "ingest.tokens[0].node: must not be empty",
                "ingest.tokens[1].file: must not be the file",
            ],
        );
        check("http: { listen: here }", &["collector.yaml"]);
        check("htp: {}", &["htp"]);
    }
}
