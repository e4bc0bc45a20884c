//! People who ask a collector in a cluster, as processes: `plimsoll` finds it through a kubeconfig and
//! forwards a port to its pod; the API server says who they are and what they may see.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that runs programs, and fails where it cannot go on"
)]

#[path = "people/rig.rs"]
mod rig;

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::Arc;

use plimsoll_tests::apiserver::{API_AUDIENCE, Fault, On, Options, Request, Rule, Token, User};
use rustls::crypto::aws_lc_rs;
use serde_json::json;

use rig::{Cluster, NAME, POD, Relay, answered, certificates, free_address, refused};

#[test]
fn a_report_needs_nothing_but_a_kubeconfig() {
    let cluster = Cluster::new();
    let report = cluster.answer("alice", &["sizing", "report", "-n", "shop", "-o", "json"]);
    assert_eq!(report["schema"], "plimsoll.sizing/v1");
    let asked = cluster.server.requests();
    let of = |asked: &&Request| asked.path.ends_with("/portforward");
    assert_eq!(asked.iter().filter(of).count(), 1);
    let review = asked
        .iter()
        .find(|asked| asked.path.ends_with("/subjectaccessreviews"));
    assert!(review.unwrap().body.contains("alice@example.com"));
}

#[test]
fn everybody_sees_what_the_cluster_s_rules_allow() {
    let cluster = Cluster::new();
    let report = ["sizing", "report", "-o", "json"];
    let within = |namespace| [&report[..], &["-n", namespace]].concat();
    cluster.refusal(
        "alice",
        &within("batch"),
        &["refused (403)", "sizing", "batch"],
    );
    cluster.refusal("bob", &within("shop"), &["refused (403)", "sizing", "shop"]);
    // Whoever may see what is used may not see for that who fetched which credentials.
    let audit = ["audit", "query", "-n", "shop", "-o", "json"];
    cluster.refusal("alice", &audit, &["refused (403)", "audit", "shop"]);
    cluster.refusal(
        "nobody",
        &report,
        &["through the cluster of context test", "Unauthorized"],
    );
}

/// Of whoever may `get /metrics`, and of nobody else.
#[test]
fn prometheus_is_told_when_the_certificate_ends() {
    let cluster = Cluster::new();
    let prometheus = User::service_account("ops", "prometheus");
    let may = Rule::user(&prometheus.name).may_path("get", "/metrics");
    let token = Token::valid(prometheus, API_AUDIENCE);
    cluster.server.token("of.prometheus", token);
    cluster.server.allow(may);
    let tls = ureq::tls::TlsConfig::builder()
        .disable_verification(true)
        .unversioned_rustls_crypto_provider(Arc::new(aws_lc_rs::default_provider()))
        .build();
    let agent = ureq::Agent::config_builder().tls_config(tls).build();
    let agent = ureq::Agent::from(agent);
    let ask = |token: &str| {
        let request = agent.get(format!("https://{}/metrics", cluster.address));
        let bearer = format!("Bearer {token}");
        let answer = request.header("authorization", bearer).call();
        answer.map(|mut answer| answer.body_mut().read_to_string().unwrap())
    };
    let refused = ask("alice");
    assert!(
        matches!(refused, Err(ureq::Error::StatusCode(403))),
        "{refused:?}"
    );
    let text = ask("of.prometheus").unwrap();
    let of = r#"plimsoll_collector_certificate_expiry_seconds{door="http"} "#;
    assert!(text.contains(of), "{text}");
}

/// Whoever sits between the API server and the pod cannot be the collector.
#[test]
fn another_s_certificate_is_not_the_collector_s() {
    let cluster = Cluster::new();
    let [another, _, _] = certificates();
    cluster.know_by(&another);
    let report = ["sizing", "report", "-n", "shop"];
    let says = [
        "agree with the collector's pod plimsoll-collector-0 on TLS",
        NAME,
    ];
    cluster.refusal("alice", &report, &says);
    cluster
        .server
        .delete("", "configmaps", "plimsoll", "plimsoll-ca")
        .unwrap();
    cluster.refusal(
        "alice",
        &report,
        &["ConfigMap plimsoll/plimsoll-ca", "--ca-file"],
    );
    cluster.server.delete("", "pods", "plimsoll", POD).unwrap();
    cluster.refusal(
        "alice",
        &report,
        &["no running collector in namespace plimsoll"],
    );
}

/// The collector closes a connection that says nothing for two seconds, and a plugin may take longer.
#[test]
fn a_plugin_may_take_its_time_and_is_asked_once() {
    let cluster = Cluster::new();
    let (user, runs) = cluster.plugin(3);
    let report = ["sizing", "report", "-n", "shop", "-o", "json"];
    let report = answered(&mut cluster.plimsoll_of(&user, &report));
    assert_eq!(report["schema"], "plimsoll.sizing/v1");
    assert_eq!(std::fs::read_to_string(runs).unwrap(), "run\n");
}

/// What the API server says to a question is told once, in its words, with the Role that is missing.
#[test]
fn an_api_server_that_refuses_is_told_once() {
    let cluster = Cluster::new();
    let report = ["sizing", "report", "-n", "shop"];
    let said = |cluster: &Cluster| {
        let output = cluster.plimsoll("alice", &report).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let role = "the Role plimsoll-cli of namespace plimsoll allows it";
    let deny_forward = || {
        let forward = format!("/api/v1/namespaces/plimsoll/pods/{POD}/portforward");
        cluster.server.deny_path(&forward);
    };
    let deny_list = || cluster.server.deny("list", "", "pods");
    let denials: [(&dyn Fn(), _); 2] = [
        (&deny_list, "list pods in namespace plimsoll"),
        (&deny_forward, "forward port 8443 of pod"),
    ];
    for (deny, doing) in denials {
        deny();
        let text = said(&cluster);
        assert!(text.contains(doing) && text.contains(role), "{text}");
        assert!(text.contains("(403 Forbidden): "), "{text}");
        assert_eq!(text.matches("forbidden:").count(), 1, "{text}");
        assert!(!text.contains("Status {"), "{text}");
        cluster.server.deny_nothing();
    }
    let busy = On::list("/api/v1/namespaces/plimsoll/pods");
    cluster.server.fault(busy, Fault::too_many_requests(60));
    let text = said(&cluster);
    let told = "the API server is busy and takes no more requests (429";
    assert!(text.contains(told), "{text}");
}

#[test]
fn plain_http_to_a_door_with_tls_is_told() {
    let cluster = Cluster::new();
    let server = format!("http://{}", cluster.address);
    let words = ["audit", "accounting", "--server", &server];
    cluster.refusal("alice", &words, &["--server begins with https://"]);
}

#[test]
fn a_pod_in_which_nobody_listens_is_told_in_its_node_s_words() {
    let cluster = Cluster::new();
    cluster
        .server
        .forward("plimsoll", POD, 8443, free_address());
    let says = [
        "forward port 8443 of pod plimsoll-collector-0",
        "dial tcp4 127.0.0.1:8443: connect: connection refused",
    ];
    cluster.refusal("alice", &["sizing", "report", "-n", "shop"], &says);
}

/// One question a second for as long as somebody looks on: none of them costs the API server anything. A way
/// that broke is found again, and what counts no more is had anew.
#[test]
fn who_follows_keeps_the_way_to_the_collector() {
    let cluster = Cluster::new();
    let (relay, through) = Relay::start(cluster.address);
    cluster.server.forward("plimsoll", POD, 8443, through);
    let (user, runs) = cluster.plugin(0);
    let following = cluster.follow(&user);
    // The handshake takes two at the most, and the first question may come with it.
    cluster.until(|| relay.pieces() >= 6);
    let asked = |of: &str| {
        let asked = cluster.server.requests();
        asked
            .iter()
            .filter(|asked| asked.path.ends_with(of))
            .count()
    };
    let each = || ["/pods", "/plimsoll-ca", "/portforward"].map(asked);
    assert_eq!(each(), [1, 1, 1]);
    relay.cut();
    let before = relay.pieces();
    cluster.until(|| relay.carried() == 2 && relay.pieces() >= before + 5);
    assert_eq!(each(), [2, 2, 2]);
    // What is shown counts no more, whatever it says of its end.
    let alice = User::person("alice@example.com", &["team-shop"]);
    let new = Token::valid(alice, API_AUDIENCE);
    cluster.server.token("again", new);
    cluster.plugin_gives("again");
    cluster.server.token("alice", Token::expired());
    cluster.until(|| relay.carried() == 3);
    let before = relay.pieces();
    cluster.until(|| relay.pieces() >= before + 5);
    assert_eq!(each(), [3, 3, 3]);
    drop(following);
    let told = std::fs::read_to_string(cluster.folder.path().join("told"));
    assert_eq!(told.unwrap(), "");
    assert_eq!(std::fs::read_to_string(runs).unwrap(), "run\n".repeat(3));
}

/// The handshake in the forwarded port shows the certificate that the API server is shown.
#[test]
fn a_client_certificate_names_its_holder_to_the_collector_too() {
    let cluster = Cluster::with(Options {
        tls: true,
        ..Options::default()
    });
    let certificate = |name, group| cluster.server.certificate(name, group).unwrap();
    let carol = certificate("carol@example.com", "team-shop");
    let report = ["sizing", "report", "-n", "shop", "-o", "json"];
    let told = answered(&mut cluster.plimsoll_of(&carol, &report));
    assert_eq!(told["schema"], "plimsoll.sizing/v1");
    let asked = cluster.server.requests();
    let reviewed = |of: &str| asked.iter().find(|asked| asked.path.ends_with(of));
    let review = reviewed("/subjectaccessreviews").unwrap();
    assert!(review.body.contains("carol@example.com"), "{}", review.body);
    assert!(reviewed("/tokenreviews").is_none());
    let dave = certificate("dave@example.com", "team-none");
    let says = ["refused (403)", "dave@example.com may not"];
    refused(&mut cluster.plimsoll_of(&dave, &report), &says);
}

/// More connections than the door has places, all silent: they are let go and not who is known, and a newcomer
/// has a place. What is not TLS is told as that.
#[test]
fn silent_connections_keep_nobody_out() {
    let cluster = Cluster::new();
    let (relay, through) = Relay::start(cluster.address);
    cluster.server.forward("plimsoll", POD, 8443, through);
    let _following = cluster.follow(&json!({"token": "alice"}));
    cluster.until(|| relay.pieces() >= 4);
    let connect = |_| TcpStream::connect(cluster.address).unwrap();
    connect(0).write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    let silent: Vec<TcpStream> = (0..300).map(connect).collect();
    let report = ["sizing", "report", "-n", "shop", "-o", "json"];
    let report = cluster.answer("alice", &report);
    assert_eq!(report["schema"], "plimsoll.sizing/v1");
    drop(silent);
    let log = || std::fs::read_to_string(cluster.folder.path().join("log")).unwrap();
    let told = ["let go for another", "does not speak TLS"];
    cluster.until(|| told.iter().all(|told| log().contains(told)));
    let before = relay.pieces();
    cluster.until(|| relay.pieces() >= before + 2);
    assert_eq!(relay.carried(), 2, "the follower's, and the report's");
}
