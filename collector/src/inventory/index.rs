//! The index: pod UID and container id to names, owner, requests and limits.
//!
//! Pure: objects go in by [`Index::apply`], answers come out by [`Index::lookup`]. Owners are
//! followed through the objects that were given (ReplicaSet → Deployment, Job → CronJob, any other
//! controller as it stands); a missing link ends the chain there, a name is never derived from
//! another name's spelling.

use std::collections::{BTreeMap, HashMap};

use k8s_openapi::api::core::v1::{Container, ContainerStatus, Pod, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Serialize};

use super::parse::Object;
use super::quantity;

/// Kubelet's annotation on a static pod; its value names the pod's cgroup.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// Kubelet's annotation on the mirror of a static pod, same value.
const CONFIG_MIRROR: &str = "kubernetes.io/config.mirror";
/// Longest owner chain that is followed; real ones have two links.
const MAX_OWNER_DEPTH: usize = 8;

/// Requests or limits of one container. `None` is not set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU, millicores.
    pub cpu_millicores: Option<u64>,
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
}

/// A controller that owns pods, or the pod itself if nothing does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Workload {
    /// `Deployment`, `StatefulSet`, `DaemonSet`, `CronJob`, `Job`, `Pod`, or a custom kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// How a container takes part in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// One of `spec.containers`.
    Main,
    /// Runs to its end before the main ones start.
    Init,
    /// An init container with `restartPolicy: Always`: runs beside the main ones.
    Sidecar,
    /// Added by `kubectl debug`.
    Ephemeral,
}

/// What a container id stands for within a known pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerName {
    /// The status names it.
    Known(String),
    /// Some container of the pod has no id in the status yet: the answer may still come.
    Pending,
    /// Every container has its id and this is none of them: the pause sandbox, or an earlier life.
    NotInStatus,
}

/// The answer to a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerRef {
    /// Namespace.
    pub namespace: String,
    /// Pod.
    pub pod: String,
    /// Container.
    pub container: ContainerName,
    /// Node, once scheduled.
    pub node: Option<String>,
    /// Topmost controller that is known.
    pub workload: Workload,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// The container's requests.
    pub requests: Resources,
    /// The container's limits.
    pub limits: Resources,
    /// The container's part; [`Role::Main`] while it has no name.
    pub role: Role,
}

/// What can be given to pods on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// `status.allocatable`.
    pub allocatable: Resources,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

#[derive(Clone, Debug)]
struct ContainerEntry {
    requests: Resources,
    limits: Resources,
    role: Role,
}

#[derive(Clone, Debug)]
struct PodEntry {
    namespace: String,
    name: String,
    node: Option<String>,
    labels: BTreeMap<String, String>,
    owner: Option<Workload>,
    containers: BTreeMap<String, ContainerEntry>,
    /// Container id to name, previous lives included.
    ids: HashMap<String, String>,
    /// Every container of the spec has an id.
    complete: bool,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Index {
    pods: HashMap<String, PodEntry>,
    /// Config hash of a static pod to its UID.
    static_pods: HashMap<String, String>,
    /// (namespace, kind, name) to its controller.
    owners: HashMap<(String, String, String), Workload>,
    /// (namespace, workload) to `spec.replicas`, for kinds that have it.
    replicas: HashMap<(String, Workload), u64>,
    namespaces: BTreeMap<String, BTreeMap<String, String>>,
    nodes: BTreeMap<String, NodeFacts>,
}

impl Index {
    /// Takes an object in; a later one of the same name or UID replaces the earlier.
    pub fn apply(&mut self, object: &Object) {
        match object {
            Object::Pod(pod) => self.apply_pod(pod),
            Object::Namespace(namespace) => {
                let name = namespace.metadata.name.clone().unwrap_or_default();
                self.namespaces
                    .insert(name, namespace.metadata.labels.clone().unwrap_or_default());
            }
            Object::Node(node) => {
                let allocatable =
                    resources(node.status.as_ref().and_then(|s| s.allocatable.as_ref()));
                let labels = node.metadata.labels.clone().unwrap_or_default();
                self.nodes.insert(
                    node.metadata.name.clone().unwrap_or_default(),
                    NodeFacts {
                        allocatable,
                        labels,
                    },
                );
            }
            Object::ReplicaSet(set) => {
                self.apply_owner("ReplicaSet", &set.metadata);
                self.apply_replicas(
                    "ReplicaSet",
                    &set.metadata,
                    set.spec.as_ref().and_then(|s| s.replicas),
                );
            }
            Object::Deployment(deployment) => {
                self.apply_owner("Deployment", &deployment.metadata);
                let replicas = deployment.spec.as_ref().and_then(|s| s.replicas);
                self.apply_replicas("Deployment", &deployment.metadata, replicas);
            }
            Object::StatefulSet(set) => {
                self.apply_owner("StatefulSet", &set.metadata);
                self.apply_replicas(
                    "StatefulSet",
                    &set.metadata,
                    set.spec.as_ref().and_then(|s| s.replicas),
                );
            }
            Object::DaemonSet(set) => self.apply_owner("DaemonSet", &set.metadata),
            Object::Job(job) => self.apply_owner("Job", &job.metadata),
            Object::CronJob(job) => self.apply_owner("CronJob", &job.metadata),
        }
    }

    /// Names what a cgroup path says. `None`: the pod is not known (yet).
    ///
    /// `pod_uid` may be a static pod's config hash. Without a container id the answer's container is
    /// [`ContainerName::NotInStatus`]: the pod itself.
    pub fn lookup(&self, pod_uid: &str, container_id: Option<&str>) -> Option<ContainerRef> {
        let pod = self.pod(pod_uid)?;
        let name = container_id.and_then(|id| pod.ids.get(id));
        let entry = name.and_then(|name| pod.containers.get(name));
        let container = match (name, container_id) {
            (Some(name), _) => ContainerName::Known(name.clone()),
            (None, Some(_)) if !pod.complete => ContainerName::Pending,
            (None, _) => ContainerName::NotInStatus,
        };
        Some(ContainerRef {
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            container,
            node: pod.node.clone(),
            workload: self.workload_of(pod),
            labels: pod.labels.clone(),
            requests: entry.map(|e| e.requests).unwrap_or_default(),
            limits: entry.map(|e| e.limits).unwrap_or_default(),
            role: entry.map_or(Role::Main, |e| e.role),
        })
    }

    /// Whether [`lookup`](Self::lookup) may have more to say later.
    pub fn is_pending(&self, pod_uid: &str, container_id: Option<&str>) -> bool {
        let Some(pod) = self.pod(pod_uid) else {
            return true;
        };
        container_id.is_some_and(|id| !pod.complete && !pod.ids.contains_key(id))
    }

    fn pod(&self, uid: &str) -> Option<&PodEntry> {
        let known = self.pods.get(uid);
        known.or_else(|| self.pods.get(self.static_pods.get(uid)?))
    }

    /// `spec.replicas` of a workload, where its object is known and says it.
    pub fn replicas(&self, namespace: &str, workload: &Workload) -> Option<u64> {
        self.replicas
            .get(&(namespace.to_owned(), workload.clone()))
            .copied()
    }

    /// Facts of a node.
    pub fn node(&self, name: &str) -> Option<&NodeFacts> {
        self.nodes.get(name)
    }

    /// Number of pods.
    pub fn pods(&self) -> usize {
        self.pods.len()
    }

    fn apply_pod(&mut self, pod: &Pod) {
        let Some(uid) = pod.metadata.uid.clone().filter(|uid| !uid.is_empty()) else {
            // A manifest without a UID names nothing that runs.
            return;
        };
        for annotation in [CONFIG_HASH, CONFIG_MIRROR] {
            if let Some(hash) = pod
                .metadata
                .annotations
                .as_ref()
                .and_then(|a| a.get(annotation))
            {
                self.static_pods.insert(hash.clone(), uid.clone());
            }
        }
        self.pods.insert(uid, pod_entry(pod));
    }

    fn apply_owner(&mut self, kind: &str, meta: &ObjectMeta) {
        if let Some(owner) = controller(meta) {
            self.owners.insert(named(kind, meta), owner);
        } else {
            // One of the same name that is gone may have had an owner.
            self.owners.remove(&named(kind, meta));
        }
    }

    fn apply_replicas(&mut self, kind: &str, meta: &ObjectMeta, replicas: Option<i32>) {
        // The API server's default is 1; a manifest may leave it out.
        let replicas = u64::try_from(replicas.unwrap_or(1)).unwrap_or(0);
        let (namespace, kind, name) = named(kind, meta);
        self.replicas
            .insert((namespace, Workload { kind, name }), replicas);
    }

    fn workload_of(&self, pod: &PodEntry) -> Workload {
        let Some(mut workload) = pod.owner.clone() else {
            return Workload {
                kind: "Pod".to_owned(),
                name: pod.name.clone(),
            };
        };
        for _ in 0..MAX_OWNER_DEPTH {
            let key = (
                pod.namespace.clone(),
                workload.kind.clone(),
                workload.name.clone(),
            );
            match self.owners.get(&key) {
                Some(owner) if *owner != workload => workload = owner.clone(),
                _ => break,
            }
        }
        workload
    }
}

fn named(kind: &str, meta: &ObjectMeta) -> (String, String, String) {
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
    // A limit without a request is the request: the API server's defaulting.
    let requests = Resources {
        cpu_millicores: asked.cpu_millicores.or(limits.cpu_millicores),
        memory_bytes: asked.memory_bytes.or(limits.memory_bytes),
    };
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
    Resources {
        cpu_millicores: text("cpu").and_then(|text| quantity::parse_millicores(text).ok()),
        memory_bytes: text("memory").and_then(|text| quantity::parse_bytes(text).ok()),
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

#[cfg(test)]
mod tests;
