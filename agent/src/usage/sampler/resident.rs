//! Memory where no controller counts it: resident memory of the container's processes.
//!
//! Shared pages count once for each process that maps them, so this is an upper bound of what
//! `memory.current` would say of mapped memory, and it knows nothing of unmapped page cache.

use std::fmt::Write as _;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use super::ReadError;
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
            // A cgroup within that vanished meanwhile has no processes.
            let Some(folder) = Folder::open(&self.folder, &found.path)? else {
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
    parsed: u64,
}

impl Processes {
    pub(super) const fn new(proc: Option<Folder>) -> Self {
        Self {
            proc,
            pids: Vec::new(),
            path: String::new(),
            parsed: 0,
        }
    }

    /// Files that were read and understood.
    pub(super) const fn parsed(&self) -> u64 {
        self.parsed
    }

    /// `None`: there is no procfs, or not all processes can be seen.
    pub(super) fn resident(
        &mut self,
        files: &mut ProcessFiles,
        now_ns: u64,
        every_ns: u64,
        buffer: &mut Buffer,
    ) -> Result<Option<Resident>, ReadError> {
        files.look(now_ns, every_ns)?;
        let Some(proc) = &self.proc else {
            return Ok(None);
        };
        self.pids.clear();
        let mut all = !files.too_many;
        for (at, file) in files.files.iter().enumerate() {
            match buffer.read_all(file, "cgroup.procs") {
                Ok(bytes) => {
                    all &= parse::cgroup_procs(bytes, &mut self.pids)?;
                    self.parsed += 1;
                }
                Err(FsError::Gone) if at > 0 => {}
                Err(err) => return Err(err.into()),
            }
        }
        if !all || self.pids.len() > MAX_PROCESSES {
            return Ok(None);
        }
        let mut sum = Resident::default();
        for pid in &self.pids {
            self.path.clear();
            if write!(self.path, "{pid}/status").is_err() {
                continue;
            }
            // A process that ended meanwhile has no memory.
            let Some(file) = proc.file(&self.path)? else {
                continue;
            };
            let bytes = match buffer.read(&file, "status") {
                Ok(bytes) => bytes.unwrap_or_default(),
                Err(FsError::Gone) => continue,
                Err(err) => return Err(err.into()),
            };
            let found = parse::status_resident(bytes)?;
            self.parsed += 1;
            sum.anon_bytes = sum.anon_bytes.saturating_add(found.anon_bytes);
            sum.file_bytes = sum.file_bytes.saturating_add(found.file_bytes);
            sum.shmem_bytes = sum.shmem_bytes.saturating_add(found.shmem_bytes);
        }
        Ok(Some(sum))
    }
}
