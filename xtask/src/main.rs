//! `cargo xtask`: builds, tests, measures and shows Plimsoll.

#![forbid(unsafe_code)]

mod bench;
mod docs;
mod ebpf;
mod image;
mod install;
mod lab;
mod manifests;
mod ocsf;
mod shell;
mod test;
mod up;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Builds, tests, measures and shows Plimsoll.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs agent, collector and sample workloads on this machine, and shows what they see.
    ///
    /// The agent watches the whole machine: where two of these run at once, each sees the other's
    /// workloads as well, without a name from its own inventory.
    Up(up::Up),
    /// Runs all tests.
    Test(test::Test),
    /// Runs the scenarios under Debian's kernels, in QEMU.
    Lab(lab::command::Lab),
    /// Runs the benchmarks; the results are written to target/bench.
    Bench(bench::Bench),
    /// Writes what is generated: docs/configuration.md, docs/metrics.md and the types of OCSF.
    Docs,
    /// Keeps of compiled OCSF schemas what Plimsoll's events are made of and judged by.
    Ocsf(ocsf::Ocsf),
    /// Renders the manifests, compares them with the committed renderings, and has them judged.
    Manifests(manifests::Manifests),
    /// Builds the OCI images of agent and collector, from scratch, and tries them.
    Image(image::Images),
    /// Compiles the kernel programs alone, and prints where the object is.
    Ebpf(Ebpf),
}

/// Compiles the kernel programs alone.
#[derive(Debug, Args)]
struct Ebpf {
    /// Install what is missing without asking.
    #[arg(long)]
    yes: bool,
}

impl Ebpf {
    fn run(&self) -> anyhow::Result<()> {
        let root = shell::root();
        ebpf::ensure_toolchain(&root, self.yes)?;
        shell::print(&ebpf::build_ebpf(&root)?.display().to_string());
        Ok(())
    }
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(up) => up.run(),
        Command::Test(test) => test.run(),
        Command::Lab(lab) => lab.run(),
        Command::Bench(bench) => bench.run(),
        Command::Docs => docs::run(),
        Command::Ocsf(ocsf) => ocsf.run(),
        Command::Manifests(manifests) => manifests.run(),
        Command::Image(images) => images.run(),
        Command::Ebpf(ebpf) => ebpf.run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            shell::say(&format!("error: {e:#}"));
            ExitCode::FAILURE
        }
    }
}
