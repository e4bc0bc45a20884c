#![expect(
    clippy::disallowed_methods,
    reason = "shell: starts and ends a pod's process, with the clock"
)]
//! One pod on the stage: its container's process, again and again, and what the kernel counted for
//! each that ended.
//!
//! It does not know the other pods, nor the inventory.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;

use super::stale;
use crate::cgroups::{self, Cgroups, Limits};
use crate::enter::Enter;
use crate::pods::Pod;

/// Containers of one pod whose end is remembered.
const ENDS_AT_MOST: usize = 1_000;

/// A container that ended, with what the kernel had counted for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Container id.
    pub container_id: String,
    /// `cpu.stat usage_usec`, where the file was there.
    pub cpu_usec: Option<u64>,
    /// `memory.events oom_kill`, where the file was there.
    pub oom_kills: Option<u64>,
    /// Its process ended with status 0.
    pub success: bool,
    /// From before its cgroup was made until it is about to be removed.
    pub lived: Duration,
}

/// A pod that plays; its process ends with it.
#[derive(Debug)]
pub(super) struct Actor {
    pub(super) pod: Pod,
    pub(super) ip: Ipv4Addr,
    netns: Option<String>,
    child: Option<Child>,
    path: Option<PathBuf>,
    start_at: Instant,
    started_at: Instant,
    ends: Vec<End>,
}

impl Actor {
    /// A pod that is to start now.
    pub(super) fn new(pod: Pod, netns: Option<String>, ip: Ipv4Addr) -> Self {
        Self {
            pod,
            ip,
            netns,
            child: None,
            path: None,
            start_at: Instant::now(),
            started_at: Instant::now(),
            ends: Vec::new(),
        }
    }

    pub(super) const fn is_running(&self) -> bool {
        self.child.is_some()
    }

    /// Cgroup folder of the running container.
    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Its containers that ended.
    pub(super) fn ends(&self) -> &[End] {
        &self.ends
    }

    /// Takes the container down if its process has ended, and gives the pod the next one. Whether
    /// it did.
    pub(super) fn bury(&mut self, cgroups: &mut Cgroups, rng: &mut Rng) -> Result<bool> {
        let Some(child) = &mut self.child else {
            return Ok(false);
        };
        let Some(status) = child.try_wait().context("waiting for a workload")? else {
            return Ok(false);
        };
        self.child = None;
        self.start_at = Instant::now() + Duration::from_millis(self.pod.restart_after_ms);
        if let Some(path) = self.path.take() {
            if self.ends.len() < ENDS_AT_MOST {
                self.ends.push(self.end(&path, status.success()));
            }
            cgroups.remove(&path)?;
        }
        self.pod.restart(rng);
        Ok(true)
    }

    /// Starts the container if it is due.
    pub(super) fn start(
        &mut self,
        cgroups: &mut Cgroups,
        record: &mut stale::Record,
    ) -> Result<()> {
        if self.child.is_some() || Instant::now() < self.start_at {
            return Ok(());
        }
        record.add(&cgroups.root().join(self.pod.slice()))?;
        self.started_at = Instant::now();
        let path = cgroups.make(&self.pod.scope())?;
        let resources = self.pod.resources;
        let limits = Limits {
            cpu_quota_usec: resources.cpu_limit_millicores.map(|m| m * 100),
            memory_bytes: resources.memory_limit_bytes,
        };
        cgroups.limit(&path, limits)?;
        let mut command = vec!["workload".to_owned()];
        command.extend(self.pod.workload_args.iter().cloned());
        let enter = Enter {
            cgroup: Some(path.clone()),
            netns: self.netns.clone(),
            command,
            program: None,
        };
        self.child = Some(enter.spawn()?);
        self.path = Some(path);
        Ok(())
    }

    fn end(&self, path: &Path, success: bool) -> End {
        let count = |file: &str, key: &str| cgroups::keyed(&path.join(file), key).ok().flatten();
        End {
            container_id: self.pod.container_id.clone(),
            cpu_usec: count("cpu.stat", "usage_usec"),
            oom_kills: count("memory.events", "oom_kill"),
            success,
            lived: self.started_at.elapsed(),
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            // Gone already is what we want.
            drop(child.kill());
            drop(child.wait());
        }
    }
}
