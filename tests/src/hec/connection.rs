#![expect(
    clippy::disallowed_methods,
    reason = "shell: takes connections on loopback"
)]
//! The sockets: loopback connections, plain or TLS, one task each, a bounded number of them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::answer::answer;

/// Connections at once; further ones wait until one has ended.
const CONNECTIONS_AT_MOST: usize = 64;

/// Takes connections as long as the runtime lives.
pub(super) async fn accept(shared: Arc<Shared>, listener: TcpListener, tls: Option<TlsAcceptor>) {
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
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        tokio::spawn(async move {
            // A client that goes away is not the server's error.
            drop(meet(shared, stream, tls).await);
            drop(place);
        });
    }
}

async fn meet(shared: Arc<Shared>, stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match tls {
        None => serve(shared, stream).await,
        Some(tls) => serve(shared, tls.accept(stream).await?).await,
    }
}

async fn serve(
    shared: Arc<Shared>,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
) -> io::Result<()> {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let answering = tokio::spawn(answer(Arc::clone(&shared), request));
        // What was read is served, whether or not the client waits for the answer.
        async move { answering.await.unwrap_or_else(|e| Err(io::Error::other(e))) }
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    connection.await.map_err(io::Error::other)
}
