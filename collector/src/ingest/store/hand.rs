//! The way out, behind the store's lock: what readers are given and settle, and what is shed.
//!
//! ```text
//!  hand out: behind the cursor ─► settle: the cursor moves ─┐
//!      ▲            │                                       ├─► what was shed meanwhile, unsettled: shed
//!      └─ put back ◄┴───────────────────────────────────────┘
//! ```
//!
//! A record that is in a reader's hand is in flight, whatever becomes of its segment: so no record is
//! both shed and delivered, and none is neither.

use std::collections::BTreeMap;

use plimsoll_journal::{Batch, Storage};
use plimsoll_wire::Class;

use super::inner::{Inner, reader_of};
use super::{Held, StoreError, failed};
use crate::ingest::losses::Range;
use crate::ingest::place;

/// What a reader was given and has not settled. The journal may shed it meanwhile, and what lies
/// behind it: until the reader says what it took, nobody knows which of it was shed unread, so it
/// stays in flight. Had the process ended by then, the next start finds it missing.
#[derive(Debug)]
pub(super) struct Hand {
    /// Numbers of the records, rising: one batch.
    seqs: Vec<u64>,
    /// Records behind the cursor that went from the journal since, in the hand or not.
    gone: u64,
    /// Of them the first number and the last.
    range: Range,
}

impl Hand {
    const fn new(seqs: Vec<u64>) -> Self {
        Self {
            seqs,
            gone: 0,
            range: (0, 0),
        }
    }

    const fn went(&mut self, count: u64, (first, last): Range) {
        if self.gone == 0 {
            self.range.0 = first;
        }
        self.gone += count;
        self.range.1 = last;
    }

    /// Of what is gone, the records that are not settled by everything up to `seq`.
    fn unread_after(&self, seq: u64) -> u64 {
        let (_, last) = self.range;
        let had = self.seqs.iter().filter(|had| **had <= seq.min(last));
        self.gone.saturating_sub(had.count() as u64)
    }
}

impl<S: Storage> Inner<S> {
    /// Records behind the reader's cursor, into its hand.
    pub(super) fn hand_out(
        &mut self,
        class: Class,
        reader: &'static str,
        records: usize,
        bytes: usize,
    ) -> Result<Batch, StoreError> {
        self.put_back(class, reader)?;
        let next = self.journal(class).cursor(reader).unwrap_or(0) + 1;
        let batch = self.read(class, next, records, bytes)?;
        if !batch.records.is_empty() {
            let seqs = batch.records.iter().map(|record| record.seq).collect();
            self.hands.insert(reader, Hand::new(seqs));
        }
        Ok(batch)
    }

    /// The reader is done up to `seq`; what else was in its hand is the journal's again.
    pub(super) fn settle(
        &mut self,
        class: Class,
        reader: &'static str,
        seq: u64,
    ) -> Result<(), StoreError> {
        self.journal(class)
            .set_cursor(reader, seq)
            .map_err(failed(class))?;
        match self.hands.remove(reader) {
            Some(hand) => self.book_shed(class, hand.unread_after(seq), hand.range),
            None => Ok(()),
        }
    }

    /// What is in the reader's hand is the journal's again.
    pub(super) fn put_back(
        &mut self,
        class: Class,
        reader: &'static str,
    ) -> Result<(), StoreError> {
        let cursor = self.journal(class).cursor(reader).unwrap_or(0);
        self.settle(class, reader, cursor)
    }

    /// Gives up the segment behind the reader's cursor.
    pub(super) fn give_up(
        &mut self,
        class: Class,
        reader: &'static str,
    ) -> Result<u64, StoreError> {
        self.put_back(class, reader)?;
        let from_seq = self.journal(class).cursor(reader).unwrap_or(0) + 1;
        let mut count = 0;
        for (first, last) in self.journal(class).give_up_segment(from_seq) {
            count += last - first + 1;
            self.losses
                .note(class, "undecodable", last - first + 1, (first, last));
        }
        Ok(count)
    }

    pub(super) fn hold_bound(&mut self, class: Class) -> Result<(), StoreError> {
        let over = |inner: &Self| {
            let bytes = inner.journals.iter().map(|journal| journal.stats().bytes);
            bytes.sum::<u64>() > inner.max_bytes
        };
        while over(self) && self.shed_oldest(class)? {}
        Ok(())
    }

    /// Sheds a segment, and each reader's books learn what it never had; false if there is none.
    fn shed_oldest(&mut self, class: Class) -> Result<bool, StoreError> {
        let reader = reader_of(class);
        let journal = self.journal(class);
        let cursor = journal.cursor(reader).unwrap_or(0);
        let before = journal.count_after(cursor);
        let Some(shed) = journal.shed_oldest().map_err(failed(class))? else {
            return Ok(false);
        };
        let unread = before.saturating_sub(journal.count_after(cursor));
        let range = (shed.first_seq, shed.last_seq);
        match self.hands.get_mut(reader) {
            Some(hand) if unread > 0 => hand.went(unread, range),
            Some(_) => {}
            None => self.book_shed(class, unread, range)?,
        }
        Ok(true)
    }

    /// The reader never had `unread` records, the last of them the range's last.
    fn book_shed(
        &mut self,
        class: Class,
        unread: u64,
        (first, last): Range,
    ) -> Result<(), StoreError> {
        if unread == 0 {
            return Ok(());
        }
        let reader = reader_of(class);
        let journal = self.journal(class);
        let cursor = journal.cursor(reader).unwrap_or(0);
        journal.set_cursor(reader, last).map_err(failed(class))?;
        *self.shed.entry(reader).or_default() += unread;
        let first = first.max(cursor + 1);
        tracing::error!(
            class = class.as_str(),
            count = unread,
            first,
            last,
            "journal is over its bound (data.max_journal_bytes): records were shed"
        );
        if class == Class::Security {
            self.losses.shed(cursor, last);
        }
        self.losses.note(class, "shed", unread, (first, last));
        Ok(())
    }

    pub(super) fn held(&mut self, class: Class, name: &str) -> Held {
        let entered = self.entered.get(place(class)).copied().unwrap_or(0);
        let (unsynced, _) = self.unsynced.get(place(class)).copied().unwrap_or_default();
        let count = |counts: &BTreeMap<&'static str, u64>| counts.get(name).copied().unwrap_or(0);
        let (shed, lost) = (count(&self.shed), count(&self.lost));
        let gone = self.hands.get(name).map_or(0, |hand| hand.gone);
        let journal = self.journal(class);
        let waiting = journal
            .count_after(journal.cursor(name).unwrap_or(0))
            .saturating_sub(unsynced);
        Held {
            waiting: waiting + gone,
            entered,
            shed,
            lost,
        }
    }
}
