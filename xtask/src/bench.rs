#![expect(clippy::disallowed_methods, reason = "shell: writes target/bench")]
//! `cargo xtask bench`: runs the benchmarks and gathers their figures in `target/bench`.
//!
//! `agent` runs in the kernel lab, where cgroup v2 has its controllers; the rest are the
//! workspace's own bench targets.

mod below;

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{install, lab, shell};

/// Length of each measurement of the agent, seconds of the lab's machine.
const AGENT_SECONDS: &str = "30";

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// `agent` or part of a bench target's name; without it, all.
    name: Option<String>,
    /// Install what is missing without asking.
    #[arg(long)]
    yes: bool,
    /// Kernel of the machine in which the agent is measured.
    #[arg(long, default_value = "6.12", value_parser = ["6.1", "6.12"])]
    kernel: String,
}

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        let folder = shell::target().join("bench");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        if self.name.as_deref().is_none_or(|name| name == "agent") {
            install::ensure(&install::LAB, self.yes)?;
            crate::ebpf::ensure_toolchain(&shell::root(), self.yes)?;
            self.agent()?;
        }
        if self.name.as_deref() == Some("agent") {
            return Ok(());
        }
        let mut cargo = shell::cargo(&["bench", "--locked", "--workspace", "--benches"]);
        cargo.env("PLIMSOLL_BENCH_DIR", &folder);
        if let Some(name) = self.name {
            cargo.args(["--", &name]);
        }
        shell::run(&mut cargo)
    }

    fn agent(&self) -> Result<()> {
        let job = lab::Job {
            kernel: self.kernel.clone(),
            init: ["bench", "--seconds", AGENT_SECONDS]
                .map(str::to_owned)
                .to_vec(),
            extra: Duration::from_mins(40),
            guests: vec![below::ensure(self.yes)?],
            counted: true,
            confidential: false,
        };
        let mut results = Vec::new();
        let verdict = lab::run(&job, &mut |line| {
            shell::say(line);
            if let Some(json) = line.strip_prefix("bench agent ") {
                results.extend(serde_json::from_str::<serde_json::Value>(json));
            }
        })?;
        if !verdict.is_good() || results.is_empty() {
            bail!("the lab gave no figures: {verdict:?}");
        }
        shell::print(&table(&results));
        let path = shell::target()
            .join("bench")
            .join(format!("agent-{}.json", self.kernel));
        let text = serde_json::to_string_pretty(&results).context("writing the figures")?;
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
    }
}

/// One line for each number of containers.
fn table(results: &[serde_json::Value]) -> String {
    let head = "containers   agent %    RSS MiB    naive %    ratio    below %    RSS MiB    ratio";
    std::iter::once(head.to_owned())
        .chain(results.iter().map(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn line(result: &serde_json::Value) -> String {
    let number = |name: &str| result[name].as_f64().unwrap_or(f64::NAN);
    let mib = |name: &str| number(name) / f64::from(1 << 20);
    format!(
        "{:>10} {:>9.2} {:>10.1} {:>10.2} {:>8.2} {:>10.2} {:>10.1} {:>8.3}",
        result["containers"],
        number("agent_cpu_percent"),
        mib("agent_rss_bytes"),
        number("naive_cpu_percent"),
        number("agent_to_naive"),
        number("below_cpu_percent"),
        mib("below_rss_bytes"),
        number("agent_to_below"),
    )
}
