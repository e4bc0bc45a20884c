//! The Kubernetes objects of the stage's pods, as `kubectl get … -o yaml` would show them.
//!
//! Pure: pods in, text out. The text is a `List` in JSON, which every YAML reader takes.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use crate::pods::{NODE, Owner, Place, Pod, Resources};

/// A pod, its address and whether its container runs now.
#[derive(Clone, Copy, Debug)]
pub struct Seen<'a> {
    /// The pod.
    pub pod: &'a Pod,
    /// Its address.
    pub ip: Ipv4Addr,
    /// Its container runs.
    pub running: bool,
}

/// The whole inventory as one YAML document. `created` is an RFC 3339 time.
pub fn document(pods: &[Seen<'_>], created: &str) -> String {
    let items = objects(pods, created);
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    format!("{list:#}\n")
}

/// The node, the namespaces, and all pods with their owners before them.
pub fn objects(pods: &[Seen<'_>], created: &str) -> Vec<Value> {
    let mut items = vec![node(created)];
    let mut namespaces: Vec<&str> = pods
        .iter()
        .map(|seen| seen.pod.namespace.as_str())
        .collect();
    namespaces.sort_unstable();
    namespaces.dedup();
    items.extend(namespaces.into_iter().map(|name| namespace(name, created)));
    for seen in pods {
        items.extend(owners(seen.pod, created));
        items.push(pod(seen, created));
    }
    items
}

fn node(created: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Node",
        "metadata": {"name": NODE, "uid": "00000000-0000-4000-8000-00000000000e", "creationTimestamp": created,
            "labels": {"kubernetes.io/hostname": NODE, "topology.kubernetes.io/zone": "eu-central-1a"}},
        "status": {"nodeInfo": {"operatingSystem": "linux"}},
    })
}

fn namespace(name: &str, created: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": name, "creationTimestamp": created, "labels": {"kubernetes.io/metadata.name": name}},
        "status": {"phase": "Active"},
    })
}

/// Stable UIDs for owners: the pod's, with `tag` in place of the version digit.
fn owner_uid(pod: &Pod, tag: char) -> String {
    pod.uid
        .char_indices()
        .map(|(at, digit)| if at == 14 { tag } else { digit })
        .collect()
}

/// The ReplicaSet or Job between a pod and its workload: the pod's name without its last part.
fn between(pod: &Pod) -> &str {
    pod.name
        .rsplit_once('-')
        .map_or(pod.name.as_str(), |(set, _)| set)
}

fn owners(pod: &Pod, created: &str) -> Vec<Value> {
    let labels = json!({"app.kubernetes.io/name": pod.workload});
    let template = json!({"metadata": {"labels": labels}, "spec": spec(pod)});
    let selector = json!({"matchLabels": labels});
    let meta = |name: &str, tag: char| {
        json!({"name": name, "namespace": pod.namespace, "uid": owner_uid(pod, tag),
            "creationTimestamp": created, "labels": labels})
    };
    match pod.owner {
        Owner::StaticFile => Vec::new(),
        Owner::DaemonSet => vec![json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": meta(&pod.workload, 'a'),
            "spec": {"selector": selector, "template": template},
        })],
        Owner::Deployment => vec![
            json!({
                "apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta(&pod.workload, 'b'),
                "spec": {"replicas": 1, "selector": selector, "template": template},
            }),
            owned(
                json!({
                    "apiVersion": "apps/v1", "kind": "ReplicaSet", "metadata": meta(between(pod), 'c'),
                    "spec": {"replicas": 1, "selector": selector, "template": template},
                }),
                &owner_reference("Deployment", &pod.workload, &owner_uid(pod, 'b')),
            ),
        ],
        Owner::CronJob => vec![
            json!({
                "apiVersion": "batch/v1", "kind": "CronJob", "metadata": meta(&pod.workload, 'd'),
                "spec": {"schedule": "0 * * * *", "jobTemplate": {"spec": {"template": template}}},
            }),
            owned(
                json!({
                    "apiVersion": "batch/v1", "kind": "Job", "metadata": meta(between(pod), 'e'),
                    "spec": {"template": template},
                }),
                &owner_reference("CronJob", &pod.workload, &owner_uid(pod, 'd')),
            ),
        ],
    }
}

fn owned(mut object: Value, owner: &Value) -> Value {
    object["metadata"]["ownerReferences"] = json!([owner]);
    object
}

fn owner_reference(kind: &str, name: &str, uid: &str) -> Value {
    let api = match kind {
        "Node" => "v1",
        "CronJob" | "Job" => "batch/v1",
        _ => "apps/v1",
    };
    json!({"apiVersion": api, "kind": kind, "name": name, "uid": uid, "controller": true})
}

/// A pod's account is called as its workload; the kubelet has none for a file of its own.
fn spec(pod: &Pod) -> Value {
    let account = (pod.owner != Owner::StaticFile).then_some(&pod.workload);
    json!({
        "nodeName": NODE,
        "serviceAccountName": account,
        "hostNetwork": matches!(pod.place, Place::Node | Place::BesideService),
        "containers": [{
            "name": pod.container,
            "image": format!("registry.example/{}:1", pod.workload),
            "resources": resources(pod.resources),
        }],
    })
}

fn resources(r: Resources) -> Value {
    let pair = |cpu: Option<u64>, memory: Option<u64>| {
        let mut map = serde_json::Map::new();
        if let Some(cpu) = cpu {
            map.insert("cpu".to_owned(), Value::String(format!("{cpu}m")));
        }
        if let Some(memory) = memory {
            map.insert(
                "memory".to_owned(),
                Value::String(format!("{}Mi", memory >> 20)),
            );
        }
        map
    };
    let mut map = serde_json::Map::new();
    let requests = pair(r.cpu_request_millicores, r.memory_request_bytes);
    let limits = pair(r.cpu_limit_millicores, r.memory_limit_bytes);
    for (name, map_of) in [("requests", requests), ("limits", limits)] {
        if !map_of.is_empty() {
            map.insert(name.to_owned(), Value::Object(map_of));
        }
    }
    Value::Object(map)
}

fn pod(seen: &Seen<'_>, created: &str) -> Value {
    let pod = seen.pod;
    let mut annotations = json!({});
    let owner = match pod.owner {
        Owner::Deployment => owner_reference("ReplicaSet", between(pod), &owner_uid(pod, 'c')),
        Owner::DaemonSet => owner_reference("DaemonSet", &pod.workload, &owner_uid(pod, 'a')),
        Owner::CronJob => owner_reference("Job", between(pod), &owner_uid(pod, 'e')),
        Owner::StaticFile => owner_reference("Node", NODE, "00000000-0000-4000-8000-00000000000e"),
    };
    if let Some(hash) = &pod.config_hash {
        // What the API server shows is the mirror; the node knows the pod by its file's hash.
        annotations = json!({
            "kubernetes.io/config.hash": hash,
            "kubernetes.io/config.mirror": hash,
            "kubernetes.io/config.source": "file",
        });
    }
    let state = if seen.running {
        json!({"running": {"startedAt": created}})
    } else {
        json!({"waiting": {"reason": "CrashLoopBackOff"}})
    };
    let mut status = json!({
        "name": pod.container, "ready": seen.running, "restartCount": pod.restarts,
        "image": format!("registry.example/{}:1", pod.workload),
        "containerID": format!("containerd://{}", pod.container_id), "state": state,
    });
    if let (Some(last), Some(map)) = (&pod.last_container_id, status.as_object_mut()) {
        let terminated =
            json!({"terminated": {"containerID": format!("containerd://{last}"), "exitCode": 1}});
        map.insert("lastState".to_owned(), terminated);
    }
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": pod.uid, "creationTimestamp": created,
            "labels": {"app.kubernetes.io/name": pod.workload}, "annotations": annotations,
            "ownerReferences": [owner]},
        "spec": spec(pod),
        "status": {"phase": "Running", "hostIP": "100.64.0.1", "podIP": seen.ip.to_string(),
            "podIPs": [{"ip": seen.ip.to_string()}], "qosClass": format!("{:?}", pod.qos),
            "containerStatuses": [status]},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pod_has_its_owner_its_container_and_a_hash_if_static() {
        let mut rng = fastrand::Rng::with_seed(5);
        let mut pods = crate::pods::sample(&mut rng);
        let mut job = crate::pods::pod(&mut rng, "price-import", &["shortlived"]);
        job.owner = Owner::CronJob;
        pods.push(job);
        let seen: Vec<_> = pods
            .iter()
            .map(|pod| Seen {
                pod,
                ip: Ipv4Addr::new(100, 65, 1, 2),
                running: true,
            })
            .collect();
        let list: Value = serde_json::from_str(&document(&seen, "2026-01-05T00:00:00Z")).unwrap();
        let items = list["items"].as_array().unwrap();
        let of = |kind: &str| {
            items
                .iter()
                .filter(|i| i["kind"] == kind)
                .collect::<Vec<_>>()
        };
        assert_eq!(of("Pod").len(), pods.len());
        for (object, pod) in of("Pod").into_iter().zip(&pods) {
            let reference = &object["metadata"]["ownerReferences"][0];
            assert!(
                items
                    .iter()
                    .any(|i| i["metadata"]["uid"] == reference["uid"]
                        && i["kind"] == reference["kind"]),
                "{reference}"
            );
            assert_eq!(
                object["status"]["containerStatuses"][0]["containerID"],
                format!("containerd://{}", pod.container_id)
            );
            let hash = object["metadata"]["annotations"]["kubernetes.io/config.hash"].as_str();
            assert_eq!(hash, pod.config_hash.as_deref());
        }
        let mut uids: Vec<_> = items
            .iter()
            .filter_map(|i| i["metadata"]["uid"].as_str())
            .collect();
        let all = uids.len();
        uids.sort_unstable();
        uids.dedup();
        assert_eq!(uids.len(), all);
    }
}
