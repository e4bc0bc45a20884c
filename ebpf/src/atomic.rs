//! The two atomic instructions that the programs need, as BPF assembly.
//!
//! `core::sync::atomic` has no compare-exchange for the BPF targets (their specification says
//! `atomic_cas: false`), and the intrinsics change between compilers. Both instructions exist
//! since kernel 5.12 on x86_64 and 5.18 on arm64; all kernels we support are newer.

use core::arch::asm;

/// Adds `value` to the word at `at`, wrapping, without looking at the result.
///
/// # Safety
///
/// `at` must be valid and aligned for 8 bytes; in BPF the verifier checks exactly this.
#[inline(always)]
pub unsafe fn add(at: *mut u64, value: u64) {
    // SAFETY: the caller promises a valid, aligned word; the instruction touches nothing else.
    unsafe { asm!("lock *(u64 *)({at} + 0) += {value}", at = in(reg) at, value = in(reg) value) }
}

/// Replaces `expected` at `at` by `new`; true if it was there.
///
/// # Safety
///
/// As for [`add`].
#[inline(always)]
pub unsafe fn replace(at: *mut u64, expected: u64, new: u64) -> bool {
    let found: u64;
    // SAFETY: as in `add`; BPF's compare-exchange takes and returns the old word in r0.
    unsafe {
        asm!(
            "r0 = cmpxchg_64({at} + 0, r0, {new})",
            at = in(reg) at,
            new = in(reg) new,
            inout("r0") expected => found,
        );
    }
    found == expected
}
