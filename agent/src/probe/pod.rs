#![expect(
    unsafe_code,
    reason = "what aya needs: a marker on the values it copies, and its memory given back"
)]
//! The one place where the agent vouches for memory: for layouts towards aya, and for a call into
//! the C library.
//!
//! What it vouches for is proved elsewhere: the abi crate derives zerocopy's traits, which check at
//! compile time that every bit pattern is a value and that no byte is padding.

use zerocopy::{FromBytes, IntoBytes};

/// A map value that aya may copy byte by byte. A wrapper, because neither the marker nor the types
/// are ours.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Value<T>(pub(super) T);

// SAFETY: aya fills the type from plain bytes and reads it as plain bytes. `Value` is transparent,
// `FromBytes` says that any bytes are a `T`, `IntoBytes` that `T` has no padding.
unsafe impl<T: FromBytes + IntoBytes + Copy + 'static> aya::Pod for Value<T> {}

/// Gives freed memory back to the kernel. aya's loader parses all of the kernel's types when it is
/// made, whether they are needed or not; glibc would keep those 20 MB for good.
#[cfg(target_env = "gnu")]
pub(super) fn give_back_freed_memory() {
    // SAFETY: malloc_trim(3): takes a number, may be called at any time, from any thread.
    unsafe extern "C" {
        safe fn malloc_trim(pad: usize) -> core::ffi::c_int;
    }
    // Whether there was something to give back makes no difference.
    malloc_trim(0);
}

/// Other C libraries give it back by themselves.
#[cfg(not(target_env = "gnu"))]
pub(super) fn give_back_freed_memory() {}
