//! What the index answers with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

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
    /// The status names it, or has named it.
    Known(String),
    /// Some container of the pod has no id in the status yet: the answer may still come.
    Pending,
    /// Every container has its id and this is none of them, or the pod is gone: the pause sandbox, or a life
    /// that no status told of.
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
    /// The API server tells of all pods, and of this one no node: no node can speak of it yet.
    pub unplaced: bool,
    /// The account that the pod runs under.
    pub service_account: Option<String>,
    /// The pod is in the node's network namespace and has no address of its own.
    pub host_network: bool,
    /// Topmost controller that is known.
    pub workload: Workload,
    /// The controller is of a kind that is followed, and it has not been seen yet.
    pub workload_pending: bool,
    /// The pod's labels.
    pub labels: BTreeMap<String, String>,
    /// The container's requests.
    pub requests: Resources,
    /// The container's limits.
    pub limits: Resources,
    /// The container's part; [`Role::Main`] while it has no name.
    pub role: Role,
}
