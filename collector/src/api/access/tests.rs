//! Requests with tokens and certificates, and an API server that knows some people: `root` may see all,
//! `alice` the namespace `shop`, `bob` nothing; and `dora`, who may see all of the sizing.
#![expect(
    clippy::disallowed_methods,
    reason = "a server on a socket, with certificates in files"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::body::{Body, to_bytes};
use axum::http::HeaderMap;
use plimsoll_wire::event::Loss;
use plimsoll_wire::{AuditEvent, Class};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::api::tests::{NOW, access, state};
use crate::api::{Health, Requests, router};
use crate::cluster::reviews::tests::{ApiServer, recorded};

mod certificates;
mod questions;
mod rights;

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
        Self::with(|_| ()).await
    }

    async fn with(change: impl FnOnce(&mut Rules)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let server = ApiServer::start(answer).await;
        let seconds = Arc::<AtomicU64>::default();
        let (shown, begin) = (Arc::clone(&seconds), Instant::now());
        let clock = move || begin + Duration::from_secs(shown.load(Ordering::Relaxed));
        let requests = Arc::<Requests>::default();
        let (asks, counts) = (server.reviewer(), Arc::clone(&requests));
        let mut rules = Rules::new(asks, Arc::new(clock), || 100, counts);
        change(&mut rules);
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
        self.ask_from(1, path, headers).await
    }

    /// From 10.0.0.`host`.
    async fn ask_from(
        &self,
        host: u8,
        path: &str,
        headers: &[(&str, &str)],
    ) -> (u16, HeaderMap, String) {
        let mut request = Request::get(path).header("host", "plimsoll.ops:8443");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Client {
            address: ([10, 0, 0, host], 7).into(),
            user: None,
        });
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
