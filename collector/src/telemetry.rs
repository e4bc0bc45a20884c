//! What the collector says of itself: its metrics, every one of them here but the door's
//! ([`Counts`](crate::ingest::Counts)), and the set-up of its log.
//!
//! Counts that live elsewhere are copied in by [`Metrics::show`]; nothing is counted twice. Labels
//! come from closed sets: stages, classes, destinations, fates, status classes.
//! `docs/metrics.md` is generated from a fresh registry.

mod families;

use std::sync::atomic::Ordering;

use prometheus_client::metrics::counter::Counter;

pub use families::Metrics;
use families::{
    ClassLabels, DecisionLabels, DestinationLabels, DoorLabels, FateLabels, ReasonLabels,
    RefusalLabels, StatusLabels,
};

use crate::api::StageRow;
use crate::history::HistoryStats;
use crate::ingest::watch::Watched;
use crate::reader::ReaderState;

/// What every metric's name begins with.
pub const PREFIX: &str = "plimsoll_collector";

/// One class's journal.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct JournalRow {
    /// The class.
    pub class: &'static str,
    /// Bytes on disk and in memory.
    pub bytes: u64,
    /// Of which wait for the disk.
    pub pending_bytes: u64,
    /// Segment files; `None` if the folder could not be listed.
    pub segments: Option<u64>,
    /// Records, read by everybody or not.
    pub records: u64,
    /// Age of the oldest record, seconds; 0 without records.
    pub oldest_s: f64,
    /// Places of damage found at the start.
    pub damaged: u64,
    /// Files that could not be read or synced at the start.
    pub unreadable: u64,
    /// Numbers found missing at the start.
    pub missing: u64,
}

/// One destination of a journal.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReaderRow {
    /// Its name.
    pub destination: String,
    /// How its reader fares.
    pub state: ReaderState,
    /// Age of the oldest record that it could not take, seconds; 0 while nothing is stuck.
    pub stuck_s: f64,
}

/// One sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OutletRow {
    /// Its name.
    pub destination: String,
    /// Events that it has under another time than their own.
    pub restamped: u64,
    /// Events that it may have twice.
    pub maybe_twice: u64,
    /// Refusals by what is to be done about them.
    pub refusals: Vec<(&'static str, u64)>,
}

/// The audit trail.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TrailRow {
    /// Bytes on disk and in memory.
    pub bytes: u64,
    /// Records, those that all destinations have included until they are removed.
    pub records: u64,
    /// Age of the oldest, seconds; 0 without any.
    pub oldest_s: f64,
    /// Links of this life's epoch.
    pub links: u64,
    /// Links that no checkpoint vouches for.
    pub unsigned: u64,
}

/// The nodes' streams of one class.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StreamsRow {
    /// The class.
    pub class: &'static str,
    /// Streams remembered.
    pub streams: u64,
    /// Of these, with numbers that never came.
    pub with_gaps: u64,
    /// Numbers that never came.
    pub missing: u64,
}

/// The audit file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkRow {
    /// Lines written.
    pub lines: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files put aside.
    pub rotations: u64,
    /// Files removed.
    pub removed: u64,
}

/// The inventory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InventoryRow {
    /// Objects known now.
    pub objects: u64,
    /// Deleted objects whose names are kept now.
    pub deleted: u64,
    /// Deleted objects whose names fell out before their time.
    pub forgotten: u64,
    /// Owners of a kind that was not looked for, because too many others were to be.
    pub unheard: u64,
    /// Times it was read because files changed.
    pub reloads: u64,
    /// Files and objects left out, over all reads.
    pub problems: u64,
}

/// The books of the collector at one moment; what is unknown is `None` and keeps its last value.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// Fates by stage, class and destination, of the collector's own stages.
    pub stages: Vec<StageRow>,
    /// The journals.
    pub journals: Vec<JournalRow>,
    /// Their readers.
    pub readers: Vec<ReaderRow>,
    /// The nodes' streams.
    pub streams: Vec<StreamsRow>,
    /// The usage history.
    pub history: HistoryStats,
    /// Length of its file, bytes.
    pub history_file_bytes: Option<u64>,
    /// The audit file.
    pub sink: SinkRow,
    /// The audit trail.
    pub trail: TrailRow,
    /// The sinks.
    pub outlets: Vec<OutletRow>,
    /// The inventory.
    pub inventory: InventoryRow,
    /// Nodes under whose name two agents send.
    pub nodes_with_two_agents: u64,
    /// Nodes that were let go of: not heard for a day, or too many.
    pub nodes_let_go: u64,
    /// Agents by whether they are heard.
    pub watched: Watched,
    /// HTTP answers by class of status.
    pub requests: Vec<(&'static str, u64)>,
    /// HTTP connections refused or broken off, by reason.
    pub http_refused: Vec<(&'static str, u64)>,
    /// Decisions about who may see what, by what they were.
    pub http_access: Vec<(&'static str, u64)>,
    /// Answers of the API server about users and rights that are remembered.
    pub http_answers: u64,
    /// HTTP connections that are open.
    pub http_connections: u64,
    /// When the certificate of each door ends, Unix seconds.
    pub certificates: Vec<(&'static str, i64)>,
    /// Senders' connections that are open.
    pub ingest_connections: u64,
    /// Bytes set aside for the requests in the receiver's hands.
    pub in_hand_bytes: u64,
    /// The collector's CPU time, nanoseconds.
    pub cpu_ns: Option<u64>,
    /// The collector's resident memory, bytes.
    pub rss_bytes: Option<u64>,
}

impl Metrics {
    /// Copies the books into the metrics.
    pub fn show(&self, books: &Books) {
        for row in &books.stages {
            self.show_fates(row);
        }
        for row in &books.journals {
            self.show_journal(row);
        }
        for row in &books.readers {
            let labels = DestinationLabels {
                destination: row.destination.clone(),
            };
            set(
                &self.destination_failures.get_or_create(&labels),
                row.state.failures,
            );
            set(
                &self.destination_renewals.get_or_create(&labels),
                row.state.renewals,
            );
            self.destination_stuck
                .get_or_create(&labels)
                .set(row.stuck_s);
        }
        for row in &books.outlets {
            self.show_outlet(row);
        }
        for row in &books.streams {
            let labels = ClassLabels { class: row.class };
            for (family, count) in [
                (&self.streams, row.streams),
                (&self.streams_with_gaps, row.with_gaps),
                (&self.stream_missing, row.missing),
            ] {
                family.get_or_create(&labels).set(signed(count));
            }
        }
        for (status, count) in &books.requests {
            set(
                &self.requests.get_or_create(&StatusLabels { status }),
                *count,
            );
        }
        for (decision, count) in &books.http_access {
            let labels = DecisionLabels { decision };
            set(&self.http_access.get_or_create(&labels), *count);
        }
        for (door, ends_unix_s) in &books.certificates {
            let ends = self.certificate_expiry.get_or_create(&DoorLabels { door });
            ends.set(*ends_unix_s);
        }
        for (reason, count) in &books.http_refused {
            set(
                &self.http_refused.get_or_create(&ReasonLabels { reason }),
                *count,
            );
        }
        self.show_singles(books);
    }

    fn show_outlet(&self, row: &OutletRow) {
        let labels = DestinationLabels {
            destination: row.destination.clone(),
        };
        set(
            &self.destination_restamped.get_or_create(&labels),
            row.restamped,
        );
        set(
            &self.destination_maybe_twice.get_or_create(&labels),
            row.maybe_twice,
        );
        for (reason, count) in &row.refusals {
            let labels = RefusalLabels {
                destination: row.destination.clone(),
                reason,
            };
            set(&self.destination_refusals.get_or_create(&labels), *count);
        }
    }

    fn show_singles(&self, books: &Books) {
        self.trail_bytes.set(signed(books.trail.bytes));
        self.trail_records.set(signed(books.trail.records));
        self.trail_oldest.set(books.trail.oldest_s);
        self.trail_links.set(signed(books.trail.links));
        self.trail_unsigned.set(signed(books.trail.unsigned));
        self.history_series.set(signed(books.history.series));
        self.history_max_series
            .set(signed(books.history.max_series));
        self.history_bytes.set(signed(books.history.bytes));
        self.history_undecodable
            .set(signed(books.history.undecodable));
        self.inventory_objects.set(signed(books.inventory.objects));
        self.inventory_deleted.set(signed(books.inventory.deleted));
        self.two_agents.set(signed(books.nodes_with_two_agents));
        self.agents_silent.set(signed(books.watched.silent));
        self.http_answers.set(signed(books.http_answers));
        self.http_connections.set(signed(books.http_connections));
        self.ingest_connections
            .set(signed(books.ingest_connections));
        self.in_hand.set(signed(books.in_hand_bytes));
        for (counter, count) in [
            (&self.history_windows, books.history.applied),
            (&self.history_folded, books.history.folded),
            (&self.history_expired, books.history.expired),
            (&self.history_rejected, books.history.rejected),
            (&self.nodes_let_go, books.nodes_let_go),
            (&self.agents_rewound, books.watched.rewound),
            (&self.sink_lines, books.sink.lines),
            (&self.sink_bytes, books.sink.bytes),
            (&self.sink_rotations, books.sink.rotations),
            (&self.sink_removed, books.sink.removed),
            (&self.inventory_reloads, books.inventory.reloads),
            (&self.inventory_problems, books.inventory.problems),
            (&self.inventory_forgotten, books.inventory.forgotten),
            (&self.inventory_unheard, books.inventory.unheard),
        ] {
            set(counter, count);
        }
        if let Some(bytes) = books.history_file_bytes {
            self.history_file_bytes.set(signed(bytes));
        }
        if let Some(cpu_ns) = books.cpu_ns {
            let seconds = cpu_ns as f64 / 1e9;
            self.cpu_seconds
                .inner()
                .store(seconds.to_bits(), Ordering::Relaxed);
        }
        if let Some(rss_bytes) = books.rss_bytes {
            self.rss_bytes.set(signed(rss_bytes));
        }
    }

    fn show_journal(&self, row: &JournalRow) {
        let labels = ClassLabels { class: row.class };
        for (family, count) in [
            (&self.journal_bytes, Some(row.bytes)),
            (&self.journal_pending_bytes, Some(row.pending_bytes)),
            (&self.journal_segments, row.segments),
            (&self.journal_records, Some(row.records)),
            (&self.journal_damaged, Some(row.damaged)),
            (&self.journal_unreadable, Some(row.unreadable)),
            (&self.journal_missing, Some(row.missing)),
        ] {
            if let Some(count) = count {
                family.get_or_create(&labels).set(signed(count));
            }
        }
        self.journal_oldest.get_or_create(&labels).set(row.oldest_s);
    }

    fn show_fates(&self, row: &StageRow) {
        let labels = |fate| FateLabels {
            stage: row.stage.clone(),
            class: row.class.clone(),
            destination: row.destination.clone().unwrap_or_default(),
            fate,
        };
        for (fate, count) in row.fates.totals() {
            set(&self.records.get_or_create(&labels(fate)), count);
        }
        self.in_flight
            .get_or_create(&labels("in_flight"))
            .set(signed(row.fates.in_flight));
    }
}

fn set(counter: &Counter, count: u64) {
    counter.inner().store(count, Ordering::Relaxed);
}

/// Gauges are signed; a count beyond 2⁶³ is shown as that.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Why the program ends is told under this name, whatever the filter.
const LAST_WORDS: &str = "plimsoll_collector::end";

/// The client of the API server tells each question that fails as an error, and repeats what came back.
/// Who asks says so once, and without tokens, see `cluster::reviews`; strangers can make it ask. What its watcher
/// meets is said by who follows, see `cluster::follow`, and not for each line of a stream.
const QUIET: &str = "kube_client::client=off,kube_runtime::watcher=off,aws_smithy_runtime=info,aws_smithy_http_client=info,\
     aws_sigv4=info,aws_config=info,aws_runtime=info";

/// The log goes to standard error, as JSON lines where `json` is set. `filter` is a level or
/// `module=level` pairs, see [`plimsoll_settings::log_filter`]; one that cannot be used falls back to
/// `info`, and says so. [`last_words`] are always shown.
pub fn start_log(filter: &str, json: bool) {
    let wanted = plimsoll_settings::log_filter(filter);
    let refused = wanted.as_ref().err().cloned();
    let taken = wanted.unwrap_or_else(|_| "info".to_owned());
    let builder = tracing_subscriber::fmt()
        .with_env_filter(format!("{taken},{QUIET},{LAST_WORDS}=error"))
        // Where a line cannot be written, neither can the word that says so, and that would be a panic.
        .log_internal_errors(false)
        .with_writer(std::io::stderr);
    if json {
        builder.json().init();
    } else {
        builder.with_ansi(false).init();
    }
    if let Some(error) = refused {
        tracing::warn!(error, filter, "log filter is not usable, taking info");
    }
}

/// Why the program cannot begin or go on; shown whatever the filter is.
pub fn last_words(why: &str) {
    tracing::error!(target: LAST_WORDS, "{why}");
}

#[cfg(test)]
mod tests {
    use plimsoll_wire::fate::Fates;

    use prometheus_client::registry::Registry;

    use super::*;

    /// Every field another number, so that a metric that shows the wrong one is found.
    fn books() -> Books {
        let fates = Fates {
            emitted: 7,
            quarantined: 1,
            delivered: 2,
            in_flight: 4,
            ..Fates::default()
        };
        Books {
            stages: vec![StageRow {
                node: None,
                stage: "journal".into(),
                class: "security".into(),
                destination: Some("file".into()),
                fates,
            }],
            journals: vec![JournalRow {
                class: "usage",
                bytes: 11,
                pending_bytes: 12,
                segments: Some(13),
                records: 14,
                oldest_s: 1.5,
                damaged: 16,
                missing: 17,
                unreadable: 18,
            }],
            readers: vec![ReaderRow {
                destination: "file".into(),
                state: ReaderState {
                    failures: 21,
                    renewals: 22,
                    stuck_since_unix_ns: None,
                },
                stuck_s: 2.5,
            }],
            streams: vec![StreamsRow {
                class: "usage",
                streams: 31,
                with_gaps: 32,
                missing: 33,
            }],
            history: HistoryStats {
                series: 41,
                bytes: 42,
                cursor: 43,
                expired: 44,
                undecodable: 45,
                applied: 46,
                folded: 47,
                rejected: 49,
                max_series: 50,
                full: true,
            },
            history_file_bytes: Some(48),
            sink: SinkRow {
                lines: 51,
                bytes: 52,
                rotations: 53,
                removed: 54,
            },
            trail: TrailRow {
                bytes: 81,
                records: 82,
                oldest_s: 83.5,
                links: 84,
                unsigned: 85,
            },
            outlets: vec![OutletRow {
                destination: "siem".into(),
                restamped: 86,
                maybe_twice: 87,
                refusals: vec![("denied", 88)],
            }],
            inventory: InventoryRow {
                objects: 61,
                deleted: 64,
                forgotten: 65,
                unheard: 77,
                reloads: 62,
                problems: 63,
            },
            nodes_with_two_agents: 66,
            watched: Watched {
                heard: 65,
                silent: 64,
                rewound: 63,
            },
            nodes_let_go: 67,
            requests: vec![("2xx", 71)],
            http_refused: vec![("slow", 72)],
            http_access: vec![("denied", 76)],
            http_answers: 77,
            certificates: vec![("http", 78)],
            http_connections: 73,
            ingest_connections: 74,
            in_hand_bytes: 75,
            cpu_ns: Some(8_500_000_000),
            rss_bytes: Some(91),
        }
    }

    #[test]
    fn every_metric_is_touched_by_the_books() {
        let metrics = Metrics::default();
        let mut registry = Registry::with_prefix(PREFIX);
        metrics.register(&mut registry);
        metrics.show(&books());
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        let values: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#') && !line.contains("fate="))
            .collect();
        let mut fates: Vec<&str> = text
            .lines()
            .filter(|line| line.contains("fate=") && !line.ends_with(" 0"))
            .collect();
        fates.sort_unstable();
        insta::assert_snapshot!([fates, values].concat().join("\n"));
    }
}
