//! What the loader knows and the programs do not: where this kernel keeps a field.
//!
//! Each is a constant once the program is loaded (the map behind it is frozen), so that the
//! verifier removes the branches that this kernel does not need.

use aya_ebpf::Global;

/// The field does not exist in this kernel.
pub const ABSENT: u32 = u32::MAX;

/// `task_struct.pid`, from BTF.
#[unsafe(no_mangle)]
pub static TASK_PID: Global<u32> = Global::new(ABSENT);

/// `cgroup_mkdir` and `cgroup_rmdir` have the same layout (one event class): id of the hierarchy.
#[unsafe(no_mangle)]
pub static CGROUP_ROOT: Global<u32> = Global::new(ABSENT);
/// Depth.
#[unsafe(no_mangle)]
pub static CGROUP_LEVEL: Global<u32> = Global::new(ABSENT);
/// The cgroup's id, 8 bytes.
#[unsafe(no_mangle)]
pub static CGROUP_ID: Global<u32> = Global::new(ABSENT);
/// The path, as `__data_loc`.
#[unsafe(no_mangle)]
pub static CGROUP_PATH: Global<u32> = Global::new(ABSENT);
/// The id of the hierarchy that counts: the v2 one.
#[unsafe(no_mangle)]
pub static CGROUP_ROOT_ID: Global<u32> = Global::new(0);

/// `mark_victim`: the victim's process id.
#[unsafe(no_mangle)]
pub static OOM_PID: Global<u32> = Global::new(ABSENT);
/// Task name, as `__data_loc`; since 6.9 (and stable backports).
#[unsafe(no_mangle)]
pub static OOM_COMM: Global<u32> = Global::new(ABSENT);
/// KiB, a `long`.
#[unsafe(no_mangle)]
pub static OOM_TOTAL_VM: Global<u32> = Global::new(ABSENT);
/// KiB, a `long`.
#[unsafe(no_mangle)]
pub static OOM_ANON_RSS: Global<u32> = Global::new(ABSENT);
/// KiB, a `long`.
#[unsafe(no_mangle)]
pub static OOM_FILE_RSS: Global<u32> = Global::new(ABSENT);
/// KiB, a `long`.
#[unsafe(no_mangle)]
pub static OOM_SHMEM_RSS: Global<u32> = Global::new(ABSENT);
