#![expect(clippy::disallowed_methods, reason = "shell: drives a real kernel")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test with a main of its own"
)]
//! The kernel programs on the kernel of this machine: each scenario does the real thing and compares
//! what the programs report with what it knows.
//!
//! Needs root and BPF. What cannot run here is printed as `SKIP name: reason` and is not counted as
//! passed. A word on the command line selects the scenarios whose name contains it.

#[path = "kernel/host.rs"]
mod host;
#[path = "kernel/imds.rs"]
mod imds;
#[path = "kernel/measure.rs"]
mod measure;
#[path = "kernel/scenarios.rs"]
mod scenarios;
#[path = "kernel/workload.rs"]
mod workload;

use std::process::ExitCode;

use plimsoll_tests::checks;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .first()
        .is_some_and(|word| word.starts_with("workload-"))
    {
        workload::run(&arguments);
        return ExitCode::SUCCESS;
    }
    let filter = arguments.iter().find(|word| !word.starts_with('-'));
    checks::run("kernel", scenarios::ALL, filter.map(String::as_str))
}
