//! Raw tracepoint `sched_switch`: who used the CPU, per cgroup and 100 ms period.
//!
//! Prototype (include/trace/events/sched.h): `TP_PROTO(bool preempt, struct task_struct *prev,
//! struct task_struct *next, unsigned int prev_state)`; `prev_state` is the last argument (absent
//! before 5.18, and second in 5.18.0 only). Runs with the run queue locked and interrupts off,
//! before the switch: "current" is still `prev`, so the current cgroup id is that of the task
//! whose time is booked. Raw, not BTF: no trampoline is needed, and `next->pid` is read at an
//! offset that the loader found in BTF.
//!
//! # Several CPUs, one slot
//!
//! A cgroup's entry is shared by all CPUs; everything is added atomically. The slot of a period is
//! the one of 32 periods (3.2 s) before. Whoever finds the old tag replaces it by compare-exchange
//! and then *subtracts* what the old period had, so that what others add meanwhile stays. This is
//! exact as long as nobody adds to a period 32 periods late: a stretch is booked into at most the
//! last 31 periods, and the switch runs with interrupts off, so a CPU would have to stand still
//! for 100 ms between two instructions. A virtual CPU can: then that stretch (at most 100 ms of
//! one CPU) is booked to a wrong period of the same cgroup, and `total_ns` is still right.
//! A reader in the nanoseconds between exchange and subtraction sees too much in a period that has
//! just begun; it reads only periods that are over.

use aya_ebpf::{
    helpers::{
        bpf_probe_read_kernel,
        generated::{bpf_get_current_cgroup_id, bpf_ktime_get_ns},
    },
    macros::raw_tracepoint,
    programs::RawTracePointContext,
};
use plimsoll_abi::{CpuUse, PERIOD_NS, PERIOD_SLOTS};

use crate::{
    atomic,
    maps::{CPU_USE, CPU_ZERO, ON_CPU},
    settings::TASK_PID,
};

/// Periods before the current one that a stretch is booked into; see the note on slots.
const PAST_PERIODS: u64 = PERIOD_SLOTS as u64 - 2;
/// `BPF_NOEXIST`: another CPU that inserted first wins.
const NOEXIST: u64 = 1;

/// A CPU goes from one task to another.
#[raw_tracepoint(tracepoint = "sched_switch")]
pub fn sched_switch(ctx: RawTracePointContext) -> i32 {
    let next: *const u8 = ctx.arg(2);
    // SAFETY: a read of kernel memory that cannot fault; offset and type are checked against BTF.
    let Ok(next_tid) =
        (unsafe { bpf_probe_read_kernel::<u32>(next.add(TASK_PID.load() as usize).cast()) })
    else {
        return 0;
    };
    let Some(on_cpu) = ON_CPU.get_ptr_mut(0) else {
        return 0;
    };
    // SAFETY: this CPU's own element, interrupts off; the program does not nest. Written before the
    // time is booked: a reader that finds `since_ns` unchanged knows that nothing was booked yet.
    let (since, tid, now) = unsafe {
        let now = bpf_ktime_get_ns();
        let since = (*on_cpu).since_ns;
        let tid = (*on_cpu).tid;
        (&raw mut (*on_cpu).tid).write_volatile(next_tid);
        (&raw mut (*on_cpu).since_ns).write_volatile(now);
        (since, tid, now)
    };
    // Nothing is known before the first switch; the idle task's time is nobody's.
    if since == 0 || tid == 0 || now <= since {
        return 0;
    }
    // SAFETY: a helper without arguments.
    let cgroup_id = unsafe { bpf_get_current_cgroup_id() };
    match entry(cgroup_id) {
        Some(entry) => book(entry, since, now),
        // SAFETY: as above.
        None => unsafe {
            (*on_cpu).unbooked += 1;
            (*on_cpu).unbooked_ns += now - since;
        },
    }
    0
}

/// The cgroup's entry, made if it is new and there is room.
#[inline(always)]
fn entry(cgroup_id: u64) -> Option<*mut CpuUse> {
    if let Some(entry) = CPU_USE.get_ptr_mut(cgroup_id) {
        return Some(entry);
    }
    // SAFETY: `CPU_ZERO` is never written. A race to insert is decided by the lookup after it.
    let zero = unsafe { &*CPU_ZERO.get_ptr(0)? };
    let _ = CPU_USE.insert(cgroup_id, zero, NOEXIST);
    CPU_USE.get_ptr_mut(cgroup_id)
}

/// Adds the stretch from `since` to `now` to the total and to each period that it touches.
#[inline(always)]
fn book(entry: *mut CpuUse, since: u64, now: u64) {
    // SAFETY: a map value, valid while the program runs.
    unsafe {
        atomic::add(&raw mut (*entry).total_ns, now - since);
        atomic::add(&raw mut (*entry).switches, 1);
    }
    let last = now / PERIOD_NS;
    // Nearly always: one period, one division.
    if since >= last * PERIOD_NS {
        return add(entry, last, now - since);
    }
    let mut period = since / PERIOD_NS;
    let mut start = since;
    if last - period > PAST_PERIODS {
        period = last - PAST_PERIODS;
        start = period * PERIOD_NS;
    }
    for _ in 0..=PAST_PERIODS {
        if period >= last {
            break;
        }
        let end = (period + 1) * PERIOD_NS;
        add(entry, period, end - start);
        start = end;
        period += 1;
    }
    add(entry, last, now - start);
}

/// Adds to the slot of `period`, taking the slot over if it is still another's.
#[inline(always)]
fn add(entry: *mut CpuUse, period: u64, used_ns: u64) {
    let index = (period % PERIOD_SLOTS as u64) as usize;
    // SAFETY: `index` is below the length of both arrays.
    unsafe {
        let tag = (&raw mut (*entry).period).cast::<u64>().add(index);
        let used = (&raw mut (*entry).used_ns).cast::<u64>().add(index);
        let old = tag.read_volatile();
        if old > period {
            return;
        }
        if old < period {
            let stale = used.read_volatile();
            if atomic::replace(tag, old, period) {
                return atomic::add(used, used_ns.wrapping_sub(stale));
            }
        }
        atomic::add(used, used_ns);
    }
}
