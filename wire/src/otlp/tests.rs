use std::fmt::Write;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use super::id::StreamId;
use super::{id, logs, metrics, value};
use crate::event::{ContainerEnd, Heartbeat, ImdsAccess, Loss, OomKill, Process, StageFates};
use crate::fate::Fates;
use crate::identity::{Qos, Subject};
use crate::usage::{CpuUsage, MemoryUsage, Phase, Pressure, Source};
use crate::{AuditEvent, Class, Identity, Sketch, UsageWindow, names};

mod any;

use any::{class, event, window};

proptest! {
    #[test]
    fn events_survive_the_wire(event in event(), time in any::<u64>()) {
        let bytes = logs::encode(&event, time).encode_to_vec();
        let record = LogRecord::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(logs::decode(&record).unwrap(), (time, event));
    }

    #[test]
    fn windows_survive_the_wire(window in window()) {
        let bytes = metrics::encode(&window).encode_to_vec();
        let message = ResourceMetrics::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(metrics::decode(&message).unwrap(), window);
    }

    #[test]
    fn ids_survive_the_wire(epoch in "[0-9a-f]{1,64}", class in class(), seq in 1u64..) {
        let id = StreamId { epoch, class, seq };
        let mut attributes = vec![value::text("other", "x")];
        prop_assert_eq!(id::read(&attributes).unwrap(), None);
        id::stamp(&mut attributes, &id);
        prop_assert_eq!(id::read(&attributes).unwrap(), Some(id));
    }

    /// Flipped bytes of valid messages reach deeper than random bytes do.
    #[test]
    fn hostile_bytes_never_panic(
        event in event(),
        window in window(),
        edits in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let edit = |mut bytes: Vec<u8>| {
            for (index, byte) in &edits {
                let at = index.index(bytes.len());
                bytes[at] = *byte;
            }
            bytes
        };
        if let Ok(record) = LogRecord::decode(edit(logs::encode(&event, 1).encode_to_vec()).as_slice()) {
            drop(logs::decode(&record));
            drop(id::read(&record.attributes));
        }
        if let Ok(message) = ResourceMetrics::decode(edit(metrics::encode(&window).encode_to_vec()).as_slice()) {
            drop(metrics::decode(&message));
            drop(id::node(message.resource.as_ref()));
        }
    }
}

fn sample_window() -> UsageWindow {
    let mut per_second = Sketch::default();
    for value in [0, 1_000_000, 250_000_000, 250_000_001] {
        per_second.add(value);
    }
    UsageWindow {
        identity: Identity {
            cgroup_id: 4711,
            cgroup_path: Some("/kubepods.slice/a.scope".into()),
            subject: Subject::Container {
                pod_uid: "0f0a0e1c-9d3f-4b0a-8c6e-000000000001".into(),
                container_id: "c0ffee".into(),
                runtime: Some("containerd".into()),
                qos: Qos::Burstable,
            },
        },
        start_unix_ns: 1_700_000_040_000_000_000,
        end_unix_ns: 1_700_000_100_000_000_000,
        observed_ns: 59_000_000_000,
        phase: Phase::Steady,
        last: false,
        cpu: CpuUsage {
            source: Some(Source::CgroupV2),
            used_ns: Some(501_000_001),
            per_second,
            ..CpuUsage::default()
        },
        memory: MemoryUsage {
            mean_bytes: Some(1 << 20),
            ..MemoryUsage::default()
        },
        cpu_pressure: Pressure::default(),
        memory_pressure: Pressure::default(),
        io_pressure: Pressure {
            some_usec: Some(12),
            full_usec: None,
        },
        io_read_bytes: None,
        io_written_bytes: None,
        pids_peak: Some(3),
    }
}

fn show(value: Option<&AnyValue>) -> String {
    value.map_or_else(
        || "none".into(),
        |value| value::to_json(value).unwrap().to_string(),
    )
}

fn show_attributes(attributes: &[KeyValue]) -> String {
    let line = |attribute: &KeyValue| {
        format!("  {} = {}\n", attribute.key, show(attribute.value.as_ref()))
    };
    attributes.iter().map(line).collect()
}

#[test]
fn a_window_on_the_wire() {
    let message = metrics::encode(&sample_window());
    let mut shown = show_attributes(&message.resource.unwrap().attributes);
    for metric in &message.scope_metrics[0].metrics {
        let data = metric.data.as_ref().unwrap();
        writeln!(shown, "{} [{}] {data:?}", metric.name, metric.unit).unwrap();
    }
    insta::assert_snapshot!(shown);
}

#[test]
fn an_event_on_the_wire() {
    let event = AuditEvent::Loss(Loss {
        stage: "spool".into(),
        lost_class: Class::Usage,
        fate: "shed".into(),
        count: u64::MAX,
        first_seq: Some(7),
        last_seq: None,
    });
    let mut record = logs::encode(&event, 1_700_000_000_000_000_000);
    id::stamp(
        &mut record.attributes,
        &StreamId {
            epoch: "ab".repeat(16),
            class: Class::Security,
            seq: 42,
        },
    );
    insta::assert_snapshot!(format!(
        "{} {} {}\n{}{}",
        record.event_name,
        record.severity_text,
        record.time_unix_nano,
        show_attributes(&record.attributes),
        show(record.body.as_ref())
    ));
}

#[test]
fn errors_name_what_is_wrong() {
    let break_resource = |name: &str, value: Option<Value>| {
        let mut message = metrics::encode(&sample_window());
        let attributes = &mut message.resource.as_mut().unwrap().attributes;
        attributes.retain(|attribute| attribute.key != name);
        attributes.extend(value.map(|value| value::attribute(name, value)));
        metrics::decode(&message).unwrap_err().to_string()
    };
    let check =
        |name: &str, value, expected: &str| assert_eq!(break_resource(name, value), expected);
    check(names::CGROUP_ID, None, "plimsoll.cgroup.id is absent");
    check(
        names::CGROUP_ID,
        Some(Value::IntValue(-1)),
        "plimsoll.cgroup.id is not an unsigned integer",
    );
    check(
        names::QOS,
        Some(Value::StringValue("best".into())),
        "plimsoll.qos has an unknown value",
    );
    check(
        names::CONTAINER_ID,
        Some(Value::BoolValue(true)),
        "container.id is not text",
    );

    let break_metric = |at: usize| {
        let mut message = metrics::encode(&sample_window());
        message.scope_metrics[0].metrics[at].data = None;
        metrics::decode(&message).unwrap_err().to_string()
    };
    assert_eq!(
        break_metric(0),
        "container.cpu.time is not a gauge or a sum"
    );
    let last = metrics::encode(&sample_window()).scope_metrics[0]
        .metrics
        .len()
        - 1;
    assert_eq!(
        break_metric(last),
        "plimsoll.container.cpu.usage.1s is not an exponential histogram"
    );

    let deep = (0..40).fold(AnyValue::default(), |inner, _| AnyValue {
        value: Some(Value::ArrayValue(
            opentelemetry_proto::tonic::common::v1::ArrayValue {
                values: vec![inner],
            },
        )),
    });
    let record = LogRecord {
        body: Some(deep),
        ..LogRecord::default()
    };
    assert_eq!(
        logs::decode(&record).unwrap_err().to_string(),
        "the body is nested deeper than 16 levels"
    );
    let mut record = logs::encode(
        &AuditEvent::ContainerEnd(ContainerEnd {
            identity: Identity::unknown(1),
            started_unix_ns: None,
            cpu_used_ns: None,
            memory_peak_bytes: None,
        }),
        0,
    );
    record.event_name = "plimsoll.heartbeat".into();
    assert_eq!(
        logs::decode(&record).unwrap_err().to_string(),
        "the record is named plimsoll.heartbeat, its body is plimsoll.container.end"
    );
}
