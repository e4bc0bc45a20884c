//! The sink to files of lines in a folder, each event in it once.
//!
//! A start finds the last whole line: what stands before it in its epoch of the chain, or is that line, is not written
//! again, however far the cursor is behind.

use std::io::ErrorKind;
use std::sync::Arc;

use serde::Deserialize;

use super::{Message, QuarantineReason, Quarantined, RefusalKind, Refused, Sent};
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
    last_line: Option<LastLine>,
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
        let there = match &self.last_line {
            Some(last) => last.covers(messages),
            None => 0,
        };
        let mut lines = Vec::new();
        let mut quarantined = Vec::new();
        for message in messages.iter().skip(there) {
            if message.text.is_empty() {
                quarantined.push(Quarantined {
                    seq: message.seq,
                    reason: QuarantineReason::Empty,
                });
                continue;
            }
            lines.extend_from_slice(message.text.as_bytes());
            lines.push(b'\n');
        }
        let last_seq = messages.last().map_or(0, |message| message.seq);
        if let Err(source) = file.append(&lines, last_seq) {
            self.synced_len = Some(file.synced_len());
            return Err(self.refused(source));
        }
        self.file = Some(file);
        if there < messages.len() {
            self.last_line = None;
        }
        Ok(Sent {
            taken: messages.len(),
            delivered: (messages.len() - quarantined.len()) as u64,
            quarantined,
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
        self.last_line = file.last_line().map(LastLine::of);
        self.synced_len = None;
        Ok(file)
    }

    fn refused(&self, source: std::io::Error) -> Refused {
        Refused {
            kind: match source.kind() {
                ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => RefusalKind::Denied,
                ErrorKind::StorageFull | ErrorKind::QuotaExceeded => RefusalKind::Other,
                _ => RefusalKind::Unavailable,
            },
            what: format!("write {}", self.options.path.display()),
            source: Some(source.into()),
            retry_after_ms: None,
        }
    }
}

/// What a file ends with.
struct LastLine {
    text: Vec<u8>,
    /// Epoch and number of its link, where the form has it.
    place: Option<(String, u64)>,
}

impl LastLine {
    fn of(text: Vec<u8>) -> Self {
        Self {
            place: place_of(&text),
            text,
        }
    }

    /// How many of the messages, from the front, are in the file. Of another epoch than the line's nobody can say that
    /// they are: clocks go back, and a line twice is better than none.
    fn covers(&self, messages: &[Message]) -> usize {
        if let Some(last) = &self.place {
            let is_there = |message: &Message| {
                place_of(message.text.as_bytes())
                    .is_some_and(|(epoch, seq)| epoch == last.0 && seq <= last.1)
            };
            return messages.partition_point(is_there);
        }
        let is_last = |message: &Message| message.text.as_bytes() == self.text;
        messages.iter().position(is_last).map_or(0, |at| at + 1)
    }
}

/// The place in the chain that a line of OCSF says.
fn place_of(text: &[u8]) -> Option<(String, u64)> {
    #[derive(Deserialize)]
    struct Event {
        unmapped: Unmapped,
    }
    #[derive(Deserialize)]
    struct Unmapped {
        chain: Place,
    }
    #[derive(Deserialize)]
    struct Place {
        epoch: String,
        seq: u64,
    }
    let event: Event = serde_json::from_slice(text).ok()?;
    let Place { epoch, seq } = event.unmapped.chain;
    Some((epoch, seq))
}
