//! Requests of which nothing is kept but their place among the others, and whether they were HEAD,
//! whose answers have no body.

use std::collections::VecDeque;

/// Runs of requests of one kind that are told apart at most.
const RUNS: usize = 64;

/// What an answer's framing depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// With HEAD: no body follows whatever the answer's head says.
    Head,
    /// With any other method.
    Other,
    /// Nobody knows any more.
    Unknown,
}

impl Asked {
    pub(super) const fn with(is_head: bool) -> Self {
        if is_head { Self::Head } else { Self::Other }
    }
}

/// In the order of the wire.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    /// Never an empty one.
    runs: VecDeque<(Asked, u64)>,
}

impl Forgotten {
    pub(super) fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// The oldest, whose answer comes next.
    pub(super) fn next(&self) -> Option<Asked> {
        self.runs.front().map(|(asked, _)| *asked)
    }

    /// One more. Behind [`RUNS`] nothing is told apart.
    pub(super) fn push(&mut self, is_head: bool) {
        let asked = if self.runs.len() < RUNS {
            Asked::with(is_head)
        } else {
            Asked::Unknown
        };
        match self.runs.back_mut() {
            Some((last, count)) if *last == asked => *count = count.saturating_add(1),
            Some((Asked::Unknown, count)) => *count = count.saturating_add(1),
            _ => self.runs.push_back((asked, 1)),
        }
    }

    /// The oldest leaves. Whether there was one.
    pub(super) fn pop(&mut self) -> bool {
        let Some((_, count)) = self.runs.front_mut() else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.runs.pop_front();
        }
        true
    }

    /// All were answered.
    pub(super) fn clear(&mut self) {
        self.runs.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Nothing but order and kind is kept, in bounded space; what is told is right.
        #[test]
        fn a_queue_of_kinds(steps in proptest::collection::vec((0_u8..4, any::<bool>()), 0..400)) {
            let mut forgotten = Forgotten::default();
            let mut expected = VecDeque::new();
            for (step, is_head) in steps {
                if step == 0 {
                    prop_assert_eq!(forgotten.pop(), expected.pop_front().is_some());
                } else {
                    forgotten.push(is_head);
                    expected.push_back(is_head);
                }
                prop_assert!(forgotten.runs.len() <= RUNS + 1);
                prop_assert_eq!(forgotten.is_empty(), expected.is_empty());
                prop_assert_eq!(forgotten.next().is_some(), !expected.is_empty());
                if let Some(asked) = forgotten.next().filter(|asked| *asked != Asked::Unknown) {
                    prop_assert_eq!(Some(asked), expected.front().map(|is_head| Asked::with(*is_head)));
                }
            }
        }
    }

    #[test]
    fn how_many_are_told_apart() {
        let mut forgotten = Forgotten::default();
        for at in 0..RUNS + 2 {
            forgotten.push(at % 2 == 0);
        }
        for at in 0..RUNS + 2 {
            let expected = if at < RUNS {
                Asked::with(at % 2 == 0)
            } else {
                Asked::Unknown
            };
            assert_eq!(forgotten.next(), Some(expected), "{at}");
            assert!(forgotten.pop());
        }
        assert!(!forgotten.pop());
        assert_eq!(forgotten.next(), None);
    }
}
