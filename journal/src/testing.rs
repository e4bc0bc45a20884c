//! A folder in memory that crashes, tears writes, runs full and fails, for tests of a journal and
//! of its owners. Cheap to clone: clones are the same folder.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::{Files, Storage};

/// Sectors reach the disk whole or not at all.
const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct File {
    /// What a reader sees now.
    live: Vec<u8>,
    /// What surely survives a crash.
    durable: Vec<u8>,
    /// What was done to it since the last sync that succeeded.
    unsynced: Vec<Change>,
    /// The name survives a crash.
    named: bool,
}

/// Of a file.
#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Cut(usize),
}

#[derive(Debug, Default)]
struct Disk {
    files: BTreeMap<String, File>,
    /// Removed, but back after a crash unless the folder was synced.
    ghosts: BTreeMap<String, File>,
    fail_writes: u32,
    fail_syncs: u32,
    fail_dir_syncs: u32,
    fail_removes: u32,
    bad: BTreeSet<String>,
    denied: Option<(String, i32)>,
    room: Option<u64>,
    bytes_read: AtomicU64,
}

/// The folder.
#[derive(Clone, Debug, Default)]
pub struct CrashStorage {
    disk: Arc<Mutex<Disk>>,
    /// What the names on the disk begin with.
    folder: String,
}

impl CrashStorage {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.disk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Another folder on the same disk: room, faults and crashes are shared.
    #[must_use]
    pub fn folder(&self, name: &str) -> Self {
        Self {
            disk: Arc::clone(&self.disk),
            folder: format!("{}{name}/", self.folder),
        }
    }

    fn path(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    /// The next `count` writes fail with `EIO`, having written a part.
    pub fn fail_writes(&self, count: u32) {
        self.disk().fail_writes = count;
    }

    /// Files whose name begins so are neither read nor synced, for this reason (`errno`); `None` ends it.
    pub fn deny(&self, denied: Option<(&str, i32)>) {
        self.disk().denied = denied.map(|(name, errno)| (self.path(name), errno));
    }

    /// The next `count` syncs fail. What they should have written is lost, as in Linux: later
    /// syncs succeed, and readers see it until the crash.
    pub fn fail_syncs(&self, count: u32) {
        self.disk().fail_syncs = count;
    }

    /// The next `count` syncs of a folder fail: names made or removed may be as before after a crash.
    pub fn fail_dir_syncs(&self, count: u32) {
        self.disk().fail_dir_syncs = count;
    }

    /// The next `count` removals fail, and the file stays.
    pub fn fail_removes(&self, count: u32) {
        self.disk().fail_removes = count;
    }

    /// From now on every read of this file fails with `EIO`.
    pub fn fail_reads(&self, name: &str) {
        let path = self.path(name);
        self.disk().bad.insert(path);
    }

    /// This file can be read again.
    pub fn mend_reads(&self, name: &str) {
        let path = self.path(name);
        self.disk().bad.remove(&path);
    }

    /// Bytes that the folder may hold in all; a write beyond is `ENOSPC`. `None`: no bound.
    pub fn set_room(&self, bytes: Option<u64>) {
        self.disk().room = bytes;
    }

    /// Bytes in all files.
    pub fn used(&self) -> u64 {
        self.disk()
            .files
            .values()
            .map(|file| file.live.len() as u64)
            .sum()
    }

    /// Bytes that were read of all files, since the last time that this was asked.
    pub fn take_bytes_read(&self) -> u64 {
        self.disk().bytes_read.swap(0, Ordering::Relaxed)
    }

    /// The folder after a loss of power: of each unsynced write any sectors, files cut or not, names made or removed
    /// since the last sync of the folder there or not. `dice(n)` gives a number below `n`.
    #[must_use]
    pub fn crash(&self, mut dice: impl FnMut(u64) -> u64) -> Self {
        let disk = self.disk();
        let mut files = BTreeMap::new();
        for (name, file) in disk.files.iter().chain(&disk.ghosts) {
            let is_ghost = !disk.files.contains_key(name);
            if (is_ghost || !file.named) && dice(2) == 0 {
                continue;
            }
            let mut bytes = file.durable.clone();
            for change in &file.unsynced {
                match change {
                    Change::Write(offset, written) => {
                        // Sectors of the disk, wherever in them the write begins.
                        for (at, sector) in sectors(*offset, written) {
                            if dice(3) > 0 {
                                put(&mut bytes, at, sector);
                            }
                        }
                    }
                    Change::Cut(len) => {
                        if dice(3) > 0 {
                            bytes.truncate(*len);
                        }
                    }
                }
            }
            files.insert(
                name.clone(),
                File {
                    live: bytes.clone(),
                    durable: bytes,
                    unsynced: Vec::new(),
                    named: true,
                },
            );
        }
        Self {
            disk: Arc::new(Mutex::new(Disk {
                files,
                room: disk.room,
                ..Disk::default()
            })),
            folder: self.folder.clone(),
        }
    }

    /// A copy of its own, as it is.
    #[must_use]
    pub fn copy(&self) -> Self {
        let disk = self.disk();
        let copy = Disk {
            files: disk.files.clone(),
            ghosts: disk.ghosts.clone(),
            room: disk.room,
            ..Disk::default()
        };
        Self {
            disk: Arc::new(Mutex::new(copy)),
            folder: self.folder.clone(),
        }
    }

    /// Flips a bit of a segment file on the disk itself; false if there is none.
    pub fn flip_bit(&self, mut dice: impl FnMut(u64) -> u64) -> bool {
        let mut disk = self.disk();
        let mut files: Vec<_> = disk
            .files
            .iter_mut()
            .filter(|(name, file)| {
                name.starts_with(&self.path("segment")) && !file.durable.is_empty()
            })
            .map(|(_, file)| file)
            .collect();
        let count = files.len() as u64;
        if count == 0 {
            return false;
        }
        let Some(file) = usize::try_from(dice(count))
            .ok()
            .and_then(|index| files.get_mut(index))
        else {
            return false;
        };
        let at = usize::try_from(dice(file.durable.len() as u64)).unwrap_or(0);
        let bit = 1 << dice(8);
        for bytes in [&mut file.live, &mut file.durable] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= bit;
            }
        }
        true
    }
}

/// The parts of a write that reach the disk whole or not at all, and where they lie.
fn sectors(offset: usize, written: &[u8]) -> Vec<(usize, &[u8])> {
    let (first, rest) = written.split_at(written.len().min(SECTOR - offset % SECTOR));
    let behind = (offset + first.len()..).step_by(SECTOR);
    let rest = behind.zip(rest.chunks(SECTOR));
    std::iter::once((offset, first)).chain(rest).collect()
}

fn put(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    let end = offset + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    if let Some(place) = bytes.get_mut(offset..end) {
        place.copy_from_slice(written);
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Disk {
    fn allow(&self, path: &str) -> io::Result<()> {
        match &self.denied {
            Some((denied, errno)) if path.starts_with(denied) => {
                Err(io::Error::from_raw_os_error(*errno))
            }
            _ => Ok(()),
        }
    }
}

impl Files for CrashStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        let disk = self.disk();
        let here = disk
            .files
            .keys()
            .filter_map(|path| path.strip_prefix(&self.folder));
        Ok(here
            .filter(|name| !name.contains('/'))
            .map(str::to_owned)
            .collect())
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        self.disk()
            .files
            .get(&self.path(name))
            .map(|file| file.live.len() as u64)
            .ok_or_else(not_found)
    }

    fn read_at(&self, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let disk = self.disk();
        disk.allow(&self.path(name))?;
        if disk.bad.contains(&self.path(name)) {
            return Err(io::Error::from_raw_os_error(5));
        }
        let file = disk.files.get(&self.path(name)).ok_or_else(not_found)?;
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| file.live.get(offset..))
            .unwrap_or_default();
        let read = rest.len().min(buf.len());
        buf[..read].copy_from_slice(&rest[..read]);
        disk.bytes_read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Storage for CrashStorage {
    fn create(&mut self, name: &str) -> io::Result<()> {
        let name = self.path(name);
        let mut disk = self.disk();
        if disk.files.contains_key(&name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        disk.files.insert(name, File::default());
        Ok(())
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut disk = self.disk();
        let used: u64 = disk.files.values().map(|file| file.live.len() as u64).sum();
        let (failing, room) = (disk.fail_writes > 0, disk.room);
        disk.fail_writes = disk.fail_writes.saturating_sub(1);
        let file = disk.files.get_mut(&self.path(name)).ok_or_else(not_found)?;
        let offset = usize::try_from(offset).map_err(io::Error::other)?;
        let grows = (offset + bytes.len()).saturating_sub(file.live.len()) as u64;
        let lacking = room.map_or(0, |room| (used + grows).saturating_sub(room).min(grows));
        let full = lacking > 0;
        // Short writes: half of it when the device fails, what fits when there is no more room.
        let taken = if failing {
            bytes.len() / 2
        } else {
            bytes.len() - usize::try_from(lacking).map_err(io::Error::other)?
        };
        let taken = &bytes[..taken];
        if !taken.is_empty() {
            put(&mut file.live, offset, taken);
            file.unsynced.push(Change::Write(offset, taken.to_vec()));
        }
        match (full, failing) {
            (true, _) => Err(io::ErrorKind::StorageFull.into()),
            (_, true) => Err(io::Error::from_raw_os_error(5)),
            _ => Ok(()),
        }
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        let mut disk = self.disk();
        let file = disk.files.get_mut(&self.path(name)).ok_or_else(not_found)?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        file.live.truncate(len);
        file.unsynced.push(Change::Cut(len));
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        disk.allow(&self.path(name))?;
        let failing = disk.fail_syncs > 0;
        disk.fail_syncs = disk.fail_syncs.saturating_sub(1);
        let file = disk.files.get_mut(&self.path(name)).ok_or_else(not_found)?;
        for (index, change) in std::mem::take(&mut file.unsynced).into_iter().enumerate() {
            match change {
                Change::Write(offset, written) if !failing || index % 2 == 1 => {
                    put(&mut file.durable, offset, &written);
                }
                Change::Cut(len) if !failing => file.durable.truncate(len),
                _ => {}
            }
        }
        if failing {
            Err(io::Error::from_raw_os_error(5))
        } else {
            // A length is written back with the rest of the inode.
            let len = file.live.len();
            file.durable.truncate(len);
            Ok(())
        }
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.fail_dir_syncs > 0 {
            disk.fail_dir_syncs -= 1;
            return Err(io::Error::from_raw_os_error(5));
        }
        disk.ghosts
            .retain(|path, _| !path.starts_with(&self.folder));
        for (path, file) in &mut disk.files {
            file.named |= path.starts_with(&self.folder);
        }
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut disk = self.disk();
        if disk.fail_removes > 0 {
            disk.fail_removes -= 1;
            return Err(io::Error::from_raw_os_error(5));
        }
        let name = self.path(name);
        let file = disk.files.remove(&name).ok_or_else(not_found)?;
        if file.named {
            disk.ghosts.insert(name, file);
        }
        Ok(())
    }
}
