#![expect(clippy::disallowed_methods, reason = "shell: reads audit files")]
//! `plimsoll audit export`: audit files in the terms of a SIEM, a line at a time.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;
use thiserror::Error;

use super::ExportFormat;
use crate::api::{AuditRecord, NotAnEvent};
use crate::ocsf::project::project;
use crate::ocsf::{Schema, event};
use crate::{cef, ecs};

/// No line is longer: the collector takes no record of more than a mebibyte, and writes it with its names.
const MAX_LINE: u64 = 8 << 20;

/// Why audit files were not exported to their end.
#[derive(Debug, Error)]
pub(in super::super) enum ExportError {
    /// No such file, or not ours to read.
    #[error("read {path}")]
    Read {
        /// As given.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A line that is no audit event.
    #[error("read {path}, line {line}")]
    Line {
        /// As given.
        path: String,
        /// The first line has number 1.
        line: u64,
        /// Why.
        #[source]
        source: BadLine,
    },
    /// Whoever reads our output does not any more.
    #[error("writing events")]
    Output(#[source] io::Error),
}

/// What is wrong with a line.
#[derive(Debug, Error)]
pub(in super::super) enum BadLine {
    /// Its bytes are no JSON.
    #[error("it is no JSON")]
    Json(#[source] serde_json::Error),
    /// It ends before its event does.
    #[error("it is not whole: the file is being written, or was cut")]
    Torn,
    /// It is no event.
    #[error(transparent)]
    Event(#[from] NotAnEvent),
    /// It is longer than any that a collector writes.
    #[error("it is longer than {MAX_LINE} bytes")]
    TooLong,
}

/// Prints the events of these files.
pub(in super::super) fn export(
    files: &[PathBuf],
    format: ExportFormat,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    for file in files {
        if file.as_os_str() == "-" {
            from("standard input", io::stdin().lock(), format, out)?;
        } else {
            let opened = File::open(file).map_err(unreadable(file))?;
            from(
                &file.display().to_string(),
                BufReader::new(opened),
                format,
                out,
            )?;
        }
    }
    out.flush().map_err(ExportError::Output)
}

fn unreadable(path: &Path) -> impl Fn(io::Error) -> ExportError {
    let path = path.display().to_string();
    move |source| ExportError::Read {
        path: path.clone(),
        source,
    }
}

/// The events of one; `name` is for messages.
fn from(
    name: &str,
    mut file: impl BufRead,
    format: ExportFormat,
    out: &mut dyn Write,
) -> Result<(), ExportError> {
    let mut bytes = Vec::new();
    for line in 1.. {
        bytes.clear();
        let read = file.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes);
        if read.map_err(unreadable(Path::new(name)))? == 0 {
            break;
        }
        let event = match record(&bytes) {
            Ok(Some(record)) => told(&record, format),
            Ok(None) => continue,
            Err(source) => {
                let path = name.to_owned();
                return Err(ExportError::Line { path, line, source });
            }
        };
        writeln!(out, "{event}").map_err(ExportError::Output)?;
    }
    Ok(())
}

/// The event of a line; `None` of an empty one.
fn record(line: &[u8]) -> Result<Option<AuditRecord>, BadLine> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let is_whole = line.ends_with(b"\n");
    if !is_whole && line.len() as u64 == MAX_LINE {
        return Err(BadLine::TooLong);
    }
    let document: Value = serde_json::from_slice(line).map_err(|error| {
        if is_whole {
            BadLine::Json(error)
        } else {
            BadLine::Torn
        }
    })?;
    Ok(Some(AuditRecord::from_document(&document)?))
}

fn told(record: &AuditRecord, format: ExportFormat) -> String {
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    // The keys are strings: this cannot fail.
    let ocsf = || serde_json::to_value(event::of(record, VERSION)).unwrap_or_default();
    match format {
        ExportFormat::Ocsf18 => ocsf().to_string(),
        ExportFormat::Ocsf13 => project(&ocsf(), Schema::v1_8(), Schema::v1_3())
            .unwrap_or_default()
            .to_string(),
        ExportFormat::Ecs => ecs::document(record, VERSION).to_string(),
        ExportFormat::Cef => cef::line(record, VERSION),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errors::chain;
    use crate::ocsf::validate::validate;

    const LINE: &str = r#"{"time":"2026-01-02T03:04:05.678901234Z","id":"n/e/security/7","node":"n","names":{"subject":"cgroup/9"},"event":"oom_kill","identity":{"cgroup_id":9,"cgroup_path":null,"subject":{"kind":"unknown"}},"identity_is_trigger":false,"victim_pid":4,"victim_comm":"leak","anon_rss_bytes":null,"file_rss_bytes":null,"shmem_rss_bytes":null,"memory_peak_bytes":null,"memory_limit_bytes":null}"#;

    #[track_caller]
    fn check(text: &str, events: usize, expect: &str) {
        let mut out = Vec::new();
        let exported = from(
            "audit.jsonl",
            text.as_bytes(),
            ExportFormat::Ocsf18,
            &mut out,
        );
        let told = exported.map_err(|error| chain(&error)).err();
        assert_eq!(told.unwrap_or_default(), expect);
        assert_eq!(String::from_utf8(out).unwrap().lines().count(), events);
    }

    #[test]
    fn every_line_is_an_event_or_told() {
        check("", 0, "");
        check(&format!("{LINE}\n\n{LINE}"), 2, "");
        check(
            &format!("{LINE}\n{{\"time\":\"2026"),
            1,
            "read audit.jsonl, line 2: it is not whole: the file is being written, or was cut",
        );
        check(
            &format!("{LINE}\n\nnot JSON\n"),
            1,
            "read audit.jsonl, line 3: it is no JSON: expected ident at line 1 column 2",
        );
        check(
            "{\"time\":\"2026-01-02T03:04:05Z\",\"id\":\"n/e/7\"}\n",
            0,
            "read audit.jsonl, line 1: id is missing, or not what an audit event has there",
        );
        check(
            &LINE.replace("victim_pid", "victim"),
            0,
            "read audit.jsonl, line 1: it is no audit event: missing field `victim_pid`",
        );
    }

    #[test]
    fn each_format_is_what_it_says() {
        for (format, schema) in [
            (ExportFormat::Ocsf18, Schema::v1_8()),
            (ExportFormat::Ocsf13, Schema::v1_3()),
        ] {
            let mut out = Vec::new();
            from("-", LINE.as_bytes(), format, &mut out).unwrap();
            let event: Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(validate(schema, &event), []);
            let time = event["metadata"]["original_time"].as_str();
            assert_eq!(time, Some("2026-01-02T03:04:05.678901234Z"));
        }
    }
}
