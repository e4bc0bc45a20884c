//! Metrics of evidence: what became of it beyond its fate, and what fell out of a bounded table.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::{AuditRow, KindLabels, ReasonLabels, set, signed};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TableLabels {
    table: &'static str,
}

#[derive(Clone, Debug, Default)]
pub(super) struct AuditMetrics {
    events: Family<KindLabels, Counter>,
    unattributed: Family<ReasonLabels, Counter>,
    passed_over: Family<ReasonLabels, Counter>,
    rows: Family<TableLabels, Gauge>,
    rows_shed: Family<TableLabels, Counter>,
    segments: Family<KindLabels, Counter>,
    waiting: Gauge,
    irregular: Family<KindLabels, Counter>,
}

impl AuditMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register(
            "audit_events",
            "Audit events made of kernel records",
            self.events.clone(),
        );
        registry.register(
            "audit_unattributed",
            "Metadata events whose process or socket owner is not known",
            self.unattributed.clone(),
        );
        registry.register(
            "audit_passed_over",
            "Records that no event can come of: other protocols than TCP, later fragments",
            self.passed_over.clone(),
        );
        registry.register(
            "audit_rows",
            "Rows of the auditor's tables now",
            self.rows.clone(),
        );
        registry.register(
            "audit_rows_shed",
            "Rows given up to make room while something was still awaited of them",
            self.rows_shed.clone(),
        );
        registry.register(
            "imds_segments",
            "Segments of metadata connections, by what the decoder made of them",
            self.segments.clone(),
        );
        registry.register(
            "imds_requests_waiting",
            "Metadata requests begun whose event is not out yet",
            self.waiting.clone(),
        );
        registry.register(
            "imds_irregular",
            "Metadata streams out of order: answers after the timeout, requests let go before their answer, answers without a request, unreadable heads told in the event of another, gaps given up, retransmissions with other bytes, connections gone quiet in the midst of a request",
            self.irregular.clone(),
        );
    }

    pub(super) fn show(&self, row: &AuditRow) {
        let (counts, decoder) = (&row.counts, &row.decoder);
        for (kind, count) in [("imds", counts.imds_events), ("oom", counts.oom_events)] {
            set(&self.events.get_or_create(&KindLabels { kind }), count);
        }
        for (reason, count) in [
            ("no_process", counts.without_process),
            ("no_owner", counts.without_owner),
        ] {
            set(
                &self.unattributed.get_or_create(&ReasonLabels { reason }),
                count,
            );
        }
        for (reason, count) in [
            ("connect_not_tcp", counts.connects_not_tcp),
            ("segment_not_tcp", counts.segments_not_tcp),
            ("no_transport_header", counts.segments_no_transport),
            ("segment_of_server", counts.segments_of_server),
        ] {
            set(
                &self.passed_over.get_or_create(&ReasonLabels { reason }),
                count,
            );
        }
        let [tasks, owners, connections] = row.rows;
        for (table, rows, shed) in [
            ("tasks", tasks, counts.tasks_shed),
            ("owners", owners, counts.owners_shed),
            ("connections", connections, decoder.evicted),
        ] {
            let labels = TableLabels { table };
            self.rows.get_or_create(&labels).set(signed(rows));
            set(&self.rows_shed.get_or_create(&labels), shed);
        }
        self.show_decoder(row);
    }

    fn show_decoder(&self, row: &AuditRow) {
        let decoder = &row.decoder;
        for (kind, count) in [
            ("used", decoder.used),
            ("no_payload", decoder.no_payload),
            ("repeated", decoder.repeated),
            ("outside", decoder.outside),
            ("not_endpoint", decoder.not_endpoint),
        ] {
            set(&self.segments.get_or_create(&KindLabels { kind }), count);
        }
        self.waiting.set(signed(decoder.waiting()));
        for (kind, count) in [
            ("late_answer", decoder.late_answers),
            ("forgotten", decoder.forgotten),
            ("orphan_response", decoder.orphan_responses),
            ("repeated_head", decoder.repeated_heads),
            ("gap", decoder.gaps),
            ("conflict", decoder.conflicts),
            ("idle", decoder.idle),
        ] {
            set(&self.irregular.get_or_create(&KindLabels { kind }), count);
        }
    }
}
