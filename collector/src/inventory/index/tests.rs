use super::*;
use crate::inventory::parse;

const OBJECTS: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: api, namespace: shop}
spec: {replicas: 3, selector: {}, template: {}}
---
apiVersion: apps/v1
kind: ReplicaSet
metadata:
  name: api-7d9
  namespace: shop
  ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: api, uid: d, controller: true}]
---
apiVersion: batch/v1
kind: Job
metadata:
  name: report-1
  namespace: shop
  ownerReferences: [{apiVersion: batch/v1, kind: CronJob, name: report, uid: c, controller: true}]
---
apiVersion: v1
kind: Pod
metadata:
  name: api-7d9-x
  namespace: shop
  uid: uid-api
  labels: {app: api}
  ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: api-7d9, uid: r, controller: true}]
spec:
  nodeName: node-a
  initContainers:
  - {name: migrate, image: m}
  - {name: mesh, image: s, restartPolicy: Always, resources: {requests: {cpu: 50m}}}
  containers:
  - {name: app, image: a, resources: {requests: {cpu: 250m, memory: 256Mi}, limits: {memory: 512Mi}}}
  ephemeralContainers:
  - {name: debug, image: d}
status:
  initContainerStatuses:
  - {name: migrate, containerID: "containerd://id-migrate", image: m, imageID: m, ready: true, restartCount: 0}
  - {name: mesh, containerID: "containerd://id-mesh", image: m, imageID: m, ready: true, restartCount: 0}
  containerStatuses:
  - name: app
    containerID: containerd://id-app
    image: a
    imageID: a
    ready: true
    restartCount: 1
    lastState: {terminated: {containerID: "containerd://id-app-before", exitCode: 137}}
  ephemeralContainerStatuses:
  - {name: debug, containerID: "containerd://id-debug", image: m, imageID: m, ready: true, restartCount: 0}
---
apiVersion: v1
kind: Pod
metadata:
  name: report-1-z
  namespace: shop
  uid: uid-report
  ownerReferences: [{apiVersion: batch/v1, kind: Job, name: report-1, uid: j, controller: true}]
spec: {containers: [{name: job, image: j, resources: {limits: {cpu: "1"}}}]}
---
apiVersion: v1
kind: Pod
metadata:
  name: kube-proxy-node-a
  namespace: kube-system
  uid: uid-mirror
  annotations: {kubernetes.io/config.mirror: 0123456789abcdef0123456789abcdef}
  ownerReferences: [{apiVersion: v1, kind: Node, name: node-a, uid: n, controller: true}]
spec: {nodeName: node-a, containers: [{name: kube-proxy, image: k}]}
status:
  containerStatuses:
  - {name: kube-proxy, containerID: "containerd://id-proxy", image: m, imageID: m, ready: true, restartCount: 0}
---
apiVersion: v1
kind: Node
metadata: {name: node-a}
status: {allocatable: {cpu: 3920m, memory: 7Gi}}
"#;

fn index() -> Index {
    let parsed = parse::parse("objects.yaml", OBJECTS);
    assert_eq!(parsed.problems, []);
    let mut index = Index::default();
    for object in &parsed.objects {
        index.apply(object, Moment::default());
    }
    index
}

/// `namespace/pod/container kind/name role requests`, or what is missing.
#[track_caller]
fn check(pod_uid: &str, container_id: Option<&str>, expected: &str) {
    let shown = index().lookup(pod_uid, container_id).map_or_else(
        || "unknown".to_owned(),
        |found| {
            let container = match &found.container {
                ContainerName::Known(name) => name.as_str(),
                ContainerName::Pending => "(pending)",
                ContainerName::NotInStatus => "(none)",
            };
            let cpu = found
                .requests
                .cpu_millicores
                .map_or("-".to_owned(), |m| format!("{m}m"));
            let Workload { kind, name } = &found.workload;
            format!(
                "{}/{}/{container} {kind}/{name} {:?} {cpu}",
                found.namespace, found.pod, found.role
            )
        },
    );
    assert_eq!(shown, expected);
}

#[test]
fn owners_are_followed_to_the_top() {
    check(
        "uid-api",
        Some("id-app"),
        "shop/api-7d9-x/app Deployment/api Main 250m",
    );
    check(
        "uid-report",
        Some("id-x"),
        "shop/report-1-z/(pending) CronJob/report Main -",
    );
}

#[test]
fn every_kind_of_container_is_named() {
    check(
        "uid-api",
        Some("id-migrate"),
        "shop/api-7d9-x/migrate Deployment/api Init -",
    );
    check(
        "uid-api",
        Some("id-mesh"),
        "shop/api-7d9-x/mesh Deployment/api Sidecar 50m",
    );
    check(
        "uid-api",
        Some("id-debug"),
        "shop/api-7d9-x/debug Deployment/api Ephemeral -",
    );
    check(
        "uid-api",
        Some("id-app-before"),
        "shop/api-7d9-x/app Deployment/api Main 250m",
    );
}

#[test]
fn the_sandbox_is_not_a_container_and_never_guessed() {
    check(
        "uid-api",
        Some("id-pause"),
        "shop/api-7d9-x/(none) Deployment/api Main -",
    );
    check(
        "uid-api",
        None,
        "shop/api-7d9-x/(none) Deployment/api Main -",
    );
    check("uid-nobody", Some("id-app"), "unknown");
}

#[test]
fn static_pods_answer_to_their_hash_too() {
    let expected = "kube-system/kube-proxy-node-a/kube-proxy Pod/kube-proxy-node-a Main -";
    check(
        "0123456789abcdef0123456789abcdef",
        Some("id-proxy"),
        expected,
    );
    check("uid-mirror", Some("id-proxy"), expected);
}

#[test]
fn limits_labels_and_nodes() {
    let index = index();
    let app = index.lookup("uid-api", Some("id-app")).unwrap();
    assert_eq!(
        app.limits,
        Resources {
            cpu_millicores: None,
            memory_bytes: Some(512 << 20),
            ..Resources::default()
        }
    );
    assert_eq!(app.node.as_deref(), Some("node-a"));
    assert_eq!(app.labels["app"], "api");
    assert_eq!(index.pods(), 3);
}

/// CPU and memory of requests, then of limits; `unknown` where something is set that is no quantity.
#[track_caller]
fn check_resources(resources: &str, expected: [&str; 4]) {
    let pod = format!(
        "kind: Pod\napiVersion: v1\nmetadata: {{name: p, namespace: n, uid: u}}\n\
         spec: {{containers: [{{name: app, image: a, resources: {resources}}}]}}\n\
         status: {{containerStatuses: [{{name: app, containerID: \"containerd://c\", image: a, imageID: a, ready: true, restartCount: 0}}]}}\n"
    );
    let mut index = Index::default();
    for object in &parse::parse("p.yaml", &pod).objects {
        index.apply(object, Moment::default());
    }
    let found = index.lookup("u", Some("c")).unwrap();
    let shown = |value: Option<u64>, unknown: bool| match (value, unknown) {
        (Some(value), false) => value.to_string(),
        (None, false) => "none".to_owned(),
        (None, true) => "unknown".to_owned(),
        (Some(_), true) => panic!("known and unknown"),
    };
    let both = |of: Resources| {
        [
            shown(of.cpu_millicores, of.cpu_unknown),
            shown(of.memory_bytes, of.memory_unknown),
        ]
    };
    assert_eq!(
        [both(found.requests), both(found.limits)].concat(),
        expected
    );
}

#[test]
fn a_quantity_is_none_or_a_value_or_unknown() {
    check_resources("{}", ["none"; 4]);
    check_resources(
        "{requests: {cpu: 250m}, limits: {memory: 1k}}",
        ["250", "1000", "none", "1000"],
    );
    // What was asked for is not known, and the limit is not what was asked for.
    check_resources(
        "{requests: {cpu: 25O, memory: 64MB}, limits: {cpu: 1, memory: 1k}}",
        ["unknown", "unknown", "1000", "1000"],
    );
    check_resources(
        "{requests: {cpu: 250m}, limits: {cpu: 1x, memory: [1]}}",
        ["250", "unknown", "unknown", "unknown"],
    );
}

/// Made again by hand under the name of one that is gone, it has no owner any more.
#[test]
fn an_owner_is_not_that_of_one_that_is_gone() {
    let parsed = parse::parse("objects.yaml", OBJECTS);
    let again =
        "apiVersion: apps/v1\nkind: ReplicaSet\nmetadata: {name: api-7d9, namespace: shop}\n";
    let again = parse::parse("again.yaml", again);
    let mut index = Index::default();
    for object in parsed.objects.iter().chain(&again.objects) {
        index.apply(object, Moment::default());
    }
    let found = index.lookup("uid-api", None).unwrap();
    assert_eq!(found.workload.kind, "ReplicaSet");
}

#[test]
fn an_owner_circle_ends() {
    let circle = "
{apiVersion: batch/v1, kind: Job, metadata: {name: a, namespace: n, ownerReferences: [{apiVersion: v1, kind: CronJob, name: b, uid: x, controller: true}]}}
---
{apiVersion: batch/v1, kind: CronJob, metadata: {name: b, namespace: n, ownerReferences: [{apiVersion: v1, kind: Job, name: a, uid: x, controller: true}]}}
---
{apiVersion: v1, kind: Pod, metadata: {name: p, namespace: n, uid: u, ownerReferences: [{apiVersion: v1, kind: Job, name: a, uid: x, controller: true}]}}
";
    let parsed = parse::parse("circle.yaml", circle);
    let mut index = Index::default();
    for object in &parsed.objects {
        index.apply(object, Moment::default());
    }
    assert_eq!(index.lookup("u", None).unwrap().namespace, "n");
}
