#![expect(clippy::disallowed_methods, reason = "reads the recorded answers")]
//! The index over the answers of a real API server, in `tests/recorded/kube`. What is expected is
//! worked out here from the plain JSON, and owners by UID, where the index goes by names.

use std::collections::HashMap;
use std::path::Path;

use serde_json::Value;

use super::*;
use crate::inventory::parse::{Parsed, parse};

const LISTS: [&str; 10] = [
    "pods",
    "replicasets",
    "deployments",
    "statefulsets",
    "daemonsets",
    "jobs",
    "cronjobs",
    "namespaces",
    "nodes",
    "rollouts",
];

fn text(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recorded/kube");
    let path = folder.join(format!("{name}.json"));
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn items(name: &str) -> Vec<Value> {
    let list: Value = serde_json::from_str(&text(name)).unwrap();
    list["items"].as_array().unwrap().clone()
}

fn index() -> Index {
    let mut index = Index::default();
    for name in LISTS {
        let parsed = parse(name, &text(name));
        assert_eq!(parsed.problems, [], "{name}");
        for object in &parsed.objects {
            index.apply(object, Moment::default());
        }
    }
    index
}

fn controller(object: &Value) -> Option<&Value> {
    let owners = object["metadata"]["ownerReferences"].as_array()?;
    owners.iter().find(|owner| owner["controller"] == true)
}

/// The topmost controller of a pod, by UID.
fn workload(pod: &Value, by_uid: &HashMap<String, (&str, Value)>) -> Workload {
    let name_of = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    let mut top = Workload {
        kind: "Pod".to_owned(),
        name: name_of(pod),
    };
    let mut object = pod.clone();
    while let Some(owner) = controller(&object).cloned() {
        if owner["kind"] == "Node" {
            break;
        }
        top = Workload {
            kind: owner["kind"].as_str().unwrap().to_owned(),
            name: owner["name"].as_str().unwrap().to_owned(),
        };
        match by_uid.get(owner["uid"].as_str().unwrap()) {
            Some((_, next)) => object = next.clone(),
            None => break,
        }
    }
    top
}

#[test]
fn every_container_of_a_real_cluster_is_named() {
    let index = index();
    let by_uid: HashMap<String, (&str, Value)> = LISTS
        .iter()
        .flat_map(|list| items(list).into_iter().map(|object| (*list, object)))
        .map(|(list, object)| {
            let uid = object["metadata"]["uid"].as_str().unwrap().to_owned();
            (uid, (list, object))
        })
        .collect();
    let pods = items("pods");
    let mut containers = 0;
    for pod in &pods {
        let uid = pod["metadata"]["uid"].as_str().unwrap();
        let expected = workload(pod, &by_uid);
        let found = index.lookup(uid, None).unwrap();
        assert_eq!(found.workload, expected, "{}", pod["metadata"]["name"]);
        assert_eq!(
            found.namespace,
            pod["metadata"]["namespace"].as_str().unwrap()
        );
        assert_eq!(found.node.as_deref(), pod["spec"]["nodeName"].as_str());
        let lists = [
            "initContainerStatuses",
            "containerStatuses",
            "ephemeralContainerStatuses",
        ];
        let statuses = lists
            .iter()
            .filter_map(|list| pod["status"][list].as_array());
        for status in statuses.flatten() {
            let Some((_, id)) = status["containerID"]
                .as_str()
                .and_then(|id| id.split_once("://"))
            else {
                continue;
            };
            let found = index.lookup(uid, Some(id)).unwrap();
            let name = status["name"].as_str().unwrap();
            assert_eq!(found.container, ContainerName::Known(name.to_owned()));
            containers += 1;
        }
    }
    assert_eq!((index.pods(), pods.len()), (63, 63));
    assert_eq!(containers, 87);
}

fn found(index: &Index, pod: &str, container: &str) -> ContainerRef {
    let pods = items("pods");
    let pod = pods
        .iter()
        .find(|object| object["metadata"]["name"] == pod)
        .unwrap();
    let lists = [
        "initContainerStatuses",
        "containerStatuses",
        "ephemeralContainerStatuses",
    ];
    let status = lists
        .iter()
        .filter_map(|list| pod["status"][list].as_array())
        .flatten()
        .find(|status| status["name"] == container)
        .unwrap();
    let id = status["containerID"]
        .as_str()
        .unwrap()
        .strip_prefix("containerd://")
        .unwrap();
    index
        .lookup(pod["metadata"]["uid"].as_str().unwrap(), Some(id))
        .unwrap()
}

#[test]
fn what_is_odd_in_a_cluster_is_understood() {
    let index = index();
    let owner = |pod, container| {
        let Workload { kind, name } = found(&index, pod, container).workload;
        format!("{kind}/{name}")
    };
    assert_eq!(owner("search-6f7d9c5b84-fx5wh", "search"), "Rollout/search");
    assert_eq!(owner("report-29922192-qv6gn", "main"), "CronJob/report");
    assert_eq!(owner("cache-0", "cache"), "StatefulSet/cache");
    assert_eq!(owner("cache-d76ccdbd-49sx7", "cache"), "Deployment/cache");
    assert_eq!(owner("orphan-mrqfx", "orphan"), "ReplicaSet/orphan");
    assert_eq!(
        found(&index, "web-9d97b65d4-4jtvg", "wait-for-db").role,
        Role::Init
    );
    assert_eq!(
        found(&index, "web-9d97b65d4-4jtvg", "otel-sidecar").role,
        Role::Sidecar
    );
    assert_eq!(
        found(&index, "debug-shell", "debugger-7kq2x").role,
        Role::Ephemeral
    );
    // The cgroup of a static pod has the hash of its file, not the UID of its mirror.
    let mirror = index
        .lookup("2053dbbf6ec7135c4e994d3464c478db", None)
        .unwrap();
    assert_eq!(mirror.workload.kind, "Pod");
    assert!(mirror.pod.starts_with("registry-mirror-"));
    let mib = |mib: u64| Some(mib << 20);
    let guaranteed = found(&index, "guaranteed", "app");
    assert_eq!(guaranteed.requests, guaranteed.limits);
    assert_eq!(
        guaranteed.limits,
        Resources {
            cpu_millicores: Some(250),
            memory_bytes: mib(256),
            ..Resources::default()
        }
    );
    let batch = found(&index, "best-effort", "app");
    assert_eq!(
        (batch.requests, batch.limits),
        (Resources::default(), Resources::default())
    );
}

/// What `kubectl` asks for when it prints a table is no object of the cluster.
#[test]
fn other_answers_are_told_apart() {
    let of = |name| parse(name, &text(name));
    let Parsed {
        objects, problems, ..
    } = of("pods-empty-namespace");
    assert!(objects.is_empty() && problems.is_empty());
    let one = of("pod-get");
    assert!(
        matches!(one.objects.as_slice(), [Object::Pod(_)]),
        "{:?}",
        one.problems
    );
    for (name, expect) in [
        ("pods-table", "a Table is made for the eye"),
        (
            "pods-metadata-only",
            "PartialObjectMetadataList holds names without",
        ),
    ] {
        let parsed = of(name);
        assert!(parsed.objects.is_empty() && parsed.broken, "{name}");
        let [problem] = parsed.problems.as_slice() else {
            panic!("{name}: {:?}", parsed.problems)
        };
        assert!(problem.message.starts_with(expect), "{problem}");
    }
}
