//! What the main loop says of itself: heartbeats to the collector, metrics and health to whoever asks.

use std::sync::PoisonError;

use plimsoll_abi::{Counters, KINDS};
use plimsoll_wire::AuditEvent;
use plimsoll_wire::event::{Heartbeat, StageFates};

use super::Node;
use crate::admin::Health;
use crate::books;
use crate::containers::Output;
use crate::probe::Probe;
use crate::telemetry;
use crate::usage::clock::wall_unix_ns;
use crate::usage::self_usage::SelfMeter;

impl Node {
    /// Asks the kernel what it counted; what it cannot say now stays as it was.
    pub(super) fn count_rings(&mut self) -> Option<[Counters; KINDS]> {
        let counters = self.probe.as_ref()?.counters().ok()?;
        self.ring_counters = Some(counters);
        Some(counters)
    }

    /// The rings were drained, and counted before and after: whether all that was put in came out.
    /// `emptied` says which of them, security and process, held nothing more.
    pub(super) fn check_rings(
        &mut self,
        before: &[Counters; KINDS],
        emptied: [bool; 2],
        after: &[Counters; KINDS],
    ) {
        let rings = [&mut self.security, &mut self.process];
        for (ring, emptied) in rings.into_iter().zip(emptied) {
            if emptied {
                ring.found_empty(before, after);
            }
        }
    }

    /// A loss in the kernel's rings becomes a record of its own.
    pub(super) fn tell_losses(&mut self) {
        let Some(counters) = self.ring_counters else {
            return;
        };
        let mut losses = self.security.untold(&counters);
        losses.extend(self.process.untold(&counters));
        for loss in losses {
            let event = AuditEvent::Loss(loss);
            self.out.push(Output::Event(wall_unix_ns(), event));
        }
    }

    /// The books of every stage. What they say was lost is told before them: after the last drain
    /// nobody else would.
    pub(super) fn heartbeat(&mut self, ends: bool) {
        self.count_rings();
        self.tell_losses();
        let own = self.meter.as_ref().map(SelfMeter::read);
        let beat = Heartbeat {
            agent_started_unix_ns: self.started_unix_ns,
            boot_id: self.setup.facts.boot_id.clone().unwrap_or_default(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            kernel: self.setup.facts.kernel_release.clone().unwrap_or_default(),
            stages: self.stages(),
            degraded: self.all_degraded(),
            containers: self.containers.len() as u64,
            agent_cpu_ns: own.map(|own| own.cpu_ns),
            agent_rss_bytes: own.and_then(|own| own.rss_bytes),
            ends,
        };
        self.out
            .push(Output::Event(wall_unix_ns(), AuditEvent::Heartbeat(beat)));
    }

    pub(super) fn stages(&self) -> Vec<StageFates> {
        let mut stages = Vec::new();
        if let Some(counters) = self.ring_counters {
            let rings = [&self.security, &self.process];
            stages.extend(rings.map(|ring| ring.stage(&counters)));
        }
        stages.extend(books::file_stages(
            self.sampler.counters().files,
            self.proc.counts(),
        ));
        stages.extend(self.handed.stages(&self.auditor.fates()));
        stages.extend(
            self.setup
                .spool
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .fates(),
        );
        stages
    }

    pub(super) fn all_degraded(&self) -> Vec<String> {
        let mut degraded = self.degraded.clone();
        degraded.extend(self.labels.finding());
        let over_limit = self.containers.counters().over_limit;
        if over_limit > 0 {
            degraded.push(format!(
                "containers: {over_limit} are not sampled, usage.max_containers is reached"
            ));
        }
        if self.unopened > 0 {
            degraded.push(format!(
                "containers: {} are not sampled, their files cannot be opened",
                self.unopened
            ));
        }
        let cgroups = self.kernel_time.counts().cgroups;
        if cgroups >= u64::from(self.setup.config.kernel.max_cgroups) {
            degraded.push(format!(
                "CPU time: the kernel keeps that of {cgroups} cgroups and of no more, kernel.max_cgroups is reached"
            ));
        }
        if self
            .setup
            .spool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_failing()
        {
            degraded.push("spool: the disk refuses writes; records are held in memory".to_owned());
        }
        degraded.extend(self.setup.exports.degraded());
        degraded
    }

    pub(super) fn show(&self) {
        let now = wall_unix_ns();
        let own = self.meter.as_ref().map(SelfMeter::read);
        let levels = self
            .setup
            .spool
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .levels();
        self.setup.metrics.show(&telemetry::Books {
            stages: self.stages(),
            spool: levels
                .iter()
                .map(|level| books::spool_row(level, now))
                .collect(),
            exports: self.setup.exports.failures(),
            kernel: self.kernel_row(),
            usage: self.usage_row(),
            audit: self.audit_row(),
            cpu_ns: own.map(|own| own.cpu_ns),
            rss_bytes: own.and_then(|own| own.rss_bytes),
        });
        self.setup.status.turned(Health {
            phase: "running",
            ready: self.is_sampling(),
            programs: self.programs.clone(),
            degraded: self.all_degraded(),
        });
    }

    /// There is a tree, and something of it is read: where every file is refused, no agent that replaces
    /// this one reads more, and an update must not go on.
    fn is_sampling(&self) -> bool {
        let is_idle = self.containers.len() == 0 && self.has_walked;
        self.roots.naming().is_some() && (self.has_read || is_idle)
    }

    fn kernel_row(&self) -> telemetry::KernelRow {
        let probe = self.probe.as_ref();
        let [security, process] = probe.map(Probe::ring_high_water_bytes).unwrap_or_default();
        telemetry::KernelRow {
            programs: self
                .programs
                .iter()
                .map(|(name, outcome)| (name.clone(), outcome == "attached"))
                .collect(),
            ring_high_water: vec![("security", security), ("process", process)],
            cpu_time: self.kernel_time.counts(),
        }
    }

    fn usage_row(&self) -> telemetry::UsageRow {
        let counters = self.containers.counters();
        let read = self.sampler.counters();
        let index = self.containers.index();
        let (living, gone) = index.len();
        telemetry::UsageRow {
            containers: self.containers.len() as u64,
            over_limit: counters.over_limit,
            unopened: self.unopened,
            samples: read.samples,
            resets: counters.resets,
            unshown_periods: counters.unshown_periods,
            parse_errors: read.files.malformed,
            not_added_up: read.not_added_up,
            descriptors: self.sampler.len().1 as u64,
            sample_seconds: self.sample_seconds,
            known: [living as u64, gone as u64],
            forgotten: index.forgotten(),
            unwalked: self.unwalked,
            relabelled: self.labels.of_containers.len() as u64,
        }
    }

    fn audit_row(&self) -> telemetry::AuditRow {
        let (tasks, owners, connections) = self.auditor.len();
        telemetry::AuditRow {
            counts: self.auditor.counts(),
            decoder: self.auditor.decoder(),
            rows: [tasks as u64, owners as u64, connections as u64],
        }
    }
}
