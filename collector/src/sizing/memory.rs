//! The memory request and limit: the highest peak of the kind that cannot be reclaimed, plus a
//! stated margin, raised by OOM kills.

use plimsoll_wire::usage::Source;
use serde::{Deserialize, Serialize};

use super::rfc3339;
use crate::history::Usage;

/// Added to the peak, percent.
pub const MARGIN_PERCENT: u64 = 15;
/// Added instead after an OOM kill: the peak was cut off where the limit stood.
pub const OOM_MARGIN_PERCENT: u64 = 25;
/// Smallest request.
pub const FLOOR_BYTES: u64 = 16 << 20;
const MIB: u64 = 1 << 20;

/// Highest values by kind over all pods, bytes. `None`: not measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryPeaks {
    /// What the kubelet counts: all but inactive page cache.
    pub working_set_bytes: Option<u64>,
    /// Anonymous memory.
    pub anon_bytes: Option<u64>,
    /// Page cache.
    pub file_bytes: Option<u64>,
    /// Everything, highest sample.
    pub sampled_bytes: Option<u64>,
    /// Everything, the kernel's own high-water mark.
    pub lifetime_bytes: Option<u64>,
}

/// Memory numbers of a recommendation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemoryAdvice {
    /// `None`: not enough was observed.
    pub request_bytes: Option<u64>,
    /// Equal to the request; `None`: not enough was observed.
    pub limit_bytes: Option<u64>,
    /// The pod whose peak it is.
    pub hot_pod: Option<String>,
    /// The peaks.
    pub peaks: MemoryPeaks,
    /// OOM kills seen; `None` where they cannot be seen.
    pub oom_kills: Option<u64>,
    /// Share of time in which some task waited for memory; `None` where not measured.
    pub pressure_some_share: Option<f64>,
    /// Where the values came from.
    pub sources: Vec<Source>,
}

/// What one pod needs, and why.
struct Need {
    bytes: u64,
    words: String,
}

/// The advice and its explanation.
pub(super) fn advise(
    pods: &[(&str, &Usage)],
    pod_count: u64,
    total: &Usage,
) -> (MemoryAdvice, Vec<String>) {
    let hot = pods
        .iter()
        .filter_map(|(pod, usage)| Some((need(usage)?, *pod)))
        .max_by(|a, b| a.0.bytes.cmp(&b.0.bytes).then_with(|| b.1.cmp(a.1)));
    let mut words = Vec::new();
    let hot_pod = hot.as_ref().map(|(_, pod)| (*pod).to_owned());
    let request = hot.map(|(need, pod)| {
        let whose = match pod_count {
            1 => format!("{pod}{}", since(total)),
            many => format!("{pod}, the highest of {many} pods{}", since(total)),
        };
        words.push(format!("{} ({whose}).", need.words));
        sized(need.bytes, total, &mut words)
    });
    if request.is_none() {
        words.push(nothing_sentence(total).to_owned());
    } else {
        words.push(
            "The limit equals the request: memory cannot be throttled, only killed for.".to_owned(),
        );
    }
    let advice = MemoryAdvice {
        request_bytes: request,
        limit_bytes: request,
        hot_pod,
        peaks: MemoryPeaks {
            working_set_bytes: total.memory_working_set.max_bytes,
            anon_bytes: total.memory_anon.max_bytes,
            file_bytes: total.memory_file.max_bytes,
            sampled_bytes: total.memory_sampled.max_bytes,
            lifetime_bytes: total.memory_lifetime_max_bytes,
        },
        oom_kills: total.oom_kills,
        pressure_some_share: total.memory_pressure.shares().map(|(some, _)| some),
        sources: total.memory_sources.clone(),
    };
    (advice, words)
}

/// From which day on it was observed: a peak does not grow old.
fn since(total: &Usage) -> String {
    let first = total.first_unix_ns.map(rfc3339);
    let day = first.as_deref().and_then(|first| first.split('T').next());
    day.map_or(String::new(), |day| format!(" since {day}"))
}

fn nothing_sentence(total: &Usage) -> &'static str {
    if total.windows == 0 {
        "Not enough: no window was observed."
    } else {
        "Not enough: no window had a memory value. It ended before a sample was taken, and the kernel's \
         own peak is there only where cgroup v2 has the memory controller."
    }
}

/// The base: working set, or what there is; never below anonymous memory; plus whatever the
/// kernel's own peak saw beyond the highest sample, because its kind is not known.
fn need(usage: &Usage) -> Option<Need> {
    let anon = usage.memory_anon.max_bytes;
    let (base, kind) = match (
        usage.memory_working_set.max_bytes,
        usage.memory_sampled.max_bytes,
    ) {
        (Some(bytes), _) => (bytes, "the working set"),
        (None, Some(bytes)) if usage.memory_sources == [Source::Procfs] => {
            (bytes, "the resident memory of its processes")
        }
        (None, Some(bytes)) => (bytes, "all memory, page cache included,"),
        (None, None) => (anon.or(usage.memory_lifetime_max_bytes)?, "memory"),
    };
    let (base, kind) = match anon {
        Some(anon) if anon > base => (anon, "anonymous memory"),
        _ => (base, kind),
    };
    let unseen = usage
        .memory_lifetime_max_bytes
        .zip(usage.memory_sampled.max_bytes)
        .map_or(0, |(lifetime, sampled)| lifetime.saturating_sub(sampled));
    let beyond = match unseen {
        0..MIB => String::new(),
        _ => format!(", and the kernel saw {} more between samples", mib(unseen)),
    };
    let words = format!("The peak of {kind} was {}{beyond}", mib(base));
    Some(Need {
        bytes: base.saturating_add(unseen),
        words,
    })
}

fn sized(peak: u64, total: &Usage, words: &mut Vec<String>) -> u64 {
    let killed = total.oom_kills.filter(|kills| *kills > 0);
    let (base, margin) = match killed {
        Some(kills) => {
            let base = peak.max(total.oom_limit_bytes.unwrap_or(0));
            let times = if kills == 1 {
                "once".to_owned()
            } else {
                format!("{kills} times")
            };
            words.push(match total.oom_limit_bytes {
                Some(limit) => format!(
                    "It was OOM-killed {times}, so the base is the larger of that peak and the limit then, {}: {}.",
                    mib(limit),
                    mib(base)
                ),
                None => format!(
                    "It was OOM-killed {times}, but not known to be at a limit of its own."
                ),
            });
            (base, OOM_MARGIN_PERCENT)
        }
        None => (peak, MARGIN_PERCENT),
    };
    let extra = (u128::from(base) * u128::from(margin)).div_ceil(100);
    let extra = u64::try_from(extra).unwrap_or(u64::MAX);
    words.push(format!(
        "Plus a margin of {margin} %, rounded up to whole MiB."
    ));
    let size = base
        .saturating_add(extra)
        .checked_next_multiple_of(MIB)
        .unwrap_or(u64::MAX);
    if size < FLOOR_BYTES {
        words.push(format!("Raised to the floor of {}.", mib(FLOOR_BYTES)));
    }
    size.max(FLOOR_BYTES)
}

/// Bytes for people, in binary units, rounded up: what is set by it is never less than what was meant.
pub fn mib(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes} B"),
        1024..MIB => format!("{} KiB", bytes.div_ceil(1024)),
        MIB..0x2_8000_0000 => format!("{} MiB", bytes.div_ceil(MIB)),
        _ => {
            let tenths = (u128::from(bytes) * 10).div_ceil(1024 * u128::from(MIB));
            format!("{}.{} GiB", tenths / 10, tenths % 10)
        }
    }
}
