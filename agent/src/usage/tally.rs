//! A count that the kernel keeps, of which each time is told once, though it is learned of in two ways.

/// How often something happened: read as a total with each sample, and told one by one besides. Pure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// The last total that was read.
    seen: Option<u64>,
    /// Told one by one, and in no total yet.
    ahead: u64,
}

impl Tally {
    /// What a total has that was not told. The first one is all new if counting began with what is
    /// followed (`is_young`); otherwise it only says from where to go on: `None`.
    pub(super) fn rise(&mut self, total: Option<u64>, is_young: bool) -> Option<u64> {
        let total = total?;
        let Some(before) = self.seen.replace(total).or(is_young.then_some(0)) else {
            self.ahead = 0;
            return None;
        };
        let rise = total.saturating_sub(before);
        let told = rise.min(self.ahead);
        self.ahead -= told;
        Some(rise - told)
    }

    /// One more, while no total can be read.
    pub(super) fn once(&mut self) -> u64 {
        self.ahead += 1;
        1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_time_is_told_once() {
        let mut tally = Tally::default();
        tally.once();
        assert_eq!(tally.rise(Some(7), false), None, "before we looked");
        assert_eq!(tally.rise(Some(9), false), Some(2));
        assert_eq!((tally.once(), tally.once()), (1, 1));
        assert_eq!(tally.rise(None, false), None);
        assert_eq!(tally.rise(Some(10), false), Some(0), "told already");
        assert_eq!(tally.rise(Some(12), false), Some(1));
        assert_eq!(tally.rise(Some(3), false), Some(0), "it fell");
        assert_eq!(tally.rise(Some(4), false), Some(1));
    }

    #[test]
    fn of_what_is_followed_from_its_birth_the_first_total_is_new() {
        let mut tally = Tally::default();
        assert_eq!(tally.once(), 1);
        assert_eq!(tally.rise(Some(2), true), Some(1));
    }
}
