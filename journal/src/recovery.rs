//! What a folder's bytes say after a start, clean or not. Pure: the journal reads the files.

use crate::frame::{Found, Header, Kind, Scan};
use crate::seal::Seal;
use crate::segment::{Range, Segment, State};

/// Places of damage that are named; more are only counted.
const MAX_NAMED_DAMAGE: usize = 256;

/// Bytes that were no record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub segment: String,
    /// Where in the file.
    pub offset: u64,
    /// How many.
    pub bytes: u64,
    /// The record's number, where its header survived.
    pub seq: Option<u64>,
}

/// What was found at a start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Records that can be read, as far as a start knows: a file that was sealed is not read by it, and what turns
    /// out to be damaged there is told by [`Batch::damaged`](crate::Batch::damaged).
    pub records: u64,
    /// Damage that was met, the first places by name.
    pub damage: Vec<Damage>,
    /// All places of damage.
    pub damaged: u64,
    /// Numbers that a reader will not find and that are not on record yet
    /// ([`mark_told`](crate::Journal::mark_told)), from and to inclusive. After a torn end
    /// this is an upper bound: it is not known how many records the torn bytes held.
    pub missing: Vec<(u64, u64)>,
    /// Numbers that an earlier life knew to be gone and did not put on record, wherever the cursors are, from and to
    /// inclusive. None of them is in `missing`.
    pub untold: Vec<(u64, u64)>,
    /// Of `missing`, numbers from this one on may never have been durable: a loss of power tears
    /// what was being written. They lie in the last run of records that share a time, or behind it,
    /// and no cursor has passed them. Says something only to an owner who gives one time to all
    /// records of a sync; 0 if nothing is missing.
    pub unsure_from: u64,
    /// Neither slot of the position file could be read although there were records: every reader
    /// begins at the first record again.
    pub positions_lost: bool,
    /// Files that could not be read or synced at the start: their records may not be durable.
    /// The numbers that may be in them are in `missing`, as an upper bound after the last known one.
    pub unreadable: Vec<String>,
}

/// Collects what the segments say, oldest segment first.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) segments: Vec<Segment>,
    pub(crate) recovery: Recovery,
    pub(crate) epoch: Option<String>,
    /// The first number that any file says it holds or held.
    begin: Option<u64>,
    /// No number below this one may be given out again …
    floor: u64,
    /// … nor this many more: unknown bytes after the last number that is known.
    unknown: u64,
    /// The last run of records that share a time: its first number, and the time.
    last_run: (u64, u64),
    /// The last number that was read whole.
    last_whole: u64,
}

impl Survey {
    /// A file that says by itself what is in it.
    pub(crate) fn add_sealed(&mut self, index: u64, seal: Seal) {
        self.begin.get_or_insert(seal.first);
        let (run_first, time) = (seal.run_first, seal.newest_unix_ns);
        if run_first > seal.first {
            self.last_run = (run_first, time);
        } else {
            self.begin_run(time);
        }
        self.last_whole = seal.last;
        self.known_up_to(seal.last);
        let segment = Segment::sealed(index, &seal);
        self.epoch = Some(seal.epoch)
            .filter(|epoch| !epoch.is_empty())
            .or(self.epoch.take());
        self.push(segment);
    }

    /// A file that was read.
    pub(crate) fn add(&mut self, index: u64, stream: u8, bytes: &[u8]) {
        let mut segment = Segment::new(index, self.floor.max(1), bytes.len() as u64);
        let (damaged, mut len) = (self.recovery.damaged, 0);
        for found in Scan::new(bytes) {
            match found {
                Found::Frame {
                    offset,
                    header,
                    payload,
                } if header.stream == stream => match header.kind {
                    Kind::Start => {
                        len = payload.end;
                        self.start(&mut segment, header, bytes.get(payload).unwrap_or_default());
                    }
                    Kind::Record => {
                        len = payload.end;
                        self.record(&mut segment, header, offset as u64);
                    }
                    Kind::End => {
                        self.known_up_to(header.seq);
                        // Zeros in the place of records: their numbers are missing, and it alone knows of them.
                        if header.seq != segment.last {
                            segment.state = State::Unsound;
                        }
                        // Behind it there is nothing of ours.
                        break;
                    }
                },
                Found::Frame {
                    offset,
                    header,
                    payload,
                } => {
                    len = payload.end;
                    self.damage(&segment, offset, payload.end - offset, Some(header));
                }
                Found::Damage {
                    offset,
                    len: bytes,
                    header,
                } => {
                    len = offset + bytes;
                    self.damage(&segment, offset, bytes, header);
                }
                Found::Blank { .. } => {}
                Found::Cut { offset, header } => {
                    len = bytes.len();
                    self.damage(&segment, offset, bytes.len() - offset, header);
                }
            }
        }
        segment.len = len as u64;
        if self.recovery.damaged > damaged {
            segment.state = State::Unsound;
        }
        self.push(segment);
    }

    fn push(&mut self, segment: Segment) {
        // After a failed sync the journal writes the same records to a new file. What the old
        // file holds of them is not to be trusted, and not to be read twice.
        if !segment.is_empty() {
            for older in &mut self.segments {
                if older.last >= segment.first {
                    older.cut_from(segment.first);
                }
            }
        }
        self.segments.push(segment);
    }

    /// Every number up to this one was given out, and no unknown bytes lie before it.
    fn known_up_to(&mut self, seq: u64) {
        self.floor = self.floor.max(seq.saturating_add(1));
        self.unknown = 0;
    }

    fn begin_run(&mut self, time_unix_ns: u64) {
        if self.last_run.1 != time_unix_ns || self.last_run.0 == 0 {
            // Damage just before it may be of this run as well.
            self.last_run = (self.last_whole.saturating_add(1), time_unix_ns);
        }
    }

    /// A file that the disk would not give: nobody knows which numbers are in it, so that none which
    /// could be is given out again.
    pub(crate) fn unreadable(&mut self, name: String, len: u64) {
        self.unknown = self.unknown.saturating_add(Segment::most_records_in(len));
        self.recovery.unreadable.push(name);
    }

    fn start(&mut self, segment: &mut Segment, header: Header, epoch: &[u8]) {
        self.begin.get_or_insert(header.seq);
        self.floor = self.floor.max(header.seq);
        self.unknown = 0;
        if segment.is_empty() {
            *segment = Segment::new(segment.index, header.seq.max(1), segment.file_len);
        }
        let epoch = String::from_utf8(epoch.to_vec()).ok();
        self.epoch = epoch
            .filter(|epoch| !epoch.is_empty())
            .or(self.epoch.take());
    }

    fn record(&mut self, segment: &mut Segment, header: Header, offset: u64) {
        // Stale bytes of an attempt that was overwritten: not damage, and not a record either.
        if !segment.is_empty() && header.seq <= segment.last {
            segment.state = State::Unsound;
            return;
        }
        self.begin.get_or_insert(header.seq);
        segment.note(header.seq, offset, header.time_unix_ns);
        self.known_up_to(header.seq);
        self.begin_run(header.time_unix_ns);
        self.last_whole = header.seq;
    }

    fn damage(&mut self, segment: &Segment, offset: usize, len: usize, header: Option<Header>) {
        match header {
            Some(header) if header.kind == Kind::Record => {
                self.begin.get_or_insert(header.seq);
                self.floor = self.floor.max(header.seq.saturating_add(1));
            }
            // There was no record in it.
            Some(header) if header.kind == Kind::End => {}
            _ => self.unknown += Segment::most_records_in(len as u64),
        }
        self.recovery.damaged += 1;
        if self.recovery.damage.len() < MAX_NAMED_DAMAGE {
            self.recovery.damage.push(Damage {
                segment: segment.name(),
                offset: offset as u64,
                bytes: len as u64,
                seq: header.map(|header| header.seq),
            });
        }
    }

    /// The lowest number that was surely never given out, knowing that none below `at_least` may be.
    pub(crate) fn next_seq(&self, at_least: u64) -> u64 {
        self.floor.max(at_least).max(1).saturating_add(self.unknown)
    }

    /// The number before all that the files hold or held: where a reader begins of whom nothing is known.
    pub(crate) fn before_first(&self) -> u64 {
        self.begin.unwrap_or(0).saturating_sub(1)
    }

    /// First number of the last run of records that share a time.
    pub(crate) const fn last_run(&self) -> u64 {
        self.last_run.0
    }

    /// Numbers within `from..next` that no segment holds.
    pub(crate) fn missing(&self, from: u64, next: u64) -> Vec<Range> {
        let mut missing = Vec::new();
        let mut at = from;
        for segment in self.segments.iter().filter(|segment| !segment.is_empty()) {
            if segment.first > at {
                missing.push((at, segment.first - 1));
            }
            missing.extend(
                segment
                    .holes()
                    .iter()
                    .filter(|(_, to)| *to >= at)
                    .map(|(begin, to)| (at.max(*begin), *to)),
            );
            at = at.max(segment.last.saturating_add(1));
        }
        if at < next {
            missing.push((at, next - 1));
        }
        missing
    }
}
