//! What one life of the collector consists of, opened and put together. Starts nothing, changes nothing of
//! the process and has no clock: `run` has.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use plimsoll_journal::{FileStorage, Recovery};
use plimsoll_wire::{AuditEvent, Class};
use prometheus_client::registry::Registry;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::keeper::IsThere;
use super::way::Way;
use super::{Reviewers, RunError};
use crate::api::{self, ApiState, AuditRing};
use crate::books::{InventoryBooks, OutletSource, Sources};
use crate::cluster::census::Census;
use crate::cluster::{self, Clock, Reviewer};
use crate::config::sinks::Sink;
use crate::config::{Config, Data};
use crate::connections::paced::Pace;
use crate::errors;
use crate::history::{History, HistoryError, Limits};
use crate::ingest::placed::{Elsewhere, Pods};
use crate::ingest::rate::Rate;
use crate::ingest::review::{self, Reviews};
use crate::ingest::store::{HISTORY, SINK};
use crate::ingest::{self, Store, StoreError, auth};
use crate::inventory::{IndexReader, IndexWriter, Inventory, LastLook, Reloaded};
use crate::join::{identity_of, is_pending, join_told_by};
use crate::publish::{Known, NameWait, Publisher};
use crate::reader::{Reader, Shelf};
use crate::sink::{self, FileSink};
use crate::telemetry::{self, Metrics};
use crate::trail::{self, Trail};

/// Records in one request; an agent sends at most 10,000.
const MAX_REQUEST_RECORDS: usize = 10_000;
/// Connections of senders at a time, and never more than half of the descriptors.
const MAX_CONNECTIONS: usize = 8192;
/// A sender connects when it has something to say.
const SENDERS_PACE: Pace = Pace {
    known_within: Some(Duration::from_secs(30)),
    taken_within: Duration::from_secs(30),
};
/// One request on its way in; an agent gives up sooner.
const REQUEST_WITHIN: Duration = Duration::from_secs(30);

/// Events wait so long at the most for the first listing of the cluster's objects, from the start on.
const FIRST_LISTING: Duration = Duration::from_mins(2);

/// See the module.
pub(super) struct Parts {
    /// All that keeps books.
    pub(super) sources: Sources,
    /// From the security journal into the trail, for its reader.
    pub(super) publisher: Publisher,
    /// The audit file, for its reader.
    pub(super) file: FileSink,
    /// The sinks, each with its reader.
    pub(super) outlets: Vec<(Arc<Reader<Trail>>, Way)>,
    pub(super) objects: Objects,
    /// What the inventory says now.
    pub(super) index: IndexReader,
}

/// Where the objects come from that containers are named by.
pub(super) enum Objects {
    /// From files.
    Files(Inventory),
    /// From the API server; what asks it writes here.
    Cluster(IndexWriter, Arc<Census>, kube::Client),
}

impl Objects {
    fn reader(&self) -> IndexReader {
        match self {
            Self::Files(inventory) => inventory.reader(),
            Self::Cluster(index, ..) => index.reader(),
        }
    }

    fn census(&self) -> Option<Arc<Census>> {
        match self {
            Self::Files(_) => None,
            Self::Cluster(_, census, _) => Some(Arc::clone(census)),
        }
    }
}

impl Parts {
    /// Opens what is in the folders, which exist; `life` as in [`AuditRing::of_life`].
    /// A `client` is there if the cluster is followed. Sinks call on that runtime, until that token.
    pub(super) fn open(
        config: &Config,
        client: Option<kube::Client>,
        life: u64,
        clock: &Clock,
        (runtime, last_call): (&Handle, &CancellationToken),
    ) -> Result<Self, RunError> {
        let data = &config.data.path;
        let (store, recoveries) = open_journals(data, config.data.max_journal_bytes)?;
        store.bound_age(config.data.max_journal_age_s.map(Duration::from_secs));
        let history_path = data.join("history.redb");
        let history = open_history(&history_path, config.history.max_series)?;
        let inventory_books = Arc::new(InventoryBooks::default());
        let (objects, last_look) = open_objects(config, client, &inventory_books);
        let index = objects.reader();
        let ring = Arc::new(AuditRing::of_life(life));
        let wait = name_wait(config, &index, objects.census(), clock);
        let sinks = config.sinks();
        let trail = open_trail(&config.data, &sinks)?;
        let file = open_audit_file(config, &ring);
        let (names, finds) = (index.clone(), store.clone());
        let names = Arc::new(move |node: &str, event: &AuditEvent| names_of(node, event, &names));
        let publisher = Publisher::new(trail.clone(), names)
            .waiting(wait)
            .behind(written_before(config, &store))
            .telling(Arc::new(move |node, pod| finds.found_elsewhere(node, pod)));
        let sources = Sources {
            data: data.clone(),
            found: Arc::new(recoveries),
            published: Arc::new(Reader::open(
                Shelf::of(store.clone(), Class::Security),
                SINK,
            )),
            file: Arc::new(Reader::open(trail.clone(), FileSink::NAME)),
            outlets: Vec::new(),
            usage: Arc::new(Reader::open(
                Shelf::of(store.clone(), Class::Usage),
                HISTORY,
            )),
            trail,
            store,
            history,
            history_path,
            written: file.written(),
            inventory: inventory_books,
            last_look,
            index: index.clone(),
            census: objects.census(),
            clock: Arc::clone(clock),
            ring,
            requests: Arc::default(),
            shown: None,
        };
        let mut sources = sources;
        let outlets: Vec<_> = sinks
            .into_iter()
            .map(|sink| {
                let name = sink.name.clone();
                let reader = Arc::new(Reader::open(sources.trail.clone(), cursor_of(&sink)));
                let way = Way::of(sink, &config.data, (runtime, last_call));
                sources.outlets.push(OutletSource {
                    name,
                    reader: Arc::clone(&reader),
                    stats: way.stats(),
                });
                (reader, way)
            })
            .collect();
        Ok(Self {
            sources,
            publisher,
            file,
            outlets,
            objects,
            index,
        })
    }
}

/// The files' objects are read, those of the API server are not asked for yet.
fn open_objects(
    config: &Config,
    client: Option<kube::Client>,
    books: &InventoryBooks,
) -> (Objects, LastLook) {
    let keep_deleted = Duration::from_secs(config.inventory.keep_deleted_s);
    if let Some(client) = client {
        let mut index = IndexWriter::default();
        index.write().keep(keep_deleted);
        return (
            Objects::Cluster(index, Arc::new(Census::of_all()), client),
            LastLook::default(),
        );
    }
    let (inventory, first) = Inventory::open(config.inventory.paths.clone());
    let inventory = inventory.keeping_deleted(keep_deleted);
    books.note(&first);
    tell(&first);
    let last_look = inventory.last_look();
    (Objects::Files(inventory), last_look)
}

/// What the audit file has of the security journal: an earlier version of the collector wrote it from there.
fn written_before(config: &Config, store: &Store) -> Option<(String, u64)> {
    let epoch = store.journal_epoch(Class::Security);
    let path = audit_file(config).path;
    match sink::file::last_seq_of(&path, &epoch) {
        Ok(seq) => Some((epoch, seq?)),
        Err(error) => {
            tracing::warn!(%error, "the end of the audit file cannot be read: what an earlier version wrote may come twice");
            None
        }
    }
}

fn audit_file(config: &Config) -> sink::Options {
    sink::Options {
        path: config.audit_path().join("audit.jsonl"),
        rotate_bytes: config.audit_file.rotate_bytes,
        keep_files: config.audit_file.keep_files,
    }
}

/// The file sink, with what is in the file already in the ring.
fn open_audit_file(config: &Config, ring: &Arc<AuditRing>) -> FileSink {
    let options = audit_file(config);
    if let Err(error) = api::load_tail(&options.path, ring) {
        tracing::warn!(%error, "recent events of the audit file cannot be shown");
    }
    FileSink::new(options, Arc::clone(ring))
}

/// The cursor of a sink: none has the name of one of the collector's own.
fn cursor_of(sink: &Sink) -> String {
    format!("sink/{}", sink.name)
}

/// The trail of audit events, and the keys that sign it.
fn open_trail(data: &Data, sinks: &[Sink]) -> Result<Trail, RunError> {
    let storage = |name: &str| {
        let path = data.path.join("journal").join(name);
        FileStorage::open(&path).map_err(|source| {
            let doing = "open";
            RunError::Store(StoreError::File {
                doing,
                path,
                source,
            })
        })
    };
    let settings = trail::Settings {
        readers: std::iter::once(FileSink::NAME.to_owned())
            .chain(sinks.iter().map(cursor_of))
            .collect(),
        max_bytes: data.max_trail_bytes,
        max_age_ns: data.max_trail_age_s.map(|age_s| age_s * 1_000_000_000),
        epoch: trail::new_epoch(api::unix_ns(), fastrand::u64(..)),
        new_journal_epoch: format!("{:032x}", fastrand::u128(..)),
        version: env!("CARGO_PKG_VERSION"),
    };
    let (trail, recovery) = Trail::open(storage("trail")?, storage("keys")?, settings)?;
    tracing::info!(
        records = recovery.records,
        damaged = recovery.damaged,
        "audit trail opened"
    );
    Ok(trail)
}

fn open_journals(
    data: &Path,
    max_bytes: u64,
) -> Result<(Store, Vec<(Class, Recovery)>), StoreError> {
    let (store, recoveries) = Store::open(data, max_bytes)?;
    for (class, recovery) in &recoveries {
        tracing::info!(
            class = class.as_str(),
            records = recovery.records,
            damaged = recovery.damaged,
            "journal opened"
        );
        if !recovery.unreadable.is_empty() {
            tracing::error!(
                class = class.as_str(),
                files = ?recovery.unreadable,
                "files of the journal could not be read or synced: their records may be lost"
            );
        }
    }
    Ok((store, recoveries))
}

fn open_history(path: &Path, max_series: usize) -> Result<Arc<History>, HistoryError> {
    let limits = Limits {
        max_series,
        ..Limits::default()
    };
    let (history, set_aside) = History::open_or_set_aside(path, limits)?;
    if let Some(reason) = set_aside {
        tracing::error!(
            reason = errors::chain(&reason),
            aside = %path.with_added_extension("unreadable").display(),
            "history was not readable: set aside, begun anew"
        );
    }
    Ok(Arc::new(history))
}

/// On which node a pod is, as the inventory says.
fn pods(index: &IndexReader) -> Pods {
    let index = index.clone();
    Pods::new(move |uid| index.get().node_of(uid).map(str::to_owned))
}

/// Which nodes there are, while the API server tells it.
pub(super) fn nodes(index: &IndexReader, census: Option<Arc<Census>>) -> IsThere {
    let index = index.clone();
    Arc::new(move |node| {
        let census = census.as_ref()?;
        let index = index.get();
        let is_known = census.is_synced() && !index.nodes().is_empty();
        is_known.then(|| index.nodes().get(node).is_some())
    })
}

/// How senders are received by a process that may have that many descriptors open. `reviewer` is there if
/// the API server is to be asked.
pub(super) fn ingest_options(
    config: &Config,
    descriptors: usize,
    index: &IndexReader,
    reviewer: Option<&Reviewer>,
) -> ingest::Options {
    let (pods, senders) = (pods(index), &config.ingest.token_review);
    let reviews = senders.audience.as_ref().zip(reviewer);
    let reviews = reviews.map(|(audience, reviewer)| {
        let senders = review::Senders {
            audience: audience.clone(),
            service_accounts: senders.service_accounts.clone(),
        };
        let (asks, clock) = (reviewer.clone(), cluster::reviews::clock());
        Arc::new(Reviews::new(senders, asks, pods.clone(), clock, unix_s))
    });
    ingest::Options {
        tokens: config.ingest.tokens.iter().map(auth::Token::from).collect(),
        reviews,
        pods,
        rate: Rate {
            bytes_per_s: config.ingest.node_bytes_per_s,
            burst_bytes: config.ingest.node_burst_bytes,
            requests_per_s: config.ingest.node_requests_per_s,
            burst_requests: config.ingest.node_burst_requests,
        },
        clock: cluster::reviews::clock(),
        tls: config.ingest.tls(),
        max_request_bytes: config.ingest.max_request_bytes,
        max_request_records: MAX_REQUEST_RECORDS,
        max_connections: MAX_CONNECTIONS.min(descriptors / 2),
        pace: SENDERS_PACE,
        request_within: REQUEST_WITHIN,
    }
}

fn unix_s() -> u64 {
    api::unix_ns() / 1_000_000_000
}

/// What the API shows, to whom, and where it comes from. `trouble` is that of its certificate.
pub(super) fn state(
    sources: &Sources,
    reviewers: &Reviewers,
    trouble: Arc<Mutex<Option<String>>>,
) -> ApiState {
    let ring = &sources.ring;
    let mut registry = Registry::with_prefix(telemetry::PREFIX);
    let metrics = Metrics::default();
    metrics.register(&mut registry);
    sources.store.counts.register(&mut registry);
    let cluster = cluster::telemetry::Metrics::default();
    if sources.census.is_some() {
        cluster.register(&mut registry);
    }
    let scraped = sources.clone();
    let metrics = move || {
        metrics.show(&scraped.books());
        if let Some(census) = &scraped.census {
            cluster.show(census, (scraped.clock)().since_start);
        }
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &registry) {
            Ok(()) => text,
            Err(error) => format!("# {error}\n"),
        }
    };
    let (nodes, own) = (Arc::clone(ring), sources.clone());
    let rows = move || {
        let mut rows = nodes.stage_rows();
        rows.extend(own.stages());
        rows
    };
    let (streams, health) = (sources.clone(), sources.clone());
    let trail = sources.trail.clone();
    let asking = reviewers.clone();
    let health = move || {
        let mut health = health.health();
        let unasked = asking.troubles().map(|why| format!("kubernetes: {why}"));
        let trouble = trouble.lock().unwrap_or_else(PoisonError::into_inner);
        let certificate = trouble.iter().map(|why| format!("http: the certificate has changed and cannot be used, the one before is shown: {why}"));
        health.degraded.extend(unasked.chain(certificate));
        health
    };
    let requests = Arc::clone(&sources.requests);
    let rules = reviewers.of_people.clone().map(|reviewer| {
        let clock = cluster::reviews::clock();
        Arc::new(api::Rules::new(reviewer, clock, unix_s, requests))
    });
    let state = ApiState::new(Arc::clone(&sources.history), Arc::clone(ring));
    let state = match rules {
        Some(rules) => state.with_rules(rules),
        None => state,
    };
    state
        .with_accounting(Arc::new(rows))
        .with_gaps(Arc::new(move || streams.gaps()))
        .with_chain(Arc::new(move |links| trail.recent(links)))
        .with_ready(Arc::new(health))
        .with_requests(Arc::clone(&sources.requests))
        .with_metrics(Arc::new(metrics))
}

/// What a look at the inventory found, for the log.
pub(super) fn tell(reloaded: &Reloaded) {
    tracing::info!(
        objects = reloaded.objects,
        of_other_kinds = reloaded.of_other_kinds(),
        changed = reloaded.changed,
        "inventory read"
    );
    for problem in &reloaded.problems {
        tracing::error!("{problem}");
    }
}

/// What the inventory knows of the subject of an event.
fn names_of(node: &str, event: &AuditEvent, index: &IndexReader) -> Known {
    let Some(identity) = identity_of(event) else {
        return Known::default();
    };
    let joined = join_told_by(node, identity, &index.get());
    let names = joined.to_map();
    let elsewhere = joined.elsewhere.zip(identity.pod_uid());
    Known {
        names,
        elsewhere: elsewhere.map(|(node, pod_uid)| Elsewhere {
            pod_uid: pod_uid.to_owned(),
            node,
        }),
    }
}

/// Without an inventory nothing ever gets a name, and nothing waits for one. While the cluster's objects
/// are being listed for the first time, everything does, and for longer while they are not told.
fn name_wait(
    config: &Config,
    index: &IndexReader,
    census: Option<Arc<Census>>,
    clock: &Clock,
) -> NameWait {
    if config.inventory.paths.is_empty() && census.is_none() {
        return NameWait::none();
    }
    let index = index.clone();
    let (told, since_start) = (census.clone(), Arc::clone(clock));
    let clock = Arc::clone(clock);
    NameWait {
        within: Duration::from_secs(config.audit_file.name_wait_s),
        listing: Arc::new(move || {
            let listing = census.as_ref().is_some_and(|census| !census.is_synced());
            listing && clock().since_start < FIRST_LISTING
        }),
        interrupted: Arc::new(move || {
            let now = since_start().since_start;
            told.as_ref()
                .is_some_and(|census| census.is_interrupted(now))
        }),
        pending: Arc::new(move |event| {
            identity_of(event).is_some_and(|identity| is_pending(identity, &index.get()))
        }),
    }
}
