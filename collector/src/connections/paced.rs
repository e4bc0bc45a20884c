#![expect(
    clippy::disallowed_methods,
    reason = "shell: closes connections and bodies whose time is up"
)]
//! What a peer must do in time, so that one that is slow, broken or hostile keeps neither a place nor
//! memory: show who it is, take its answers, send its request to the end.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// Any error of a body.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Timer = Pin<Box<Sleep>>;

/// Why a connection is broken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Late {
    /// The peer did not show who it is.
    Silent,
    /// It does not take its answer.
    Stalled,
}

impl Late {
    /// As metrics say it.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::Stalled => "stalled",
        }
    }
}

/// What is told when time is up.
pub type Told = Arc<dyn Fn(Late) + Send + Sync>;

/// How long a peer may take.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// From the connection to the first request of somebody who is known; `None` for ever.
    pub known_within: Option<Duration>,
    /// For the next bytes of an answer that it does not take.
    pub taken_within: Duration,
}

/// A connection whose peer must keep pace.
pub struct Paced<S> {
    io: S,
    pace: Pace,
    known: Arc<AtomicBool>,
    has_begun: Arc<AtomicBool>,
    until_known: Option<Timer>,
    until_taken: Option<Timer>,
    told: Told,
    _holds: Box<dyn Send + Sync>,
}

impl<S> std::fmt::Debug for Paced<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Paced")
            .field("pace", &self.pace)
            .finish_non_exhaustive()
    }
}

impl<S> Paced<S> {
    /// Begins to count; what it `holds` is given back with the connection.
    pub fn new(io: S, pace: Pace, holds: impl Send + Sync + 'static, told: Told) -> Self {
        Self {
            io,
            pace,
            known: Arc::default(),
            has_begun: Arc::default(),
            until_known: pace.known_within.map(|within| Box::pin(sleep(within))),
            until_taken: None,
            told,
            _holds: Box::new(holds),
        }
    }

    /// To be set once the peer has shown who it is.
    pub fn known(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.known)
    }

    /// Set while bytes have come since the last were written: it has begun to ask for something.
    pub fn has_begun(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.has_begun)
    }

    /// Ready with an error if the peer should have shown who it is by now.
    fn silent(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        let Some(timer) = &mut self.until_known else {
            return Poll::Pending;
        };
        ready!(timer.as_mut().poll(context));
        self.until_known = None;
        if self.known.load(Ordering::Relaxed) {
            return Poll::Pending;
        }
        (self.told)(Late::Silent);
        Poll::Ready(io::ErrorKind::TimedOut.into())
    }

    /// What a write came to; one that waits for the peer for too long is an error.
    fn taken<T>(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.until_taken = None;
            return written;
        }
        let within = self.pace.taken_within;
        let timer = self
            .until_taken
            .get_or_insert_with(|| Box::pin(sleep(within)));
        ready!(timer.as_mut().poll(context));
        self.until_taken = None;
        (self.told)(Late::Stalled);
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Poll::Ready(error) = self.silent(context) {
            return Poll::Ready(Err(error));
        }
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.io).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.has_begun.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(context, bytes);
        if written.is_ready() {
            self.has_begun.store(false, Ordering::Relaxed);
        }
        self.taken(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(context, slices);
        if written.is_ready() {
            self.has_begun.store(false, Ordering::Relaxed);
        }
        self.taken(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(context);
        self.taken(context, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.io).poll_shutdown(context);
        self.taken(context, shut)
    }
}

/// A body that must be there in time.
#[derive(Debug)]
pub struct Timed<B> {
    body: B,
    until_whole: Timer,
    late: fn() -> BoxError,
}

impl<B> Timed<B> {
    /// Whole within that time, or it ends with the error `late`.
    pub fn new(body: B, within: Duration, late: fn() -> BoxError) -> Self {
        Self {
            body,
            until_whole: Box::pin(sleep(within)),
            late,
        }
    }
}

impl<B> Body for Timed<B>
where
    B: Body + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = B::Data;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.until_whole.as_mut().poll(context));
        Poll::Ready(Some(Err((self.late)())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::sync::Mutex;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::connections::Connections;

    const SOON: Duration = Duration::from_millis(20);
    const LATE: Duration = Duration::from_hours(1);

    struct Pair {
        ours: Paced<TcpStream>,
        peer: TcpStream,
        told: Arc<Mutex<Vec<Late>>>,
        connections: Connections,
    }

    async fn pair(known_within: Duration, taken_within: Duration) -> Pair {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let connections = Connections::new(1, 1);
        let place = connections.take(IpAddr::from(Ipv4Addr::LOCALHOST)).unwrap();
        let told = Arc::<Mutex<Vec<Late>>>::default();
        let tell = Arc::clone(&told);
        let keeps = Pace {
            known_within: Some(known_within),
            taken_within,
        };
        let tell = Arc::new(move |late| tell.lock().unwrap().push(late));
        Pair {
            ours: Paced::new(stream, keeps, place, tell),
            peer,
            told,
            connections,
        }
    }

    #[tokio::test]
    async fn one_that_does_not_show_who_it_is_loses_its_place() {
        let mut pair = pair(SOON, LATE).await;
        let error = pair.ours.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(*pair.told.lock().unwrap(), [Late::Silent]);
        drop(pair.ours);
        assert_eq!(pair.connections.open(), 0);
    }

    #[tokio::test]
    async fn one_that_is_known_may_be_silent() {
        let pair = pair(SOON, LATE).await;
        pair.ours.known().store(true, Ordering::Relaxed);
        let (mut ours, mut peer) = (pair.ours, pair.peer);
        // Reads until the timer has rung, and goes on.
        while ours.until_known.is_some() {
            let read = tokio::time::timeout(SOON, ours.read_u8()).await;
            assert!(read.is_err(), "nothing was sent: {read:?}");
        }
        peer.write_u8(7).await.unwrap();
        assert_eq!(ours.read_u8().await.unwrap(), 7);
        assert!(pair.told.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn one_has_begun_from_its_first_byte_to_its_answer() {
        let Pair {
            mut ours, mut peer, ..
        } = pair(LATE, LATE).await;
        let has_begun = ours.has_begun();
        assert!(!has_begun.load(Ordering::Relaxed));
        for asked in 0..2 {
            peer.write_u8(asked).await.unwrap();
            assert_eq!(ours.read_u8().await.unwrap(), asked);
            assert!(has_begun.load(Ordering::Relaxed));
            ours.write_u8(asked).await.unwrap();
            assert!(!has_begun.load(Ordering::Relaxed));
        }
        // Its end is nothing that it asks.
        drop(peer);
        drop(ours.read_u8().await);
        assert!(!has_begun.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn one_that_does_not_take_its_answer_is_let_go() {
        let mut pair = pair(LATE, SOON).await;
        let more_than_sockets_hold = vec![0; 64 << 20];
        let error = pair.ours.write_all(&more_than_sockets_hold).await;
        assert_eq!(error.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(*pair.told.lock().unwrap(), [Late::Stalled]);
        drop(pair.peer);
    }
}
