#![expect(
    unsafe_code,
    reason = "aya asks for an unsafe marker on the types that it copies out of maps"
)]
//! The one place where the agent vouches for memory layouts towards aya.
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
