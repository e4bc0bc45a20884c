//! What happens now, ahead of what has waited: a destination that has much to make up for is given both.
//!
//! ```text
//!  journal  …│ waits since the outage │ what came since ─► taken ahead │
//!            ▲ cursor ─► taken in turn ▲ the lane begins ─────────────► │
//!                                      └ the cursor comes here, and jumps over what was taken ahead
//! ```
//!
//! The lane is the destination once more, with calls of its own beside those of the other. Its place is not kept on the
//! disk: after a kill what was taken ahead is taken again in its turn.

use std::collections::VecDeque;
use std::pin::{Pin, pin};
use std::time::Duration;

use plimsoll_journal::Trouble;
use tokio_util::sync::CancellationToken;

use super::carry::{Destination, tell_over, tell_wait};
use super::sorted::sort;
use super::{Made, Source};
use crate::api;

/// Time between attempts while the journal refuses.
const RETRY: Duration = Duration::from_secs(1);

/// What was taken ahead.
#[derive(Debug)]
pub(super) struct Ahead {
    /// The first number.
    pub(super) from: u64,
    /// First and last number of each batch, and what became of it.
    batches: VecDeque<(u64, u64, Made)>,
}

impl Ahead {
    /// Batches of which nothing was kept out are one with the batch before.
    fn add(&mut self, first: u64, last: u64, made: Made) {
        let is_plain = |made: &Made| made.records() == made.delivered;
        match self.batches.back_mut() {
            Some((_, end, before)) if *end + 1 == first && is_plain(before) && is_plain(&made) => {
                *end = last;
                before.add(made);
            }
            _ => self.batches.push_back((first, last, made)),
        }
    }

    /// The last number of what was taken, and what became of that behind `cursor`: the journal may have shed some of
    /// it meanwhile.
    pub(super) fn behind(&self, cursor: u64) -> Option<(u64, Made)> {
        let mut sum = Made::default();
        for (first, last, made) in &self.batches {
            if *first > cursor {
                sum.add(*made);
            } else if *last > cursor {
                // Nobody knows which of them were filtered.
                sum.delivered += (last - cursor).min(made.records());
            }
        }
        let (_, last, _) = self.batches.back()?;
        (*last > cursor).then_some((*last, sum))
    }
}

/// What is carried beside the records that come in their turn.
#[derive(Default)]
pub(super) enum Beside {
    #[default]
    Nothing,
    Running(Lane),
    /// No more, and what was taken has not been passed yet.
    Closed(Ahead),
}

/// A lane in use.
pub(super) struct Lane {
    from: u64,
    closing: CancellationToken,
    running: Pin<Box<dyn Future<Output = Ahead> + Send>>,
}

impl Beside {
    /// Begins behind the last number that the journal has; to be called while nothing is carried beside.
    pub(super) fn open<J: Source, D: Destination>(
        &mut self,
        source: &J,
        last: u64,
        destination: D,
    ) {
        let (from, closing) = (last + 1, CancellationToken::new());
        tracing::info!(
            destination = destination.name(),
            from,
            "events are carried ahead of those that have waited"
        );
        let running = run(source.clone(), destination, from, closing.clone());
        *self = Self::Running(Lane {
            from,
            closing,
            running: Box::pin(running),
        });
    }

    /// The first number that is not to be carried in turn.
    pub(super) const fn begins_at(&self) -> Option<u64> {
        match self {
            Self::Nothing => None,
            Self::Running(lane) => Some(lane.from),
            Self::Closed(ahead) => Some(ahead.from),
        }
    }

    /// Goes on with it while something else is done.
    pub(super) async fn meanwhile<T>(&mut self, work: impl Future<Output = T>) -> T {
        let mut work = pin!(work);
        let Self::Running(lane) = self else {
            return work.await;
        };
        tokio::select! {
            done = &mut work => return done,
            ahead = &mut lane.running => *self = Self::Closed(ahead),
        }
        work.await
    }

    /// Nothing more is taken ahead.
    pub(super) async fn close(&mut self) {
        if let Self::Running(lane) = self {
            lane.closing.cancel();
            let ahead = (&mut lane.running).await;
            *self = Self::Closed(ahead);
        }
    }

    /// The same; and what was taken, which is to be passed.
    pub(super) async fn end(&mut self) -> Option<Ahead> {
        self.close().await;
        match std::mem::take(self) {
            Self::Closed(ahead) => Some(ahead),
            Self::Nothing | Self::Running(_) => None,
        }
    }
}

/// What one attempt came to.
enum Step {
    Taken(u64, u64, Made),
    Nothing,
    /// To be tried again then.
    Refused(Duration),
}

async fn run<J: Source, D: Destination>(
    source: J,
    destination: D,
    from: u64,
    closing: CancellationToken,
) -> Ahead {
    let mut ahead = Ahead {
        from,
        batches: VecDeque::new(),
    };
    let mut commits = source.commits();
    let (mut destination, mut next) = (destination, from);
    let mut course = Course::default();
    while !closing.is_cancelled() {
        let source = source.clone();
        let attempt = tokio::task::spawn_blocking(move || {
            let step = step(&source, &mut destination, next, &mut course);
            (destination, course, step)
        });
        // A thread that panicked took the destination with it: the rest comes in its turn.
        let Ok((given_back, after, step)) = attempt.await else {
            break;
        };
        (destination, course) = (given_back, after);
        match step {
            Step::Taken(first, last, made) => {
                ahead.add(first, last, made);
                next = last + 1;
            }
            Step::Nothing => tokio::select! {
                _ = commits.changed() => {}
                () = closing.cancelled() => {}
            },
            Step::Refused(pause) => {
                drop(tokio::time::timeout(pause, closing.cancelled()).await);
            }
        }
    }
    ahead
}

/// What earlier attempts came to.
#[derive(Clone, Copy, Default)]
struct Course {
    /// Refusals in a row.
    refusals: u32,
    trouble: Trouble,
}

impl Course {
    /// Told once, and then each minute.
    fn refused(&mut self, destination: &str, error: &(dyn std::error::Error + 'static)) {
        self.refusals = self.refusals.saturating_add(1);
        if self.trouble.failed(api::monotonic_ns(), || 0) {
            tell_wait(destination, error);
        }
    }

    fn taken(&mut self, destination: &str) {
        self.refusals = 0;
        if let Some(over) = self.trouble.ended(api::monotonic_ns(), || 0) {
            tell_over(destination, over);
        }
    }
}

/// One batch from that number on.
fn step<J: Source, D: Destination>(
    source: &J,
    destination: &mut D,
    from: u64,
    course: &mut Course,
) -> Step {
    let records = match source.peek(from, D::BATCH, D::BATCH_BYTES) {
        Ok(records) => records,
        Err(error) => {
            course.refused(destination.name(), &error);
            return Step::Refused(RETRY);
        }
    };
    let batch = plimsoll_journal::Batch {
        records,
        damaged: Vec::new(),
    };
    let sorted = sort(&batch, 0, D::decode, |_, _| false);
    let (Some(first), Some(last)) = (batch.records.first(), sorted.last_seq) else {
        return Step::Nothing;
    };
    match sorted.take(destination, &source.epoch(), last) {
        Ok((last, made)) => {
            course.taken(destination.name());
            Step::Taken(first.seq, last, made)
        }
        Err(error) => {
            course.refused(destination.name(), &error);
            Step::Refused(destination.pause(course.refusals).unwrap_or(RETRY))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(delivered: u64, filtered: u64) -> Made {
        Made {
            delivered,
            filtered,
            ..Made::default()
        }
    }

    #[test]
    fn batches_without_exceptions_are_one() {
        let mut ahead = Ahead {
            from: 11,
            batches: VecDeque::new(),
        };
        ahead.add(11, 20, made(10, 0));
        ahead.add(21, 30, made(10, 0));
        ahead.add(31, 40, made(9, 1));
        ahead.add(41, 50, made(10, 0));
        assert_eq!(ahead.batches.len(), 3);
        assert_eq!(ahead.behind(10), Some((50, made(39, 1))));
    }

    #[test]
    fn what_the_journal_shed_meanwhile_is_not_counted() {
        let ahead = Ahead {
            from: 11,
            batches: [(11, 20, made(8, 2)), (21, 30, made(10, 0))].into(),
        };
        assert_eq!(ahead.behind(10), Some((30, made(18, 2))));
        assert_eq!(ahead.behind(14), Some((30, made(16, 0))));
        assert_eq!(ahead.behind(20), Some((30, made(10, 0))));
        assert_eq!(ahead.behind(30), None);
        let nothing = Ahead {
            from: 11,
            batches: VecDeque::new(),
        };
        assert_eq!(nothing.behind(10), None);
    }
}
