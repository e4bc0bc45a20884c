//! The collector's watch of the cluster against a scripted API server: it knows what the server knows,
//! whatever happens on the way, and asks no more than it may.

#![expect(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test waits, and fails where it cannot go on"
)]

#[path = "cluster/faults.rs"]
mod faults;
#[path = "cluster/load.rs"]
mod load;
#[path = "cluster/rig.rs"]
mod rig;

use std::time::Duration;

use plimsoll_collector::cluster::census::State;
use plimsoll_tests::apiserver::{ApiServer, Options, recorded};
use rig::{Rig, fill, named, replica_set};
use serde_json::{Value, json};

#[test]
fn every_pod_of_a_recorded_cluster_is_named() {
    let rig = Rig::recorded(Options::default());
    let pods = recorded::list("pods.json").unwrap();
    let pods = pods["items"].as_array().unwrap();
    rig.until("all pods are known", |index| index.pods() == pods.len());
    let index = rig.index.get();
    for pod in pods {
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let found = index.lookup(uid, None).unwrap();
        assert_eq!(found.pod, pod["metadata"]["name"].as_str().unwrap());
        // One that has no node yet may be on any.
        let is_placed = pod["spec"]["nodeName"].is_string();
        assert_eq!(index.is_pending(uid, None), !is_placed, "{}", found.pod);
        let statuses = pod["status"]["containerStatuses"].as_array();
        for status in statuses.into_iter().flatten() {
            let Some(id) = status["containerID"].as_str() else {
                continue;
            };
            let id = id.strip_prefix("containerd://").unwrap();
            let name = index.lookup(uid, Some(id)).unwrap().container;
            assert_eq!(name, named(status["name"].as_str().unwrap()));
        }
    }
    let workload = |pod: &str| {
        let of = |value: &&Value| value["metadata"]["name"] == pod;
        let uid = pods.iter().find(of).unwrap()["metadata"]["uid"].as_str();
        let found = index.lookup(uid.unwrap(), None).unwrap().workload;
        format!("{}/{}", found.kind, found.name)
    };
    assert_eq!(workload("search-6f7d9c5b84-fx5wh"), "Rollout/search");
    assert_eq!(workload("report-29922192-qv6gn"), "CronJob/report");
    assert_eq!(workload("cache-d76ccdbd-49sx7"), "Deployment/cache");
    assert!(index.nodes().len() == 8 && index.nodes().get("node-a").is_some());
    // What names no container is counted, and not kept.
    let count = |name: &str| {
        let list = recorded::list(&format!("{name}.json")).unwrap();
        list["items"].as_array().unwrap().len()
    };
    let mut naming = [
        "pods",
        "nodes",
        "replicasets",
        "deployments",
        "statefulsets",
    ]
    .to_vec();
    naming.extend(["daemonsets", "jobs", "cronjobs", "rollouts"]);
    let kept = naming.into_iter().map(count).sum::<usize>();
    drop(index);
    rig.until("Rollouts are known", |index| index.objects() == kept);
    let told = rig.census.rows()[&(String::new(), "Service".to_owned())].changes;
    assert_eq!(told, count("services") as u64);
    assert!(rig.census.troubles(Duration::ZERO).is_empty());
    let asked = rig.finish();
    // Objects of which only names are used are not sent whole, and nothing is listed twice.
    for path in ["/apis/apps/v1/replicasets", "/api/v1/services"] {
        let of: Vec<_> = asked.iter().filter(|asked| asked.path == path).collect();
        assert_eq!(of.len(), 1, "{path}: {of:?}");
        assert!(of[0].accept.contains("as=PartialObjectMetadata"), "{path}");
    }
    assert!(asked.iter().all(|asked| asked.method == "GET"));
}

/// Created, bound, run and deleted within the blink of an eye: its name stays for its grace.
#[test]
fn a_pod_that_came_and_went_keeps_its_name() {
    let rig = Rig::recorded(Options::default());
    let pod = |status: Value| {
        json!({"apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "flash", "namespace": "shop", "uid": "flash-uid",
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "quick",
                    "uid": "uid-quick", "controller": true}]},
            "spec": {"nodeName": "node-a", "containers": [{"name": "app", "image": "a"}]},
            "status": status})
    };
    let running = json!({"phase": "Running", "podIPs": [{"ip": "10.9.9.9"}], "containerStatuses": [
        {"name": "app", "containerID": "containerd://c1", "image": "a", "imageID": "a", "ready": true,
         "restartCount": 0}]});
    rig.server.apply(pod(json!({"phase": "Pending"}))).unwrap();
    rig.server.apply(pod(running)).unwrap();
    rig.server.delete("", "pods", "shop", "flash").unwrap();
    rig.until("it has come and gone", |index| index.gone() == 1);
    let index = rig.index.get();
    let found = index.lookup("flash-uid", Some("c1")).unwrap();
    assert_eq!(found.container, named("app"));
    assert!(found.workload_pending, "its ReplicaSet was never told of");
    drop(index);
    rig.server.apply(replica_set("quick", "fast")).unwrap();
    let deployment = json!({"apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": "fast", "namespace": "shop", "uid": "uid-fast"}});
    rig.server.apply(deployment).unwrap();
    rig.until("its Deployment is known", |index| {
        let found = index.lookup("flash-uid", None).unwrap();
        !found.workload_pending && found.workload.name == "fast"
    });
    rig.finish();
}

#[test]
fn a_kind_that_is_not_there_is_a_fact() {
    let server = ApiServer::start(Options::default()).unwrap();
    server.hide_group("argoproj.io");
    let rig = Rig::of(server, &["rollouts.json"]);
    let workload = || {
        let pods = recorded::list("pods.json").unwrap();
        let of = |value: &&Value| value["metadata"]["name"] == "search-6f7d9c5b84-fx5wh";
        let uid =
            pods["items"].as_array().unwrap().iter().find(of).unwrap()["metadata"]["uid"].clone();
        let found = rig.index.get().lookup(uid.as_str().unwrap(), None);
        found.map(|found| found.workload.kind)
    };
    rig.until("all pods are known", |index| index.pods() == 63);
    assert_eq!(
        workload().as_deref(),
        Some("Rollout"),
        "as its ReplicaSet says"
    );
    assert!(rig.census.troubles(Duration::ZERO).is_empty());
    rig.finish();
}

/// As a cluster learns one: by a CustomResourceDefinition that is applied later.
#[test]
fn a_kind_that_comes_later_is_followed_from_then_on() {
    const GROUP: &str = "argoproj.io";
    let server = ApiServer::start(Options::default()).unwrap();
    server.hide_group(GROUP);
    fill(&server, &["rollouts.json"]);
    let rig = Rig::impatient(server);
    rig.until_kind(GROUP, "Rollout", State::Absent);
    rig.until_synced();
    let rollouts = recorded::list("rollouts.json").unwrap();
    rig.server.show_group(GROUP);
    rig.server.load(&rollouts).unwrap();
    rig.until_kind(GROUP, "Rollout", State::Live);
    let name = (GROUP.to_owned(), "Rollout".to_owned());
    let told = || rig.census.rows()[&name].changes;
    let count = rollouts["items"].as_array().unwrap().len() as u64;
    rig.until("those that are there are told", |_| told() == count);
    let mut another = rollouts["items"][0].clone();
    another["apiVersion"] = "argoproj.io/v1alpha1".into();
    another["kind"] = "Rollout".into();
    another["metadata"]["name"] = "another".into();
    another["metadata"].as_object_mut().unwrap().remove("uid");
    rig.server.apply(another).unwrap();
    rig.until("the new one is told", |_| told() == count + 1);
    rig.finish();
}

/// As when the ClusterRole is applied after the collector.
#[test]
fn a_kind_that_may_be_seen_later_is_followed_from_then_on() {
    let server = ApiServer::start(Options::default()).unwrap();
    server.deny("*", "", "pods");
    fill(&server, &[]);
    let rig = Rig::impatient(server);
    rig.until_kind("", "Pod", State::Denied);
    assert_eq!(rig.index.get().pods(), 0);
    let [trouble] = rig.census.troubles(Duration::ZERO).try_into().unwrap();
    assert_eq!(trouble, "Pod: the account may not list and watch it");
    rig.server.deny_nothing();
    rig.until_kind("", "Pod", State::Live);
    rig.until("all pods are known", |index| index.pods() == 63);
    assert!(rig.census.troubles(Duration::ZERO).is_empty());
    rig.finish();
}
