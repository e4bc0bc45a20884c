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

use plimsoll_journal::{JournalError, Over, Record, Trouble};
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use super::ahead::Beside;
use super::sorted::{batch_begins_by, sort};
use super::{Reader, Source};
use crate::api;
use crate::ingest::StoreError;
use crate::ingest::decode::PayloadError;

/// Time between attempts while the destination refuses.
const RETRY: Duration = Duration::from_secs(1);
/// Failed reads of one place of the journal before its segment is given up. A device that comes
/// back does so within seconds; a sector that is gone stays gone.
const READ_ATTEMPTS: u32 = 5;
/// Longer than a destination that works keeps anything waiting.
const LATE: Duration = Duration::from_secs(10);
/// Time after which a record that is held back is looked at again.
const HELD: Duration = Duration::from_millis(500);

/// Times that tests choose.
#[derive(Clone, Copy)]
pub(super) struct Pace {
    /// Between attempts while the destination refuses.
    pub(super) retry: Duration,
    /// What comes in turn and has waited longer than this is behind.
    pub(super) late: Duration,
}

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
    /// Records taken from the journal at once.
    const BATCH: usize;
    /// Payload bytes taken at once.
    const BATCH_BYTES: usize = 4 << 20;

    /// Its name in metrics, accounting and log.
    fn name(&self) -> &str;

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

    /// Takes the items in for good, from the front as many as it likes and one at least, or none: what it took
    /// is all that [`resume`](Self::resume) can tell, where that can tell. `epoch` is that of `resume`; the last
    /// of the items has the number `last_seq` or a lower one.
    fn take(
        &mut self,
        items: Vec<Self::Item>,
        epoch: &str,
        last_seq: u64,
    ) -> Result<Taken, Self::Error>;

    /// How long to wait after so many refusals in a row; `None` for the usual second.
    fn pause(&mut self, _refusals: u32) -> Option<Duration> {
        None
    }

    /// The same destination once more, that may be called while this one is; `None` where the order must stay. See
    /// [`ahead`](super::ahead).
    fn beside(&self) -> Option<Self>
    where
        Self: Sized,
    {
        None
    }

    /// Whether what it does not take at the end may wait for the next life: then that is no failure of this one.
    fn may_wait(&self) -> bool {
        false
    }
}

/// What a destination took of some items.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// The last number that has its fate, of the batch; what lies behind it comes again.
    pub last_seq: u64,
    /// Of them those that are not for it.
    pub filtered: u64,
    /// Of them those that it turned away, as it would again.
    pub rejected: u64,
    /// Of them those that it can never take and that are kept apart.
    pub quarantined: u64,
}

impl Taken {
    /// All of it, up to that number.
    pub const fn all(last_seq: u64) -> Self {
        Self {
            last_seq,
            filtered: 0,
            rejected: 0,
            quarantined: 0,
        }
    }
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
        let Self::Store(error) = self else {
            return false;
        };
        error.journal().is_some_and(|source| {
            matches!(source, JournalError::Io { .. }) && !source.is_of_process()
        })
    }
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
    /// The next record is where the lane begins: it was taken ahead, or is about to be.
    Reached,
}

/// What one attempt came to.
enum Attempt {
    Carried(Carried),
    /// A part of the journal cannot be read, and is left behind.
    GaveUp,
    /// To be tried again: the destination refused, or else the journal.
    Refused {
        by_destination: bool,
    },
}

/// What earlier attempts came to.
#[derive(Clone, Copy, Default)]
struct Course {
    /// Failed reads of one place.
    unreadable: u32,
    /// Refusals in a row.
    refusals: u32,
    trouble: Trouble,
}

pub(super) fn tell_wait(destination: &str, error: &(dyn std::error::Error + 'static)) {
    tracing::error!(
        destination,
        error,
        "records wait in the journal, trying again"
    );
}

fn tell_left(destination: &str, error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(
        destination,
        error,
        "what was not taken at the end waits in the journal for the next life"
    );
}

pub(super) fn tell_over(destination: &str, over: Over) {
    tracing::info!(
        destination,
        lasted_s = over.lasted_s,
        shed = over.shed,
        "records are carried on from the journal"
    );
}

impl<J: Source> Reader<J> {
    /// Carries records to `destination` until `stop`, then what is in the journal by then. While
    /// the destination refuses, records wait in the journal and it is asked again. A
    /// segment that cannot be read is given up after [`READ_ATTEMPTS`], counted and told.
    pub async fn carry<D: Destination>(
        self: Arc<Self>,
        destination: D,
        stop: CancellationToken,
    ) -> Result<(), CarryError<D::Error>> {
        let pace = Pace {
            retry: RETRY,
            late: LATE,
        };
        self.carry_with(destination, stop, pace).await
    }

    /// [`carry`](Self::carry) at another pace.
    pub(super) async fn carry_with<D: Destination>(
        self: Arc<Self>,
        destination: D,
        stop: CancellationToken,
        pace: Pace,
    ) -> Result<(), CarryError<D::Error>> {
        let mut commits = self.source.commits();
        let mut destination = destination;
        let mut course = Course::default();
        let mut beside = Beside::default();
        loop {
            let ending = stop.is_cancelled();
            if ending {
                beside.close().await;
            }
            let until = beside.begins_at();
            let may_open = !ending && until.is_none();
            let reader = Arc::clone(&self);
            // The books are asked for there as well: they wait for whoever commits.
            let attempt = tokio::task::spawn_blocking(move || {
                let attempt = reader.attempt(&mut destination, &mut course, ending, until);
                let is_some = matches!(attempt, Ok(Attempt::Carried(Carried::Some)));
                let lane = (may_open && is_some && reader.is_late(pace.late))
                    .then(|| reader.source.last().zip(destination.beside()));
                (destination, course, attempt, lane.flatten())
            });
            let (given_back, after, attempt, lane) = beside.meanwhile(attempt).await?;
            if let Some((last, destination)) = lane {
                beside.open(&self.source, last, destination);
            }
            (destination, course) = (given_back, after);
            match attempt {
                Err(error) if destination.may_wait() => {
                    tell_left(destination.name(), &error);
                    return Ok(());
                }
                Err(error) => return Err(error),
                Ok(attempt) => match attempt {
                    Attempt::Carried(Carried::Nothing) if ending => return Ok(()),
                    Attempt::Carried(Carried::Held) => {
                        let held = tokio::time::timeout(HELD, stop.cancelled());
                        drop(beside.meanwhile(held).await);
                    }
                    Attempt::Carried(Carried::Nothing) => tokio::select! {
                        _ = commits.changed() => {}
                        () = stop.cancelled() => {}
                    },
                    Attempt::Carried(Carried::Reached) => {
                        if let Some(ahead) = beside.end().await {
                            let reader = Arc::clone(&self);
                            tokio::task::spawn_blocking(move || reader.pass(&ahead)).await??;
                        }
                    }
                    Attempt::Carried(Carried::Some) | Attempt::GaveUp => {}
                    Attempt::Refused { by_destination } => {
                        let pause = by_destination.then(|| destination.pause(course.refusals));
                        let pause = pause.flatten().unwrap_or(pace.retry);
                        let pause = tokio::time::timeout(pause, stop.cancelled());
                        drop(beside.meanwhile(pause).await);
                    }
                },
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
        until: Option<u64>,
    ) -> Result<Attempt, CarryError<D::Error>> {
        let now = (!ending).then(api::unix_ns);
        let error = match self.carry_up_to(destination, now, until) {
            Ok(carried) => {
                course.refusals = 0;
                if carried != Carried::Nothing {
                    course.unreadable = 0;
                }
                let over = course
                    .trouble
                    .ended(api::monotonic_ns(), || self.fates().shed);
                if let Some(over) = over {
                    tell_over(destination.name(), over);
                }
                return Ok(Attempt::Carried(carried));
            }
            Err(error) => error,
        };
        self.failed(&error);
        if ending {
            return Err(error);
        }
        course.refusals = course.refusals.saturating_add(1);
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
            tell_wait(destination.name(), &error);
        }
        Ok(Attempt::Refused {
            by_destination: matches!(error, CarryError::Destination(_)),
        })
    }

    /// One batch, durable before the cursor moves. Nothing is held back without a time.
    #[cfg(test)]
    pub(super) fn carry_some<D: Destination>(
        &self,
        destination: &mut D,
        now_unix_ns: Option<u64>,
    ) -> Result<Carried, CarryError<D::Error>> {
        self.carry_up_to(destination, now_unix_ns, None)
    }

    /// One batch of what lies before `until`, durable before the cursor moves.
    fn carry_up_to<D: Destination>(
        &self,
        destination: &mut D,
        now_unix_ns: Option<u64>,
        until: Option<u64>,
    ) -> Result<Carried, CarryError<D::Error>> {
        let epoch = self.source.epoch();
        let resumed = destination
            .resume(&epoch)
            .map_err(CarryError::Destination)?;
        if resumed.renewed {
            self.renewed();
            tracing::warn!(
                destination = destination.name(),
                journal = epoch,
                "the journal is another one than before: beginning at its start"
            );
        }
        let within = (now_unix_ns, until);
        let carried = self.carry_batch(destination, &epoch, resumed.last_seq, within);
        // Refused or held back: what was read is not in this reader's hand any longer.
        self.put_back()?;
        carried
    }

    fn carry_batch<D: Destination>(
        &self,
        destination: &mut D,
        epoch: &str,
        known: u64,
        (now_unix_ns, until): (Option<u64>, Option<u64>),
    ) -> Result<Carried, CarryError<D::Error>> {
        let mut batch = self.read(D::BATCH, D::BATCH_BYTES)?;
        if let Some(until) = until {
            if !batch_begins_by(&batch, until - 1) {
                return Ok(Carried::Reached);
            }
            batch.records.retain(|record| record.seq < until);
            batch.damaged.retain_mut(|(first, last)| {
                *last = (*last).min(until - 1);
                *first <= *last
            });
        }
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
        let (last_seq, made) = sorted
            .take(destination, epoch, last_seq)
            .map_err(CarryError::Destination)?;
        self.settle(last_seq, made)?;
        Ok(Carried::Some)
    }
}
