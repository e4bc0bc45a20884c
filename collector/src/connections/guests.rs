//! The places of a door that is open to newcomers: who is known keeps its place, and of the others the one
//! goes that has asked for nothing for longest.
//!
//! So nobody who takes places and does not say who it is keeps people or probes out. Of one address only so
//! many may be unknown at a time; one more of them takes the place of another one of that address, and
//! nobody else's. Knows no protocol and no clock: how long one has been idle is the order in which they came
//! and asked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use super::Full;

/// Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct Guests {
    most: usize,
    most_of_peer: usize,
    house: House,
}

type House = Arc<Mutex<Seats>>;

#[derive(Debug, Default)]
struct Seats {
    of: BTreeMap<u64, Seat>,
    /// Of the next that comes or asks.
    next_turn: u64,
}

#[derive(Debug)]
struct Seat {
    peer: IpAddr,
    is_known: bool,
    /// An answer is being made.
    is_asking: bool,
    /// When it came or last asked.
    turn: u64,
    let_go: CancellationToken,
}

/// Who went for a newcomer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LetGo {
    /// Its address.
    pub peer: IpAddr,
    /// Which bound was reached.
    pub why: Full,
}

/// A connection's place; free again when it is dropped.
#[derive(Debug)]
pub struct Guest {
    visit: Visit,
    let_go: CancellationToken,
}

/// What the requests of a connection know of its place.
#[derive(Clone, Debug)]
pub struct Visit {
    id: u64,
    house: House,
}

/// A request that is being answered.
#[derive(Debug)]
pub struct Asking(Visit);

fn lock(house: &House) -> MutexGuard<'_, Seats> {
    house.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Guests {
    /// For so many at a time, of which so many of one address may be unknown.
    pub fn new(most: usize, most_of_peer: usize) -> Self {
        Self {
            most,
            most_of_peer,
            house: House::default(),
        }
    }

    /// A place for one more, and who had to go for that.
    ///
    /// # Errors
    /// All places are taken by known ones that are being answered.
    pub fn take(&self, peer: IpAddr) -> Result<(Guest, Option<LetGo>), Full> {
        let mut seats = lock(&self.house);
        let let_go = if seats.strangers_of(peer) >= self.most_of_peer {
            let idle = seats.longest(|seat| seat.peer == peer && !seat.is_known);
            seats.let_go(idle, Full::OfPeer)
        } else if seats.of.len() >= self.most {
            let idle = seats.longest(|seat| !seat.is_known);
            let idle = idle.or_else(|| seats.longest(|seat| !seat.is_asking));
            Some(seats.let_go(idle, Full::All).ok_or(Full::All)?)
        } else {
            None
        };
        let id = seats.turn();
        let seat = Seat {
            peer,
            is_known: false,
            is_asking: false,
            turn: id,
            let_go: CancellationToken::new(),
        };
        let guest = Guest {
            let_go: seat.let_go.clone(),
            visit: Visit {
                id,
                house: Arc::clone(&self.house),
            },
        };
        seats.of.insert(id, seat);
        Ok((guest, let_go))
    }

    /// How many are there.
    pub fn open(&self) -> usize {
        lock(&self.house).of.len()
    }
}

impl Seats {
    fn turn(&mut self) -> u64 {
        self.next_turn += 1;
        self.next_turn
    }

    fn strangers_of(&self, peer: IpAddr) -> usize {
        let is_stranger = |seat: &&Seat| seat.peer == peer && !seat.is_known;
        self.of.values().filter(is_stranger).count()
    }

    /// Which of these has asked for nothing for longest; those that are being answered come last.
    fn longest(&self, may_go: impl Fn(&Seat) -> bool) -> Option<u64> {
        let these = self.of.iter().filter(|(_, seat)| may_go(seat));
        let longest = these.min_by_key(|(_, seat)| (seat.is_asking, seat.turn));
        longest.map(|(id, _)| *id)
    }

    fn let_go(&mut self, id: Option<u64>, why: Full) -> Option<LetGo> {
        let seat = self.of.remove(&id?)?;
        seat.let_go.cancel();
        Some(LetGo {
            peer: seat.peer,
            why,
        })
    }
}

impl Guest {
    /// Cancelled once its place is another's.
    pub fn let_go(&self) -> CancellationToken {
        self.let_go.clone()
    }

    /// For its requests.
    pub fn visit(&self) -> Visit {
        self.visit.clone()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        lock(&self.visit.house).of.remove(&self.visit.id);
    }
}

impl Visit {
    /// It has shown who it is.
    pub fn is_known(&self) {
        self.note(|seat, _| seat.is_known = true);
    }

    /// It asks for something, until the answer is made.
    pub fn asks(&self) -> Asking {
        self.note(|seat, turn| (seat.is_asking, seat.turn) = (true, turn));
        Asking(self.clone())
    }

    fn note(&self, what: impl FnOnce(&mut Seat, u64)) {
        let mut seats = lock(&self.house);
        let turn = seats.turn();
        // One that was let go has none any more.
        if let Some(seat) = seats.of.get_mut(&self.id) {
            what(seat, turn);
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.note(|seat, _| seat.is_asking = false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));
    const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 2));
    const LAST: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 3));

    #[track_caller]
    fn take(guests: &Guests, peer: IpAddr, expect: Option<(IpAddr, Full)>) -> Guest {
        let (guest, let_go) = guests.take(peer).unwrap();
        assert_eq!(let_go.map(|let_go| (let_go.peer, let_go.why)), expect);
        guest
    }

    fn is_there(guest: &Guest) -> bool {
        !guest.let_go().is_cancelled()
    }

    #[test]
    fn who_is_unknown_and_asks_nothing_goes_for_a_newcomer() {
        let guests = Guests::new(3, 2);
        let first = take(&guests, ONE, None);
        let second = take(&guests, OTHER, None);
        let third = take(&guests, OTHER, None);
        // The first one asked since; the second has been idle for longest.
        drop(first.visit().asks());
        let probe = take(&guests, LAST, Some((OTHER, Full::All)));
        assert!(!is_there(&second));
        assert!(is_there(&first) && is_there(&third) && is_there(&probe));
        assert_eq!(guests.open(), 3);
        drop(second);
        assert_eq!(guests.open(), 3, "its place is another's already");
        drop((first, third, probe));
        assert_eq!(guests.open(), 0);
    }

    #[test]
    fn strangers_of_one_address_take_each_other_s_places_only() {
        let guests = Guests::new(10, 2);
        let other = take(&guests, OTHER, None);
        let first = take(&guests, ONE, None);
        let second = take(&guests, ONE, None);
        let third = take(&guests, ONE, Some((ONE, Full::OfPeer)));
        assert!(!is_there(&first) && is_there(&second) && is_there(&third));
        assert!(is_there(&other));
        // Who is known counts no more: a port-forward gives all people one address.
        second.visit().is_known();
        third.visit().is_known();
        let fourth = take(&guests, ONE, None);
        assert!(is_there(&second) && is_there(&third) && is_there(&fourth));
        assert_eq!(guests.open(), 4);
    }

    #[test]
    fn who_is_known_goes_last_and_not_amid_an_answer() {
        let guests = Guests::new(2, 2);
        let known = take(&guests, ONE, None);
        known.visit().is_known();
        let stranger = take(&guests, ONE, None);
        let next = take(&guests, OTHER, Some((ONE, Full::All)));
        assert!(is_there(&known) && !is_there(&stranger));
        next.visit().is_known();
        let asking = [known.visit().asks(), next.visit().asks()];
        assert_eq!(guests.take(LAST).unwrap_err(), Full::All);
        drop(asking);
        take(&guests, LAST, Some((ONE, Full::All)));
        assert!(!is_there(&known) && is_there(&next));
    }
}
