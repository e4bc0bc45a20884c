//! What a checkpoint says, and whether it is signed.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;

use crate::trail::chain::{self, Hash, Link, Signature, from_hex};

/// Node, life of its spool, number.
pub(super) type Agents = Vec<(String, String, u64)>;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) key: [u8; 32],
    pub(super) next_key: Option<[u8; 32]>,
    pub(super) previous: Option<(String, u64, Hash)>,
    pub(super) agents: Agents,
    pub(super) is_open: bool,
    pub(super) is_close: bool,
    pub(super) time_ms: i64,
    signature: Signature,
}

#[derive(Deserialize)]
struct Event {
    time: i64,
    unmapped: Unmapped,
}

#[derive(Deserialize)]
struct Unmapped {
    checkpoint: Option<Checkpoint>,
}

#[derive(Deserialize)]
struct Checkpoint {
    why: String,
    key: String,
    next_key: Option<String>,
    previous: Option<Previous>,
    agents: Vec<Agent>,
}

#[derive(Deserialize)]
struct Previous {
    epoch: String,
    seq: u64,
    hash: String,
}

#[derive(Deserialize)]
struct Agent {
    node: String,
    epoch: String,
    seq: u64,
}

impl Said {
    /// What this event says, if it is a checkpoint; only those have a signature.
    pub(super) fn of(text: &[u8], link: &Link) -> Result<Option<Self>, String> {
        let is_named = memchr::memmem::find(text, br#""checkpoint":{"#).is_some();
        if link.signature.is_none() && !is_named {
            return Ok(None);
        }
        let event: Event = serde_json::from_slice(text)
            .map_err(|error| format!("it is no checkpoint: {error}"))?;
        let checkpoint = match (event.unmapped.checkpoint, link.signature) {
            (None, None) => return Ok(None),
            (None, Some(_)) => return Err("it is signed, and no checkpoint".to_owned()),
            (Some(_), None) => return Err("it is a checkpoint without a signature".to_owned()),
            (Some(checkpoint), Some(signature)) => (checkpoint, signature),
        };
        let (checkpoint, signature) = checkpoint;
        let odd = |what: &str| format!("its {what} is none");
        let key = |text: &str| from_hex::<32>(text).ok_or_else(|| odd("key"));
        let previous = match checkpoint.previous {
            Some(of) => {
                let hash =
                    from_hex::<32>(&of.hash).ok_or_else(|| odd("hash of the epoch before"))?;
                Some((of.epoch, of.seq, hash))
            }
            None => None,
        };
        let agents = checkpoint.agents.into_iter();
        Ok(Some(Self {
            key: key(&checkpoint.key)?,
            next_key: checkpoint.next_key.as_deref().map(key).transpose()?,
            previous,
            agents: agents
                .map(|agent| (agent.node, agent.epoch, agent.seq))
                .collect(),
            is_open: checkpoint.why == "open",
            is_close: checkpoint.why == "close",
            time_ms: event.time,
            signature,
        }))
    }
}

/// Whether the signature is that of the key that it names.
pub(super) fn is_signed(said: &Said, epoch: &str, seq: u64, hash: &Hash) -> bool {
    let message = chain::signed(epoch, seq, hash);
    let key = UnparsedPublicKey::new(&ED25519, said.key);
    key.verify(message.as_bytes(), &said.signature).is_ok()
}
