#![expect(clippy::print_stdout, reason = "its lines are the verdict")]
//! Tests with a main of their own: run one after the other, and what cannot run on this host is said
//! and not counted as passed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// What a check ends with, if it does not panic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything was as it must be.
    Passed,
    /// This host cannot do it: why.
    Skipped(String),
}

/// Runs the checks whose name contains `filter`, prints `ok`, `SKIP` or `FAIL` for each and their
/// sums under `title`, which `cargo xtask test` reads.
pub fn run<C: FnOnce() -> Verdict>(
    title: &str,
    checks: impl IntoIterator<Item = (&'static str, C)>,
    filter: Option<&str>,
) -> ExitCode {
    let (mut passed, mut skipped, mut failed) = (0, 0, 0);
    for (name, check) in checks {
        if filter.is_some_and(|word| !name.contains(word)) {
            continue;
        }
        // Checks end in a panic like any test; with panic = "abort" the first one ends the run.
        match catch_unwind(AssertUnwindSafe(check)) {
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
    println!("{title}: {passed} passed, {skipped} skipped, {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_fails_fails_all_and_one_that_cannot_run_does_not() {
        type Check = (&'static str, fn() -> Verdict);
        let good: Check = ("good", || Verdict::Passed);
        let absent: Check = ("absent", || Verdict::Skipped("no such host".to_owned()));
        let bad: Check = ("bad", || panic!("on purpose"));
        let code = |checks: &[Check], filter| {
            let code = run("checks", checks.iter().copied(), filter);
            code == ExitCode::SUCCESS
        };
        assert!(code(&[good, absent], None));
        assert!(!code(&[bad, good], None));
        assert!(code(&[bad, good], Some("goo")));
    }
}
