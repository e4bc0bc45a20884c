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
const SECRET_NAMES: [&str; 7] = ["pass", "pw", "pin", "auth", "basic-auth", "userpwd", "psk"];
/// Ends that make an ordinary name of such a name: its value is a place, a kind or a time.
const HARMLESS_ENDS: [&str; 21] = [
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
];
/// Short options that take a password: program, option, whether the value is joined to it.
const SHORT_OPTIONS: [(&str, &str, bool); 12] = [
    ("mysql", "-p", true),
    ("mysqldump", "-p", true),
    ("mysqladmin", "-p", true),
    ("mariadb", "-p", true),
    ("mariadb-dump", "-p", true),
    ("sshpass", "-p", true),
    ("sshpass", "-p", false),
    ("redis-cli", "-a", false),
    ("curl", "-u", false),
    ("curl", "-b", false),
    ("ldapsearch", "-w", false),
    ("ldapmodify", "-w", false),
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
}

/// Whether the word after this one is a secret to that program.
pub(super) fn takes_secret(program: &str, word: &str) -> bool {
    SHORT_OPTIONS
        .iter()
        .any(|(known, option, joined)| *known == program && *option == word && !joined)
}

/// The option at the start of a word whose rest is a secret to that program.
pub(super) fn joined_option(program: &str, word: &str) -> Option<&'static str> {
    SHORT_OPTIONS
        .iter()
        .find(|(known, option, joined)| {
            *joined && *known == program && word.len() > option.len() && word.starts_with(option)
        })
        .map(|(_, option, _)| *option)
}
