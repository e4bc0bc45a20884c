#![expect(
    clippy::disallowed_methods,
    reason = "shell: becomes another program in a cgroup and namespace"
)]
//! `plimsoll-lab enter`: joins a cgroup and a namespace, then becomes the given program.
//!
//! In this order, so that the program's first instruction and first socket are counted where
//! they belong, as with a container runtime.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::workloads::Workload;

/// Where to go and what to become.
#[derive(Clone, Debug, Args)]
pub struct Enter {
    /// Folder of the cgroup.
    #[arg(long)]
    pub cgroup: Option<PathBuf>,
    /// Name of the network namespace.
    #[arg(long)]
    pub netns: Option<String>,
    /// Program to become; this one if absent.
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// Arguments of the program.
    #[arg(last = true, required = true)]
    pub command: Vec<String>,
}

impl Enter {
    /// Replaces the process; returns only to say why it could not.
    ///
    /// # Errors
    /// The cgroup, the namespace or the program refuses.
    pub fn run(self) -> Result<()> {
        // Nothing of the stage outlives it, however it ends.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .context("asking to end with the parent")?;
        if let Some(cgroup) = &self.cgroup {
            // As with a container runtime, whose child sleeps until it has been moved: what this
            // process ran so far is booked before, where it belongs.
            std::thread::sleep(std::time::Duration::from_millis(1));
            let path = cgroup.join("cgroup.procs");
            fs::write(&path, "0").with_context(|| format!("joining {}", path.display()))?;
        }
        if let Some(netns) = &self.netns {
            crate::network::enter(&format!("/run/netns/{netns}"))?;
        }
        let own = PathBuf::from("/proc/self/exe");
        let mut command = Command::new(self.program.as_ref().unwrap_or(&own));
        if self.program.is_none()
            && let Some(load) = Workload::of(&self.command)
        {
            command.arg0(load.process_name());
        }
        Err(command.args(&self.command).exec()).context("becoming the workload")
    }

    /// Starts a process that does all this, without output.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(&self) -> Result<Child> {
        self.command()?
            .stdout(Stdio::null())
            .spawn()
            .context("starting a workload")
    }

    /// The command that does all this.
    ///
    /// # Errors
    /// `plimsoll-lab` is not found.
    pub fn command(&self) -> Result<Command> {
        let mut command = Command::new(own_program()?);
        command.arg("enter");
        if let Some(program) = &self.program {
            command.arg("--program").arg(program);
        }
        if let Some(cgroup) = &self.cgroup {
            command.arg("--cgroup").arg(cgroup);
        }
        if let Some(netns) = &self.netns {
            command.arg("--netns").arg(netns);
        }
        command
            .arg("--")
            .args(&self.command)
            .stdin(Stdio::null())
            // A group of its own: Ctrl-C at the terminal is the stage's to handle.
            .process_group(0);
        Ok(command)
    }
}

/// This program, or, when a test program uses the stage, the one that cargo built beside it.
fn own_program() -> Result<PathBuf> {
    let here = std::env::current_exe().context("looking for this program")?;
    if here.file_name().is_some_and(|name| name == NAME) {
        return Ok(PathBuf::from("/proc/self/exe"));
    }
    // target/debug/deps/some_test-0123 → target/debug/plimsoll-lab
    let beside = here
        .ancestors()
        .skip(1)
        .take(2)
        .map(|folder| folder.join(NAME));
    beside
        .into_iter()
        .find(|path| path.is_file())
        .with_context(|| format!("{NAME} is not built"))
}

const NAME: &str = "plimsoll-lab";
