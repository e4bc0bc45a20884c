#![expect(
    clippy::disallowed_methods,
    reason = "shell: takes HTTP connections, waits after a failure"
)]
//! The API's door: bounded in connections and in the time that one may take over its part.
//!
//! A client that sends its request in drips, says nothing, or does not take its answer is let go, so
//! that the probes and scrapes of others are answered; and when all places are taken, or an address has its
//! share of those that are not known, the one that was idle for longest goes for a newcomer. Who was refused
//! or let go is counted, and named in the log within a bound. Knows no route.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use axum::Router;
use axum::middleware::Next;
use axum::response::Response;
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

use super::access::{Caller, Client};
use super::lines::Lines;
use super::requests::Refusal;
use super::{Requests, certificate};
use crate::connections::Full;
use crate::connections::guests::{Guest, Guests, Visit};
use crate::connections::paced::{Late, Pace, Paced};
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

/// One address may have this share of all places for clients that are not known, where they have addresses of
/// their own.
const PEER_SHARE: usize = 8;

/// What every connection goes through.
#[derive(Clone)]
struct Door {
    router: Router,
    bounds: Bounds,
    requests: Arc<Requests>,
    /// Plain text without.
    tls: Option<Arc<tls::Shown>>,
    log: Arc<Log>,
    stop: CancellationToken,
}

/// What anybody can have written into the log.
#[derive(Default)]
struct Log {
    full: Lines,
    handshakes: Lines,
}

impl Log {
    /// All places are taken, by known ones that are being answered.
    fn refused(&self, peer: IpAddr) {
        if let Some(left_out) = self.full.take(Instant::now()) {
            tracing::warn!(%peer, left_out, "an HTTP connection was refused: all places are taken");
        }
    }

    fn let_go(&self, peer: IpAddr, why: Full) {
        if let Some(left_out) = self.full.take(Instant::now()) {
            let reason = why.reason();
            tracing::warn!(%peer, reason, left_out, "an idle HTTP connection was let go for another");
        }
    }

    fn no_tls(&self, peer: SocketAddr, error: &std::io::Error) {
        if let Some(left_out) = self.handshakes.take(Instant::now()) {
            let reason = tls::reason(error);
            tracing::warn!(%peer, reason, left_out, "an HTTP connection was refused: no TLS with it");
        }
    }
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
    let guests = Guests::new(bounds.max_connections, most_of_peer);
    requests.watch(guests.clone());
    let door = Door {
        router,
        bounds,
        requests,
        tls,
        log: Arc::default(),
        stop: stop.clone(),
    };
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            () = stop.cancelled() => break,
            Some(_) = open.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, peer)) => {
                    if let Some(guest) = door.place(&guests, peer.ip()) {
                        open.spawn(door.clone().open(stream, peer, guest));
                    }
                }
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
    /// A newcomer's place, for which another one may have to go.
    fn place(&self, guests: &Guests, peer: IpAddr) -> Option<Guest> {
        match guests.take(peer) {
            Ok((guest, let_go)) => {
                if let Some(let_go) = let_go {
                    self.requests.refuse(Refusal::Full);
                    self.log.let_go(let_go.peer, let_go.why);
                }
                Some(guest)
            }
            Err(Full::All | Full::OfPeer) => {
                self.requests.refuse(Refusal::Full);
                self.log.refused(peer);
                None
            }
        }
    }

    /// A connection until it ends, or has to go.
    async fn open(self, stream: TcpStream, address: SocketAddr, guest: Guest) {
        let let_go = guest.let_go();
        let served = self.secured(stream, address, guest);
        // Dropped, it closes the connection.
        let _or_not = let_go.run_until_cancelled(served).await;
    }

    /// The handshake, where there is one, and then the connection to its end.
    async fn secured(&self, stream: TcpStream, address: SocketAddr, guest: Guest) {
        let Some(tls) = &self.tls else {
            let client = Client {
                address,
                holder: None,
            };
            return self.answer(stream, client, guest).await;
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
                self.answer(stream, Client { address, holder }, guest).await;
            }
            Some(Err(error)) => {
                self.requests.refuse(Refusal::Tls);
                self.log.no_tls(address, &error);
            }
        }
    }

    /// One connection to its end, which is nobody's error but the client's.
    async fn answer<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(
        &self,
        stream: S,
        client: Client,
        guest: Guest,
    ) {
        let visit = guest.visit();
        let broken = Arc::clone(&self.requests);
        let told = move |late: Late| broken.refuse(late.into());
        let keeps = Pace {
            known_within: None,
            taken_within: self.bounds.taken_within,
        };
        let stream = Paced::new(stream, keeps, guest, Arc::new(told));
        let has_begun = stream.has_begun();
        let router = self.router.clone();
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(client.clone());
            request.extensions_mut().insert(visit.clone());
            let asking = visit.asks();
            let answer = router.clone().call(request);
            async move {
                let answer = answer.await;
                drop(asking);
                answer
            }
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

/// Notes that the one who asks is known: its connection is not one of those that go first.
pub(super) async fn noted(request: axum::extract::Request, next: Next) -> Response {
    let said = request.extensions();
    if let (Some(Caller::Known(_)), Some(visit)) = (said.get(), said.get::<Visit>()) {
        visit.is_known();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use axum::Extension;
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
        let known = |Extension(visit): Extension<Visit>| async move {
            visit.is_known();
            "known"
        };
        let router = Router::new()
            .route("/", get(|| async { "here" }))
            .route("/known", get(known));
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

    /// Asks, and leaves the connection open.
    async fn ask(client: &mut TcpStream, path: &str) -> String {
        let asked = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        client.write_all(asked.as_bytes()).await.unwrap();
        let mut answer = vec![0; 1024];
        let length = client.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..length]).into_owned()
    }

    #[tokio::test]
    async fn who_says_nothing_goes_for_a_newcomer_and_who_is_known_stays() {
        let (address, requests, mut serving, stop) = open(2, Duration::from_mins(1)).await;
        let mut known = TcpStream::connect(address).await.unwrap();
        assert!(ask(&mut known, "/known").await.ends_with("known"));
        let mut silent = TcpStream::connect(address).await.unwrap();
        let probe = TcpStream::connect(address).await.unwrap();
        assert!(answer_to(probe, ASKED).await.ends_with("here"));
        assert_eq!(silent.read(&mut [0]).await.unwrap_or(0), 0);
        assert!(ask(&mut known, "/").await.ends_with("here"));
        stop.cancel();
        serving.join_next().await.unwrap().unwrap();
        assert_eq!(refused(&requests), [("too_many_connections", 1)]);
        assert_eq!(requests.connections(), 0);
    }
}
