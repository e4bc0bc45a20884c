//! Whether a request is signed, by whom and for what; and, if the secret of its key is known, whether
//! the signature is true.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::HeaderMap;

use super::error::AwsError;
use super::signature::{Signable, signature};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The service of the credential's scope.
const SERVICE: &str = "logs";
/// What AWS says of a signature that is another one.
pub(super) const MISMATCH: &str =
    "The request signature we calculated does not match the signature you provided.";
/// Headers that must be signed.
const SIGNED: [&str; 2] = ["host", "x-amz-date"];

/// A request, as far as it is signed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Signed<'a> {
    pub(super) headers: &'a HeaderMap,
    /// As it was sent.
    pub(super) body: &'a [u8],
}

impl<'a> Signed<'a> {
    fn header(self, name: &str) -> Option<&'a str> {
        let value = self.headers.get(name)?;
        value.to_str().ok()
    }

    /// The access key that it names; empty: it names none.
    pub(super) fn access_key(self) -> &'a str {
        let credential = self
            .header("authorization")
            .and_then(|authorization| parameter(authorization, "Credential"));
        let key = credential.and_then(|credential| credential.split('/').next());
        key.unwrap_or_default()
    }
}

/// Who is let in.
#[derive(Debug, Default)]
pub(super) struct Doors {
    pub(super) region: String,
    /// `None`: any access key.
    pub(super) keys: Option<BTreeSet<String>>,
    /// Secrets of access keys that are known.
    pub(super) secrets: BTreeMap<String, String>,
    /// Session tokens that have expired.
    pub(super) expired: BTreeSet<String>,
}

pub(super) fn expired() -> AwsError {
    let message = "The security token included in the request is expired";
    AwsError::new("ExpiredTokenException", message)
}

pub(super) fn unrecognized() -> AwsError {
    let message = "The security token included in the request is invalid.";
    AwsError::new("UnrecognizedClientException", message)
}

fn incomplete(message: impl Into<String>) -> AwsError {
    AwsError::new("IncompleteSignatureException", message)
}

fn invalid(message: impl Into<String>) -> AwsError {
    AwsError::new("InvalidSignatureException", message)
}

impl Doors {
    /// Whether a request comes in.
    pub(super) fn check(&self, signed: Signed<'_>) -> Result<(), AwsError> {
        let Some(authorization) = signed.header("authorization") else {
            return Err(AwsError::new(
                "MissingAuthenticationTokenException",
                "Missing Authentication Token",
            ));
        };
        if authorization.split(' ').next() != Some(ALGORITHM) {
            return Err(incomplete(format!("no {ALGORITHM}: {authorization:?}")));
        }
        let required = |name| {
            let value = parameter(authorization, name).filter(|value| !value.is_empty());
            value.ok_or_else(|| incomplete(format!("Authorization header requires '{name}'")))
        };
        let credential = required("Credential")?;
        let names = required("SignedHeaders")?;
        let shown = required("Signature")?;
        let date = signed.header("x-amz-date").filter(|date| is_date(date));
        let Some(date) = date else {
            return Err(incomplete("Authorization header requires 'X-Amz-Date'"));
        };
        let (key, scope) = self.scoped(credential, date)?;
        let headers = signed_headers(signed, names)?;
        if shown.len() != 64 || !shown.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(incomplete(format!("no signature: {shown:?}")));
        }
        if self.keys.as_ref().is_some_and(|keys| !keys.contains(key)) {
            return Err(unrecognized());
        }
        let of = Signable {
            headers,
            body: signed.body,
            date,
            scope,
        };
        let secret = self.secrets.get(key);
        if secret.is_some_and(|secret| signature(secret, &of) != shown) {
            return Err(invalid(MISMATCH));
        }
        let token = signed.header("x-amz-security-token");
        if token.is_some_and(|token| self.expired.contains(token)) {
            return Err(expired());
        }
        Ok(())
    }

    /// The access key and the scope of a credential, if the scope is ours.
    fn scoped<'a>(&self, credential: &'a str, date: &str) -> Result<(&'a str, &'a str), AwsError> {
        let malformed = || {
            incomplete(format!(
                "Credential must be KEY/DATE/REGION/SERVICE/aws4_request, not {credential:?}"
            ))
        };
        let (key, scope) = credential.split_once('/').ok_or_else(malformed)?;
        let parts: Vec<&str> = scope.split('/').collect();
        let [day, region, service, "aws4_request"] = parts[..] else {
            return Err(malformed());
        };
        if day.len() != 8 || !date.starts_with(day) {
            return Err(invalid(format!("scope of {day}, signed at {date}")));
        }
        if region != self.region || service != SERVICE {
            let (ours, scope) = (&self.region, format!("{region}/{service}"));
            return Err(invalid(format!(
                "Credential should be scoped to {ours}/{SERVICE}, not {scope}"
            )));
        }
        Ok((key, scope))
    }
}

/// The headers that a request says are signed, those among them that must be.
fn signed_headers<'a>(
    signed: Signed<'a>,
    names: &'a str,
) -> Result<Vec<(&'a str, &'a str)>, AwsError> {
    let names: Vec<&str> = names.split(';').collect();
    if let Some(missing) = SIGNED.iter().find(|required| !names.contains(required)) {
        return Err(invalid(format!("'{missing}' must be a signed header")));
    }
    if !names.is_sorted() {
        return Err(invalid("signed headers must be in order"));
    }
    let values = names.into_iter().map(|name| {
        let value = signed.header(name);
        let value = value.ok_or_else(|| invalid(format!("'{name}' is signed and not there")))?;
        Ok((name, value))
    });
    values.collect()
}

/// `20260131T235959Z`.
fn is_date(text: &str) -> bool {
    let fits = |(at, byte): (usize, u8)| match at {
        8 => byte == b'T',
        15 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    };
    text.len() == 16 && text.bytes().enumerate().all(fits)
}

fn parameter<'a>(authorization: &'a str, name: &str) -> Option<&'a str> {
    let (_, parameters) = authorization.split_once(' ')?;
    let mut pairs = parameters
        .split(',')
        .filter_map(|p| p.trim().split_once('='));
    pairs.find_map(|(known, value)| (known == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "20260131T235959Z";
    const SCOPE: &str = "20260131/eu-central-1/logs/aws4_request";

    fn doors() -> Doors {
        Doors {
            region: "eu-central-1".to_owned(),
            ..Doors::default()
        }
    }

    fn authorization(credential: &str, headers: &str, signature: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={headers}, Signature={signature}"
        )
    }

    fn scoped(scope: &str) -> String {
        authorization(
            &format!("AKID/{scope}"),
            "host;x-amz-date",
            &"0f".repeat(32),
        )
    }

    /// What a request with that header is refused with; empty: it comes in.
    fn kind(doors: &Doors, authorization: &str, date: Option<&str>) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("host", "logs".parse().unwrap());
        headers.insert("x-amz-security-token", "session".parse().unwrap());
        headers.insert("authorization", authorization.parse().unwrap());
        if let Some(date) = date {
            headers.insert("x-amz-date", date.parse().unwrap());
        }
        let signed = Signed {
            headers: &headers,
            body: b"{}",
        };
        let checked = doors.check(signed);
        checked.map_or_else(|e| e.kind, |()| String::new())
    }

    #[test]
    fn who_signs_for_this_service_and_region_comes_in() {
        assert_eq!(kind(&doors(), &scoped(SCOPE), Some(DATE)), "");
    }

    #[test]
    fn who_does_not_sign_is_told_what_is_missing() {
        let none = HeaderMap::new();
        let signed = Signed {
            headers: &none,
            body: b"",
        };
        let refusal = doors().check(signed).unwrap_err();
        assert_eq!(refusal.kind, "MissingAuthenticationTokenException");
        assert_eq!(signed.access_key(), "");
        let incomplete = |authorization: &str, date| {
            let told = kind(&doors(), authorization, date);
            assert_eq!(told, "IncompleteSignatureException", "{authorization}");
        };
        let credential = format!("AKID/{SCOPE}");
        let with = |headers, signature: &str| authorization(&credential, headers, signature);
        incomplete("Bearer x", Some(DATE));
        incomplete("AWS4-HMAC-SHA256", Some(DATE));
        incomplete(&scoped(SCOPE), None);
        incomplete(&scoped(SCOPE), Some("2026-01-31"));
        incomplete(&scoped("20260131/eu-central-1/logs"), Some(DATE));
        incomplete(&with("host;x-amz-date", "0f"), Some(DATE));
        incomplete(&with("host;x-amz-date", ""), Some(DATE));
        let invalid = |authorization: &str| {
            let told = kind(&doors(), authorization, Some(DATE));
            assert_eq!(told, "InvalidSignatureException", "{authorization}");
        };
        invalid(&scoped("20260131/eu-central-1/sts/aws4_request"));
        invalid(&scoped("20260131/us-east-1/logs/aws4_request"));
        invalid(&scoped("20260130/eu-central-1/logs/aws4_request"));
        invalid(&scoped("202601/eu-central-1/logs/aws4_request"));
        let signature = "0f".repeat(32);
        invalid(&with("host", &signature));
        invalid(&with("x-amz-date;host", &signature));
        invalid(&with("host;x-amz-date;x-amz-target", &signature));
    }

    #[test]
    fn keys_and_tokens_are_those_of_the_script() {
        let mut doors = doors();
        doors.keys = Some(["AKID".to_owned()].into());
        let told = |doors: &Doors| kind(doors, &scoped(SCOPE), Some(DATE));
        assert_eq!(told(&doors), "");
        doors.expired.insert("session".to_owned());
        assert_eq!(told(&doors), "ExpiredTokenException");
        doors.keys = Some(["OTHER".to_owned()].into());
        assert_eq!(told(&doors), "UnrecognizedClientException");
    }

    #[test]
    fn a_signature_is_true_where_the_secret_is_known() {
        let mut doors = doors();
        doors.secrets.insert("AKID".to_owned(), "secret".to_owned());
        let of = Signable {
            headers: vec![("host", "logs"), ("x-amz-date", DATE)],
            body: b"{}",
            date: DATE,
            scope: SCOPE,
        };
        let told = |secret: &str| {
            let signature = signature(secret, &of);
            let credential = format!("AKID/{SCOPE}");
            let header = authorization(&credential, "host;x-amz-date", &signature);
            kind(&doors, &header, Some(DATE))
        };
        assert_eq!(told("secret"), "");
        assert_eq!(told("another"), "InvalidSignatureException");
    }
}
