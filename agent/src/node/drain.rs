//! What comes out of the kernel's rings, and where it goes: cgroups first, then evidence.

use plimsoll_abi::Header;
use plimsoll_wire::AuditEvent;

use super::Node;
use crate::audit::NodeLookup;
use crate::containers::Output;
use crate::probe::decode::{Reason, Record, Undecodable, decode};
use crate::usage::clock::{monotonic_ns, wall_unix_ns};

/// Records taken from a ring in one go, so that a flood cannot keep the loop from its other work.
const DRAIN_RECORDS: usize = 16_384;
/// Bytes of evidence for which room is kept from one drain to the next: an ordinary second's. What a
/// burst took besides is given back.
pub(super) const KEPT_EVIDENCE: usize = 64 << 10;
/// Of these in a row at the end: more records than the largest ring holds (256 MiB, 64 bytes each).
const LAST_DRAINS: usize = 256;

impl Node {
    /// Every 100 ms.
    pub(super) fn tick(&mut self) {
        self.drain();
        let containers = &mut self.containers;
        self.sampler.look_at_young(monotonic_ns(), |id, bytes| {
            containers.memory_peak(id, bytes);
        });
    }

    /// Empties both rings to the last record: the end of the agent. Bounded, for others go on filling.
    pub(super) fn drain_all(&mut self) {
        for _ in 0..LAST_DRAINS {
            if self.drain() == [true; 2] {
                break;
            }
        }
    }

    /// Empties both rings, within the bound of one go. Which of them, security and process, was
    /// empty in the end.
    pub(super) fn drain(&mut self) -> [bool; 2] {
        // Whatever comes out now is stamped by the clock as it is now.
        let begin_ns = monotonic_ns();
        self.timeline.remeasure(begin_ns, wall_unix_ns());
        let Some(mut probe) = self.probe.take() else {
            return [true; 2];
        };
        // Taken first and judged last: whoever did this was made before, in the other ring.
        let security = probe.drain_security(DRAIN_RECORDS, |bytes| self.hold_evidence(bytes));
        let mut cgroups = Vec::new();
        let process = probe.drain_process(DRAIN_RECORDS, |bytes| {
            self.take_process(bytes, &mut cgroups);
        });
        let emptied = [security, process].map(|taken| taken < DRAIN_RECORDS);
        self.probe = Some(probe);
        // An answer may lie in what was left, or have come since: nobody has waited longer in vain
        // than until here.
        self.settle(cgroups, emptied[0].then_some(begin_ns));
        emptied
    }

    /// Who came is known before anything is judged, and who ended is let go only then: how may be among
    /// what is held.
    pub(super) fn settle(&mut self, cgroups: Vec<Change>, seen_until: Option<u64>) {
        let (made, gone) = cgroups.into_iter().partition(|change| change.made);
        self.follow(made);
        self.judge_evidence(seen_until);
        self.follow(gone);
    }

    /// A record of the security ring, to be judged once all cgroups are known.
    pub(super) fn hold_evidence(&mut self, bytes: &[u8]) {
        let length = u32::try_from(bytes.len()).unwrap_or(0);
        self.evidence.extend_from_slice(&length.to_ne_bytes());
        self.evidence.extend_from_slice(bytes);
    }

    /// A record of the process ring.
    pub(super) fn take_process(&mut self, bytes: &[u8], cgroups: &mut Vec<Change>) {
        let (made, header, path) = match decode(bytes) {
            Ok(Record::CgroupMkdir(record, path)) => (true, record.header, path),
            Ok(Record::CgroupRmdir(record, path)) => (false, record.header, path),
            Ok(_) => {
                self.process.undecodable(&misplaced(bytes));
                return;
            }
            Err(error) => {
                self.process.undecodable(&error);
                return;
            }
        };
        self.process.used();
        cgroups.push(Change {
            made,
            header,
            path: String::from_utf8_lossy(path).into_owned(),
        });
    }

    fn follow(&mut self, cgroups: Vec<Change>) {
        for Change { made, header, path } in cgroups {
            if made {
                self.learn(header.cgroup_id, &path, header.ktime_ns, true);
            } else {
                self.removed(header.cgroup_id, header.ktime_ns);
            }
        }
    }

    /// Judges what is held. `seen_until`: everything that happened before is in it.
    fn judge_evidence(&mut self, seen_until: Option<u64>) {
        let lookup = NodeLookup {
            index: self.containers.index(),
            timeline: &self.timeline,
            proc: &self.proc,
        };
        let (out, sampler, containers) = (&mut self.out, &mut self.sampler, &self.containers);
        let mut killed = Vec::new();
        let mut event = |at_unix_ns, mut event| {
            if let AuditEvent::OomKill(kill) = &mut event
                && let Some(owner) = containers.owner(kill.identity.cgroup_id)
            {
                let now = sampler.memory_now(owner);
                kill.memory_peak_bytes = now.peak_bytes;
                kill.memory_limit_bytes = now.limit_bytes;
                // The container of whoever wanted memory has a kill only if its files say so.
                if !kill.identity_is_trigger || now.events.oom_kills.is_some() {
                    killed.push((owner, now));
                }
            }
            out.push(Output::Event(at_unix_ns, event));
        };
        let mut rest = self.evidence.as_slice();
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_ne_bytes(*length)).unwrap_or(usize::MAX);
            let Some((bytes, tail)) = tail.split_at_checked(length) else {
                break;
            };
            rest = tail;
            match decode(bytes) {
                Ok(Record::CgroupMkdir(..) | Record::CgroupRmdir(..)) => {
                    self.security.undecodable(&misplaced(bytes));
                }
                Ok(record) => {
                    self.security.used();
                    self.handed.count(&record);
                    self.auditor.take(&record, &lookup, &mut event);
                }
                Err(error) => self.security.undecodable(&error),
            }
        }
        self.evidence.clear();
        self.evidence.shrink_to(KEPT_EVIDENCE);
        if let Some(seen_until) = seen_until {
            self.auditor.advance(seen_until, &lookup, &mut event);
        }
        for (owner, now) in killed {
            let at = monotonic_ns();
            self.containers.oom_killed(owner, &now, at, &self.timeline);
        }
    }

    pub(super) fn learn(&mut self, id: u64, path: &str, at_mono_ns: u64, made: bool) {
        if self.containers.is_other(id, path) {
            self.removed(id, at_mono_ns);
        }
        let new = self.containers.learn(id, path, at_mono_ns, made);
        // What a walk finds is opened at its end, by whichever of its paths that tree has.
        if made && !new {
            self.sampler.turned_out_young(id, path, at_mono_ns);
        } else if made && let Err(error) = self.sampler.add_young(id, path, at_mono_ns) {
            tracing::debug!(id, path, %error, "cgroup went before its files could be opened");
        }
    }

    pub(super) fn removed(&mut self, id: u64, at_mono_ns: u64) {
        let booked = self
            .probe
            .as_ref()
            .and_then(|probe| probe.cpu_use(id).ok().flatten());
        let owner = self.containers.owner(id);
        let containers = &mut self.containers;
        let kernel_cpu_ns =
            self.kernel_time
                .removed(id, owner, booked.as_ref(), at_mono_ns, |used_ns| {
                    containers.periods(id, used_ns, 1);
                });
        self.sampler.remove(id);
        self.containers
            .removed(id, at_mono_ns, kernel_cpu_ns, &self.timeline, &mut self.out);
        if let Some(probe) = &mut self.probe
            && let Err(error) = probe.forget_cgroup(id)
        {
            tracing::debug!(id, %error, "kernel keeps the CPU time of a cgroup that is gone");
        }
    }
}

/// A cgroup came or went.
#[derive(Debug)]
pub(super) struct Change {
    made: bool,
    header: Header,
    path: String,
}

/// A record that is whole, and in the wrong ring.
fn misplaced(bytes: &[u8]) -> Undecodable {
    Undecodable {
        kind: None,
        len: bytes.len(),
        reason: Reason::Ring,
    }
}
