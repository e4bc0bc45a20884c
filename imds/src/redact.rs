//! What may leave the node of a text that a client wrote.
//!
//! Tokens and JWTs become a keyed hash: equal secrets stay recognisable within one key (from one
//! start of the agent to the next), and nobody without the key can test a guess. Free text loses every
//! word that looks like a secret, and every word that shares [`WINDOW`] bytes with a secret of the
//! same request. Rather a word too many than a token: what is lost here is a curiosity.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

mod argv;
mod claims;
mod clients;
mod secrets;
mod shape;

pub(crate) use secrets::{Secrets, WINDOW};
pub(crate) use shape::role_may_be_secret;
pub(crate) use shape::{looks_secret, role_looks_secret};

/// Bytes of user agent that an event carries.
pub(crate) const USER_AGENT_BYTES: usize = 256;
/// Bytes of host name that an event carries.
pub(crate) const HOST_BYTES: usize = 255;
/// Bytes of path that an event carries; a longer one is hashed.
pub(crate) const PATH_BYTES: usize = 512;
/// Bytes of free text that are looked at.
const TEXT_BYTES: usize = 1024;
/// Longest JWT whose claims are read. A Pod Identity token has some 1,200 bytes.
pub(crate) const JWT_BYTES: usize = 6 * 1024;

/// Secret of the hashes: 32 random bytes, new at each start of the agent.
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
    pub(crate) fn hash(&self, secret: &[u8]) -> String {
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
    pub(crate) fn blank(&self, secret: &[u8]) -> String {
        format!("[{}]", self.hash(secret))
    }

    /// Free text: words that look like secrets or share bytes with `secrets` are blanked, control
    /// and non-ASCII bytes become `?`, the rest is cut to `limit` bytes (after blanking, so that
    /// the cut cannot shorten a secret until it looks harmless). Where there may be secrets that we
    /// do not know, only the words of well-known clients are left.
    pub(crate) fn text(&self, bytes: &[u8], secrets: &Secrets<'_>, limit: usize) -> String {
        let mut text = printable(bytes);
        if secrets.is_cut() {
            return self.known_words(&text, limit);
        }
        let shares = secrets.shares_window(text.as_bytes());
        let is_bad = |word: &str| {
            looks_secret(word.as_bytes()) || (shares && secrets.shares_window(word.as_bytes()))
        };
        if shares || text.split(is_break).any(is_bad) {
            let blanked = self.blank_words(&text, limit, is_bad);
            // A secret with blanks in it spans words.
            if shares && secrets.shares_window(blanked.as_bytes()) {
                return self.blank(text.as_bytes());
            }
            text = blanked;
        }
        text.truncate(limit);
        text
    }

    /// The words of well-known clients; not even what stands between the others.
    fn known_words(&self, text: &str, limit: usize) -> String {
        let mut known = String::new();
        let words = text.split(' ').filter(|word| !word.is_empty());
        for (index, word) in words.enumerate() {
            if index > 0 {
                known.push(' ');
            }
            if clients::is_known(word.as_bytes()) {
                known.push_str(word);
            } else {
                known.push_str(&self.blank(word.as_bytes()));
            }
            if known.len() >= limit {
                break;
            }
        }
        known.truncate(limit);
        known
    }

    fn blank_words(&self, text: &str, limit: usize, is_bad: impl Fn(&str) -> bool) -> String {
        let mut blanked = String::with_capacity(text.len().min(limit));
        for part in text.split_inclusive(is_break) {
            let word = part.trim_end_matches(is_break);
            if !word.is_empty() && is_bad(word) {
                blanked.push_str(&self.blank(word.as_bytes()));
            } else {
                blanked.push_str(word);
            }
            blanked.push_str(part.get(word.len()..).unwrap_or_default());
            if blanked.len() >= limit {
                break;
            }
        }
        blanked.truncate(limit);
        blanked
    }
}

const fn is_break(letter: char) -> bool {
    matches!(letter, ' ' | '(' | ')' | ';' | ',' | '"' | '\'' | '<' | '>')
}

/// The first [`TEXT_BYTES`] as printable ASCII. A word that this limit would cut is left out: half
/// a secret may look harmless.
fn printable(bytes: &[u8]) -> String {
    let seen = match bytes.get(..TEXT_BYTES) {
        Some(seen) if bytes.len() > TEXT_BYTES => {
            let end = seen.iter().rposition(|byte| is_break(char::from(*byte)));
            seen.get(..end.unwrap_or(0)).unwrap_or_default()
        }
        _ => bytes,
    };
    if let Ok(text) = std::str::from_utf8(seen)
        && seen.iter().all(|byte| matches!(byte, b' '..=b'~'))
    {
        return text.to_owned();
    }
    let letter = |byte: &u8| match byte {
        b'\t' => ' ',
        b' '..=b'~' => char::from(*byte),
        _ => '?',
    };
    seen.iter().map(letter).collect()
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
