//! The walk beside the decoder: on generated requests, changed ones, and ones made to get around it.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::ArrayValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{Gauge, metric::Data};
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;

use super::*;

fn value(values: usize) -> AnyValue {
    let values = vec![AnyValue::default(); values];
    let value = match values.len() {
        0 => Value::StringValue("text".to_owned()),
        _ => Value::ArrayValue(ArrayValue { values }),
    };
    AnyValue { value: Some(value) }
}

fn attributes(count: usize) -> Vec<KeyValue> {
    let attribute = |at| KeyValue {
        key: "k".repeat(at),
        value: Some(value(at)),
        ..KeyValue::default()
    };
    (0..count).map(attribute).collect()
}

/// Requests of resources of scopes of records with so many attributes.
fn logs() -> impl Strategy<Value = ExportLogsServiceRequest> {
    vec(vec(vec(0_usize..6, 0..9), 0..4), 0..4).prop_map(|resources| {
        let record = |count| LogRecord {
            time_unix_nano: 7,
            body: Some(value(count)),
            attributes: attributes(count),
            ..LogRecord::default()
        };
        let scope = |records: Vec<usize>| ScopeLogs {
            log_records: records.into_iter().map(record).collect(),
            ..ScopeLogs::default()
        };
        let resource = |scopes: Vec<Vec<usize>>| ResourceLogs {
            scope_logs: scopes.into_iter().map(scope).collect(),
            schema_url: "https://schema".to_owned(),
            ..ResourceLogs::default()
        };
        ExportLogsServiceRequest {
            resource_logs: resources.into_iter().map(resource).collect(),
        }
    })
}

fn metrics() -> impl Strategy<Value = ExportMetricsServiceRequest> {
    vec(vec(0_usize..9, 0..4), 0..9).prop_map(|windows| {
        let metric = |points| Metric {
            data: Some(Data::Gauge(Gauge {
                data_points: vec![NumberDataPoint::default(); points],
            })),
            ..Metric::default()
        };
        let window = |metrics: Vec<usize>| ResourceMetrics {
            scope_metrics: vec![ScopeMetrics {
                metrics: metrics.into_iter().map(metric).collect(),
                ..ScopeMetrics::default()
            }],
            ..ResourceMetrics::default()
        };
        ExportMetricsServiceRequest {
            resource_metrics: windows.into_iter().map(window).collect(),
        }
    })
}

fn held_by_values(value: &AnyValue) -> usize {
    match &value.value {
        Some(Value::ArrayValue(array)) => array.values.capacity() * size_of::<AnyValue>(),
        Some(Value::StringValue(text)) => text.capacity(),
        _ => 0,
    }
}

/// Records, and what was allocated for them, of a request that was decoded.
fn of_decoded(request: &ExportLogsServiceRequest) -> Weight {
    let resources = &request.resource_logs;
    let mut weight = Weight {
        records: 0,
        bytes: resources.capacity() * size_of::<ResourceLogs>(),
    };
    for resource in resources {
        weight.bytes += resource.scope_logs.capacity() * size_of::<ScopeLogs>();
        for scope in &resource.scope_logs {
            weight.records += scope.log_records.len();
            weight.bytes += scope.log_records.capacity() * size_of::<LogRecord>();
            for record in &scope.log_records {
                weight.bytes += record.body.as_ref().map_or(0, held_by_values);
                weight.bytes += record.attributes.capacity() * size_of::<KeyValue>();
                for attribute in &record.attributes {
                    weight.bytes += attribute.key.capacity();
                    weight.bytes += attribute.value.as_ref().map_or(0, held_by_values);
                }
            }
        }
    }
    weight
}

proptest! {
    #[test]
    fn records_are_as_many_as_are_decoded_and_take_no_more_than_was_said(request in logs()) {
        let bytes = request.encode_to_vec();
        let found = weigh(&LOGS, &bytes);
        let decoded = of_decoded(&ExportLogsServiceRequest::decode(bytes.as_slice()).unwrap());
        prop_assert_eq!(found.records, decoded.records);
        prop_assert!(found.bytes >= decoded.bytes, "{:?} {:?}", found, decoded);
    }

    #[test]
    fn windows_are_as_many_as_are_decoded(request in metrics()) {
        let found = weigh(&METRICS, &request.encode_to_vec());
        prop_assert_eq!(found.records, request.resource_metrics.len());
    }

    #[test]
    fn any_bytes_end_the_walk(bytes in vec(any::<u8>(), 0..300)) {
        for kind in [&LOGS, &METRICS, &TRACES] {
            weigh(kind, &bytes);
        }
    }

    /// Whatever the decoder takes, it is counted as the decoder counts.
    #[test]
    fn what_is_changed_and_still_decoded_is_counted_alike(
        request in logs(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut bytes = request.encode_to_vec();
        if !bytes.is_empty() {
            *at.get_mut(&mut bytes) = byte;
        }
        let found = weigh(&LOGS, &bytes);
        if let Ok(decoded) = ExportLogsServiceRequest::decode(bytes.as_slice()) {
            prop_assert_eq!(found.records, of_decoded(&decoded).records);
        }
    }
}

#[test]
fn no_way_around_the_count() {
    let empty = [0x12, 0x00].repeat(500);
    let within = |head: &[u8]| [head, &empty].concat();
    for (what, bytes) in [
        // 1,000 is 0xe8 0x07 and 1,003 is 0xeb 0x07.
        ("plain", within(&[0x0a, 0xeb, 0x07, 0x12, 0xe8, 0x07])),
        (
            "longer than what is around it",
            within(&[0x0a, 0x03, 0x12, 0xe8, 0x07]),
        ),
        (
            "after a group",
            within(&[0x7b, 0x0a, 0x00, 0x7c, 0x0a, 0xeb, 0x07, 0x12, 0xe8, 0x07]),
        ),
        (
            "after a group that ends behind what is around it",
            within(&[0x0a, 0x01, 0x7b, 0x7c, 0x0a, 0xeb, 0x07, 0x12, 0xe8, 0x07]),
        ),
    ] {
        let records = if what.starts_with("after a group that") {
            0
        } else {
            500
        };
        let found = weigh(&LOGS, &bytes);
        assert_eq!(found.records, records, "{what}");
        let is_whole = ExportLogsServiceRequest::decode(bytes.as_slice()).is_ok();
        assert_eq!(
            is_whole,
            ["plain", "after a group"].contains(&what),
            "{what}"
        );
    }
    let cut = [within(&[0x0a, 0xec, 0x07, 0x12, 0xe8, 0x07]), vec![0x0f]].concat();
    assert_eq!(
        weigh(&LOGS, &cut).records,
        500,
        "what comes before an error"
    );
}

#[test]
fn what_is_small_on_the_wire_is_weighed_as_it_is_decoded() {
    // Empty log records, attributes of one record, bucket counts, spans.
    for (kind, path, item, size) in [
        (
            &LOGS,
            &[0x0a, 0x12][..],
            &[0x12, 0x00][..],
            size_of::<LogRecord>(),
        ),
        (
            &LOGS,
            &[0x0a, 0x12, 0x12],
            &[0x32, 0x00],
            size_of::<KeyValue>(),
        ),
        (
            &METRICS,
            &[0x0a, 0x12, 0x12, 0x52, 0x0a, 0x42, 0x12],
            &[0x00],
            8,
        ),
        (
            &METRICS,
            &[0x0a, 0x12, 0x12, 0x52, 0x0a, 0x42],
            &[0x10, 0x00],
            8,
        ),
        (&TRACES, &[0x0a, 0x12], &[0x12, 0x00], size_of::<Vec<u8>>()),
    ] {
        let mut bytes = item.repeat(10_000);
        for key in path.iter().rev() {
            let mut around = vec![*key];
            prost::encode_length_delimiter(bytes.len(), &mut around).unwrap();
            around.append(&mut bytes);
            bytes = around;
        }
        let found = weigh(kind, &bytes);
        assert!(found.bytes >= 10_000 * size, "{path:?}: {found:?}");
    }
}
