//! Which kubeconfig files there are, and what they come to together.

use std::path::{Path, PathBuf};

use kube::config::Kubeconfig;

use super::error::ThroughError;

/// What was read, and from where.
pub(in crate::cli) struct Found {
    pub(super) read: Kubeconfig,
    files: Vec<PathBuf>,
}

impl Found {
    /// Whether one is meant when none is named.
    pub(in crate::cli) fn has_context(&self) -> bool {
        self.read.current_context.is_some()
    }

    /// The files, for messages.
    pub(in crate::cli) fn name(&self) -> String {
        names(&self.files)
    }
}

/// The file that is named, else those of `$KUBECONFIG`, else `~/.kube/config`. Of those that nobody named by an
/// option, some may be missing, as for kubectl.
pub(in crate::cli) fn find(named: Option<&Path>) -> Result<Found, ThroughError> {
    let files = match named {
        Some(path) => vec![path.to_owned()],
        None => usual_there()?,
    };
    let mut read = Kubeconfig::default();
    for path in &files {
        let failed = |source| ThroughError::Kubeconfig {
            path: path.display().to_string(),
            source,
        };
        let of_file = Kubeconfig::read_from(path).map_err(failed)?;
        read = read.merge(of_file).map_err(failed)?;
    }
    // As `kubectl config unset current-context` leaves it.
    read.current_context = read.current_context.filter(|name| !name.is_empty());
    Ok(Found { read, files })
}

fn usual_there() -> Result<Vec<PathBuf>, ThroughError> {
    let (there, missing): (Vec<_>, Vec<_>) = usual().into_iter().partition(|path| path.exists());
    let is_some = (!there.is_empty()).then_some(there);
    is_some.ok_or_else(|| ThroughError::NoKubeconfig {
        looked_for: names(&missing),
    })
}

fn usual() -> Vec<PathBuf> {
    let listed = std::env::var_os("KUBECONFIG").unwrap_or_default();
    let listed = std::env::split_paths(&listed);
    let listed: Vec<PathBuf> = listed.filter(|path| !path.as_os_str().is_empty()).collect();
    if listed.is_empty() {
        let home = std::env::home_dir().into_iter();
        return home.map(|home| home.join(".kube/config")).collect();
    }
    listed
}

fn names(paths: &[PathBuf]) -> String {
    if paths.is_empty() {
        return "~/.kube/config".to_owned();
    }
    let names: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    names.join(", ")
}
