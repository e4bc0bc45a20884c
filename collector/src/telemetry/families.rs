//! The families themselves: names, help texts, label sets. What they show is copied in by the parent.

use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::{Registry, Unit};

/// Which records of which stage met which fate; `destination` is empty at stages without one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct FateLabels {
    pub(super) stage: String,
    pub(super) class: String,
    pub(super) destination: String,
    pub(super) fate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ClassLabels {
    pub(super) class: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DestinationLabels {
    pub(super) destination: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct RefusalLabels {
    pub(super) destination: String,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct StatusLabels {
    pub(super) status: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DecisionLabels {
    pub(super) decision: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct DoorLabels {
    pub(super) door: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct ReasonLabels {
    pub(super) reason: &'static str,
}

/// All metrics of the collector but the door's.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(super) records: Family<FateLabels, Counter>,
    pub(super) in_flight: Family<FateLabels, Gauge>,
    pub(super) journal_bytes: Family<ClassLabels, Gauge>,
    pub(super) journal_pending_bytes: Family<ClassLabels, Gauge>,
    pub(super) journal_segments: Family<ClassLabels, Gauge>,
    pub(super) journal_records: Family<ClassLabels, Gauge>,
    pub(super) journal_oldest: Family<ClassLabels, Gauge<f64, AtomicU64>>,
    pub(super) journal_damaged: Family<ClassLabels, Gauge>,
    pub(super) journal_unreadable: Family<ClassLabels, Gauge>,
    pub(super) journal_missing: Family<ClassLabels, Gauge>,
    pub(super) streams: Family<ClassLabels, Gauge>,
    pub(super) streams_with_gaps: Family<ClassLabels, Gauge>,
    pub(super) stream_missing: Family<ClassLabels, Gauge>,
    pub(super) destination_failures: Family<DestinationLabels, Counter>,
    pub(super) destination_renewals: Family<DestinationLabels, Counter>,
    pub(super) destination_stuck: Family<DestinationLabels, Gauge<f64, AtomicU64>>,
    pub(super) destination_refusals: Family<RefusalLabels, Counter>,
    pub(super) destination_restamped: Family<DestinationLabels, Counter>,
    pub(super) destination_maybe_twice: Family<DestinationLabels, Counter>,
    pub(super) trail_bytes: Gauge,
    pub(super) trail_records: Gauge,
    pub(super) trail_oldest: Gauge<f64, AtomicU64>,
    pub(super) trail_links: Gauge,
    pub(super) trail_unsigned: Gauge,
    pub(super) history_series: Gauge,
    pub(super) history_bytes: Gauge,
    pub(super) history_file_bytes: Gauge,
    pub(super) history_windows: Counter,
    pub(super) history_folded: Counter,
    pub(super) history_expired: Counter,
    pub(super) history_rejected: Counter,
    pub(super) history_max_series: Gauge,
    pub(super) history_undecodable: Gauge,
    pub(super) sink_lines: Counter,
    pub(super) sink_bytes: Counter,
    pub(super) sink_rotations: Counter,
    pub(super) sink_removed: Counter,
    pub(super) inventory_objects: Gauge,
    pub(super) inventory_reloads: Counter,
    pub(super) inventory_problems: Counter,
    pub(super) inventory_deleted: Gauge,
    pub(super) inventory_forgotten: Counter,
    pub(super) inventory_unheard: Counter,
    pub(super) two_agents: Gauge,
    pub(super) agents_silent: Gauge,
    pub(super) agents_rewound: Counter,
    pub(super) nodes_let_go: Counter,
    pub(super) requests: Family<StatusLabels, Counter>,
    pub(super) http_refused: Family<ReasonLabels, Counter>,
    pub(super) http_access: Family<DecisionLabels, Counter>,
    pub(super) http_answers: Gauge,
    pub(super) http_connections: Gauge,
    pub(super) certificate_expiry: Family<DoorLabels, Gauge>,
    pub(super) ingest_connections: Gauge,
    pub(super) in_hand: Gauge,
    pub(super) cpu_seconds: Counter<f64, AtomicU64>,
    pub(super) rss_bytes: Gauge,
}

impl Metrics {
    /// Registers every metric, with its help text.
    pub fn register(&self, registry: &mut Registry) {
        self.register_journals(registry);
        self.register_streams(registry);
        self.register_destinations(registry);
        self.register_trail(registry);
        self.register_history(registry);
        self.register_sink(registry);
        self.register_inventory(registry);
        self.register_doors(registry);
        self.register_process(registry);
    }

    fn register_journals(&self, registry: &mut Registry) {
        registry.register("records", "Records by stage, class, destination and fate; see the accounting law in docs/events.md", self.records.clone());
        registry.register(
            "records_in_flight",
            "Records held at a stage now",
            self.in_flight.clone(),
        );
        registry.register_with_unit(
            "journal",
            "Size of the journal, on disk and in memory",
            Unit::Bytes,
            self.journal_bytes.clone(),
        );
        registry.register_with_unit(
            "journal_pending",
            "Part of the journal that waits for the disk",
            Unit::Bytes,
            self.journal_pending_bytes.clone(),
        );
        registry.register(
            "journal_segments",
            "Segment files of the journal",
            self.journal_segments.clone(),
        );
        registry.register(
            "journal_records",
            "Records in the journal, read by every destination or not",
            self.journal_records.clone(),
        );
        registry.register_with_unit(
            "journal_oldest_age",
            "Age of the oldest record in the journal, read or not; 0 without records",
            Unit::Seconds,
            self.journal_oldest.clone(),
        );
        registry.register(
            "journal_damaged_at_start",
            "Places of damage that the last start found in the journal",
            self.journal_damaged.clone(),
        );
        registry.register(
            "journal_unreadable_at_start",
            "Files that the last start could not read or sync",
            self.journal_unreadable.clone(),
        );
        registry.register("journal_missing_at_start", "Numbers that the last start found missing in the journal; an upper bound after a torn end", self.journal_missing.clone());
    }

    fn register_streams(&self, registry: &mut Registry) {
        registry.register(
            "streams",
            "Streams of nodes that are remembered",
            self.streams.clone(),
        );
        registry.register(
            "streams_with_gaps",
            "Streams with numbers that never came; /api/v1/accounting names them",
            self.streams_with_gaps.clone(),
        );
        registry.register(
            "stream_missing_records",
            "Numbers that never came, over all remembered streams",
            self.stream_missing.clone(),
        );
    }

    fn register_destinations(&self, registry: &mut Registry) {
        registry.register(
            "destination_failures",
            "Times that records could not be carried to a destination and were left in the journal",
            self.destination_failures.clone(),
        );
        registry.register("destination_journal_renewals", "Times that a destination's cursor was of another journal, and it began at the start of this one", self.destination_renewals.clone());
        registry.register_with_unit(
            "destination_stuck_age",
            "Age of the oldest record that a destination does not take; 0 while none is stuck",
            Unit::Seconds,
            self.destination_stuck.clone(),
        );
        registry.register(
            "destination_refusals",
            "Calls that a sink refused, by what is to be done about it; nothing is dropped for one",
            self.destination_refusals.clone(),
        );
        registry.register(
            "destination_restamped",
            "Events that a sink has under the time of their delivery, as it would not take their own",
            self.destination_restamped.clone(),
        );
        registry.register(
            "destination_maybe_twice",
            "Events that a sink may have twice, as an answer was lost; both have one id",
            self.destination_maybe_twice.clone(),
        );
    }

    fn register_trail(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "trail",
            "Size of the audit trail, on disk and in memory",
            Unit::Bytes,
            self.trail_bytes.clone(),
        );
        registry.register(
            "trail_records",
            "Events in the audit trail, those included that every destination has until they are removed",
            self.trail_records.clone(),
        );
        registry.register_with_unit(
            "trail_oldest_age",
            "Age of the oldest event in the audit trail; 0 without any",
            Unit::Seconds,
            self.trail_oldest.clone(),
        );
        registry.register(
            "trail_links",
            "Links of the audit trail's chain since the start",
            self.trail_links.clone(),
        );
        registry.register(
            "trail_unsigned_links",
            "Links behind the last signed checkpoint",
            self.trail_unsigned.clone(),
        );
    }

    fn register_history(&self, registry: &mut Registry) {
        registry.register(
            "history_series",
            "Containers, and workloads' earlier pods, in the usage history",
            self.history_series.clone(),
        );
        registry.register_with_unit(
            "history_state",
            "Encoded size of the usage history",
            Unit::Bytes,
            self.history_bytes.clone(),
        );
        registry.register_with_unit(
            "history_file",
            "Length of the usage history's file",
            Unit::Bytes,
            self.history_file_bytes.clone(),
        );
        registry.register(
            "history_windows",
            "Windows taken into the usage history",
            self.history_windows.clone(),
        );
        registry.register("history_folded_series", "Series of ended containers folded into their workload's, because of the bound on series", self.history_folded.clone());
        registry.register(
            "history_expired_series",
            "Series forgotten because of the bound on series, since the history was made: nameless ones, and earlier pods when nothing was left to fold",
            self.history_expired.clone(),
        );
        registry.register(
            "history_rejected_windows",
            "Windows of new containers turned away because as many others report as history.max_series allows",
            self.history_rejected.clone(),
        );
        registry.register(
            "history_max_series",
            "The bound on series, history.max_series",
            self.history_max_series.clone(),
        );
        registry.register(
            "history_undecodable_series",
            "Series that the last start could not read",
            self.history_undecodable.clone(),
        );
    }

    fn register_sink(&self, registry: &mut Registry) {
        registry.register(
            "sink_lines",
            "Lines written to the audit file",
            self.sink_lines.clone(),
        );
        registry.register_with_unit(
            "sink_written",
            "Bytes written to the audit file",
            Unit::Bytes,
            self.sink_bytes.clone(),
        );
        registry.register(
            "sink_rotations",
            "Audit files put aside because they were full",
            self.sink_rotations.clone(),
        );
        registry.register(
            "sink_removed_files",
            "Audit files removed because audit_file.keep_files were there, or more",
            self.sink_removed.clone(),
        );
    }

    fn register_inventory(&self, registry: &mut Registry) {
        registry.register(
            "inventory_objects",
            "Kubernetes objects known",
            self.inventory_objects.clone(),
        );
        registry.register(
            "inventory_reloads",
            "Times that the inventory was read because its files changed",
            self.inventory_reloads.clone(),
        );
        registry.register(
            "inventory_problems",
            "Inventory files, objects and quantities left out, over all reads; the log names them",
            self.inventory_problems.clone(),
        );
        registry.register(
            "inventory_deleted_objects",
            "Deleted Kubernetes objects whose names are kept for events that come late",
            self.inventory_deleted.clone(),
        );
        registry.register(
            "inventory_forgotten_objects",
            "Deleted Kubernetes objects whose names fell out before inventory.keep_deleted_s, because of the bound on them",
            self.inventory_forgotten.clone(),
        );
        registry.register(
            "inventory_unheard_owners",
            "Owners of a kind that the API server was not asked for, because too many other kinds that it may not have were to be asked for",
            self.inventory_unheard.clone(),
        );
    }

    fn register_doors(&self, registry: &mut Registry) {
        registry.register(
            "nodes_with_two_agents",
            "Nodes under whose name two agents with spools of their own sent within a quarter of an hour; the page of nodes names them",
            self.two_agents.clone(),
        );
        registry.register(
            "agents_silent",
            "Agents that missed two heartbeats, did not say that they end, and whose node is there as far as is known; the audit events of class agent name them",
            self.agents_silent.clone(),
        );
        registry.register(
            "agents_rewound",
            "Records that agents sent anew under numbers of theirs that were there before, or under a life of their spool before the last; the audit events of class agent name them",
            self.agents_rewound.clone(),
        );
        registry.register(
            "nodes_let_go",
            "Nodes that are not shown any more: they were not heard for a day, or not for longest of more than 10,000",
            self.nodes_let_go.clone(),
        );
        registry.register(
            "http_requests",
            "HTTP requests answered, by class of status",
            self.requests.clone(),
        );
        registry.register(
            "http_refused",
            "HTTP connections refused or broken off, by reason",
            self.http_refused.clone(),
        );
        registry.register(
            "http_access",
            "Decisions about who may see what, with http.access: kubernetes",
            self.http_access.clone(),
        );
        registry.register(
            "http_answers_remembered",
            "Answers of the API server about users and their rights that are remembered, at most 20,480",
            self.http_answers.clone(),
        );
        registry.register_with_unit(
            "certificate_expiry",
            "When the certificate that is shown ends, or the first of its chain, as Unix time, by door: ingest, http",
            Unit::Seconds,
            self.certificate_expiry.clone(),
        );
        registry.register(
            "http_connections",
            "HTTP connections that are open",
            self.http_connections.clone(),
        );
        registry.register(
            "ingest_connections",
            "Connections of senders that are open",
            self.ingest_connections.clone(),
        );
        registry.register_with_unit(
            "ingest_in_hand",
            "Room set aside for requests that are received or not yet in the journal; at most 256 MiB, more is refused as no_room",
            Unit::Bytes,
            self.in_hand.clone(),
        );
    }

    fn register_process(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "cpu",
            "CPU time of the collector itself",
            Unit::Seconds,
            self.cpu_seconds.clone(),
        );
        registry.register_with_unit(
            "resident_memory",
            "Resident memory of the collector itself",
            Unit::Bytes,
            self.rss_bytes.clone(),
        );
    }
}
