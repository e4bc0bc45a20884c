//! Answers that are kept for a while, so that the same question is asked once. Has no clock.
//!
//! Who asks while the same question is on its way waits for that answer. That there was none is kept for a
//! moment, beside the last answer: who was known before an outage is after it. When there are too many, questions
//! without an answer go, then the one that would end first: what was refused, which is kept shortly, before what
//! was taken.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as Turn;

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Instant + Send + Sync>;

/// For how long something counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasts {
    /// An answer.
    Answer(Duration),
    /// That there was none. The last answer stays beside it, and counts no longer for that.
    NoAnswer(Duration),
}

/// Something, and until when it counts.
type Until<V> = Option<(V, Instant)>;

/// What is known of a question.
struct Known<V> {
    answer: Until<V>,
    no_answer: Until<V>,
}

type Slot<V> = Arc<Turn<Known<V>>>;

struct Entry<V> {
    slot: Slot<V>,
    /// As in the slot, to be looked at without waiting.
    has_answer: bool,
    /// As in the slot, the later one; when it was asked while there is neither.
    until: Instant,
}

impl<V: Clone> Known<V> {
    const NOTHING: Self = Self {
        answer: None,
        no_answer: None,
    };

    fn at(&self, now: Instant) -> Option<V> {
        let known = [&self.answer, &self.no_answer].into_iter().flatten();
        let mut counting = known.filter(|(_, until)| now < *until);
        counting.next().map(|(said, _)| said.clone())
    }
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
    /// is not kept. An `ask` that is dropped before its end leaves the question to whoever waits.
    ///
    /// # Errors
    /// [`Full`]; nothing is asked then.
    pub async fn get(&self, key: &K, ask: impl Future<Output = (V, Lasts)>) -> Result<V, Full> {
        let slot = self.slot(key)?;
        let mut known = slot.lock().await;
        if let Some(said) = known.at((self.clock)()) {
            return Ok(said);
        }
        let (said, lasts) = ask.await;
        let (Lasts::Answer(time) | Lasts::NoAnswer(time)) = lasts;
        if time.is_zero() {
            // What was known before stays, and one of which nothing was takes no place.
            if known.answer.is_none() {
                self.forget(key, &slot);
            }
            return Ok(said);
        }
        let until = (self.clock)() + time;
        let kept = Some((said.clone(), until));
        match lasts {
            Lasts::Answer(_) => known.answer = kept,
            Lasts::NoAnswer(_) => known.no_answer = kept,
        }
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get_mut(key).filter(|e| Arc::ptr_eq(&e.slot, &slot)) {
            (entry.has_answer, entry.until) = (known.answer.is_some(), until);
        }
        Ok(said)
    }

    /// The last answer that was kept, whether it counts still or not: it says who asks, and lets nobody in.
    /// `None` as well while the question is on its way.
    pub fn last(&self, key: &K) -> Option<V> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        let known = entries.get(key)?.slot.try_lock().ok()?;
        known.answer.as_ref().map(|(answer, _)| answer.clone())
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
            entries.retain(|_, entry| entry.has_answer || is_open(entry));
            if entries.len() >= self.most {
                entries.retain(|_, entry| entry.until > now || is_open(entry));
            }
            if entries.len() >= self.most {
                let closed = entries.iter().filter(|(_, entry)| !is_open(entry));
                let first = closed.min_by_key(|(_, entry)| entry.until);
                let first = first.map(|(key, _)| key.clone()).ok_or(Full)?;
                entries.remove(&first);
            }
        }
        let slot = Arc::new(Turn::new(Known::NOTHING));
        let entry = Entry {
            slot: Arc::clone(&slot),
            has_answer: false,
            until: now,
        };
        entries.insert(key.clone(), entry);
        Ok(slot)
    }

    /// What is kept, with what does not count any more and has not gone yet.
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
