use super::*;

/// Through a kubeconfig with this `user`, to an API server that nobody is.
fn through(user: &serde_json::Value) -> Result<Through, ThroughError> {
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = folder.path().join("kubeconfig");
    let text = serde_json::json!({"apiVersion": "v1", "kind": "Config", "current-context": "test",
        "clusters": [{"name": "test", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "test", "user": user}],
        "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}]});
    std::fs::write(&kubeconfig, text.to_string()).unwrap();
    let place = Place {
        context: None,
        namespace: "plimsoll".to_owned(),
        ca_file: None,
    };
    Through::new(place, kubeconfig::find(Some(&kubeconfig))?)
}

#[test]
fn a_plugin_that_does_not_end_is_not_waited_for() {
    let user = serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1",
        "command": "/bin/sh", "args": ["-c", "sleep 30"], "interactiveMode": "Never"}});
    let mut through = through(&user).unwrap();
    assert_eq!(through.user_within, TIMEOUT);
    through.user_within = Duration::from_millis(20);
    let error = through.get("/livez", 1).unwrap_err();
    assert!(
        matches!(error, ThroughError::UserTimedOut { .. }),
        "{error}"
    );
}

#[test]
fn a_plugin_that_is_not_there_is_named_with_its_hint() {
    let user = serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1",
        "command": "/absent/aws", "args": ["secret"], "interactiveMode": "Never",
        "installHint": "Install the\n  AWS CLI."}});
    let error = through(&user).unwrap().get("/livez", 1).unwrap_err();
    let said = crate::errors::chain(&error);
    assert!(
        said.starts_with("find out what is shown by the user of context test (kubeconfig /")
            && said.ends_with(
                "/kubeconfig, plugin /absent/aws; how to install it: Install the AWS CLI.): its plugin cannot be started: No such file or directory (os error 2)"
            ),
        "{said}"
    );
}

/// Whatever it printed besides.
#[test]
fn a_plugin_that_fails_is_told_by_its_end_and_its_words() {
    let user = serde_json::json!({"exec": {"apiVersion": "client.authentication.k8s.io/v1",
        "command": "/bin/sh", "args": ["-c", "echo '{\"token\": \"eyJ\"}'; echo log in >&2; exit 3"],
        "interactiveMode": "Never", "installHint": "Install it."}});
    let error = through(&user).unwrap().get("/livez", 1).unwrap_err();
    let said = crate::errors::chain(&error);
    assert!(
        said.ends_with("plugin /bin/sh): its plugin ended with exit status: 3 and said: log in"),
        "{said}"
    );
}

#[test]
fn whoever_acts_as_another_is_refused() {
    for acts in [
        serde_json::json!({"as": "admin"}),
        serde_json::json!({"as-uid": "1"}),
        serde_json::json!({"as-groups": ["system:masters"]}),
        serde_json::json!({"as-user-extra": {"scopes": ["view"]}}),
    ] {
        let error = through(&acts).err().unwrap();
        assert!(
            matches!(error, ThroughError::Impersonates { .. }),
            "{acts}: {error}"
        );
        assert!(
            error
                .to_string()
                .contains("context test acts as another one")
        );
    }
    assert!(through(&serde_json::json!({"token": "t", "as-groups": []})).is_ok());
}

#[test]
fn of_the_pods_one_that_is_ready_is_asked_else_one_that_runs() {
    let pod = |name: &str, phase: &str, ready: &str, leaves: bool| -> Pod {
        let leaves = leaves.then_some("2026-01-01T00:00:00Z");
        serde_json::from_value(serde_json::json!({
            "metadata": {"name": name, "deletionTimestamp": leaves},
            "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}}))
        .unwrap()
    };
    let (ready, full) = (
        pod("ready", "Running", "True", false),
        pod("full", "Running", "False", false),
    );
    let leaving = pod("leaving", "Running", "True", true);
    let waiting = pod("waiting", "Pending", "False", false);
    let check = |pods: &[&Pod], expect: Option<&str>| {
        let pods = pods.iter().map(|pod| (*pod).clone()).collect();
        assert_eq!(best(pods).as_deref(), expect);
    };
    check(&[&waiting, &full, &leaving, &ready], Some("ready"));
    check(&[&waiting, &leaving, &full], Some("full"));
    check(&[&waiting, &leaving], None);
    check(&[], None);
}
