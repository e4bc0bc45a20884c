//! The agent's books in the shapes that are sent and shown: fates of the kernel's rings, rows of the
//! spool, reasons for what is missing. Pure.

use plimsoll_abi::{
    Counters, KIND_CGROUP_MKDIR, KIND_CGROUP_RMDIR, KIND_CONNECT, KIND_OOM, KIND_SEGMENT, KINDS,
};
use plimsoll_wire::event::{Loss, StageFates};
use plimsoll_wire::fate::Fates;
use plimsoll_wire::{Class, stage};

use crate::audit::TextCounts;
use crate::cgroup::fs::Roots;
use crate::host::facts::Capability;
use crate::host::{CgroupMode, HostFacts};
use crate::probe::decode::{Record, Undecodable};
use crate::spool::Level;
use crate::telemetry::SpoolRow;
use crate::usage::sampler::FileCounts;

/// Quiet moments in which a ring must have been found empty before what is nowhere counts as missing.
const LOOKS: u32 = 10;

/// One of the kernel's rings: what was taken out of it, and whether that is all that was put in.
///
/// The kernel counts what it puts in and the agent what it takes out, each where it happens. What
/// lies between is in the ring, which does not say how many records it holds. But where the kernel
/// counted nothing new while the ring was drained until it was empty, what is still out of sight is
/// in no ring: a hook is just about to put it in, or it was dropped. So the fewest that were out of
/// sight in [`LOOKS`] such moments in a row are missing. They are not in flight, and the law does not
/// hold. While records keep coming there are no such moments, and nothing is judged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RingBooks {
    stage: &'static str,
    class: &'static str,
    kinds: &'static [u16],
    used: u64,
    undecodable: u64,
    /// Of the lost and the undecodable, what a loss record has told.
    told: [u64; 2],
    /// How often the ring was found empty since the last reckoning, and the fewest records that
    /// were out of sight then.
    looks: u32,
    fewest: u64,
    /// By the last reckoning: put in, and never taken out.
    missing: u64,
}

impl RingBooks {
    /// The ring of evidence.
    pub(crate) const fn security() -> Self {
        Self::new(
            stage::SECURITY_RING,
            "security",
            &[KIND_CONNECT, KIND_SEGMENT, KIND_OOM],
        )
    }

    /// The ring of cgroups.
    pub(crate) const fn process() -> Self {
        Self::new(
            stage::PROCESS_RING,
            "process",
            &[KIND_CGROUP_MKDIR, KIND_CGROUP_RMDIR],
        )
    }

    const fn new(stage: &'static str, class: &'static str, kinds: &'static [u16]) -> Self {
        Self {
            stage,
            class,
            kinds,
            used: 0,
            undecodable: 0,
            told: [0; 2],
            looks: 0,
            fewest: u64::MAX,
            missing: 0,
        }
    }

    /// A record was understood, and went into what it is good for.
    pub(crate) const fn used(&mut self) {
        self.used += 1;
    }

    /// Bytes that are no record. Object and agent are built together, so this is a bug or worse.
    pub(crate) fn undecodable(&mut self, error: &Undecodable) {
        if self.undecodable == 0 {
            tracing::error!(%error, "kernel record cannot be decoded; further ones are only counted");
        }
        self.undecodable += 1;
    }

    /// The ring was drained until it was empty; the kernel was asked what it had counted before and
    /// after.
    pub(crate) fn found_empty(&mut self, before: &[Counters; KINDS], after: &[Counters; KINDS]) {
        if self.put_in(before) != self.put_in(after) {
            return;
        }
        self.fewest = self.fewest.min(self.out_of_sight(after));
        self.looks += 1;
        if self.looks < LOOKS {
            return;
        }
        if self.fewest > self.missing {
            tracing::error!(
                ring = self.class,
                records = self.fewest,
                "the kernel put records into a ring that nobody took out: a bug"
            );
        }
        self.missing = self.fewest;
        (self.looks, self.fewest) = (0, u64::MAX);
    }

    /// What was lost since this was last asked, as records for the audit stream.
    pub(crate) fn untold(&mut self, counters: &[Counters; KINDS]) -> Vec<Loss> {
        let stage = self.stage(counters);
        let now = [
            ("lost", stage.fates.lost),
            ("undecodable", stage.fates.undecodable),
        ];
        let mut losses = Vec::new();
        for ((fate, count), told) in now.into_iter().zip(&mut self.told) {
            if count > *told {
                losses.push(Loss {
                    stage: stage.stage.clone(),
                    lost_class: Class::Security,
                    fate: fate.to_owned(),
                    count: count - *told,
                    first_seq: None,
                    last_seq: None,
                });
                *told = count;
            }
        }
        losses
    }

    /// What the kernel counted, and what came out.
    pub(crate) fn stage(&self, counters: &[Counters; KINDS]) -> StageFates {
        let put_in = self.put_in(counters);
        let out_of_sight = self.out_of_sight(counters);
        StageFates {
            stage: self.stage.to_owned(),
            class: self.class.to_owned(),
            fates: Fates {
                emitted: put_in.emitted,
                lost: put_in.lost,
                undecodable: self.undecodable,
                delivered: self.used,
                in_flight: out_of_sight.saturating_sub(self.missing),
                ..Fates::default()
            },
        }
    }

    /// The kernel's counts of all kinds that share this ring.
    fn put_in(&self, counters: &[Counters; KINDS]) -> Counters {
        let of_ring = self.kinds.iter();
        of_ring
            .filter_map(|kind| counters.get(usize::from(*kind)))
            .fold(Counters::default(), |sum, kind| Counters {
                emitted: sum.emitted + kind.emitted,
                lost: sum.lost + kind.lost,
            })
    }

    /// Put in and not taken out.
    fn out_of_sight(&self, counters: &[Counters; KINDS]) -> u64 {
        let Counters { emitted, lost } = self.put_in(counters);
        emitted.saturating_sub(lost + self.undecodable + self.used)
    }
}

/// Evidence handed to the auditor, by kernel kind: counted by who hands it over, so that what the
/// auditor says became of it has something to agree with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Handed {
    connects: u64,
    segments: u64,
    ooms: u64,
}

impl Handed {
    /// A record is handed over.
    pub(crate) const fn count(&mut self, record: &Record<'_>) {
        match record {
            Record::Connect(_) => self.connects += 1,
            Record::Segment(..) => self.segments += 1,
            Record::Oom(_) => self.ooms += 1,
            Record::CgroupMkdir(..) | Record::CgroupRmdir(..) => {}
        }
    }

    /// The stages of the auditor, given the fates that it tells.
    pub(crate) fn stages(self, told: &[(&'static str, Fates); 3]) -> [StageFates; 3] {
        told.each_ref().map(|(kind, fates)| StageFates {
            stage: stage::AUDIT.to_owned(),
            class: (*kind).to_owned(),
            fates: Fates {
                emitted: match *kind {
                    "connect" => self.connects,
                    "segment" => self.segments,
                    _ => self.ooms,
                },
                ..*fates
            },
        })
    }
}

/// The stages of the kernel's text files: those of cgroups, and those of processes behind evidence.
/// What was understood is delivered in a sample or an event; what was empty has nothing to tell.
pub(crate) fn file_stages(sampled: FileCounts, processes: TextCounts) -> [StageFates; 2] {
    let row = |class: &str, fates| StageFates {
        stage: stage::FILES.to_owned(),
        class: class.to_owned(),
        fates,
    };
    let usage = Fates {
        emitted: sampled.read,
        lost: sampled.unreadable,
        undecodable: sampled.malformed,
        filtered: sampled.empty,
        delivered: sampled.parsed,
        ..Fates::default()
    };
    let security = Fates {
        emitted: processes.read,
        undecodable: processes.malformed,
        delivered: processes.parsed,
        ..Fates::default()
    };
    [row("usage", usage), row("security", security)]
}

/// A class of the spool as the metrics show it.
pub(crate) fn spool_row(level: &Level, now_unix_ns: u64) -> SpoolRow {
    let age_ns = level
        .oldest_unix_ns
        .map_or(0, |oldest| now_unix_ns.saturating_sub(oldest));
    SpoolRow {
        class: level.class.as_str(),
        bytes: level.bytes,
        records: level.records,
        oldest_s: age_ns as f64 / 1e9,
        read_errors: level.read_errors,
    }
}

/// What a host without cgroup v2 controllers cannot tell.
pub(crate) fn missing_sources(roots: &Roots, facts: &HostFacts) -> Vec<String> {
    let mut missing = Vec::new();
    if roots.naming().is_none() {
        missing.push("containers: no cgroup hierarchy is mounted at host.cgroup".to_owned());
    }
    if facts.cgroup.v2_is_part {
        missing.push(
            "cgroup v2: host.cgroup is a part of the hierarchy, not its root; what runs outside it is not seen"
                .to_owned(),
        );
    }
    match facts.cgroup.mode {
        CgroupMode::V2 => {}
        CgroupMode::Hybrid => missing.push(
            "cgroup controllers: this host has them in v1 hierarchies; memory comes from there or from procfs"
                .to_owned(),
        ),
        CgroupMode::V1 => missing.push("cgroup v2: not mounted; no pressure, no kernel audit".to_owned()),
        CgroupMode::Unknown => missing.push("cgroup: arrangement unknown".to_owned()),
    }
    let ptrace = Capability::SysPtrace;
    if facts.capabilities.is_some_and(|held| !held.allow(ptrace)) {
        missing.push(format!(
            "programs behind metadata requests: {ptrace} is missing; of others' processes no program is told"
        ));
    }
    missing
}

#[cfg(test)]
mod tests {
    use plimsoll_abi as abi;
    use proptest::prelude::*;

    use super::*;

    fn counted(emitted: u64, lost: u64) -> [Counters; KINDS] {
        let mut counters = [Counters::default(); KINDS];
        counters[usize::from(KIND_SEGMENT)] = Counters { emitted, lost };
        counters
    }

    #[test]
    fn a_ring_balances_and_a_record_from_nowhere_shows() {
        let mut counters = counted(10, 3);
        counters[usize::from(KIND_CONNECT)].emitted = 2;
        let mut security = RingBooks::security();
        (0..5).for_each(|_| security.used());
        let fates = security.stage(&counters).fates;
        assert_eq!((fates.emitted, fates.lost, fates.in_flight), (12, 3, 4));
        assert_eq!(fates.unaccounted(), 0);
        let process = RingBooks::process().stage(&counters);
        assert_eq!(process.fates, Fates::default());
        (0..5).for_each(|_| security.used());
        assert_eq!(security.stage(&counters).fates.unaccounted(), -1);
    }

    /// One drain: what comes before it, how many of these somebody drops, and what comes during it.
    fn drains() -> impl Strategy<Value = Vec<(u64, u64, u64)>> {
        let drains = |at_least| {
            let late = prop_oneof![3 => Just(at_least), 1 => 1..6_u64];
            let drain = (0..6_u64, 0..60_u64, late)
                .prop_map(|(come, dropped, late)| (come, u64::from(dropped < come), late));
            prop::collection::vec(drain, 0..80)
        };
        // In a flood something comes during each.
        prop_oneof![drains(0), drains(1)]
    }

    proptest! {
        /// Whatever comes when: nothing is missing that was not dropped, and whatever was dropped is
        /// missing once it is quiet.
        #[test]
        fn exactly_the_dropped_are_missing(drains in drains()) {
            let mut security = RingBooks::security();
            let (mut emitted, mut lost, mut dropped, mut waiting) = (0, 0, 0, 0);
            for (come, drop, late) in drains {
                emitted += 2 * come;
                lost += come;
                dropped += drop;
                let before = counted(emitted, lost);
                (0..waiting + come - drop).for_each(|_| security.used());
                emitted += late;
                waiting = late;
                let after = counted(emitted, lost);
                security.found_empty(&before, &after);
                let fates = security.stage(&after).fates;
                prop_assert!((0..=i128::from(dropped)).contains(&fates.unaccounted()));
                prop_assert!((waiting..=waiting + dropped).contains(&fates.in_flight));
            }
            (0..waiting).for_each(|_| security.used());
            let counters = counted(emitted, lost);
            (0..2 * LOOKS).for_each(|_| security.found_empty(&counters, &counters));
            let fates = security.stage(&counters).fates;
            prop_assert_eq!(fates.unaccounted(), i128::from(dropped));
            prop_assert_eq!(fates.in_flight, 0);
        }
    }

    #[test]
    fn what_was_only_late_is_missing_no_more() {
        let mut security = RingBooks::security();
        let counters = counted(1, 0);
        let look = |security: &mut RingBooks| {
            (0..LOOKS).for_each(|_| security.found_empty(&counters, &counters));
            security.stage(&counters).fates.unaccounted()
        };
        assert_eq!(look(&mut security), 1);
        security.used();
        assert_eq!(look(&mut security), 0);
    }

    #[test]
    fn evidence_that_never_reached_the_auditor_breaks_the_law() {
        let (oom, connect) = (abi::Oom::default(), abi::Connect::default());
        let mut handed = Handed::default();
        for record in [Record::Oom(oom), Record::Connect(connect)] {
            handed.count(&record);
        }
        let told = |emitted| Fates {
            emitted,
            delivered: emitted,
            ..Fates::default()
        };
        let told = [("connect", told(1)), ("segment", told(0)), ("oom", told(0))];
        let missing = handed.stages(&told).map(|stage| stage.fates.unaccounted());
        assert_eq!(missing, [0, 0, 1]);
    }

    #[test]
    fn each_loss_is_told_once() {
        let mut security = RingBooks::security();
        let mut told = Vec::new();
        for lost in [0, 3, 3, 5] {
            let losses = security.untold(&counted(10, lost));
            told.extend(losses.into_iter().map(|loss| loss.count));
        }
        assert_eq!(told, [3, 2]);
    }
}
