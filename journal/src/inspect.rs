//! A journal's folder looked at from outside: what is in it, what is damaged, what is missing, and what can be
//! saved. Changes nothing in it; the process that has it open may be running.

use std::collections::BTreeMap;
use std::io;
use std::ops::ControlFlow;

use crate::frame::{self, Found as Frame, Kind, Scan};
use crate::journal::{JournalError, MAX_SEGMENT_BYTES, Record, io_error, unless_damaged};
use crate::numbers::Numbers;
use crate::positions::{self, Positions};
use crate::recovery::{Recovery, Survey};
use crate::segment::Segment;
use crate::storage::{Files, Storage, read_file};

/// What is in a folder.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The owner's number for the class of record; `None` if no frame says it.
    pub stream: Option<u8>,
    /// Epoch of the numbers, if it is written anywhere.
    pub epoch: Option<String>,
    /// The number that the next record would get.
    pub next_seq: u64,
    /// Holes up to this number were told by an owner of an older version.
    pub reported: u64,
    /// The last number that each reader is done with.
    pub cursors: BTreeMap<String, u64>,
    /// Oldest first.
    pub segments: Vec<SegmentFile>,
    /// What is damaged; missing are the numbers that some reader is not done with, told or not.
    pub recovery: Recovery,
    told: Numbers,
    untold: Numbers,
    readable: Vec<Segment>,
}

/// One file of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SegmentFile {
    /// Within the folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// Records that can be read, and are in no later file as well.
    pub records: u64,
    /// Number of the first of them.
    pub first_seq: Option<u64>,
    /// Number of the last of them.
    pub last_seq: Option<u64>,
    /// Time of the first of them, Unix nanoseconds.
    pub oldest_unix_ns: Option<u64>,
}

/// Looks at a folder.
///
/// # Errors
/// It cannot be listed, or this process may not read what is in it.
pub fn inspect(files: &impl Files) -> Result<Inspected, JournalError> {
    let names = files.list().map_err(io_error("list", "."))?;
    let indexes = names.iter().filter_map(|name| Segment::index_of(name));
    let mut indexes: Vec<u64> = indexes.collect();
    indexes.sort_unstable();
    let before = stored(files)?;
    let (mut survey, mut stream) = (Survey::default(), None);
    for index in &indexes {
        let name = Segment::name_of(*index);
        match read_file(files, &name, MAX_SEGMENT_BYTES) {
            Ok(bytes) => {
                stream = stream.or_else(|| stream_of(&bytes));
                survey.add(*index, stream.unwrap_or_default(), &bytes);
            }
            // Whoever has it open removes what is read.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                unless_damaged("read", &name, error)?;
                let len = files.len(&name).unwrap_or(MAX_SEGMENT_BYTES);
                survey.unreadable(name, len.min(MAX_SEGMENT_BYTES));
            }
        }
    }
    // Readers go on meanwhile, and say so before what they passed is removed.
    let after = stored(files)?;
    let is_lost = before == Stored::Unreadable || (before == Stored::None && !indexes.is_empty());
    let next_seq = before.positions().map_or(0, |positions| positions.next_seq);
    let positions = after.positions().or(before.positions()).cloned();
    let mut inspected = Inspected::of(survey, positions.unwrap_or_default(), next_seq, stream);
    inspected.recovery.positions_lost = is_lost;
    Ok(inspected)
}

/// What the position file says.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Stored {
    /// There is none, or it has no whole slot.
    None,
    /// The disk does not give it.
    Unreadable,
    Positions(Positions),
}

impl Stored {
    const fn positions(&self) -> Option<&Positions> {
        match self {
            Self::Positions(positions) => Some(positions),
            Self::None | Self::Unreadable => None,
        }
    }
}

/// The class of the first frame that says one.
fn stream_of(bytes: &[u8]) -> Option<u8> {
    Scan::new(bytes).find_map(|found| match found {
        Frame::Frame { header, .. } => Some(header.stream),
        Frame::Damage { .. } | Frame::Blank { .. } | Frame::Cut { .. } => None,
    })
}

fn stored(files: &impl Files) -> Result<Stored, JournalError> {
    match read_file(files, positions::FILE, positions::FILE_LEN as u64) {
        Ok(bytes) if bytes.len() < positions::FILE_LEN => Ok(Stored::None),
        Ok(bytes) => Ok(Positions::decode(&bytes).map_or(Stored::None, Stored::Positions)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Stored::None),
        Err(error) => unless_damaged("read", positions::FILE, error).map(|()| Stored::Unreadable),
    }
}

impl Inspected {
    fn of(mut survey: Survey, positions: Positions, next_seq: u64, stream: Option<u8>) -> Self {
        let mut recovery = std::mem::take(&mut survey.recovery);
        let passed = positions.cursors.values().max().copied().unwrap_or(0);
        let given_out = positions.next_seq.max(passed.saturating_add(1));
        let next_seq = survey.next_seq(given_out.max(next_seq));
        let low = positions.cursors.values().min().copied();
        let from = low
            .unwrap_or_else(|| survey.before_first())
            .saturating_add(1);
        recovery.missing = survey.missing(from, next_seq);
        let counts = survey.segments.iter().map(|segment| segment.count_after(0));
        recovery.records = counts.sum();
        let epoch = Some(positions.epoch).filter(|epoch| !epoch.is_empty());
        Self {
            stream,
            epoch: epoch.or_else(|| survey.epoch.take()),
            next_seq,
            reported: positions.reported,
            cursors: positions.cursors,
            told: positions.told,
            untold: positions.untold,
            segments: survey.segments.iter().map(SegmentFile::of).collect(),
            recovery,
            readable: survey.segments,
        }
    }

    /// Whether every record that some reader is not done with can be read, and the readers' places are known.
    pub const fn is_whole(&self) -> bool {
        let found = &self.recovery;
        found.damaged == 0
            && found.missing.is_empty()
            && found.unreadable.is_empty()
            && !found.positions_lost
    }

    /// Whether the owner has put on record that these numbers are gone.
    pub fn is_told(&self, range: (u64, u64)) -> bool {
        range.1 <= self.reported || self.told.without(&[range]).is_empty()
    }

    /// Records that a reader is not done with.
    pub fn waiting(&self, cursor: u64) -> u64 {
        self.readable
            .iter()
            .map(|segment| segment.count_after(cursor))
            .sum()
    }

    /// Each record that can be read, from that number on, in order.
    ///
    /// # Errors
    /// This process may not read it. What is damaged is passed over.
    pub fn records(
        &self,
        files: &impl Files,
        from_seq: u64,
        mut each: impl FnMut(Record) -> ControlFlow<()>,
    ) -> Result<(), JournalError> {
        let before = from_seq.saturating_sub(1);
        for segment in self
            .readable
            .iter()
            .filter(|segment| segment.count_after(before) > 0)
        {
            let Some(bytes) = bytes_of(files, segment)? else {
                continue;
            };
            for record in records_in(&bytes, self.stream, segment, from_seq) {
                if each(record).is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Writes what can be read into an empty folder, under the same numbers, with the readers' places. Returns how
    /// many records that is: fewer than were seen, if the disk gives less by now. The numbers that are missing are
    /// missing there too, and are told by its owner's next start.
    ///
    /// # Errors
    /// The folder is not empty, or cannot be written; or this process may not read the original.
    pub fn save(&self, files: &impl Files, to: &mut impl Storage) -> Result<u64, JournalError> {
        if !to.list().map_err(io_error("list", "."))?.is_empty() {
            return Err(JournalError::Options("the folder to write to is not empty"));
        }
        // First how far the numbers went: what is written of the rest until something fails has holes then, and
        // gives no number out again.
        self.save_positions(to)?;
        let stream = self.stream.unwrap_or_default();
        let epoch = self.epoch.as_deref().unwrap_or_default();
        let mut saved = 0;
        for segment in self.readable.iter().filter(|segment| !segment.is_empty()) {
            let Some(bytes) = bytes_of(files, segment)? else {
                continue;
            };
            let mut out = Vec::with_capacity(bytes.len());
            let (first, kind) = (segment.first, Kind::Start);
            frame::encode(&mut out, kind, stream, first, 0, epoch.as_bytes());
            for record in records_in(&bytes, self.stream, segment, 0) {
                let (seq, time) = (record.seq, record.time_unix_ns);
                frame::encode(&mut out, Kind::Record, stream, seq, time, &record.payload);
                saved += 1;
            }
            write(to, &segment.name(), &out)?;
        }
        to.sync_dir().map_err(io_error("sync", "."))?;
        Ok(saved)
    }

    fn save_positions(&self, to: &mut impl Storage) -> Result<(), JournalError> {
        let positions = Positions {
            generation: 1,
            next_seq: self.next_seq,
            reported: self.reported,
            epoch: self.epoch.clone().unwrap_or_default(),
            cursors: self.cursors.clone(),
            told: self.told.clone(),
            untold: self.untold.clone(),
        };
        let mut slots = vec![0; positions::FILE_LEN];
        let offset = usize::try_from(positions.offset()).unwrap_or_default();
        let slot = positions.encode();
        if let Some(place) = slots.get_mut(offset..offset + slot.len()) {
            place.copy_from_slice(&slot);
        }
        write(to, positions::FILE, &slots)?;
        to.sync_dir().map_err(io_error("sync", "."))
    }
}

impl SegmentFile {
    fn of(segment: &Segment) -> Self {
        let held = !segment.is_empty();
        Self {
            name: segment.name(),
            bytes: segment.file_len,
            records: segment.count_after(0),
            first_seq: held.then_some(segment.first),
            last_seq: held.then_some(segment.last),
            oldest_unix_ns: segment.oldest_unix_ns,
        }
    }
}

/// What is in a file; `None` of one that the disk does not give, or that was passed and removed.
fn bytes_of(files: &impl Files, segment: &Segment) -> Result<Option<Vec<u8>>, JournalError> {
    let name = segment.name();
    match read_file(files, &name, MAX_SEGMENT_BYTES) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) => unless_damaged("read", &name, error).map(|()| None),
    }
}

fn write(to: &mut impl Storage, name: &str, bytes: &[u8]) -> Result<(), JournalError> {
    to.create(name)
        .and_then(|()| to.write_at(name, 0, bytes))
        .and_then(|()| to.sync(name))
        .map_err(io_error("write", name))?;
    to.done_with(name);
    Ok(())
}

/// The whole records of a file that are its own: those that a later file holds too are that one's.
fn records_in(
    bytes: &[u8],
    stream: Option<u8>,
    segment: &Segment,
    from_seq: u64,
) -> impl Iterator<Item = Record> {
    let mut next = from_seq.max(segment.first);
    Scan::new(bytes).filter_map(move |found| {
        let Frame::Frame {
            header, payload, ..
        } = found
        else {
            return None;
        };
        let is_own = header.kind == Kind::Record && Some(header.stream) == stream;
        if !is_own || header.seq < next || header.seq > segment.last {
            return None;
        }
        next = header.seq.saturating_add(1);
        Some(Record {
            seq: header.seq,
            time_unix_ns: header.time_unix_ns,
            payload: bytes.get(payload).unwrap_or_default().to_vec(),
        })
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::testing::CrashStorage;
    use crate::{Journal, Options};

    fn options() -> Options {
        Options {
            segment_bytes: 2000,
            ..Options::new(3, &["fast", "slow"], "e".repeat(32))
        }
    }

    /// Lives of a journal on a disk that tears, fails and rots, and the segment that it does not give at the end.
    fn folder(seed: u64) -> CrashStorage {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut storage = CrashStorage::default();
        for _ in 0..random.u32(1..4) {
            let (mut journal, _) = Journal::open(storage.clone(), options()).unwrap();
            for now in 0..random.u64(1..12) {
                for _ in 0..random.u32(1..6) {
                    drop(journal.append(&vec![random.u8(..); random.usize(0..400)], now));
                }
                storage.fail_syncs(random.u32(0..3) / 2);
                drop(journal.sync());
                let last = journal.durable_seq();
                drop(journal.set_cursor("fast", random.u64(0..=last)));
                drop(journal.set_cursor("slow", random.u64(0..=last / 2)));
                if random.u8(0..8) == 0 {
                    let from = random.u64(0..=last);
                    journal.mark_told(&[(from, random.u64(from..=last))]);
                }
                drop(journal.sync_positions());
            }
            drop(journal);
            if random.bool() {
                storage = storage.crash(|n| random.u64(0..n));
            }
            if random.bool() {
                storage.flip_bit(|n| random.u64(0..n));
            }
        }
        let names = storage.list().unwrap();
        if random.u8(0..4) == 0 {
            storage.fail_reads(&names[random.usize(..names.len())]);
        }
        storage
    }

    fn bytes(storage: &CrashStorage) -> Vec<(String, Vec<u8>)> {
        let mut names = storage.list().unwrap();
        names.sort_unstable();
        let read = |name: String| {
            let bytes = read_file(storage, &name, u64::MAX);
            (name, bytes.unwrap_or_default())
        };
        names.into_iter().map(read).collect()
    }

    fn records(found: &Inspected, storage: &CrashStorage, from: u64) -> Vec<Record> {
        let mut records = Vec::new();
        let each = |record| {
            records.push(record);
            ControlFlow::Continue(())
        };
        found.records(storage, from, each).unwrap();
        records
    }

    fn numbers(ranges: &[(u64, u64)]) -> BTreeSet<u64> {
        ranges.iter().flat_map(|(from, to)| *from..=*to).collect()
    }

    /// What is missing and was not told.
    fn untold(found: &Inspected) -> Vec<(u64, u64)> {
        found.told.without(&found.recovery.missing)
    }

    /// What is seen from outside is what the next start sees, and nothing is changed by looking.
    #[test]
    fn what_is_found_is_what_a_start_finds() {
        let (mut damaged, mut missing, mut unreadable, mut lost, mut unseen) = (0, 0, 0, 0, 0);
        for seed in 0..400 {
            let storage = folder(seed);
            let before = bytes(&storage);
            let found = inspect(&storage).unwrap();
            let seen = records(&found, &storage, 1);
            assert_eq!(bytes(&storage), before);
            // The same folder: a copy could be read again.
            let (mut journal, recovery) = Journal::open(storage.clone(), options()).unwrap();
            let read = journal.read(1, usize::MAX, usize::MAX).unwrap();
            assert_eq!(seen, read.records);
            // A start does not read what was sealed: what is damaged there, its readers find.
            let told = [&recovery.missing[..], &recovery.untold, &read.damaged].concat();
            let (told, all) = (numbers(&told), numbers(&found.recovery.missing));
            assert!(numbers(&untold(&found)).is_subset(&told), "seed {seed}");
            let low = found.cursors.values().min().copied().unwrap_or(0);
            let told: BTreeSet<u64> = told.into_iter().filter(|seq| *seq > low).collect();
            assert!(told.is_subset(&all), "seed {seed}");
            let told = &found.recovery;
            let is_found = |damage| told.damage.contains(damage);
            assert!(recovery.damage.iter().all(is_found), "seed {seed}");
            let of_start = (recovery.positions_lost, &recovery.unreadable);
            assert_eq!((told.positions_lost, &told.unreadable), of_start);
            unseen += usize::from(told.damaged > recovery.damaged);
            assert_eq!(found.next_seq, journal.next_seq());
            assert!(
                found
                    .epoch
                    .as_deref()
                    .is_none_or(|epoch| epoch == journal.epoch())
            );
            for (name, cursor) in &found.cursors {
                assert_eq!(journal.cursor(name), Some(*cursor));
                assert_eq!(found.waiting(*cursor), journal.count_after(*cursor));
            }
            let half = found.next_seq / 2;
            let behind = seen.iter().filter(|record| record.seq >= half);
            assert!(records(&found, &storage, half).iter().eq(behind));
            damaged += usize::from(told.damaged > 0);
            missing += usize::from(!told.missing.is_empty());
            unreadable += usize::from(!told.unreadable.is_empty());
            lost += usize::from(told.positions_lost);
        }
        let least = damaged.min(missing).min(unreadable).min(lost).min(unseen);
        assert!(
            least > 15,
            "{damaged} {missing} {unreadable} {lost} {unseen}"
        );
    }

    #[test]
    fn what_can_be_read_is_saved_under_its_numbers_and_the_rest_is_told_once() {
        for seed in 0..200 {
            let storage = folder(seed);
            let found = inspect(&storage).unwrap();
            let mut to = CrashStorage::default();
            let seen = records(&found, &storage, 1);
            assert_eq!(found.save(&storage, &mut to).unwrap(), seen.len() as u64);
            let to = to.crash(|_| 0);
            let saved = inspect(&to).unwrap();
            assert_eq!(
                (saved.recovery.damaged, &saved.cursors),
                (0, &found.cursors)
            );
            assert_eq!(
                (saved.next_seq, &saved.epoch),
                (found.next_seq, &found.epoch)
            );
            assert_eq!(records(&saved, &to, 1), seen);
            let (mut journal, recovery) = Journal::open(to.clone(), options()).unwrap();
            assert_eq!(
                journal.read(1, usize::MAX, usize::MAX).unwrap().records,
                seen
            );
            let told = numbers(&[recovery.missing, recovery.untold].concat());
            let lacking = [&untold(&found)[..], found.untold.runs()].concat();
            assert_eq!(told, numbers(&lacking), "seed {seed}");
            assert_eq!(journal.epoch(), "e".repeat(32));
            let mut again = to.clone();
            let refused = found.save(&storage, &mut again).unwrap_err();
            assert!(refused.to_string().contains("not empty"), "{refused}");
        }
    }

    /// Whatever fails on the way, no number that was given out is free.
    #[test]
    fn a_copy_that_was_cut_off_gives_no_number_out_again() {
        for seed in 0..100 {
            let storage = folder(seed);
            let found = inspect(&storage).unwrap();
            let mut to = CrashStorage::default();
            to.set_room(Some(2 * positions::SLOT_LEN as u64 + seed * 40));
            drop(found.save(&storage, &mut to));
            to.set_room(None);
            let (journal, _) = Journal::open(to.clone(), options()).unwrap();
            assert!(journal.next_seq() >= found.next_seq);
        }
    }

    #[test]
    fn a_folder_of_nothing_is_whole_and_one_without_positions_is_not() {
        let found = inspect(&CrashStorage::default()).unwrap();
        assert!(found.is_whole() && found.segments.is_empty());
        let mut storage = CrashStorage::default();
        let (mut journal, _) = Journal::open(storage.clone(), options()).unwrap();
        journal.append(b"x", 5).unwrap();
        journal.sync().unwrap();
        journal.sync_positions().unwrap();
        assert!(inspect(&storage).unwrap().is_whole());
        storage.remove(positions::FILE).unwrap();
        let found = inspect(&storage).unwrap();
        assert!(found.recovery.positions_lost && !found.is_whole());
        assert_eq!(
            (found.stream, found.epoch.as_deref()),
            (Some(3), Some(&*"e".repeat(32)))
        );
        // Nor does its first frame say whose numbers these are: the copy draws a name of its own.
        storage.write_at(&Segment::name_of(1), 50, b"?").unwrap();
        let found = inspect(&storage).unwrap();
        assert_eq!(found.epoch, None);
        let mut to = CrashStorage::default();
        found.save(&storage, &mut to).unwrap();
        let other = Options::new(3, &["fast"], "f".repeat(32));
        let (journal, _) = Journal::open(to, other).unwrap();
        assert_eq!(journal.epoch(), "f".repeat(32));
        storage.deny(Some(("segment", 13)));
        assert!(inspect(&storage).unwrap_err().is_of_process());
    }

    /// A folder that goes on while it is looked at: readers pass what is listed, and it is removed.
    struct Moving {
        storage: CrashStorage,
        journal: std::cell::RefCell<Journal<CrashStorage>>,
    }

    impl Files for Moving {
        fn list(&self) -> io::Result<Vec<String>> {
            self.storage.list()
        }

        fn len(&self, name: &str) -> io::Result<u64> {
            self.storage.len(name)
        }

        fn read_at(&self, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
            let read = self.storage.read_at(name, offset, buf);
            let mut journal = self.journal.borrow_mut();
            let passed = journal.cursor("slow").unwrap() + 12;
            for reader in ["fast", "slow"] {
                let last = journal.durable_seq();
                journal.set_cursor(reader, passed.min(last)).unwrap();
            }
            journal.sync_positions().unwrap();
            read
        }
    }

    #[test]
    fn what_is_passed_and_removed_meanwhile_is_not_missing() {
        let storage = CrashStorage::default();
        let (mut journal, _) = Journal::open(storage.clone(), options()).unwrap();
        for now in 0..80 {
            journal.append(&[7; 300], now).unwrap();
            journal.sync().unwrap();
        }
        journal.sync_positions().unwrap();
        let files = Moving {
            storage,
            journal: journal.into(),
        };
        let found = inspect(&files).unwrap();
        assert!(found.is_whole(), "{:?}", found.recovery);
        assert!(found.segments.len() < 10, "{:?}", found.segments);
    }
}
