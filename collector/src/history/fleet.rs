//! Series put together by workload: what sizing and the pages read.
//!
//! Pure. Pods stay apart inside a container's history, so that the hottest can be named; nothing
//! is averaged here.

use std::collections::BTreeMap;
use std::sync::Arc;

use plimsoll_wire::identity::Subject;

use super::series::Series;
use super::usage::Usage;
use crate::inventory::{Resources, Role, Workload};

/// A container counts as running if its newest window is at most this old, seconds.
pub const RUNNING_WITHIN_S: u64 = 300;

/// One container of one pod (or of the earlier pods, folded).
#[derive(Clone, Debug)]
pub struct PodUsage {
    /// The pod's name; `earlier pods (n)` for folded ones.
    pub pod: String,
    /// The series.
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
    /// Requests of the newest pod.
    pub requests: Resources,
    /// Limits of the newest pod.
    pub limits: Resources,
    /// Labels of the newest pod.
    pub labels: BTreeMap<String, String>,
    /// The pods, by name.
    pub pods: Vec<PodUsage>,
    /// All pods merged.
    pub total: Usage,
}

impl ContainerHistory {
    /// Pods that run now; of a workload that runs none, the pods that were seen.
    pub fn replicas(&self) -> u64 {
        let running = self.pods.iter().filter(|pod| pod.running).count() as u64;
        if running > 0 {
            running
        } else {
            self.pods.iter().map(|pod| pod.series.folded.max(1)).sum()
        }
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
    /// Pods themselves and pause sandboxes: part of a pod, of no container.
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
                (Subject::Container { .. }, Some(_)) if !series.name_pending => {
                    fleet.sandboxes += 1;
                }
                (Subject::Container { .. }, _) => fleet.unnamed.push(series),
            }
        }
        for ((namespace, workload, container), members) in groups {
            fleet.containers.extend(group_one(
                namespace,
                workload,
                container,
                members,
                now_unix_ns,
            ));
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

fn group_one(
    namespace: String,
    workload: Workload,
    container: String,
    members: Vec<Arc<Series>>,
    now_unix_ns: u64,
) -> Option<ContainerHistory> {
    let newest = members
        .iter()
        .max_by_key(|series| series.usage.last_unix_ns)?;
    let names = newest.names.as_ref()?;
    let (role, requests, limits) = (names.role, names.requests, names.limits);
    let labels = names.labels.clone();
    let mut total = Usage::default();
    let mut pods: Vec<PodUsage> = Vec::with_capacity(members.len());
    for series in members {
        total.merge(&series.usage);
        let age_ns = now_unix_ns.saturating_sub(series.usage.last_unix_ns.unwrap_or(0));
        let running = !series.ended && age_ns <= RUNNING_WITHIN_S * 1_000_000_000;
        let pod = match series.folded {
            0 => series
                .names
                .as_ref()
                .map(|names| names.pod.clone())
                .unwrap_or_default(),
            folded => format!("earlier pods ({folded})"),
        };
        pods.push(PodUsage {
            pod,
            series,
            running,
        });
    }
    pods.sort_by(|a, b| a.pod.cmp(&b.pod));
    Some(ContainerHistory {
        namespace,
        workload,
        container,
        role,
        requests,
        limits,
        labels,
        pods,
        total,
    })
}
