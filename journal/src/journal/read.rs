//! Reading on through the segments, around damage.

use super::options::{JournalError, io_error};
use crate::Journal;
use crate::frame::{Found, HEADER_LEN, Kind, Scan};
use crate::segment::{MARK_EVERY, Segment};
use crate::storage::Storage;

/// Bytes fetched at once.
const READ_BYTES: u64 = 256 << 10;

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub seq: u64,
    /// The time given to [`Journal::append`](super::Journal::append), Unix nanoseconds.
    pub time_unix_ns: u64,
    /// The owner's bytes.
    pub payload: Vec<u8>,
}

/// What [`Journal::read`](super::Journal::read) found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// Ascending.
    pub records: Vec<Record>,
    /// Numbers that were thought to be there until this read, from and to inclusive.
    pub damaged: Vec<(u64, u64)>,
}

impl<S: Storage> Journal<S> {
    /// The time of the first record with a higher number than `seq`, pending included, Unix
    /// nanoseconds. Looks at the disk; where that does not say it, the answer is the time of an
    /// earlier record in the same file. `None` if there is no such record.
    pub fn time_after(&self, seq: u64) -> Option<u64> {
        let mut segments = self.segments.iter();
        if let Some(segment) = segments.find(|segment| segment.count_after(seq) > 0) {
            let looked_up = self.time_in(segment, seq.saturating_add(1));
            return looked_up.or(segment.oldest_unix_ns);
        }
        let mut pending = self.pending.records.iter();
        let (.., time) = pending.find(|(held, ..)| *held > seq)?;
        Some(*time)
    }

    /// Where the first frame lies that is not before `from_seq` in its segment, damage in front of it included.
    pub(super) fn offset_of(&self, segment: &Segment, from_seq: u64) -> Result<u64, JournalError> {
        let name = segment.name();
        let begin = segment.offset_before(from_seq.max(segment.first));
        let len = usize::try_from(segment.len.saturating_sub(begin)).unwrap_or(usize::MAX);
        let mut bytes = vec![0; len];
        let read = self
            .storage
            .read_at(&name, begin, &mut bytes)
            .map_err(io_error("read", &name))?;
        bytes.truncate(read);
        let end = Scan::new(&bytes)
            .filter_map(|found| match found {
                Found::Frame {
                    header, payload, ..
                } if header.seq < from_seq => Some(payload.end as u64),
                _ => None,
            })
            .last();
        Ok(begin + end.unwrap_or(0))
    }

    fn time_in(&self, segment: &Segment, from_seq: u64) -> Option<u64> {
        let offset = segment.offset_before(from_seq.max(segment.first));
        // The header of what is looked for lies before the next mark, or is that one's.
        let len = (MARK_EVERY + HEADER_LEN as u64).min(segment.len.saturating_sub(offset));
        let mut bytes = vec![0; usize::try_from(len).ok()?];
        let read = self.storage.read_at(&segment.name(), offset, &mut bytes);
        bytes.truncate(read.ok()?);
        Scan::new(&bytes)
            .filter_map(|found| match found {
                Found::Frame { header, .. } => Some(header),
                Found::Cut { header, .. } => header,
                Found::Damage { .. } | Found::Blank { .. } => None,
            })
            .find(|header| header.kind == Kind::Record && header.seq >= from_seq)
            .map(|header| header.time_unix_ns)
    }
}

/// One call of `Journal::read` on its way through the segments.
pub(super) struct Reading {
    batch: Batch,
    expected: u64,
    max_records: usize,
    room: usize,
}

impl Reading {
    pub(super) fn new(from_seq: u64, max_records: usize, max_bytes: usize) -> Self {
        let batch = Batch::default();
        Self {
            batch,
            expected: from_seq,
            max_records,
            room: max_bytes,
        }
    }

    /// The next number that is looked for.
    pub(super) const fn expected(&self) -> u64 {
        self.expected
    }

    pub(super) const fn has_records(&self) -> bool {
        !self.batch.records.is_empty()
    }

    pub(super) fn into_batch(self) -> Batch {
        self.batch
    }

    /// Reads on in this segment; false when the batch is full.
    pub(super) fn segment<S: Storage>(
        &mut self,
        storage: &S,
        segment: &mut Segment,
    ) -> Result<bool, JournalError> {
        let name = segment.name();
        self.expected = self.expected.max(segment.first);
        let mut offset = segment.offset_before(self.expected);
        let mut want = READ_BYTES;
        while offset < segment.len {
            let len = want.min(segment.len - offset);
            let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
            let read = storage
                .read_at(&name, offset, &mut bytes)
                .map_err(io_error("read", &name))?;
            bytes.truncate(read);
            if read == 0 {
                break;
            }
            // A file that was cut short from outside ends here: asking on for a frame that it cuts
            // would never end.
            let at_end = offset + read as u64 >= segment.len || (read as u64) < len;
            let mut next = read as u64;
            let mut known = 0;
            for found in Scan::new(&bytes) {
                match found {
                    Found::Frame {
                        offset: at,
                        header,
                        payload,
                    } if header.kind == Kind::Record => {
                        known = payload.end;
                        segment.mark(header.seq, offset + at as u64);
                        let payload = bytes.get(payload).unwrap_or_default();
                        let full = !self.record(segment, header.seq, header.time_unix_ns, payload);
                        if full {
                            return Ok(false);
                        }
                    }
                    Found::Cut { offset: at, header } if !at_end => {
                        next = at as u64;
                        want = READ_BYTES.max(header.map_or(0, |header| header.frame_len() as u64));
                    }
                    // A frame may begin in the last bytes of what looks like damage.
                    Found::Damage {
                        offset: at,
                        len,
                        header: None,
                    } if !at_end && at + len == read => {
                        next = (at + 1).max(read.saturating_sub(HEADER_LEN - 1)) as u64;
                    }
                    // The header of a frame has zeros in it.
                    Found::Blank { offset: at, len } if !at_end && at + len == read => {
                        next = known.max(read.saturating_sub(HEADER_LEN - 1)) as u64;
                    }
                    _ => {}
                }
            }
            offset += next;
            if at_end {
                break;
            }
        }
        self.missing(segment, segment.last);
        self.expected = self.expected.max(segment.last.saturating_add(1));
        Ok(true)
    }

    fn record(
        &mut self,
        segment: &mut Segment,
        seq: u64,
        time_unix_ns: u64,
        payload: &[u8],
    ) -> bool {
        if seq < self.expected || seq > segment.last {
            return true;
        }
        let taken = self.batch.records.len();
        if taken >= self.max_records || (taken > 0 && payload.len() > self.room) {
            return false;
        }
        self.missing(segment, seq - 1);
        self.room = self.room.saturating_sub(payload.len());
        self.batch.records.push(Record {
            seq,
            time_unix_ns,
            payload: payload.to_vec(),
        });
        self.expected = seq.saturating_add(1);
        true
    }

    fn missing(&mut self, segment: &mut Segment, to: u64) {
        if self.expected <= to {
            self.batch
                .damaged
                .extend(segment.add_hole(self.expected, to));
        }
    }
}
