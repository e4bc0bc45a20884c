//! A scripted API server, and the collector's watch of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use plimsoll_collector::cluster::census::Census;
use plimsoll_collector::cluster::{self, watch};
use plimsoll_collector::inventory::{ContainerName, Index, IndexReader, IndexWriter};
use plimsoll_tests::apiserver::{ApiServer, Options, Request, recorded};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest wait for what is to happen.
const PATIENCE: Duration = Duration::from_mins(1);

pub struct Rig {
    pub server: ApiServer,
    pub index: IndexReader,
    pub census: Arc<Census>,
    runtime: Runtime,
    stop: CancellationToken,
    watching: JoinHandle<()>,
}

impl Rig {
    /// With all recorded lists, known whole.
    pub fn recorded(options: Options) -> Self {
        let rig = Self::of(ApiServer::start(options).unwrap(), &[]);
        rig.until_synced();
        rig
    }

    /// With all recorded lists but some, as they come.
    pub fn of(server: ApiServer, but: &[&str]) -> Self {
        for name in recorded::LISTS {
            if !but.contains(name) {
                server.load(&recorded::list(name).unwrap()).unwrap();
            }
        }
        Self::watching(server)
    }

    /// Follows what the server has.
    pub fn watching(server: ApiServer) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, server.kubeconfig()).unwrap();
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

    pub fn until_synced(&self) {
        self.wait(|| self.census.is_synced(), "the cluster is known");
    }

    pub fn until(&self, what: &str, is: impl Fn(&Index) -> bool) {
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

    /// Stops, and what was asked; fails if anything unexpected was.
    pub fn finish(self) -> Vec<Request> {
        self.stop.cancel();
        self.runtime.block_on(self.watching).unwrap();
        drop(self.runtime);
        self.server.finish().unwrap()
    }
}

pub fn named(name: &str) -> ContainerName {
    ContainerName::Known(name.to_owned())
}

/// A ReplicaSet in `shop` of a Deployment.
pub fn replica_set(name: &str, deployment: &str) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "ReplicaSet",
        "metadata": {"name": name, "namespace": "shop", "ownerReferences": [
            {"apiVersion": "apps/v1", "kind": "Deployment", "name": deployment, "uid": "d", "controller": true}]},
        "spec": {"replicas": 1}})
}

/// A pod in `shop` with one container, its id `c-<name>`.
pub fn pod(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "uid": format!("uid-{name}")},
        "spec": {"nodeName": "node-a", "containers": [{"name": "app", "image": "a"}]},
        "status": {"phase": "Running", "containerStatuses": [
            {"name": "app", "containerID": format!("containerd://c-{name}"), "image": "a", "imageID": "a",
             "ready": true, "restartCount": 0}]}})
}
