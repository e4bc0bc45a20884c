//! The client of the API server: of a kubeconfig file, or of the pod that we run in.
//!
//! Asks nothing. TLS is done with aws-lc-rs, the one provider that is built in.

use std::path::{Path, PathBuf};

use kube::client::ClientBuilder;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::pace::Pace;

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
    Client::try_from(config(kubeconfig).await?).map_err(ClusterError::Client)
}

/// A client for those who ask for the same thing for ever. It tries nothing again by itself: they see
/// each failure, and say how long they wait.
pub async fn patient(kubeconfig: Option<&Path>) -> Result<Client, ClusterError> {
    let mut config = config(kubeconfig).await?;
    config.default_retry = false;
    let client = ClientBuilder::try_from(config).map_err(ClusterError::Client)?;
    Ok(client.with_layer(&Pace::default()).build())
}

async fn config(kubeconfig: Option<&Path>) -> Result<Config, ClusterError> {
    match kubeconfig {
        None => Config::incluster().map_err(ClusterError::InCluster),
        Some(path) => {
            let failed = |source| ClusterError::Kubeconfig {
                path: path.to_owned(),
                source,
            };
            let read = Kubeconfig::read_from(path).map_err(failed)?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                .await
                .map_err(failed)
        }
    }
}
