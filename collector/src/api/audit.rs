//! Recent audit events in memory, for the API and the audit page.
//!
//! The record of truth is the sink; this ring is what a person looks at. Bounded: accesses, kills
//! and losses in one ring, container ends in another, so that five hundred short-lived containers
//! push no credential access out; of heartbeats the last of each node.

mod nodes;
mod query;

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use plimsoll_wire::{AuditEvent, Class, Identity, RecordId};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

use nodes::{Beat, Nodes};
pub use nodes::{MAX_NODES, NodeStatus};
pub use query::{ALL, AuditQuery, MAX_LIMIT, OTHER_CLASSES, QueryError, REQUEST_CLASSES};
use query::{Filter, limit_of, since_of};

use super::access::Seen;
use super::accounting::StageRow;
use crate::join;
use crate::sizing::rfc3339;

/// `schema` of a list of events.
pub const SCHEMA: &str = "plimsoll.audit/v1";
/// Accesses, kills and losses kept.
pub const MAX_EVENTS: usize = 10_000;
/// Container ends kept.
pub const MAX_ENDS: usize = 2_000;
/// Bytes of each of the two as JSON, however few they are then: an event may be a mebibyte.
pub const MAX_RING_BYTES: usize = 64 << 20;

/// An event as the collector keeps it.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRecord {
    /// When it happened, Unix nanoseconds.
    pub time_unix_ns: u64,
    /// Its id.
    pub id: RecordId,
    /// What happened.
    pub event: AuditEvent,
    /// The join's names (`join::Joined::to_map`).
    pub names: Map<String, Value>,
}

/// A document that is no audit event.
#[derive(Debug, Error)]
pub enum NotAnEvent {
    /// What all events have.
    #[error("{key} is missing, or not what an audit event has there")]
    Field {
        /// Which.
        key: &'static str,
    },
    /// What events of its kind have.
    #[error("it is no audit event")]
    Event(#[source] serde_json::Error),
}

/// See [`AuditRecord::to_document`].
#[derive(Debug, Serialize)]
pub(crate) struct Document<'a> {
    time: String,
    id: String,
    node: &'a str,
    names: &'a Map<String, Value>,
    #[serde(flatten)]
    event: &'a AuditEvent,
}

impl AuditRecord {
    /// The JSON document of the API; also a sound line for a file. [`AuditRecord::from_document`]
    /// reads it back.
    pub fn to_document(&self) -> Value {
        // Its keys are strings, and so it can always be one.
        serde_json::to_value(self.document()).unwrap_or_default()
    }

    /// The same, to be written without being made first.
    pub(crate) fn document(&self) -> Document<'_> {
        Document {
            time: precise(self.time_unix_ns),
            id: self.id.to_string(),
            node: &self.id.node,
            names: &self.names,
            event: &self.event,
        }
    }

    /// Reads a document back.
    ///
    /// # Errors
    /// It is not one of ours.
    pub fn from_document(document: &Value) -> Result<Self, NotAnEvent> {
        let field = |key: &'static str| NotAnEvent::Field { key };
        let text = |key| document.get(key).and_then(Value::as_str).ok_or(field(key));
        let time: jiff::Timestamp = text("time")?.parse().map_err(|_| field("time"))?;
        let time = u64::try_from(time.as_nanosecond());
        let names = document.get("names").and_then(Value::as_object);
        Ok(Self {
            time_unix_ns: time.map_err(|_| field("time"))?,
            id: id_of(text("id")?).ok_or(field("id"))?,
            event: AuditEvent::deserialize(document).map_err(NotAnEvent::Event)?,
            names: names.ok_or(field("names"))?.clone(),
        })
    }

    /// Whose it is, for events that have a subject.
    pub fn identity(&self) -> Option<&Identity> {
        join::identity_of(&self.event)
    }

    /// What it is, in one word: the class of a metadata request, or the event's name.
    pub fn class(&self) -> &str {
        match &self.event {
            AuditEvent::Imds(access) => access
                .request
                .get("class")
                .and_then(Value::as_str)
                .unwrap_or("UNKNOWN"),
            AuditEvent::OomKill(_) => "oom_kill",
            AuditEvent::ContainerEnd(_) => "container_end",
            AuditEvent::Loss(_) => "loss",
            AuditEvent::Misplaced(_) => "misplaced",
            AuditEvent::Agent(_) => "agent",
            AuditEvent::Heartbeat(_) => "heartbeat",
        }
    }

    /// A joined name.
    pub fn name(&self, key: &str) -> Option<&str> {
        self.names.get(key).and_then(Value::as_str)
    }
}

fn id_of(text: &str) -> Option<RecordId> {
    let mut id = text.rsplitn(4, '/');
    let (seq, class, epoch, node) = (id.next()?, id.next()?, id.next()?, id.next()?);
    Some(RecordId {
        node: node.to_owned(),
        epoch: epoch.to_owned(),
        class: Class::parse(class)?,
        seq: seq.parse().ok()?,
    })
}

/// RFC 3339 with nanoseconds.
pub(crate) fn precise(unix_ns: u64) -> String {
    let time =
        jiff::Timestamp::from_nanosecond(i128::from(unix_ns)).unwrap_or(jiff::Timestamp::MAX);
    time.to_string()
}

/// One answer.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Newest first; in the order of arrival if the query had `after`.
    pub found: Vec<Arc<AuditRecord>>,
    /// More match than the limit: with `after`, the next question brings them.
    pub more: bool,
    /// Where to go on, see [`AuditQuery::after`].
    pub cursor: String,
}

/// An event with its place in the order of arrival, which is the collector's own: times come from
/// the nodes, may lie in the future, and an event's time is that of its beginning.
struct Kept {
    arrival: u64,
    /// When it happened, but never later than it came: what a node with a clock ahead has stamped
    /// is not newer than what comes after it.
    time_unix_ns: u64,
    /// It came in this life of the collector, and not from the file of an earlier one.
    is_fresh: bool,
    bytes: usize,
    record: Arc<AuditRecord>,
}

/// When the collector got an event, by its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Came {
    At(u64),
    /// In an earlier life, and not after that.
    Before(u64),
    Unknown,
}

impl Came {
    const fn latest_unix_ns(self) -> u64 {
        match self {
            Self::At(time) | Self::Before(time) => time,
            Self::Unknown => u64::MAX,
        }
    }
}

#[derive(Default)]
struct Ring {
    /// In the order of arrival, in which they fall out as well: ordered by the nodes' times, a late
    /// event would be the next to go, and one from the future would never go.
    kept: VecDeque<Kept>,
    bytes: usize,
}

impl Ring {
    /// What came first falls out until what comes fits.
    fn make_room(&mut self, bytes: usize, bound: usize) {
        while self.kept.len() >= bound || self.bytes.saturating_add(bytes) > MAX_RING_BYTES {
            let Some(first) = self.kept.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(first.bytes);
        }
        self.bytes = self.bytes.saturating_add(bytes);
    }
}

#[derive(Default)]
struct Rings {
    /// Tells the cursors of one life of the collector from those of another.
    life: u64,
    /// Number of the last arrival.
    arrived: u64,
    events: Ring,
    ends: Ring,
    nodes: Nodes,
}

impl Rings {
    /// Number of the last arrival that somebody sees: how much else there is, is not theirs to know.
    fn latest(&self, seen: &Seen) -> u64 {
        let Seen::Only(_) = seen else {
            return self.arrived;
        };
        let kept = self.events.kept.iter().chain(&self.ends.kept);
        let seen = kept.filter(|kept| seen.has(kept.record.name("namespace")));
        seen.map(|kept| kept.arrival).max().unwrap_or_default()
    }
}

/// See the module.
#[derive(Default)]
pub struct AuditRing(RwLock<Rings>);

impl AuditRing {
    /// The ring of one life of the collector; `life` is a number that no other life has, such as
    /// the time of its start.
    pub fn of_life(life: u64) -> Self {
        Self(RwLock::new(Rings {
            life,
            ..Rings::default()
        }))
    }

    /// Takes an event in that came nobody knows when; see [`AuditRing::arrived`].
    pub fn push(&self, record: AuditRecord) {
        let bytes = record.to_document().to_string().len();
        self.take(record, bytes, Came::Unknown);
    }

    /// Takes an event in that the collector got at that time, by its own clock, and that takes so many
    /// bytes as JSON; what came first into its ring falls out (it is in the sink).
    pub fn arrived(&self, record: AuditRecord, bytes: usize, arrived_unix_ns: u64) {
        self.take(record, bytes, Came::At(arrived_unix_ns));
    }

    fn take(&self, record: AuditRecord, bytes: usize, came: Came) {
        let mut rings = self.0.write().unwrap_or_else(PoisonError::into_inner);
        rings.arrived += 1;
        let arrival = rings.arrived;
        let (ring, bound) = match &record.event {
            AuditEvent::Heartbeat(heartbeat) => {
                let time = record.time_unix_ns;
                let (arrived_unix_ns, heard_unix_ns) = match came {
                    Came::At(arrived) => (Some(arrived), arrived),
                    Came::Before(_) | Came::Unknown => (None, time.min(came.latest_unix_ns())),
                };
                let status = NodeStatus {
                    node: record.id.node,
                    time_unix_ns: time,
                    heard_unix_ns,
                    heartbeat: heartbeat.clone(),
                    two_agents_unix_ns: None,
                };
                rings.nodes.hear(Beat {
                    epoch: record.id.epoch,
                    seq: record.id.seq,
                    before: None,
                    arrived_unix_ns,
                    status,
                });
                return;
            }
            AuditEvent::ContainerEnd(_) => (&mut rings.ends, MAX_ENDS),
            AuditEvent::Imds(_)
            | AuditEvent::OomKill(_)
            | AuditEvent::Loss(_)
            | AuditEvent::Misplaced(_)
            | AuditEvent::Agent(_) => (&mut rings.events, MAX_EVENTS),
        };
        ring.make_room(bytes, bound);
        ring.kept.push_back(Kept {
            arrival,
            time_unix_ns: record.time_unix_ns.min(came.latest_unix_ns()),
            is_fresh: matches!(came, Came::At(_)),
            bytes,
            record: Arc::new(record),
        });
    }

    /// Takes lines of a file sink in ([`AuditRecord::to_document`]), the last of which was written at
    /// that time; returns how many were no such document.
    pub fn load<'a>(&self, lines: impl Iterator<Item = &'a str>, written_unix_ns: u64) -> usize {
        let mut refused = 0;
        for line in lines.filter(|line| !line.trim().is_empty()) {
            let document = serde_json::from_str::<Value>(line).ok();
            let record = document.map(|document| AuditRecord::from_document(&document));
            match record.and_then(Result::ok) {
                Some(record) => self.take(record, line.len(), Came::Before(written_unix_ns)),
                None => refused += 1,
            }
        }
        refused
    }

    /// Events that match, newest first, and whether there are more than the limit.
    pub fn query(
        &self,
        query: &AuditQuery,
        seen: &Seen,
        now_unix_ns: u64,
    ) -> Result<(Vec<Arc<AuditRecord>>, bool), QueryError> {
        let limit = limit_of(query)?;
        let since = since_of(query, now_unix_ns)?;
        let filter = Filter::of(query, seen)?;
        let rings = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let kept = rings.events.kept.iter().chain(&rings.ends.kept);
        let mut found: Vec<&Kept> = kept
            .filter(|kept| kept.time_unix_ns >= since && filter.matches(&kept.record))
            .collect();
        let more = found.len() > limit;
        if more {
            // Most are not shown: they need no order among themselves.
            found.select_nth_unstable_by(limit, |a, b| newest_first(a, b));
            found.truncate(limit);
        }
        found.sort_unstable_by(|a, b| newest_first(a, b));
        let records = found.iter().map(|kept| Arc::clone(&kept.record));
        Ok((records.collect(), more))
    }

    /// The answer to a query, with the cursor to go on from. A cursor of another life of the
    /// collector stands before everything that this one has; of what that life left in its file,
    /// only what happened at `since` or later comes again.
    pub fn page(
        &self,
        query: &AuditQuery,
        seen: &Seen,
        now_unix_ns: u64,
    ) -> Result<Page, QueryError> {
        let rings = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (life, arrived) = (rings.life, rings.latest(seen));
        let cursor = |arrival: u64| format!("{life:x}.{arrival}");
        let Some(text) = query.after.as_deref().filter(|text| !text.is_empty()) else {
            drop(rings);
            // What comes in between is there twice, and not missing.
            let (found, more) = self.query(query, seen, now_unix_ns)?;
            return Ok(Page {
                found,
                more,
                cursor: cursor(arrived),
            });
        };
        let (of_life, after) = text
            .split_once('.')
            .and_then(|(life, arrival)| {
                Some((
                    u64::from_str_radix(life, 16).ok()?,
                    arrival.parse::<u64>().ok()?,
                ))
            })
            .ok_or_else(|| QueryError::After(text.to_owned()))?;
        let since = since_of(query, now_unix_ns)?;
        let is_new = |kept: &&Kept| {
            if of_life == life {
                kept.arrival > after
            } else {
                kept.is_fresh || kept.time_unix_ns >= since
            }
        };
        let given = if of_life == life { after } else { 0 };
        let limit = limit_of(query)?;
        let filter = Filter::of(query, seen)?;
        let mut kept: Vec<&Kept> = rings
            .events
            .kept
            .iter()
            .chain(&rings.ends.kept)
            .filter(|kept| is_new(kept) && filter.matches(&kept.record))
            .collect();
        kept.sort_by_key(|kept| kept.arrival);
        let more = kept.len() > limit;
        kept.truncate(limit);
        let last = kept.last().filter(|_| more);
        Ok(Page {
            cursor: cursor(last.map_or(arrived.max(given), |kept| kept.arrival)),
            found: kept.iter().map(|kept| Arc::clone(&kept.record)).collect(),
            more,
        })
    }

    /// Namespaces that some event is of.
    pub fn namespaces(&self) -> BTreeSet<String> {
        let rings = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let kept = rings.events.kept.iter().chain(&rings.ends.kept);
        let of = kept.filter_map(|kept| kept.record.name("namespace"));
        of.map(str::to_owned).collect()
    }

    /// The stages that nodes report in their heartbeats, as accounting rows.
    pub fn stage_rows(&self) -> Vec<StageRow> {
        let rings = self.0.read().unwrap_or_else(PoisonError::into_inner);
        rings.nodes.statuses().flat_map(NodeStatus::rows).collect()
    }

    /// Every node's last heartbeat.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        let rings = self.0.read().unwrap_or_else(PoisonError::into_inner);
        rings.nodes.statuses().cloned().collect()
    }

    /// Nodes that were let go of since the start: not heard for a day, or too many.
    pub fn nodes_let_go(&self) -> u64 {
        let rings = self.0.read().unwrap_or_else(PoisonError::into_inner);
        rings.nodes.let_go()
    }

    /// Number of nodes under whose name two agents send.
    pub fn nodes_with_two_agents(&self, now_unix_ns: u64) -> u64 {
        let rings = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let two_agents = |status: &&NodeStatus| status.has_two_agents(now_unix_ns);
        rings.nodes.statuses().filter(two_agents).count() as u64
    }
}

/// By the time of the happening, and by arrival where that is the same.
fn newest_first(a: &Kept, b: &Kept) -> std::cmp::Ordering {
    (b.time_unix_ns, b.arrival).cmp(&(a.time_unix_ns, a.arrival))
}

/// The document of `/api/v1/audit`.
pub fn document(page: &Page, now_unix_ns: u64) -> Value {
    serde_json::json!({
        "schema": SCHEMA,
        "as_of": rfc3339(now_unix_ns),
        "more": page.more,
        "cursor": page.cursor,
        "events": page.found.iter().map(|record| record.to_document()).collect::<Vec<_>>(),
    })
}
