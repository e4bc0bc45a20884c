#![expect(
    clippy::disallowed_methods,
    reason = "shell: measures a running agent against the clock"
)]
//! What the agent costs: its CPU and memory beside `below record` and the naive way to read the
//! same files.
//!
//! All are measured in one run on the same containers, so that the ratios hold on any machine. In
//! the lab a nanosecond is an instruction: 1 % of a core there is ten million instructions a second.

pub mod imds;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
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

/// What one reader took.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// CPU time over wall time, percent of one core.
    cpu_percent: f64,
    rss_bytes: u64,
}

impl Cost {
    /// Of a process, over `length`.
    fn of(pid: u32, length: Duration) -> Result<Self> {
        std::thread::sleep(SETTLE);
        let (begin, cpu) = (Instant::now(), cpu_ticks(pid)?);
        std::thread::sleep(length);
        Ok(Self {
            cpu_percent: share(cpu_ticks(pid)?.saturating_sub(cpu), begin.elapsed()),
            rss_bytes: rss_bytes(pid)?,
        })
    }

    fn to(self, other: Self) -> Option<f64> {
        (other.cpu_percent > 0.0).then(|| self.cpu_percent / other.cpu_percent)
    }
}

fn measure(crowd: &Crowd, programs: &Path, length: Duration) -> Result<Value> {
    let dir = tempfile::Builder::new()
        .prefix("plimsoll-bench-")
        .tempdir()
        .context("making a folder")?;
    let agent = agent(programs, dir.path(), length)?;
    let naive = naive(&crowd.scopes, length)?;
    let below = below(programs, dir.path(), length)?;
    Ok(json!({
        "containers": crowd.scopes.len(), "processes": crowd.children.len(), "seconds": length.as_secs(),
        "agent_cpu_percent": agent.cpu_percent, "agent_rss_bytes": agent.rss_bytes,
        "naive_cpu_percent": naive.cpu_percent, "agent_to_naive": agent.to(naive),
        "below_cpu_percent": below.map(|cost| cost.cpu_percent),
        "below_rss_bytes": below.map(|cost| cost.rss_bytes),
        "agent_to_below": below.and_then(|cost| agent.to(cost)),
    }))
}

/// The agent with everything on, sending to a collector.
fn agent(programs: &Path, dir: &Path, length: Duration) -> Result<Cost> {
    let objects = dir.join(format!("objects-{}.yaml", stage::run_name()));
    fs::write(&objects, inventory::document(&[], "1970-01-01T00:00:00Z"))
        .context("writing an inventory")?;
    let plimsoll = Plimsoll::start(Settings::new(programs, dir, &objects)?)?;
    let pid = plimsoll.agent_pid().context("the agent does not run")?;
    let cost = Cost::of(pid, length)?;
    plimsoll.stop()?;
    Ok(cost)
}

/// Opens, reads and closes every file once a second, and does nothing with what it read.
fn naive(scopes: &[PathBuf], length: Duration) -> Result<Cost> {
    let me = std::process::id();
    let (begin, cpu) = (Instant::now(), cpu_ticks(me)?);
    while begin.elapsed() < length {
        let next = Instant::now() + Duration::from_secs(1);
        for scope in scopes {
            for file in FILES {
                // A file that this kernel lacks costs its open, as it would cost anyone.
                std::hint::black_box(fs::read(scope.join(file)).unwrap_or_default());
            }
        }
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
    }
    Ok(Cost {
        cpu_percent: share(cpu_ticks(me)?.saturating_sub(cpu), begin.elapsed()),
        rss_bytes: rss_bytes(me)?,
    })
}

/// `below record --interval-s 1`, if it lies beside the programs.
fn below(programs: &Path, dir: &Path, length: Duration) -> Result<Option<Cost>> {
    let program = programs.join("below");
    if !program.exists() {
        return Ok(None);
    }
    let config = dir.join("below.conf");
    let text = format!(
        "log_dir = '{0}/below-log'\nstore_dir = '{0}/below-store'\n",
        dir.display()
    );
    fs::write(&config, text).with_context(|| format!("writing {}", config.display()))?;
    let mut child = Command::new(&program)
        .arg("--config")
        .arg(&config)
        // The lab's machine has no disk.
        .args(["record", "--interval-s", "1", "--disable-disk-stat"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .context("starting below")?;
    let cost = Cost::of(child.id(), length);
    let ended = child.try_wait().context("asking after below")?;
    // Gone already is told in the next line.
    drop(child.kill());
    drop(child.wait());
    if let Some(status) = ended {
        bail!("below ended by itself: {status}");
    }
    cost.map(Some)
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
