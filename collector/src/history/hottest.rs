//! The pod with the highest minute means: what is left of a single pod when it is folded.
//!
//! The merged minute means of a hundred pods hide the one that was hot, so a folded series keeps that
//! one's percentile and name beside them. Pure; knows no request and no floor.

use plimsoll_wire::Sketch;
use serde::{Deserialize, Serialize};

use super::usage::Usage;

/// The percentile of a pod's minute means by which pods are compared.
pub const HOT_QUANTILE: f64 = 0.95;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hottest {
    /// Its name.
    pub pod: String,
    /// Its [`HOT_QUANTILE`], nanoseconds per second, never below the true one.
    pub ns_per_s: u64,
    /// Of how many minute means.
    pub means: u64,
    /// They are of its start-up: it never got further.
    pub startup: bool,
}

impl Hottest {
    /// Of one pod; `None` without a mean. Steady means count, and of a pod that never got that far
    /// those of its start.
    pub fn of(pod: &str, usage: &Usage) -> Option<Self> {
        let startup = usage.minute_means.is_empty();
        let means = if startup {
            &usage.startup_minute_means
        } else {
            &usage.minute_means
        };
        Some(Self {
            pod: pod.to_owned(),
            ns_per_s: upper_quantile(means, HOT_QUANTILE)?,
            means: means.count(),
            startup,
        })
    }

    /// The hotter of two; of two alike the one whose name comes first.
    pub fn max(one: Option<Self>, other: Option<Self>) -> Option<Self> {
        one.into_iter().chain(other).max_by(|a, b| {
            let by_use = a.ns_per_s.cmp(&b.ns_per_s);
            by_use.then_with(|| (&b.pod, b.means).cmp(&(&a.pod, a.means)))
        })
    }
}

/// The highest value that the quantile can be, given the sketch's buckets: never below the truth.
pub fn upper_quantile(sketch: &Sketch, q: f64) -> Option<u64> {
    let middle = sketch.quantile(q)?;
    let max = sketch.max()?;
    if middle == 0 {
        return Some(0);
    }
    let upper = sketch
        .buckets()
        .map(|bucket| bucket.upper)
        .find(|upper| *upper >= middle);
    Some(upper.unwrap_or(max).min(max))
}
