//! Which cgroups are followed, and the windows and ends that come of it.
//!
//! ```text
//!  cgroup made / found ─► learn ─► Follow (the sampler opens its files)
//!  sample, periods ─────► windows ─► Output::Window
//!  cgroup removed ──────► windows' last part + Output::End
//! ```
//!
//! Owns the identity index. Followed are containers and host units by their own folders; what lies
//! within them counts as theirs, and pods are the sum of their containers. Deliberately knows no
//! file, no kernel map, no clock and no way to send.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use plimsoll_wire::event::ContainerEnd;
use plimsoll_wire::identity::Subject;
use plimsoll_wire::{AuditEvent, Identity, UsageWindow};

use crate::cgroup::path;
use crate::identity::{Index, Limits};
use crate::usage::sample::MemoryNow;
use crate::usage::window::Spec;
use crate::usage::{Sample, Timeline, Windows};

/// What comes of what was seen.
#[derive(Clone, Debug, PartialEq)]
#[expect(
    clippy::large_enum_variant,
    reason = "a few hundred of them live for a moment; a box each would cost more"
)]
pub enum Output {
    /// A closed window.
    Window(UsageWindow),
    /// Something for the audit stream, with its time in Unix nanoseconds.
    Event(u64, AuditEvent),
}

/// Bounds and lengths.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    /// Of windows and of the start-up time.
    pub spec: Spec,
    /// Cgroups followed at the most; more are counted in [`Counters::over_limit`].
    pub max_followed: usize,
    /// Of the identity index.
    pub identity: Limits,
}

/// Cumulative, but for `over_limit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Samples that could not be compared with the one before.
    pub resets: u64,
    /// 100 ms periods of cgroups that ended before their first sample. Their CPU time is in their end.
    pub unshown_periods: u64,
    /// Living cgroups that are not followed because of [`Options::max_followed`].
    pub over_limit: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Containers {
    options: Options,
    index: Index,
    followed: BTreeMap<u64, Windows>,
    /// Cgroup within a container or unit → the cgroup that is followed for it.
    owners: HashMap<u64, u64>,
    /// Living and over the limit.
    left_out: BTreeSet<u64>,
    /// A walk told what may have been missing to know whose a nested one is.
    has_news: bool,
    resets: u64,
    unshown_periods: u64,
}

impl Containers {
    /// Nothing is known yet.
    pub fn new(options: Options) -> Self {
        Self {
            options,
            index: Index::new(options.identity),
            followed: BTreeMap::new(),
            owners: HashMap::new(),
            left_out: BTreeSet::new(),
            has_news: false,
            resets: 0,
            unshown_periods: 0,
        }
    }

    /// The identities.
    pub const fn index(&self) -> &Index {
        &self.index
    }

    /// How many are followed.
    pub(crate) fn len(&self) -> usize {
        self.followed.len()
    }

    /// Counts.
    pub fn counters(&self) -> Counters {
        Counters {
            resets: self.resets,
            unshown_periods: self.unshown_periods,
            over_limit: self.left_out.len() as u64,
        }
    }

    /// The id is known by another path, of a cgroup that has ended then.
    pub fn is_other(&self, id: u64, path: &str) -> bool {
        self.index.is_other(id, path)
    }

    /// A cgroup was made (`made`) or found to be there. True if it is to be sampled from now on.
    /// Whoever had the id before by [another path](Self::is_other) is to be removed first.
    pub fn learn(&mut self, id: u64, path: &str, at_mono_ns: u64, made: bool) -> bool {
        let path_bytes = |index: &Index| {
            let known = index.get(id)?.identity.cgroup_path.as_deref()?;
            Some(known.len())
        };
        let before = path_bytes(&self.index);
        let new = if made {
            self.index.made(id, path, at_mono_ns)
        } else {
            self.index.found(id, path, at_mono_ns)
        };
        self.has_news |= !made && path_bytes(&self.index) != before;
        let Some(entry) = self.index.get(id) else {
            return false;
        };
        if !new {
            if let Some(windows) = self.followed.get_mut(&id) {
                windows.rename(&entry.identity);
                // The walk was faster than the record: only now it is known when it was made.
                if let Some(made_ns) = entry.made_ns {
                    windows.born(made_ns);
                }
            }
            return false;
        }
        if entry.nested {
            if let Some(owner) = self.owner_of(&entry.identity) {
                self.owners.insert(id, owner);
            }
            return false;
        }
        self.owners.remove(&id);
        let runs = match &entry.identity.subject {
            Subject::Container { .. } => true,
            // A slice only groups.
            Subject::Host { unit } => path::ends_with_unit(unit),
            Subject::Pod { .. } | Subject::Unknown => false,
        };
        if !runs {
            return false;
        }
        if self.followed.len() >= self.options.max_followed {
            self.left_out.insert(id);
            return false;
        }
        let windows = Windows::new(entry.identity.clone(), entry.made_ns, self.options.spec);
        self.followed.insert(id, windows);
        true
    }

    /// After a walk: follows those that were left out, as far as there is room again, and gives those
    /// within the followed to them that are nobody's. How many are followed that were not.
    pub fn promote(&mut self) -> usize {
        let mut promoted = 0;
        while self.followed.len() < self.options.max_followed
            && let Some(id) = self.left_out.pop_first()
        {
            if let Some(entry) = self.index.get(id) {
                let windows =
                    Windows::new(entry.identity.clone(), entry.made_ns, self.options.spec);
                self.followed.insert(id, windows);
                promoted += 1;
            }
        }
        if std::mem::take(&mut self.has_news) || promoted > 0 {
            let is_nobodys = |id| !self.owners.contains_key(&id);
            let within: Vec<_> = self
                .index
                .living()
                .filter(|entry| entry.nested && is_nobodys(entry.identity.cgroup_id))
                .filter_map(|entry| {
                    let owner = self.owner_of(&entry.identity)?;
                    Some((entry.identity.cgroup_id, owner))
                })
                .collect();
            self.owners.extend(within);
        }
        promoted
    }

    /// Ids and paths of those that are followed.
    pub fn followed(&self) -> impl Iterator<Item = (u64, &str)> {
        self.followed.iter().filter_map(|(id, windows)| {
            let path = windows.identity().cgroup_path.as_deref()?;
            Some((*id, path))
        })
    }

    /// The followed cgroup that a nested one is part of: the longest path that is a parent's.
    fn owner_of(&self, nested: &Identity) -> Option<u64> {
        let path = nested.cgroup_path.as_deref()?;
        self.followed
            .iter()
            .filter_map(|(id, windows)| {
                let parent = windows.identity().cgroup_path.as_deref()?;
                path.strip_prefix(parent)?
                    .starts_with('/')
                    .then_some((parent.len(), *id))
            })
            .max()
            .map(|(_, id)| id)
    }

    /// The followed cgroup that the CPU time of this one belongs to; `None` if nobody follows it.
    pub fn owner(&self, id: u64) -> Option<u64> {
        if self.followed.contains_key(&id) {
            Some(id)
        } else {
            self.owners.get(&id).copied()
        }
    }

    /// `times` closed 100 ms periods of `used_ns` each, of a followed cgroup and all within it.
    pub fn periods(&mut self, id: u64, used_ns: u64, times: u64) {
        if let Some(windows) = self.followed.get_mut(&id) {
            windows.add_periods(used_ns, times);
        }
    }

    /// The kernel's memory peak of a followed cgroup, read between two samples.
    pub fn memory_peak(&mut self, id: u64, bytes: u64) {
        if let Some(windows) = self.followed.get_mut(&id) {
            windows.add_memory_peak(bytes);
        }
    }

    /// An OOM kill in a followed cgroup, which may be the last thing that is known of it.
    pub fn oom_killed(&mut self, id: u64, now: &MemoryNow, at_mono_ns: u64, timeline: &Timeline) {
        if let Some(windows) = self.followed.get_mut(&id) {
            windows.oom_killed(now, at_mono_ns, timeline);
        }
    }

    /// A sample; closed windows go to `out`.
    pub fn sample(&mut self, sample: &Sample, timeline: &Timeline, out: &mut Vec<Output>) {
        let Some(windows) = self.followed.get_mut(&sample.inode) else {
            return;
        };
        let mut closed = Vec::new();
        let booked = windows.add(sample, timeline, &mut closed);
        self.resets += u64::from(booked.reset.is_some() || booked.gap || booked.fallen > 0);
        out.extend(closed.into_iter().map(Output::Window));
    }

    /// A cgroup is gone. `kernel_cpu_ns` is its CPU time by our own accounting, which unlike the last
    /// sample includes its last moments.
    pub fn removed(
        &mut self,
        id: u64,
        at_mono_ns: u64,
        kernel_cpu_ns: Option<u64>,
        timeline: &Timeline,
        out: &mut Vec<Output>,
    ) {
        self.owners
            .retain(|nested, owner| *nested != id && *owner != id);
        self.left_out.remove(&id);
        let known = self.index.removed(id, at_mono_ns).cloned();
        let Some(windows) = self.followed.remove(&id) else {
            return;
        };
        let identity = windows.identity().clone();
        let mut closed = Vec::new();
        let life = windows.finish(&mut closed);
        self.unshown_periods += life.unshown_periods;
        out.extend(closed.into_iter().map(Output::Window));
        if identity.container_id().is_none() {
            return;
        }
        let made_mono_ns = known
            .and_then(|entry| entry.made_ns)
            .or(life.started_mono_ns);
        // Our own accounting knows all of a life only if it saw the beginning.
        let whole = made_mono_ns.and(kernel_cpu_ns);
        let end = ContainerEnd {
            identity,
            started_unix_ns: made_mono_ns.map(|made| timeline.stamp(made)),
            cpu_used_ns: whole.max(life.cpu_used_ns),
            memory_peak_bytes: life.memory_peak_bytes,
        };
        out.push(Output::Event(
            timeline.stamp(at_mono_ns),
            AuditEvent::ContainerEnd(end),
        ));
    }

    /// Who is known to live but was not found: `found` is every id of a whole walk of the tree.
    pub fn missing(&mut self, found: &HashSet<u64>) -> Vec<u64> {
        self.index.walked(found);
        self.index
            .living()
            .map(|entry| entry.identity.cgroup_id)
            .filter(|id| !found.contains(id))
            .collect()
    }

    /// The agent stops: every open window is closed as it is.
    pub fn finish(&mut self, out: &mut Vec<Output>) {
        for (_, windows) in std::mem::take(&mut self.followed) {
            let mut closed = Vec::new();
            self.unshown_periods += windows.finish(&mut closed).unshown_periods;
            out.extend(closed.into_iter().map(Output::Window));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod11111111_2222_3333_4444_555555555555.slice";
    const SECOND: u64 = 1_000_000_000;

    fn container(digit: char) -> String {
        format!(
            "{POD}/cri-containerd-{}.scope",
            digit.to_string().repeat(64)
        )
    }

    fn containers(max_followed: usize) -> Containers {
        Containers::new(Options {
            max_followed,
            ..Options::default()
        })
    }

    #[test]
    fn follows_containers_and_units_but_not_pods_or_what_lies_within() {
        let mut all = containers(10);
        assert!(!all.learn(1, "/kubepods.slice", 0, false));
        assert!(!all.learn(2, POD, 0, false));
        assert!(all.learn(3, &container('a'), 0, true));
        assert!(!all.learn(3, &container('a'), 0, true), "known already");
        assert!(!all.learn(4, &format!("{}/init.scope", container('a')), 0, true));
        assert!(all.learn(5, "/system.slice/kubelet.service", 0, false));
        assert_eq!(
            all.owner(4),
            Some(3),
            "time within a container is the container's"
        );
        assert_eq!((all.owner(3), all.owner(2)), (Some(3), None));
    }

    #[test]
    fn says_how_many_it_leaves_out() {
        let mut all = containers(1);
        assert!(all.learn(3, &container('a'), 0, true));
        assert!(!all.learn(4, &container('b'), 0, true));
        assert_eq!(all.counters().over_limit, 1);
        all.removed(4, 1, None, &Timeline::new(0, 0), &mut Vec::new());
        assert_eq!(all.counters().over_limit, 0);
    }

    #[test]
    fn who_was_left_out_is_followed_when_there_is_room() {
        let mut all = containers(1);
        assert!(all.learn(3, &container('a'), 0, true));
        assert!(!all.learn(4, &container('b'), 0, true));
        assert!(!all.learn(5, &format!("{}/init.scope", container('b')), 0, true));
        assert_eq!((all.promote(), all.owner(5)), (0, None), "no room");
        all.removed(3, 1, None, &Timeline::new(0, 0), &mut Vec::new());
        assert_eq!(all.promote(), 1);
        assert_eq!((all.owner(4), all.owner(5)), (Some(4), Some(4)));
        assert_eq!(all.followed().next(), Some((4, container('b').as_str())));
        assert_eq!(all.counters().over_limit, 0);
    }

    #[test]
    fn a_container_that_was_never_sampled_still_has_its_time_and_its_peak() {
        let mut all = containers(10);
        let timeline = Timeline::new(0, 100 * SECOND);
        let mut out = Vec::new();
        all.learn(3, &container('a'), SECOND, true);
        for peak in [4096, 9000, 8192] {
            all.memory_peak(3, peak);
        }
        all.periods(3, 21_000_000, 2);
        all.removed(
            3,
            SECOND + 200_000_000,
            Some(42_000_000),
            &timeline,
            &mut out,
        );
        let [Output::Event(time, AuditEvent::ContainerEnd(end))] = out.as_slice() else {
            panic!("{out:?}");
        };
        assert_eq!(*time, 101 * SECOND + 200_000_000);
        assert_eq!(end.started_unix_ns, Some(101 * SECOND));
        assert_eq!(end.cpu_used_ns, Some(42_000_000));
        assert_eq!(end.memory_peak_bytes, Some(9000));
        assert_eq!(end.identity.container_id(), Some("a".repeat(64).as_str()));
        assert_eq!((all.len(), all.counters().unshown_periods), (0, 2));
    }

    fn used(at_s: u64, cpu_s: u64) -> Sample {
        Sample {
            ebpf_cpu_ns: Some(cpu_s * SECOND),
            ..Sample::empty(3, at_s * SECOND)
        }
    }

    fn booked(out: &[Output]) -> u64 {
        let windows = out.iter().filter_map(|output| match output {
            Output::Window(window) => window.cpu.used_ns,
            Output::Event(..) => None,
        });
        windows.sum::<u64>() / SECOND
    }

    /// Where the walk sees only a part of the kernel's tree, the record of a cgroup has a longer path.
    #[test]
    fn one_cgroup_by_two_paths_has_one_window() {
        let (walked, told) = (container('a'), format!("/part{}", container('a')));
        for (first, second) in [(&walked, &told), (&told, &walked)] {
            let mut all = containers(10);
            let timeline = Timeline::new(0, 6000 * SECOND);
            let mut out = Vec::new();
            assert!(all.learn(3, first, 0, true));
            (1..=2).for_each(|s| all.sample(&used(s, s), &timeline, &mut out));
            assert!(!all.is_other(3, second));
            assert!(!all.learn(3, second, 2 * SECOND, first == &told));
            assert_eq!(all.owner(3), Some(3));
            (3..=5).for_each(|s| all.sample(&used(s, s), &timeline, &mut out));
            all.removed(3, 5 * SECOND, None, &timeline, &mut out);
            assert_eq!(booked(&out), 5, "{first} then {second}");
            let paths: Vec<_> = out
                .iter()
                .filter_map(|output| match output {
                    Output::Window(window) => window.identity.cgroup_path.clone(),
                    Output::Event(..) => None,
                })
                .collect();
            assert_eq!(paths.len(), 1);
            assert_eq!(
                paths.first(),
                Some(&walked),
                "by the path that can be opened"
            );
        }
    }

    /// The record's path may make a part of it of what is one itself in the tree that is walked.
    #[test]
    fn what_the_walk_finds_to_be_one_itself_is_followed() {
        let docker = format!("/system.slice/docker-{}.scope", "e".repeat(64));
        for (outer, inner, outer_known) in [
            (docker, "/system.slice/x.service".to_owned(), false),
            (container('e'), container('a'), false),
            (container('e'), container('a'), true),
        ] {
            let mut all = containers(10);
            let timeline = Timeline::new(0, 6000 * SECOND);
            let mut out = Vec::new();
            if outer_known {
                assert!(all.learn(2, &outer, 0, true));
            }
            assert!(!all.learn(3, &format!("{outer}{inner}"), SECOND, true));
            assert!(!all.learn(4, &format!("{outer}{inner}/init"), SECOND, true));
            assert_eq!(all.owner(3), outer_known.then_some(2), "{inner}");
            for id in all.missing(&HashSet::from([3, 4])) {
                all.removed(id, 2 * SECOND, None, &timeline, &mut out);
            }
            assert!(all.learn(3, &inner, 2 * SECOND, false), "{inner}");
            assert!(!all.learn(4, &format!("{inner}/init"), 2 * SECOND, false));
            assert_eq!(all.promote(), 0);
            assert_eq!((all.owner(3), all.owner(4)), (Some(3), Some(3)), "{inner}");
            assert!(!all.learn(3, &inner, 3 * SECOND, false), "known");
            out.clear();
            (2..=5).for_each(|s| all.sample(&used(s, s), &timeline, &mut out));
            all.finish(&mut out);
            assert_eq!(booked(&out), 5, "{inner}: it is known since when");
        }
    }

    /// Its record has a path of which the container's is no part, or came while the container's was
    /// lost.
    #[test]
    fn time_within_a_container_finds_it_after_a_walk() {
        for (known, before) in [
            (true, format!("/part{}", container('a'))),
            (false, container('a')),
        ] {
            let mut all = containers(10);
            if known {
                assert!(all.learn(3, &container('a'), 0, false));
            }
            assert!(!all.learn(4, &format!("{before}/init.scope"), SECOND, true));
            assert_eq!(all.owner(4), None);
            assert_eq!(all.learn(3, &container('a'), 2 * SECOND, false), !known);
            assert!(!all.learn(
                4,
                &format!("{}/init.scope", container('a')),
                2 * SECOND,
                false
            ));
            assert_eq!((all.promote(), all.owner(4)), (0, Some(3)));
        }
    }

    /// Renamed, missed by a walk, or walked to long after it was forgotten: the counters of its whole
    /// life are where it is taken up again, and not what it used since.
    #[test]
    fn who_is_learned_again_begins_with_what_its_counters_say() {
        let elsewhere = container('a').replace("cri-containerd-", "crio-");
        for (gone_for_s, path) in [(0, elsewhere), (1, container('a')), (600, container('a'))] {
            let mut all = containers(10);
            let timeline = Timeline::new(0, 6000 * SECOND);
            let mut out = Vec::new();
            all.learn(3, &container('a'), 0, true);
            for second in 1..=5 {
                all.sample(&used(second, 1000 + second), &timeline, &mut out);
            }
            assert_eq!(all.is_other(3, &path), gone_for_s == 0);
            all.removed(3, 5 * SECOND, None, &timeline, &mut out);
            let again = 5 + gone_for_s;
            all.index.expire(again * SECOND);
            let new = all.learn(3, &path, again * SECOND, false);
            assert!(new, "{path} after {gone_for_s} s");
            for second in 1..=5 {
                all.sample(&used(again + second, 2000 + second), &timeline, &mut out);
            }
            all.finish(&mut out);
            assert_eq!(booked(&out), 1005 + 4, "{path} after {gone_for_s} s");
        }
    }

    #[test]
    fn who_was_found_before_its_record_came_has_a_start_up_all_the_same() {
        for samples_before in [0, 1] {
            let mut all = containers(10);
            let timeline = Timeline::new(0, 6000 * SECOND);
            let mut out = Vec::new();
            assert!(all.learn(3, &container('a'), 2 * SECOND, false));
            for second in 2..2 + samples_before {
                all.sample(&used(second, second), &timeline, &mut out);
            }
            assert!(!all.learn(3, &container('a'), SECOND, true), "known");
            for second in 3..=5 {
                all.sample(&used(second, second), &timeline, &mut out);
            }
            all.finish(&mut out);
            let [Output::Window(window)] = out.as_slice() else {
                panic!("{out:?}");
            };
            assert_eq!(window.phase, plimsoll_wire::usage::Phase::Startup);
            let first = if samples_before == 0 { 0 } else { 2 };
            assert_eq!(window.cpu.used_ns, Some((5 - first) * SECOND));
        }
    }

    #[test]
    fn samples_become_windows_and_the_end_closes_the_last() {
        let mut all = containers(10);
        let timeline = Timeline::new(0, 600 * SECOND);
        let mut out = Vec::new();
        all.learn(3, &container('a'), 0, true);
        for second in 0..=90_u64 {
            let sample = Sample {
                ebpf_cpu_ns: Some(second * 100_000_000),
                ..Sample::empty(3, second * SECOND)
            };
            all.sample(&sample, &timeline, &mut out);
        }
        all.removed(3, 91 * SECOND, None, &timeline, &mut out);
        let windows: Vec<_> = out
            .iter()
            .filter_map(|output| match output {
                Output::Window(window) => Some((window.cpu.used_ns, window.last)),
                Output::Event(..) => None,
            })
            .collect();
        assert_eq!(
            windows,
            [(Some(6 * SECOND), false), (Some(3 * SECOND), true)]
        );
    }
}
