//! TokenReview, the access reviews and SelfSubjectReview: created, answered and forgotten.

use serde_json::{Map, Value, json};

use super::Shared;
use super::identity::{API_AUDIENCE, Access, User, authenticate, authorize};
use super::status::{self, Canned, Cause};

/// What the creation of a review answers; `None`: there is no such review.
pub(super) fn review(
    shared: &Shared,
    plural: &str,
    caller: &User,
    agent: &str,
    body: &[u8],
) -> Option<Canned> {
    let Ok(asked) = serde_json::from_slice::<Value>(body) else {
        let message = "the object provided is unrecognized (must be of type ...): couldn't get \
            version/kind; json parse error";
        return Some(status::bad_request(message));
    };
    let spec = asked["spec"].clone();
    match plural {
        "tokenreviews" => Some(token_review(shared, spec, agent)),
        "subjectaccessreviews" => Some(access_review(shared, None, spec, agent)),
        "selfsubjectaccessreviews" => Some(access_review(shared, Some(caller), spec, agent)),
        "selfsubjectreviews" => Some(created(
            ("SelfSubjectReview", "authentication.k8s.io/v1"),
            &json!({"creationTimestamp": now()}),
            None,
            &json!({"userInfo": caller.to_value()}),
        )),
        _ => None,
    }
}

fn created(
    (kind, api_version): (&str, &str),
    metadata: &Value,
    spec: Option<Value>,
    status: &Value,
) -> Canned {
    let mut review = json!({"kind": kind, "apiVersion": api_version, "metadata": metadata,
        "status": status});
    if let Some(spec) = spec {
        review["spec"] = spec;
    }
    Canned::json(201, review.to_string())
}

#[expect(
    clippy::disallowed_methods,
    reason = "shell: a server's answers have its time"
)]
fn now() -> String {
    let now = jiff::Timestamp::now().as_second();
    jiff::Timestamp::from_second(now)
        .unwrap_or_default()
        .to_string()
}

/// `metadata` as of an object that was just created: its only field manager is the client.
fn metadata(api_version: &str, spec: &Value, agent: &str) -> Value {
    let manager = agent.split('/').next().unwrap_or_default();
    json!({"managedFields": [{"manager": manager, "operation": "Update", "apiVersion": api_version,
        "time": now(), "fieldsType": "FieldsV1", "fieldsV1": {"f:spec": fields(spec)}}]})
}

fn fields(value: &Value) -> Value {
    let Some(members) = value.as_object() else {
        return json!({});
    };
    let field = |(key, value): (&String, &Value)| {
        let mut inner = fields(value);
        if let Some(inner) = inner.as_object_mut().filter(|inner| !inner.is_empty()) {
            inner.insert(".".to_owned(), json!({}));
        }
        (format!("f:{key}"), inner)
    };
    Value::Object(members.iter().map(field).collect::<Map<_, _>>())
}

fn token_review(shared: &Shared, spec: Value, agent: &str) -> Canned {
    let kind = ("TokenReview", "authentication.k8s.io/v1");
    let token = spec["token"].as_str().unwrap_or_default();
    if token.is_empty() {
        return status::bad_request("token is required for TokenReview in authentication");
    }
    let texts = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: Value| value.as_str().map(str::to_owned);
    let mut audiences: Vec<_> = texts(&spec["audiences"])
        .into_iter()
        .filter_map(text)
        .collect();
    if audiences.is_empty() {
        audiences.push(API_AUDIENCE.to_owned());
    }
    let told = authenticate(&shared.state().tokens, token, &audiences);
    let status = match told {
        Ok((user, audiences)) => {
            json!({"authenticated": true, "user": user.to_value(), "audiences": audiences})
        }
        Err(error) => json!({"user": {}, "error": error}),
    };
    created(kind, &metadata(kind.1, &spec, agent), Some(spec), &status)
}

/// Whose access is asked for, and their groups.
fn subject(of_self: Option<&User>, spec: &Value) -> (String, Vec<String>) {
    if let Some(user) = of_self {
        return (user.name.clone(), user.groups.clone());
    }
    let groups = spec["groups"].as_array().into_iter().flatten();
    let groups = groups.filter_map(|group| Some(group.as_str()?.to_owned()));
    let user = spec["user"].as_str().unwrap_or_default();
    (user.to_owned(), groups.collect())
}

/// What is wrong with the spec of an access review.
fn causes(spec: &Value, user: &str, groups: &[String]) -> Vec<Cause> {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let invalid = |field, value: &str, why: &str| Cause {
        reason: "FieldValueInvalid",
        message: format!("Invalid value: {value}: {why}"),
        field,
    };
    let mut causes = Vec::new();
    if resource.is_object() && path.is_object() {
        let told = |key: &str| path[key].as_str().unwrap_or_default();
        let given = format!(r#"{{"Path":"{}","Verb":"{}"}}"#, told("path"), told("verb"));
        let why = "cannot be specified in combination with resourceAttributes";
        causes.push(invalid("spec.nonResourceAttributes", &given, why));
    } else if !resource.is_object() && !path.is_object() {
        let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
        causes.push(invalid("spec.resourceAttributes", "null", why));
    }
    if user.is_empty() && groups.is_empty() {
        let why = "at least one of user or group must be specified";
        causes.push(invalid("spec.user", "\"\"", why));
    }
    causes
}

/// What the spec of an access review asks for.
fn access(spec: &Value) -> Access {
    let (resource, path) = (&spec["resourceAttributes"], &spec["nonResourceAttributes"]);
    let text = |of: &Value, key: &str| of[key].as_str().unwrap_or_default().to_owned();
    if path.is_object() {
        return Access {
            verb: text(path, "verb"),
            path: Some(text(path, "path")),
            ..Access::default()
        };
    }
    Access {
        verb: text(resource, "verb"),
        group: text(resource, "group"),
        resource: text(resource, "resource"),
        subresource: text(resource, "subresource"),
        namespace: Some(text(resource, "namespace")).filter(|n| !n.is_empty()),
        path: None,
    }
}

fn access_review(shared: &Shared, of_self: Option<&User>, spec: Value, agent: &str) -> Canned {
    let kind = if of_self.is_some() {
        "SelfSubjectAccessReview"
    } else {
        "SubjectAccessReview"
    };
    let api_version = "authorization.k8s.io/v1";
    let (user, groups) = subject(of_self, &spec);
    let causes = causes(&spec, &user, &groups);
    if !causes.is_empty() {
        return status::invalid("authorization.k8s.io", "", &causes);
    }
    let access = access(&spec);
    let (allowed, reason) = authorize(&shared.state().rules, &user, &groups, &access);
    let mut status = json!({"allowed": allowed});
    if !reason.is_empty() {
        status["reason"] = reason.into();
    }
    let metadata = metadata(api_version, &spec, agent);
    created((kind, api_version), &metadata, Some(spec), &status)
}
