//! Metrics of records on their way: fates by stage, what waits in the spool, and tries to send that
//! failed.

use std::sync::atomic::AtomicU64;

use plimsoll_wire::Class;
use plimsoll_wire::event::StageFates;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

use super::{SpoolRow, set, signed};
use crate::export::standing::Reason;

/// Which records of which stage met which fate.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FateLabels {
    stage: String,
    class: String,
    fate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClassLabels {
    class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    class: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, Default)]
pub(super) struct FlowMetrics {
    records: Family<FateLabels, Counter>,
    in_flight: Family<FateLabels, Gauge>,
    spool_bytes: Family<ClassLabels, Gauge>,
    spool_records: Family<ClassLabels, Gauge>,
    spool_oldest: Family<ClassLabels, Gauge<f64, AtomicU64>>,
    spool_read_errors: Family<ClassLabels, Counter>,
    export_failures: Family<FailureLabels, Counter>,
}

impl FlowMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
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
            "Age of the oldest record that the collector has not acknowledged; 0 without such records",
            Unit::Seconds,
            self.spool_oldest.clone(),
        );
        registry.register(
            "spool_read_errors",
            "Reads of the spool that the disk refused; what is given up for it counts as undecodable",
            self.spool_read_errors.clone(),
        );
        registry.register(
            "export_failures",
            "Requests to the collector that failed, by class of records and reason: no_token, refused_token, tls, unavailable, timeout, busy, invalid, other; /readyz says what is in the way now",
            self.export_failures.clone(),
        );
    }

    pub(super) fn show_fates(&self, stage: &StageFates) {
        let labels = |fate| FateLabels {
            stage: stage.stage.clone(),
            class: stage.class.clone(),
            fate,
        };
        for (fate, count) in stage.fates.totals() {
            set(&self.records.get_or_create(&labels(fate)), count);
        }
        self.in_flight
            .get_or_create(&labels("in_flight"))
            .set(signed(stage.fates.in_flight));
    }

    pub(super) fn show_failures(&self, failures: &[(Class, Reason, u64)]) {
        for (class, reason, count) in failures {
            let labels = FailureLabels {
                class: class.as_str(),
                reason: reason.as_str(),
            };
            set(&self.export_failures.get_or_create(&labels), *count);
        }
    }

    pub(super) fn show_spool(&self, row: &SpoolRow) {
        let labels = ClassLabels { class: row.class };
        self.spool_bytes
            .get_or_create(&labels)
            .set(signed(row.bytes));
        self.spool_records
            .get_or_create(&labels)
            .set(signed(row.records));
        self.spool_oldest.get_or_create(&labels).set(row.oldest_s);
        set(
            &self.spool_read_errors.get_or_create(&labels),
            row.read_errors,
        );
    }
}
