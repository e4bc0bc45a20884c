//! Audit events: what happened, to whom, with what came back. No secret ever enters these types.

use serde::{Deserialize, Serialize};

use crate::fate::Fates;
use crate::{Class, Identity};

/// The process behind an event, as read at event time. What could not be read is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Process id in the initial namespace.
    pub pid: u32,
    /// Real user id in the initial namespace.
    pub uid: Option<u32>,
    /// Task name (at most 15 bytes).
    pub comm: Option<String>,
    /// Target of `/proc/<pid>/exe`.
    pub exe: Option<String>,
    /// Command line, redacted and cut.
    pub cmdline: Option<String>,
    /// Why `exe` or `cmdline` is absent: `exited`, `denied`, `kernel_thread`, `undecodable`.
    pub missing: Option<String>,
}

/// One request to a metadata or credential endpoint. The strings are the vocabulary of
/// `plimsoll imds decode` (`docs/events.md`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImdsAccess {
    /// Whose socket sent it.
    pub identity: Identity,
    /// Who opened the socket; `None` for a connection older than the agent.
    pub process: Option<Process>,
    /// The cgroup of the task that connected, where it is not the socket's.
    pub task_identity: Option<Identity>,
    /// The decoded request and its answer, as `plimsoll-imds` prints it: a map
    /// with `endpoint`, `method`, `path`, `imds_version`, `class`, `status`, `outcome`, `flags`, ….
    pub request: serde_json::Map<String, serde_json::Value>,
}

impl ImdsAccess {
    /// Whether this is the late answer to a request that has an event of its own, with the same
    /// `request_id`. Who counts requests passes it over.
    pub fn is_late_answer(&self) -> bool {
        let flags = self.request.get("flags").and_then(|flags| flags.as_array());
        self.request.contains_key("request_id")
            && flags.is_some_and(|flags| flags.iter().any(|flag| flag == "late_answer"))
    }
}

/// The kernel killed a process for want of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OomKill {
    /// Victim's cgroup; where the victim was gone already, the allocating task's.
    pub identity: Identity,
    /// The identity is the allocating task's, not known to be the victim's.
    pub identity_is_trigger: bool,
    /// Victim's process id; that of its marked thread where the process was gone already.
    pub victim_pid: u32,
    /// Victim's task name.
    pub victim_comm: Option<String>,
    /// Victim's anonymous resident memory, bytes.
    pub anon_rss_bytes: Option<u64>,
    /// Victim's file-backed resident memory, bytes.
    pub file_rss_bytes: Option<u64>,
    /// Victim's shared resident memory, bytes.
    pub shmem_rss_bytes: Option<u64>,
    /// Highest memory of the container so far, by the kernel's count when the kill was handled, bytes;
    /// `None` where no controller counts it or the cgroup was gone.
    pub memory_peak_bytes: Option<u64>,
    /// The container's memory limit then, bytes; `None` is unlimited or unknown.
    pub memory_limit_bytes: Option<u64>,
}

/// A container came or went; the totals make a container that lived 200 ms visible.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContainerEnd {
    /// Which.
    pub identity: Identity,
    /// When its cgroup was made, Unix nanoseconds; `None` if before the agent's start.
    pub started_unix_ns: Option<u64>,
    /// CPU time over its whole observed life, nanoseconds.
    pub cpu_used_ns: Option<u64>,
    /// Highest memory seen, bytes.
    pub memory_peak_bytes: Option<u64>,
}

/// Records of a class were lost, shed or expired at a stage: the gap is itself a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loss {
    /// One of [`stage`](crate::stage).
    pub stage: String,
    /// Which class of record.
    pub lost_class: Class,
    /// `lost`, `undecodable`, `shed`, `expired`.
    pub fate: String,
    /// How many since the last such record.
    pub count: u64,
    /// First sequence number concerned, where records already had one.
    pub first_seq: Option<u64>,
    /// Last sequence number concerned.
    pub last_seq: Option<u64>,
}

/// A node sent records about a pod that is on another one; they were refused, or got no names where that was
/// known later. A finding of the collector, never sent by an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Misplaced {
    /// The node whose token came with them.
    pub sender: String,
    /// The pod of the first of them.
    pub pod_uid: String,
    /// The node that it is on.
    pub pod_node: String,
    /// How many records, of this pod and others, since the last such finding about the sender.
    pub count: u64,
}

/// What the collector notices of an agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// Two heartbeats in a row have not come.
    Silent,
    /// It is heard again.
    Back,
    /// It was silent, and its node is there no more.
    Left,
    /// Its numbers go back: it sends new records under numbers that it used before, or under a life of its spool that
    /// another one had come after.
    Rewound,
}

impl AgentState {
    /// As it is written.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Back => "back",
            Self::Left => "left",
            Self::Rewound => "rewound",
        }
    }
}

/// An agent fell silent, is heard again, or sends numbers that it sent before. A finding of the collector, never sent
/// by an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AgentNotice {
    /// The agent's node.
    pub agent_node: String,
    /// What was noticed.
    pub state: AgentState,
    /// The life of its spool that was heard last; of `rewound` the one that came.
    pub epoch: String,
    /// The highest number of audit records that was heard.
    pub last_seq: u64,
    /// When it was heard last, by the collector's clock, Unix nanoseconds.
    pub heard_unix_ns: u64,
    /// For how long it was not heard, seconds: of `silent` until this was noticed, of `back` until it was heard.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silent_s: Option<u64>,
    /// Of `rewound`: the number that came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
}

/// Cumulative counts of one stage, sent with each heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StageFates {
    /// One of [`stage`](crate::stage) up to [`SPOOL`](crate::stage::SPOOL).
    pub stage: String,
    /// Class of record, or kernel record kind by name.
    pub class: String,
    /// The counts since the agent's start.
    pub fates: Fates,
}

/// The agent lives: its counts and its capabilities.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Agent's start, Unix nanoseconds: counts restart with it.
    pub agent_started_unix_ns: u64,
    /// Kernel boot id.
    pub boot_id: String,
    /// Agent's version.
    pub version: String,
    /// Kernel release.
    pub kernel: String,
    /// Counts of each stage.
    pub stages: Vec<StageFates>,
    /// Capabilities that are switched off, `name: reason`.
    pub degraded: Vec<String>,
    /// Containers sampled now.
    pub containers: u64,
    /// Agent's own CPU time, nanoseconds.
    pub agent_cpu_ns: Option<u64>,
    /// Agent's own resident memory, bytes.
    pub agent_rss_bytes: Option<u64>,
    /// The agent ends on purpose, and this is its last word.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ends: bool,
}

/// Everything that the security stream carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum AuditEvent {
    /// A metadata request.
    Imds(ImdsAccess),
    /// An OOM kill.
    OomKill(OomKill),
    /// A container ended.
    ContainerEnd(ContainerEnd),
    /// Something was lost.
    Loss(Loss),
    /// Records about somebody else's pod were refused.
    Misplaced(Misplaced),
    /// An agent is silent, or heard again, or goes back.
    Agent(AgentNotice),
    /// The agent lives.
    Heartbeat(Heartbeat),
}

impl AuditEvent {
    /// OTLP event name.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Imds(_) => "plimsoll.imds.request",
            Self::OomKill(_) => "plimsoll.oom_kill",
            Self::ContainerEnd(_) => "plimsoll.container.end",
            Self::Loss(_) => "plimsoll.loss",
            Self::Misplaced(_) => "plimsoll.misplaced",
            Self::Agent(_) => "plimsoll.agent",
            Self::Heartbeat(_) => "plimsoll.heartbeat",
        }
    }
}
