#![expect(
    clippy::disallowed_methods,
    reason = "shell: writes certificates and token volumes"
)]
//! What agent and collector are given in a cluster: a kubeconfig, the collector's certificate, and the
//! volume from which the agent's token comes.
//!
//! It knows no API server; whoever has one says where it is and what its tokens are.

use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use super::statefulset::StatefulSet;

/// The name by which agents and people know the collector.
pub const NAME: &str = "plimsoll-collector.plimsoll.svc";
/// Of the tokens of agents.
pub const AUDIENCE: &str = "plimsoll-collector";
/// Whose tokens those are, as `NAMESPACE/NAME`.
pub const AGENTS: &str = "plimsoll-agent/plimsoll-agent";

/// See the module.
#[derive(Clone, Debug)]
pub struct Cluster {
    /// The collector's container.
    pub collector: StatefulSet,
    /// Where the API server is, for the collector.
    pub kubeconfig: PathBuf,
    /// Who the collector is.
    pub certificate: Certificate,
    /// The agent's token.
    pub token: TokenVolume,
    /// What shows the collector's documents to whoever runs this: a token of somebody who may see all.
    pub reader: String,
    /// Seconds that an event waits for its names.
    pub name_wait_s: u64,
    /// The agent's container has a network of its own; without it, that of the machine.
    pub network: Option<PodNetwork>,
}

/// The agent's network, with `hostNetwork: false`.
#[derive(Clone, Debug)]
pub struct PodNetwork {
    /// Name of its namespace.
    pub namespace: String,
    /// Where the collector is, as it is seen from there.
    pub collector: Ipv4Addr,
    /// Where the agent is asked how it is.
    pub agent: Ipv4Addr,
}

/// Files of a certificate, PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Of the authority.
    pub authority: PathBuf,
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

impl Certificate {
    /// A new authority, and what it says of [`NAME`], which is at 127.0.0.1.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn make(folder: &Path) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params
            .distinguished_name
            .push(DnType::CommonName, "plimsoll-ca");
        let key = KeyPair::generate()?;
        let authority = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate()?;
        let names = [NAME, "127.0.0.1"].map(str::to_owned);
        let certificate = CertificateParams::new(names)?.signed_by(&key, &issuer)?;
        let file = |name: &str, text: &str| {
            let path = folder.join(name);
            super::config::write(&path, text).map(|()| path)
        };
        Ok(Self {
            authority: file("ca.crt", &authority)?,
            certificate: file("tls.crt", &certificate.pem())?,
            key: file("tls.key", &key.serialize_pem())?,
        })
    }
}

/// A projected volume with a service account's token, as the kubelet keeps it: `token` is a link into the
/// newest folder, which takes the place of the one before in one step (kubernetes
/// `pkg/volume/util/atomic_writer.go`).
#[derive(Clone, Debug)]
pub struct TokenVolume(PathBuf);

impl TokenVolume {
    /// A volume with that token.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn make(folder: PathBuf, token: &str) -> Result<Self> {
        std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let volume = Self(folder);
        volume.put(token)?;
        symlink("..data/token", volume.file()).context("linking a token")?;
        Ok(volume)
    }

    /// Another token from now on.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn put(&self, token: &str) -> Result<()> {
        let name = format!("..{:016x}", fastrand::u64(..));
        let folder = self.0.join(&name);
        let failed = || format!("writing a token to {}", folder.display());
        std::fs::create_dir(&folder).with_context(failed)?;
        super::config::write(&folder.join("token"), token)?;
        let (data, next) = (self.0.join("..data"), self.0.join("..data_tmp"));
        let before = std::fs::read_link(&data).ok();
        symlink(&name, &next).with_context(failed)?;
        std::fs::rename(&next, &data).with_context(failed)?;
        if let Some(before) = before {
            std::fs::remove_dir_all(self.0.join(before)).with_context(failed)?;
        }
        Ok(())
    }

    /// The folder, which a container has as a whole.
    pub fn folder(&self) -> &Path {
        &self.0
    }

    /// The file in it.
    pub fn file(&self) -> PathBuf {
        self.0.join("token")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_volume_holds_the_newest_token_alone() {
        let dir = tempfile::tempdir().unwrap();
        let volume = TokenVolume::make(dir.path().join("volume"), "one").unwrap();
        assert_eq!(std::fs::read_to_string(volume.file()).unwrap(), "one");
        volume.put("two").unwrap();
        assert_eq!(std::fs::read_to_string(volume.file()).unwrap(), "two");
        // `..data`, `token` and the one folder.
        assert_eq!(std::fs::read_dir(volume.folder()).unwrap().count(), 3);
    }
}
