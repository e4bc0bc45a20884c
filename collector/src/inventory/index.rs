//! The index: pod UID and container id to names, owner, requests and limits.
//!
//! Pure: objects go in by [`Index::apply`], answers come out by [`Index::lookup`]. Owners are
//! followed through the objects that were given (ReplicaSet → Deployment, Job → CronJob, any other
//! controller as it stands); a missing link ends the chain there, a name is never derived from
//! another name's spelling.

pub(super) mod said;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::parse::Object;
use said::{ObjectName, PodEntry, Said};

/// Longest owner chain that is followed; real ones have two links.
const MAX_OWNER_DEPTH: usize = 8;

/// Requests or limits of one container. `None` is not set, unless it is marked as unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// CPU, millicores.
    pub cpu_millicores: Option<u64>,
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Something is set for CPU, and it is no quantity.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cpu_unknown: bool,
    /// Something is set for memory, and it is no quantity.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub memory_unknown: bool,
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

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Index {
    pods: HashMap<String, PodEntry>,
    /// Config hash of a static pod to its UID.
    static_pods: HashMap<String, String>,
    /// (namespace, kind, name) to its controller.
    owners: HashMap<ObjectName, Workload>,
}

impl Index {
    /// Takes an object in; a later one of the same name or UID replaces the earlier. Namespaces and nodes
    /// name nothing here.
    pub fn apply(&mut self, object: &Object) {
        if let Some(said) = Said::of(object) {
            self.take(said);
        }
    }

    /// Takes in what an object said, as [`apply`](Self::apply) does.
    pub(super) fn take(&mut self, said: Said) {
        match said {
            Said::Pod { uid, hashes, entry } => {
                for hash in hashes {
                    self.static_pods.insert(hash, uid.clone());
                }
                self.pods.insert(uid, *entry);
            }
            // One of the same name that is gone may have had an owner.
            Said::Owner { object, owner } => match owner {
                Some(owner) => {
                    self.owners.insert(object, owner);
                }
                None => {
                    self.owners.remove(&object);
                }
            },
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

    /// Number of pods.
    pub fn pods(&self) -> usize {
        self.pods.len()
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

#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;
