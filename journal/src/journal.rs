//! The journal itself: order of writes, and what may be trusted after which answer of the disk.
//! Knows the disk only through [`Storage`], and has no clock.

mod options;
mod read;

use std::collections::VecDeque;
use std::io;

use crate::frame::{self, HEADER_LEN, Kind};
use crate::positions::{self, Positions};
use crate::recovery::{Recovery, Survey};
use crate::segment::Segment;
use crate::storage::{Storage, read_file};

use options::io_error;
pub use options::{JournalError, Options};
use read::Reading;
pub use read::{Batch, Record};

/// A segment file that is longer than this was not written by us; the rest of it is not looked at.
const MAX_SEGMENT_BYTES: u64 = 256 << 20;

/// What was shed, counting only records that some reader still wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shed {
    /// Records.
    pub count: u64,
    /// Bytes set free, of wanted and unwanted records.
    pub bytes: u64,
    /// First number, 0 if `count` is 0.
    pub first_seq: u64,
    /// Last number, 0 if `count` is 0.
    pub last_seq: u64,
}

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

/// Frames that wait for a sync, ready to be written in one go.
#[derive(Debug, Default)]
struct Pending {
    frames: Vec<u8>,
    /// (number, offset within `frames`, time)
    records: Vec<(u64, u64, u64)>,
}

/// See the crate.
#[derive(Debug)]
pub struct Journal<S> {
    storage: S,
    options: Options,
    positions: Positions,
    positions_dirty: bool,
    segments: VecDeque<Segment>,
    /// The newest segment may be written to.
    writable: bool,
    next_index: u64,
    next_seq: u64,
    durable_seq: u64,
    pending: Pending,
}

impl<S: Storage> Journal<S> {
    /// Opens the folder. Damaged or torn records are skipped and told in [`Recovery`]; only a
    /// folder that cannot be listed or has no room for its position file is an error.
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
        for index in &indexes {
            let name = Segment::new(*index, 1, 0).name();
            // What is read here may sit in the page cache only: it counts as durable from now on.
            let bytes = storage
                .sync(&name)
                .and_then(|()| read_file(&storage, &name, MAX_SEGMENT_BYTES));
            match bytes {
                Ok(bytes) => survey.add(*index, options.stream, &bytes),
                Err(_) => survey.recovery.unreadable.push(name),
            }
        }
        let stored = read_positions(&mut storage)?;
        let stored_is_lost = stored.is_none() && !survey.segments.is_empty();
        let mut journal = Self {
            storage,
            positions: stored.unwrap_or_default(),
            positions_dirty: false,
            next_index: indexes.last().map_or(1, |last| last + 1),
            next_seq: 1,
            durable_seq: 0,
            segments: VecDeque::new(),
            writable: false,
            pending: Pending::default(),
            options,
        };
        let recovery = journal.take_over(survey, stored_is_lost);
        Ok((journal, recovery))
    }

    /// Settles numbers, epoch and cursors from what the folder said.
    fn take_over(&mut self, mut survey: Survey, positions_lost: bool) -> Recovery {
        let oldest = survey
            .segments
            .iter()
            .find(|segment| !segment.is_empty())
            .map(|segment| segment.first);
        let before_first = oldest.map_or(0, |first| first.saturating_sub(1));
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
        let horizon = self
            .low_cursor()
            .unwrap_or(before_first)
            .max(self.positions.reported);
        let mut recovery = std::mem::take(&mut survey.recovery);
        recovery.missing = survey.missing(horizon.saturating_add(1), self.next_seq);
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

    /// Takes a record into memory and gives it its number. It is safe after the next
    /// [`sync`](Self::sync) that succeeds.
    pub fn append(&mut self, payload: &[u8], now_unix_ns: u64) -> Result<u64, JournalError> {
        let limit = self.options.max_record_bytes.min(frame::MAX_PAYLOAD);
        if payload.len() > limit {
            return Err(JournalError::RecordTooLarge {
                bytes: payload.len(),
                limit,
            });
        }
        let held = self.pending.frames.len();
        if held > 0 && held + HEADER_LEN + payload.len() > self.options.max_pending_bytes {
            return Err(JournalError::PendingFull { pending: held });
        }
        let seq = self.next_seq;
        frame::encode(
            &mut self.pending.frames,
            Kind::Record,
            self.options.stream,
            seq,
            now_unix_ns,
            payload,
        );
        self.pending.records.push((seq, held as u64, now_unix_ns));
        self.next_seq += 1;
        Ok(seq)
    }

    /// Writes what is pending and waits for the disk. On an error everything stays pending, and
    /// the next call tries again: in the same place after a failed write, in a new file after a
    /// failed sync, for the kernel forgets pages that it could not write.
    pub fn sync(&mut self) -> Result<u64, JournalError> {
        if self.pending.records.is_empty() {
            return Ok(self.durable_seq);
        }
        let full = self
            .segments
            .back()
            .is_none_or(|segment| segment.len >= self.options.segment_bytes);
        if !self.writable || full {
            self.start_segment()?;
        }
        let Some(segment) = self.segments.back_mut() else {
            return Ok(self.durable_seq);
        };
        let name = segment.name();
        self.storage
            .write_at(&name, segment.len, &self.pending.frames)
            .map_err(io_error("write", &name))?;
        if let Err(source) = self.storage.sync(&name) {
            self.writable = false;
            if segment.is_empty() && self.storage.remove(&name).is_ok() {
                self.segments.pop_back();
            } else {
                // The cache may still show what the disk never got, and show it to the next
                // process too. A failure here leaves that window open; there is nothing more to do.
                drop(self.storage.truncate(&name, segment.len));
            }
            return Err(io_error("sync", &name)(source));
        }
        for (seq, offset, time_unix_ns) in self.pending.records.drain(..) {
            segment.note(seq, segment.len + offset, time_unix_ns);
        }
        segment.len += self.pending.frames.len() as u64;
        self.durable_seq = segment.last;
        self.pending.frames.clear();
        // A burst is not to cost memory for ever.
        self.pending.frames.shrink_to(64 << 10);
        self.pending.records.shrink_to(1 << 10);
        Ok(self.durable_seq)
    }

    fn start_segment(&mut self) -> Result<(), JournalError> {
        let first = self
            .pending
            .records
            .first()
            .map_or(self.next_seq, |(seq, ..)| *seq);
        let mut bytes = Vec::new();
        frame::encode(
            &mut bytes,
            Kind::Start,
            self.options.stream,
            first,
            0,
            self.positions.epoch.as_bytes(),
        );
        let segment = Segment::new(self.next_index, first, bytes.len() as u64);
        let name = segment.name();
        self.next_index += 1;
        let made = self
            .storage
            .create(&name)
            .and_then(|()| self.storage.write_at(&name, 0, &bytes))
            .and_then(|()| self.storage.sync(&name))
            .and_then(|()| self.storage.sync_dir());
        if let Err(source) = made {
            // Nothing of value is in it; if it cannot be removed, the next start finds it empty.
            drop(self.storage.remove(&name));
            return Err(io_error("create", &name)(source));
        }
        self.segments.push_back(segment);
        self.writable = true;
        Ok(())
    }

    /// The highest number that survives a crash; 0 before the first.
    pub const fn durable_seq(&self) -> u64 {
        self.durable_seq
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
        Ok(reading.into_batch())
    }

    /// Gives up the segment that holds the first record from `from_seq` on, which
    /// [`read`](Self::read) could not read: from there to its end its records count as missing, as
    /// after a start that met the same. The numbers, from and to inclusive.
    pub fn give_up_segment(&mut self, from_seq: u64) -> Vec<(u64, u64)> {
        let before = from_seq.saturating_sub(1);
        self.segments
            .iter_mut()
            .find(|segment| segment.count_after(before) > 0)
            .map(|segment| segment.add_hole(from_seq.max(segment.first), segment.last))
            .unwrap_or_default()
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

    /// Holes up to `seq` are on record: the next start does not tell them again.
    pub fn mark_reported(&mut self, seq: u64) {
        if seq > self.positions.reported {
            self.positions.reported = seq;
            self.positions_dirty = true;
        }
    }

    /// Makes the cursors durable, then removes the segments that every reader has passed.
    pub fn sync_positions(&mut self) -> Result<(), JournalError> {
        if self.positions_dirty {
            self.write_positions()?;
        }
        let Some(low) = self.low_cursor() else {
            return Ok(());
        };
        let newest = self.segments.len().saturating_sub(1);
        let passed = |segment: &Segment| segment.is_empty() || segment.last <= low;
        if newest == 0 || !self.segments.front().is_some_and(passed) {
            return Ok(());
        }
        // Both slots, so that damage to one cannot bring back a cursor from before the removal.
        self.write_positions()?;
        for _ in 0..newest {
            if !self.segments.front().is_some_and(passed) {
                break;
            }
            self.remove_oldest()?;
        }
        Ok(())
    }

    fn write_positions(&mut self) -> Result<(), JournalError> {
        self.positions.generation += 1;
        self.positions.next_seq = self.next_seq;
        let error = |source| io_error("write", positions::FILE)(source);
        self.storage
            .write_at(
                positions::FILE,
                self.positions.offset(),
                &self.positions.encode(),
            )
            .map_err(error)?;
        self.storage.sync(positions::FILE).map_err(error)?;
        self.positions_dirty = false;
        Ok(())
    }

    fn remove_oldest(&mut self) -> Result<(), JournalError> {
        let Some(name) = self.segments.front().map(Segment::name) else {
            return Ok(());
        };
        self.storage
            .remove(&name)
            .map_err(io_error("remove", &name))?;
        self.segments.pop_front();
        self.writable &= !self.segments.is_empty();
        self.storage.sync_dir().map_err(io_error("sync", "."))
    }

    fn low_cursor(&self) -> Option<u64> {
        self.positions.cursors.values().min().copied()
    }

    /// Removes the oldest segment, read or not. The caller writes down what it says, and then
    /// moves the cursors past it. `None` if no segment is left.
    pub fn shed_oldest(&mut self) -> Result<Option<Shed>, JournalError> {
        let low = self.low_cursor().unwrap_or(0);
        let Some(segment) = self.segments.front() else {
            return Ok(None);
        };
        let count = segment.count_after(low);
        let shed = Shed {
            count,
            bytes: segment.len,
            first_seq: if count > 0 {
                segment.first.max(low + 1)
            } else {
                0
            },
            last_seq: if count > 0 { segment.last } else { 0 },
        };
        let written = self.write_positions();
        if self.segments.len() == 1 {
            // The last place on disk that knows how far the numbers went is about to go.
            written?;
        }
        self.remove_oldest()?;
        Ok(Some(shed))
    }

    /// Drops what waits for the disk.
    pub fn shed_pending(&mut self) -> Shed {
        let pending = std::mem::take(&mut self.pending);
        Shed {
            count: pending.records.len() as u64,
            bytes: pending.frames.len() as u64,
            first_seq: pending.records.first().map_or(0, |(seq, ..)| *seq),
            last_seq: pending.records.last().map_or(0, |(seq, ..)| *seq),
        }
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

    /// Sizes.
    pub fn stats(&self) -> Stats {
        let first = self.segments.iter().find(|segment| !segment.is_empty());
        let (pending_first, pending_last) =
            (self.pending.records.first(), self.pending.records.last());
        let pending_bytes = self.pending.frames.len() as u64;
        Stats {
            bytes: self.segments.iter().map(|segment| segment.len).sum::<u64>() + pending_bytes,
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

    /// Gives the storage back; what is pending is lost, as by a crash.
    pub fn into_storage(self) -> S {
        self.storage
    }

    /// The storage, for tests that make it fail.
    pub const fn storage_mut(&mut self) -> &mut S {
        &mut self.storage
    }
}

fn read_positions<S: Storage>(storage: &mut S) -> Result<Option<Positions>, JournalError> {
    if let Ok(bytes) = read_file(storage, positions::FILE, positions::FILE_LEN as u64)
        && bytes.len() >= positions::FILE_LEN
    {
        return Ok(Positions::decode(&bytes));
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
    Ok(None)
}

#[cfg(test)]
mod tests;
