//! Recent audit events in memory, for the API and the audit page.
//!
//! The record of truth is the sink; this ring is what a person looks at. Bounded: accesses, kills
//! and losses in one ring, container ends in another, so that five hundred short-lived containers
//! push no credential access out; of heartbeats the last of each node.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock};

use plimsoll_wire::event::Heartbeat;
use plimsoll_wire::{AuditEvent, Class, Identity, RecordId};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::sizing::rfc3339;

/// `schema` of a list of events.
pub const SCHEMA: &str = "plimsoll.audit/v1";
/// Accesses, kills and losses kept.
pub const MAX_EVENTS: usize = 10_000;
/// Container ends kept.
pub const MAX_ENDS: usize = 2_000;
/// Nodes whose heartbeat is kept.
pub const MAX_NODES: usize = 10_000;
/// Most events in one answer.
pub const MAX_LIMIT: usize = 5_000;
const DEFAULT_LIMIT: usize = 200;

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

impl AuditRecord {
    /// The JSON document of the API; also a sound line for a file. [`AuditRecord::from_document`]
    /// reads it back.
    pub fn to_document(&self) -> Value {
        let mut document = Map::new();
        document.insert("time".to_owned(), precise(self.time_unix_ns).into());
        document.insert("id".to_owned(), self.id.to_string().into());
        document.insert("node".to_owned(), self.id.node.clone().into());
        document.insert("names".to_owned(), self.names.clone().into());
        if let Ok(Value::Object(event)) = serde_json::to_value(&self.event) {
            document.extend(event);
        }
        document.into()
    }

    /// Reads a document back; `None` if it is not one of ours.
    pub fn from_document(document: &Value) -> Option<Self> {
        let text = |key: &str| document.get(key).and_then(Value::as_str);
        let time: jiff::Timestamp = text("time")?.parse().ok()?;
        let mut id = text("id")?.rsplitn(4, '/');
        let (seq, class, epoch, node) = (id.next()?, id.next()?, id.next()?, id.next()?);
        Some(Self {
            time_unix_ns: u64::try_from(time.as_nanosecond()).ok()?,
            id: RecordId {
                node: node.to_owned(),
                epoch: epoch.to_owned(),
                class: Class::parse(class)?,
                seq: seq.parse().ok()?,
            },
            event: AuditEvent::deserialize(document).ok()?,
            names: document.get("names")?.as_object()?.clone(),
        })
    }

    /// Whose it is, for events that have a subject.
    pub fn identity(&self) -> Option<&Identity> {
        match &self.event {
            AuditEvent::Imds(access) => Some(&access.identity),
            AuditEvent::OomKill(kill) => Some(&kill.identity),
            AuditEvent::ContainerEnd(end) => Some(&end.identity),
            AuditEvent::Loss(_) | AuditEvent::Heartbeat(_) => None,
        }
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
            AuditEvent::Heartbeat(_) => "heartbeat",
        }
    }

    /// A joined name.
    pub fn name(&self, key: &str) -> Option<&str> {
        self.names.get(key).and_then(Value::as_str)
    }
}

/// RFC 3339 with nanoseconds.
fn precise(unix_ns: u64) -> String {
    let time =
        jiff::Timestamp::from_nanosecond(i128::from(unix_ns)).unwrap_or(jiff::Timestamp::MAX);
    time.to_string()
}

/// The last word of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeStatus {
    /// The node.
    pub node: String,
    /// When it said so, Unix nanoseconds.
    pub time_unix_ns: u64,
    /// What.
    pub heartbeat: Heartbeat,
}

/// What to answer with; `Default` is the newest of everything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditQuery {
    /// `CRED`, `TOKEN`, …, or `imds` (every metadata request), `oom_kill`, `container_end`, `loss`;
    /// several with commas.
    pub class: Option<String>,
    /// Namespace of the pod.
    pub namespace: Option<String>,
    /// Workload name.
    pub workload: Option<String>,
    /// RFC 3339, or an age: `90s`, `15m`, `2h`, `1d`.
    pub since: Option<String>,
    /// Most events; default 200.
    pub limit: Option<usize>,
}

/// A query that cannot be answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// Neither a time nor an age.
    #[error("since: `{0}` is neither an RFC 3339 time nor an age such as 90s, 15m, 2h or 1d")]
    Since(String),
    /// Out of bounds.
    #[error("limit: {0} is not between 1 and {MAX_LIMIT}")]
    Limit(usize),
}

#[derive(Default)]
struct Rings {
    events: VecDeque<Arc<AuditRecord>>,
    ends: VecDeque<Arc<AuditRecord>>,
    nodes: BTreeMap<String, NodeStatus>,
}

/// See the module.
#[derive(Default)]
pub struct AuditRing(RwLock<Rings>);

impl AuditRing {
    /// Takes an event in; the oldest of its ring falls out (it is in the sink).
    pub fn push(&self, record: AuditRecord) {
        let mut rings = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let (ring, bound) = match &record.event {
            AuditEvent::Heartbeat(heartbeat) => {
                let heartbeat = heartbeat.clone();
                rings.beat(NodeStatus {
                    node: record.id.node,
                    time_unix_ns: record.time_unix_ns,
                    heartbeat,
                });
                return;
            }
            AuditEvent::ContainerEnd(_) => (&mut rings.ends, MAX_ENDS),
            AuditEvent::Imds(_) | AuditEvent::OomKill(_) | AuditEvent::Loss(_) => {
                (&mut rings.events, MAX_EVENTS)
            }
        };
        if ring.len() == bound {
            ring.pop_front();
        }
        // Nodes deliver in batches: keep the order of the happening, searching from the new end.
        let newer = ring
            .iter()
            .rev()
            .take_while(|known| known.time_unix_ns > record.time_unix_ns)
            .count();
        ring.insert(ring.len() - newer, Arc::new(record));
    }

    /// Takes lines of a file sink in ([`AuditRecord::to_document`]); returns how many were no such
    /// document.
    pub fn load<'a>(&self, lines: impl Iterator<Item = &'a str>) -> usize {
        let mut refused = 0;
        for line in lines.filter(|line| !line.trim().is_empty()) {
            let document = serde_json::from_str::<Value>(line).ok();
            match document.as_ref().and_then(AuditRecord::from_document) {
                Some(record) => self.push(record),
                None => refused += 1,
            }
        }
        refused
    }

    /// Events that match, newest first, and whether there are more than the limit.
    pub fn query(
        &self,
        query: &AuditQuery,
        now_unix_ns: u64,
    ) -> Result<(Vec<Arc<AuditRecord>>, bool), QueryError> {
        let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
        if limit == 0 || limit > MAX_LIMIT {
            return Err(QueryError::Limit(limit));
        }
        let since = query.since.as_deref().filter(|text| !text.is_empty());
        let since = since
            .map(|text| since_unix_ns(text, now_unix_ns))
            .transpose()?
            .unwrap_or(0);
        let filter = Filter::of(query);
        let mut found: Vec<Arc<AuditRecord>> = {
            let rings = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let newest = |ring: &VecDeque<Arc<AuditRecord>>| -> Vec<Arc<AuditRecord>> {
                let fresh = ring
                    .iter()
                    .rev()
                    .take_while(|record| record.time_unix_ns >= since);
                fresh
                    .filter(|record| filter.matches(record))
                    .take(limit + 1)
                    .cloned()
                    .collect()
            };
            newest(&rings.events)
                .into_iter()
                .chain(newest(&rings.ends))
                .collect()
        };
        found.sort_by(|a, b| (b.time_unix_ns, &b.id).cmp(&(a.time_unix_ns, &a.id)));
        let more = found.len() > limit;
        found.truncate(limit);
        Ok((found, more))
    }

    /// Every node's last heartbeat.
    pub fn nodes(&self) -> Vec<NodeStatus> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .nodes
            .values()
            .cloned()
            .collect()
    }
}

impl Rings {
    fn beat(&mut self, status: NodeStatus) {
        let newer = self
            .nodes
            .get(&status.node)
            .is_none_or(|known| known.time_unix_ns <= status.time_unix_ns);
        if newer && (self.nodes.len() < MAX_NODES || self.nodes.contains_key(&status.node)) {
            self.nodes.insert(status.node.clone(), status);
        }
    }
}

struct Filter<'a> {
    classes: Vec<&'a str>,
    namespace: Option<&'a str>,
    workload: Option<&'a str>,
}

impl<'a> Filter<'a> {
    fn of(query: &'a AuditQuery) -> Self {
        let given = |text: &'a Option<String>| {
            text.as_deref()
                .map(str::trim)
                .filter(|text| !text.is_empty())
        };
        let classes = given(&query.class).unwrap_or_default();
        Self {
            classes: classes
                .split(',')
                .map(str::trim)
                .filter(|class| !class.is_empty())
                .collect(),
            namespace: given(&query.namespace),
            workload: given(&query.workload),
        }
    }

    fn matches(&self, record: &AuditRecord) -> bool {
        let class = record.class();
        let is_imds = matches!(record.event, AuditEvent::Imds(_));
        let of_class = |wanted: &&str| {
            class.eq_ignore_ascii_case(wanted) || (is_imds && wanted.eq_ignore_ascii_case("imds"))
        };
        (self.classes.is_empty() || self.classes.iter().any(of_class))
            && self
                .namespace
                .is_none_or(|namespace| record.name("namespace") == Some(namespace))
            && self
                .workload
                .is_none_or(|workload| record.name("workload_name") == Some(workload))
    }
}

/// A time, or an age before now.
pub fn since_unix_ns(text: &str, now_unix_ns: u64) -> Result<u64, QueryError> {
    let refused = || QueryError::Since(text.to_owned());
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(u64::try_from(time.as_nanosecond()).unwrap_or(0));
    }
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits.parse().map_err(|_| refused())?;
    let seconds: u64 = match text.strip_prefix(digits) {
        Some("s") => 1,
        Some("m") => 60,
        Some("h") => 3600,
        Some("d") => 86_400,
        _ => return Err(refused()),
    };
    Ok(now_unix_ns.saturating_sub(number.saturating_mul(seconds).saturating_mul(1_000_000_000)))
}

/// The document of `/api/v1/audit`.
pub fn document(found: &[Arc<AuditRecord>], more: bool, now_unix_ns: u64) -> Value {
    serde_json::json!({
        "schema": SCHEMA,
        "as_of": rfc3339(now_unix_ns),
        "more": more,
        "events": found.iter().map(|record| record.to_document()).collect::<Vec<_>>(),
    })
}
