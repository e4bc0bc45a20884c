//! The kinds of objects that the index was given: their listings, which of them are told without gaps, and
//! which own something and were never given.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

/// Groups whose objects own no pods, but the core's ReplicationController, or are too many. Whoever may make a
/// pod writes what owns it: nobody is to have secrets or events listed by that.
const NO_OWNERS: [&str; 3] = ["", "coordination.k8s.io", "events.k8s.io"];
/// Kinds of owners that are told as not given, at the most.
const MAX_STRANGE: usize = 64;

/// A group and a kind of its API; the core's group is empty.
pub(super) type GroupKind = (Arc<str>, Arc<str>);

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Kinds {
    /// The present or last listing of each kind, by number.
    listings: HashMap<GroupKind, u32>,
    followed: HashSet<GroupKind>,
    pods_are_followed: bool,
    /// `apiVersion` and kind.
    strange: HashSet<(Box<str>, Box<str>)>,
}

impl Kinds {
    pub(super) fn begin(&mut self, kind: GroupKind) {
        *self.listings.entry(kind).or_default() += 1;
    }

    pub(super) fn listing(&self, kind: &GroupKind) -> u32 {
        self.listings.get(kind).copied().unwrap_or_default()
    }

    pub(super) fn follow(&mut self, kind: GroupKind, followed: bool) {
        if kind.0.is_empty() && &*kind.1 == "Pod" {
            self.pods_are_followed = followed;
        }
        if followed {
            self.followed.insert(kind);
        } else {
            self.followed.remove(&kind);
        }
    }

    pub(super) fn is_followed(&self, kind: &GroupKind) -> bool {
        self.followed.contains(kind)
    }

    pub(super) const fn pods_are_followed(&self) -> bool {
        self.pods_are_followed
    }

    /// Something has this controller.
    pub(super) fn note_owner(&mut self, kind: &GroupKind, owner: &OwnerReference) {
        let foreign = !NO_OWNERS.contains(&&*kind.0);
        let known = !foreign || self.listings.contains_key(kind);
        if !known && self.strange.len() < MAX_STRANGE {
            let version = owner.api_version.as_str().into();
            self.strange.insert((version, owner.kind.as_str().into()));
        }
    }

    pub(super) fn strange(&self) -> impl Iterator<Item = (&str, &str)> {
        let strange = self.strange.iter();
        strange.map(|(version, kind)| (&**version, &**kind))
    }
}
