//! Which records were there before, and which never came. Pure.
//!
//! An agent sends each stream in order and again from its last acknowledged record, so one number
//! for each stream is enough to know a repeat.

use std::collections::BTreeMap;

use plimsoll_wire::{Class, RecordId};
use serde::{Deserialize, Serialize};

/// Streams remembered at the most; the one that was silent longest is forgotten first.
const MAX_STREAMS: usize = 65_536;
/// Gaps that are named for each stream; more are only counted.
const MAX_GAPS: usize = 32;

/// One `(node, epoch, class)`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    /// Node name.
    pub node: String,
    /// Life of its spool.
    pub epoch: String,
    /// Which stream.
    pub class: Class,
    /// The first number that came; what was before it, this collector never saw.
    pub first_seq: u64,
    /// The highest number that came.
    pub watermark: u64,
    /// Numbers between them that never came.
    pub missing: u64,
    /// The newest gaps, from and to inclusive.
    pub gaps: Vec<(u64, u64)>,
    /// Count of records when it last spoke: order of silence.
    touched: u64,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// New, and the next one.
    Next,
    /// New; the numbers from and to inclusive did not come.
    AfterGap(u64, u64),
    /// There before.
    Repeat,
}

/// All streams.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dedupe {
    streams: BTreeMap<String, Stream>,
    clock: u64,
}

fn key(id: &RecordId) -> String {
    format!("{}/{}/{}", id.node, id.epoch, id.class.as_str())
}

impl Dedupe {
    /// Says what the record is; changes nothing.
    pub fn judge(&self, id: &RecordId) -> Verdict {
        match self.streams.get(&key(id)) {
            Some(stream) if id.seq <= stream.watermark => Verdict::Repeat,
            Some(stream) if id.seq > stream.watermark + 1 => {
                Verdict::AfterGap(stream.watermark + 1, id.seq - 1)
            }
            _ => Verdict::Next,
        }
    }

    /// The record is in the journal. A repeat changes nothing.
    pub fn accept(&mut self, id: &RecordId) {
        self.clock += 1;
        let verdict = self.judge(id);
        let stream = self.streams.entry(key(id)).or_insert_with(|| Stream {
            node: id.node.clone(),
            epoch: id.epoch.clone(),
            class: id.class,
            first_seq: id.seq,
            watermark: id.seq,
            missing: 0,
            gaps: Vec::new(),
            touched: 0,
        });
        stream.touched = self.clock;
        if let Verdict::AfterGap(from, to) = verdict {
            stream.missing += to - from + 1;
            if stream.gaps.len() >= MAX_GAPS {
                stream.gaps.remove(0);
            }
            stream.gaps.push((from, to));
        }
        stream.watermark = stream.watermark.max(id.seq);
        if self.streams.len() > MAX_STREAMS {
            let oldest = self
                .streams
                .iter()
                .min_by_key(|(_, stream)| stream.touched)
                .map(|(key, _)| key.clone());
            oldest.map(|key| self.streams.remove(&key));
        }
    }

    /// Every stream.
    pub fn streams(&self) -> impl Iterator<Item = &Stream> {
        self.streams.values()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(seq: u64) -> RecordId {
        RecordId {
            node: "n".into(),
            epoch: "e".into(),
            class: Class::Security,
            seq,
        }
    }

    proptest! {
        /// Whatever is sent again or left out: each number is accepted once at most, and what is
        /// missing is exactly what never came.
        #[test]
        fn once_each_and_gaps_exact(seqs in prop::collection::vec(1u64..40, 1..60)) {
            let mut dedupe = Dedupe::default();
            let mut accepted = std::collections::BTreeSet::new();
            for seq in seqs {
                if dedupe.judge(&id(seq)) != Verdict::Repeat {
                    prop_assert!(accepted.insert(seq));
                }
                dedupe.accept(&id(seq));
            }
            let stream = dedupe.streams().next().unwrap();
            let span = stream.watermark - stream.first_seq + 1;
            prop_assert_eq!(span, accepted.len() as u64 + stream.missing);
            let gaps: u64 = stream.gaps.iter().map(|(from, to)| to - from + 1).sum();
            prop_assert_eq!(gaps, stream.missing);
        }
    }
}
