//! What an object says that names something, and nothing else of it: the index is made of these, and
//! what is kept of an object that is gone is one of them. Pure.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::{Resources, Role, Workload};
use crate::inventory::parse::Object;
use crate::inventory::quantity;

/// Kubelet's annotation on a static pod; its value names the pod's cgroup.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Kubelet's annotation on the mirror of a static pod, same value.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// What a string costs beside its bytes, as an entry of a map: itself and its share of the map.
const STRING_BYTES: usize = 48;

/// Namespace, kind and name.
pub(super) type ObjectName = (String, String, String);

/// See the module.
#[derive(Clone, Debug)]
pub(in crate::inventory) enum Said {
    /// A pod with a UID; one without names nothing that runs.
    Pod {
        uid: String,
        /// Of a static pod: what its cgroup is called by.
        hashes: Vec<String>,
        entry: Box<PodEntry>,
    },
    /// What may own pods.
    Owner {
        object: ObjectName,
        /// Its own controller.
        owner: Option<Workload>,
    },
}

#[derive(Clone, Debug)]
pub(super) struct ContainerEntry {
    pub(super) requests: Resources,
    pub(super) limits: Resources,
    pub(super) role: Role,
}

#[derive(Clone, Debug)]
pub(in crate::inventory) struct PodEntry {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) node: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) owner: Option<Workload>,
    pub(super) containers: BTreeMap<String, ContainerEntry>,
    /// Container id to name, previous lives included.
    pub(super) ids: HashMap<String, String>,
    /// Every container of the spec has an id.
    pub(super) complete: bool,
}

impl Said {
    /// `None` of what names no pod: namespaces, nodes, manifests of pods.
    pub(in crate::inventory) fn of(object: &Object) -> Option<Self> {
        match object {
            Object::Pod(pod) => Self::of_pod(pod),
            Object::ReplicaSet(_)
            | Object::Deployment(_)
            | Object::StatefulSet(_)
            | Object::DaemonSet(_)
            | Object::Job(_)
            | Object::CronJob(_) => {
                let (kind, meta) = object.head();
                Some(Self::Owner {
                    object: named(kind, meta),
                    owner: controller(meta),
                })
            }
            Object::Namespace(_) | Object::Node(_) => None,
        }
    }

    fn of_pod(pod: &Pod) -> Option<Self> {
        let uid = pod.metadata.uid.clone().filter(|uid| !uid.is_empty())?;
        let annotations = pod.metadata.annotations.as_ref();
        let hash = |name| annotations.and_then(|annotations| annotations.get(name).cloned());
        Some(Self::Pod {
            uid,
            hashes: [CONFIG_HASH, CONFIG_MIRROR]
                .into_iter()
                .filter_map(hash)
                .collect(),
            entry: Box::new(pod_entry(pod)),
        })
    }

    /// About what it takes in memory, bytes.
    pub(in crate::inventory) fn bytes(&self) -> usize {
        let text = |text: &String| text.len() + STRING_BYTES;
        let workload = |owner: &Workload| text(&owner.kind) + text(&owner.name);
        let of_owner = |owner: &Option<Workload>| owner.as_ref().map_or(0, workload);
        let inner = match self {
            Self::Pod { uid, hashes, entry } => {
                let pairs = entry.labels.iter().chain(&entry.ids);
                let names = [uid, &entry.namespace, &entry.name];
                size_of::<PodEntry>()
                    + names.into_iter().chain(hashes).map(text).sum::<usize>()
                    + entry.node.as_ref().map_or(0, text)
                    + of_owner(&entry.owner)
                    + pairs
                        .map(|(key, value)| text(key) + text(value))
                        .sum::<usize>()
                    + entry.containers.keys().map(text).sum::<usize>()
                    + entry.containers.len() * size_of::<ContainerEntry>()
            }
            Self::Owner { object, owner } => {
                let (namespace, kind, name) = object;
                text(namespace) + text(kind) + text(name) + of_owner(owner)
            }
        };
        size_of::<Self>() + inner
    }
}

fn named(kind: &str, meta: &ObjectMeta) -> ObjectName {
    let namespace = meta
        .namespace
        .clone()
        .unwrap_or_else(|| "default".to_owned());
    (
        namespace,
        kind.to_owned(),
        meta.name.clone().unwrap_or_default(),
    )
}

/// The owner that is the controller. A node "owns" the mirror of a static pod; it is no workload.
fn controller(meta: &ObjectMeta) -> Option<Workload> {
    let owners = meta.owner_references.as_deref().unwrap_or_default();
    owners
        .iter()
        .find(|owner| owner.controller == Some(true))
        .filter(|owner| owner.kind != "Node")
        .map(|owner| Workload {
            kind: owner.kind.clone(),
            name: owner.name.clone(),
        })
}

fn pod_entry(pod: &Pod) -> PodEntry {
    let mut containers = BTreeMap::new();
    if let Some(spec) = &pod.spec {
        for container in spec.init_containers.iter().flatten() {
            let always = container.restart_policy.as_deref() == Some("Always");
            containers.insert(
                container.name.clone(),
                entry(container, if always { Role::Sidecar } else { Role::Init }),
            );
        }
        for container in &spec.containers {
            containers.insert(container.name.clone(), entry(container, Role::Main));
        }
        for container in spec.ephemeral_containers.iter().flatten() {
            let entry = ContainerEntry {
                requests: Resources::default(),
                limits: Resources::default(),
                role: Role::Ephemeral,
            };
            containers.insert(container.name.clone(), entry);
        }
    }
    let ids = container_ids(pod);
    let complete = containers
        .keys()
        .all(|name| ids.values().any(|known| known == name));
    PodEntry {
        namespace: pod
            .metadata
            .namespace
            .clone()
            .unwrap_or_else(|| "default".to_owned()),
        name: pod.metadata.name.clone().unwrap_or_default(),
        node: pod.spec.as_ref().and_then(|s| s.node_name.clone()),
        labels: pod.metadata.labels.clone().unwrap_or_default(),
        owner: controller(&pod.metadata),
        containers,
        ids,
        complete,
    }
}

fn entry(container: &Container, role: Role) -> ContainerEntry {
    let required = container.resources.as_ref();
    let limits = resources(required.and_then(|r: &ResourceRequirements| r.limits.as_ref()));
    let asked = resources(required.and_then(|r| r.requests.as_ref()));
    // A limit without a request is the request, the API server's defaulting; one that could not be
    // read is no request that is missing.
    let mut requests = asked;
    if asked.cpu_millicores.is_none() && !asked.cpu_unknown {
        requests.cpu_millicores = limits.cpu_millicores;
        requests.cpu_unknown = limits.cpu_unknown;
    }
    if asked.memory_bytes.is_none() && !asked.memory_unknown {
        requests.memory_bytes = limits.memory_bytes;
        requests.memory_unknown = limits.memory_unknown;
    }
    ContainerEntry {
        requests,
        limits,
        role,
    }
}

fn resources(quantities: Option<&BTreeMap<String, Quantity>>) -> Resources {
    let text = |name| {
        quantities
            .and_then(|map| map.get(name))
            .map(|quantity| quantity.0.as_str())
    };
    let cpu = text("cpu").map(quantity::parse_millicores);
    let memory = text("memory").map(quantity::parse_bytes);
    Resources {
        cpu_unknown: matches!(cpu, Some(Err(_))),
        cpu_millicores: cpu.and_then(Result::ok),
        memory_unknown: matches!(memory, Some(Err(_))),
        memory_bytes: memory.and_then(Result::ok),
    }
}

/// Ids of present and previous lives of every container in the status.
fn container_ids(pod: &Pod) -> HashMap<String, String> {
    let Some(status) = &pod.status else {
        return HashMap::new();
    };
    let lists = [
        &status.container_statuses,
        &status.init_container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let mut ids = HashMap::new();
    for status in lists.into_iter().flatten().flatten() {
        for id in ids_of(status) {
            // `containerd://<id>`, `cri-o://<id>`
            let bare = id.split_once("://").map_or(id, |(_, bare)| bare);
            if !bare.is_empty() {
                ids.insert(bare.to_owned(), status.name.clone());
            }
        }
    }
    ids
}

fn ids_of(status: &ContainerStatus) -> impl Iterator<Item = &str> {
    let previous = status
        .last_state
        .as_ref()
        .and_then(|s| s.terminated.as_ref())
        .and_then(|t| t.container_id.as_deref());
    status.container_id.as_deref().into_iter().chain(previous)
}
