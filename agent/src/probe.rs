//! The kernel programs, seen from the agent.
//!
//! ```text
//!  AttachPlan ──► load::Probe ──► rings ──► decode::Record
//!                     │
//!                     └──► maps ──► periods::Ledger ──► CPU time per cgroup and 100 ms
//! ```
//!
//! Owns: which programs there are, loading and attaching them, taking bytes out of rings and maps,
//! and what those bytes say. Does not know: containers, HTTP, windows, how often it is asked.

pub mod decode;
pub mod load;
pub mod periods;
mod pod;
pub mod program;

pub use load::{LoadError, Options, Probe, built_without};
pub use program::{Outcome, ProgramName, ProgramReport, missing};
