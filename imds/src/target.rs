//! The request target: absolute-form, query, and the path as a server would see it.
//!
//! Knows no path of any service; says how the text differs from its plain form.

use std::borrow::Cow;

use crate::Flags;

/// How often a percent-encoding may be wrapped in another one and still be undone.
const DECODE_ROUNDS: usize = 4;

/// A target taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target<'a> {
    /// Host and port of an absolute-form target, without user information.
    pub authority: Option<&'a [u8]>,
    /// The path as sent.
    pub raw_path: &'a [u8],
    /// The path with encodings undone and dots resolved; bytes that are no ASCII text became `?`.
    pub path: Cow<'a, str>,
    /// What follows the `?`.
    pub query: Option<&'a [u8]>,
    /// `absolute_form`, `obfuscated`, `traversal`.
    pub flags: Flags,
}

/// Takes a target apart. Total: what is neither origin-form nor absolute-form (`*`, `host:port`)
/// gives a path that no class knows.
pub(crate) fn parse(target: &[u8]) -> Target<'_> {
    let mut flags = Flags::NONE;
    let (authority, rest) = split_absolute(target);
    flags.add_if(authority.is_some(), Flags::ABSOLUTE_FORM);
    let rest = rest.split(|byte| *byte == b'#').next().unwrap_or_default();
    let (raw_path, query) = match rest.iter().position(|byte| *byte == b'?') {
        Some(at) => (rest.get(..at).unwrap_or_default(), rest.get(at + 1..)),
        None => (rest, None),
    };
    let path = if is_plain(raw_path) {
        String::from_utf8_lossy(raw_path)
    } else {
        Cow::Owned(normalise(raw_path, &mut flags))
    };
    let path = if path.is_empty() {
        Cow::Borrowed("/")
    } else {
        path
    };
    Target {
        authority,
        raw_path,
        path,
        query,
        flags,
    }
}

/// `http://host:80/path` into `host:80` and `/path`.
fn split_absolute(target: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let scheme = |name: &str| {
        let (head, rest) = target.split_at_checked(name.len())?;
        head.eq_ignore_ascii_case(name.as_bytes()).then_some(rest)
    };
    let Some(rest) = scheme("http://").or_else(|| scheme("https://")) else {
        return (None, target);
    };
    let end = rest
        .iter()
        .position(|byte| matches!(byte, b'/' | b'?' | b'#'))
        .unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let host = authority
        .rsplit(|byte| *byte == b'@')
        .next()
        .unwrap_or_default();
    (Some(host), path)
}

/// Nothing to undo: printable ASCII, no `%`, no `\`, no empty or dotted segment.
fn is_plain(path: &[u8]) -> bool {
    let mut previous = 0;
    for byte in path {
        if !byte.is_ascii_graphic()
            || matches!(byte, b'%' | b'\\')
            || (previous == b'/' && matches!(byte, b'/' | b'.'))
        {
            return false;
        }
        previous = *byte;
    }
    true
}

fn normalise(raw: &[u8], flags: &mut Flags) -> String {
    let mut bytes = raw.to_vec();
    for round in 0..DECODE_ROUNDS {
        let Some((decoded, hidden)) = percent_decode(&bytes) else {
            break;
        };
        flags.add_if(hidden || round > 0, Flags::OBFUSCATED);
        bytes = decoded;
    }
    if bytes.contains(&b'\\') {
        flags.add(Flags::OBFUSCATED);
        bytes
            .iter_mut()
            .filter(|byte| **byte == b'\\')
            .for_each(|byte| *byte = b'/');
    }
    let text: String = bytes
        .iter()
        .map(|byte| {
            if matches!(byte, b' '..=b'~') {
                char::from(*byte)
            } else {
                '?'
            }
        })
        .collect();
    let Some(relative) = text.strip_prefix('/') else {
        return text;
    };
    let mut segments: Vec<&str> = Vec::new();
    let mut parts = relative.split('/').peekable();
    while let Some(part) = parts.next() {
        let last = parts.peek().is_none();
        match part {
            "" if last => segments.push(""),
            "" => flags.add(Flags::OBFUSCATED),
            "." => {
                flags.add(Flags::OBFUSCATED);
                if last {
                    segments.push("");
                }
            }
            ".." => {
                flags.add(Flags::OBFUSCATED.with(Flags::TRAVERSAL));
                segments.pop();
                if last {
                    segments.push("");
                }
            }
            part => segments.push(part),
        }
    }
    let mut path = String::with_capacity(text.len());
    for segment in segments {
        path.push('/');
        path.push_str(segment);
    }
    path
}

/// Undoes one round of percent-encoding; `None` if there is none. `hidden`: a byte was encoded
/// that never needs it (RFC 3986 section 2.3), or that changes the structure.
fn percent_decode(bytes: &[u8]) -> Option<(Vec<u8>, bool)> {
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut hidden = false;
    let mut any = false;
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let code = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(high, low)| high << 4 | low),
            _ => None,
        };
        if let Some(byte) = code {
            any = true;
            hidden |= byte.is_ascii_alphanumeric()
                || matches!(
                    byte,
                    b'-' | b'.' | b'_' | b'~' | b'/' | b'\\' | b'%' | 0..=0x1f | 0x7f
                );
            decoded.push(byte);
            rest = tail.get(2..).unwrap_or_default();
        } else {
            decoded.push(*first);
            rest = tail;
        }
    }
    any.then_some((decoded, hidden))
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(target: &str, path: &str, flags: &[&str]) {
        let parsed = parse(target.as_bytes());
        assert_eq!(parsed.path, path, "{target}");
        assert_eq!(parsed.flags.names().collect::<Vec<_>>(), flags, "{target}");
    }

    #[test]
    fn paths() {
        check("/latest/meta-data/", "/latest/meta-data/", &[]);
        check("/", "/", &[]);
        check("/latest?x=/../", "/latest", &[]);
        check("/latest#/../", "/latest", &[]);
        check(
            "//latest/./a/../a/iam/%73ecurity",
            "/latest/a/iam/security",
            &["obfuscated", "traversal"],
        );
        check("/latest//user-data", "/latest/user-data", &["obfuscated"]);
        check("/latest/user-data/.", "/latest/user-data/", &["obfuscated"]);
        check("/latest/x/..", "/latest/", &["obfuscated", "traversal"]);
        check("/../../latest", "/latest", &["obfuscated", "traversal"]);
        check(
            "/latest/%2e%2e/latest",
            "/latest",
            &["obfuscated", "traversal"],
        );
        check("/latest/%252e%252e/a", "/a", &["obfuscated", "traversal"]);
        check("/latest/user%2ddata", "/latest/user-data", &["obfuscated"]);
        check("/latest%2fuser-data", "/latest/user-data", &["obfuscated"]);
        check("/latest\\user-data", "/latest/user-data", &["obfuscated"]);
        check(
            "/latest/meta-data/tags/instance/My%20Tag",
            "/latest/meta-data/tags/instance/My Tag",
            &[],
        );
        check("/a%zz%", "/a%zz%", &[]);
        check("/a%00", "/a?", &["obfuscated"]);
        check("/.well", "/.well", &[]);
        check("*", "*", &[]);
    }

    #[test]
    fn absolute_form() {
        check(
            "http://169.254.169.254/latest/user-data",
            "/latest/user-data",
            &["absolute_form"],
        );
        check("HTTP://u:p@h:80", "/", &["absolute_form"]);
        assert_eq!(
            parse(b"HTTP://u:p@h:80?q").authority,
            Some(b"h:80".as_slice())
        );
        assert_eq!(parse(b"http://h?q").query, Some(b"q".as_slice()));
    }

    proptest! {
        #[test]
        fn total_and_idempotent(target in proptest::collection::vec(any::<u8>(), 0..200)) {
            let once = parse(&target).path.into_owned();
            prop_assert!(once.is_ascii());
            if once.starts_with('/') && !once.contains('%') && !once.contains('?') && !once.contains('#') {
                prop_assert_eq!(parse(once.as_bytes()).path, once.clone());
            }
        }
    }
}
