mod nodes;
mod renders;
mod ring;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use plimsoll_wire::event::{ContainerEnd, ImdsAccess};
use plimsoll_wire::fate::Fates;
use plimsoll_wire::{AuditEvent, Class, Identity, RecordId};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::dashboard::tests::says;
use crate::history::series::tests::window;
use crate::history::{Entry, Limits};
use crate::inventory::{Index, parse};

/// 00:10 of 1 January 1970: ten minutes after the windows begin.
pub(crate) const NOW: u64 = 600_000_000_000;

pub(crate) fn state(dir: &tempfile::TempDir) -> ApiState {
    let pod = r#"
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: shop, uid: pod-c1, labels: {app: web}}
spec: {containers: [{name: app, image: a, resources: {requests: {cpu: 500m}}}]}
status:
  containerStatuses: [{name: app, containerID: "containerd://c1", image: a, imageID: a, ready: true, restartCount: 0}]
"#;
    let mut index = Index::default();
    parse::parse("t", pod)
        .objects
        .iter()
        .for_each(|object| index.apply(object, crate::inventory::Moment::default()));
    let history = History::open(&dir.path().join("h.redb"), Limits::default()).unwrap();
    let entries: Vec<Entry> = (1..10)
        .map(|n| Entry {
            seq: n,
            node: "n1".to_owned(),
            window: window("c1", n, 120, 64 << 20),
        })
        .collect();
    history
        .apply(&entries, &crate::inventory::IndexReader::fixed(index))
        .unwrap();
    ApiState::new(Arc::new(history), Arc::new(AuditRing::default())).with_clock(|| NOW)
}

pub(crate) fn access(seq: u64, time_unix_ns: u64, class: &str, namespace: &str) -> AuditRecord {
    let request = json!({
        "class": class, "method": "GET", "path": "/latest/x", "imds_version": "v1", "status": 200, "outcome": "ok", "flags": [],
    });
    let names = json!({"subject": format!("{namespace}/pod/app"), "namespace": namespace, "workload_name": "web"});
    AuditRecord {
        time_unix_ns,
        id: RecordId {
            node: "n1".to_owned(),
            epoch: "e".to_owned(),
            class: Class::Security,
            seq,
        },
        event: AuditEvent::Imds(ImdsAccess {
            identity: Identity::unknown(7),
            process: None,
            task_identity: None,
            request: request.as_object().unwrap().clone(),
        }),
        names: names.as_object().unwrap().clone(),
    }
}

/// Status, headers and body of a GET.
async fn get_at(state: ApiState, path: &str, host: &str) -> (u16, axum::http::HeaderMap, String) {
    let request = Request::get(path)
        .header("host", host)
        .body(Body::empty())
        .unwrap();
    let response = router(Arc::new(state)).oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let bytes = to_bytes(body, 1 << 20).await.unwrap();
    (
        parts.status.as_u16(),
        parts.headers,
        String::from_utf8(bytes.to_vec()).unwrap(),
    )
}

async fn get_json(state: ApiState, path: &str) -> (u16, Value) {
    let (status, _, body) = get_at(state, path, "localhost:8080").await;
    (
        status,
        serde_json::from_str(&body).unwrap_or(Value::String(body)),
    )
}

#[tokio::test]
async fn sizing_whole_by_namespace_by_selector_and_by_workload() {
    let dir = tempfile::tempdir().unwrap();
    for (path, found) in [
        ("/api/v1/sizing", 1),
        ("/api/v1/sizing?namespace=shop&selector=app%3Dweb", 1),
        ("/api/v1/sizing?namespace=other", 0),
        ("/api/v1/sizing?selector=app!%3Dweb", 0),
        ("/api/v1/sizing/shop/pod/web", 1),
    ] {
        let (status, document) =
            get_json(state(&tempfile::tempdir_in(dir.path()).unwrap()), path).await;
        assert_eq!(
            (status, document["schema"].as_str()),
            (200, Some("plimsoll.sizing/v1")),
            "{path}"
        );
        assert_eq!(
            document["recommendations"].as_array().unwrap().len(),
            found,
            "{path}"
        );
    }
    let (_, document) = get_json(state(&dir), "/api/v1/sizing").await;
    let found = &document["recommendations"][0];
    assert_eq!(found["cpu"]["request_millicores"], 120);
    assert_eq!(found["current"]["request_millicores"], 500);
    assert_eq!(
        (found["kind"].as_str(), found["replicas"].as_u64()),
        (Some("Pod"), Some(1))
    );
}

#[tokio::test]
async fn refusals_name_what_was_wrong() {
    for (path, status, word) in [
        ("/api/v1/sizing?name=x", 400, "unknown field `name`"),
        (
            "/api/v1/sizing?selector=a+b",
            400,
            "selector: character 3: `b` where an operator",
        ),
        ("/api/v1/sizing?namespace=", 400, "namespace: it is empty"),
        ("/api/v1/sizing?selector=%20", 400, "selector: it is empty"),
        ("/api/v1/audit?namespace=%20", 400, "namespace: it is empty"),
        ("/api/v1/audit?workload=", 400, "workload: it is empty"),
        ("/api/v1/audit?since=noon", 400, "since: `noon`"),
        ("/api/v1/audit?since=", 400, "since: it is empty"),
        ("/api/v1/audit?since=%20", 400, "since: it is empty"),
        ("/api/v1/audit?class=", 400, "it is empty; there are CRED,"),
        ("/api/v1/audit?class=CRED,", 400, "container_end, loss"),
        ("/api/v1/audit?limit=0", 400, "limit: 0"),
        ("/api/v1/audit?limit=many", 400, "limit"),
        ("/api/v1/accounting?x=1", 400, "unknown field `x`"),
        ("/workloads/shop/Pod/web?x=1", 400, "unknown field `x`"),
        ("/nodes?x=1", 400, "unknown field `x`"),
        ("/api/v1/sizing/shop/Deployment/none", 404, "shop/none"),
        ("/nothing", 404, "the dashboard is at /"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (got, document) = get_json(state(&dir), path).await;
        assert_eq!(got, status, "{path}");
        let message = document["error"]["message"].as_str().unwrap();
        assert!(message.contains(word), "{path}: {message}");
    }
}

#[tokio::test]
async fn every_answer_is_guarded_and_pages_are_html() {
    for path in [
        "/",
        "/audit",
        "/nodes",
        "/workloads/shop/Pod/web",
        "/api/v1/sizing",
        "/nothing",
        "/assets/plimsoll.css",
    ] {
        let dir = tempfile::tempdir().unwrap();
        let (_, headers, body) = get_at(state(&dir), path, "127.0.0.1").await;
        let header = |name: &str| headers.get(name).unwrap().to_str().unwrap();
        assert!(
            header("content-security-policy").starts_with("default-src 'none'"),
            "{path}"
        );
        assert!(
            header("content-security-policy").contains("frame-ancestors 'none'"),
            "{path}"
        );
        assert_eq!(header("x-content-type-options"), "nosniff");
        assert_eq!(
            header("cache-control") == "no-store",
            !path.starts_with("/assets"),
            "{path}"
        );
        if header("content-type").starts_with("text/html") {
            assert!(
                body.starts_with("<!DOCTYPE html>")
                    && !body.contains("<script")
                    && !body.contains(" style="),
                "{path}"
            );
        }
    }
}

#[tokio::test]
async fn a_foreign_host_name_is_refused() {
    for (host, expected) in [
        ("localhost:8080", 200),
        ("[::1]:8080", 200),
        ("[::1]", 200),
        ("attacker.example:8080", 421),
        ("127.0.0.1.attacker.example", 421),
    ] {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(get_at(state(&dir), "/", host).await.0, expected, "{host}");
    }
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(
        get_at(state(&dir).with_any_host(), "/", "plimsoll.ops")
            .await
            .0,
        200
    );
}

#[tokio::test]
async fn a_browser_gets_a_page_for_an_error_and_a_program_the_document() {
    let ask = async |path: &str, accept: &str| {
        let dir = tempfile::tempdir().unwrap();
        let request = Request::get(path)
            .header("host", "localhost")
            .header("accept", accept)
            .body(Body::empty())
            .unwrap();
        let response = router(Arc::new(state(&dir)))
            .oneshot(request)
            .await
            .unwrap();
        let kind = response.headers()["content-type"]
            .to_str()
            .unwrap()
            .to_owned();
        (response.status().as_u16(), kind)
    };
    let browser = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
    for (path, accept, status, kind) in [
        ("/nowhere", browser, 404, "text/html; charset=utf-8"),
        ("/audit?limt=1", browser, 400, "text/html; charset=utf-8"),
        (
            "/audit?class=BOGUS",
            browser,
            400,
            "text/html; charset=utf-8",
        ),
        ("/?sort=zzz", browser, 400, "text/html; charset=utf-8"),
        ("/?sort=waste", browser, 200, "text/html; charset=utf-8"),
        ("/audit?class=BOGUS", "*/*", 400, "text/html; charset=utf-8"),
        (
            "/audit?since=noon",
            browser,
            400,
            "text/html; charset=utf-8",
        ),
        (
            "/audit?class=cred&since=1h",
            browser,
            200,
            "text/html; charset=utf-8",
        ),
        ("/nowhere", "*/*", 404, "application/json"),
        ("/api/v1/nowhere", browser, 404, "application/json"),
    ] {
        let found = ask(path, accept).await;
        assert_eq!(found, (status, kind.to_owned()), "{path} {accept}");
    }
}

#[tokio::test]
async fn the_audit_page_refuses_an_unknown_class_and_names_those_there_are() {
    let dir = tempfile::tempdir().unwrap();
    for (class, words) in [
        ("BOGUS", "class: there is no `BOGUS`; there are CRED, "),
        ("", "class: it is empty; there are CRED, "),
    ] {
        let state = state(&tempfile::tempdir_in(dir.path()).unwrap());
        let path = format!("/audit?class={class}");
        let (status, _, body) = get_at(state, &path, "localhost").await;
        assert_eq!(status, 400);
        says(&path, &body, words);
        says(
            &path,
            &body,
            "container_end, loss, misplaced; all is every one</p>",
        );
    }
    // What the form of the page sends when nothing is chosen and nothing filled in.
    let path = "/audit?class=all&namespace=&workload=&since=";
    let (status, _, body) = get_at(state(&dir), path, "localhost").await;
    assert_eq!(status, 200);
    says(path, &body, "<option value=\"all\" selected>all</option>");
}

#[tokio::test]
async fn health_and_metrics_come_from_their_sources() {
    let dir = tempfile::tempdir().unwrap();
    let degraded = || vec!["file: no".to_owned(), "inventory: no".to_owned()];
    let unready = state(&dir).with_ready(Arc::new(move || Health {
        refuses: Some("the disk is full".to_owned()),
        degraded: degraded(),
    }));
    let (status, _, body) = get_at(unready, "/readyz", "localhost").await;
    let told = "degraded: file: no\ndegraded: inventory: no\n";
    assert_eq!(
        (status, body),
        (503, format!("not ready: the disk is full\n{told}"))
    );
    let dir = tempfile::tempdir().unwrap();
    let worse = state(&dir).with_ready(Arc::new(move || Health {
        refuses: None,
        degraded: degraded(),
    }));
    let (status, _, body) = get_at(worse, "/readyz", "localhost").await;
    assert_eq!((status, body), (200, format!("ok\n{told}")));
    let dir = tempfile::tempdir().unwrap();
    let measured = state(&dir).with_metrics(Arc::new(|| "# EOF\n".to_owned()));
    assert_eq!(get_at(measured, "/metrics", "localhost").await.2, "# EOF\n");
}

#[tokio::test]
async fn accounting_shows_what_no_fate_explains() {
    let dir = tempfile::tempdir().unwrap();
    let row = |node: Option<&str>, stage: &str, delivered| StageRow {
        node: node.map(str::to_owned),
        stage: stage.to_owned(),
        class: "security".to_owned(),
        destination: None,
        fates: Fates {
            emitted: 10,
            delivered,
            ..Fates::default()
        },
    };
    let n1 = Some("n1");
    let mut rows = vec![
        row(n1, "security_ring", 7),
        row(n1, "process_ring", 10),
        row(n1, "files", 10),
        row(n1, "audit", 10),
        row(n1, "spool", 10),
        row(n1, "of a newer agent", 10),
        row(None, "ingest", 10),
        row(None, "journal", 10),
    ];
    let way = rows.clone();
    rows.sort_by(|a, b| a.stage.cmp(&b.stage));
    let (_, document) = get_json(
        state(&dir).with_accounting(Arc::new(move || rows.clone())),
        "/api/v1/accounting",
    )
    .await;
    assert_eq!(document["balanced"], false);
    assert_eq!(document["unaccounted"], 3);
    let stages = document["stages"].as_array().unwrap();
    let found: Vec<_> = stages
        .iter()
        .map(|row| row["stage"].as_str().unwrap())
        .collect();
    let way: Vec<_> = way.into_iter().map(|row| row.stage).collect();
    assert_eq!(found, way, "along the way, the collector last");
    assert_eq!(stages[0]["unaccounted"], 3);
    assert_eq!(stages[0]["fates"]["emitted"], 10);
}
