#![expect(
    clippy::disallowed_methods,
    reason = "shell: measures a running agent against the clock"
)]
//! What the agent costs: its CPU and memory beside the naive way to read the same files.
//!
//! Both are measured in one run on the same containers, so that the ratio holds on any machine. In
//! the lab the absolute figures are those of software emulation.

pub mod imds;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Args;
use serde_json::{Value, json};

use crate::cgroups::{self, Cgroups};
use crate::enter::Enter;
use crate::plimsoll::Plimsoll;
use crate::plimsoll::config::Settings;
use crate::{inventory, pods, stage};

/// Processes of one container, as on an ordinary node.
const PROCESSES: usize = 4;
/// What the agent reads of a container; the naive reader opens each anew.
const FILES: [&str; 10] = [
    "cpu.stat",
    "memory.current",
    "memory.stat",
    "memory.events",
    "memory.peak",
    "io.stat",
    "pids.current",
    "cpu.pressure",
    "memory.pressure",
    "io.pressure",
];
/// Settling before the measurement: start, scan, first samples.
const SETTLE: Duration = Duration::from_secs(5);

/// How many containers, how long.
#[derive(Clone, Debug, Args)]
pub struct AgentCost {
    /// Numbers of containers, one measurement each.
    #[arg(long, value_delimiter = ',', default_values_t = [30, 110, 250])]
    pub containers: Vec<usize>,
    /// Length of each measurement, seconds.
    #[arg(long, default_value_t = 30)]
    pub seconds: u64,
    /// Folder of the programs; beside this one if absent.
    #[arg(long)]
    pub programs: Option<PathBuf>,
}

impl AgentCost {
    /// Measures and says one JSON document for each number of containers.
    ///
    /// # Errors
    /// The agent or a container cannot be started.
    pub fn run(&self, own_machine: bool, say: &dyn Fn(&str)) -> Result<()> {
        let here = std::env::current_exe().context("looking for this program's folder")?;
        let beside = here.parent().map(PathBuf::from).unwrap_or_default();
        let programs = self.programs.clone().unwrap_or(beside);
        for &count in &self.containers {
            let crowd = Crowd::gather(count, own_machine)?;
            let seen = measure(&crowd, &programs, Duration::from_secs(self.seconds))?;
            say(&format!("bench agent {seen}"));
        }
        Ok(())
    }
}

/// Containers that do next to nothing.
struct Crowd {
    cgroups: Cgroups,
    scopes: Vec<PathBuf>,
    children: Vec<Child>,
}

impl Crowd {
    fn gather(count: usize, own_machine: bool) -> Result<Self> {
        let mut rng = fastrand::Rng::new();
        let mut crowd = Self {
            cgroups: Cgroups::open(cgroups::mounted_root()?, own_machine)?,
            scopes: Vec::new(),
            children: Vec::new(),
        };
        for _ in 0..count {
            let pod = pods::pod(&mut rng, "crowd", &["idle"]);
            let scope = crowd.cgroups.make(&pod.scope())?;
            for _ in 0..PROCESSES {
                let command = ["workload", "idle"].map(str::to_owned).to_vec();
                let enter = Enter {
                    cgroup: Some(scope.clone()),
                    netns: None,
                    command,
                    program: None,
                };
                crowd.children.push(enter.spawn()?);
            }
            crowd.scopes.push(scope);
        }
        Ok(crowd)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.children {
            // Gone already is what we want.
            drop(child.kill());
            drop(child.wait());
        }
        drop(self.cgroups.remove_all());
    }
}

fn measure(crowd: &Crowd, programs: &Path, length: Duration) -> Result<Value> {
    let dir = tempfile::Builder::new()
        .prefix("plimsoll-bench-")
        .tempdir()
        .context("making a folder")?;
    let objects = dir
        .path()
        .join(format!("objects-{}.yaml", stage::run_name()));
    fs::write(&objects, inventory::document(&[], "1970-01-01T00:00:00Z"))
        .context("writing an inventory")?;
    let plimsoll = Plimsoll::start(Settings::new(programs, dir.path(), &objects)?)?;
    let pid = plimsoll.agent_pid().context("the agent does not run")?;
    std::thread::sleep(SETTLE);
    let (begin, cpu) = (Instant::now(), cpu_ticks(pid)?);
    std::thread::sleep(length);
    let agent = share(cpu_ticks(pid)?.saturating_sub(cpu), begin.elapsed());
    let rss = rss_bytes(pid)?;
    plimsoll.stop()?;
    let me = std::process::id();
    let (begin, cpu) = (Instant::now(), cpu_ticks(me)?);
    while begin.elapsed() < length {
        let next = Instant::now() + Duration::from_secs(1);
        for scope in &crowd.scopes {
            for file in FILES {
                // A file that this kernel lacks costs its open, as it would cost anyone.
                std::hint::black_box(fs::read(scope.join(file)).unwrap_or_default());
            }
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    let naive = share(cpu_ticks(me)?.saturating_sub(cpu), begin.elapsed());
    Ok(json!({
        "containers": crowd.scopes.len(), "processes": crowd.children.len(), "seconds": length.as_secs(),
        "agent_cpu_percent": agent, "agent_rss_bytes": rss, "naive_cpu_percent": naive,
        "agent_to_naive": if naive > 0.0 { Some(agent / naive) } else { None },
    }))
}

/// User and system time in ticks: fields 14 and 15 of `/proc/<pid>/stat` (proc(5)).
fn cpu_ticks(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/stat");
    let stat = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let (_, rest) = stat
        .rsplit_once(") ")
        .with_context(|| format!("{path} has no name"))?;
    let fields: Vec<u64> = rest
        .split(' ')
        .skip(11)
        .take(2)
        .filter_map(|f| f.parse().ok())
        .collect();
    Ok(fields.iter().sum())
}

/// Percent of one core.
fn share(ticks: u64, over: Duration) -> f64 {
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    100.0 * ticks as f64 / per_second / over.as_secs_f64()
}

fn rss_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let status = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024)
        .with_context(|| format!("{path} has no VmRSS"))
}
