//! What an answer of CloudWatch Logs means. Pure: the client says what came back in these types.

use crate::sinks::{BoxError, RefusalKind, Refused};

/// What came back of a call.
#[derive(Debug)]
pub enum Answer<T> {
    /// The service did it.
    Done(T),
    /// It says that it did, but what else it says cannot be read: what became of the events is not known.
    Unreadable(BoxError),
    /// It did not, or there is no answer.
    Failed(Failure),
}

/// Which events of a call were not taken, by their places in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rejected {
    /// Those before this place are too old.
    pub too_old_end: Option<i32>,
    /// Those before this place are older than the group keeps. AWS does not say whether the place itself is;
    /// like the one before it is read as not.
    pub expired_end: Option<i32>,
    /// This one and those behind it are too new.
    pub too_new_start: Option<i32>,
}

impl Rejected {
    /// The places of those that were taken, of `len`. What the places cannot be (below 0, beyond the end, crossed)
    /// is read so that fewer were taken: to send again does less harm than to lose.
    pub fn accepted(self, len: usize) -> std::ops::Range<usize> {
        let place = |place: i32| usize::try_from(place).unwrap_or(0).min(len);
        let end = |of: Option<i32>| of.map_or(0, place);
        let start = end(self.too_old_end).max(end(self.expired_end));
        let stop = self.too_new_start.map_or(len, place);
        start.min(stop)..stop
    }
}

/// A call that was not done, as far as the client can tell.
#[derive(Debug)]
pub struct Failure {
    /// The name of the service's error.
    pub code: Option<String>,
    /// What the service says of it.
    pub message: Option<String>,
    /// Status of the answer, if there was one.
    pub status: Option<u16>,
    /// No credentials were found, or none could be got.
    pub is_without_credentials: bool,
    /// It may have been done all the same: the request was sent, and no answer came.
    pub is_in_doubt: bool,
    /// Milliseconds after which to come again, as the answer says.
    pub retry_after_ms: Option<u64>,
    /// The client's error.
    pub source: BoxError,
}

/// What a failure is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The stream, of a call to it; the group, of the call to make a stream.
    NotFound,
    /// What was to be made is there.
    Exists,
    /// Somebody else makes the same at this moment.
    Aborted,
    /// The request itself, so one of its events.
    Invalid,
    /// Nothing that another request would change.
    Refusal(RefusalKind),
}

impl Failure {
    /// What it is about: by the error's name, then by the status.
    pub fn cause(&self) -> Cause {
        if self.is_without_credentials {
            return Cause::Refusal(RefusalKind::Credentials);
        }
        // `com.amazonaws.logs#ThrottlingException:http://…` in some protocols.
        let code = self.code.as_deref().unwrap_or_default();
        let code = code.rsplit('#').next().unwrap_or_default();
        let code = code.split(':').next().unwrap_or_default();
        let code = code.strip_suffix("Exception").unwrap_or(code);
        let kind = match code {
            "ResourceNotFound" => return Cause::NotFound,
            "ResourceAlreadyExists" => return Cause::Exists,
            "OperationAborted" => return Cause::Aborted,
            "InvalidParameter" | "Validation" | "Serialization" => return self.invalid(),
            "Throttling"
            | "Throttled"
            | "RequestThrottled"
            | "RequestLimitExceeded"
            | "TooManyRequests"
            | "SlowDown" => RefusalKind::Throttled,
            "ServiceUnavailable"
            | "InternalFailure"
            | "InternalServer"
            | "InternalServerError"
            | "RequestTimeout" => RefusalKind::Unavailable,
            "AccessDenied" | "UnauthorizedOperation" if self.is_of_key() => RefusalKind::Key,
            "AccessDenied" | "UnauthorizedOperation" => RefusalKind::Denied,
            "UnrecognizedClient"
            | "InvalidClientTokenId"
            | "ExpiredToken"
            | "RequestExpired"
            | "InvalidSignature"
            | "SignatureDoesNotMatch"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "MissingAuthentication"
            | "InvalidAccessKeyId"
            | "NotAuthorized"
            | "OptInRequired" => RefusalKind::Credentials,
            "NoRegion" | "BuildError" | "ConstructionFailure" => RefusalKind::Other,
            code if code.starts_with("KMS") || code.starts_with("Kms") => RefusalKind::Key,
            _ => return self.by_status(),
        };
        Cause::Refusal(kind)
    }

    fn by_status(&self) -> Cause {
        Cause::Refusal(match self.status {
            None | Some(408 | 500..) => RefusalKind::Unavailable,
            Some(413) => return Cause::Invalid,
            Some(429) => RefusalKind::Throttled,
            Some(401) => RefusalKind::Credentials,
            Some(403) => RefusalKind::Denied,
            Some(_) => RefusalKind::Other,
        })
    }

    /// An invalid request is an event's fault, unless the service says whose else it is: that of the names,
    /// which all requests have alike, or of the group's key. What it says can quote an event.
    fn invalid(&self) -> Cause {
        let message = self.message.as_deref().unwrap_or_default();
        let is_at = |member: &str| message.contains(&format!("at '{member}"));
        if is_at("logEvents") {
            Cause::Invalid
        } else if is_at("logGroupName'") || is_at("logStreamName'") {
            Cause::Refusal(RefusalKind::Other)
        } else if self.is_of_key() {
            Cause::Refusal(RefusalKind::Key)
        } else {
            Cause::Invalid
        }
    }

    fn is_of_key(&self) -> bool {
        let message = self.message.as_deref().unwrap_or_default();
        ["KMS key", "kms:", "kmsKeyId"]
            .iter()
            .any(|word| message.contains(word))
    }

    /// As it is told to whoever asked.
    pub fn refused(self, kind: RefusalKind, what: String) -> Refused {
        Refused {
            kind,
            what,
            source: Some(self.source),
            retry_after_ms: self.retry_after_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_rejects_say_what_was_taken() {
        let rejected = |too_old_end, expired_end, too_new_start| Rejected {
            too_old_end,
            expired_end,
            too_new_start,
        };
        for (of, expect) in [
            (rejected(None, None, None), 0..5),
            (rejected(Some(2), None, None), 2..5),
            (rejected(None, Some(3), None), 3..5),
            (rejected(Some(2), Some(3), None), 3..5),
            (rejected(Some(3), Some(2), Some(4)), 3..4),
            (rejected(None, None, Some(0)), 0..0),
            (rejected(Some(5), None, None), 5..5),
            (rejected(Some(9), None, None), 5..5),
            (rejected(None, None, Some(9)), 0..5),
            (rejected(Some(-1), None, Some(-1)), 0..0),
            (rejected(Some(4), None, Some(2)), 2..2),
        ] {
            assert_eq!(of.accepted(5), expect, "{of:?}");
        }
        assert_eq!(rejected(Some(1), None, Some(1)).accepted(0), 0..0);
    }

    fn failure(code: &str, message: &str, status: Option<u16>) -> Failure {
        Failure {
            code: Some(code.to_owned()).filter(|code| !code.is_empty()),
            message: Some(message.to_owned()),
            status,
            is_without_credentials: false,
            is_in_doubt: false,
            retry_after_ms: None,
            source: "it".into(),
        }
    }

    #[test]
    fn every_error_has_a_cause() {
        use RefusalKind::{Credentials, Denied, Key, Other, Throttled, Unavailable};
        let refusal = Cause::Refusal;
        for (code, message, status, expect) in [
            (
                "ThrottlingException",
                "Rate exceeded",
                Some(400),
                refusal(Throttled),
            ),
            ("", "", Some(429), refusal(Throttled)),
            (
                "ServiceUnavailableException",
                "",
                Some(500),
                refusal(Unavailable),
            ),
            ("InternalFailure", "", Some(500), refusal(Unavailable)),
            ("Unheard", "", Some(503), refusal(Unavailable)),
            ("", "", None, refusal(Unavailable)),
            ("ResourceNotFoundException", "", Some(400), Cause::NotFound),
            (
                "ResourceAlreadyExistsException",
                "",
                Some(400),
                Cause::Exists,
            ),
            ("OperationAbortedException", "", Some(400), Cause::Aborted),
            ("", "", Some(413), Cause::Invalid),
            ("KMSDisabledException", "", Some(400), refusal(Key)),
            (
                "AccessDeniedException",
                "no kms:Decrypt on it",
                Some(400),
                refusal(Key),
            ),
            (
                "AccessDeniedException",
                "not authorized to perform",
                Some(400),
                refusal(Denied),
            ),
            ("", "", Some(403), refusal(Denied)),
            (
                "UnrecognizedClientException",
                "",
                Some(400),
                refusal(Credentials),
            ),
            ("ExpiredTokenException", "", Some(400), refusal(Credentials)),
            ("ExpiredToken", "", Some(403), refusal(Credentials)),
            (
                "InvalidSignatureException",
                "",
                Some(400),
                refusal(Credentials),
            ),
            (
                "MissingAuthenticationTokenException",
                "",
                Some(403),
                refusal(Credentials),
            ),
            ("", "", Some(401), refusal(Credentials)),
            ("NoRegion", "", None, refusal(Other)),
            ("Unheard", "", Some(400), refusal(Other)),
        ] {
            let failure = failure(code, message, status);
            assert_eq!(failure.cause(), expect, "{code} {message} {status:?}");
        }
    }

    #[test]
    fn an_invalid_request_is_the_fault_of_an_event_or_of_all() {
        let refusal = Cause::Refusal;
        for (code, message, expect) in [
            (
                "InvalidParameterException",
                "Log event too large",
                Cause::Invalid,
            ),
            (
                "com.amazonaws.logs#InvalidParameterException",
                "",
                Cause::Invalid,
            ),
            ("InvalidParameterException:http://x/", "", Cause::Invalid),
            (
                "InvalidParameterException",
                "Value '{\"kms:\": 1}' at 'logEvents.1.member.message' failed",
                Cause::Invalid,
            ),
            (
                "InvalidParameterException",
                "Value at 'logGroupName' failed to satisfy constraint",
                refusal(RefusalKind::Other),
            ),
            (
                "InvalidParameterException",
                "The KMS key is disabled",
                refusal(RefusalKind::Key),
            ),
        ] {
            let failure = failure(code, message, Some(400));
            assert_eq!(failure.cause(), expect, "{code} {message}");
        }
    }

    #[test]
    fn without_credentials_nothing_else_is_told() {
        let mut nobody = failure("ThrottlingException", "", None);
        nobody.is_without_credentials = true;
        let expect = Cause::Refusal(RefusalKind::Credentials);
        assert_eq!(nobody.cause(), expect);
    }
}
