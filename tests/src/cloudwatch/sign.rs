//! Whether a request is signed, by whom and for what; the signature itself is not computed.

use std::collections::BTreeSet;

use super::error::AwsError;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// The service of the credential's scope.
const SERVICE: &str = "logs";
/// Headers that must be signed.
const SIGNED: [&str; 2] = ["host", "x-amz-date"];

/// The headers of a request that tell who it is from.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signed<'a> {
    pub(super) authorization: Option<&'a str>,
    pub(super) date: Option<&'a str>,
    pub(super) token: Option<&'a str>,
}

/// Who is let in.
#[derive(Debug, Default)]
pub(super) struct Doors {
    pub(super) region: String,
    /// `None`: any access key.
    pub(super) keys: Option<BTreeSet<String>>,
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

/// The access key that a request names, if it names one.
pub(super) fn access_key(authorization: &str) -> Option<&str> {
    let credential = parameter(authorization, "Credential")?;
    credential.split('/').next()
}

impl Doors {
    /// Whether a request comes in.
    pub(super) fn check(&self, signed: Signed<'_>) -> Result<(), AwsError> {
        let Some(authorization) = signed.authorization else {
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
        let signed_headers = required("SignedHeaders")?;
        let signature = required("Signature")?;
        let date = signed.date.filter(|date| is_date(date));
        let Some(date) = date else {
            return Err(incomplete("Authorization header requires 'X-Amz-Date'"));
        };
        let key = self.scoped(credential, date)?;
        if let Some(missing) = SIGNED
            .iter()
            .find(|s| !signed_headers.split(';').any(|h| h == **s))
        {
            return Err(invalid(format!("'{missing}' must be a signed header")));
        }
        if signature.len() != 64 || !signature.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(incomplete(format!("no signature: {signature:?}")));
        }
        if self.keys.as_ref().is_some_and(|keys| !keys.contains(key)) {
            return Err(unrecognized());
        }
        if signed
            .token
            .is_some_and(|token| self.expired.contains(token))
        {
            return Err(expired());
        }
        Ok(())
    }

    /// The access key of a credential whose scope is ours.
    fn scoped<'a>(&self, credential: &'a str, date: &str) -> Result<&'a str, AwsError> {
        let parts: Vec<&str> = credential.split('/').collect();
        let [key, day, region, service, "aws4_request"] = parts[..] else {
            return Err(incomplete(format!(
                "Credential must be KEY/DATE/REGION/SERVICE/aws4_request, not {credential:?}"
            )));
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
        Ok(key)
    }
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

    fn doors() -> Doors {
        Doors {
            region: "eu-central-1".to_owned(),
            ..Doors::default()
        }
    }

    fn header(credential: &str, headers: &str, signature: &str) -> String {
        format!(
            "AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={headers}, Signature={signature}"
        )
    }

    fn good() -> String {
        let credential = "AKID/20260131/eu-central-1/logs/aws4_request";
        header(credential, "host;x-amz-date", &"0f".repeat(32))
    }

    fn kind(doors: &Doors, authorization: &str, date: Option<&str>) -> String {
        let signed = Signed {
            authorization: Some(authorization),
            date,
            token: Some("session"),
        };
        doors
            .check(signed)
            .map_or_else(|e| e.kind, |()| String::new())
    }

    #[test]
    fn who_signs_for_this_service_and_region_comes_in() {
        assert_eq!(kind(&doors(), &good(), Some(DATE)), "");
        assert_eq!(access_key(&good()), Some("AKID"));
    }

    #[test]
    fn who_does_not_sign_is_told_what_is_missing() {
        let none = doors().check(Signed::default()).unwrap_err();
        assert_eq!(none.kind, "MissingAuthenticationTokenException");
        let is = |authorization: &str, date, kind_is: &str| {
            assert_eq!(
                kind(&doors(), authorization, date),
                kind_is,
                "{authorization}"
            );
        };
        let (signature, headers) = ("0f".repeat(32), "host;x-amz-date");
        let scope = |scope: &str| header(&format!("AKID/{scope}"), headers, &signature);
        is("Bearer x", Some(DATE), "IncompleteSignatureException");
        is(
            "AWS4-HMAC-SHA256",
            Some(DATE),
            "IncompleteSignatureException",
        );
        is(&good(), None, "IncompleteSignatureException");
        is(&good(), Some("2026-01-31"), "IncompleteSignatureException");
        is(
            &scope("20260131/eu-central-1/logs"),
            Some(DATE),
            "IncompleteSignatureException",
        );
        for wrong in [
            "20260131/eu-central-1/sts/aws4_request",
            "20260131/us-east-1/logs/aws4_request",
            "20260130/eu-central-1/logs/aws4_request",
            "202601/eu-central-1/logs/aws4_request",
        ] {
            is(&scope(wrong), Some(DATE), "InvalidSignatureException");
        }
        let credential = "AKID/20260131/eu-central-1/logs/aws4_request";
        is(
            &header(credential, "host", &signature),
            Some(DATE),
            "InvalidSignatureException",
        );
        is(
            &header(credential, headers, "0f"),
            Some(DATE),
            "IncompleteSignatureException",
        );
        is(
            &header(credential, headers, ""),
            Some(DATE),
            "IncompleteSignatureException",
        );
    }

    #[test]
    fn keys_and_tokens_are_those_of_the_script() {
        let mut doors = doors();
        doors.keys = Some(["AKID".to_owned()].into());
        assert_eq!(kind(&doors, &good(), Some(DATE)), "");
        doors.expired.insert("session".to_owned());
        assert_eq!(kind(&doors, &good(), Some(DATE)), "ExpiredTokenException");
        doors.keys = Some(["OTHER".to_owned()].into());
        assert_eq!(
            kind(&doors, &good(), Some(DATE)),
            "UnrecognizedClientException"
        );
    }
}
