//! The table behind the module: the living, and for a grace time the just-gone.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use plimsoll_wire::Identity;
use plimsoll_wire::identity::Subject;

use crate::cgroup::path;

/// Bounds of an [`Index`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How long a removed cgroup keeps its name, nanoseconds. Packets of a dead container and
    /// records that wait in a ring come later than its end.
    pub grace_ns: u64,
    /// Removed cgroups remembered at the most; the oldest is forgotten first.
    pub max_gone: usize,
    /// Living cgroups known at the most: a container may make any number of cgroups of its own.
    pub max_live: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            grace_ns: 300_000_000_000,
            max_gone: 8192,
            max_live: 16_384,
        }
    }
}

/// What the index no longer knows, and why. Cumulative.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Forgotten {
    /// The grace time was over: the ordinary end.
    pub expired: u64,
    /// Forgotten early, because more cgroups went than `max_gone` holds.
    pub shed: u64,
    /// Never taken in, because `max_live` cgroups were known.
    pub rejected: u64,
}

/// One cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who it is; the path is known.
    pub identity: Identity,
    /// When the kernel was seen to make it: its counters were zero then. `None` if it was found, and
    /// may have been there for any time.
    pub made_ns: Option<u64>,
    /// It had its id since then at the earliest: it was made, or another had the id until then.
    /// `None` if nothing is known.
    since_ns: Option<u64>,
    /// When it was removed.
    pub removed_ns: Option<u64>,
    /// Lies within its container or unit, and is not sampled on its own.
    pub nested: bool,
}

impl Entry {
    /// The path is one of this cgroup's. Where the tree that is walked is only a part of the kernel's,
    /// its paths are the ends of those in the records.
    fn is_at(&self, path: &str) -> bool {
        let known = self.identity.cgroup_path.as_deref().unwrap_or_default();
        known.ends_with(path) || path.ends_with(known)
    }

    /// Takes the shorter path of the two: by that one the walk comes to it. True if it is a part of
    /// another by the longer alone.
    fn shorten(&mut self, path: &str) -> bool {
        let known = self.identity.cgroup_path.as_deref().unwrap_or_default();
        if path.len() >= known.len() {
            return false;
        }
        let path::Place { subject, nested } = path::place(path);
        self.identity = Identity {
            cgroup_id: self.identity.cgroup_id,
            cgroup_path: Some(path.to_owned()),
            subject,
        };
        std::mem::replace(&mut self.nested, nested) && !nested
    }
}

/// See the [module](crate::identity).
#[derive(Debug, Default)]
pub struct Index {
    limits: Limits,
    live: HashMap<u64, Entry>,
    /// Newest last.
    gone: HashMap<u64, Vec<Entry>>,
    /// Ids in the order of their removal; one for each entry of `gone`.
    departures: VecDeque<(u64, u64)>,
    /// Who found no room, so that each walk does not count it again; at most `max_live`.
    turned_away: BTreeSet<u64>,
    forgotten: Forgotten,
}

impl Index {
    /// An empty index.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// The kernel made a cgroup. True if it was not known before, or as a part of another alone.
    pub fn made(&mut self, id: u64, path: &str, at_ns: u64) -> bool {
        self.learn(id, path, Some(at_ns), at_ns)
    }

    /// A scan found a cgroup that may have been there for long. True if it was not known before, or as
    /// a part of another alone.
    pub fn found(&mut self, id: u64, path: &str, at_ns: u64) -> bool {
        self.learn(id, path, None, at_ns)
    }

    fn learn(&mut self, id: u64, path: &str, made_ns: Option<u64>, at_ns: u64) -> bool {
        if let Some(known) = self.live.get_mut(&id) {
            if known.is_at(path) {
                let is_one_itself = known.shorten(path);
                known.made_ns = known.made_ns.or(made_ns);
                known.since_ns = known.made_ns.or(known.since_ns);
                return is_one_itself;
            }
            // The inode was used again and we missed the removal: the newest wins from here on.
            self.removed(id, at_ns);
        }
        if self.live.len() >= self.limits.max_live {
            if !self.turned_away.contains(&id) {
                self.forgotten.rejected += 1;
                if self.turned_away.len() < self.limits.max_live {
                    self.turned_away.insert(id);
                }
            }
            return false;
        }
        self.turned_away.remove(&id);
        // Whoever has an id after somebody else has it since the other's end; but that is no birth: it
        // may be the very cgroup, which was renamed or missed by a walk.
        let end_of_last = || self.gone.get(&id)?.last()?.removed_ns;
        let since_ns = made_ns.or_else(end_of_last);
        let path::Place { subject, nested } = path::place(path);
        let identity = Identity {
            cgroup_id: id,
            cgroup_path: Some(path.to_owned()),
            subject,
        };
        self.live.insert(
            id,
            Entry {
                identity,
                made_ns,
                since_ns,
                removed_ns: None,
                nested,
            },
        );
        true
    }

    /// The id is known by another path: the cgroup was renamed, or its inode was used again and the
    /// removal was missed.
    pub fn is_other(&self, id: u64, path: &str) -> bool {
        self.live.get(&id).is_some_and(|known| !known.is_at(path))
    }

    /// The kernel removed a cgroup, or a scan no longer finds it. Gives what was known of it.
    pub fn removed(&mut self, id: u64, at_ns: u64) -> Option<&Entry> {
        self.expire(at_ns);
        self.turned_away.remove(&id);
        let mut entry = self.live.remove(&id)?;
        entry.removed_ns = Some(at_ns);
        while self.departures.len() >= self.limits.max_gone.max(1) {
            self.forget_oldest();
            self.forgotten.shed += 1;
        }
        self.departures.push_back((id, at_ns));
        let of_id = self.gone.entry(id).or_default();
        of_id.push(entry);
        of_id.last()
    }

    /// A whole walk found these: whoever found no room and is not among them needs none any more.
    pub fn walked(&mut self, found: &HashSet<u64>) {
        self.turned_away.retain(|id| found.contains(id));
    }

    /// Forgets whoever has been gone for longer than the grace time.
    pub fn expire(&mut self, now_ns: u64) {
        while let Some(&(_, removed_ns)) = self.departures.front() {
            if now_ns.saturating_sub(removed_ns) < self.limits.grace_ns {
                break;
            }
            self.forget_oldest();
            self.forgotten.expired += 1;
        }
    }

    fn forget_oldest(&mut self) {
        let Some((id, _)) = self.departures.pop_front() else {
            return;
        };
        if let Some(of_id) = self.gone.get_mut(&id) {
            if !of_id.is_empty() {
                of_id.remove(0);
            }
            if of_id.is_empty() {
                self.gone.remove(&id);
            }
        }
    }

    /// Who had this id at that time. A removed cgroup still answers for times after its end until
    /// the id is used again: its sockets outlive it. If nothing is known of the leaf, the nearest of
    /// its ancestors (root's children first, 0 where there is none) that is a container, a pod or a
    /// unit answers, with its own id and path; a mere slice does not. [`Subject::Unknown`] if nobody
    /// is known.
    pub fn resolve_with_ancestors(&self, leaf: u64, ancestors: &[u64], at_ns: u64) -> Identity {
        if let Some(entry) = self.entry_at(leaf, at_ns) {
            return entry.identity.clone();
        }
        ancestors
            .iter()
            .rev()
            .filter(|id| **id != 0)
            .filter_map(|id| self.entry_at(*id, at_ns))
            .find(|entry| answers_for_children(&entry.identity.subject))
            .map_or_else(|| Identity::unknown(leaf), |entry| entry.identity.clone())
    }

    fn entry_at(&self, id: u64, at_ns: u64) -> Option<&Entry> {
        let existed = |entry: &&Entry| entry.since_ns.is_none_or(|since| since <= at_ns);
        let older = self.gone.get(&id);
        let live = self.live.get(&id).filter(existed);
        live.or_else(|| older.and_then(|of_id| of_id.iter().rev().find(existed)))
    }

    /// The living, all of them: also pods, host units, slices and what lies within containers.
    pub fn living(&self) -> impl Iterator<Item = &Entry> {
        self.live.values()
    }

    /// A living cgroup.
    pub fn get(&self, id: u64) -> Option<&Entry> {
        self.live.get(&id)
    }

    /// How many live, and how many are remembered after their end.
    pub fn len(&self) -> (usize, usize) {
        (self.live.len(), self.departures.len())
    }

    /// What fell out.
    pub const fn forgotten(&self) -> Forgotten {
        self.forgotten
    }
}

fn answers_for_children(subject: &Subject) -> bool {
    match subject {
        Subject::Container { .. } | Subject::Pod { .. } => true,
        Subject::Host { unit } => path::ends_with_unit(unit),
        Subject::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "/kubepods.slice/kubepods-poda1.slice";

    fn container(id: &str) -> String {
        format!("{POD}/cri-containerd-{id}.scope")
    }

    fn index() -> Index {
        Index::new(Limits {
            grace_ns: 100,
            max_gone: 3,
            max_live: 5,
        })
    }

    /// Container id, pod, unit or `?`.
    fn name(identity: &Identity) -> String {
        match &identity.subject {
            Subject::Container { container_id, .. } => container_id.clone(),
            Subject::Pod { pod_uid, .. } => format!("pod {pod_uid}"),
            Subject::Host { unit } => unit.clone(),
            Subject::Unknown => "?".to_owned(),
        }
    }

    #[track_caller]
    fn check(index: &Index, id: u64, at_ns: u64, want: &str) {
        assert_eq!(
            name(&index.resolve_with_ancestors(id, &[], at_ns)),
            want,
            "id {id} at {at_ns}"
        );
    }

    #[test]
    fn names_the_living_and_the_just_gone() {
        let mut index = index();
        assert!(index.made(7, &container("c1"), 10));
        assert!(!index.made(7, &container("c1"), 11), "told twice");
        check(&index, 7, 10, "c1");
        check(&index, 7, 9, "?");
        assert_eq!(index.removed(7, 20).unwrap().made_ns, Some(10));
        check(&index, 7, 15, "c1");
        check(&index, 7, 90, "c1");
        index.expire(119);
        check(&index, 7, 90, "c1");
        index.expire(120);
        check(&index, 7, 15, "?");
        assert_eq!(
            index.forgotten(),
            Forgotten {
                expired: 1,
                ..Forgotten::default()
            }
        );
        assert_eq!(index.len(), (0, 0));
    }

    #[test]
    fn a_scan_answers_for_any_earlier_time() {
        let mut index = index();
        index.found(7, &container("c1"), 50);
        check(&index, 7, 1, "c1");
        // The mkdir record of the same cgroup was still in the ring.
        index.made(7, &container("c1"), 40);
        check(&index, 7, 39, "?");
    }

    #[test]
    fn an_inode_used_again_is_the_newest_since_then() {
        for removal_seen in [true, false] {
            for by_scan in [true, false] {
                let mut index = index();
                index.made(7, &container("old"), 10);
                if removal_seen {
                    index.removed(7, 20);
                }
                if by_scan {
                    index.found(7, &container("new"), 30);
                } else {
                    index.made(7, &container("new"), 30);
                }
                check(&index, 7, 5, "?");
                check(&index, 7, 15, "old");
                check(&index, 7, 30, "new");
                index.removed(7, 40);
                check(&index, 7, 15, "old");
                check(&index, 7, 45, "new");
                assert_eq!(index.len(), (0, 2));
            }
        }
    }

    #[test]
    fn bounds_hold_and_are_counted() {
        let mut index = index();
        for id in 1..=6 {
            index.made(id, &container(&format!("c{id}")), id);
        }
        // Each walk comes to it again.
        for at in 7..9 {
            assert!(!index.found(6, &container("c6"), at));
        }
        assert_eq!((index.len(), index.forgotten().rejected), ((5, 0), 1));
        for id in 1..=5 {
            index.removed(id, 10);
        }
        assert_eq!((index.len(), index.forgotten().shed), ((0, 3), 2));
        check(&index, 2, 10, "?");
        check(&index, 3, 10, "c3");
        assert_eq!(index.removed(99, 10), None);
    }

    /// Without records of ends only walks tell of them.
    #[test]
    fn who_found_no_room_is_counted_once_however_many_there_were_before() {
        let mut index = index();
        for id in 1..=5 {
            index.found(id, &container(&format!("c{id}")), 1);
        }
        for walk in 2..=9 {
            let newcomers = walk * 10..walk * 10 + 4;
            index.walked(&(1..=5).chain(newcomers.clone()).collect());
            for at in 0..2 {
                for id in newcomers.clone() {
                    assert!(!index.found(id, &container(&format!("c{id}")), walk + at));
                }
            }
        }
        assert_eq!(index.forgotten().rejected, 8 * 4);
    }

    /// A record's path may lie below folders that the tree which is walked does not have.
    #[test]
    fn what_is_a_part_of_another_by_its_longer_path_alone_is_one_itself() {
        let docker = "/system.slice/docker-0123456789ab.scope".to_owned();
        for (outer, inner) in [
            (docker, "/system.slice/x.service".to_owned()),
            (container("outer"), container("c1")),
        ] {
            let mut index = index();
            assert!(index.made(7, &format!("{outer}{inner}"), 1));
            assert!(index.get(7).unwrap().nested);
            assert!(index.found(7, &inner, 2), "{inner}");
            let entry = index.get(7).unwrap();
            assert_eq!((entry.nested, entry.made_ns), (false, Some(1)));
            assert_eq!(entry.identity.cgroup_path.as_ref(), Some(&inner));
            assert!(!index.found(7, &inner, 3));
            assert!(!index.made(7, &format!("{outer}{inner}"), 1));
            assert!(!index.get(7).unwrap().nested);
        }
    }

    #[test]
    fn an_unknown_leaf_belongs_to_the_nearest_ancestor_that_runs() {
        let mut index = index();
        let check = |index: &Index, leaf, ancestors: &[u64], want: &str| {
            assert_eq!(
                name(&index.resolve_with_ancestors(leaf, ancestors, 50)),
                want,
                "{leaf} {ancestors:?}"
            );
        };
        index.made(1, "/kubepods.slice", 1);
        check(&index, 9, &[1, 2, 3, 0, 0, 0], "?");
        index.made(2, POD, 2);
        check(&index, 9, &[1, 2, 3, 0, 0, 0], "pod a1");
        index.made(3, &container("c1"), 3);
        check(&index, 9, &[1, 2, 3, 0, 0, 0], "c1");
        index.removed(3, 40);
        check(&index, 9, &[1, 2, 3, 0, 0, 0], "c1");
        index.made(4, "/system.slice/sshd.service", 4);
        check(&index, 9, &[8, 4, 0, 0, 0, 0], "system.slice/sshd.service");
        check(&index, 2, &[1], "pod a1");
        check(&index, 9, &[], "?");
    }
}
