//! From the trail to a bucket of Security Lake: which events are for it, held until their window is over, stored as
//! objects.
//!
//! ```text
//!  trail ─ records ─► route ─► window: rows in memory, texts in a file ─ over ─► object by object ─► the cursor moves
//! ```
//!
//! Of a window 80 bytes for each event are in memory at the most, and a row group; its texts and the object are in
//! files of the volume that have no name: what a life leaves unstored is in the trail.

use std::collections::BTreeSet;
use std::io::{BufWriter, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use plimsoll_journal::Record;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use super::apart::Apart;
use super::form::Event;
use super::{Stats, call};
use crate::config::Data;
use crate::config::sinks::{Route, SecurityLake as Settings};
use crate::reader::{Gatherer, Made};
use crate::sinks::backoff::Backoff;
use crate::sinks::lake::client::{Body, Client, Object};
use crate::sinks::lake::columns;
use crate::sinks::lake::object::{Writer, projected};
use crate::sinks::lake::spool::{Spool, nameless};
use crate::sinks::lake::sum::Summed;
use crate::sinks::lake::window::{self, Bounds, Place, Row, Window};
use crate::sinks::{BoxError, Message, QuarantineReason, RefusalKind, Refused, Sent};
use crate::trail::entry::Entry;

/// See the module.
pub struct LakeOutlet {
    name: String,
    settings: Settings,
    route: Route,
    /// Folder of its files.
    folder: PathBuf,
    /// Where events are kept that can never be taken.
    apart: Apart,
    client: Client,
    runtime: Handle,
    last: CancellationToken,
    held: Held,
    backoff: Backoff,
    refused: (RefusalKind, Option<u64>),
    stats: Arc<Stats>,
}

const NO_PLACE: &str = "it has no class, time or number";

/// What is in hand.
#[derive(Debug, Default)]
struct Held {
    window: Window,
    texts: Option<Spool>,
    /// What became of records that are in no object.
    made: Made,
    never: Vec<(Message, QuarantineReason)>,
    /// Objects that are stored.
    done: BTreeSet<Place>,
    /// The one that is being stored.
    current: Option<(Place, Object)>,
}

impl std::fmt::Debug for LakeOutlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LakeOutlet")
            .field("sink", &self.name)
            .finish_non_exhaustive()
    }
}

impl LakeOutlet {
    /// Nothing is asked before the first window is over. Files are in the folder `data`: what is held, and what can
    /// never be taken. Calls are made on that runtime, and none goes on beyond `last`.
    pub fn new(
        (name, settings, route): (&str, &Settings, &Route),
        data: &Data,
        runtime: Handle,
        last: CancellationToken,
    ) -> Self {
        Self {
            name: name.to_owned(),
            settings: settings.clone(),
            route: route.clone(),
            folder: data.path.join("lake"),
            apart: Apart::of(
                &data.path.join("quarantine"),
                name,
                data.max_quarantine_bytes,
            ),
            client: Client::new(settings),
            runtime,
            last,
            held: Held::default(),
            backoff: Backoff::default(),
            refused: (RefusalKind::Other, None),
            stats: Arc::default(),
        }
    }

    /// What it does, for metrics.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    const fn bounds(&self) -> Bounds {
        Bounds {
            window_ns: self.settings.window_s.saturating_mul(1_000_000_000),
            bytes: self.settings.window_bytes,
        }
    }

    fn noted(&mut self, refused: Refused) -> Refused {
        self.stats.refused(refused.kind);
        self.refused = (refused.kind, refused.retry_after_ms);
        refused
    }

    /// Takes a text in, if it is an event that has a place.
    fn hold(&mut self, record: &Record, entry: Entry) -> Result<(), Refused> {
        let bounds = self.bounds();
        let Some((class_uid, time_ms, seq)) = place_of(&entry.body) else {
            let message = Message {
                seq: record.seq,
                time_unix_ns: entry.time_unix_ns,
                uid: Event::of(&entry).uid(),
                text: entry.body,
            };
            let why = QuarantineReason::Invalid(NO_PLACE.to_owned());
            self.held.never.push((message, why));
            return Ok(());
        };
        let row = Row {
            time_ms,
            seq,
            class_uid,
            offset: self.held.window.bytes(),
            len: entry.body.len(),
        };
        if self.held.texts.is_none() {
            let texts = Spool::new(&self.folder, &format!("{}.window", self.name));
            self.held.texts = Some(texts.map_err(|source| self.disk(source.into()))?);
        }
        let texts = self.held.texts.as_mut();
        let pushed = texts.map_or(Ok(()), |texts| texts.push(&entry.body));
        pushed.map_err(|source| self.disk(source.into()))?;
        self.held.window.push(row, bounds);
        Ok(())
    }

    fn disk(&self, source: BoxError) -> Refused {
        Refused {
            kind: RefusalKind::Other,
            what: format!("keep what is to be sent in {}", self.folder.display()),
            source: Some(source),
            retry_after_ms: None,
        }
    }

    /// Object by object; those that are stored are not stored again.
    fn store_all(&mut self) -> Result<u64, Refused> {
        let objects = self.held.window.objects();
        let count = objects.values().map(|rows| rows.len() as u64).sum();
        for (place, rows) in objects {
            if self.held.done.contains(&place) {
                continue;
            }
            let key = self.key(&place, &rows);
            let object = match self.held.current.take() {
                Some((of, object)) if of == place => object,
                _ => {
                    let made = self.make(place.0, &rows);
                    made.map_err(|source| self.disk(source))?
                }
            };
            let put = async {
                self.client
                    .put(&key, &object)
                    .await
                    .map(|()| Sent::default())
            };
            let put = call::wait(&self.runtime, &self.last, put);
            if let Err(refused) = put {
                self.held.current = Some((place, object));
                return Err(refused);
            }
            self.backoff.reset();
            self.held.done.insert(place);
        }
        Ok(count)
    }

    fn key(&self, (class_uid, day): &Place, rows: &[Row]) -> String {
        let of = &self.settings;
        let class = columns::table(*class_uid).map_or("", |table| table.name);
        let folder = of.sources.folder(class, &of.source);
        let name = window::name(self.held.window.epoch(), rows);
        of.key(&folder, day, &name)
    }

    fn make(&mut self, class_uid: i64, rows: &[Row]) -> Result<Object, BoxError> {
        let file = nameless(&self.folder, &format!("{}.object", self.name))?;
        let table = columns::table(class_uid).ok_or("a class without columns")?;
        let texts = self.held.texts.as_mut().ok_or("no texts are kept")?;
        let to = Summed::of(BufWriter::with_capacity(256 << 10, file));
        let mut writer = Writer::new(table, to)?;
        for row in rows {
            if self.last.is_cancelled() {
                return Err("the collector ends".into());
            }
            let text = texts.read(row.offset, row.len)?;
            let (_, event) = projected(&serde_json::from_str(&text)?).ok_or("no event of ours")?;
            writer.add(event, &text)?;
        }
        let (to, len, sha256) = writer.finish()?.finish();
        let mut file = to
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)?;
        file.seek(SeekFrom::Start(0))?;
        Ok(Object {
            body: Body::File(file),
            len,
            sha256,
        })
    }

    fn keep_apart(&self) -> Result<(), Refused> {
        let lines = self.held.never.iter();
        let lines: Vec<_> = lines.map(|(message, why)| (message, why)).collect();
        self.apart
            .keep(&lines)
            .map_err(|source| self.disk(source.into()))
    }
}

/// Class in OCSF 1.3, time and number of an event.
fn place_of(text: &str) -> Option<(i64, i64, u64)> {
    let event: Value = serde_json::from_str(text).ok()?;
    let seq = event.get("unmapped")?.get("chain")?.get("seq")?.as_u64()?;
    let (class_uid, projected) = projected(&event)?;
    columns::table(class_uid)?;
    Some((class_uid, projected.get(columns::TIME)?.as_i64()?, seq))
}

impl Gatherer for LakeOutlet {
    type Error = Refused;

    fn name(&self) -> &str {
        &self.name
    }

    fn gather(&mut self, record: &Record) -> Result<bool, Refused> {
        let bounds = self.bounds();
        let entry = Entry::of(&record.payload);
        let epoch = match &entry {
            Ok(entry) => Event::of(entry).epoch(),
            Err(_) => self.held.window.epoch().to_owned(),
        };
        if !self.held.window.admits(&epoch, record.time_unix_ns, bounds) {
            return Ok(false);
        }
        match entry {
            Err(error) => {
                tracing::error!(
                    sink = self.name,
                    seq = record.seq,
                    error = &error as &dyn std::error::Error,
                    "journal record cannot be read"
                );
                self.held.made.undecodable += 1;
            }
            Ok(entry) if !Event::of(&entry).is_for(&self.route) => self.held.made.filtered += 1,
            Ok(entry) => {
                let held = self.hold(record, entry);
                held.map_err(|refused| self.noted(refused))?;
            }
        }
        self.held.window.pass(record.seq);
        Ok(true)
    }

    fn wait(&self, now_unix_ns: u64) -> Option<Duration> {
        let bounds = self.bounds();
        if self.held.window.is_over(now_unix_ns, bounds) {
            return Some(Duration::ZERO);
        }
        let wait = self.held.window.wait_ns(now_unix_ns, bounds);
        wait.map(Duration::from_nanos)
    }

    fn store(&mut self) -> Result<(u64, Made), Refused> {
        self.held.window.close();
        let stored = self
            .store_all()
            .and_then(|count| self.keep_apart().map(|()| count));
        let count = stored.map_err(|refused| self.noted(refused))?;
        let held = std::mem::take(&mut self.held);
        for (message, reason) in &held.never {
            tracing::error!(
                sink = self.name,
                uid = message.uid,
                reason = %reason,
                kept = %self.apart.path().display(),
                "an event can never be taken, and is kept apart"
            );
        }
        let made = Made {
            delivered: count,
            quarantined: held.never.len() as u64,
            ..held.made
        };
        Ok((held.window.last_number(), made))
    }

    fn forget(&mut self) {
        self.held = Held::default();
    }

    fn pause(&mut self) -> Duration {
        let (kind, retry_after_ms) = self.refused;
        let wait = self
            .backoff
            .wait_ms(kind, retry_after_ms, fastrand::u64(..));
        Duration::from_millis(wait)
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests look at real files")]
mod tests;
