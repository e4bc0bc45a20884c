//! The client of the API server: of a kubeconfig file, or of the pod that we run in.
//!
//! Asks nothing. TLS is done with aws-lc-rs, the one provider that is built in.

use std::path::{Path, PathBuf};

use kube::client::ClientBuilder;
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};

use super::bound::Bound;
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
    // Whoever asks has somebody waiting who asks again.
    let mut config = config(kubeconfig).await?;
    config.default_retry = false;
    Client::try_from(config).map_err(ClusterError::Client)
}

/// A client for those who ask for the same thing for ever. It tries nothing again by itself: they see
/// each failure, and say how long they wait.
pub async fn patient(kubeconfig: Option<&Path>) -> Result<Client, ClusterError> {
    let mut config = config(kubeconfig).await?;
    config.default_retry = false;
    let client = ClientBuilder::try_from(config).map_err(ClusterError::Client)?;
    let client = client.with_layer(&Bound).with_layer(&Pace::default());
    Ok(client.build())
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

#[cfg(test)]
mod tests {
    #![expect(clippy::disallowed_methods, reason = "writes a kubeconfig")]

    use super::*;
    use crate::cluster::reviews::tests::{ApiServer, recorded};
    use crate::cluster::{Reviewer, token};
    use crate::errors::chain;
    use crate::tls;

    /// With TLS, as every API server has it, and with the certificate as its own authority.
    #[tokio::test]
    async fn a_kubeconfig_leads_to_its_server() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        std::fs::write(at("cert"), made.cert.pem()).unwrap();
        std::fs::write(at("key"), made.signing_key.serialize_pem()).unwrap();
        let shown = tls::Shown::read(tls::Files {
            door: tls::Door::Http,
            certificate: at("cert"),
            key: at("key"),
            client_ca: None,
        });
        let answers = vec![(201, recorded("tokenreview-pod-bound"))];
        let server = ApiServer::with_tls(answers, shown.unwrap()).await;
        let path = at("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters: [{{name: k, cluster: {{server: 'https://localhost:{}', certificate-authority: {}}}}}]\nusers: [{{name: u, user: {{token: t}}}}]\ncontexts: [{{name: c, context: {{cluster: k, user: u}}}}]\n",
            server.port(),
            at("cert").display(),
        );
        std::fs::write(&path, text).unwrap();
        let reviewer = Reviewer::new(client(Some(&path)).await.unwrap());
        let asked = token::prepare("x", None).unwrap();
        assert!(reviewer.token(&asked).await.is_ok());
    }

    #[tokio::test]
    async fn what_leads_nowhere_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let absent = folder.path().join("absent");
        let error = client(Some(&absent)).await.err().unwrap();
        let said = chain(&error);
        assert!(said.contains("absent (kubernetes.kubeconfig)"), "{said}");
        let error = client(None).await.err().unwrap();
        let said = chain(&error);
        assert!(
            said.contains("kubernetes.kubeconfig must name a file"),
            "{said}"
        );
    }
}
