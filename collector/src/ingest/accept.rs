#![expect(
    clippy::disallowed_methods,
    reason = "shell: takes connections, waits after a failure"
)]
//! The receiver's door: takes connections within their bounds, secures them, hands them on.
//!
//! Knows nothing of tokens or messages; that somebody is known is told to it by [`Peer::is_known`].

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use crate::connections::paced::{Pace, Paced, Told};
use crate::connections::{Connections, Full, Place};
use crate::tls;

/// Handshakes at a time; more wait in the kernel's queue.
const HANDSHAKES: usize = 256;
/// Of which from one address: connections that say nothing must not keep other nodes out.
const HANDSHAKES_PER_PEER: usize = 16;
/// After a connection that could not be taken, for want of descriptors as a rule.
const PAUSE: Duration = Duration::from_millis(100);

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that was taken, in plain text or not.
pub(super) struct Connection {
    io: Paced<Box<dyn Stream>>,
    peer: Peer,
}

/// Who is at the other end; requests carry it.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    known: Arc<AtomicBool>,
    stranger: Arc<Mutex<Option<Place>>>,
}

impl Peer {
    /// It has shown a token that is known: its connection may stay, and is no stranger's.
    pub(super) fn is_known(&self) {
        if !self.known.swap(true, Ordering::Relaxed) {
            let mut stranger = self.stranger.lock().unwrap_or_else(PoisonError::into_inner);
            drop(stranger.take());
        }
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// What a connection holds from its beginning.
struct Places {
    open: Place,
    /// Until its peer is known.
    stranger: Place,
}

/// Who may come in, and how they must behave.
pub(super) struct Door<R> {
    /// Plain text without.
    pub(super) tls: Option<Arc<tls::Shown>>,
    pub(super) connections: Connections,
    /// Those of them that have shown no token yet.
    pub(super) strangers: Connections,
    pub(super) pace: Pace,
    /// Told of each connection whose time is up.
    pub(super) expired: Told,
    /// Told of each that is refused: the reason for the metrics, and in words.
    pub(super) refused: R,
}

impl<R: Fn(&'static str, SocketAddr, &str)> Door<R> {
    fn connection(&self, io: Box<dyn Stream>, address: SocketAddr, places: Places) -> Connection {
        let io = Paced::new(io, self.pace, places.open, Arc::clone(&self.expired));
        let known = io.known();
        let stranger = Arc::new(Mutex::new(Some(places.stranger)));
        Connection {
            io,
            peer: Peer {
                address,
                known,
                stranger,
            },
        }
    }

    /// Places for a new connection, if it gets them.
    fn places(&self, stream: &TcpStream, peer: SocketAddr) -> Option<Places> {
        // Answers are small. One that is gone already is seen to be so later.
        drop(stream.set_nodelay(true));
        let take = |of: &Connections, why| {
            let refused = |full: Full| (self.refused)(full.reason(), peer, why);
            of.take(peer.ip()).map_err(refused).ok()
        };
        Some(Places {
            open: take(&self.connections, "too many connections")?,
            stranger: take(&self.strangers, "too many connections without a token yet")?,
        })
    }
}

/// Takes connections until `shutdown`, and hands on those that are within their bounds and whose
/// handshake succeeds.
pub(super) async fn accept<R: Fn(&'static str, SocketAddr, &str)>(
    listener: TcpListener,
    door: Door<R>,
    taken: mpsc::Sender<io::Result<Connection>>,
    shutdown: CancellationToken,
) {
    let mut handshakes = JoinSet::new();
    let mut shares: BTreeMap<IpAddr, Arc<()>> = BTreeMap::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            connection = listener.accept(), if handshakes.len() < HANDSHAKES => match connection {
                Ok((stream, peer)) => {
                    let Some(places) = door.places(&stream, peer) else {
                        continue;
                    };
                    let Some(acceptor) = door.tls.as_ref().map(|tls| tls.acceptor()) else {
                        let connection = door.connection(Box::new(stream), peer, places);
                        if taken.send(Ok(connection)).await.is_err() {
                            return;
                        }
                        continue;
                    };
                    // Ended handshakes have dropped theirs.
                    shares.retain(|_, share| Arc::strong_count(share) > 1);
                    let share = Arc::clone(shares.entry(peer.ip()).or_default());
                    if Arc::strong_count(&share) - 1 > HANDSHAKES_PER_PEER {
                        (door.refused)("tls", peer, "too many handshakes of this address at a time");
                        continue;
                    }
                    handshakes.spawn(async move {
                        let outcome = tls::handshake(&acceptor, stream).await;
                        drop(share);
                        (peer, places, outcome)
                    });
                }
                Err(error) => {
                    tracing::warn!(%error, "could not take a connection");
                    tokio::time::sleep(PAUSE).await;
                }
            },
            Some(done) = handshakes.join_next() => match done {
                Ok((peer, places, Ok(stream))) => {
                    let connection = door.connection(Box::new(stream), peer, places);
                    if taken.send(Ok(connection)).await.is_err() {
                        return;
                    }
                }
                Ok((peer, _, Err(error))) => (door.refused)("tls", peer, &tls::reason(&error)),
                Err(error) => tracing::error!(%error, "a handshake broke off"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::CertificateDer;
    use rustls::{ClientConfig, RootCertStore};
    use tokio::net::TcpSocket;
    use tokio_rustls::TlsConnector;

    use super::*;

    fn trusting(certificate: CertificateDer<'static>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(certificate).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        TlsConnector::from(Arc::new(config))
    }

    #[tokio::test]
    async fn silent_connections_of_one_address_keep_no_other_out() {
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed(vec!["one".to_owned()]).unwrap();
        let (certificate, key) = (folder.path().join("cert"), folder.path().join("key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let shown = tls::Shown::read(tls::Files {
            door: tls::Door::Ingest,
            certificate,
            key,
            client_ca: None,
        });
        let shown = shown.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (taken, mut secured) = mpsc::channel(1);
        let (told, mut reasons) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let door = Door {
            tls: Some(Arc::new(shown)),
            connections: Connections::new(1000, 1000),
            strangers: Connections::new(1000, 1000),
            pace: Pace {
                known_within: None,
                taken_within: Duration::from_mins(1),
            },
            expired: Arc::new(|_| ()),
            refused: move |_: &'static str, _: SocketAddr, reason: &str| {
                told.send(reason.to_owned()).unwrap();
            },
        };
        let accepting = tokio::spawn(accept(listener, door, taken, stop.clone()));
        let mut silent = Vec::new();
        for _ in 0..=HANDSHAKES_PER_PEER {
            silent.push(TcpStream::connect(address).await.unwrap());
        }
        let reason = reasons.recv().await.unwrap();
        assert!(reason.contains("too many handshakes"), "{reason}");
        let other = TcpSocket::new_v4().unwrap();
        other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let other = other.connect(address).await.unwrap();
        let served = trusting(made.cert.der().clone()).connect("one".try_into().unwrap(), other);
        let served = served.await.unwrap();
        let ours = secured.recv().await.unwrap().unwrap();
        assert_eq!(
            ours.peer.address.ip(),
            served.get_ref().0.local_addr().unwrap().ip()
        );
        stop.cancel();
        accepting.await.unwrap();
    }
}
