//! The client of the API server: of a kubeconfig file, or of the pod that we run in.
//!
//! Asks nothing. TLS is done with aws-lc-rs, the one provider that is built in.

use std::path::{Path, PathBuf};

use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

/// There is no way to the API server.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The file that `kubernetes.kubeconfig` names.
    #[error("use the kubeconfig {path} (kubernetes.kubeconfig)")]
    Kubeconfig {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: KubeconfigError,
    },
    /// No file is named, and this is no pod with a service account.
    #[error(
        "use the pod's service account; outside of a cluster kubernetes.kubeconfig must name a file"
    )]
    InCluster(#[source] InClusterError),
    /// The configuration is there, and no client can be made of it.
    #[error("make a client of the API server")]
    Client(#[source] kube::Error),
}

/// A client with a connection pool of its own: who asks much keeps no other waiting.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, ClusterError> {
    let mut config = match kubeconfig {
        None => Config::incluster().map_err(ClusterError::InCluster)?,
        Some(path) => {
            let failed = |source| ClusterError::Kubeconfig {
                path: path.to_owned(),
                source,
            };
            let read = Kubeconfig::read_from(path).map_err(failed)?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                .await
                .map_err(failed)?
        }
    };
    // What comes after a failure is for whoever asks: most have somebody waiting who asks again.
    config.default_retry = false;
    Client::try_from(config).map_err(ClusterError::Client)
}
