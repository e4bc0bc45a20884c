//! The signature of a request: AWS Signature Version 4 ("Create a signed AWS API request" in the IAM
//! user guide), of `POST /` without a query, as all requests of AWS JSON are.

use std::fmt::Write as _;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};

/// What a signature is of.
#[derive(Clone, Debug, Default)]
pub(super) struct Signable<'a> {
    /// Those that are signed, in their order, in lower case.
    pub(super) headers: Vec<(&'a str, &'a str)>,
    pub(super) body: &'a [u8],
    /// `X-Amz-Date`.
    pub(super) date: &'a str,
    /// `20260131/eu-central-1/logs/aws4_request`.
    pub(super) scope: &'a str,
}

/// The signature by that secret, in hexadecimal.
pub(super) fn signature(secret: &str, of: &Signable<'_>) -> String {
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in of.scope.split('/') {
        key = mac(&key, part);
    }
    let request = hex(&Sha256::digest(canonical(of)));
    let text = format!("AWS4-HMAC-SHA256\n{}\n{}\n{request}", of.date, of.scope);
    hex(&mac(&key, &text))
}

fn canonical(of: &Signable<'_>) -> String {
    let mut lines = String::from("POST\n/\n\n");
    for (name, value) in &of.headers {
        let words: Vec<&str> = value.split_ascii_whitespace().collect();
        lines = format!("{lines}{name}:{}\n", words.join(" "));
    }
    let names: Vec<&str> = of.headers.iter().map(|(name, _)| *name).collect();
    let body = hex(&Sha256::digest(of.body));
    format!("{lines}\n{}\n{body}", names.join(";"))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    // HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return Vec::new();
    };
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string does not fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `post-vanilla` of AWS's test suite for Signature Version 4.
    #[test]
    fn the_signature_is_that_of_awss_own_example() {
        let of = Signable {
            headers: vec![
                ("host", "example.amazonaws.com"),
                ("x-amz-date", "20150830T123600Z"),
            ],
            body: b"",
            date: "20150830T123600Z",
            scope: "20150830/us-east-1/service/aws4_request",
        };
        assert_eq!(
            signature("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", &of),
            "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"
        );
    }

    #[test]
    fn every_part_of_a_request_is_signed() {
        let of = Signable {
            headers: vec![("host", "a")],
            body: b"b",
            date: "20150830T123600Z",
            scope: "20150830/us-east-1/logs/aws4_request",
        };
        let sign = |of: Signable<'_>| signature("s", &of);
        let mut all = vec![signature("t", &of), sign(of.clone())];
        all.push(sign(Signable {
            body: b"c",
            ..of.clone()
        }));
        all.push(sign(Signable {
            headers: vec![("host", "b")],
            ..of.clone()
        }));
        all.push(sign(Signable {
            headers: vec![("x", "a")],
            ..of.clone()
        }));
        all.push(sign(Signable {
            date: "20150830T123601Z",
            ..of.clone()
        }));
        all.push(sign(Signable {
            scope: "20150830/us-east-1/sts/aws4_request",
            ..of
        }));
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 7);
    }
}
