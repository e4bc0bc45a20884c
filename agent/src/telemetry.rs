//! What the agent says of itself: its metrics, every one of them here, and the set-up of its log.
//!
//! Counts that live elsewhere (kernel counters, the spool's books) are copied in by
//! [`Metrics::show`]; nothing is counted twice. Labels come from closed sets: stages, record kinds,
//! fates, program names, tables. `docs/metrics.md` is generated from a fresh registry.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

mod audit;
mod books;
mod flow;
mod kernel;
mod usage;

pub use books::{AuditRow, Books, KernelRow, SpoolRow, UsageRow};

use audit::AuditMetrics;
use flow::FlowMetrics;
use kernel::KernelMetrics;
use usage::UsageMetrics;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

/// All metrics of the agent.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    flow: FlowMetrics,
    kernel: KernelMetrics,
    usage: UsageMetrics,
    audit: AuditMetrics,
    cpu_seconds: Counter<f64, AtomicU64>,
    rss_bytes: Gauge,
}

impl Metrics {
    /// Registers every metric, with its help text.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("plimsoll_agent");
        self.flow.register(registry);
        self.kernel.register(registry);
        self.usage.register(registry);
        self.audit.register(registry);
        registry.register_with_unit(
            "cpu",
            "CPU time of the agent itself",
            Unit::Seconds,
            self.cpu_seconds.clone(),
        );
        registry.register_with_unit(
            "resident_memory",
            "Resident memory of the agent itself",
            Unit::Bytes,
            self.rss_bytes.clone(),
        );
    }

    /// Copies the books into the metrics.
    pub fn show(&self, books: &Books) {
        for stage in &books.stages {
            self.flow.show_fates(stage);
        }
        for row in &books.spool {
            self.flow.show_spool(row);
        }
        self.flow.show_failures(&books.exports);
        self.kernel.show(&books.kernel);
        self.usage.show(&books.usage);
        self.audit.show(&books.audit);
        if let Some(cpu_ns) = books.cpu_ns {
            set_seconds(&self.cpu_seconds, cpu_ns);
        }
        if let Some(rss_bytes) = books.rss_bytes {
            self.rss_bytes.set(signed(rss_bytes));
        }
    }
}

/// Shows a count that is kept elsewhere.
fn set(counter: &Counter, count: u64) {
    counter.inner().store(count, Ordering::Relaxed);
}

/// Shows a cumulative time that is kept elsewhere.
fn set_seconds(counter: &Counter<f64, AtomicU64>, ns: u64) {
    let seconds = ns as f64 / 1e9;
    counter.inner().store(seconds.to_bits(), Ordering::Relaxed);
}

/// Gauges are signed; a count beyond 2⁶³ is shown as that.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Why the program ends is told under this name, whatever the filter.
const LAST_WORDS: &str = "plimsoll_agent::end";

/// The log goes to standard error, as JSON lines where `json` is set. `filter` is a level or
/// `module=level` pairs, see [`plimsoll_settings::log_filter`]; one that cannot be used falls back to
/// `info`, and says so. [`last_words`] are always shown.
pub fn start_log(filter: &str, json: bool) {
    let wanted = plimsoll_settings::log_filter(filter);
    let refused = wanted.as_ref().err().cloned();
    let taken = wanted.unwrap_or_else(|_| "info".to_owned());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(format!("{taken},{LAST_WORDS}=error"))
        // Where a line cannot be written, neither can the word that says so, and that would be a panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    if json {
        builder.json().init();
    } else {
        builder.with_ansi(false).init();
    }
    if let Some(error) = refused {
        tracing::warn!(error, filter, "log filter is not usable, taking info");
    }
}

/// Why the program cannot begin or go on; shown whatever the filter is.
pub fn last_words(why: &str) {
    tracing::error!(target: LAST_WORDS, "{why}");
}

#[cfg(test)]
mod tests;
