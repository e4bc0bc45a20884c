#![expect(
    clippy::disallowed_methods,
    reason = "shell: answers name queries on the loopback of a network namespace"
)]
//! The name server of a cluster of one service, for [`super::check`]: it knows the collector's full name and no other.

use std::collections::BTreeSet;
use std::net::UdpSocket;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};

/// The collector as the agent's settings name it: not the full name, so that it takes a search domain.
pub(crate) const COLLECTOR: &str = "plimsoll-collector.plimsoll.svc";
/// What the kubelet writes for a pod of the agent's namespace on EKS.
pub(crate) const RESOLV_CONF: &str = "\
search plimsoll-agent.svc.cluster.local svc.cluster.local cluster.local ec2.internal
nameserver 127.0.0.1
options ndots:5
";
const FULL: &str = "plimsoll-collector.plimsoll.svc.cluster.local";
/// The search domains that come before the one that has it.
const BEFORE: [&str; 2] = [
    "plimsoll-collector.plimsoll.svc.plimsoll-agent.svc.cluster.local",
    "plimsoll-collector.plimsoll.svc.svc.cluster.local",
];

/// Answers until the process ends.
pub(crate) struct Server {
    asked: Arc<Mutex<BTreeSet<String>>>,
}

impl Server {
    /// Answers on port 53 of the loopback.
    pub(crate) fn start() -> Result<Self> {
        let socket = UdpSocket::bind(("127.0.0.1", 53)).context("port 53")?;
        let asked = Arc::new(Mutex::new(BTreeSet::new()));
        let seen = Arc::clone(&asked);
        std::thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                let query = query.get(..length).unwrap_or_default();
                if let Some((name, answer)) = answer(query) {
                    seen.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .insert(name);
                    // Who does not hear it asks again.
                    let _sent = socket.send_to(&answer, from);
                }
            }
        });
        Ok(Self { asked })
    }

    /// Whether names were looked for as `resolv.conf` says.
    pub(crate) fn was_asked(&self) -> Result<()> {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        for name in BEFORE.iter().chain([&FULL]) {
            ensure!(
                asked.contains(*name),
                "nobody asked for {name}, but for {asked:?}"
            );
        }
        Ok(())
    }
}

/// The name that was asked for, and the answer: 127.0.0.1 to its address, that it has no other record, or that there is
/// no such name (RFC 1035, section 4.1).
fn answer(query: &[u8]) -> Option<(String, Vec<u8>)> {
    const A: [u8; 4] = [0, 1, 0, 1];
    let (id, mut rest) = (query.get(..2)?, query.get(12..)?);
    let mut labels = Vec::new();
    loop {
        let (length, after) = rest.split_first()?;
        if *length == 0 {
            rest = after;
            break;
        }
        let (label, after) = after.split_at_checked(usize::from(*length))?;
        labels.push(String::from_utf8_lossy(label).to_lowercase());
        rest = after;
    }
    let (name, kind) = (labels.join("."), rest.get(..4)?);
    let question = query.get(12..query.len() - rest.len() + 4)?;
    let known = name == FULL;
    let address = known && kind == A;
    let mut answer = id.to_vec();
    answer.extend([
        0x81,
        if known { 0x80 } else { 0x83 },
        0,
        1,
        0,
        u8::from(address),
        0,
        0,
        0,
        0,
    ]);
    answer.extend(question);
    if address {
        // A pointer to the question's name, A, IN, five seconds, four bytes.
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 127, 0, 0, 1]);
    }
    Some((name, answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, kind: u8) -> Vec<u8> {
        let mut query = vec![7, 9, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(u8::try_from(label.len()).unwrap());
            query.extend(label.bytes());
        }
        query.extend([0, 0, kind, 0, 1]);
        query
    }

    #[test]
    fn one_name_has_an_address_and_no_other() {
        for (name, kind, code, answers) in [(FULL, 1, 0, 1), (FULL, 28, 0, 0), (BEFORE[0], 1, 3, 0)]
        {
            let (asked, answer) = answer(&query(name, kind)).unwrap();
            assert_eq!(asked, name);
            assert_eq!(
                (&answer[..2], answer[3] & 15, answer[7]),
                (&[7, 9][..], code, answers)
            );
            assert_eq!(answer.ends_with(&[127, 0, 0, 1]), answers == 1);
        }
    }

    #[test]
    fn half_a_query_has_no_answer() {
        let whole = query(FULL, 1);
        for end in 0..whole.len() {
            assert_eq!(answer(&whole[..end]), None, "{end} bytes");
        }
    }
}
