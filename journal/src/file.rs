#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads and writes a journal's folder"
)]
//! The real folder.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::{Files, Storage};

/// Makes a folder, with its parents, that survives a crash: what each of them lies in is synced. The one
/// that a folder lies in which was there is synced as well, if it can be: the life that made it may have
/// ended before.
///
/// # Errors
/// It cannot be made, or the disk does not say that it is there.
pub fn make_folder(folder: &Path) -> io::Result<()> {
    let named = |place: &Path| {
        let is_here = place.as_os_str().is_empty();
        if is_here { Path::new(".") } else { place }.to_owned()
    };
    let places: Vec<PathBuf> = folder.ancestors().map(named).collect();
    let made = places.iter().take_while(|place| !place.exists()).count();
    fs::create_dir_all(folder)?;
    let sync = |place: &PathBuf| File::open(place).and_then(|parent| parent.sync_all());
    if made == 0 {
        places.get(1).map_or(Ok(()), sync).or_else(|error| {
            // Nothing was made in it: it may be anybody's.
            let kinds = [io::ErrorKind::PermissionDenied, io::ErrorKind::InvalidInput];
            let is_left = kinds.contains(&error.kind());
            is_left.then_some(()).ok_or(error)
        })?;
    }
    places.iter().skip(1).take(made).try_for_each(sync)
}

/// A folder on disk. Holds a descriptor of each file that it wrote to until it is told that it is
/// [done with](Storage::done_with) it: of a journal, the positions and the newest segment.
#[derive(Debug)]
pub struct FileStorage {
    folder: PathBuf,
    open: BTreeMap<String, File>,
    /// Holds the lock on the folder as long as it is open.
    _lock: File,
}

impl FileStorage {
    /// Opens the folder, and makes it (with its parents) where it is not there. Only the owner may
    /// look into files made here: records tell who reads which credentials.
    ///
    /// Nobody else may have it open (`flock(2)`): two who give out the same numbers would each take
    /// the other's records for repeats of its own. An error of kind `ResourceBusy` says so.
    pub fn open(folder: &Path) -> io::Result<Self> {
        make_folder(folder)?;
        let lock = File::open(folder)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(io::Error::new(
                    io::ErrorKind::ResourceBusy,
                    "another process has this folder open",
                ));
            }
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(Self {
            folder: folder.to_owned(),
            open: BTreeMap::new(),
            _lock: lock,
        })
    }

    fn writable(&mut self, name: &str) -> io::Result<&File> {
        if !self.open.contains_key(name) {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .open(self.folder.join(name))?;
            self.open.insert(name.to_owned(), file);
        }
        self.open
            .get(name)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn with_readable<T>(
        &self,
        name: &str,
        read: impl FnOnce(&File) -> io::Result<T>,
    ) -> io::Result<T> {
        match self.open.get(name) {
            Some(file) => read(file),
            None => read(&File::open(self.folder.join(name))?),
        }
    }
}

fn list(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.extend(entry.file_name().into_string());
        }
    }
    Ok(names)
}

fn read_at(file: &File, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buf.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// A folder that is only looked at, whoever has it open: nothing in it is made or changed.
#[derive(Clone, Debug)]
pub struct ReadOnly {
    folder: PathBuf,
}

impl ReadOnly {
    /// Of a folder; whether it is there is seen when it is read.
    pub const fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Whether somebody has it open to write (`flock(2)`).
    ///
    /// # Errors
    /// It is not there, or not ours to look at.
    pub fn is_in_use(&self) -> io::Result<bool> {
        match File::open(&self.folder)?.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

impl Files for ReadOnly {
    fn list(&self) -> io::Result<Vec<String>> {
        list(&self.folder)
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        Ok(fs::metadata(self.folder.join(name))?.len())
    }

    fn read_at(&self, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        read_at(&File::open(self.folder.join(name))?, offset, buf)
    }
}

impl Files for FileStorage {
    fn list(&self) -> io::Result<Vec<String>> {
        list(&self.folder)
    }

    fn len(&self, name: &str) -> io::Result<u64> {
        self.with_readable(name, |file| Ok(file.metadata()?.len()))
    }

    fn read_at(&self, name: &str, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.with_readable(name, |file| read_at(file, offset, buf))
    }
}

impl Storage for FileStorage {
    fn create(&mut self, name: &str) -> io::Result<()> {
        let path = self.folder.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        self.open.insert(name.to_owned(), file);
        Ok(())
    }

    fn write_at(&mut self, name: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.writable(name)?.write_all_at(bytes, offset)
    }

    fn truncate(&mut self, name: &str, len: u64) -> io::Result<()> {
        self.writable(name)?.set_len(len)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        // A whole journal is synced as it is opened: most of its files are never written again.
        self.with_readable(name, File::sync_data)
    }

    fn done_with(&mut self, name: &str) {
        self.open.remove(name);
    }

    fn sync_dir(&mut self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open.remove(name);
        fs::remove_file(self.folder.join(name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_synced_and_read_holds_no_descriptor() {
        let folder = tempfile::tempdir().unwrap();
        let names = || (0..20).map(|index| index.to_string());
        let mut storage = FileStorage::open(folder.path()).unwrap();
        for name in names() {
            storage.create(&name).unwrap();
            storage.write_at(&name, 0, b"x").unwrap();
        }
        drop(storage);
        let mut storage = FileStorage::open(folder.path()).unwrap();
        for name in names() {
            storage.sync(&name).unwrap();
            assert_eq!(storage.len(&name).unwrap(), 1);
        }
        assert_eq!(storage.open.len(), 0);
    }

    #[test]
    fn a_journal_holds_no_descriptor_of_what_it_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let mut options = crate::Options::new(1, &["reader"], "e".repeat(32));
        options.segment_bytes = 1000;
        let open = || {
            let storage = FileStorage::open(folder.path()).unwrap();
            crate::Journal::open(storage, options.clone()).unwrap().0
        };
        for _ in 0..2 {
            let mut journal = open();
            for now in 0..30 {
                journal.append(&[7; 600], now).unwrap();
                journal.sync().unwrap();
            }
            assert!(journal.stats().bytes > 15 * 1000);
            let held = journal.storage_mut().open.len();
            assert!(held <= 2, "{held}");
        }
    }

    #[test]
    fn folders_are_made_with_their_parents_wherever_they_begin() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["a/b/c", "a/b/c", "a/d"] {
            make_folder(&folder.path().join(name)).unwrap();
            assert!(folder.path().join(name).is_dir());
        }
        std::fs::write(folder.path().join("file"), "").unwrap();
        make_folder(&folder.path().join("file/x")).unwrap_err();
        make_folder(Path::new("/")).unwrap();
    }

    #[test]
    fn a_folder_has_one_owner_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("spool");
        let first = FileStorage::open(&folder).unwrap();
        let refused = FileStorage::open(&folder).unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::ResourceBusy);
        drop(first);
        FileStorage::open(&folder).unwrap();
    }
}
