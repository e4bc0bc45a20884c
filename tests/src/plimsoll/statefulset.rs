#![expect(
    clippy::disallowed_methods,
    reason = "shell: gives files and folders to the collector's group"
)]
//! The collector as the container of its StatefulSet: what it is given, and where it sees that.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use super::cluster::Cluster;
use crate::confine::{Bind, Confine, User};
use crate::enter::Enter;

/// Where the container sees what it is given.
pub(super) mod inside {
    pub(in super::super) const DATA: &str = "/var/lib/plimsoll/collector";
    pub(in super::super) const KUBECONFIG: &str = "/etc/plimsoll/kubeconfig";
    pub(in super::super) const CERTIFICATE: &str = "/etc/plimsoll/tls/tls.crt";
    pub(in super::super) const KEY: &str = "/etc/plimsoll/tls/tls.key";
    pub(super) const PROGRAM: &str = "/plimsoll-collector";
    pub(super) const CONFIG: &str = "/etc/plimsoll/collector.yaml";
}

/// Who the container is, and what it needs besides.
#[derive(Clone, Debug)]
pub struct StatefulSet {
    /// Of the manifest.
    pub user: User,
    /// Folders of the host with libraries, for a collector that is linked when it starts.
    pub libraries: Vec<PathBuf>,
}

/// The folders and files of one collector.
pub(super) struct Given<'a> {
    /// An empty folder.
    pub(super) root: PathBuf,
    pub(super) program: PathBuf,
    pub(super) config: PathBuf,
    pub(super) data: &'a Path,
}

impl StatefulSet {
    /// The collector in its container.
    pub(super) fn enter(&self, given: Given<'_>, cluster: &Cluster) -> Enter {
        let command = [inside::PROGRAM, "--config", inside::CONFIG].map(str::to_owned);
        let mut confine = Confine::new(given.root, &[], command.to_vec());
        confine.user = Some(self.user);
        let tls = &cluster.certificate;
        confine.read = vec![
            Bind::new(given.config, inside::CONFIG),
            Bind::new(&cluster.kubeconfig, inside::KUBECONFIG),
            Bind::new(&tls.certificate, inside::CERTIFICATE),
            Bind::new(&tls.key, inside::KEY),
        ];
        confine.run = vec![Bind::new(given.program, inside::PROGRAM)];
        let libraries = self.libraries.iter();
        confine
            .run
            .extend(libraries.map(|folder| Bind::new(folder, folder)));
        confine.write = vec![Bind::new(given.data, inside::DATA)];
        Enter {
            cgroup: None,
            netns: None,
            program: None,
            command: confine.words(),
        }
    }

    /// Makes its root and its volume, and has its group read and write what is its, as the kubelet does.
    pub(super) fn hand_over(&self, given: &Given<'_>, cluster: &Cluster) -> Result<()> {
        for folder in [&given.root, given.data] {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        let tls = &cluster.certificate;
        for file in [
            &given.config,
            &cluster.kubeconfig,
            &tls.certificate,
            &tls.key,
        ] {
            self.hand(file, 0o440)?;
        }
        self.hand(given.data, 0o2770)
    }

    fn hand(&self, path: &Path, mode: u32) -> Result<()> {
        let done = chown(path, None, Some(self.user.group))
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(mode)));
        done.with_context(|| format!("giving {} to the collector's group", path.display()))
    }
}
