//! Answers of an API server of Kubernetes 1.35 (`tests/recorded/kube/auth`).
#![expect(clippy::disallowed_methods, reason = "reads the recorded answers")]

use std::path::Path;

use super::*;

const OURS: &str = "plimsoll-collector";
const NODE: &str = "ip-10-0-4-10.eu-west-1.compute.internal";
/// As recorded.
const AGENT: &str = "plimsoll/plimsoll-agent";

fn recorded(name: &str) -> Option<TokenReviewStatus> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recorded/kube/auth");
    let text = std::fs::read_to_string(folder.join(format!("tokenreview-{name}.json"))).unwrap();
    // A `Status` of a refused request has a text in that place.
    serde_json::from_str::<TokenReview>(&text).ok()?.status
}

/// What becomes of a sender with the answer.
fn sent(answer: &TokenReviewStatus, audience: Option<&str>) -> Result<Sender, Refused> {
    sender(&interpret(answer, audience)?, &[AGENT.to_owned()])
}

#[test]
fn every_recorded_answer_is_understood() {
    let refused = |why: &str| Err(Refused::NotAuthenticated(why.to_owned()));
    let invalid = || refused("invalid bearer token");
    let because = |why: &str| refused(&format!("[invalid bearer token, {why}]"));
    let node = || Ok(Sender::Node(NODE.to_owned()));
    let cases = [
        ("pod-bound", node()),
        ("node-bound", node()),
        ("two-audiences", node()),
        ("unbound", Err(Refused::Unbound)),
        // Authenticated, but for the API server itself.
        ("api-token-no-audiences", Err(Refused::Audience)),
        ("garbage", invalid()),
        ("malformed-jwt", invalid()),
        ("foreign-issuer", invalid()),
        (
            "alg-none",
            because("go-jose/go-jose: error in cryptographic primitive"),
        ),
        (
            "bad-signature",
            because("go-jose/go-jose: error in cryptographic primitive"),
        ),
        ("expired", because("service account token has expired")),
        (
            "pod-deleted",
            because("service account token has been invalidated"),
        ),
        (
            "serviceaccount-deleted",
            because("serviceaccounts \"short-lived\" not found"),
        ),
    ];
    for (name, expected) in cases {
        let answer = recorded(name).unwrap();
        assert_eq!(sent(&answer, Some(OURS)), expected, "{name}");
    }
    for name in ["api-audience", "no-audiences", "wrong-audience"] {
        let said = sent(&recorded(name).unwrap(), Some(OURS)).unwrap_err();
        assert!(
            said.to_string().contains("token audiences ["),
            "{name}: {said}"
        );
    }
    assert_eq!(recorded("empty-token"), None, "HTTP 400");
}

#[test]
fn people_show_tokens_of_the_api_server() {
    let user = interpret(&recorded("api-token-no-audiences").unwrap(), None).unwrap();
    assert_eq!(user.name, "system:serviceaccount:plimsoll:plimsoll-agent");
    assert_eq!(
        user.uid.as_deref(),
        Some("a5ea9f1f-387d-4651-a300-19cf47220b2e")
    );
    assert!(user.groups.contains(&"system:authenticated".to_owned()));
    assert_eq!(user.extra.len(), 5);
}

/// The answer of a pod's token, changed.
#[track_caller]
#[expect(clippy::needless_pass_by_value, reason = "a case reads as what it is")]
fn check(change: impl FnOnce(&mut TokenReviewStatus), expected: Result<Sender, Refused>) {
    let mut answer = recorded("pod-bound").unwrap();
    change(&mut answer);
    assert_eq!(sent(&answer, Some(OURS)), expected);
}

#[test]
fn each_clause_is_needed() {
    let extra = |answer: &mut TokenReviewStatus, key: &str, values: &[&str]| {
        let extra = answer.user.as_mut().unwrap().extra.as_mut().unwrap();
        extra.insert(
            key.to_owned(),
            values.iter().map(|v| (*v).to_owned()).collect(),
        );
    };
    let name = |answer: &mut TokenReviewStatus, name: &str| {
        answer.user.as_mut().unwrap().username = Some(name.to_owned());
    };
    check(
        |answer| answer.authenticated = None,
        Err(Refused::NotAuthenticated("not authenticated".to_owned())),
    );
    check(
        |answer| answer.error = Some("but".to_owned()),
        Err(Refused::NotAuthenticated("but".to_owned())),
    );
    check(|answer| answer.audiences = None, Err(Refused::Audience));
    check(|answer| answer.user = None, Err(Refused::Nobody));
    check(|answer| name(answer, ""), Err(Refused::Nobody));
    for other in [
        "system:serviceaccount:plimsoll:default",
        "system:serviceaccount:default:plimsoll-agent",
        "system:serviceaccount:plimsoll:plimsoll-agent:x",
        "plimsoll:plimsoll-agent",
        "plimsoll/plimsoll-agent",
        "system:node:a",
    ] {
        check(
            |answer| name(answer, other),
            Err(Refused::ServiceAccount(other.to_owned())),
        );
    }
    for nodes in [&["a", "b"][..], &[], &["a/b"], &[""], &[OWN_NODE]] {
        check(
            |answer| extra(answer, NODE_NAME, nodes),
            Err(Refused::Unbound),
        );
    }
    let without_node = |answer: &mut TokenReviewStatus| {
        let extra = answer.user.as_mut().unwrap().extra.as_mut().unwrap();
        extra.remove(NODE_NAME);
    };
    let uid = "6d64911c-7a91-4e4f-b112-6572b0c64faa";
    check(without_node, Ok(Sender::Pod(uid.to_owned())));
    for pods in [&["a", "b"][..], &[], &[""]] {
        check(
            |answer| {
                without_node(answer);
                extra(answer, POD_UID, pods);
            },
            Err(Refused::Unbound),
        );
    }
}

#[test]
fn what_is_no_token_is_not_asked_about() {
    for (header, token) in [
        ("Bearer a.b-c_d~e+f/g=", Some("a.b-c_d~e+f/g=")),
        ("bearer  x ", Some("x")),
        ("Basic x", None),
        ("Bearer", None),
        ("x", None),
    ] {
        assert_eq!(bearer(header), token, "{header}");
    }
    let longest = "x".repeat(MAX_TOKEN_BYTES);
    let asked = prepare(&longest, Some(OURS)).unwrap().spec;
    assert_eq!(asked.audiences, Some(vec![OURS.to_owned()]));
    assert_eq!(asked.token, Some(longest.clone()));
    assert_eq!(prepare("x", None).unwrap().spec.audiences, None);
    for none in ["", "a b", "a\u{e9}", &format!("{longest}x")] {
        assert_eq!(prepare(none, None).unwrap_err(), Refused::NoToken);
    }
}
