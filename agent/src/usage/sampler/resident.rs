//! Memory where no controller counts it: resident memory of the container's processes.
//!
//! Shared pages count once for each process that maps them, so this is an upper bound of what
//! `memory.current` would say of mapped memory, and it knows nothing of unmapped page cache.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::{Counters, ReadError};
use crate::cgroup::fs::{self, Buffer, Folder, FsError};
use crate::cgroup::parse::{self, Resident};

/// Cgroups within one container whose processes are looked at; with more, its memory is unknown.
const MAX_NESTED: usize = 64;
/// Processes of one container that are looked at; with more, its memory is unknown.
const MAX_PROCESSES: usize = 4096;

/// The `cgroup.procs` files of a container and of the cgroups within it.
#[derive(Debug)]
pub(super) struct ProcessFiles {
    folder: PathBuf,
    files: Vec<OwnedFd>,
    looked_ns: Option<u64>,
    too_many: bool,
}

impl ProcessFiles {
    /// For a container whose folder in the naming tree this is.
    pub(super) const fn new(folder: PathBuf) -> Self {
        Self {
            folder,
            files: Vec::new(),
            looked_ns: None,
            too_many: false,
        }
    }

    /// Looks for cgroups within the container again, when that is due.
    fn look(&mut self, now_ns: u64, every_ns: u64) -> Result<(), FsError> {
        if self
            .looked_ns
            .is_some_and(|last| now_ns.saturating_sub(last) < every_ns)
        {
            return Ok(());
        }
        self.looked_ns = Some(now_ns);
        self.files.clear();
        if Folder::open(&self.folder, "")?.is_none() {
            return Err(FsError::Gone);
        }
        let scan = fs::scan(&self.folder)?;
        self.too_many = scan.left_out > 0 || scan.found.len() > MAX_NESTED;
        for found in scan.found.iter().take(MAX_NESTED) {
            // A cgroup within that vanished meanwhile has no processes; one whose name is no UTF-8 has
            // some that nobody sees.
            let Some(folder) = Folder::open(&self.folder, &found.path)? else {
                self.too_many |= found.path.contains(char::REPLACEMENT_CHARACTER);
                continue;
            };
            self.files.extend(folder.file("cgroup.procs")?);
        }
        Ok(())
    }
}

/// Adds up processes; holds what is used again for each container.
#[derive(Debug)]
pub(super) struct Processes {
    proc: Option<Folder>,
    pids: Vec<u32>,
    path: String,
}

impl Processes {
    pub(super) const fn new(proc: Option<Folder>) -> Self {
        Self {
            proc,
            pids: Vec::new(),
            path: String::new(),
        }
    }

    /// `None`: there is no procfs, or not all processes can be seen.
    pub(super) fn resident(
        &mut self,
        files: &mut ProcessFiles,
        now_ns: u64,
        every_ns: u64,
        buffer: &mut Buffer,
        counters: &mut Counters,
    ) -> Result<Option<Resident>, ReadError> {
        if let Err(error) = files.look(now_ns, every_ns) {
            let error = error.into();
            // A folder that cannot be listed is a file that cannot be read.
            counters.files.read += 1;
            counters.files.failed(&error);
            return Err(error);
        }
        if self.proc.is_none() {
            return Ok(None);
        }
        let all = self.list(files, buffer, counters)?;
        if !all || self.pids.len() > MAX_PROCESSES {
            counters.not_added_up += 1;
            return Ok(None);
        }
        self.add_up(buffer, counters).map(Some)
    }

    /// Takes down the ids of all processes; false if there may be more.
    fn list(
        &mut self,
        files: &ProcessFiles,
        buffer: &mut Buffer,
        counters: &mut Counters,
    ) -> Result<bool, ReadError> {
        self.pids.clear();
        let mut all = !files.too_many;
        for (at, file) in files.files.iter().enumerate() {
            counters.files.read += 1;
            let listed = buffer
                .read_all(file, "cgroup.procs")
                .map_err(ReadError::from)
                .and_then(|bytes| Ok(parse::cgroup_procs(bytes, &mut self.pids)?));
            match listed {
                Ok(whole) => {
                    counters.files.parsed += 1;
                    all &= whole;
                }
                Err(error) => {
                    counters.files.failed(&error);
                    // A cgroup within that is gone has no processes.
                    if at == 0 || !matches!(error, ReadError::Fs(FsError::Gone)) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(all)
    }

    /// The memory of all processes that were listed.
    fn add_up(
        &mut self,
        buffer: &mut Buffer,
        counters: &mut Counters,
    ) -> Result<Resident, ReadError> {
        let Self { proc, pids, path } = self;
        let mut sum = Resident::default();
        for pid in pids {
            path.clear();
            if write!(path, "{pid}/status").is_err() {
                continue;
            }
            counters.files.read += 1;
            match status(proc.as_ref(), path, buffer) {
                Ok(found) => {
                    counters.files.parsed += 1;
                    sum.anon_bytes = sum.anon_bytes.saturating_add(found.anon_bytes);
                    sum.file_bytes = sum.file_bytes.saturating_add(found.file_bytes);
                    sum.shmem_bytes = sum.shmem_bytes.saturating_add(found.shmem_bytes);
                }
                Err(error) => {
                    counters.files.failed(&error);
                    // A process that ended meanwhile has no memory.
                    if !matches!(error, ReadError::Fs(FsError::Gone)) {
                        return Err(error);
                    }
                }
            }
        }
        Ok(sum)
    }
}

/// One process's memory.
fn status(proc: Option<&Folder>, path: &str, buffer: &mut Buffer) -> Result<Resident, ReadError> {
    let file = proc.map(|proc| proc.file(path)).transpose()?.flatten();
    let Some(file) = file else {
        return Err(FsError::Gone.into());
    };
    let bytes = buffer.read(&file, "status")?.unwrap_or_default();
    Ok(parse::status_resident(bytes)?)
}
