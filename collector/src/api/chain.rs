//! Where the chain of audit events ends, and its last links: what copies elsewhere are held against.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::sizing::rfc3339;
use crate::trail::Head;
use crate::trail::chain::hex;

/// `schema` of the document.
pub const SCHEMA: &str = "plimsoll.audit.chain/v1";
/// Links in a document at the most.
pub const MAX_LINKS: usize = 1000;

/// `/api/v1/audit/chain`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChainDocument {
    /// [`SCHEMA`]
    pub schema: String,
    /// RFC 3339.
    pub as_of: String,
    /// The life of the collector that the last link is of; empty before the first.
    pub epoch: String,
    /// Its number there.
    pub seq: u64,
    /// Its hash, hex.
    pub hash: String,
    /// The last link that a signature vouches for.
    pub signed_seq: u64,
    /// The public key that signs the next checkpoint, hex.
    pub key: Option<String>,
    /// The last links, as they are delivered.
    pub links: Vec<Value>,
}

impl ChainDocument {
    /// Of that end and those links.
    pub fn new(head: &Head, links: &[String], now_unix_ns: u64) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            as_of: rfc3339(now_unix_ns),
            epoch: head.epoch.clone(),
            seq: head.seq,
            hash: hex(&head.hash),
            signed_seq: head.signed_seq,
            key: head.key.map(|key| hex(&key)),
            links: links
                .iter()
                .filter_map(|link| serde_json::from_str(link).ok())
                .collect(),
        }
    }
}
