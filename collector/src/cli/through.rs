#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the kubeconfig, speaks through the API server to the collector's pod"
)]
//! The collector behind the API server: found by a kubeconfig, reached by a port-forward of our own, asked
//! over TLS as whoever the kubeconfig says.
//!
//! Opens no port on this machine. The API server is trusted as the kubeconfig says, and it names the
//! authority by which the collector is known: nobody between it and the pod can be the collector.

mod error;
pub(super) mod kubeconfig;
mod user;
mod way;

use std::cell::RefCell;
use std::io::{IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, Request, Uri, header};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::ListParams;
use kube::client::ConfigExt as _;
use kube::config::{AuthInfo, ExecInteractiveMode, KubeConfigOptions};
use kube::{Api, Client, Config};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{self, PemObject as _};
use tokio::runtime::Runtime;

pub(super) use error::ThroughError;
use kubeconfig::Found;
use user::{BoxError, User, blocking};
use way::Way;

use crate::cluster::plugin;

/// The port of a collector in a cluster.
const PORT: u16 = 8443;
/// Labels of its pods.
const PODS: &str = "app.kubernetes.io/name=plimsoll-collector";
/// The ConfigMap beside it that names its authority, and the key.
const AUTHORITY: (&str, &str) = ("plimsoll-ca", "ca.crt");
/// Longest wait for a whole answer, the way there included.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Longest wait for a plugin that has somebody at a terminal log in; of others, as long as for an answer.
const LOGIN_WITHIN: Duration = Duration::from_mins(5);
/// After which it is told that a plugin is waited for.
const TELL_AFTER: Duration = Duration::from_secs(5);

/// Which cluster, and where in it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) context: Option<String>,
    pub(super) namespace: String,
    pub(super) ca_file: Option<PathBuf>,
}

/// See the module.
pub(super) struct Through {
    place: Place,
    /// As messages call it.
    context: String,
    /// The kubeconfig's files, as messages call them.
    kubeconfig: String,
    config: Config,
    user_within: Duration,
    /// Who asked last, and the way: the next question takes both.
    kept: RefCell<Option<(User, Way)>>,
    /// `None` once it is dropped.
    runtime: Option<Runtime>,
}

impl Drop for Through {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A plugin that does not end is not waited for.
            runtime.shutdown_background();
        }
    }
}

fn begin(error: impl Into<BoxError>) -> ThroughError {
    ThroughError::Begin(error.into())
}

impl Through {
    /// # Errors
    /// The kubeconfig cannot be used.
    pub(super) fn new(place: Place, found: Found) -> Result<Self, ThroughError> {
        let kubeconfig = found.name();
        let read = found.read;
        let context = place
            .context
            .clone()
            .or_else(|| read.current_context.clone());
        let options = KubeConfigOptions {
            context: place.context.clone(),
            ..KubeConfigOptions::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(begin)?;
        let mut config = runtime
            .block_on(Config::from_custom_kubeconfig(read, &options))
            .map_err(|source| ThroughError::Kubeconfig {
                path: kubeconfig.clone(),
                source,
            })?;
        // Its pauses are longer than anybody waits, and whoever is refused wants to know why.
        config.default_retry = false;
        let context = context.unwrap_or_else(|| "(none)".to_owned());
        if user::impersonates(&config.auth_info) {
            return Err(ThroughError::Impersonates { context });
        }
        Ok(Self {
            place,
            context,
            kubeconfig,
            user_within: within(&config.auth_info),
            config,
            kept: RefCell::default(),
            runtime: Some(runtime),
        })
    }

    /// What is asked, for messages.
    pub(super) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.name())
    }

    /// The name in the collector's certificate: its Service's.
    fn name(&self) -> String {
        format!("plimsoll-collector.{}.svc", self.place.namespace)
    }

    /// Status and body of the answer to a GET.
    pub(super) fn get(
        &self,
        path_and_query: &str,
        most: usize,
    ) -> Result<(u16, Bytes), ThroughError> {
        let runtime = self.runtime.as_ref();
        let runtime = runtime.ok_or_else(|| begin("its time is over"))?;
        runtime.block_on(self.answer(path_and_query, most))
    }

    async fn answer(
        &self,
        path_and_query: &str,
        most: usize,
    ) -> Result<(u16, Bytes), ThroughError> {
        // What a question is broken off with is not used again.
        if let Some((user, way)) = self.kept.take() {
            match self.ask(user, Some(way), path_and_query, most).await {
                // What was shown counts no more, or the collector closed while nothing was asked.
                Ok((401, _)) | Err(ThroughError::Http { .. } | ThroughError::Forward { .. }) => {}
                answered => return answered,
            }
        }
        let user = self.shown(User::new(&self.config)).await?;
        self.ask(user, None, path_and_query, most).await
    }

    /// Goes there the way that is open, or a new one, and keeps it.
    async fn ask(
        &self,
        mut user: User,
        way: Option<Way>,
        path_and_query: &str,
        most: usize,
    ) -> Result<(u16, Bytes), ThroughError> {
        let value = self.shown(user.authorization()).await?;
        let request = self.request(path_and_query, value)?;
        let asked = async {
            let mut way = match way {
                Some(way) => way,
                None => self.way(&user).await?,
            };
            let answer = way.ask(request, most).await?;
            Ok((answer, way))
        };
        let (answer, way) = self.in_time(asked).await?;
        if answer.0 != 401 {
            self.kept.replace(Some((user, way)));
        }
        Ok(answer)
    }

    async fn in_time<T>(
        &self,
        asked: impl Future<Output = Result<T, ThroughError>>,
    ) -> Result<T, ThroughError> {
        let asked = tokio::time::timeout(TIMEOUT, asked).await;
        asked.unwrap_or_else(|_| {
            Err(ThroughError::TimedOut {
                context: self.context.clone(),
            })
        })
    }

    /// What the user shows, in a time of its own.
    async fn shown<T>(
        &self,
        asked: impl Future<Output = Result<T, BoxError>>,
    ) -> Result<T, ThroughError> {
        let mut asked = pin!(tokio::time::timeout(self.user_within, asked));
        let shown = if let Ok(shown) = tokio::time::timeout(TELL_AFTER, &mut asked).await {
            shown
        } else {
            let by = self.shown_by(None);
            // Nobody is left to tell if this fails.
            let _ignored = writeln!(
                std::io::stderr(),
                "plimsoll: waiting for what is shown by {by}"
            );
            asked.await
        };
        match shown {
            Ok(shown) => shown.map_err(|source| ThroughError::User {
                by: self.shown_by(Some(source.as_ref())),
                source,
            }),
            Err(_) => Err(ThroughError::UserTimedOut {
                by: self.shown_by(None),
                within_s: self.user_within.as_secs(),
            }),
        }
    }

    /// Who shows something, for messages.
    fn shown_by(&self, failed: Option<&(dyn std::error::Error + 'static)>) -> String {
        let plugin = plugin::named(&self.config.auth_info, failed);
        let (context, kubeconfig) = (&self.context, &self.kubeconfig);
        format!("the user of context {context} (kubeconfig {kubeconfig}{plugin})")
    }

    fn request(
        &self,
        path_and_query: &str,
        authorization: Option<HeaderValue>,
    ) -> Result<Request<Body>, ThroughError> {
        let uri: Uri = path_and_query.parse().map_err(begin)?;
        let mut request = Request::get(uri)
            .header(header::HOST, self.name())
            .body(Body::empty())
            .map_err(begin)?;
        if let Some(value) = authorization {
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        Ok(request)
    }

    fn api(&self, doing: impl Into<String>) -> impl FnOnce(kube::Error) -> ThroughError {
        let (doing, context) = (doing.into(), self.context.clone());
        let namespace = self.place.namespace.clone();
        move |source| match source {
            kube::Error::Api(status) if status.code == 403 => ThroughError::Denied {
                doing,
                context,
                namespace,
                source: Box::new(kube::Error::Api(status)),
            },
            source => ThroughError::Api {
                doing,
                context,
                source: Box::new(source),
            },
        }
    }

    /// A new way: everything that takes its time is done before the port is forwarded.
    async fn way(&self, user: &User) -> Result<Way, ThroughError> {
        let config = user.config.clone();
        let client = blocking(move || Client::try_from(config)).await;
        let client = client.map_err(ThroughError::Begin)?;
        let pods = Api::namespaced(client.clone(), &self.place.namespace);
        let pod = self.pod(&pods).await?;
        let tls = self.tls(user, client).await?;
        let doing = format!("forward port {PORT} of pod {}/{pod}", self.place.namespace);
        Way::open(pods, pod, &self.name(), tls, self.api(doing)).await
    }

    async fn pod(&self, pods: &Api<Pod>) -> Result<String, ThroughError> {
        let namespace = &self.place.namespace;
        let listed = pods.list(&ListParams::default().labels(PODS)).await;
        let listed = listed.map_err(self.api(format!("list pods in namespace {namespace}")))?;
        best(listed.items).ok_or_else(|| ThroughError::NoPod {
            namespace: namespace.clone(),
            context: self.context.clone(),
        })
    }

    /// Trusts the collector's authority alone; shows the certificate of the kubeconfig's user, if there is one.
    async fn tls(&self, user: &User, client: Client) -> Result<rustls::ClientConfig, ThroughError> {
        let mut config = user.config.clone();
        let authority = match &self.place.ca_file {
            Some(path) => from_file(path)?,
            None => self.authority(client).await?,
        };
        config.root_cert = Some(authority.iter().map(|der| der.to_vec()).collect());
        config.accept_invalid_certs = false;
        let tls = blocking(move || config.rustls_client_config()).await;
        tls.map_err(ThroughError::Begin)
    }

    async fn authority(
        &self,
        client: Client,
    ) -> Result<Vec<CertificateDer<'static>>, ThroughError> {
        let namespace = &self.place.namespace;
        let maps: Api<ConfigMap> = Api::namespaced(client, namespace);
        let (name, key) = AUTHORITY;
        let place = format!("ConfigMap {namespace}/{name}");
        let map = maps.get_opt(name).await;
        let map = map.map_err(self.api(format!("read {place}, for the collector's authority")))?;
        let text = map.and_then(|map| map.data?.remove(key));
        let text = text.ok_or_else(|| ThroughError::NoAuthority {
            namespace: namespace.clone(),
        })?;
        from_pem(&text).map_err(|source| ThroughError::Authority { place, source })
    }
}

/// For how long what a user shows is waited for.
fn within(user: &AuthInfo) -> Duration {
    let exec = user.exec.as_ref();
    let asks = exec.is_some_and(|exec| exec.interactive_mode != Some(ExecInteractiveMode::Never));
    if asks && std::io::stdin().is_terminal() {
        LOGIN_WITHIN
    } else {
        TIMEOUT
    }
}

fn from_file(path: &Path) -> Result<Vec<CertificateDer<'static>>, ThroughError> {
    let read = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    read.and_then(some)
        .map_err(|source| ThroughError::Authority {
            place: path.display().to_string(),
            source,
        })
}

fn from_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    let read: Result<_, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    read.and_then(some)
}

fn some(found: Vec<CertificateDer<'static>>) -> Result<Vec<CertificateDer<'static>>, pem::Error> {
    let is_some = (!found.is_empty()).then_some(found);
    is_some.ok_or(pem::Error::NoItemsFound)
}

/// The name of a pod that is ready, else of one that runs: a collector is not ready while it takes nothing, and
/// says why then.
fn best(pods: Vec<Pod>) -> Option<String> {
    let is_left = |pod: &Pod| pod.metadata.deletion_timestamp.is_none();
    let (ready, others): (Vec<_>, Vec<_>) = pods.into_iter().filter(is_left).partition(is_ready);
    let runs = others.into_iter().filter(does_run);
    let name = |pod: Pod| pod.metadata.name;
    ready.into_iter().chain(runs).find_map(name)
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| &status.conditions);
    let mut conditions = conditions.flatten();
    conditions.any(|of| of.type_ == "Ready" && of.status == "True")
}

fn does_run(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    phase == Some("Running")
}

#[cfg(test)]
mod tests;
