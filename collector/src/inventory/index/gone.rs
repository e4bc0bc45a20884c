//! Who is gone and since when, the longest gone first, and how much their names take.

use std::collections::VecDeque;
use std::time::Duration;

/// Deleted objects whose names are kept at the most; the longest gone go first.
pub const MAX_GONE: usize = 100_000;
/// Bytes that they may take, about. A pod takes less than a thousand.
pub const MAX_GONE_BYTES: usize = 64 << 20;

/// See the module. What came back stays in the queue: whoever takes it out sees that by its time.
#[derive(Clone, Debug)]
pub(super) struct Gone<K> {
    queue: VecDeque<(Duration, K)>,
    count: usize,
    bytes: usize,
    forgotten: u64,
}

impl<K> Default for Gone<K> {
    fn default() -> Self {
        Self {
            queue: VecDeque::new(),
            count: 0,
            bytes: 0,
            forgotten: 0,
        }
    }
}

impl<K> Gone<K> {
    /// One has gone, and keeps a name of so many bytes.
    pub(super) fn went(&mut self, now: Duration, key: K, bytes: usize) {
        self.queue.push_back((now, key));
        self.count += 1;
        self.bytes += bytes;
    }

    /// One is no longer among the gone: it is there again, or forgotten.
    pub(super) const fn came_back(&mut self, bytes: usize) {
        self.count = self.count.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    /// The longest gone, taken out of the queue.
    pub(super) fn longest(&mut self) -> Option<(Duration, K)> {
        self.queue.pop_front()
    }

    /// The longest gone, taken out of the queue if it has been so for that long.
    pub(super) fn due(&mut self, now: Duration, keep: Duration) -> Option<(Duration, K)> {
        let is_due = |longest: &mut (Duration, K)| now.saturating_sub(longest.0) >= keep;
        self.queue.pop_front_if(is_due)
    }

    /// One that was taken out of the queue stays among the gone, as if it had gone now.
    pub(super) fn stays(&mut self, now: Duration, key: K) {
        self.queue.push_back((now, key));
    }

    /// Whether there are more than may be, or so many that came back that the queue is mostly these.
    pub(super) fn is_over(&self) -> bool {
        self.count > MAX_GONE || self.bytes > MAX_GONE_BYTES || self.queue.len() > 2 * MAX_GONE
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    pub(super) const fn note_forgotten(&mut self) {
        self.forgotten += 1;
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }
}
