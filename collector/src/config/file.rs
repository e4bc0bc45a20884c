#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the configuration file and the files it names, once"
)]
//! The configuration from its file, and whether the files that it names can be used: a mistake ends
//! the start, and not the first node's attempt to come in.
//!
//! The inventory's paths are not asked for: objects may come later, and until then are told by the
//! inventory.

use std::fs;
use std::path::Path;

use plimsoll_journal::check_folder;
use plimsoll_settings::Wrong;

use super::{Access, Config, ConfigError};
use crate::cluster::client;
use crate::errors;
use crate::ingest::auth;
use crate::sinks::{elasticsearch, hec, otlp};
use crate::tls;

/// Reads and checks a file; the defaults without one.
///
/// # Errors
/// Every mistake, see [`Config::parse`].
pub fn read(path: Option<&Path>) -> Result<Config, ConfigError> {
    let Some(path) = path else {
        return Config::parse_with_files("defaults", "", unusable);
    };
    let name = path.display().to_string();
    let text =
        fs::read_to_string(path).map_err(|error| ConfigError(vec![format!("{name}: {error}")]))?;
    Config::parse_with_files(&name, &text, unusable)
}

/// Folders of the store whose files an earlier life may have left to another user.
const JOURNALS: [&str; 5] = [
    "journal/usage",
    "journal/security",
    "journal/seen",
    "journal/trail",
    "journal/keys",
];

/// What is wrong with the files and folders. Paths that are empty are told by whoever checks values.
fn unusable(config: &Config) -> Vec<Wrong> {
    let given = |path: &&Path| !path.as_os_str().is_empty();
    let mut wrong = Vec::new();
    let path = config.audit_file.path.as_deref();
    let folders: [(_, _, &[&str]); 2] = [
        ("data.path", Some(config.data.path.as_path()), &JOURNALS),
        ("audit_file.path", path, &[]),
    ];
    let folders = folders.map(|(place, path, within)| (place.to_owned(), path, within));
    let sinks = config.sinks.iter().enumerate().map(|(at, sink)| {
        let path = sink.file.as_ref().map(|file| file.path.as_path());
        (format!("sinks[{at}].file.path"), path, &[][..])
    });
    for (place, path, within) in folders.into_iter().chain(sinks) {
        if let Some(why) = path.filter(given).and_then(|path| no_folder(path, within)) {
            wrong.push((place, format!("must be a folder: {why}")));
        }
    }
    let ingest = &config.ingest;
    for files in [ingest.tls(), config.http.tls()].into_iter().flatten() {
        let paths = [&files.certificate, &files.key].into_iter();
        let mut paths = paths.chain(&files.client_ca);
        if paths.all(|path| given(&path.as_path()))
            && let Err(error) = tls::acceptor(&files)
        {
            let why = errors::chain(&error);
            wrong.push((error.setting().to_owned(), format!("must be usable: {why}")));
        }
    }
    let (places, tokens): (Vec<usize>, Vec<auth::Token>) = (0..)
        .zip(&ingest.tokens)
        .filter(|(_, token)| given(&token.file.as_path()))
        .map(|(at, token)| (at, token.into()))
        .unzip();
    for (at, read) in places.into_iter().zip(auth::read_all(&tokens)) {
        if let Err(error) = read {
            let place = format!("ingest.tokens[{at}].file");
            let why = errors::chain(&error);
            wrong.push((place, format!("must hold a token: {why}")));
        }
    }
    wrong.extend(unusable_of_sinks(config));
    wrong.extend(no_way(config));
    wrong
}

/// What is wrong with the secrets and certificates of sinks over HTTP.
fn unusable_of_sinks(config: &Config) -> Vec<Wrong> {
    let mut wrong = Vec::new();
    for (at, sink) in config.sinks.iter().enumerate() {
        let index = sink.elasticsearch.iter();
        let index = index.flat_map(elasticsearch::client::unusable);
        let index = index.map(|(setting, error)| ("elasticsearch", setting, error));
        let otlp = sink.otlp.iter().flat_map(otlp::client::unusable);
        let otlp = otlp.map(|(setting, error)| ("otlp", setting, error));
        wrong.extend(index.chain(otlp).map(|(kind, setting, error)| {
            let place = format!("sinks[{at}].{kind}.{setting}");
            (place, format!("must be usable: {}", errors::chain(&*error)))
        }));
        let unusable = sink.hec.iter().flat_map(hec::client::unusable);
        wrong.extend(unusable.map(|(setting, error)| {
            let place = format!("sinks[{at}].hec.{setting}");
            (place, format!("must be usable: {}", errors::chain(&error)))
        }));
    }
    wrong
}

/// Why the API server cannot be asked by those who are to ask it. A kubeconfig is looked at in any case.
fn no_way(config: &Config) -> Vec<Wrong> {
    if let Some(path) = &config.kubernetes.kubeconfig {
        if path.as_os_str().is_empty() {
            return Vec::new();
        }
        let wrong = client::check(path).err().map(|error| {
            let (path, why) = (path.display(), errors::chain(&error));
            let why = format!("must be usable: {path}: {why}");
            ("kubernetes.kubeconfig".to_owned(), why)
        });
        return wrong.into_iter().collect();
    }
    let asking = [
        ("kubernetes.watch", config.kubernetes.watch),
        (
            "ingest.token_review.audience",
            config.ingest.token_review.audience.is_some(),
        ),
        ("http.access", config.http.access == Access::Kubernetes),
    ];
    let mut asking = asking.into_iter().filter(|(_, asks)| *asks).peekable();
    let why = asking.peek().and_then(|_| client::check_pod().err());
    let why = why.map(|error| {
        let why = errors::chain(&error);
        format!("must be given together with kubernetes.kubeconfig outside of a cluster: {why}")
    });
    let wrong = |place: &str| Some((place.to_owned(), why.clone()?));
    asking.filter_map(|(place, _)| wrong(place)).collect()
}

/// Why a path is no folder to write to and cannot become one. It is made by whoever needs it, not by a
/// check.
fn no_folder(path: &Path, within: &[&str]) -> Option<String> {
    check_folder(path, within).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_a_sink_that_cannot_be_used_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::write(at("token"), "secret").unwrap();
        fs::write(at("ca"), "no certificate").unwrap();
        let said = |token: &str, ca: &str| {
            let text = format!(
                "data: {{path: {}}}\nsinks:\n- name: s\n  hec:\n    endpoint: https://s:8088\n    token_file: {}\n    ca_file: {}\n",
                at("data"),
                at(token),
                at(ca),
            );
            fs::write(at("c.yaml"), text).unwrap();
            let read = read(Some(Path::new(&at("c.yaml"))));
            let ConfigError(lines) = read.unwrap_err();
            let name = at("c.yaml");
            let told = |line: &String| line.strip_prefix(&name).unwrap().to_owned();
            lines.iter().map(told).collect::<Vec<_>>()
        };
        let authorities = format!(
            ":7: sinks[0].hec.ca_file: must be usable: read authorities from {} (ca_file): no items found",
            at("ca")
        );
        assert_eq!(said("token", "ca"), std::slice::from_ref(&authorities));
        let absent = format!(
            ":6: sinks[0].hec.token_file: must be usable: read the token from {} (token_file): No such file or \
             directory (os error 2)",
            at("absent")
        );
        assert_eq!(said("absent", "ca"), [absent, authorities]);
    }

    #[test]
    fn secrets_and_certificates_of_sinks_over_http_are_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let made = rcgen::generate_simple_self_signed(vec!["c".to_owned()]).unwrap();
        for (name, text) in [
            ("cert", made.cert.pem()),
            ("key", made.signing_key.serialize_pem()),
            ("two", "a\nb".to_owned()),
            ("headers", "no headers".to_owned()),
        ] {
            fs::write(at(name), text).unwrap();
        }
        let text = format!(
            "data: {{path: {}}}\nsinks:\n- name: a\n  elasticsearch:\n    endpoint: https://e\n    index: a\n    secret_file: {}\n    ca_file: {}\n- name: b\n  otlp:\n    endpoint: https://o\n    headers_file: {}\n    cert_file: {}\n    key_file: {}\n- name: c\n  otlp: {{endpoint: 'https://o', cert_file: {}, key_file: {}}}\n",
            at("data"),
            at("two"),
            at("absent"),
            at("headers"),
            at("cert"),
            at("cert"),
            at("cert"),
            at("key"),
        );
        fs::write(at("c.yaml"), text).unwrap();
        let ConfigError(lines) = read(Some(Path::new(&at("c.yaml")))).unwrap_err();
        let places = lines.iter().map(|line| {
            let line = line.strip_prefix(&at("c.yaml")).unwrap();
            line.split_once(" must be usable: ").unwrap().0
        });
        assert_eq!(
            places.collect::<Vec<_>>(),
            [
                ":7: sinks[0].elasticsearch.secret_file:",
                ":8: sinks[0].elasticsearch.ca_file:",
                ":12: sinks[1].otlp.headers_file:",
                ":14: sinks[1].otlp.key_file:",
            ]
        );
    }

    #[test]
    fn files_that_cannot_be_used_are_named_with_their_lines() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let certificate = rcgen::generate_simple_self_signed(vec!["c".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(vec!["c".to_owned()]).unwrap();
        for (name, text) in [
            ("cert", certificate.cert.pem()),
            ("key", certificate.signing_key.serialize_pem()),
            ("other", other.signing_key.serialize_pem()),
            ("token", "secret".to_owned()),
            ("empty", "\n".to_owned()),
            ("kubeconfig", kubeconfig(SERVER, "{}")),
        ] {
            fs::write(at(name), text).unwrap();
        }
        let config = |data: &str, certificate: &str, key: &str, tokens: [&str; 2]| {
            let [one, two] = tokens.map(at);
            let text = format!(
                "data:\n  path: {}\ningest:\n  tls_cert_file: {}\n  tls_key_file: {}\n  tokens:\n  - {{node: a, file: {one}}}\n  - {{node: b, file: {two}}}\n",
                at(data),
                at(certificate),
                at(key),
            );
            fs::write(at("collector.yaml"), text).unwrap();
            let said = match read(Some(Path::new(&at("collector.yaml")))) {
                Ok(_) => Vec::new(),
                Err(ConfigError(lines)) => lines,
            };
            let name = at("collector.yaml");
            let told = |line: &String| line.strip_prefix(&name).unwrap().to_owned();
            said.iter().map(told).collect::<Vec<_>>()
        };
        fs::write(at("second"), "of b").unwrap();
        assert!(config("new/state", "cert", "key", ["token", "second"]).is_empty());
        assert!(!fs::exists(at("new")).unwrap(), "a check makes nothing");
        let absent = "No such file or directory (os error 2)";
        assert_eq!(
            config("token/state", "absent", "key", ["absent", "empty"]),
            [
                format!(":2: data.path: must be a folder: {} is none", at("token")),
                format!(
                    ":4: ingest.tls_cert_file: must be usable: read {}: I/O error: {absent}",
                    at("absent")
                ),
                format!(
                    ":7: ingest.tokens[0].file: must hold a token: read the token file {}: {absent}",
                    at("absent")
                ),
                format!(
                    ":8: ingest.tokens[1].file: must hold a token: the token file {} is empty",
                    at("empty")
                ),
            ]
        );
        assert_eq!(
            config("state", "cert", "other", ["token", "second"]),
            [format!(
                ":5: ingest.tls_key_file: must be usable: use {} with {}: keys may not be consistent: KeyMismatch",
                at("cert"),
                at("other")
            )]
        );
        let text = format!(
            "data: {{path: {}}}\nhttp:\n  access: kubernetes\n  tls_cert_file: {}\n  tls_key_file: {}\n  client_ca_file: {}\nkubernetes: {{kubeconfig: {}}}\n",
            at("state"),
            at("cert"),
            at("key"),
            at("empty"),
            at("kubeconfig"),
        );
        fs::write(at("http.yaml"), text).unwrap();
        let ConfigError(said) = read(Some(Path::new(&at("http.yaml")))).unwrap_err();
        let told = format!(
            "{}:6: http.client_ca_file: must be usable: {} holds no PEM certificate",
            at("http.yaml"),
            at("empty")
        );
        assert_eq!(said, [told]);
        fs::write(at("same"), "secret\n").unwrap();
        let shared = |at: &str, node: &str| {
            format!("the token file {at} holds the token of node {node} as well")
        };
        assert_eq!(
            config("state", "cert", "key", ["token", "same"]),
            [
                format!(
                    ":7: ingest.tokens[0].file: must hold a token: {}",
                    shared(&at("token"), "b")
                ),
                format!(
                    ":8: ingest.tokens[1].file: must hold a token: {}",
                    shared(&at("same"), "a")
                ),
            ]
        );
        let none = at("none.yaml");
        let error = read(Some(Path::new(&none))).unwrap_err();
        assert_eq!(error.to_string(), format!("{none}: {absent}"));
    }

    #[test]
    fn a_sink_that_has_no_folder_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        fs::write(at("taken"), "").unwrap();
        let (data, taken, new) = (at("state"), at("taken/audit"), at("new"));
        let text = format!(
            "data: {{path: {data}}}\nsinks:\n- {{name: a, file: {{path: {new}}}}}\n- name: b\n  file: {{path: {taken}}}\n"
        );
        fs::write(at("c.yaml"), text).unwrap();
        let ConfigError(said) = read(Some(Path::new(&at("c.yaml")))).unwrap_err();
        let why = format!("must be a folder: {} is none", at("taken"));
        assert_eq!(
            said,
            [format!("{}:5: sinks[1].file.path: {why}", at("c.yaml"))]
        );
    }

    const SERVER: &str = "server: 'http://127.0.0.1:1'";

    fn kubeconfig(cluster: &str, user: &str) -> String {
        format!(
            "current-context: c\nclusters: [{{name: k, cluster: {{{cluster}}}}}]\nusers:\n- name: u\n  user: {user}\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n"
        )
    }

    /// What is wrong with the kubeconfig, and with those who are to ask outside of a cluster.
    #[test]
    fn who_cannot_ask_the_api_server_is_told_before_anything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let said = |settings: &str| {
            let text = format!("data: {{path: {}}}\n{settings}", at("state"));
            fs::write(at("collector.yaml"), text).unwrap();
            let name = at("collector.yaml");
            let told = |line: &String| line.strip_prefix(&name).unwrap().to_owned();
            match read(Some(Path::new(&name))) {
                Ok(_) => Vec::new(),
                Err(ConfigError(lines)) => lines.iter().map(told).collect::<Vec<_>>(),
            }
        };
        let settings = format!("kubernetes:\n  kubeconfig: {}\n", at("kubeconfig"));
        let check = |text: &str, why: &str| {
            fs::write(at("kubeconfig"), text).unwrap();
            let place = ":3: kubernetes.kubeconfig: must be usable:";
            assert_eq!(
                said(&settings),
                [format!("{place} {}: {why}", at("kubeconfig"))]
            );
        };
        check("", "it has no current-context");
        check("current-context: ''\n", "it has no current-context");
        check("current-context: c\n", "it has no context c");
        check(
            "users:\n- name: u\n  user:\n    token: eyJ: x\n",
            "line 4, column 15: mapping values are not allowed in this context",
        );
        let absent = "No such file or directory (os error 2)";
        check(
            &kubeconfig(&format!("{SERVER}, certificate-authority: absent"), "{}"),
            &format!("its certificate-authority: read {}: {absent}", at("absent")),
        );
        check(
            &kubeconfig(SERVER, "{client-certificate: absent, client-key: absent}"),
            &format!("its client-certificate: read {}: {absent}", at("absent")),
        );
        check(
            &kubeconfig(SERVER, "{tokenFile: absent}"),
            &format!("read the token file {}: {absent}", at("absent")),
        );
        fs::remove_file(at("kubeconfig")).unwrap();
        assert_eq!(
            said(&settings),
            [format!(
                ":3: kubernetes.kubeconfig: must be usable: {}: {absent}",
                at("kubeconfig")
            )]
        );
        let [watch, access] = said("kubernetes:\n  watch: true\nhttp:\n  access: kubernetes\n")
            .try_into()
            .unwrap();
        let must = "must be given together with kubernetes.kubeconfig outside of a cluster: KUBERNETES_SERVICE_HOST";
        assert!(
            watch.starts_with(&format!(":3: kubernetes.watch: {must}")),
            "{watch}"
        );
        assert!(
            access.starts_with(&format!(":5: http.access: {must}")),
            "{access}"
        );
        assert!(!fs::exists(at("state")).unwrap(), "a check makes nothing");
    }
}
