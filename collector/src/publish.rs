//! From the security journal into the trail: names, OCSF, in the order of the journal.
//!
//! An event waits here for names that may still come, and all behind it: what is in the trail is not written again.
//! What the collector shows of recent events is what the audit file has. Does not know how names are found.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_journal::{FileStorage, Record, Storage};
use plimsoll_wire::AuditEvent;
use serde_json::{Map, Value};

use crate::api::{self, AuditRecord};
use crate::ingest::decode::{self, PayloadError};
use crate::ingest::placed::Elsewhere;
use crate::ocsf::{bound, event};
use crate::reader::{Destination, Resumed, Taken};
use crate::trail::{Draft, MAX_EVENT_BYTES, Trail, TrailError};

/// Of the collector, as events say it.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What is known of the subject of an event.
#[derive(Debug, Default)]
pub struct Known {
    /// Its names, as they stand beside the event.
    pub names: Map<String, Value>,
    /// Its pod, if that is on another node than the one that tells of it.
    pub elsewhere: Option<Elsewhere>,
}

/// What is known of the subject of an event that a node tells of.
pub type Join = Arc<dyn Fn(&str, &AuditEvent) -> Known + Send + Sync>;

/// Told of each event that was written without names because that pod is not on its node.
pub type Misplaced = Arc<dyn Fn(&str, &Elsewhere) + Send + Sync>;

/// Whether the names of an event's subject may still come.
pub type Pending = Arc<dyn Fn(&AuditEvent) -> bool + Send + Sync>;

/// From its arrival an event waits so long at the most while names are not told.
const INTERRUPTED: Duration = Duration::from_mins(1);

/// How long an event may wait for its names.
#[derive(Clone)]
pub struct NameWait {
    /// From the time at which the record came into the journal.
    pub within: Duration,
    /// Asked of each event that is young enough.
    pub pending: Pending,
    /// Whether names are only now being told, so that the age of an event says nothing.
    pub listing: Arc<dyn Fn() -> bool + Send + Sync>,
    /// Whether names are not told for now: then there is more time, a minute, unless there is none at all.
    pub interrupted: Arc<dyn Fn() -> bool + Send + Sync>,
}

impl NameWait {
    /// Nothing waits: nothing could name it later.
    pub fn none() -> Self {
        Self {
            within: Duration::ZERO,
            pending: Arc::new(|_| false),
            listing: Arc::new(|| false),
            interrupted: Arc::new(|| false),
        }
    }

    /// Whether there is time left for an event of that time that arrived then. What was old when it
    /// came, as a node's backlog, does not wait: its pod was listed long ago or never. A clock that was
    /// set back makes nobody wait for longer than the bound.
    fn is_open(&self, event_unix_ns: u64, arrived_unix_ns: u64, now_unix_ns: u64) -> bool {
        if (self.listing)() {
            return true;
        }
        let waited = now_unix_ns.checked_sub(arrived_unix_ns);
        let age_at_arrival = arrived_unix_ns.saturating_sub(event_unix_ns);
        let is_young = |within: Duration| {
            let within = u64::try_from(within.as_nanos()).unwrap_or(u64::MAX);
            age_at_arrival < within && waited.is_some_and(|waited| waited < within)
        };
        let may_be_longer = !self.within.is_zero() && is_young(INTERRUPTED);
        is_young(self.within) || (may_be_longer && (self.interrupted)())
    }
}

/// See the module.
pub struct Publisher<S = FileStorage> {
    trail: Trail<S>,
    join: Join,
    wait: NameWait,
    misplaced: Misplaced,
    /// What was written of a journal before there was a trail: its epoch, and its last number.
    had: Option<(String, u64)>,
}

impl<S> std::fmt::Debug for Publisher<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl<S: Storage> Publisher<S> {
    /// Names events by `join`, at once.
    pub fn new(trail: Trail<S>, join: Join) -> Self {
        Self {
            trail,
            join,
            wait: NameWait::none(),
            misplaced: Arc::new(|_, _| ()),
            had: None,
        }
    }

    /// Lets events wait for names that may still come.
    #[must_use]
    pub fn waiting(mut self, wait: NameWait) -> Self {
        self.wait = wait;
        self
    }

    /// Leaves out of a trail that has nothing yet what the audit file has of that journal, up to this number: an
    /// earlier version wrote it there, and may have been killed before its cursor said so.
    #[must_use]
    pub fn behind(mut self, had: Option<(String, u64)>) -> Self {
        self.had = had;
        self
    }

    /// Tells of events that turn out to be about pods elsewhere.
    #[must_use]
    pub fn telling(mut self, misplaced: Misplaced) -> Self {
        self.misplaced = misplaced;
        self
    }
}

impl Publisher {
    /// Of the destination.
    pub const NAME: &'static str = "trail";
}

/// What a journal record says, with what the journal says of it.
#[derive(Debug)]
pub struct Item {
    seq: u64,
    /// When it came into the journal, Unix nanoseconds.
    arrived_unix_ns: u64,
    audit: AuditRecord,
}

impl<S: Storage + Send + 'static> Destination for Publisher<S> {
    type Item = Item;
    type Error = TrailError;
    const BATCH: usize = 512;

    fn name(&self) -> &str {
        Publisher::NAME
    }

    fn resume(&mut self, epoch: &str) -> Result<Resumed, TrailError> {
        let (known, last_seq) = self.trail.published()?;
        let is_known = known == epoch;
        let had = self.had.as_ref().filter(|(of, _)| of == epoch);
        let had = had.filter(|_| known.is_empty());
        Ok(Resumed {
            last_seq: if is_known {
                last_seq
            } else {
                had.map_or(0, |(_, seq)| *seq)
            },
            renewed: !is_known && !known.is_empty(),
        })
    }

    fn decode(record: &Record) -> Result<Self::Item, PayloadError> {
        let (id, time_unix_ns, event) = decode::audit_event(&record.payload)?;
        Ok(Item {
            seq: record.seq,
            arrived_unix_ns: record.time_unix_ns,
            audit: AuditRecord {
                time_unix_ns,
                id,
                event,
                names: Map::new(),
            },
        })
    }

    fn holds(&self, _: &Record, item: &Item, now_unix_ns: u64) -> bool {
        let of = &item.audit;
        self.wait
            .is_open(of.time_unix_ns, item.arrived_unix_ns, now_unix_ns)
            && (self.wait.pending)(&of.event)
    }

    fn take(
        &mut self,
        items: Vec<Self::Item>,
        epoch: &str,
        last_seq: u64,
    ) -> Result<Taken, TrailError> {
        let (mut drafts, mut misplaced) = (Vec::with_capacity(items.len()), Vec::new());
        for Item { seq, mut audit, .. } in items {
            let known = (self.join)(&audit.id.node, &audit.event);
            audit.names = known.names;
            misplaced.extend(known.elsewhere.map(|pod| (audit.id.node.clone(), pod)));
            drafts.push(draft(&audit, seq));
        }
        self.trail.publish(drafts, epoch, api::unix_ns())?;
        for (node, pod) in &misplaced {
            (self.misplaced)(node, pod);
        }
        Ok(Taken::all(last_seq))
    }
}

/// The record as the trail takes it. Pure.
fn draft(audit: &AuditRecord, source_seq: u64) -> Draft {
    // The keys of both are texts: neither can fail.
    let event = serde_json::to_value(event::of(audit, VERSION)).unwrap_or_default();
    let mut event = match event {
        Value::Object(members) => members,
        _ => Map::new(),
    };
    bound::bound(&mut event, MAX_EVENT_BYTES - CHAIN_BYTES);
    Draft {
        event,
        document: serde_json::to_string(&audit.document()).unwrap_or_default(),
        time_unix_ns: audit.time_unix_ns,
        source_seq,
    }
}

/// What becoming a link adds to an event, and more.
const CHAIN_BYTES: usize = 512;
