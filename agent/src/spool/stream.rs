//! One class of the spool: its journal and its books.

use std::cell::Cell;

use plimsoll_journal::{Journal, JournalError, Shed, Storage};
use plimsoll_wire::event::StageFates;
use plimsoll_wire::fate::Fates;
use plimsoll_wire::{Class, stage};

use super::{CURSOR, Level, Outgoing, no_fates};

/// See the module.
#[derive(Debug)]
pub(super) struct Stream<S> {
    class: Class,
    pub(super) journal: Journal<S>,
    /// Everything but `in_flight`, which the journal knows.
    fates: Fates,
    read_errors: u64,
    /// The cursor, and the time of the first record behind it, when that was last looked up.
    oldest: Cell<Option<(u64, u64)>>,
}

impl<S: Storage> Stream<S> {
    pub(super) fn new(class: Class, journal: Journal<S>) -> Self {
        let mut stream = Self {
            class,
            journal,
            fates: no_fates(),
            read_errors: 0,
            oldest: Cell::new(None),
        };
        stream.fates.emitted = stream.in_flight();
        stream
    }

    fn cursor(&self) -> u64 {
        self.journal.cursor(CURSOR).unwrap_or(0)
    }

    fn in_flight(&self) -> u64 {
        self.journal.count_after(self.cursor())
    }

    pub(super) fn bytes(&self) -> u64 {
        self.journal.stats().bytes
    }

    pub(super) const fn shed_total(&self) -> u64 {
        self.fates.shed
    }

    /// Takes a record, or counts it as shed: false then.
    pub(super) fn append(&mut self, payload: &[u8], now_unix_ns: u64) -> bool {
        self.fates.emitted += 1;
        let taken = self.journal.append(payload, now_unix_ns).is_ok();
        if !taken {
            self.fates.shed += 1;
        }
        taken
    }

    /// Takes a record and gives back its number, or leaves it with the caller: nothing is counted then.
    pub(super) fn append_or_refuse(&mut self, payload: &[u8], now_unix_ns: u64) -> Option<u64> {
        let seq = self.journal.append(payload, now_unix_ns).ok()?;
        self.fates.emitted += 1;
        Some(seq)
    }

    pub(super) fn sync(&mut self) -> Result<(), JournalError> {
        self.journal.sync().map(|_| ())
    }

    /// Removes the oldest segment; the reader goes on behind it.
    pub(super) fn shed_oldest(&mut self) -> Result<Option<Shed>, JournalError> {
        let before = self.in_flight();
        let Some(shed) = self.journal.shed_oldest()? else {
            return Ok(None);
        };
        self.fates.shed += before.saturating_sub(self.in_flight());
        if shed.last_seq > 0 {
            // Until a record of it is on disk, however far the cursor is.
            self.journal.note_untold((shed.first_seq, shed.last_seq));
            self.journal.set_cursor(CURSOR, shed.last_seq)?;
        }
        Ok(Some(shed))
    }

    /// The next records, and the ranges that turned out to be damaged.
    pub(super) fn read(
        &mut self,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<(Outgoing, Vec<(u64, u64)>), JournalError> {
        let before = self.in_flight();
        let batch = self
            .journal
            .read(self.cursor() + 1, max_records, max_bytes)
            .inspect_err(|_| self.read_errors += 1)?;
        self.fates.undecodable += before.saturating_sub(self.in_flight());
        let records = batch
            .records
            .into_iter()
            .map(|record| (record.seq, record.payload))
            .collect();
        Ok((Outgoing { records }, batch.damaged))
    }

    /// Gives up the segment that the reader stands in; the numbers that were in it.
    pub(super) fn give_up(&mut self) -> Vec<(u64, u64)> {
        let before = self.in_flight();
        let given_up = self.journal.give_up_segment(self.cursor() + 1);
        self.fates.undecodable += before.saturating_sub(self.in_flight());
        given_up
    }

    pub(super) fn acknowledge(&mut self, seq: u64, rejected: u64) -> Result<(), JournalError> {
        let before = self.in_flight();
        self.journal.set_cursor(CURSOR, seq)?;
        let done = before.saturating_sub(self.in_flight());
        let rejected = rejected.min(done);
        self.fates.rejected += rejected;
        self.fates.delivered += done - rejected;
        self.journal.sync_positions()
    }

    pub(super) fn fates(&self) -> StageFates {
        StageFates {
            stage: stage::SPOOL.to_owned(),
            class: self.class.as_str().to_owned(),
            fates: Fates {
                in_flight: self.in_flight(),
                ..self.fates
            },
        }
    }

    /// The time of the oldest record that nobody has acknowledged. It stays the same until the cursor
    /// moves, so the disk is asked once for each.
    fn oldest_unix_ns(&self) -> Option<u64> {
        let cursor = self.cursor();
        let known = self.oldest.get().filter(|(at, _)| *at == cursor);
        let oldest = known.or_else(|| Some((cursor, self.journal.time_after(cursor)?)));
        self.oldest.set(oldest);
        oldest.map(|(_, time)| time)
    }

    pub(super) fn level(&self) -> Level {
        let stats = self.journal.stats();
        Level {
            class: self.class,
            bytes: stats.bytes,
            records: self.in_flight(),
            oldest_unix_ns: self.oldest_unix_ns(),
            read_errors: self.read_errors,
        }
    }
}
