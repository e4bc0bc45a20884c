//! Losses of the collector's own: they become records of the security stream, numbered like any
//! node's, so that the stream itself tells what is missing in it. Pure.
//!
//! A loss is on record once its record is durable. Until then it waits here; losses of one kind
//! that wait together become one.

use std::collections::VecDeque;

use plimsoll_wire::event::Loss;
use plimsoll_wire::otlp::{id, logs};
use plimsoll_wire::{AuditEvent, Class, RecordId, stage};
use prost::Message;

use super::decode;
use super::dedupe::OWN_NODE;

/// `stage` of the losses told here.
const STAGE: &str = stage::JOURNAL;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Not in the journal's hands yet.
    waiting: Vec<Loss>,
    /// In its hands, with their numbers in the journal, but not durable.
    written: Vec<(u64, Loss)>,
    /// On record, and the reader has not had them.
    told: VecDeque<(u64, Loss)>,
    /// Numbers that are gone, of which their journal does not know yet that they are told.
    gone: Vec<(Class, Range)>,
    /// Numbers of which a record of an earlier life tells, found after the checkpoint.
    on_record: Vec<(Class, Range)>,
}

/// Numbers from and to, inclusive.
pub(super) type Range = (u64, u64);

impl Losses {
    /// A record of an earlier life, found in the journal.
    pub(super) fn found(&mut self, id: &RecordId, event: &AuditEvent) {
        if let AuditEvent::Loss(loss) = event
            && id.node == OWN_NODE
            && loss.stage == STAGE
            && let Some((first, last)) = loss.first_seq.zip(loss.last_seq)
            // One that tells of several runs does not say which.
            && last.checked_sub(first).is_some_and(|more| more + 1 == loss.count)
        {
            self.on_record.push((loss.lost_class, (first, last)));
        }
    }

    /// Of these numbers, those of which no record of an earlier life is known to tell.
    pub(super) fn not_on_record(&self, class: Class, ranges: &[Range]) -> Vec<Range> {
        let told = self.on_record.iter().filter(|(of, _)| *of == class);
        let told: Vec<Range> = told.map(|(_, range)| *range).collect();
        without(ranges, &told)
    }

    /// Records of a journal behind the door are gone.
    pub(super) fn note(&mut self, class: Class, fate: &str, count: u64, range: Range) {
        self.note_at(STAGE, class, fate, count, range);
        self.gone.push((class, range));
    }

    /// Records are gone at a stage of the collector's.
    pub(super) fn note_at(
        &mut self,
        stage: &str,
        class: Class,
        fate: &str,
        count: u64,
        (first, last): Range,
    ) {
        let known = self
            .waiting
            .iter_mut()
            .find(|loss| loss.stage == stage && loss.lost_class == class && loss.fate == fate);
        if let Some(loss) = known {
            loss.count += count;
            loss.first_seq = loss.first_seq.min(Some(first));
            loss.last_seq = loss.last_seq.max(Some(last));
            return;
        }
        self.waiting.push(Loss {
            stage: stage.to_owned(),
            lost_class: class,
            fate: fate.to_owned(),
            count,
            first_seq: Some(first),
            last_seq: Some(last),
        });
    }

    /// All of these numbers are gone.
    pub(super) fn note_all(&mut self, class: Class, fate: &str, ranges: &[Range]) {
        for (first, last) in ranges {
            self.note(class, fate, last - first + 1, (*first, *last));
        }
    }

    /// What was noted of the journals behind the door, once all of it is on record.
    pub(super) fn take_told(&mut self) -> Vec<(Class, Range)> {
        if self.is_empty() {
            std::mem::take(&mut self.gone)
        } else {
            Vec::new()
        }
    }

    /// Nothing waits to be told.
    pub(super) const fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.written.is_empty()
    }

    pub(super) fn next(&mut self) -> Option<Loss> {
        self.waiting.pop()
    }

    pub(super) fn put_back(&mut self, loss: Loss) {
        self.waiting.push(loss);
    }

    /// The journal took it under this number.
    pub(super) fn taken(&mut self, seq: u64, loss: Loss) {
        self.written.push((seq, loss));
    }

    /// The security journal was synced.
    pub(super) fn synced(&mut self) {
        self.told.extend(std::mem::take(&mut self.written));
    }

    /// The reader has everything up to `cursor`, and what is behind it up to `last` was shed: losses
    /// that were told there have to be told again.
    pub(super) fn shed(&mut self, cursor: u64, last: u64) {
        while let Some((seq, loss)) = self.told.pop_front_if(|(seq, _)| *seq <= last.max(cursor)) {
            if seq > cursor {
                let range = loss.first_seq.zip(loss.last_seq).unwrap_or_default();
                self.note_at(&loss.stage, loss.lost_class, &loss.fate, loss.count, range);
            }
        }
    }
}

/// A record of the collector's own under its name, as the journal keeps it.
pub(super) fn payload(event: &AuditEvent, id: &RecordId, now_unix_ns: u64) -> Vec<u8> {
    let mut record = logs::encode(event, now_unix_ns);
    let stream = id::StreamId {
        epoch: id.epoch.clone(),
        class: id.class,
        seq: id.seq,
    };
    id::stamp(&mut record.attributes, &stream);
    decode::envelope(record, &id.node).encode_to_vec()
}

/// How many numbers lie in the ranges behind `from`.
pub(super) fn count_after(ranges: &[Range], from: u64) -> u64 {
    ranges
        .iter()
        .filter(|(_, last)| *last > from)
        .map(|(first, last)| last - (*first).max(from + 1) + 1)
        .sum()
}

/// The ranges without what lies in others.
pub(super) fn without(ranges: &[Range], others: &[Range]) -> Vec<Range> {
    others.iter().fold(ranges.to_vec(), |left, (first, last)| {
        let before = within(&left, 0, *first);
        [before, within(&left, *last, u64::MAX)].concat()
    })
}

/// The ranges without what lies up to `from` and from `to` on.
pub(super) fn within(ranges: &[Range], from: u64, to: u64) -> Vec<Range> {
    ranges
        .iter()
        .map(|(first, last)| ((*first).max(from + 1), (*last).min(to.saturating_sub(1))))
        .filter(|(first, last)| first <= last)
        .collect()
}
