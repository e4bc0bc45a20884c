//! `plimsoll-lab`: the stage's programs in one binary.

use anyhow::Result;
use clap::{Parser, Subcommand};
use plimsoll_tests::enter::Enter;
use plimsoll_tests::workloads::Workload;
use plimsoll_tests::{lab, stage};

/// The stage on which Plimsoll is shown and tested.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// One load, as a container would run it.
    #[command(subcommand)]
    Workload(Workload),
    /// Joins a cgroup and a namespace and becomes another command of this program.
    Enter(Enter),
    /// The stage alone, until Ctrl-C: pods, namespaces, metadata service, inventory.
    Stage {
        /// Folder for inventory and truth log.
        #[arg(long)]
        dir: std::path::PathBuf,
    },
}

fn main() -> Result<()> {
    if lab::is_init() {
        lab::run(|| {
            lab::say(&std::fs::read_to_string(
                "/sys/fs/cgroup/cgroup.controllers",
            )?);
            lab::say(&std::fs::read_to_string("/sys/kernel/security/lockdown")?);
            Ok(())
        });
        return Ok(());
    }
    match Cli::parse().command {
        Command::Workload(workload) => workload.run(),
        Command::Enter(enter) => enter.run(),
        Command::Stage { dir } => stage::run_alone(dir),
    }
}
