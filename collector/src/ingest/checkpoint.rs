//! What was seen, written down in room that was taken before.
//!
//! Two files, written in turn, so that one whole checkpoint survives any torn write. Both are as
//! long as the checkpoint can ever become before a stream is taken that makes it longer: a full
//! disk cannot keep it from being written, and so cannot keep the journals from setting room free.
//! Beside them lies a file that holds nothing but room, to be given up when a loss has to be told
//! on a full disk.
//!
//! Knows the disk only through [`Storage`], and nothing of what a checkpoint says.

use std::io;

use plimsoll_journal::Storage;
use plimsoll_journal::frame::{self, Found, HEADER_LEN, Kind};

const SLOTS: [&str; 2] = ["slot-0", "slot-1"];
const ROOM: &str = "room";
const PROBE: &str = "probe";
/// What must find room before a disk that was full counts as one that takes records again.
const PROBE_BYTES: usize = 1 << 20;
/// Frames of a checkpoint have this stream number; the journals have 1 and 2.
const STREAM: u8 = 3;
/// Payload of one frame.
const CHUNK: usize = 1 << 20;
/// The files grow by this much at least, and by a quarter.
const GROWTH: u64 = 64 << 10;
/// Held for the day the disk is full, at the most: what a journal holds in memory, and as much again.
const MAX_ROOM_BYTES: u64 = 4 << 20;
/// A longer slot was not written by us; the rest is not looked at.
const MAX_SLOT_BYTES: u64 = 256 << 20;

/// See the module.
#[derive(Debug)]
pub(crate) struct Slots<S> {
    storage: S,
    /// Of the last checkpoint that is on disk.
    generation: u64,
    /// That checkpoint, while it may be in the page cache only: a sync that failed in another life
    /// leaves pages that look written. Until it is, the other slot must not be touched.
    unsure: Option<Vec<u8>>,
    /// Bytes that both files have on disk.
    capacity: u64,
    room_bytes: usize,
    holds_room: bool,
}

impl<S: Storage> Slots<S> {
    /// Opens the folder, and gives back the last whole checkpoint. What cannot be read counts as
    /// not there: the journals know most of it. `room_bytes` are held for losses.
    pub(crate) fn open(mut storage: S, room_bytes: u64) -> (Self, Option<Vec<u8>>) {
        let durable = SLOTS
            .into_iter()
            .filter(|slot| storage.sync(slot).is_ok())
            .collect::<Vec<_>>();
        let whole = durable.len() == SLOTS.len() && storage.sync_dir().is_ok();
        let newest = durable
            .into_iter()
            .filter_map(|slot| decode(&read(&storage, slot).ok()?))
            .max_by_key(|(generation, _)| *generation);
        let room_bytes = room_bytes.min(MAX_ROOM_BYTES);
        let len = |name| storage.len(name).unwrap_or(0);
        let shorter = SLOTS.into_iter().map(len).min();
        let mut slots = Self {
            generation: newest.as_ref().map_or(0, |(generation, _)| *generation),
            unsure: newest
                .as_ref()
                .map(|(generation, body)| encode(*generation, body)),
            capacity: shorter.filter(|_| whole).unwrap_or(0),
            holds_room: len(ROOM) >= room_bytes,
            room_bytes: usize::try_from(room_bytes).unwrap_or(0),
            storage,
        };
        // If the disk refuses, the first write tries again.
        drop(slots.make_sure());
        (slots, newest.map(|(_, body)| body))
    }

    /// Makes sure that a checkpoint of this length can be written, now and later.
    pub(super) fn reserve(&mut self, bytes: usize) -> io::Result<()> {
        let frames = bytes.div_ceil(CHUNK).max(1);
        let needed = (bytes + frames * HEADER_LEN) as u64;
        if needed <= self.capacity {
            return Ok(());
        }
        let target = needed + GROWTH.max(self.capacity / 4);
        let zeros = vec![0; usize::try_from(target - self.capacity).unwrap_or(usize::MAX)];
        for slot in SLOTS {
            self.create(slot)?;
            // Zeros and not a hole: room that is taken.
            self.storage.write_at(slot, self.capacity, &zeros)?;
            self.storage.sync(slot)?;
        }
        self.storage.sync_dir()?;
        self.capacity = target;
        Ok(())
    }

    fn create(&mut self, name: &str) -> io::Result<()> {
        match self.storage.create(name) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(()),
        }
    }

    /// Writes a checkpoint. After an error the last one still stands, and the next call writes to
    /// the same place again.
    pub(crate) fn write(&mut self, body: &[u8]) -> io::Result<()> {
        self.make_sure()?;
        self.reserve(body.len())?;
        let generation = self.generation + 1;
        let slot = slot_of(generation);
        self.storage.write_at(slot, 0, &encode(generation, body))?;
        self.storage.sync(slot)?;
        self.generation = generation;
        Ok(())
    }

    /// Writes what was read once more, the same bytes to the same place: torn, it does no harm.
    fn make_sure(&mut self) -> io::Result<()> {
        let Some(bytes) = &self.unsure else {
            return Ok(());
        };
        let slot = slot_of(self.generation);
        self.storage.write_at(slot, 0, bytes)?;
        self.storage.sync(slot)?;
        self.unsure = None;
        Ok(())
    }

    /// Takes the room that [`give_up_room`](Self::give_up_room) gave, where there is enough again.
    pub(super) fn hold_room(&mut self) -> io::Result<()> {
        if self.holds_room {
            return Ok(());
        }
        let taken = self
            .create(ROOM)
            .and_then(|()| self.storage.write_at(ROOM, 0, &vec![0; self.room_bytes]))
            .and_then(|()| self.storage.sync(ROOM))
            .and_then(|()| self.storage.sync_dir());
        if taken.is_err() {
            // Others need it more; it is tried again.
            drop(self.storage.remove(ROOM));
        }
        self.holds_room = taken.is_ok();
        taken
    }

    /// Whether the disk takes what is written to it: a file is written, synced and removed.
    pub(super) fn probe(&mut self) -> io::Result<()> {
        // One that a kill left behind.
        drop(self.storage.remove(PROBE));
        self.storage.create(PROBE)?;
        let written = self
            .storage
            .write_at(PROBE, 0, &vec![0; PROBE_BYTES])
            .and_then(|()| self.storage.sync(PROBE));
        let removed = self.storage.remove(PROBE);
        written.and(removed)
    }

    /// Gives the held room back to the disk; false if there was none.
    pub(super) fn give_up_room(&mut self) -> bool {
        let held = std::mem::take(&mut self.holds_room);
        held && self
            .storage
            .remove(ROOM)
            .and_then(|()| self.storage.sync_dir())
            .is_ok()
    }
}

const fn slot_of(generation: u64) -> &'static str {
    let [even, odd] = SLOTS;
    if generation.is_multiple_of(2) {
        even
    } else {
        odd
    }
}

fn read<S: Storage>(storage: &S, slot: &str) -> io::Result<Vec<u8>> {
    let len = storage.len(slot)?.min(MAX_SLOT_BYTES);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let read = storage.read_at(slot, 0, &mut bytes)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Frames that carry the generation as their number; in place of a time, how many are still to come.
fn encode(generation: u64, body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + HEADER_LEN);
    let count = body.len().div_ceil(CHUNK).max(1);
    let mut rest = body;
    for at in 0..count {
        let (chunk, behind) = rest.split_at(rest.len().min(CHUNK));
        rest = behind;
        let to_come = (count - at - 1) as u64;
        frame::encode(&mut out, Kind::Record, STREAM, generation, to_come, chunk);
    }
    out
}

fn decode(bytes: &[u8]) -> Option<(u64, Vec<u8>)> {
    let mut body = Vec::new();
    let mut expected: Option<(u64, u64)> = None;
    for found in frame::Scan::new(bytes) {
        let Found::Frame {
            header, payload, ..
        } = found
        else {
            return None;
        };
        let fits = header.stream == STREAM
            && expected.is_none_or(|next| next == (header.seq, header.time_unix_ns));
        if !fits {
            return None;
        }
        body.extend_from_slice(bytes.get(payload)?);
        let Some(to_come) = header.time_unix_ns.checked_sub(1) else {
            return Some((header.seq, body));
        };
        expected = Some((header.seq, to_come));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use plimsoll_journal::testing::CrashStorage;
    use proptest::prelude::*;

    const ROOM_BYTES: u64 = 100_000;

    #[test]
    fn a_full_disk_takes_what_was_reserved() {
        let disk = CrashStorage::default();
        let (mut slots, found) = Slots::open(disk.clone(), ROOM_BYTES);
        assert_eq!(found, None);
        slots.reserve(200_000).unwrap();
        disk.set_room(Some(disk.used()));
        for fill in [1, 2, 3] {
            slots.write(&vec![fill; 200_000]).unwrap();
        }
        let refused = slots.reserve(400_000).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        let found = Slots::open(disk.crash(|_| 0), ROOM_BYTES).1;
        assert_eq!(found, Some(vec![3; 200_000]));
    }

    #[test]
    fn held_room_is_there_when_it_is_given_up() {
        let disk = CrashStorage::default();
        let (mut slots, _) = Slots::open(disk.clone(), ROOM_BYTES);
        slots.hold_room().unwrap();
        disk.set_room(Some(disk.used()));
        assert!(Slots::open(disk.copy(), ROOM_BYTES).0.holds_room);
        assert!(slots.give_up_room());
        assert!(!slots.give_up_room());
        assert_eq!(disk.used(), 0);
        disk.set_room(Some(1000));
        assert!(slots.hold_room().is_err());
        assert_eq!(disk.used(), 0, "nothing half taken stays");
    }

    proptest! {
        #[test]
        fn the_last_checkpoint_survives_what_the_disk_does(
            seed in any::<u64>(),
            steps in prop::collection::vec((0usize..3000, 0u32..3, 0u32..3, 0u8..3), 1..20),
        ) {
            let mut random = fastrand::Rng::with_seed(seed);
            let mut disk = CrashStorage::default();
            let mut slots = Slots::open(disk.clone(), ROOM_BYTES).0;
            let (mut good, mut tried) = (None, Vec::new());
            for (at, (len, writes, syncs, end)) in steps.into_iter().enumerate() {
                let body = vec![u8::try_from(at).unwrap(); len];
                disk.fail_writes(writes);
                disk.fail_syncs(syncs);
                if slots.write(&body).is_ok() {
                    good = Some(body);
                    tried.clear();
                } else {
                    tried.push(body);
                }
                if end > 0 {
                    // Power, or the process alone: what it reads then may not be on the disk.
                    disk = if end == 1 { disk.crash(|n| random.u64(0..n)) } else { disk.copy() };
                    let (opened, found) = Slots::open(disk.clone(), ROOM_BYTES);
                    slots = opened;
                    prop_assert!(found == good || found.as_ref().is_some_and(|found| tried.contains(found)));
                    if end == 1 {
                        good = found;
                        tried.clear();
                    }
                }
            }
        }

        #[test]
        fn any_bytes_are_a_checkpoint_or_not(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0usize..300) {
            let mut slot = encode(7, &[9; 100]);
            slot.resize(400, 0);
            prop_assert_eq!(decode(&slot), Some((7, vec![9; 100])));
            for (place, byte) in slot.iter_mut().skip(at).zip(&bytes) {
                *place = *byte;
            }
            let decoded = decode(&slot);
            prop_assert!(decoded.is_none() || decoded == Some((7, vec![9; 100])));
        }
    }
}
