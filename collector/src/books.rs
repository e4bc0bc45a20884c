#![expect(
    clippy::disallowed_methods,
    reason = "shell: looks at the size of its own files and at its own use"
)]
//! The collector's books at one moment, gathered from the parts that keep them: for the metrics and
//! for the accounting document.
//!
//! Counts nothing itself but the inventory's reads. What the numbers are called is in `telemetry`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use plimsoll_journal::Recovery;
use plimsoll_wire::{Class, stage};
use rustix::time::ClockId;

use crate::api::{self, AuditRing, Gap, Health, Requests, StageRow};
use crate::cluster::Clock;
use crate::cluster::census::Census;
use crate::history::History;
use crate::history::feed::Feed;
use crate::ingest::Store;
use crate::inventory::{IndexReader, LastLook, Reloaded};
use crate::outlet;
use crate::publish::Publisher;
use crate::reader::{Reader, Source};
use crate::sink::{FileSink, Written};
use crate::sinks::RefusalKind;
use crate::telemetry::{
    Books, InventoryRow, JournalRow, OutletRow, ReaderRow, SinkRow, StreamsRow, TrailRow,
};
use crate::tls::Shown;
use crate::trail::Trail;

/// What the reads of the inventory came to.
#[derive(Debug, Default)]
pub struct InventoryBooks(Mutex<InventoryRow>);

impl InventoryBooks {
    /// Notes a read that found something, or the first.
    pub fn note(&self, found: &Reloaded) {
        let mut row = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        row.reloads += 1;
        row.problems += found.problems.len() as u64;
    }

    fn row(&self) -> InventoryRow {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What keeps the books of a sink.
#[derive(Clone, Debug)]
pub struct OutletSource {
    /// Its name.
    pub name: String,
    /// Its reader.
    pub reader: Arc<Reader<Trail>>,
    /// What it did.
    pub stats: Arc<outlet::Stats>,
}

/// The parts that keep books.
#[derive(Clone)]
pub struct Sources {
    /// The state's folder.
    pub data: PathBuf,
    /// The journals.
    pub store: Store,
    /// What was found in them at the start.
    pub found: Arc<Vec<(Class, Recovery)>>,
    /// The audit trail.
    pub trail: Trail,
    /// What publishes the security journal in it.
    pub published: Arc<Reader>,
    /// The audit file's reader.
    pub file: Arc<Reader<Trail>>,
    /// The sinks.
    pub outlets: Vec<OutletSource>,
    /// The history's reader.
    pub usage: Arc<Reader>,
    /// The history.
    pub history: Arc<History>,
    /// The history's file.
    pub history_path: PathBuf,
    /// What the audit file got.
    pub written: Arc<Written>,
    /// The inventory's reads.
    pub inventory: Arc<InventoryBooks>,
    /// What the last look at the inventory's files left.
    pub last_look: LastLook,
    /// What the inventory says now.
    pub index: IndexReader,
    /// What is followed at the API server, if anything is.
    pub census: Option<Arc<Census>>,
    /// What time it is.
    pub clock: Clock,
    /// The nodes' last words.
    pub ring: Arc<AuditRing>,
    /// HTTP answers.
    pub requests: Arc<Requests>,
    /// The dashboard's certificate, with TLS.
    pub shown: Option<Arc<Shown>>,
}

impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources")
            .field("data", &self.data)
            .finish_non_exhaustive()
    }
}

impl Sources {
    /// The collector's own stages, in the order that a record passes them.
    pub fn stages(&self) -> Vec<StageRow> {
        let door = Class::ALL.map(|class| StageRow {
            node: None,
            stage: stage::INGEST.to_owned(),
            class: class.as_str().to_owned(),
            destination: None,
            fates: self.store.counts.fates(class),
        });
        let mut rows = door.to_vec();
        rows.push(self.published.row(Publisher::NAME));
        rows.push(self.file.row(FileSink::NAME));
        rows.extend(
            self.outlets
                .iter()
                .map(|outlet| outlet.reader.row(&outlet.name)),
        );
        rows.push(self.usage.row(Feed::NAME));
        rows
    }

    /// Streams with numbers that never came.
    pub fn gaps(&self) -> Vec<Gap> {
        let streams = self.store.streams().into_iter();
        streams
            .filter(|stream| stream.missing() > 0)
            .map(|stream| Gap {
                missing: stream.missing(),
                ranges: stream.gaps().to_vec(),
                class: stream.class.as_str().to_owned(),
                node: stream.node,
                epoch: stream.epoch,
            })
            .collect()
    }

    /// What is wrong now. Only a journal that cannot be written keeps records out: they wait in it for
    /// whoever cannot take them, and for names.
    pub fn health(&self) -> Health {
        let outlets = self.outlets.iter();
        let outlets = outlets.map(|outlet| (outlet.name.as_str(), outlet.reader.failing()));
        let readers = [
            (Publisher::NAME, self.published.failing()),
            (FileSink::NAME, self.file.failing()),
            (Feed::NAME, self.usage.failing()),
        ];
        let stuck = readers
            .into_iter()
            .chain(outlets)
            .filter_map(|(name, failing)| Some((name, failing?)));
        let nameless = self.last_look.get().troubles.into_iter();
        let nameless = nameless.map(|trouble| ("inventory", trouble));
        let cluster = self.cluster_troubles().into_iter();
        let tokens = self.store.counts.unusable_tokens();
        let tokenless = tokenless(tokens).map(|told| ("ingest", told));
        let certificate = self.store.counts.certificate_trouble();
        let certificate = certificate.map(|why| {
            (
                "ingest",
                format!(
                    "the certificate has changed and cannot be used, the one before is shown: {why}"
                ),
            )
        });
        let upkeep = self.store.upkeep_fails();
        let upkeep = upkeep.map(|why| ("journal", format!("its upkeep fails: {why}")));
        let trail = self.trail.upkeep_fails();
        let trail = trail.map(|why| ("trail", format!("its upkeep fails: {why}")));
        let full = self.history.stats().trouble();
        let full = full.map(|trouble| (Feed::NAME, trouble));
        Health {
            refuses: self.store.refuses(),
            degraded: stuck
                .chain(nameless)
                .chain(cluster.map(|trouble| ("cluster", trouble)))
                .chain(tokenless)
                .chain(certificate)
                .chain(upkeep)
                .chain(trail)
                .chain(full)
                .map(|(what, why)| format!("{what}: {why}"))
                .collect(),
        }
    }

    fn cluster_troubles(&self) -> Vec<String> {
        let Some(census) = &self.census else {
            return Vec::new();
        };
        let mut troubles = census.troubles((self.clock)().since_start);
        if !census.is_synced() {
            troubles.push("its objects are not all known yet: names may be missing".to_owned());
        }
        troubles
    }

    /// Everything, now.
    pub fn books(&self) -> Books {
        let now_unix_ns = api::unix_ns();
        let cpu = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
        Books {
            stages: self.stages(),
            journals: Class::ALL
                .map(|class| self.journal(class, now_unix_ns))
                .to_vec(),
            readers: self.readers(now_unix_ns),
            streams: self.streams(),
            history: self.history.stats(),
            history_file_bytes: std::fs::metadata(&self.history_path)
                .ok()
                .map(|file| file.len()),
            sink: SinkRow {
                lines: self.written.lines.load(Ordering::Relaxed),
                bytes: self.written.bytes.load(Ordering::Relaxed),
                rotations: self.written.rotations.load(Ordering::Relaxed),
                removed: self.written.removed.load(Ordering::Relaxed),
            },
            trail: self.trail_row(now_unix_ns),
            outlets: self.outlets.iter().map(OutletSource::row).collect(),
            inventory: self.inventory_row(),
            nodes_with_two_agents: self.ring.nodes_with_two_agents(now_unix_ns),
            nodes_let_go: self.ring.nodes_let_go(),
            watched: self.store.watched(),
            requests: self.requests.by_class(),
            http_refused: self.requests.refused(),
            http_access: self.requests.decided(),
            http_answers: self.requests.answers_remembered(),
            http_connections: self.requests.connections(),
            certificates: [self.store.counts.shown(), self.shown.as_deref()]
                .into_iter()
                .flatten()
                .filter_map(|shown| {
                    let (door, ends_unix_s) = shown.expiry();
                    Some((door, ends_unix_s?))
                })
                .collect(),
            ingest_connections: self.store.counts.connections(),
            in_hand_bytes: self.store.counts.in_hand_bytes(),
            cpu_ns: std::time::Duration::try_from(cpu)
                .ok()
                .and_then(|time| u64::try_from(time.as_nanos()).ok()),
            rss_bytes: std::fs::read_to_string("/proc/self/status")
                .ok()
                .and_then(|status| resident_bytes(&status)),
        }
    }

    fn readers(&self, now_unix_ns: u64) -> Vec<ReaderRow> {
        let own = [
            reader(Publisher::NAME, &self.published, now_unix_ns),
            reader(FileSink::NAME, &self.file, now_unix_ns),
            reader(Feed::NAME, &self.usage, now_unix_ns),
        ];
        let outlets = self.outlets.iter();
        let outlets = outlets.map(|outlet| reader(&outlet.name, &outlet.reader, now_unix_ns));
        own.into_iter().chain(outlets).collect()
    }

    fn trail_row(&self, now_unix_ns: u64) -> TrailRow {
        let (stats, head) = (self.trail.stats(), self.trail.head());
        TrailRow {
            bytes: stats.bytes,
            records: stats.records,
            oldest_s: age_s(stats.oldest_unix_ns, now_unix_ns),
            links: head.seq,
            unsigned: head.seq.saturating_sub(head.signed_seq),
        }
    }

    fn inventory_row(&self) -> InventoryRow {
        let index = self.index.get();
        InventoryRow {
            objects: index.objects() as u64,
            deleted: index.gone() as u64,
            forgotten: index.forgotten(),
            unheard: index.unheard(),
            ..self.inventory.row()
        }
    }

    fn journal(&self, class: Class, now_unix_ns: u64) -> JournalRow {
        let stats = self.store.stats(class);
        let found = self.found.iter().find(|(of, _)| *of == class);
        let missing = found.map_or(0, |(_, recovery)| {
            recovery.missing.iter().fold(0_u64, |sum, (from, to)| {
                sum.saturating_add(to.saturating_sub(*from).saturating_add(1))
            })
        });
        JournalRow {
            class: class.as_str(),
            bytes: stats.bytes,
            pending_bytes: stats.pending_bytes,
            segments: segments(&self.data.join("journal").join(class.as_str())),
            records: stats.records,
            oldest_s: age_s(stats.oldest_unix_ns, now_unix_ns),
            unreadable: found.map_or(0, |(_, recovery)| recovery.unreadable.len() as u64),
            damaged: found.map_or(0, |(_, recovery)| recovery.damaged),
            missing,
        }
    }

    fn streams(&self) -> Vec<StreamsRow> {
        let mut rows = Class::ALL.map(|class| StreamsRow {
            class: class.as_str(),
            ..StreamsRow::default()
        });
        for stream in self.store.streams() {
            let of_class = |row: &&mut StreamsRow| row.class == stream.class.as_str();
            if let Some(row) = rows.iter_mut().find(of_class) {
                row.streams += 1;
                row.with_gaps += u64::from(stream.missing() > 0);
                row.missing = row.missing.saturating_add(stream.missing());
            }
        }
        rows.to_vec()
    }
}

impl OutletSource {
    fn row(&self) -> OutletRow {
        let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let refusals = RefusalKind::ALL.iter().zip(&self.stats.refusals);
        OutletRow {
            destination: self.name.clone(),
            restamped: count(&self.stats.restamped),
            maybe_twice: count(&self.stats.maybe_twice),
            refusals: refusals
                .map(|(kind, of)| (kind.label(), count(of)))
                .collect(),
        }
    }
}

fn reader<J: Source>(destination: &str, reader: &Reader<J>, now_unix_ns: u64) -> ReaderRow {
    let state = reader.state();
    ReaderRow {
        destination: destination.to_owned(),
        state,
        stuck_s: age_s(state.stuck_since_unix_ns, now_unix_ns),
    }
}

/// What is said of token files that cannot be used; nothing of none.
fn tokenless(unusable: i64) -> Option<String> {
    match unusable {
        ..=0 => None,
        1 => Some("1 unusable token file".to_owned()),
        n => Some(format!("{n} unusable token files")),
    }
}

/// Seconds since then; 0 for never, and while the clock is behind.
fn age_s(then_unix_ns: Option<u64>, now_unix_ns: u64) -> f64 {
    then_unix_ns.map_or(0.0, |then| now_unix_ns.saturating_sub(then) as f64 / 1e9)
}

/// Segment files in a journal's folder.
fn segments(folder: &Path) -> Option<u64> {
    let files = std::fs::read_dir(folder).ok()?;
    let segments = files.filter_map(Result::ok).filter(|file| {
        Path::new(&file.file_name())
            .extension()
            .is_some_and(|ext| ext == "plj")
    });
    Some(segments.count() as u64)
}

/// `VmRSS` of `/proc/<pid>/status`, which proc(5) gives in KiB.
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_in_its_unit() {
        let status = "Name:\tx\nVmHWM:\t   9000 kB\nVmRSS:\t    1234 kB\nThreads:\t3\n";
        assert_eq!(resident_bytes(status), Some(1234 * 1024));
        assert_eq!(resident_bytes("VmRSS:\t12 pages\n"), None);
        assert_eq!(resident_bytes("Name:\tx\n"), None);
    }

    #[test]
    fn unusable_token_files_are_told_in_their_number() {
        let told = [0, 1, 2].map(tokenless);
        let expect = [
            None,
            Some("1 unusable token file"),
            Some("2 unusable token files"),
        ];
        assert_eq!(told.each_ref().map(Option::as_deref), expect);
    }

    #[test]
    fn an_age_is_never_negative() {
        assert!((age_s(Some(1_000_000_000), 3_500_000_000) - 2.5).abs() < 1e-9);
        assert!(age_s(Some(5), 3).abs() < 1e-9);
        assert!(age_s(None, 3).abs() < 1e-9);
    }
}
