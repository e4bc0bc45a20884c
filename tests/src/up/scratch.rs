#![expect(
    clippy::disallowed_methods,
    reason = "shell: makes and removes temporary folders"
)]
//! The temporary folder of a run, and those that killed runs have left.
//!
//! `plimsoll-up-<pid>-<start time>-…` names its owner: once that process is gone, nobody needs the
//! folder.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::alive;

const PREFIX: &str = "plimsoll-up-";

/// Removes what dead runs of this user left, and makes a folder for this one.
pub(super) fn folder() -> Result<TempDir> {
    let place = std::env::temp_dir();
    sweep(&place);
    let me = std::process::id();
    let start = alive::started(me).unwrap_or_default();
    tempfile::Builder::new()
        .prefix(&format!("{PREFIX}{me}-{start}-"))
        .tempdir_in(&place)
        .with_context(|| format!("making a folder in {}", place.display()))
}

fn sweep(place: &Path) {
    let user = rustix::process::geteuid().as_raw();
    let entries = std::fs::read_dir(place).into_iter().flatten();
    for entry in entries.filter_map(Result::ok) {
        let name = entry.file_name();
        let Some((pid, start)) = name.to_str().and_then(owner) else {
            continue;
        };
        let ours = entry
            .metadata()
            .is_ok_and(|about| about.is_dir() && about.uid() == user);
        if ours && !alive::is_alive(pid, start) {
            // What cannot be removed is tried again by the next run.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

fn owner(name: &str) -> Option<(u32, u64)> {
    let mut parts = name.strip_prefix(PREFIX)?.splitn(3, '-');
    let (pid, start) = (parts.next()?, parts.next()?);
    parts.next()?;
    Some((pid.parse().ok()?, start.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_dead_runs_left_is_removed() {
        let place = tempfile::tempdir().unwrap();
        let me = std::process::id();
        let start = alive::started(me).unwrap();
        let make = |name: String| {
            let path = place.path().join(name);
            std::fs::create_dir_all(path.join("state")).unwrap();
            path
        };
        let alive = make(format!("plimsoll-up-{me}-{start}-abc"));
        let dead = make(format!("plimsoll-up-{me}-{}-abc", start + 1));
        let foreign = make("plimsoll-up-abc".to_owned());
        sweep(place.path());
        assert_eq!(
            [&alive, &dead, &foreign].map(|path| path.exists()),
            [true, false, true]
        );
    }
}
