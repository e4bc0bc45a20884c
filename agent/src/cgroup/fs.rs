#![expect(
    clippy::disallowed_methods,
    reason = "shell: opens, reads and lists the cgroup trees"
)]
//! Descriptors into the cgroup trees, reads into a buffer that is used again, and a walk.
//!
//! A file that stays open costs a third of one that is opened for each read (docs/performance.md),
//! and 4.5 KiB of kernel memory once it was read; so the files of every second stay open, within
//! [`descriptor_budget`], and the seldom ones are opened below a folder that stays open.
//!
//! It knows names of files and folders, and not what they mean.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirEntryExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

/// Why a cgroup could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FsError {
    /// The cgroup was removed: the ordinary end of a container.
    #[error("the cgroup or process is gone")]
    Gone,
    /// Anything else.
    #[error("cannot {action} {name}")]
    Io {
        /// `open`, `read`, `list`.
        action: &'static str,
        /// File or folder.
        name: String,
        /// The kernel's answer.
        #[source]
        source: io::Error,
    },
}

impl FsError {
    fn new(action: &'static str, name: &str, err: Errno) -> Self {
        // ENODEV: the open file of a removed cgroup (kernfs). ESRCH: of a process that ended.
        if matches!(err, Errno::NODEV | Errno::SRCH) {
            Self::Gone
        } else {
            Self::Io {
                action,
                name: name.to_owned(),
                source: err.into(),
            }
        }
    }
}

/// Where the hierarchies are mounted; absent is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roots {
    /// Version 2.
    pub unified: Option<PathBuf>,
    /// Version 1, memory.
    pub memory: Option<PathBuf>,
    /// Version 1, cpu (throttling).
    pub cpu: Option<PathBuf>,
    /// Version 1, cpuacct (use).
    pub cpuacct: Option<PathBuf>,
    /// Version 1, blkio.
    pub blkio: Option<PathBuf>,
    /// Version 1, pids.
    pub pids: Option<PathBuf>,
}

impl Roots {
    /// Looks below the usual mount point, `/sys/fs/cgroup` or the host's as the pod sees it: version
    /// 2 there itself, or version 1 folders with version 2 at most in `unified`.
    pub fn find(base: &Path) -> Self {
        let with = |folder: PathBuf, file: &str| folder.join(file).exists().then_some(folder);
        if let Some(unified) = with(base.to_owned(), "cgroup.controllers") {
            return Self {
                unified: Some(unified),
                ..Self::default()
            };
        }
        Self {
            unified: with(base.join("unified"), "cgroup.controllers"),
            memory: with(base.join("memory"), "memory.usage_in_bytes"),
            cpu: with(base.join("cpu"), "cgroup.procs"),
            cpuacct: with(base.join("cpuacct"), "cpuacct.usage"),
            blkio: with(base.join("blkio"), "cgroup.procs"),
            pids: with(base.join("pids"), "cgroup.procs"),
        }
    }

    /// The tree that names the containers, and whose inodes are the ids.
    pub fn naming(&self) -> Option<&Path> {
        self.unified
            .as_deref()
            .or(self.memory.as_deref())
            .or(self.cpuacct.as_deref())
    }

    /// The inode of a cgroup's folder in the tree that names it; `None` if there is no such folder.
    pub fn inode(&self, path: &str) -> Option<u64> {
        let full = self.naming()?.join(path.trim_start_matches('/'));
        fs::symlink_metadata(full).ok().map(|found| found.ino())
    }
}

/// The folder of one cgroup in one hierarchy.
#[derive(Debug)]
pub struct Folder(OwnedFd);

impl Folder {
    /// Opens `path` (as in an identity, with a leading slash) below a root. `None` if there is none.
    pub fn open(root: &Path, path: &str) -> Result<Option<Self>, FsError> {
        let full = root.join(path.trim_start_matches('/'));
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        match rustix::fs::open(&full, flags, Mode::empty()) {
            Ok(fd) => Ok(Some(Self(fd))),
            Err(Errno::NOENT) => Ok(None),
            Err(err) => Err(FsError::new("open", &full.to_string_lossy(), err)),
        }
    }

    /// Opens a file in it. `None` if the kernel or the hierarchy has no such file, or no longer.
    pub fn file(&self, name: &str) -> Result<Option<OwnedFd>, FsError> {
        match rustix::fs::openat(
            &self.0,
            name,
            OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
            Mode::empty(),
        ) {
            Ok(fd) => Ok(Some(fd)),
            Err(Errno::NOENT) => Ok(None),
            Err(err) => Err(FsError::new("open", name, err)),
        }
    }
}

/// A buffer for whole files, used again for each.
#[derive(Debug)]
pub struct Buffer(Vec<u8>);

/// The longest file that is read; `io.stat` of a host with 500 disks is shorter.
const MAX_FILE_BYTES: usize = 256 * 1024;

impl Default for Buffer {
    fn default() -> Self {
        // Longer than any file of the usual set, so that growing is an exception.
        Self(vec![0; 8192])
    }
}

impl Buffer {
    /// Reads a file that the kernel prints in one piece, from its beginning. `None` if the kernel
    /// says that it has nothing to show (pressure that was switched off). Longer than the bound is
    /// cut there.
    pub fn read(&mut self, file: &OwnedFd, name: &str) -> Result<Option<&[u8]>, FsError> {
        loop {
            match rustix::io::pread(file, self.0.as_mut_slice(), 0) {
                Ok(len) if len == self.0.len() && len < MAX_FILE_BYTES => self.0.resize(len * 2, 0),
                Ok(len) => return Ok(self.0.get(..len)),
                Err(Errno::INTR) => {}
                Err(Errno::OPNOTSUPP) => return Ok(None),
                Err(err) => return Err(FsError::new("read", name, err)),
            }
        }
    }

    /// Reads a file that comes in pieces (`cgroup.procs`).
    pub fn read_all(&mut self, file: &OwnedFd, name: &str) -> Result<&[u8], FsError> {
        let mut len = 0;
        loop {
            if len == self.0.len() {
                if len >= MAX_FILE_BYTES {
                    break;
                }
                self.0.resize(len * 2, 0);
            }
            let Some(rest) = self.0.get_mut(len..) else {
                break;
            };
            match rustix::io::pread(file, rest, len as u64) {
                Ok(0) => break,
                Ok(more) => len += more,
                Err(Errno::INTR) => {}
                Err(err) => return Err(FsError::new("read", name, err)),
            }
        }
        Ok(self.0.get(..len).unwrap_or_default())
    }
}

/// A cgroup that a walk found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Inode of the folder, which is the cgroup's id.
    pub id: u64,
    /// Path below the root, with a leading slash. What is no UTF-8 in it is replaced, as it is in the
    /// records of the kernel programs.
    pub path: String,
    /// Folders below the root; the root itself is 0.
    pub depth: usize,
}

/// What a walk found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// Parents before their children.
    pub found: Vec<Found>,
    /// Folders that were left out because of [`MAX_FOUND`] or [`MAX_DEPTH`].
    pub left_out: u64,
    /// Folders that are there and could not be listed, or only in part.
    pub unlisted: u64,
}

impl Scan {
    /// Who was not found is gone; after a walk that is not whole nobody can tell.
    pub const fn is_whole(&self) -> bool {
        self.left_out == 0 && self.unlisted == 0
    }
}

/// Cgroups that one walk returns at the most.
pub const MAX_FOUND: usize = 32_768;
/// Containers lie at depth 4 to 6; a container's own cgroups below that.
pub const MAX_DEPTH: usize = 24;

/// Walks the tree. Folders that vanish meanwhile are passed over: their removal is an event.
pub fn scan(root: &Path) -> Result<Scan, FsError> {
    let failed = |source| FsError::Io {
        action: "list",
        name: root.display().to_string(),
        source,
    };
    let mut scan = Scan::default();
    let id = fs::metadata(root).map_err(failed)?.ino();
    scan.found.push(Found {
        id,
        path: "/".to_owned(),
        depth: 0,
    });
    // Where those lie whose names are no UTF-8, which only somebody who hides would choose.
    let mut odd: HashMap<u64, PathBuf> = HashMap::new();
    let mut next = 0;
    while let Some(parent) = scan.found.get(next).cloned() {
        next += 1;
        let of_odd = odd.get(&parent.id).cloned();
        let folder = of_odd.unwrap_or_else(|| root.join(parent.path.trim_start_matches('/')));
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                scan.unlisted += u64::from(!is_gone(&error));
                continue;
            }
        };
        for entry in entries {
            let kind = entry.and_then(|entry| Ok((entry.file_type()?, entry)));
            let entry = match kind {
                Ok((kind, entry)) if kind.is_dir() => entry,
                Ok(_) => continue,
                Err(error) if is_gone(&error) => continue,
                Err(_) => {
                    // The rest of this folder may be missing; an error may also come for ever.
                    scan.unlisted += 1;
                    break;
                }
            };
            let name = entry.file_name();
            if parent.depth >= MAX_DEPTH || scan.found.len() >= MAX_FOUND {
                scan.left_out += 1;
                continue;
            }
            let id = entry.ino();
            if name.to_str().is_none() || odd.contains_key(&parent.id) {
                odd.insert(id, folder.join(&name));
            }
            let name = name.to_string_lossy();
            let path = format!("{}/{name}", parent.path.trim_end_matches('/'));
            scan.found.push(Found {
                id,
                path,
                depth: parent.depth + 1,
            });
        }
    }
    Ok(scan)
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}

/// Descriptors left for everything that is not a sample: sockets, maps, rings, spool.
const RESERVED_DESCRIPTORS: u64 = 512;

/// Raises the soft limit of open files to the hard one, and says how many the sampler may use: about
/// 9 for each container on cgroup v2. Beyond that, files are opened for each read.
pub fn descriptor_budget() -> usize {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(1 << 20).min(1 << 20);
    let raised = Rlimit {
        current: Some(wanted),
        maximum: limit.maximum,
    };
    let current = match rustix::process::setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(_) => limit.current.unwrap_or(wanted),
    };
    usize::try_from(current.saturating_sub(RESERVED_DESCRIPTORS)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_parents_first_and_names_by_inode() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("kubepods.slice/kubepods-poda1.slice")).unwrap();
        fs::create_dir_all(root.path().join("system.slice")).unwrap();
        fs::write(root.path().join("cgroup.procs"), "").unwrap();
        let scan = scan(root.path()).unwrap();
        let mut paths: Vec<_> = scan
            .found
            .iter()
            .map(|found| (found.depth, found.path.as_str()))
            .collect();
        assert!(paths.is_sorted_by_key(|(depth, _)| *depth));
        paths.sort_unstable();
        assert_eq!(
            paths,
            [
                (0, "/"),
                (1, "/kubepods.slice"),
                (1, "/system.slice"),
                (2, "/kubepods.slice/kubepods-poda1.slice")
            ]
        );
        for found in &scan.found {
            let path = root.path().join(found.path.trim_start_matches('/'));
            assert_eq!(
                fs::metadata(path).unwrap().ino(),
                found.id,
                "{}",
                found.path
            );
        }
    }

    #[test]
    fn a_name_that_is_no_text_hides_nobody() {
        use std::os::unix::ffi::OsStrExt;
        let root = tempfile::tempdir().unwrap();
        let odd = root.path().join(std::ffi::OsStr::from_bytes(b"a\xffb"));
        fs::create_dir_all(odd.join("deep/er")).unwrap();
        let scan = scan(root.path()).unwrap();
        let paths: Vec<_> = scan.found.iter().map(|found| found.path.as_str()).collect();
        let as_told = String::from_utf8_lossy(b"/a\xffb").into_owned();
        let deep = [format!("{as_told}/deep"), format!("{as_told}/deep/er")];
        assert_eq!(paths, ["/", &as_told, &deep[0], &deep[1]]);
        assert!(scan.is_whole());
    }

    #[test]
    fn reads_files_longer_than_the_buffer() {
        let root = tempfile::tempdir().unwrap();
        let long = "8:0 rbytes=1\n".repeat(2000);
        fs::write(root.path().join("io.stat"), &long).unwrap();
        let folder = Folder::open(root.path(), "/").unwrap().unwrap();
        let file = folder.file("io.stat").unwrap().unwrap();
        let mut buffer = Buffer::default();
        assert_eq!(
            buffer.read(&file, "io.stat").unwrap(),
            Some(long.as_bytes())
        );
        assert_eq!(buffer.read_all(&file, "io.stat").unwrap(), long.as_bytes());
        assert!(folder.file("cpu.stat").unwrap().is_none());
        assert!(Folder::open(root.path(), "/nowhere").unwrap().is_none());
    }

    #[test]
    fn roots_of_both_kinds() {
        let base = tempfile::tempdir().unwrap();
        assert_eq!(Roots::find(base.path()), Roots::default());
        fs::create_dir_all(base.path().join("memory")).unwrap();
        fs::write(base.path().join("memory/memory.usage_in_bytes"), "0\n").unwrap();
        let hybrid = Roots::find(base.path());
        assert_eq!(
            (hybrid.naming(), hybrid.unified.as_deref()),
            (Some(base.path().join("memory").as_path()), None)
        );
        fs::write(base.path().join("cgroup.controllers"), "cpu memory\n").unwrap();
        assert_eq!(Roots::find(base.path()).naming(), Some(base.path()));
    }
}
