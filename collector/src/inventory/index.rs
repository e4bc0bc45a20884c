//! The index: pod UID and container id to names, owner, requests and limits; an address to its pod.
//!
//! Pure: objects go in by [`Index::apply`] and [`Index::delete`], answers come out by [`Index::lookup`] and
//! [`Index::holder`]. It has one writer, and no clock: times are given. Files and the API server feed it
//! alike: a listing of all objects of a kind is what stands between [`Index::begin`] and [`Index::end`],
//! and what was not in it is gone.
//!
//! Owners are followed through the objects that were given (ReplicaSet → Deployment, Job → CronJob, any
//! other controller as it stands); a missing link ends the chain there, a name is never derived from
//! another name's spelling.
//!
//! What is deleted keeps its names for a while: an event of a pod that is gone comes later than its end.

mod addresses;
mod answer;
mod entry;
mod gone;
mod kinds;
mod names;
mod nodes;
mod parting;
mod statics;

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::parse::Object;
use addresses::Addresses;
pub use addresses::Holder;
pub use answer::{ContainerName, ContainerRef, Resources, Role, Workload};
use entry::{Controller, ObjectName, Owner, Pod, Presence};
use gone::Gone;
pub use gone::{MAX_GONE, MAX_GONE_BYTES};
use kinds::{GroupKind, Kinds};
use names::Names;
pub use nodes::{Node, Nodes};
use statics::StaticPods;

/// Longest owner chain that is followed; real ones have two links.
const MAX_OWNER_DEPTH: usize = 8;

/// Now, on the two clocks that matter here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moment {
    /// Since the start of the process, on a clock that only goes forward: for how long something is kept.
    pub since_start: Duration,
    /// Wall clock, Unix nanoseconds: when an address was whose.
    pub unix_ns: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Index {
    /// How long what is deleted keeps its names.
    keep: Duration,
    names: Names,
    pods: HashMap<Arc<str>, Pod>,
    /// The empty name, which is that of no namespace.
    nowhere: Arc<str>,
    static_pods: StaticPods,
    owners: HashMap<ObjectName, Owner>,
    nodes: Nodes,
    addresses: Addresses,
    kinds: Kinds,
    gone: Gone<Key>,
}

/// What finds an entry.
#[derive(Clone, Debug)]
enum Key {
    Pod(Arc<str>),
    Owner(ObjectName),
}

impl Index {
    /// Keeps the names of what is deleted for so long; zero keeps none.
    #[must_use]
    pub fn keeping(keep: Duration) -> Self {
        Self {
            keep,
            ..Self::default()
        }
    }

    /// Sets how long the names of what is deleted from now on are kept.
    pub const fn keep(&mut self, keep: Duration) {
        self.keep = keep;
    }

    /// Takes an object in; a later one of the same name or UID replaces the earlier.
    pub fn apply(&mut self, object: &Object, now: Moment) {
        match object {
            Object::Pod(pod) => self.apply_pod(pod, now),
            Object::Node(node) => {
                let listing = self.listing("", "Node");
                self.nodes.apply(node, listing);
            }
            Object::Namespace(_) => {}
            _ => {
                let (group, kind) = object.group_kind();
                self.apply_named(group, kind, object.meta());
            }
        }
    }

    /// Takes in an object of which nothing but its metadata is known: it may own pods.
    pub fn apply_named(&mut self, group: &str, kind: &str, meta: &ObjectMeta) {
        self.note_owner(meta);
        let (name, mut owner) = Owner::of((group, kind), meta, &mut self.names);
        owner.presence.listing = self.listing(group, kind);
        if let Some(before) = self.owners.remove(&name) {
            if before.presence.gone_since.is_some() {
                self.gone.came_back(size_of::<(ObjectName, Owner)>());
            }
            owner.succeed(before);
        }
        self.owners.insert(name, owner);
    }

    fn apply_pod(&mut self, object: &k8s_openapi::api::core::v1::Pod, now: Moment) {
        self.note_owner(&object.metadata);
        let Some((uid, mut pod)) = Pod::of(object, &mut self.names) else {
            return;
        };
        pod.presence.listing = self.listing("", "Pod");
        let (uid, before) = match self.pods.remove_entry(&uid) {
            Some((uid, before)) => (uid, Some(before)),
            None => (uid, None),
        };
        if let Some(before) = &before {
            if before.presence.gone_since.is_some() {
                self.gone.came_back(before.bytes());
            }
            pod.remember(before);
            if let Some(hash) = before.hash.as_deref().filter(|_| before.hash != pod.hash) {
                self.static_pods.forget(hash, &uid);
            }
            let left = before.ips.iter().filter(|ip| !pod.ips.contains(ip));
            left.for_each(|ip| self.addresses.ended(*ip, &uid, now.unix_ns));
            for ip in pod.remember_addresses(before) {
                self.addresses.forget(ip, &uid);
            }
        }
        let status = object.status.as_ref();
        let ended = status
            .and_then(|status| status.phase.as_deref())
            .is_some_and(|phase| matches!(phase, "Succeeded" | "Failed"));
        let started = status
            .and_then(|status| status.start_time.as_ref())
            .and_then(|time| u64::try_from(time.0.as_nanosecond()).ok());
        let started = started.unwrap_or(now.unix_ns);
        for ip in &pod.ips {
            if ended {
                self.addresses.had(*ip, &uid, started, now.unix_ns);
            } else {
                self.addresses.seen(*ip, &uid, started, now.unix_ns);
            }
        }
        if let Some(hash) = &pod.hash {
            self.static_pods.claim(hash, &uid);
        }
        self.pods.insert(uid, pod);
    }

    /// An object is deleted.
    pub fn delete(&mut self, group: &str, kind: &str, meta: &ObjectMeta, now: Moment) {
        match (group, kind) {
            ("", "Pod") => {
                let known = meta
                    .uid
                    .as_deref()
                    .and_then(|uid| self.pods.get_key_value(uid));
                if let Some(uid) = known.map(|(uid, _)| Arc::clone(uid)) {
                    self.part_with(Key::Pod(uid), now);
                }
            }
            ("", "Node") => self.nodes.delete(meta.name.as_deref().unwrap_or_default()),
            _ => {
                let (name, _) = Owner::of((group, kind), meta, &mut self.names);
                self.part_with(Key::Owner(name), now);
            }
        }
        self.shed();
    }

    /// An object is there, and cannot be read: what is known of it stays.
    pub fn touch(&mut self, group: &str, kind: &str, meta: &ObjectMeta) {
        let listing = self.listing(group, kind);
        match (group, kind) {
            ("", "Pod") => {
                let uid = meta.uid.as_deref().unwrap_or_default();
                if let Some(pod) = self.pods.get_mut(uid) {
                    pod.presence.listing = listing;
                }
            }
            ("", "Node") => self
                .nodes
                .touch(meta.name.as_deref().unwrap_or_default(), listing),
            _ => {
                let (name, _) = Owner::of((group, kind), meta, &mut self.names);
                if let Some(owner) = self.owners.get_mut(&name) {
                    owner.presence.listing = listing;
                }
            }
        }
    }

    /// A listing of all objects of a kind begins.
    pub fn begin(&mut self, group: &str, kind: &str) {
        let key = self.group_kind(group, kind);
        self.kinds.begin(key);
    }

    /// The listing is whole: what it did not name is deleted.
    pub fn end(&mut self, group: &str, kind: &str, now: Moment) {
        let listing = self.listing(group, kind);
        let unlisted =
            |presence: &Presence| presence.gone_since.is_none() && presence.listing != listing;
        let gone: Vec<Key> = match (group, kind) {
            ("", "Pod") => {
                let pods = self.pods.iter().filter(|(_, pod)| unlisted(&pod.presence));
                pods.map(|(uid, _)| Key::Pod(Arc::clone(uid))).collect()
            }
            ("", "Node") => {
                self.nodes.end(listing);
                Vec::new()
            }
            _ => {
                let owners = self.owners.iter().filter(|(name, owner)| {
                    &*name.group == group && &*name.kind == kind && unlisted(&owner.presence)
                });
                owners.map(|(name, _)| Key::Owner(name.clone())).collect()
            }
        };
        for key in gone {
            self.part_with(key, now);
        }
        self.shed();
    }

    /// Objects of this kind are all told from now on, so that one that is not known is not known yet.
    pub fn follow(&mut self, group: &str, kind: &str) {
        let key = self.group_kind(group, kind);
        self.kinds.follow(key, true);
    }

    /// They are not any more.
    pub fn unfollow(&mut self, group: &str, kind: &str) {
        let key = self.group_kind(group, kind);
        self.kinds.follow(key, false);
    }

    /// Names what a cgroup path says. `None`: the pod is not known (yet).
    ///
    /// `pod_uid` may be a static pod's config hash. Without a container id the answer's container is
    /// [`ContainerName::NotInStatus`]: the pod itself.
    pub fn lookup(&self, pod_uid: &str, container_id: Option<&str>) -> Option<ContainerRef> {
        let pod = self.pod(pod_uid)?;
        let entry = container_id.and_then(|id| pod.container(id));
        let container = match (entry, container_id) {
            (Some(entry), _) => ContainerName::Known((*entry.name).to_owned()),
            (None, Some(_)) if awaits_ids(pod) => ContainerName::Pending,
            (None, _) => ContainerName::NotInStatus,
        };
        let (workload, workload_pending) = self.workload_of(pod);
        let labels = pod.labels.iter();
        Some(ContainerRef {
            namespace: (*pod.namespace).to_owned(),
            pod: (*pod.name).to_owned(),
            container,
            node: pod.node.as_deref().map(str::to_owned),
            unplaced: self.is_unplaced(pod),
            service_account: pod.service_account.as_deref().map(str::to_owned),
            host_network: pod.host_network,
            workload,
            workload_pending,
            labels: labels
                .map(|(key, value)| ((**key).to_owned(), (**value).to_owned()))
                .collect(),
            requests: entry.map(|of| of.requests).unwrap_or_default(),
            limits: entry.map(|of| of.limits).unwrap_or_default(),
            role: entry.map_or(Role::Main, |of| of.role),
        })
    }

    /// Whether [`lookup`](Self::lookup) may have more to say later.
    pub fn is_pending(&self, pod_uid: &str, container_id: Option<&str>) -> bool {
        let Some(pod) = self.pod(pod_uid) else {
            return true;
        };
        let no_name = |id| awaits_ids(pod) && pod.container(id).is_none();
        container_id.is_some_and(no_name)
            || (self.is_unplaced(pod) && pod.presence.gone_since.is_none())
            || self.top_of(pod).is_some_and(|(_, pending)| pending)
    }

    /// Whose an address was at a time (Unix nanoseconds), as far as that is known. Pods on a node's network
    /// have none.
    pub fn holder(&self, ip: IpAddr, at_unix_ns: u64) -> Option<Holder> {
        self.addresses.holder(ip, at_unix_ns)
    }

    /// The nodes.
    pub const fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    /// The node that a pod is or was on, by its UID or a static pod's config hash.
    pub fn node_of(&self, pod_uid: &str) -> Option<&str> {
        self.pod(pod_uid)?.node.as_deref()
    }

    /// Number of objects that are not deleted.
    pub fn objects(&self) -> usize {
        self.pods.len() + self.owners.len() + self.nodes.len() - self.gone.count()
    }

    /// Number of pods that are not deleted.
    pub fn pods(&self) -> usize {
        let live = |pod: &&Pod| pod.presence.gone_since.is_none();
        self.pods.values().filter(live).count()
    }

    /// Deleted objects whose names are kept.
    pub const fn gone(&self) -> usize {
        self.gone.count()
    }

    /// Deleted objects whose names were forgotten before their time, since the start.
    pub const fn forgotten(&self) -> u64 {
        self.gone.forgotten()
    }

    /// `apiVersion` and kind of the controllers whose kind was never listed: what may own pods as well.
    pub fn strange_kinds(&self) -> impl Iterator<Item = (&str, &str)> {
        self.kinds.strange()
    }

    /// Those of them that were looked for without an answer, which have places of their own.
    pub fn unanswered_kinds(&self) -> impl Iterator<Item = (&str, &str)> {
        self.kinds.unanswered()
    }

    /// There is no such kind any more, and whether it comes again has to be looked for.
    pub fn forget_kind(&mut self, group: &str, kind: &str) {
        let key = self.group_kind(group, kind);
        self.kinds.forget(&key);
    }

    /// One of those was looked for, and the cluster has none.
    pub fn set_absent(&mut self, group: &str, kind: &str) {
        self.kinds.set_absent(group, kind);
    }

    /// One of those was looked for, and the server did not say whether the cluster has it.
    pub fn set_unanswered(&mut self, group: &str, kind: &str) {
        self.kinds.set_unanswered(group, kind);
    }

    /// Those that were absent may be there by now.
    pub fn look_again(&mut self) {
        self.kinds.look_again();
    }

    /// Owners of a kind that was not looked for, because too many others were to be, since the start.
    pub const fn unheard(&self) -> u64 {
        self.kinds.unheard()
    }

    fn pod(&self, uid: &str) -> Option<&Pod> {
        let known = self.pods.get(uid);
        known.or_else(|| self.static_pods.get(uid, &self.pods))
    }

    /// It runs nowhere yet, or never did. Of pods in files the node may be left out.
    fn is_unplaced(&self, pod: &Pod) -> bool {
        pod.node.is_none() && self.kinds.pods_are_followed()
    }

    fn workload_of(&self, pod: &Pod) -> (Workload, bool) {
        let of_itself = || Workload {
            kind: "Pod".to_owned(),
            name: (*pod.name).to_owned(),
        };
        let top = self.top_of(pod);
        top.map_or_else(
            || (of_itself(), false),
            |(top, pending)| (top.workload(), pending),
        )
    }

    /// The topmost controller, and whether it is not known yet.
    fn top_of<'a>(&'a self, pod: &'a Pod) -> Option<(&'a Controller, bool)> {
        let mut top = pod.controller.as_ref()?;
        for _ in 0..MAX_OWNER_DEPTH {
            let mut name = top.within(&pod.namespace);
            let mut known = self.owners.get(&name);
            if known.is_none() {
                // One of no namespace may own what is in one.
                name.namespace = Arc::clone(&self.nowhere);
                known = self.owners.get(&name);
            }
            // One that was made anew under the same name is another.
            let Some(controller) = known.and_then(|owner| owner.controller_for(top)) else {
                let kind = (Arc::clone(&top.group), Arc::clone(&top.kind));
                return Some((top, self.kinds.is_followed(&kind)));
            };
            match controller {
                Some(next) if next != top => top = next,
                _ => break,
            }
        }
        Some((top, false))
    }

    fn group_kind(&mut self, group: &str, kind: &str) -> GroupKind {
        (self.names.intern(group), self.names.intern(kind))
    }

    fn listing(&mut self, group: &str, kind: &str) -> u32 {
        let key = self.group_kind(group, kind);
        self.kinds.listing(&key)
    }

    fn note_owner(&mut self, meta: &ObjectMeta) {
        let mut owners = meta.owner_references.iter().flatten();
        if let Some(owner) = owners.find(|owner| owner.controller == Some(true)) {
            let kind = self.group_kind(entry::group_of(&owner.api_version), &owner.kind);
            self.kinds.note_owner(&kind, owner);
        }
    }
}

/// An id that is not known may still be told of.
fn awaits_ids(pod: &Pod) -> bool {
    !pod.complete && pod.presence.gone_since.is_none()
}

#[cfg(test)]
mod grace;
#[cfg(test)]
mod mirrors;
#[cfg(test)]
mod owners;
#[cfg(test)]
mod recorded;
#[cfg(test)]
mod tests;
