//! A set of sequence numbers, kept as few runs: what is gone and on record, what is gone and is not. Pure.

use crate::segment::Range;

/// A set has no more runs than this.
pub(crate) const MAX_RUNS: usize = 48;

/// Runs ascend, and are apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Numbers(Vec<Range>);

impl Numbers {
    /// Adds a run; where that makes too many, the lowest is forgotten.
    pub(crate) fn add_or_forget(&mut self, run: Range) {
        self.add(run);
        let spare = self.0.len().saturating_sub(MAX_RUNS);
        self.0.drain(..spare);
    }

    /// Adds a run; where that makes too many, the two that are nearest to each other become one, with what is between
    /// them.
    pub(crate) fn add_or_join(&mut self, run: Range) {
        self.add(run);
        while self.0.len() > MAX_RUNS {
            let gaps = self.0.iter().zip(self.0.iter().skip(1));
            let gaps = gaps.map(|((_, end), (begin, _))| (begin - end, (*end, *begin)));
            let Some((_, gap)) = gaps.min() else {
                return;
            };
            self.add(gap);
        }
    }

    fn add(&mut self, (from, to): Range) {
        let touches =
            |(begin, end): &Range| *begin <= to.saturating_add(1) && from <= end.saturating_add(1);
        let (joined, mut apart): (Vec<Range>, Vec<Range>) =
            std::mem::take(&mut self.0).into_iter().partition(touches);
        let begin = joined.iter().map(|(begin, _)| *begin).min();
        let end = joined.iter().map(|(_, end)| *end).max();
        apart.push((
            begin.map_or(from, |begin| begin.min(from)),
            end.map_or(to, |end| end.max(to)),
        ));
        apart.sort_unstable();
        self.0 = apart;
    }

    /// Takes these out.
    pub(crate) fn remove(&mut self, run: Range) {
        let other = Self(vec![run]);
        self.0 = other.without(&self.0);
    }

    /// Takes out what is not above this number.
    pub(crate) fn forget(&mut self, seq: u64) {
        self.remove((0, seq));
    }

    /// Of these numbers, those that are not in it.
    pub(crate) fn without(&self, ranges: &[Range]) -> Vec<Range> {
        let mut left = Vec::new();
        for (from, to) in ranges {
            let mut at = *from;
            for (begin, end) in self
                .0
                .iter()
                .filter(|(begin, end)| end >= from && begin <= to)
            {
                if *begin > at {
                    left.push((at, begin - 1));
                }
                at = end.saturating_add(1);
            }
            if at <= *to {
                left.push((at, *to));
            }
        }
        left
    }

    /// All of them.
    pub(crate) fn runs(&self) -> &[Range] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn what_is_left_is_what_nobody_told(
            told in prop::collection::vec((1u64..60, 0u64..5), 0..20),
            met in prop::collection::vec((1u64..60, 0u64..5), 0..5),
        ) {
            let numbers = |ranges: &[Range]| -> Vec<u64> {
                ranges.iter().flat_map(|(from, to)| *from..=*to).collect()
            };
            let [told, met] = [told, met].map(|ranges| {
                ranges.into_iter().map(|(from, more)| (from, from + more)).collect::<Vec<Range>>()
            });
            let mut known = Numbers::default();
            for range in &told {
                known.add(*range);
            }
            let all: BTreeSet<u64> = numbers(&told).into_iter().collect();
            prop_assert!(numbers(known.runs()).iter().eq(&all));
            let mut left = numbers(&met);
            left.retain(|number| !all.contains(number));
            prop_assert_eq!(numbers(&known.without(&met)), left);
            for range in &met {
                known.remove(*range);
            }
            let met: BTreeSet<u64> = numbers(&met).into_iter().collect();
            prop_assert!(numbers(known.runs()).iter().eq(all.difference(&met)));
        }
    }

    #[test]
    fn a_set_is_bounded() {
        let (mut told, mut untold) = (Numbers::default(), Numbers::default());
        for at in 1..=100 {
            told.add_or_forget((at * 10, at * 10 + 3));
            untold.add_or_join((at * 10, at * 10 + 3));
        }
        assert_eq!(told.runs().len(), MAX_RUNS);
        assert_eq!(told.runs().last(), Some(&(1000, 1003)));
        assert_eq!(untold.runs().len(), MAX_RUNS);
        assert_eq!(untold.without(&[(10, 13), (500, 503), (1000, 1003)]), []);
        told.forget(1002);
        assert_eq!(told.runs(), [(1003, 1003)]);
        told.forget(1003);
        assert_eq!(told, Numbers::default());
    }
}
