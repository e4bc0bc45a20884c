//! The kernel programs by name: where each is attached and what became of it.
//!
//! Does not know how to attach; see `load`.

use std::collections::BTreeMap;
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

/// What is seen by programs, and by nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Feature {
    /// Containers that live for less than the time between two walks of the tree.
    ShortLived,
    /// Requests to the metadata service.
    Metadata,
    /// Kills by the kernel's OOM killer, as events with their victim.
    OomKills,
    /// CPU time by periods of 100 ms, and of containers that ended.
    Periods,
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ShortLived => "containers of less than a second",
            Self::Metadata => "metadata requests",
            Self::OomKills => "OOM kills",
            Self::Periods => "CPU time by 100 ms",
        })
    }
}

/// What is not seen, or not as well, because of programs that do not run: a line for each feature and
/// reason, and a single one if all do not run for the same reason.
pub fn missing(reasons: &[(ProgramName, String)]) -> Vec<String> {
    let Some((_, first)) = reasons.first() else {
        return Vec::new();
    };
    let alike = reasons.iter().all(|(_, reason)| reason == first);
    if alike && reasons.len() == ProgramName::ALL.len() {
        return vec![format!("kernel programs: {first}")];
    }
    let mut lines: BTreeMap<(Feature, &str), Vec<&str>> = BTreeMap::new();
    for (program, reason) in reasons {
        let line = lines.entry((program.feature(), reason)).or_default();
        line.push(program.as_str());
    }
    let told = lines.into_iter().map(|((feature, reason), programs)| {
        format!("{feature}: {reason} ({})", programs.join(", "))
    });
    told.collect()
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

    /// What is seen by it.
    pub const fn feature(self) -> Feature {
        match self {
            Self::CgroupMkdir | Self::CgroupRmdir => Feature::ShortLived,
            Self::Connect4 | Self::Connect6 | Self::PacketEgress | Self::PacketIngress => {
                Feature::Metadata
            }
            Self::MarkVictim => Feature::OomKills,
            Self::SchedSwitch | Self::Settle => Feature::Periods,
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

impl Outcome {
    /// Why it does not run; `None` if it does.
    pub fn reason(&self) -> Option<String> {
        match self {
            Self::Attached => None,
            Self::Skipped(reason) => Some(reason.to_string()),
            Self::Failed(reason) => Some(reason.clone()),
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_told_by_what_it_is_good_for() {
        let of = |names: &[ProgramName], reason: &str| {
            let told = names.iter().map(|name| (*name, reason.to_owned()));
            told.collect::<Vec<_>>()
        };
        assert!(missing(&[]).is_empty());
        let all = of(&ProgramName::ALL, "CAP_BPF is missing");
        assert_eq!(missing(&all), ["kernel programs: CAP_BPF is missing"]);
        let mut some = of(&[ProgramName::Connect4, ProgramName::PacketEgress], "no");
        some.extend(of(&[ProgramName::MarkVictim], "never"));
        assert_eq!(
            missing(&some),
            [
                "metadata requests: no (connect4, packet_egress)",
                "OOM kills: never (mark_victim)"
            ]
        );
    }
}
