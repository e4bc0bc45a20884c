//! A journal as its readers see it.

use plimsoll_journal::{Batch, Record, Storage};
use plimsoll_wire::{Class, stage};
use tokio::sync::watch;

use crate::hands::Held;
use crate::ingest::{Store, StoreError};

/// Where records are read from, in order, by readers with names. What a reader was given is in its hand until
/// it [settles](Source::settle) or [puts back](Source::put_back): if the journal sheds it meanwhile, it counts as
/// shed only if the reader does not settle it. Clones are the same journal.
pub trait Source: Clone + Send + Sync + 'static {
    /// Of all its records.
    fn class(&self) -> Class;

    /// The stage that its readers are, one of [`stage`].
    fn stage(&self) -> &'static str;

    /// Its epoch: with it a number means one record for ever.
    fn epoch(&self) -> String;

    /// Changes whenever there may be more to read.
    fn commits(&self) -> watch::Receiver<u64>;

    /// Durable records behind the reader's cursor, into its hand: at most `records`, and no more than `bytes`
    /// of payload unless a single record is longer.
    fn hand_out(&self, reader: &str, records: usize, bytes: usize) -> Result<Batch, StoreError>;

    /// The reader is done up to `seq`, and has nothing in its hand.
    fn settle(&self, reader: &str, seq: u64) -> Result<(), StoreError>;

    /// The reader has not taken what is in its hand.
    fn put_back(&self, reader: &str) -> Result<(), StoreError>;

    /// Gives up the segment behind the reader's cursor, because it cannot be read. How many records that were;
    /// they are told.
    fn give_up(&self, reader: &str) -> Result<u64, StoreError>;

    /// The last durable number, where records are taken [ahead](super::ahead); else none.
    fn last(&self) -> Option<u64> {
        None
    }

    /// As [`settle`](Self::settle), up to what `upto` says of the number up to which the reader is done: of one moment,
    /// so that nothing is shed between the two.
    fn settle_behind(
        &self,
        _reader: &str,
        _upto: &mut dyn FnMut(u64) -> Option<u64>,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    /// Durable records from that number on, into nobody's hand; the bounds are those of
    /// [`hand_out`](Self::hand_out). What turns out to be damaged is booked for every reader.
    fn peek(&self, _from: u64, _records: usize, _bytes: usize) -> Result<Vec<Record>, StoreError> {
        Ok(Vec::new())
    }

    /// What the reader has before it, what came in since the start, and what it never had: all of one moment.
    fn held(&self, reader: &str) -> Held;
}

/// One of the two journals behind the collector's door.
pub struct Shelf<S> {
    store: Store<S>,
    class: Class,
}

impl<S> Clone for Shelf<S> {
    fn clone(&self) -> Self {
        Self {
            store: self.store.clone(),
            class: self.class,
        }
    }
}

impl<S> Shelf<S> {
    /// That of a class.
    pub const fn of(store: Store<S>, class: Class) -> Self {
        Self { store, class }
    }
}

impl<S: Storage + Send + 'static> Source for Shelf<S> {
    fn class(&self) -> Class {
        self.class
    }

    fn stage(&self) -> &'static str {
        stage::JOURNAL
    }

    fn epoch(&self) -> String {
        self.store.journal_epoch(self.class)
    }

    fn commits(&self) -> watch::Receiver<u64> {
        self.store.commits()
    }

    fn hand_out(&self, reader: &str, records: usize, bytes: usize) -> Result<Batch, StoreError> {
        self.store.hand_out(self.class, reader, records, bytes)
    }

    fn settle(&self, reader: &str, seq: u64) -> Result<(), StoreError> {
        self.store.settle(self.class, reader, seq)
    }

    fn put_back(&self, reader: &str) -> Result<(), StoreError> {
        self.store.put_back(self.class, reader)
    }

    fn give_up(&self, reader: &str) -> Result<u64, StoreError> {
        self.store.give_up(self.class, reader)
    }

    fn held(&self, reader: &str) -> Held {
        self.store.held(self.class, reader)
    }
}
