//! A scripted API server, and the collector's watch of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_collector::cluster::census::{Census, State};
use plimsoll_collector::cluster::{self, watch};
use plimsoll_collector::inventory::{ContainerName, Index, IndexReader, IndexWriter};
use plimsoll_tests::apiserver::{ApiServer, Options, Request, recorded};
use plimsoll_tests::manifest;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest wait for what is to happen.
const PATIENCE: Duration = Duration::from_mins(2);

/// Where pods are.
pub(crate) const PODS: &str = "/api/v1/pods";

pub(crate) struct Rig {
    pub(crate) server: ApiServer,
    pub(crate) index: IndexReader,
    pub(crate) census: Arc<Census>,
    runtime: Runtime,
    stop: CancellationToken,
    watching: JoinHandle<()>,
}

impl Rig {
    /// With all recorded lists, known whole.
    pub(crate) fn recorded(options: Options) -> Self {
        let rig = Self::of(ApiServer::start(options).unwrap(), &[]);
        rig.until_synced();
        rig
    }

    /// With all recorded lists but some, as they come.
    pub(crate) fn of(server: ApiServer, but: &[&str]) -> Self {
        fill(&server, but);
        Self::watching(server)
    }

    /// Follows what the server has.
    pub(crate) fn watching(server: ApiServer) -> Self {
        Self::with(server, ApiServer::kubeconfig)
    }

    /// The same with a kubeconfig of its own. The server grants what the manifests do.
    pub(crate) fn with(server: ApiServer, kubeconfig_of: impl Fn(&ApiServer) -> String) -> Self {
        Self::waiting(server, kubeconfig_of, watch::Waits::default())
    }

    /// The same, and what others change is looked at without the usual waits.
    pub(crate) fn impatient(server: ApiServer) -> Self {
        let soon = Duration::from_millis(50);
        let waits = watch::Waits {
            look_again: soon,
            look_for_owners: soon,
            refused: soon,
        };
        Self::waiting(server, ApiServer::kubeconfig, waits)
    }

    fn waiting(
        server: ApiServer,
        kubeconfig_of: impl Fn(&ApiServer) -> String,
        waits: watch::Waits,
    ) -> Self {
        server.allow_only(
            &ApiServer::collector(),
            manifest::granted_to_the_collector().unwrap(),
        );
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, kubeconfig_of(&server)).unwrap();
        let runtime = Runtime::new().unwrap();
        let client = runtime
            .block_on(cluster::client::patient(Some(&kubeconfig)))
            .unwrap();
        let mut index = IndexWriter::default();
        index.write().keep(Duration::from_mins(10));
        let (reader, census) = (index.reader(), Arc::new(Census::of_all()));
        let stop = CancellationToken::new();
        let run = watch::run(
            client,
            index,
            Arc::clone(&census),
            watch::clock(),
            waits,
            stop.clone(),
        );
        let watching = runtime.spawn(async move { run.await.unwrap() });
        Self {
            server,
            index: reader,
            census,
            runtime,
            stop,
            watching,
        }
    }

    pub(crate) fn until_synced(&self) {
        self.wait(|| self.census.is_synced(), "the cluster is known");
    }

    /// Until that kind is known so far.
    pub(crate) fn until_kind(&self, group: &str, kind: &str, state: State) {
        let name = (group.to_owned(), kind.to_owned());
        let is = || {
            self.census
                .rows()
                .get(&name)
                .is_some_and(|row| row.state == state)
        };
        self.wait(is, &format!("{kind} is {state:?}"));
    }

    pub(crate) fn until(&self, what: &str, is: impl Fn(&Index) -> bool) {
        self.wait(|| is(&self.index.get()), what);
    }

    #[track_caller]
    fn wait(&self, is: impl Fn() -> bool, what: &str) {
        let began = Instant::now();
        while !is() {
            assert!(
                began.elapsed() < PATIENCE,
                "not within {PATIENCE:?}: {what}\n{:#?}",
                self.census.rows()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Ends the watches, and waits until pods are watched again.
    pub(crate) fn interrupt(&self) {
        let watches = |asked: &[Request]| {
            let of_pods = |asked: &&Request| asked.path == PODS && asked.watch == Some(true);
            asked.iter().filter(of_pods).count()
        };
        let before = watches(&self.server.requests());
        self.server.end_watches();
        let again = |asked: &[Request]| watches(asked) > before;
        self.server.wait_for("a watch of pods", again).unwrap();
    }

    /// Stops, and what was asked; fails if anything unexpected was.
    pub(crate) fn finish(self) -> Vec<Request> {
        self.stop.cancel();
        self.runtime.block_on(self.watching).unwrap();
        drop(self.runtime);
        self.server.finish().unwrap()
    }
}

/// Puts all recorded lists but some into the server.
pub(crate) fn fill(server: &ApiServer, but: &[&str]) {
    for name in recorded::LISTS {
        if !but.contains(name) {
            server.load(&recorded::list(name).unwrap()).unwrap();
        }
    }
}

pub(crate) fn named(name: &str) -> ContainerName {
    ContainerName::Known(name.to_owned())
}

/// A ReplicaSet in `shop` of a Deployment.
pub(crate) fn replica_set(name: &str, deployment: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment,
             "uid": format!("uid-{deployment}"), "controller": true}]},
        "spec": {"replicas": 1}})
}

/// A pod in `shop` with one container, its id `c-<name>`.
pub(crate) fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
        "spec": {"nodeName": "node-a", "containers": [{"name": "app", "image": "a"}]},
        "status": {"phase": "Running", "containerStatuses": [
            {"name": "app", "containerID": format!("containerd://c-{name}"), "image": "a", "imageID": "a",
             "ready": true, "restartCount": 0}]}})
}
