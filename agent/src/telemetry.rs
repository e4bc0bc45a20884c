//! What the agent says of itself: its metrics, every one of them here, and the set-up of its log.
//!
//! Counts that live elsewhere (kernel counters, the spool's books) are copied in by
//! [`Metrics::show`]; nothing is counted twice. Labels come from closed sets: stages, record kinds,
//! fates, program names. `docs/metrics.md` is generated from a fresh registry.

use std::sync::atomic::{AtomicU64, Ordering};

use plimsoll_wire::event::StageFates;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Which records of which stage met which fate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FateLabels {
    stage: String,
    class: String,
    fate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProgramLabels {
    program: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RingLabels {
    ring: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    class: &'static str,
}

/// One class of the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SpoolRow {
    /// Its name.
    pub class: &'static str,
    /// Bytes on disk and in memory.
    pub bytes: u64,
    /// Records that were not acknowledged.
    pub records: u64,
    /// Age of the oldest of these, seconds.
    pub oldest_s: f64,
    /// Reads that the disk refused, since the start.
    pub read_errors: u64,
}

/// The books of the agent at one moment; what is unknown is `None` and keeps its last value.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Fates by stage and class.
    pub stages: Vec<StageFates>,
    /// Each kernel program and whether it is attached.
    pub programs: Vec<(String, bool)>,
    /// Name of a ring and the most bytes that were ever waiting in it.
    pub ring_high_water: Vec<(&'static str, u64)>,
    /// Each class of the spool.
    pub spool: Vec<SpoolRow>,
    /// Containers sampled.
    pub containers: u64,
    /// Containers not sampled because `usage.max_containers` was reached.
    pub containers_over_limit: u64,
    /// Samples taken.
    pub samples: u64,
    /// Samples that could not be compared with the one before (restart, clock, new inode).
    pub resets: u64,
    /// Lines of kernel files that could not be parsed.
    pub parse_errors: u64,
    /// Time that the last round of samples took, seconds.
    pub sample_seconds: f64,
    /// Agent's CPU time, nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Agent's resident memory, bytes.
    pub rss_bytes: Option<u64>,
}

/// All metrics of the agent.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    records: Family<FateLabels, Counter>,
    in_flight: Family<FateLabels, Gauge>,
    program_attached: Family<ProgramLabels, Gauge>,
    ring_high_water: Family<RingLabels, Gauge>,
    spool_bytes: Family<ClassLabels, Gauge>,
    spool_records: Family<ClassLabels, Gauge>,
    spool_oldest: Family<ClassLabels, Gauge<f64, AtomicU64>>,
    spool_read_errors: Family<ClassLabels, Counter>,
    containers: Gauge,
    containers_over_limit: Gauge,
    samples: Counter,
    resets: Counter,
    parse_errors: Counter,
    sample_seconds: Gauge<f64, AtomicU64>,
    cpu_seconds: Counter<f64, AtomicU64>,
    rss_bytes: Gauge,
}

impl Metrics {
    /// Registers every metric, with its help text.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("plimsoll_agent");
        registry.register(
            "records",
            "Records by stage, class and fate; see the accounting law in docs/events.md",
            self.records.clone(),
        );
        registry.register(
            "records_in_flight",
            "Records held at a stage now",
            self.in_flight.clone(),
        );
        registry.register(
            "program_attached",
            "1 if the kernel program is attached, 0 if it was skipped or failed; /readyz says why",
            self.program_attached.clone(),
        );
        registry.register_with_unit(
            "ring_high_water",
            "Most bytes that ever waited in a kernel ring",
            Unit::Bytes,
            self.ring_high_water.clone(),
        );
        registry.register_with_unit(
            "spool",
            "Size of the spool on disk",
            Unit::Bytes,
            self.spool_bytes.clone(),
        );
        registry.register(
            "spool_records",
            "Records in the spool",
            self.spool_records.clone(),
        );
        registry.register_with_unit(
            "spool_oldest_age",
            "Age of the oldest record that the collector has not acknowledged",
            Unit::Seconds,
            self.spool_oldest.clone(),
        );
        registry.register(
            "spool_read_errors",
            "Reads of the spool that the disk refused; what is given up for it counts as undecodable",
            self.spool_read_errors.clone(),
        );
        registry.register("containers", "Containers sampled", self.containers.clone());
        registry.register(
            "containers_over_limit",
            "Containers not sampled because usage.max_containers was reached",
            self.containers_over_limit.clone(),
        );
        registry.register(
            "samples",
            "Samples of one container each",
            self.samples.clone(),
        );
        registry.register(
            "sample_resets",
            "Samples that could not be compared with the one before: new inode, falling counter, clock",
            self.resets.clone(),
        );
        registry.register(
            "parse_errors",
            "Lines of kernel files that could not be parsed",
            self.parse_errors.clone(),
        );
        registry.register_with_unit(
            "sample_duration",
            "Time that the last round of samples took",
            Unit::Seconds,
            self.sample_seconds.clone(),
        );
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
            self.show_fates(stage);
        }
        for (program, attached) in &books.programs {
            self.program_attached
                .get_or_create(&ProgramLabels {
                    program: program.clone(),
                })
                .set(i64::from(*attached));
        }
        for (ring, bytes) in &books.ring_high_water {
            self.ring_high_water
                .get_or_create(&RingLabels { ring })
                .set(signed(*bytes));
        }
        for row in &books.spool {
            let labels = ClassLabels { class: row.class };
            self.spool_bytes
                .get_or_create(&labels)
                .set(signed(row.bytes));
            self.spool_records
                .get_or_create(&labels)
                .set(signed(row.records));
            self.spool_oldest.get_or_create(&labels).set(row.oldest_s);
            self.spool_read_errors
                .get_or_create(&labels)
                .inner()
                .store(row.read_errors, Ordering::Relaxed);
        }
        self.containers.set(signed(books.containers));
        self.containers_over_limit
            .set(signed(books.containers_over_limit));
        self.samples.inner().store(books.samples, Ordering::Relaxed);
        self.resets.inner().store(books.resets, Ordering::Relaxed);
        self.parse_errors
            .inner()
            .store(books.parse_errors, Ordering::Relaxed);
        self.sample_seconds.set(books.sample_seconds);
        if let Some(cpu_ns) = books.cpu_ns {
            let seconds = cpu_ns as f64 / 1e9;
            self.cpu_seconds
                .inner()
                .store(seconds.to_bits(), Ordering::Relaxed);
        }
        if let Some(rss_bytes) = books.rss_bytes {
            self.rss_bytes.set(signed(rss_bytes));
        }
    }

    fn show_fates(&self, stage: &StageFates) {
        for (fate, count) in stage.fates.totals() {
            let labels = FateLabels {
                stage: stage.stage.clone(),
                class: stage.class.clone(),
                fate,
            };
            self.records
                .get_or_create(&labels)
                .inner()
                .store(count, Ordering::Relaxed);
        }
        let labels = FateLabels {
            stage: stage.stage.clone(),
            class: stage.class.clone(),
            fate: "in_flight",
        };
        self.in_flight
            .get_or_create(&labels)
            .set(signed(stage.fates.in_flight));
    }
}

/// Gauges are signed; a count beyond 2⁶³ is shown as that.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The log goes to standard error, as JSON lines where `json` is set. `filter` is in the syntax of
/// `tracing_subscriber::EnvFilter`; one that cannot be read falls back to `info`, and says so.
pub fn start_log(filter: Option<&str>, json: bool) {
    let wanted = filter.unwrap_or("info");
    let (filter, refused) = match tracing_subscriber::EnvFilter::try_new(wanted) {
        Ok(filter) => (filter, None),
        Err(error) => (tracing_subscriber::EnvFilter::new("info"), Some(error)),
    };
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    if json {
        builder.json().init();
    } else {
        builder.with_ansi(false).init();
    }
    if let Some(error) = refused {
        tracing::warn!(%error, filter = wanted, "log filter is not usable, taking info");
    }
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::fate::Fates;

    use super::*;

    #[test]
    fn every_metric_is_touched_by_the_books() {
        let metrics = Metrics::default();
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let fates = Fates {
            emitted: 5,
            lost: 2,
            delivered: 2,
            in_flight: 1,
            ..Fates::default()
        };
        metrics.show(&Books {
            stages: vec![StageFates {
                stage: "agent".into(),
                class: "security".into(),
                fates,
            }],
            programs: vec![("connect4".into(), true)],
            ring_high_water: vec![("security", 7)],
            spool: vec![SpoolRow {
                class: "usage",
                bytes: 1,
                records: 2,
                oldest_s: 3.5,
                read_errors: 6,
            }],
            containers: 4,
            containers_over_limit: 1,
            samples: 9,
            resets: 1,
            parse_errors: 1,
            sample_seconds: 0.25,
            cpu_ns: Some(1_500_000_000),
            rss_bytes: Some(1 << 20),
        });
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let families = text
            .lines()
            .filter(|line| line.starts_with("# HELP"))
            .count();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (_, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
        }
        assert_eq!(families, 16, "{text}");
        for expected in [
            r#"plimsoll_agent_records_total{stage="agent",class="security",fate="lost"} 2"#,
            r#"plimsoll_agent_records_in_flight{stage="agent",class="security",fate="in_flight"} 1"#,
            r#"plimsoll_agent_spool_bytes{class="usage"} 1"#,
            r#"plimsoll_agent_spool_read_errors_total{class="usage"} 6"#,
            "plimsoll_agent_cpu_seconds_total 1.5",
            "plimsoll_agent_resident_memory_bytes 1048576",
        ] {
            assert!(text.contains(expected), "{expected} is not in\n{text}");
        }
    }
}
