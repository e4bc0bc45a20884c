//! Why the collector behind an API server cannot be asked.

use kube::config::KubeconfigError;
use rustls::pki_types::pem;
use thiserror::Error;

use super::{AUTHORITY, PODS, PORT, TIMEOUT};

/// Why the collector behind an API server cannot be asked.
#[derive(Debug, Error)]
pub(in crate::cli) enum ThroughError {
    /// Which cluster is not known.
    #[error(
        "use the kubeconfig {path} (--kubeconfig, KUBECONFIG, --context; --server names a collector without one)"
    )]
    Kubeconfig {
        /// The file, or several.
        path: String,
        /// Why.
        #[source]
        source: KubeconfigError,
    },
    /// There is none.
    #[error(
        "no kubeconfig was found (looked for {looked_for}); --kubeconfig or KUBECONFIG names one"
    )]
    NoKubeconfig {
        /// The files.
        looked_for: String,
    },
    /// The API server does not let its user do that.
    #[error(
        "{doing}, through the cluster of context {context} (the Role plimsoll-cli of namespace {namespace} allows it once it is bound to the user, see docs/operations.md)"
    )]
    Denied {
        /// What.
        doing: String,
        /// The kubeconfig's context.
        context: String,
        /// Where the collector is.
        namespace: String,
        /// Why.
        #[source]
        source: Box<kube::Error>,
    },
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
    /// The API server would know one user, and the collector another.
    #[error(
        "the user of context {context} acts as another one (`as` in the kubeconfig), of whom the collector cannot know: use a context whose user acts as itself"
    )]
    Impersonates {
        /// The kubeconfig's context.
        context: String,
    },
    /// What the kubeconfig's user shows is not to be had: its plugin is not there, or fails.
    #[error("find out what is shown by {by}")]
    User {
        /// Context, kubeconfig and plugin.
        by: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The plugin does not end.
    #[error("within {within_s} s nothing is shown by {by}: its plugin does not end")]
    UserTimedOut {
        /// Context, kubeconfig and plugin.
        by: String,
        /// For how long it was waited for, seconds.
        within_s: u64,
    },
    /// No pod, or none that runs.
    #[error(
        "no running collector in namespace {namespace} (pods labelled {PODS}) of the cluster of context {context}; --collector-namespace names another"
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
    /// Nobody listens there, or the way to it broke.
    #[error("forward port {PORT} of pod {pod}: {said}")]
    Forward {
        /// The pod.
        pod: String,
        /// The words of its node.
        said: String,
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
    pub(in crate::cli) fn may_pass(&self) -> bool {
        match self {
            Self::NoPod { .. }
            | Self::Forward { .. }
            | Self::Tls { .. }
            | Self::Http { .. }
            | Self::Answer { .. }
            | Self::TimedOut { .. } => true,
            Self::Api { source, .. } => match source.as_ref() {
                kube::Error::Api(status) => status.code == 429 || status.code >= 500,
                _ => true,
            },
            Self::Kubeconfig { .. }
            | Self::NoKubeconfig { .. }
            | Self::Denied { .. }
            | Self::Impersonates { .. }
            | Self::User { .. }
            | Self::UserTimedOut { .. }
            | Self::NoAuthority { .. }
            | Self::Authority { .. }
            | Self::Begin(_) => false,
        }
    }
}
