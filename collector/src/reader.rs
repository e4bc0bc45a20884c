//! A reader of one of the collector's journals, with books that can be checked: what it should have
//! had comes from the journal's door, what it did with it is counted here.
//!
//! Knows no disk and no format.

use std::sync::{Mutex, PoisonError};

use plimsoll_journal::Batch;
use plimsoll_wire::Class;
use plimsoll_wire::fate::Fates;

use crate::api::StageRow;
use crate::ingest::{Store, StoreError};

/// What a reader made of some records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// They are where they should be.
    pub delivered: u64,
    /// They were there already.
    pub filtered: u64,
    /// Nobody can say what they were.
    pub undecodable: u64,
}

/// See the module.
pub struct Reader {
    store: Store,
    class: Class,
    cursor: &'static str,
    /// Records before the reader when it was opened.
    carried: u64,
    books: Mutex<Made>,
}

impl std::fmt::Debug for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

impl Reader {
    /// To be opened before anything can come in.
    pub fn open(store: Store, class: Class, cursor: &'static str) -> Self {
        let held = store.held(class, cursor);
        Self {
            carried: held.waiting.saturating_sub(held.entered),
            store,
            class,
            cursor,
            books: Mutex::default(),
        }
    }

    /// The journal behind it.
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// The records behind `from_seq`, or behind the cursor if that is further.
    pub fn read(&self, from_seq: u64, records: usize, bytes: usize) -> Result<Batch, StoreError> {
        let next = self.store.cursor(self.class, self.cursor) + 1;
        self.store
            .read(self.class, next.max(from_seq), records, bytes)
    }

    /// The reader is done with everything up to `seq`, and made this of it.
    pub fn settle(&self, seq: u64, made: Made) -> Result<(), StoreError> {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        self.store.set_cursor(self.class, self.cursor, seq)?;
        books.delivered += made.delivered;
        books.filtered += made.filtered;
        books.undecodable += made.undecodable;
        Ok(())
    }

    /// Counts since the start; what an earlier life left behind counts as emitted.
    pub fn fates(&self) -> Fates {
        let made = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.store.held(self.class, self.cursor);
        Fates {
            emitted: self.carried + held.entered + held.lost,
            lost: held.lost,
            delivered: made.delivered,
            filtered: made.filtered,
            undecodable: made.undecodable,
            shed: held.shed,
            in_flight: held.waiting,
            ..Fates::default()
        }
    }

    /// The row of the accounting document.
    pub fn row(&self, destination: &str) -> StageRow {
        StageRow {
            node: None,
            stage: "journal".to_owned(),
            class: self.class.as_str().to_owned(),
            destination: Some(destination.to_owned()),
            fates: self.fates(),
        }
    }
}
