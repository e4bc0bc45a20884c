//! The way out, behind the store's lock: what readers are given and settle, and what is shed.

use plimsoll_journal::{Batch, Storage};
use plimsoll_wire::Class;

use super::inner::{Inner, reader_of};
use super::{Held, StoreError, failed};
use crate::hands::{Age, Bound, Hands, Unread};
use crate::ingest::{losses, place};

impl<S: Storage> Inner<S> {
    /// Records behind the reader's cursor, into its hand.
    pub(super) fn hand_out(
        &mut self,
        class: Class,
        reader: &str,
        records: usize,
        bytes: usize,
    ) -> Result<Batch, StoreError> {
        self.put_back(class, reader)?;
        let next = self.journal(class).cursor(reader).unwrap_or(0) + 1;
        let batch = self.read(class, next, records, bytes)?;
        self.hands(class).given(reader, &batch);
        Ok(batch)
    }

    pub(super) fn hands(&mut self, class: Class) -> &mut Hands {
        let [usage, security] = &mut self.hands;
        match class {
            Class::Usage => usage,
            Class::Security => security,
        }
    }

    /// The reader is done up to `seq`; what else was in its hand is the journal's again.
    pub(super) fn settle(
        &mut self,
        class: Class,
        reader: &str,
        seq: u64,
    ) -> Result<(), StoreError> {
        let at = place(class);
        let unread = match (self.journals.get_mut(at), self.hands.get_mut(at)) {
            (Some(journal), Some(hands)) => hands.settle(journal, reader, seq),
            _ => Ok(None),
        };
        if let Some(unread) = unread.map_err(failed(class))? {
            self.note_shed(class, unread);
        }
        Ok(())
    }

    /// What is in the reader's hand is the journal's again.
    pub(super) fn put_back(&mut self, class: Class, reader: &str) -> Result<(), StoreError> {
        let cursor = self.journal(class).cursor(reader).unwrap_or(0);
        self.settle(class, reader, cursor)
    }

    /// Gives up the segment behind the reader's cursor.
    pub(super) fn give_up(&mut self, class: Class, reader: &str) -> Result<u64, StoreError> {
        self.put_back(class, reader)?;
        let from_seq = self.journal(class).cursor(reader).unwrap_or(0) + 1;
        let journal = self.journal(class);
        let given_up = journal.give_up_segment(from_seq);
        let untold = journal.untold(&given_up);
        self.losses.note_all(class, "undecodable", &untold);
        Ok(losses::count_after(&given_up, 0))
    }

    /// Sheds what is older than it may be, and the oldest of this class while both together are too long.
    pub(super) fn hold_bound(&mut self, class: Class, now: u64) -> Result<(), StoreError> {
        let age = Age {
            most_ns: self.max_age_ns,
            now_ns: now,
        };
        while age.is_over(self.journal(class)) && self.shed_oldest(class, Bound::Age)? {}
        let over = |inner: &Self| {
            let bytes = inner.journals.iter().map(|journal| journal.stats().bytes);
            bytes.sum::<u64>() > inner.max_bytes
        };
        while over(self) && self.shed_oldest(class, Bound::Bytes)? {}
        Ok(())
    }

    /// Sheds a segment, and its reader's books learn what it never had; false if there is none.
    fn shed_oldest(&mut self, class: Class, bound: Bound) -> Result<bool, StoreError> {
        let at = place(class);
        let shed = match (self.journals.get_mut(at), self.hands.get_mut(at)) {
            (Some(journal), Some(hands)) => hands.shed_oldest(journal, &[reader_of(class)], bound),
            _ => Ok(None),
        };
        let Some(unread) = shed.map_err(failed(class))? else {
            return Ok(false);
        };
        for unread in unread {
            self.note_shed(class, unread);
        }
        Ok(true)
    }

    fn note_shed(&mut self, class: Class, unread: Unread) {
        let (first, last) = unread.range;
        tracing::error!(
            class = class.as_str(),
            count = unread.count,
            first,
            last,
            "journal is over its bound (data.max_journal_bytes, data.max_journal_age_s): records were shed"
        );
        if class == Class::Security {
            self.losses.shed(unread.had, last);
        }
        let fate = unread.bound.fate();
        self.losses.note(class, fate, unread.count, unread.range);
    }

    pub(super) fn held(&mut self, class: Class, name: &str) -> Held {
        let at = place(class);
        let entered = self.entered.get(at).copied().unwrap_or(0);
        let (unsynced, _) = self.unsynced.get(at).copied().unwrap_or_default();
        match (self.journals.get(at), self.hands.get_mut(at)) {
            (Some(journal), Some(hands)) => hands.held(journal, name, entered, unsynced),
            _ => Held::default(),
        }
    }
}
