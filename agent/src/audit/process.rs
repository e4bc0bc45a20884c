#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads procfs, cgroup inodes"
)]
//! Process facts at event time, from procfs.
//!
//! A process may be gone before it is read: what is missing says why. Knows no event.

use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use plimsoll_wire::event::Process;

use super::Processes;

/// Bytes of command line that are read, before it is redacted and cut.
const CMDLINE_READ_BYTES: u64 = 4096;
/// Bytes of `/proc/<pid>/cgroup` that are read.
const CGROUP_READ_BYTES: u64 = 16 * 1024;
/// Bytes of executable path kept.
const EXE_BYTES: usize = 256;

/// Reads below a procfs root and a cgroup v2 root.
#[derive(Clone, Debug)]
pub struct Procfs {
    /// `/proc`, or the host's.
    pub proc_root: PathBuf,
    /// Where the cgroup v2 tree is mounted.
    pub cgroup_root: PathBuf,
}

impl Procfs {
    fn read(&self, pid: u32, name: &str, limit: u64) -> std::io::Result<Vec<u8>> {
        let file = std::fs::File::open(self.proc_root.join(pid.to_string()).join(name))?;
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

impl Processes for Procfs {
    fn describe(&self, pid: u32) -> Process {
        let exe = std::fs::read_link(self.proc_root.join(pid.to_string()).join("exe"));
        let cmdline = self.read(pid, "cmdline", CMDLINE_READ_BYTES);
        let missing = match (&exe, &cmdline) {
            (Ok(_), Ok(line)) if !line.is_empty() => None,
            // Without a command line there is no user memory: a kernel thread has no executable.
            (Err(_), Ok(line)) if line.is_empty() => Some("kernel_thread"),
            (Err(error), _) | (_, Err(error)) if error.kind() == ErrorKind::PermissionDenied => {
                Some("denied")
            }
            _ => Some("exited"),
        };
        let words = |bytes: Vec<u8>| {
            let words: Vec<_> = bytes
                .split(|byte| *byte == 0)
                .map(String::from_utf8_lossy)
                .collect();
            words.join(" ").trim_end().to_owned()
        };
        Process {
            pid,
            uid: None,
            comm: None,
            exe: exe
                .ok()
                .map(|path| path.to_string_lossy().chars().take(EXE_BYTES).collect()),
            cmdline: cmdline.ok().filter(|bytes| !bytes.is_empty()).map(words),
            missing: missing.map(str::to_owned),
        }
    }

    /// The id of a v2 cgroup is the inode of its directory.
    fn cgroup_id(&self, pid: u32) -> Option<u64> {
        let bytes = self.read(pid, "cgroup", CGROUP_READ_BYTES).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let path = text.lines().find_map(|line| line.strip_prefix("0::/"))?;
        if path.split('/').any(|part| part == "..") {
            return None;
        }
        std::fs::metadata(self.cgroup_root.join(path))
            .ok()
            .map(|directory| directory.ino())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Procfs) {
        let folder = tempfile::tempdir().unwrap();
        let (proc_root, cgroup_root) = (folder.path().join("proc"), folder.path().join("cgroup"));
        std::fs::create_dir_all(proc_root.join("42")).unwrap();
        std::fs::create_dir_all(cgroup_root.join("a/b")).unwrap();
        std::fs::write(proc_root.join("42/cmdline"), "curl\0-s\0http://x\0").unwrap();
        std::fs::write(proc_root.join("42/cgroup"), "1:name=x:/z\n0::/a/b\n").unwrap();
        std::os::unix::fs::symlink("/usr/bin/curl", proc_root.join("42/exe")).unwrap();
        (
            folder,
            Procfs {
                proc_root,
                cgroup_root,
            },
        )
    }

    #[test]
    fn facts_and_what_is_missing() {
        let (_folder, procfs) = tree();
        let process = procfs.describe(42);
        assert_eq!(process.exe.as_deref(), Some("/usr/bin/curl"));
        assert_eq!(process.cmdline.as_deref(), Some("curl -s http://x"));
        assert_eq!(process.missing, None);
        assert_eq!(procfs.describe(43).missing.as_deref(), Some("exited"));
        let inode = std::fs::metadata(procfs.cgroup_root.join("a/b"))
            .unwrap()
            .ino();
        assert_eq!(procfs.cgroup_id(42), Some(inode));
        assert_eq!(procfs.cgroup_id(43), None);
    }
}
