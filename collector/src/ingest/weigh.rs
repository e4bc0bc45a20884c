//! What a request takes once it is decoded, found without decoding it. Pure.
//!
//! An empty log record is two bytes of a request and near two hundred decoded, so that the length of a
//! request says little. A walk over its wire format (<https://protobuf.dev/programming-guides/encoding/>)
//! counts records, and what the decoder will allocate for them and all that they hold. It allocates
//! nothing, and judges nothing: where the decoder would end with an error the walk ends too, never
//! before it, since what is decoded until then takes memory all the same.

use opentelemetry_proto::tonic::common::v1::{AnyValue, EntityRef, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, SummaryDataPoint,
};

/// Deeper than the decoder goes (100).
const MAX_DEPTH: usize = 128;
/// Fields of one kind that hold others.
const MAX_FIELDS: usize = 6;
/// The least that a vector, and that a string, allocates.
const LEAST_ITEMS: usize = 4;
const LEAST_TEXT: usize = 8;

/// A kind of message: its fields that take more room than their bytes.
pub(super) struct Kind(&'static [Field]);

struct Field {
    number: u64,
    /// Of one item in its vector; 0 of what is part of the message that holds it.
    size: usize,
    holds: Holds,
    is_record: bool,
}

#[derive(Clone, Copy)]
enum Holds {
    Message(&'static Kind),
    Text,
    /// Numbers of at least so many bytes on the wire, one after the other or each by itself.
    Numbers(usize),
}

const fn many<T>(number: u64, kind: &'static Kind) -> Field {
    Field {
        number,
        size: size_of::<T>(),
        holds: Holds::Message(kind),
        is_record: false,
    }
}

const fn records<T>(number: u64, kind: &'static Kind) -> Field {
    Field {
        is_record: true,
        ..many::<T>(number, kind)
    }
}

const fn one(number: u64, kind: &'static Kind) -> Field {
    many::<()>(number, kind)
}

const fn texts(number: u64) -> Field {
    Field {
        number,
        size: size_of::<String>(),
        holds: Holds::Text,
        is_record: false,
    }
}

const fn numbers(number: u64, least: usize) -> Field {
    Field {
        number,
        size: size_of::<u64>(),
        holds: Holds::Numbers(least),
        is_record: false,
    }
}

/// `ExportLogsServiceRequest`; field numbers of this and all below are from opentelemetry/proto.
pub(super) static LOGS: Kind = Kind(&[many::<ResourceLogs>(1, &RESOURCE_LOGS)]);
static RESOURCE_LOGS: Kind = Kind(&[one(1, &RESOURCE), many::<ScopeLogs>(2, &SCOPE_LOGS)]);
static SCOPE_LOGS: Kind = Kind(&[one(1, &SCOPE), records::<LogRecord>(2, &LOG_RECORD)]);
static LOG_RECORD: Kind = Kind(&[one(5, &ANY_VALUE), many::<KeyValue>(6, &KEY_VALUE)]);

/// `ExportMetricsServiceRequest`: a window of ours is a whole `ResourceMetrics`.
pub(super) static METRICS: Kind = Kind(&[records::<ResourceMetrics>(1, &RESOURCE_METRICS)]);
static RESOURCE_METRICS: Kind = Kind(&[one(1, &RESOURCE), many::<ScopeMetrics>(2, &SCOPE_METRICS)]);
static SCOPE_METRICS: Kind = Kind(&[one(1, &SCOPE), many::<Metric>(2, &METRIC)]);
static METRIC: Kind = Kind(&[
    one(5, &NUMBER_POINTS),
    one(7, &NUMBER_POINTS),
    one(9, &HISTOGRAM_POINTS),
    one(10, &EXPONENTIAL_POINTS),
    one(11, &SUMMARY_POINTS),
    many::<KeyValue>(12, &KEY_VALUE),
]);
static NUMBER_POINTS: Kind = Kind(&[many::<NumberDataPoint>(1, &NUMBER_POINT)]);
static NUMBER_POINT: Kind = Kind(&[
    many::<Exemplar>(5, &EXEMPLAR),
    many::<KeyValue>(7, &KEY_VALUE),
]);
static HISTOGRAM_POINTS: Kind = Kind(&[many::<HistogramDataPoint>(1, &HISTOGRAM_POINT)]);
static HISTOGRAM_POINT: Kind = Kind(&[
    numbers(6, 8),
    numbers(7, 8),
    many::<Exemplar>(8, &EXEMPLAR),
    many::<KeyValue>(9, &KEY_VALUE),
]);
static EXPONENTIAL_POINTS: Kind =
    Kind(&[many::<ExponentialHistogramDataPoint>(1, &EXPONENTIAL_POINT)]);
static EXPONENTIAL_POINT: Kind = Kind(&[
    many::<KeyValue>(1, &KEY_VALUE),
    one(8, &BUCKETS),
    one(9, &BUCKETS),
    many::<Exemplar>(11, &EXEMPLAR),
]);
static BUCKETS: Kind = Kind(&[numbers(2, 1)]);
static SUMMARY_POINTS: Kind = Kind(&[many::<SummaryDataPoint>(1, &SUMMARY_POINT)]);
static SUMMARY_POINT: Kind = Kind(&[
    many::<ValueAtQuantile>(6, &PLAIN),
    many::<KeyValue>(7, &KEY_VALUE),
]);
static EXEMPLAR: Kind = Kind(&[many::<KeyValue>(7, &KEY_VALUE)]);

/// `ExportTraceServiceRequest` as far as spans are counted, three vectors in each other; its spans are
/// no records of ours.
pub(super) static TRACES: Kind = Kind(&[many::<Vec<()>>(1, &RESOURCE_SPANS)]);
static RESOURCE_SPANS: Kind = Kind(&[many::<Vec<()>>(2, &SCOPE_SPANS)]);
static SCOPE_SPANS: Kind = Kind(&[texts(2)]);

static RESOURCE: Kind = Kind(&[
    many::<KeyValue>(1, &KEY_VALUE),
    many::<EntityRef>(3, &ENTITY_REF),
]);
static ENTITY_REF: Kind = Kind(&[texts(3), texts(4)]);
static SCOPE: Kind = Kind(&[many::<KeyValue>(3, &KEY_VALUE)]);
static KEY_VALUE: Kind = Kind(&[one(2, &ANY_VALUE)]);
static ANY_VALUE: Kind = Kind(&[one(5, &ARRAY), one(6, &KEY_VALUE_LIST)]);
static ARRAY: Kind = Kind(&[many::<AnyValue>(1, &ANY_VALUE)]);
static KEY_VALUE_LIST: Kind = Kind(&[many::<KeyValue>(1, &KEY_VALUE)]);
static PLAIN: Kind = Kind(&[]);

/// What a request comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Weight {
    pub(super) records: usize,
    /// Of all that it allocates once decoded.
    pub(super) bytes: usize,
}

/// See the module.
pub(super) fn weigh(kind: &Kind, bytes: &[u8]) -> Weight {
    let mut walk = Walk {
        bytes,
        at: 0,
        weight: Weight::default(),
    };
    // Where it ended early the decoder ends too, and says why.
    let _whole = walk.message(kind, bytes.len(), 0);
    walk.weight
}

struct Walk<'a> {
    bytes: &'a [u8],
    at: usize,
    weight: Weight,
}

impl Walk<'_> {
    /// `None` as soon as the decoder can go no further. Like the decoder's, a length is held against
    /// all bytes that are left, and against the message around it only at its end.
    fn message(&mut self, kind: &Kind, end: usize, depth: usize) -> Option<()> {
        if depth > MAX_DEPTH {
            return None;
        }
        let mut counts = [0; MAX_FIELDS];
        // Groups hold nothing that we know, and are passed over to their ends.
        let mut open_groups = 0_usize;
        while self.at < end || open_groups > 0 {
            let key = self.varint()?;
            let mut fields = kind.0.iter().zip(&mut counts);
            let field = fields.find(|(field, _)| open_groups == 0 && field.number == key >> 3);
            match key & 7 {
                2 => {
                    let length = usize::try_from(self.varint()?).ok()?;
                    let inner_end = self.at.checked_add(length)?;
                    if inner_end > self.bytes.len() {
                        return None;
                    }
                    match field {
                        Some((field, count)) => {
                            self.field(field, count, inner_end, depth)?;
                        }
                        None => self.text(inner_end),
                    }
                }
                3 => open_groups += 1,
                4 => open_groups = open_groups.checked_sub(1)?,
                wire_type => {
                    match wire_type {
                        0 => drop(self.varint()?),
                        1 => self.skip(8)?,
                        5 => self.skip(4)?,
                        _ => return None,
                    }
                    if let Some((field, count)) = field
                        && matches!(field.holds, Holds::Numbers(_))
                    {
                        self.more(field, count, 1);
                    }
                }
            }
        }
        (self.at == end).then_some(())
    }

    fn field(&mut self, field: &Field, count: &mut usize, end: usize, depth: usize) -> Option<()> {
        match field.holds {
            Holds::Message(kind) => {
                self.more(field, count, 1);
                self.message(kind, end, depth + 1)?;
            }
            Holds::Text => {
                self.more(field, count, 1);
                self.text(end);
            }
            Holds::Numbers(least) => {
                self.more(field, count, (end - self.at).div_ceil(least));
                self.at = end;
            }
        }
        Some(())
    }

    /// A vector doubles when it is full.
    fn more(&mut self, field: &Field, count: &mut usize, more: usize) {
        let room = |count: usize| match count {
            0 => 0,
            _ => count
                .checked_next_power_of_two()
                .unwrap_or(count)
                .max(LEAST_ITEMS),
        };
        let before = room(*count);
        *count += more;
        let grown = room(*count) - before;
        self.weight.bytes = self
            .weight
            .bytes
            .saturating_add(grown.saturating_mul(field.size));
        if field.is_record {
            self.weight.records += more;
        }
    }

    fn text(&mut self, end: usize) {
        let length = end - self.at;
        if length > 0 {
            self.weight.bytes = self.weight.bytes.saturating_add(length.max(LEAST_TEXT));
        }
        self.at = end;
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes)?;
        (self.at <= self.bytes.len()).then_some(())
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..70).step_by(7) {
            let byte = *self.bytes.get(self.at)?;
            self.at += 1;
            value |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests;
