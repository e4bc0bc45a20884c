//! What is expected of a chain, and what was found.

use serde::Serialize;

use crate::trail::chain::Hash;

/// `schema` of a report.
pub const SCHEMA: &str = "plimsoll.audit.verify/v1";
/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An event is not what its hash says, or its hash not what the next one says.
    Edit,
    /// Numbers are missing.
    Gap,
    /// An event comes after one that is behind it.
    Reorder,
    /// An event comes again.
    Replay,
    /// Two events have one place.
    Fork,
    /// It is no link of a chain.
    Insertion,
    /// A checkpoint's signature is missing or not that of the key that should sign it.
    Signature,
    /// Numbers go back: of an agent, or of an epoch that goes on after the next one began.
    Rollback,
    /// There was no checkpoint for longer than there may be.
    Silence,
    /// Events after the last checkpoint: nothing vouches for them.
    UnsignedTail,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// In which epoch; empty where none can be told.
    pub epoch: String,
    /// The first number concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// The last, where there are more.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_seq: Option<u64>,
    /// Where the event was given, as the caller says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// In words.
    pub detail: String,
}

/// What the caller knows, and how events come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expect {
    /// They come from where each is delivered at least once and in no order: identical ones are no replay, and their
    /// order is nothing.
    pub loose: bool,
    /// The key that signs the first checkpoint, from elsewhere.
    pub key: Option<[u8; 32]>,
    /// Links that must be there, from elsewhere: epoch, number, hash.
    pub heads: Vec<(String, u64, Hash)>,
    /// What time it is, Unix milliseconds, if the chain should be going on: then its end is a silence or not yet signed.
    pub now_ms: Option<i64>,
    /// The events come by a way on which they may be behind by so much, milliseconds: the end is that much older
    /// before it counts as silent or unsigned.
    pub lag_ms: i64,
    /// The chain need not be going on: what is new needs no signature yet, and an old end is no silence.
    pub may_rest: bool,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// Nothing is wrong.
    pub ok: bool,
    /// Events given.
    pub events: u64,
    /// Of which came again, identical, where that may be.
    pub duplicates: u64,
    /// Checkpoints with a right signature.
    pub checkpoints: u64,
    /// Marked events of `check-config --probe`, which are no links.
    pub probes: u64,
    /// In the order of the chain.
    pub epochs: Vec<EpochReport>,
    /// All findings.
    pub findings_total: u64,
    /// The first of them.
    pub findings: Vec<Finding>,
}

/// What was found of one life of the collector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EpochReport {
    /// Its name.
    pub epoch: String,
    /// The first number given.
    pub first_seq: u64,
    /// The last number given.
    pub last_seq: u64,
    /// The last number that a signature vouches for.
    pub signed_seq: u64,
    /// Hash of the last.
    pub last_hash: String,
    /// The first key that signs in it, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_key: Option<String>,
    /// The key that signs next, hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_key: Option<String>,
    /// It ended on purpose.
    pub closed: bool,
}
