//! `cargo xtask`: what is done with Plimsoll's sources.

#![forbid(unsafe_code)]

mod bench;
mod docs;
mod ebpf;
mod install;
mod lab;
mod shell;
mod test;
mod up;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// What is done with Plimsoll's sources.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Everything on this machine: agent, collector, sample workloads, and what is seen.
    Up(up::Up),
    /// All tests.
    Test(test::Test),
    /// Kernel-lab tests: Debian's kernels in QEMU.
    Lab(lab::command::Lab),
    /// Benchmarks, written to target/bench.
    Bench(bench::Bench),
    /// Writes the generated documents.
    Docs,
    /// Compiles the kernel programs alone, and says where the object is.
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
