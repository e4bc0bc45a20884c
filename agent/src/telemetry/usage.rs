//! Metrics of what is followed and sampled, and of who is not.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{ReasonLabels, UsageRow, set, signed};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, Default)]
pub(super) struct UsageMetrics {
    containers: Gauge,
    over_limit: Gauge,
    unopened: Gauge,
    samples: Counter,
    resets: Counter,
    unshown_periods: Counter,
    parse_errors: Counter,
    not_added_up: Counter,
    descriptors: Gauge,
    sample_seconds: Gauge<f64, AtomicU64>,
    known: Family<StateLabels, Gauge>,
    forgotten: Family<ReasonLabels, Counter>,
    unwalked: Family<ReasonLabels, Gauge>,
    relabelled: Gauge,
}

impl UsageMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("containers", "Containers sampled", self.containers.clone());
        registry.register(
            "containers_over_limit",
            "Containers not sampled because usage.max_containers was reached",
            self.over_limit.clone(),
        );
        registry.register(
            "containers_unopened",
            "Containers not sampled because their files could not be opened at the last walk",
            self.unopened.clone(),
        );
        self.register_samples(registry);
        registry.register(
            "cgroups_known",
            "Cgroups that have a name: living, and gone within the grace time",
            self.known.clone(),
        );
        registry.register(
            "cgroups_forgotten",
            "Cgroups without a name since: expired after the grace time, shed before it for want of room, rejected because too many live",
            self.forgotten.clone(),
        );
        registry.register(
            "cgroups_unwalked",
            "Cgroup folders that the last walk left out because of its bounds, or could not list",
            self.unwalked.clone(),
        );
        registry.register(
            "cgroups_relabelled",
            "Folders at the top of the cgroup tree that bear a container's SELinux label: a pod has mounted cgroup2 with its own; /readyz says which",
            self.relabelled.clone(),
        );
    }

    fn register_samples(&self, registry: &mut Registry) {
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
            "cpu_time_unshown_periods",
            "Periods of 100 ms of containers that ended before their first sample: no window has them, and their CPU time is in the event of their end",
            self.unshown_periods.clone(),
        );
        registry.register(
            "parse_errors",
            "Lines of kernel files that could not be parsed",
            self.parse_errors.clone(),
        );
        registry.register(
            "sample_memory_not_added_up",
            "Times that a container's memory stayed unknown: no controller, and more processes or cgroups than are added up",
            self.not_added_up.clone(),
        );
        registry.register(
            "sample_descriptors",
            "Descriptors that stay open between samples",
            self.descriptors.clone(),
        );
        registry.register_with_unit(
            "sample_duration",
            "Time that the last round of samples took",
            Unit::Seconds,
            self.sample_seconds.clone(),
        );
    }

    pub(super) fn show(&self, row: &UsageRow) {
        self.containers.set(signed(row.containers));
        self.over_limit.set(signed(row.over_limit));
        self.unopened.set(signed(row.unopened));
        set(&self.samples, row.samples);
        set(&self.resets, row.resets);
        set(&self.unshown_periods, row.unshown_periods);
        set(&self.parse_errors, row.parse_errors);
        set(&self.not_added_up, row.not_added_up);
        self.descriptors.set(signed(row.descriptors));
        self.sample_seconds.set(row.sample_seconds);
        self.relabelled.set(signed(row.relabelled));
        for (state, cgroups) in ["living", "gone"].into_iter().zip(row.known) {
            self.known
                .get_or_create(&StateLabels { state })
                .set(signed(cgroups));
        }
        for (reason, count) in [
            ("expired", row.forgotten.expired),
            ("shed", row.forgotten.shed),
            ("rejected", row.forgotten.rejected),
        ] {
            set(
                &self.forgotten.get_or_create(&ReasonLabels { reason }),
                count,
            );
        }
        for (reason, folders) in ["left_out", "unlisted"].into_iter().zip(row.unwalked) {
            self.unwalked
                .get_or_create(&ReasonLabels { reason })
                .set(signed(folders));
        }
    }
}
