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
    }
}

const fn whole(kind: Kind) -> Kind {
    Kind {
        whole: true,
        ..kind
    }
}

/// Kinds that every cluster has. What owns pods comes first: a pod that is known before its owner would
/// have to wait for its workload's name.
pub const BUILT_IN: [Kind; 15] = [
    kind("apps", "v1", "ReplicaSet", "replicasets"),
    kind("apps", "v1", "Deployment", "deployments"),
    kind("apps", "v1", "StatefulSet", "statefulsets"),
    kind("apps", "v1", "DaemonSet", "daemonsets"),
    kind("batch", "v1", "Job", "jobs"),
    kind("batch", "v1", "CronJob", "cronjobs"),
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
pub const OPTIONAL: [Kind; 6] = [
    kind("argoproj.io", "v1alpha1", "Rollout", "rollouts"),
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

impl Kind {
    /// As the client knows it.
    pub fn resource(&self) -> ApiResource {
        let named = GroupVersionKind::gvk(self.group, self.version, self.kind);
        ApiResource::from_gvk_with_plural(&named, self.plural)
    }
}
