#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads audit files and the clock"
)]
//! `plimsoll audit verify`: whether the chain in files, in a collector's folder or in CloudWatch Logs is whole.

mod cloudwatch;
mod forms;
mod service;

mod parquet;

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use plimsoll_journal::{JournalError, ReadOnly, inspect};
use thiserror::Error;

use super::super::table::{self, Column};
use super::super::{CliError, Client, Exit, Output, print_json};
use super::VerifyArgs;
use crate::api::chain::MAX_LINKS;
use crate::api::{self, ChainDocument};
use crate::trail::chain::from_hex;
use crate::trail::entry::Entry;
use crate::trail::verify::{Expect, Finding, Kind, Report, Verifier};
use cloudwatch::{Failed, Reading, Which, YOUNG};
use forms::{At, Form};
use service::Aws;

/// Of the number that says where an event was given, the part that says in which file.
const FILE: u32 = cloudwatch::STREAM;
/// Bit of the number of an event that is in no line of its own.
const NTH: u64 = 1 << 39;
const PATH: &str = "/api/v1/audit/chain";
const COLUMNS: &[Column] = &[
    Column::Left("EPOCH"),
    Column::Right("FROM"),
    Column::Right("TO"),
    Column::Right("SIGNED"),
    Column::Left("ENDED"),
];

/// Why a chain could not be looked at.
#[derive(Debug, Error)]
pub(in super::super) enum VerifyError {
    /// No such file, or not ours to read.
    #[error("read {path}")]
    Read {
        /// As given.
        path: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A folder of the trail's.
    #[error("read {path}")]
    Journal {
        /// As given.
        path: String,
        /// Why.
        #[source]
        source: JournalError,
    },
    /// A log.
    #[error("read CloudWatch Logs")]
    Logs(#[from] Failed),
    /// An object of Security Lake.
    #[error("read {path}: it is to be Parquet with a column raw_data")]
    Parquet {
        /// As found.
        path: String,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// There is nothing to look at.
    #[error(
        "{path} has no event with unmapped.chain: that of a sink with the format ocsf-1.8 is to be given, or the \
         folder journal/trail of a collector"
    )]
    NoChain {
        /// As given.
        path: String,
    },
    /// It has written none.
    #[error("the collector has no chain yet, or its volume is another one than before")]
    NoEnd,
    /// What is to be found there.
    #[error(
        "--head must be EPOCH:NUMBER:HASH, as /api/v1/audit/chain and an earlier report say it"
    )]
    Head,
    /// The key.
    #[error("--key must be 64 hexadecimal digits in lower case")]
    Key,
}

/// What is read, one after the other.
struct Source {
    path: PathBuf,
    is: Is,
}

/// What a file or folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    Lines,
    Journal,
    /// Of Parquet.
    Object,
}

/// Looks at these files and folders, at a log, or at what a collector says; exit code 1 if something is wrong.
pub(in super::super) fn verify(
    args: &VerifyArgs,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Result<Exit, CliError> {
    let group = args.cloudwatch.cloudwatch.as_deref();
    let is_of_links = args.paths.is_empty() && group.is_none();
    let asked = (is_of_links || args.against_collector).then(|| ask(args, is_of_links));
    let asked = asked.transpose()?;
    let said = asked.as_ref().map(end).transpose()?;
    let given = args.head.as_deref().map(head).transpose()?;
    let expect = Expect {
        loose: args.at_least_once || group.is_some(),
        key: args.key.as_deref().map(key).transpose()?,
        heads: given.into_iter().chain(said).collect(),
        now_ms: (args.live || is_of_links || group.is_some()).then(now_ms),
        lag_ms: group.map_or(0, |_| cloudwatch::LAG_MS),
        may_rest: group.is_some() && !args.live,
    };
    let (report, what) = match group {
        Some(group) => (
            of_log(args, group, expect, err).map_err(VerifyError::from)?,
            group.to_owned(),
        ),
        None if is_of_links => (of_links(asked.as_ref(), expect), "the collector".to_owned()),
        None => {
            let paths = args.paths.iter().map(|path| path.display().to_string());
            (
                of_files(args, expect)?,
                paths.collect::<Vec<_>>().join(", "),
            )
        }
    };
    if report.epochs.is_empty() {
        return Err(VerifyError::NoChain { path: what }.into());
    }
    match args.output {
        Output::Json => print_json(&report, out)?,
        Output::Table => tell(&report, out)?,
    }
    Ok(if report.ok {
        Exit::Success
    } else {
        Exit::Found
    })
}

fn now_ms() -> i64 {
    i64::try_from(api::unix_ns() / 1_000_000).unwrap_or(i64::MAX)
}

/// What is in files and folders.
fn of_files(args: &VerifyArgs, expect: Expect) -> Result<Report, VerifyError> {
    let mut sources = Vec::new();
    for path in &args.paths {
        sources.extend(sources_of(path)?);
    }
    let names: Vec<(String, Is)> = sources
        .iter()
        .map(|source| (source.path.display().to_string(), source.is))
        .collect();
    let place = |at: u64| {
        let file = usize::try_from(at >> FILE)
            .ok()
            .and_then(|file| names.get(file));
        let number = at & (NTH - 1);
        match file {
            Some((name, Is::Journal)) => format!("{name}, record {number}"),
            Some((name, Is::Object)) => format!("{name}, row {number}"),
            Some((name, Is::Lines)) if at & NTH == 0 => format!("{name}, line {number}"),
            Some((name, Is::Lines)) => format!("{name}, event {number}"),
            None => String::new(),
        }
    };
    let mut verifier = Verifier::new(expect, &place);
    for (at, source) in (0_u64..).zip(&sources) {
        add(source, at << FILE, &mut verifier)?;
    }
    Ok(verifier.finish())
}

/// The last links of a collector, as it says them.
fn of_links(asked: Option<&ChainDocument>, expect: Expect) -> Report {
    let place = |at: u64| format!("the collector's link {at}");
    let mut verifier = Verifier::new(expect, &place);
    let links = asked.into_iter().flat_map(|document| &document.links);
    for (at, link) in (1..).zip(links) {
        verifier.add(link.to_string().as_bytes(), at);
    }
    verifier.finish()
}

/// What is in a log group.
fn of_log(
    args: &VerifyArgs,
    group: &str,
    expect: Expect,
    err: &mut dyn Write,
) -> Result<Report, Failed> {
    let mut service = Aws::new(&args.cloudwatch, group, err)?;
    let which = Which {
        streams: args.cloudwatch.streams.clone(),
        // Those of `cluster-10` are not those of `cluster-1`.
        prefix: args.cloudwatch.stream_prefix.as_ref().map(|prefix| {
            let prefix = prefix.trim_end_matches('/');
            format!("{prefix}/")
        }),
    };
    let streams = which.names(&mut service)?;
    let place = |at: u64| {
        let stream = usize::try_from(at >> FILE).ok();
        let stream = stream.and_then(|stream| streams.get(stream));
        let name = stream.map(String::as_str).unwrap_or_default();
        format!("{name}, event {}", at & (YOUNG - 1))
    };
    let mut verifier = Verifier::new(expect, &place);
    let mut reading = Reading::new(&mut service, &mut verifier, &streams);
    reading.read()?;
    let masked = reading.masked;
    verifier.now(now_ms());
    let report = verifier.finish();
    let is_edited = report.findings.iter().any(|found| found.kind == Kind::Edit);
    if masked > 0 && is_edited && !args.cloudwatch.unmask {
        cloudwatch::Service::tell(
            &mut service,
            format_args!(
                "{masked} events have asterisks in them: if the group masks data, they are not as they were sent; \
                 --unmask asks for them as they were"
            ),
        );
    }
    Ok(report)
}

fn ask(args: &VerifyArgs, is_of_links: bool) -> Result<ChainDocument, CliError> {
    let links = if is_of_links { MAX_LINKS } else { 0 };
    let client = Client::new(&args.collector)?;
    Ok(client.get(PATH, &[("links", Some(links.to_string()))])?)
}

/// Where the collector says that its chain ends.
fn end(document: &ChainDocument) -> Result<(String, u64, [u8; 32]), VerifyError> {
    if document.seq == 0 {
        return Err(VerifyError::NoEnd);
    }
    let hash = from_hex(&document.hash).ok_or(VerifyError::Head)?;
    Ok((document.epoch.clone(), document.seq, hash))
}

fn key(text: &str) -> Result<[u8; 32], VerifyError> {
    from_hex(text).ok_or(VerifyError::Key)
}

fn head(text: &str) -> Result<(String, u64, [u8; 32]), VerifyError> {
    let mut parts = text.split(':');
    let (Some(epoch), Some(seq), Some(hash), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(VerifyError::Head);
    };
    let seq = seq.parse().map_err(|_| VerifyError::Head)?;
    let hash = from_hex(hash).ok_or(VerifyError::Head)?;
    Ok((epoch.to_owned(), seq, hash))
}

/// A file is itself; a folder of segments is a journal; another one has files that were put aside, the highest number
/// first.
fn sources_of(path: &Path) -> Result<Vec<Source>, VerifyError> {
    let unreadable = |source| VerifyError::Read {
        path: path.display().to_string(),
        source,
    };
    let of = |path: PathBuf, is| Source { path, is };
    if path.as_os_str() == "-" || !path.is_dir() {
        let is = if parquet::is_object(path) {
            Is::Object
        } else {
            Is::Lines
        };
        return Ok(vec![of(path.to_owned(), is)]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path).map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let name = file
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name.starts_with("segment-") && file.extension().is_some_and(|ending| ending == "plj") {
            return Ok(vec![of(path.to_owned(), Is::Journal)]);
        }
        let aside = match name.split_once(".jsonl") {
            Some((_, "")) => 0,
            Some((_, aside)) => match aside
                .strip_prefix('.')
                .and_then(|number| number.parse::<u64>().ok())
            {
                Some(number) => number,
                None => continue,
            },
            None => continue,
        };
        files.push((
            name.split(".jsonl").next().unwrap_or_default().to_owned(),
            aside,
            file,
        ));
    }
    files.sort_by(|(a, x, _), (b, y, _)| a.cmp(b).then(y.cmp(x)));
    let files = files.into_iter().map(|(.., file)| of(file, Is::Lines));
    let objects = parquet::objects(path).map_err(unreadable)?;
    Ok(files
        .chain(objects.into_iter().map(|file| of(file, Is::Object)))
        .collect())
}

fn add(source: &Source, base: u64, verifier: &mut Verifier<'_>) -> Result<(), VerifyError> {
    let path = source.path.display().to_string();
    if source.is == Is::Object {
        // Each class has files of its own, and a life that was killed may have stored some of it again.
        verifier.loosen();
        return parquet::read(&source.path, |row, text| verifier.add(text, base + row));
    }
    if source.is == Is::Journal {
        let journal = |source| VerifyError::Journal {
            path: path.clone(),
            source,
        };
        let files = ReadOnly::new(source.path.clone());
        let inspected = inspect::inspect(&files).map_err(journal)?;
        return inspected
            .records(&files, 0, |record| {
                match Entry::of(&record.payload) {
                    Ok(entry) => verifier.add(entry.body.as_bytes(), base + record.seq),
                    Err(_) => verifier.add(&record.payload, base + record.seq),
                }
                ControlFlow::Continue(())
            })
            .map_err(journal);
    }
    let unreadable = |source| VerifyError::Read {
        path: path.clone(),
        source,
    };
    if source.path.as_os_str() == "-" {
        return lines(io::stdin().lock(), base, verifier).map_err(unreadable);
    }
    let file = File::open(&source.path).map_err(unreadable)?;
    lines(BufReader::with_capacity(1 << 20, file), base, verifier).map_err(unreadable)
}

fn lines(file: impl BufRead, base: u64, verifier: &mut Verifier<'_>) -> io::Result<()> {
    forms::read(file, &mut |form, at| {
        let at = match at {
            At::Line(line) => base + line,
            At::Event(event) => base + event + NTH,
        };
        match form {
            Form::Plain(text) => verifier.add(text, at),
            Form::Logged(text) => {
                verifier.loosen();
                verifier.add(text, at);
            }
        }
    })
}

/// For people.
fn tell(report: &Report, out: &mut dyn Write) -> Result<(), CliError> {
    let rows: Vec<Vec<String>> = report
        .epochs
        .iter()
        .map(|epoch| {
            vec![
                epoch.epoch.clone(),
                epoch.first_seq.to_string(),
                epoch.last_seq.to_string(),
                epoch.signed_seq.to_string(),
                if epoch.closed { "yes" } else { "no" }.to_owned(),
            ]
        })
        .collect();
    table::print(COLUMNS, &rows, out)?;
    for finding in &report.findings {
        writeln!(out, "{}", table::printable(&line(finding)?))?;
    }
    let verdict = if report.ok { "whole" } else { "NOT whole" };
    let unnamed = report.findings_total - report.findings.len() as u64;
    if unnamed > 0 {
        writeln!(out, "and {unnamed} more")?;
    }
    writeln!(
        out,
        "\n{} events, {} of them came again, {} probes, {} checkpoints signed: the chain is {verdict}",
        report.events, report.duplicates, report.probes, report.checkpoints
    )?;
    Ok(())
}

fn line(finding: &Finding) -> Result<String, CliError> {
    let kind = serde_json::to_value(finding.kind)?;
    let kind = kind.as_str().unwrap_or_default();
    let place = match (finding.seq, finding.last_seq) {
        (Some(first), Some(last)) => format!(" {}:{first}-{last}", finding.epoch),
        (Some(first), None) => format!(" {}:{first}", finding.epoch),
        (None, _) => String::new(),
    };
    let at = finding.at.as_ref().map(|at| format!(" ({at})"));
    Ok(format!(
        "{kind}{place}{}: {}",
        at.unwrap_or_default(),
        finding.detail
    ))
}
