#![expect(
    clippy::disallowed_methods,
    reason = "test: a receiver on a loopback port, with certificates in files"
)]
//! A receiver of syslog that does what it is told, one script for each connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver as Channel, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// More than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// What becomes of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) enum Script {
    /// All is read until the other side ends.
    Read,
    /// Ended before a byte is read.
    Close,
    /// So many messages are read, then it ends.
    After(usize, End),
    /// The same, once the test says so.
    WhenTold(usize, End),
    /// A few bytes at a time.
    Slow,
}

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    InOrder,
    Reset,
}

impl Script {
    const fn end(self) -> End {
        match self {
            Self::After(_, end) | Self::WhenTold(_, end) => end,
            Self::Read | Self::Close | Self::Slow => End::InOrder,
        }
    }
}

/// An authority with its files.
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate.
    pub(super) file: PathBuf,
}

/// A certificate with its key, in files.
pub(super) struct Pair {
    /// The certificate.
    pub(super) cert: PathBuf,
    /// The key.
    pub(super) key: PathBuf,
}

impl Authority {
    pub(super) fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let named = rcgen::DnType::CommonName;
        params.distinguished_name.push(named, name);
        let key = KeyPair::generate().unwrap();
        let file = folder.join(format!("{name}.pem"));
        std::fs::write(&file, params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            file,
        }
    }

    pub(super) fn sign(&self, name: &str) -> Pair {
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let own = KeyPair::generate().unwrap();
        let signed = params.signed_by(&own, &self.issuer).unwrap();
        let cert = self.file.with_extension(format!("{name}.cert"));
        let key = self.file.with_extension(format!("{name}.key"));
        std::fs::write(&cert, signed.pem()).unwrap();
        std::fs::write(&key, own.serialize_pem()).unwrap();
        Pair { cert, key }
    }

    fn roots(&self) -> Arc<RootCertStore> {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&self.file).unwrap())
            .unwrap();
        Arc::new(roots)
    }
}

/// What is in a file.
pub(super) fn text(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

/// Puts another file in the place of one.
pub(super) fn put(file: &Path, text: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, text).unwrap();
    std::fs::rename(&next, file).unwrap();
}

/// What a receiver does with TLS.
pub(super) fn tls(own: &Pair, clients: Option<&Authority>) -> Arc<ServerConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => builder.with_client_cert_verifier(
            WebPkiClientVerifier::builder_with_provider(authority.roots(), provider)
                .build()
                .unwrap(),
        ),
    };
    let chain = vec![CertificateDer::from_pem_file(&own.cert).unwrap()];
    let key = PrivateKeyDer::from_pem_file(&own.key).unwrap();
    Arc::new(builder.with_single_cert(chain, key).unwrap())
}

/// See the module. One connection at a time.
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    events: Channel<Event>,
    ending: Sender<()>,
    serving: Option<JoinHandle<()>>,
}

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Message(String),
    /// A connection, by its number, is over.
    Over(usize),
}

impl Receiver {
    /// Ends after the last script.
    pub(super) fn start(tls: Option<Arc<ServerConfig>>, scripts: &[Script]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (told, events) = channel();
        let (ending, may_end) = channel();
        let scripts = scripts.to_vec();
        let serving = std::thread::spawn(move || {
            for (number, script) in scripts.into_iter().enumerate() {
                let (stream, _) = listener.accept().unwrap();
                stream.set_read_timeout(Some(PATIENCE)).unwrap();
                // A client that goes away in the midst is a script's matter.
                let _ended = serve(stream, tls.clone(), script, (&told, &may_end));
                let _gone = told.send(Event::Over(number));
            }
        });
        Self {
            address,
            events,
            ending,
            serving: Some(serving),
        }
    }

    /// A connection that waits for it ends now.
    pub(super) fn end(&self) {
        self.ending.send(()).unwrap();
    }

    /// The messages of the next connection, once it is over.
    pub(super) fn connection(&self) -> Vec<String> {
        let mut messages = Vec::new();
        while let Event::Message(message) = self.events.recv_timeout(PATIENCE).unwrap() {
            messages.push(message);
        }
        messages
    }

    /// Its next message.
    pub(super) fn message(&self) -> String {
        match self.events.recv_timeout(PATIENCE).unwrap() {
            Event::Message(message) => message,
            over @ Event::Over(_) => panic!("{over:?}"),
        }
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.serving.take().unwrap().join().unwrap();
        }
    }
}

fn serve(
    stream: TcpStream,
    tls: Option<Arc<ServerConfig>>,
    script: Script,
    channels: (&Sender<Event>, &Channel<()>),
) -> io::Result<()> {
    if matches!(script, Script::Close) {
        return Ok(());
    }
    let socket = stream.try_clone()?;
    match tls {
        None => read(stream, &socket, script, channels),
        Some(config) => {
            let mut session = ServerConnection::new(config).unwrap();
            let mut stream = stream;
            while session.is_handshaking() {
                session.complete_io(&mut stream)?;
            }
            let mut stream = StreamOwned::new(session, stream);
            read(&mut stream, &socket, script, channels)?;
            if script.end() == End::InOrder {
                stream.conn.send_close_notify();
                stream.flush()?;
            }
            Ok(())
        }
    }
}

fn read(
    mut stream: impl Read,
    socket: &TcpStream,
    script: Script,
    channels: (&Sender<Event>, &Channel<()>),
) -> io::Result<()> {
    let most = match script {
        Script::After(most, _) | Script::WhenTold(most, _) => most,
        Script::Read | Script::Close | Script::Slow => usize::MAX,
    };
    let (told, may_end) = channels;
    let at_once = if matches!(script, Script::Slow) {
        100
    } else {
        1 << 16
    };
    for _ in 0..most {
        let Some(message) = frame(&mut stream, at_once)? else {
            return Ok(());
        };
        told.send(Event::Message(message)).unwrap();
    }
    if matches!(script, Script::WhenTold(..)) {
        may_end.recv_timeout(PATIENCE).unwrap();
    }
    if script.end() == End::Reset {
        // Closed with nothing to linger for, a connection is reset.
        rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO))?;
    }
    Ok(())
}

/// The next message, nothing at the end.
fn frame(stream: &mut impl Read, at_once: usize) -> io::Result<Option<String>> {
    let mut count = String::new();
    loop {
        let mut byte = [0];
        match stream.read(&mut byte)? {
            0 if count.is_empty() => return Ok(None),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            _ if byte == *b" " => break,
            _ => count.push(char::from(byte[0])),
        }
    }
    let mut message = vec![0; count.parse().unwrap()];
    for part in message.chunks_mut(at_once) {
        stream.read_exact(part)?;
    }
    Ok(Some(String::from_utf8(message).unwrap()))
}
