//! Who opened a socket and who owns it, by cookie: bounded, the longest unused is forgotten first.

use std::collections::{BTreeMap, HashMap};

use plimsoll_abi::ANCESTORS;
use plimsoll_wire::event::Process;

/// Sockets remembered: twice the connections that the decoder follows.
const SOCKETS: usize = 8192;

/// A cgroup id and its ancestors.
pub(super) type Cgroup = (u64, [u64; ANCESTORS]);

/// What is known of a socket.
#[derive(Debug, Default)]
pub(super) struct Socket {
    /// Who connected it; `None` if it is older than the agent.
    pub(super) process: Option<Process>,
    /// The connecting task's cgroup.
    pub(super) task: Option<Cgroup>,
    /// The socket's own cgroup.
    pub(super) owner: Option<Cgroup>,
}

#[derive(Debug, Default)]
pub(super) struct Sockets {
    known: HashMap<u64, (u64, Socket)>,
    /// By time of last use.
    order: BTreeMap<u64, u64>,
    uses: u64,
    evicted: u64,
}

impl Sockets {
    pub(super) const fn evicted(&self) -> u64 {
        self.evicted
    }

    pub(super) fn get(&self, cookie: u64) -> Option<&Socket> {
        self.known.get(&cookie).map(|(_, socket)| socket)
    }

    /// The socket of that cookie, new or known, now the last used.
    pub(super) fn at(&mut self, cookie: u64) -> &mut Socket {
        self.uses += 1;
        if let Some((used, _)) = self.known.get(&cookie) {
            self.order.remove(used);
        } else if self.known.len() >= SOCKETS
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.known.remove(&oldest);
            self.evicted += 1;
        }
        self.order.insert(self.uses, cookie);
        let (used, socket) = self.known.entry(cookie).or_default();
        *used = self.uses;
        socket
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounded() {
        let mut sockets = Sockets::default();
        for cookie in 0..SOCKETS as u64 {
            sockets.at(cookie).task = Some((cookie, [0; ANCESTORS]));
        }
        assert_eq!(sockets.evicted(), 0);
        sockets.at(0);
        sockets.at(u64::MAX);
        assert_eq!((sockets.evicted(), sockets.known.len()), (1, SOCKETS));
        assert!(sockets.get(0).is_some_and(|socket| socket.task.is_some()));
        assert!(sockets.get(1).is_none());
    }
}
