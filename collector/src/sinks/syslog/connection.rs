#![expect(
    clippy::disallowed_methods,
    reason = "shell: connects to a receiver of syslog and writes to it"
)]
//! A connection to a receiver. It says whether bytes were handed over and whether the other side is there still;
//! it knows no messages.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::sockopt;
use rustls::{AlertDescription, ClientConfig};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::sinks::Syslog as Settings;
use crate::sinks::{RefusalKind, Refused};

/// How long it may take to find and reach the receiver, and again to agree on TLS.
const CONNECT_TIME: Duration = Duration::from_secs(3);

/// What was sent and is not acknowledged by the receiver's kernel for so long ends the connection, milliseconds.
const UNACKNOWLEDGED_MS: u32 = 30_000;

/// A connection at rest is asked for after this, and every five seconds; the fourth question without an answer
/// ends it.
const IDLE: Duration = Duration::from_secs(10);
const ASK_EVERY: Duration = Duration::from_secs(5);
const ASK_TIMES: u32 = 4;

/// How long the receiver may take to close as well.
const CLOSE_TIME: Duration = Duration::from_secs(1);

/// What this kernel holds at the most, bytes (it takes the double, and less if `net.core.wmem_max` says so): the less
/// it holds, the less is written that nobody reads.
const SEND_BUFFER_BYTES: usize = 256 << 10;

/// What is handed over at a time, bytes.
const CHUNK_BYTES: usize = 16 << 10;

trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Duplex for T {}

/// See the module.
pub struct Connection(Box<dyn Duplex>);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, over TLS with that `config`.
    ///
    /// # Errors
    /// Nobody is there, or not the right one, or we are not.
    pub async fn open(
        settings: &Settings,
        config: Option<Arc<ClientConfig>>,
    ) -> Result<Self, Refused> {
        let (Some(address), Some(name)) = (settings.host_and_port(), settings.name()) else {
            let kind = io::Error::from(io::ErrorKind::InvalidInput);
            return Err(refused(settings, "connect to", kind));
        };
        let stream = within(CONNECT_TIME, TcpStream::connect(address))
            .await
            .and_then(|stream| tuned(&stream).map(|()| stream))
            .map_err(|error| refused(settings, "connect to", error))?;
        let Some(config) = config else {
            return Ok(Self(Box::new(stream)));
        };
        let connector = TlsConnector::from(config);
        let stream = within(CONNECT_TIME, connector.connect(name, stream))
            .await
            .map_err(|error| refused(settings, "agree on TLS with", error))?;
        Ok(Self(Box::new(stream)))
    }

    /// Hands everything over.
    ///
    /// # Errors
    /// The connection has ended, or a chunk of it was not taken within `stall`: some of it may have arrived.
    pub async fn write(&mut self, bytes: &[u8], stall: Duration) -> io::Result<()> {
        for chunk in bytes.chunks(CHUNK_BYTES) {
            within(stall, self.0.write_all(chunk)).await?;
        }
        within(stall, self.0.flush()).await
    }

    /// Whether the other side has ended the connection or does so `within` this time. What it says is passed over.
    ///
    /// # Errors
    /// It has.
    pub async fn is_open(&mut self, within: Duration) -> io::Result<()> {
        match timeout(within, self.ended()).await {
            Err(_) => Ok(()),
            Ok(ended) => Err(ended),
        }
    }

    /// How it ended.
    async fn ended(&mut self) -> io::Error {
        let mut passed_over = [0; 1024];
        loop {
            match self.0.read(&mut passed_over).await {
                Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
                Ok(_) => {}
                Err(error) => return error,
            }
        }
    }

    /// Says that nothing more comes, and waits a moment for the other side to have read it all: what the other
    /// side said and nobody has read would reset the connection, and with it what is under way.
    pub async fn close(mut self) {
        let both = async {
            if self.0.shutdown().await.is_ok() {
                self.ended().await;
            }
        };
        // Without an answer it ends as it is.
        let _late = timeout(CLOSE_TIME, both).await;
    }
}

/// Sent at once, and ended when the other side is gone without a word.
fn tuned(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER_BYTES)?;
    sockopt::set_tcp_user_timeout(stream, UNACKNOWLEDGED_MS)?;
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, IDLE)?;
    sockopt::set_tcp_keepintvl(stream, ASK_EVERY)?;
    sockopt::set_tcp_keepcnt(stream, ASK_TIMES)?;
    Ok(())
}

async fn within<T>(time: Duration, what: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    timeout(time, what)
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// What an operator is told, with what to do about it.
pub fn refused(settings: &Settings, doing: &str, error: io::Error) -> Refused {
    let (kind, help) = judge(&error);
    Refused {
        kind,
        what: format!("{doing} the syslog receiver {}{help}", settings.address),
        source: Some(error.into()),
        retry_after_ms: None,
    }
}

fn judge(error: &io::Error) -> (RefusalKind, &'static str) {
    let of_tls = error.get_ref().and_then(|inner| inner.downcast_ref());
    match of_tls {
        Some(rustls::Error::InvalidCertificate(_)) => (
            RefusalKind::Other,
            ": its certificate is not one of server_name's by ca_file",
        ),
        Some(rustls::Error::AlertReceived(alert)) if is_of_our_certificate(*alert) => (
            RefusalKind::Denied,
            ": it does not take the certificate of cert_file, or wants one",
        ),
        _ => (RefusalKind::Unavailable, ""),
    }
}

const fn is_of_our_certificate(alert: AlertDescription) -> bool {
    matches!(
        alert,
        AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRequired
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::NoCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate
    )
}
