//! Recommendations: what each container should request, why, and how sure that is.
//!
//! Pure: a [`Fleet`] and a time go in, a document comes out. The profile is `plimsoll`, described
//! in `docs/sizing.md`; four statistics stay apart (minute means for the request, seconds and
//! 100 ms periods beside it, throttling and pressure as the arbiter, true memory peaks), because a
//! percentile means nothing without its resolution. Deliberately knows nothing of Kubernetes
//! admission, prices or autoscalers.

pub mod cpu;
pub mod memory;
pub mod verdict;

use serde::{Deserialize, Serialize};

pub use cpu::{CpuAdvice, CpuStatistics, Quantiles};
pub use memory::{MemoryAdvice, MemoryPeaks};
pub use verdict::{Assessment, Fit};

use crate::history::{ContainerHistory, Fleet, HostHistory, Hottest, Usage};
use crate::inventory::Role;

/// `schema` of the report.
pub const SCHEMA: &str = "plimsoll.sizing/v1";
/// `profile` of the report.
pub const PROFILE: &str = "plimsoll";
/// Time between the first and the last observation from which a recommendation can be settled, hours:
/// one full day, so that the daily peak is in it.
pub const SETTLED_HOURS: f64 = 24.0;
/// Hours of the day in which something must have been observed.
pub const SETTLED_HOURS_OF_DAY: u32 = 24;
/// What does not run in every hour of the day is settled once it was observed on so many days instead …
pub const SETTLED_DAYS: u32 = 7;
/// … and for this long, all pods together, hours.
pub const SETTLED_OBSERVED_HOURS: f64 = 24.0;
/// Runs of a Job or CronJob that count as much, however short they are.
pub const SETTLED_RUNS: u64 = 7;
/// Coverage below which a recommendation stays provisional.
pub const SETTLED_COVERAGE: f64 = 0.8;
/// Nanoseconds per second that are one millicore.
const NS_PER_MILLICORE: u64 = 1_000_000;

/// The document of `/api/v1/sizing` and `plimsoll sizing report -o json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`]
    pub schema: String,
    /// [`PROFILE`]
    pub profile: String,
    /// When it was computed, RFC 3339.
    pub as_of: String,
    /// One for each container of each workload.
    pub recommendations: Vec<Recommendation>,
    /// Containers without a name: of pods that the inventory does not know (yet), or lives that a
    /// known pod's status does not list.
    pub unnamed: Vec<Unnamed>,
    /// What runs outside pods: nothing is recommended for it.
    #[serde(default)]
    pub hosts: Vec<Host>,
}

/// A host service, or a cgroup that nothing is known about.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// Node.
    pub node: String,
    /// `kubelet.service`, or `cgroup/<id>`.
    pub unit: String,
    /// Windows seen.
    pub windows: u64,
    /// CPU of its seconds.
    pub cpu_seconds: Quantiles,
    /// Highest memory, bytes.
    pub memory_peak_bytes: Option<u64>,
}

/// A container without a name: shown, so that nothing that runs is invisible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unnamed {
    /// Namespace, where the pod is known.
    pub namespace: Option<String>,
    /// Pod, where it is known.
    pub pod: Option<String>,
    /// Pod UID.
    pub pod_uid: Option<String>,
    /// Container id.
    pub container_id: Option<String>,
    /// Node.
    pub node: String,
    /// Windows seen.
    pub windows: u64,
    /// CPU of its seconds.
    pub cpu_seconds: Quantiles,
    /// Highest memory, bytes.
    pub memory_peak_bytes: Option<u64>,
}

/// One of the four that can be set for a container, by its name in [`Current`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Setting {
    /// CPU request.
    RequestMillicores,
    /// CPU limit.
    LimitMillicores,
    /// Memory request.
    RequestBytes,
    /// Memory limit.
    LimitBytes,
}

impl Setting {
    /// As it is called in a sentence.
    const fn words(self) -> &'static str {
        match self {
            Self::RequestMillicores => "CPU request",
            Self::LimitMillicores => "CPU limit",
            Self::RequestBytes => "memory request",
            Self::LimitBytes => "memory limit",
        }
    }

    const fn is_of_cpu(self) -> bool {
        matches!(self, Self::RequestMillicores | Self::LimitMillicores)
    }
}

/// Requests and limits; `None` is not set, unless it is among the `unknown`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Current {
    /// CPU request.
    pub request_millicores: Option<u64>,
    /// CPU limit.
    pub limit_millicores: Option<u64>,
    /// Memory request.
    pub request_bytes: Option<u64>,
    /// Memory limit.
    pub limit_bytes: Option<u64>,
    /// What is set and could not be read: it is no quantity (`64MB`).
    #[serde(default)]
    pub unknown: Vec<Setting>,
}

impl Current {
    fn of(history: &ContainerHistory) -> Self {
        let (requests, limits) = (&history.requests, &history.limits);
        let unknown = [
            (Setting::RequestMillicores, requests.cpu_unknown),
            (Setting::LimitMillicores, limits.cpu_unknown),
            (Setting::RequestBytes, requests.memory_unknown),
            (Setting::LimitBytes, limits.memory_unknown),
        ];
        Self {
            request_millicores: requests.cpu_millicores,
            limit_millicores: limits.cpu_millicores,
            request_bytes: requests.memory_bytes,
            limit_bytes: limits.memory_bytes,
            unknown: unknown
                .into_iter()
                .filter_map(|(setting, unknown)| unknown.then_some(setting))
                .collect(),
        }
    }

    /// Whether it is known what is set, be it nothing.
    pub fn knows(&self, setting: Setting) -> bool {
        !self.unknown.contains(&setting)
    }

    /// What a table says where there is no value.
    pub fn absent(&self, setting: Setting) -> &'static str {
        if self.knows(setting) {
            "none"
        } else {
            "unknown"
        }
    }

    /// Why there is no value, in sentences.
    fn unknown_words(&self, of_cpu: bool) -> impl Iterator<Item = String> {
        let unknown = self.unknown.iter().filter(move |s| s.is_of_cpu() == of_cpu);
        unknown.map(|setting| {
            format!(
                "The {} that is set is unknown: what the inventory has there is no quantity.",
                setting.words()
            )
        })
    }
}

/// How sure a recommendation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Nothing was observed; there is no number.
    NotEnough,
    /// There is a number; it may still move much.
    Provisional,
    /// A full day or more, all of it seen, and well covered; see `docs/sizing.md`.
    Settled,
}

/// The data behind a recommendation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Confidence {
    /// The word.
    pub level: Level,
    /// Windows, all pods.
    pub windows: u64,
    /// Pods that contributed.
    pub pods: u64,
    /// Hours between the first and the last observation.
    pub span_hours: f64,
    /// Time that samples covered, all pods together, hours.
    #[serde(default)]
    pub observed_hours: f64,
    /// In how many of the 24 hours of the day something was observed.
    #[serde(default)]
    pub hours_of_day: u32,
    /// On how many days (UTC) something was observed; 14 stands for more as well.
    #[serde(default)]
    pub days: u32,
    /// Share of the windows' time that samples covered, 0 to 1. Time without a window is in neither.
    pub coverage: Option<f64>,
    /// First observation, RFC 3339.
    pub first: Option<String>,
    /// Last observation, RFC 3339.
    pub last: Option<String>,
    /// Why it is not settled.
    pub reasons: Vec<String>,
}

impl Confidence {
    /// Its level, and how much was seen where that is too little.
    pub fn words(&self) -> String {
        match self.level {
            Level::NotEnough => "not enough".to_owned(),
            Level::Settled => "settled".to_owned(),
            Level::Provisional if self.span_hours < SETTLED_HOURS => {
                format!(
                    "provisional, {} of {SETTLED_HOURS:.0} h",
                    hours(self.span_hours)
                )
            }
            Level::Provisional => match self.coverage {
                Some(share) if share < SETTLED_COVERAGE => {
                    format!("provisional, {:.0} % covered", share * 100.0)
                }
                _ => format!("provisional, {} of 24 hours of the day", self.hours_of_day),
            },
        }
    }
}

/// In words, one sentence an entry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// Of the CPU numbers.
    pub cpu: Vec<String>,
    /// Of the memory numbers.
    pub memory: Vec<String>,
}

/// One container of one workload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recommendation {
    /// Namespace.
    pub namespace: String,
    /// Workload kind.
    pub kind: String,
    /// Workload name.
    pub workload: String,
    /// Container.
    pub container: String,
    /// Its part in the pod.
    pub role: Role,
    /// Pods of the workload that run and have this container; of a CronJob, the most that ran at once.
    pub replicas: u64,
    /// Of the replicas, how many run now.
    #[serde(default)]
    pub running: u64,
    /// Labels of the newest pod, for selectors.
    #[serde(default)]
    pub labels: std::collections::BTreeMap<String, String>,
    /// What is set now.
    pub current: Current,
    /// CPU.
    pub cpu: CpuAdvice,
    /// Memory.
    pub memory: MemoryAdvice,
    /// How sure.
    pub confidence: Confidence,
    /// Risk and waste against what is set now.
    pub assessment: Assessment,
    /// Why.
    pub explanation: Explanation,
}

/// Computes the whole report.
pub fn report(fleet: &Fleet, now_unix_ns: u64) -> Report {
    Report {
        schema: SCHEMA.to_owned(),
        profile: PROFILE.to_owned(),
        as_of: rfc3339(now_unix_ns),
        recommendations: fleet.containers.iter().map(recommend).collect(),
        unnamed: fleet
            .unnamed
            .iter()
            .map(|series| Unnamed {
                namespace: series.names.as_ref().map(|names| names.namespace.clone()),
                pod: series.names.as_ref().map(|names| names.pod.clone()),
                pod_uid: series.identity.pod_uid().map(str::to_owned),
                container_id: series.identity.container_id().map(str::to_owned),
                node: series.node.clone(),
                windows: series.usage.windows,
                cpu_seconds: Quantiles::of(&series.usage.per_second),
                memory_peak_bytes: series.usage.memory_sampled.max_bytes,
            })
            .collect(),
        hosts: fleet.hosts.iter().map(host).collect(),
    }
}

fn host(history: &HostHistory) -> Host {
    let usage = &history.series.usage;
    Host {
        node: history.node.clone(),
        unit: history.unit.clone(),
        windows: usage.windows,
        cpu_seconds: Quantiles::of(&usage.per_second),
        memory_peak_bytes: usage.memory_sampled.max_bytes,
    }
}

/// Computes one container's recommendation.
pub fn recommend(history: &ContainerHistory) -> Recommendation {
    let current = Current::of(history);
    let pods: Vec<(&str, &Usage)> = history
        .pods
        .iter()
        .map(|pod| (pod.pod.as_str(), &pod.series.usage))
        .collect();
    let hot = history
        .pods
        .iter()
        .map(|pod| pod.series.hottest(&pod.pod))
        .fold(None, Hottest::max);
    let pod_count = history.pods_seen();
    let (cpu, mut cpu_words) = cpu::advise(hot, pod_count, &history.total);
    let (memory, mut memory_words) = memory::advise(&pods, pod_count, &history.total);
    cpu_words.extend(current.unknown_words(true));
    memory_words.extend(current.unknown_words(false));
    let replicas = history.replicas;
    Recommendation {
        namespace: history.namespace.clone(),
        kind: history.workload.kind.clone(),
        workload: history.workload.name.clone(),
        container: history.container.clone(),
        role: history.role,
        replicas,
        running: history.running,
        labels: history.labels.clone(),
        confidence: confidence(history, pod_count),
        assessment: verdict::assess(&current, &cpu, &memory, replicas),
        current,
        cpu,
        memory,
        explanation: Explanation {
            cpu: cpu_words,
            memory: memory_words,
        },
    }
}

fn confidence(history: &ContainerHistory, pods: u64) -> Confidence {
    let total = &history.total;
    let span = total
        .first_unix_ns
        .zip(total.last_unix_ns)
        .map_or(0, |(first, last)| last.saturating_sub(first));
    // Rounded before it is told: the number and the words are to agree.
    let span_hours = (span as f64 / 3.6e12 * 1e4).round() / 1e4;
    let coverage = total.coverage();
    let reasons = if total.windows == 0 {
        vec!["nothing was observed yet".to_owned()]
    } else {
        let short = (span_hours < SETTLED_HOURS).then(|| {
            format!(
                "{} seen of the {SETTLED_HOURS:.0} h that include a daily peak",
                hours(span_hours)
            )
        });
        let thin = coverage.filter(|share| *share < SETTLED_COVERAGE);
        let thin = thin.map(|share| format!("samples cover {:.0} % of the time", share * 100.0));
        let gaps = || unseen_hours(history, pods);
        let reasons = short.or_else(gaps).into_iter().chain(thin);
        reasons.collect()
    };
    let level = match (total.windows, reasons.is_empty()) {
        (0, _) => Level::NotEnough,
        (_, true) => Level::Settled,
        (_, false) => Level::Provisional,
    };
    Confidence {
        level,
        windows: total.windows,
        pods,
        span_hours,
        observed_hours: rounded(total.observed_ns as f64 / 3.6e12),
        hours_of_day: total.hours_of_day(),
        days: total.days_seen(),
        coverage: coverage.map(|share| (share * 1e4).round() / 1e4),
        first: total.first_unix_ns.map(rfc3339),
        last: total.last_unix_ns.map(rfc3339),
        reasons,
    }
}

fn rounded(hours: f64) -> f64 {
    (hours * 1000.0).round() / 1000.0
}

/// Why so much of the day went unseen that a peak may be in it; `None` if it did not.
///
/// The first and the last observation say little of that: one window of a node whose clock was behind
/// lies a week before the others, or in 1970.
fn unseen_hours(history: &ContainerHistory, pods: u64) -> Option<String> {
    let total = &history.total;
    let (seen, observed) = (total.hours_of_day(), total.observed_ns as f64 / 3.6e12);
    let days = total.days_seen();
    let by_run = matches!(history.workload.kind.as_str(), "Job" | "CronJob");
    let settled = seen >= SETTLED_HOURS_OF_DAY
        || (by_run && pods >= SETTLED_RUNS)
        || (days >= SETTLED_DAYS && observed >= SETTLED_OBSERVED_HOURS);
    if settled {
        None
    } else if by_run {
        Some(format!(
            "{pods} of {SETTLED_RUNS} runs seen: one of the next may need more"
        ))
    } else {
        let of_days = (days < SETTLED_DAYS).then(|| format!(", on {days} of {SETTLED_DAYS} days"));
        Some(format!(
            "{} observed, in {seen} of the {SETTLED_HOURS_OF_DAY} hours of the day{}",
            hours(observed),
            of_days.unwrap_or_default()
        ))
    }
}

/// A span of time for people.
pub fn hours(hours: f64) -> String {
    if hours < 1.0 / 30.0 {
        format!("{:.0} s", hours * 3600.0)
    } else if hours < 1.0 {
        format!("{:.0} min", hours * 60.0)
    } else if hours < 48.0 {
        format!("{hours:.1} h")
    } else {
        format!("{:.1} days", hours / 24.0)
    }
}

/// RFC 3339 in UTC, whole seconds. Beyond the calendar (year 9999) the latest time stands.
pub fn rfc3339(unix_ns: u64) -> String {
    let seconds = i64::try_from(unix_ns / 1_000_000_000).unwrap_or(i64::MAX);
    jiff::Timestamp::from_second(seconds)
        .unwrap_or(jiff::Timestamp::MAX)
        .to_string()
}

#[cfg(test)]
pub(crate) mod tests;
