//! The kernel programs by name: where each is attached and what became of it.
//!
//! Does not know how to attach; see `load`.

use std::fmt;

use crate::host::plan::SkipReason;

/// One kernel program. The name is that of the function in `ebpf/src`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProgramName {
    /// IPv4 sockets connecting to a metadata endpoint.
    Connect4,
    /// IPv6 sockets, v4-mapped addresses included.
    Connect6,
    /// Packets that leave a socket.
    PacketEgress,
    /// Packets that reach a socket.
    PacketIngress,
    /// A cgroup appears.
    CgroupMkdir,
    /// A cgroup vanishes.
    CgroupRmdir,
    /// The OOM killer chose a victim.
    MarkVictim,
    /// CPU time per cgroup, at each switch.
    SchedSwitch,
    /// CPU time of what is running, when the agent asks.
    Settle,
}

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// `cgroup/connect4|6` on the root of the v2 hierarchy.
    CgroupConnect,
    /// `cgroup_skb/egress` there.
    CgroupEgress,
    /// `cgroup_skb/ingress` there.
    CgroupIngress,
    /// A tracepoint: category and name.
    Tracepoint(&'static str, &'static str),
    /// A raw tracepoint.
    RawTracepoint(&'static str),
    /// Not attached: run on each CPU before the CPU maps are read.
    OnDemand,
}

impl ProgramName {
    /// All of them, in the order in which they are attached: what names containers first, and answers
    /// before requests. A request that is seen has its answer seen then; the other way round, what was
    /// asked while the programs were attached would stand as never answered.
    pub const ALL: [Self; 9] = [
        Self::CgroupMkdir,
        Self::CgroupRmdir,
        Self::Connect4,
        Self::Connect6,
        Self::PacketIngress,
        Self::PacketEgress,
        Self::MarkVictim,
        Self::SchedSwitch,
        Self::Settle,
    ];

    /// The function's name in the object.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect4 => "connect4",
            Self::Connect6 => "connect6",
            Self::PacketEgress => "packet_egress",
            Self::PacketIngress => "packet_ingress",
            Self::CgroupMkdir => "cgroup_mkdir",
            Self::CgroupRmdir => "cgroup_rmdir",
            Self::MarkVictim => "mark_victim",
            Self::SchedSwitch => "sched_switch",
            Self::Settle => "settle",
        }
    }

    /// Where it is attached.
    pub const fn hook(self) -> Hook {
        match self {
            Self::Connect4 | Self::Connect6 => Hook::CgroupConnect,
            Self::PacketEgress => Hook::CgroupEgress,
            Self::PacketIngress => Hook::CgroupIngress,
            Self::CgroupMkdir => Hook::Tracepoint("cgroup", "cgroup_mkdir"),
            Self::CgroupRmdir => Hook::Tracepoint("cgroup", "cgroup_rmdir"),
            Self::MarkVictim => Hook::Tracepoint("oom", "mark_victim"),
            Self::SchedSwitch => Hook::RawTracepoint("sched_switch"),
            Self::Settle => Hook::OnDemand,
        }
    }
}

impl fmt::Display for ProgramName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What became of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProgramReport {
    /// Which.
    pub name: ProgramName,
    /// What became of it.
    pub outcome: Outcome,
}

/// What became of one program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It runs, or is ready to.
    Attached,
    /// The plan left it out.
    Skipped(SkipReason),
    /// The kernel refused it; the chain of causes, in one line.
    Failed(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Attached => f.write_str("attached"),
            Self::Skipped(reason) => write!(f, "skipped: {reason}"),
            Self::Failed(reason) => write!(f, "failed: {reason}"),
        }
    }
}
