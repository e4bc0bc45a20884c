//! Static pods: their cgroups have the hash of their manifest, and their mirrors say which.
//!
//! Whoever may make pods may write what the kubelet writes into a mirror, until that deletes what it has not made. A
//! hash that two pods claim at a time is therefore nobody's.

use std::collections::HashMap;
use std::sync::Arc;

use super::entry::Pod;

/// UIDs of the pods that claim a hash, the latest last.
#[derive(Clone, Debug, Default)]
pub(super) struct StaticPods(HashMap<Box<str>, Vec<Arc<str>>>);

impl StaticPods {
    pub(super) fn claim(&mut self, hash: &str, uid: &Arc<str>) {
        let claims = self.0.entry(hash.into()).or_default();
        claims.retain(|of| of != uid);
        claims.push(Arc::clone(uid));
    }

    pub(super) fn forget(&mut self, hash: &str, uid: &str) {
        if let Some(claims) = self.0.get_mut(hash) {
            claims.retain(|of| **of != *uid);
            if claims.is_empty() {
                self.0.remove(hash);
            }
        }
    }

    /// The pod of a hash: one that lives, or else one that has gone. A mirror is made anew under its own name, and
    /// the latest of one name it is.
    pub(super) fn get<'a>(&self, hash: &str, pods: &'a HashMap<Arc<str>, Pod>) -> Option<&'a Pod> {
        let claims = self.0.get(hash)?.iter();
        let claims = claims.filter_map(|uid| pods.get(uid));
        let claims = claims.filter(|pod| pod.hash.as_deref() == Some(hash));
        let (living, gone): (Vec<&Pod>, Vec<&Pod>) =
            claims.partition(|pod| pod.presence.gone_since.is_none());
        let claims = if living.is_empty() { gone } else { living };
        let latest = *claims.last()?;
        let is_same = |pod: &&Pod| pod.namespace == latest.namespace && pod.name == latest.name;
        claims.iter().all(is_same).then_some(latest)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
