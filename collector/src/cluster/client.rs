//! The client of the API server: of a kubeconfig file, or of the pod that we run in.
//!
//! Asks nothing; runs the kubeconfig's plugin, within a time. TLS is done with aws-lc-rs, the one provider that is
//! built in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use kube::client::{AuthError, ClientBuilder, ConfigExt as _};
use kube::config::{InClusterError, KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Client, Config};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use super::bound::Bound;
use super::pace::Pace;
use super::plugin;

/// Longest wait for a client: a plugin of the kubeconfig may ask over the network, and nobody is there to log in.
const WITHIN: Duration = Duration::from_secs(30);

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
    #[error("make a client of the API server ({by})")]
    Client {
        /// Kubeconfig and plugin, or the service account.
        by: String,
        /// Why.
        #[source]
        source: kube::Error,
    },
    /// The plugin does not end.
    #[error(
        "make a client of the API server ({by}): what it shows is not there within {within_s} s"
    )]
    TimedOut {
        /// Kubeconfig, user and plugin.
        by: String,
        /// For how long it was waited for, seconds.
        within_s: u64,
    },
}

/// A client with a connection pool of its own: who asks much keeps no other waiting.
pub async fn client(kubeconfig: Option<&Path>) -> Result<Client, ClusterError> {
    Configured::read(kubeconfig)
        .await?
        .make(Client::try_from)
        .await
}

/// A client for those who ask for the same thing for ever. It tries nothing again by itself: they see
/// each failure, and say how long they wait.
pub async fn patient(kubeconfig: Option<&Path>) -> Result<Client, ClusterError> {
    let build = |config| {
        let client = ClientBuilder::try_from(config)?;
        let client = client.with_layer(&Bound).with_layer(&Pace::default());
        Ok(client.build())
    };
    Configured::read(kubeconfig).await?.make(build).await
}

/// What a client is made of.
struct Configured {
    config: Config,
    /// Kubeconfig and user, or the service account, for messages.
    by: String,
    within: Duration,
}

impl Configured {
    async fn read(kubeconfig: Option<&Path>) -> Result<Self, ClusterError> {
        let (mut config, by) = match kubeconfig {
            None => {
                let config = Config::incluster().map_err(ClusterError::InCluster)?;
                (config, "the pod's service account".to_owned())
            }
            Some(path) => of_file(path).await?,
        };
        // Whoever asks has somebody waiting who asks again.
        config.default_retry = false;
        Ok(Self {
            config,
            by,
            within: WITHIN,
        })
    }

    /// On a thread that nobody waits for beyond its time: it may run a plugin, and a runtime would not end before
    /// one that does not end.
    async fn make(
        self,
        make: impl FnOnce(Config) -> kube::Result<Client> + Send + 'static,
    ) -> Result<Client, ClusterError> {
        let Self { config, by, within } = self;
        let user = config.auth_info.clone();
        let (give, given) = oneshot::channel();
        let runtime = Handle::current();
        let thread = std::thread::Builder::new().name("client".to_owned());
        let began = thread.spawn(move || {
            let _entered = runtime.enter();
            drop(give.send(make(config)));
        });
        let client = match began {
            Ok(_) => tokio::time::timeout(within, given).await,
            Err(error) => Ok(Ok(Err(kube::Error::Service(error.into())))),
        };
        let Ok(client) = client else {
            return Err(ClusterError::TimedOut {
                by: format!("{by}{}", plugin::named(&user, None)),
                within_s: within.as_secs(),
            });
        };
        let client = client.unwrap_or_else(|error| Err(kube::Error::Service(error.into())));
        client.map_err(|source| ClusterError::Client {
            by: format!("{by}{}", plugin::named(&user, Some(&source))),
            source,
        })
    }
}

/// Whether a client can be made of a kubeconfig, as far as that is seen without its plugin and its API server.
///
/// # Errors
/// Why none can.
pub fn check(kubeconfig: &Path) -> Result<(), kube::Error> {
    let mut config = Config::try_from(read(kubeconfig)?)?;
    let user = &mut config.auth_info;
    if user.exec.take().is_some_and(|exec| exec.command.is_none()) {
        return Err(kube::Error::Auth(AuthError::MissingCommand));
    }
    user.auth_provider = None;
    config.auth_layer()?;
    config.rustls_client_config().map(drop)
}

/// Whether this is a pod with a service account.
///
/// # Errors
/// Why it is none.
pub fn check_pod() -> Result<(), InClusterError> {
    Config::incluster().map(drop)
}

fn read(path: &Path) -> Result<Kubeconfig, KubeconfigError> {
    let mut read = Kubeconfig::read_from(path)?;
    // As `kubectl config unset current-context` leaves it.
    read.current_context = read.current_context.filter(|name| !name.is_empty());
    Ok(read)
}

async fn of_file(path: &Path) -> Result<(Config, String), ClusterError> {
    let failed = |source| ClusterError::Kubeconfig {
        path: path.to_owned(),
        source,
    };
    let read = read(path).map_err(failed)?;
    let user = user(&read).map_or_else(String::new, |user| format!(", user {user}"));
    let by = format!("kubeconfig {}{user}", path.display());
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await;
    Ok((config.map_err(failed)?, by))
}

/// The name of whom its context means.
fn user(read: &Kubeconfig) -> Option<&str> {
    let current = read.current_context.as_ref()?;
    let context = read.contexts.iter().find(|of| of.name == *current)?;
    context.context.as_ref()?.user.as_deref()
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

    /// A plugin that fails, or is not there: named, and what it printed is not told.
    #[tokio::test]
    async fn a_plugin_is_named_and_not_repeated() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let said = async |command: &str, script: &str| {
            let text = serde_json::json!({"current-context": "c",
                "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:1"}}],
                "users": [{"name": "u", "user": {"exec": {
                    "apiVersion": "client.authentication.k8s.io/v1", "command": command,
                    "args": ["-c", script], "interactiveMode": "Never", "installHint": "Get it."}}}],
                "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]});
            std::fs::write(&path, text.to_string()).unwrap();
            assert!(check(&path).is_ok(), "a check runs no plugin");
            chain(&client(Some(&path)).await.err().unwrap())
        };
        let by = format!(
            "make a client of the API server (kubeconfig {}, user u, plugin ",
            path.display()
        );
        assert_eq!(
            said("/bin/sh", "echo '{\"token\": \"eyJ\"}'; exit 1").await,
            format!("{by}/bin/sh): its plugin ended with exit status: 1")
        );
        assert_eq!(
            said("/absent/aws", "").await,
            format!(
                "{by}/absent/aws; how to install it: Get it.): its plugin cannot be started: No such file or directory (os error 2)"
            )
        );
    }

    /// Neither is its argument told.
    #[tokio::test]
    async fn a_plugin_that_does_not_end_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kubeconfig");
        let text = serde_json::json!({"current-context": "c",
            "clusters": [{"name": "k", "cluster": {"server": "http://127.0.0.1:1"}}],
            "users": [{"name": "u", "user": {"exec": {
                "apiVersion": "client.authentication.k8s.io/v1", "command": "/bin/sh",
                "args": ["-c", "sleep 30"], "interactiveMode": "Never"}}}],
            "contexts": [{"name": "c", "context": {"cluster": "k", "user": "u"}}]});
        std::fs::write(&path, text.to_string()).unwrap();
        let mut configured = Configured::read(Some(&path)).await.unwrap();
        assert_eq!(configured.within, WITHIN);
        configured.within = Duration::from_millis(20);
        let error = configured.make(Client::try_from).await.err().unwrap();
        assert_eq!(
            chain(&error),
            format!(
                "make a client of the API server (kubeconfig {}, user u, plugin /bin/sh): what it shows is not there within 0 s",
                path.display()
            )
        );
    }
}
