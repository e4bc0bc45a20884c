//! Where records come in: OTLP over gRPC, checked, freed of repeats, and acknowledged only when
//! the journal has them on disk.
//!
//! ```text
//!  service (tonic) ─ decode ─► committer: dedupe ─ append ─ one fdatasync for all ─► answers
//!                                             store: a journal for each class ◄─ readers' cursors
//! ```
//!
//! Deliberately not known here: names of pods, what the readers make of a record.

mod accept;
pub mod auth;
pub(crate) mod checkpoint;
mod codec;
pub mod decode;
pub mod dedupe;
mod foreign;
mod guard;
mod losses;
pub mod placed;
pub mod rate;
pub mod review;
mod room;
pub mod service;
pub mod store;
mod stream;
pub mod watch;
mod weigh;

use std::sync::{Arc, Mutex, OnceLock};

use plimsoll_wire::Class;
use plimsoll_wire::fate::Fates;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use dedupe::Forgotten;
use room::Room;
pub use service::{Options, serve};
use store::Outcome;

use crate::connections::Connections;
use crate::tls::Shown;
pub use store::{Store, StoreError};

/// What may become of a record at the door, besides being delivered into the journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fate {
    /// In the journal, durable.
    Delivered,
    /// Sent before.
    Duplicate,
    /// Not one of ours.
    Foreign,
    /// Of another node than the token's.
    WrongNode,
    /// About a pod that is on another node than the token's.
    PodElsewhere,
    /// Ours, but not to be understood.
    Undecodable,
    /// Longer than a journal record may be.
    TooLarge,
}

impl Fate {
    const fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Duplicate => "filtered_duplicate",
            Self::Foreign => "filtered_foreign",
            Self::WrongNode => "rejected_wrong_node",
            Self::PodElsewhere => "rejected_pod_elsewhere",
            Self::Undecodable => "undecodable",
            Self::TooLarge => "rejected_too_large",
        }
    }

    /// As the sender is told.
    const fn told(self) -> &'static str {
        match self {
            Self::Delivered => "taken",
            Self::Duplicate => "sent before",
            Self::Foreign => "not used",
            Self::WrongNode => "of another node",
            Self::PodElsewhere => "about a pod on another node",
            Self::Undecodable => "not understood",
            Self::TooLarge => "too long",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FateLabels {
    class: &'static str,
    fate: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// The door's books: metrics, and the same as [`Fates`] for the accounting document.
#[derive(Debug, Default)]
pub struct Counts {
    records: Family<FateLabels, Counter>,
    refused: Family<ReasonLabels, Counter>,
    unused_spans: Counter,
    forgotten: Family<ReasonLabels, Counter>,
    books: Mutex<[Fates; 2]>,
    /// Of the requests in hand.
    room: Room,
    connections: OnceLock<Connections>,
    unusable_tokens: Gauge,
    reviews: Family<OutcomeLabels, Counter>,
    remembered: Gauge,
    /// Why the certificate that is there now is not the one that is shown.
    certificate: Mutex<Option<String>>,
    /// The certificate that is shown, with TLS.
    shown: OnceLock<Arc<Shown>>,
}

/// Why something is refused or broken off at the door.
const REFUSALS: [&str; 16] = [
    "journal",
    "no_room",
    "rate",
    "review_unavailable",
    "silent",
    "slow",
    "stalled",
    "tls",
    "too_large",
    "too_many_connections",
    "too_many_connections_of_peer",
    "too_many_records",
    "too_many_reviews_of_peer",
    "unauthenticated",
    "undecodable",
    "wrong_node",
];

const fn place(class: Class) -> usize {
    match class {
        Class::Usage => 0,
        Class::Security => 1,
    }
}

impl Counts {
    /// Registers the metrics.
    pub fn register(&self, registry: &mut Registry) {
        registry.register(
            "ingest_records",
            "Records received, by class and fate; of metrics that are not an agent's, data points",
            self.records.clone(),
        );
        registry.register(
            "ingest_refused",
            "Requests, TLS handshakes and connections refused or broken off, by reason",
            self.refused.clone(),
        );
        registry.register(
            "ingest_unused_spans",
            "Trace spans received, which nothing here uses",
            self.unused_spans.clone(),
        );
        registry.register(
            "ingest_streams_forgotten",
            "Streams whose numbers were forgotten, by the bound that was reached",
            self.forgotten.clone(),
        );
        registry.register(
            "ingest_tokens_unusable",
            "Token files that cannot be read, are empty or hold another node's token as well; nobody comes in with those",
            self.unusable_tokens.clone(),
        );
        registry.register(
            "ingest_token_reviews",
            "Questions to the API server about senders' tokens, by outcome",
            self.reviews.clone(),
        );
        registry.register(
            "ingest_tokens_remembered",
            "Senders' tokens whose answer of the API server is remembered, at most 8,192",
            self.remembered.clone(),
        );
        for outcome in ["accepted", "refused", "unavailable"] {
            drop(self.reviews.get_or_create(&OutcomeLabels { outcome }));
        }
        // They begin at 0, so that the first of a kind is seen as a rise.
        for reason in REFUSALS {
            drop(self.refused.get_or_create(&ReasonLabels { reason }));
        }
        for reason in ["node_bound", "total_bound"] {
            drop(self.forgotten.get_or_create(&ReasonLabels { reason }));
        }
        for class in Class::ALL {
            let fate = Fate::Delivered.name();
            let class = class.as_str();
            drop(self.records.get_or_create(&FateLabels { class, fate }));
        }
    }

    fn with(&self, change: impl FnOnce(&mut [Fates; 2])) {
        change(
            &mut self
                .books
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner),
        );
    }

    /// The store looked at records that have a name: what the journal holds in memory is in flight,
    /// the rest has met its fate.
    fn taken(&self, class: Class, outcome: &Outcome) {
        self.with(|books| {
            if let Some(fates) = books.get_mut(place(class)) {
                fates.emitted += outcome.taken;
                fates.in_flight += outcome.taken;
            }
        });
        for (fate, count) in [
            (Fate::Duplicate, outcome.duplicates),
            (Fate::Undecodable, outcome.undecodable),
            (Fate::PodElsewhere, outcome.elsewhere),
            (Fate::TooLarge, outcome.too_large),
        ] {
            self.met(class, fate, count);
        }
    }

    /// Records that were in flight are on disk.
    fn durable(&self, class: Class, count: u64) {
        self.with(|books| {
            if let Some(fates) = books.get_mut(place(class)) {
                fates.in_flight = fates.in_flight.saturating_sub(count);
            }
        });
        self.settle(class, Fate::Delivered, count);
    }

    /// Records that came and met this fate at once.
    fn met(&self, class: Class, fate: Fate, count: u64) {
        self.with(|books| {
            if let Some(fates) = books.get_mut(place(class)) {
                fates.emitted += count;
            }
        });
        self.settle(class, fate, count);
    }

    fn settle(&self, class: Class, fate: Fate, count: u64) {
        if count == 0 {
            return;
        }
        self.records
            .get_or_create(&FateLabels {
                class: class.as_str(),
                fate: fate.name(),
            })
            .inc_by(count);
        self.with(|books| {
            let Some(fates) = books.get_mut(place(class)) else {
                return;
            };
            match fate {
                Fate::Delivered => fates.delivered += count,
                Fate::Duplicate | Fate::Foreign => fates.filtered += count,
                Fate::WrongNode | Fate::PodElsewhere | Fate::TooLarge => fates.rejected += count,
                Fate::Undecodable => fates.undecodable += count,
            }
        });
    }

    fn refuse(&self, reason: &'static str) {
        self.refuse_all(reason, 1);
    }

    fn refuse_all(&self, reason: &'static str, count: u64) {
        let refused = self.refused.get_or_create(&ReasonLabels { reason });
        refused.inc_by(count);
    }

    /// These are the door's connections.
    fn watch(&self, connections: Connections) {
        // A second receiver of one store is none of ours; the first stays.
        drop(self.connections.set(connections));
    }

    fn note_unusable_tokens(&self, count: u64) {
        self.unusable_tokens
            .set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// A question to the API server came to this.
    fn note_review(&self, outcome: &'static str) {
        self.reviews.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    fn note_remembered(&self, tokens: usize) {
        self.remembered
            .set(i64::try_from(tokens).unwrap_or(i64::MAX));
    }

    /// Token files that cannot be used now.
    pub fn unusable_tokens(&self) -> i64 {
        self.unusable_tokens.get()
    }

    fn note_certificate(&self, trouble: Option<String>) {
        let kept = self.certificate.lock();
        *kept.unwrap_or_else(std::sync::PoisonError::into_inner) = trouble;
    }

    /// Why a changed certificate cannot be shown, if that is so.
    pub fn certificate_trouble(&self) -> Option<String> {
        let kept = self.certificate.lock();
        kept.unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone()
    }

    /// This is the door's certificate.
    fn shows(&self, shown: Arc<Shown>) {
        // As above.
        drop(self.shown.set(shown));
    }

    /// The certificate that is shown, with TLS.
    pub(crate) fn shown(&self) -> Option<&Shown> {
        self.shown.get().map(Arc::as_ref)
    }

    /// Connections that are open.
    pub fn connections(&self) -> u64 {
        self.connections.get().map_or(0, |open| open.open() as u64)
    }

    /// Bytes set aside for the requests in hand.
    pub fn in_hand_bytes(&self) -> u64 {
        self.room.in_hand_bytes()
    }

    fn unused_spans(&self, count: u64) {
        self.unused_spans.inc_by(count);
    }

    /// Streams that were forgotten since the start.
    fn forgotten(&self, forgotten: Forgotten) {
        for (reason, count) in [
            ("node_bound", forgotten.node),
            ("total_bound", forgotten.total),
        ] {
            if count == 0 {
                continue;
            }
            let counter = self.forgotten.get_or_create(&ReasonLabels { reason });
            let more = count.saturating_sub(counter.get());
            counter.inc_by(more);
            if more > 0 {
                tracing::warn!(
                    reason,
                    streams = more,
                    "too many streams: the numbers of some were forgotten, repeats of them are not known any more"
                );
            }
        }
    }

    /// Counts since the start, by class.
    pub fn fates(&self, class: Class) -> Fates {
        let mut fates = Fates::default();
        self.with(|books| fates = books.get(place(class)).copied().unwrap_or_default());
        fates
    }
}
