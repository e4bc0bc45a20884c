//! The main loop: what is drained, sampled and written, and when.
//!
//! ```text
//!  100 ms, or the security ring wakes   drain: cgroups first, then evidence (who must be known
//!                                       before what they did)
//!  interval                             sample: kernel time, files, windows; commit the spool
//!  10 s                                 heartbeat: the books of every stage
//!  rescan                               walk the tree for what events missed
//! ```
//!
//! Everything that decides is elsewhere; this is the order in which it is asked.

mod drain;
mod report;
mod sample;

use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use plimsoll_abi::{Counters, KINDS};
use plimsoll_imds::{Key, Redactor};
use plimsoll_journal::{JournalError, Trouble};
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::admin::{Health, Pulse, Status};
use crate::audit::{self, Auditor, NodeLookup, Proc};
use crate::books::{self, Handed, RingBooks};
use crate::causes;
use crate::cgroup::fs::{self, Roots};
use crate::config::Config;
use crate::containers::{self, Containers, Output};
use crate::export::SharedSpool;
use crate::export::standing::Standing;
use crate::host::HostFacts;
use crate::host::label::CgroupLabels;
use crate::identity;
use crate::probe::{Outcome, Probe, ProgramName};
use crate::telemetry::Metrics;
use crate::usage::clock::{monotonic_ns, wall_unix_ns};
use crate::usage::self_usage::SelfMeter;
use crate::usage::window::Spec;
use crate::usage::{KernelTime, Sampler, Timeline, sampler};

/// Time between drains of the rings; the security ring wakes the loop before that.
const DRAIN: Duration = Duration::from_millis(100);
/// Time between heartbeats.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Windows and events for which room is kept from one turn to the next.
const KEPT_OUTPUTS: usize = 64;

/// What the main loop is given.
#[derive(Debug)]
pub(crate) struct Setup {
    /// Configuration.
    pub(crate) config: Config,
    /// What the host offers.
    pub(crate) facts: HostFacts,
    /// Durable buffer.
    pub(crate) spool: SharedSpool,
    /// Tells the export that something was committed.
    pub(crate) committed: Arc<Notify>,
    /// How the export stands.
    pub(crate) exports: Arc<Standing>,
    /// Read by the admin endpoint.
    pub(crate) status: Arc<Status>,
    /// Shown by the admin endpoint.
    pub(crate) metrics: Metrics,
    /// Secret of the token hashes.
    pub(crate) key: Key,
}

/// See the module.
pub(crate) struct Node {
    setup: Setup,
    probe: Option<Probe>,
    programs: Vec<(String, String)>,
    degraded: Vec<String>,
    roots: Roots,
    containers: Containers,
    sampler: Sampler,
    kernel_time: KernelTime,
    auditor: Auditor,
    proc: Proc,
    timeline: Timeline,
    security: RingBooks,
    process: RingBooks,
    handed: Handed,
    /// What the kernel counted, when it was last asked; `None` without kernel programs.
    ring_counters: Option<[Counters; KINDS]>,
    meter: Option<SelfMeter>,
    started_unix_ns: u64,
    sample_seconds: f64,
    /// The last round read something of a container.
    has_read: bool,
    /// The last walk saw the whole tree.
    has_walked: bool,
    /// Followed, and their files could not be opened at the last walk.
    unopened: u64,
    /// Folders that the last walk left out because of its bounds, and that it could not list.
    unwalked: [u64; 2],
    /// SELinux labels of the tree, as of the last walk.
    labels: CgroupLabels,
    /// Raw records of the security ring between the two drains.
    evidence: Vec<u8>,
    out: Vec<Output>,
    /// The spool's disk refuses.
    trouble: Trouble,
    /// The kernel does not say what it booked.
    no_kernel_time: Trouble,
    /// The tree cannot be walked whole.
    no_walk: Trouble,
    /// Files of a cgroup cannot be opened.
    no_files: Trouble,
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Node")
            .field("programs", &self.programs)
            .finish_non_exhaustive()
    }
}

impl Node {
    /// Attaches what the plan allows, then learns which cgroups are there: in this order, so that
    /// none comes into being unseen in between.
    pub(crate) fn start(setup: Setup) -> Self {
        let config = &setup.config;
        let (probe, programs, mut degraded) = attach(config, &setup.facts);
        let roots = Roots::find(&config.host.cgroup);
        degraded.extend(books::missing_sources(&roots, &setup.facts));
        let second_ns = 1_000_000_000;
        let options = containers::Options {
            spec: Spec {
                length_ns: config.usage.window_s * second_ns,
                startup_ns: config.usage.startup_s * second_ns,
            },
            max_followed: config.usage.max_containers,
            identity: identity::Limits::default(),
        };
        let sampling = sampler::Options {
            memory_stat_every_ns: u64::from(config.usage.memory_stat_every)
                * config.usage.interval_ms
                * 1_000_000,
            max_descriptors: fs::descriptor_budget(),
            proc_root: config.host.proc.clone(),
        };
        let limits = audit::Limits::with(plimsoll_imds::Limits {
            connections: config.imds.max_connections,
            response_ns: config.imds.response_timeout_ms * 1_000_000,
            ..plimsoll_imds::Limits::default()
        });
        let mut node = Self {
            containers: Containers::new(options),
            sampler: Sampler::new(roots.clone(), sampling),
            kernel_time: KernelTime::default(),
            auditor: Auditor::new(limits, &setup.key),
            proc: Proc::new(&config.host.proc, Redactor::new(&setup.key)),
            timeline: Timeline::new(monotonic_ns(), wall_unix_ns()),
            security: RingBooks::security(),
            process: RingBooks::process(),
            handed: Handed::default(),
            ring_counters: None,
            meter: SelfMeter::open(&config.host.proc).ok(),
            started_unix_ns: wall_unix_ns(),
            sample_seconds: 0.0,
            has_read: false,
            has_walked: false,
            unopened: 0,
            unwalked: [0; 2],
            labels: CgroupLabels::default(),
            evidence: Vec::new(),
            out: Vec::new(),
            trouble: Trouble::default(),
            no_kernel_time: Trouble::default(),
            no_walk: Trouble::default(),
            no_files: Trouble::default(),
            roots,
            programs,
            degraded,
            probe,
            setup,
        };
        node.rescan();
        node
    }

    /// Turns until `stop`, then closes everything and leaves it in the spool.
    pub(crate) async fn run(mut self, pulse: Pulse, stop: CancellationToken) {
        let mut drain = ticks(DRAIN);
        let mut sample = ticks(Duration::from_millis(self.setup.config.usage.interval_ms));
        let mut heartbeat = ticks(HEARTBEAT);
        let mut rescan = ticks(self.rescan_every());
        let ring = self.security_fd();
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                () = readable(ring.as_ref()) => drop(self.drain()),
                _ = drain.tick() => self.tick(),
                _ = sample.tick() => self.sample(),
                _ = heartbeat.tick() => self.heartbeat(false),
                _ = rescan.tick() => self.rescan(),
            }
            self.write();
            pulse.beat();
        }
        self.finish();
        pulse.done();
    }

    /// Without the cgroup events the walk is all there is.
    fn rescan_every(&self) -> Duration {
        let sees_cgroups =
            self.attached(ProgramName::CgroupMkdir) && self.attached(ProgramName::CgroupRmdir);
        Duration::from_secs(if sees_cgroups {
            self.setup.config.usage.rescan_s
        } else {
            1
        })
    }

    fn attached(&self, name: ProgramName) -> bool {
        self.probe.as_ref().is_some_and(|probe| {
            probe
                .reports()
                .iter()
                .any(|report| report.name == name && report.outcome == Outcome::Attached)
        })
    }

    fn security_fd(&self) -> Option<AsyncFd<OwnedFd>> {
        let fd = self
            .probe
            .as_ref()?
            .security_fd()
            .try_clone_to_owned()
            .ok()?;
        #[expect(
            deprecated,
            reason = "its replacement is unsafe; an OwnedFd keeps the promise it asks for"
        )]
        AsyncFd::new(fd).ok()
    }

    /// Hands everything to the spool and makes it durable.
    fn write(&mut self) {
        if self.out.is_empty() {
            return;
        }
        let now = wall_unix_ns();
        let mut spool = self
            .setup
            .spool
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for output in self.out.drain(..) {
            match output {
                Output::Window(window) => spool.window(&window, now),
                Output::Event(at_unix_ns, event) => spool.event(&event, at_unix_ns, now),
            }
        }
        self.out.shrink_to(KEPT_OUTPUTS);
        // A commit that finds the disk full sheds at once.
        let shed = spool.shed_total();
        let written = spool.commit(now);
        tell_written(&mut self.trouble, written, [shed, spool.shed_total()]);
        drop(spool);
        self.setup.committed.notify_waiters();
    }

    /// The last of everything: what is in the rings, open requests, open windows.
    fn finish(mut self) {
        self.sample();
        self.drain_all();
        let lookup = NodeLookup {
            index: self.containers.index(),
            timeline: &self.timeline,
            proc: &self.proc,
        };
        let out = &mut self.out;
        self.auditor.finish(&lookup, &mut |at_unix_ns, event| {
            out.push(Output::Event(at_unix_ns, event));
        });
        self.containers.finish(&mut self.out);
        // Its last word: whoever waits for the next one need not.
        self.heartbeat(true);
        self.write();
        self.setup.status.turned(Health {
            phase: "draining",
            ready: false,
            programs: self.programs.clone(),
            degraded: self.all_degraded(),
        });
    }
}

/// A full disk refuses each second: told as it begins, once a minute, and when it is over. `shed`: so
/// many records, before and after the attempt.
fn tell_written(trouble: &mut Trouble, written: Result<(), JournalError>, shed: [u64; 2]) {
    let now = monotonic_ns();
    let [before, after] = shed;
    match written {
        Ok(()) => {
            if let Some(over) = trouble.ended(now, || after) {
                tracing::info!(
                    lasted_s = over.lasted_s,
                    shed = over.shed,
                    "spool can be written again"
                );
            }
        }
        Err(error) => {
            if trouble.failed(now, || before) {
                tracing::warn!(error = %causes::chain(&error), "spool could not be written; records are held in memory");
            }
        }
    }
}

/// Loads by plan; what did not work out is a reason and no error.
fn attach(
    config: &Config,
    facts: &HostFacts,
) -> (Option<Probe>, Vec<(String, String)>, Vec<String>) {
    if !config.kernel.enabled {
        return (
            None,
            Vec::new(),
            vec!["kernel programs: switched off by configuration".to_owned()],
        );
    }
    let plan = crate::host::plan(facts);
    // What is known to be in vain is not tried: the plan's reason is the better one.
    if let Some(reasons) = plan.nothing_to_attach() {
        tracing::warn!(
            reason = reasons,
            "no kernel programs: running on cgroup files and procfs"
        );
        return (
            None,
            Vec::new(),
            vec![format!("kernel programs: {reasons}")],
        );
    }
    let options = crate::probe::Options {
        security_ring_bytes: config.kernel.security_ring_bytes,
        process_ring_bytes: config.kernel.process_ring_bytes,
        cgroups: config.kernel.max_cgroups,
    };
    match Probe::load(&plan, options) {
        Ok(probe) => {
            let programs: Vec<(String, String)> = probe
                .reports()
                .iter()
                .map(|report| (report.name.to_string(), report.outcome.to_string()))
                .collect();
            for (program, outcome) in &programs {
                tracing::info!(program, outcome, "kernel program");
            }
            let idle = probe.reports().iter();
            let idle = idle.filter_map(|report| Some((report.name, report.outcome.reason()?)));
            let missing = crate::probe::missing(&idle.collect::<Vec<_>>());
            let mut missing = missing;
            missing.extend(paranoid(facts, &missing));
            (Some(probe), programs, missing)
        }
        Err(error) => {
            let reason = causes::chain(&error);
            tracing::warn!(
                reason,
                "no kernel programs: running on cgroup files and procfs"
            );
            (None, Vec::new(), vec![format!("kernel programs: {reason}")])
        }
    }
}

/// What stands behind a refusal to attach tracepoints, which the kernel does not say.
fn paranoid(facts: &HostFacts, missing: &[String]) -> Option<String> {
    let level = facts.perf_event_paranoid.filter(|level| *level > 2)?;
    let refused = missing.iter().any(|line| line.contains("perf_event_open"));
    refused.then(|| {
        format!(
            "kernel.perf_event_paranoid is {level}: from 3 on this kernel attaches tracepoints for CAP_SYS_ADMIN alone; 2 is enough"
        )
    })
}

fn ticks(every: Duration) -> tokio::time::Interval {
    let mut ticks = interval(every);
    // After a pause, go on at the own pace instead of catching up.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Waits until the ring has records; for ever where there is no ring.
async fn readable(ring: Option<&AsyncFd<OwnedFd>>) {
    match ring {
        Some(ring) => match ring.readable().await {
            Ok(mut guard) => guard.clear_ready(),
            Err(_) => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
