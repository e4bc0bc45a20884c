#![expect(
    clippy::disallowed_methods,
    reason = "shell: keeps a note of each run and sweeps after dead ones"
)]
//! A note of each run on this boot, so that the next one can take down what a killed one left.
//!
//! `/run/plimsoll-stage/<run>` holds the process id with its start time on the first line and a
//! cgroup on each further line. Only what is noted there is removed.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::alive;
use crate::cgroups;
use crate::network;

const NOTES: &str = "/run/plimsoll-stage";

#[derive(Debug)]
pub(super) struct Record {
    path: PathBuf,
    noted: Vec<PathBuf>,
}

impl Record {
    pub(super) fn new(run: &str) -> Result<Self> {
        let path = Path::new(NOTES).join(run);
        let me = std::process::id();
        let text = format!("{me} {}\n", alive::started(me).unwrap_or_default());
        let write = || {
            fs::create_dir_all(NOTES)?;
            fs::write(&path, &text)
        };
        // Another run that ends may take the empty folder away in between.
        write()
            .or_else(|_| write())
            .with_context(|| format!("writing {}", path.display()))?;
        Ok(Self {
            path,
            noted: Vec::new(),
        })
    }

    /// Notes a cgroup before it is made.
    pub(super) fn add(&mut self, cgroup: &Path) -> Result<()> {
        if self.noted.iter().any(|noted| noted == cgroup) {
            return Ok(());
        }
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&self.path)
            .with_context(|| format!("opening {}", self.path.display()))?;
        writeln!(file, "{}", cgroup.display())
            .with_context(|| format!("writing {}", self.path.display()))?;
        self.noted.push(cgroup.to_owned());
        Ok(())
    }

    /// Everything was taken down.
    pub(super) fn forget(&self) {
        // What stays is swept by the next run.
        drop(fs::remove_file(&self.path));
        remove_folder();
    }
}

/// Takes down what dead runs left. What cannot be removed stays noted for the next time.
pub(super) fn sweep(root: &Path) {
    let Ok(notes) = fs::read_dir(NOTES) else {
        return;
    };
    for note in notes.filter_map(Result::ok) {
        let Ok(text) = fs::read_to_string(note.path()) else {
            continue;
        };
        if is_alive(&text) {
            continue;
        }
        let run = note.file_name().to_string_lossy().into_owned();
        // Without the right to it, a later run has it.
        let no_network = network::remove_prefixed(&format!("plimsoll-{run}-"));
        let cgroups = text
            .lines()
            .skip(1)
            .map(Path::new)
            .filter(|path| path.starts_with(root));
        let clean = cgroups
            .map(cgroups::remove_tree)
            .all(|result| result.is_ok());
        for shared in cgroups::SHARED {
            // Not empty means that somebody lives there.
            drop(fs::remove_dir(root.join(shared)));
        }
        if clean && no_network {
            drop(fs::remove_file(note.path()));
        }
    }
    remove_folder();
}

/// Removes the folder if no run is noted there.
fn remove_folder() {
    drop(fs::remove_dir(NOTES));
}

fn is_alive(text: &str) -> bool {
    let mut words = text.lines().next().unwrap_or_default().split(' ');
    let pid = words.next().and_then(|w| w.parse().ok());
    let start = words.next().and_then(|w| w.parse().ok());
    matches!((pid, start), (Some(pid), Some(start)) if alive::is_alive(pid, start))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_alive_only_with_its_own_start_time() {
        let me = std::process::id();
        let start = alive::started(me).unwrap();
        assert!(is_alive(&format!("{me} {start}\n/x\n")));
        assert!(!is_alive(&format!("{me} {}\n", start + 1)));
        assert!(!is_alive(""));
    }
}
