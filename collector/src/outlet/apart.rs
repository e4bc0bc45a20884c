#![expect(
    clippy::disallowed_methods,
    reason = "shell: writes what a sink can never take"
)]
//! What a sink can never take, with the reason: a line each, on disk before the cursor moves.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use plimsoll_journal::make_folder;
use serde_json::json;

use crate::sinks::{Message, QuarantineReason};

/// Adds the lines.
pub(super) fn keep(path: &Path, lines: &[(&Message, &QuarantineReason)]) -> io::Result<()> {
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
    if let Err(error) = file.write_all(&text).and_then(|()| file.sync_data()) {
        // No part of a line is to stand before the next.
        file.set_len(before)?;
        return Err(error);
    }
    File::open(folder)?.sync_all()
}
