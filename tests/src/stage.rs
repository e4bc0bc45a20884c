#![expect(
    clippy::disallowed_methods,
    reason = "shell: starts, restarts and ends the stage's processes"
)]
//! The stage: pods as real processes in real cgroups and namespaces, with a metadata service.
//!
//! It plays the part of kubelet and of the cloud: it starts what `pods` lists, restarts what ends,
//! keeps the inventory file true and takes everything down again, also what a run that was killed
//! has left. It does not know Plimsoll.

mod actor;
mod stale;

use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use fastrand::Rng;
use serde_json::Value;

use actor::Actor;
pub use actor::End;

use crate::cgroups::{self, Cgroups};
use crate::enter::Enter;
use crate::imds_server::ImdsServer;
use crate::imds_server::answer::{Endpoint, Metadata};
use crate::imds_server::truth::TruthLog;
use crate::inventory::{self, Seen};
use crate::network::{self, IMDS, Network, POD_IDENTITY};
use crate::pods::{self, HOST_SERVICE, Pod};
use crate::stop::Stop;

/// The inventory is written at most this often; the collector re-reads it on change.
const INVENTORY_AT_MOST_EVERY: Duration = Duration::from_secs(2);

/// How the stage is to be set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Names the run: part of namespace names.
    pub run: String,
    /// Folder for inventory and truth log.
    pub dir: PathBuf,
    /// The machine is the lab's: controllers may be enabled from the root.
    pub own_machine: bool,
    /// Also run the host service.
    pub host_service: bool,
}

/// A running stage; taken down when dropped.
#[derive(Debug)]
pub struct Stage {
    options: Options,
    cgroups: Cgroups,
    actors: Vec<Actor>,
    host_service: Option<Child>,
    imds: Option<ImdsServer>,
    // After the server: its sockets are inside.
    network: Option<Network>,
    record: stale::Record,
    rng: Rng,
    created: String,
    inventory_due: Option<Instant>,
    missing: Vec<String>,
}

impl Stage {
    /// Cleans up after dead runs, makes cgroups and namespaces, starts everything.
    ///
    /// # Errors
    /// No cgroup v2 tree, no right to use it, or a pod that cannot be placed. Where namespaces are
    /// refused the stage goes on without network; [`Stage::missing`] says so.
    pub fn build(options: Options, pods: Vec<Pod>, seed: u64) -> Result<Self> {
        std::fs::create_dir_all(options.dir.join("inventory"))
            .context("making the inventory's folder")?;
        let root = cgroups::mounted_root()?;
        stale::sweep(&root);
        let cgroups = Cgroups::open(root, options.own_machine)?;
        let mut missing = Vec::new();
        for controller in ["cpu", "memory"] {
            if !cgroups.has(controller) {
                missing.push(format!(
                    "{controller} limits: the cgroup v2 tree has no {controller} controller"
                ));
            }
        }
        let record = stale::Record::new(&options.run)?;
        let (network, imds) = match build_network(&options) {
            Ok((network, imds)) => (Some(network), Some(imds)),
            Err(e) => {
                missing.push(format!("metadata service and pod networks: {e:#}"));
                (None, None)
            }
        };
        let mut stage = Self {
            options,
            cgroups,
            actors: Vec::new(),
            host_service: None,
            imds,
            network,
            record,
            rng: Rng::with_seed(seed),
            created: now_rfc3339(),
            inventory_due: None,
            missing,
        };
        for pod in pods {
            stage.admit(pod)?;
        }
        stage.write_inventory()?;
        if stage.options.host_service {
            stage.start_host_service()?;
        }
        stage.tick()?;
        Ok(stage)
    }

    /// Gives a pod its place; it starts with the next tick.
    ///
    /// # Errors
    /// It cannot be placed.
    pub fn admit(&mut self, pod: Pod) -> Result<()> {
        let (netns, ip) = match &mut self.network {
            Some(network) => {
                let (name, ip) = network.place(pod.place)?;
                (Some(name), ip)
            }
            None => (None, Ipv4Addr::LOCALHOST),
        };
        // Without its namespaces a load must not ask the machine's own network for credentials.
        if netns.is_some() || !pod.asks_metadata() {
            self.actors.push(Actor::new(pod, netns, ip));
            self.inventory_due = Some(Instant::now());
        }
        Ok(())
    }

    /// A cgroup for a pod that somebody else runs, as a container runtime makes it; it goes with the stage.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn lend(&mut self, pod: &Pod) -> Result<PathBuf> {
        self.record.add(&self.cgroups.root().join(pod.slice()))?;
        self.cgroups.make(&pod.scope())
    }

    /// Ends all pods; the rest stays.
    ///
    /// # Errors
    /// A cgroup cannot be removed.
    pub fn clear(&mut self) -> Result<()> {
        let actors = std::mem::take(&mut self.actors);
        let paths = actors
            .iter()
            .filter_map(|actor| Some(actor.path()?.to_owned()));
        let paths: Vec<PathBuf> = paths.collect();
        drop(actors);
        let mut paths = paths.iter();
        paths.try_for_each(|path| self.cgroups.remove(path))
    }

    /// Starts what is due, buries what ended, rewrites the inventory if it changed.
    ///
    /// # Errors
    /// A cgroup or a process cannot be made.
    pub fn tick(&mut self) -> Result<()> {
        for actor in &mut self.actors {
            if actor.bury(&mut self.cgroups, &mut self.rng)? {
                self.inventory_due
                    .get_or_insert_with(|| Instant::now() + INVENTORY_AT_MOST_EVERY);
            }
            actor.start(&mut self.cgroups, &mut self.record)?;
        }
        if self.inventory_due.is_some_and(|due| Instant::now() >= due) {
            self.write_inventory()?;
        }
        Ok(())
    }

    fn start_host_service(&mut self) -> Result<()> {
        self.record.add(&self.cgroups.root().join(HOST_SERVICE))?;
        let path = self.cgroups.make(HOST_SERVICE)?;
        let command = ["workload", "host-service"].map(str::to_owned).to_vec();
        let enter = Enter {
            cgroup: Some(path),
            netns: None,
            command,
            program: None,
        };
        self.host_service = Some(enter.spawn()?);
        Ok(())
    }

    /// The pods as an API server would tell of them now, with what they belong to before them.
    pub fn objects(&self) -> Vec<Value> {
        inventory::objects(&self.seen(), &self.created)
    }

    fn seen(&self) -> Vec<Seen<'_>> {
        let actors = self.actors.iter();
        actors
            .map(|actor| Seen {
                pod: &actor.pod,
                ip: actor.ip,
                running: actor.is_running(),
            })
            .collect()
    }

    fn write_inventory(&mut self) -> Result<()> {
        let text = inventory::document(&self.seen(), &self.created);
        let path = self.inventory();
        let next = path.with_extension("next");
        std::fs::write(&next, text).with_context(|| format!("writing {}", next.display()))?;
        // A reader sees the old list or the new one.
        std::fs::rename(&next, &path).with_context(|| format!("renaming to {}", path.display()))?;
        self.inventory_due = None;
        Ok(())
    }

    /// The inventory file.
    pub fn inventory(&self) -> PathBuf {
        self.options.dir.join("inventory").join("objects.yaml")
    }

    /// What was really asked of the metadata service; empty without network.
    pub fn truth(&self) -> Option<&Arc<TruthLog>> {
        self.imds.as_ref().map(ImdsServer::truth)
    }

    /// The pods as they are now.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.actors.iter().map(|actor| &actor.pod)
    }

    /// UID of the pod that has this address.
    pub fn uid_at(&self, client: IpAddr) -> Option<String> {
        self.actors
            .iter()
            .find(|a| network::same_pod(a.ip, client))
            .map(|a| a.pod.uid.clone())
    }

    /// Cgroup folder of a workload's running container.
    pub fn cgroup_of(&self, workload: &str) -> Option<&Path> {
        self.actors
            .iter()
            .find(|a| a.pod.workload == workload)?
            .path()
    }

    /// The ended containers of a workload.
    pub fn ends_of(&self, workload: &str) -> &[End] {
        self.actors
            .iter()
            .find(|a| a.pod.workload == workload)
            .map_or(&[], Actor::ends)
    }

    /// The workload's process has ended and was not started again yet.
    pub fn ended(&self, workload: &str) -> bool {
        self.actors
            .iter()
            .any(|a| a.pod.workload == workload && !a.is_running() && !a.ends().is_empty())
    }

    /// What this host does not give the stage, one sentence each.
    pub fn missing(&self) -> &[String] {
        &self.missing
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.actors.clear();
        if let Some(mut child) = self.host_service.take() {
            // Gone already is what we want.
            drop(child.kill());
            drop(child.wait());
        }
        self.imds = None;
        let failed = self.cgroups.remove_all();
        if failed.is_empty() {
            self.record.forget();
        }
    }
}

/// Runs the sample pods until a signal comes.
///
/// # Errors
/// The stage cannot be built or kept going.
pub fn run_alone(dir: PathBuf) -> Result<()> {
    let stop = Stop::on_signals()?;
    let options = Options {
        run: run_name(),
        dir,
        own_machine: false,
        host_service: true,
    };
    let mut stage = Stage::build(options, pods::sample(&mut Rng::new()), fastrand::u64(..))?;
    while !stop.wait(Duration::from_millis(100)) {
        stage.tick()?;
    }
    Ok(())
}

/// A name for a run: short, as interface and namespace names are.
pub fn run_name() -> String {
    format!("{:06x}", fastrand::u32(..0x0100_0000))
}

fn build_network(options: &Options) -> Result<(Network, ImdsServer)> {
    let network = Network::build(&options.run)?;
    let listeners = network::inside(&network.name("imds"), || {
        let mut listeners = Vec::new();
        for (endpoint, addresses) in [
            (Endpoint::Imds, IMDS),
            (Endpoint::PodIdentity, POD_IDENTITY),
        ] {
            for address in addresses {
                let listener = TcpListener::bind((address, 80))
                    .with_context(|| format!("listening on {address}"))?;
                listeners.push((endpoint, listener));
            }
        }
        Ok(listeners)
    })?;
    let truth = TruthLog::to_file(&options.dir.join("imds-truth.jsonl"))?;
    let server = ImdsServer::start(
        Metadata::sample(fastrand::u64(..)),
        Arc::new(truth),
        listeners,
    )?;
    Ok((network, server))
}

fn now_rfc3339() -> String {
    let now = jiff::Timestamp::now();
    format!("{now:.0}")
}
