//! What is missing so far, for who reads from where events show later than they were stored.

use super::{Place, Verifier};
use crate::trail::chain;

/// Numbers that are missing, between what was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// In which epoch.
    pub epoch: String,
    /// Where the event behind it was given; `None` where nothing is behind it, but it is known to be there
    /// ([`super::Expect::heads`]).
    pub behind: Option<Place>,
}

impl Verifier<'_> {
    /// What is missing of what was there when the events behind it came. At the beginning of the first epoch of all
    /// nothing is: what is missing there looks as what was removed long ago.
    pub fn holes(&self) -> Vec<Hole> {
        let mut holes = Vec::new();
        let first = self.epochs.iter().find(|(_, epoch)| epoch.rank == 0);
        for (name, epoch) in &self.epochs {
            let is_first = first.is_some_and(|(first, _)| first == name);
            let mut next = match epoch.is_begun {
                true => epoch.next,
                false if is_first => epoch.first,
                false => 1,
            };
            for (seq, given) in &epoch.ahead {
                if *seq > next {
                    holes.push(Hole {
                        epoch: name.clone(),
                        behind: Some(given.at),
                    });
                }
                next = seq + 1;
            }
        }
        for (name, seq, _) in &self.expect.heads {
            let epoch = self.epochs.get(name);
            if epoch.is_none_or(|epoch| epoch.highest() < *seq) {
                holes.push(Hole {
                    epoch: name.clone(),
                    behind: None,
                });
            }
        }
        holes
    }

    /// Whether this event would fill a hole: it is none that was given, and one that is to be there.
    pub fn lacks(&self, text: &[u8]) -> bool {
        let Ok(link) = chain::link(text) else {
            return false;
        };
        let epoch = self.epochs.get(&link.epoch);
        let is_before_head = || {
            let mut heads = self.expect.heads.iter();
            heads.any(|(name, seq, _)| *name == link.epoch && link.seq <= *seq)
        };
        let Some(epoch) = epoch else {
            return is_before_head();
        };
        let is_given = epoch.seen(link.seq).is_some() || epoch.ahead.contains_key(&link.seq);
        !is_given && (link.seq < epoch.highest() || is_before_head())
    }
}
