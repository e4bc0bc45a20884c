//! The agent's books in the shapes that are sent and shown: fates of the kernel's rings, rows of the
//! spool, reasons for what is missing. Pure.

use std::error::Error;
use std::fmt::Write as _;

use plimsoll_abi::{
    Counters, KIND_CGROUP_MKDIR, KIND_CGROUP_RMDIR, KIND_CONNECT, KIND_OOM, KIND_SEGMENT, KINDS,
};
use plimsoll_wire::Class;
use plimsoll_wire::event::{Loss, StageFates};
use plimsoll_wire::fate::Fates;

use crate::audit::TextCounts;
use crate::cgroup::fs::Roots;
use crate::host::{CgroupMode, HostFacts};
use crate::probe::decode::Undecodable;
use crate::spool::Level;
use crate::telemetry::SpoolRow;
use crate::usage::sampler::FileCounts;

/// What was taken out of one ring.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RingBooks {
    used: u64,
    undecodable: u64,
    /// Of the lost and the undecodable, what a loss record has told.
    told: [u64; 2],
}

impl RingBooks {
    /// A record was understood, and went into what it is good for.
    pub const fn used(&mut self) {
        self.used += 1;
    }

    /// Bytes that are no record. Object and agent are built together, so this is a bug or worse.
    pub fn undecodable(&mut self, error: &Undecodable) {
        if self.undecodable == 0 {
            tracing::error!(%error, "kernel record cannot be decoded; further ones are only counted");
        }
        self.undecodable += 1;
    }

    /// What was lost since this was last asked, as records for the audit stream.
    pub fn untold(&mut self, stage: &StageFates) -> Vec<Loss> {
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

    /// What the kernel counted, and what came out. In flight is what the ring still holds.
    fn fates(self, kinds: &[Counters]) -> Fates {
        let emitted = kinds.iter().map(|kind| kind.emitted).sum::<u64>();
        let lost = kinds.iter().map(|kind| kind.lost).sum::<u64>();
        Fates {
            emitted,
            lost,
            undecodable: self.undecodable,
            filtered: self.used,
            in_flight: emitted.saturating_sub(lost + self.undecodable + self.used),
            ..Fates::default()
        }
    }
}

/// The stages of the two rings.
pub fn ring_stages(
    counters: &[Counters; KINDS],
    security: &RingBooks,
    process: &RingBooks,
) -> [StageFates; 2] {
    let of = |kinds: &[u16]| -> Vec<Counters> {
        kinds
            .iter()
            .filter_map(|kind| counters.get(usize::from(*kind)).copied())
            .collect()
    };
    let stage = |stage: &str, class: &str, fates| StageFates {
        stage: stage.to_owned(),
        class: class.to_owned(),
        fates,
    };
    [
        stage(
            "security_ring",
            "security",
            security.fates(&of(&[KIND_CONNECT, KIND_SEGMENT, KIND_OOM])),
        ),
        stage(
            "process_ring",
            "process",
            process.fates(&of(&[KIND_CGROUP_MKDIR, KIND_CGROUP_RMDIR])),
        ),
    ]
}

/// The stages of the kernel's text files: those of cgroups, and those of processes behind evidence.
/// What was understood is used up in a sample or an event; what was empty has nothing to tell.
pub fn file_stages(sampled: FileCounts, processes: TextCounts) -> [StageFates; 2] {
    let stage = |class: &str, fates| StageFates {
        stage: "files".to_owned(),
        class: class.to_owned(),
        fates,
    };
    let usage = Fates {
        emitted: sampled.read,
        lost: sampled.unreadable,
        undecodable: sampled.malformed,
        filtered: sampled.parsed + sampled.empty,
        ..Fates::default()
    };
    let security = Fates {
        emitted: processes.parsed + processes.malformed,
        undecodable: processes.malformed,
        filtered: processes.parsed,
        ..Fates::default()
    };
    [stage("usage", usage), stage("security", security)]
}

/// A class of the spool as the metrics show it.
pub fn spool_row(level: &Level, now_unix_ns: u64) -> SpoolRow {
    let waiting = level.oldest_unix_ns.filter(|_| level.records > 0);
    let age_ns = waiting.map_or(0, |oldest| now_unix_ns.saturating_sub(oldest));
    SpoolRow {
        class: level.class.as_str(),
        bytes: level.bytes,
        records: level.records,
        oldest_s: age_ns as f64 / 1e9,
        read_errors: level.read_errors,
    }
}

/// What a host without cgroup v2 controllers cannot tell.
pub fn missing_sources(roots: &Roots, facts: &HostFacts) -> Vec<String> {
    let mut missing = Vec::new();
    if roots.naming().is_none() {
        missing.push("containers: no cgroup hierarchy is mounted".to_owned());
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
    missing
}

/// An error and its causes in one line.
pub fn chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some libraries repeat their cause in their own words.
        if !line.ends_with(&text) {
            let _infallible = write!(line, ": {text}");
        }
        cause = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_balances_and_a_record_from_nowhere_shows() {
        let mut counters = [Counters::default(); KINDS];
        counters[usize::from(KIND_SEGMENT)] = Counters {
            emitted: 10,
            lost: 3,
        };
        counters[usize::from(KIND_CONNECT)] = Counters {
            emitted: 2,
            lost: 0,
        };
        let mut security = RingBooks::default();
        (0..5).for_each(|_| security.used());
        let [stage, process] = ring_stages(&counters, &security, &RingBooks::default());
        assert_eq!(
            (stage.fates.emitted, stage.fates.lost, stage.fates.in_flight),
            (12, 3, 4)
        );
        assert_eq!(stage.fates.unaccounted(), 0);
        assert_eq!(process.fates, Fates::default());
        (0..5).for_each(|_| security.used());
        let [stage, _] = ring_stages(&counters, &security, &RingBooks::default());
        assert_eq!(stage.fates.unaccounted(), -1);
    }

    #[test]
    fn each_loss_is_told_once() {
        let mut counters = [Counters::default(); KINDS];
        let mut security = RingBooks::default();
        let mut told = Vec::new();
        for lost in [0, 3, 3, 5] {
            counters[usize::from(KIND_SEGMENT)] = Counters { emitted: 10, lost };
            let [stage, _] = ring_stages(&counters, &security, &RingBooks::default());
            told.extend(security.untold(&stage).into_iter().map(|loss| loss.count));
        }
        assert_eq!(told, [3, 2]);
    }

    #[test]
    fn an_error_tells_its_causes() {
        let error = crate::export::ExportError::Read {
            path: "/t".into(),
            setting: "export.token_file",
            source: std::io::Error::other("no"),
        };
        assert_eq!(chain(&error), "read /t (export.token_file): no");
    }
}
