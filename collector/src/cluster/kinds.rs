//! What is followed at the API server. The collector's ClusterRole grants `list` and `watch` on exactly
//! these, which a test of the manifests compares.

use kube::core::{ApiResource, GroupVersionKind};

/// A kind of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Group of its API; empty for the core's.
    pub group: &'static str,
    /// Version of it.
    pub version: &'static str,
    /// Kind.
    pub kind: &'static str,
    /// As addresses and roles call it.
    pub plural: &'static str,
    /// Of the others their metadata is asked for alone.
    pub whole: bool,
    /// Containers are named by its objects. The others are counted and not kept: there are clusters with more
    /// EndpointSlices than pods.
    pub names: bool,
}

const fn kind(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
    plural: &'static str,
) -> Kind {
    Kind {
        group,
        version,
        kind,
        plural,
        whole: false,
        names: false,
    }
}

/// Owns pods, or what owns them.
const fn owner(kind: Kind) -> Kind {
    Kind {
        names: true,
        ..kind
    }
}

const fn whole(kind: Kind) -> Kind {
    Kind {
        whole: true,
        names: true,
        ..kind
    }
}

/// Kinds that every cluster has. What owns pods comes first: a pod that is known before its owner would
/// have to wait for its workload's name.
pub static BUILT_IN: [Kind; 15] = [
    owner(kind("apps", "v1", "ReplicaSet", "replicasets")),
    owner(kind("apps", "v1", "Deployment", "deployments")),
    owner(kind("apps", "v1", "StatefulSet", "statefulsets")),
    owner(kind("apps", "v1", "DaemonSet", "daemonsets")),
    owner(kind("batch", "v1", "Job", "jobs")),
    owner(kind("batch", "v1", "CronJob", "cronjobs")),
    whole(kind("", "v1", "Node", "nodes")),
    kind("", "v1", "Namespace", "namespaces"),
    whole(kind("", "v1", "Pod", "pods")),
    kind("", "v1", "Service", "services"),
    kind("discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"),
    kind(
        "networking.k8s.io",
        "v1",
        "NetworkPolicy",
        "networkpolicies",
    ),
    kind("", "v1", "LimitRange", "limitranges"),
    kind("", "v1", "ResourceQuota", "resourcequotas"),
    kind(
        "autoscaling",
        "v2",
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
    ),
];

/// Kinds that a cluster may have, in the version that is known; another that is served will do.
pub static OPTIONAL: [Kind; 6] = [
    owner(kind("argoproj.io", "v1alpha1", "Rollout", "rollouts")),
    kind(
        "autoscaling.k8s.io",
        "v1",
        "VerticalPodAutoscaler",
        "verticalpodautoscalers",
    ),
    kind(
        "policy.networking.k8s.io",
        "v1alpha2",
        "ClusterNetworkPolicy",
        "clusternetworkpolicies",
    ),
    kind(
        "policy.networking.k8s.io",
        "v1alpha1",
        "AdminNetworkPolicy",
        "adminnetworkpolicies",
    ),
    kind(
        "policy.networking.k8s.io",
        "v1alpha1",
        "BaselineAdminNetworkPolicy",
        "baselineadminnetworkpolicies",
    ),
    kind(
        "networking.k8s.aws",
        "v1alpha1",
        "PolicyEndpoint",
        "policyendpoints",
    ),
];

/// One of these kinds.
pub fn of(group: &str, kind: &str) -> Option<&'static Kind> {
    let mut all = BUILT_IN.iter().chain(&OPTIONAL);
    all.find(|of| of.group == group && of.kind == kind)
}

/// Whether containers are named by objects of that kind. Any other that is followed owns pods.
pub fn names(group: &str, kind: &str) -> bool {
    of(group, kind).is_none_or(|of| of.names)
}

impl Kind {
    /// As the client knows it.
    pub fn resource(&self) -> ApiResource {
        let named = GroupVersionKind::gvk(self.group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&named, self.plural)
    }
}
