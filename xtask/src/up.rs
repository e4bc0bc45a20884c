//! `cargo xtask up`: installs what is missing, builds, and becomes `plimsoll-lab up`.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::{ebpf, install, lab, shell};

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Table,
    Json,
}

/// How long, where, how.
#[derive(Debug, Args)]
pub(crate) struct Up {
    /// End after so many seconds; without it, at Ctrl-C.
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// Print a table every five seconds, or one document at the end.
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    /// Run in a virtual machine of the kernel lab, under this kernel.
    #[arg(long, value_name = "KERNEL", value_parser = ["6.1", "6.12"])]
    lab: Option<String>,
    /// Install what is missing without asking.
    #[arg(long)]
    yes: bool,
    /// Port of the dashboard on 127.0.0.1; without it 8080, or any free one where that is taken.
    #[arg(long, conflicts_with = "lab")]
    port: Option<u16>,
    /// Folder for configuration, state and logs; a temporary one if absent.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Without `--seconds` the lab shows this much.
const LAB_SECONDS: u64 = 120;

impl Up {
    pub(crate) fn run(self) -> Result<()> {
        install::ensure(&install::BUILD, self.yes)?;
        let kernel_programs = ebpf::ensure_toolchain(&shell::root(), self.yes);
        let stage = install::ensure(&install::STAGE, self.yes);
        if self.lab.is_some() {
            kernel_programs?;
            stage?;
        } else {
            // What is left without them is shown, and marked so.
            for error in [kernel_programs.err(), stage.err()].into_iter().flatten() {
                shell::say(&format!("{error:#}"));
            }
        }
        match &self.lab {
            Some(kernel) => self.in_lab(kernel),
            None => self.here(),
        }
    }

    fn here(&self) -> Result<()> {
        let programs = build()?;
        if shell::is_root() {
            mount_tracefs();
        } else {
            shell::say(
                "Not root: kernel programs and sample workloads need it. What the files of this host tell is shown.",
            );
        }
        let mut command = shell::command(programs.join("plimsoll-lab"), &[]);
        command.args(self.words());
        if let Some(port) = self.port {
            command.args(["--port", &port.to_string()]);
        }
        if let Some(dir) = &self.dir {
            command.arg("--dir").arg(dir);
        }
        // The same process from here on: signals and the exit status are the demonstration's.
        Err(command.exec()).context("becoming plimsoll-lab")
    }

    fn in_lab(&self, kernel: &str) -> Result<()> {
        install::ensure(&install::LAB, self.yes)?;
        let seconds = self.seconds.unwrap_or(LAB_SECONDS);
        let mut init = self.words();
        if self.seconds.is_none() {
            init.extend(["--seconds".to_owned(), seconds.to_string()]);
        }
        let job = lab::Job {
            kernel: kernel.to_owned(),
            init,
            extra: Duration::from_secs(seconds),
            ..lab::Job::default()
        };
        let json = self.output == Output::Json;
        let verdict = lab::run(&job, &mut |line| {
            if !line.starts_with("lab: document ") {
                shell::say(line);
            }
        })?;
        if let Some(problem) = verdict
            .problem()
            .or_else(|| verdict.failed.first().cloned())
        {
            bail!("{problem}");
        }
        if json {
            shell::print(
                &verdict
                    .document
                    .context("the machine printed no document")?,
            );
        }
        Ok(())
    }

    fn words(&self) -> Vec<String> {
        let mut words = vec!["up".to_owned()];
        if let Some(seconds) = self.seconds {
            words.extend(["--seconds".to_owned(), seconds.to_string()]);
        }
        if self.output == Output::Json {
            words.extend(["-o".to_owned(), "json".to_owned()]);
        }
        words
    }
}

/// Builds the programs and says where they are.
///
/// # Errors
/// Cargo fails.
pub(crate) fn build() -> Result<PathBuf> {
    shell::run(&mut shell::cargo(&[
        "build",
        "--locked",
        "--release",
        "--bins",
        "--package",
        "plimsoll-agent",
        "--package",
        "plimsoll-collector",
        "--package",
        "plimsoll-tests",
    ]))?;
    Ok(shell::target().join("release"))
}

/// Tracepoint layouts are read from tracefs; a container or a small host may not have it mounted.
fn mount_tracefs() {
    let place = Path::new("/sys/kernel/tracing");
    if place.join("events").exists() || !place.exists() {
        return;
    }
    let flags = rustix::mount::MountFlags::empty();
    match rustix::mount::mount("tracefs", place, "tracefs", flags, None) {
        Ok(()) => shell::say("mounted tracefs at /sys/kernel/tracing"),
        Err(e) => shell::say(&format!(
            "tracefs cannot be mounted ({e}): tracepoints are off"
        )),
    }
}
