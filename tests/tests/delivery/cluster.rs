//! A collector that follows an API server: what it writes has the names that the server knows.

use std::path::Path;

use plimsoll_tests::apiserver::{
    API_AUDIENCE, ApiServer, Fault, On, Options, Rule, Token, User, recorded,
};
use plimsoll_tests::manifest;
use plimsoll_wire::identity::{Qos, Subject};
use plimsoll_wire::{AuditEvent, Identity};
use serde_json::Value;

use super::collector::{Collector, wait_until};
use super::{empty, oom, open, runtime};

/// The node of the token.
const NODE: &str = "node-1";

/// A container of the recorded cluster: pod UID, container id, and what an event says of it.
struct Container {
    pod_uid: String,
    id: String,
    said: [String; 4],
    node: Value,
}

/// `search` of a Rollout's pod.
fn container() -> Container {
    let pods = recorded::list("pods.json").unwrap();
    let of = |pod: &&Value| pod["metadata"]["name"] == "search-6f7d9c5b84-fx5wh";
    let pod = pods["items"].as_array().unwrap().iter().find(of).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let id = text(&pod["status"]["containerStatuses"][0]["containerID"]);
    Container {
        pod_uid: text(&pod["metadata"]["uid"]),
        id: id.strip_prefix("containerd://").unwrap().to_owned(),
        said: [
            text(&pod["metadata"]["namespace"]),
            text(&pod["metadata"]["name"]),
            text(&pod["status"]["containerStatuses"][0]["name"]),
            "Rollout/search".to_owned(),
        ],
        node: NODE.into(),
    }
}

/// The recorded lists, with the pod of [`container`] on the node that sends, and the others elsewhere.
fn list(name: &str) -> Value {
    let mut list = recorded::list(name).unwrap();
    for item in list["items"].as_array_mut().unwrap() {
        if item["metadata"]["name"] == "search-6f7d9c5b84-fx5wh" {
            item["spec"]["nodeName"] = NODE.into();
        }
    }
    list
}

fn event(number: u32, pod_uid: &str, container_id: &str) -> AuditEvent {
    let AuditEvent::OomKill(mut kill) = oom(number) else {
        panic!("an OOM kill")
    };
    kill.identity = Identity {
        subject: Subject::Container {
            pod_uid: pod_uid.to_owned(),
            container_id: container_id.to_owned(),
            runtime: None,
            qos: Qos::Burstable,
        },
        ..Identity::unknown(7)
    };
    AuditEvent::OomKill(kill)
}

/// Namespace, pod, container and workload of a line.
fn said(line: &Value) -> [String; 4] {
    let text = |key: &str| line["names"][key].as_str().unwrap_or("-").to_owned();
    let workload = format!("{}/{}", text("workload_kind"), text("workload_name"));
    [text("namespace"), text("pod"), text("container"), workload]
}

struct Rig {
    folder: tempfile::TempDir,
    server: ApiServer,
    collector: Collector,
    runtime: tokio::runtime::Runtime,
    sent: u32,
}

impl Rig {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = ApiServer::start(Options::default()).unwrap();
        for name in recorded::LISTS {
            server.load(&list(name)).unwrap();
        }
        server.allow_only(
            &ApiServer::collector(),
            manifest::granted_to_the_collector().unwrap(),
        );
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
        let mut collector = Collector::new(&folder.path().join("collector"));
        collector.kubeconfig = Some(kubeconfig);
        Self {
            folder,
            server,
            collector,
            runtime: runtime(),
            sent: 0,
        }
    }

    fn start(&mut self) {
        self.collector.start();
        wait_until("it answers", || {
            self.collector.get("/api/v1/accounting").is_some()
        });
    }

    /// Sends one event, and waits until so many are written.
    fn send(&mut self, pod_uid: &str, container_id: &str) {
        let token = self.collector.token();
        self.send_with(&token, pod_uid, container_id);
    }

    /// The same with another token than the collector's file has.
    fn send_with(&mut self, token: &Path, pod_uid: &str, container_id: &str) {
        let number = self.next();
        self.send_all(token, &[event(number, pod_uid, container_id)]);
    }

    fn next(&mut self) -> u32 {
        self.sent += 1;
        self.sent
    }

    /// Sends these in one request.
    fn send_all(&mut self, token: &Path, events: &[AuditEvent]) {
        let spool = open(&self.folder.path().join(format!("spool-{}", self.sent)));
        let mut held = spool.lock().unwrap();
        // By now: an older one waits for no name.
        let now = jiff::Timestamp::now().as_nanosecond();
        for event in events {
            held.event(event, u64::try_from(now).unwrap(), 1);
        }
        held.commit(1).unwrap();
        drop(held);
        empty(&self.runtime, &spool, self.collector.otlp, token);
    }

    fn written(&self, count: usize) -> Vec<Value> {
        // A slow machine makes agents silent.
        let written = || {
            let mut written = self.collector.written();
            written.retain(|line| line["event"] != "agent");
            written
        };
        wait_until("the events are written", || written().len() == count);
        written()
    }
}

#[test]
fn events_have_the_names_that_the_cluster_gives() {
    let mut rig = Rig::new();
    let known = container();
    rig.start();
    rig.send(&known.pod_uid, &known.id);
    let written = rig.written(1);
    assert_eq!(said(&written[0]), known.said);
    assert_eq!(written[0]["names"]["pod_node"], known.node);
    assert!(written[0]["names"].get("name_pending").is_none());
    rig.server.finish().unwrap();
}

/// As an agent's pod has it: the API server says whose the token is and on which node, and is asked once.
#[test]
fn a_service_accounts_token_sends_for_its_node() {
    let mut rig = Rig::new();
    let known = container();
    let agent = User::service_account("plimsoll-agent", "plimsoll-agent");
    let agent = agent.in_pod("plimsoll-agent-x", "u1").on_node(NODE, "u2");
    let projected = "h.eyJleHAiOjQxMDI0NDQ4MDB9.s";
    rig.server
        .token(projected, Token::valid(agent, "plimsoll-collector"));
    let file = rig.folder.path().join("projected");
    std::fs::write(&file, projected).unwrap();
    rig.start();
    for count in 1..3 {
        rig.send_with(&file, &known.pod_uid, &known.id);
        assert_eq!(rig.written(count)[count - 1]["node"], NODE);
    }
    let asked = rig.server.requests();
    let reviews = asked
        .iter()
        .filter(|asked| asked.path.ends_with("/tokenreviews"));
    assert_eq!(reviews.count(), 1);
    assert!(!rig.collector.log().contains(projected));
    rig.server.finish().unwrap();
}

/// People show tokens for the API server, and see what its rules say.
#[test]
fn people_see_what_the_rules_of_the_cluster_allow() {
    let mut rig = Rig::new();
    for (token, user) in [("of.alice", "alice"), ("of.security", "security")] {
        let user = User::person(user, &["team"]);
        rig.server.token(token, Token::valid(user, API_AUDIENCE));
    }
    let (alice, security) = (Rule::user("alice"), Rule::user("security"));
    let sizing = |rule: Rule| rule.may("get", "plimsoll.dev", "sizing");
    let audit = |rule: Rule| rule.may("read", "plimsoll.dev", "audit");
    rig.server.allow(sizing(alice).within("shop"));
    rig.server.allow(audit(security.clone()));
    rig.server.allow(security.may_path("get", "/metrics"));
    rig.collector.has_rules = true;
    rig.collector.start();
    wait_until("it lives", || {
        rig.collector.status_for("/livez", None) == Some(200)
    });
    let (alice, security) = (Some("of.alice"), Some("of.security"));
    for (path, token, status) in [
        ("/", None, 401),
        ("/", Some("of.nobody"), 401),
        ("/?namespace=shop", alice, 200),
        ("/api/v1/sizing?namespace=shop", alice, 200),
        ("/api/v1/sizing?namespace=batch", alice, 403),
        ("/api/v1/audit?namespace=shop", alice, 403),
        ("/api/v1/nodes", alice, 403),
        ("/metrics", alice, 403),
        ("/api/v1/audit", security, 200),
        ("/api/v1/accounting", security, 200),
        ("/api/v1/sizing", security, 403),
        ("/metrics", security, 200),
    ] {
        let found = rig.collector.status_for(path, token);
        assert_eq!(found, Some(status), "{path} {token:?}");
    }
    let log = rig.collector.log();
    assert!(log.contains("access denied") && log.contains("access allowed"));
    assert!(!log.contains("of.alice"), "{log}");
    rig.server.finish().unwrap();
}

/// A node speaks of its own pods; of others it is told, and nothing is kept.
#[test]
fn records_about_pods_of_other_nodes_are_refused_and_told() {
    let mut rig = Rig::new();
    let known = container();
    rig.start();
    rig.send(&known.pod_uid, &known.id);
    assert_eq!(said(&rig.written(1)[0]), known.said);
    let pods = list("pods.json");
    let elsewhere = |pod: &&Value| pod["spec"]["nodeName"] == "node-a";
    let pods = pods["items"].as_array().unwrap();
    let uid = pods.iter().find(elsewhere).unwrap()["metadata"]["uid"].as_str();
    rig.send(uid.unwrap(), &known.id);
    let told = |line: &Value| line["event"] == "misplaced";
    wait_until("it is told", || rig.collector.written().iter().any(told));
    let written = rig.collector.written();
    let found = written.iter().find(|line| told(line)).unwrap();
    let fields = ["sender", "pod_uid", "pod_node"].map(|field| found[field].as_str());
    assert_eq!(fields, [Some(NODE), uid, Some("node-a")]);
    let kills = written.iter().filter(|line| line["event"] == "oom_kill");
    assert_eq!(kills.count(), 1, "only that of its own pod is kept");
    rig.server.finish().unwrap();
}

/// The door lets in what it does not know; where the pod is comes later, while the event waits for its name.
#[test]
fn an_event_about_a_pod_that_turns_out_to_be_elsewhere_is_told() {
    let mut rig = Rig::new();
    let known = container();
    let pods = list("pods.json");
    let pods = pods["items"].as_array().unwrap();
    let of = |pod: &&Value| pod["metadata"]["uid"] == known.pod_uid.as_str();
    let mut pod = pods.iter().find(of).unwrap().clone();
    let [namespace, name, ..] = &known.said;
    rig.server.delete("", "pods", namespace, name).unwrap();
    rig.start();
    rig.send(&known.pod_uid, &known.id);
    // In a list they are left out.
    (pod["apiVersion"], pod["kind"]) = ("v1".into(), "Pod".into());
    pod["spec"]["nodeName"] = "node-a".into();
    rig.server.apply(pod).unwrap();
    let told = |line: &Value| line["event"] == "misplaced";
    wait_until("it is told", || rig.collector.written().iter().any(told));
    let written = rig.written(2);
    assert_eq!(written[0]["names"]["misplaced"], true, "{}", written[0]);
    let found = ["sender", "pod_uid", "pod_node"].map(|field| written[1][field].as_str());
    assert_eq!(found, [Some(NODE), Some(&*known.pod_uid), Some("node-a")]);
    rig.server.finish().unwrap();
}

/// The collector is restarted while the API server is away: events wait for the names, and get them.
#[test]
fn events_wait_for_a_cluster_that_is_not_known_yet() {
    let mut rig = Rig::new();
    let known = container();
    let away = On::watch("/api/v1/pods");
    rig.server.fault(away.times(2), Fault::unavailable());
    rig.start();
    rig.send(&known.pod_uid, &known.id);
    let written = rig.written(1);
    assert_eq!(said(&written[0]), known.said);
    let asked = rig.server.requests();
    let asked = asked.iter().filter(|asked| asked.path == "/api/v1/pods");
    assert_eq!(asked.count(), 3, "it was told after two refusals");
    rig.server.finish().unwrap();
}

/// The pod is known before its owner: what owns it is not known yet, and no ReplicaSet for good.
#[test]
fn events_wait_for_owners_that_are_not_known_yet() {
    let mut rig = Rig::new();
    let known = container();
    let owners = On::watch("/apis/apps/v1/replicasets");
    rig.server.fault(owners, Fault::Held);
    rig.start();
    wait_until("its pod is known", || {
        let metrics = rig.collector.text("/metrics").unwrap_or_default();
        metrics.contains("cluster_kinds{kind=\"Pod\",state=\"live\"} 1")
    });
    // What nobody has to name goes first: once that is written, the other was looked at.
    let nobodys = oom(rig.next());
    let named = event(rig.next(), &known.pod_uid, &known.id);
    let token = rig.collector.token();
    rig.send_all(&token, &[nobodys, named]);
    assert_eq!(said(&rig.written(1)[0])[0], "-");
    rig.server.release();
    assert_eq!(said(&rig.written(2)[1]), known.said);
    rig.server.finish().unwrap();
}
