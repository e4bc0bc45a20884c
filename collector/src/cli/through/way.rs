//! The way to the collector's pod: a port-forward, TLS in it, HTTP/1.1 in that.

use std::pin::{Pin, pin};
use std::sync::Arc;

use axum::body::{Body, Bytes, to_bytes};
use axum::http::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::error::ThroughError;
use super::{PORT, begin};

/// Characters of a node's words that are repeated.
const MAX_SAID: usize = 300;

/// See the module.
pub(super) struct Way {
    pod: String,
    sender: SendRequest<Body>,
    broken: Broken,
}

impl Way {
    /// Opens it. All that it takes is at hand: a collector that hears nothing closes within seconds.
    pub(super) async fn open(
        pods: Api<Pod>,
        pod: String,
        name: &str,
        tls: rustls::ClientConfig,
        refused: impl FnOnce(kube::Error) -> ThroughError,
    ) -> Result<Self, ThroughError> {
        let known = ServerName::try_from(name.to_owned()).map_err(begin)?;
        let mut forwarded = pods.portforward(&pod, &[PORT]).await.map_err(refused)?;
        let stream = forwarded
            .take_stream(PORT)
            .ok_or_else(|| begin("the API server forwards another port"))?;
        let mut broken = Broken::default();
        if let Some(said) = forwarded.take_error(PORT) {
            broken.0 = Some(Box::pin(said));
        }
        let secured = TlsConnector::from(Arc::new(tls)).connect(known, stream);
        let secured = broken.or(&pod, secured).await?;
        let secured = secured.map_err(|source| ThroughError::Tls {
            pod: pod.clone(),
            name: name.to_owned(),
            source,
        })?;
        let spoken = handshake(TokioIo::new(secured)).await;
        let (sender, connection) = spoken.map_err(|source| ThroughError::Http {
            pod: pod.clone(),
            source,
        })?;
        // Both go on beside the questions that are asked, and end with the way.
        tokio::spawn(async move {
            let _forwarded = forwarded;
            if let Err(error) = connection.await {
                tracing::debug!(%error, "the connection to the collector broke off");
            }
        });
        Ok(Self {
            pod,
            sender,
            broken,
        })
    }

    /// Status and body of the answer.
    pub(super) async fn ask(
        &mut self,
        request: Request<Body>,
        most: usize,
    ) -> Result<(u16, Bytes), ThroughError> {
        let (pod, sender) = (&self.pod, &mut self.sender);
        let asked = async {
            let http = |source| ThroughError::Http {
                pod: pod.clone(),
                source,
            };
            sender.ready().await.map_err(http)?;
            let answer = sender.send_request(request).await.map_err(http)?;
            let status = answer.status().as_u16();
            let body = to_bytes(Body::new(answer.into_body()), most).await;
            let read = body.map(|body| (status, body));
            read.map_err(|source| ThroughError::Answer {
                pod: pod.clone(),
                source,
            })
        };
        self.broken.or(pod, asked).await?
    }
}

/// What the pod's node says when the port cannot be used, or not any more.
#[derive(Default)]
struct Broken(Option<Pin<Box<dyn Future<Output = Option<String>> + Send>>>);

impl Broken {
    /// What `work` comes to, unless the node says why it can come to nothing. Its words are there before
    /// the stream ends.
    async fn or<T>(&mut self, pod: &str, work: impl Future<Output = T>) -> Result<T, ThroughError> {
        let Some(said) = &mut self.0 else {
            return Ok(work.await);
        };
        let mut work = pin!(work);
        let said = tokio::select! {
            biased;
            said = said => said,
            done = &mut work => return Ok(done),
        };
        self.0 = None;
        match said {
            None => Ok(work.await),
            Some(said) => Err(ThroughError::Forward {
                pod: pod.to_owned(),
                said: said.trim().chars().take(MAX_SAID).collect(),
            }),
        }
    }
}
