#![expect(
    clippy::disallowed_methods,
    reason = "shell: looks for journals' folders"
)]
//! `plimsoll journal`: the journals of a collector and the spools of an agent, on a disk and without their process.
//!
//! Nothing in the folder that is looked at is changed, ever: `repair` writes into another one.

mod arguments;
mod repair;

use std::fs;
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use plimsoll_journal::inspect::{Inspected, SegmentFile, inspect};
use plimsoll_journal::{JournalError, ReadOnly, Record};
use plimsoll_wire::otlp::{logs, metrics};
use prost::Message as _;
use serde::Serialize;
use serde_json::{Map, Value, json};
use thiserror::Error;

pub(super) use arguments::JournalCommand;

use super::table::{self, Column};
use super::{CliError, Exit, Output, print_json};
use crate::api::{AuditRecord, precise};
use crate::ingest::decode;
use crate::sizing::memory::mib;
use crate::trail::{chain::hex, entry::Entry};

/// `schema` of the document.
const SCHEMA: &str = "plimsoll.journal/v1";
/// Times that a journal which goes on is looked at before something counts as wrong.
const LOOKS: u32 = 3;
const COLUMNS: &[Column] = &[
    Column::Left("JOURNAL"),
    Column::Right("RECORDS"),
    Column::Right("FIRST"),
    Column::Right("LAST"),
    Column::Right("SIZE"),
    Column::Left("OLDEST"),
    Column::Left("WAIT FOR"),
    Column::Left("STATE"),
];

/// Why a journal was not looked at, or not saved.
#[derive(Debug, Error)]
pub(super) enum Failed {
    /// There is nothing of ours.
    #[error("{path} holds no journal: no segments, no positions, and no folder with them")]
    None {
        /// As given.
        path: String,
    },
    /// Not there, or not ours to read.
    #[error("read {path}")]
    Read {
        /// As given, or below that.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A journal whose files cannot be read, or its copy not written.
    #[error("journal {path}")]
    Journal {
        /// Its folder.
        path: String,
        /// Why.
        #[source]
        source: JournalError,
    },
    /// A journal that its process has open: two would go on with the same numbers.
    #[error("journal {path} is in use: stop its process first")]
    InUse {
        /// Its folder.
        path: String,
    },
    /// Where the copy would be neither beside the original nor by itself.
    #[error("--into {path}: {why}")]
    Place {
        /// As given.
        path: String,
        /// Why not.
        why: &'static str,
    },
    /// The folder to write to.
    #[error("make {path}")]
    Into {
        /// As given, or below that.
        path: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// Does what was asked.
pub(super) fn run(
    command: &JournalCommand,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, CliError> {
    match command {
        JournalCommand::Status(of) => status(&of.path, of.output, out),
        JournalCommand::Check(of) => check(&of.path, of.output, out),
        JournalCommand::Export(of) => export(&of.path, of.from, out, err),
        JournalCommand::Repair(of) => repair::repair(&of.path, &of.into, out),
    }
}

/// A journal on a disk.
struct Found {
    /// Below the path that was given; `.` for that itself.
    name: String,
    files: ReadOnly,
    is_in_use: bool,
    inspected: Inspected,
}

#[derive(Serialize)]
struct Reader<'a> {
    name: &'a str,
    seq: u64,
    waiting: u64,
}

fn failed_to_read(path: &Path) -> impl Fn(std::io::Error) -> Failed {
    let path = path.display().to_string();
    move |source| Failed::Read {
        path: path.clone(),
        source,
    }
}

/// The journals at a path: it is one, or holds some, or is a collector's data folder.
fn found(path: &Path) -> Result<Vec<Found>, Failed> {
    let mut folders = Vec::new();
    if is_journal(path)? {
        folders.push(PathBuf::new());
    } else {
        let below = ["", "journal"].map(PathBuf::from);
        for folder in below.iter().filter(|folder| path.join(folder).is_dir()) {
            for name in sub_folders(&path.join(folder))? {
                // What is not ours to read, as `lost+found`, is none of ours.
                if is_journal(&path.join(folder).join(&name)).is_ok_and(|is_one| is_one) {
                    folders.push(folder.join(name));
                }
            }
        }
    }
    if folders.is_empty() {
        return Err(Failed::None {
            path: path.display().to_string(),
        });
    }
    folders.iter().map(|folder| look(path, folder)).collect()
}

/// Looks at one; again, if what is wrong may be a write that goes on.
fn look(path: &Path, folder: &Path) -> Result<Found, Failed> {
    let whole = if folder.as_os_str().is_empty() {
        path.to_owned()
    } else {
        path.join(folder)
    };
    let files = ReadOnly::new(whole.clone());
    let is_in_use = files.is_in_use().map_err(failed_to_read(&whole))?;
    let failed = |source| Failed::Journal {
        path: whole.display().to_string(),
        source,
    };
    let mut inspected = inspect(&files).map_err(failed)?;
    for _ in 1..LOOKS {
        if !is_in_use || inspected.is_whole() {
            break;
        }
        inspected = inspect(&files).map_err(failed)?;
    }
    let name = folder.display().to_string();
    Ok(Found {
        name: if name.is_empty() {
            ".".to_owned()
        } else {
            name
        },
        files,
        is_in_use,
        inspected,
    })
}

fn is_journal(path: &Path) -> Result<bool, Failed> {
    let entries = fs::read_dir(path).map_err(failed_to_read(path))?;
    let mut names = entries.flatten().map(|entry| entry.file_name());
    Ok(names.any(|name| {
        let name = name.to_string_lossy();
        name == "positions" || (name.starts_with("segment-") && name.ends_with(".plj"))
    }))
}

fn sub_folders(path: &Path) -> Result<Vec<PathBuf>, Failed> {
    let entries = fs::read_dir(path).map_err(failed_to_read(path))?;
    let folders = entries.flatten().filter(|entry| entry.path().is_dir());
    let mut names: Vec<PathBuf> = folders.map(|entry| entry.file_name().into()).collect();
    names.sort();
    Ok(names)
}

impl Found {
    fn readers(&self) -> impl Iterator<Item = Reader<'_>> {
        let cursors = self.inspected.cursors.iter();
        cursors.map(|(name, seq)| Reader {
            name,
            seq: *seq,
            waiting: self.inspected.waiting(*seq),
        })
    }

    fn bytes(&self) -> u64 {
        self.inspected
            .segments
            .iter()
            .map(|segment| segment.bytes)
            .sum()
    }

    fn first(&self) -> Option<&SegmentFile> {
        self.inspected
            .segments
            .iter()
            .find(|segment| segment.first_seq.is_some())
    }

    fn last_seq(&self) -> Option<u64> {
        self.inspected
            .segments
            .iter()
            .filter_map(|segment| segment.last_seq)
            .max()
    }

    fn document(&self) -> Value {
        let found = &self.inspected;
        let segment = |of: &SegmentFile| {
            json!({"name": of.name, "bytes": of.bytes, "records": of.records, "first_seq": of.first_seq,
                "last_seq": of.last_seq, "oldest": of.oldest_unix_ns.map(precise)})
        };
        let damage = found.recovery.damage.iter().map(|of| {
            json!({"segment": of.segment, "offset": of.offset, "bytes": of.bytes, "seq": of.seq})
        });
        let missing = found.recovery.missing.iter();
        json!({
            "folder": self.name,
            "in_use": self.is_in_use,
            "whole": found.is_whole(),
            "stream": found.stream,
            "epoch": found.epoch,
            "records": found.recovery.records,
            "bytes": self.bytes(),
            "first_seq": self.first().and_then(|segment| segment.first_seq),
            "last_seq": self.last_seq(),
            "next_seq": found.next_seq,
            "oldest": self.first().and_then(|segment| segment.oldest_unix_ns).map(precise),
            "readers": self.readers().collect::<Vec<_>>(),
            "reported_seq": found.reported,
            "damaged": found.recovery.damaged,
            "damage": damage.collect::<Vec<_>>(),
            "missing": missing.map(|(first, last)| {
                json!({"first": first, "last": last, "told": found.is_told((*first, *last))})
            }).collect::<Vec<_>>(),
            "positions_lost": found.recovery.positions_lost,
            "unreadable": found.recovery.unreadable,
            "segments": found.segments.iter().map(segment).collect::<Vec<_>>(),
        })
    }

    fn state(&self) -> String {
        let found = &self.inspected.recovery;
        let mut state = Vec::new();
        if self.inspected.is_whole() {
            state.push("whole".to_owned());
        }
        let counts = [
            (found.damaged, "damaged"),
            (
                found
                    .missing
                    .iter()
                    .map(|(first, last)| last - first + 1)
                    .sum(),
                "missing",
            ),
            (found.unreadable.len() as u64, "files unreadable"),
        ];
        state.extend(
            counts
                .iter()
                .filter(|(n, _)| *n > 0)
                .map(|(n, what)| format!("{n} {what}")),
        );
        if found.positions_lost {
            state.push("positions lost".to_owned());
        }
        if self.is_in_use {
            state.push("in use".to_owned());
        }
        state.join(", ")
    }

    fn row(&self) -> Vec<String> {
        let number =
            |number: Option<u64>| number.map_or_else(|| "–".to_owned(), |it| it.to_string());
        let oldest = self.first().and_then(|segment| segment.oldest_unix_ns);
        let readers = self
            .readers()
            .map(|of| format!("{} {}", of.name, of.waiting));
        vec![
            self.name.clone(),
            self.inspected.recovery.records.to_string(),
            number(self.first().and_then(|segment| segment.first_seq)),
            number(self.last_seq()),
            mib(self.bytes()),
            oldest.map_or_else(|| "–".to_owned(), crate::sizing::rfc3339),
            readers.collect::<Vec<_>>().join(", "),
            self.state(),
        ]
    }

    /// What is wrong, a line each.
    fn findings(&self) -> Vec<String> {
        let (name, found) = (&self.name, &self.inspected.recovery);
        let mut lines = Vec::new();
        for of in &found.damage {
            let number = of
                .seq
                .map_or_else(String::new, |seq| format!(", number {seq}"));
            lines.push(format!(
                "{name}: {}, byte {}: {} bytes are no record{number}",
                of.segment, of.offset, of.bytes
            ));
        }
        let more = found.damaged.saturating_sub(found.damage.len() as u64);
        if more > 0 {
            lines.push(format!("{name}: {more} more places are damaged"));
        }
        for (first, last) in &found.missing {
            let is_told = self.inspected.is_told((*first, *last));
            let told = if is_told { " (told)" } else { "" };
            lines.push(match last - first {
                0 => format!("{name}: number {first} is missing{told}"),
                _ => format!("{name}: numbers {first} to {last} are missing{told}"),
            });
        }
        lines.extend(
            found
                .unreadable
                .iter()
                .map(|file| format!("{name}: {file} cannot be read")),
        );
        if found.positions_lost {
            lines.push(format!("{name}: nobody knows how far its readers are"));
        }
        if self.is_in_use && !lines.is_empty() {
            lines.push(format!(
                "{name}: it is in use: what is wrong at its end may still be written"
            ));
        }
        lines
    }
}

fn print_document(found: &[Found], out: &mut dyn Write) -> Result<(), CliError> {
    let journals: Vec<_> = found.iter().map(Found::document).collect();
    print_json(&json!({"schema": SCHEMA, "journals": journals}), out)
}

/// What is there.
fn status(path: &Path, output: Output, out: &mut dyn Write) -> Result<Exit, CliError> {
    let found = found(path)?;
    match output {
        Output::Json => print_document(&found, out)?,
        Output::Table => {
            let rows: Vec<_> = found.iter().map(Found::row).collect();
            table::print(COLUMNS, &rows, out)?;
        }
    }
    Ok(Exit::Success)
}

/// What is wrong with it.
fn check(path: &Path, output: Output, out: &mut dyn Write) -> Result<Exit, CliError> {
    let found = found(path)?;
    let is_whole = found.iter().all(|found| found.inspected.is_whole());
    match output {
        Output::Json => print_document(&found, out)?,
        Output::Table => {
            for found in &found {
                for line in found.findings() {
                    writeln!(out, "{line}")?;
                }
                if found.inspected.is_whole() {
                    let records = found.inspected.recovery.records;
                    writeln!(out, "{}: {records} records, whole", found.name)?;
                }
            }
        }
    }
    Ok(if is_whole { Exit::Success } else { Exit::Found })
}

/// Its records, a line each; what is not there is told beside them.
fn export(
    path: &Path,
    from_seq: u64,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, CliError> {
    let mut out = BufWriter::new(out);
    let mut exit = Exit::Success;
    for found in &found(path)? {
        let mut written = Ok(());
        let each = |record: Record| {
            written = writeln!(out, "{}", line(&found.name, &record));
            match written {
                Ok(()) => ControlFlow::Continue(()),
                Err(_) => ControlFlow::Break(()),
            }
        };
        let read = found.inspected.records(&found.files, from_seq, each);
        read.map_err(|source| Failed::Journal {
            path: path.join(&found.name).display().to_string(),
            source,
        })?;
        written?;
        for line in found.findings() {
            exit = Exit::Found;
            // Nobody is left to tell if this fails.
            let _ignored: std::io::Result<()> = writeln!(err, "plimsoll: {line}");
        }
    }
    out.flush()?;
    Ok(exit)
}

fn line(journal: &str, record: &Record) -> Value {
    let mut line = json!({
        "journal": journal,
        "seq": record.seq,
        "time": precise(record.time_unix_ns),
    });
    let (name, content) = content(&record.payload);
    line[name] = content;
    line
}

/// What a payload says: an event or a window, of a collector's journal or an agent's spool.
fn content(payload: &[u8]) -> (&'static str, Value) {
    if let Ok((id, time_unix_ns, event)) = decode::audit_event(payload) {
        let names = Map::new();
        let record = AuditRecord {
            time_unix_ns,
            id,
            event,
            names,
        };
        return ("event", record.to_document());
    }
    if let Ok((id, window)) = decode::usage_window(payload) {
        let mut document = json!(window);
        document["id"] = id.to_string().into();
        return ("window", document);
    }
    let body = Entry::of(payload).map(|entry| entry.body);
    if let Ok(Ok(event)) = body.map(|body| serde_json::from_str(&body)) {
        return ("event", event);
    }
    let event = LogRecord::decode(payload)
        .ok()
        .and_then(|record| logs::decode(&record).ok());
    if let Some((time_unix_ns, event)) = event {
        let mut document = json!(event);
        document["time"] = precise(time_unix_ns).into();
        return ("event", document);
    }
    let window = ResourceMetrics::decode(payload).ok();
    if let Some(window) = window.and_then(|window| metrics::decode(&window).ok()) {
        return ("window", json!(window));
    }
    ("payload_hex", hex(payload).into())
}

#[cfg(test)]
mod tests;
