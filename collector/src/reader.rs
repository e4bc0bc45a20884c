//! A reader of one of the collector's journals, with books that can be checked: what it should have
//! had comes from the journal's door, what it did with it is counted here.
//!
//! Knows no disk and no format. How records are carried to where they belong is in [`carry`].

mod ahead;
pub mod carry;
pub mod gather;
mod sorted;
pub mod source;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use plimsoll_journal::{Batch, FileStorage};
use plimsoll_wire::fate::Fates;

pub use carry::{CarryError, Destination, Resumed, Taken};
pub use gather::{Gatherer, Onward};
pub use source::{Shelf, Source};

use ahead::Ahead;

use crate::api::{self, StageRow};
use crate::errors::chain;
use crate::ingest::StoreError;

/// What a reader made of some records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// They are where they should be.
    pub delivered: u64,
    /// They were there already.
    pub filtered: u64,
    /// Nobody can say what they were.
    pub undecodable: u64,
    /// The destination has no room for them and will not be asked again.
    pub rejected: u64,
    /// The destination can never take them; they are kept apart.
    pub quarantined: u64,
}

impl Made {
    /// How many they are.
    const fn records(&self) -> u64 {
        self.delivered + self.filtered + self.undecodable + self.rejected + self.quarantined
    }

    const fn add(&mut self, other: Self) {
        self.delivered += other.delivered;
        self.filtered += other.filtered;
        self.undecodable += other.undecodable;
        self.rejected += other.rejected;
        self.quarantined += other.quarantined;
    }
}

/// A reader's state for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReaderState {
    /// Times that the destination or the journal refused, since the start.
    pub failures: u64,
    /// Times that the destination turned out to know another journal, since the start.
    pub renewals: u64,
    /// Time of the oldest record that was read and could not be settled yet, Unix nanoseconds;
    /// `None` while nothing is stuck.
    pub stuck_since_unix_ns: Option<u64>,
}

#[derive(Default)]
struct Books {
    made: Made,
    state: ReaderState,
    /// Time of the oldest record in its hand.
    reading_since: Option<u64>,
    /// Time of the last record that was in its hand.
    read_until: Option<u64>,
}

/// See the module.
pub struct Reader<J = Shelf<FileStorage>> {
    source: J,
    cursor: String,
    /// Records before the reader when it was opened.
    carried: u64,
    books: Mutex<Books>,
    /// Why nothing is carried; a lock of its own, so that asking never waits for the disk.
    failing: Mutex<Option<String>>,
}

impl<J> std::fmt::Debug for Reader<J> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reader")
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

impl<J: Source> Reader<J> {
    /// To be opened before anything can come in. `cursor` is its name at the journal.
    pub fn open(source: J, cursor: impl Into<String>) -> Self {
        let cursor = cursor.into();
        let held = source.held(&cursor);
        Self {
            carried: held.waiting.saturating_sub(held.entered),
            source,
            cursor,
            books: Mutex::default(),
            failing: Mutex::default(),
        }
    }

    /// The journal behind it.
    pub const fn source(&self) -> &J {
        &self.source
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The records behind the cursor, into this reader's hand. Numbers that turn out to be damaged are
    /// booked at once: the journal tells them only once, whatever becomes of this batch.
    pub fn read(&self, records: usize, bytes: usize) -> Result<Batch, StoreError> {
        let mut books = self.books();
        let batch = self.source.hand_out(&self.cursor, records, bytes)?;
        let damaged: u64 = batch.damaged.iter().map(|(from, to)| to - from + 1).sum();
        books.made.undecodable += damaged;
        books.reading_since = batch.records.first().map(|record| record.time_unix_ns);
        books.read_until = batch.records.last().map(|record| record.time_unix_ns);
        Ok(batch)
    }

    /// The reader is done with everything up to `seq`, and made this of it.
    pub fn settle(&self, seq: u64, made: Made) -> Result<(), StoreError> {
        let mut books = self.books();
        self.source.settle(&self.cursor, seq)?;
        books.made.add(made);
        drop(books);
        self.went_well();
        Ok(())
    }

    /// What it carried last has waited for long.
    fn is_late(&self, late: Duration) -> bool {
        let until = self.books().read_until;
        until.is_some_and(|until| {
            let waited = api::unix_ns().saturating_sub(until);
            u128::from(waited) > late.as_nanos()
        })
    }

    /// What was taken ahead has been passed.
    fn pass(&self, ahead: &Ahead) -> Result<(), StoreError> {
        let mut books = self.books();
        let mut passed = None;
        self.source.settle_behind(&self.cursor, &mut |cursor| {
            let (last, made) = ahead.behind(cursor)?;
            passed = Some(made);
            Some(last)
        })?;
        books.made.add(passed.unwrap_or_default());
        drop(books);
        self.went_well();
        Ok(())
    }

    /// What is in its hand stays the journal's, to be read again.
    pub fn put_back(&self) -> Result<(), StoreError> {
        self.source.put_back(&self.cursor)
    }

    /// Goes on behind the segment that could not be read.
    fn give_up(&self, why: &(dyn std::error::Error + 'static)) -> Result<(), StoreError> {
        let mut books = self.books();
        let records = self.source.give_up(&self.cursor)?;
        books.made.undecodable += records;
        drop(books);
        tracing::error!(
            class = self.source.class().as_str(),
            stage = self.source.stage(),
            records,
            error = why,
            "gave up a part of the journal that cannot be read; a loss record says which"
        );
        Ok(())
    }

    fn failed(&self, error: &(dyn std::error::Error + 'static)) {
        let mut books = self.books();
        books.state.failures += 1;
        books.state.stuck_since_unix_ns = books.reading_since;
        drop(books);
        self.set_failing(Some(chain(error)));
    }

    /// Nothing is stuck: what waits, waits on purpose.
    fn went_well(&self) {
        let mut books = self.books();
        (books.state.stuck_since_unix_ns, books.reading_since) = (None, None);
        drop(books);
        self.set_failing(None);
    }

    fn set_failing(&self, why: Option<String>) {
        *self.failing.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why records wait in the journal, with its causes; `None` if the last attempt went well. Never
    /// waits for the disk.
    pub fn failing(&self) -> Option<String> {
        let failing = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        failing.clone()
    }

    fn renewed(&self) {
        self.books().state.renewals += 1;
    }

    /// How it fares.
    pub fn state(&self) -> ReaderState {
        self.books().state
    }

    /// Counts since the start; what an earlier life left behind counts as emitted.
    pub fn fates(&self) -> Fates {
        let books = self.books();
        let held = self.source.held(&self.cursor);
        Fates {
            emitted: self.carried + held.entered + held.lost,
            lost: held.lost,
            delivered: books.made.delivered,
            filtered: books.made.filtered,
            undecodable: books.made.undecodable + held.damaged,
            rejected: books.made.rejected,
            quarantined: books.made.quarantined,
            shed: held.shed,
            expired: held.expired,
            in_flight: held.waiting,
        }
    }

    /// The row of the accounting document.
    pub fn row(&self, destination: &str) -> StageRow {
        StageRow {
            node: None,
            stage: self.source.stage().to_owned(),
            class: self.source.class().as_str().to_owned(),
            destination: Some(destination.to_owned()),
            fates: self.fates(),
        }
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests look at real folders")]
pub(crate) mod tests;
