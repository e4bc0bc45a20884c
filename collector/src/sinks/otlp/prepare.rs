//! One call out of the messages at the front: a message of OTLP with a resource for each node, pod or container, and
//! its records in the order of their numbers. Pure.
//!
//! A record's body is the event as its bytes are, a string: what verifies the trail can be made of the bodies. The same
//! event is the same record at every attempt.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;

use super::limits::CALL_RECORDS;
use super::resource::{Attributes, Common, Event, written};
use crate::sinks::http::Room;
use crate::sinks::{Message, QuarantineReason, Quarantined};

/// Bytes that stand around a record or a resource at the most: tags and lengths, each of five bytes.
const AROUND: usize = 32;

/// What is sent in one call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// The numbers of the messages, rising.
    pub seqs: Vec<u64>,
    /// What is sent.
    pub request: ExportLogsServiceRequest,
    /// Messages on the way that can never be sent.
    pub unsendable: Vec<Quarantined>,
}

impl Batch {
    /// What is sent, as it goes over the wire.
    pub fn bytes(&self) -> Vec<u8> {
        self.request.encode_to_vec()
    }
}

/// Records that are put together.
#[derive(Debug, Default)]
struct Gathered {
    places: BTreeMap<Attributes, usize>,
    resources: Vec<ResourceLogs>,
    bytes: usize,
}

impl Gathered {
    /// How many bytes longer the message would be at the most.
    fn more(&self, resource: &Attributes, record: &LogRecord) -> usize {
        let record = record.encoded_len() + AROUND;
        if self.places.contains_key(resource) {
            return record;
        }
        record + resource_logs(resource, "", Vec::new()).encoded_len() + AROUND
    }

    fn add(&mut self, resource: Attributes, version: &str, record: LogRecord) {
        self.bytes += self.more(&resource, &record);
        let place = self.places.get(&resource).copied();
        let known = place.and_then(|place| self.resources.get_mut(place));
        if let Some(scope) = known.and_then(|known| known.scope_logs.first_mut()) {
            scope.log_records.push(record);
            return;
        }
        let new = resource_logs(&resource, version, vec![record]);
        self.places.insert(resource, self.resources.len());
        self.resources.push(new);
    }
}

fn resource_logs(
    resource: &Attributes,
    version: &str,
    log_records: Vec<LogRecord>,
) -> ResourceLogs {
    let scope = InstrumentationScope {
        name: "plimsoll".to_owned(),
        version: version.to_owned(),
        ..InstrumentationScope::default()
    };
    ResourceLogs {
        resource: Some(Resource {
            attributes: written(resource.clone()),
            ..Resource::default()
        }),
        scope_logs: vec![ScopeLogs {
            scope: Some(scope),
            log_records,
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    }
}

fn record(message: &Message, event: &Event) -> LogRecord {
    let (severity_number, severity_text) = event.severity();
    LogRecord {
        time_unix_nano: message.time_unix_ns,
        // By whoever saw it happen: it is the same at every attempt.
        observed_time_unix_nano: message.time_unix_ns,
        severity_number,
        severity_text: severity_text.to_owned(),
        event_name: event.name().to_owned(),
        body: Some(AnyValue {
            value: Some(Value::StringValue(message.text.clone())),
        }),
        attributes: written(event.attributes(&message.uid)),
        ..LogRecord::default()
    }
}

/// As many messages from the front as there is room for, one at the least. Those that `is_passed` says are passed
/// over: they have their fate already.
pub fn batch(
    messages: &[Message],
    is_passed: impl Fn(u64) -> bool,
    common: &Common,
    room: Room,
) -> Batch {
    let (mut batch, mut gathered) = (Batch::default(), Gathered::default());
    for message in messages.iter().filter(|message| !is_passed(message.seq)) {
        let event = Event::of(&message.text);
        let (resource, record) = (event.resource(common), record(message, &event));
        let alone = Gathered::default().more(&resource, &record);
        if let Some(reason) = unsendable(&message.text, alone, room.most_bytes) {
            let seq = message.seq;
            batch.unsendable.push(Quarantined { seq, reason });
            continue;
        }
        let is_full = batch.seqs.len() >= room.events.min(CALL_RECORDS);
        let bytes = gathered.bytes + gathered.more(&resource, &record);
        if is_full || (bytes > room.bytes && !batch.seqs.is_empty()) {
            break;
        }
        gathered.add(resource, event.version(), record);
        batch.seqs.push(message.seq);
    }
    batch.request.resource_logs = gathered.resources;
    batch
}

fn unsendable(text: &str, bytes: usize, most: usize) -> Option<QuarantineReason> {
    if text.is_empty() {
        return Some(QuarantineReason::Empty);
    }
    (bytes > most).then(|| QuarantineReason::TooLong {
        bytes: text.len(),
        most: most.saturating_sub(bytes.saturating_sub(text.len())),
    })
}

#[cfg(test)]
mod tests;
