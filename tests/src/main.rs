#![expect(clippy::print_stdout, reason = "results are printed here only")]
//! `plimsoll-lab`: the stage's programs in one binary; as process 1, init of the lab's machine.

use std::io::{self, Write as _};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use plimsoll_tests::bench::AgentCost;
use plimsoll_tests::confine::Confine;
use plimsoll_tests::emit::Emit;
use plimsoll_tests::enter::Enter;
use plimsoll_tests::scenarios::{self, Facts};
use plimsoll_tests::stop::Stop;
use plimsoll_tests::up::{Output, Up};
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
    /// The agent's spool and export with known records, to be killed.
    Emit(Emit),
    /// Joins a cgroup and a namespace and becomes another command of this program.
    Enter(Enter),
    /// Becomes a program in a container, with the capabilities that it is given.
    Confine(Confine),
    /// The stage alone, until Ctrl-C: pods, namespaces, metadata service, inventory.
    Stage {
        /// Folder for inventory and truth log.
        #[arg(long)]
        dir: PathBuf,
    },
    /// The stage with agent and collector, and what they see.
    Up(Up),
    /// What the agent costs, beside `below` and the naive way to read the same files.
    Bench(AgentCost),
    /// Does the real thing and compares what is reported with the truth.
    Scenarios {
        /// Folder of the programs; beside this one if absent.
        #[arg(long)]
        programs: Option<PathBuf>,
        /// Only scenarios whose name contains this.
        #[arg(default_value = "")]
        filter: String,
    },
}

fn main() -> Result<()> {
    if lab::is_init() {
        lab::run(|| run(Cli::try_parse()?.command, true));
        return Ok(());
    }
    run(Cli::parse().command, false)
}

fn run(command: Command, init: bool) -> Result<()> {
    match command {
        Command::Workload(workload) => workload.run(),
        Command::Emit(emit) => emit.run(&|line| println!("{line}")),
        Command::Enter(enter) => enter.run(),
        Command::Confine(confine) => confine.start(),
        Command::Stage { dir } => stage::run_alone(dir),
        Command::Bench(cost) => cost.run(init, &|line| println!("{line}")),
        Command::Scenarios { programs, filter } => {
            let here = std::env::current_exe().context("looking for this program's folder")?;
            let programs =
                programs.unwrap_or_else(|| here.parent().map(PathBuf::from).unwrap_or_default());
            let context = scenarios::Context {
                facts: Facts::gather(&programs),
                programs,
                record: |name, found| println!("lab: recorded {name} {found}"),
            };
            let failed = scenarios::run(&context, &filter, &|line| println!("{line}"))?;
            // In the lab the lines above are the verdict.
            if failed > 0 && !init {
                bail!("{failed} scenarios failed");
            }
            Ok(())
        }
        Command::Up(up) => {
            let stop = Stop::on_signals()?;
            let seen = up.run(&stop, init, &|line| {
                let said = if init || up.output == Output::Table {
                    writeln!(io::stdout(), "{line}")
                } else {
                    writeln!(io::stderr(), "{line}")
                };
                // Nobody listens any more (`up | head`): the end, and nothing is left behind.
                if said.is_err() {
                    stop.ask();
                }
            })?;
            match (up.output, init) {
                (Output::Json, true) => lab::say(&format!("lab: document {}", seen.document)),
                (Output::Json, false) => writeln!(io::stdout(), "{}", seen.document)
                    .context("writing the document to standard output")?,
                (Output::Table, _) => {}
            }
            Ok(())
        }
    }
}
