//! How the service misbehaves: which calls, how often, and what happens to them.

use super::error::AwsError;
use super::{CloudWatch, Operation};

/// Which calls of an operation a fault meets, counted from when it was scripted. Faults are met in
/// the order in which they were scripted, one for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Times {
    /// So many.
    Next(u32),
    /// So many, after some that go well.
    After {
        /// That go well.
        skip: u32,
        /// That do not.
        times: u32,
    },
    /// All, until [`super::CloudWatch::heal`].
    Always,
}

/// An answer that is not the service's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canned {
    /// HTTP's.
    pub status: u16,
    /// Of the body.
    pub content_type: String,
    /// Sent as it is.
    pub body: String,
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Refused with this; nothing is stored.
    Error(AwsError),
    /// The connection ends without an answer; nothing is stored.
    CutBefore,
    /// The connection ends without an answer; it was stored.
    CutAfter,
    /// Served, with its answer, only after [`super::CloudWatch::release`], or when it has waited for
    /// [`super::HELD_AT_MOST`]. A client that leaves before leaves nothing.
    HeldBefore,
    /// Served at once; its answer is held as [`Fault::HeldBefore`] is.
    HeldAfter,
    /// This is answered instead of serving it.
    Answer(Canned),
    /// It is served, and this is answered instead of what the service says.
    AnswerAfter(Canned),
    /// GetLogEvents alone: a page without events, with a token that leads on though nothing is passed
    /// over, as AWS gives it while it looks.
    EmptyPage,
}

impl Fault {
    fn error(kind: &str, message: &str) -> Self {
        Self::Error(AwsError::new(kind, message))
    }

    /// `ThrottlingException`, HTTP 400.
    pub fn throttling() -> Self {
        Self::error("ThrottlingException", "Rate exceeded")
    }

    /// `ServiceUnavailableException`, HTTP 503.
    pub fn service_unavailable() -> Self {
        let message = "The service cannot complete the request.";
        Self::Error(AwsError::new("ServiceUnavailableException", message).with_status(503))
    }

    /// `InternalFailure`, HTTP 500.
    pub fn internal_failure() -> Self {
        let message = "An internal error occurred.";
        Self::Error(AwsError::new("InternalFailure", message).with_status(500))
    }

    /// `AccessDeniedException`, HTTP 400.
    pub fn access_denied() -> Self {
        Self::error(
            "AccessDeniedException",
            "User is not authorized to perform this action",
        )
    }

    /// `ExpiredTokenException`, HTTP 400.
    pub fn expired_token() -> Self {
        Self::Error(super::sign::expired())
    }

    /// `UnrecognizedClientException`, HTTP 400.
    pub fn unrecognized_client() -> Self {
        Self::Error(super::sign::unrecognized())
    }

    /// `InvalidSignatureException`, HTTP 400.
    pub fn invalid_signature() -> Self {
        Self::error("InvalidSignatureException", super::sign::MISMATCH)
    }

    /// `InvalidParameterException`, HTTP 400, of no event in particular.
    pub fn invalid_parameter() -> Self {
        Self::Error(AwsError::invalid_parameter(
            "A parameter is specified incorrectly.",
        ))
    }

    /// A KMS key that is disabled or gone, as CreateLogGroup tells it: `InvalidParameterException`.
    pub fn kms_key_invalid() -> Self {
        Self::Error(AwsError::invalid_parameter(
            "The specified KMS key does not exist or is not allowed to be used with the log group.",
        ))
    }

    /// A KMS key that is disabled, told as KMS itself does: `KMSDisabledException`, HTTP 400.
    pub fn kms_disabled() -> Self {
        Self::error("KMSDisabledException", "The specified KMS key is disabled.")
    }

    /// `OperationAbortedException`: two create one thing at once.
    pub fn operation_aborted() -> Self {
        Self::error(
            "OperationAbortedException",
            "A conflicting operation is currently in progress against this resource. Please try again.",
        )
    }

    /// `LimitExceededException`, HTTP 400.
    pub fn limit_exceeded() -> Self {
        Self::error("LimitExceededException", "Resource limit exceeded.")
    }

    /// HTTP 429 without a body, by something that stands before the service.
    pub fn too_many_requests() -> Self {
        Self::before(429, "text/plain", "")
    }

    /// HTTP 502 with a page, by something that stands before the service.
    pub fn bad_gateway() -> Self {
        let page = "<html><body><h1>502 Bad Gateway</h1></body></html>\n";
        Self::before(502, "text/html", page)
    }

    fn before(status: u16, content_type: &str, body: &str) -> Self {
        Self::Answer(Canned {
            status,
            content_type: content_type.to_owned(),
            body: body.to_owned(),
        })
    }

    fn after(body: &str) -> Self {
        Self::AnswerAfter(Canned {
            status: 200,
            content_type: super::CONTENT_TYPE.to_owned(),
            body: body.to_owned(),
        })
    }

    /// It is served; the answer is 200 with the beginning of a JSON document.
    pub fn unusable_body() -> Self {
        Self::after(r#"{"nextSequenceToken":"#)
    }

    /// It is served; the answer is 200 without a body.
    pub fn no_body() -> Self {
        Self::after("")
    }

    /// It never came to the service: 200 with a page, by something that stands before it.
    pub fn html() -> Self {
        let page = "<!DOCTYPE html><title>Sign in</title><p>Sign in to this network.\n";
        Self::before(200, "text/html; charset=utf-8", page)
    }
}

#[derive(Debug)]
struct Scripted {
    /// `None`: any.
    operation: Option<Operation>,
    skip: u32,
    /// `None`: all.
    times: Option<u32>,
    fault: Fault,
}

/// The faults that are still to come.
#[derive(Debug, Default)]
pub(super) struct Script(Vec<Scripted>);

impl Script {
    pub(super) fn push(&mut self, operation: Option<Operation>, fault: Fault, times: Times) {
        let (skip, times) = match times {
            Times::Next(times) => (0, Some(times)),
            Times::After { skip, times } => (skip, Some(times)),
            Times::Always => (0, None),
        };
        self.0.push(Scripted {
            operation,
            skip,
            times,
            fault,
        });
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// What happens to a call of that operation.
    pub(super) fn next(&mut self, operation: Operation) -> Option<Fault> {
        for scripted in &mut self.0 {
            let meets = scripted.operation.is_none_or(|of| of == operation);
            if !meets || scripted.times == Some(0) {
                continue;
            }
            if scripted.skip > 0 {
                scripted.skip -= 1;
                continue;
            }
            if let Some(times) = &mut scripted.times {
                *times -= 1;
            }
            return Some(scripted.fault.clone());
        }
        None
    }

    /// What has not happened, of what was to happen a number of times.
    pub(super) fn left(&self) -> Vec<String> {
        let left = self.0.iter().filter(|s| s.times.is_some_and(|n| n > 0));
        left.map(|s| format!("{s:?}")).collect()
    }
}

impl CloudWatch {
    /// Something goes wrong with the next calls, and passes.
    pub fn trouble(&self, dice: &mut fastrand::Rng) {
        let fault = match dice.u32(..12) {
            0 => Fault::throttling(),
            1 => Fault::service_unavailable(),
            2 => Fault::internal_failure(),
            3 => Fault::CutBefore,
            4 | 5 => Fault::CutAfter,
            6 => Fault::html(),
            7 => Fault::unusable_body(),
            8 => Fault::no_body(),
            9 => Fault::too_many_requests(),
            10 => Fault::bad_gateway(),
            _ => Fault::error("OperationAbortedException", "Please try again."),
        };
        let operation = match dice.u32(..5) {
            0 => Operation::CreateLogStream,
            _ => Operation::PutLogEvents,
        };
        self.fail(operation, fault, Times::Next(dice.u32(1..4)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_meet_the_calls_they_were_scripted_for() {
        use Operation::{CreateLogStream, PutLogEvents};

        let mut script = Script::default();
        let after = Times::After { skip: 2, times: 2 };
        script.push(Some(PutLogEvents), Fault::CutAfter, after);
        script.push(Some(PutLogEvents), Fault::CutBefore, Times::Always);
        script.push(None, Fault::HeldAfter, Times::Next(1));
        assert_eq!(script.next(PutLogEvents), Some(Fault::CutBefore));
        assert_eq!(script.next(CreateLogStream), Some(Fault::HeldAfter));
        assert_eq!(script.next(CreateLogStream), None);
        assert_eq!(script.next(PutLogEvents), Some(Fault::CutBefore));
        assert_eq!(script.next(PutLogEvents), Some(Fault::CutAfter));
        assert_eq!(script.left().len(), 1);
        assert_eq!(script.next(PutLogEvents), Some(Fault::CutAfter));
        assert_eq!(script.left(), Vec::<String>::new());
        assert_eq!(script.next(PutLogEvents), Some(Fault::CutBefore));
        script.clear();
        assert_eq!(script.next(PutLogEvents), None);
    }
}
