//! How what is deleted leaves the index: after its time, or sooner where there is no room.
//!
//! An owner stays for as long as a pod names it, or another owner that is kept: pods end after the ReplicaSet
//! that made them, and their records come later still. Owners of no namespace have their own time alone.

use std::collections::HashSet;
use std::time::Duration;

use super::entry::{Controller, ObjectName, Owner, Pod};
use super::{Index, Key, MAX_OWNER_DEPTH, Moment};

impl Index {
    /// Forgets what was deleted too long ago; whether there was any.
    pub fn expire(&mut self, now: Moment) -> bool {
        let before = self.gone.count();
        let mut owners = Vec::new();
        while let Some((since, key)) = self.gone.due(now.since_start, self.keep) {
            match key {
                Key::Owner(name) => owners.push((since, name)),
                Key::Pod(_) => self.forget(since, key),
            }
        }
        if !owners.is_empty() {
            self.forget_owners(owners, now);
        }
        self.gone.count() < before
    }

    /// Those that are still named are looked at again after another such time.
    fn forget_owners(&mut self, due: Vec<(Duration, ObjectName)>, now: Moment) {
        let named = self.named_among(&due);
        for (since, name) in due {
            let key = Key::Owner(name);
            match &key {
                Key::Owner(name) if named.contains(name) => {
                    let owner = self.owners.get_mut(name);
                    if let Some(owner) = owner.filter(|of| of.presence.gone_since == Some(since)) {
                        owner.presence.gone_since = Some(now.since_start);
                        self.gone.stays(now.since_start, key);
                    }
                }
                _ => self.forget(since, key),
            }
        }
    }

    /// Those of them that a pod or a living owner has as its controller, or a deleted one that is itself named so.
    ///
    /// Deleted owners that name each other, or themselves, keep nothing. Who stands higher above a pod than a
    /// chain is followed is looked at by nobody, and is not looked for here.
    fn named_among(&self, due: &[(Duration, ObjectName)]) -> HashSet<ObjectName> {
        let mut named = HashSet::new();
        let mut by_deleted = Vec::new();
        let mut asked: HashSet<ObjectName> = due.iter().map(|(_, of)| of.clone()).collect();
        let mut next = asked.clone();
        for _ in 0..MAX_OWNER_DEPTH {
            if next.is_empty() {
                break;
            }
            let found = self.namers(&next);
            next.clear();
            for (deleted, name) in found {
                let Some(deleted) = deleted else {
                    named.insert(name);
                    continue;
                };
                if asked.insert(deleted.clone()) {
                    next.insert(deleted.clone());
                }
                by_deleted.push((deleted, name));
            }
        }
        for _ in 0..MAX_OWNER_DEPTH {
            let more = by_deleted.iter().filter(|(by, _)| named.contains(by));
            let more: Vec<ObjectName> = more.map(|(_, name)| name.clone()).collect();
            let before = named.len();
            named.extend(more);
            if named.len() == before {
                break;
            }
        }
        named
    }

    /// Which of these are somebody's controller, each with the deleted owner whose it is; `None` is a pod or an
    /// owner that is there.
    fn namers(&self, of: &HashSet<ObjectName>) -> Vec<(Option<ObjectName>, ObjectName)> {
        // Few are looked for and many are known: most are told apart by a look at one text.
        let texts: HashSet<&str> = of.iter().map(|name| &*name.name).collect();
        let named = |namespace, controller: &Option<Controller>| {
            let controller = controller.as_ref();
            let controller = controller.filter(|of| texts.contains(&*of.name))?;
            Some(controller.within(namespace)).filter(|name| of.contains(name))
        };
        let pods = self.pods.values();
        let pods = pods.filter_map(|pod| Some((None, named(&pod.namespace, &pod.controller)?)));
        let owners = self.owners.iter();
        let owners = owners.filter_map(|(by, owner)| {
            let name = named(&by.namespace, &owner.controller)?;
            let is_deleted = owner.presence.gone_since.is_some();
            Some((is_deleted.then(|| by.clone()), name))
        });
        pods.chain(owners).collect()
    }

    /// What has gone keeps its names, if there is a time for that.
    pub(super) fn part_with(&mut self, key: Key, now: Moment) {
        let presence = match &key {
            Key::Pod(uid) => {
                let Some(pod) = self.pods.get_mut(uid) else {
                    return;
                };
                for ip in &pod.ips {
                    self.addresses.ended(*ip, uid, now.unix_ns);
                }
                &mut pod.presence
            }
            Key::Owner(name) => {
                let Some(owner) = self.owners.get_mut(name) else {
                    return;
                };
                &mut owner.presence
            }
        };
        if presence.gone_since.is_some() {
            return;
        }
        presence.gone_since = Some(now.since_start);
        let bytes = self.bytes(&key);
        self.gone.went(now.since_start, key, bytes);
    }

    fn bytes(&self, key: &Key) -> usize {
        match key {
            Key::Pod(uid) => self.pods.get(uid).map_or(0, Pod::bytes),
            Key::Owner(_) => size_of::<(ObjectName, Owner)>(),
        }
    }

    /// Keeps the names of the deleted within their bounds.
    pub(super) fn shed(&mut self) {
        while self.gone.is_over() || (self.keep.is_zero() && !self.gone.is_empty()) {
            let before = self.gone.count();
            self.forget_longest_gone();
            if !self.keep.is_zero() && self.gone.count() < before {
                self.gone.note_forgotten();
            }
        }
    }

    fn forget_longest_gone(&mut self) {
        if let Some((since, key)) = self.gone.longest() {
            self.forget(since, key);
        }
    }

    fn gone_since(&self, key: &Key) -> Option<Duration> {
        match key {
            Key::Pod(uid) => self.pods.get(uid)?.presence.gone_since,
            Key::Owner(name) => self.owners.get(name)?.presence.gone_since,
        }
    }

    /// Forgets what has gone then; it may have come back since, and gone once more.
    fn forget(&mut self, since: Duration, key: Key) {
        if self.gone_since(&key) != Some(since) {
            return;
        }
        self.gone.came_back(self.bytes(&key));
        match key {
            Key::Owner(name) => {
                self.owners.remove(&name);
            }
            Key::Pod(uid) => {
                let Some(pod) = self.pods.remove(&uid) else {
                    return;
                };
                let ips = pod.ips.iter().chain(&pod.past_ips);
                ips.for_each(|ip| self.addresses.forget(*ip, &uid));
                if let Some(hash) = &pod.hash {
                    self.static_pods.forget(hash, &uid);
                }
            }
        }
    }
}
