//! `cargo xtask lab`: which kernels, and the sum at the end.

use anyhow::{Result, bail};
use clap::Args;

use super::{Job, KERNELS, Verdict};
use crate::{install, shell};

/// Which scenarios, under which kernels.
#[derive(Debug, Args)]
pub(crate) struct Lab {
    /// Kernel of the machine.
    #[arg(long, default_value = "all", value_parser = ["6.1", "6.12", "all"])]
    kernel: String,
    /// Install what is missing without asking.
    #[arg(long)]
    yes: bool,
    /// Only scenarios whose name contains this.
    filter: Option<String>,
}

impl Lab {
    pub(crate) fn run(self) -> Result<()> {
        install::ensure(&install::LAB, self.yes)?;
        crate::ebpf::ensure_toolchain(&crate::shell::root(), self.yes)?;
        let mut good = true;
        for (kernel, _) in KERNELS {
            if self.kernel == "all" || self.kernel == kernel {
                good &= scenarios(kernel, self.filter.as_deref())?.is_good();
            }
        }
        if !good {
            bail!("the kernel lab is not content");
        }
        Ok(())
    }
}

/// Runs the scenarios under one kernel and prints them and their sum.
pub(crate) fn scenarios(kernel: &str, filter: Option<&str>) -> Result<Verdict> {
    let mut verdict = if filter == Some(CONFIDENTIAL) {
        machine(kernel, filter, true)?
    } else {
        machine(kernel, filter, false)?
    };
    if filter.is_none() {
        verdict = verdict.and(machine(kernel, Some(CONFIDENTIAL), true)?);
    }
    let differences = super::recorded::check(&verdict.recorded)?;
    for difference in &differences {
        shell::say(&format!("  [{kernel}] {difference}"));
    }
    verdict.failed.extend(differences);
    shell::say(&format!(
        "  [{kernel}] {} passed, {} failed, {} skipped in {:.0} s",
        verdict.passed.len(),
        verdict.failed.len(),
        verdict.skipped.len(),
        verdict.seconds
    ));
    Ok(verdict)
}

/// The scenario for a machine of its own, booted with `lockdown=confidentiality`.
const CONFIDENTIAL: &str = "confidentiality";

fn machine(kernel: &str, filter: Option<&str>, confidential: bool) -> Result<Verdict> {
    let init = ["scenarios"]
        .into_iter()
        .chain(filter)
        .map(str::to_owned)
        .collect();
    let job = Job {
        kernel: kernel.to_owned(),
        init,
        confidential,
        ..Job::default()
    };
    let verdict = super::run(&job, &mut |line| {
        shell::say(&format!("  [{kernel}] {line}"));
    })?;
    if let Some(problem) = verdict.problem() {
        shell::say(&format!("  [{kernel}] {problem}"));
    }
    Ok(verdict)
}
