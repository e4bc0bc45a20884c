//! Answers that are kept for a while, so that the same question is asked once. Has no clock.
//!
//! Who asks while the same question is on its way waits for that answer. When there are too many, the
//! one that would end first goes: what was refused, which is kept shortly, before what was taken.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as Turn;

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// An answer, and until when it counts.
type Slot<V> = Arc<Turn<Option<(V, Instant)>>>;

struct Entry<V> {
    slot: Slot<V>,
    /// As in the slot, to be looked at without waiting; when it was asked while there is no answer.
    until: Instant,
}

/// See the module.
pub struct Memo<K, V> {
    most: usize,
    clock: Clock,
    entries: Mutex<HashMap<K, Entry<V>>>,
}

impl<K, V> std::fmt::Debug for Memo<K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Memo")
            .field("most", &self.most)
            .finish_non_exhaustive()
    }
}

/// So many different questions are on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many questions are open")]
pub struct Full;

impl<K: Clone + Eq + Hash, V: Clone> Memo<K, V> {
    /// Keeps so many answers.
    pub fn new(most: usize, clock: Clock) -> Self {
        Self {
            most,
            clock,
            entries: Mutex::default(),
        }
    }

    /// The answer that is kept, or what `ask` gives, which counts for the time beside it; one that counts for none
    /// is not kept. An `ask` that
    /// is dropped before its end leaves the question to whoever waits.
    ///
    /// # Errors
    /// [`Full`]; nothing is asked then.
    pub async fn get(&self, key: &K, ask: impl Future<Output = (V, Duration)>) -> Result<V, Full> {
        let slot = self.slot(key)?;
        let mut kept = slot.lock().await;
        if let Some((answer, until)) = &*kept
            && (self.clock)() < *until
        {
            return Ok(answer.clone());
        }
        let (answer, lasts) = ask.await;
        if lasts.is_zero() {
            // No answer to the question: what was known before stays, and one of which nothing was takes no place.
            if kept.is_none() {
                self.forget(key, &slot);
            }
            return Ok(answer);
        }
        let until = (self.clock)() + lasts;
        *kept = Some((answer.clone(), until));
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(key).filter(|e| Arc::ptr_eq(&e.slot, &slot)) {
            entry.until = until;
        }
        Ok(answer)
    }

    /// The last answer that was kept, whether it counts still or not; `None` as well while the question is
    /// on its way.
    pub fn last(&self, key: &K) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = entries.get(key)?.slot.try_lock().ok()?;
        kept.as_ref().map(|(answer, _)| answer.clone())
    }

    fn forget(&self, key: &K, slot: &Slot<V>) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries
            .get(key)
            .is_some_and(|of| Arc::ptr_eq(&of.slot, slot))
        {
            entries.remove(key);
        }
    }

    fn slot(&self, key: &K) -> Result<Slot<V>, Full> {
        let now = (self.clock)();
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(key) {
            return Ok(Arc::clone(&entry.slot));
        }
        if entries.len() >= self.most {
            let is_open = |entry: &Entry<V>| Arc::strong_count(&entry.slot) > 1;
            entries.retain(|_, entry| entry.until > now || is_open(entry));
            if entries.len() >= self.most {
                let closed = entries.iter().filter(|(_, entry)| !is_open(entry));
                let first = closed.min_by_key(|(_, entry)| entry.until);
                let first = first.map(|(key, _)| key.clone()).ok_or(Full)?;
                entries.remove(&first);
            }
        }
        let slot = Slot::default();
        let entry = Entry {
            slot: Arc::clone(&slot),
            until: now,
        };
        entries.insert(key.clone(), entry);
        Ok(slot)
    }

    /// Answers that are kept, with those that do not count any more and have not gone yet.
    pub fn len(&self) -> usize {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.len()
    }

    /// None is kept.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests;
