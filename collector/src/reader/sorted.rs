//! A batch of a journal, judged before a destination takes it. Pure.

use plimsoll_journal::{Batch, Record};

use super::Made;
use super::carry::{Destination, Taken};
use crate::ingest::decode::PayloadError;

/// A batch, judged.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sorted<T> {
    /// To be taken in.
    pub(super) items: Vec<T>,
    /// The numbers of the items.
    pub(super) seqs: Vec<u64>,
    /// Everything up to this number is settled then; `None` if there is nothing to settle.
    pub(super) last_seq: Option<u64>,
    /// Records that are there already: all of them lie before the items.
    pub(super) known: u64,
    /// The numbers of records that nobody can read; damaged ones are not among them, see [`Reader::read`].
    pub(super) unreadable: Vec<u64>,
    /// The next record is to wait.
    pub(super) is_held: bool,
}

impl<T> Sorted<T> {
    /// The destination takes the items. The last number that has its fate, and what became of all up to it.
    pub(super) fn take<D: Destination<Item = T>>(
        self,
        destination: &mut D,
        epoch: &str,
        last_seq: u64,
    ) -> Result<(u64, Made), D::Error> {
        let taken = if self.items.is_empty() {
            Taken::all(last_seq)
        } else {
            destination.take(self.items, epoch, last_seq)?
        };
        let settled = |seqs: &[u64]| seqs.partition_point(|seq| *seq <= taken.last_seq) as u64;
        let apart = taken.filtered + taken.rejected + taken.quarantined;
        let made = Made {
            delivered: settled(&self.seqs).saturating_sub(apart),
            filtered: self.known + taken.filtered,
            undecodable: settled(&self.unreadable),
            rejected: taken.rejected,
            quarantined: taken.quarantined,
        };
        Ok((taken.last_seq, made))
    }
}

/// Parts a batch into what is new, what is there already (up to `known`) and what nobody can read, up
/// to the first record that is to be held back.
pub(super) fn sort<T>(
    batch: &Batch,
    known: u64,
    decode: impl Fn(&Record) -> Result<T, PayloadError>,
    held: impl Fn(&Record, &T) -> bool,
) -> Sorted<T> {
    let last_record = batch.records.last().map(|record| record.seq);
    let last_damaged = batch.damaged.last().map(|(_, last)| *last);
    let mut last_seq = last_record.max(last_damaged);
    let mut is_held = false;
    let mut before = 0;
    let mut unreadable = Vec::new();
    let mut seqs = Vec::with_capacity(batch.records.len());
    let mut items = Vec::with_capacity(batch.records.len());
    for record in &batch.records {
        if record.seq <= known {
            // Written before the process ended, and the cursor not yet.
            before += 1;
            continue;
        }
        match decode(record) {
            Ok(item) if held(record, &item) => {
                let last = record.seq.checked_sub(1);
                last_seq = last.filter(|last| batch_begins_by(batch, *last));
                is_held = true;
                break;
            }
            Ok(item) => {
                items.push(item);
                seqs.push(record.seq);
            }
            Err(error) => {
                tracing::error!(
                    seq = record.seq,
                    error = &error as &dyn std::error::Error,
                    "journal record cannot be read"
                );
                unreadable.push(record.seq);
            }
        }
    }
    Sorted {
        items,
        seqs,
        last_seq,
        known: before,
        unreadable,
        is_held,
    }
}

/// Whether something of the batch lies at this number or before it.
pub(super) fn batch_begins_by(batch: &Batch, seq: u64) -> bool {
    let record = batch.records.first().map(|record| record.seq);
    let damaged = batch.damaged.first().map(|(first, _)| *first);
    [record, damaged]
        .into_iter()
        .flatten()
        .any(|first| first <= seq)
}
