#![expect(
    clippy::disallowed_methods,
    reason = "shell: runs the kernel programs' own tests"
)]
//! The tests of the kernel programs (`tests/tests/kernel.rs`), as one scenario of the lab.
//!
//! On a host `cargo test` runs them; in the lab they come as a program beside ours.

use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::Context;

pub(super) fn own_tests(context: &Context) -> Result<String> {
    let program = context.programs.join("kernel-tests");
    let output = Command::new(&program)
        .output()
        .with_context(|| format!("starting {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let lines: Vec<&str> = text.lines().collect();
    let of = |word: &str| -> Vec<&str> {
        lines
            .iter()
            .filter(|line| line.starts_with(word))
            .copied()
            .collect()
    };
    let last = lines.last().copied().unwrap_or_default();
    if !output.status.success() || !last.starts_with("kernel: ") {
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        let why: Vec<&str> = stderr
            .lines()
            .filter(|line| !line.starts_with("note:"))
            .take(12)
            .collect();
        bail!(
            "{}: {} {last}\n{}",
            output.status,
            of("FAIL").join(", "),
            why.join("\n")
        );
    }
    Ok(format!("{last} {}", of("SKIP").join("; "))
        .trim()
        .to_owned())
}
