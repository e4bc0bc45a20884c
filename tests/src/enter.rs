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

/// Where to go and what to become.
#[derive(Clone, Debug, Args)]
pub struct Enter {
    /// Folder of the cgroup.
    #[arg(long)]
    pub cgroup: Option<PathBuf>,
    /// Name of the network namespace.
    #[arg(long)]
    pub netns: Option<String>,
    /// Arguments of this program to become.
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
            let path = cgroup.join("cgroup.procs");
            fs::write(&path, "0").with_context(|| format!("joining {}", path.display()))?;
        }
        if let Some(netns) = &self.netns {
            crate::network::enter(&format!("/run/netns/{netns}"))?;
        }
        Err(Command::new("/proc/self/exe").args(&self.command).exec())
            .context("becoming the workload")
    }

    /// Starts a process of this program that does all this.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn spawn(&self) -> Result<Child> {
        let mut command = Command::new("/proc/self/exe");
        command.arg("enter");
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
            .stdout(Stdio::null())
            // A group of its own: Ctrl-C at the terminal is the stage's to handle.
            .process_group(0)
            .spawn()
            .context("starting a workload")
    }
}
