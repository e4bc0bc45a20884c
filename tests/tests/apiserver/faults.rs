//! Each misbehaviour as a client meets it, byte by byte.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use plimsoll_tests::apiserver::{
    ApiServer, COLLECTOR_TOKEN, Fault, On, Options, Request, after, amid, recorded,
};
use serde_json::{Value, json};

use super::{get, watch};

const PODS: &str = "/api/v1/namespaces/shop/pods";
const WATCH: &str =
    "/api/v1/namespaces/shop/pods?watch=true&allowWatchBookmarks=true&timeoutSeconds=60";

fn pod(name: &str) -> Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"containers": []}})
}

/// Three pods, and nothing else.
fn cluster() -> ApiServer {
    let server = ApiServer::start(Options::default()).unwrap();
    server.apply_all(["a", "b", "c"].map(pod)).unwrap();
    server
}

/// What happened to which pod, as a watch told it: `+a`, `*a`, `-a`, `B` for a bookmark.
fn told(line: &str) -> String {
    let event: Value = serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"));
    let name = event["object"]["metadata"]["name"]
        .as_str()
        .unwrap_or_default();
    let kind = event["type"].as_str().unwrap();
    match kind {
        "ADDED" => format!("+{name}"),
        "MODIFIED" => format!("*{name}"),
        "DELETED" => format!("-{name}"),
        "BOOKMARK" => "B".to_owned(),
        other => format!("{other} {}", event["object"]["code"]),
    }
}

/// A plain connection on which that was asked.
fn asked(server: &ApiServer, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address()).unwrap();
    let head = format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {COLLECTOR_TOKEN}\r\n\
         Connection: close\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    stream
}

/// The bytes that come on a plain connection, and how it ends; `Ok`: in good order.
fn raw(server: &ApiServer, path: &str) -> (String, Result<(), ErrorKind>) {
    let mut stream = asked(server, path);
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    let end = loop {
        match stream.read(&mut chunk) {
            Ok(0) => break Ok(()),
            Ok(n) => bytes.extend_from_slice(&chunk[..n]),
            Err(error) => break Err(error.kind()),
        }
    };
    (String::from_utf8(bytes).unwrap(), end)
}

#[test]
fn refusals_are_given_as_often_as_they_were_scripted() {
    let server = cluster();
    server.fault(On::list(PODS).times(2), Fault::too_many_requests(3));
    server.fault(
        On::any("/version"),
        Fault::status(500, "InternalError", "no etcd"),
    );
    for _ in 0..2 {
        let answer = get(&server, PODS);
        assert_eq!(
            (answer.status, answer.header("Retry-After")),
            (429, Some("3"))
        );
        let body = recorded::text("errors/429-priority-and-fairness.txt").unwrap();
        assert_eq!(answer.body, body);
        assert!(answer.header("X-Kubernetes-Pf-Flowschema-Uid").is_some());
    }
    assert_eq!(get(&server, PODS).status, 200);
    assert_eq!(get(&server, "/version").status, 500);
    assert_eq!(get(&server, "/version").status, 200);
    let statuses: Vec<_> = server.finish().unwrap().iter().map(|r| r.status).collect();
    assert_eq!(statuses, [429, 429, 200, 500, 200]);
}

#[test]
fn a_connection_is_reset_in_the_middle_of_a_line() {
    let server = cluster();
    server.fault(On::watch(PODS), Fault::Reset(amid(1, 30)));
    server.fault(On::watch(PODS), Fault::Cut(after(2)));
    let (text, end) = raw(&server, WATCH);
    assert_eq!(end, Err(ErrorKind::ConnectionReset), "{text}");
    assert!(
        text.contains("\"name\":\"a\"") && !text.contains("\"name\":\"b\""),
        "{text}"
    );
    assert!(
        text.contains("\n{\"type\":\"ADDED\""),
        "half a line has come: {text}"
    );
    let (text, end) = raw(&server, WATCH);
    assert_eq!(end, Ok(()));
    assert!(
        text.contains("\"name\":\"b\"") && !text.contains("\"name\":\"c\""),
        "{text}"
    );
    assert!(!text.ends_with("0\r\n\r\n"), "the body has no end");
}

#[test]
fn a_list_ends_where_it_should_not() {
    let server = cluster();
    server.fault(On::list(PODS), Fault::End(amid(1, 10)));
    server.fault(On::list(PODS), Fault::Cut(after(1)));
    let answer = get(&server, PODS);
    assert!(
        serde_json::from_str::<Value>(&answer.body).is_err(),
        "{}",
        answer.body
    );
    let (text, _) = raw(&server, PODS);
    assert!(!text.ends_with("0\r\n\r\n"), "{text}");
}

#[test]
fn a_watch_closes_at_once_or_tells_that_it_is_too_old() {
    let server = cluster();
    server.fault(On::watch(PODS), Fault::closed());
    server.fault(On::watch(PODS), Fault::gone());
    server.fault(On::watch(PODS), Fault::gone_event(1));
    let accept = "application/json";
    assert_eq!(watch(&server, WATCH, accept).count(), 0);
    assert_eq!(get(&server, WATCH).status, 410);
    let lines: Vec<_> = watch(&server, WATCH, accept).map(|l| told(&l)).collect();
    assert_eq!(lines, ["+a", "ERROR 410"]);
    server.finish().unwrap();
}

#[test]
fn events_come_twice_or_before_their_neighbours() {
    let server = cluster();
    server.fault(On::watch(PODS), Fault::Twice);
    server.fault(On::watch(PODS), Fault::Swapped);
    let accept = "application/json";
    let take = |n| -> Vec<_> {
        watch(&server, WATCH, accept)
            .take(n)
            .map(|l| told(&l))
            .collect()
    };
    assert_eq!(take(8), ["+a", "+a", "+b", "+b", "+c", "+c", "B", "B"]);
    assert_eq!(take(4), ["+b", "+a", "+c", "B"]);
    // Those of one object keep their order.
    server.fault(On::watch(PODS), Fault::Swapped);
    let mut lines = watch(&server, WATCH, accept).map(|l| told(&l));
    assert_eq!(lines.by_ref().take(4).last().unwrap(), "B");
    server.apply_all(["a", "a", "b", "c"].map(pod)).unwrap();
    let taken: Vec<_> = lines.by_ref().take(4).collect();
    assert_eq!(taken, ["*a", "*b", "*a", "*c"]);
}

#[test]
fn lines_that_no_client_can_read_stand_between_good_ones() {
    let server = cluster();
    server.fault(On::watch(PODS), Fault::bad_json(1));
    server.fault(On::watch(PODS), Fault::wrong_types(2, "v1", "Pod"));
    let lines: Vec<_> = watch(&server, WATCH, "application/json").take(5).collect();
    assert!(serde_json::from_str::<Value>(&lines[1]).is_err());
    assert_eq!(
        [&lines[0], &lines[2], &lines[3]].map(|l| told(l)),
        ["+a", "+b", "+c"]
    );
    let lines: Vec<_> = watch(&server, WATCH, "application/json").take(5).collect();
    let odd: Value = serde_json::from_str(&lines[2]).unwrap();
    assert_eq!(odd["object"]["spec"]["nodeName"], 7);
    assert!(
        serde_json::from_value::<k8s_openapi::api::core::v1::Pod>(odd["object"].clone()).is_err()
    );
}

#[test]
fn an_item_of_a_list_is_none() {
    let server = cluster();
    server.fault(On::list(PODS), Fault::item(0, &json!({"metadata": 7})));
    server.fault(On::list(PODS), Fault::item(2, &json!("text")));
    for at in [0, 2] {
        let list: Value = serde_json::from_str(&get(&server, PODS).body).unwrap();
        let items = list["items"].as_array().unwrap();
        let odd = |item: &Value| item["metadata"]["name"].is_null();
        assert_eq!(items.iter().position(odd), Some(at));
        assert_eq!(items.len(), 4);
    }
    server.finish().unwrap();
}

#[test]
fn nothing_comes_or_it_comes_slowly() {
    let server = cluster();
    server.fault(On::list(PODS), Fault::Hang);
    server.fault(On::watch(PODS), Fault::Stall(after(1)));
    let pause = Duration::from_millis(1);
    server.fault(On::list(PODS), Fault::Drip { bytes: 40, pause });
    // Until this has come, and then for a while nothing.
    let silent = |path: &str, until: &str| {
        let mut stream = asked(&server, path);
        let (mut text, mut chunk) = (String::new(), [0; 4096]);
        while !text.contains(until) {
            let n = stream.read(&mut chunk).unwrap();
            text += std::str::from_utf8(&chunk[..n]).unwrap();
        }
        let a_while = Some(Duration::from_millis(100));
        stream.set_read_timeout(a_while).unwrap();
        let error = stream.read(&mut chunk).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        text
    };
    assert_eq!(silent(PODS, ""), "");
    let text = silent(WATCH, "\"name\":\"a\"");
    assert!(!text.contains("\"name\":\"b\""), "{text}");
    let answer = get(&server, PODS);
    let list: Value = serde_json::from_str(&answer.body).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 3);
    server.finish().unwrap();
}

#[test]
fn an_answer_is_late_or_the_connection_is_gone_before_it() {
    let server = cluster();
    server.fault(On::any("/version"), Fault::ResetAtOnce);
    server.fault(On::any("/version"), Fault::Late(Duration::from_millis(50)));
    let (text, end) = raw(&server, "/version");
    assert_eq!((text.as_str(), end), ("", Err(ErrorKind::ConnectionReset)));
    let begin = Instant::now();
    assert_eq!(get(&server, "/version").status, 200);
    assert!(begin.elapsed() >= Duration::from_millis(50));
    server.finish().unwrap();
}

#[test]
fn a_server_that_is_down_ends_watches_and_comes_back_with_what_happened() {
    let server = cluster();
    let mut lines = watch(&server, WATCH, "application/json").map(|l| told(&l));
    assert_eq!(
        lines.by_ref().take(4).collect::<Vec<_>>(),
        ["+a", "+b", "+c", "B"]
    );
    let watches = |asked: &[Request]| asked.iter().any(|r| r.watch == Some(true));
    server.wait_for("a watch", watches).unwrap();
    server.set_down(true);
    assert_eq!(lines.next(), None);
    let (text, _) = raw(&server, PODS);
    assert_eq!(text, "");
    server.delete("", "pods", "shop", "a").unwrap();
    server.set_down(false);
    let list: Value = serde_json::from_str(&get(&server, PODS).body).unwrap();
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    server.finish().unwrap();
}

/// What enters a selection is ADDED, what leaves it DELETED.
#[test]
fn a_watch_of_a_node_tells_only_of_its_pods() {
    let server = cluster();
    let on = |name: &str, node: &str| {
        let mut pod = pod(name);
        pod["spec"]["nodeName"] = node.into();
        pod
    };
    server.apply(on("a", "n1")).unwrap();
    let path = "/api/v1/pods?watch=true&fieldSelector=spec.nodeName%3Dn1";
    let mut lines = watch(&server, path, "application/json").map(|l| told(&l));
    assert_eq!(lines.next().unwrap(), "+a");
    server.apply(on("b", "n2")).unwrap();
    server.apply(on("c", "n1")).unwrap();
    server.apply(on("c", "n1")).unwrap();
    server.apply(on("a", "n2")).unwrap();
    server.delete("", "pods", "shop", "b").unwrap();
    server.delete("", "pods", "shop", "c").unwrap();
    let rest: Vec<_> = lines.take(4).collect();
    assert_eq!(rest, ["+c", "*c", "-a", "-c"]);
    server.finish().unwrap();
}

#[test]
fn what_nobody_expected_is_told_at_the_end() {
    let server = cluster();
    server.expect("/apis/keda.sh/*");
    assert_eq!(
        get(&server, "/apis/keda.sh/v1alpha1/scaledobjects").status,
        404
    );
    let grant = |verb: &str| (String::new(), "pods".to_owned(), verb.to_owned());
    server.allow_only(&ApiServer::collector(), [grant("list")]);
    assert_eq!(get(&server, "/api/v1/pods").status, 200);
    assert_eq!(get(&server, "/api/v1/secrets").status, 403);
    let watch = "/api/v1/pods?watch=true&timeoutSeconds=1";
    assert_eq!(get(&server, watch).status, 403);
    assert_eq!(get(&server, "/apis/nope/v1/things").status, 404);
    let error = server.finish().unwrap_err().to_string();
    assert!(
        error.contains("/api/v1/secrets") && error.contains("/apis/nope"),
        "{error}"
    );
    assert!(error.contains("/api/v1/pods?watch=true"), "{error}");
    assert!(!error.contains("keda"), "{error}");

    let server = cluster();
    server.fault(On::list(PODS), Fault::gone());
    let error = server.finish().unwrap_err().to_string();
    assert!(error.contains("faults that did not happen"), "{error}");
}
