//! How a record gets into a ring, counted.
//!
//! A record of fixed length is built on the stack. A record with a tail is built in scratch memory
//! and output with its exact length, because a reservation must have a constant length.
//!
//! Packet programs run with preemption and interrupts enabled: on one CPU a second program (a
//! softirq, another task) can start in the midst of the first, and they do not end in the order
//! of a stack. So a scratch is claimed by compare-exchange, and there are several per CPU. If all
//! are taken the record counts as lost, like one that the ring has no room for.

use aya_ebpf::{
    helpers::generated::{bpf_get_smp_processor_id, bpf_ktime_get_ns, bpf_ringbuf_output},
    maps::RingBuf,
};
use plimsoll_abi::{
    ABI_VERSION, CGROUP_PATH_BYTES, Cgroup, Header, SEGMENT_CAPTURE_BYTES, Segment,
};

use crate::{
    atomic,
    maps::{COUNTERS, SCRATCH, SCRATCHES},
};

/// Longest tail: a captured payload, or a path with its NUL, rounded up to whole words.
const TAIL_BYTES: usize = if SEGMENT_CAPTURE_BYTES > CGROUP_PATH_BYTES {
    SEGMENT_CAPTURE_BYTES
} else {
    CGROUP_PATH_BYTES
} + 8;
/// The fixed part of the record with the longest one.
const FIXED_BYTES: usize = if size_of::<Segment>() > size_of::<Cgroup>() {
    size_of::<Segment>()
} else {
    size_of::<Cgroup>()
};

/// Memory for one record under construction.
#[repr(C, align(8))]
pub struct Scratch {
    /// 1 while a program uses it.
    busy: u64,
    /// The record.
    pub bytes: [u8; FIXED_BYTES + TAIL_BYTES],
}

/// Claims a scratch of this CPU. Give it back with [`release`].
#[inline(always)]
pub fn claim() -> Option<*mut Scratch> {
    for index in 0..SCRATCHES {
        let scratch = SCRATCH.get_ptr_mut(index)?;
        // SAFETY: a map value is valid as long as the program runs, and `busy` is aligned.
        if unsafe { atomic::replace(&raw mut (*scratch).busy, 0, 1) } {
            return Some(scratch);
        }
    }
    None
}

/// Gives a scratch back.
#[inline(always)]
pub fn release(scratch: *mut Scratch) {
    // SAFETY: `scratch` came from `claim`. Only its owner writes 0, so a plain store suffices:
    // whoever else looks is on the same CPU.
    unsafe { (&raw mut (*scratch).busy).write_volatile(0) }
}

/// The same value, of which the compiler knows nothing more: a bound that is checked after this is
/// checked in the program as it is loaded, where the verifier can see it.
#[inline(always)]
pub fn opaque(mut value: u64) -> u64 {
    // SAFETY: moves a register to itself. (No instruction at all would give two line infos at one
    // place, which the kernel refuses.)
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags))
    }
    value
}

/// A header with everything but the cgroup's meaning filled in.
#[inline(always)]
pub fn header(kind: u16, len: usize, cgroup_id: u64) -> Header {
    // SAFETY: helpers without arguments.
    let (cpu, ktime_ns) = unsafe { (bpf_get_smp_processor_id(), bpf_ktime_get_ns()) };
    Header {
        version: ABI_VERSION,
        kind,
        len: len as u32,
        cpu,
        pad: 0,
        ktime_ns,
        cgroup_id,
    }
}

/// Counts a record that a hook wants to emit. Before the ring is asked: whatever happens after,
/// `emitted = received + lost`.
#[inline(always)]
pub fn count_emitted(kind: u16) {
    if let Some(counters) = COUNTERS.get_ptr_mut(u32::from(kind)) {
        // SAFETY: a map value; atomic, because a softirq may interrupt between load and store.
        unsafe { atomic::add(&raw mut (*counters).emitted, 1) }
    }
}

/// Counts a record that found no room.
#[inline(always)]
pub fn count_lost(kind: u16) {
    if let Some(counters) = COUNTERS.get_ptr_mut(u32::from(kind)) {
        // SAFETY: as in `count_emitted`.
        unsafe { atomic::add(&raw mut (*counters).lost, 1) }
    }
}

/// Puts `len` bytes at `record` into `ring`, or counts them as lost.
///
/// # Safety
///
/// `record` must be readable for `len` bytes; the verifier checks it.
#[inline(always)]
pub unsafe fn output(ring: &'static RingBuf, kind: u16, record: *const u8, len: usize, flags: u64) {
    // SAFETY: the caller's promise; the first argument is the address of a map, as the loader's
    // relocation expects.
    let result = unsafe {
        bpf_ringbuf_output(
            core::ptr::from_ref(ring).cast_mut().cast(),
            record.cast_mut().cast(),
            len as u64,
            flags,
        )
    };
    if result < 0 {
        count_lost(kind);
    }
}
