//! Every map. Sizes here are defaults; the loader sets those of the rings and of `CPU_USE`.
//!
//! Names are at most 15 bytes long: that is what the kernel keeps of them.

use aya_ebpf::{
    macros::map,
    maps::{HashMap, PerCpuArray, RingBuf},
};
use plimsoll_abi::{Counters, CpuUse, KINDS, OnCpu};

use crate::record::Scratch;

/// Evidence: connects, packets, OOM kills.
#[map]
pub static SECURITY: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

/// Containers coming and going. A ring of its own, so that a storm of them evicts no evidence.
#[map]
pub static PROCESS: RingBuf = RingBuf::with_byte_size(512 << 10, 0);

/// Emitted and lost, by kind.
#[map]
pub static COUNTERS: PerCpuArray<Counters> = PerCpuArray::with_max_entries(KINDS as u32, 0);

/// CPU time by cgroup id. Preallocated: allocating inside the scheduler is nobody's idea of fun.
#[map]
pub static CPU_USE: HashMap<u64, CpuUse> = HashMap::with_max_entries(4096, 0);

/// An empty entry to insert from: 528 bytes do not fit on the 512 byte stack. Never written.
#[map]
pub static CPU_ZERO: PerCpuArray<CpuUse> = PerCpuArray::with_max_entries(1, 0);

/// What runs where.
#[map]
pub static ON_CPU: PerCpuArray<OnCpu> = PerCpuArray::with_max_entries(1, 0);

/// How many programs can build a variable-length record on one CPU at the same time.
pub const SCRATCHES: u32 = 4;

/// Room to build a record of variable length; see [`crate::record::claim`].
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(SCRATCHES, 0);
