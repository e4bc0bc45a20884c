//! Numbers that a reader found damaged and that the owner has on record: whoever meets them again, in this life or a
//! later one, need not tell them. Pure.

use crate::segment::Range;

/// Runs of numbers that are remembered; of more, the lowest may be told twice.
pub(crate) const MAX_TOLD: usize = 64;

/// Ascending, and apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told(Vec<Range>);

impl Told {
    /// These are on record.
    pub(crate) fn add(&mut self, (from, to): Range) {
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
        apart.drain(..apart.len().saturating_sub(MAX_TOLD));
        self.0 = apart;
    }

    /// Every reader has passed this number.
    pub(crate) fn forget(&mut self, seq: u64) {
        self.0.retain(|(_, end)| *end > seq);
    }

    /// Of these numbers, those that are not on record.
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
    pub(crate) fn ranges(&self) -> &[Range] {
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
            let mut known = Told::default();
            for range in &told {
                known.add(*range);
            }
            let all: BTreeSet<u64> = numbers(&told).into_iter().collect();
            prop_assert!(numbers(known.ranges()).iter().eq(&all));
            let mut left = numbers(&met);
            left.retain(|number| !all.contains(number));
            prop_assert_eq!(numbers(&known.without(&met)), left);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let mut told = Told::default();
        for at in 1..=100 {
            told.add((at * 10, at * 10 + 3));
        }
        assert_eq!(told.ranges().len(), MAX_TOLD);
        assert_eq!(told.ranges().last(), Some(&(1000, 1003)));
        told.forget(1002);
        assert_eq!(told.ranges(), [(1000, 1003)]);
        told.forget(1003);
        assert_eq!(told, Told::default());
    }
}
