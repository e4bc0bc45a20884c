//! A sketch from parts that somebody else sent: every invariant is checked before it is believed.

use serde::Deserialize;

use super::{MAX_BUCKETS, MAX_SCALE, MIN_SCALE, Sketch, bucket};

/// Why parts are not a sketch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SketchError {
    /// Outside what we can represent.
    #[error("scale {0} is not within {MIN_SCALE} and {MAX_SCALE}")]
    Scale(i32),
    /// More buckets than [`MAX_BUCKETS`].
    #[error("{0} buckets, at most {MAX_BUCKETS} are kept")]
    TooManyBuckets(usize),
    /// A bucket lies where no `u64` can be (below 1 or above 2⁶⁴).
    #[error("bucket {index} at scale {scale} holds no 64-bit integer")]
    Index {
        /// Bucket index.
        index: i64,
        /// At this scale.
        scale: i32,
    },
    /// The buckets and zeros do not add up to the count.
    #[error("buckets and zeros add up to {buckets}, the count says {count}")]
    Count {
        /// Sum of the buckets and zeros.
        buckets: u64,
        /// As sent.
        count: u64,
    },
    /// The minimum is not in the first bucket, or above the maximum.
    #[error("minimum {0} does not lie in the first filled bucket")]
    Min(u64),
    /// The maximum is not in the last bucket.
    #[error("maximum {0} does not lie in the last filled bucket")]
    Max(u64),
    /// No values between minimum and maximum have this sum.
    #[error("sum {sum} is impossible for {count} values of {min} to {max}")]
    Sum {
        /// As sent.
        sum: u64,
        /// How many values.
        count: u64,
        /// The lowest.
        min: u64,
        /// The highest.
        max: u64,
    },
}

/// What an OTLP `ExponentialHistogramDataPoint` says, in integers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'a> {
    /// `scale`.
    pub scale: i32,
    /// `zero_count`.
    pub zero_count: u64,
    /// `positive.offset`.
    pub offset: i32,
    /// `positive.bucket_counts`.
    pub bucket_counts: &'a [u64],
    /// `count`.
    pub count: u64,
    /// `sum`. OTLP carries a double, so above 2⁵³ it may be off by its rounding.
    pub sum: u64,
    /// `min`; where it was not sent, the lowest value of the first bucket stands in.
    pub min: Option<u64>,
    /// `max`; where it was not sent, the highest value of the last bucket stands in.
    pub max: Option<u64>,
}

impl Sketch {
    /// Builds a sketch from untrusted parts. Empty buckets at either end are dropped, so that equal
    /// distributions are equal sketches. Allocates no more than the buckets handed in.
    pub fn from_parts(parts: Parts<'_>) -> Result<Self, SketchError> {
        let scale = i8::try_from(parts.scale)
            .ok()
            .filter(|scale| (MIN_SCALE..=MAX_SCALE).contains(scale))
            .ok_or(SketchError::Scale(parts.scale))?;
        if parts.bucket_counts.len() > MAX_BUCKETS {
            return Err(SketchError::TooManyBuckets(parts.bucket_counts.len()));
        }
        let (offset, counts) = trimmed(parts.offset, parts.bucket_counts, scale)?;
        let buckets = counts
            .iter()
            .fold(parts.zero_count, |sum, &n| sum.saturating_add(n));
        if buckets != parts.count {
            return Err(SketchError::Count {
                buckets,
                count: parts.count,
            });
        }
        if buckets == 0 {
            return Ok(Self {
                scale,
                ..Self::default()
            });
        }
        let sketch = Self {
            scale,
            zero_count: parts.zero_count,
            offset,
            counts: counts.to_vec(),
            count: parts.count,
            sum: parts.sum,
            min: 0,
            max: 0,
        };
        sketch.with_extremes(parts.min, parts.max)
    }

    fn with_extremes(mut self, min: Option<u64>, max: Option<u64>) -> Result<Self, SketchError> {
        let mut filled = self.buckets();
        let first = filled.next();
        let last = filled.last().or(first);
        let (low, high) = match (first, last) {
            (Some(first), Some(last)) => (
                (first.lower.saturating_add(1), first.upper),
                (last.lower.saturating_add(1), last.upper),
            ),
            _ => ((0, 0), (0, 0)),
        };
        let low = if self.zero_count > 0 { (0, 0) } else { low };
        self.min = min.unwrap_or(low.0);
        self.max = max.unwrap_or(high.1);
        if self.min < low.0 || self.min > low.1 {
            return Err(SketchError::Min(self.min));
        }
        if self.max < high.0 || self.max > high.1 || self.max < self.min {
            return Err(SketchError::Max(self.max));
        }
        if sum_is_possible(self.sum, self.count, self.min, self.max) {
            Ok(self)
        } else {
            Err(SketchError::Sum {
                sum: self.sum,
                count: self.count,
                min: self.min,
                max: self.max,
            })
        }
    }
}

/// Drops empty buckets at both ends and checks that the rest can hold integers.
fn trimmed(offset: i32, counts: &[u64], scale: i8) -> Result<(i32, &[u64]), SketchError> {
    let Some(first) = counts.iter().position(|&n| n > 0) else {
        return Ok((0, &[]));
    };
    let end = counts
        .iter()
        .rposition(|&n| n > 0)
        .map_or(first, |last| last + 1);
    let filled = counts.get(first..end).unwrap_or_default();
    let low = i64::from(offset) + i64::try_from(first).unwrap_or(i64::MAX);
    let high = i64::from(offset) + i64::try_from(end).unwrap_or(i64::MAX) - 1;
    let (least, most) = bucket::index_range(scale);
    let outside = |index| SketchError::Index {
        index,
        scale: i32::from(scale),
    };
    if low < i64::from(least) {
        return Err(outside(low));
    }
    if high > i64::from(most) {
        return Err(outside(high));
    }
    Ok((i32::try_from(low).map_err(|_| outside(low))?, filled))
}

/// Allows for a sum that went through a double (exact below 2⁵³), and for one
/// that saturated.
fn sum_is_possible(sum: u64, count: u64, min: u64, max: u64) -> bool {
    let slack = u128::from(sum >> 40);
    let least = (u128::from(min) * u128::from(count)).min(u128::from(u64::MAX));
    let most = u128::from(max) * u128::from(count);
    u128::from(sum) + slack >= least && u128::from(sum) <= most + slack
}

/// The serialised form, before it is checked.
#[derive(Deserialize)]
pub(super) struct Stored {
    scale: i8,
    zero_count: u64,
    offset: i32,
    counts: Vec<u64>,
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl TryFrom<Stored> for Sketch {
    type Error = SketchError;

    fn try_from(stored: Stored) -> Result<Self, SketchError> {
        Self::from_parts(Parts {
            scale: i32::from(stored.scale),
            zero_count: stored.zero_count,
            offset: stored.offset,
            bucket_counts: &stored.counts,
            count: stored.count,
            sum: stored.sum,
            min: Some(stored.min),
            max: Some(stored.max),
        })
    }
}
