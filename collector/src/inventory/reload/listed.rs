#![expect(
    clippy::disallowed_methods,
    reason = "shell: lists the inventory's folders"
)]
//! The files below the inventory's paths, each once, by whatever name and link it is reached.
//!
//! Says of everything else why it is left out. Reads no file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::FileType;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::{Stamp, whole};
use crate::inventory::parse::Problem;

/// Most files below the given paths.
pub const MAX_FILES: usize = 10_000;
/// Deepest folder below a given path.
const MAX_DEPTH: usize = 8;

/// Files with their modification time and length, bounded in number and depth.
#[derive(Default)]
pub(super) struct Listed {
    pub(super) found: BTreeMap<PathBuf, Stamp>,
    /// Files and folders that were met, by device and inode: each once, by whatever name and link.
    met: BTreeSet<(u64, u64)>,
    /// Places that could not be looked at: what is at or below them may be there all the same.
    pub(super) unsure: Vec<PathBuf>,
    pub(super) problems: Vec<Problem>,
}

impl Listed {
    fn problem(&mut self, path: &Path, message: &str) {
        self.problems
            .push(whole(&path.display().to_string(), message));
    }

    fn failed(&mut self, path: &Path, doing: &str, error: &std::io::Error) {
        self.problem(path, &format!("cannot be {doing}: {error}"));
        if error.kind() != std::io::ErrorKind::NotFound {
            self.unsure.push(path.to_owned());
        }
    }

    /// Takes up a path and what is below it.
    pub(super) fn list(&mut self, path: &Path, depth: usize) {
        let metadata = match std::fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) => return self.failed(path, "looked at", &error),
        };
        if !self.met.insert((metadata.dev(), metadata.ino())) {
            return;
        }
        if !metadata.is_dir() && !metadata.is_file() {
            let kind = other_kind(metadata.file_type());
            let message = format!("left out: it is {kind}, and only regular files are read");
            return self.problem(path, &message);
        }
        if metadata.is_file() {
            if self.found.len() < MAX_FILES {
                let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                let stamp = (modified, metadata.len(), metadata.ino());
                self.found.insert(path.to_owned(), stamp);
            } else {
                self.problem(
                    path,
                    &format!("left out: there are more than {MAX_FILES} files"),
                );
            }
            return;
        }
        if depth == MAX_DEPTH {
            self.problem(
                path,
                &format!("left out: more than {MAX_DEPTH} folders deep"),
            );
            return;
        }
        let entries = match std::fs::read_dir(path) {
            Ok(entries) => entries,
            Err(error) => return self.failed(path, "listed", &error),
        };
        let mut children = Vec::new();
        for entry in entries {
            match entry {
                // The kubelet keeps a mounted ConfigMap's files in such folders, by another name at
                // each change, and links to them beside (kubernetes/pkg/volume/util/atomic_writer.go).
                Ok(entry) if entry.file_name().as_encoded_bytes().starts_with(b"..") => {}
                Ok(entry) => children.push(entry.path()),
                Err(error) => self.failed(path, "listed", &error),
            }
        }
        // Of two names of one file, always the same counts.
        children.sort();
        for child in children {
            let wanted = child
                .extension()
                .is_some_and(|ext| ["yaml", "yml", "json"].iter().any(|known| ext == *known));
            if wanted || child.is_dir() {
                self.list(&child, depth + 1);
            }
        }
    }
}

/// What something is that is neither a file nor a folder.
fn other_kind(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a pipe (FIFO)"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}
