//! How much a node may send: bytes and requests, each from a bucket of its own that fills with time.
//! Pure.
//!
//! The length of a request is known only when it is there. So a request comes in while the bucket is not
//! empty, and what it took is booked behind it: a node may owe at the most what it has in hand, and pays
//! that back in time before its next request comes in.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::bucket::Bucket;

/// Nodes that are remembered; beyond them the one goes that has rested for longest.
const MAX_NODES: usize = 10_000;

/// What one node may send.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Bytes of requests, decompressed, in a second for long.
    pub bytes_per_s: u64,
    /// Bytes at once.
    pub burst_bytes: u64,
    /// Requests in a second for long.
    pub requests_per_s: u64,
    /// Requests at once.
    pub burst_requests: u64,
}

#[derive(Debug)]
struct Buckets {
    bytes: Bucket,
    requests: Bucket,
    /// Its node's turn in [`Nodes::turns`].
    turn: u64,
}

/// The buckets of the nodes that were heard last.
#[derive(Debug, Default)]
struct Nodes {
    of: BTreeMap<Arc<str>, Buckets>,
    /// The nodes in the order in which they were last heard, each once.
    turns: BTreeMap<u64, Arc<str>>,
    next_turn: u64,
}

impl Nodes {
    /// The node's, as it is heard now; full if it is new.
    fn heard(&mut self, node: &str, rate: &Rate, now: Instant) -> &mut Buckets {
        let turn = self.next_turn;
        self.next_turn += 1;
        let known = self.of.get(node).map(|buckets| buckets.turn);
        let name = known.and_then(|turn| self.turns.remove(&turn));
        if name.is_none()
            && self.of.len() >= MAX_NODES
            && let Some((_, longest)) = self.turns.pop_first()
        {
            self.of.remove(&longest);
        }
        let name = name.unwrap_or_else(|| node.into());
        self.turns.insert(turn, Arc::clone(&name));
        let buckets = self.of.entry(name).or_insert_with(|| Buckets {
            bytes: Bucket::full(rate.bytes_per_s as f64, rate.burst_bytes as f64, now),
            requests: Bucket::full(rate.requests_per_s as f64, rate.burst_requests as f64, now),
            turn,
        });
        buckets.turn = turn;
        buckets.bytes.fill(now);
        buckets.requests.fill(now);
        buckets
    }
}

/// See the module. Cheap to clone; clones are the same buckets.
#[derive(Clone, Debug)]
pub(super) struct Rates {
    rate: Rate,
    of: Arc<Mutex<Nodes>>,
}

impl Rates {
    pub(super) fn new(rate: Rate) -> Self {
        Self {
            rate,
            of: Arc::default(),
        }
    }

    /// One more request of the node; or how long it has to wait for that.
    pub(super) fn take(&self, node: &str, now: Instant) -> Result<(), Duration> {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let buckets = of.heard(node, &self.rate, now);
        let wait = buckets.requests.until(1.0).max(buckets.bytes.until(1.0));
        if wait > Duration::ZERO {
            return Err(wait);
        }
        buckets.requests.take(1.0);
        Ok(())
    }

    /// A request of the node was so long.
    pub(super) fn book(&self, node: &str, bytes: usize) {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(buckets) = of.of.get_mut(node) {
            buckets.bytes.take(bytes as f64);
        }
    }
}

/// The node that a request is booked to.
#[derive(Clone, Debug)]
pub(super) struct Booked {
    pub(super) rates: Rates,
    pub(super) node: String,
}

impl Booked {
    pub(super) fn book(&self, bytes: usize) {
        self.rates.book(&self.node, bytes);
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "a clock has to begin somewhere")]

    use super::*;
    use crate::bucket::MAX_WAIT;

    fn rates() -> Rates {
        Rates::new(Rate {
            bytes_per_s: 100,
            burst_bytes: 1000,
            requests_per_s: 2,
            burst_requests: 3,
        })
    }

    #[test]
    fn requests_come_in_bursts_and_then_in_their_turn() {
        let (rates, begin) = (rates(), Instant::now());
        let at = |seconds: f64| begin + Duration::from_secs_f64(seconds);
        for _ in 0..3 {
            assert_eq!(rates.take("a", at(0.0)), Ok(()));
        }
        assert_eq!(rates.take("a", at(0.0)), Err(Duration::from_millis(500)));
        assert_eq!(
            rates.take("b", at(0.0)),
            Ok(()),
            "another node's are its own"
        );
        assert_eq!(rates.take("a", at(0.5)), Ok(()));
        assert!(rates.take("a", at(0.5)).is_err());
        for _ in 0..3 {
            assert_eq!(rates.take("a", at(100.0)), Ok(()));
        }
        assert!(rates.take("a", at(100.0)).is_err(), "no more than a burst");
    }

    #[test]
    fn bytes_are_booked_behind_a_request_and_paid_back_before_the_next() {
        let (rates, begin) = (rates(), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        assert_eq!(rates.take("a", at(0)), Ok(()));
        rates.book("a", 1499);
        assert_eq!(rates.take("a", at(0)), Err(Duration::from_secs(5)));
        assert_eq!(rates.take("a", at(4)), Err(Duration::from_secs(1)));
        assert_eq!(rates.take("a", at(5)), Ok(()));
        rates.book("a", usize::MAX);
        assert_eq!(rates.take("a", at(5)), Err(MAX_WAIT));
    }

    #[test]
    fn of_too_many_nodes_the_one_that_has_rested_for_longest_is_forgotten() {
        let (rates, begin) = (rates(), Instant::now());
        let of = |rates: &Rates| {
            let nodes = rates.of.lock().unwrap();
            let names = |found: &[&str]| found.iter().all(|name| nodes.of.contains_key(*name));
            assert_eq!(nodes.of.len(), nodes.turns.len());
            (nodes.of.len(), names(&["0"]), names(&["1"]), names(&["2"]))
        };
        for node in 0..MAX_NODES {
            assert_eq!(rates.take(&node.to_string(), begin), Ok(()));
        }
        // No bucket is full, and the first node goes on.
        assert_eq!(rates.take("0", begin), Ok(()));
        assert_eq!(rates.take("another", begin), Ok(()));
        assert_eq!(of(&rates), (MAX_NODES, true, false, true));
        rates.book("0", 5000);
        assert_eq!(rates.take("one more", begin), Ok(()));
        assert_eq!(of(&rates), (MAX_NODES, true, false, false));
        assert!(rates.take("0", begin).is_err(), "what is owed is not");
    }
}
