//! Which pod had an address at a time. Addresses are reused, some network plugins do so within a second,
//! so that what is kept of an address is a line of intervals and never its last holder alone.
//!
//! ```text
//!        first seen with it                    it ends, or another is seen with it
//!  pod a ├────────────────────────────────────┤
//!  pod b                                   ┊  ├──────────────┤
//!                                          └─ the pod began here, and got its address between this and the
//!                                             other's end: in between it may be of either
//! ```

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// Holders of one address that are remembered, the present one included.
const MAX_HOLDERS: usize = 16;

/// Whose an address was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This pod's, by its UID.
    Pod(Arc<str>),
    /// It went from one to the other about then: what is known does not tell which had it.
    Either(Arc<str>, Arc<str>),
}

/// One pod and the time for which it may have had the address, Unix nanoseconds.
#[derive(Clone, Debug)]
struct Interval {
    uid: Arc<str>,
    from: u64,
    /// `u64::MAX` while it has it.
    to: u64,
}

/// See the module.
#[derive(Clone, Debug, Default)]
pub(super) struct Addresses {
    of: HashMap<IpAddr, Vec<Interval>>,
}

impl Addresses {
    /// A pod is seen with an address now; the pod began at `started` (`status.startTime`, whole seconds), and
    /// had none before.
    pub(super) fn seen(&mut self, ip: IpAddr, uid: &Arc<str>, started: u64, now: u64) {
        let line = self.of.entry(ip).or_default();
        let has_it = |of: &Interval| of.uid == *uid && of.to == u64::MAX;
        if line.last().is_some_and(has_it) {
            return;
        }
        // An object may change, and still say what is no longer so: that of a pod on a node that is gone.
        let from = started.min(now);
        let its = line.iter().filter(|of| of.uid == *uid);
        let had_it_until = its.map(|of| of.to).max();
        let is_another_s = |of: &Interval| of.to == u64::MAX && of.from >= from;
        if had_it_until.is_some() && line.last().is_some_and(is_another_s) {
            return;
        }
        // Whoever had it has it no longer, whether its end was told or not.
        for before in line.iter_mut().filter(|of| of.to == u64::MAX) {
            before.to = now.max(before.from);
        }
        line.push(Interval {
            uid: Arc::clone(uid),
            from: from.max(had_it_until.unwrap_or_default()).min(now),
            to: u64::MAX,
        });
        bound(line);
    }

    /// A pod that has ended, at the latest now, is seen with the address that it had.
    pub(super) fn had(&mut self, ip: IpAddr, uid: &Arc<str>, started: u64, now: u64) {
        let line = self.of.entry(ip).or_default();
        if line.iter().any(|of| of.uid == *uid) {
            self.ended(ip, uid, now);
            return;
        }
        // Whoever has it now has it after this one.
        let holds = line.iter().filter(|of| of.to == u64::MAX).count();
        let place = line.len() - holds;
        line.insert(
            place,
            Interval {
                uid: Arc::clone(uid),
                from: started.min(now),
                to: now,
            },
        );
        bound(line);
    }

    /// A pod has ended, at the latest now.
    pub(super) fn ended(&mut self, ip: IpAddr, uid: &str, now: u64) {
        let line = self.of.get_mut(&ip).into_iter().flatten();
        for of in line.filter(|of| &*of.uid == uid && of.to == u64::MAX) {
            of.to = now.max(of.from);
        }
    }

    /// Whose it was at a time, as far as that is known.
    pub(super) fn holder(&self, ip: IpAddr, at: u64) -> Option<Holder> {
        let line = self.of.get(&ip)?.iter().rev();
        let mut had = line.filter(|of| of.from <= at && at < of.to);
        let last = had.next()?;
        Some(match had.next() {
            None => Holder::Pod(Arc::clone(&last.uid)),
            Some(before) => Holder::Either(Arc::clone(&before.uid), Arc::clone(&last.uid)),
        })
    }

    /// Forgets a pod.
    pub(super) fn forget(&mut self, ip: IpAddr, uid: &str) {
        if let Some(line) = self.of.get_mut(&ip) {
            line.retain(|of| &*of.uid != uid);
            if line.is_empty() {
                self.of.remove(&ip);
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.of.len()
    }
}

/// The longest gone go first.
fn bound(line: &mut Vec<Interval>) {
    if line.len() > MAX_HOLDERS {
        line.remove(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const IP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

    fn line() -> (Addresses, [Arc<str>; 2]) {
        let [a, b]: [Arc<str>; 2] = ["a".into(), "b".into()];
        let mut line = Addresses::default();
        line.seen(IP, &a, 100, 110);
        line.seen(IP, &a, 100, 120);
        (line, [a, b])
    }

    /// `a`, `b`, `a|b` or `-` at each of the times.
    #[track_caller]
    fn check(line: &Addresses, expected: &[(u64, &str)]) {
        for (at, expected) in expected {
            let shown = match line.holder(IP, *at) {
                None => "-".to_owned(),
                Some(Holder::Pod(uid)) => uid.to_string(),
                Some(Holder::Either(one, other)) => format!("{one}|{other}"),
            };
            assert_eq!(shown, *expected, "at {at}");
        }
    }

    #[test]
    fn an_address_is_whose_it_was_then() {
        let (mut line, [_, b]) = line();
        line.ended(IP, "a", 200);
        line.seen(IP, &b, 205, 210);
        check(
            &line,
            &[
                (99, "-"),
                (100, "a"),
                (199, "a"),
                (203, "-"),
                (205, "b"),
                (1 << 60, "b"),
            ],
        );
        line.ended(IP, "a", 300);
        check(&line, &[(199, "a"), (250, "b")]);
    }

    #[test]
    fn between_two_pods_it_is_of_either() {
        let (mut line, [_, b]) = line();
        // The end of the first is told after the other has its address.
        line.seen(IP, &b, 190, 195);
        line.ended(IP, "a", 200);
        check(
            &line,
            &[
                (189, "a"),
                (190, "a|b"),
                (194, "a|b"),
                (195, "b"),
                (205, "b"),
            ],
        );
    }

    /// Its node is dead, and somebody writes a condition into it.
    #[test]
    fn an_old_pod_takes_its_address_from_nobody() {
        let (mut line, [a, b]) = line();
        line.seen(IP, &b, 190, 200);
        line.seen(IP, &a, 100, 250);
        check(&line, &[(185, "a"), (195, "a|b"), (240, "b"), (300, "b")]);
        line.ended(IP, "b", 310);
        line.seen(IP, &a, 100, 320);
        check(&line, &[(250, "b|a"), (330, "a")]);
    }

    #[test]
    fn what_has_ended_when_it_is_first_seen_had_its_address() {
        let (mut line, [_, b]) = line();
        let old: Arc<str> = "old".into();
        line.had(IP, &old, 50, 130);
        line.had(IP, &old, 50, 140);
        check(
            &line,
            &[
                (49, "-"),
                (60, "old"),
                (125, "old|a"),
                (131, "a"),
                (500, "a"),
            ],
        );
        line.had(IP, &"a".into(), 100, 200);
        line.seen(IP, &b, 205, 210);
        check(&line, &[(199, "a"), (201, "-"), (206, "b")]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_forgotten() {
        let (mut line, [a, _]) = line();
        for n in 0..100 {
            line.seen(IP, &n.to_string().into(), 200 + n, 200 + n);
        }
        check(&line, &[(150, "-"), (290, "90")]);
        assert_eq!(line.of[&IP].len(), MAX_HOLDERS);
        for n in 0..100 {
            line.forget(IP, &n.to_string());
        }
        assert_eq!(line.len(), 0);
        line.seen(IP, &a, 1, 2);
        line.forget(IP, &a);
        assert_eq!(line.len(), 0);
    }
}
