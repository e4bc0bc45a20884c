#![expect(
    clippy::disallowed_methods,
    reason = "shell: uses CPU, memory and time on purpose"
)]
//! The loads on the stage, each a process of its own: `plimsoll-lab workload NAME`.
//!
//! Each loop is bounded in rate. A load does not know which pod it plays: cgroup and namespace are
//! given to it before it starts (see `enter`).

pub mod http;
pub mod imds;

use std::hint::black_box;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use clap::{Parser, Subcommand};

/// Which load.
#[derive(Clone, Debug, Subcommand)]
pub enum Workload {
    /// Uses an even share of one core.
    Steady {
        /// Share, thousandths of a core.
        #[arg(long, default_value_t = 150)]
        millicores: u64,
    },
    /// Uses a whole core for one second every eleven: a 60 s mean shows a tenth of it.
    Burst,
    /// Takes ten MiB each second until its memory limit, or the bound, ends it.
    Leak {
        /// Ends itself here, MiB, where no limit did.
        #[arg(long, default_value_t = 60)]
        bound_mib: usize,
    },
    /// Lives for 200 ms and uses CPU for half of them.
    Shortlived,
    /// Uses as much CPU as it gets, for a time.
    Spin {
        /// How long, milliseconds.
        #[arg(long)]
        millis: u64,
    },
    /// Uses a little CPU, as a service of the host would.
    HostService,
    /// Does nothing.
    Idle,
    /// Fetches the node's credentials without a token.
    ImdsV1(imds::Pace),
    /// Fetches the node's credentials without a token from a service that is slow to answer.
    ImdsSlow(imds::Pace),
    /// Fetches the node's credentials with a token.
    ImdsV2(imds::Pace),
    /// Asks for a token, gives up after a second and goes on without, as old SDKs do.
    ImdsHoplimit(imds::Pace),
    /// Fetches the pod's own credentials from EKS Pod Identity.
    PodIdentity {
        /// UID claimed in the service-account token.
        #[arg(long, default_value = "00000000-0000-4000-8000-000000000000")]
        pod_uid: String,
        /// How often.
        #[command(flatten)]
        pace: imds::Pace,
    },
}

/// Longest task name, bytes (TASK_COMM_LEN less the NUL).
#[cfg(test)]
const COMM_BYTES: usize = 15;

/// The words after the program's name.
#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    workload: Workload,
}

impl Workload {
    /// The load that this command line starts, its first word `workload`; `None`: something else.
    pub fn of(command: &[String]) -> Option<Self> {
        let is_load = command.first().is_some_and(|word| word == "workload");
        let line = is_load
            .then(|| Line::try_parse_from(command).ok())
            .flatten();
        line.map(|line| line.workload)
    }

    /// Name of its process: what events and `ps` show.
    pub const fn process_name(&self) -> &'static str {
        match self {
            Self::Steady { .. } => "steady-load",
            Self::Burst => "burst-load",
            Self::Leak { .. } => "memory-leak",
            Self::Shortlived => "short-job",
            Self::Spin { .. } => "spin-load",
            Self::HostService => "host-service",
            Self::Idle => "idle",
            Self::ImdsV1(_) => "imds-v1-client",
            Self::ImdsSlow(_) => "slow-v1-client",
            Self::ImdsV2(_) => "imds-v2-client",
            Self::ImdsHoplimit(_) => "imds-old-client",
            Self::PodIdentity { .. } => "pod-id-client",
        }
    }

    /// Runs the load, under its own name; most never return.
    ///
    /// # Errors
    /// A load that is to finish could not do its work.
    pub fn run(self) -> Result<()> {
        // It was started as /proc/self/exe, and the kernel calls it by that file's name.
        std::fs::write("/proc/self/comm", self.process_name()).context("taking the load's name")?;
        match self {
            Self::Steady { millicores } => steady(millicores),
            Self::Burst => burst(),
            Self::Leak { bound_mib } => leak(bound_mib),
            Self::Shortlived => {
                let begin = Instant::now();
                spin(Duration::from_millis(100));
                std::thread::sleep(Duration::from_millis(200).saturating_sub(begin.elapsed()));
            }
            Self::Spin { millis } => spin(Duration::from_millis(millis)),
            Self::HostService => steady(30),
            Self::Idle => loop {
                std::thread::sleep(Duration::from_mins(1));
            },
            Self::ImdsV1(pace) => return pace.each(imds::fetch_v1),
            Self::ImdsSlow(pace) => return pace.each(imds::fetch_slowly),
            Self::ImdsV2(pace) => return pace.each(imds::fetch_v2),
            Self::ImdsHoplimit(pace) => return pace.each(imds::fetch_v2_or_v1),
            Self::PodIdentity { pod_uid, pace } => {
                return pace.each(move |v6| imds::fetch_pod_identity(v6, &pod_uid));
            }
        }
        Ok(())
    }
}

fn steady(millicores: u64) {
    let busy = Duration::from_micros(millicores.min(1_000) * 50);
    let period = Duration::from_millis(50);
    loop {
        let begin = Instant::now();
        spin(busy);
        // At least a millisecond, so that a slow machine is not taken over.
        std::thread::sleep(
            period
                .saturating_sub(begin.elapsed())
                .max(Duration::from_millis(1)),
        );
    }
}

fn burst() {
    loop {
        spin(Duration::from_secs(1));
        std::thread::sleep(Duration::from_secs(10));
    }
}

fn leak(bound_mib: usize) {
    let mut kept: Vec<Vec<u8>> = Vec::new();
    while kept.len() < bound_mib {
        // Written, not only reserved: each page becomes resident.
        kept.push(black_box(vec![
            kept.len().to_le_bytes()[0] | 1;
            1024 * 1024
        ]));
        std::thread::sleep(Duration::from_millis(100));
    }
    black_box(&kept);
}

fn spin(length: Duration) {
    let begin = Instant::now();
    let mut value = 1_u64;
    while begin.elapsed() < length {
        for _ in 0..1_000 {
            value = black_box(
                value
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_load_has_a_name_of_its_own_that_the_kernel_keeps_whole() {
        use clap::CommandFactory as _;
        let command = Line::command();
        let mut names: Vec<_> = command
            .get_subcommands()
            .map(|load| {
                let words = match load.get_name() {
                    "spin" => vec!["spin", "--millis", "1"],
                    name => vec![name],
                };
                let line = [&["workload"], words.as_slice()].concat();
                let line: Vec<String> = line.into_iter().map(str::to_owned).collect();
                Workload::of(&line).unwrap().process_name()
            })
            .collect();
        assert!(
            names.iter().all(|name| name.len() <= COMM_BYTES),
            "{names:?}"
        );
        let loads = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), loads);
        assert!(Workload::of(&["scenarios".to_owned()]).is_none());
    }
}
