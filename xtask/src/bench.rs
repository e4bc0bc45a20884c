//! `cargo xtask bench`: runs the benchmarks and gathers their figures in `target/bench`.

use anyhow::Result;
use clap::Args;

use crate::shell;

/// Benchmarks.
#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Only benchmarks whose name contains this.
    name: Option<String>,
}

impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        let mut cargo = shell::cargo(&["bench", "--locked", "--workspace", "--benches"]);
        cargo.env("PLIMSOLL_BENCH_DIR", shell::target().join("bench"));
        if let Some(name) = self.name {
            cargo.args(["--", &name]);
        }
        shell::run(&mut cargo)
    }
}
