//! The loop that carries a journal's records to where many are put at once.
//!
//! ```text
//!  journal ─ read on, behind what is in hand ─► gather … is it over? ─► store, all of it ─► settle: the cursor moves
//! ```
//!
//! What is gathered stays in the reader's hand: read once, in flight, and the journal's again if the process ends. The
//! cursor moves only when all of it is stored.

use std::sync::Arc;
use std::time::Duration;

use plimsoll_journal::{Batch, Record, Trouble};
use tokio_util::sync::CancellationToken;

use super::carry::{tell_over, tell_wait};
use super::{CarryError, Made, Reader, Source};
use crate::api;
use crate::ingest::StoreError;

/// Time between attempts while the journal refuses.
const RETRY: Duration = Duration::from_secs(1);

/// A journal that can be read on behind what is in a reader's hand.
pub trait Onward: Source {
    /// Durable records behind those in the reader's hand, and into it; behind its cursor if there are none.
    fn hand_on(&self, reader: &str, records: usize, bytes: usize) -> Result<Batch, StoreError>;
}

/// Where records are put many at once.
pub trait Gatherer: Send + 'static {
    /// Why it refuses.
    type Error: std::error::Error + Send + Sync + 'static;
    /// Records read from the journal at once.
    const BATCH: usize = 1000;
    /// Payload bytes read at once.
    const BATCH_BYTES: usize = 2 << 20;

    /// Its name in metrics, accounting and log.
    fn name(&self) -> &str;

    /// Takes a record in, for a while. False: it is not one of those that are put together, and comes again.
    ///
    /// # Errors
    /// There is no room for it: all that was taken in is forgotten, and comes again.
    fn gather(&mut self, record: &Record) -> Result<bool, Self::Error>;

    /// How long until what was taken in is to be stored; zero for now, `None` while there is nothing.
    fn wait(&self, now_unix_ns: u64) -> Option<Duration>;

    /// Stores all that was taken in, and forgets it. The last number of it, and what became of it.
    ///
    /// # Errors
    /// Something could not be stored: it is tried again.
    fn store(&mut self) -> Result<(u64, Made), Self::Error>;

    /// What was taken in comes again.
    fn forget(&mut self);

    /// How long to wait after a refusal.
    fn pause(&mut self) -> Duration;
}

/// What one attempt came to.
#[derive(Debug)]
pub(super) enum Attempt {
    /// Something was done; there may be more.
    Went,
    /// There is nothing to do for so long, or until something comes.
    Nothing(Option<Duration>),
    /// To be tried again.
    Refused(Duration),
}

impl<J: Onward> Reader<J> {
    /// Carries records to `gatherer` until `stop`. What is gathered and not stored by then waits in the journal, for
    /// the next life.
    ///
    /// # Errors
    /// The thread that waits for the disk ended early.
    pub async fn gather<G: Gatherer>(
        self: Arc<Self>,
        mut gatherer: G,
        stop: CancellationToken,
    ) -> Result<(), CarryError<G::Error>> {
        let mut commits = self.source().commits();
        let mut trouble = Trouble::default();
        while !stop.is_cancelled() {
            let reader = Arc::clone(&self);
            let (given_back, after, attempt) = tokio::task::spawn_blocking(move || {
                let attempt = reader.gather_some(&mut gatherer, &mut trouble);
                (gatherer, trouble, attempt)
            })
            .await?;
            (gatherer, trouble) = (given_back, after);
            let pause = match attempt {
                Attempt::Went => continue,
                Attempt::Refused(pause) => pause,
                Attempt::Nothing(until) => {
                    let something = async {
                        tokio::select! {
                            _ = commits.changed() => {}
                            () = stop.cancelled() => {}
                        }
                    };
                    drop(tokio::time::timeout(until.unwrap_or(Duration::MAX), something).await);
                    continue;
                }
            };
            drop(tokio::time::timeout(pause, stop.cancelled()).await);
        }
        Ok(self.put_back()?)
    }

    pub(super) fn gather_some<G: Gatherer>(
        &self,
        gatherer: &mut G,
        trouble: &mut Trouble,
    ) -> Attempt {
        let error = match self.gather_or_store(gatherer) {
            Ok(attempt) => {
                self.goes_on();
                let over = trouble.ended(api::monotonic_ns(), || self.fates().shed);
                if let Some(over) = over {
                    tell_over(gatherer.name(), over);
                }
                return attempt;
            }
            Err(error) => error,
        };
        self.failed(&error);
        if trouble.failed(api::monotonic_ns(), || self.fates().shed) {
            tell_wait(gatherer.name(), &error);
        }
        Attempt::Refused(match error {
            CarryError::Destination(_) => gatherer.pause(),
            _ => RETRY,
        })
    }

    /// Nothing is stuck any longer. What is in hand still is, and since when is known if it cannot be stored later.
    fn goes_on(&self) {
        self.books().state.stuck_since_unix_ns = None;
        self.set_failing(None);
    }

    pub(super) fn gather_or_store<G: Gatherer>(
        &self,
        gatherer: &mut G,
    ) -> Result<Attempt, CarryError<G::Error>> {
        if gatherer.wait(api::unix_ns()) == Some(Duration::ZERO) {
            return self.store(gatherer);
        }
        let batch = self.read_on(G::BATCH, G::BATCH_BYTES).or_else(|error| {
            // What cannot be read stays so until the audit file's reader comes there, and gives it up for all.
            self.start_again(gatherer)?;
            Err(error)
        })?;
        for record in &batch.records {
            match gatherer.gather(record) {
                Ok(true) => {}
                Ok(false) => return self.store(gatherer),
                Err(error) => {
                    self.start_again(gatherer)?;
                    return Err(CarryError::Destination(error));
                }
            }
        }
        Ok(if batch.records.is_empty() {
            Attempt::Nothing(gatherer.wait(api::unix_ns()))
        } else {
            Attempt::Went
        })
    }

    fn store<G: Gatherer>(&self, gatherer: &mut G) -> Result<Attempt, CarryError<G::Error>> {
        let (last_seq, made) = gatherer.store().map_err(CarryError::Destination)?;
        self.settle(last_seq, made)?;
        Ok(Attempt::Went)
    }

    fn start_again<G: Gatherer>(&self, gatherer: &mut G) -> Result<(), StoreError> {
        gatherer.forget();
        self.put_back()
    }

    /// As [`read`](Self::read), behind what is in hand.
    fn read_on(&self, records: usize, bytes: usize) -> Result<Batch, StoreError> {
        let mut books = self.books();
        let batch = self.source().hand_on(&self.cursor, records, bytes)?;
        let damaged: u64 = batch.damaged.iter().map(|(from, to)| to - from + 1).sum();
        books.made.undecodable += damaged;
        let first = batch.records.first().map(|record| record.time_unix_ns);
        books.reading_since = books.reading_since.or(first);
        Ok(batch)
    }
}
