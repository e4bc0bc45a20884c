//! How many pods of a workload run: the replicas of its containers.
//!
//! Pure. It is a matter of the workload and not of one container: an init container has always
//! ended, and its pods run all the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::history::series::Series;
use crate::inventory::{Role, Workload};

/// The pods of one workload that are still told apart, all of its containers together.
#[derive(Debug, Default)]
pub(super) struct Pods {
    /// UIDs of those of which a container runs.
    running: BTreeSet<String>,
    /// UIDs of those of which a container ended a short time ago.
    ended_lately: BTreeSet<String>,
    /// From the first to the last that was seen of each, by UID, Unix nanoseconds.
    spans: BTreeMap<String, (u64, u64)>,
}

/// How often a container is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    /// Now.
    pub(super) running: u64,
    /// As [`super::ContainerHistory::replicas`] says.
    pub(super) replicas: u64,
}

impl Pods {
    /// Takes in the series of one container.
    pub(super) fn add(&mut self, members: &[Arc<Series>], now_unix_ns: u64) {
        for (uid, series) in apart(members) {
            if series.runs(now_unix_ns) {
                self.running.insert(uid.to_owned());
            } else if series.is_young(now_unix_ns) {
                self.ended_lately.insert(uid.to_owned());
            }
            let usage = &series.usage;
            if let Some((first, last)) = usage.first_unix_ns.zip(usage.last_unix_ns) {
                let span = self.spans.entry(uid.to_owned()).or_insert((first, last));
                *span = (span.0.min(first), span.1.max(last));
            }
        }
    }

    /// Counts a container of this workload. A CronJob between its runs has none, and will run again:
    /// it counts by the most runs that were there at once.
    pub(super) fn counts(
        &self,
        workload: &Workload,
        role: Role,
        members: &[Arc<Series>],
        now_unix_ns: u64,
    ) -> Counts {
        let running = self.running(workload, role, members, now_unix_ns);
        let replicas = match workload.kind.as_str() {
            "CronJob" if self.newest_has(members) => self.at_once().max(running),
            _ => running,
        };
        Counts { running, replicas }
    }

    /// The pods that run. Where none of the workload does, those of which a container ended a short
    /// time ago: they wait for it to be started again, as after a crash. A Job's do not.
    fn there(&self, workload: &Workload) -> &BTreeSet<String> {
        let is_job = matches!(workload.kind.as_str(), "Job" | "CronJob");
        if self.running.is_empty() && !is_job {
            &self.ended_lately
        } else {
            &self.running
        }
    }

    fn running(
        &self,
        workload: &Workload,
        role: Role,
        members: &[Arc<Series>],
        now_unix_ns: u64,
    ) -> u64 {
        let there = self.there(workload);
        let uids = |of: &dyn Fn(&str, &Series) -> bool| {
            let found = apart(members).filter(|(uid, series)| of(uid, series));
            found.map(|(uid, _)| uid).collect::<BTreeSet<_>>().len()
        };
        let of_running = uids(&|uid, _| there.contains(uid));
        let count = match role {
            Role::Main | Role::Sidecar => of_running,
            // Of one pod each, and the others have none.
            Role::Ephemeral => uids(&|_, series| series.runs(now_unix_ns)),
            // It may have ended before anybody looked, or be folded: one of a pod that runs stands for
            // all. If it was seen of none that runs, the template has it no more.
            Role::Init if of_running > 0 || is_folded(members) => there.len(),
            Role::Init => 0,
        };
        count as u64
    }

    /// The youngest pod has that container, as far as can be told.
    fn newest_has(&self, members: &[Arc<Series>]) -> bool {
        let newest = self.spans.iter().max_by_key(|(uid, span)| (span.0, *uid));
        let has = newest.is_none_or(|(newest, _)| apart(members).any(|(uid, _)| uid == newest));
        has || is_folded(members)
    }

    /// The most pods that were there at the same time; at least one.
    fn at_once(&self) -> u64 {
        let begins = self.spans.values().map(|(first, _)| (*first, true));
        let ends = self.spans.values().map(|(_, last)| (*last, false));
        // Of the same time the ends come first: one after the other is not at once.
        let mut steps: Vec<(u64, bool)> = begins.chain(ends).collect();
        steps.sort_unstable();
        let (mut there, mut most) = (0_u64, 1);
        for (_, begins) in steps {
            there = if begins {
                there + 1
            } else {
                there.saturating_sub(1)
            };
            most = most.max(there);
        }
        most
    }
}

/// Series of pods that are told apart, with the UID.
fn apart(members: &[Arc<Series>]) -> impl Iterator<Item = (&str, &Series)> {
    let own = members.iter().filter(|series| series.folded == 0);
    own.filter_map(|series| Some((series.identity.pod_uid()?, series.as_ref())))
}

fn is_folded(members: &[Arc<Series>]) -> bool {
    members.iter().any(|series| series.folded > 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::history::Fleet;
    use crate::history::series::tests::window;
    use crate::inventory::Resources;
    use crate::join::Names;

    const NOW: u64 = 600_000_000_000;

    /// Of pod `pod` of `kind` `w`, from minute `first` to `end`; it has ended or it runs.
    fn lived(
        kind: &str,
        pod: &str,
        (container, role): (&str, Role),
        (first, end): (u64, u64),
        ended: bool,
    ) -> (String, Arc<Series>) {
        let id = format!("{pod}-{container}");
        let mut series = Series::new("n", &window(pod, 0, 0, 0).identity);
        for minute in first..end {
            let mut window = window(pod, minute, 10, 1 << 20);
            window.last = ended && minute + 1 == end;
            series.add("n", &window);
        }
        series.names = Some(Names {
            namespace: "shop".to_owned(),
            pod: pod.to_owned(),
            container: Some(container.to_owned()),
            node: None,
            workload: Workload {
                kind: kind.to_owned(),
                name: "w".to_owned(),
            },
            labels: BTreeMap::new(),
            requests: Resources::default(),
            limits: Resources::default(),
            role,
        });
        (id, Arc::new(series))
    }

    /// Container, running, replicas.
    #[track_caller]
    fn check(snapshot: Vec<(String, Arc<Series>)>, expected: &[(&str, u64, u64)]) {
        let fleet = Fleet::group(snapshot, NOW);
        let found: Vec<_> = fleet
            .containers
            .iter()
            .map(|c| (c.container.as_str(), c.running, c.replicas))
            .collect();
        assert_eq!(found, expected);
    }

    /// A single container that crashed is between two lives, and its pod is there.
    #[test]
    fn a_pod_between_two_lives_of_its_container_is_there() {
        let crashed = |kind| {
            vec![
                lived(kind, "old", APP, (0, 3), true),
                lived(kind, "a", APP, (4, 8), true),
                lived(kind, "b", APP, (4, 9), true),
            ]
        };
        check(crashed("Deployment"), &[("app", 2, 2)]);
        check(crashed("Job"), &[("app", 0, 0)]);
        // Where one runs, what ended is the pod before it as like as not.
        let mut rolled = crashed("Deployment");
        rolled.push(lived("Deployment", "c", APP, (8, 10), false));
        check(rolled, &[("app", 1, 1)]);
    }

    const APP: (&str, Role) = ("app", Role::Main);
    const MIGRATE: (&str, Role) = ("migrate", Role::Init);

    #[test]
    fn an_init_container_has_the_replicas_of_its_pods() {
        let mut snapshot = Vec::new();
        for n in 0..50 {
            let pod = format!("earlier-{n}");
            snapshot.push(lived("Deployment", &pod, MIGRATE, (0, 1), true));
            snapshot.push(lived("Deployment", &pod, APP, (1, 3), true));
        }
        for n in 0..3 {
            let pod = format!("live-{n}");
            snapshot.push(lived("Deployment", &pod, MIGRATE, (4, 5), true));
            snapshot.push(lived("Deployment", &pod, APP, (5, 10), false));
        }
        check(snapshot.clone(), &[("app", 3, 3), ("migrate", 3, 3)]);
        // Seen of one of them only: the agent came later than the others.
        let late = |(id, _): &(String, Arc<Series>)| {
            !["live-0-migrate", "live-1-migrate"].contains(&id.as_str())
        };
        check(
            snapshot.iter().filter(|s| late(s)).cloned().collect(),
            &[("app", 3, 3), ("migrate", 3, 3)],
        );
        // The new template has none.
        let new =
            |(id, _): &(String, Arc<Series>)| id.starts_with("earlier") || !id.ends_with("migrate");
        check(
            snapshot.iter().filter(|s| new(s)).cloned().collect(),
            &[("app", 3, 3), ("migrate", 0, 0)],
        );
        // Those of all pods are folded into one.
        let mut folded = Series::clone(&snapshot[0].1);
        for (_, series) in snapshot.iter().filter(|(id, _)| id.ends_with("migrate")) {
            folded.fold(series);
        }
        let mut snapshot: Vec<_> = snapshot
            .into_iter()
            .filter(|(id, _)| !id.ends_with("migrate"))
            .collect();
        snapshot.push(("w/migrate".to_owned(), Arc::new(folded)));
        check(snapshot, &[("app", 3, 3), ("migrate", 3, 3)]);
    }

    #[test]
    fn a_workload_that_has_ended_has_no_replicas() {
        let silent = lived("Deployment", "silent", APP, (0, 2), false);
        let ended = lived("Deployment", "ended", APP, (1, 4), true);
        check(vec![silent, ended], &[("app", 0, 0)]);
        let job = lived("Job", "job", APP, (7, 9), true);
        check(vec![job], &[("app", 0, 0)]);
    }

    #[test]
    fn a_main_container_that_waits_to_be_started_again_counts_and_one_that_is_gone_does_not() {
        let crashed = lived("Deployment", "a", APP, (7, 9), true);
        let beside = lived("Deployment", "a", ("proxy", Role::Sidecar), (7, 10), false);
        let old = lived("Deployment", "b", ("old", Role::Main), (1, 3), true);
        check(
            vec![crashed, beside, old],
            &[("app", 1, 1), ("old", 0, 0), ("proxy", 1, 1)],
        );
    }

    #[test]
    fn a_debug_container_counts_where_it_runs() {
        let debug = ("debug", Role::Ephemeral);
        check(
            vec![
                lived("Deployment", "a", APP, (5, 10), false),
                lived("Deployment", "a", debug, (6, 8), true),
                lived("Deployment", "b", APP, (5, 10), false),
                lived("Deployment", "b", debug, (6, 10), false),
            ],
            &[("app", 2, 2), ("debug", 1, 1)],
        );
    }

    #[test]
    fn a_cron_job_has_as_many_replicas_as_ran_at_once() {
        let run = |n: u64, ended| {
            let pod = format!("run-{n}");
            lived("CronJob", &pod, APP, (n, n + 1), ended)
        };
        // One after the other, however many.
        let runs: Vec<_> = (0..9).map(|n| run(n, true)).collect();
        check(runs.clone(), &[("app", 0, 1)]);
        let now = runs.iter().cloned().chain([run(9, false)]).collect();
        check(now, &[("app", 1, 1)]);
        let beside = lived("CronJob", "beside", APP, (3, 6), true);
        check(runs.into_iter().chain([beside]).collect(), &[("app", 0, 2)]);
        // What the newest run has no more.
        let old = lived("CronJob", "first", ("old", Role::Main), (0, 1), true);
        let two = vec![old, run(5, true)];
        check(two, &[("app", 0, 1), ("old", 0, 0)]);
    }
}
