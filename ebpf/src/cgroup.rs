//! Tracepoints `cgroup/cgroup_mkdir` and `cgroup/cgroup_rmdir`.
//!
//! Prototype (include/trace/events/cgroup.h): `TP_PROTO(struct cgroup *cgrp, const char *path)`,
//! event class `cgroup`: `int root; int level; u64 id; __string path` since 5.10; before that `id`
//! was an `int` and no inode. Offsets come from the event's `format` file. mkdir fires when the
//! directory is complete and before any task can be in it.
//!
//! Only the v2 hierarchy: its root id is 0 (`cgrp_dfl_root.hierarchy_id`), those of v1 are not.

use aya_ebpf::{
    EbpfContext as _,
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_probe_read_kernel, generated::bpf_probe_read_kernel_str},
    macros::tracepoint,
    programs::TracePointContext,
};
use plimsoll_abi::{CGROUP_PATH_BYTES, Cgroup, KIND_CGROUP_MKDIR, KIND_CGROUP_RMDIR};

use crate::{
    maps::PROCESS,
    record,
    settings::{CGROUP_ID, CGROUP_LEVEL, CGROUP_PATH, CGROUP_ROOT, CGROUP_ROOT_ID},
};

/// A cgroup was made.
#[tracepoint(category = "cgroup", name = "cgroup_mkdir")]
pub fn cgroup_mkdir(ctx: TracePointContext) -> u32 {
    emit(&ctx, KIND_CGROUP_MKDIR);
    0
}

/// A cgroup was removed.
#[tracepoint(category = "cgroup", name = "cgroup_rmdir")]
pub fn cgroup_rmdir(ctx: TracePointContext) -> u32 {
    emit(&ctx, KIND_CGROUP_RMDIR);
    0
}

#[inline(always)]
fn emit(ctx: &TracePointContext, kind: u16) {
    // SAFETY: reads of kernel memory that cannot fault: a bad address gives an error.
    let root = unsafe { ctx.read_at::<u32>(CGROUP_ROOT.load() as usize) };
    if root != Ok(CGROUP_ROOT_ID.load()) {
        return;
    }
    record::count_emitted(kind);
    let Some(scratch) = record::claim() else {
        return record::count_lost(kind);
    };
    // SAFETY: the scratch is ours; its bytes are aligned to 8 and longer than the record and tail.
    let bytes: *mut u8 = unsafe { (&raw mut (*scratch).bytes).cast() };
    match read(ctx, kind, bytes) {
        // SAFETY: `len` bytes were written.
        Some(len) => unsafe {
            record::output(&PROCESS, kind, bytes, len, u64::from(BPF_RB_NO_WAKEUP))
        },
        None => record::count_lost(kind),
    }
    record::release(scratch);
}

/// Builds the record at `bytes`; its length.
#[inline(always)]
fn read(ctx: &TracePointContext, kind: u16, bytes: *mut u8) -> Option<usize> {
    let base: *const u8 = ctx.as_ptr().cast_const().cast();
    // SAFETY: as in `emit`.
    let (level, id, location) = unsafe {
        (
            ctx.read_at::<u32>(CGROUP_LEVEL.load() as usize).ok()?,
            ctx.read_at::<u64>(CGROUP_ID.load() as usize).ok()?,
            bpf_probe_read_kernel::<u32>(base.add(CGROUP_PATH.load() as usize).cast()).ok()?,
        )
    };
    // `__data_loc`: length in the upper half, offset from the record's start in the lower.
    let offset = (location & 0xffff) as usize;
    // SAFETY: the tail has room for the path and its NUL.
    let copied = unsafe {
        bpf_probe_read_kernel_str(
            bytes.add(size_of::<Cgroup>()).cast(),
            CGROUP_PATH_BYTES as u32 + 1,
            base.add(offset).cast(),
        )
    };
    // With the NUL; an empty string is 1.
    if copied < 1 || copied > CGROUP_PATH_BYTES as i64 + 1 {
        return None;
    }
    let path_len = copied as usize - 1;
    let len = size_of::<Cgroup>() + path_len;
    let cgroup = Cgroup {
        header: record::header(kind, len, id),
        level,
        path_len: path_len as u32,
    };
    // SAFETY: the scratch is aligned to 8 and longer than a `Cgroup`.
    unsafe { bytes.cast::<Cgroup>().write(cgroup) };
    Some(len)
}
