//! Metrics of the kernel programs: whether they run, how full their rings were, and what found no
//! room in the map of CPU time.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{KernelRow, set, set_seconds, signed};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ProgramLabels {
    program: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RingLabels {
    ring: &'static str,
}

#[derive(Clone, Debug, Default)]
pub(super) struct KernelMetrics {
    program_attached: Family<ProgramLabels, Gauge>,
    ring_high_water: Family<RingLabels, Gauge>,
    cgroups: Gauge,
    forgotten: Counter,
    forgotten_seconds: Counter<f64, AtomicU64>,
    unbooked_switches: Counter,
    unbooked_seconds: Counter<f64, AtomicU64>,
    unsettled: Counter,
    missed_periods: Counter,
}

impl KernelMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
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
        registry.register(
            "cpu_time_cgroups",
            "Cgroups whose CPU time the kernel keeps; kernel.max_cgroups is the bound",
            self.cgroups.clone(),
        );
        registry.register(
            "cpu_time_cgroups_forgotten",
            "Cgroups that nobody knew and a walk of the tree did not find, whose CPU time was therefore forgotten",
            self.forgotten.clone(),
        );
        registry.register_with_unit(
            "cpu_time_forgotten",
            "CPU time of those cgroups, which no container has: used after their end was told, or by cgroups that came and went unseen",
            Unit::Seconds,
            self.forgotten_seconds.clone(),
        );
        registry.register(
            "cpu_time_unbooked_switches",
            "Stretches of CPU time that no cgroup has, because kernel.max_cgroups was reached",
            self.unbooked_switches.clone(),
        );
        registry.register_with_unit(
            "cpu_time_unbooked",
            "CPU time that no cgroup has, because kernel.max_cgroups was reached",
            Unit::Seconds,
            self.unbooked_seconds.clone(),
        );
        registry.register(
            "cpu_time_unsettled_rounds",
            "Rounds in which a CPU could not be made to book what it was running",
            self.unsettled.clone(),
        );
        registry.register(
            "cpu_time_missed_periods",
            "Periods of 100 ms, summed over cgroups, that were read too late or found no room",
            self.missed_periods.clone(),
        );
    }

    pub(super) fn show(&self, row: &KernelRow) {
        for (program, attached) in &row.programs {
            let program = program.clone();
            self.program_attached
                .get_or_create(&ProgramLabels { program })
                .set(i64::from(*attached));
        }
        for (ring, bytes) in &row.ring_high_water {
            self.ring_high_water
                .get_or_create(&RingLabels { ring })
                .set(signed(*bytes));
        }
        let cpu_time = &row.cpu_time;
        self.cgroups.set(signed(cpu_time.cgroups));
        set(&self.forgotten, cpu_time.forgotten);
        set_seconds(&self.forgotten_seconds, cpu_time.forgotten_ns);
        set(&self.unbooked_switches, cpu_time.unbooked.switches);
        set_seconds(&self.unbooked_seconds, cpu_time.unbooked.ns);
        set(&self.unsettled, cpu_time.unsettled);
        set(&self.missed_periods, cpu_time.missed_periods);
    }
}
