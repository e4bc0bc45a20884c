//! One series: whose it is, what it is called, what it used; and the key it is stored under.

use plimsoll_wire::identity::Subject;
use plimsoll_wire::{Identity, UsageWindow};
use serde::{Deserialize, Serialize};

use super::hottest::Hottest;
use super::usage::Usage;
use crate::join::Names;

/// A container counts as running if its newest window is at most this old, seconds.
pub const RUNNING_WITHIN_S: u64 = 300;

/// A window on its way into the history.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its sequence number in the collector's journal: the cursor of exactly-once.
    pub seq: u64,
    /// The node that sent it.
    pub node: String,
    /// The window.
    pub window: UsageWindow,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Series {
    /// Node that sent the newest window.
    pub node: String,
    /// Whose; of a folded series, of the pod folded last.
    pub identity: Identity,
    /// The join's names, once known; kept when the pod is gone.
    pub names: Option<Names>,
    /// A name is missing that may still come.
    pub name_pending: bool,
    /// The container has ended.
    pub ended: bool,
    /// Pods that were folded into this one; 0 for a container's own series.
    pub folded: u64,
    /// The hottest of the pods that were folded into this one; `None` for a container's own series, and
    /// of those folded before this was kept.
    #[serde(default)]
    pub hottest: Option<Hottest>,
    /// The statistics.
    pub usage: Usage,
}

impl Series {
    /// An empty series of that identity.
    pub fn new(node: &str, identity: &Identity) -> Self {
        Self {
            node: node.to_owned(),
            identity: identity.clone(),
            names: None,
            name_pending: false,
            ended: false,
            folded: 0,
            hottest: None,
            usage: Usage::default(),
        }
    }

    /// Adds a window.
    pub fn add(&mut self, node: &str, window: &UsageWindow) {
        if self
            .usage
            .last_unix_ns
            .is_none_or(|last| window.end_unix_ns >= last)
        {
            node.clone_into(&mut self.node);
            self.identity = window.identity.clone();
            self.ended = window.last;
        }
        self.usage.add(window);
    }

    /// Whether it reports at that time: its container has not ended, and its newest window is young.
    pub fn runs(&self, now_unix_ns: u64) -> bool {
        let age_ns = now_unix_ns.saturating_sub(self.usage.last_unix_ns.unwrap_or(0));
        self.folded == 0 && !self.ended && age_ns <= RUNNING_WITHIN_S * 1_000_000_000
    }

    /// The hottest of the pods in it; `pod` is the name where none is kept.
    pub fn hottest(&self, pod: &str) -> Option<Hottest> {
        Hottest::max(self.hottest.clone(), Hottest::of(pod, &self.usage))
    }

    /// Takes another series of the same container of the same workload in.
    pub fn fold(&mut self, other: &Self) {
        let hottest = if other.folded > 0 {
            other.hottest.clone()
        } else {
            let pod = other.names.as_ref().map_or("", |names| names.pod.as_str());
            Hottest::of(pod, &other.usage)
        };
        self.hottest = Hottest::max(self.hottest.take(), hottest);
        if other.usage.last_unix_ns >= self.usage.last_unix_ns {
            self.node.clone_from(&other.node);
            self.identity = other.identity.clone();
            self.names.clone_from(&other.names);
        }
        self.ended = true;
        self.folded = self.folded.saturating_add(other.folded.max(1));
        self.usage.merge(&other.usage);
    }

    /// Where it would be folded: only what has a container's name can be.
    pub fn fold_key(&self) -> Option<String> {
        let names = self.names.as_ref()?;
        let container = names.container.as_ref()?;
        let workload = &names.workload;
        Some(format!(
            "w/{}/{}/{}/{container}",
            names.namespace, workload.kind, workload.name
        ))
    }
}

/// The key of an identity's own series.
pub fn key_of(node: &str, identity: &Identity) -> String {
    match &identity.subject {
        Subject::Container {
            pod_uid,
            container_id,
            ..
        } => format!("c/{pod_uid}/{container_id}"),
        Subject::Pod { pod_uid, .. } => format!("p/{pod_uid}"),
        Subject::Host { unit } => format!("h/{node}/{unit}"),
        Subject::Unknown => format!("u/{node}/{}", identity.cgroup_id),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use plimsoll_wire::identity::Qos;
    use plimsoll_wire::usage::{CpuUsage, MemoryUsage, Phase, Pressure, Source};

    const MINUTE_NS: u64 = 60_000_000_000;

    /// A steady minute of container `id` of pod `pod-<id>`.
    pub(crate) fn window(id: &str, minute: u64, millicores: u64, memory: u64) -> UsageWindow {
        let mut cpu = CpuUsage {
            source: Some(Source::CgroupV2),
            ..CpuUsage::default()
        };
        cpu.used_ns = Some(millicores * 1_000_000 * 60);
        cpu.per_second.add_n(millicores * 1_000_000, 60);
        cpu.per_100ms.add_n(millicores * 1_000_000, 600);
        UsageWindow {
            identity: Identity {
                cgroup_id: 1,
                cgroup_path: None,
                subject: Subject::Container {
                    pod_uid: format!("pod-{id}"),
                    container_id: id.to_owned(),
                    runtime: None,
                    qos: Qos::Burstable,
                },
            },
            start_unix_ns: minute * MINUTE_NS,
            end_unix_ns: (minute + 1) * MINUTE_NS,
            observed_ns: MINUTE_NS,
            phase: Phase::Steady,
            last: false,
            cpu,
            memory: MemoryUsage {
                sampled_peak_bytes: Some(memory),
                ..MemoryUsage::default()
            },
            cpu_pressure: Pressure::default(),
            memory_pressure: Pressure::default(),
            io_pressure: Pressure::default(),
            io_read_bytes: None,
            io_written_bytes: None,
            pids_peak: None,
        }
    }

    #[test]
    fn an_older_window_does_not_revive_what_ended() {
        let mut last = window("c", 5, 10, 1);
        last.last = true;
        let mut series = Series::new("a", &last.identity);
        series.add("a", &last);
        series.add("a", &window("c", 4, 10, 1));
        assert!(series.ended);
        series.add("b", &window("c", 6, 10, 1));
        assert!(!series.ended);
        assert_eq!(series.node, "b");
        assert_eq!(key_of("b", &series.identity), "c/pod-c/c");
    }
}
