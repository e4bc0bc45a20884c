//! Who asked the metadata endpoints for what, and whom the OOM killer took: from kernel records to
//! audit events.
//!
//! ```text
//!  Connect ── cookie → task ──┐
//!  Segment ── cookie → owner ─┼─► imds::Decoder ─► ImdsEvent + owner ─► AuditEvent::Imds
//!  Oom ───────────────────────┴───────────────────────────────────────► AuditEvent::OomKill
//! ```
//!
//! [`Auditor`] is pure: time comes with the records, and what the node knows besides (cgroups,
//! processes, the wall clock) it asks a [`Lookup`]; [`NodeLookup`] is the one with a `/proc` behind
//! it. Identity is the *socket's* cgroup. It is resolved when a segment comes in, because the
//! cgroup may be gone when the answer times out, and asked again at the event only while it is
//! unknown, because the record of a new cgroup travels in another ring.
//!
//! It deliberately does not know rings, spools, or names in the cluster.

mod auditor;
mod bounded;
mod process;
#[cfg(test)]
mod tests;
mod text;

pub use auditor::{Auditor, Counts, Limits};
pub use process::{NodeLookup, Proc, TextCounts};

use plimsoll_wire::Identity;
use plimsoll_wire::event::Process;

/// A task as a kernel record names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task<'a> {
    /// Process id, initial namespace.
    pub tgid: u32,
    /// Thread id, initial namespace.
    pub tid: u32,
    /// Real user id, initial namespace.
    pub uid: u32,
    /// Task name, NUL padded.
    pub comm: &'a [u8],
    /// When it did what the record says, CLOCK_MONOTONIC nanoseconds.
    pub at_ns: u64,
}

/// What is still known of an OOM victim; `None` where it is gone already, or cannot be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Victim {
    /// Its process id, initial namespace.
    pub tgid: Option<u32>,
    /// Its cgroup.
    pub identity: Option<Identity>,
}

/// What the auditor asks the node.
pub trait Lookup {
    /// Who had this cgroup id at that time (CLOCK_MONOTONIC nanoseconds).
    fn identity(&self, cgroup_id: u64, ancestors: &[u64], at_ns: u64) -> Identity;

    /// What `/proc` still says of a task.
    fn process(&self, task: Task<'_>) -> Process;

    /// What is still known of an OOM victim by the id of its marked thread. `comm` is that thread's
    /// name, NUL padded or all zero.
    fn victim(&self, tid: u32, comm: &[u8]) -> Victim;

    /// Unix nanoseconds of a CLOCK_MONOTONIC time.
    fn wall(&self, at_ns: u64) -> u64;
}
