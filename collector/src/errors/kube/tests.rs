use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Output};

use kube::config::Kubeconfig;

use super::*;
use crate::errors::chain;

const SECRET: &str = "eyJhbGciOi-the-secret";

/// As it is told alone, in the client's error, and from a box, as layers hand it on.
#[track_caller]
fn check(error: impl Fn() -> AuthError, told: &str) {
    assert_eq!(chain(&error()), told);
    assert_eq!(chain(&kube::Error::Auth(error())), told);
    let layered = kube::Error::Service(Box::new(error()));
    assert_eq!(chain(&Box::new(layered)), told);
}

fn ended(stdout: &str, stderr: &str) -> AuthError {
    AuthError::AuthExecRun {
        cmd: format!("TOKEN={SECRET} aws"),
        out: Box::new(Output {
            status: ExitStatus::from_raw(0x100),
            stdout: stdout.into(),
            stderr: stderr.into(),
        }),
    }
}

#[test]
fn what_a_plugin_printed_is_not_told() {
    let printed = format!(r#"{{"status": {{"token": "{SECRET}"}}}}"#);
    check(
        || ended(&printed, ""),
        "its plugin ended with exit status: 1",
    );
    check(
        || ended(&printed, "no session:\n  log in\n"),
        "its plugin ended with exit status: 1 and said: no session: log in",
    );
    let long = chain(&ended("", &"x".repeat(5000)));
    assert!(long.len() < 400, "{}", long.len());
    let no_credential = |text: &str| {
        let error = serde_saphyr::from_str::<std::collections::BTreeMap<String, u8>>(text);
        AuthError::AuthExecParse(Box::new(error.unwrap_err()))
    };
    for text in [
        SECRET.to_owned(),
        format!("token: {SECRET}"),
        format!("{{\"token\": \"{SECRET}\""),
        format!("token: {SECRET}: x"),
    ] {
        let said = chain(&no_credential(&text));
        assert!(
            said.starts_with("its plugin printed no ExecCredential: line 1, column "),
            "{said}"
        );
        assert!(!said.contains("eyJ"), "{said}");
    }
    let ends: Result<k8s_openapi::jiff::Timestamp, _> = SECRET.parse();
    let ends = AuthError::MalformedTokenExpirationDate(ends.unwrap_err());
    assert!(!chain(&ends).contains("eyJ"));
}

#[test]
fn a_kubeconfig_s_mistake_is_told_by_its_place() {
    let check = |user: &str, told: &str| {
        let text = format!("apiVersion: v1\nusers:\n- name: u\n  user:\n    {user}\n");
        let said = chain(&Kubeconfig::from_yaml(&text).unwrap_err());
        assert_eq!(said, told);
    };
    check(
        &format!("token: {SECRET}: oops"),
        "line 5, column 33: mapping values are not allowed in this context",
    );
    check(
        &format!("token: {SECRET}\n    token: {SECRET}"),
        "line 6, column 5: a key is given twice",
    );
    check(
        &format!("exec: {SECRET}"),
        "line 5, column 11: another thing than the mapping that is expected",
    );
}

#[test]
fn an_answer_is_told_once() {
    let status = |code: u16, reason: &str, message: &str| {
        let status = Status::failure(message, reason).with_code(code);
        chain(&kube::Error::Api(status.boxed()))
    };
    assert_eq!(
        status(403, "Forbidden", "pods is forbidden"),
        "the API server refused (403 Forbidden): pods is forbidden"
    );
    assert_eq!(
        status(429, "", ""),
        "the API server is busy and takes no more requests (429)"
    );
    let watch = watcher::Error::WatchStartFailed(kube::Error::Api(
        Status::failure("gone", "Expired").with_code(410).boxed(),
    ));
    assert_eq!(
        chain(&watch),
        "begin to watch objects: the API server refused (410 Expired): gone"
    );
}
