//! The way in: records wait in memory, and one sync makes all of them durable.
//!
//! Files grow as they are written and are not preallocated: with `fallocate(2)` a `fdatasync` took as long as without
//! (4 ms, records of 1 KiB by themselves, by hundreds and by thousands), and zeros written before took as much of the
//! disk as they saved.
//!
//! What may be believed after which answer of the disk is decided here; how a record lies in a file
//! is [`frame`]'s, and which files may go is the business of `retention`.

use std::io;

use super::options::{JournalError, io_error};
use crate::Journal;
use crate::frame::{self, HEADER_LEN, Kind};
use crate::segment::{Segment, State};
use crate::storage::Storage;

/// Frames that wait for a sync, ready to be written in one go.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) frames: Vec<u8>,
    /// (number, offset within `frames`, time)
    pub(super) records: Vec<(u64, u64, u64)>,
}

impl<S: Storage> Journal<S> {
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
    /// failed sync, for the kernel forgets pages that it could not write. On a full disk, segments
    /// that every reader has passed make room, the newest included.
    pub fn sync(&mut self) -> Result<u64, JournalError> {
        match self.write_pending() {
            Err(error) if error.is_disk_full() && self.remove_passed()? => self.write_pending(),
            result => result,
        }
    }

    fn write_pending(&mut self) -> Result<u64, JournalError> {
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
        segment.file_len = segment.file_len.max(segment.len);
        self.durable_seq = segment.last;
        self.pending.frames.clear();
        // A burst is not to cost memory for ever.
        self.pending.frames.shrink_to(64 << 10);
        self.pending.records.shrink_to(1 << 10);
        Ok(self.durable_seq)
    }

    /// Seals what is not written again: as much of it as the disk takes now.
    pub(super) fn seal_all(&mut self) {
        for at in 0..self.segments.len() {
            if self.seal(at).is_err() {
                return;
            }
        }
    }

    /// Writes the end frame of a segment, if there is to be one. Without it, the next start reads the file.
    fn seal(&mut self, at: usize) -> io::Result<()> {
        let Some((segment, seal)) = self
            .segments
            .get_mut(at)
            .and_then(|segment| Some((segment.seal(&self.positions.epoch)?, segment)))
            .map(|(seal, segment)| (segment, seal))
        else {
            return Ok(());
        };
        let name = segment.name();
        let pad = usize::try_from(seal.offset() - seal.data_len).unwrap_or_default();
        let mut bytes = vec![0; pad];
        bytes.extend_from_slice(&seal.encode(self.options.stream));
        let sealed = self
            .storage
            .write_at(&name, seal.data_len, &bytes)
            .and_then(|()| self.storage.truncate(&name, seal.file_len()))
            .and_then(|()| self.storage.sync(&name));
        if sealed.is_ok() {
            segment.state = State::Sealed;
            segment.file_len = seal.file_len();
        } else {
            // The next start is to read the file, and not the page cache's word for it.
            segment.state = State::Unsound;
            segment.file_len = seal.data_len;
            drop(self.storage.truncate(&name, seal.data_len));
        }
        self.storage.done_with(&name);
        sealed
    }

    fn start_segment(&mut self) -> Result<(), JournalError> {
        if self.writable {
            // It is not written again, whatever comes of it.
            self.writable = false;
            drop(self.seal(self.segments.len().saturating_sub(1)));
        }
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
}
