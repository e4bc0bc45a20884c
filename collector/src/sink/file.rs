#![expect(
    clippy::disallowed_methods,
    reason = "shell: writes and rotates the audit file"
)]
//! The file itself: whole lines, synced, put aside when it is long.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use plimsoll_journal::make_folder;

use super::line::{self, Place};
use super::{Options, Written};

/// The end of the file that is looked through for the last whole line.
const TAIL: u64 = 4 << 20;

/// Makes what was written to a file durable; a test may want it to fail.
pub(crate) type SyncFile = Arc<dyn Fn(&File) -> io::Result<()> + Send + Sync>;

/// fdatasync(2), which takes a changed length to the disk as well.
pub(crate) fn to_disk() -> SyncFile {
    Arc::new(File::sync_data)
}

pub(crate) struct AuditFile {
    options: Options,
    sync: SyncFile,
    file: File,
    /// All of it is on disk.
    len: u64,
    last_seq: u64,
    /// What its last whole line was when it was opened, or that of the newest one put aside.
    last_line: Option<Vec<u8>>,
    written: Arc<Written>,
}

impl AuditFile {
    /// Opens the current file, cuts a torn last line off, and learns how far it goes; where it is empty,
    /// from the newest one put aside. Removes what is put aside beyond `keep_files`. Says as well whether
    /// its last line is of another journal than the one of that epoch.
    ///
    /// `synced_len` is how much of it is known to be on disk. After a sync that failed the kernel takes
    /// the pages for written: they can still be read, and the next sync says that all is well (fsync(2),
    /// EIO). What is behind that length is therefore cut off; where it is not known, the end is written
    /// once more, so that the sync is one of that.
    pub(crate) fn open(
        options: &Options,
        journal_epoch: &str,
        synced_len: Option<u64>,
        sync: &SyncFile,
        written: Arc<Written>,
    ) -> io::Result<(Self, bool)> {
        if let Some(folder) = options.path.parent() {
            make_folder(folder)?;
        }
        let file = open(&options.path)?;
        if let Some(synced) = synced_len
            && synced < file.metadata()?.len()
        {
            file.set_len(synced)?;
        }
        let end = End::of(&file)?;
        let (mut place, whole) = line::last_whole(&end.bytes, journal_epoch);
        let len = end.from + whole as u64;
        file.set_len(len)?;
        if synced_len.is_none() {
            file.write_all_at(end.bytes.get(..whole).unwrap_or_default(), end.from)?;
        }
        let mut last_line = line::last(&end.bytes);
        if last_line.is_none()
            && let Ok(older) = File::open(aside(&options.path, 1))
        {
            last_line = line::last(&End::of(&older)?.bytes);
        }
        if place == Place::Nowhere
            && let Ok(older) = File::open(aside(&options.path, 1))
        {
            place = line::last_whole(&End::of(&older)?.bytes, journal_epoch).0;
        }
        sync(&file)?;
        // The name too: the cursor moves on the word that the lines are there.
        sync_folder(&options.path)?;
        let last_seq = match place {
            Place::At(seq) => seq,
            Place::OtherJournal | Place::Nowhere => 0,
        };
        written
            .removed
            .fetch_add(remove_surplus(options)?, Ordering::Relaxed);
        let file = Self {
            options: options.clone(),
            sync: Arc::clone(sync),
            file,
            len,
            last_seq,
            last_line,
            written,
        };
        Ok((file, place == Place::OtherJournal))
    }

    /// The last journal number that is in the file.
    pub(super) const fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// What its last whole line was when it was opened, without its end.
    pub(crate) fn last_line(&self) -> Option<Vec<u8>> {
        self.last_line.clone()
    }

    /// How much of it is known to be on disk, bytes.
    pub(crate) const fn synced_len(&self) -> u64 {
        self.len
    }

    /// Adds the lines, durably. After an error it is not known how many of them are there, and the file
    /// is to be opened anew with [`AuditFile::synced_len`].
    pub(crate) fn append(&mut self, lines: &[u8], last_seq: u64) -> io::Result<()> {
        if self.len > 0 && self.len + lines.len() as u64 > self.options.rotate_bytes {
            self.rotate()?;
        }
        self.file.write_all_at(lines, self.len)?;
        (self.sync)(&self.file)?;
        self.len += lines.len() as u64;
        self.written
            .bytes
            .fetch_add(lines.len() as u64, Ordering::Relaxed);
        self.last_seq = self.last_seq.max(last_seq);
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let path = &self.options.path;
        let full = self.options.keep_files;
        // A rotation that was cut off has left one out: the others move up to there, and none goes.
        let room = (1..=full).find(|at| !aside(path, *at).exists());
        let removes = room.is_none();
        for at in (1..room.unwrap_or(full)).rev() {
            fs::rename(aside(path, at), aside(path, at + 1))?;
        }
        fs::rename(path, aside(path, 1))?;
        self.file = open(path)?;
        self.len = 0;
        self.written.rotations.fetch_add(1, Ordering::Relaxed);
        self.written
            .removed
            .fetch_add(u64::from(removes), Ordering::Relaxed);
        sync_folder(path)
    }
}

/// The last number of the journal of that epoch that the lines say, in the file or in the newest one put aside.
pub(crate) fn last_seq_of(path: &Path, journal_epoch: &str) -> io::Result<Option<u64>> {
    for path in [path.to_owned(), aside(path, 1)] {
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        match line::last_whole(&End::of(&file)?.bytes, journal_epoch).0 {
            Place::At(seq) => return Ok(Some(seq)),
            Place::OtherJournal => return Ok(None),
            Place::Nowhere => {}
        }
    }
    Ok(None)
}

fn sync_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) => File::open(folder)?.sync_all(),
        None => Ok(()),
    }
}

/// For one writer: two would each write over the other's lines.
fn open(path: &Path) -> io::Result<File> {
    // Lines tell who reads which credentials: for the owner's eyes.
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)?;
    file.try_lock()?;
    Ok(file)
}

fn aside(path: &Path, at: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{at}"));
    name.into()
}

/// Removes the files that a higher `keep_files` has left, which no rotation moves or removes; returns how
/// many there were.
fn remove_surplus(options: &Options) -> io::Result<u64> {
    let (Some(folder), Some(name)) = (options.path.parent(), options.path.file_name()) else {
        return Ok(0);
    };
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let found = entry?.path();
        let number = found.file_name().and_then(|found| {
            let number = found.as_bytes().strip_prefix(name.as_bytes())?;
            let number = str::from_utf8(number.strip_prefix(b".")?).ok()?;
            number.parse::<usize>().ok()
        });
        // The name in full: `.007` is none of ours.
        if !number.is_some_and(|at| at > options.keep_files && found == aside(&options.path, at)) {
            continue;
        }
        match fs::remove_file(&found) {
            Ok(()) => removed += 1,
            // Not worth that no line is written.
            Err(error) => tracing::warn!(
                file = %found.display(),
                %error,
                "a file beyond audit_file.keep_files cannot be removed"
            ),
        }
    }
    Ok(removed)
}

/// The end of a file.
struct End {
    /// Where it begins.
    from: u64,
    bytes: Vec<u8>,
}

impl End {
    fn of(mut file: &File) -> io::Result<Self> {
        let from = file.metadata()?.len().saturating_sub(TAIL);
        file.seek(SeekFrom::Start(from))?;
        let mut bytes = Vec::new();
        file.take(TAIL).read_to_end(&mut bytes)?;
        Ok(Self { from, bytes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &[u8] = b"{\"journal\":{\"epoch\":\"e\",\"seq\":7}}\n";

    fn options(folder: &Path) -> Options {
        Options {
            path: folder.join("audit.jsonl"),
            rotate_bytes: 100,
            keep_files: 2,
        }
    }

    fn open_for(options: &Options, epoch: &str) -> (AuditFile, bool) {
        AuditFile::open(options, epoch, None, &to_disk(), Arc::default()).unwrap()
    }

    #[test]
    fn the_last_number_of_a_journal_is_found_without_opening_the_file_for_writing() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        let found = |epoch| last_seq_of(&options.path, epoch).unwrap();
        assert_eq!(found("e"), None);
        fs::write(aside(&options.path, 1), LINE).unwrap();
        assert_eq!(found("e"), Some(7));
        let newer = String::from_utf8(LINE.to_vec()).unwrap().replace('7', "9");
        fs::write(&options.path, newer + "{\"torn").unwrap();
        assert_eq!((found("e"), found("f")), (Some(9), None));
    }

    #[test]
    fn a_torn_end_is_cut_and_the_last_whole_line_counts() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        fs::write(&options.path, [LINE, b"{\"journal\":{\"ep"].concat()).unwrap();
        let (file, renewed) = open_for(&options, "e");
        assert_eq!((file.last_seq(), renewed), (7, false));
        assert_eq!(fs::read(&options.path).unwrap(), LINE);
        let taken = AuditFile::open(&options, "e", None, &to_disk(), Arc::default());
        assert_eq!(
            taken.err().map(|error| error.kind()),
            Some(io::ErrorKind::WouldBlock)
        );
        drop(file);
        let (other, renewed) = open_for(&options, "another journal");
        assert_eq!((other.last_seq(), renewed), (0, true));
    }

    #[test]
    fn what_a_higher_bound_has_left_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        let others = [
            "audit.jsonl.007",
            "audit.jsonl.9.gz",
            "audit.jsonl.",
            "other.7",
        ];
        let kept = ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"];
        let surplus = ["audit.jsonl.3", "audit.jsonl.5", "audit.jsonl.12"];
        // Nor is one that cannot be removed in the way.
        fs::create_dir(folder.path().join("audit.jsonl.4")).unwrap();
        for name in others.iter().chain(&kept).chain(&surplus) {
            fs::write(folder.path().join(name), LINE).unwrap();
        }
        let (file, _) = open_for(&options, "e");
        assert_eq!(file.written.removed.load(Ordering::Relaxed), 3);
        for name in others.iter().chain(&kept) {
            assert!(folder.path().join(name).exists(), "{name}");
        }
        for name in surplus {
            assert!(!folder.path().join(name).exists(), "{name}");
        }
    }

    /// An earlier life may have failed to sync them, and been killed: to the kernel they are clean.
    #[test]
    fn lines_of_an_earlier_life_are_written_once_more_before_they_are_believed() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        fs::write(&options.path, LINE).unwrap();
        let long_ago = std::time::SystemTime::UNIX_EPOCH;
        let modified = || fs::metadata(&options.path).unwrap().modified().unwrap();
        let earlier = File::options().write(true).open(&options.path).unwrap();
        earlier.set_modified(long_ago).unwrap();
        let fails: SyncFile = Arc::new(|_| Err(io::Error::other("EIO")));
        let refused = AuditFile::open(&options, "e", None, &fails, Arc::default());
        assert!(refused.is_err());
        earlier.set_modified(long_ago).unwrap();
        assert_eq!(open_for(&options, "e").0.last_seq(), 7);
        assert!(modified() > long_ago);
        assert_eq!(fs::read(&options.path).unwrap(), LINE);
    }

    #[test]
    fn long_files_are_put_aside_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let options = options(folder.path());
        let (mut file, _) = open_for(&options, "e");
        for seq in 1..=12 {
            let line = format!("{{\"journal\":{{\"epoch\":\"e\",\"seq\":{seq}}}}}\n");
            file.append(line.as_bytes(), seq).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let rotations = file.written.rotations.load(Ordering::Relaxed);
        let removed = file.written.removed.load(Ordering::Relaxed);
        assert_eq!(removed, rotations - 2);
        assert_eq!(names, ["audit.jsonl", "audit.jsonl.1", "audit.jsonl.2"]);
        // A start after a rotation that wrote nothing yet looks at the newest file put aside.
        fs::write(&options.path, "").unwrap();
        let last_aside = fs::read_to_string(aside(&options.path, 1)).unwrap();
        drop(file);
        let known = open_for(&options, "e").0.last_seq();
        assert!(
            last_aside.contains(&format!("\"seq\":{known}}}")),
            "{known}: {last_aside}"
        );
    }

    #[test]
    fn a_rotation_fills_what_one_that_was_cut_off_has_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let options = Options {
            keep_files: 3,
            ..options(folder.path())
        };
        let (mut file, _) = open_for(&options, "e");
        file.append(&[b'x'; 100], 4).unwrap();
        for (at, text) in [(2, "two"), (3, "three")] {
            fs::write(aside(&options.path, at), text).unwrap();
        }
        let texts = || [1, 2, 3].map(|at| fs::read_to_string(aside(&options.path, at)).unwrap());
        file.append(b"y", 5).unwrap();
        assert_eq!(texts(), ["x".repeat(100).as_str(), "two", "three"]);
        assert_eq!(file.written.removed.load(Ordering::Relaxed), 0);
        file.append(&[b'z'; 100], 6).unwrap();
        assert_eq!(texts(), ["y", "x".repeat(100).as_str(), "two"]);
        assert_eq!(file.written.removed.load(Ordering::Relaxed), 1);
    }
}
