//! What the settings of sinks over HTTP have in common. Pure.

use std::path::PathBuf;

use super::is_endpoint;
use crate::config::check::Checks;

/// What an address must be.
const MUST_BE_AN_ENDPOINT: &str =
    "be https://HOST or https://HOST:PORT; http:// is taken only for loopback addresses";

/// The address, and the files of its TLS.
pub(super) fn check(
    at: &impl Fn(&str) -> String,
    endpoint: &str,
    files: [(&'static str, Option<&PathBuf>); 3],
    checks: &mut Checks,
) {
    checks.that(is_endpoint(endpoint), &at("endpoint"), MUST_BE_AN_ENDPOINT);
    let is_plain = is_endpoint(endpoint) && endpoint.starts_with("http:");
    for (setting, path) in files {
        checks.that(
            path.is_none_or(|path| !path.as_os_str().is_empty()),
            &at(setting),
            "be the path of a file",
        );
        checks.that(
            path.is_none() || !is_plain,
            &at(setting),
            "be left out where endpoint is http://",
        );
    }
    let [_, cert, key] = files;
    for ((setting, given), (with, other)) in [(cert, key), (key, cert)] {
        checks.that(
            given.is_none() || other.is_some(),
            &at(setting),
            &format!("be given together with {with}"),
        );
    }
}

/// A secret's file and its variable, each by what it is called.
pub(super) fn check_secret(
    at: &impl Fn(&str) -> String,
    file: (&str, Option<&PathBuf>),
    variable: (&str, Option<&String>),
    checks: &mut Checks,
) {
    checks.that(
        file.1.is_none_or(|path| !path.as_os_str().is_empty()),
        &at(file.0),
        "be the path of a file",
    );
    checks.that(
        variable.1.is_none_or(|name| is_variable(name)),
        &at(variable.0),
        "be an environment variable's name: letters, digits and `_`",
    );
}

pub(super) fn is_variable(name: &str) -> bool {
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&name.len())
        && name.bytes().all(of_name)
        && !name.starts_with(|first: char| first.is_ascii_digit())
}
