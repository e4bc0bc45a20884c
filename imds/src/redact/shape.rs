//! How key material reads: what tells a token from a name by its letters alone.

/// Longest word without the marks of a random string.
const PLAIN_WORD_BYTES: usize = 20;
/// No word of a user agent or path has so many base64url characters in a row.
const LONG_RUN_BYTES: usize = 32;

/// A shorter word is none of ours: the shortest secret here, half a hex key, has 16 bytes.
const SHORTEST_BYTES: usize = 16;
/// How key material begins: a JWT with base64 of `{"`, an IMDSv2 token with its version bytes, session
/// tokens of STS with those of theirs.
const MARKS: [&[u8]; 4] = [b"eyJ", b"AQAEA", b"IQoJb3JpZ2lu", b"FwoGZXIvYXdz"];
/// So many letters and digits after a mark make it a secret.
const MARKED_BYTES: usize = 8;

/// Whether a known kind of token begins in the word.
fn has_mark(word: &[u8]) -> bool {
    let mut before = 0;
    for (at, byte) in word.iter().enumerate() {
        if before == 0 && matches!(byte, b'e' | b'A' | b'I' | b'F') {
            let rest = word.get(at..).unwrap_or_default();
            let tail = MARKS.iter().find_map(|mark| rest.strip_prefix(*mark));
            let is_long = |tail: &[u8]| {
                tail.iter().take_while(|byte| is_base64(**byte)).count() >= MARKED_BYTES
            };
            if tail.is_some_and(is_long) {
                return true;
            }
        }
        before = kind(*byte);
    }
    false
}

const fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// Whether a word reads like key material. Random base64 or hex changes between lower case, upper
/// case and digits at nearly every second place, names hardly ever do; a JWT and padded base64
/// are known by their ends.
pub(crate) fn looks_secret(word: &[u8]) -> bool {
    if word.len() < SHORTEST_BYTES {
        return false;
    }
    if word.ends_with(b"==") || has_mark(word) {
        return true;
    }
    let mut changes = 0_u32;
    let mut recent = 0_u16;
    let mut previous = 0_u8;
    let mut dense = false;
    for byte in word {
        let kind = kind(*byte);
        let change = kind != previous && kind != 0 && previous != 0;
        recent = recent << 1 | u16::from(change);
        changes += u32::from(change);
        dense |= recent.count_ones() >= 7;
        previous = kind;
    }
    let long_run = || {
        let mut runs =
            word.split(|byte| kind(*byte) == 0 && !matches!(byte, b'-' | b'_' | b'+' | b'='));
        let mixed = |run: &[u8]| (1..=3).all(|wanted| run.iter().any(|byte| kind(*byte) == wanted));
        let hex =
            |run: &[u8]| run.iter().filter(|byte| byte.is_ascii_hexdigit()).count() == run.len();
        runs.any(|run| run.len() >= LONG_RUN_BYTES && (mixed(run) || hex(run)))
    };
    dense || long_run() || (word.len() >= PLAIN_WORD_BYTES && changes as usize * 4 >= word.len())
}

/// Whether a role name may be a part of key material: for heads that were cut, in which the whole
/// cannot be known. Doubts more names than [`role_looks_secret`].
pub(crate) fn role_may_be_secret(role: &[u8]) -> bool {
    role_looks_secret(role)
        || (role.len() >= SHORTEST_BYTES && changes(role) * 10 >= role.len() * 3)
}

/// Whether a role name is really key material. Generated role names
/// (`eksctl-prod-NodeInstanceRole-1ABCDEFGHIJKL`) change more often than words do.
pub(crate) fn role_looks_secret(role: &[u8]) -> bool {
    if role.ends_with(b"==") || has_mark(role) {
        return true;
    }
    role.len() >= PLAIN_WORD_BYTES && changes(role) * 20 >= role.len() * 9
}

/// How often lower case, upper case and digits follow one another directly.
fn changes(word: &[u8]) -> usize {
    let mut previous = 0;
    word.iter()
        .filter(|byte| {
            let before = std::mem::replace(&mut previous, kind(**byte));
            before != previous && before != 0 && previous != 0
        })
        .count()
}

pub(super) const fn kind(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        b'0'..=b'9' => 3,
        _ => 0,
    }
}
