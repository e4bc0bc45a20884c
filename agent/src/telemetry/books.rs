//! What there is to show at one moment.

use plimsoll_imds::Stats;
use plimsoll_wire::Class;
use plimsoll_wire::event::StageFates;

use crate::audit;
use crate::export::standing::Reason;
use crate::identity::Forgotten;
use crate::usage::kernel_time;

/// The books of the agent at one moment; what is unknown is `None` and keeps its last value.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Fates by stage and class.
    pub stages: Vec<StageFates>,
    /// Each class of the spool.
    pub spool: Vec<SpoolRow>,
    /// Tries to send that failed, by class and reason.
    pub exports: Vec<(Class, Reason, u64)>,
    /// Kernel programs, their rings and their map of CPU time.
    pub kernel: KernelRow,
    /// Containers, samples and the identity index.
    pub usage: UsageRow,
    /// Evidence and what the decoder made of it.
    pub audit: AuditRow,
    /// Agent's CPU time, nanoseconds.
    pub cpu_ns: Option<u64>,
    /// Agent's resident memory, bytes.
    pub rss_bytes: Option<u64>,
}

/// One class of the spool.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct SpoolRow {
    /// Its name.
    pub class: &'static str,
    /// Bytes on disk and in memory.
    pub bytes: u64,
    /// Records that were not acknowledged.
    pub records: u64,
    /// Age of the oldest of these, seconds.
    pub oldest_s: f64,
    /// Reads that the disk refused, since the start.
    pub read_errors: u64,
}

/// What the kernel programs have.
#[derive(Clone, Debug, Default)]
pub struct KernelRow {
    /// Each kernel program and whether it is attached.
    pub programs: Vec<(String, bool)>,
    /// Name of a ring and the most bytes that were ever waiting in it.
    pub ring_high_water: Vec<(&'static str, u64)>,
    /// The map of CPU time by cgroup.
    pub cpu_time: kernel_time::Counts,
}

/// What is followed and sampled.
#[derive(Clone, Copy, Debug, Default)]
pub struct UsageRow {
    /// Containers sampled.
    pub containers: u64,
    /// Containers not sampled because `usage.max_containers` was reached.
    pub over_limit: u64,
    /// Containers not sampled because their files could not be opened at the last walk.
    pub unopened: u64,
    /// Samples taken.
    pub samples: u64,
    /// Samples that could not be compared with the one before (restart, clock, new inode).
    pub resets: u64,
    /// 100 ms periods of containers that ended before their first sample.
    pub unshown_periods: u64,
    /// Lines of kernel files that could not be parsed.
    pub parse_errors: u64,
    /// Times that a container's memory could not be added up: too many processes or cgroups.
    pub not_added_up: u64,
    /// Descriptors that the sampler keeps open.
    pub descriptors: u64,
    /// Time that the last round of samples took, seconds.
    pub sample_seconds: f64,
    /// Cgroups that the identity index knows: living, and gone within the grace time.
    pub known: [u64; 2],
    /// What the index forgot, or never took in.
    pub forgotten: Forgotten,
    /// Folders that the last walk of the tree left out because of its bounds, and that it could not
    /// list.
    pub unwalked: [u64; 2],
    /// Folders of the tree that bear a container's SELinux label, of those that are looked at.
    pub relabelled: u64,
}

/// What the auditor and its decoder have.
#[derive(Clone, Copy, Debug, Default)]
pub struct AuditRow {
    /// Of the auditor.
    pub counts: audit::Counts,
    /// Of the decoder.
    pub decoder: Stats,
    /// Rows of the tables now: tasks, owners, connections of the decoder.
    pub rows: [u64; 3],
}
