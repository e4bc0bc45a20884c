//! The record's name on the wire. Records are spooled without it: the spool's number and epoch are
//! put on when a record is sent.

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::{DecodeError, value};
use crate::{Class, names};

/// A record's place in its node's stream; with the node's name it is a [`RecordId`](crate::RecordId).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamId {
    /// Life of the spool.
    pub epoch: String,
    /// Stream.
    pub class: Class,
    /// Number within the stream.
    pub seq: u64,
}

/// Longest epoch that is taken: 128 bits in hex, doubled for safety.
const MAX_EPOCH: usize = 64;

/// Adds the name to a record's attributes (a log record's own, a window's resource's).
pub fn stamp(attributes: &mut Vec<KeyValue>, id: &StreamId) {
    attributes.extend([
        value::text(names::EPOCH, &id.epoch),
        value::text(names::CLASS, id.class.as_str()),
        value::number(names::SEQ, id.seq),
    ]);
}

/// The name in a record's attributes; `None` if there is nothing of ours, which makes the record a
/// foreign one, and an error if there is only a part.
pub fn read(attributes: &[KeyValue]) -> Result<Option<StreamId>, DecodeError> {
    let epoch = value::find_text(attributes, names::EPOCH)?;
    let class = value::find_text(attributes, names::CLASS)?;
    let seq = value::find_number(attributes, names::SEQ)?;
    if epoch.is_none() && class.is_none() && seq.is_none() {
        return Ok(None);
    }
    let epoch = epoch.ok_or(DecodeError::Missing(names::EPOCH))?;
    let fits =
        (1..=MAX_EPOCH).contains(&epoch.len()) && epoch.bytes().all(|b| b.is_ascii_hexdigit());
    if !fits {
        return Err(DecodeError::Value { name: names::EPOCH });
    }
    let class = class.ok_or(DecodeError::Missing(names::CLASS))?;
    Ok(Some(StreamId {
        epoch: epoch.to_owned(),
        class: Class::parse(class).ok_or(DecodeError::Value { name: names::CLASS })?,
        seq: seq
            .filter(|seq| *seq > 0)
            .ok_or(DecodeError::Missing(names::SEQ))?,
    }))
}

/// A resource that says only which node speaks.
pub fn node_resource(node: &str) -> Resource {
    Resource {
        attributes: vec![value::text(names::K8S_NODE_NAME, node)],
        ..Resource::default()
    }
}

/// The node that a resource names.
pub fn node(resource: Option<&Resource>) -> Result<Option<&str>, DecodeError> {
    resource.map_or(Ok(None), |resource| {
        value::find_text(&resource.attributes, names::K8S_NODE_NAME)
    })
}
