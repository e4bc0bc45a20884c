//! A file system of the collector's own, small enough to be filled.

use std::fs::File;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use rustix::thread::UnshareFlags;

/// Its size, bytes of memory: far more than a run writes while nothing goes wrong.
const BYTES: u64 = 512 << 20;

/// Gives this process mounts of its own, which end with it; to be called while it has one thread. Whether it could.
#[expect(
    deprecated,
    reason = "its replacement is unsafe for the sake of a flag that is not used here"
)]
pub(crate) fn separate() -> bool {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    let is_root = uid.is_root();
    let users = if is_root {
        UnshareFlags::empty()
    } else {
        UnshareFlags::NEWUSER
    };
    if rustix::thread::unshare(UnshareFlags::NEWNS | users).is_err() {
        return false;
    }
    if !is_root {
        let write = |path: &str, text: String| std::fs::write(path, text).is_ok();
        let is_mapped = write("/proc/self/setgroups", "deny".to_owned())
            && write("/proc/self/uid_map", format!("0 {} 1", uid.as_raw()))
            && write("/proc/self/gid_map", format!("0 {} 1", gid.as_raw()));
        if !is_mapped {
            return false;
        }
    }
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", private).is_ok()
}

/// See the module; unmounted when dropped.
pub(crate) struct Volume {
    path: PathBuf,
    is_mounted: bool,
}

impl Volume {
    /// A folder, and with `is_mounted` a file system.
    pub(crate) fn new(path: PathBuf, is_mounted: bool) -> Self {
        std::fs::create_dir_all(&path).unwrap();
        if is_mounted {
            let size = std::ffi::CString::new(format!("size={BYTES}")).unwrap();
            let flags = MountFlags::NOSUID | MountFlags::NODEV;
            rustix::mount::mount("tmpfs", &path, "tmpfs", flags, size.as_c_str()).unwrap();
        }
        Self { path, is_mounted }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves no room on it, but for what other files have already.
    pub(crate) fn fill(&self) {
        if !self.is_mounted {
            return;
        }
        let file = File::create(self.ballast()).unwrap();
        let mut size = 0;
        let mut step = BYTES;
        // By halves: a step that does not fit takes nothing.
        while step >= 4096 {
            match rustix::fs::fallocate(&file, FallocateFlags::empty(), size, step) {
                Ok(()) => size += step,
                Err(_) => step /= 2,
            }
        }
    }

    pub(crate) fn empty(&self) {
        // It is not there unless it was filled.
        drop(std::fs::remove_file(self.ballast()));
    }

    fn ballast(&self) -> PathBuf {
        self.path.join("ballast")
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        if self.is_mounted {
            // It ends with this process at the latest.
            let _gone = rustix::mount::unmount(&self.path, UnmountFlags::DETACH);
        }
    }
}
