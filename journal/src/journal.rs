//! The journal itself: opening a folder again, numbers, cursors, reading. Knows the disk only
//! through [`Storage`], and has no clock.
//!
//! * `write`: the way in, and what may be believed after which answer of the disk
//! * `read`: reading on through the segments, around damage
//! * `retention`: what is removed, and in which order

mod options;
mod read;
mod retention;
mod write;

use std::collections::VecDeque;
use std::io;

use crate::positions::{self, Positions};
use crate::recovery::{Recovery, Survey};
use crate::seal::{SECTOR, Seal};
use crate::segment::Segment;
use crate::storage::{Files, Storage, read_file};

pub use options::{JournalError, Options};
pub(crate) use options::{io_error, unless_damaged};
use read::Reading;
pub use read::{Batch, Record};
pub use retention::Shed;
use write::Pending;

/// A segment file that is longer than this was not written by us; the rest of it is not looked at.
pub(crate) const MAX_SEGMENT_BYTES: u64 = 256 << 20;

/// Sizes at this moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of segments and pending records.
    pub bytes: u64,
    /// Of which wait for a sync.
    pub pending_bytes: u64,
    /// Records, pending included, read by everybody or not.
    pub records: u64,
    /// Number of the oldest record.
    pub first_seq: Option<u64>,
    /// Number of the newest record.
    pub last_seq: Option<u64>,
    /// Time of the oldest record, Unix nanoseconds.
    pub oldest_unix_ns: Option<u64>,
}

/// See the crate.
#[derive(Debug)]
pub struct Journal<S> {
    storage: S,
    options: Options,
    positions: Positions,
    positions_dirty: bool,
    /// The positions that were read at the start, while they may be in the page cache only: a sync
    /// that failed in another life leaves pages that look written. Until they are on disk, the
    /// other slot must not be touched.
    unsure: Option<Positions>,
    segments: VecDeque<Segment>,
    /// Names were removed, and the folder was not synced since.
    unsynced_removals: bool,
    /// The newest segment may be written to.
    writable: bool,
    next_index: u64,
    next_seq: u64,
    durable_seq: u64,
    pending: Pending,
}

impl<S: Storage> Journal<S> {
    /// Opens the folder. Files that were sealed are not read, but for their last sector. In the others, damaged or
    /// torn records are skipped and told in [`Recovery`].
    ///
    /// # Errors
    /// A folder that cannot be listed or has no room for its position file; and what this process may
    /// not read or has no descriptors for, which is no damage and would be taken for it.
    pub fn open(mut storage: S, options: Options) -> Result<(Self, Recovery), JournalError> {
        let names_fit = options
            .cursors
            .iter()
            .all(|name| name.len() <= positions::MAX_NAME);
        if !names_fit
            || options.cursors.len() > positions::MAX_CURSORS
            || options.new_epoch.len() > positions::MAX_NAME
        {
            return Err(JournalError::Options("names of cursors and the epoch"));
        }
        let mut survey = Survey::default();
        let mut indexes: Vec<u64> = storage
            .list()
            .map_err(io_error("list", "."))?
            .iter()
            .filter_map(|name| Segment::index_of(name))
            .collect();
        indexes.sort_unstable();
        let (stored, unreadable) = read_positions(&mut storage)?;
        let epoch = stored.as_ref().map(|stored| stored.epoch.as_str());
        for index in &indexes {
            let name = Segment::name_of(*index);
            if let Some(seal) = read_seal(&storage, &name, options.stream, epoch)? {
                survey.add_sealed(*index, seal);
                continue;
            }
            // What is read here may sit in the page cache only: it counts as durable from now on.
            let bytes = storage
                .sync(&name)
                .and_then(|()| read_file(&storage, &name, MAX_SEGMENT_BYTES));
            match bytes {
                Ok(bytes) => survey.add(*index, options.stream, &bytes),
                Err(error) => {
                    unless_damaged("read", &name, error)?;
                    let len = storage.len(&name).unwrap_or(MAX_SEGMENT_BYTES);
                    survey.unreadable(name, len.min(MAX_SEGMENT_BYTES));
                }
            }
        }
        let stored_is_lost = unreadable || (stored.is_none() && !indexes.is_empty());
        let mut journal = Self {
            storage,
            unsure: stored.clone(),
            positions: stored.unwrap_or_default(),
            positions_dirty: false,
            next_index: indexes.last().map_or(1, |last| last + 1),
            next_seq: 1,
            durable_seq: 0,
            segments: VecDeque::new(),
            unsynced_removals: false,
            writable: false,
            pending: Pending::default(),
            options,
        };
        // If the disk refuses, the first write of a position tries again.
        drop(journal.make_sure());
        let recovery = journal.take_over(survey, stored_is_lost);
        journal.seal_all();
        Ok((journal, recovery))
    }

    /// Settles numbers, epoch and cursors from what the folder said.
    fn take_over(&mut self, mut survey: Survey, positions_lost: bool) -> Recovery {
        let before_first = survey.before_first();
        let kept: Vec<_> = std::mem::take(&mut self.positions.cursors)
            .into_iter()
            .collect();
        for name in &self.options.cursors {
            let stored = kept
                .iter()
                .find(|(known, _)| known == name)
                .map(|(_, seq)| *seq);
            self.positions
                .cursors
                .insert(name.clone(), stored.unwrap_or(before_first));
        }
        let passed = self.positions.cursors.values().max().copied().unwrap_or(0);
        self.next_seq = survey.next_seq(self.positions.next_seq.max(passed.saturating_add(1)));
        self.positions.next_seq = self.next_seq;
        if self.positions.epoch.is_empty() {
            self.positions.epoch = survey
                .epoch
                .take()
                .unwrap_or_else(|| self.options.new_epoch.clone());
            self.positions_dirty = true;
        }
        // Older versions kept one number below which all was on record.
        let horizon = self
            .low_cursor()
            .unwrap_or(before_first)
            .max(self.positions.reported);
        let mut recovery = std::mem::take(&mut survey.recovery);
        let missing = survey.missing(horizon.saturating_add(1), self.next_seq);
        recovery.untold = self.positions.untold.runs().to_vec();
        recovery.missing = self.positions.untold.without(&self.untold(&missing));
        for range in &recovery.missing {
            self.note_untold(*range);
        }
        if !recovery.missing.is_empty() {
            recovery.unsure_from = survey.last_run().max(passed.saturating_add(1));
        }
        recovery.positions_lost = positions_lost;
        self.segments = survey.segments.into();
        recovery.records = self
            .segments
            .iter()
            .map(|segment| segment.count_after(0))
            .sum();
        self.durable_seq = self
            .segments
            .iter()
            .map(|segment| segment.last)
            .max()
            .unwrap_or(0);
        recovery
    }

    /// The highest number that survives a crash; 0 before the first.
    pub const fn durable_seq(&self) -> u64 {
        self.durable_seq
    }

    /// Records that were appended and are not durable.
    pub const fn pending(&self) -> usize {
        self.pending.records.len()
    }

    /// The number that the next record gets.
    pub const fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// Random hex, made with the folder: together with it a number is unique for ever.
    pub fn epoch(&self) -> &str {
        &self.positions.epoch
    }

    /// Durable records from number `from_seq` on, in order: at most `max_records`, and no more
    /// than `max_bytes` of payload unless a single record is longer.
    pub fn read(
        &mut self,
        from_seq: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Batch, JournalError> {
        let mut reading = Reading::new(from_seq, max_records, max_bytes);
        for segment in &mut self.segments {
            let before = reading.expected().saturating_sub(1);
            if segment.is_empty() || segment.count_after(before) == 0 {
                continue;
            }
            match reading.segment(&self.storage, segment) {
                Ok(true) => {}
                Ok(false) => break,
                // What was read before the trouble goes out first; the next read meets it again.
                Err(_) if reading.has_records() => break,
                Err(error) => return Err(error),
            }
        }
        let batch = reading.into_batch();
        self.found_damaged(&batch.damaged);
        Ok(batch)
    }

    /// Gives up the segment that holds the first record from `from_seq` on, which
    /// [`read`](Self::read) could not read: from there to its end its records count as missing, as
    /// after a start that met the same. The numbers, from and to inclusive.
    pub fn give_up_segment(&mut self, from_seq: u64) -> Vec<(u64, u64)> {
        let before = from_seq.saturating_sub(1);
        let mut segments = self.segments.iter_mut();
        let given_up = segments
            .find(|segment| segment.count_after(before) > 0)
            .map(|segment| segment.add_hole(from_seq.max(segment.first), segment.last))
            .unwrap_or_default();
        self.found_damaged(&given_up);
        given_up
    }

    /// The last number that this reader is done with.
    pub fn cursor(&self, name: &str) -> Option<u64> {
        self.positions.cursors.get(name).copied()
    }

    /// This reader is done with everything up to `seq`; a lower value than before is ignored.
    /// Durable with [`sync_positions`](Self::sync_positions).
    pub fn set_cursor(&mut self, name: &str, seq: u64) -> Result<(), JournalError> {
        let cursor = self
            .positions
            .cursors
            .get_mut(name)
            .ok_or_else(|| JournalError::NoSuchCursor(name.to_owned()))?;
        if seq > *cursor {
            *cursor = seq;
            self.positions_dirty = true;
        }
        Ok(())
    }

    /// Of numbers that a [`read`](Self::read) found damaged, those that are not on record: a life before this one may
    /// have met and told them.
    pub fn untold(&self, ranges: &[(u64, u64)]) -> Vec<(u64, u64)> {
        self.positions.told.without(ranges)
    }

    /// These numbers are gone, and not on record yet: until [`mark_told`](Self::mark_told) each start tells them, however
    /// far the cursors are. To be said before a cursor passes what was shed; what a start finds missing is noted by it,
    /// and damage as it is read.
    pub fn note_untold(&mut self, range: (u64, u64)) {
        for range in self.untold(&[range]) {
            self.positions.untold.add_or_join(range);
            self.positions_dirty = true;
        }
    }

    /// These numbers, which are gone, are on record, or need not be. Durable with
    /// [`sync_positions`](Self::sync_positions).
    pub fn mark_told(&mut self, ranges: &[(u64, u64)]) {
        for range in ranges {
            self.positions.untold.remove(*range);
            self.positions.told.add_or_forget(*range);
            self.positions_dirty = true;
        }
    }

    fn found_damaged(&mut self, ranges: &[(u64, u64)]) {
        for range in ranges {
            self.note_untold(*range);
        }
    }

    /// Every reader has passed this number.
    fn low_cursor(&self) -> Option<u64> {
        self.positions.cursors.values().min().copied()
    }

    /// Records, pending included, with a higher number than `seq`.
    pub fn count_after(&self, seq: u64) -> u64 {
        let durable: u64 = self
            .segments
            .iter()
            .map(|segment| segment.count_after(seq))
            .sum();
        durable
            + self
                .pending
                .records
                .iter()
                .filter(|(held, ..)| *held > seq)
                .count() as u64
    }

    /// The last number in the oldest segment file that has a record: the first to be shed.
    pub fn oldest_segment_last(&self) -> Option<u64> {
        let mut segments = self.segments.iter().filter(|segment| !segment.is_empty());
        segments.next().map(|segment| segment.last)
    }

    /// The time of the last record in that file, Unix nanoseconds: the first to be shed is no younger.
    pub fn oldest_segment_newest_unix_ns(&self) -> Option<u64> {
        let mut segments = self.segments.iter().filter(|segment| !segment.is_empty());
        segments.next().and_then(Segment::newest_unix_ns)
    }

    /// Sizes.
    pub fn stats(&self) -> Stats {
        let first = self.segments.iter().find(|segment| !segment.is_empty());
        let (pending_first, pending_last) =
            (self.pending.records.first(), self.pending.records.last());
        let pending_bytes = self.pending.frames.len() as u64;
        let files = self.segments.iter().map(|segment| segment.file_len);
        Stats {
            bytes: files.sum::<u64>() + pending_bytes,
            pending_bytes,
            records: self.count_after(0),
            first_seq: first
                .map(|segment| segment.first)
                .or(pending_first.map(|(seq, ..)| *seq)),
            last_seq: pending_last.map(|(seq, ..)| *seq).or(self
                .segments
                .iter()
                .rev()
                .find(|segment| !segment.is_empty())
                .map(|segment| segment.last)),
            oldest_unix_ns: first
                .and_then(|segment| segment.oldest_unix_ns)
                .or(pending_first.map(|(.., time)| *time)),
        }
    }

    /// The storage, for tests that make it fail.
    #[cfg(test)]
    pub(crate) const fn storage_mut(&mut self) -> &mut S {
        &mut self.storage
    }
}

/// What a sealed file says of itself; `None` of one that is to be read. All that is in a file was durable before it
/// was sealed, so that the end frame is believed whether it is itself on disk or only in the page cache.
fn read_seal(
    storage: &impl Files,
    name: &str,
    stream: u8,
    epoch: Option<&str>,
) -> Result<Option<Seal>, JournalError> {
    let mut sector = [0; SECTOR];
    let read = storage.len(name).and_then(|len| {
        let offset = len.saturating_sub(SECTOR as u64);
        Ok((len, storage.read_at(name, offset, &mut sector)?))
    });
    let (len, read) = match read {
        Ok(read) => read,
        // Whoever reads it as a whole meets the same, and says so.
        Err(error) => return unless_damaged("read", name, error).map(|()| None),
    };
    let sector = sector.get(..read).unwrap_or_default();
    let seal = Seal::decode(sector, len, stream).filter(|_| len <= MAX_SEGMENT_BYTES);
    let is_ours = |seal: &Seal| epoch.is_none_or(|epoch| epoch.is_empty() || epoch == seal.epoch);
    Ok(seal.filter(is_ours))
}

/// The positions, and whether the disk would not say. A file that cannot be read now is left alone: its
/// slots may be whole.
fn read_positions<S: Storage>(storage: &mut S) -> Result<(Option<Positions>, bool), JournalError> {
    match read_file(storage, positions::FILE, positions::FILE_LEN as u64) {
        Ok(bytes) if bytes.len() >= positions::FILE_LEN => {
            return Ok((Positions::decode(&bytes), false));
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            return unless_damaged("read", positions::FILE, error).map(|()| (None, true));
        }
    }
    // Full length from the start: later writes need no room on a full disk.
    let error = |source| io_error("create", positions::FILE)(source);
    match storage.create(positions::FILE) {
        Err(source) if source.kind() != io::ErrorKind::AlreadyExists => return Err(error(source)),
        _ => {}
    }
    storage
        .write_at(positions::FILE, 0, &[0; positions::FILE_LEN])
        .map_err(error)?;
    storage.sync(positions::FILE).map_err(error)?;
    storage.sync_dir().map_err(error)?;
    Ok((None, false))
}

#[cfg(test)]
mod tests;
