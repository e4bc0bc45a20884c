//! From the trail to a sink: which events are for it, in what form, and what became of them.
//!
//! ```text
//!  trail ─ records ─► route ─► form ─► sink.send ─┬─ a call's worth has its fate ─► the cursor moves
//!                       └─ not for it: filtered   ├─ never to be taken ─► kept apart in a file
//!                                                 └─ refused ─► waits in the trail, asked again later
//! ```
//!
//! Each sink has a cursor, a thread and a way of waiting of its own: a slow one delays no other.

mod apart;
mod call;
pub mod form;
pub mod lake;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use plimsoll_journal::Record;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;

use crate::api;
use crate::config::sinks::{Format, Route, Sink, SinkKind};
use crate::ingest::decode::PayloadError;
use crate::reader::{Destination, Resumed, Taken};
use crate::sinks::backoff::Backoff;
use crate::sinks::cloudwatch::CloudWatch;
use crate::sinks::elasticsearch::Elasticsearch;
use crate::sinks::file::FileOutlet;
use crate::sinks::hec::Hec;
use crate::sinks::otlp::Otlp;
use crate::sinks::stdout::Stdout;
use crate::sinks::syslog::Syslog;
use crate::sinks::{Message, RefusalKind, Refused, Sent};
use crate::trail::entry::Entry;
use apart::Apart;
use form::{Event, Text};

/// Times in a row that a sink may go on without taking anything, see [`Sent::taken`].
const STEPS: usize = 64;

/// What a sink did since the start, for metrics.
#[derive(Debug, Default)]
pub struct Stats {
    /// Events that it has under another time than their own.
    pub restamped: AtomicU64,
    /// Events that it may have twice.
    pub maybe_twice: AtomicU64,
    /// Refusals, in the order of [`RefusalKind::ALL`].
    pub refusals: [AtomicU64; RefusalKind::ALL.len()],
}

impl Stats {
    fn refused(&self, kind: RefusalKind) {
        let all = RefusalKind::ALL.iter().zip(&self.refusals);
        for (_, count) in all.filter(|(of, _)| **of == kind) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A sink at work.
enum Kind {
    /// A stream for each epoch of the chain: made when its first event comes.
    CloudWatch(Option<(String, Box<CloudWatch>)>),
    Elasticsearch(Box<Elasticsearch>),
    Hec(Box<Hec>),
    Otlp(Box<Otlp>),
    File(Box<FileOutlet>),
    Stdout(Stdout),
    /// Not call by call, see `lake`.
    Elsewhere,
    Syslog(Box<Syslog>),
}

/// See the module.
pub struct Outlet {
    sink: Sink,
    kind: Kind,
    runtime: Handle,
    last: CancellationToken,
    backoff: Backoff,
    /// What was sent from the message with that number on, and could not be written apart yet.
    untold: Option<(u64, Sent)>,
    /// Of the last refusal.
    refused: (RefusalKind, Option<u64>),
    /// Where events are kept that the sink can never take.
    apart: Apart,
    stats: Arc<Stats>,
}

impl std::fmt::Debug for Outlet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outlet")
            .field("sink", &self.sink.name)
            .finish_non_exhaustive()
    }
}

impl Outlet {
    /// Nothing is asked before the first event. What can never be taken is kept in the folder `apart`. Calls are made
    /// on that runtime, and none goes on beyond `last`.
    pub fn new(
        sink: Sink,
        apart: &std::path::Path,
        runtime: Handle,
        last: CancellationToken,
    ) -> Self {
        let kind = match &sink.kind {
            SinkKind::CloudWatch(_) => Kind::CloudWatch(None),
            SinkKind::Hec(hec) => Kind::Hec(Box::new(Hec::new(hec))),
            SinkKind::Elasticsearch(settings) => {
                Kind::Elasticsearch(Box::new(Elasticsearch::new(settings)))
            }
            SinkKind::Otlp(otlp) => Kind::Otlp(Box::new(Otlp::new(otlp))),
            SinkKind::File(file) => Kind::File(Box::new(FileOutlet::new(file, sink.format))),
            SinkKind::SecurityLake(_) => Kind::Elsewhere,
            SinkKind::Stdout => Kind::Stdout(Stdout::default()),
            SinkKind::Syslog(syslog) => Kind::Syslog(Box::new(Syslog::new(syslog))),
        };
        Self {
            apart: Apart::of(apart, &sink.name, apart::MAX_BYTES),
            kind,
            sink,
            runtime,
            last,
            backoff: Backoff::default(),
            untold: None,
            refused: (RefusalKind::Other, None),
            stats: Arc::default(),
        }
    }

    /// Keeps so many bytes at the most of what can never be taken.
    #[must_use]
    pub const fn keeping(mut self, apart_bytes: u64) -> Self {
        self.apart.set_max_bytes(apart_bytes);
        self
    }

    /// What it does, for metrics.
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// One call's worth.
    fn send(&mut self, epoch: &str, messages: &[Message]) -> Result<Sent, Refused> {
        let now_unix_ms = api::unix_ns() / 1_000_000;
        match &mut self.kind {
            Kind::File(file) => file.send(messages),
            Kind::Elsewhere => Ok(Sent::default()),
            Kind::Stdout(stdout) => stdout.send(messages, &self.last),
            Kind::Syslog(syslog) => {
                let call = syslog.send(messages, now_unix_ms);
                call::wait(&self.runtime, &self.last, call)
            }
            Kind::Elasticsearch(index) => {
                call::wait(&self.runtime, &self.last, index.send(messages))
            }
            Kind::Otlp(otlp) => call::wait(&self.runtime, &self.last, otlp.send(messages)),
            Kind::Hec(hec) => {
                let call = hec.send(messages, now_unix_ms);
                call::wait(&self.runtime, &self.last, call)
            }
            Kind::CloudWatch(stream) => {
                let SinkKind::CloudWatch(settings) = &self.sink.kind else {
                    return Ok(Sent::default());
                };
                let (of, sink) = stream.get_or_insert_with(|| {
                    let sink = CloudWatch::new(settings, epoch);
                    (epoch.to_owned(), Box::new(sink))
                });
                if of != epoch {
                    sink.begin(epoch);
                    epoch.clone_into(of);
                }
                let call = sink.send(messages, now_unix_ms);
                call::wait(&self.runtime, &self.last, call)
            }
        }
    }

    /// Until some have their fate, those that can never be taken on disk.
    fn send_some(&mut self, epoch: &str, messages: &[Message]) -> Result<Sent, Refused> {
        let first = messages.first().map_or(0, |message| message.seq);
        // A sink tells a fate once: what came of an attempt whose end failed is not asked for again.
        let untold = self.untold.take().filter(|(from, _)| *from == first);
        let sent = match untold {
            Some((_, sent)) => sent,
            None => self.call(epoch, messages)?,
        };
        if let Err(refused) = self.keep_apart(messages, &sent) {
            self.untold = Some((first, sent));
            return Err(refused);
        }
        Ok(sent)
    }

    fn call(&mut self, epoch: &str, messages: &[Message]) -> Result<Sent, Refused> {
        for _ in 0..STEPS {
            let sent = self.send(epoch, messages)?;
            self.backoff.reset();
            if sent.taken > 0 {
                return Ok(sent);
            }
        }
        Err(Refused {
            kind: RefusalKind::Other,
            what: format!("it took nothing in {STEPS} calls and gave no reason"),
            source: None,
            retry_after_ms: None,
        })
    }

    fn keep_apart(&self, messages: &[Message], sent: &Sent) -> Result<(), Refused> {
        let lines = sent.quarantined.iter().filter_map(|of| {
            let message = messages.iter().find(|message| message.seq == of.seq)?;
            Some((message, &of.reason))
        });
        let lines: Vec<_> = lines.collect();
        self.apart.keep(&lines).map_err(|source| Refused {
            kind: RefusalKind::Other,
            what: format!(
                "write an event that it can never take to {}",
                self.apart.path().display()
            ),
            source: Some(source.into()),
            retry_after_ms: None,
        })?;
        for (message, reason) in lines {
            tracing::error!(
                sink = self.sink.name,
                uid = message.uid,
                reason = %reason,
                kept = %self.apart.path().display(),
                "an event can never be taken, and is kept apart"
            );
        }
        Ok(())
    }
}

/// A record of the trail.
#[derive(Debug)]
pub struct Item {
    seq: u64,
    entry: Entry,
}

/// Records of one epoch from the front, parted.
struct Front {
    epoch: String,
    messages: Vec<Message>,
    /// The numbers of those that are not for the sink.
    filtered: Vec<u64>,
    /// The last of the run.
    last_seq: u64,
}

/// Those of the first's epoch: each epoch has a stream of its own where there are streams.
fn front(items: Vec<Item>, route: &Route, format: Format, last_seq: u64) -> Front {
    let mut front = Front {
        epoch: String::new(),
        messages: Vec::new(),
        filtered: Vec::new(),
        last_seq,
    };
    for item in items {
        let event = Event::of(&item.entry);
        if !event.is_for(route) {
            front.filtered.push(item.seq);
            continue;
        }
        let text = match event.text(format) {
            Text::Of(text) => text,
            Text::NoneByRule => {
                front.filtered.push(item.seq);
                continue;
            }
            // Told by whoever sends it: an empty text nobody takes.
            Text::Unsayable => String::new(),
        };
        let epoch = event.epoch();
        if front.messages.is_empty() {
            front.epoch = epoch;
        } else if front.epoch != epoch {
            front.last_seq = item.seq - 1;
            break;
        }
        front.messages.push(Message {
            seq: item.seq,
            time_unix_ns: item.entry.time_unix_ns,
            uid: event.uid(),
            text,
        });
    }
    front
}

impl Destination for Outlet {
    type Item = Item;
    type Error = Refused;
    /// As many as CloudWatch Logs takes in a call.
    const BATCH: usize = 10_000;
    const BATCH_BYTES: usize = 2 << 20;

    fn name(&self) -> &str {
        &self.sink.name
    }

    /// The other side does not say what it has: the cursor does.
    fn resume(&mut self, _: &str) -> Result<Resumed, Refused> {
        Ok(Resumed::default())
    }

    fn decode(record: &Record) -> Result<Item, PayloadError> {
        Ok(Item {
            seq: record.seq,
            entry: Entry::of(&record.payload)?,
        })
    }

    fn take(&mut self, items: Vec<Item>, _: &str, last_seq: u64) -> Result<Taken, Refused> {
        let front = front(items, &self.sink.route, self.sink.format, last_seq);
        let mut taken = Taken::all(front.last_seq);
        if !front.messages.is_empty() {
            let sent = self
                .send_some(&front.epoch, &front.messages)
                .inspect_err(|refused| {
                    self.stats.refused(refused.kind);
                    self.refused = (refused.kind, refused.retry_after_ms);
                })?;
            self.stats
                .restamped
                .fetch_add(sent.restamped, Ordering::Relaxed);
            self.stats
                .maybe_twice
                .fetch_add(sent.maybe_twice, Ordering::Relaxed);
            taken.quarantined = sent.quarantined.len() as u64;
            if let Some(next) = front.messages.get(sent.taken) {
                taken.last_seq = next.seq - 1;
            }
        }
        taken.filtered = front.filtered.partition_point(|seq| *seq <= taken.last_seq) as u64;
        Ok(taken)
    }

    fn pause(&mut self, _: u32) -> Option<Duration> {
        let (kind, retry_after_ms) = self.refused;
        let wait = self
            .backoff
            .wait_ms(kind, retry_after_ms, fastrand::u64(..));
        Some(Duration::from_millis(wait))
    }

    /// Services take events in any order; files are read from the front, and syslog's receivers mostly write some.
    fn beside(&self) -> Option<Self> {
        match self.kind {
            Kind::CloudWatch(_) | Kind::Hec(_) | Kind::Elasticsearch(_) | Kind::Otlp(_) => {}
            Kind::File(_) | Kind::Stdout(_) | Kind::Elsewhere | Kind::Syslog(_) => return None,
        }
        let beside = Self::new(
            self.sink.clone(),
            self.apart.path().parent()?,
            self.runtime.clone(),
            self.last.clone(),
        );
        Some(Self {
            apart: self.apart.clone(),
            stats: Arc::clone(&self.stats),
            ..beside
        })
    }

    fn may_wait(&self) -> bool {
        true
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "tests look at real files")]
mod tests;
