//! Nodes: their addresses, which the pods on their network share, and what they are.

use std::collections::HashMap;
use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;

use crate::inventory::quantity;

/// Labels that are kept: what a node costs and where it is.
const LABELS: [&str; 8] = [
    "eks.amazonaws.com/capacityType",
    "eks.amazonaws.com/nodegroup",
    "karpenter.sh/capacity-type",
    "karpenter.sh/nodepool",
    "kubernetes.io/arch",
    "node.kubernetes.io/instance-type",
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
];

/// A node as its object describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Node {
    /// `status.addresses` that are addresses.
    pub ips: Vec<IpAddr>,
    /// Those labels of the node that say what it costs and where it is.
    pub labels: Vec<(&'static str, String)>,
    /// CPU that pods can have, millicores.
    pub allocatable_millicores: Option<u64>,
    /// Memory that pods can have, bytes.
    pub allocatable_bytes: Option<u64>,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    of: HashMap<String, (Node, u32)>,
}

impl Nodes {
    pub(super) fn apply(&mut self, object: &core::Node, listing: u32) {
        let name = object.metadata.name.clone().unwrap_or_default();
        self.of.insert(name, (read(object), listing));
    }

    pub(super) fn touch(&mut self, name: &str, listing: u32) {
        if let Some((_, of)) = self.of.get_mut(name) {
            *of = listing;
        }
    }

    pub(super) fn delete(&mut self, name: &str) {
        self.of.remove(name);
    }

    pub(super) fn end(&mut self, listing: u32) {
        self.of.retain(|_, (_, of)| *of == listing);
    }

    /// A node by its name.
    pub fn get(&self, name: &str) -> Option<&Node> {
        self.of.get(name).map(|(node, _)| node)
    }

    /// The node that has an address.
    pub fn with_address(&self, ip: IpAddr) -> Option<&str> {
        let mut nodes = self.of.iter();
        let found = nodes.find(|(_, (node, _))| node.ips.contains(&ip));
        found.map(|(name, _)| name.as_str())
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.of.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.of.is_empty()
    }
}

fn read(object: &core::Node) -> Node {
    let labels = object.metadata.labels.as_ref();
    let label = |name: &'static str| Some((name, labels?.get(name)?.clone()));
    let status = object.status.as_ref();
    let addresses = status.and_then(|status| status.addresses.as_ref());
    let allocatable = |name| status?.allocatable.as_ref()?.get(name);
    Node {
        ips: addresses
            .into_iter()
            .flatten()
            .filter_map(|of| of.address.parse().ok())
            .collect(),
        labels: LABELS.into_iter().filter_map(label).collect(),
        allocatable_millicores: allocatable("cpu")
            .and_then(|of| quantity::parse_millicores(&of.0).ok()),
        allocatable_bytes: allocatable("memory").and_then(|of| quantity::parse_bytes(&of.0).ok()),
    }
}
