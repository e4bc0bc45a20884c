//! A mergeable distribution of non-negative integers: the OTLP base-2 exponential histogram.
//!
//! Bucket `i` at scale `s` holds values in `(2^(i/2^s), 2^((i+1)/2^s)]`; zeros are counted apart.
//! Source: OpenTelemetry metrics data model, "`ExponentialHistogram`". Counts and sums are integers,
//! so merging is exactly associative and commutative: replicas and retries cannot change a result.
//! Which scale a sketch ends up with depends only on the set of values, not on their order.
//!
//! It does not know what the values mean, nor units, nor time.

use serde::{Deserialize, Serialize};

mod bucket;
mod parts;

pub use parts::{Parts, SketchError};

/// Resolution of a fresh sketch: buckets 4.4 % wide, so a quantile is within 2.2 % of the truth.
pub const MAX_SCALE: i8 = 4;
/// The coarsest scale that is accepted from outside: one bucket for everything above 1.
pub const MIN_SCALE: i8 = -6;
/// Buckets kept at the most; a wider range halves the resolution until it fits. 320 buckets at
/// scale 4 span a factor of 2²⁰; the whole `u64` range needs scale 2 (19 % wide, within 9.5 %).
pub const MAX_BUCKETS: usize = 320;

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "parts::Stored")]
pub struct Sketch {
    scale: i8,
    zero_count: u64,
    /// Index of `counts[0]`; 0 while there is none.
    offset: i32,
    /// First and last are never 0.
    counts: Vec<u64>,
    count: u64,
    sum: u64,
    /// `u64::MAX` while empty, the neutral element of `min`.
    min: u64,
    max: u64,
}

/// One filled bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bucket {
    /// Values are above this.
    pub lower: u64,
    /// Values are at most this.
    pub upper: u64,
    /// How many; never 0.
    pub count: u64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self {
            scale: MAX_SCALE,
            zero_count: 0,
            offset: 0,
            counts: Vec::new(),
            count: 0,
            sum: 0,
            min: u64::MAX,
            max: 0,
        }
    }
}

impl Sketch {
    /// Adds one value.
    pub fn add(&mut self, value: u64) {
        self.add_n(value, 1);
    }

    /// Adds a value `n` times. Counts and the sum stay at `u64::MAX` once they reach it.
    pub fn add_n(&mut self, value: u64, n: u64) {
        if n == 0 {
            return;
        }
        self.count = self.count.saturating_add(n);
        self.sum = self.sum.saturating_add(value.saturating_mul(n));
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        match bucket::index(value, self.scale) {
            None => self.zero_count = self.zero_count.saturating_add(n),
            Some(index) => {
                // Making room may coarsen the scale; the shift moves the index along.
                let before = self.scale;
                self.make_room(index, index);
                self.book(index >> (before - self.scale), n);
            }
        }
    }

    /// Adds everything that `other` holds. Associative and commutative; the empty sketch at
    /// [`MAX_SCALE`] is the neutral element.
    pub fn merge(&mut self, other: &Self) {
        self.coarsen_to(self.scale.min(other.scale));
        let ahead = other.scale - self.scale;
        if let Some((first, last)) = other.index_span() {
            let before = self.scale;
            self.make_room(first >> ahead, last >> ahead);
            let ahead = ahead + (before - self.scale);
            for (index, &n) in (other.offset..).zip(&other.counts) {
                if n > 0 {
                    self.book(index >> ahead, n);
                }
            }
        }
        self.zero_count = self.zero_count.saturating_add(other.zero_count);
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// How many values were added.
    pub const fn count(&self) -> u64 {
        self.count
    }

    /// Nothing was added.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Exact sum of the values (`u64::MAX` if it is that or more).
    pub const fn sum(&self) -> u64 {
        self.sum
    }

    /// Exact lowest value.
    pub const fn min(&self) -> Option<u64> {
        if self.count == 0 {
            None
        } else {
            Some(self.min)
        }
    }

    /// Exact highest value.
    pub const fn max(&self) -> Option<u64> {
        if self.count == 0 {
            None
        } else {
            Some(self.max)
        }
    }

    /// The value of rank `ceil(q · count)` (at least 1): `q` 0 is the minimum, 1 the maximum, both
    /// exact. Between them it is the middle of the bucket that holds that rank, within minimum and
    /// maximum, so its relative error is at most half of a bucket's width: 2.2 % at scale 4, 4.5 %
    /// at 3, 9.5 % at 2 (and never more than the rounding to an integer for small values). `None`
    /// when empty or when `q` is not a number; outside 0 to 1 the nearer end counts.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        if self.count == 0 || q.is_nan() {
            return None;
        }
        // 0.07 · 100 is 7.000000000000001 in doubles and must not become rank 8.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within 0 and count; float casts saturate"
        )]
        let rank = (q.clamp(0.0, 1.0) * self.count as f64 * (1.0 - 1e-12)).ceil() as u64;
        if q >= 1.0 {
            return Some(self.max);
        }
        if rank <= 1 {
            return Some(self.min);
        }
        let mut seen = self.zero_count;
        if rank <= seen {
            return Some(0);
        }
        for found in self.buckets() {
            seen = seen.saturating_add(found.count);
            if rank <= seen {
                let middle = found.lower + (found.upper - found.lower).div_ceil(2);
                return Some(middle.clamp(self.min, self.max));
            }
        }
        Some(self.max)
    }

    /// The filled buckets in rising order, for drawing and for walking. Zeros are not among them:
    /// see [`Sketch::zero_count`].
    pub fn buckets(&self) -> impl Iterator<Item = Bucket> + '_ {
        (self.offset..)
            .zip(&self.counts)
            .filter(|(_, count)| **count > 0)
            .map(|(index, &count)| {
                let (lower, upper) = bucket::bounds(index, self.scale);
                Bucket {
                    lower,
                    upper,
                    count,
                }
            })
    }

    /// OTLP `scale`.
    pub const fn scale(&self) -> i8 {
        self.scale
    }

    /// OTLP `positive.offset`: the index of the first of [`Sketch::bucket_counts`].
    pub const fn offset(&self) -> i32 {
        self.offset
    }

    /// OTLP `zero_count`.
    pub const fn zero_count(&self) -> u64 {
        self.zero_count
    }

    /// OTLP `positive.bucket_counts`; first and last are not 0, at most [`MAX_BUCKETS`].
    pub fn bucket_counts(&self) -> &[u64] {
        &self.counts
    }

    /// What [`Sketch::from_parts`] takes.
    pub fn parts(&self) -> Parts<'_> {
        Parts {
            scale: i32::from(self.scale),
            zero_count: self.zero_count,
            offset: self.offset,
            bucket_counts: &self.counts,
            count: self.count,
            sum: self.sum,
            min: self.min(),
            max: self.max(),
        }
    }

    /// First and last index in use.
    fn index_span(&self) -> Option<(i32, i32)> {
        let more = i32::try_from(self.counts.len().checked_sub(1)?).ok()?;
        Some((self.offset, self.offset.saturating_add(more)))
    }

    /// Coarsens until `first..=last` (at the present scale) and what is held fit, then widens.
    fn make_room(&mut self, first: i32, last: i32) {
        let (low, high) = self.index_span().map_or((first, last), |(low, high)| {
            (low.min(first), high.max(last))
        });
        let mut by: i8 = 0;
        while width(low >> by, high >> by) > MAX_BUCKETS {
            by += 1;
        }
        self.coarsen_to(self.scale - by);
        let (low, high) = (low >> by, high >> by);
        if self.counts.is_empty() {
            self.offset = low;
        }
        let before = width(low, self.offset) - 1;
        if before > 0 {
            self.counts.splice(0..0, std::iter::repeat_n(0, before));
            self.offset = low;
        }
        let wanted = width(low, high);
        if wanted > self.counts.len() {
            self.counts.resize(wanted, 0);
        }
    }

    fn book(&mut self, index: i32, n: u64) {
        let at = usize::try_from(index - self.offset)
            .ok()
            .and_then(|at| self.counts.get_mut(at));
        if let Some(count) = at {
            *count = count.saturating_add(n);
        }
    }

    /// Adds neighbouring buckets together until the scale is `scale`; never refines.
    fn coarsen_to(&mut self, scale: i8) {
        let by = self.scale - scale;
        if by <= 0 {
            return;
        }
        self.scale = scale;
        let Some((first, last)) = self.index_span() else {
            return;
        };
        let offset = first >> by;
        let mut counts = vec![0_u64; width(offset, last >> by)];
        for (index, &n) in (first..).zip(&self.counts) {
            let at = usize::try_from((index >> by) - offset)
                .ok()
                .and_then(|at| counts.get_mut(at));
            if let Some(count) = at {
                *count = count.saturating_add(n);
            }
        }
        self.offset = offset;
        self.counts = counts;
    }
}

/// Number of indices in `first..=last`.
fn width(first: i32, last: i32) -> usize {
    usize::try_from(i64::from(last) - i64::from(first) + 1).unwrap_or(0)
}

#[cfg(test)]
mod tests;
