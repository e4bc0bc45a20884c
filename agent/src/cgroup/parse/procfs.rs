//! The two files that stand in for the memory controller.

use super::ParseError;
use super::lines::{DONE, NEXT, each_line, number, words};

/// Resident memory of one process, bytes. A kernel thread and a zombie have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resident {
    /// `RssAnon`.
    pub anon_bytes: u64,
    /// `RssFile`.
    pub file_bytes: u64,
    /// `RssShmem`.
    pub shmem_bytes: u64,
}

/// `/proc/<pid>/status` (proc(5); the split exists since 4.5).
pub fn status_resident(bytes: &[u8]) -> Result<Resident, ParseError> {
    let mut resident = Resident::default();
    each_line("status", bytes, |line| {
        let (into, value, field) = if let Some(value) = line.strip_prefix(b"RssAnon:\t") {
            (&mut resident.anon_bytes, value, "RssAnon")
        } else if let Some(value) = line.strip_prefix(b"RssFile:\t") {
            (&mut resident.file_bytes, value, "RssFile")
        } else if let Some(value) = line.strip_prefix(b"RssShmem:\t") {
            (&mut resident.shmem_bytes, value, "RssShmem")
        } else {
            return NEXT;
        };
        let kib = number(words(value).next().unwrap_or_default(), field)?;
        *into = kib.checked_mul(1024).ok_or(field)?;
        if field == "RssShmem" { DONE } else { NEXT }
    })?;
    Ok(resident)
}

/// `cgroup.procs`: appends the process ids. False if a process belongs to a PID namespace that the
/// reader cannot see into, which the kernel shows as 0.
pub fn cgroup_procs(bytes: &[u8], into: &mut Vec<u32>) -> Result<bool, ParseError> {
    let mut all = true;
    each_line("cgroup.procs", bytes, |line| {
        match u32::try_from(number(line, "pid")?).map_err(|_| "pid")? {
            0 => all = false,
            pid => into.push(pid),
        }
        NEXT
    })?;
    Ok(all)
}
