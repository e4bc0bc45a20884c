//! A batch of the spool as an OTLP request: here each record gets its name. Pure.

use std::net::IpAddr;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use plimsoll_wire::otlp::id::{self, StreamId};
use plimsoll_wire::{Class, names, otlp};
use prost::Message;

use crate::spool::Outgoing;

/// Events. A payload that is no log record goes out as an empty one under its number, so that the
/// collector refuses it by name instead of seeing a gap.
pub fn logs(node: &str, epoch: &str, batch: &Outgoing) -> ExportLogsServiceRequest {
    let log_records = batch
        .records
        .iter()
        .map(|(seq, payload)| {
            let mut record = LogRecord::decode(payload.as_slice()).unwrap_or_default();
            id::stamp(
                &mut record.attributes,
                &stream_id(epoch, Class::Security, *seq),
            );
            record
        })
        .collect();
    let scope = InstrumentationScope {
        name: names::SCOPE.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(id::node_resource(node)),
            scope_logs: vec![ScopeLogs {
                scope: Some(scope),
                log_records,
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    }
}

/// Windows, each a resource of its own.
pub fn metrics(node: &str, epoch: &str, batch: &Outgoing) -> ExportMetricsServiceRequest {
    let resource_metrics = batch
        .records
        .iter()
        .map(|(seq, payload)| {
            let mut window = ResourceMetrics::decode(payload.as_slice()).unwrap_or_default();
            let attributes = &mut window.resource.get_or_insert_default().attributes;
            attributes.push(otlp::value::text(names::K8S_NODE_NAME, node));
            id::stamp(attributes, &stream_id(epoch, Class::Usage, *seq));
            window
        })
        .collect();
    ExportMetricsServiceRequest { resource_metrics }
}

fn stream_id(epoch: &str, class: Class, seq: u64) -> StreamId {
    StreamId {
        epoch: epoch.to_owned(),
        class,
        seq,
    }
}

/// Whether a host of a URI is this machine: a loopback address, or `localhost`.
pub fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::event::Loss;
    use plimsoll_wire::{AuditEvent, Identity};

    use super::*;

    #[test]
    fn every_record_of_a_request_has_its_name() {
        let event = AuditEvent::Loss(Loss {
            stage: "spool".into(),
            lost_class: Class::Usage,
            fate: "shed".into(),
            count: 2,
            first_seq: None,
            last_seq: None,
        });
        let payload = otlp::logs::encode(&event, 5).encode_to_vec();
        let request = logs(
            "node-1",
            "ab12",
            &Outgoing {
                records: vec![(7, payload), (8, vec![0xff])],
            },
        );
        let resource = &request.resource_logs[0];
        assert_eq!(
            id::node(resource.resource.as_ref()).unwrap(),
            Some("node-1")
        );
        let records = &resource.scope_logs[0].log_records;
        assert_eq!(otlp::logs::decode(&records[0]).unwrap(), (5, event));
        let names: Vec<_> = records
            .iter()
            .map(|record| id::read(&record.attributes).unwrap().unwrap().seq)
            .collect();
        assert_eq!(names, [7, 8]);
    }

    #[test]
    fn a_window_keeps_its_resource_and_gets_node_and_name() {
        let window = plimsoll_wire::UsageWindow {
            identity: Identity::unknown(9),
            start_unix_ns: 60,
            end_unix_ns: 120,
            observed_ns: 60,
            phase: plimsoll_wire::usage::Phase::Steady,
            last: false,
            cpu: plimsoll_wire::usage::CpuUsage::default(),
            memory: plimsoll_wire::usage::MemoryUsage::default(),
            cpu_pressure: plimsoll_wire::usage::Pressure::default(),
            memory_pressure: plimsoll_wire::usage::Pressure::default(),
            io_pressure: plimsoll_wire::usage::Pressure::default(),
            io_read_bytes: None,
            io_written_bytes: None,
            pids_peak: None,
        };
        let payload = otlp::metrics::encode(&window).encode_to_vec();
        let request = metrics(
            "node-1",
            "ab12",
            &Outgoing {
                records: vec![(3, payload)],
            },
        );
        let sent = &request.resource_metrics[0];
        assert_eq!(otlp::metrics::decode(sent).unwrap(), window);
        assert_eq!(id::node(sent.resource.as_ref()).unwrap(), Some("node-1"));
    }

    #[test]
    fn loopback_is_recognised() {
        for (host, expect) in [
            ("127.0.0.1", true),
            ("[::1]", true),
            ("localhost", true),
            ("10.0.0.1", false),
            ("localhost.evil.example", false),
        ] {
            assert_eq!(is_loopback(host), expect, "{host}");
        }
    }
}
