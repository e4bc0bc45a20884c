//! The loop that carries a journal's records to where they belong, one for all destinations.
//!
//! ```text
//!  journal ─ read behind the cursor ─► sort (pure) ─► take, durable ─► settle: the cursor moves
//!                                       ▲                      │
//!                       resume: what is there already ◄────────┘
//! ```
//!
//! A destination knows by itself which number it has last, because it writes the number with the
//! record; the journal's cursor follows, and what lies between the two after a kill is known to be
//! there. A number means something only together with its journal's epoch: numbers of another
//! journal (the folder was wiped) say nothing about this one's.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_journal::{Batch, JournalError, Over, Record, Storage, Trouble};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::{Made, Reader};
use crate::api;
use crate::ingest::StoreError;
use crate::ingest::decode::PayloadError;

/// Time between attempts while the destination refuses.
const RETRY: Duration = Duration::from_secs(1);
/// Failed reads of one place of the journal before its segment is given up. A device that comes
/// back does so within seconds; a sector that is gone stays gone.
const READ_ATTEMPTS: u32 = 5;
/// Time after which a record that is held back is looked at again.
const HELD: Duration = Duration::from_millis(500);

/// Where a destination stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resumed {
    /// The last number of this journal that is there for good; 0 for none.
    pub last_seq: u64,
    /// What it had before was of another journal.
    pub renewed: bool,
}

/// Where records go, exactly once each.
pub trait Destination: Send + 'static {
    /// What a record's bytes mean here.
    type Item;
    /// Why it refuses.
    type Error: std::error::Error + Send + Sync + 'static;
    /// Its name in metrics, accounting and log.
    const NAME: &'static str;
    /// Records taken from the journal at once.
    const BATCH: usize;
    /// Payload bytes taken at once.
    const BATCH_BYTES: usize = 4 << 20;

    /// Opens what is not open, and says what is there of the journal with this epoch. Asked before
    /// each batch, so it is to be cheap when nothing changed.
    fn resume(&mut self, epoch: &str) -> Result<Resumed, Self::Error>;

    /// What a record means. Pure.
    fn decode(record: &Record) -> Result<Self::Item, PayloadError>;

    /// Whether a record is to wait in the journal, and all behind it: the order stays. Asked again a
    /// little later; never at the end. A destination must bound the wait by the record's own time, so
    /// that one never adds to another's. Pure.
    fn holds(&self, _record: &Record, _item: &Self::Item, _now_unix_ns: u64) -> bool {
        false
    }

    /// Takes the items in for good, all or none as far as [`resume`](Self::resume) can tell; the
    /// last of them has the number `last_seq` or a lower one. `epoch` is that of `resume`. Returns how
    /// many of them it turned away, as it would again.
    fn take(
        &mut self,
        items: Vec<Self::Item>,
        epoch: &str,
        last_seq: u64,
    ) -> Result<u64, Self::Error>;
}

/// Why records are not carried on.
#[derive(Debug, Error)]
pub enum CarryError<E: std::error::Error + 'static> {
    /// The journal.
    #[error("read the journal")]
    Store(#[from] StoreError),
    /// The destination.
    #[error(transparent)]
    Destination(E),
    /// The thread that waits for the disk ended.
    #[error("a thread that waits for the disk ended early")]
    Thread(#[from] tokio::task::JoinError),
}

impl<E: std::error::Error + 'static> CarryError<E> {
    /// The disk did not give back what is in the journal, and asking again need not help.
    fn is_unreadable(&self) -> bool {
        matches!(self, Self::Store(StoreError::Journal { source, .. })
            if matches!(source, JournalError::Io { .. }) && !source.is_of_process())
    }
}

/// A batch, judged.
#[derive(Debug, PartialEq, Eq)]
pub struct Sorted<T> {
    /// To be taken in.
    pub items: Vec<T>,
    /// Everything up to this number is settled then; `None` if there is nothing to settle.
    pub last_seq: Option<u64>,
    /// And came to this; damaged numbers are not among it, see [`Reader::read`].
    pub made: Made,
    /// The next record is to wait.
    pub is_held: bool,
}

/// What one look at the journal came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Carried {
    /// There was nothing.
    Nothing,
    /// Records, and perhaps there are more.
    Some,
    /// The next record is to wait.
    Held,
}

/// What one attempt came to.
enum Attempt {
    Carried(Carried),
    /// A part of the journal cannot be read, and is left behind.
    GaveUp,
    /// To be tried again.
    Refused,
}

/// What earlier attempts came to.
#[derive(Clone, Copy, Default)]
struct Course {
    /// Failed reads of one place.
    unreadable: u32,
    trouble: Trouble,
}

/// Parts a batch into what is new, what is there already (up to `known`) and what nobody can read, up
/// to the first record that is to be held back.
pub fn sort<T>(
    batch: &Batch,
    known: u64,
    decode: impl Fn(&Record) -> Result<T, PayloadError>,
    held: impl Fn(&Record, &T) -> bool,
) -> Sorted<T> {
    let last_record = batch.records.last().map(|record| record.seq);
    let last_damaged = batch.damaged.last().map(|(_, last)| *last);
    let mut last_seq = last_record.max(last_damaged);
    let mut is_held = false;
    let mut made = Made::default();
    let mut items = Vec::with_capacity(batch.records.len());
    for record in &batch.records {
        if record.seq <= known {
            // Written before the process ended, and the cursor not yet.
            made.filtered += 1;
            continue;
        }
        match decode(record) {
            Ok(item) if held(record, &item) => {
                let before = record.seq.checked_sub(1);
                last_seq = before.filter(|last| batch_begins_by(batch, *last));
                is_held = true;
                break;
            }
            Ok(item) => {
                items.push(item);
                made.delivered += 1;
            }
            Err(error) => {
                tracing::error!(
                    seq = record.seq,
                    error = &error as &dyn std::error::Error,
                    "journal record cannot be read"
                );
                made.undecodable += 1;
            }
        }
    }
    Sorted {
        items,
        last_seq,
        made,
        is_held,
    }
}

/// Whether something of the batch lies at this number or before it.
fn batch_begins_by(batch: &Batch, seq: u64) -> bool {
    let record = batch.records.first().map(|record| record.seq);
    let damaged = batch.damaged.first().map(|(first, _)| *first);
    [record, damaged]
        .into_iter()
        .flatten()
        .any(|first| first <= seq)
}

fn tell_wait(destination: &str, error: &(dyn std::error::Error + 'static)) {
    tracing::error!(
        destination,
        error,
        "records wait in the journal, trying again each second"
    );
}

fn tell_over(destination: &str, over: Over) {
    tracing::info!(
        destination,
        lasted_s = over.lasted_s,
        shed = over.shed,
        "records are carried on from the journal"
    );
}

impl<S: Storage + Send + 'static> Reader<S> {
    /// Carries records to `destination` until `stop`, then what is in the journal by then. While
    /// the destination refuses, records wait in the journal and it is asked again each second. A
    /// segment that cannot be read is given up after [`READ_ATTEMPTS`], counted and told.
    pub async fn carry<D: Destination>(
        self: Arc<Self>,
        destination: D,
        stop: CancellationToken,
    ) -> Result<(), CarryError<D::Error>> {
        self.carry_with(destination, stop, RETRY).await
    }

    /// [`carry`](Self::carry), with another time between attempts.
    pub(super) async fn carry_with<D: Destination>(
        self: Arc<Self>,
        destination: D,
        stop: CancellationToken,
        retry: Duration,
    ) -> Result<(), CarryError<D::Error>> {
        let mut commits = self.store.commits();
        let mut destination = destination;
        let mut course = Course::default();
        loop {
            let ending = stop.is_cancelled();
            let reader = Arc::clone(&self);
            // The books are asked for there as well: they wait for whoever commits.
            let (given_back, after, attempt) = tokio::task::spawn_blocking(move || {
                let attempt = reader.attempt(&mut destination, &mut course, ending);
                (destination, course, attempt)
            })
            .await?;
            (destination, course) = (given_back, after);
            match attempt? {
                Attempt::Carried(Carried::Nothing) if ending => return Ok(()),
                Attempt::Carried(Carried::Held) => {
                    drop(tokio::time::timeout(HELD, stop.cancelled()).await);
                }
                Attempt::Carried(Carried::Nothing) => tokio::select! {
                    _ = commits.changed() => {}
                    () = stop.cancelled() => {}
                },
                Attempt::Carried(Carried::Some) | Attempt::GaveUp => {}
                Attempt::Refused => drop(tokio::time::timeout(retry, stop.cancelled()).await),
            }
        }
    }

    /// Carries a batch, and says what is to be said of it. A failure is an error only at the end; before
    /// that it is one of those that are tried again or given up.
    fn attempt<D: Destination>(
        &self,
        destination: &mut D,
        course: &mut Course,
        ending: bool,
    ) -> Result<Attempt, CarryError<D::Error>> {
        let now = (!ending).then(api::unix_ns);
        let error = match self.carry_some(destination, now) {
            Ok(carried) => {
                if carried != Carried::Nothing {
                    course.unreadable = 0;
                }
                let over = course
                    .trouble
                    .ended(api::monotonic_ns(), || self.fates().shed);
                if let Some(over) = over {
                    tell_over(D::NAME, over);
                }
                return Ok(Attempt::Carried(carried));
            }
            Err(error) => error,
        };
        self.failed(&error);
        if ending {
            return Err(error);
        }
        if error.is_unreadable() {
            course.unreadable += 1;
        }
        if course.unreadable >= READ_ATTEMPTS {
            course.unreadable = 0;
            self.give_up(&error)?;
            return Ok(Attempt::GaveUp);
        }
        // By a clock that nobody sets: a stuck destination is told each minute.
        if course
            .trouble
            .failed(api::monotonic_ns(), || self.fates().shed)
        {
            tell_wait(D::NAME, &error);
        }
        Ok(Attempt::Refused)
    }

    /// One batch, durable before the cursor moves. Nothing is held back without a time.
    pub(super) fn carry_some<D: Destination>(
        &self,
        destination: &mut D,
        now_unix_ns: Option<u64>,
    ) -> Result<Carried, CarryError<D::Error>> {
        let epoch = self.store.journal_epoch(self.class);
        let resumed = destination
            .resume(&epoch)
            .map_err(CarryError::Destination)?;
        if resumed.renewed {
            self.renewed();
            tracing::warn!(
                destination = D::NAME,
                journal = epoch,
                "the journal is another one than before: beginning at its start"
            );
        }
        let carried = self.carry_batch(destination, &epoch, resumed.last_seq, now_unix_ns);
        // Refused or held back: what was read is not in this reader's hand any longer.
        self.put_back()?;
        carried
    }

    fn carry_batch<D: Destination>(
        &self,
        destination: &mut D,
        epoch: &str,
        known: u64,
        now_unix_ns: Option<u64>,
    ) -> Result<Carried, CarryError<D::Error>> {
        let batch = self.read(D::BATCH, D::BATCH_BYTES)?;
        let held = |record: &Record, item: &D::Item| {
            now_unix_ns.is_some_and(|now| destination.holds(record, item, now))
        };
        let sorted = sort(&batch, known, D::decode, held);
        let Some(last_seq) = sorted.last_seq else {
            self.went_well();
            return Ok(if sorted.is_held {
                Carried::Held
            } else {
                Carried::Nothing
            });
        };
        let mut made = sorted.made;
        if !sorted.items.is_empty() {
            let rejected = destination
                .take(sorted.items, epoch, last_seq)
                .map_err(CarryError::Destination)?;
            made.rejected = rejected;
            made.delivered = made.delivered.saturating_sub(rejected);
        }
        self.settle(last_seq, made)?;
        Ok(Carried::Some)
    }
}
