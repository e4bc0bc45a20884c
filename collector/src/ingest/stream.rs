//! One stream's numbers: how far it came, what is missing in it, and what of that is durable. Pure.

use plimsoll_wire::{Class, RecordId};
use prost::Message;

/// Gaps that are named for each stream; more are only counted.
pub(super) const MAX_GAPS: usize = 32;

/// What a stream's numbers say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    pub(super) first_seq: u64,
    pub(super) watermark: u64,
    pub(super) missing: u64,
    pub(super) gaps: Vec<(u64, u64)>,
    pub(super) touched: u64,
}

/// What of a stream is known to be durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Synced {
    AsItIs,
    Nothing,
    Earlier(Box<Progress>),
}

/// One `(node, epoch, class)`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    /// Node name.
    pub node: String,
    /// Life of its spool.
    pub epoch: String,
    /// Which stream.
    pub class: Class,
    pub(super) now: Progress,
    pub(super) synced: Synced,
    /// Gaps that there is room for in a checkpoint.
    pub(super) room: usize,
}

impl Stream {
    /// The first number that came; what was before it, this collector never saw.
    pub const fn first_seq(&self) -> u64 {
        self.now.first_seq
    }

    /// The highest number that came.
    pub const fn watermark(&self) -> u64 {
        self.now.watermark
    }

    /// Numbers below it that never came.
    pub const fn missing(&self) -> u64 {
        self.now.missing
    }

    /// The newest gaps, from and to inclusive.
    pub fn gaps(&self) -> &[(u64, u64)] {
        &self.now.gaps
    }

    pub(super) fn is(&self, id: &RecordId) -> bool {
        self.class == id.class && self.epoch == id.epoch
    }

    pub(super) fn stored(&self) -> Option<StoredStream> {
        let progress = match &self.synced {
            Synced::AsItIs => &self.now,
            Synced::Nothing => return None,
            Synced::Earlier(progress) => progress,
        };
        Some(StoredStream {
            node: self.node.clone(),
            epoch: self.epoch.clone(),
            class: self.class.as_str().to_owned(),
            first_seq: progress.first_seq,
            watermark: progress.watermark,
            missing: progress.missing,
            gaps: progress
                .gaps
                .iter()
                .flat_map(|(from, to)| [*from, *to])
                .collect(),
            touched: progress.touched,
        })
    }
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// New, and the next one.
    Next,
    /// New; the numbers from and to inclusive did not come.
    AfterGap(u64, u64),
    /// New, and out of turn: it was missing.
    Late,
    /// There before.
    Repeat,
}

/// A stream in a checkpoint.
#[derive(Clone, PartialEq, Message)]
pub struct StoredStream {
    /// Node name.
    #[prost(string, tag = "1")]
    pub node: String,
    /// Life of its spool.
    #[prost(string, tag = "2")]
    pub epoch: String,
    /// Class by name.
    #[prost(string, tag = "3")]
    pub class: String,
    /// First number that came.
    #[prost(uint64, tag = "4")]
    pub first_seq: u64,
    /// Highest number that came.
    #[prost(uint64, tag = "5")]
    pub watermark: u64,
    /// Numbers that never came.
    #[prost(uint64, tag = "6")]
    pub missing: u64,
    /// From, to, from, to, ….
    #[prost(uint64, repeated, tag = "7")]
    pub gaps: Vec<u64>,
    /// Order of silence.
    #[prost(uint64, tag = "8")]
    pub touched: u64,
}

/// The most bytes that a stream can take in a checkpoint: texts, five numbers of ten bytes at the
/// most, the gaps, and tags and lengths.
pub(super) const fn most_bytes(node: &str, epoch: &str, gaps: usize) -> usize {
    node.len() + epoch.len() + 2 * gaps * 10 + 5 * 10 + 64
}

impl Progress {
    pub(super) fn judge(&self, seq: u64) -> Verdict {
        let within = |(from, to): &(u64, u64)| (*from..=*to).contains(&seq);
        if seq > self.watermark {
            if seq - self.watermark == 1 {
                Verdict::Next
            } else {
                Verdict::AfterGap(self.watermark + 1, seq - 1)
            }
        } else if seq < self.first_seq || self.gaps.iter().any(within) {
            Verdict::Late
        } else {
            Verdict::Repeat
        }
    }

    pub(super) fn accept(&mut self, seq: u64) {
        match self.judge(seq) {
            Verdict::Repeat => return,
            Verdict::Next => {}
            Verdict::AfterGap(from, to) => self.add_gap(from, to),
            Verdict::Late if seq < self.first_seq => {
                if seq + 1 < self.first_seq {
                    self.add_gap(seq + 1, self.first_seq - 1);
                }
                self.first_seq = seq;
            }
            Verdict::Late => {
                let gaps = std::mem::take(&mut self.gaps);
                for (from, to) in gaps {
                    if (from..=to).contains(&seq) {
                        self.missing -= to - from + 1;
                        if from < seq {
                            self.add_gap(from, seq - 1);
                        }
                        if seq < to {
                            self.add_gap(seq + 1, to);
                        }
                    } else {
                        self.gaps.push((from, to));
                    }
                }
            }
        }
        self.watermark = self.watermark.max(seq);
    }

    fn add_gap(&mut self, from: u64, to: u64) {
        self.missing += to - from + 1;
        self.gaps.push((from, to));
    }
}
