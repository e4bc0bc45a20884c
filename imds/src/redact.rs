//! What may leave the node of a text that a client wrote.
//!
//! Tokens and JWTs become a keyed hash: equal secrets stay recognisable within one key (one boot
//! of a node), and nobody without the key can test a guess. Free text loses every word that looks
//! like a secret, and every word that shares [`WINDOW`] bytes with a secret of the same request.
//! Rather a word too many than a token: what is lost here is a curiosity.

use hmac::{Hmac, KeyInit, Mac};
use serde::Deserialize;
use sha2::Sha256;

use crate::PodIdentity;

/// Bytes of user agent that an event carries.
pub const USER_AGENT_BYTES: usize = 256;
/// Bytes of host name that an event carries.
pub const HOST_BYTES: usize = 255;
/// Bytes of path that an event carries; a longer one is hashed.
pub const PATH_BYTES: usize = 512;
/// Bytes of free text that are looked at.
const TEXT_BYTES: usize = 1024;
/// So many equal bytes in a row give a secret away.
pub const WINDOW: usize = 8;
/// Longest JWT whose claims are read. A Pod Identity token has some 1,200 bytes.
pub const JWT_BYTES: usize = 6 * 1024;
/// Longest secret whose windows are compared.
const SECRET_BYTES: usize = 8 * 1024;

/// Secret of the hashes: 32 random bytes, new for each boot.
#[derive(Clone)]
pub struct Key(pub [u8; 32]);

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

/// Hashes and blanks out.
#[derive(Clone)]
pub struct Redactor {
    mac: Option<Hmac<Sha256>>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Redactor(..)")
    }
}

impl Redactor {
    /// A redactor with that key.
    pub fn new(key: &Key) -> Self {
        // HMAC takes keys of any length, so this is always Some.
        Self {
            mac: Hmac::new_from_slice(&key.0).ok(),
        }
    }

    /// First 64 bits of HMAC-SHA-256 (RFC 2104), 16 hex digits.
    pub fn hash(&self, secret: &[u8]) -> String {
        let Some(mut mac) = self.mac.clone() else {
            return String::from("unhashed");
        };
        mac.update(secret);
        let digest = mac.finalize().into_bytes();
        let first = digest
            .iter()
            .take(8)
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        format!("{first:016x}")
    }

    /// A secret's place-holder.
    pub fn blank(&self, secret: &[u8]) -> String {
        format!("[{}]", self.hash(secret))
    }

    /// Free text: words that look like secrets or share bytes with `secrets` are blanked, control
    /// and non-ASCII bytes become `?`, the rest is cut to `limit` bytes (after blanking, so that
    /// the cut cannot shorten a secret until it looks harmless).
    pub fn text(&self, bytes: &[u8], secrets: &Secrets<'_>, limit: usize) -> String {
        let seen = bytes.get(..TEXT_BYTES).unwrap_or(bytes);
        let mut text = String::with_capacity(seen.len().min(limit));
        for word in seen.split_inclusive(|byte| is_break(*byte)) {
            let end = word.len() - usize::from(word.last().is_some_and(|byte| is_break(*byte)));
            let (word, after) = word.split_at(end);
            if looks_secret(word) || secrets.shares_window(word) {
                text.push_str(&self.blank(word));
            } else {
                push_printable(&mut text, word);
            }
            push_printable(&mut text, after);
            if text.len() >= limit {
                break;
            }
        }
        text.truncate(limit);
        // A secret with blanks in it spans words.
        if secrets.shares_window(text.as_bytes()) {
            self.blank(seen)
        } else {
            text
        }
    }

    /// Claims of a JWT, unverified. `None` if it is not a JWT with claims that we can read.
    pub fn claims(&self, token: &[u8]) -> Option<PodIdentity> {
        if token.len() > JWT_BYTES {
            return None;
        }
        let mut parts = token.split(|byte| *byte == b'.');
        let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
        if parts.next().is_some() {
            return None;
        }
        let payload = decode_base64url(payload)?;
        let claims: Claims = serde_json::from_slice(&payload).ok()?;
        let kubernetes = claims.kubernetes?;
        let named =
            |named: Option<Named>| named.map_or((None, None), |named| (named.name, named.uid));
        let (pod_name, pod_uid) = named(kubernetes.pod);
        let (service_account, _) = named(kubernetes.serviceaccount);
        Some(PodIdentity {
            namespace: kubernetes.namespace.filter(|name| is_object_name(name)),
            pod_name: pod_name.filter(|name| is_object_name(name)),
            pod_uid: pod_uid.filter(|uid| is_object_name(uid)),
            service_account: service_account.filter(|name| is_object_name(name)),
        })
    }
}

/// The secrets that one request carries in the open, to be kept out of its other fields.
#[derive(Debug, Default)]
pub struct Secrets<'a> {
    known: Vec<&'a [u8]>,
    /// One bit for each hash of a window: most text shares none.
    filter: Vec<u64>,
}

impl<'a> Secrets<'a> {
    const FILTER_WORDS: usize = 64;

    /// Adds a secret.
    pub fn add(&mut self, secret: &'a [u8]) {
        let secret = secret.get(..SECRET_BYTES).unwrap_or(secret);
        if secret.len() < WINDOW {
            return;
        }
        if self.filter.is_empty() {
            self.filter = vec![0; Self::FILTER_WORDS];
        }
        for window in secret.windows(WINDOW) {
            let (word, bit) = Self::place(window);
            if let Some(word) = self.filter.get_mut(word) {
                *word |= 1 << bit;
            }
        }
        self.known.push(secret);
    }

    /// Whether [`WINDOW`] bytes in a row of `text` occur in a secret.
    pub fn shares_window(&self, text: &[u8]) -> bool {
        if self.known.is_empty() {
            return false;
        }
        text.windows(WINDOW).any(|window| {
            let (word, bit) = Self::place(window);
            self.filter
                .get(word)
                .is_some_and(|bits| bits >> bit & 1 == 1)
                && self
                    .known
                    .iter()
                    .any(|secret| secret.windows(WINDOW).any(|other| other == window))
        })
    }

    fn place(window: &[u8]) -> (usize, u32) {
        let value = window
            .iter()
            .fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
        let mixed = value.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 52;
        ((mixed >> 6) as usize, (mixed & 63) as u32)
    }
}

/// Longest word without the marks of a random string.
const PLAIN_WORD_BYTES: usize = 20;
/// No word of a user agent or path has so many base64url characters in a row.
const LONG_RUN_BYTES: usize = 32;

/// Whether a word reads like key material. Random base64 or hex changes between lower case, upper
/// case and digits at nearly every second place, names hardly ever do; a JWT and padded base64
/// are known by their ends.
pub fn looks_secret(word: &[u8]) -> bool {
    if word.len() < 16 {
        return false;
    }
    if word.ends_with(b"==") || word.starts_with(b"eyJ") {
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

/// Whether a role name is really key material. Generated role names
/// (`eksctl-prod-NodeInstanceRole-1ABCDEFGHIJKL`) change more often than words do.
pub fn role_looks_secret(role: &[u8]) -> bool {
    if role.ends_with(b"==") || role.starts_with(b"eyJ") {
        return true;
    }
    let changes = role.windows(2).filter(|pair| {
        let (a, b) = (
            pair.first().map_or(0, |b| kind(*b)),
            pair.last().map_or(0, |b| kind(*b)),
        );
        a != b && a != 0 && b != 0
    });
    role.len() >= PLAIN_WORD_BYTES && changes.count() * 20 >= role.len() * 9
}

const fn kind(byte: u8) -> u8 {
    match byte {
        b'a'..=b'z' => 1,
        b'A'..=b'Z' => 2,
        b'0'..=b'9' => 3,
        _ => 0,
    }
}

const fn is_break(byte: u8) -> bool {
    matches!(
        byte,
        b' ' | b'\t' | b'(' | b')' | b';' | b',' | b'"' | b'\'' | b'<' | b'>'
    )
}

fn push_printable(text: &mut String, bytes: &[u8]) {
    text.extend(bytes.iter().map(|byte| {
        if byte.is_ascii_graphic() || *byte == b' ' {
            char::from(*byte)
        } else {
            '?'
        }
    }));
}

/// Kubernetes names and UIDs: RFC 1123 subdomains.
fn is_object_name(name: &str) -> bool {
    (1..=253).contains(&name.len())
        && name.bytes().all(|byte| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.')
        })
}

#[derive(Deserialize)]
struct Claims {
    #[serde(rename = "kubernetes.io")]
    kubernetes: Option<Kubernetes>,
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: Option<String>,
    pod: Option<Named>,
    serviceaccount: Option<Named>,
}

#[derive(Deserialize)]
struct Named {
    name: Option<String>,
    uid: Option<String>,
}

/// RFC 4648 section 5, padding optional.
fn decode_base64url(text: &[u8]) -> Option<Vec<u8>> {
    let padding = text.iter().rev().take_while(|byte| **byte == b'=').count();
    let text = text.get(..text.len() - padding)?;
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let mut bits = 0_u32;
    let mut count = 0;
    for byte in text {
        let value = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'-' | b'+' => 62,
            b'_' | b'/' => 63,
            _ => return None,
        };
        bits = bits << 6 | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(&Key([7; 32]))
    }

    #[test]
    fn hash_is_hmac_sha256() {
        // RFC 4231 test case 1 has a 20-byte key; HMAC pads keys with zeros, so the same key
        // padded to 32 bytes gives the same digest: b0344c61d8db3853…
        let mut key = [0; 32];
        key[..20].fill(0x0b);
        assert_eq!(
            Redactor::new(&Key(key)).hash(b"Hi There"),
            "b0344c61d8db3853"
        );
    }

    #[test]
    fn ordinary_words_stay() {
        for word in [
            "aws-sdk-go-v2/1.24.0",
            "lang/go#1.21.5",
            "md/Botocore#1.29.0",
            "os/linux#5.10.165-143.735.amzn2.x86_64",
            "AppleWebKit/537.36",
            "exec-env/AWS_ECS_FARGATE",
            "OpenJDK_64-Bit_Server_VM/17.0.9+9-LTS",
            "GOARCH#amd64",
            "aws-cli/2.15.30",
            "security-credentials-extended",
            "eu-central-1a",
            "02:29:96:8f:6a:2d",
        ] {
            assert!(!looks_secret(word.as_bytes()), "{word}");
        }
        for role in [
            "node-role",
            "eksctl-prod-nodegroup-ng-NodeInstanceRole-1ABCDEFGHIJKL",
            "AmazonEKSNodeRole",
        ] {
            assert!(!role_looks_secret(role.as_bytes()), "{role}");
        }
    }

    #[test]
    fn secrets_go() {
        for word in [
            "AQAEAGhVd0xrZ2JqS3B5bVZ0dGZ2Q1pXbk1LUW9hYnN3w5w==",
            "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJ4In0.c2ln",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "token=9f86d081884c7d659a2feaa0c55ad015",
        ] {
            assert!(looks_secret(word.as_bytes()), "{word}");
        }
        let mut secrets = Secrets::default();
        secrets.add(b"aaaaaaaabbbb");
        assert_eq!(
            redactor().text(b"curl/8 xaaaaaaaabx", &secrets, 256).len(),
            "curl/8 ".len() + 18
        );
        assert_eq!(
            redactor().text(b"curl/8 \x01\xff", &secrets, 256),
            "curl/8 ??"
        );
        assert_eq!(
            redactor()
                .text(&[b'z'; 300], &Secrets::default(), 256)
                .len(),
            256
        );
    }

    #[test]
    fn claims_of_a_jwt() {
        // {"kubernetes.io":{"namespace":"shop","pod":{"name":"web-0","uid":"u-1"},"serviceaccount":{"name":"web"}}}
        let payload = "eyJrdWJlcm5ldGVzLmlvIjp7Im5hbWVzcGFjZSI6InNob3AiLCJwb2QiOnsibmFtZSI6IndlYi0wIiwidWlkIjoidS0xIn0sInNlcnZpY2VhY2NvdW50Ijp7Im5hbWUiOiJ3ZWIifX19";
        let claims = redactor()
            .claims(format!("eyJhbGciOiJub25lIn0.{payload}.c2ln").as_bytes())
            .unwrap();
        assert_eq!(claims.namespace.as_deref(), Some("shop"));
        assert_eq!(claims.pod_name.as_deref(), Some("web-0"));
        assert_eq!(claims.pod_uid.as_deref(), Some("u-1"));
        assert_eq!(claims.service_account.as_deref(), Some("web"));
        for bad in ["", "a.b", "a.b.c", "a.!.c", "a.e30.c", "a.b.c.d"] {
            assert_eq!(redactor().claims(bad.as_bytes()), None, "{bad}");
        }
    }
}
