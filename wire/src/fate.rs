//! What can become of a record, in one vocabulary for metrics, documents and tests, and the law
//! that the counts obey.

use serde::{Deserialize, Serialize};

/// Counts of one stage (kernel ring, agent, collector, one destination) and class.
///
/// The law: `emitted = lost + undecodable + filtered + shed + expired + rejected + quarantined +
/// delivered + in_flight`. [`Fates::unaccounted`] is zero while it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fates {
    /// Records that came into being at this stage, or entered it.
    pub emitted: u64,
    /// No room in the kernel ring, or taken by damage to a journal.
    pub lost: u64,
    /// Bytes that no decoder understood.
    pub undecodable: u64,
    /// Kept out on purpose: nothing to tell, or told already.
    pub filtered: u64,
    /// Removed because a bound was reached, lowest class first.
    pub shed: u64,
    /// Removed because it was older than its bound.
    pub expired: u64,
    /// Refused by the next stage for good.
    pub rejected: u64,
    /// Set aside for a person to look at.
    pub quarantined: u64,
    /// Taken by the next stage, or gone into a record of its own making (a segment into a request's
    /// event).
    pub delivered: u64,
    /// Held here at this moment.
    pub in_flight: u64,
}

impl Fates {
    /// The counts that only rise, each under the name that it has in metrics; what is in flight
    /// rises and falls, and is not among them.
    pub const fn totals(&self) -> [(&'static str, u64); 9] {
        [
            ("emitted", self.emitted),
            ("lost", self.lost),
            ("undecodable", self.undecodable),
            ("filtered", self.filtered),
            ("shed", self.shed),
            ("expired", self.expired),
            ("rejected", self.rejected),
            ("quarantined", self.quarantined),
            ("delivered", self.delivered),
        ]
    }

    /// Emitted minus the sum of all fates: zero, or a bug.
    pub fn unaccounted(&self) -> i128 {
        let fates = [
            self.lost,
            self.undecodable,
            self.filtered,
            self.shed,
            self.expired,
            self.rejected,
            self.quarantined,
            self.delivered,
            self.in_flight,
        ];
        i128::from(self.emitted) - fates.into_iter().map(i128::from).sum::<i128>()
    }
}
