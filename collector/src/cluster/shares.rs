//! How much of the API server one asker may have: questions at a time, and questions in a minute. Has no
//! clock.
//!
//! Whoever asks is known by an address while it is not known who they are, and by a user after that. One
//! who asks without end uses up a share, not the turns of all. Those that are asked for while too many
//! askers are remembered have one share together.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::memo::Clock;
use crate::bucket::Bucket;

/// Askers that are remembered; beyond them those go that have rested.
const MAX_ASKERS: usize = 4096;
/// After which one comes again who has as many questions open as it may.
const UNTIL_A_TURN: Duration = Duration::from_secs(1);

/// Longest wait for the asker's own turn: as long as the API server has for an answer.
const TURN_WITHIN: Duration = Duration::from_secs(5);

/// Of each asker.
#[derive(Clone, Copy, Debug)]
pub struct Share {
    /// Questions at a time.
    pub open: usize,
    /// Questions in a minute, which may be asked all at once.
    pub a_minute: u32,
}

/// It is not this asker's turn for so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many questions to the API server in a minute")]
pub struct Spent(pub Duration);

#[derive(Debug)]
struct Entry {
    turns: Arc<Semaphore>,
    left: Bucket,
}

/// See the module.
pub struct Shares<K> {
    share: Share,
    most: usize,
    turn_within: Duration,
    clock: Clock,
    /// `None` is all who have none of their own.
    of: Mutex<HashMap<Option<K>, Entry>>,
}

/// One question's part of a share.
#[derive(Debug)]
pub struct Part<'a, K: Clone + Eq + Hash> {
    shares: &'a Shares<K>,
    asker: Option<K>,
    turns: Arc<Semaphore>,
}

impl<K> std::fmt::Debug for Shares<K> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shares")
            .field("share", &self.share)
            .finish_non_exhaustive()
    }
}

impl<K: Clone + Eq + Hash> Shares<K> {
    /// The same for each.
    pub fn new(share: Share, clock: Clock) -> Self {
        Self {
            share,
            most: MAX_ASKERS,
            turn_within: TURN_WITHIN,
            clock,
            of: Mutex::default(),
        }
    }

    /// A question of that asker, if there is one left in this minute.
    ///
    /// # Errors
    /// When there will be one.
    pub fn take(&self, asker: &K) -> Result<Part<'_, K>, Spent> {
        let now = (self.clock)();
        let mut of = self.lock();
        let asker = self.known(&mut of, asker, now);
        let share = self.share;
        let entry = of.entry(asker.clone()).or_insert_with(|| Entry {
            turns: Arc::new(Semaphore::new(share.open)),
            left: Bucket::full(f64::from(share.a_minute) / 60.0, share.a_minute.into(), now),
        });
        entry.left.fill(now);
        let wait = entry.left.until(1.0);
        if wait > Duration::ZERO {
            return Err(Spent(wait));
        }
        entry.left.take(1.0);
        let turns = Arc::clone(&entry.turns);
        drop(of);
        Ok(Part {
            shares: self,
            asker,
            turns,
        })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Option<K>, Entry>> {
        self.of.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Under what the asker is remembered.
    fn known(&self, of: &mut HashMap<Option<K>, Entry>, asker: &K, now: Instant) -> Option<K> {
        let asker = Some(asker.clone());
        if of.len() < self.most || of.contains_key(&asker) {
            return asker;
        }
        of.retain(|_, entry| {
            entry.left.fill(now);
            !entry.left.is_full() || Arc::strong_count(&entry.turns) > 1
        });
        asker.filter(|_| of.len() < self.most)
    }
}

impl<K: Clone + Eq + Hash> Part<'_, K> {
    /// The turn for it, when the asker's questions before it are answered. Without one nothing was asked.
    ///
    /// # Errors
    /// It did not come in time; when to come again.
    pub async fn turn(&self) -> Result<OwnedSemaphorePermit, Spent> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        let turn = tokio::time::timeout(self.shares.turn_within, turn).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| self.none())
    }

    /// The turn for it, if it is there now. Without one nothing was asked.
    ///
    /// # Errors
    /// When to come again.
    pub fn turn_now(&self) -> Result<OwnedSemaphorePermit, Spent> {
        let turn = Arc::clone(&self.turns).try_acquire_owned();
        turn.map_err(|_| self.none())
    }

    fn none(&self) -> Spent {
        self.give_back();
        Spent(UNTIL_A_TURN)
    }

    /// It was a good question, and does not count.
    pub fn give_back(&self) {
        if let Some(entry) = self.shares.lock().get_mut(&self.asker) {
            entry.left.give_back(1.0);
        }
    }
}

#[cfg(test)]
mod tests;
