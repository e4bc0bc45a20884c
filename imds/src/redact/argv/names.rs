//! Names of options, variables and headers whose values are secret.
//!
//! It knows names and nothing of where they stand.

/// Parts of names that speak of a secret; names are compared in lower case with `-` for `_`.
const SECRET_PARTS: [&str; 16] = [
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "secret",
    "token",
    "credential",
    "apikey",
    "accesskey",
    "authkey",
    "cookie",
    "signature",
    "bearer",
    "jwt",
    "authorization",
];
/// Whole names that do.
const SECRET_NAMES: [&str; 8] = [
    "pass",
    "pw",
    "pin",
    "auth",
    "basic-auth",
    "proxy-auth",
    "userpwd",
    "psk",
];
/// Names that end in `pass` and are none.
const NO_PASSWORDS: [&str; 2] = ["bypass", "compass"];
/// Ends that make an ordinary name of such a name: its value is a place, a kind or a time.
const HARMLESS_ENDS: [&str; 22] = [
    "-file",
    "-files",
    "-path",
    "-dir",
    "-id",
    "-name",
    "-names",
    "-type",
    "-mode",
    "-ttl",
    "-ttl-seconds",
    "-seconds",
    "-timeout",
    "-url",
    "-uri",
    "-endpoint",
    "-audience",
    "-issuer",
    "-expiration",
    "-webhook",
    "-helper",
    "-stdin",
];
/// Whether an option or variable of that name holds a secret.
pub(super) fn is_secret_name(name: &str) -> bool {
    let name = name.trim_start_matches(['-', '/', '$']);
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(is_token) {
        return false;
    }
    let name = name.to_ascii_lowercase().replace(['_', '.'], "-");
    if HARMLESS_ENDS.iter().any(|end| name.ends_with(end)) {
        return false;
    }
    SECRET_NAMES.contains(&name.as_str())
        || SECRET_PARTS.iter().any(|part| name.contains(part))
        || (name.ends_with("-key") && !name.contains("public"))
        || (name.ends_with("pass") && !NO_PASSWORDS.iter().any(|end| name.ends_with(end)))
}

/// Whether the value of a header may have several words, the first of which is a scheme.
pub(super) fn has_words(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    let ends = ["authorization", "cookie", "-auth"];
    ends.iter().any(|end| name.ends_with(end))
}

/// Whether what stands behind a name and a colon is secret: of headers `X-Auth` and its like as well,
/// which as the name of an option says no more than that there is something to choose.
pub(super) fn is_secret_header(name: &str) -> bool {
    let end = name.len().checked_sub("-auth".len());
    let end = end.and_then(|at| name.get(at..));
    is_secret_name(name) || end.is_some_and(|end| end.eq_ignore_ascii_case("-auth"))
}
