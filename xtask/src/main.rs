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

use clap::{Parser, Subcommand};

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
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Up(up) => up.run(),
        Command::Test(test) => test.run(),
        Command::Lab(lab) => lab.run(),
        Command::Bench(bench) => bench.run(),
        Command::Docs => docs::run(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            shell::say(&format!("error: {e:#}"));
            ExitCode::FAILURE
        }
    }
}
