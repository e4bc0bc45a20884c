#![expect(
    clippy::disallowed_methods,
    reason = "shell: takes HTTP connections, waits after a failure"
)]
//! The API's door: bounded in connections and in the time that one may take over its part.
//!
//! A client that sends its request in drips, says nothing, or does not take its answer is let go, so
//! that the probes and scrapes of others are answered. Knows no route.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tower::Service as _;

use super::access::Client;
use super::requests::Refusal;
use super::{Requests, certificate};
use crate::connections::paced::{Late, Pace, Paced};
use crate::connections::{Connections, Full, Place};
use crate::tls;

/// After a connection that could not be taken, for want of descriptors as a rule.
const PAUSE: Duration = Duration::from_millis(100);

/// Bounds of the door.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Connections at a time.
    pub max_connections: usize,
    /// For the head of a request, from the connection or from the answer before it.
    pub head_within: Duration,
    /// For the next bytes of an answer that is not taken.
    pub taken_within: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            max_connections: 256,
            head_within: Duration::from_secs(10),
            taken_within: Duration::from_secs(30),
        }
    }
}

/// One address may have this share of all connections, where clients have addresses of their own.
const PEER_SHARE: usize = 8;

/// What every connection goes through.
#[derive(Clone)]
struct Door {
    router: Router,
    bounds: Bounds,
    requests: Arc<Requests>,
    /// Plain text without.
    tls: Option<Arc<tls::Shown>>,
    stop: CancellationToken,
}

/// Answers until `stop`, then what was asked by then; in plain text without `tls`.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    bounds: Bounds,
    requests: Arc<Requests>,
    tls: Option<Arc<tls::Shown>>,
    stop: CancellationToken,
) {
    let is_loopback = listener.local_addr().is_ok_and(|at| at.ip().is_loopback());
    // There all clients have the address of this machine.
    let share = if is_loopback { 1 } else { PEER_SHARE };
    let most_of_peer = bounds.max_connections.div_ceil(share);
    let connections = Connections::new(bounds.max_connections, most_of_peer);
    requests.watch(connections.clone());
    let door = Door {
        router,
        bounds,
        requests,
        tls,
        stop: stop.clone(),
    };
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => match connections.take(peer.ip()) {
                    Ok(place) => {
                        open.spawn(door.clone().open(stream, peer, place));
                    }
                    Err(Full::All | Full::OfPeer) => door.requests.refuse(Refusal::Full),
                },
                Err(error) => {
                    tracing::warn!(%error, "could not take a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            },
        }
    }
    while open.join_next().await.is_some() {}
}

impl Door {
    /// The handshake, where there is one, and then the connection to its end.
    async fn open(self, stream: TcpStream, address: SocketAddr, place: Place) {
        let Some(tls) = &self.tls else {
            let client = Client {
                address,
                holder: None,
            };
            return self.answer(stream, client, place).await;
        };
        let acceptor = tls.acceptor();
        let secured = self
            .stop
            .run_until_cancelled(tls::handshake(&acceptor, stream));
        match secured.await {
            None => {}
            Some(Ok(stream)) => {
                let shown = stream.get_ref().1.peer_certificates();
                let first = shown.and_then(<[_]>::first);
                let holder = first.and_then(|first| certificate::holder(first));
                self.answer(stream, Client { address, holder }, place).await;
            }
            Some(Err(error)) => {
                self.requests.refuse(Refusal::Tls);
                tracing::debug!(%address, reason = tls::reason(&error), "no TLS with it");
            }
        }
    }

    /// One connection to its end, which is nobody's error but the client's.
    async fn answer<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        stream: S,
        client: Client,
        place: Place,
    ) {
        let broken = Arc::clone(&self.requests);
        let told = move |late: Late| broken.refuse(late.into());
        let keeps = Pace {
            known_within: None,
            taken_within: self.bounds.taken_within,
        };
        let stream = Paced::new(stream, keeps, place, Arc::new(told));
        let has_begun = stream.has_begun();
        let router = self.router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(client.clone());
            router.clone().call(request)
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.bounds.head_within)
            .serve_connection(TokioIo::new(stream), service);
        let mut connection = std::pin::pin!(connection);
        let end = tokio::select! {
            end = connection.as_mut() => end,
            () = self.stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = end {
            // The time for a head begins with the wait for it: one that asks for nothing more is idle.
            if error.is_timeout() && has_begun.load(Ordering::Relaxed) {
                self.requests.refuse(Refusal::Slow);
            }
            tracing::debug!(%error, "an HTTP connection broke off");
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    const ASKED: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

    /// A door of so many places, its books, and what ends it.
    async fn open(
        max_connections: usize,
        head_within: Duration,
    ) -> (
        std::net::SocketAddr,
        Arc<Requests>,
        JoinSet<()>,
        CancellationToken,
    ) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let bounds = Bounds {
            max_connections,
            head_within,
            taken_within: Duration::from_mins(1),
        };
        let (requests, stop) = (Arc::<Requests>::default(), CancellationToken::new());
        let router = Router::new().route("/", get(|| async { "here" }));
        let mut serving = JoinSet::new();
        serving.spawn(serve(
            listener,
            router,
            bounds,
            Arc::clone(&requests),
            None,
            stop.clone(),
        ));
        (address, requests, serving, stop)
    }

    /// What a client gets that sends this, to the end of the connection.
    async fn answer_to(mut client: TcpStream, bytes: &[u8]) -> String {
        let mut answer = Vec::new();
        // One that was refused may be gone before it has written.
        drop(client.write_all(bytes).await);
        drop(client.read_to_end(&mut answer).await);
        String::from_utf8(answer).unwrap()
    }

    const SOON: Duration = Duration::from_millis(200);

    fn refused(requests: &Requests) -> Vec<(&'static str, u64)> {
        let refused = requests.refused().into_iter();
        refused.filter(|(_, count)| *count > 0).collect()
    }

    #[tokio::test]
    async fn one_that_sends_its_request_in_drips_holds_up_nobody() {
        let (address, requests, mut serving, stop) = open(2, Duration::from_mins(1)).await;
        let mut dribbling = TcpStream::connect(address).await.unwrap();
        dribbling.write_all(b"GET / HT").await.unwrap();
        let other = TcpStream::connect(address).await.unwrap();
        assert!(answer_to(other, ASKED).await.ends_with("here"));
        drop(dribbling);
        stop.cancel();
        serving.join_next().await.unwrap().unwrap();
        assert_eq!(requests.connections(), 0);
    }

    #[tokio::test]
    async fn one_that_sends_its_request_in_drips_is_let_go_and_counted() {
        let (address, requests, mut serving, stop) = open(2, SOON).await;
        let dribbling = TcpStream::connect(address).await.unwrap();
        assert!(!answer_to(dribbling, b"GET / HT").await.contains("here"));
        stop.cancel();
        serving.join_next().await.unwrap().unwrap();
        assert_eq!(refused(&requests), [("slow", 1)]);
        assert_eq!(requests.connections(), 0);
    }

    #[tokio::test]
    async fn one_that_is_idle_after_its_answer_is_let_go_and_is_no_refusal() {
        let (address, requests, mut serving, stop) = open(2, SOON).await;
        let idle = TcpStream::connect(address).await.unwrap();
        // To the end of the connection, which is the door's doing.
        let asked = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
        assert!(answer_to(idle, asked).await.ends_with("here"));
        stop.cancel();
        serving.join_next().await.unwrap().unwrap();
        assert_eq!(refused(&requests), []);
        assert_eq!(requests.connections(), 0);
    }

    #[tokio::test]
    async fn one_too_many_is_refused_and_counted() {
        let (address, requests, mut serving, stop) = open(1, Duration::from_mins(1)).await;
        let mut first = TcpStream::connect(address).await.unwrap();
        // Its answer shows that it has its place.
        first
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        assert_ne!(first.read(&mut [0; 1024]).await.unwrap(), 0);
        assert_eq!(requests.connections(), 1);
        let second = TcpStream::connect(address).await.unwrap();
        assert_eq!(answer_to(second, ASKED).await, "");
        assert!(answer_to(first, ASKED).await.ends_with("here"));
        stop.cancel();
        serving.join_next().await.unwrap().unwrap();
        assert_eq!(refused(&requests), [("too_many_connections", 1)]);
    }
}
