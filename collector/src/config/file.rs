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

use super::{Config, ConfigError};
use crate::errors;
use crate::ingest::auth;
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
const JOURNALS: [&str; 3] = ["journal/usage", "journal/security", "journal/seen"];

/// What is wrong with the files and folders. Paths that are empty are told by whoever checks values.
fn unusable(config: &Config) -> Vec<Wrong> {
    let given = |path: &&Path| !path.as_os_str().is_empty();
    let mut wrong = Vec::new();
    let folders: [(_, _, &[&str]); 2] = [
        ("data.path", Some(config.data.path.as_path()), &JOURNALS),
        ("audit_file.path", config.audit_file.path.as_deref(), &[]),
    ];
    for (place, path, within) in folders {
        if let Some(why) = path.filter(given).and_then(|path| no_folder(path, within)) {
            wrong.push((place.to_owned(), format!("must be a folder: {why}")));
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
    wrong
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
            "data: {{path: {}}}\nhttp:\n  access: kubernetes\n  tls_cert_file: {}\n  tls_key_file: {}\n  client_ca_file: {}\n",
            at("state"),
            at("cert"),
            at("key"),
            at("empty"),
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
}
