//! A record of the trail, as its journal keeps it. Pure.

use prost::Message;

use super::chain::{self, Link, NoLink};
use super::keys::PublicKey;
use crate::ingest::decode::PayloadError;

/// See the module.
#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    /// The event in OCSF 1.8, canonical, a link of the chain: what is delivered.
    #[prost(string, tag = "1")]
    pub body: String,
    /// The same as the API shows it ([`crate::api::AuditRecord::to_document`]); empty for what the trail says of
    /// itself.
    #[prost(string, tag = "2")]
    pub document: String,
    /// When it happened, Unix nanoseconds.
    #[prost(uint64, tag = "3")]
    pub time_unix_ns: u64,
    /// The journal that it came from, and the last number of it that the trail has had by now.
    #[prost(string, tag = "4")]
    pub source_epoch: String,
    /// See there.
    #[prost(uint64, tag = "5")]
    pub source_seq: u64,
    /// The key that checkpoints behind it are signed with.
    #[prost(bytes = "vec", tag = "6")]
    pub key: Vec<u8>,
}

impl Entry {
    /// Reads a record's bytes.
    pub fn of(payload: &[u8]) -> Result<Self, PayloadError> {
        Ok(Self::decode(payload)?)
    }

    /// Its place in the chain.
    pub fn link(&self) -> Result<Link, NoLink> {
        chain::link(self.body.as_bytes())
    }

    /// The key that checkpoints behind it are signed with, if it says one.
    pub fn key(&self) -> Option<PublicKey> {
        self.key.as_slice().try_into().ok()
    }

    /// Whether it is the trail's word on itself.
    pub const fn is_checkpoint(&self) -> bool {
        self.document.is_empty()
    }
}
