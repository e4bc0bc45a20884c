//! The CPU request: p95 of minute means of the hottest pod; no limit; the finer distributions
//! beside it.

use plimsoll_wire::Sketch;
use plimsoll_wire::usage::Source;
use serde::{Deserialize, Serialize};

use super::NS_PER_MILLICORE;
use crate::history::{Hottest, Usage};

/// The window that `minute_means` is named after, seconds.
const MINUTE_S: u64 = 60;
/// Smallest request, millicores: below it the scheduler's arithmetic is noise.
pub const FLOOR_MILLICORES: u64 = 10;
/// Throttled share of periods above which an existing limit hides the true need.
const THROTTLING_MATTERS: f64 = 0.01;

/// A distribution in millicores. `None` without values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quantiles {
    /// Number of values.
    pub count: u64,
    /// Median.
    pub p50_millicores: Option<u64>,
    /// 95th percentile.
    pub p95_millicores: Option<u64>,
    /// 99th percentile.
    pub p99_millicores: Option<u64>,
    /// Highest.
    pub max_millicores: Option<u64>,
}

impl Quantiles {
    /// Of a sketch of nanoseconds per second. Rounded up: a tenth of a millicore is not zero.
    pub fn of(sketch: &Sketch) -> Self {
        let at = |q| sketch.quantile(q).map(|ns| ns.div_ceil(NS_PER_MILLICORE));
        Self {
            count: sketch.count(),
            p50_millicores: at(0.5),
            p95_millicores: at(0.95),
            p99_millicores: at(0.99),
            max_millicores: at(1.0),
        }
    }
}

/// The distributions, all pods together, each with its resolution in its name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CpuStatistics {
    /// Means of 60 s windows.
    pub minute_means: Quantiles,
    /// Single seconds.
    pub seconds: Quantiles,
    /// 100 ms periods.
    pub periods_100ms: Quantiles,
    /// Single seconds of the start-up phase.
    pub startup_seconds: Quantiles,
}

/// CPU numbers of a recommendation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CpuAdvice {
    /// `None`: not enough was observed.
    pub request_millicores: Option<u64>,
    /// `None`: no limit; see the reason.
    pub limit_millicores: Option<u64>,
    /// Why there is no limit.
    pub limit_reason: String,
    /// The pod whose p95 it is.
    pub hot_pod: Option<String>,
    /// The distributions.
    pub statistics: CpuStatistics,
    /// Share of quota periods throttled, 0 to 1; `None` without a quota or where not measured.
    pub throttled_share: Option<f64>,
    /// Share of time in which some task waited for a CPU; `None` where not measured.
    pub pressure_some_share: Option<f64>,
    /// Where CPU time came from.
    pub sources: Vec<Source>,
}

/// The advice and its explanation.
pub(super) fn advise(hot: Option<Hottest>, pods: u64, total: &Usage) -> (CpuAdvice, Vec<String>) {
    let mut words = Vec::new();
    let request = hot.as_ref().map(|hot| {
        let observed = hot.ns_per_s.div_ceil(NS_PER_MILLICORE);
        words.push(request_sentence(observed, hot, pods, total));
        if observed < FLOOR_MILLICORES {
            words.push(format!("Raised to the floor of {FLOOR_MILLICORES} m."));
        }
        observed.max(FLOOR_MILLICORES)
    });
    if request.is_none() {
        words.push(nothing_sentence(total));
    }
    let statistics = CpuStatistics {
        minute_means: Quantiles::of(&total.minute_means),
        seconds: Quantiles::of(&total.per_second),
        periods_100ms: Quantiles::of(&total.per_100ms),
        startup_seconds: Quantiles::of(&total.startup_per_second),
    };
    words.extend(burst_sentences(&statistics, request));
    let throttled_share = total.throttling.share();
    if let Some(share) = throttled_share.filter(|share| *share > THROTTLING_MATTERS) {
        words.push(format!(
            "{:.1} % of its quota periods were throttled: the present limit hides what it would use.",
            share * 100.0
        ));
    }
    let advice = CpuAdvice {
        request_millicores: request,
        limit_millicores: None,
        limit_reason:
            "a CPU limit throttles bursts even on an idle node; the request guarantees the share"
                .to_owned(),
        hot_pod: hot.map(|hot| hot.pod),
        statistics,
        throttled_share,
        pressure_some_share: total.cpu_pressure.shares().map(|(some, _)| some),
        sources: total.cpu_sources.clone(),
    };
    (advice, words)
}

fn request_sentence(observed: u64, hot: &Hottest, pods: u64, usage: &Usage) -> String {
    let phase = if hot.startup {
        ", all of its start-up"
    } else {
        ""
    };
    let whose = match pods {
        1 => hot.pod.clone(),
        many => format!("{}, the hottest of {many} pods", hot.pod),
    };
    format!(
        "95 % of {} {}{}{phase} were at most {observed} m ({whose}).",
        hot.means,
        means_named(usage),
        usage
            .mean_window_s()
            .filter(|seconds| *seconds != MINUTE_S)
            .map_or(String::new(), |seconds| format!(
                " ({seconds} s on average)"
            )),
    )
}

/// What the means are called: windows last a minute unless the agent is set otherwise or lives are
/// shorter.
pub fn means_named(usage: &Usage) -> &'static str {
    match usage.mean_window_s() {
        None | Some(MINUTE_S) => "minute means",
        Some(_) => "window means",
    }
}

fn nothing_sentence(total: &Usage) -> String {
    if total.windows == 0 {
        "Not enough: no window was observed.".to_owned()
    } else if let Some(used_ns) = total.cpu_used_ns {
        format!(
            "Not enough: none of {} windows was covered well enough for a mean. They hold {:.3} s of CPU \
             time; a mean needs two samples, and what ends sooner has none. Lives that no sample met \
             have no window: what they used is in their container_end records alone.",
            total.windows,
            used_ns as f64 / 1e9
        )
    } else {
        format!(
            "Not enough: none of {} windows had CPU time.",
            total.windows
        )
    }
}

fn burst_sentences(statistics: &CpuStatistics, request: Option<u64>) -> Vec<String> {
    let mut words = Vec::new();
    let seconds = &statistics.seconds;
    if let (Some(p99), Some(max)) = (seconds.p99_millicores, seconds.max_millicores) {
        let above = request.is_some_and(|request| p99 > request);
        let tail = if above {
            ", above the request: bursts use what the node has spare"
        } else {
            ""
        };
        words.push(format!(
            "Of {} single seconds, p99 is {p99} m and the highest {max} m{tail}.",
            seconds.count
        ));
    }
    let fine = &statistics.periods_100ms;
    if let (Some(p99), Some(max)) = (fine.p99_millicores, fine.max_millicores) {
        words.push(format!("In 100 ms periods p99 is {p99} m and the highest {max} m: a limit below that throttles."));
    }
    words
}
