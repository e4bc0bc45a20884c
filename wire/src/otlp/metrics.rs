//! A usage window as one `ResourceMetrics`, and back. An absent value is an absent metric.

mod distribution;
mod scalar;

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics, metric};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::{DecodeError, subject, value};
use crate::usage::{Phase, Source};
use crate::{UsageWindow, names};

/// Begin and end of a data point, Unix nanoseconds.
#[derive(Clone, Copy)]
struct Span {
    start: u64,
    end: u64,
}

/// The window as OTLP. The node's name and the record's are added when it is sent.
pub fn encode(window: &UsageWindow) -> ResourceMetrics {
    let mut attributes = Vec::with_capacity(20);
    subject::encode(&window.identity, &mut attributes);
    attributes.extend([
        value::number(names::WINDOW_START, window.start_unix_ns),
        value::number(names::WINDOW_END, window.end_unix_ns),
        value::number(names::WINDOW_OBSERVED, window.observed_ns),
        value::text(names::WINDOW_PHASE, phase_name(window.phase)),
        value::attribute(names::WINDOW_LAST, Value::BoolValue(window.last)),
    ]);
    for (name, source) in [
        (names::CPU_SOURCE, window.cpu.source),
        (names::MEMORY_SOURCE, window.memory.source),
    ] {
        attributes.extend(source.map(|source| value::text(name, source_name(source))));
    }
    let span = Span {
        start: window.start_unix_ns,
        end: window.end_unix_ns,
    };
    let mut metrics: Vec<Metric> = scalar::ALL
        .iter()
        .filter_map(|scalar| scalar.encode(window, span))
        .collect();
    metrics.extend(distribution::encode(
        names::CPU_PER_SECOND,
        &window.cpu.per_second,
        span,
    ));
    metrics.extend(distribution::encode(
        names::CPU_PER_100MS,
        &window.cpu.per_100ms,
        span,
    ));
    ResourceMetrics {
        resource: Some(Resource {
            attributes,
            ..Resource::default()
        }),
        scope_metrics: vec![ScopeMetrics {
            scope: Some(InstrumentationScope {
                name: names::SCOPE.to_owned(),
                ..InstrumentationScope::default()
            }),
            metrics,
            ..ScopeMetrics::default()
        }],
        ..ResourceMetrics::default()
    }
}

/// The window that a `ResourceMetrics` of ours holds. Metrics of other names are left alone: a
/// newer agent may send more.
pub fn decode(message: &ResourceMetrics) -> Result<UsageWindow, DecodeError> {
    let attributes = message
        .resource
        .as_ref()
        .map(|resource| resource.attributes.as_slice())
        .ok_or(DecodeError::Missing("resource"))?;
    let mut window = frame(attributes)?;
    window.cpu.source = source(attributes, names::CPU_SOURCE)?;
    window.memory.source = source(attributes, names::MEMORY_SOURCE)?;
    for metric in message
        .scope_metrics
        .iter()
        .flat_map(|scope| &scope.metrics)
    {
        match (metric.name.as_str(), &metric.data) {
            (names::CPU_PER_SECOND, Some(metric::Data::ExponentialHistogram(histogram))) => {
                window.cpu.per_second = distribution::decode(names::CPU_PER_SECOND, histogram)?;
            }
            (names::CPU_PER_100MS, Some(metric::Data::ExponentialHistogram(histogram))) => {
                window.cpu.per_100ms = distribution::decode(names::CPU_PER_100MS, histogram)?;
            }
            (names::CPU_PER_SECOND | names::CPU_PER_100MS, _) => {
                return Err(value::wrong_type(&metric.name, "an exponential histogram"));
            }
            (name, _) => {
                if let Some(scalar) = scalar::ALL.iter().find(|scalar| scalar.name == name) {
                    scalar.decode(metric, &mut window)?;
                }
            }
        }
    }
    Ok(window)
}

fn frame(attributes: &[KeyValue]) -> Result<UsageWindow, DecodeError> {
    let number = |name| value::find_number(attributes, name)?.ok_or(DecodeError::Missing(name));
    let phase = value::find_text(attributes, names::WINDOW_PHASE)?;
    let last = match value::find(attributes, names::WINDOW_LAST) {
        Some(Value::BoolValue(last)) => *last,
        Some(_) => return Err(value::wrong_type(names::WINDOW_LAST, "a truth value")),
        None => return Err(DecodeError::Missing(names::WINDOW_LAST)),
    };
    Ok(UsageWindow {
        identity: subject::decode(attributes)?,
        start_unix_ns: number(names::WINDOW_START)?,
        end_unix_ns: number(names::WINDOW_END)?,
        observed_ns: number(names::WINDOW_OBSERVED)?,
        phase: [Phase::Startup, Phase::Steady]
            .into_iter()
            .find(|known| Some(phase_name(*known)) == phase)
            .ok_or(DecodeError::Value {
                name: names::WINDOW_PHASE,
            })?,
        last,
        cpu: crate::usage::CpuUsage::default(),
        memory: crate::usage::MemoryUsage::default(),
        cpu_pressure: crate::usage::Pressure::default(),
        memory_pressure: crate::usage::Pressure::default(),
        io_pressure: crate::usage::Pressure::default(),
        io_read_bytes: None,
        io_written_bytes: None,
        pids_peak: None,
    })
}

const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Startup => "startup",
        Phase::Steady => "steady",
    }
}

const fn source_name(source: Source) -> &'static str {
    match source {
        Source::CgroupV2 => "cgroup_v2",
        Source::CgroupV1 => "cgroup_v1",
        Source::Ebpf => "ebpf",
        Source::Procfs => "procfs",
    }
}

fn source(attributes: &[KeyValue], name: &'static str) -> Result<Option<Source>, DecodeError> {
    let Some(text) = value::find_text(attributes, name)? else {
        return Ok(None);
    };
    [
        Source::CgroupV2,
        Source::CgroupV1,
        Source::Ebpf,
        Source::Procfs,
    ]
    .into_iter()
    .find(|source| source_name(*source) == text)
    .map(Some)
    .ok_or(DecodeError::Value { name })
}
