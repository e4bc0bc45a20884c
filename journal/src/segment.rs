//! What is remembered of one segment file: which numbers it holds, and where to begin reading.

use crate::frame::HEADER_LEN;
use crate::seal::Seal;

/// Distance of remembered places. A read begins at most this far before what it looks for.
pub(crate) const MARK_EVERY: u64 = 64 << 10;
/// Numbers that are not there, from and to inclusive.
pub(crate) type Range = (u64, u64);

#[derive(Clone, Debug)]
pub(crate) struct Segment {
    pub(crate) index: u64,
    /// First record's number; of an empty segment the number that would come.
    pub(crate) first: u64,
    /// Last record's number; `first - 1` if there is none.
    pub(crate) last: u64,
    /// Bytes that may be read.
    pub(crate) len: u64,
    /// Bytes that the file has: behind what may be read lie the end frame, or room.
    pub(crate) file_len: u64,
    /// Within `first..=last`, ascending.
    holes: Vec<Range>,
    /// (number, offset) of some records, ascending, of as much of the file as was read or written.
    marks: Vec<(u64, u64)>,
    pub(crate) oldest_unix_ns: Option<u64>,
    /// The last run of records that share a time: its first number, and the time.
    last_run: (u64, u64),
    pub(crate) state: State,
}

/// Whether a start has to read the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing is wrong with it: when it is not written again, it may be sealed.
    Whole,
    /// It has its end frame.
    Sealed,
    /// Each start is to read it: there is damage in it, or what it holds lies in a later file too.
    Unsound,
}

impl Segment {
    pub(crate) const fn new(index: u64, first: u64, len: u64) -> Self {
        Self {
            index,
            first,
            last: first.saturating_sub(1),
            len,
            file_len: len,
            holes: Vec::new(),
            marks: Vec::new(),
            oldest_unix_ns: None,
            last_run: (0, 0),
            state: State::Whole,
        }
    }

    /// One that says by itself what is in it.
    pub(crate) const fn sealed(index: u64, seal: &Seal) -> Self {
        Self {
            index,
            first: seal.first,
            last: seal.last,
            len: seal.data_len,
            file_len: seal.file_len(),
            holes: Vec::new(),
            marks: Vec::new(),
            oldest_unix_ns: Some(seal.oldest_unix_ns),
            last_run: (seal.run_first, seal.newest_unix_ns),
            state: State::Sealed,
        }
    }

    /// Time of the last record, Unix nanoseconds; `None` if there is none.
    pub(crate) const fn newest_unix_ns(&self) -> Option<u64> {
        if self.is_empty() {
            return None;
        }
        Some(self.last_run.1)
    }

    /// What its end frame is to say; `None` of one that each start has to read, or that has it.
    pub(crate) fn seal(&self, epoch: &str) -> Option<Seal> {
        let is_due = self.state == State::Whole && !self.is_empty() && self.holes.is_empty();
        let (run_first, newest_unix_ns) = self.last_run;
        is_due.then(|| Seal {
            first: self.first,
            last: self.last,
            data_len: self.len,
            oldest_unix_ns: self.oldest_unix_ns.unwrap_or_default(),
            newest_unix_ns,
            run_first,
            epoch: epoch.to_owned(),
        })
    }

    pub(crate) fn name(&self) -> String {
        Self::name_of(self.index)
    }

    pub(crate) fn name_of(index: u64) -> String {
        format!("segment-{index:012}.plj")
    }

    pub(crate) fn index_of(name: &str) -> Option<u64> {
        name.strip_prefix("segment-")?
            .strip_suffix(".plj")?
            .parse()
            .ok()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.last < self.first
    }

    /// A record with the next or a later number lies at `offset`.
    pub(crate) fn note(&mut self, seq: u64, offset: u64, time_unix_ns: u64) {
        if self.is_empty() {
            self.first = seq;
            self.oldest_unix_ns = Some(time_unix_ns);
        } else if seq > self.last.saturating_add(1) {
            self.holes.push((self.last + 1, seq - 1));
        }
        if self.is_empty() || self.last_run.1 != time_unix_ns {
            self.last_run = (seq, time_unix_ns);
        }
        self.last = seq;
        self.mark(seq, offset);
    }

    /// A record lies there; remembered where none nearby is.
    pub(crate) fn mark(&mut self, seq: u64, offset: u64) {
        let last = self.marks.last();
        if last.is_none_or(|(before, marked)| seq > *before && offset >= marked + MARK_EVERY) {
            self.marks.push((seq, offset));
        }
    }

    /// Forgets the records from `seq` on: a later segment holds them again.
    pub(crate) fn cut_from(&mut self, seq: u64) {
        self.state = State::Unsound;
        self.last = self.last.min(seq.saturating_sub(1));
        self.holes.retain(|(from, _)| *from <= self.last);
        while let Some((from, _)) = self
            .holes
            .last()
            .copied()
            .filter(|(_, to)| *to >= self.last)
        {
            self.holes.pop();
            self.last = from - 1;
        }
        if self.is_empty() {
            *self = Self {
                state: self.state,
                file_len: self.file_len,
                ..Self::new(self.index, seq, self.len)
            };
        }
    }

    /// Where to begin reading to find `seq`.
    pub(crate) fn offset_before(&self, seq: u64) -> u64 {
        self.marks
            .iter()
            .take_while(|(marked, _)| *marked <= seq)
            .last()
            .map_or(0, |(_, offset)| *offset)
    }

    /// Records with a higher number than `seq`.
    pub(crate) fn count_after(&self, seq: u64) -> u64 {
        let from = self.first.max(seq.saturating_add(1));
        if self.last < from {
            return 0;
        }
        let missing: u64 = self
            .holes
            .iter()
            .filter(|(_, to)| *to >= from)
            .map(|(begin, to)| to - from.max(*begin) + 1)
            .sum();
        self.last - from + 1 - missing
    }

    /// Numbers between `from` and `to` turned out to be unreadable; gives back those that were
    /// thought to be there.
    pub(crate) fn add_hole(&mut self, from: u64, to: u64) -> Vec<Range> {
        let mut new = Vec::new();
        let mut at = from;
        for (begin, end) in self
            .holes
            .iter()
            .copied()
            .filter(|(begin, end)| *end >= from && *begin <= to)
        {
            if begin > at {
                new.push((at, begin - 1));
            }
            at = end.saturating_add(1);
        }
        if at <= to {
            new.push((at, to));
        }
        self.holes.extend_from_slice(&new);
        self.holes.sort_unstable();
        new
    }

    pub(crate) fn holes(&self) -> &[Range] {
        &self.holes
    }

    /// Every frame is at least this long: how many records a run of unknown bytes may have held.
    pub(crate) const fn most_records_in(bytes: u64) -> u64 {
        bytes.div_ceil(HEADER_LEN as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holes_are_counted_once() {
        let mut segment = Segment::new(1, 5, 0);
        for seq in [5, 6, 9, 10, 11] {
            segment.note(seq, seq * 100, 0);
        }
        assert_eq!(segment.count_after(0), 5);
        assert_eq!(segment.count_after(7), 3);
        assert_eq!(segment.add_hole(6, 9), [(6, 6), (9, 9)]);
        assert_eq!(segment.add_hole(6, 9), []);
        assert_eq!(segment.count_after(0), 3);
        segment.cut_from(10);
        assert_eq!(
            (segment.first, segment.last, segment.count_after(0)),
            (5, 5, 1)
        );
        segment.cut_from(3);
        assert!(segment.is_empty());
    }
}
