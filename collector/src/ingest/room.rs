//! How many bytes of requests the receiver holds at a time, over all connections. Pure.
//!
//! A request's length is known only when it is there, so the longest that is allowed is set aside
//! first and the rest given back then. Counted is the encoded message, which is a share of what it
//! takes decoded.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of requests in hand at a time.
pub(super) const IN_HAND_BYTES: usize = 256 << 20;
/// What is counted at once: permits of a semaphore are `u32`.
const UNIT: usize = 1024;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

/// Room of one request; given back when the last clone goes.
#[derive(Clone, Debug)]
pub(super) struct Taken(Arc<Mutex<OwnedSemaphorePermit>>);

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes / UNIT)))
    }

    /// `None` while there is no room for so many bytes.
    pub(super) fn take(&self, bytes: usize) -> Option<Taken> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        let permit = Arc::clone(&self.0).try_acquire_many_owned(units).ok()?;
        Some(Taken(Arc::new(Mutex::new(permit))))
    }
}

impl Taken {
    /// Gives back what is over these bytes.
    pub(super) fn shrink(&self, bytes: usize) {
        let mut permit = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let over = permit.num_permits().saturating_sub(bytes.div_ceil(UNIT));
        drop(permit.split(over));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_hand_is_bounded_and_what_is_over_given_back() {
        let room = Room::new(10 << 10);
        let first = room.take(8 << 10).unwrap();
        assert!(room.take(8 << 10).is_none());
        first.shrink(1025);
        let held = first.clone();
        drop(first);
        let second = room.take(8 << 10).unwrap();
        assert!(room.take(1).is_none());
        drop((held, second));
        assert!(room.take(10 << 10).is_some());
    }
}
