#![expect(
    clippy::disallowed_methods,
    reason = "shell: looks at certificate and key, which are read by name"
)]
//! TLS at the receiver's door: who cannot do it is refused, counted and named in the log.
//!
//! The handshakes are ours and not the gRPC server's, because that one drops a failed handshake
//! without a word, and an agent with a wrong authority must not be silence here. Knows nothing of
//! tokens or messages.
//!
//! Certificate and key are looked at again every [`LOOK`], and what has changed is shown to whoever
//! connects from then on. What cannot be used leaves the one before, and is told.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use tokio::net::TcpStream;
use tokio::task::JoinError;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use super::Counts;
use crate::errors;

/// Until the first byte: a client speaks first in TLS, and at once.
const FIRST_BYTE_WITHIN: Duration = Duration::from_secs(2);
/// One handshake.
const WITHIN: Duration = Duration::from_secs(10);

/// Between two looks at certificate and key.
const LOOK: Duration = Duration::from_secs(10);

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

/// Modification time, length and inode of certificate and key, where they are there.
type Stamps = [Option<(SystemTime, u64, u64)>; 2];

/// Certificate and key as they are shown now.
pub(super) struct Shown {
    certificate: PathBuf,
    key: PathBuf,
    acceptor: RwLock<TlsAcceptor>,
    seen: Mutex<Seen>,
}

struct Seen {
    /// Before what is shown, or cannot be, was read.
    stamps: Stamps,
    /// Why what is there now cannot be shown.
    trouble: Option<String>,
}

/// What a look found.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    Same,
    New,
    /// Not told yet.
    Trouble(String),
}

impl Shown {
    /// Waits for the disk.
    pub(super) fn read(certificate: &Path, key: &Path) -> Result<Self, TlsError> {
        let stamps = stamps(certificate, key);
        Ok(Self {
            acceptor: RwLock::new(acceptor(certificate, key)?),
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            seen: Mutex::new(Seen {
                stamps,
                trouble: None,
            }),
        })
    }

    /// For the next connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        let acceptor = self.acceptor.read();
        acceptor.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads them again if they have changed, or could not be used. Waits for the disk.
    fn look(&self) -> Look {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.certificate, &self.key);
        if stamps == seen.stamps && seen.trouble.is_none() {
            return Look::Same;
        }
        seen.stamps = stamps;
        match acceptor(&self.certificate, &self.key) {
            Ok(acceptor) => {
                let shown = self.acceptor.write();
                *shown.unwrap_or_else(PoisonError::into_inner) = acceptor;
                seen.trouble = None;
                Look::New
            }
            Err(error) => {
                let trouble = errors::chain(&error);
                if seen.trouble.as_ref() == Some(&trouble) {
                    return Look::Same;
                }
                seen.trouble = Some(trouble.clone());
                Look::Trouble(trouble)
            }
        }
    }
}

fn stamps(certificate: &Path, key: &Path) -> Stamps {
    [certificate, key].map(|path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len(), found.ino()))
    })
}

/// Looks off the runtime's threads and says what has changed.
async fn refresh(shown: &Arc<Shown>, counts: &Counts) -> Result<(), JoinError> {
    let looking = Arc::clone(shown);
    match tokio::task::spawn_blocking(move || looking.look()).await? {
        Look::Same => {}
        Look::New => {
            counts.note_certificate(None);
            tracing::info!("the certificate was read again: it is shown from now on");
        }
        Look::Trouble(error) => {
            tracing::warn!(
                error,
                "the changed certificate cannot be used: the one before is shown until it can"
            );
            counts.note_certificate(Some(error));
        }
    }
    Ok(())
}

/// Refreshes until `shutdown`.
pub(super) async fn watch(
    shown: Option<Arc<Shown>>,
    counts: Arc<Counts>,
    shutdown: CancellationToken,
) -> Result<(), JoinError> {
    let Some(shown) = shown else { return Ok(()) };
    let pause = || shutdown.run_until_cancelled(tokio::time::sleep(LOOK));
    while pause().await.is_some() {
        refresh(&shown, &counts).await?;
    }
    Ok(())
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

    /// What a client that trusts this certificate alone makes of the one that is shown.
    async fn is_shown(shown: &Shown, trusted: &rustls::pki_types::CertificateDer<'static>) -> bool {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(trusted.clone()).unwrap();
        let config =
            rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let (client, _) = tokio::join!(
            connector.connect("one".try_into().unwrap(), theirs),
            shown.acceptor().accept(ours)
        );
        client.is_ok()
    }

    #[tokio::test]
    async fn a_changed_certificate_is_shown_once_it_fits_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let issue = || rcgen::generate_simple_self_signed(vec!["one".to_owned()]).unwrap();
        let (old, new) = (issue(), issue());
        let (certificate, key) = (folder.path().join("cert"), folder.path().join("key"));
        // Put in the other's place, as whoever rotates them does.
        let put = |path: &Path, text: String| {
            let beside = folder.path().join("beside");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(beside, path).unwrap();
        };
        put(&certificate, old.cert.pem());
        put(&key, old.signing_key.serialize_pem());
        let shown = Arc::new(Shown::read(&certificate, &key).unwrap());
        let counts = Counts::default();
        assert_eq!(shown.look(), Look::Same);
        put(&certificate, new.cert.pem());
        refresh(&shown, &counts).await.unwrap();
        let trouble = counts.certificate_trouble().unwrap();
        assert!(trouble.contains("KeyMismatch"), "{trouble}");
        assert_eq!(shown.look(), Look::Same, "told once");
        assert!(is_shown(&shown, old.cert.der()).await);
        put(&key, new.signing_key.serialize_pem());
        refresh(&shown, &counts).await.unwrap();
        assert_eq!(counts.certificate_trouble(), None);
        assert!(is_shown(&shown, new.cert.der()).await);
        assert!(!is_shown(&shown, old.cert.der()).await);
        std::fs::remove_file(&key).unwrap();
        assert!(matches!(shown.look(), Look::Trouble(_)));
    }

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
