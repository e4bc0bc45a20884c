//! One series: whose it is, what it is called, what it used; and the key it is stored under.

use plimsoll_wire::identity::Subject;
use plimsoll_wire::{Identity, UsageWindow};
use serde::{Deserialize, Serialize};

use super::arrival::{CLOCK_SLACK_NS, LONGEST_WINDOW_NS, plausible};
use super::hottest::Hottest;
use super::usage::Usage;
use crate::join::Names;

/// A container counts as running if its newest window is at most this old, seconds, or two and a half of
/// its windows if that is longer: the next one is due after one.
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
    /// Node that sends its windows; of a folded series, that of the pod folded last.
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

    /// Adds a window that came at that time, and takes back what was believed of a later one: then the
    /// collector's own clock was ahead.
    pub fn receive(&mut self, node: &str, window: &UsageWindow, now_unix_ns: u64) {
        let window = plausible(window, now_unix_ns);
        let latest = now_unix_ns.saturating_add(CLOCK_SLACK_NS);
        self.usage.forget_after(latest, window.end_unix_ns);
        self.add(node, &window);
    }

    /// Adds a window, whose times are believed.
    pub fn add(&mut self, node: &str, window: &UsageWindow) {
        let last = self.usage.last_unix_ns.unwrap_or(0);
        let is_newest = window.end_unix_ns >= last;
        if is_newest {
            node.clone_into(&mut self.node);
            self.identity = window.identity.clone();
            self.ended = false;
        }
        // A container id lives once, so its end is one whatever the clock said before. What has a name
        // for good, as a service has, may have begun again since.
        let lives_once = matches!(self.identity.subject, Subject::Container { .. });
        let near = window.end_unix_ns.saturating_add(CLOCK_SLACK_NS) >= last;
        self.ended |= window.last && (is_newest || lives_once || near);
        self.usage.add(window);
    }

    /// Whether it reports at that time: its container has not ended, and its newest window is young.
    pub fn runs(&self, now_unix_ns: u64) -> bool {
        let latest = now_unix_ns.saturating_add(CLOCK_SLACK_NS);
        let last = self.usage.last_unix_ns.unwrap_or(0);
        last <= latest && self.may_report(now_unix_ns)
    }

    /// As [`runs`](Self::runs), and true as well of what reported at a later time than that: the clock
    /// was set back, and its next window will tell.
    pub(super) fn may_report(&self, now_unix_ns: u64) -> bool {
        !self.ended && self.is_young(now_unix_ns)
    }

    /// Its newest window is young, whether or not its container has ended since.
    pub(super) fn is_young(&self, now_unix_ns: u64) -> bool {
        let age_ns = now_unix_ns.saturating_sub(self.usage.last_unix_ns.unwrap_or(0));
        let window_ns = self.usage.longest_window_ns().min(LONGEST_WINDOW_NS);
        let within_ns = (window_ns / 2 * 5).max(RUNNING_WITHIN_S * 1_000_000_000);
        self.folded == 0 && age_ns <= within_ns
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

/// The key of what a node says of a pod that another node spoke of first: a series of its own, so that nobody
/// writes into what is not theirs.
pub(super) fn key_of_second(node: &str, key: &str) -> String {
    format!("s/{node}/{key}")
}

/// Whether a key is one of [`key_of_second`].
pub(super) fn is_second(key: &str) -> bool {
    key.starts_with("s/")
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

    /// Its node's clock was a day ahead, and was put right before it ended.
    #[test]
    fn a_clock_that_was_ahead_leaves_no_ghost() {
        let now = |minute| minute * MINUTE_NS;
        let day = 24 * 60;
        let mut last = window("c", 102, 10, 1);
        last.last = true;
        let ahead = |series: &mut Series| {
            for minute in 99..102 {
                series.receive("a", &window("c", minute + day, 10, 1), now(minute + 1));
            }
        };
        let mut silent = Series::new("a", &last.identity);
        ahead(&mut silent);
        assert_eq!(silent.usage.windows, 3);
        assert_eq!(silent.usage.last_unix_ns, Some(now(102)));
        let times: Vec<_> = silent
            .usage
            .recent
            .iter()
            .map(|p| p.end_unix_s / 60)
            .collect();
        assert_eq!(times, [100, 101, 102]);
        assert!(silent.runs(now(107)) && !silent.runs(now(108)));
        assert!(!silent.may_report(now(108)));

        let mut told = Series::new("a", &last.identity);
        ahead(&mut told);
        told.receive("a", &last, now(103));
        assert!(told.ended && !told.runs(now(103)));
        // The end was further back than what is known: it ended before the others came.
        let mut late = Series::new("a", &last.identity);
        ahead(&mut late);
        last.end_unix_ns = now(80);
        late.receive("a", &last, now(103));
        assert!(late.ended);
    }

    #[test]
    fn a_service_that_began_again_has_not_ended_by_an_older_end() {
        let unit = Subject::Host {
            unit: "kubelet.service".to_owned(),
        };
        let of = |minute, last| {
            let mut window = window("c", minute, 10, 1);
            window.identity.subject = unit.clone();
            window.last = last;
            window
        };
        let mut series = Series::new("a", &of(0, false).identity);
        series.add("a", &of(60, false));
        series.add("a", &of(10, true));
        assert!(!series.ended);
        series.add("a", &of(57, true));
        assert!(series.ended);
    }

    /// The collector's clock, and with it those of all nodes, was ahead and is set back.
    #[test]
    fn what_was_believed_of_a_later_time_is_taken_back() {
        let now = |minute| minute * MINUTE_NS;
        let mut series = Series::new("a", &window("c", 0, 10, 1).identity);
        series.receive("a", &window("c", 89, 10, 1), now(90));
        series.receive("a", &window("c", 999, 10, 1), now(1000));
        assert!(!series.runs(now(100)) && series.may_report(now(100)));
        series.receive("b", &window("c", 100, 10, 1), now(101));
        assert!(series.runs(now(101)) && !series.runs(now(107)));
        assert_eq!((series.usage.windows, series.node.as_str()), (3, "b"));
        assert_eq!(series.usage.first_unix_ns, Some(now(89)));
        let times: Vec<_> = series
            .usage
            .recent
            .iter()
            .map(|p| p.end_unix_s / 60)
            .collect();
        assert_eq!(times, [90, 101]);
    }

    /// With a long window the next one is long in coming.
    #[test]
    fn what_has_long_windows_runs_between_them() {
        let now = |minute| minute * MINUTE_NS;
        let of = |start, end| {
            let mut window = window("c", start, 10, 1);
            window.end_unix_ns = now(end);
            window
        };
        let mut minutes = Series::new("a", &of(0, 1).identity);
        minutes.add("a", &of(0, 1));
        assert!(minutes.runs(now(6)) && !minutes.runs(now(7)));
        let mut hours = minutes.clone();
        hours.add("a", &of(1, 61));
        // Cut short by a restart of the agent.
        hours.add("a", &of(61, 63));
        assert!(hours.runs(now(63 + 150)) && !hours.runs(now(63 + 151)));
        // Kept before the length was: by the mean.
        hours.usage.longest_ns = 0;
        assert!(hours.runs(now(63 + 52)) && !hours.runs(now(63 + 53)));
        // No window is longer than an hour, whatever it says.
        let mut absurd = minutes.clone();
        absurd.add("a", &of(1, 9000));
        assert!(!absurd.runs(now(9151)));
    }
}
