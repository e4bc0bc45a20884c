//! Series put together by workload: what sizing and the pages read.
//!
//! Pure. Pods stay apart inside a container's history, so that the hottest can be named; nothing
//! is averaged here.

mod pods;

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_wire::identity::Subject;

use self::pods::Pods;
use super::series::Series;
use super::usage::Usage;
use crate::inventory::{Resources, Role, Workload};

/// Most CPU time of a pause sandbox over its life: it starts, and waits for signals.
const SANDBOX_CPU_NS: u64 = 100_000_000;
/// Most memory of a pause sandbox.
const SANDBOX_MEMORY_BYTES: u64 = 4 << 20;

/// One container of one pod, over all of its restarts (or of the earlier pods, folded).
#[derive(Clone, Debug)]
pub struct PodUsage {
    /// The pod's name; `earlier pods (n)` for folded ones.
    pub pod: String,
    /// How often the container was started, as far as it was seen.
    pub lives: u64,
    /// The series; of several lives, all of them in one.
    pub series: Arc<Series>,
    /// Running at the time asked for.
    pub running: bool,
}

/// One container of a workload, over all of its pods.
#[derive(Clone, Debug)]
pub struct ContainerHistory {
    /// Namespace.
    pub namespace: String,
    /// Workload.
    pub workload: Workload,
    /// Container.
    pub container: String,
    /// Its part in the pod.
    pub role: Role,
    /// Requests of the newest pod: of those that run, the one that was first seen last.
    pub requests: Resources,
    /// Limits of the newest pod.
    pub limits: Resources,
    /// Labels of the newest pod.
    pub labels: BTreeMap<String, String>,
    /// Pods of the *workload* that run now and have this container, whether or not the container itself
    /// runs: an init container has ended, and its pod runs. 0 of a workload that has ended.
    pub running: u64,
    /// As `running`; of a CronJob, which runs again, the most of its runs that were there at once.
    pub replicas: u64,
    /// The pods, by name.
    pub pods: Vec<PodUsage>,
    /// All pods merged.
    pub total: Usage,
}

impl ContainerHistory {
    /// Pods that were seen, the earlier ones included. Of those, each life of a container that was
    /// started again counts.
    pub fn pods_seen(&self) -> u64 {
        let pods = self.pods.iter().map(|pod| pod.series.folded.max(1));
        pods.fold(0, u64::saturating_add)
    }
}

/// A host service, or a cgroup that nothing is known about.
#[derive(Clone, Debug)]
pub struct HostHistory {
    /// Node.
    pub node: String,
    /// `kubelet.service`, or `cgroup/<id>`.
    pub unit: String,
    /// The series.
    pub series: Arc<Series>,
}

/// Everything that was observed, by what it is.
#[derive(Clone, Debug, Default)]
pub struct Fleet {
    /// By namespace, workload, container.
    pub containers: Vec<ContainerHistory>,
    /// By node and unit.
    pub hosts: Vec<HostHistory>,
    /// Containers whose name may still come, or that belong to no inventory.
    pub unnamed: Vec<Arc<Series>>,
    /// Pods themselves, and cgroups of a known pod that are none of its containers and did too little
    /// to be anything but its pause sandbox.
    pub sandboxes: usize,
}

impl Fleet {
    /// Groups a snapshot. `now_unix_ns` decides which pods run.
    pub fn group(snapshot: Vec<(String, Arc<Series>)>, now_unix_ns: u64) -> Self {
        let mut fleet = Self::default();
        let mut groups: BTreeMap<(String, Workload, String), Vec<Arc<Series>>> = BTreeMap::new();
        for (_, series) in snapshot {
            let joined = series.names.as_ref().map(|n| (n, n.container.as_ref()));
            match (&series.identity.subject, joined) {
                (_, Some((names, Some(container)))) => {
                    let key = (
                        names.namespace.clone(),
                        names.workload.clone(),
                        container.clone(),
                    );
                    groups.entry(key).or_default().push(series);
                }
                (Subject::Host { unit }, _) => {
                    fleet.hosts.push(HostHistory {
                        node: series.node.clone(),
                        unit: unit.clone(),
                        series,
                    });
                }
                (Subject::Unknown, _) => {
                    let unit = format!("cgroup/{}", series.identity.cgroup_id);
                    fleet.hosts.push(HostHistory {
                        node: series.node.clone(),
                        unit,
                        series,
                    });
                }
                (Subject::Pod { .. }, _) => fleet.sandboxes += 1,
                (Subject::Container { .. }, Some(_))
                    if !series.name_pending && is_idle(&series.usage) =>
                {
                    fleet.sandboxes += 1;
                }
                (Subject::Container { .. }, _) => fleet.unnamed.push(series),
            }
        }
        let mut workloads: BTreeMap<(String, Workload), Pods> = BTreeMap::new();
        for ((namespace, workload, _), members) in &groups {
            let workload = (namespace.clone(), workload.clone());
            let pods = workloads.entry(workload).or_default();
            pods.add(members, now_unix_ns);
        }
        for ((namespace, workload, container), members) in groups {
            let whose = (namespace, workload);
            if let Some(pods) = workloads.get(&whose) {
                let one = group_one(whose, container, members, pods, now_unix_ns);
                fleet.containers.extend(one);
            }
        }
        fleet
            .hosts
            .sort_by(|a, b| (&a.node, &a.unit).cmp(&(&b.node, &b.unit)));
        fleet
    }

    /// Containers of one workload.
    pub fn workload<'a>(
        &'a self,
        namespace: &'a str,
        kind: &'a str,
        name: &'a str,
    ) -> impl Iterator<Item = &'a ContainerHistory> + 'a {
        self.containers.iter().filter(move |c| {
            c.namespace == namespace
                && c.workload.kind.eq_ignore_ascii_case(kind)
                && c.workload.name == name
        })
    }
}

/// As idle as a pause sandbox. A container that works shows, with or without a name: it may be an
/// earlier life that the pod's status no longer lists.
fn is_idle(usage: &Usage) -> bool {
    let memory = usage
        .memory_sampled
        .max_bytes
        .or(usage.memory_anon.max_bytes)
        .unwrap_or(0);
    usage.cpu_used_ns.unwrap_or(0) <= SANDBOX_CPU_NS && memory <= SANDBOX_MEMORY_BYTES
}

fn group_one(
    (namespace, workload): (String, Workload),
    container: String,
    members: Vec<Arc<Series>>,
    of_workload: &Pods,
    now_unix_ns: u64,
) -> Option<ContainerHistory> {
    let newest = newest_pod(&members, now_unix_ns)?;
    let names = newest.names.as_ref()?;
    let (role, requests, limits) = (names.role, names.requests, names.limits);
    let labels = names.labels.clone();
    let counts = of_workload.counts(&workload, role, &members, now_unix_ns);
    let mut total = Usage::default();
    let mut by_pod: BTreeMap<String, Vec<Arc<Series>>> = BTreeMap::new();
    for series in members {
        total.merge(&series.usage);
        let pod = match (series.folded, &series.names) {
            (0, Some(names)) => names.pod.clone(),
            (0, None) => String::new(),
            (folded, _) => format!("earlier pods ({folded})"),
        };
        by_pod.entry(pod).or_default().push(series);
    }
    let pods = by_pod
        .into_iter()
        .filter_map(|(pod, lives)| {
            Some(PodUsage {
                pod,
                lives: lives.len() as u64,
                running: lives.iter().any(|life| life.runs(now_unix_ns)),
                series: one_series(&lives)?,
            })
        })
        .collect();
    Some(ContainerHistory {
        namespace,
        workload,
        container,
        role,
        requests,
        limits,
        labels,
        running: counts.running,
        replicas: counts.replicas,
        pods,
        total,
    })
}

/// The series whose names say what is set. Of the pods that run it is the one that was first seen last:
/// all of them report at the same time, and during a rollout those of both templates run. Where none
/// runs it is the one that was last seen. A container that was started again makes its pod no newer; of
/// pods that began together the one with the higher UID is taken, so that it is the same at each look.
fn newest_pod(members: &[Arc<Series>], now_unix_ns: u64) -> Option<Arc<Series>> {
    let uid = |series: &Series| series.identity.pod_uid().map(str::to_owned);
    let mut first_seen: BTreeMap<Option<String>, Option<u64>> = BTreeMap::new();
    for series in members.iter().filter(|series| series.folded == 0) {
        let first = series.usage.first_unix_ns;
        let known = first_seen.entry(uid(series)).or_insert(first);
        *known = (*known).min(first);
    }
    let newest = members.iter().max_by_key(|series| {
        let runs = series.runs(now_unix_ns);
        let last = series.usage.last_unix_ns;
        let first = first_seen.get(&uid(series)).copied().flatten();
        let ended = if runs { None } else { last };
        (runs, ended, first, uid(series), last)
    });
    newest.cloned()
}

/// The lives of one container in one: of the newest, with the statistics of all.
fn one_series(lives: &[Arc<Series>]) -> Option<Arc<Series>> {
    let newest = lives
        .iter()
        .max_by_key(|series| series.usage.last_unix_ns)?
        .clone();
    if lives.len() == 1 {
        return Some(newest);
    }
    let mut all = Series::clone(&newest);
    for earlier in lives.iter().filter(|life| !Arc::ptr_eq(life, &newest)) {
        all.usage.merge(&earlier.usage);
    }
    Some(Arc::new(all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::series::tests::window;
    use crate::join::Names;

    const NOW: u64 = 600_000_000_000;

    /// A series of one minute that ended at `end` minutes, of container `container` of pod `pod`.
    fn series(
        id: &str,
        pod: Option<&str>,
        container: Option<&str>,
        end: u64,
        millicores: u64,
    ) -> (String, Arc<Series>) {
        let window = window(id, end - 1, millicores, 1 << 20);
        let mut series = Series::new("n", &window.identity);
        series.add("n", &window);
        series.name_pending = pod.is_none();
        series.names = pod.map(|pod| Names {
            namespace: "shop".to_owned(),
            pod: pod.to_owned(),
            container: container.map(str::to_owned),
            node: None,
            workload: Workload {
                kind: "Deployment".to_owned(),
                name: "api".to_owned(),
            },
            labels: BTreeMap::new(),
            requests: Resources {
                cpu_millicores: Some(end),
                memory_bytes: None,
                ..Resources::default()
            },
            limits: Resources::default(),
            role: Role::Main,
        });
        (id.to_owned(), Arc::new(series))
    }

    #[test]
    fn pods_stay_apart_and_the_newest_says_what_is_set() {
        let snapshot = vec![
            series("a", Some("api-1"), Some("app"), 3, 10),
            series("b", Some("api-2"), Some("app"), 9, 20),
        ];
        let fleet = Fleet::group(snapshot, NOW);
        let [app] = fleet.containers.as_slice() else {
            panic!("{:?}", fleet.containers)
        };
        assert_eq!(app.requests.cpu_millicores, Some(9));
        assert_eq!(app.total.windows, 2);
        assert_eq!(
            app.pods.iter().map(|pod| pod.running).collect::<Vec<_>>(),
            [false, true]
        );
        assert_eq!(app.replicas, 1);
        assert_eq!(fleet.workload("shop", "deployment", "api").count(), 1);
    }

    /// A series of the minutes from `first` to `end`, of a pod whose request tells its template.
    fn lasting(id: &str, pod: &str, first: u64, end: u64, request: u64) -> (String, Arc<Series>) {
        let (key, newest) = series(id, Some(pod), Some("app"), end, 10);
        let mut all = Series::clone(&newest);
        for minute in first..end - 1 {
            all.add("n", &window(id, minute, 10, 1 << 20));
        }
        if let Some(names) = all.names.as_mut() {
            names.requests.cpu_millicores = Some(request);
        }
        all.identity.subject = Subject::Container {
            pod_uid: format!("uid-{pod}"),
            container_id: id.to_owned(),
            runtime: None,
            qos: plimsoll_wire::identity::Qos::Burstable,
        };
        (key, Arc::new(all))
    }

    /// During a rollout both templates run, and their windows end together.
    #[test]
    fn what_is_set_is_what_the_youngest_running_pod_has() {
        let asked = |snapshot: &[(String, Arc<Series>)]| {
            let mut reversed = snapshot.to_vec();
            reversed.reverse();
            let [one, other] = [snapshot.to_vec(), reversed].map(|snapshot| {
                let fleet = Fleet::group(snapshot, NOW);
                fleet.containers[0].requests.cpu_millicores
            });
            assert_eq!(one, other, "the order says nothing");
            one.unwrap()
        };
        let (old, new) = (
            lasting("o", "old", 1, 9, 100),
            lasting("n", "new", 7, 9, 500),
        );
        assert_eq!(asked(&[old.clone(), new.clone()]), 500);
        // The old pod's container starts again: it is no newer for that.
        let again = lasting("o2", "old", 8, 9, 100);
        assert_eq!(asked(&[old.clone(), new.clone(), again]), 500);
        // A job that has ended says nothing while another pod runs.
        let mut ended = Series::clone(&lasting("e", "ended", 8, 9, 900).1);
        ended.ended = true;
        let ended = ("e".to_owned(), Arc::new(ended));
        assert_eq!(asked(&[new.clone(), ended]), 500);
        // Two that began together: the same at each look.
        let twin = lasting("t", "twin", 7, 9, 700);
        assert_eq!(asked(&[new, twin]), 700);
    }

    #[test]
    fn a_container_that_is_started_again_is_the_same_pod() {
        let snapshot = vec![
            series("life-1", Some("api-1"), Some("app"), 3, 10),
            series("life-2", Some("api-1"), Some("app"), 9, 20),
            series("other", Some("api-2"), Some("app"), 9, 20),
        ];
        let fleet = Fleet::group(snapshot, NOW);
        let [app] = fleet.containers.as_slice() else {
            panic!("{:?}", fleet.containers)
        };
        let pods: Vec<_> = app
            .pods
            .iter()
            .map(|pod| {
                (
                    pod.pod.as_str(),
                    pod.lives,
                    pod.series.usage.windows,
                    pod.running,
                )
            })
            .collect();
        assert_eq!(pods, [("api-1", 2, 2, true), ("api-2", 1, 1, true)]);
        assert_eq!((app.replicas, app.total.windows), (2, 3));
    }

    #[test]
    fn what_works_without_a_name_is_shown_and_a_sandbox_is_not() {
        let snapshot = vec![
            series("nameless", None, None, 9, 10),
            series("earlier-life", Some("api-1"), None, 9, 10),
            series("pause", Some("api-1"), None, 9, 1),
        ];
        let fleet = Fleet::group(snapshot, NOW);
        assert_eq!(
            (fleet.unnamed.len(), fleet.sandboxes, fleet.containers.len()),
            (2, 1, 0)
        );
    }
}
