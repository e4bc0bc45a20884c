//! Requests with tokens and certificates, and an API server that knows some people: `root` may see all,
//! `alice` the namespace `shop`, `bob` nothing; and `dora`, who may see all of the sizing.
#![expect(
    clippy::disallowed_methods,
    reason = "a server on a socket, with certificates in files"
)]

use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::{Body, to_bytes};
use plimsoll_wire::event::Loss;
use plimsoll_wire::{AuditEvent, Class};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::*;
use crate::api::tests::{NOW, access, state};
use crate::api::{Bounds, Health, router, serve};
use crate::cluster::reviews::tests::{ApiServer, recorded};
use crate::tls;

/// `{"exp":1000}` in the middle, and who in front.
fn token(of: &str) -> String {
    format!("{of}.eyJleHAiOjEwMDB9.x")
}

fn answer(resource: &str, spec: &Value) -> Option<(u16, Value)> {
    if resource == "tokenreviews" {
        assert_eq!(spec.get("audiences"), None, "a token for the API server");
        let who = spec["token"].as_str()?.split('.').next()?.to_owned();
        if who == "stranger" {
            return Some((201, recorded("tokenreview-expired")));
        }
        let mut review = recorded("tokenreview-api-token-no-audiences");
        review["status"]["user"]["username"] = Value::String(who);
        return Some((201, review));
    }
    let attributes = &spec["resourceAttributes"];
    let is_shop = attributes["group"] == "plimsoll.dev"
        && attributes["verb"] == "get"
        && attributes["namespace"] == "shop";
    let name = match spec["user"].as_str()? {
        "root" => "allowed",
        // The sizing of all namespaces, and nothing else.
        "dora" if attributes["resource"] == "sizing" => "allowed",
        "alice" if is_shop => "allowed",
        "alice" | "bob" | "dora" => "denied",
        _ => return None,
    };
    Some((201, recorded(&format!("subjectaccessreview-{name}"))))
}

struct Asked {
    server: ApiServer,
    state: Arc<ApiState>,
    seconds: Arc<AtomicU64>,
    requests: Arc<Requests>,
    _dir: tempfile::TempDir,
}

impl Asked {
    async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = ApiServer::start(answer).await;
        let seconds = Arc::<AtomicU64>::default();
        let (shown, begin) = (Arc::clone(&seconds), Instant::now());
        let clock = move || begin + Duration::from_secs(shown.load(Ordering::Relaxed));
        let requests = Arc::<Requests>::default();
        let (asks, counts) = (server.reviewer(), Arc::clone(&requests));
        let rules = Rules::new(asks, Arc::new(clock), || 100, counts);
        let state = state(&dir)
            .with_rules(Arc::new(rules))
            .with_requests(Arc::clone(&requests))
            .with_ready(Arc::new(|| Health {
                refuses: None,
                degraded: vec!["file: no".to_owned()],
            }));
        for (seq, namespace) in [(1, "shop"), (2, "batch"), (3, "shop")] {
            let event = access(seq, NOW - seq, "CRED", namespace);
            state.audit.arrived(event, 1, NOW);
        }
        let mut loss = access(4, NOW, "", "shop");
        loss.names.clear();
        loss.event = AuditEvent::Loss(Loss {
            stage: "spool".into(),
            lost_class: Class::Usage,
            fate: "shed".into(),
            count: 1,
            first_seq: None,
            last_seq: None,
        });
        state.audit.arrived(loss, 1, NOW);
        Self {
            server,
            state: Arc::new(state),
            seconds,
            requests,
            _dir: dir,
        }
    }

    async fn ask(&self, path: &str, headers: &[(&str, &str)]) -> (u16, HeaderMap, String) {
        let mut request = Request::get(path).header("host", "plimsoll.ops:8443");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::empty()).unwrap();
        let response = router(Arc::clone(&self.state)).oneshot(request).await;
        let (parts, body) = response.unwrap().into_parts();
        let bytes = to_bytes(body, 1 << 20).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        (parts.status.as_u16(), parts.headers, text)
    }

    async fn as_user(&self, who: &str, path: &str) -> (u16, String) {
        let header = format!("Bearer {}", token(who));
        let (status, _, body) = self.ask(path, &[("authorization", &header)]).await;
        (status, body)
    }

    /// That the user gets the status, and the answer says that.
    #[track_caller]
    fn says(found: &(u16, String), status: u16, words: &str) {
        assert_eq!(found.0, status, "{}", found.1);
        assert!(found.1.contains(words), "{words:?} in {}", found.1);
    }

    fn decided(&self, decision: &str) -> u64 {
        let decided = self.requests.decided();
        decided.iter().find(|(of, _)| *of == decision).unwrap().1
    }
}

fn ids(document: &str) -> Vec<u64> {
    let document: Value = serde_json::from_str(document).unwrap();
    let events = document["events"].as_array().unwrap();
    let seq = |event: &Value| {
        event["id"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()?
            .parse()
            .ok()
    };
    let mut found: Vec<u64> = events.iter().filter_map(seq).collect();
    found.sort_unstable();
    found
}

#[tokio::test]
async fn a_list_has_what_the_caller_may_see_and_nothing_else() {
    let asked = Asked::new().await;
    for (who, path, found) in [
        ("root", "/api/v1/audit", &[1, 2, 3, 4][..]),
        ("alice", "/api/v1/audit", &[1, 3]),
        ("alice", "/api/v1/audit?namespace=shop", &[1, 3]),
        ("alice", "/api/v1/audit?after=0.0", &[1, 3]),
        ("root", "/api/v1/audit?namespace=batch", &[2]),
    ] {
        let (status, body) = asked.as_user(who, path).await;
        assert_eq!(
            (status, ids(&body).as_slice()),
            (200, found),
            "{who} {path}"
        );
    }
    for (path, words) in [
        (
            "/api/v1/audit",
            "bob may not get audit.plimsoll.dev in any namespace",
        ),
        (
            "/api/v1/audit?namespace=shop",
            "bob may not get audit.plimsoll.dev in namespace shop",
        ),
        (
            "/api/v1/sizing",
            "bob may not get sizing.plimsoll.dev in any namespace",
        ),
    ] {
        Asked::says(&asked.as_user("bob", path).await, 403, words);
    }
    let denied = asked
        .as_user("alice", "/api/v1/audit?namespace=batch")
        .await;
    Asked::says(
        &denied,
        403,
        "alice may not get audit.plimsoll.dev in namespace batch",
    );
    let sizing = asked.as_user("alice", "/api/v1/sizing").await;
    Asked::says(&sizing, 200, "\"namespace\":\"shop\"");
    for long in ["", &"x".repeat(64)] {
        let path = format!("/api/v1/sizing?namespace={long}");
        assert_eq!(asked.as_user("bob", &path).await.0, 400, "{long}");
    }
}

#[tokio::test]
async fn namespaces_without_end_are_not_asked_about_one_by_one() {
    let asked = Asked::new().await;
    for seq in 0..=MAX_NAMESPACES as u64 {
        let event = access(seq + 10, NOW, "CRED", &format!("n{seq}"));
        asked.state.audit.arrived(event, 1, NOW);
    }
    let found = asked.as_user("alice", "/api/v1/audit").await;
    Asked::says(
        &found,
        403,
        "there are too many namespaces to ask about one by one",
    );
    assert_eq!(asked.server.asked().len(), 2);
    let one = asked.as_user("alice", "/api/v1/audit?namespace=shop").await;
    assert_eq!(one.0, 200, "{}", one.1);
}

#[tokio::test]
async fn one_object_is_denied_before_it_is_looked_for() {
    let asked = Asked::new().await;
    let found = asked.as_user("alice", "/api/v1/sizing/shop/pod/web").await;
    Asked::says(&found, 200, "\"workload\":\"web\"");
    for (who, path) in [
        ("bob", "/api/v1/sizing/shop/pod/web"),
        ("bob", "/workloads/shop/Pod/web"),
        ("bob", "/api/v1/sizing/shop/pod/none"),
    ] {
        let words = "bob may not get sizing.plimsoll.dev in namespace shop";
        Asked::says(&asked.as_user(who, path).await, 403, words);
    }
    let elsewhere = asked.as_user("alice", "/api/v1/sizing/batch/pod/web").await;
    Asked::says(&elsewhere, 403, "in namespace batch");
    let page = asked.as_user("alice", "/workloads/shop/Pod/web").await;
    Asked::says(&page, 200, "<!DOCTYPE html>");
}

#[tokio::test]
async fn what_is_of_the_whole_fleet_needs_the_right_in_all_namespaces() {
    let asked = Asked::new().await;
    for (path, words) in [
        ("/api/v1/nodes", "get sizing.plimsoll.dev in all namespaces"),
        (
            "/api/v1/accounting",
            "get audit.plimsoll.dev in all namespaces",
        ),
        ("/nodes", "in all namespaces"),
        ("/metrics", "get /metrics"),
    ] {
        Asked::says(&asked.as_user("alice", path).await, 403, words);
        assert_eq!(asked.as_user("root", path).await.0, 200, "{path}");
    }
    let [root, alice] = ["root", "alice"].map(|who| asked.as_user(who, "/"));
    let (root, alice) = (root.await, alice.await);
    Asked::says(&root, 200, "<h2>Nodes</h2>");
    Asked::says(&alice, 200, "/workloads/shop/Pod/web");
    assert!(!alice.1.contains("<h2>Nodes</h2>"), "{}", alice.1);
    let dora = asked.as_user("dora", "/").await;
    Asked::says(&dora, 200, "<h2>Nodes</h2>");
    let law = "records unaccounted for";
    assert!(root.1.contains(law) && !dora.1.contains(law), "{}", dora.1);
    assert_eq!(asked.as_user("dora", "/api/v1/nodes").await.0, 200);
    for path in ["/nodes", "/api/v1/accounting", "/api/v1/audit", "/audit"] {
        assert_eq!(asked.as_user("dora", path).await.0, 403, "{path}");
    }
    let page = asked.as_user("alice", "/audit").await;
    Asked::says(&page, 200, "shop/pod/app");
    assert!(!page.1.contains("batch/pod/app"), "{}", page.1);
    assert_eq!(asked.as_user("bob", "/audit").await.0, 403);
    let all = asked.as_user("root", "/audit").await;
    Asked::says(&all, 200, "batch/pod/app");
}

#[tokio::test]
async fn who_is_not_known_sees_that_we_live_and_nothing_else() {
    let asked = Asked::new().await;
    let twice = [
        ("authorization", "Bearer root.x.y"),
        ("authorization", "Bearer root.x.y"),
    ];
    let stranger = format!("Bearer {}", token("stranger"));
    for headers in [
        &[][..],
        &[
            ("x-remote-user", "root"),
            ("x-remote-group", "system:masters"),
        ],
        &[("authorization", "Basic cm9vdDo=")],
        &[("authorization", "Bearer ")],
        &[("authorization", &stranger)],
        &[("cookie", "token=root")],
        &twice,
    ] {
        for path in ["/", "/nothing", "/api/v1/audit", "/metrics"] {
            let (status, found, body) = asked.ask(path, headers).await;
            assert_eq!(status, 401, "{path} {headers:?}: {body}");
            assert_eq!(found["www-authenticate"], "Bearer realm=\"plimsoll\"");
            assert!(!found.contains_key("set-cookie"));
        }
    }
    assert_eq!(asked.decided("unauthenticated"), 28);
    for path in ["/livez", "/readyz", "/assets/plimsoll.css"] {
        assert_eq!(asked.ask(path, &[]).await.0, 200, "{path}");
    }
    let (_, _, body) = asked.ask("/readyz", &[]).await;
    assert!(!body.contains("file: no"), "{body}");
    let full = asked.as_user("root", "/readyz").await;
    Asked::says(&full, 200, "degraded: file: no");
    let brief = asked.as_user("alice", "/readyz").await;
    Asked::says(&brief, 200, "degraded: the log says why");
    let browser = [("accept", "text/html")];
    let (status, _, body) = asked.ask("/", &browser).await;
    assert!(status == 401 && body.contains("<!DOCTYPE html>"), "{body}");
}

#[tokio::test]
async fn questions_are_asked_once_in_their_time() {
    let asked = Asked::new().await;
    for _ in 0..3 {
        assert_eq!(
            asked
                .as_user("alice", "/api/v1/sizing/shop/pod/web")
                .await
                .0,
            200
        );
        assert_eq!(asked.as_user("bob", "/api/v1/nodes").await.0, 403);
    }
    assert_eq!(asked.server.asked().len(), 4);
    assert_eq!((asked.decided("allowed"), asked.decided("denied")), (3, 3));
    assert_eq!(asked.requests.answers_remembered(), 4);
    asked.seconds.store(30, Ordering::Relaxed);
    assert_eq!(
        asked
            .as_user("alice", "/api/v1/sizing/shop/pod/web")
            .await
            .0,
        200
    );
    let questions = asked.server.asked();
    assert_eq!(questions.len(), 6);
    let (_, spec) = &questions[1];
    assert_eq!(spec["user"], "alice");
    assert_eq!(spec["uid"], "a5ea9f1f-387d-4651-a300-19cf47220b2e");
    assert_eq!(spec["groups"][2], "system:authenticated");
    let pod = "authentication.kubernetes.io/pod-name";
    assert_eq!(spec["extra"][pod], json!(["plimsoll-agent-4q46r"]));
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_lets_nobody_in() {
    let asked = Asked::new().await;
    // The script does not know that one's rights.
    let found = asked.as_user("carol", "/api/v1/nodes").await;
    Asked::says(&found, 503, "the API server does not say now");
    assert!(!found.1.contains("418"), "{}", found.1);
    assert_eq!(asked.decided("unavailable"), 1);
    // Whose rights are remembered is let in until they end.
    assert_eq!(asked.as_user("root", "/api/v1/nodes").await.0, 200);
    let Asked { server, state, .. } = asked;
    drop(server);
    let ask = async |who: &str| {
        let request = Request::get("/api/v1/nodes")
            .header("authorization", format!("Bearer {}", token(who)))
            .body(Body::empty())
            .unwrap();
        let response = router(Arc::clone(&state)).oneshot(request).await;
        response.unwrap().status().as_u16()
    };
    assert_eq!((ask("root").await, ask("alice").await), (200, 503));
}

#[tokio::test]
async fn requests_that_change_or_that_another_site_makes_are_refused() {
    let asked = Asked::new().await;
    let header = format!("Bearer {}", token("root"));
    let cross = [
        ("authorization", &*header),
        ("sec-fetch-site", "cross-site"),
    ];
    let (status, _, body) = asked.ask("/api/v1/audit", &cross).await;
    assert_eq!(status, 403, "{body}");
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request = Request::builder()
            .method(method)
            .uri("/api/v1/audit")
            .header("authorization", &header)
            .body(Body::empty());
        let response = router(Arc::clone(&asked.state)).oneshot(request.unwrap());
        let response = response.await.unwrap();
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.headers()["allow"], "GET, HEAD");
    }
    assert!(asked.server.asked().is_empty(), "nobody is asked for those");
}

#[tokio::test]
async fn strangers_write_so_many_lines_a_minute() {
    let asked = Asked::new().await;
    let rules = asked.state.access.as_ref().unwrap();
    for _ in 0..LINES_A_MINUTE {
        assert_eq!(rules.line(&rules.strangers), Some(0));
    }
    for _ in 0..7 {
        assert_eq!(rules.line(&rules.strangers), None);
    }
    assert_eq!(rules.line(&rules.denials), Some(0), "they have their own");
    asked.seconds.store(60, Ordering::Relaxed);
    assert_eq!(rules.line(&rules.strangers), Some(7), "left out");
    assert_eq!(rules.line(&rules.strangers), Some(0));
}

/// An authority with a certificate that it signed: that, and its key.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let issuer = Issuer::new(params, key);
        Self {
            certificate,
            issuer,
        }
    }

    fn signs(&self, name: &str, group: &str) -> (rcgen::Certificate, KeyPair) {
        let mut params = CertificateParams::new(vec!["one".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
        let key = KeyPair::generate().unwrap();
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }
}

#[tokio::test]
async fn a_certificate_of_the_given_authority_says_who_somebody_is() {
    let asked = Asked::new().await;
    let folder = tempfile::tempdir().unwrap();
    let put = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let (ours, other) = (Authority::new(), Authority::new());
    let (own, key) = ours.signs("plimsoll", "");
    let shown = tls::Shown::read(tls::Files {
        door: tls::Door::Http,
        certificate: put("cert", &own.pem()),
        key: put("key", &key.serialize_pem()),
        client_ca: Some(put("ca", &ours.certificate.pem())),
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let dir = tempfile::tempdir().unwrap();
    let clock = crate::cluster::reviews::clock();
    let requests = Arc::<Requests>::default();
    let rules = Rules::new(
        asked.server.reviewer(),
        clock,
        || 100,
        Arc::clone(&requests),
    );
    let state = state(&dir).with_rules(Arc::new(rules)).with_tls(true);
    let mut serving = JoinSet::new();
    serving.spawn(serve(
        listener,
        router(Arc::new(state)),
        Bounds::default(),
        Arc::clone(&requests),
        Some(Arc::new(shown.unwrap())),
        stop.clone(),
    ));
    let get = async |identity: Option<&(rcgen::Certificate, KeyPair)>, header: &str| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ours.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
                let chain = vec![certificate.der().clone()];
                builder.with_client_auth_cert(chain, key).unwrap()
            }
        };
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let mut stream = connector.connect("one".try_into().unwrap(), stream).await?;
        let asked = format!(
            "GET /api/v1/sizing/shop/pod/web HTTP/1.1\r\nhost: one\r\nconnection: close\r\n{header}\r\n"
        );
        stream.write_all(asked.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let alice = ours.signs("alice", "team-shop");
    let answer = get(Some(&alice), "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let lower = answer.to_ascii_lowercase();
    assert!(
        lower.contains("strict-transport-security: max-age=31536000"),
        "{answer}"
    );
    let (resource, spec) = asked.server.asked().pop().unwrap();
    assert_eq!(resource, "subjectaccessreviews", "no token to ask about");
    let groups = json!(["team-shop", "system:authenticated"]);
    assert_eq!((&spec["user"], &spec["groups"]), (&json!("alice"), &groups));
    // A token beside it counts before it.
    let header = format!("authorization: Bearer {}\r\n", token("bob"));
    let answer = get(Some(&alice), &header).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let answer = get(None, "").await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let foreign = other.signs("root", "system:masters");
    assert!(get(Some(&foreign), "").await.is_err());
    stop.cancel();
    serving.join_next().await.unwrap().unwrap();
    let refused = requests.refused();
    assert!(refused.contains(&("tls", 1)), "{refused:?}");
}
