//! What an answer adds to an event: status, life of a token, which credentials.
//!
//! Of a credential document only the id and the expiry are read, by position in the text, so that
//! the secret parts are never taken apart or stored, and a body that was cut still tells the id.

use memchr::{memchr, memmem};

use crate::http::{Cut, Framing, Head, parse_status_line, walk_headers};
use crate::request::{Lengths, TOKEN_MAX_BYTES, TTL};
use crate::{Class, Outcome};

/// Bytes of a body that are kept for that, until the answer is complete.
pub(crate) const BODY_BYTES: usize = 2 * 1024;
/// Stands in a body for bytes that were not captured. No text holds it.
pub(crate) const HOLE: u8 = 0;

/// The head of an answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: Option<u16>,
    pub(crate) length: Option<u64>,
    pub(crate) token_ttl_seconds: Option<u32>,
    /// The body is compressed: it is not read.
    pub(crate) encoded: bool,
    pub(crate) framing: Framing,
}

/// Reads an answer's head. `to_head`: it answers HEAD, so no body follows.
pub(crate) fn read(bytes: &[u8], cut: Cut, to_head: bool) -> Answer {
    let head = Head::split(bytes);
    let Some(line) = head.first_line.and_then(parse_status_line) else {
        return Answer {
            status: None,
            length: None,
            token_ttl_seconds: None,
            encoded: false,
            framing: Framing::Lost,
        };
    };
    let mut lengths = Lengths::default();
    let mut encoded = false;
    let mut token_ttl_seconds = None;
    walk_headers(head.lines, |header| match header.name.len() {
        14 | 17 => lengths.take(&header),
        16 if header.is("content-encoding") => {
            encoded |= !header.value.eq_ignore_ascii_case(b"identity");
        }
        36 if header.is(TTL) => {
            token_ttl_seconds = std::str::from_utf8(header.value)
                .ok()
                .and_then(|text| text.parse().ok());
        }
        _ => {}
    });
    // RFC 9112 section 6.3.
    let framing = match (line.status, cut) {
        (101, _) => Framing::Opaque,
        (100..=199 | 204 | 304, _) => Framing::Length(0),
        _ if to_head => Framing::Length(0),
        (_, Cut::Missing) => Framing::Lost,
        _ if lengths.chunked => Framing::Chunked,
        _ if lengths.conflict => Framing::Lost,
        _ => lengths.length.map_or(Framing::UntilClose, Framing::Length),
    };
    Answer {
        status: Some(line.status),
        length: lengths.length,
        token_ttl_seconds,
        encoded,
        framing,
    }
}

/// What a status means.
pub(crate) const fn outcome(status: u16) -> Outcome {
    match status {
        ..=399 => Outcome::Ok,
        401 => Outcome::AuthFailed,
        403 => Outcome::Denied,
        404 => Outcome::NotFound,
        _ => Outcome::Error,
    }
}

/// The session token that a body is; `None` where a part of it is missing or it is something else.
pub(crate) fn session_token(body: &[u8]) -> Option<&[u8]> {
    let token = body.trim_ascii();
    let is_text = token.iter().all(u8::is_ascii_graphic);
    ((1..=TOKEN_MAX_BYTES).contains(&token.len()) && is_text).then_some(token)
}

/// Whether the body of an answer says something that the event wants.
pub(crate) const fn wants_body(class: Class, status: u16) -> bool {
    status == 200 && matches!(class, Class::Cred | Class::Token)
}

/// `AccessKeyId` of a credential document. Not secret: CloudTrail shows it with each call.
pub(crate) fn access_key_id(body: &[u8]) -> Option<String> {
    let value = string_value(body, "\"AccessKeyId\"")?;
    // IAM user guide, "Unique identifiers": AKIA, ASIA and a few more that have this in common.
    let is_kind = value.starts_with('A') && value.get(2..4) == Some("IA");
    let is_id = is_kind
        && (16..=32).contains(&value.len())
        && value
            .bytes()
            .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    is_id.then(|| value.to_owned())
}

/// Whether a body is a credential document beyond doubt.
pub(crate) fn is_credentials(body: &[u8]) -> bool {
    body.trim_ascii_start().starts_with(b"{")
        && access_key_id(body).is_some()
        && memmem::find(body, b"\"SecretAccessKey\"").is_some()
}

/// `Expiration` of a credential document, as it stands there.
pub(crate) fn expiration(body: &[u8]) -> Option<String> {
    let value = string_value(body, "\"Expiration\"")?;
    let is_time = (20..=32).contains(&value.len())
        && value.bytes().all(|byte| {
            byte.is_ascii_digit() || matches!(byte, b'T' | b'Z' | b':' | b'.' | b'-' | b'+')
        });
    is_time.then(|| value.to_owned())
}

fn string_value<'a>(body: &'a [u8], name: &str) -> Option<&'a str> {
    let at = memmem::find(body, name.as_bytes())?;
    let rest = body.get(at + name.len()..)?.trim_ascii_start();
    let rest = rest
        .strip_prefix(b":")?
        .trim_ascii_start()
        .strip_prefix(b"\"")?;
    let end = memchr(b'"', rest)?;
    rest.get(..end)
        .and_then(|value| std::str::from_utf8(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credential_documents() {
        let body = br#"{ "Code" : "Success", "AccessKeyId" : "ASIAIOSFODNN7EXAMPLE",
            "SecretAccessKey" : "s", "Token" : "t", "Expiration" : "2026-01-02T03:04:05Z" }"#;
        assert_eq!(access_key_id(body).as_deref(), Some("ASIAIOSFODNN7EXAMPLE"));
        assert_eq!(expiration(body).as_deref(), Some("2026-01-02T03:04:05Z"));
        for cut in 0..body.len() {
            let id = access_key_id(&body[..cut]);
            assert!(id.is_none_or(|id| id == "ASIAIOSFODNN7EXAMPLE"), "{cut}");
        }
        assert_eq!(
            access_key_id(br#"{"AccessKeyId":"wJalrXUtnFEMI/K7MDENG"}"#),
            None
        );
        assert_eq!(
            expiration(br#"{"Expiration":"wJalrXUtnFEMIK7MDENGxx"}"#),
            None
        );
    }

    #[test]
    fn framing_follows_the_rfc() {
        let check = |head: &str, to_head, expected| {
            assert_eq!(
                read(head.as_bytes(), Cut::Whole, to_head).framing,
                expected,
                "{head}"
            );
        };
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            false,
            Framing::Length(3),
        );
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n",
            true,
            Framing::Length(0),
        );
        check(
            "HTTP/1.1 304 x\r\nContent-Length: 3\r\n\r\n",
            false,
            Framing::Length(0),
        );
        check(
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n",
            false,
            Framing::Chunked,
        );
        check("HTTP/1.0 200 OK\r\n\r\n", false, Framing::UntilClose);
        check("HTTP/1.1 101 x\r\n\r\n", false, Framing::Opaque);
        check(
            "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
            false,
            Framing::Lost,
        );
        check("nonsense\r\n\r\n", false, Framing::Lost);
    }
}
