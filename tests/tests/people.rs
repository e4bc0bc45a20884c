//! People who ask a collector in a cluster, as processes: `plimsoll` finds it through a kubeconfig and
//! forwards a port to its pod; the API server says who they are and what they may see.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test that runs programs, and fails where it cannot go on"
)]

#[path = "cluster/granted.rs"]
mod granted;

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_tests::apiserver::{API_AUDIENCE, ApiServer, Options, Request, Rule, Token, User};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::crypto::aws_lc_rs;
use serde_json::{Value, json};

const NAME: &str = "plimsoll-collector.plimsoll.svc";
const POD: &str = "plimsoll-collector-0";
const PATIENCE: Duration = Duration::from_mins(1);

/// An authority's certificate, and a certificate of the collector with its key, all PEM.
fn certificates() -> [String; 3] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
        .distinguished_name
        .push(DnType::CommonName, "plimsoll-ca");
    let key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap().pem();
    [authority, certificate, key.serialize_pem()]
}

struct Cluster {
    address: SocketAddr,
    folder: tempfile::TempDir,
    server: ApiServer,
    collector: Child,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        drop(self.collector.kill());
        drop(self.collector.wait());
    }
}

impl Cluster {
    /// A collector in a cluster in which alice may see the sizing of `shop`, and bob nothing.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = ApiServer::start(Options::default()).unwrap();
        server.allow_only(&ApiServer::collector(), granted::to_the_collector());
        let person = |name: &str, group: &str| {
            let user = User::person(&format!("{name}@example.com"), &[group]);
            server.allow_only(&user, granted::by("Role", "plimsoll-cli"));
            server.token(name, Token::valid(user, API_AUDIENCE));
        };
        person("alice", "team-shop");
        person("bob", "team-none");
        let shop = Rule::group("team-shop").may("get", "plimsoll.dev", "sizing");
        server.allow(shop.within("shop"));
        let [authority, certificate, key] = certificates();
        let address = free_address();
        let collector = start(folder.path(), &server, address, &certificate, &key);
        server
            .apply(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": POD, "namespace": "plimsoll",
                    "labels": {"app.kubernetes.io/name": "plimsoll-collector"}},
                "spec": {"containers": [{"name": "collector", "image": "c"}]},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}))
            .unwrap();
        server.forward("plimsoll", POD, 8443, address);
        let cluster = Self {
            address,
            folder,
            server,
            collector,
        };
        cluster.know_by(&authority);
        cluster.until_it_answers(address);
        cluster
    }

    /// The authority by which the collector is known.
    fn know_by(&self, authority: &str) {
        self.server
            .apply(json!({"apiVersion": "v1", "kind": "ConfigMap",
                "metadata": {"name": "plimsoll-ca", "namespace": "plimsoll"},
                "data": {"ca.crt": authority}}))
            .unwrap();
    }

    fn until_it_answers(&self, address: SocketAddr) {
        let began = Instant::now();
        while std::net::TcpStream::connect(address).is_err() {
            let log = || std::fs::read_to_string(self.folder.path().join("log"));
            assert!(began.elapsed() < PATIENCE, "{}", log().unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What `plimsoll` says to somebody.
    fn plimsoll(&self, who: &str, args: &[&str]) -> Output {
        let kubeconfig = self.folder.path().join(who);
        let text = self.server.kubeconfig_of(&json!({"token": who}));
        std::fs::write(&kubeconfig, text).unwrap();
        Command::new(program("plimsoll"))
            .args(args)
            .env_clear()
            .env("KUBECONFIG", &kubeconfig)
            .output()
            .unwrap()
    }

    #[track_caller]
    fn answer(&self, who: &str, args: &[&str]) -> Value {
        let output = self.plimsoll(who, args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(0), "{said}");
        serde_json::from_slice(&output.stdout).unwrap()
    }

    #[track_caller]
    fn refusal(&self, who: &str, args: &[&str], says: &[&str]) {
        let output = self.plimsoll(who, args);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{said}");
        for part in says {
            assert!(said.contains(part), "no {part:?} in: {said}");
        }
    }
}

fn start(
    folder: &Path,
    server: &ApiServer,
    address: SocketAddr,
    certificate: &str,
    key: &str,
) -> Child {
    let file = |name: &str, text: &str| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let config = json!({
        "data": {"path": folder.join("state")},
        "ingest": {"listen": free_address()},
        "kubernetes": {"kubeconfig": file("kubeconfig", &server.kubeconfig())},
        "http": {
            "listen": address,
            "access": "kubernetes",
            "tls_cert_file": file("tls.crt", certificate),
            "tls_key_file": file("tls.key", key),
        },
    });
    Command::new(program("plimsoll-collector"))
        .arg("--config")
        .arg(file("collector.yaml", &config.to_string()))
        .stdin(Stdio::null())
        .stderr(std::fs::File::create(folder.join("log")).unwrap())
        .spawn()
        .unwrap()
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
}

/// Built beside this test by `cargo test --workspace`.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.ancestors().nth(2).unwrap().join(name);
    assert!(path.exists(), "{} is not built", path.display());
    path
}

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
        &["no ready collector in namespace plimsoll"],
    );
}
