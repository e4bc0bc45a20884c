//! What is set now against what is recommended: risk and waste, in plain words and numbers.

use serde::{Deserialize, Serialize};

use super::memory::mib;
use super::{CpuAdvice, Current, MemoryAdvice, Setting};

/// A request more than this above the recommendation is waste, percent.
pub const WASTE_PERCENT: u64 = 25;
/// A request more than this below the recommendation is a risk, percent.
pub const RISK_PERCENT: u64 = 10;

/// How a value that is set fits the recommendation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// There is no recommendation yet, or what is set is not known.
    Unknown,
    /// Nothing is set.
    Unset,
    /// Clearly below: a risk.
    Under,
    /// Near enough.
    Fits,
    /// Clearly above: waste.
    Over,
}

/// Risk and waste of one container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assessment {
    /// The CPU request.
    pub cpu: Fit,
    /// The memory request.
    pub memory: Fit,
    /// Requested but not needed, all replicas: 0 of what runs no more. `None` if nothing is requested or
    /// advised, or what is requested is not known.
    pub waste_millicores: Option<u64>,
    /// As `waste_millicores`, of memory.
    pub waste_bytes: Option<u64>,
    /// Needed but not requested, all replicas: all that is needed if nothing is requested. `None`
    /// if nothing is advised, or what is requested is not known.
    pub shortfall_millicores: Option<u64>,
    /// As `shortfall_millicores`, of memory.
    pub shortfall_bytes: Option<u64>,
    /// What may go wrong as it stands.
    pub risks: Vec<String>,
}

/// Compares.
pub(super) fn assess(
    current: &Current,
    cpu: &CpuAdvice,
    memory: &MemoryAdvice,
    replicas: u64,
) -> Assessment {
    let mut risks = Vec::new();
    if memory.oom_kills.is_some_and(|kills| kills > 0) {
        risks.push("it was killed for want of memory".to_owned());
    }
    if let (Some(limit), Some(needed)) = (current.limit_bytes, memory.request_bytes)
        && limit < needed
    {
        risks.push("the memory limit leaves less than the margin above the peak".to_owned());
    }
    if let Some(share) = cpu.throttled_share.filter(|share| *share > 0.01) {
        risks.push(format!(
            "its CPU limit throttles {:.1} % of periods",
            share * 100.0
        ));
    }
    // Nothing set is a request of nothing; what is not known is none.
    let or_nothing = |set: Option<u64>, setting| set.or(current.knows(setting).then_some(0));
    let requested_cpu = or_nothing(current.request_millicores, Setting::RequestMillicores);
    let requested_memory = or_nothing(current.request_bytes, Setting::RequestBytes);
    let fit_of =
        |set, requested: Option<u64>, needed| requested.map_or(Fit::Unknown, |_| fit(set, needed));
    let cpu_fit = fit_of(
        current.request_millicores,
        requested_cpu,
        cpu.request_millicores,
    );
    let memory_fit = fit_of(
        current.request_bytes,
        requested_memory,
        memory.request_bytes,
    );
    let millicores = |millicores: u64| format!("{millicores} m");
    risks.extend(match cpu_fit {
        Fit::Unset => {
            Some("without a CPU request its share is whatever the others leave".to_owned())
        }
        Fit::Under => below("CPU", requested_cpu, cpu.request_millicores, millicores),
        Fit::Unknown | Fit::Fits | Fit::Over => None,
    });
    risks.extend(match memory_fit {
        Fit::Unset => {
            Some("without a memory request it is among the first to be evicted".to_owned())
        }
        Fit::Under => below("memory", requested_memory, memory.request_bytes, mib),
        Fit::Unknown | Fit::Fits | Fit::Over => None,
    });
    let difference = |a: Option<u64>, b: Option<u64>| {
        a.zip(b)
            .map(|(a, b)| a.saturating_sub(b).saturating_mul(replicas))
    };
    Assessment {
        cpu: cpu_fit,
        memory: memory_fit,
        waste_millicores: difference(current.request_millicores, cpu.request_millicores),
        waste_bytes: difference(current.request_bytes, memory.request_bytes),
        shortfall_millicores: difference(cpu.request_millicores, requested_cpu),
        shortfall_bytes: difference(memory.request_bytes, requested_memory),
        risks,
    }
}

/// That a request is clearly below what is needed, and by how much.
fn below(
    of: &str,
    set: Option<u64>,
    needed: Option<u64>,
    shown: impl Fn(u64) -> String,
) -> Option<String> {
    let (set, needed) = set.zip(needed)?;
    Some(format!(
        "the {of} request of {} is {} below what it needs: {}",
        shown(set),
        shown(needed.saturating_sub(set)),
        shown(needed)
    ))
}

fn fit(set: Option<u64>, needed: Option<u64>) -> Fit {
    let percent = |value: u64, percent: u64| u128::from(value) * u128::from(percent);
    match (set, needed) {
        (_, None) => Fit::Unknown,
        (None, Some(_)) => Fit::Unset,
        (Some(set), Some(needed)) if percent(set, 100) > percent(needed, 100 + WASTE_PERCENT) => {
            Fit::Over
        }
        (Some(set), Some(needed)) if percent(set, 100) < percent(needed, 100 - RISK_PERCENT) => {
            Fit::Under
        }
        _ => Fit::Fits,
    }
}
