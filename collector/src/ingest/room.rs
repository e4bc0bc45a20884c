//! How many bytes of requests the receiver holds at a time, over all connections. Pure.
//!
//! A request's length is known only when it is there, so the longest that is allowed is set aside
//! first and the rest given back then. Counted is the encoded message, which is a share of what it
//! takes decoded.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes of requests in hand at a time.
const IN_HAND_BYTES: usize = 256 << 20;
/// What is counted at once: permits of a semaphore are `u32`.
const UNIT: usize = 1024;

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Room {
    free: Arc<Semaphore>,
    units: usize,
}

impl Default for Room {
    fn default() -> Self {
        Self::new(IN_HAND_BYTES)
    }
}

/// Room of one request; given back when the last clone goes.
#[derive(Clone, Debug)]
pub(super) struct Taken(Arc<Mutex<OwnedSemaphorePermit>>);

impl Room {
    pub(super) fn new(bytes: usize) -> Self {
        let units = bytes / UNIT;
        Self {
            free: Arc::new(Semaphore::new(units)),
            units,
        }
    }

    /// Bytes that are taken.
    pub(super) fn in_hand_bytes(&self) -> u64 {
        let taken = self.units.saturating_sub(self.free.available_permits());
        (taken as u64).saturating_mul(UNIT as u64)
    }

    /// `None` while there is no room for so many bytes.
    pub(super) fn take(&self, bytes: usize) -> Option<Taken> {
        let units = u32::try_from(bytes.div_ceil(UNIT)).ok()?;
        let permit = Arc::clone(&self.free).try_acquire_many_owned(units).ok()?;
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
        assert_eq!(room.in_hand_bytes(), 0);
        let first = room.take(8 << 10).unwrap();
        assert_eq!(room.in_hand_bytes(), 8 << 10);
        assert!(room.take(8 << 10).is_none());
        first.shrink(1025);
        assert_eq!(room.in_hand_bytes(), 2 << 10);
        let held = first.clone();
        drop(first);
        let second = room.take(8 << 10).unwrap();
        assert!(room.take(1).is_none());
        drop((held, second));
        assert!(room.take(10 << 10).is_some());
    }
}
