//! Names of records: which stream a record belongs to and its place in it.

use serde::{Deserialize, Serialize};

/// Streams that are spooled, shed and counted apart. Order is value: the lowest is shed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// Closed usage windows: shed before anything else, a neighbour window says nearly the same.
    Usage,
    /// Audit events: metadata requests, OOM kills, loss records, heartbeats.
    Security,
}

impl Class {
    /// Every class, lowest value first.
    pub const ALL: [Self; 2] = [Self::Usage, Self::Security];

    /// The name on the wire, in metrics and in folder names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Usage => "usage",
            Self::Security => "security",
        }
    }

    /// The class of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|class| class.as_str() == name)
    }
}

/// Names one record for ever. Two records with the same id are the same record, sent twice.
///
/// `epoch` is drawn when a spool is created, so a wiped spool starts a new stream instead of
/// repeating old numbers; within `(node, epoch, class)` the sequence has no holes but those that
/// a loss record explains.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RecordId {
    /// Node name (`spec.nodeName`).
    pub node: String,
    /// Random 128 bits in hex, one for each life of the spool.
    pub epoch: String,
    /// The stream.
    pub class: Class,
    /// 1, 2, 3, … within the stream.
    pub seq: u64,
}

/// What [`is_node_name`] asks for, for people, behind "must".
pub const MUST_BE_A_NODE_NAME: &str = "be a node's name: 253 letters, digits, `-`, `.` and `_` at the most, the first \
     and the last a letter or digit";

/// Whether a node can be called so. Kubernetes permits names of RFC 1123 (lower case, no `_`); hosts
/// outside a cluster have others.
pub fn is_node_name(name: &str) -> bool {
    let ends = [name.bytes().next(), name.bytes().last()];
    name.len() <= 253
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
        && ends
            .into_iter()
            .all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()))
}

impl std::fmt::Display for RecordId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}/{}/{}/{}",
            self.node,
            self.epoch,
            self.class.as_str(),
            self.seq
        )
    }
}
