//! Errors as AWS sends them: a type, a message, an HTTP status.

use std::fmt;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsError {
    /// `ResourceNotFoundException`.
    pub kind: String,
    /// What a person reads.
    pub message: String,
    /// 400 for most, throttling among them.
    pub status: u16,
}

impl AwsError {
    /// Of that type, with HTTP status 400.
    pub fn new(kind: &str, message: impl Into<String>) -> Self {
        Self {
            kind: kind.to_owned(),
            message: message.into(),
            status: 400,
        }
    }

    /// With another HTTP status.
    #[must_use]
    pub fn with_status(self, status: u16) -> Self {
        Self { status, ..self }
    }

    pub(super) fn invalid_parameter(message: impl Into<String>) -> Self {
        Self::new("InvalidParameterException", message)
    }

    /// A member of the request is not as the API's model wants it.
    pub(super) fn constraint(member: &str, constraint: &str) -> Self {
        Self::invalid_parameter(format!(
            "1 validation error detected: Value at '{member}' failed to satisfy constraint: {constraint}"
        ))
    }

    /// A body that is no JSON, or a member of another type.
    pub(super) fn serialization(message: impl Into<String>) -> Self {
        Self::new("SerializationException", message)
    }

    pub(super) fn no_group() -> Self {
        let message = "The specified log group does not exist.";
        Self::new("ResourceNotFoundException", message)
    }

    pub(super) fn no_stream() -> Self {
        let message = "The specified log stream does not exist.";
        Self::new("ResourceNotFoundException", message)
    }

    pub(super) fn group_exists() -> Self {
        let message = "The specified log group already exists";
        Self::new("ResourceAlreadyExistsException", message)
    }

    pub(super) fn stream_exists() -> Self {
        let message = "The specified log stream already exists";
        Self::new("ResourceAlreadyExistsException", message)
    }

    pub(super) fn unknown_operation(target: &str) -> Self {
        let message = format!("not an operation of this service: {target:?}");
        Self::new("UnknownOperationException", message)
    }
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.message)
    }
}

impl std::error::Error for AwsError {}
