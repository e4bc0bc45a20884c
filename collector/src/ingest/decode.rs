//! From an OTLP request to records for the journal, and from the journal's bytes to what readers
//! want. Pure.

use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics};
use plimsoll_wire::otlp::{DecodeError, id, logs, metrics};
use plimsoll_wire::{AuditEvent, Class, RecordId, UsageWindow, names};
use prost::Message;
use thiserror::Error;

use super::Fate;
use super::placed::{Elsewhere, Pods};
use crate::errors::chain;

/// A record on its way into the journal.
#[derive(Clone, Debug)]
pub struct Incoming {
    /// Its name.
    pub id: RecordId,
    /// What came under that name.
    pub content: Content,
    /// What it says of whoever sent it; nothing of a window, or of what is refused.
    pub sign: Sign,
}

/// What an audit record says of its agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sign {
    /// The record's time, by the node's clock, Unix nanoseconds.
    pub time_unix_ns: u64,
    /// It says that the agent ends on purpose.
    pub ends: bool,
}

impl Sign {
    /// Of an event of that time.
    pub const fn of(time_unix_ns: u64, event: &AuditEvent) -> Self {
        let ends = match event {
            AuditEvent::Heartbeat(heartbeat) => heartbeat.ends,
            _ => false,
        };
        Self { time_unix_ns, ends }
    }
}

/// What came under a record's name.
#[derive(Clone, Debug)]
pub enum Content {
    /// One `ResourceLogs` or `ResourceMetrics`.
    Payload(Vec<u8>),
    /// Something that is refused for good. The number is used up all the same: a refused record is
    /// not a missing one as well.
    Refused(Fate),
}

/// What a request held.
#[derive(Debug, Default)]
pub struct Decoded {
    /// In the order sent.
    pub records: Vec<Incoming>,
    /// What has no name of ours to go by: fate and count, of foreign metrics that of data points.
    pub others: Vec<(Fate, u64)>,
    /// The pod of the first record that was refused because of its place.
    elsewhere: Option<Elsewhere>,
    /// Why, of the first of each fate.
    reasons: Vec<(Fate, String)>,
}

impl Decoded {
    fn explain(&mut self, fate: Fate, reason: impl FnOnce() -> String) {
        if !self.reasons.iter().any(|(known, _)| *known == fate) {
            self.reasons.push((fate, reason()));
        }
    }

    fn other(&mut self, fate: Fate, reason: impl FnOnce() -> String) {
        self.others(fate, 1, reason);
    }

    fn others(&mut self, fate: Fate, count: u64, reason: impl FnOnce() -> String) {
        if count == 0 {
            return;
        }
        match self.others.iter_mut().find(|(known, _)| *known == fate) {
            Some((_, sum)) => *sum += count,
            None => self.others.push((fate, count)),
        }
        self.explain(fate, reason);
    }

    fn refuse(&mut self, id: RecordId, fate: Fate, reason: impl FnOnce() -> String) {
        self.explain(fate, reason);
        let content = Content::Refused(fate);
        let sign = Sign::default();
        self.records.push(Incoming { id, content, sign });
    }

    fn count(&self, fate: Fate) -> u64 {
        let nameless = self.others.iter().filter(|(other, _)| *other == fate);
        let named = self.records.iter().filter(
            |record| matches!(record.content, Content::Refused(refused) if refused == fate),
        );
        nameless.map(|(_, count)| count).sum::<u64>() + named.count() as u64
    }

    /// The first pod that is elsewhere, and how many records were refused because theirs is.
    pub fn elsewhere(&self) -> Option<(&Elsewhere, u64)> {
        let first = self.elsewhere.as_ref()?;
        Some((first, self.count(Fate::PodElsewhere)))
    }

    fn refuse_elsewhere(&mut self, id: RecordId, pod: Elsewhere) {
        self.refuse(id, Fate::PodElsewhere, || {
            format!("pod {} is on {}", pod.pod_uid, pod.node)
        });
        self.elsewhere.get_or_insert(pod);
    }

    /// Records without a name of ours, and data points of others: none of them is kept, and OTLP wants
    /// all of those counted as rejected.
    pub fn nameless_refused(&self) -> u64 {
        self.others.iter().map(|(_, count)| count).sum()
    }

    /// What is held of it for the journal.
    pub fn held_bytes(&self) -> usize {
        let held = |record: &Incoming| match &record.content {
            Content::Payload(payload) => payload.len() + size_of::<Incoming>(),
            Content::Refused(_) => size_of::<Incoming>(),
        };
        self.records.iter().map(held).sum()
    }

    /// Nothing in it is the token's node's: the token, or the sender's name of its node, is wrong.
    pub fn is_of_another_node(&self) -> bool {
        self.records.is_empty()
            && !self.others.is_empty()
            && self.others.iter().all(|(fate, _)| *fate == Fate::WrongNode)
    }

    /// What the sender is told: how many of each fate, and what was wrong with the first. Empty if
    /// every record was taken.
    pub fn message(&self) -> String {
        let told: Vec<_> = self
            .reasons
            .iter()
            .map(|(fate, reason)| format!("{} {}: {reason}", self.count(*fate), fate.told()))
            .collect();
        told.join("; ")
    }

    fn take(
        &mut self,
        result: Result<Option<id::StreamId>, DecodeError>,
        node: &str,
        class: Class,
        foreign: impl FnOnce() -> (u64, String),
    ) -> Option<RecordId> {
        match result {
            Ok(Some(id)) if id.class == class => Some(RecordId {
                node: node.to_owned(),
                epoch: id.epoch,
                class,
                seq: id.seq,
            }),
            Ok(Some(_)) => {
                // The name says another stream than the service: it is not believed.
                self.other(Fate::Undecodable, || {
                    format!("{} is not {}", names::CLASS, class.as_str())
                });
                None
            }
            Ok(None) => {
                let (count, what) = foreign();
                self.others(Fate::Foreign, count, || {
                    format!("{what} without {}; this collector keeps only what the Plimsoll agent sends, send the rest to an OpenTelemetry Collector", names::EPOCH)
                });
                None
            }
            Err(error) => {
                self.other(Fate::Undecodable, || chain(&error));
                None
            }
        }
    }

    fn check_node(&mut self, stated: &Result<Option<&str>, DecodeError>, node: &str) -> bool {
        let same = matches!(stated, Ok(Some(name)) if *name == node);
        if !same {
            self.other(Fate::WrongNode, || {
                format!("{} is not the token's node", names::K8S_NODE_NAME)
            });
        }
        same
    }
}

/// Log records of `node`, the token's node, about what is on it.
pub fn security(request: Vec<ResourceLogs>, node: &str, pods: &Pods) -> Decoded {
    let mut decoded = Decoded::default();
    let mut places = pods.for_sender(node);
    for ResourceLogs {
        resource,
        scope_logs,
        ..
    } in request
    {
        for record in scope_logs.into_iter().flat_map(|scope| scope.log_records) {
            let foreign = || (1, format!("log record {:?}", short(log_name(&record))));
            let id = id::read(&record.attributes);
            let Some(id) = decoded.take(id, node, Class::Security, foreign) else {
                continue;
            };
            if !decoded.check_node(&id::node(resource.as_ref()), node) {
                continue;
            }
            let (time_unix_ns, event) = match logs::decode(&record) {
                Ok(decoded) => decoded,
                Err(error) => {
                    decoded.refuse(id, Fate::Undecodable, || chain(&error));
                    continue;
                }
            };
            if let Some(pod) = places.event_elsewhere(&event) {
                decoded.refuse_elsewhere(id, pod);
                continue;
            }
            decoded.records.push(Incoming {
                content: Content::Payload(envelope(record, node).encode_to_vec()),
                sign: Sign::of(time_unix_ns, &event),
                id,
            });
        }
    }
    decoded
}

/// Names of the sender's that are repeated to it are cut to this length.
const MAX_TOLD: usize = 100;

fn short(name: &str) -> String {
    name.chars().take(MAX_TOLD).collect()
}

/// What a foreign log record calls itself.
fn log_name(record: &LogRecord) -> &str {
    let body = record.body.as_ref().and_then(|body| body.value.as_ref());
    match body {
        _ if !record.event_name.is_empty() => &record.event_name,
        Some(Value::StringValue(text)) => text,
        _ => &record.severity_text,
    }
}

fn metrics_of(message: &ResourceMetrics) -> impl Iterator<Item = &Metric> {
    let scopes = message.scope_metrics.iter();
    scopes.flat_map(|scope| &scope.metrics)
}

/// The first that has a data point: one without is nothing that is not used.
fn metric_name(message: &ResourceMetrics) -> &str {
    let mut metrics = metrics_of(message);
    let first = metrics.find(|metric| points_of(metric) > 0);
    first.map_or("", |metric| &metric.name)
}

/// What OTLP counts of metrics, and what an exporter's own books are in.
fn data_points(message: &ResourceMetrics) -> u64 {
    let counts = metrics_of(message).map(points_of);
    counts.sum::<usize>() as u64
}

fn points_of(metric: &Metric) -> usize {
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
        None => 0,
    }
}

/// One log record of `node` by itself, as the journal keeps it.
pub fn envelope(record: LogRecord, node: &str) -> ResourceLogs {
    ResourceLogs {
        resource: Some(id::node_resource(node)),
        scope_logs: vec![ScopeLogs {
            log_records: vec![record],
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    }
}

/// Windows of `node`, of what is on it.
pub fn usage(request: Vec<ResourceMetrics>, node: &str, pods: &Pods) -> Decoded {
    let mut decoded = Decoded::default();
    let mut places = pods.for_sender(node);
    for message in request {
        let attributes = message
            .resource
            .as_ref()
            .map(|resource| resource.attributes.as_slice())
            .unwrap_or_default();
        let foreign = || {
            let what = format!("metric {:?}", short(metric_name(&message)));
            (data_points(&message), what)
        };
        let Some(id) = decoded.take(id::read(attributes), node, Class::Usage, foreign) else {
            continue;
        };
        if !decoded.check_node(&id::node(message.resource.as_ref()), node) {
            continue;
        }
        match metrics::decode(&message) {
            Ok(window) => match places.elsewhere(&window.identity) {
                Some(pod) => decoded.refuse_elsewhere(id, pod),
                None => decoded.records.push(Incoming {
                    content: Content::Payload(message.encode_to_vec()),
                    sign: Sign::default(),
                    id,
                }),
            },
            Err(error) => decoded.refuse(id, Fate::Undecodable, || chain(&error)),
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
