//! Where every record is: the counts of all stages in one document, and whether the law holds.
//! Pure: the owner hands in what the stages counted.

use std::collections::BTreeMap;

use plimsoll_wire::event::Heartbeat;
use plimsoll_wire::fate::Fates;
use plimsoll_wire::{AuditEvent, Class};
use serde::Serialize;

use crate::ingest::dedupe::Stream;
use crate::ingest::store::{HISTORY, Store};
use crate::sink::FileSink;

/// Nodes whose last heartbeat is kept.
const MAX_NODES: usize = 16_384;

/// Counts of one stage and class.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Stage {
    /// Node, of a stage on one.
    pub node: Option<String>,
    /// `security_ring`, `agent`, `spool`, `ingest`, `file_sink`, ….
    pub stage: String,
    /// Class or record kind.
    pub class: String,
    /// The counts, since the start of that process.
    pub fates: Fates,
    /// Emitted minus all fates: 0, or a bug.
    pub unaccounted: i64,
}

/// A stream with numbers that never came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gap {
    /// Node name.
    pub node: String,
    /// Life of its spool.
    pub epoch: String,
    /// Stream.
    pub class: Class,
    /// How many never came.
    pub missing: u64,
    /// The newest ranges, from and to inclusive.
    pub ranges: Vec<(u64, u64)>,
}

/// `/api/v1/accounting`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Document {
    /// `plimsoll.accounting/v1`.
    pub schema: &'static str,
    /// Nothing is unaccounted for at any stage.
    pub balanced: bool,
    /// Every stage.
    pub stages: Vec<Stage>,
    /// Streams with gaps; a loss record of the node explains each, or records were taken away.
    pub gaps: Vec<Gap>,
}

/// The last heartbeat of each node.
#[derive(Clone, Debug, Default)]
pub struct Heartbeats {
    nodes: BTreeMap<String, (u64, Heartbeat)>,
}

impl Heartbeats {
    /// Takes a heartbeat; anything else, and an older one, changes nothing.
    pub fn see(&mut self, node: &str, time_unix_ns: u64, event: &AuditEvent) {
        let AuditEvent::Heartbeat(heartbeat) = event else {
            return;
        };
        let is_newer = self
            .nodes
            .get(node)
            .is_none_or(|(time, _)| *time <= time_unix_ns);
        if is_newer && (self.nodes.len() < MAX_NODES || self.nodes.contains_key(node)) {
            self.nodes
                .insert(node.to_owned(), (time_unix_ns, heartbeat.clone()));
        }
    }

    /// Node, time (Unix nanoseconds) and heartbeat.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64, &Heartbeat)> {
        self.nodes
            .iter()
            .map(|(node, (time, heartbeat))| (node.as_str(), *time, heartbeat))
    }
}

fn stage(node: Option<&str>, stage: &str, class: &str, fates: Fates) -> Stage {
    let unaccounted = fates.unaccounted();
    Stage {
        node: node.map(ToOwned::to_owned),
        stage: stage.to_owned(),
        class: class.to_owned(),
        fates,
        unaccounted: i64::try_from(unaccounted).unwrap_or(if unaccounted < 0 {
            i64::MIN
        } else {
            i64::MAX
        }),
    }
}

/// The document of these counts; `own` are the collector's stages.
pub fn document(
    heartbeats: &Heartbeats,
    own: Vec<(&str, Class, Fates)>,
    streams: &[Stream],
) -> Document {
    let mut stages: Vec<Stage> = heartbeats
        .iter()
        .flat_map(|(node, _, heartbeat)| {
            heartbeat
                .stages
                .iter()
                .map(move |told| stage(Some(node), &told.stage, &told.class, told.fates))
        })
        .collect();
    stages.extend(
        own.into_iter()
            .map(|(name, class, fates)| stage(None, name, class.as_str(), fates)),
    );
    let gaps = streams
        .iter()
        .filter(|stream| stream.missing > 0)
        .map(|stream| Gap {
            node: stream.node.clone(),
            epoch: stream.epoch.clone(),
            class: stream.class,
            missing: stream.missing,
            ranges: stream.gaps.clone(),
        });
    Document {
        schema: "plimsoll.accounting/v1",
        balanced: stages.iter().all(|stage| stage.unaccounted == 0),
        gaps: gaps.collect(),
        stages,
    }
}

/// The document of a running collector.
pub fn of(heartbeats: &Heartbeats, store: &Store, sink: &FileSink) -> Document {
    let mut own: Vec<(&str, Class, Fates)> = Class::ALL
        .into_iter()
        .map(|class| ("ingest", class, store.counts.fates(class)))
        .collect();
    own.push(("file_sink", Class::Security, sink.fates()));
    let waiting = store.waiting(Class::Usage, HISTORY);
    own.push((
        "history",
        Class::Usage,
        Fates {
            emitted: waiting,
            in_flight: waiting,
            ..Fates::default()
        },
    ));
    document(heartbeats, own, &store.streams())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The law holds for counts that sum up, and one record more or less shows.
        #[test]
        fn a_lost_record_shows(parts in any::<[u16; 9]>(), off in -2i64..3) {
            let [lost, undecodable, filtered, shed, expired, rejected, quarantined, delivered, in_flight] = parts.map(u64::from);
            let sum = parts.iter().map(|part| i64::from(*part)).sum::<i64>() + off;
            prop_assume!(sum >= 0);
            let fates = Fates {
                emitted: sum.unsigned_abs(), lost, undecodable, filtered, shed, expired, rejected, quarantined, delivered, in_flight,
            };
            let document = document(&Heartbeats::default(), vec![("ingest", Class::Usage, fates)], &[]);
            prop_assert_eq!(document.balanced, off == 0);
            prop_assert_eq!(document.stages[0].unaccounted, off);
        }
    }
}
