//! The two files that stand in for the memory controller.

use super::ParseError;
use super::lines::{lines, number, words};

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
    for (line, text) in lines(bytes) {
        let (into, value, field) = if let Some(value) = text.strip_prefix(b"RssAnon:\t") {
            (&mut resident.anon_bytes, value, "RssAnon")
        } else if let Some(value) = text.strip_prefix(b"RssFile:\t") {
            (&mut resident.file_bytes, value, "RssFile")
        } else if let Some(value) = text.strip_prefix(b"RssShmem:\t") {
            (&mut resident.shmem_bytes, value, "RssShmem")
        } else {
            continue;
        };
        let kib = words(value).next().and_then(number);
        *into = kib
            .and_then(|kib| kib.checked_mul(1024))
            .ok_or(ParseError {
                file: "status",
                line,
                field,
            })?;
        if field == "RssShmem" {
            break;
        }
    }
    Ok(resident)
}

/// `cgroup.procs`: appends the process ids. False if a process belongs to a PID namespace that the
/// reader cannot see into, which the kernel shows as 0.
pub fn cgroup_procs(bytes: &[u8], into: &mut Vec<u32>) -> Result<bool, ParseError> {
    let mut all = true;
    for (line, text) in lines(bytes) {
        let pid = number(text).and_then(|pid| u32::try_from(pid).ok());
        match pid.ok_or(ParseError {
            file: "cgroup.procs",
            line,
            field: "pid",
        })? {
            0 => all = false,
            pid => into.push(pid),
        }
    }
    Ok(all)
}
