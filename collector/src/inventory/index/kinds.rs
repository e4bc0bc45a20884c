//! The kinds of objects that the index was given: their listings, which of them are told without gaps, and
//! which own something and were never given.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;

use super::entry::group_of;

/// Groups whose objects own no pods, but the core's ReplicationController, or are too many. Whoever may make a
/// pod writes what owns it: nobody is to have secrets or events listed by that.
const NO_OWNERS: [&str; 3] = ["", "coordination.k8s.io", "events.k8s.io"];
/// Kinds of owners that are told as not given, at the most.
const MAX_STRANGE: usize = 64;
/// Kinds about which the server gave no answer, at the most: beside the others, for a group whose server is away may
/// be asked about for ever.
const MAX_UNANSWERED: usize = 64;
/// Kinds that are known not to be there, at the most: more than are looked for until all are looked for again.
const MAX_ABSENT: usize = 2048;

/// A group and a kind of its API; the core's group is empty.
pub(super) type GroupKind = (Arc<str>, Arc<str>);

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Kinds {
    /// The present or last listing of each kind, by number.
    listings: HashMap<GroupKind, u32>,
    followed: HashSet<GroupKind>,
    pods_are_followed: bool,
    /// To be looked for.
    strange: HashSet<Stranger>,
    /// Looked for, and to be looked for again: the server did not say.
    unanswered: HashSet<Stranger>,
    /// Looked for, and not there.
    absent: HashSet<Stranger>,
    unheard: u64,
}

/// `apiVersion` and kind.
type Stranger = (Box<str>, Box<str>);

fn is(stranger: &Stranger, group: &str, kind: &str) -> bool {
    group_of(&stranger.0) == group && *stranger.1 == *kind
}

impl Kinds {
    pub(super) fn begin(&mut self, kind: GroupKind) {
        drop(self.looked_for(&kind.0, &kind.1));
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

    pub(super) fn forget(&mut self, kind: &GroupKind) {
        self.followed.remove(kind);
        self.listings.remove(kind);
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
        if !foreign || self.listings.contains_key(kind) || self.followed.contains(kind) {
            return;
        }
        let stranger = (
            owner.api_version.as_str().into(),
            owner.kind.as_str().into(),
        );
        let known = [&self.absent, &self.strange, &self.unanswered];
        if known.iter().any(|known| known.contains(&stranger)) {
            return;
        }
        // Whoever may make a pod may make up kinds: each is looked for, and makes room for the next.
        if self.strange.len() < MAX_STRANGE {
            self.strange.insert(stranger);
        } else {
            self.unheard += 1;
        }
    }

    /// It was looked for, and is not there.
    pub(super) fn set_absent(&mut self, group: &str, kind: &str) {
        let found = self.looked_for(group, kind);
        let room = MAX_ABSENT.saturating_sub(self.absent.len());
        self.absent.extend(found.into_iter().take(room));
    }

    /// It was looked for, and the server did not say. What is beyond the bound is looked for again once something
    /// that it owns changes.
    pub(super) fn set_unanswered(&mut self, group: &str, kind: &str) {
        let found = self.looked_for(group, kind);
        let room = MAX_UNANSWERED.saturating_sub(self.unanswered.len());
        self.unanswered.extend(found.into_iter().take(room));
    }

    /// In whatever version; it is not to be looked for any more.
    fn looked_for(&mut self, group: &str, kind: &str) -> Vec<Stranger> {
        let asked = [&mut self.strange, &mut self.unanswered].into_iter();
        asked
            .flat_map(|asked| asked.extract_if(|of| is(of, group, kind)))
            .collect()
    }

    /// What was not there may be there by now.
    pub(super) fn look_again(&mut self) {
        let room = MAX_STRANGE.saturating_sub(self.strange.len());
        self.strange.extend(self.absent.drain().take(room));
    }

    /// Owners of a kind that was not looked for, because too many others were to be.
    pub(super) const fn unheard(&self) -> u64 {
        self.unheard
    }

    pub(super) fn strange(&self) -> impl Iterator<Item = (&str, &str)> {
        let strange = self.strange.iter();
        strange.map(|(version, kind)| (&**version, &**kind))
    }

    pub(super) fn unanswered(&self) -> impl Iterator<Item = (&str, &str)> {
        let unanswered = self.unanswered.iter();
        unanswered.map(|(version, kind)| (&**version, &**kind))
    }
}
