//! What an answer of S3 means. Pure.

use crate::sinks::cloudwatch::interpret::{Cause, Failure};
use crate::sinks::{RefusalKind, Refused};

/// As it is told to whoever asked: what could not be done, and what an operator can do.
pub fn refused(failure: Failure, doing: &str) -> Refused {
    let kind = kind(&failure);
    let help = match kind {
        RefusalKind::Missing => ": there is no such bucket in this Region",
        RefusalKind::Denied => {
            ": the role needs s3:PutObject on the prefix, and the bucket's policy must let it"
        }
        RefusalKind::Credentials => {
            ": give the collector's service account a role, or renew its credentials, or look at role_arn and external_id"
        }
        RefusalKind::Key => {
            ": the bucket's key must be enabled, and the role needs kms:GenerateDataKey and kms:Decrypt on it"
        }
        RefusalKind::Throttled | RefusalKind::Unavailable | RefusalKind::Other => "",
    };
    failure.refused(kind, format!("{doing}{help}"))
}

/// What S3 has names of its own for (API reference, *Error responses*); the others are those of all of AWS.
fn kind(failure: &Failure) -> RefusalKind {
    let is_of_key = failure
        .message
        .as_deref()
        .is_some_and(|said| said.contains("kms:") || said.contains("KMS"));
    match failure.code.as_deref().unwrap_or_default() {
        _ if failure.is_without_credentials => RefusalKind::Credentials,
        "NoSuchBucket" | "PermanentRedirect" | "AuthorizationHeaderMalformed" => {
            RefusalKind::Missing
        }
        "AccessDenied" | "AllAccessDisabled" | "AccountProblem" if !is_of_key => {
            RefusalKind::Denied
        }
        "AccessDenied" => RefusalKind::Key,
        "InvalidToken" | "TokenRefreshRequired" | "RequestTimeTooSkewed" => {
            RefusalKind::Credentials
        }
        "SlowDown" | "BandwidthLimitExceeded" | "OperationAborted" => RefusalKind::Throttled,
        "InternalError" | "XAmzContentSHA256Mismatch" | "BadDigest" | "IncompleteBody" => {
            RefusalKind::Unavailable
        }
        _ => match failure.cause() {
            Cause::Refusal(kind) => kind,
            Cause::NotFound => RefusalKind::Missing,
            Cause::Exists | Cause::Aborted => RefusalKind::Unavailable,
            Cause::Invalid => RefusalKind::Other,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_is_a_refusal_that_says_who_can_end_it() {
        for (code, message, status, kind) in [
            (
                "SlowDown",
                "Please reduce your request rate.",
                503,
                RefusalKind::Throttled,
            ),
            ("ServiceUnavailable", "", 503, RefusalKind::Unavailable),
            ("InternalError", "", 500, RefusalKind::Unavailable),
            ("RequestTimeout", "", 400, RefusalKind::Unavailable),
            ("BadDigest", "", 400, RefusalKind::Unavailable),
            ("NoSuchBucket", "", 404, RefusalKind::Missing),
            ("PermanentRedirect", "", 301, RefusalKind::Missing),
            ("AccessDenied", "Access Denied", 403, RefusalKind::Denied),
            (
                "AccessDenied",
                "… not authorized to perform: kms:GenerateDataKey",
                403,
                RefusalKind::Key,
            ),
            ("KMS.DisabledException", "", 400, RefusalKind::Key),
            ("ExpiredToken", "", 400, RefusalKind::Credentials),
            ("InvalidAccessKeyId", "", 403, RefusalKind::Credentials),
            ("SignatureDoesNotMatch", "", 403, RefusalKind::Credentials),
            ("RequestTimeTooSkewed", "", 403, RefusalKind::Credentials),
            ("InvalidRequest", "", 400, RefusalKind::Other),
            ("", "", 429, RefusalKind::Throttled),
        ] {
            let failure = Failure {
                code: Some(code.to_owned()),
                message: Some(message.to_owned()),
                status: Some(status),
                is_without_credentials: false,
                is_in_doubt: false,
                retry_after_ms: None,
                source: "it".into(),
            };
            assert_eq!(refused(failure, "put").kind, kind, "{code} {message}");
        }
    }
}
