//! The sink to files of lines in a folder, each event in it once.
//!
//! A start finds the last whole line and compares: what was written before the cursor was is not written again.

use std::sync::Arc;

use super::{Message, RefusalKind, Refused, Sent};
use crate::config::sinks::{File, Format};
use crate::sink::Options;
use crate::sink::file::{AuditFile, to_disk};

/// See the module.
pub struct FileOutlet {
    options: Options,
    /// Closed at first and after an error: it is opened anew then.
    file: Option<AuditFile>,
    /// After an error, until it is open again: how much of the file was on disk before.
    synced_len: Option<u64>,
    /// The file's last line, until something is written behind it.
    last_line: Option<Vec<u8>>,
}

impl FileOutlet {
    /// Nothing is opened before the first message.
    pub fn new(settings: &File, format: Format) -> Self {
        let name = match format {
            Format::Cef => "audit.cef",
            Format::Ocsf18 | Format::Ocsf13 | Format::Ecs => "audit.jsonl",
        };
        Self {
            options: Options {
                path: settings.path.join(name),
                rotate_bytes: settings.rotate_bytes,
                keep_files: settings.keep_files,
            },
            file: None,
            synced_len: None,
            last_line: None,
        }
    }

    /// Writes all of them, on disk when this returns.
    ///
    /// # Errors
    /// The disk refuses: what was written of them is cut off again.
    pub fn send(&mut self, messages: &[Message]) -> Result<Sent, Refused> {
        let mut file = match self.file.take() {
            Some(file) => file,
            None => self.open()?,
        };
        let is_last =
            |message: &Message| Some(message.text.as_bytes()) == self.last_line.as_deref();
        let there = messages.iter().position(is_last).map_or(0, |at| at + 1);
        let mut lines = Vec::new();
        for message in messages.iter().skip(there) {
            lines.extend_from_slice(message.text.as_bytes());
            lines.push(b'\n');
        }
        let last_seq = messages.last().map_or(0, |message| message.seq);
        if let Err(source) = file.append(&lines, last_seq) {
            self.synced_len = Some(file.synced_len());
            return Err(self.refused(source));
        }
        self.file = Some(file);
        self.last_line = None;
        Ok(Sent {
            taken: messages.len(),
            delivered: messages.len() as u64,
            ..Sent::default()
        })
    }

    fn open(&mut self) -> Result<AuditFile, Refused> {
        let opened = AuditFile::open(
            &self.options,
            "",
            self.synced_len,
            &to_disk(),
            Arc::default(),
        );
        let (file, _) = opened.map_err(|source| self.refused(source))?;
        self.last_line = file.last_line();
        self.synced_len = None;
        Ok(file)
    }

    fn refused(&self, source: std::io::Error) -> Refused {
        Refused {
            kind: RefusalKind::Unavailable,
            what: format!("write {}", self.options.path.display()),
            source: Some(source.into()),
            retry_after_ms: None,
        }
    }
}
