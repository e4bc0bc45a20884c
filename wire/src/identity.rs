//! Who a usage window or an audit event is about, as far as the node itself can tell: from the
//! cgroup path. Names, owners and labels are joined later, by the collector.

use serde::{Deserialize, Serialize};

/// Kubernetes quality-of-service class as the cgroup path shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Qos {
    /// Requests equal limits for every container.
    Guaranteed,
    /// Some request or limit is set.
    Burstable,
    /// No request, no limit.
    BestEffort,
}

/// What a cgroup is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Subject {
    /// A container of a pod (a nested cgroup belongs to its container).
    Container {
        /// Pod UID; for a static pod this is its config hash (32 hex digits).
        pod_uid: String,
        /// Runtime's container id, usually 64 hex digits. The pause sandbox has one as well.
        container_id: String,
        /// `containerd`, `cri-o`, `docker`; `None` where the path does not say it.
        runtime: Option<String>,
        /// From the slice name.
        qos: Qos,
    },
    /// The pod's own cgroup: its containers together, or a task directly in it.
    Pod {
        /// As in [`Subject::Container`].
        pod_uid: String,
        /// From the slice name.
        qos: Qos,
    },
    /// A service of the host: `kubelet.service`, `system.slice/foo.service`; `-.slice` is the root cgroup
    /// itself.
    Host {
        /// Unit or folder name, path below the root without the leading slash.
        unit: String,
    },
    /// The id was never seen with a path, or was forgotten. A value, not an error.
    Unknown,
}

/// A cgroup and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Identity {
    /// Inode of the cgroup v2 directory; where there is no v2 tree, of the v1 directory read.
    pub cgroup_id: u64,
    /// Path below the cgroup root, with a leading slash; `None` when it was never seen.
    pub cgroup_path: Option<String>,
    /// What it is.
    pub subject: Subject,
}

impl Identity {
    /// An id that nothing is known about.
    pub const fn unknown(cgroup_id: u64) -> Self {
        Self {
            cgroup_id,
            cgroup_path: None,
            subject: Subject::Unknown,
        }
    }

    /// Pod UID, if the subject belongs to a pod.
    pub fn pod_uid(&self) -> Option<&str> {
        match &self.subject {
            Subject::Container { pod_uid, .. } | Subject::Pod { pod_uid, .. } => Some(pod_uid),
            Subject::Host { .. } | Subject::Unknown => None,
        }
    }

    /// Container id, if the subject is a container.
    pub fn container_id(&self) -> Option<&str> {
        match &self.subject {
            Subject::Container { container_id, .. } => Some(container_id),
            _ => None,
        }
    }
}
