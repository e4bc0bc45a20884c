//! A sketch as an OTLP exponential histogram. It is one already; only the envelope differs.

use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Metric, metric,
};

use super::Span;
use crate::Sketch;
use crate::otlp::{DecodeError, value};
use crate::sketch::Parts;

pub(super) fn encode(name: &'static str, sketch: &Sketch, span: Span) -> Option<Metric> {
    let parts = sketch.parts();
    if parts.count == 0 {
        return None;
    }
    let point = ExponentialHistogramDataPoint {
        start_time_unix_nano: span.start,
        time_unix_nano: span.end,
        count: parts.count,
        sum: Some(parts.sum as f64),
        scale: parts.scale,
        zero_count: parts.zero_count,
        positive: Some(Buckets {
            offset: parts.offset,
            bucket_counts: parts.bucket_counts.to_vec(),
        }),
        min: parts.min.map(|min| min as f64),
        max: parts.max.map(|max| max as f64),
        ..ExponentialHistogramDataPoint::default()
    };
    Some(Metric {
        name: name.to_owned(),
        unit: "ns/s".to_owned(),
        data: Some(metric::Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![point],
            aggregation_temporality: AggregationTemporality::Delta.into(),
        })),
        ..Metric::default()
    })
}

pub(super) fn decode(
    name: &'static str,
    histogram: &ExponentialHistogram,
) -> Result<Sketch, DecodeError> {
    let [point] = histogram.data_points.as_slice() else {
        return Err(value::wrong_type(name, "a single data point"));
    };
    if point
        .negative
        .as_ref()
        .is_some_and(|negative| negative.bucket_counts.iter().any(|n| *n > 0))
    {
        return Err(value::wrong_type(
            name,
            "a distribution of numbers of 0 or more",
        ));
    }
    let integer = |number: Option<f64>| match number {
        None => Ok(None),
        Some(number) => whole(number)
            .map(Some)
            .ok_or_else(|| value::wrong_type(name, "a distribution of integers")),
    };
    let none = Buckets::default();
    let positive = point.positive.as_ref().unwrap_or(&none);
    let sum =
        integer(point.sum)?.ok_or_else(|| value::wrong_type(name, "a distribution with a sum"))?;
    Sketch::from_parts(Parts {
        scale: point.scale,
        zero_count: point.zero_count,
        offset: positive.offset,
        bucket_counts: &positive.bucket_counts,
        count: point.count,
        sum,
        min: integer(point.min)?,
        max: integer(point.max)?,
    })
    .map_err(|source| DecodeError::Sketch { name, source })
}

/// The integer that a double holds exactly.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked first"
)]
fn whole(number: f64) -> Option<u64> {
    ((0.0..=1.844_674_407_370_955_2e19).contains(&number) && number.fract() == 0.0)
        .then_some(number as u64)
}
