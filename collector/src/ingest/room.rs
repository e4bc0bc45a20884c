//! How many bytes of requests the receiver holds at a time, over all connections. Pure.
//!
//! A request's length is known only when it is there, so the longest that is allowed is set aside
//! first. Then it holds what it takes encoded and decoded, and in the end what waits for the journal.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of requests in hand at a time.
const IN_HAND_BYTES: usize = 256 << 20;
/// What is counted at once: permits of a semaphore are `u32`.
const UNIT: usize = 1024;

/// One node may have this share of it at a time: its dribbling requests must not keep others out.
const NODE_SHARE: usize = 4;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Room {
    free: Arc<Semaphore>,
    units: usize,
    of: Arc<Mutex<BTreeMap<String, usize>>>,
}

/// Room of one request; given back when the last clone goes.
#[derive(Clone, Debug)]
pub(super) struct Taken(Arc<Held>);

#[derive(Debug)]
struct Held {
    permit: Mutex<OwnedSemaphorePermit>,
    node: String,
    room: Room,
}

impl Default for Room {
    fn default() -> Self {
        Self::new(IN_HAND_BYTES)
    }
}

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        let units = bytes / UNIT;
        Self {
            free: Arc::new(Semaphore::new(units)),
            units,
            of: Arc::default(),
        }
    }

    /// Bytes that are taken.
    pub(super) fn in_hand_bytes(&self) -> u64 {
        let taken = self.units.saturating_sub(self.free.available_permits());
        (taken as u64).saturating_mul(UNIT as u64)
    }

    /// What one node may have beside another request of its own, and the most that one may come to.
    pub(super) const fn share_bytes(&self) -> usize {
        self.units / NODE_SHARE * UNIT
    }

    /// `None` while there is no room for so many bytes, or the node has its share. One request it may
    /// have whatever its length.
    pub(super) fn take(&self, node: &str, bytes: usize) -> Option<Taken> {
        let units = bytes.div_ceil(UNIT);
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let has = of.get(node).copied().unwrap_or(0);
        if has > 0 && has + units > self.units / NODE_SHARE {
            return None;
        }
        let wanted = u32::try_from(units).ok()?;
        let permit = Arc::clone(&self.free).try_acquire_many_owned(wanted).ok()?;
        of.insert(node.to_owned(), has + units);
        drop(of);
        Some(Taken(Arc::new(Held {
            permit: Mutex::new(permit),
            node: node.to_owned(),
            room: self.clone(),
        })))
    }
}

impl Taken {
    /// Holds so many bytes from now on. `false`, and nothing is changed, while there is no room for
    /// them, or the node has its share: as with [`Room::take`], but for one request.
    pub(super) fn resize(&self, bytes: usize) -> bool {
        let Held { permit, node, room } = &*self.0;
        let mut permit = permit.lock().unwrap_or_else(PoisonError::into_inner);
        let has = permit.num_permits();
        let Some(more) = bytes.div_ceil(UNIT).checked_sub(has) else {
            drop(permit);
            self.shrink(bytes);
            return true;
        };
        let mut of = room.of.lock().unwrap_or_else(PoisonError::into_inner);
        let of_node = of.get(node).copied().unwrap_or(has);
        if of_node > has && of_node + more > room.units / NODE_SHARE {
            return false;
        }
        let Ok(wanted) = u32::try_from(more) else {
            return false;
        };
        let Ok(grown) = Arc::clone(&room.free).try_acquire_many_owned(wanted) else {
            return false;
        };
        permit.merge(grown);
        of.insert(node.clone(), of_node + more);
        true
    }

    /// Gives back what is over these bytes.
    pub(super) fn shrink(&self, bytes: usize) {
        let mut permit = self.0.permit.lock().unwrap_or_else(PoisonError::into_inner);
        let over = permit.num_permits().saturating_sub(bytes.div_ceil(UNIT));
        drop(permit.split(over));
        drop(permit);
        self.0.give_back(over);
    }
}

impl Held {
    fn give_back(&self, units: usize) {
        let mut of = self.room.of.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(has) = of.get_mut(&self.node) {
            *has = has.saturating_sub(units);
            if *has == 0 {
                of.remove(&self.node);
            }
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let permit = self.permit.lock().unwrap_or_else(PoisonError::into_inner);
        let units = permit.num_permits();
        drop(permit);
        self.give_back(units);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_hand_is_bounded_and_what_is_over_given_back() {
        let room = Room::new(10 << 10);
        assert_eq!(room.in_hand_bytes(), 0);
        let first = room.take("a", 8 << 10).unwrap();
        assert_eq!(room.in_hand_bytes(), 8 << 10);
        assert!(room.take("b", 8 << 10).is_none());
        first.shrink(1025);
        assert_eq!(room.in_hand_bytes(), 2 << 10);
        let held = first.clone();
        drop(first);
        let second = room.take("b", 8 << 10).unwrap();
        assert!(room.take("c", 1).is_none());
        drop((held, second));
        assert!(room.take("c", 10 << 10).is_some());
    }

    #[test]
    fn one_node_has_its_share_and_no_more() {
        let room = Room::new(16 << 10);
        let three = [3 << 10, 1, 1].map(|bytes| room.take("a", bytes));
        assert!(three[0].is_some() && three[1].is_some());
        assert!(three[2].is_none(), "it has its quarter");
        assert!(room.take("b", 4 << 10).is_some());
        three[0].as_ref().unwrap().shrink(1 << 10);
        let again = room.take("a", 2 << 10).unwrap();
        assert!(room.take("a", 1).is_none());
        drop((three, again));
        assert!(room.of.lock().unwrap().is_empty());
        assert!(room.take("a", 16 << 10).is_some(), "one of any length");
        assert_eq!(room.in_hand_bytes(), 0);
    }
    #[test]
    fn a_request_grows_within_the_same_bounds() {
        let room = Room::new(16 << 10);
        let first = room.take("a", 1 << 10).unwrap();
        assert!(first.resize(8 << 10), "one of any length");
        assert_eq!(room.in_hand_bytes(), 8 << 10);
        assert!(first.resize(2 << 10));
        let second = room.take("a", 1 << 10).unwrap();
        assert!(second.resize(2 << 10));
        assert!(!second.resize(3 << 10), "over its share");
        let third = room.take("b", 10 << 10).unwrap();
        drop(second);
        assert!(!first.resize(7 << 10), "no room");
        assert_eq!(room.in_hand_bytes(), 12 << 10);
        assert!(first.resize(6 << 10));
        drop((first, third));
        assert!(room.of.lock().unwrap().is_empty());
        assert_eq!(room.in_hand_bytes(), 0);
    }
}
