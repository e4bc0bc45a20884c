#![expect(
    clippy::disallowed_methods,
    reason = "shell: a server on loopback with a runtime of its own"
)]
//! The sockets of a double: connections on a free port of loopback, plain or TLS, one task each, a bounded number of
//! them, each request handed to the double.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

/// Connections at once; further ones wait until one has ended.
const CONNECTIONS_AT_MOST: usize = 64;

/// What is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http1,
    Http2,
}

/// A double: it answers a request, or ends without an answer.
pub(crate) trait Double: Send + Sync + 'static {
    fn answer(
        self: Arc<Self>,
        request: Request<Incoming>,
    ) -> impl Future<Output = io::Result<Response<Body>>> + Send;
}

/// A running server; connections end when it is dropped.
#[derive(Debug)]
pub(crate) struct Loopback {
    address: SocketAddr,
    has_tls: bool,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Loopback {
    /// Serves on a free port of 127.0.0.1.
    ///
    /// # Errors
    /// No socket.
    pub(crate) fn start<D: Double>(
        double: Arc<D>,
        tls: Option<rustls::ServerConfig>,
        version: Version,
    ) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("double")
            .enable_all()
            .build()
            .context("the double's runtime")?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("127.0.0.1")?;
        listener
            .set_nonblocking(true)
            .context("the double's socket")?;
        let address = listener.local_addr().context("the double's address")?;
        let listener = {
            let _within = runtime.enter();
            TcpListener::from_std(listener).context("the double's socket")?
        };
        let has_tls = tls.is_some();
        let tls = tls.map(|mut config| {
            if version == Version::Http2 {
                config.alpn_protocols = vec![b"h2".to_vec()];
            }
            TlsAcceptor::from(Arc::new(config))
        });
        runtime.spawn(accept(double, listener, tls, version));
        Ok(Self {
            address,
            has_tls,
            runtime: Some(runtime),
        })
    }

    /// What a client takes as the endpoint: `http://127.0.0.1:PORT`, or `https://localhost:PORT`.
    pub(crate) fn endpoint(&self) -> String {
        let port = self.address.port();
        if self.has_tls {
            format!("https://localhost:{port}")
        } else {
            format!("http://127.0.0.1:{port}")
        }
    }
}

impl Drop for Loopback {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Not blocking: it may be dropped within a test's own runtime.
            runtime.shutdown_background();
        }
    }
}

/// Takes connections as long as the runtime lives.
async fn accept<D: Double>(
    double: Arc<D>,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    version: Version,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_AT_MOST));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors, or a client that left already: not faster than this.
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let (double, tls) = (Arc::clone(&double), tls.clone());
        tokio::spawn(async move {
            // A client that goes away is not the server's error.
            drop(meet(double, stream, tls, version).await);
            drop(place);
        });
    }
}

async fn meet<D: Double>(
    double: Arc<D>,
    stream: TcpStream,
    tls: Option<TlsAcceptor>,
    version: Version,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        None => serve(double, stream, version).await,
        Some(tls) => serve(double, tls.accept(stream).await?, version).await,
    }
}

async fn serve<D: Double>(
    double: Arc<D>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    version: Version,
) -> io::Result<()> {
    let service = service_fn(move |request: Request<Incoming>| {
        let answering = tokio::spawn(Arc::clone(&double).answer(request));
        // What was read is served, whether or not the client waits for the answer.
        async move { answering.await.unwrap_or_else(|e| Err(io::Error::other(e))) }
    });
    let stream = TokioIo::new(stream);
    let served = match version {
        Version::Http1 => {
            http1::Builder::new()
                .serve_connection(stream, service)
                .await
        }
        Version::Http2 => {
            let builder = http2::Builder::new(TokioExecutor::new());
            builder.serve_connection(stream, service).await
        }
    };
    served.map_err(io::Error::other)
}
