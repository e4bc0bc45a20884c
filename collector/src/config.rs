//! The collector's configuration: YAML text in, a checked [`Config`] or every mistake at once out.
//!
//! Knows no environment, and files only in [`file`]: the name is only used to say where a mistake is.
//! `docs/configuration.md` is generated from [`DOCUMENTED`], which a test parses back.

pub mod file;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

pub use plimsoll_settings::ConfigError;
use plimsoll_settings::{Layout, Wrong, names_of};
use serde::Deserialize;

use crate::history::MAX_SERIES;

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
    /// Kubernetes objects from files.
    pub inventory: Inventory,
    /// Audit events as JSON lines.
    pub audit_file: AuditFile,
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
            top: &[],
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

    /// Every path that is given: by which setting, to what, and the path.
    fn paths(&self) -> Vec<(String, &'static str, &Path)> {
        let ingest = &self.ingest;
        let single = [
            ("data.path", "folder", Some(&self.data.path)),
            (
                "ingest.tls_cert_file",
                "file",
                ingest.tls_cert_file.as_ref(),
            ),
            ("ingest.tls_key_file", "file", ingest.tls_key_file.as_ref()),
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
        let mut mistakes = Vec::new();
        let mut check = |fine: bool, place: &str, must: &str| {
            if !fine {
                mistakes.push((place.to_owned(), format!("must {must}")));
            }
        };
        for (place, kind, path) in self.paths() {
            let must = format!("be the path of a {kind}");
            check(!path.as_os_str().is_empty(), &place, &must);
        }
        check(
            self.data.max_journal_bytes >= 1 << 20,
            "data.max_journal_bytes",
            "be at least 1048576 (1 MiB)",
        );
        let ingest = &self.ingest;
        check(
            ingest.tls_cert_file.is_some() || ingest.tls_key_file.is_none(),
            "ingest.tls_key_file",
            "be given together with ingest.tls_cert_file",
        );
        check(
            ingest.tls_key_file.is_some() || ingest.tls_cert_file.is_none(),
            "ingest.tls_cert_file",
            "be given together with ingest.tls_key_file",
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
                "be the name of a node",
            );
            check(
                !ingest.tokens[..index]
                    .iter()
                    .any(|other| other.file == token.file && !token.file.as_os_str().is_empty()),
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
            self.inventory.keep_deleted_s <= 86_400,
            "inventory.keep_deleted_s",
            "be at most 86400 (a day)",
        );
        check(
            self.audit_file.name_wait_s <= 300,
            "audit_file.name_wait_s",
            "be at most 300",
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
        check(
            (1_000..=1_000_000).contains(&self.history.max_series),
            "history.max_series",
            "lie between 1000 and 1000000",
        );
        mistakes
    }
}

fn sections() -> [(&'static str, &'static [&'static str]); 6] {
    [
        ("data", names_of::<Data>()),
        ("ingest", names_of::<Ingest>()),
        ("http", names_of::<Http>()),
        ("inventory", names_of::<Inventory>()),
        ("audit_file", names_of::<AuditFile>()),
        ("history", names_of::<History>()),
    ]
}

fn lists() -> [(&'static str, &'static [&'static str]); 2] {
    [
        ("ingest.tokens", names_of::<Token>()),
        ("inventory.paths", &[]),
    ]
}

#[cfg(test)]
mod tests {
    use plimsoll_settings::Lines;

    use super::*;

    /// All mistakes of a text, each as `collector.yaml` says it without its name.
    #[track_caller]
    fn check(text: &str, expect: &[&str]) {
        let said = match Config::parse("collector.yaml", text) {
            Ok(_) => Vec::new(),
            Err(ConfigError(lines)) => lines,
        };
        let said: Vec<_> = said
            .iter()
            .map(|line| line.strip_prefix("collector.yaml").unwrap())
            .collect();
        assert_eq!(said, expect);
    }

    #[test]
    fn the_documented_file_is_the_default() {
        assert_eq!(
            Config::parse("default.yaml", DOCUMENTED).unwrap(),
            Config::default()
        );
        assert_eq!(Config::parse("empty.yaml", "").unwrap(), Config::default());
    }

    /// Every setting is known to the diagnosis, and documented.
    #[test]
    fn no_setting_is_forgotten() {
        let mut names = sections().map(|(name, _)| name);
        let mut all = names_of::<Config>().to_vec();
        names.sort_unstable();
        all.sort_unstable();
        assert_eq!(names.as_slice(), all);
        let documented = Lines::of(DOCUMENTED);
        for (section, settings) in sections() {
            assert!(!settings.is_empty(), "{section}");
            for setting in settings {
                let place = format!("{section}.{setting}");
                assert!(documented.find(&place).is_some(), "{place}");
            }
        }
    }

    #[test]
    fn mistakes_come_all_at_once_with_their_place() {
        check("http: { listen: '127.0.0.1:1' }\n", &[]);
        check(
            "http: { listen: '0.0.0.0:1' }\ningest: { listen: '0.0.0.0:1', tls_key_file: k }\n",
            &[
                ":1: http.listen: must be a loopback address: the dashboard does not authenticate \
                 anybody yet",
                ":2: ingest.tls_key_file: must be given together with ingest.tls_cert_file",
                ":2: ingest.listen: must be a loopback address while ingest.tls_cert_file is not given",
            ],
        );
        check(
            "ingest:\n  tls_cert_file: c\n",
            &[":2: ingest.tls_cert_file: must be given together with ingest.tls_key_file"],
        );
    }

    #[test]
    fn mistakes_of_shape_and_of_value_come_together_with_line_and_field() {
        check(
            "data:\n\
             \x20 max_journal_bytes: 4GiB\n\
             ingest:\n\
             \x20 listn: here\n\
             \x20 tokens:\n\
             \x20   - { node: a, file: /a }\n\
             \x20   - { node: [b], fil: /b }\n\
             \x20   - c\n\
             \x20   - node: ''\n\
             \x20     file: /a\n\
             http:\n\
             \x20 listen: here\n\
             inventory:\n\
             \x20 paths: /objects\n\
             \x20 reload_s: 0\n\
             audit_file: []\n",
            &[
                ":2: data.max_journal_bytes: must be a plain number of bytes, as 1048576, not 4GiB",
                ":4: ingest.listn: there is no such setting; did you mean listen?",
                ":7: ingest.tokens[1].node: must be a single value",
                ":7: ingest.tokens[1].fil: there is no such setting; did you mean file?",
                ":7: ingest.tokens[1].file: must be the path of a file",
                ":8: ingest.tokens[2]: must be settings: node, file",
                ":9: ingest.tokens[3].node: must be the name of a node",
                ":10: ingest.tokens[3].file: must not be the file of another token",
                ":12: http.listen: must be an address and port, as 127.0.0.1:8080, not here",
                ":14: inventory.paths: must be a list, not /objects",
                ":15: inventory.reload_s: must be at least 1",
                ":16: audit_file: must be a section of settings",
            ],
        );
        check(
            "htp: {}",
            &[":1: htp: there is no such setting; did you mean http?"],
        );
        check(
            "inventory:\n  paths:\n    - a\n    - [b]\n",
            &[":4: inventory.paths[1]: must be a single value"],
        );
        check(
            "data: {path: ''}\naudit_file: {path: ''}\ninventory:\n  paths:\n  - ''\ningest:\n  tls_cert_file: ''\n  tls_key_file: ''\n",
            &[
                ":1: data.path: must be the path of a folder",
                ":2: audit_file.path: must be the path of a folder",
                ":5: inventory.paths[0]: must be the path of a file or folder",
                ":7: ingest.tls_cert_file: must be the path of a file",
                ":8: ingest.tls_key_file: must be the path of a file",
            ],
        );
        check(
            "history:\n  max_series: 10\n",
            &[":2: history.max_series: must lie between 1000 and 1000000"],
        );
        check("ingest: [", &[":1: unclosed bracket '['"]);
    }
}
