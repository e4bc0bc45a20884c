#![expect(
    clippy::disallowed_methods,
    reason = "shell: writes what a sink can never take"
)]
//! What a sink can never take, with the reason: a line each, on disk before the cursor moves.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use plimsoll_journal::make_folder;
use serde_json::json;

use crate::sinks::{Message, QuarantineReason};

/// Bytes at the most, unless somebody says otherwise.
pub(super) const MAX_BYTES: u64 = 64 << 20;

/// The file is as long as it may be: nothing is removed from it, for it is all that is left of its events.
#[derive(Debug, thiserror::Error)]
#[error(
    "it has {0} bytes, as many as it may (data.max_quarantine_bytes): look at what is in it, and move it away"
)]
struct Full(u64);

/// The file of a sink. Clones of it are of one file, and write to it one at a time: an append that fails cuts off what
/// is behind the place where it began.
#[derive(Clone, Debug)]
pub(super) struct Apart {
    path: PathBuf,
    max_bytes: u64,
    pub(super) turn: Arc<Mutex<()>>,
}

impl Apart {
    /// That of a sink in a folder, with so many bytes at the most.
    pub(super) fn of(folder: &Path, sink: &str, max_bytes: u64) -> Self {
        Self {
            path: folder.join(format!("{sink}.jsonl")),
            max_bytes,
            turn: Arc::default(),
        }
    }

    /// With so many bytes at the most.
    pub(super) const fn set_max_bytes(&mut self, max_bytes: u64) {
        self.max_bytes = max_bytes;
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds the lines.
    ///
    /// # Errors
    /// The disk refuses, or the file would be longer than it may be: nothing was added.
    pub(super) fn keep(&self, lines: &[(&Message, &QuarantineReason)]) -> io::Result<()> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        keep(&self.path, lines, self.max_bytes)
    }
}

fn keep(path: &Path, lines: &[(&Message, &QuarantineReason)], max_bytes: u64) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    make_folder(folder)?;
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    let mut text = Vec::new();
    for (message, reason) in lines {
        let line = json!({
            "uid": message.uid,
            "trail_seq": message.seq,
            "reason": reason.to_string(),
            "event": message.text,
        });
        writeln!(text, "{line}")?;
    }
    let before = file.metadata()?.len();
    if before + text.len() as u64 > max_bytes {
        return Err(io::Error::new(io::ErrorKind::QuotaExceeded, Full(before)));
    }
    if let Err(error) = file.write_all(&text).and_then(|()| file.sync_data()) {
        // No part of a line is to stand before the next.
        file.set_len(before)?;
        return Err(error);
    }
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_file_refuses_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("quarantine/a.jsonl");
        let message = Message {
            seq: 7,
            time_unix_ns: 0,
            uid: "u".to_owned(),
            text: "x".repeat(100),
        };
        let lines = [(&message, &QuarantineReason::Empty)];
        keep(&path, &lines, 300).unwrap();
        let before = std::fs::read(&path).unwrap();
        let refused = keep(&path, &lines, 300).unwrap_err();
        assert!(
            refused.to_string().contains("data.max_quarantine_bytes"),
            "{refused}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), before);
        // Somebody has taken it away.
        std::fs::rename(&path, folder.path().join("seen")).unwrap();
        keep(&path, &lines, 300).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), before);
    }
}
