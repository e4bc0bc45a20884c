//! Refusals, word for word as an API server gives them: a Status object, or plain text where the
//! answer comes from before or beyond the API machinery.

use serde_json::{Value, json};

use super::catalog::Resource;

/// A whole answer that is not a list or a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Canned {
    /// HTTP status.
    pub status: u16,
    /// Beside Content-Type and those that every answer has.
    pub headers: Vec<(&'static str, String)>,
    /// Empty when there is none.
    pub content_type: &'static str,
    /// The bytes, sent as they are.
    pub body: String,
}

impl Canned {
    pub(super) fn json(status: u16, body: String) -> Self {
        Self {
            status,
            headers: Vec::new(),
            content_type: "application/json",
            body,
        }
    }

    pub(super) fn text(status: u16, body: &str) -> Self {
        Self {
            status,
            headers: vec![("X-Content-Type-Options", "nosniff".to_owned())],
            content_type: "text/plain; charset=utf-8",
            body: body.to_owned(),
        }
    }

    /// With a header more.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// A Status of kind Failure.
pub(super) fn failure(code: u16, reason: &str, message: &str, details: Option<Value>) -> Value {
    let mut status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
        "status": "Failure", "message": message, "code": code});
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    if let Some(details) = details {
        status["details"] = details;
    }
    status
}

fn refused(code: u16, reason: &str, message: &str, details: Option<Value>) -> Canned {
    Canned::json(code, failure(code, reason, message, details).to_string())
}

pub(super) fn bad_request(message: &str) -> Canned {
    refused(400, "BadRequest", message, None)
}

pub(super) fn unauthorized() -> Canned {
    refused(401, "Unauthorized", "Unauthorized", None)
}

/// Whoever `user` is may not do it; `name` is empty for a whole kind.
pub(super) fn forbidden(
    user: &str,
    verb: &str,
    resource: &Resource,
    namespace: Option<&str>,
    name: &str,
) -> Canned {
    let scope = match namespace {
        Some(namespace) => format!("in the namespace \"{namespace}\""),
        None => "at the cluster scope".to_owned(),
    };
    let (group, plural) = (&resource.group, &resource.plural);
    let qualified = resource.qualified();
    let which = if name.is_empty() {
        qualified
    } else {
        format!("{qualified} \"{name}\"")
    };
    let message = format!(
        "{which} is forbidden: User \"{user}\" cannot {verb} resource \"{plural}\" in API group \
         \"{group}\" {scope}"
    );
    refused(403, "Forbidden", &message, Some(of(resource, name)))
}

pub(super) fn forbidden_path(user: &str, verb: &str, path: &str) -> Canned {
    let message = format!("forbidden: User \"{user}\" cannot {verb} path \"{path}\"");
    refused(403, "Forbidden", &message, Some(json!({}))).with("X-Content-Type-Options", "nosniff")
}

/// The details that name a kind, or one of its objects.
fn of(resource: &Resource, name: &str) -> Value {
    let mut details = json!({"kind": resource.plural});
    if !resource.group.is_empty() {
        details["group"] = resource.group.as_str().into();
    }
    if !name.is_empty() {
        details["name"] = name.into();
    }
    details
}

pub(super) fn not_found(resource: &Resource, name: &str) -> Canned {
    let message = format!("{} \"{name}\" not found", resource.qualified());
    refused(404, "NotFound", &message, Some(of(resource, name)))
}

pub(super) fn no_such_resource() -> Canned {
    let message = "the server could not find the requested resource";
    refused(404, "NotFound", message, Some(json!({})))
}

pub(super) fn no_such_group() -> Canned {
    Canned::text(404, "404 page not found\n")
}

pub(super) fn stale_api() -> Canned {
    Canned::text(503, "service unavailable\n")
}

pub(super) fn method_not_allowed() -> Canned {
    let message = "the server does not allow this method on the requested resource";
    refused(405, "MethodNotAllowed", message, Some(json!({})))
}

pub(super) fn not_acceptable() -> Canned {
    let message = "406: Not Acceptable\n\nAvailable representations: application/json, \
        application/yaml, application/vnd.kubernetes.protobuf, application/json;stream=watch, \
        application/vnd.kubernetes.protobuf;stream=watch";
    refused(406, "NotAcceptable", message, Some(json!({})))
}

pub(super) fn too_large() -> Canned {
    let message = "Request entity too large: limit is 3145728";
    refused(413, "RequestEntityTooLarge", message, Some(json!({})))
}

/// A list at a version that is compacted.
pub(super) fn list_too_old() -> Canned {
    let message = "The resourceVersion for the provided list is too old.";
    refused(410, "Expired", message, None)
}

/// The continue token's version is compacted; `rest` continues without consistency.
pub(super) fn continue_expired(rest: &str) -> Canned {
    let message = "The provided continue parameter is too old to display a consistent list \
        result. You can start a new list without the continue parameter, or use the continue \
        token in this response to retrieve the remainder of the results. Continuing with the \
        provided token results in an inconsistent list - objects that were created, modified, or \
        deleted between the time the first chunk was returned and now may show up in the list.";
    let mut status = failure(410, "Expired", message, None);
    status["metadata"] = json!({"continue": rest});
    Canned::json(410, status.to_string())
}

/// The Status of a watch that cannot go on from `asked`.
pub(super) fn watch_too_old(asked: u64, oldest: u64) -> Value {
    let message = format!("too old resource version: {asked} ({oldest})");
    failure(410, "Expired", &message, None)
}

/// The Status for a version that is not reached yet.
pub(super) fn future(asked: u64, current: u64) -> Value {
    let message = format!("Timeout: Too large resource version: {asked}, current: {current}");
    let causes = json!([{"reason": "ResourceVersionTooLarge",
        "message": "Too large resource version"}]);
    let details = json!({"causes": causes, "retryAfterSeconds": 1});
    failure(504, "Timeout", &message, Some(details))
}

/// The text of a 429 by API Priority and Fairness.
pub(super) fn too_many_requests(retry_after: u64) -> Canned {
    Canned::text(429, "Too many requests, please try again later.\n")
        .with("Retry-After", retry_after.to_string())
}

/// The version asked for is no number.
pub(super) fn no_number(asked: &str) -> Canned {
    let message = format!(
        "resourceVersion: Invalid value: \"{asked}\": strconv.ParseUint: parsing \"{asked}\": \
         invalid syntax"
    );
    refused(500, "", &message, None)
}

/// What is wrong with one field of the query or of a body.
pub(super) struct Cause {
    pub(super) reason: &'static str,
    pub(super) message: String,
    pub(super) field: &'static str,
}

impl Cause {
    pub(super) fn forbidden(field: &'static str, message: &str) -> Self {
        Self {
            reason: "FieldValueForbidden",
            message: format!("Forbidden: {message}"),
            field,
        }
    }
}

/// 422 for an object of that group and kind without a name.
pub(super) fn invalid(group: &str, kind: &str, causes: &[Cause]) -> Canned {
    let told: Vec<_> = causes
        .iter()
        .map(|c| format!("{}: {}", c.field, c.message))
        .collect();
    let told = match told.as_slice() {
        [one] => one.clone(),
        several => format!("[{}]", several.join(", ")),
    };
    let causes: Vec<_> = causes
        .iter()
        .map(|c| json!({"reason": c.reason, "message": c.message, "field": c.field}))
        .collect();
    let mut details = json!({"group": group, "causes": causes});
    if !kind.is_empty() {
        details["kind"] = kind.into();
    }
    let message = format!("{kind}.{group} \"\" is invalid: {told}");
    refused(422, "Invalid", &message, Some(details))
}
