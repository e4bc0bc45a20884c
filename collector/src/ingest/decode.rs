//! From an OTLP request to records for the journal, and from the journal's bytes to what readers
//! want. Pure.

use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use plimsoll_wire::otlp::{DecodeError, id, logs, metrics};
use plimsoll_wire::{AuditEvent, Class, RecordId, UsageWindow, names};
use prost::Message;
use thiserror::Error;

use super::Fate;

/// A record on its way into the journal.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Its name.
    pub id: RecordId,
    /// One `ResourceLogs` or `ResourceMetrics`.
    pub payload: Vec<u8>,
}

/// What a request held.
#[derive(Debug, Default)]
pub struct Decoded {
    /// In the order sent.
    pub records: Vec<Incoming>,
    /// What did not become a record: fate and count.
    pub others: Vec<(Fate, u64)>,
    /// Why, of the first of each kind.
    pub reasons: Vec<String>,
}

impl Decoded {
    fn other(&mut self, fate: Fate, count: u64, reason: impl FnOnce() -> String) {
        if count == 0 {
            return;
        }
        if let Some((_, sum)) = self.others.iter_mut().find(|(known, _)| *known == fate) {
            *sum += count;
        } else {
            self.others.push((fate, count));
            self.reasons.push(reason());
        }
    }

    /// Records refused for good.
    pub fn refused(&self) -> u64 {
        self.others
            .iter()
            .filter(|(fate, _)| *fate != Fate::Foreign)
            .map(|(_, count)| count)
            .sum()
    }

    fn take(
        &mut self,
        result: Result<Option<id::StreamId>, DecodeError>,
        node: &str,
        class: Class,
    ) -> Option<RecordId> {
        match result {
            Ok(Some(id)) if id.class == class => Some(RecordId {
                node: node.to_owned(),
                epoch: id.epoch,
                class,
                seq: id.seq,
            }),
            Ok(Some(_)) => {
                self.other(Fate::Undecodable, 1, || {
                    format!("{} is not {}", names::CLASS, class.as_str())
                });
                None
            }
            Ok(None) => {
                self.other(Fate::Foreign, 1, || {
                    format!("records without {} are accepted but not used: this collector keeps what the Plimsoll agent sends", names::EPOCH)
                });
                None
            }
            Err(error) => {
                self.other(Fate::Undecodable, 1, || error.to_string());
                None
            }
        }
    }

    fn check_node(&mut self, stated: &Result<Option<&str>, DecodeError>, node: &str) -> bool {
        let same = matches!(stated, Ok(Some(name)) if *name == node);
        if !same {
            self.other(Fate::WrongNode, 1, || {
                format!("{} is not the token's node", names::K8S_NODE_NAME)
            });
        }
        same
    }
}

/// Log records of `node`, the token's node.
pub fn security(request: Vec<ResourceLogs>, node: &str) -> Decoded {
    let mut decoded = Decoded::default();
    for ResourceLogs {
        resource,
        scope_logs,
        ..
    } in request
    {
        for record in scope_logs.into_iter().flat_map(|scope| scope.log_records) {
            let Some(id) = decoded.take(id::read(&record.attributes), node, Class::Security) else {
                continue;
            };
            if !decoded.check_node(&id::node(resource.as_ref()), node) {
                continue;
            }
            if let Err(error) = logs::decode(&record) {
                decoded.other(Fate::Undecodable, 1, || error.to_string());
                continue;
            }
            decoded.records.push(Incoming {
                payload: envelope(record, node).encode_to_vec(),
                id,
            });
        }
    }
    decoded
}

fn envelope(record: LogRecord, node: &str) -> ResourceLogs {
    ResourceLogs {
        resource: Some(id::node_resource(node)),
        scope_logs: vec![ScopeLogs {
            log_records: vec![record],
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    }
}

/// Windows of `node`.
pub fn usage(request: Vec<ResourceMetrics>, node: &str) -> Decoded {
    let mut decoded = Decoded::default();
    for message in request {
        let attributes = message
            .resource
            .as_ref()
            .map(|resource| resource.attributes.as_slice())
            .unwrap_or_default();
        let Some(id) = decoded.take(id::read(attributes), node, Class::Usage) else {
            continue;
        };
        if !decoded.check_node(&id::node(message.resource.as_ref()), node) {
            continue;
        }
        match metrics::decode(&message) {
            Ok(_) => decoded.records.push(Incoming {
                payload: message.encode_to_vec(),
                id,
            }),
            Err(error) => decoded.other(Fate::Undecodable, 1, || error.to_string()),
        }
    }
    decoded
}

/// The journal held something that this version cannot read.
#[derive(Debug, Error)]
pub enum PayloadError {
    /// No protobuf message.
    #[error("journal payload is no OTLP message")]
    Proto(#[from] prost::DecodeError),
    /// Not one of our records.
    #[error("journal payload")]
    Record(#[from] DecodeError),
    /// A part that was there when it was accepted is gone.
    #[error("journal payload has no {0}")]
    Absent(&'static str),
}

fn record_id(node: Option<&str>, id: Option<id::StreamId>) -> Result<RecordId, PayloadError> {
    let node = node
        .ok_or(PayloadError::Absent(names::K8S_NODE_NAME))?
        .to_owned();
    let id = id.ok_or(PayloadError::Absent(names::EPOCH))?;
    Ok(RecordId {
        node,
        epoch: id.epoch,
        class: id.class,
        seq: id.seq,
    })
}

/// An audit event from the security journal: id, time (Unix nanoseconds), event.
pub fn audit_event(payload: &[u8]) -> Result<(RecordId, u64, AuditEvent), PayloadError> {
    let message = ResourceLogs::decode(payload)?;
    let record = message
        .scope_logs
        .first()
        .and_then(|scope| scope.log_records.first())
        .ok_or(PayloadError::Absent("log record"))?;
    let id = record_id(
        id::node(message.resource.as_ref())?,
        id::read(&record.attributes)?,
    )?;
    let (time_unix_ns, event) = logs::decode(record)?;
    Ok((id, time_unix_ns, event))
}

/// A window from the usage journal.
pub fn usage_window(payload: &[u8]) -> Result<(RecordId, UsageWindow), PayloadError> {
    let message = ResourceMetrics::decode(payload)?;
    let attributes = message
        .resource
        .as_ref()
        .map(|resource| resource.attributes.as_slice())
        .unwrap_or_default();
    let id = record_id(id::node(message.resource.as_ref())?, id::read(attributes)?)?;
    Ok((id, metrics::decode(&message)?))
}
