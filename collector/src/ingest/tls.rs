#![expect(
    clippy::disallowed_methods,
    reason = "shell: looks at certificate and key, which are read by name"
)]
//! TLS at the receiver's door: who cannot do it is refused, counted and named in the log.
//!
//! The handshakes are ours and not the gRPC server's, because that one drops a failed handshake
//! without a word, and an agent with a wrong authority must not be silence here. Knows nothing of
//! tokens or messages.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// Until the first byte: a client speaks first in TLS, and at once.
const FIRST_BYTE_WITHIN: Duration = Duration::from_secs(2);
/// One handshake.
const WITHIN: Duration = Duration::from_secs(10);

/// The certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that the configuration names.
    #[error("read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The setting that names it.
        setting: &'static str,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// A folder, a pipe: reading one may never end.
    #[error("{path} is no plain file")]
    NotPlain {
        /// The file.
        path: PathBuf,
        /// The setting that names it.
        setting: &'static str,
    },
    /// No certificate in it.
    #[error("{0} holds no PEM certificate")]
    Empty(PathBuf),
    /// Both can be read, but not used.
    #[error("use {certificate} with {key}")]
    Pair {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// Why.
        #[source]
        source: rustls::Error,
    },
}

const CERTIFICATE: &str = "ingest.tls_cert_file";
const KEY: &str = "ingest.tls_key_file";

impl TlsError {
    /// The setting that names the file to look at.
    pub const fn setting(&self) -> &'static str {
        match self {
            Self::Read { setting, .. } | Self::NotPlain { setting, .. } => setting,
            Self::Empty(_)
            | Self::Pair {
                source: rustls::Error::InvalidCertificate(_),
                ..
            } => CERTIFICATE,
            Self::Pair { .. } => KEY,
        }
    }
}

/// Reads certificate chain and private key, and whether they belong together. Waits for the disk.
///
/// # Errors
/// Why they cannot be used.
pub fn acceptor(certificate: &Path, key: &Path) -> Result<TlsAcceptor, TlsError> {
    let unreadable = |path: &Path, setting| {
        let path = path.to_owned();
        move |source| TlsError::Read {
            path,
            setting,
            source,
        }
    };
    for (path, setting) in [(certificate, CERTIFICATE), (key, KEY)] {
        let looked_at = std::fs::metadata(path).map_err(pem::Error::Io);
        if !looked_at.map_err(unreadable(path, setting))?.is_file() {
            let path = path.to_owned();
            return Err(TlsError::NotPlain { path, setting });
        }
    }
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable(certificate, CERTIFICATE))?;
    if chain.is_empty() {
        return Err(TlsError::Empty(certificate.to_owned()));
    }
    let secret = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key, KEY))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            builder
                .with_no_client_auth()
                .with_single_cert(chain, secret)
        })
        .map_err(|source| TlsError::Pair {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            source,
        })?;
    // gRPC is HTTP/2 and nothing else.
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// The TLS in a connection.
pub(super) async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    tokio::time::timeout(FIRST_BYTE_WITHIN, stream.peek(&mut [0])).await??;
    tokio::time::timeout(WITHIN, acceptor.accept(stream))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A failed handshake in words that name the remedy, where there is one.
pub(super) fn reason(error: &io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType)) => {
            "it does not speak TLS (plain text?)".to_owned()
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            format!("it does not take our certificate (alert {alert:?})")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_cannot_serve_are_named_with_their_setting() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let pair = |name: &str| {
            let made = rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
            (made.cert.pem(), made.signing_key.serialize_pem())
        };
        let (one, key_of_one) = pair("one");
        let (_, key_of_other) = pair("other");
        let (one, key_of_one) = (file("one", &one), file("one.key", &key_of_one));
        let other = file("other.key", &key_of_other);
        let empty = file("empty", "");
        let absent = folder.path().join("absent");
        assert!(acceptor(&one, &key_of_one).is_ok());
        let nonsense = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let nonsense = file("nonsense", nonsense);
        let folder = folder.path().to_owned();
        for (certificate, key, setting, expect) in [
            (
                &absent,
                &other,
                CERTIFICATE,
                "absent: I/O error: No such file",
            ),
            (
                &empty,
                &other,
                CERTIFICATE,
                "empty holds no PEM certificate",
            ),
            (&folder, &other, CERTIFICATE, "is no plain file"),
            (&nonsense, &key_of_one, CERTIFICATE, "nonsense with "),
            (&one, &absent, KEY, "absent: I/O error: No such file"),
            (&one, &empty, KEY, "empty: no items found"),
            (&one, &one, KEY, "one: no items found"),
            (
                &one,
                &other,
                KEY,
                "other.key: keys may not be consistent: KeyMismatch",
            ),
        ] {
            let Err(error) = acceptor(certificate, key) else {
                panic!("{expect}: was taken");
            };
            let said = crate::errors::chain(&error);
            assert!(said.contains(expect), "{said}");
            assert_eq!(error.setting(), setting, "{said}");
        }
    }
}
