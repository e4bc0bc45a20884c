#![expect(
    clippy::disallowed_methods,
    reason = "shell: the demonstration, with its clock"
)]
//! `plimsoll-lab up`: the stage, Plimsoll beside it, and what it sees, live or as one document.
//!
//! Started by `cargo xtask up` on this machine, or as a machine's init in the lab.

mod scratch;
mod table;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use fastrand::Rng;
use serde_json::{Value, json};

use crate::plimsoll::Plimsoll;
use crate::plimsoll::config::Settings;
use crate::stage::{self, Stage};
use crate::stop::Stop;
use crate::{plimsoll, pods};

/// Between two looks at the stage.
const TICK: Duration = Duration::from_millis(100);
/// Between two tables.
const TABLE_EVERY: Duration = Duration::from_secs(5);
/// Where the dashboard is, unless that is taken.
const DASHBOARD_PORT: u16 = 8080;
/// Nothing runs longer than this with `--seconds`.
const SECONDS_AT_MOST: u64 = 7 * 24 * 3_600;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// A table every five seconds.
    Table,
    /// One document at the end.
    Json,
}

/// How long, where, how.
#[derive(Clone, Debug, Args)]
pub struct Up {
    /// End after so many seconds; without it, at a signal.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=SECONDS_AT_MOST))]
    pub seconds: Option<u64>,
    /// How to print what is seen.
    #[arg(short, long, value_enum, default_value = "table")]
    pub output: Output,
    /// Port of the dashboard on 127.0.0.1; without it 8080, or any free one where that is taken.
    #[arg(long)]
    pub port: Option<u16>,
    /// Folder of plimsoll-agent and plimsoll-collector; beside this program if absent.
    #[arg(long)]
    pub programs: Option<PathBuf>,
    /// Folder for configuration, state and logs; a temporary one if absent.
    #[arg(long)]
    pub dir: Option<PathBuf>,
}

/// The document of `-o json`, and what could not be had.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `sizing`, `audit`, `accounting`, `agent`.
    pub document: Value,
}

impl Up {
    /// Runs until `stop` or the time is up; `own_machine` is the lab's.
    ///
    /// # Errors
    /// A program cannot be started or ends early, or the stage breaks.
    pub fn run(&self, stop: &Stop, own_machine: bool, say: &dyn Fn(&str)) -> Result<Seen> {
        // Before anything is started: a port that is taken is told at once.
        let port = self.dashboard_port(say)?;
        let temporary = scratch::folder()?;
        let dir = self
            .dir
            .clone()
            .unwrap_or_else(|| temporary.path().to_owned());
        std::fs::create_dir_all(dir.join("inventory"))
            .with_context(|| format!("making {}", dir.display()))?;
        let programs = self.programs()?;
        let (mut stage, missing) = build_stage(&dir, own_machine);
        for missing in &missing {
            say(&format!("Without {missing}"));
        }
        let inventory = dir.join("inventory").join("objects.yaml");
        if stage.is_none() {
            let empty = crate::inventory::document(&[], "1970-01-01T00:00:00Z");
            std::fs::write(&inventory, empty)
                .with_context(|| format!("writing {}", inventory.display()))?;
        }
        let mut settings = Settings::new(&programs, &dir, &inventory)?;
        let [dashboard, ..] = &mut settings.ports;
        *dashboard = port;
        let siem = settings.siem();
        let mut plimsoll = Plimsoll::start(settings)?;
        // Only now, so that nothing that they do is half seen.
        if let Some(stage) = &mut stage {
            for pod in pods::sample(&mut Rng::new()) {
                stage.admit(pod)?;
            }
            stage.tick()?;
        }
        say(&format!("Dashboard: {}", plimsoll.dashboard()));
        say(&format!(
            "Audit events in OCSF, as a SIEM gets them: {}; whether their chain is whole says `plimsoll audit verify`",
            siem.display()
        ));
        say_degraded(&plimsoll, say);
        let begin = Instant::now();
        let end = self.seconds.map(|s| begin + Duration::from_secs(s));
        let mut next_table = begin + TABLE_EVERY;
        while !stop.wait(TICK) && end.is_none_or(|end| Instant::now() < end) {
            if let Some(stage) = &mut stage {
                stage.tick()?;
            }
            plimsoll.check()?;
            if self.output == Output::Table && Instant::now() >= next_table {
                next_table += TABLE_EVERY;
                // A table that fails once is no reason to end; a dead program is, above.
                match table::render(&plimsoll, &missing, begin.elapsed()) {
                    Ok(text) => say(&text),
                    Err(e) => say(&format!("not seen now: {e:#}")),
                }
            }
        }
        let agent = plimsoll.agent()?;
        // Loads end first, so that what they did is seen to its end.
        drop(stage);
        plimsoll.stop_agent()?;
        let document = json!({
            "sizing": plimsoll.api("/api/v1/sizing")?,
            "audit": plimsoll.api(crate::plimsoll::config::AUDIT)?,
            "accounting": plimsoll.api("/api/v1/accounting")?,
            "agent": agent,
            "stage": {"missing": missing},
        });
        plimsoll.stop()?;
        say(&format!(
            "Ended after {} s: agent, collector and workloads are stopped.",
            begin.elapsed().as_secs()
        ));
        Ok(Seen { document })
    }

    /// A port that was asked for must be free; the usual one gives way, and says so.
    fn dashboard_port(&self, say: &dyn Fn(&str)) -> Result<u16> {
        let wanted = self.port.unwrap_or(DASHBOARD_PORT);
        let port = plimsoll::free_port(wanted)?;
        if port != wanted && self.port.is_some() {
            bail!(
                "--port {wanted}: 127.0.0.1:{wanted} is taken; choose another port, or leave --port out for any free one"
            );
        }
        if port != wanted {
            say(&format!(
                "Port {wanted} is taken: the dashboard gets {port} (--port chooses one)"
            ));
        }
        Ok(port)
    }

    fn programs(&self) -> Result<PathBuf> {
        let here = std::env::current_exe().context("looking for this program's folder")?;
        let beside = here.parent().map(PathBuf::from).unwrap_or_default();
        let programs = self.programs.clone().unwrap_or(beside);
        if !plimsoll::are_built(&programs) {
            bail!(
                "{} has no plimsoll-agent and plimsoll-collector",
                programs.display()
            );
        }
        Ok(programs)
    }
}

/// The stage, nobody on it yet, and what it lacks. Without root, or without a cgroup v2 tree, there is none, and
/// Plimsoll shows what is there already.
fn build_stage(dir: &std::path::Path, own_machine: bool) -> (Option<Stage>, Vec<String>) {
    let options = stage::Options {
        run: stage::run_name(),
        dir: dir.to_owned(),
        own_machine,
        host_service: true,
    };
    match Stage::build(options, Vec::new(), fastrand::u64(..)) {
        Ok(stage) => {
            let missing = stage.missing().to_vec();
            (Some(stage), missing)
        }
        Err(e) if rustix::process::geteuid().is_root() => {
            (None, vec![format!("sample workloads: {e:#}")])
        }
        Err(e) => {
            let reason = "only root may make their cgroups and namespaces";
            (None, vec![format!("sample workloads: {reason} ({e:#})")])
        }
    }
}

fn say_degraded(plimsoll: &Plimsoll, say: &dyn Fn(&str)) {
    let Ok(agent) = plimsoll.agent() else { return };
    for reason in agent["health"]["degraded"].as_array().into_iter().flatten() {
        say(&format!(
            "Degraded: {}",
            reason.as_str().unwrap_or_default()
        ));
    }
}
