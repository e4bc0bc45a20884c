//! When a token ends by its own word (RFC 7519, section 4.1.4). Pure.
//!
//! Nothing here is a check of a token: the API server has made it before its end is looked at, and the
//! end only shortens the time for which that answer counts.

use serde::Deserialize;

#[derive(Deserialize)]
struct Claims {
    /// May be a fraction too; the API server's are whole.
    exp: Option<u64>,
}

/// Unix seconds; `None` of what is no JWT or says none.
pub(super) fn expires_unix_s(token: &str) -> Option<u64> {
    let mut parts = token.split('.');
    let (_, payload, _) = (parts.next()?, parts.next()?, parts.next()?);
    let claims: Claims = serde_json::from_slice(&base64url(payload)?).ok()?;
    claims.exp
}

/// Of the alphabet without padding that a JWT is written in (RFC 4648, section 5).
fn base64url(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0_u32, 0_u32);
    for character in text.bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(value)) & 0xffff;
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_read_from_the_second_part_and_from_nothing_else() {
        // {"exp":1795335334}
        assert_eq!(
            expires_unix_s("e30.eyJleHAiOjE3OTUzMzUzMzR9.x"),
            Some(1_795_335_334)
        );
        for none in [
            "",
            "not-a-token",
            "e30.eyJleHAiOjE3OTUzMzUzMzR9",
            "e30.e30.x",
            "e30.!!.x",
            // {"exp":-1}
            "e30.eyJleHAiOi0xfQ.x",
        ] {
            assert_eq!(expires_unix_s(none), None, "{none}");
        }
    }

    #[test]
    fn all_lengths_and_letters_are_read() {
        for (text, bytes) in [
            ("", &b""[..]),
            ("_w", &[0xff]),
            ("-_8", &[0xfb, 0xff]),
            ("AAEC", &[0, 1, 2]),
            ("eHl6MTI", b"xyz12"),
        ] {
            assert_eq!(base64url(text).as_deref(), Some(bytes), "{text}");
        }
        assert_eq!(base64url("A+"), None);
    }
}
