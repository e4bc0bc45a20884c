//! How long to wait after a refusal. Pure: the randomness is passed in.

use super::RefusalKind;

/// The first wait at the most, milliseconds.
pub const FIRST_MS: u64 = 200;

/// A wait at the most, milliseconds.
pub const CAP_MS: u64 = 60_000;

/// The shortest wait for what an operator has to mend, milliseconds: asking more often mends nothing.
pub const SLOW_MS: u64 = 30_000;

/// Waits after refusals in a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    refused: u32,
}

impl Backoff {
    /// Something was taken: the next refusal is the first again.
    pub const fn reset(&mut self) {
        self.refused = 0;
    }

    /// Milliseconds to wait after one more refusal. `random` is any number, drawn anew each time.
    ///
    /// What goes by is tried after anything from nothing to twice the last most, from [`FIRST_MS`] up to
    /// [`CAP_MS`] (full jitter: those that were refused together do not come back together). What an operator
    /// has to mend is tried after [`SLOW_MS`] to [`CAP_MS`]. What the other side asks for is kept, up to
    /// [`CAP_MS`].
    pub fn wait_ms(&mut self, kind: RefusalKind, retry_after_ms: Option<u64>, random: u64) -> u64 {
        let (least, most) = if kind.is_passing() {
            let doubled = FIRST_MS.saturating_mul(1 << self.refused.min(16));
            self.refused = self.refused.saturating_add(1);
            (0, doubled.min(CAP_MS))
        } else {
            (SLOW_MS, CAP_MS)
        };
        let wait = least + random % (most - least + 1);
        wait.max(retry_after_ms.unwrap_or(0)).min(CAP_MS)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_begin_anew() {
        let mut backoff = Backoff::default();
        for most in [
            200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 51_200, 60_000, 60_000,
        ] {
            let mut longest = backoff.clone();
            assert_eq!(longest.wait_ms(RefusalKind::Throttled, None, most), most);
            assert_eq!(backoff.wait_ms(RefusalKind::Unavailable, None, most + 1), 0);
        }
        backoff.reset();
        assert_eq!(backoff.wait_ms(RefusalKind::Unavailable, None, 200), 200);
        assert_eq!(
            backoff.wait_ms(RefusalKind::Unavailable, Some(5000), 0),
            5000
        );
        assert_eq!(
            backoff.wait_ms(RefusalKind::Unavailable, Some(u64::MAX), 0),
            CAP_MS
        );
    }

    proptest! {
        #[test]
        fn a_wait_is_within_its_bounds(
            randoms in prop::collection::vec((any::<u64>(), 0..RefusalKind::ALL.len()), 1..200),
        ) {
            let mut backoff = Backoff::default();
            for (random, kind) in randoms {
                let kind = RefusalKind::ALL[kind];
                let wait = backoff.wait_ms(kind, None, random);
                prop_assert!(wait <= CAP_MS);
                prop_assert!(kind.is_passing() || wait >= SLOW_MS);
            }
        }
    }
}
