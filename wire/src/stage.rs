//! The stages that a record passes from the kernel to a destination: their names, in the order of the way.
//!
//! ```text
//!  node:       rings, files ─► audit ─► spool ─┐
//!  collector:                                  └─► ingest ─► journal ─► destinations
//! ```

/// The kernel's ring of connections, segments and OOM kills.
pub const SECURITY_RING: &str = "security_ring";
/// The kernel's ring of cgroups that come and go.
pub const PROCESS_RING: &str = "process_ring";
/// Texts of the kernel: cgroup files, and `/proc` of processes behind evidence.
pub const FILES: &str = "files";
/// Evidence becomes events.
pub const AUDIT: &str = "audit";
/// The agent's spool, to the collector's word that it has the record.
pub const SPOOL: &str = "spool";
/// The collector's door, to its journal.
pub const INGEST: &str = "ingest";
/// The collector's journal, to a destination.
pub const JOURNAL: &str = "journal";
/// The collector's trail of audit events, to a destination.
pub const TRAIL: &str = "trail";

/// All of them, along the way.
pub const WAY: [&str; 8] = [
    SECURITY_RING,
    PROCESS_RING,
    FILES,
    AUDIT,
    SPOOL,
    INGEST,
    JOURNAL,
    TRAIL,
];

/// Where on the way a stage is. One that this version does not know (the agent may be newer) comes
/// behind all others.
pub fn place(stage: &str) -> usize {
    let place = WAY.iter().position(|known| *known == stage);
    place.unwrap_or(WAY.len())
}
