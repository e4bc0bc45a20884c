//! What is known of the messages from the cursor on, and which of them are looked at for one that is not taken. Pure.

use std::collections::{BTreeMap, BTreeSet};

use super::{Message, QuarantineReason, Quarantined, Sent};

/// What became of a message whose turn has not come: one before it has no fate yet.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Fate {
    Delivered,
    Quarantined(QuarantineReason),
}

/// See the module. At the most what is handed in at a time: every call begins with the first message that has no
/// fate.
#[derive(Debug, Default)]
pub(super) struct Fates {
    settled: BTreeMap<u64, Fate>,
    /// They may have been taken by a call that does not count.
    in_doubt: BTreeSet<u64>,
    /// One of the messages up to this number is not taken.
    suspect_until: Option<u64>,
}

impl Fates {
    /// What lies before the first message is the cursor's matter.
    pub(super) fn begin_at(&mut self, first: u64) {
        self.settled = self.settled.split_off(&first);
        self.in_doubt = self.in_doubt.split_off(&first);
        self.suspect_until = self.suspect_until.filter(|last| *last >= first);
    }

    pub(super) fn is_settled(&self, seq: u64) -> bool {
        self.settled.contains_key(&seq)
    }

    pub(super) fn deliver(&mut self, seqs: &[u64]) {
        let settled = seqs.iter().map(|seq| (*seq, Fate::Delivered));
        self.settled.extend(settled);
    }

    pub(super) fn quarantine(&mut self, seq: u64, reason: QuarantineReason) {
        self.settled.insert(seq, Fate::Quarantined(reason));
    }

    pub(super) fn doubt(&mut self, seqs: &[u64]) {
        self.in_doubt.extend(seqs);
    }

    /// One of them at the least is not taken: the next call has the first half of them.
    pub(super) fn suspect(&mut self, seqs: &[u64]) {
        self.suspect_until = seqs.last().copied();
    }

    /// It was found: the next call has all that fits.
    pub(super) fn convict(&mut self) {
        self.suspect_until = None;
    }

    /// Messages that the next call has at the most, `most` if nobody is looked for. It has none that is passed.
    pub(super) fn most(
        &self,
        messages: &[Message],
        most: usize,
        is_passed: impl Fn(u64) -> bool,
    ) -> usize {
        let suspects = self.suspect_until.map_or(0, |last| {
            let until = messages.iter().take_while(|message| message.seq <= last);
            until.filter(|one| !is_passed(one.seq)).count()
        });
        match suspects {
            0 => most,
            suspects => suspects.div_ceil(2).min(most),
        }
    }

    /// The fates of the run from the front that has them all; they are told once.
    pub(super) fn take(&mut self, messages: &[Message]) -> Sent {
        let mut sent = Sent::default();
        for message in messages {
            let seq = message.seq;
            let Some(fate) = self.settled.remove(&seq) else {
                break;
            };
            sent.taken += 1;
            let was_in_doubt = self.in_doubt.remove(&seq);
            match fate {
                Fate::Delivered => {
                    sent.delivered += 1;
                    sent.maybe_twice += u64::from(was_in_doubt);
                }
                Fate::Quarantined(reason) => sent.quarantined.push(Quarantined { seq, reason }),
            }
        }
        sent
    }
}
