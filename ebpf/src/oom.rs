//! Tracepoint `oom/mark_victim`.
//!
//! Prototype (include/trace/events/oom.h): `TP_PROTO(int pid)` up to 6.8; since 6.9 and in some
//! stable backports `TP_PROTO(struct task_struct *task, uid_t uid)`, with the victim's name and
//! memory in KiB. `pid` is `task->pid`, a thread id. Which fields exist is read from the event's
//! `format` file. "current" is the task whose allocation failed, which need not be the victim.

use aya_ebpf::{
    EbpfContext as _, Global,
    helpers::{
        bpf_get_current_pid_tgid, bpf_probe_read_kernel,
        generated::{
            bpf_get_current_ancestor_cgroup_id, bpf_get_current_cgroup_id,
            bpf_probe_read_kernel_str,
        },
    },
    macros::tracepoint,
    programs::TracePointContext,
};
use plimsoll_abi::{ANCESTORS, KIND_OOM, OOM_UNKNOWN, Oom};

use crate::{
    maps::SECURITY,
    record,
    settings::{
        ABSENT, OOM_ANON_RSS, OOM_COMM, OOM_FILE_RSS, OOM_PID, OOM_SHMEM_RSS, OOM_TOTAL_VM,
    },
};

/// The OOM killer chose a victim.
#[tracepoint(category = "oom", name = "mark_victim")]
pub fn mark_victim(ctx: TracePointContext) -> u32 {
    record::count_emitted(KIND_OOM);
    // SAFETY: a read of kernel memory that cannot fault.
    let Ok(victim_tid) = (unsafe { ctx.read_at::<u32>(OOM_PID.load() as usize) }) else {
        record::count_lost(KIND_OOM);
        return 0;
    };
    // SAFETY: a helper without arguments.
    let cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    let mut ancestors = [0; ANCESTORS];
    for (index, slot) in ancestors.iter_mut().enumerate() {
        // SAFETY: a level beyond the cgroup's own gives 0.
        *slot = unsafe { bpf_get_current_ancestor_cgroup_id(index as i32 + 1) };
    }
    let oom = Oom {
        header: record::header(KIND_OOM, size_of::<Oom>(), cgroup_id),
        ancestors,
        victim_tid,
        trigger_tgid: (bpf_get_current_pid_tgid() >> 32) as u32,
        total_vm_kib: number(&ctx, &OOM_TOTAL_VM),
        anon_rss_kib: number(&ctx, &OOM_ANON_RSS),
        file_rss_kib: number(&ctx, &OOM_FILE_RSS),
        shmem_rss_kib: number(&ctx, &OOM_SHMEM_RSS),
        comm: comm(&ctx),
    };
    // SAFETY: `oom` is on the stack and as long as its type, which has no padding.
    unsafe {
        record::output(
            &SECURITY,
            KIND_OOM,
            (&raw const oom).cast(),
            size_of::<Oom>(),
            0,
        )
    }
    0
}

/// A `long` of the event, or [`OOM_UNKNOWN`].
#[inline(always)]
fn number(ctx: &TracePointContext, offset: &Global<u32>) -> u64 {
    let offset = offset.load();
    if offset == ABSENT {
        return OOM_UNKNOWN;
    }
    // SAFETY: a read of kernel memory that cannot fault.
    unsafe { ctx.read_at::<u64>(offset as usize) }.unwrap_or(OOM_UNKNOWN)
}

/// The victim's name, or zeros.
#[inline(always)]
fn comm(ctx: &TracePointContext) -> [u8; 16] {
    let mut comm = [0; 16];
    let offset = OOM_COMM.load();
    if offset == ABSENT {
        return comm;
    }
    let base: *const u8 = ctx.as_ptr().cast_const().cast();
    // SAFETY: reads of kernel memory that cannot fault. What an error leaves behind is zeros.
    unsafe {
        if let Ok(location) = bpf_probe_read_kernel::<u32>(base.add(offset as usize).cast()) {
            bpf_probe_read_kernel_str(
                comm.as_mut_ptr().cast(),
                comm.len() as u32,
                base.add((location & 0xffff) as usize).cast(),
            );
        }
    }
    comm
}
