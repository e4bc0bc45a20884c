//! What is kept of an object: what names something, and nothing else of it. Pure.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1 as core;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::names::Names;
use super::{Resources, Role, Workload};
use crate::inventory::quantity;

/// Kubelet's annotation on the mirror of a static pod; its value names the pod's cgroup. A mirror that a kubelet
/// has not made itself it deletes, a pod with `kubernetes.io/config.hash` alone it runs.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// Lives of one container that are told by their ids, the present one included. The status tells two.
const MAX_LIVES: usize = 8;

/// Addresses that a pod had before, the latest: most have one all their life.
const MAX_PAST_IPS: usize = 8;

/// An object that owns others, or is owned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct ObjectName {
    /// Empty for what is of no namespace.
    pub(super) namespace: Arc<str>,
    /// Group of its API, empty for the core's: two groups may have a kind of one name.
    pub(super) group: Arc<str>,
    pub(super) kind: Arc<str>,
    pub(super) name: Arc<str>,
}

/// A reference to a controller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Controller {
    pub(super) group: Arc<str>,
    pub(super) kind: Arc<str>,
    pub(super) name: Arc<str>,
    uid: Option<NonZeroU64>,
}

impl Controller {
    /// Whether it refers to that one and to none that had the name before, as far as both have a UID.
    pub(super) fn is(&self, owner: &Owner) -> bool {
        let uids = self.uid.zip(owner.uid);
        uids.is_none_or(|(this, that)| this == that)
    }

    /// The owner that is the controller. A node "owns" the mirror of a static pod; it is no workload.
    fn of(meta: &ObjectMeta, names: &mut Names) -> Option<Self> {
        let owners = meta.owner_references.as_deref().unwrap_or_default();
        let owner = owners.iter().find(|owner| owner.controller == Some(true))?;
        (owner.kind != "Node").then(|| Self {
            group: names.intern(group_of(&owner.api_version)),
            kind: names.intern(&owner.kind),
            name: names.intern(&owner.name),
            uid: names.hash(&owner.uid),
        })
    }

    pub(super) fn within(&self, namespace: &Arc<str>) -> ObjectName {
        ObjectName {
            namespace: Arc::clone(namespace),
            group: Arc::clone(&self.group),
            kind: Arc::clone(&self.kind),
            name: Arc::clone(&self.name),
        }
    }

    pub(super) fn workload(&self) -> Workload {
        Workload {
            kind: (*self.kind).to_owned(),
            name: (*self.name).to_owned(),
        }
    }
}

/// The group of an `apiVersion`.
pub(super) fn group_of(api_version: &str) -> &str {
    api_version.split_once('/').map_or("", |(group, _)| group)
}

/// When an object was last listed, and since when it is not.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Presence {
    /// The listing of its kind, by number.
    pub(super) listing: u32,
    pub(super) gone_since: Option<Duration>,
}

/// What may own pods.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    /// Its own controller.
    pub(super) controller: Option<Controller>,
    uid: Option<NonZeroU64>,
    pub(super) presence: Presence,
    /// What had the name before it, under another UID: its pods outlive it.
    before: Option<Box<Before>>,
}

#[derive(Clone, Debug)]
struct Before {
    uid: NonZeroU64,
    controller: Option<Controller>,
}

impl Owner {
    pub(super) fn of(
        (group, kind): (&str, &str),
        meta: &ObjectMeta,
        names: &mut Names,
    ) -> (ObjectName, Self) {
        let name = ObjectName {
            namespace: names.intern(meta.namespace.as_deref().unwrap_or(namespace_of(group))),
            group: names.intern(group),
            kind: names.intern(kind),
            name: names.intern(meta.name.as_deref().unwrap_or_default()),
        };
        let owner = Self {
            controller: Controller::of(meta, names),
            uid: names.hash(meta.uid.as_deref().unwrap_or_default()),
            presence: Presence::default(),
            before: None,
        };
        (name, owner)
    }

    /// Takes the place of another one, or of itself as it was.
    pub(super) fn succeed(&mut self, other: Self) {
        self.before = match other.uid {
            Some(uid) if other.uid != self.uid => Some(Box::new(Before {
                uid,
                controller: other.controller,
            })),
            _ => other.before,
        };
    }

    /// The controller of the one that this reference means; `None` if that is neither this one nor the one before.
    pub(super) fn controller_for(&self, reference: &Controller) -> Option<&Option<Controller>> {
        if reference.is(self) {
            return Some(&self.controller);
        }
        let before = self.before.as_ref();
        let before = before.filter(|before| reference.uid == Some(before.uid))?;
        Some(&before.controller)
    }
}

/// Manifests leave the namespace out where they mean the default one; all owners of these groups are in one.
fn namespace_of(group: &str) -> &'static str {
    match group {
        "apps" | "batch" => "default",
        _ => "",
    }
}

#[derive(Clone, Debug)]
pub(super) struct Container {
    pub(super) name: Arc<str>,
    pub(super) requests: Resources,
    pub(super) limits: Resources,
    pub(super) role: Role,
    /// Of its lives, the latest last.
    pub(super) ids: Vec<Box<str>>,
}

#[derive(Clone, Debug)]
pub(super) struct Pod {
    pub(super) namespace: Arc<str>,
    pub(super) name: Box<str>,
    pub(super) node: Option<Arc<str>>,
    pub(super) service_account: Option<Arc<str>>,
    pub(super) host_network: bool,
    pub(super) labels: Box<[(Arc<str>, Arc<str>)]>,
    pub(super) controller: Option<Controller>,
    pub(super) containers: Box<[Container]>,
    /// Every container has an id, and none is about to begin another life.
    pub(super) complete: bool,
    /// Of a static pod: what its cgroup is called by.
    pub(super) hash: Option<Box<str>>,
    /// Its own addresses; none of a pod on the host's network.
    pub(super) ips: Box<[IpAddr]>,
    /// Those that it had, the latest last.
    pub(super) past_ips: Box<[IpAddr]>,
    pub(super) presence: Presence,
}

impl Pod {
    /// `None` of a manifest, which has no UID and names nothing that runs.
    pub(super) fn of(pod: &core::Pod, names: &mut Names) -> Option<(Arc<str>, Self)> {
        let meta = &pod.metadata;
        let uid = meta.uid.as_deref().filter(|uid| !uid.is_empty())?;
        let spec = pod.spec.as_ref();
        let labels = meta.labels.iter().flatten();
        let host_network = spec.and_then(|spec| spec.host_network) == Some(true);
        let mut containers = spec.map_or_else(Vec::new, |spec| containers(spec, names));
        give_ids(&mut containers, pod.status.as_ref());
        let entry = Self {
            namespace: names.intern(meta.namespace.as_deref().unwrap_or("default")),
            name: meta.name.as_deref().unwrap_or_default().into(),
            node: spec
                .and_then(|spec| spec.node_name.as_deref())
                .map(|node| names.intern(node)),
            service_account: spec
                .and_then(|spec| spec.service_account_name.as_deref())
                .map(|account| names.intern(account)),
            host_network,
            labels: labels
                .map(|(key, value)| (names.intern(key), names.intern(value)))
                .collect(),
            controller: Controller::of(meta, names),
            complete: is_complete(&containers, pod),
            containers: containers.into(),
            hash: mirrored(pod),
            ips: if host_network {
                Box::default()
            } else {
                addresses(pod)
            },
            past_ips: Box::default(),
            presence: Presence::default(),
        };
        Some((uid.into(), entry))
    }

    /// The container of an id.
    pub(super) fn container(&self, id: &str) -> Option<&Container> {
        let has = |of: &&Container| of.ids.iter().any(|known| **known == *id);
        self.containers.iter().find(has)
    }

    /// Keeps the lives that an earlier status told of, as far as there is room.
    pub(super) fn remember(&mut self, before: &Self) {
        for container in &mut self.containers {
            let same = |of: &&Container| of.name == container.name;
            let known = before.containers.iter().find(same);
            for id in known.iter().flat_map(|of| &of.ids).rev() {
                if container.ids.len() < MAX_LIVES && !container.ids.contains(id) {
                    container.ids.insert(0, id.clone());
                }
            }
        }
    }

    /// Keeps the addresses that it had, as far as there is room; the others.
    pub(super) fn remember_addresses(&mut self, before: &Self) -> Vec<IpAddr> {
        let had = before.past_ips.iter().chain(&before.ips);
        let mut past: Vec<IpAddr> = had.filter(|ip| !self.ips.contains(ip)).copied().collect();
        let excess = past.len().saturating_sub(MAX_PAST_IPS);
        let left = past.drain(..excess).collect();
        self.past_ips = past.into();
        left
    }

    /// About what it takes in memory without what it shares with others, bytes.
    pub(super) fn bytes(&self) -> usize {
        let ids = self.containers.iter().flat_map(|of| &of.ids);
        let hashes = self.hash.iter();
        let texts = ids.chain(hashes).map(|text| text.len() + 32);
        size_of::<Self>()
            + self.name.len()
            + size_of_val(&*self.labels)
            + size_of_val(&*self.containers)
            + size_of_val(&*self.ips)
            + size_of_val(&*self.past_ips)
            + texts.sum::<usize>()
    }
}

/// What the cgroup of a static pod is called by, if this is its mirror: the node that it is on is its
/// controller. Annotations alone anybody may write.
fn mirrored(pod: &core::Pod) -> Option<Box<str>> {
    let owners = pod.metadata.owner_references.iter().flatten();
    let mut owners = owners.filter(|owner| owner.controller == Some(true));
    let node = owners.find(|owner| owner.kind == "Node" && owner.api_version == "v1")?;
    let on = pod.spec.as_ref()?.node_name.as_deref()?;
    let hash = pod.metadata.annotations.as_ref()?.get(MIRROR)?;
    // MD5 in hexadecimal digits: nothing that a pod's UID could be.
    let is_hash = hash.len() == 32 && hash.bytes().all(|of| of.is_ascii_hexdigit());
    (on == node.name && is_hash).then(|| hash.as_str().into())
}

/// `status.podIPs`, or what older servers say.
fn addresses(pod: &core::Pod) -> Box<[IpAddr]> {
    let Some(status) = &pod.status else {
        return Box::default();
    };
    let all = status.pod_ips.iter().flatten().map(|ip| &ip.ip);
    let mut ips: Vec<IpAddr> = all
        .chain(&status.pod_ip)
        .filter_map(|ip| ip.parse().ok())
        .collect();
    ips.sort_unstable();
    ips.dedup();
    ips.into()
}

fn containers(spec: &core::PodSpec, names: &mut Names) -> Vec<Container> {
    let mut containers = Vec::new();
    for of in spec.init_containers.iter().flatten() {
        let always = of.restart_policy.as_deref() == Some("Always");
        let role = if always { Role::Sidecar } else { Role::Init };
        containers.push(container(of, role, names));
    }
    for of in &spec.containers {
        containers.push(container(of, Role::Main, names));
    }
    for of in spec.ephemeral_containers.iter().flatten() {
        containers.push(Container {
            name: names.intern(&of.name),
            requests: Resources::default(),
            limits: Resources::default(),
            role: Role::Ephemeral,
            ids: Vec::new(),
        });
    }
    containers
}

fn container(of: &core::Container, role: Role, names: &mut Names) -> Container {
    let required = of.resources.as_ref();
    let limits = resources(required.and_then(|required| required.limits.as_ref()));
    let asked = resources(required.and_then(|required| required.requests.as_ref()));
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
    Container {
        name: names.intern(&of.name),
        requests,
        limits,
        role,
        ids: Vec::new(),
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

/// Ids of previous and present lives of every container in the status.
fn give_ids(containers: &mut [Container], status: Option<&core::PodStatus>) {
    let Some(status) = status else { return };
    let lists = [
        &status.container_statuses,
        &status.init_container_statuses,
        &status.ephemeral_container_statuses,
    ];
    let mut of: HashMap<&str, &core::ContainerStatus> = HashMap::new();
    for status in lists.into_iter().flatten().flatten() {
        of.insert(&status.name, status);
    }
    for container in containers {
        for id in of.get(&*container.name).copied().into_iter().flat_map(ids) {
            // `containerd://<id>`, `cri-o://<id>`
            let bare = id.split_once("://").map_or(id, |(_, bare)| bare);
            if !bare.is_empty() && !container.ids.iter().any(|known| **known == *bare) {
                container.ids.push(bare.into());
            }
        }
    }
}

/// Whether the ids are all that there are for now. After a crash the status still tells the dead life's id,
/// and the next life may have begun.
fn is_complete(containers: &[Container], pod: &core::Pod) -> bool {
    let status = pod.status.as_ref();
    let phase = status.and_then(|status| status.phase.as_deref());
    let has_ended = matches!(phase, Some("Succeeded" | "Failed"));
    let lives_on = |name: &str| {
        let of = containers.iter().find(|of| *of.name == *name);
        of.is_some_and(|of| matches!(of.role, Role::Main | Role::Sidecar))
    };
    let statuses = status.iter().flat_map(|status| {
        let lists = [&status.container_statuses, &status.init_container_statuses];
        lists.into_iter().flatten().flatten()
    });
    let mut statuses = statuses.filter(|of| lives_on(&of.name));
    let between_lives = |of: &core::ContainerStatus| {
        let state = of.state.as_ref();
        state.is_some_and(|state| state.running.is_none())
    };
    containers.iter().all(|of| !of.ids.is_empty()) && (has_ended || !statuses.any(between_lives))
}

fn ids(status: &core::ContainerStatus) -> impl Iterator<Item = &str> {
    let previous = status
        .last_state
        .as_ref()
        .and_then(|state| state.terminated.as_ref())
        .and_then(|end| end.container_id.as_deref());
    previous.into_iter().chain(status.container_id.as_deref())
}
