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

use tokio_util::sync::CancellationToken;

use super::carry::Destination;
use super::sorted::sort;
use super::{Made, Source};

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
    /// Begins behind what the journal has, if nothing is carried beside and something can be.
    pub(super) fn open<J: Source, D: Destination>(&mut self, source: &J, destination: &D) {
        if !matches!(self, Self::Nothing) {
            return;
        }
        let Some((last, destination)) = source.last().zip(destination.beside()) else {
            return;
        };
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
    let (mut destination, mut next, mut refusals) = (destination, from, 0);
    while !closing.is_cancelled() {
        let source = source.clone();
        let attempt = tokio::task::spawn_blocking(move || {
            let step = step(&source, &mut destination, next, refusals);
            (destination, step)
        });
        // A thread that panicked took the destination with it: the rest comes in its turn.
        let Ok((given_back, step)) = attempt.await else {
            break;
        };
        destination = given_back;
        match step {
            Step::Taken(first, last, made) => {
                ahead.batches.push_back((first, last, made));
                (next, refusals) = (last + 1, 0);
            }
            Step::Nothing => tokio::select! {
                _ = commits.changed() => {}
                () = closing.cancelled() => {}
            },
            Step::Refused(pause) => {
                refusals = refusals.saturating_add(1);
                drop(tokio::time::timeout(pause, closing.cancelled()).await);
            }
        }
    }
    ahead
}

/// One batch from that number on.
fn step<J: Source, D: Destination>(
    source: &J,
    destination: &mut D,
    from: u64,
    refusals: u32,
) -> Step {
    let Ok(records) = source.peek(from, D::BATCH, D::BATCH_BYTES) else {
        return Step::Refused(RETRY);
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
        Ok((last, made)) => Step::Taken(first.seq, last, made),
        Err(_) => Step::Refused(destination.pause(refusals).unwrap_or(RETRY)),
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
