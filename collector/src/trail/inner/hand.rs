//! What its readers are given, and say that they have.

use plimsoll_journal::{Batch, JournalError, Storage};

use super::super::Gone;
use super::Inner;
use crate::hands::Range;

impl<S: Storage> Inner<S> {
    pub(in super::super) fn settle(&mut self, reader: &str, seq: u64) -> Result<(), JournalError> {
        if let Some(unread) = self.hands.settle(&mut self.journal, reader, seq)? {
            self.note_shed(unread);
        }
        Ok(())
    }

    pub(in super::super) fn put_back(&mut self, reader: &str) -> Result<(), JournalError> {
        let cursor = self.journal.cursor(reader).unwrap_or(0);
        self.settle(reader, cursor)
    }

    pub(in super::super) fn hand_out(
        &mut self,
        reader: &str,
        records: usize,
        bytes: usize,
    ) -> Result<Batch, JournalError> {
        self.put_back(reader)?;
        self.hand_on(reader, records, bytes)
    }

    /// As [`hand_out`](Self::hand_out), behind what is in the reader's hand and besides it.
    pub(in super::super) fn hand_on(
        &mut self,
        reader: &str,
        records: usize,
        bytes: usize,
    ) -> Result<Batch, JournalError> {
        let cursor = self.journal.cursor(reader).unwrap_or(0);
        let last = self.hands.last_in_hand(reader).unwrap_or(0).max(cursor);
        let batch = self.journal.read(last + 1, records, bytes)?;
        for range in &batch.damaged {
            self.damaged(reader, *range);
        }
        self.hands.given(reader, &batch);
        Ok(batch)
    }

    /// One reader came upon damage, and has booked it: no other will find these numbers.
    pub(in super::super) fn damaged(&mut self, finder: &str, (first, last): Range) {
        tracing::error!(first, last, "audit trail is damaged");
        for reader in self
            .settings
            .readers
            .iter()
            .filter(|reader| *reader != finder)
        {
            let had = self.journal.cursor(reader).unwrap_or(0);
            self.hands.damage(reader, (first.max(had + 1), last));
        }
        for (first, last) in self.journal.untold(&[(first, last)]) {
            self.gone.push(Gone {
                fate: "undecodable",
                count: last - first + 1,
                range: (first, last),
            });
        }
    }

    pub(in super::super) fn give_up(&mut self, reader: &str) -> Result<u64, JournalError> {
        self.put_back(reader)?;
        let from = self.journal.cursor(reader).unwrap_or(0) + 1;
        let mut count = 0;
        for (first, last) in self.journal.give_up_segment(from) {
            count += last - first + 1;
            self.damaged(reader, (first, last));
        }
        Ok(count)
    }
}
