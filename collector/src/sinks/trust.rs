#![expect(
    clippy::disallowed_methods,
    reason = "shell: looks at the certificates and the key that a sink names"
)]
//! Whose certificate is believed, and which one is shown: read anew when the files change.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};

use crate::errors;
use crate::sinks::{BoxError, RefusalKind, Refused};

/// The files of a sink, PEM, as its settings name them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Files<'a> {
    /// Authorities of the other side; the system's without.
    pub ca_file: Option<&'a Path>,
    /// Our certificate chain.
    pub cert_file: Option<&'a Path>,
    /// Its key.
    pub key_file: Option<&'a Path>,
}

/// Modification time, length and inode of each file, where it is there.
type Stamps = [Option<(SystemTime, u64, u64)>; 3];

/// See the module.
#[derive(Debug, Default)]
pub struct Trust {
    /// Before what is used, or cannot be, was read.
    seen: Option<Stamps>,
    config: Option<Arc<ClientConfig>>,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Unusable(&'static str);

impl Trust {
    /// What is used towards `address` from now on, and whether it is new. Files that cannot be used leave those
    /// before.
    ///
    /// # Errors
    /// There are none before.
    pub fn look(
        &mut self,
        files: Files<'_>,
        address: &str,
    ) -> Result<(Arc<ClientConfig>, bool), Refused> {
        let paths = [files.ca_file, files.cert_file, files.key_file];
        let stamps = paths.map(|path| stamp(path?));
        let is_seen = self.seen == Some(stamps);
        if let Some(config) = self.config.as_ref().filter(|_| is_seen) {
            return Ok((Arc::clone(config), false));
        }
        self.seen = Some(stamps);
        match (load(files), &self.config) {
            (Ok(config), _) => {
                let config = self.config.insert(Arc::new(config));
                Ok((Arc::clone(config), true))
            }
            (Err(refused), Some(config)) => {
                tracing::warn!(
                    address,
                    error = errors::chain(&refused),
                    "certificates of a sink cannot be used: those before stay"
                );
                Ok((Arc::clone(config), false))
            }
            (Err(refused), None) => Err(refused),
        }
    }
}

fn stamp(path: &Path) -> Option<(SystemTime, u64, u64)> {
    let found = fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.len(), found.ino()))
}

/// What is wrong with files that are named, and the setting that names the first of them. Paths that are empty are told
/// by whoever checks values.
pub fn unusable(files: Files<'_>) -> Option<(&'static str, BoxError)> {
    let paths = [files.ca_file, files.cert_file, files.key_file];
    let mut given = paths.into_iter().flatten().peekable();
    given.peek()?;
    if given.any(|path| path.as_os_str().is_empty()) {
        return None;
    }
    let refused = load(files).err()?;
    let setting = match refused.kind {
        RefusalKind::Credentials => "cert_file",
        RefusalKind::Key => "key_file",
        _ => "ca_file",
    };
    Some((setting, refused.into()))
}

/// One of the files cannot be used: `ca_file` by the kind [`RefusalKind::Other`], `cert_file` by
/// [`RefusalKind::Credentials`], `key_file` by [`RefusalKind::Key`].
fn load(files: Files<'_>) -> Result<ClientConfig, Refused> {
    let roots = roots(files.ca_file)?;
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|source| refused(RefusalKind::Other, "begin TLS".to_owned(), source))?
        .with_root_certificates(roots);
    let (Some(certificate), Some(key)) = (files.cert_file, files.key_file) else {
        return Ok(builder.with_no_client_auth());
    };
    let chain = certificates(certificate, RefusalKind::Credentials)?;
    let what = |doing: String| move |source| refused(RefusalKind::Key, doing, source);
    let secret = plain(key)
        .and_then(|()| Ok(PrivateKeyDer::from_pem_file(key)?))
        .map_err(what(format!("read key_file {}", key.display())))?;
    let (certificate, key) = (certificate.display(), key.display());
    builder
        .with_client_auth_cert(chain, secret)
        .map_err(|source| {
            let doing = format!("use cert_file {certificate} with key_file {key}");
            refused(RefusalKind::Key, doing, source)
        })
}

/// Those of the file; the system's without one.
fn roots(file: Option<&Path>) -> Result<RootCertStore, Refused> {
    let mut roots = RootCertStore::empty();
    let Some(file) = file else {
        let system = rustls_native_certs::load_native_certs();
        let (added, _) = roots.add_parsable_certificates(system.certs);
        if added == 0 {
            let what = "find the system's authorities: name ca_file".to_owned();
            return Err(refused(
                RefusalKind::Other,
                what,
                Unusable("there are none"),
            ));
        }
        return Ok(roots);
    };
    for authority in certificates(file, RefusalKind::Other)? {
        roots.add(authority).map_err(|source| {
            refused(
                RefusalKind::Other,
                format!("use ca_file {}", file.display()),
                source,
            )
        })?;
    }
    Ok(roots)
}

/// All certificates in a file; at least one.
fn certificates(path: &Path, kind: RefusalKind) -> Result<Vec<CertificateDer<'static>>, Refused> {
    let read = || -> Result<_, BoxError> {
        plain(path)?;
        let all: Vec<_> = CertificateDer::pem_file_iter(path)?.collect::<Result<_, _>>()?;
        if all.is_empty() {
            return Err(Unusable("it holds no PEM certificate").into());
        }
        Ok(all)
    };
    read().map_err(|source| {
        refused(
            kind,
            format!("read certificates from {}", path.display()),
            source,
        )
    })
}

/// A folder or a pipe is not read: that may never end.
fn plain(path: &Path) -> Result<(), BoxError> {
    if fs::metadata(path)?.is_file() {
        Ok(())
    } else {
        Err(Unusable("it is no plain file").into())
    }
}

fn refused(kind: RefusalKind, what: String, source: impl Into<BoxError>) -> Refused {
    Refused {
        kind,
        what,
        source: Some(source.into()),
        retry_after_ms: None,
    }
}
