//! `cargo xtask`: what is done with Plimsoll's sources.

mod lab;
mod shell;

use std::time::Duration;

use anyhow::{Result, bail};
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
    /// Kernel-lab tests: Debian's kernels in QEMU.
    Lab {
        /// `6.1`, `6.12` or `all`.
        #[arg(long, default_value = "all")]
        kernel: String,
        /// Only scenarios whose name contains this.
        filter: Option<String>,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Lab { kernel, filter } => {
            let job = lab::Job {
                kernel,
                init: std::iter::once("scenarios".to_owned())
                    .chain(filter)
                    .collect(),
                extra: Duration::ZERO,
            };
            let verdict = lab::run(&job, &mut |line| eprintln!("{line}"))?;
            if !verdict.is_good() {
                bail!("{verdict:?}");
            }
        }
    }
    Ok(())
}
