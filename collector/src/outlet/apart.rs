#![expect(
    clippy::disallowed_methods,
    reason = "shell: writes what a sink can never take"
)]
//! What a sink can never take, with the reason: a line each, on disk before the cursor moves.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use serde_json::json;

use crate::sinks::{Message, QuarantineReason};

/// Adds the lines.
pub(super) fn keep(path: &Path, lines: &[(&Message, &QuarantineReason)]) -> io::Result<()> {
    if lines.is_empty() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or_else(|| Path::new("."));
    fs::create_dir_all(folder)?;
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
    file.write_all(&text)?;
    file.sync_data()?;
    File::open(folder)?.sync_all()
}
