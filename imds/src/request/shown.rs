//! How much of a request's target may be shown.

use crate::classify::PathClass;
use crate::redact::{
    PATH_BYTES, Secrets, WINDOW, looks_secret, role_looks_secret, role_may_be_secret,
};
use crate::target::Target;
use crate::{Class, Redactor};

/// A text that may leave the node.
pub(super) struct Shown {
    pub(super) text: String,
    /// Nothing was blanked.
    pub(super) is_whole: bool,
}

/// The path as it may be shown: the service's own words as they are, the client's only if they
/// read like words.
pub(super) fn show_path(
    path: &str,
    class: &PathClass<'_>,
    redactor: &Redactor,
    secrets: &Secrets<'_>,
) -> Shown {
    let (known, free) = path
        .split_at_checked(class.known_bytes)
        .unwrap_or(("", path));
    let bytes = free.as_bytes();
    let plain =
        |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"/-._:=".contains(byte);
    let fits = match class.class {
        _ if free.is_empty() => true,
        Class::Cred if class.role.is_none() => false,
        Class::Cred => {
            bytes.len() <= 65
                && bytes
                    .iter()
                    .all(|b| b.is_ascii_alphanumeric() || b"_+=,.@-/".contains(b))
                && !(role_looks_secret(bytes) || (secrets.is_cut() && role_may_be_secret(bytes)))
        }
        _ if secrets.is_cut() => false,
        Class::Tags | Class::Keys => bytes.len() <= 128 && !looks_secret(bytes),
        _ => bytes.len() < 8 || (bytes.iter().all(plain) && !looks_secret(bytes)),
    };
    // The service's own words are no secret, but one may begin in them.
    let from = class.known_bytes.saturating_sub(WINDOW - 1);
    let own = path.as_bytes().get(from..).unwrap_or_default();
    let is_whole =
        fits && path.len() <= PATH_BYTES && (free.is_empty() || !secrets.shares_window(own));
    if is_whole {
        return Shown {
            text: path.to_owned(),
            is_whole,
        };
    }
    let known = if known.is_empty() { "/" } else { known };
    Shown {
        text: format!("{known}{}", redactor.blank(bytes)),
        is_whole,
    }
}

/// The target as sent. A query means nothing to any of the services, so it is only told apart.
pub(super) fn show_raw(
    target: &Target<'_>,
    path_is_whole: bool,
    redactor: &Redactor,
    secrets: &Secrets<'_>,
) -> String {
    let raw = target.raw_path;
    // A path in which encodings are left, wrapped too often to undo, may hold anything.
    let harmless = path_is_whole
        && !secrets.is_cut()
        && !target.path.contains('%')
        && raw.len() <= PATH_BYTES
        && raw.iter().all(u8::is_ascii_graphic)
        && !secrets.shares_window(raw)
        && !raw_looks_secret(raw, target);
    let mut text = if harmless {
        String::from_utf8_lossy(raw).into_owned()
    } else {
        redactor.blank(raw)
    };
    if let Some(query) = target.query {
        text.push('?');
        text.push_str(&redactor.blank(query));
        // A secret may hold the question mark, and even the bracket.
        if secrets.shares_window(text.as_bytes()) {
            text = format!("{}?{}", redactor.blank(raw), redactor.blank(query));
        }
    }
    text
}

/// A path that is sent as it is was judged already. One that was rewritten may have hidden words:
/// each must be in the path shown, or be made of lower-case letters and the like.
fn raw_looks_secret(raw: &[u8], target: &Target<'_>) -> bool {
    let plain = |byte: &u8| {
        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:=%\\".contains(byte)
    };
    let shown = |word: &[u8]| target.path.split('/').any(|known| known.as_bytes() == word);
    raw != target.path.as_bytes()
        && (looks_secret(raw)
            || raw
                .split(|byte| *byte == b'/')
                .any(|word| !word.iter().all(plain) && !shown(word)))
}
