//! A chain read back out of CloudWatch Logs: which streams, in which order, until when.
//!
//! ```text
//!  DescribeLogStreams ─► each stream from its head until the token stays ─► holes? wait, read again ─► what is missing
//! ```
//!
//! What was stored just now is not found by every read yet, for a minute and a half or so. So what is missing before an
//! event that was stored less than [`LAG_MS`] ago may be there all the same: it is looked for until that time is over.
//! What came in after the first pass is left for the next run, or there would be no end.
//!
//! Makes no call and has no clock: [`Service`] does.

use crate::sinks::BoxError;
use crate::trail::verify::Verifier;

/// How long the service may take to show what it has stored, milliseconds.
pub(super) const LAG_MS: i64 = 120_000;
/// Between two looks for what is missing, milliseconds.
const LOOK_MS: u64 = 3_000;
/// A look again begins that much before the oldest of what was stored lately, milliseconds.
const BEFORE_MS: i64 = 600_000;
/// Pages in a row of nothing but what came after the pass began: then it has caught up with what is written.
const NEW_PAGES: u32 = 20;
/// Bit of an event's number that says: stored less than [`LAG_MS`] before it was read.
pub(super) const YOUNG: u64 = 1 << 39;
/// Of an event's number, the part that says in which stream.
pub(super) const STREAM: u32 = 40;

/// What an event of a log is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Logged {
    /// As it was sent, unless something masks it.
    pub(super) message: String,
    /// Of the event, Unix milliseconds.
    pub(super) timestamp_ms: i64,
    /// When it was stored, Unix milliseconds.
    pub(super) ingestion_ms: i64,
}

/// What a read of a stream gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    /// In the order of their time.
    pub(super) events: Vec<Logged>,
    /// Where the next page begins; at the end that which was asked for.
    pub(super) next: String,
}

/// The calls, each tried again until it is answered or never will be; and the clock.
pub(super) trait Service {
    /// DescribeLogStreams: names, and where the next page begins.
    fn streams(
        &mut self,
        prefix: Option<&str>,
        token: Option<&str>,
    ) -> Result<(Vec<String>, Option<String>), Failed>;
    /// GetLogEvents from the head on, of what happened at that time or later.
    fn events(
        &mut self,
        stream: &str,
        token: Option<&str>,
        from_ms: Option<i64>,
    ) -> Result<Page, Failed>;
    /// What time it is, Unix milliseconds.
    fn now_ms(&self) -> i64;
    /// Waits, milliseconds.
    fn wait(&mut self, ms: u64);
    /// For people.
    fn tell(&mut self, what: std::fmt::Arguments<'_>);
    /// How far it is: so many events, and in this stream. Told now and then.
    fn progress(&mut self, events: u64, stream: &str);
}

/// A call that will not be answered.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub(in crate::cli) struct Failed {
    /// Which, and what can be done about it.
    pub(super) what: String,
    #[source]
    pub(super) source: Option<BoxError>,
}

/// Which streams of the group.
#[derive(Clone, Debug, Default)]
pub(super) struct Which {
    /// These, in this order; all of the prefix without.
    pub(super) streams: Vec<String>,
    /// Those whose names begin with it.
    pub(super) prefix: Option<String>,
}

impl Which {
    /// Their names, those of the service in its order: that of their names, which end in the time at which their life
    /// of the collector began.
    pub(super) fn names(&self, service: &mut impl Service) -> Result<Vec<String>, Failed> {
        if !self.streams.is_empty() {
            return Ok(self.streams.clone());
        }
        let (mut all, mut token) = (Vec::new(), None);
        loop {
            let (names, next) = service.streams(self.prefix.as_deref(), token.as_deref())?;
            all.extend(names);
            if next.is_none() || next == token {
                return Ok(all);
            }
            token = next;
        }
    }
}

/// What is remembered of a stream that was read.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    /// The oldest event of those stored lately, by its own time.
    young_from_ms: Option<i64>,
}

/// See the module.
pub(super) struct Reading<'a, 'v, S> {
    service: &'a mut S,
    verifier: &'a mut Verifier<'v>,
    streams: &'a [String],
    seen: Vec<Seen>,
    began_ms: i64,
    events: u64,
    /// When the newest event was stored.
    newest_ms: i64,
    /// Events with what data protection writes in place of what it masks.
    pub(super) masked: u64,
}

impl<'a, 'v, S: Service> Reading<'a, 'v, S> {
    pub(super) fn new(
        service: &'a mut S,
        verifier: &'a mut Verifier<'v>,
        streams: &'a [String],
    ) -> Self {
        Self {
            began_ms: service.now_ms(),
            service,
            verifier,
            streams,
            seen: vec![Seen::default(); streams.len()],
            events: 0,
            newest_ms: i64::MIN,
            masked: 0,
        }
    }

    /// All of it, and then what is missing of it.
    pub(super) fn read(&mut self) -> Result<(), Failed> {
        for at in 0..self.streams.len() {
            self.pass(at, None, true)?;
        }
        let until_ms = self.newest_ms.max(self.began_ms).saturating_add(LAG_MS);
        let mut is_told = false;
        loop {
            let missing = self.streams_with_holes();
            if missing.is_empty() {
                return Ok(());
            }
            let is_last = self.service.now_ms() >= until_ms;
            if !is_last {
                if !std::mem::replace(&mut is_told, true) {
                    let left = until_ms.saturating_sub(self.service.now_ms()) / 1000;
                    self.service.tell(format_args!(
                        "events are missing before some that were stored just now: looking for them for up to {left} s"
                    ));
                }
                self.service.wait(LOOK_MS);
            }
            for at in missing {
                let seen = self.seen.get(at).copied().unwrap_or_default();
                let lately = seen.young_from_ms.map(|ms| ms.saturating_sub(BEFORE_MS));
                // What is late may be older than all around it: the last look is at everything.
                self.pass(at, lately.filter(|_| !is_last), false)?;
            }
            if is_last {
                return Ok(());
            }
        }
    }

    /// The streams in which something may be missing only for now.
    fn streams_with_holes(&self) -> Vec<usize> {
        let mut streams: Vec<usize> = self
            .verifier
            .holes()
            .into_iter()
            .filter_map(|hole| match hole.behind {
                Some(at) if at & YOUNG == 0 => None,
                Some(at) => usize::try_from(at >> STREAM).ok(),
                // It should be there, and nothing says where.
                None => {
                    let is_of = |stream: &String| stream.ends_with(&hole.epoch);
                    let of = self.streams.iter().position(is_of);
                    of.or_else(|| self.streams.len().checked_sub(1))
                }
            })
            .collect();
        streams.sort_unstable();
        streams.dedup();
        streams
    }

    /// A stream from that time on to its end; in the first pass all of it, later what fills holes.
    fn pass(&mut self, at: usize, from_ms: Option<i64>, is_first: bool) -> Result<(), Failed> {
        let Some(name) = self.streams.get(at) else {
            return Ok(());
        };
        let (mut token, mut number, mut new_pages) = (None::<String>, 0_u64, 0);
        loop {
            let page = self.service.events(name, token.as_deref(), from_ms)?;
            let is_new = |event: &Logged| event.ingestion_ms > self.began_ms;
            let is_all_new = !page.events.is_empty() && page.events.iter().all(is_new);
            for event in &page.events {
                number += 1;
                self.give(at, number, event, is_first);
            }
            self.service.progress(self.events, name);
            // A page without events is not the end, and neither is the first.
            new_pages = if is_all_new { new_pages + 1 } else { 0 };
            if token.as_ref() == Some(&page.next) || new_pages >= NEW_PAGES {
                return Ok(());
            }
            token = Some(page.next);
        }
    }

    fn give(&mut self, at: usize, number: u64, event: &Logged, is_first: bool) {
        let text = event.message.trim().as_bytes();
        if !is_first && !self.verifier.lacks(text) {
            return;
        }
        let is_young = event.ingestion_ms > self.began_ms.saturating_sub(LAG_MS);
        if let (true, Some(seen)) = (is_young, self.seen.get_mut(at)) {
            let oldest = seen.young_from_ms.unwrap_or(i64::MAX);
            seen.young_from_ms = Some(oldest.min(event.timestamp_ms));
        }
        self.events += 1;
        self.newest_ms = self.newest_ms.max(event.ingestion_ms);
        self.masked += u64::from(event.message.contains("***"));
        let young = if is_young { YOUNG } else { 0 };
        let place = ((at as u64) << STREAM) | (number & (YOUNG - 1)) | young;
        self.verifier.add(text, place);
    }
}

#[cfg(test)]
mod tests;
