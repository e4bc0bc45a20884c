//! A start of the trail: where its chain ends, and what earlier lives left damaged or untold.

use std::collections::BTreeMap;

use plimsoll_journal::frame::MAX_PAYLOAD;
use plimsoll_journal::{Journal, JournalError, Options, Recovery, Storage};

use super::entry::Entry;
use super::inner::{HEAD, Inner, MAX_RECENT_BYTES};
use super::keys::Keys;
use super::{Gone, Head, Settings, TrailError};
use crate::hands::{Hands, Range};

/// Frames of the trail have this stream number; the other journals have 1 to 3.
const STREAM: u8 = 4;

/// The first number of what was torn while it was written, if anything was.
fn torn_from(recovery: &Recovery) -> Option<u64> {
    let unsure = recovery.unsure_from;
    let mut missing = recovery.missing.iter();
    let (first, _) = missing.find(|(_, last)| unsure > 0 && *last >= unsure)?;
    Some((*first).max(unsure))
}

/// The last record that can be read, and the numbers behind it that cannot.
type LastEntry = (Option<(u64, Entry)>, Vec<Range>);

fn last_entry<S: Storage>(journal: &mut Journal<S>) -> Result<LastEntry, JournalError> {
    let mut damaged = Vec::new();
    let stats = journal.stats();
    let (Some(first), Some(newest)) = (stats.first_seq, stats.last_seq) else {
        return Ok((None, damaged));
    };
    let mut back = 0;
    loop {
        let begin = newest.saturating_sub(back).max(first);
        let (mut from, mut last) = (begin, None);
        loop {
            let batch = journal.read(from, usize::MAX, MAX_RECENT_BYTES)?;
            damaged.extend(batch.damaged);
            let Some(record) = batch.records.into_iter().next_back() else {
                break;
            };
            from = record.seq + 1;
            last = Some(record);
        }
        if let Some(record) = last {
            let entry = Entry::of(&record.payload).ok();
            return Ok((entry.map(|entry| (record.seq, entry)), damaged));
        }
        if begin == first {
            return Ok((None, damaged));
        }
        back = 2 * back + 1;
    }
}

impl<S: Storage> Inner<S> {
    /// Opens both folders.
    ///
    /// # Errors
    /// As of [`Journal::open`].
    pub(super) fn open(
        storage: S,
        keys: S,
        settings: Settings,
    ) -> Result<(Self, Recovery), TrailError> {
        let cursors: Vec<&str> = std::iter::once(HEAD)
            .chain(settings.readers.iter().map(String::as_str))
            .collect();
        let mut options = Options::new(STREAM, &cursors, settings.new_journal_epoch.clone());
        options.segment_bytes = options
            .segment_bytes
            .min(settings.max_bytes / 16)
            .max(64 << 10);
        // The door takes a mebibyte, of which JSON may make six; and the event beside it has one at the most.
        options.max_record_bytes = MAX_PAYLOAD;
        options.max_pending_bytes = 2 * MAX_PAYLOAD;
        let (mut journal, recovery) = Journal::open(storage, options)?;
        // What a loss of power has torn nobody has read: it is published again, in its order.
        if let Some(torn) = torn_from(&recovery) {
            journal.take_back(torn)?;
        }
        let (last, damaged) = last_entry(&mut journal)?;
        let (last_number, last) = last.unzip();
        let link = last.as_ref().and_then(|entry| entry.link().ok());
        let announced = last.as_ref().and_then(Entry::key);
        let keys = Keys::open(keys, announced)?;
        let mut head = Head {
            key: keys.current(),
            ..Head::default()
        };
        if let Some(link) = link {
            (head.epoch, head.seq, head.hash) = (link.epoch, link.seq, link.hash);
        }
        let mut inner = Inner {
            keys,
            hands: Hands::default(),
            durable: head.clone(),
            head,
            source: last
                .map(|entry| (entry.source_epoch, entry.source_seq))
                .unwrap_or_default(),
            is_open: false,
            turns_key: false,
            key_since_ns: 0,
            ticked_ns: 0,
            told: BTreeMap::new(),
            told_last: Default::default(),
            number: last_number.unwrap_or(0),
            entered: 0,
            unsynced: 0,
            gone: Vec::new(),
            is_telling: false,
            telling: recovery.missing.clone(),
            settings,
            journal,
        };
        inner.lost(&recovery);
        for range in inner.journal.untold(&damaged) {
            inner.lose(range);
        }
        if inner.gone.is_empty() {
            // The numbers of what was torn mean nothing. If this cannot be written, they are told of as lost.
            inner.mark_told();
            drop(inner.journal.sync_positions());
        }
        Ok((inner, recovery))
    }

    /// What the start found missing, of the records that some destination had not had.
    pub(super) fn lost(&mut self, recovery: &Recovery) {
        // What may never have been durable was never read either.
        let before = match recovery.unsure_from {
            0 => u64::MAX,
            unsure => unsure,
        };
        let sure = recovery.missing.iter();
        let sure = sure.map(|(first, last)| (*first, (*last).min(before - 1)));
        for range in sure.filter(|(first, last)| first <= last) {
            self.lose(range);
        }
        for (first, last) in &recovery.untold {
            self.gone.push(Gone {
                fate: "lost",
                count: last - first + 1,
                range: (*first, *last),
            });
        }
    }

    /// The start found these numbers to be gone.
    fn lose(&mut self, (first, last): Range) {
        let mut most = 0;
        for reader in &self.settings.readers {
            let had = self.journal.cursor(reader).unwrap_or(0);
            let count = (last + 1).saturating_sub(first.max(had + 1));
            self.hands.lose(reader, count);
            most = most.max(count);
        }
        // What every destination had is no loss.
        if most > 0 {
            self.gone.push(Gone {
                fate: "lost",
                count: most,
                range: (last + 1 - most, last),
            });
        }
    }
}
