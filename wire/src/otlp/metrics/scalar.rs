//! The single numbers of a window, one line of a table each.

use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Metric, NumberDataPoint, Sum, metric,
};

use super::Span;
use crate::otlp::{DecodeError, value};
use crate::{UsageWindow, names};

/// How a number is told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Of the window as a whole.
    Gauge,
    /// What came to be within the window.
    Delta,
    /// The same, nanoseconds here and seconds on the wire, as the convention wants it. A double
    /// holds the nanoseconds of 26 days of CPU time exactly.
    DeltaSeconds,
}

pub(super) struct Scalar {
    pub(super) name: &'static str,
    unit: &'static str,
    kind: Kind,
    /// The one place to read it from and to write it to.
    field: fn(&mut UsageWindow) -> &mut Option<u64>,
    read: fn(&UsageWindow) -> Option<u64>,
}

macro_rules! scalar {
    ($name:ident, $unit:literal, $kind:ident, $($field:ident).+) => {
        Scalar {
            name: names::$name,
            unit: $unit,
            kind: Kind::$kind,
            field: |window| &mut window.$($field).+,
            read: |window| window.$($field).+,
        }
    };
}

pub(super) const ALL: &[Scalar] = &[
    scalar!(CPU_TIME, "s", DeltaSeconds, cpu.used_ns),
    scalar!(CPU_PERIODS, "{period}", Delta, cpu.periods),
    scalar!(
        CPU_THROTTLED_PERIODS,
        "{period}",
        Delta,
        cpu.throttled_periods
    ),
    scalar!(CPU_THROTTLED_TIME, "us", Delta, cpu.throttled_usec),
    scalar!(MEMORY_USAGE, "By", Gauge, memory.mean_bytes),
    scalar!(MEMORY_PEAK, "By", Gauge, memory.sampled_peak_bytes),
    scalar!(
        MEMORY_LIFETIME_PEAK,
        "By",
        Gauge,
        memory.lifetime_peak_bytes
    ),
    scalar!(MEMORY_ANON_PEAK, "By", Gauge, memory.anon_peak_bytes),
    scalar!(MEMORY_FILE_PEAK, "By", Gauge, memory.file_peak_bytes),
    scalar!(
        MEMORY_WORKING_SET_PEAK,
        "By",
        Gauge,
        memory.working_set_peak_bytes
    ),
    scalar!(MEMORY_OOM_KILLS, "{kill}", Delta, memory.oom_kills),
    scalar!(
        MEMORY_LIMIT_FAILURES,
        "{failure}",
        Delta,
        memory.limit_failures
    ),
    scalar!(MEMORY_LIMIT, "By", Gauge, memory.limit_bytes),
    scalar!(CPU_PRESSURE_SOME, "us", Delta, cpu_pressure.some_usec),
    scalar!(CPU_PRESSURE_FULL, "us", Delta, cpu_pressure.full_usec),
    scalar!(MEMORY_PRESSURE_SOME, "us", Delta, memory_pressure.some_usec),
    scalar!(MEMORY_PRESSURE_FULL, "us", Delta, memory_pressure.full_usec),
    scalar!(IO_PRESSURE_SOME, "us", Delta, io_pressure.some_usec),
    scalar!(IO_PRESSURE_FULL, "us", Delta, io_pressure.full_usec),
    scalar!(IO_READ, "By", Delta, io_read_bytes),
    scalar!(IO_WRITTEN, "By", Delta, io_written_bytes),
    scalar!(PIDS_PEAK, "{task}", Gauge, pids_peak),
];

impl Scalar {
    pub(super) fn encode(&self, window: &UsageWindow, span: Span) -> Option<Metric> {
        let number = (self.read)(window)?;
        let value = match self.kind {
            Kind::DeltaSeconds => Value::AsDouble(number as f64 / 1e9),
            // Nothing that is counted here reaches 2⁶³.
            Kind::Gauge | Kind::Delta => Value::AsInt(i64::try_from(number).unwrap_or(i64::MAX)),
        };
        let data_points = vec![NumberDataPoint {
            start_time_unix_nano: span.start,
            time_unix_nano: span.end,
            value: Some(value),
            ..NumberDataPoint::default()
        }];
        let data = match self.kind {
            Kind::Gauge => metric::Data::Gauge(Gauge { data_points }),
            Kind::Delta | Kind::DeltaSeconds => metric::Data::Sum(Sum {
                data_points,
                aggregation_temporality: AggregationTemporality::Delta.into(),
                is_monotonic: true,
            }),
        };
        Some(Metric {
            name: self.name.to_owned(),
            unit: self.unit.to_owned(),
            data: Some(data),
            ..Metric::default()
        })
    }

    pub(super) fn decode(
        &self,
        metric: &Metric,
        window: &mut UsageWindow,
    ) -> Result<(), DecodeError> {
        let points = match &metric.data {
            Some(metric::Data::Gauge(gauge)) => &gauge.data_points,
            Some(metric::Data::Sum(sum)) => &sum.data_points,
            _ => return Err(value::wrong_type(self.name, "a gauge or a sum")),
        };
        let [point] = points.as_slice() else {
            return Err(value::wrong_type(self.name, "a single data point"));
        };
        let number = match (self.kind, point.value) {
            (Kind::DeltaSeconds, Some(Value::AsDouble(seconds))) => nanoseconds(seconds),
            (Kind::Gauge | Kind::Delta, Some(Value::AsInt(int))) => u64::try_from(int).ok(),
            _ => None,
        };
        let number = number
            .ok_or_else(|| value::wrong_type(self.name, "a number of its kind, 0 or more"))?;
        *(self.field)(window) = Some(number);
        Ok(())
    }
}

/// Not below zero, not above the range, a number at all.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked first"
)]
fn nanoseconds(seconds: f64) -> Option<u64> {
    let nanoseconds = (seconds * 1e9).round();
    (0.0..1.8e19)
        .contains(&nanoseconds)
        .then_some(nanoseconds as u64)
}
