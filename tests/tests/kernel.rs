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
#[path = "kernel/measure.rs"]
mod measure;
#[path = "kernel/scenarios.rs"]
mod scenarios;
#[path = "kernel/workload.rs"]
mod workload;

use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a scenario ends with, if it does not panic.
pub(crate) enum Verdict {
    /// Everything was as it must be.
    Passed,
    /// This host cannot do it.
    Skipped(String),
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .first()
        .is_some_and(|word| word.starts_with("workload-"))
    {
        return workload::run(&arguments);
    }
    let filter = arguments.iter().find(|word| !word.starts_with('-'));
    let (mut passed, mut skipped, mut failed) = (0, 0, 0);
    for (name, scenario) in scenarios::ALL {
        if filter.is_some_and(|word| !name.contains(word.as_str())) {
            continue;
        }
        // Scenarios end in a panic like any test; with panic = "abort" the first one ends the run.
        match catch_unwind(AssertUnwindSafe(scenario)) {
            Ok(Verdict::Passed) => {
                passed += 1;
                println!("ok   {name}");
            }
            Ok(Verdict::Skipped(reason)) => {
                skipped += 1;
                println!("SKIP {name}: {reason}");
            }
            Err(_) => {
                failed += 1;
                println!("FAIL {name}");
            }
        }
    }
    println!("kernel: {passed} passed, {skipped} skipped, {failed} failed");
    std::process::exit(i32::from(failed > 0));
}
