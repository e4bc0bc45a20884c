//! The connections of one of the collector's doors: how many are open, how many of one address.
//!
//! A connection that is over a bound is refused and counted by whoever took it; a door whose [`guests`] give
//! way has a place for a newcomer all the same. How long one may stay without doing its part is in [`paced`].
//! Knows no protocol.

pub mod guests;
pub mod paced;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Why a connection has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// So many are open.
    All,
    /// So many of its address are.
    OfPeer,
}

impl Full {
    /// As metrics say it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::All => "too_many_connections",
            Self::OfPeer => "too_many_connections_of_peer",
        }
    }
}

/// Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct Connections {
    most: usize,
    most_of_peer: usize,
    open: Arc<Mutex<Open>>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    of: BTreeMap<IpAddr, usize>,
}

/// A connection's place; free again when it is dropped.
#[derive(Debug)]
pub struct Place {
    open: Arc<Mutex<Open>>,
    peer: IpAddr,
}

impl Connections {
    /// For so many at a time, and so many of one address.
    pub fn new(most: usize, most_of_peer: usize) -> Self {
        Self {
            most,
            most_of_peer,
            open: Arc::default(),
        }
    }

    /// A place for one more.
    ///
    /// # Errors
    /// Which bound is reached.
    pub fn take(&self, peer: IpAddr) -> Result<Place, Full> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.most {
            return Err(Full::All);
        }
        if open
            .of
            .get(&peer)
            .is_some_and(|of| *of >= self.most_of_peer)
        {
            return Err(Full::OfPeer);
        }
        open.all += 1;
        *open.of.entry(peer).or_default() += 1;
        drop(open);
        Ok(Place {
            open: Arc::clone(&self.open),
            peer,
        })
    }

    /// How many are open.
    pub fn open(&self) -> usize {
        self.open.lock().unwrap_or_else(PoisonError::into_inner).all
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all = open.all.saturating_sub(1);
        if let Some(of) = open.of.get_mut(&self.peer) {
            *of -= 1;
            if *of == 0 {
                open.of.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_bounds_hold_and_places_come_back() {
        let connections = Connections::new(3, 2);
        let [one, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        let first = connections.take(one).unwrap();
        let second = connections.take(one).unwrap();
        assert_eq!(connections.take(one).unwrap_err(), Full::OfPeer);
        let third = connections.take(other).unwrap();
        assert_eq!(connections.take(other).unwrap_err(), Full::All);
        assert_eq!(connections.open(), 3);
        drop(first);
        let again = connections.take(other).unwrap();
        assert_eq!(connections.take(one).unwrap_err(), Full::All);
        drop((second, third, again));
        assert_eq!(connections.open(), 0);
        assert!(connections.open.lock().unwrap().of.is_empty());
    }
}
