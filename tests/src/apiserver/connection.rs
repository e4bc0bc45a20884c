#![expect(
    clippy::disallowed_methods,
    reason = "shell: takes connections on loopback"
)]
//! The sockets: loopback connections, plain or with TLS, one task each.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::Shared;
use super::answer::answer;
use super::identity::User;

/// The socket beneath an answer, so that a fault can reset it.
#[derive(Clone, Debug, Default)]
pub(super) struct Socket(Option<Arc<OwnedFd>>);

impl Socket {
    /// Closing sends RST instead of FIN from now on.
    pub(super) fn reset_when_closed(&self) {
        if let Some(socket) = &self.0 {
            let at_once = Some(Duration::ZERO);
            rustix::net::sockopt::set_socket_linger(&**socket, at_once).unwrap_or_default();
        }
    }
}

/// The server's certificate, and the authority that clients are to trust: that of clients' certificates too.
pub(super) struct Certificate {
    config: Arc<ServerConfig>,
    pub(super) authority_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

/// A certificate of a client: DER, and what a kubeconfig holds.
pub(super) struct OfClient {
    pub(super) der: Vec<u8>,
    pub(super) pem: String,
    pub(super) key_pem: String,
}

impl Certificate {
    /// For 127.0.0.1 and `kubernetes.default.svc`, from an authority of its own.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn new() -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "kubernetes");
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?;
        let issuer = Issuer::new(params, key);
        let names = ["127.0.0.1", "localhost", "kubernetes.default.svc"];
        let names: Vec<_> = names.map(str::to_owned).into();
        let key = KeyPair::generate()?;
        let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(authority.der().clone())?;
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let clients = clients.allow_unauthenticated().build()?;
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(clients)
            .with_single_cert(vec![certificate.der().clone()], key)
            .context("the server's certificate")?;
        Ok(Self {
            config: Arc::new(config),
            authority_pem: authority.pem(),
            issuer,
        })
    }

    /// For somebody of one group.
    ///
    /// # Errors
    /// It cannot be made.
    pub(super) fn of_client(&self, name: &str, group: &str) -> Result<OfClient> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params
            .distinguished_name
            .push(DnType::OrganizationName, group);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(OfClient {
            der: certificate.der().to_vec(),
            pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

/// Takes connections as long as the runtime lives.
pub(super) async fn accept(
    shared: Arc<Shared>,
    listener: TcpListener,
    certificate: Option<Arc<Certificate>>,
) {
    let tls = certificate.map(|c| TlsAcceptor::from(Arc::clone(&c.config)));
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(5)).await;
            continue;
        };
        let (shared, tls) = (Arc::clone(&shared), tls.clone());
        let mut down = shared.down.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                biased;
                _ = down.wait_for(|down| *down) => {}
                // A client that goes away is not the server's error.
                _ = serve(shared, stream, tls) => {}
            }
        });
    }
}

async fn serve(shared: Arc<Shared>, stream: TcpStream, tls: Option<TlsAcceptor>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = Socket(Some(Arc::new(rustix::io::dup(&stream)?)));
    match tls {
        None => speak(shared, stream, socket, None).await,
        Some(tls) => {
            let stream = tls.accept(stream).await?;
            let shown = stream.get_ref().1.peer_certificates();
            let shown = shown.and_then(<[_]>::first).map(|shown| shown.to_vec());
            let user = shown.and_then(|shown| shared.state().certificates.get(&shown).cloned());
            speak(shared, stream, socket, user).await;
        }
    }
    Ok(())
}

/// `user`: whom the client's certificate names.
async fn speak<S>(shared: Arc<Shared>, stream: S, socket: Socket, user: Option<User>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        if let Some(user) = &user {
            request.extensions_mut().insert(user.clone());
        }
        let (shared, socket) = (Arc::clone(&shared), socket.clone());
        answer(shared, socket, request)
    });
    let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    drop(connection.with_upgrades().await);
}
