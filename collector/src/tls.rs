#![expect(
    clippy::disallowed_methods,
    reason = "shell: looks at certificate and key, which are read by name"
)]
//! TLS at the collector's doors: who cannot do it is refused, counted and named in the log.
//!
//! The handshakes are ours and not the gRPC server's, because that one drops a failed handshake
//! without a word, and an agent with a wrong authority must not be silence here. Knows nothing of
//! tokens or messages, and does not look into clients' certificates beyond who signed them.
//!
//! Certificate, key and the clients' authorities are looked at again every [`LOOK`], and what has changed is shown to whoever
//! connects from then on. What cannot be used leaves the one before, and is told.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use tokio::net::TcpStream;
use tokio::task::JoinError;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::errors;
use crate::x509;

/// Until the first byte: a client speaks first in TLS, and at once.
const FIRST_BYTE_WITHIN: Duration = Duration::from_secs(2);
/// One handshake.
const WITHIN: Duration = Duration::from_secs(10);

/// Between two looks at certificate and key.
const LOOK: Duration = Duration::from_secs(10);

/// One of the collector's doors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// The receiver: gRPC, which is HTTP/2 and nothing else.
    Ingest,
    /// Dashboard and API: HTTP/1.1.
    Http,
}

impl Door {
    /// As metrics say it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ingest => "ingest",
            Self::Http => "http",
        }
    }

    const fn certificate(self) -> &'static str {
        match self {
            Self::Ingest => "ingest.tls_cert_file",
            Self::Http => "http.tls_cert_file",
        }
    }

    const fn key(self) -> &'static str {
        match self {
            Self::Ingest => "ingest.tls_key_file",
            Self::Http => "http.tls_key_file",
        }
    }

    const fn protocol(self) -> &'static [u8] {
        match self {
            Self::Ingest => b"h2",
            Self::Http => b"http/1.1",
        }
    }
}

const CLIENT_CA: &str = "http.client_ca_file";

/// What a door shows, and whose certificates it takes. All PEM.
#[derive(Clone, Debug)]
pub struct Files {
    /// Which door.
    pub door: Door,
    /// Certificate chain.
    pub certificate: PathBuf,
    /// Private key.
    pub key: PathBuf,
    /// Authorities that sign certificates of clients; `None`: no client is asked for one.
    pub client_ca: Option<PathBuf>,
}

impl Files {
    fn all(&self) -> impl Iterator<Item = (&Path, &'static str)> {
        let own = [
            (self.certificate.as_path(), self.door.certificate()),
            (self.key.as_path(), self.door.key()),
        ];
        let client_ca = self.client_ca.as_deref().map(|path| (path, CLIENT_CA));
        own.into_iter().chain(client_ca)
    }
}

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
    #[error("{path} holds no PEM certificate")]
    Empty {
        /// The file.
        path: PathBuf,
        /// The setting that names it.
        setting: &'static str,
    },
    /// Both can be read, but not used.
    #[error("use {certificate} with {key}")]
    Pair {
        /// The chain.
        certificate: PathBuf,
        /// The key.
        key: PathBuf,
        /// The setting that names the one to look at.
        setting: &'static str,
        /// Why.
        #[source]
        source: Box<rustls::Error>,
    },
    /// An authority that is none.
    #[error("use {path}")]
    Authority {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<rustls::Error>,
    },
    /// Authorities that cannot be used together.
    #[error("use {path}")]
    Authorities {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: VerifierBuilderError,
    },
}

impl TlsError {
    /// The setting that names the file to look at.
    pub const fn setting(&self) -> &'static str {
        match self {
            Self::Read { setting, .. }
            | Self::NotPlain { setting, .. }
            | Self::Empty { setting, .. }
            | Self::Pair { setting, .. } => setting,
            Self::Authority { .. } | Self::Authorities { .. } => CLIENT_CA,
        }
    }
}

/// All certificates in a file; at least one.
fn certificates(
    path: &Path,
    setting: &'static str,
) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(unreadable(path, setting))?;
    let path = path.to_owned();
    let is_some = (!found.is_empty()).then_some(found);
    is_some.ok_or(TlsError::Empty { path, setting })
}

fn unreadable(path: &Path, setting: &'static str) -> impl FnOnce(pem::Error) -> TlsError {
    let path = path.to_owned();
    move |source| TlsError::Read {
        path,
        setting,
        source,
    }
}

/// Reads certificate chain and private key, and whether they belong together; and the authorities of
/// clients. Waits for the disk.
///
/// # Errors
/// Why they cannot be used.
pub fn acceptor(files: &Files) -> Result<TlsAcceptor, TlsError> {
    load(files).map(|current| current.acceptor)
}

/// What can be shown.
#[derive(Clone)]
struct Current {
    acceptor: TlsAcceptor,
    /// When the first of the chain's certificates ends, Unix seconds; `None` if that cannot be read.
    ends_unix_s: Option<i64>,
}

fn load(files: &Files) -> Result<Current, TlsError> {
    for (path, setting) in files.all() {
        let looked_at = std::fs::metadata(path).map_err(pem::Error::Io);
        if !looked_at.map_err(unreadable(path, setting))?.is_file() {
            let path = path.to_owned();
            return Err(TlsError::NotPlain { path, setting });
        }
    }
    let (certificate, key, door) = (&files.certificate, &files.key, files.door);
    let chain = certificates(certificate, door.certificate())?;
    let ends = chain.iter().map(|one| x509::not_after_unix_s(one));
    // Unknown before any time: of a chain that cannot be read whole no end is told.
    let ends_unix_s = ends.min().flatten();
    let secret = PrivateKeyDer::from_pem_file(key).map_err(unreadable(key, door.key()))?;
    let verifier = files.client_ca.as_deref().map(clients).transpose()?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| {
            let builder = match verifier {
                Some(verifier) => builder.with_client_cert_verifier(verifier),
                None => builder.with_no_client_auth(),
            };
            builder.with_single_cert(chain, secret)
        })
        .map(|mut config| {
            // A session that is resumed shows no certificate anew, and one that has ended would count on.
            if files.client_ca.is_some() {
                config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
                config.send_tls13_tickets = 0;
            }
            config
        })
        .map_err(|source| TlsError::Pair {
            certificate: certificate.clone(),
            key: key.clone(),
            setting: match source {
                rustls::Error::InvalidCertificate(_) => door.certificate(),
                _ => door.key(),
            },
            source: Box::new(source),
        })?;
    config.alpn_protocols = vec![door.protocol().to_vec()];
    Ok(Current {
        acceptor: TlsAcceptor::from(Arc::new(config)),
        ends_unix_s,
    })
}

/// Takes certificates of these authorities. Who shows none comes in as well: it may have a token.
fn clients(path: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(path, CLIENT_CA)? {
        roots.add(authority).map_err(|source| TlsError::Authority {
            path: path.to_owned(),
            source: Box::new(source),
        })?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .allow_unauthenticated()
        .build()
        .map_err(|source| TlsError::Authorities {
            path: path.to_owned(),
            source,
        })
}

/// Modification time, length and inode of each file, where it is there.
type Stamps = Vec<Option<(SystemTime, u64, u64)>>;

/// Certificate and key as they are shown now.
pub struct Shown {
    files: Files,
    current: RwLock<Current>,
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

impl std::fmt::Debug for Shown {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shown")
            .field("files", &self.files)
            .finish_non_exhaustive()
    }
}

impl Shown {
    /// Waits for the disk.
    ///
    /// # Errors
    /// As [`acceptor`].
    pub fn read(files: Files) -> Result<Self, TlsError> {
        let stamps = stamps(&files);
        Ok(Self {
            current: RwLock::new(load(&files)?),
            files,
            seen: Mutex::new(Seen {
                stamps,
                trouble: None,
            }),
        })
    }

    /// For the next connection.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.current().acceptor
    }

    fn current(&self) -> Current {
        let current = self.current.read();
        current.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The door, and when what it shows ends, Unix seconds, where that is known.
    pub(crate) fn expiry(&self) -> (&'static str, Option<i64>) {
        (self.files.door.as_str(), self.current().ends_unix_s)
    }

    /// Reads them again if they have changed, or could not be used. Waits for the disk.
    fn look(&self) -> Look {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        if stamps == seen.stamps && seen.trouble.is_none() {
            return Look::Same;
        }
        seen.stamps = stamps;
        match load(&self.files) {
            Ok(current) => {
                let shown = self.current.write();
                *shown.unwrap_or_else(PoisonError::into_inner) = current;
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

fn stamps(files: &Files) -> Stamps {
    let stamp = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.modified().ok()?, found.len(), found.ino()))
    };
    files.all().map(|(path, _)| stamp(path)).collect()
}

/// Told why the files that are there now cannot be shown; `None` if they are.
pub(crate) type Note = Arc<dyn Fn(Option<String>) + Send + Sync>;

/// Looks off the runtime's threads and says what has changed.
async fn refresh(shown: &Arc<Shown>, note: &Note) -> Result<(), JoinError> {
    let looking = Arc::clone(shown);
    let setting = shown.files.door.certificate();
    match tokio::task::spawn_blocking(move || looking.look()).await? {
        Look::Same => {}
        Look::New => {
            note(None);
            tracing::info!(
                setting,
                "the certificate was read again: it is shown from now on"
            );
        }
        Look::Trouble(error) => {
            tracing::warn!(
                setting,
                error,
                "the changed certificate cannot be used: the one before is shown until it can"
            );
            note(Some(error));
        }
    }
    Ok(())
}

/// Refreshes until `shutdown`.
pub(crate) async fn watch(
    shown: Option<Arc<Shown>>,
    note: Note,
    shutdown: CancellationToken,
) -> Result<(), JoinError> {
    let Some(shown) = shown else { return Ok(()) };
    let pause = || shutdown.run_until_cancelled(tokio::time::sleep(LOOK));
    while pause().await.is_some() {
        refresh(&shown, &note).await?;
    }
    Ok(())
}

/// The TLS in a connection.
pub(crate) async fn handshake(
    acceptor: &TlsAcceptor,
    stream: TcpStream,
) -> io::Result<TlsStream<TcpStream>> {
    tokio::time::timeout(FIRST_BYTE_WITHIN, stream.peek(&mut [0])).await??;
    tokio::time::timeout(WITHIN, acceptor.accept(stream))
        .await
        .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// A failed handshake in words that name the remedy, where there is one.
pub(crate) fn reason(error: &io::Error) -> String {
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

    const CERTIFICATE: &str = "ingest.tls_cert_file";
    const KEY: &str = "ingest.tls_key_file";

    fn files(certificate: &Path, key: &Path) -> Files {
        Files {
            door: Door::Ingest,
            certificate: certificate.to_owned(),
            key: key.to_owned(),
            client_ca: None,
        }
    }

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
        let issue = |year| {
            let mut params = rcgen::CertificateParams::new(vec!["one".to_owned()]).unwrap();
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
            let signing_key = rcgen::KeyPair::generate().unwrap();
            let cert = params.self_signed(&signing_key).unwrap();
            rcgen::CertifiedKey { cert, signing_key }
        };
        let (old, new) = (issue(2050), issue(2060));
        let (in_2050, in_2060) = (Some(2_524_608_000), Some(2_840_140_800));
        let (certificate, key) = (folder.path().join("cert"), folder.path().join("key"));
        // Put in the other's place, as whoever rotates them does.
        let put = |path: &Path, text: String| {
            let beside = folder.path().join("beside");
            std::fs::write(&beside, text).unwrap();
            std::fs::rename(beside, path).unwrap();
        };
        put(&certificate, old.cert.pem());
        put(&key, old.signing_key.serialize_pem());
        let shown = Arc::new(Shown::read(files(&certificate, &key)).unwrap());
        let trouble = Arc::<Mutex<Option<String>>>::default();
        let noted = Arc::clone(&trouble);
        let note: Note = Arc::new(move |now| *noted.lock().unwrap() = now);
        assert_eq!(shown.look(), Look::Same);
        assert_eq!(shown.expiry(), ("ingest", in_2050));
        put(&certificate, new.cert.pem());
        refresh(&shown, &note).await.unwrap();
        let told = trouble.lock().unwrap().clone().unwrap();
        assert!(told.contains("KeyMismatch"), "{told}");
        assert_eq!(shown.look(), Look::Same, "told once");
        assert_eq!(shown.expiry(), ("ingest", in_2050), "of what is shown");
        assert!(is_shown(&shown, old.cert.der()).await);
        put(&key, new.signing_key.serialize_pem());
        refresh(&shown, &note).await.unwrap();
        assert_eq!(*trouble.lock().unwrap(), None);
        assert!(is_shown(&shown, new.cert.der()).await);
        assert!(!is_shown(&shown, old.cert.der()).await);
        assert_eq!(shown.expiry(), ("ingest", in_2060));
        // Of a chain the first that ends.
        put(&certificate, [new.cert.pem(), old.cert.pem()].concat());
        refresh(&shown, &note).await.unwrap();
        assert_eq!(shown.expiry(), ("ingest", in_2050));
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
        assert!(acceptor(&files(&one, &key_of_one)).is_ok());
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
            let Err(error) = acceptor(&files(certificate, key)) else {
                panic!("{expect}: was taken");
            };
            let said = crate::errors::chain(&error);
            assert!(said.contains(expect), "{said}");
            assert_eq!(error.setting(), setting, "{said}");
        }
        for (authorities, expect) in [
            (&absent, "absent: I/O error: No such file"),
            (&empty, "empty holds no PEM certificate"),
            (&nonsense, "use "),
        ] {
            let files = Files {
                door: Door::Http,
                client_ca: Some(authorities.clone()),
                ..files(&one, &key_of_one)
            };
            let Err(error) = acceptor(&files) else {
                panic!("{expect}: was taken");
            };
            let said = crate::errors::chain(&error);
            assert!(said.contains(expect), "{said}");
            assert_eq!(error.setting(), CLIENT_CA, "{said}");
        }
    }
}
