#![expect(clippy::disallowed_methods, reason = "shell: folders of scenarios")]
//! Scenarios: each does the real thing on the stage and compares what is reported with the truth
//! that it knows. The same functions run on the host and in the kernel lab.
//!
//! What a host lacks is found out once ([`Facts`]); a scenario that needs it is skipped by this
//! table and by nothing else. Without `plimsoll` in its needs a scenario tests the stage itself.

mod boot;
pub mod capabilities;
mod cluster;
mod facts;
mod imds;
mod load;
mod programs;
mod restarts;
mod ring;
mod shortlived;
mod stage_only;

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use fastrand::Rng;

pub use self::facts::{Facts, Need};
use crate::plimsoll::Plimsoll;
use crate::plimsoll::config::Settings;
use crate::plimsoll::read;
use crate::pods::Pod;
use crate::stage::{self, Stage};

/// A scenario: what it saw, in a few words, or why it failed.
type Play = fn(&Context) -> Result<String>;

/// Every scenario, with what it cannot do without.
const ALL: [(&str, &[Need], Play); 17] = [
    ("boot-facts", &[Need::Lab], boot::facts),
    (
        "kernel-programs",
        &[Need::Lab, Need::Bpf],
        programs::own_tests,
    ),
    ("stage-pods", &[Need::Root], stage_only::pods),
    (
        "stage-limits",
        &[Need::Root, Need::Cpu, Need::Memory],
        stage_only::limits,
    ),
    (
        "stage-imds",
        &[Need::Root, Need::Namespaces],
        stage_only::imds,
    ),
    (
        "throttle",
        &[Need::Root, Need::Programs, Need::Cpu],
        load::throttle,
    ),
    ("usage", &[Need::Root, Need::Programs], load::steady),
    (
        "oom",
        &[Need::Root, Need::Programs, Need::Bpf, Need::Memory],
        load::oom,
    ),
    (
        "shortlived",
        &[Need::Root, Need::Programs, Need::Bpf],
        shortlived::five_hundred,
    ),
    (
        "imds",
        &[Need::Root, Need::Programs, Need::Bpf, Need::Namespaces],
        imds::every_way,
    ),
    (
        "imds-late",
        &[Need::Root, Need::Programs, Need::Bpf, Need::Namespaces],
        imds::late,
    ),
    (
        "imds-restarts",
        &[Need::Root, Need::Programs, Need::Bpf, Need::Namespaces],
        restarts::under_load,
    ),
    (
        "imds-10000",
        &[
            Need::Root,
            Need::Programs,
            Need::Bpf,
            Need::Namespaces,
            Need::Lab,
        ],
        imds::ten_thousand,
    ),
    (
        "cluster",
        &[Need::Root, Need::Programs, Need::Bpf, Need::Namespaces],
        cluster::whole,
    ),
    (
        "capabilities",
        &[
            Need::Root,
            Need::Programs,
            Need::Bpf,
            Need::Namespaces,
            Need::Memory,
            Need::Lab,
        ],
        capabilities::each,
    ),
    (
        "confidentiality",
        &[Need::Lab, Need::Confidentiality, Need::Programs],
        capabilities::confidentiality,
    ),
    (
        "ring-overflow",
        &[Need::Root, Need::Programs, Need::Bpf, Need::Namespaces],
        ring::overflow,
    ),
];

/// What is known not to work in the lab: scenario, beginning of the kernel's release, reason.
const PENDING_IN_THE_LAB: [(&str, &str, &str); 0] = [];

/// Why a scenario is not run on this machine of the lab.
fn pending(name: &str) -> Option<&'static str> {
    let host = rustix::system::uname();
    let release = host.release().to_string_lossy();
    PENDING_IN_THE_LAB
        .iter()
        .find(|(scenario, kernel, _)| *scenario == name && release.starts_with(kernel))
        .map(|(.., reason)| *reason)
}

/// What a scenario works with.
#[derive(Debug)]
pub struct Context {
    /// What the host gives.
    pub facts: Facts,
    /// Folder of the programs.
    pub programs: PathBuf,
    /// Takes what a scenario found out, under its name.
    pub record: fn(&str, &serde_json::Value),
}

/// A stage with Plimsoll beside it, in a folder of its own.
#[derive(Debug)]
struct Act {
    plimsoll: Plimsoll,
    stage: Stage,
    _dir: tempfile::TempDir,
}

/// Runs the scenarios whose name contains `filter`; says one line each and returns how
/// many failed.
///
/// # Errors
/// None is called so.
pub fn run(context: &Context, filter: &str, say: &dyn Fn(&str)) -> Result<u32> {
    let chosen: Vec<_> = ALL
        .iter()
        .filter(|(name, ..)| name.contains(filter))
        .collect();
    if chosen.is_empty() {
        bail!("no scenario's name contains {filter:?}");
    }
    let mut failed = 0_u32;
    for (name, needs, play) in chosen {
        if let Some(reason) = needs.iter().find_map(|need| context.facts.missing(*need)) {
            say(&format!("scenario {name}: skip({reason})"));
            continue;
        }
        if let Some(reason) = pending(name).filter(|_| context.facts.lab) {
            say(&format!("scenario {name}: skip({reason})"));
            continue;
        }
        match play(context) {
            Ok(details) => say(&format!("scenario {name}: pass {details}")),
            Err(e) => {
                failed += 1;
                say(&format!(
                    "scenario {name}: fail {}",
                    format!("{e:#}").replace('\n', " | ")
                ));
            }
        }
    }
    Ok(failed)
}

impl Context {
    fn stage(&self, dir: &tempfile::TempDir, pods: Vec<Pod>) -> Result<Stage> {
        let options = stage::Options {
            run: stage::run_name(),
            dir: dir.path().to_owned(),
            own_machine: self.facts.lab,
            host_service: false,
        };
        Stage::build(options, pods, 7)
    }

    /// Plimsoll first, so that it sees the pods come.
    fn play(&self, pods: Vec<Pod>, change: impl FnOnce(&mut Settings)) -> Result<Act> {
        let dir = folder()?;
        let inventory = dir.path().join("inventory");
        std::fs::create_dir_all(&inventory).context("making the inventory's folder")?;
        let mut settings =
            Settings::new(&self.programs, dir.path(), &inventory.join("objects.yaml"))?;
        settings.window_s = 5;
        change(&mut settings);
        let empty = crate::inventory::document(&[], "1970-01-01T00:00:00Z");
        std::fs::write(&settings.inventory, empty).context("writing an empty inventory")?;
        let plimsoll = Plimsoll::start(settings)?;
        let stage = self.stage(&dir, pods)?;
        Ok(Act {
            plimsoll,
            stage,
            _dir: dir,
        })
    }
}

impl Act {
    /// Ends everything in order; the law must hold then.
    fn end(mut self) -> Result<()> {
        drop(self.stage);
        self.plimsoll.stop_agent()?;
        law(&self.plimsoll.api("/api/v1/accounting")?)?;
        self.plimsoll.stop()
    }
}

/// Every record has a fate.
fn law(accounting: &serde_json::Value) -> Result<()> {
    let fates = read::fates(accounting);
    if fates.is_empty() {
        bail!("the accounting is empty");
    }
    for stage in fates {
        let missing = read::unaccounted(stage);
        if missing != 0 {
            bail!(
                "{missing} records unaccounted for: {}",
                serde_json::Value::Object(stage.clone())
            );
        }
    }
    Ok(())
}

fn folder() -> Result<tempfile::TempDir> {
    tempfile::Builder::new()
        .prefix("plimsoll-scenario-")
        .tempdir()
        .context("making a folder")
}

fn rng() -> Rng {
    Rng::new()
}
