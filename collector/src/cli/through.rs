#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads the kubeconfig, speaks through the API server to the collector's pod"
)]
//! The collector behind the API server: found by a kubeconfig, reached by a port-forward of our own, asked
//! over TLS as whoever the kubeconfig says.
//!
//! Opens no port on this machine. The API server is trusted as the kubeconfig says, and it names the
//! authority by which the collector is known: nobody between it and the pod can be the collector.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, Request, Response, Uri, header};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::api::ListParams;
use kube::client::ConfigExt as _;
use kube::config::{KubeConfigOptions, Kubeconfig, KubeconfigError};
use kube::{Api, Client, Config};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, ServerName};
use thiserror::Error;
use tokio::runtime::Runtime;
use tokio_rustls::TlsConnector;
use tower::{Layer as _, ServiceExt as _, service_fn};

/// The port of a collector in a cluster.
const PORT: u16 = 8443;
/// Labels of its pods.
const PODS: &str = "app.kubernetes.io/name=plimsoll-collector";
/// The ConfigMap beside it that names its authority, and the key.
const AUTHORITY: (&str, &str) = ("plimsoll-ca", "ca.crt");
/// Longest wait for a whole answer, the way there included.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Why the collector behind an API server cannot be asked.
#[derive(Debug, Error)]
pub(super) enum ThroughError {
    /// Which cluster is not known.
    #[error(
        "use the kubeconfig (--kubeconfig, KUBECONFIG, --context; --server names a collector without one)"
    )]
    Kubeconfig(#[source] KubeconfigError),
    /// The API server.
    #[error("{doing}, through the cluster of context {context}")]
    Api {
        /// What.
        doing: String,
        /// The kubeconfig's context.
        context: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
    /// No pod, or none that is ready.
    #[error(
        "no ready collector in namespace {namespace} (pods labelled {PODS}) of the cluster of context {context}; --collector-namespace names another"
    )]
    NoPod {
        /// Where it was looked for.
        namespace: String,
        /// The kubeconfig's context.
        context: String,
    },
    /// Nothing says which authority the collector is known by.
    #[error("ConfigMap {namespace}/{} has no {} to know the collector by; --ca-file names a file that has", AUTHORITY.0, AUTHORITY.1)]
    NoAuthority {
        /// Where it was looked for.
        namespace: String,
    },
    /// It is no PEM certificate.
    #[error("read the collector's authority from {place}")]
    Authority {
        /// The ConfigMap or the file.
        place: String,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// The collector is not the one that it should be, or does no TLS.
    #[error("agree with the collector's pod {pod} on TLS, as {name}")]
    Tls {
        /// The pod.
        pod: String,
        /// The name that its certificate should have.
        name: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// It broke off.
    #[error("ask the collector's pod {pod}")]
    Http {
        /// The pod.
        pod: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// The answer broke off, or is larger than an answer may be.
    #[error("read the answer of the collector's pod {pod}")]
    Answer {
        /// The pod.
        pod: String,
        /// Why.
        #[source]
        source: axum::Error,
    },
    /// No answer in time.
    #[error("no answer within {} s, through the cluster of context {context}", TIMEOUT.as_secs())]
    TimedOut {
        /// The kubeconfig's context.
        context: String,
    },
    /// This machine has no thread or descriptor left, or a request cannot be made.
    #[error("begin to speak with the cluster")]
    Begin(#[source] Box<dyn std::error::Error + Send + Sync>),
}

impl ThroughError {
    /// It may be otherwise in a while.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::NoPod { .. }
            | Self::Tls { .. }
            | Self::Http { .. }
            | Self::Answer { .. }
            | Self::TimedOut { .. } => true,
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => status.code == 429 || status.code >= 500,
                _ => true,
            },
            Self::Kubeconfig(_)
            | Self::NoAuthority { .. }
            | Self::Authority { .. }
            | Self::Begin(_) => false,
        }
    }
}

/// Which cluster, and where in it.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) kubeconfig: Option<PathBuf>,
    pub(super) context: Option<String>,
    pub(super) namespace: String,
    pub(super) ca_file: Option<PathBuf>,
}

/// See the module.
pub(super) struct Through {
    place: Place,
    /// As messages call it.
    context: String,
    config: Config,
    client: Client,
    runtime: Runtime,
}

/// The kubeconfig that is read when none is named: `$KUBECONFIG`, else `~/.kube/config`.
pub(super) fn is_there() -> bool {
    Kubeconfig::read().is_ok_and(|read| read.current_context.is_some())
}

fn begin(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ThroughError {
    ThroughError::Begin(error.into())
}

impl Through {
    /// # Errors
    /// The kubeconfig cannot be used.
    pub(super) fn new(place: Place) -> Result<Self, ThroughError> {
        let read = match &place.kubeconfig {
            Some(path) => Kubeconfig::read_from(path),
            None => Kubeconfig::read(),
        };
        let read = read.map_err(ThroughError::Kubeconfig)?;
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
        let config = runtime
            .block_on(Config::from_custom_kubeconfig(read, &options))
            .map_err(ThroughError::Kubeconfig)?;
        let within = runtime.enter();
        let client = Client::try_from(config.clone()).map_err(begin)?;
        drop(within);
        Ok(Self {
            place,
            context: context.unwrap_or_else(|| "(none)".to_owned()),
            config,
            client,
            runtime,
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
        let asked = async {
            let asked = tokio::time::timeout(TIMEOUT, self.ask(path_and_query, most)).await;
            asked.unwrap_or_else(|_| {
                Err(ThroughError::TimedOut {
                    context: self.context.clone(),
                })
            })
        };
        self.runtime.block_on(asked)
    }

    async fn ask(&self, path_and_query: &str, most: usize) -> Result<(u16, Bytes), ThroughError> {
        let pod = self.pod().await?;
        let mut connection = self.connect(&pod).await?;
        let request = self.request(path_and_query).await?;
        let http = |source| ThroughError::Http {
            pod: pod.clone(),
            source,
        };
        let answer = connection.send_request(request).await.map_err(http)?;
        let status = answer.status().as_u16();
        let body = to_bytes(Body::new(answer.into_body()), most).await;
        body.map(|body| (status, body))
            .map_err(|source| ThroughError::Answer { pod, source })
    }

    async fn request(&self, path_and_query: &str) -> Result<Request<Body>, ThroughError> {
        let uri: Uri = path_and_query.parse().map_err(begin)?;
        let mut request = Request::get(uri)
            .header(header::HOST, self.name())
            .header(header::CONNECTION, "close")
            .body(Body::empty())
            .map_err(begin)?;
        if let Some(value) = self.authorization().await? {
            request.headers_mut().insert(header::AUTHORIZATION, value);
        }
        Ok(request)
    }

    /// What the kubeconfig's user shows beside a certificate, if anything: kube knows how it is come by.
    async fn authorization(&self) -> Result<Option<HeaderValue>, ThroughError> {
        let Some(layer) = self.config.auth_layer().map_err(begin)? else {
            return Ok(None);
        };
        // It is put on a request that goes nowhere: what it comes with is given back.
        let seen = service_fn(|request: Request<kube::client::Body>| async move {
            let mut seen = Response::new(());
            *seen.headers_mut() = request.into_parts().0.headers;
            Ok::<_, tower::BoxError>(seen)
        });
        let request = Request::new(kube::client::Body::empty());
        let seen = layer.layer(seen).oneshot(request).await.map_err(begin)?;
        Ok(seen.headers().get(header::AUTHORIZATION).cloned())
    }

    fn api(&self, doing: impl Into<String>) -> impl FnOnce(kube::Error) -> ThroughError {
        let (doing, context) = (doing.into(), self.context.clone());
        move |source| ThroughError::Api {
            doing,
            context,
            source: Box::new(source),
        }
    }

    async fn pod(&self) -> Result<String, ThroughError> {
        let namespace = &self.place.namespace;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let listed = pods.list(&ListParams::default().labels(PODS)).await;
        let listed = listed.map_err(self.api(format!("list pods in namespace {namespace}")))?;
        let ready = listed.items.into_iter().find(is_ready);
        let name = ready.and_then(|pod| pod.metadata.name);
        name.ok_or_else(|| ThroughError::NoPod {
            namespace: namespace.clone(),
            context: self.context.clone(),
        })
    }

    async fn connect(&self, pod: &str) -> Result<SendRequest<Body>, ThroughError> {
        let namespace = &self.place.namespace;
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let doing = format!("forward port {PORT} of pod {namespace}/{pod}");
        let mut forwarded = pods
            .portforward(pod, &[PORT])
            .await
            .map_err(self.api(doing))?;
        let stream = forwarded
            .take_stream(PORT)
            .ok_or_else(|| begin("the API server forwards another port"))?;
        let name = self.name();
        let known = ServerName::try_from(name.clone()).map_err(begin)?;
        let connector = TlsConnector::from(Arc::new(self.tls().await?));
        let tls = connector.connect(known, stream).await;
        let tls = tls.map_err(|source| ThroughError::Tls {
            pod: pod.to_owned(),
            name,
            source,
        })?;
        let (sender, connection) =
            handshake(TokioIo::new(tls))
                .await
                .map_err(|source| ThroughError::Http {
                    pod: pod.to_owned(),
                    source,
                })?;
        // Both go on beside the question that is asked, and end with it.
        tokio::spawn(async move {
            let _forwarded = forwarded;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the collector broke off");
            }
        });
        Ok(sender)
    }

    /// Trusts the collector's authority alone; shows the certificate of the kubeconfig's user, if there is one.
    async fn tls(&self) -> Result<rustls::ClientConfig, ThroughError> {
        let mut config = self.config.clone();
        let authority = match &self.place.ca_file {
            Some(path) => from_file(path)?,
            None => self.authority().await?,
        };
        config.root_cert = Some(authority.iter().map(|der| der.to_vec()).collect());
        config.accept_invalid_certs = false;
        config.rustls_client_config().map_err(begin)
    }

    async fn authority(&self) -> Result<Vec<CertificateDer<'static>>, ThroughError> {
        let namespace = &self.place.namespace;
        let maps: Api<ConfigMap> = Api::namespaced(self.client.clone(), namespace);
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

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.iter().flat_map(|status| &status.conditions);
    let mut conditions = conditions.flatten();
    pod.metadata.deletion_timestamp.is_none()
        && conditions.any(|of| of.type_ == "Ready" && of.status == "True")
}
