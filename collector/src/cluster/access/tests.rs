//! Questions and answers of an API server of Kubernetes 1.35 (`tests/recorded/kube/auth`).
#![expect(clippy::disallowed_methods, reason = "reads the recorded answers")]

use std::path::Path;

use serde_json::{Value, json};

use super::*;

fn recorded(name: &str) -> SubjectAccessReviewStatus {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recorded/kube/auth");
    let path = folder.join(format!("subjectaccessreview-{name}.json"));
    let text = std::fs::read_to_string(path).unwrap();
    let review: SubjectAccessReview = serde_json::from_str(&text).unwrap();
    review.status.unwrap()
}

#[test]
fn every_recorded_answer_is_understood() {
    for (name, allowed, why) in [
        (
            "allowed",
            true,
            "RBAC: allowed by RoleBinding \"sizing-viewers/shop\" of Role \"sizing-viewer\" to Group \"team-shop\"",
        ),
        ("allowed-admin", true, ""),
        ("denied", false, ""),
        ("denied-all-namespaces", false, ""),
        ("nonresource-denied", false, ""),
        (
            "node-denied",
            false,
            "no relationship found between node 'ip-10-0-4-10.eu-west-1.compute.internal' and this object",
        ),
    ] {
        let why = why.to_owned();
        assert_eq!(
            interpret(&recorded(name)),
            Verdict { allowed, why },
            "{name}"
        );
    }
    let account = interpret(&recorded("serviceaccount-allowed"));
    assert!(account.allowed, "{account:?}");
    let mut denied = recorded("allowed");
    denied.denied = Some(true);
    denied.evaluation_error = Some("no such role".to_owned());
    let verdict = interpret(&denied);
    assert!(
        !verdict.allowed && verdict.why.ends_with("; no such role"),
        "{verdict:?}"
    );
}

#[test]
fn the_question_is_of_the_whole_user() {
    let user = User {
        name: "alice@example.com".to_owned(),
        uid: Some("7".to_owned()),
        groups: vec!["team-shop".to_owned()],
        extra: [("scopes".to_owned(), vec!["a".to_owned()])].into(),
    };
    let asked = |user: &User, right: &Right| -> Value {
        let spec = prepare(user, right).spec;
        serde_json::to_value(&spec).unwrap()
    };
    let shop = Right::Of(Resource::Sizing, Some("shop".to_owned()));
    assert_eq!(
        asked(&user, &shop),
        json!({
            "user": "alice@example.com",
            "uid": "7",
            "groups": ["team-shop"],
            "extra": {"scopes": ["a"]},
            "resourceAttributes": {"verb": "get", "group": "plimsoll.dev", "resource": "sizing", "namespace": "shop"},
        })
    );
    let nobody = User::default();
    assert_eq!(
        asked(&nobody, &Right::Of(Resource::Audit, None)),
        json!({
            "user": "",
            "groups": [],
            "resourceAttributes": {"verb": "read", "group": "plimsoll.dev", "resource": "audit"},
        })
    );
    assert_eq!(
        asked(&nobody, &Right::Path("/metrics")),
        json!({
            "user": "",
            "groups": [],
            "nonResourceAttributes": {"verb": "get", "path": "/metrics"},
        })
    );
    for (right, words) in [
        (shop, "get sizing.plimsoll.dev in namespace shop"),
        (
            Right::Of(Resource::Audit, None),
            "read audit.plimsoll.dev in all namespaces",
        ),
        (Right::Path("/metrics"), "get /metrics"),
    ] {
        assert_eq!(right.to_string(), words);
    }
}
