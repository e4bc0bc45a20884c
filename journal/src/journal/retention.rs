//! The way out: what every reader has passed is removed, and what no longer fits is shed.
//!
//! Nothing is removed before it is on disk how far the numbers went. Which journal sheds, and when,
//! is the owner's to decide.

use super::options::{JournalError, io_error};
use crate::Journal;
use crate::positions::{self, Positions};
use crate::segment::Segment;
use crate::storage::Storage;

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

impl<S: Storage> Journal<S> {
    /// Makes the cursors durable, then removes the segments that every reader has passed.
    pub fn sync_positions(&mut self) -> Result<(), JournalError> {
        self.sync_removals()?;
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
        self.sync_removals()
    }

    /// Writes the positions that were read once more, the same bytes to the same place: torn, that
    /// does no harm.
    pub(super) fn make_sure(&mut self) -> Result<(), JournalError> {
        let Some(read) = &self.unsure else {
            return Ok(());
        };
        self.storage
            .write_at(positions::FILE, read.offset(), &read.encode())
            .map_err(io_error("write", positions::FILE))?;
        self.storage
            .sync(positions::FILE)
            .map_err(io_error("sync", positions::FILE))?;
        self.unsure = None;
        Ok(())
    }

    fn write_positions(&mut self) -> Result<(), JournalError> {
        self.make_sure()?;
        self.positions.next_seq = self.next_seq;
        if let Some(low) = self.low_cursor() {
            self.positions.told.forget(low);
        }
        // Counted up when it is on disk: until then the other slot is the one to fall back to.
        let next = Positions {
            generation: self.positions.generation + 1,
            ..self.positions.clone()
        };
        let error = |source| io_error("write", positions::FILE)(source);
        self.storage
            .write_at(positions::FILE, next.offset(), &next.encode())
            .map_err(error)?;
        self.storage.sync(positions::FILE).map_err(error)?;
        self.positions = next;
        self.positions_dirty = false;
        Ok(())
    }

    /// Removes what every reader has passed, the newest segment too; false if that is nothing.
    pub(super) fn remove_passed(&mut self) -> Result<bool, JournalError> {
        let low = self.low_cursor().unwrap_or(0);
        let passed = |segment: &Segment| !segment.is_empty() && segment.last <= low;
        if !self.segments.front().is_some_and(passed) {
            return Ok(false);
        }
        // Both slots, as above; with the last segment goes the last place that knows the numbers.
        self.write_positions()?;
        self.write_positions()?;
        while self
            .segments
            .front()
            .is_some_and(|segment| segment.is_empty() || segment.last <= low)
        {
            self.remove_oldest()?;
        }
        self.sync_removals()?;
        Ok(true)
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
        self.unsynced_removals = true;
        Ok(())
    }

    /// Makes sure that what was removed stays so. Until then a crash may bring it back, before the
    /// cursors.
    fn sync_removals(&mut self) -> Result<(), JournalError> {
        if self.unsynced_removals {
            self.storage.sync_dir().map_err(io_error("sync", "."))?;
            self.unsynced_removals = false;
        }
        Ok(())
    }

    /// Takes back the records from `from_seq` on, which nobody has been given: what a loss of power has torn is
    /// behind a hole, and an owner for whom the order is all wants none of it. Their numbers are not given out again.
    /// After an error some may be gone, and the same call goes on.
    pub fn take_back(&mut self, from_seq: u64) -> Result<(), JournalError> {
        let taken = self.cut_back(from_seq);
        let segments = self.segments.iter();
        let last = segments.filter(|segment| !segment.is_empty());
        self.durable_seq = last.map(|segment| segment.last).max().unwrap_or(0);
        taken
    }

    fn cut_back(&mut self, from_seq: u64) -> Result<(), JournalError> {
        for at in (0..self.segments.len()).rev() {
            let Some(segment) = self.segments.get(at).filter(|segment| !segment.is_empty()) else {
                continue;
            };
            if segment.last < from_seq {
                break;
            }
            let name = segment.name();
            if segment.first >= from_seq {
                self.storage
                    .remove(&name)
                    .map_err(io_error("remove", &name))?;
                self.segments.remove(at);
                self.unsynced_removals = true;
                self.sync_removals()?;
                continue;
            }
            let offset = self.offset_of(segment, from_seq)?;
            self.storage
                .truncate(&name, offset)
                .and_then(|()| self.storage.sync(&name))
                .map_err(io_error("truncate", &name))?;
            if let Some(segment) = self.segments.get_mut(at) {
                segment.len = segment.len.min(offset);
                segment.file_len = segment.len;
                segment.cut_from(from_seq);
            }
        }
        Ok(())
    }

    /// Removes the oldest segment, read or not. The caller writes down what it says, and then
    /// moves the cursors past it. `None` if no segment is left. After an error nothing was removed.
    pub fn shed_oldest(&mut self) -> Result<Option<Shed>, JournalError> {
        let low = self.low_cursor().unwrap_or(0);
        let Some(segment) = self.segments.front() else {
            return Ok(None);
        };
        let count = segment.count_after(low);
        let shed = Shed {
            count,
            bytes: segment.file_len,
            first_seq: if count > 0 {
                segment.first.max(low + 1)
            } else {
                0
            },
            last_seq: if count > 0 { segment.last } else { 0 },
        };
        // It may be the last place on disk that knows how far the numbers went, or where they began.
        self.write_positions()?;
        self.remove_oldest()?;
        // It is gone, and is to be told, whatever the folder says; the next sync of the positions
        // tries again.
        drop(self.sync_removals());
        Ok(Some(shed))
    }
}
