//! The `plimsoll` command line: arguments, exit codes and which command answers.
//!
//! Owns what users and scripts rely on (`docs` call it a promise): `-o json` prints one document on
//! standard output and nothing else, messages go to standard error, exit codes are those of
//! [`Exit`]. Computes nothing of its own: the collector does, or the very same code on files.

mod audit;
mod client;
pub mod imds;
mod journal;
mod sizing;
mod table;
mod through;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use thiserror::Error;

use client::{Client, ClientError};

use crate::errors::chain;

/// What containers really need, and who touched what they should not have.
///
/// Reads the collector's API: in the cluster of the kubeconfig's current context, or where --server says.
/// Nothing is ever written to a cluster.
///
/// Exit codes: 0 success; 1 the check found something; 2 bad usage or unreadable input;
/// 64 bad configuration.
#[derive(Debug, Parser)]
#[command(
    name = "plimsoll",
    version,
    max_term_width = 100,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Recommended requests and limits, with the data behind each number.
    #[command(subcommand)]
    Sizing(SizingCommand),
    /// Who asked the metadata and credential endpoints for what; kills; losses; accounting.
    #[command(subcommand)]
    Audit(AuditCommand),
    /// Requests to the metadata and credential endpoints, from a capture.
    #[command(subcommand)]
    Imds(ImdsCommand),
    /// A collector's journals and an agent's spools on a disk, without their process.
    #[command(subcommand)]
    Journal(journal::JournalCommand),
    /// Print a completion script for a shell.
    #[command(after_help = "Examples:
  plimsoll completions bash > /etc/bash_completion.d/plimsoll
  plimsoll completions zsh > \"${fpath[1]}/_plimsoll\"
  plimsoll completions fish > ~/.config/fish/completions/plimsoll.fish")]
    Completions {
        /// The shell to complete in.
        shell: Shell,
    },
}

/// Where the collector is: at an address, or in the cluster of a kubeconfig, where it is reached by a
/// port-forward. Without any of these options it is in the cluster of the kubeconfig's current context; without
/// a kubeconfig at http://127.0.0.1:8080.
#[derive(Clone, Debug, Default, Args)]
struct Collector {
    /// The collector's address; no kubeconfig is read then.
    #[arg(
        long,
        value_name = "URL",
        env = "PLIMSOLL_SERVER",
        value_parser = client::address,
        conflicts_with_all = ["kubeconfig", "context"]
    )]
    server: Option<String>,
    /// File with a bearer token to show to an https:// address.
    #[arg(
        long,
        value_name = "FILE",
        env = "PLIMSOLL_TOKEN_FILE",
        requires = "server"
    )]
    token_file: Option<PathBuf>,
    /// PEM file of the authorities by which the collector is known, instead of the system's for an https://
    /// address, and instead of ConfigMap plimsoll-ca in a cluster.
    #[arg(long, value_name = "FILE", env = "PLIMSOLL_CA_FILE")]
    ca_file: Option<PathBuf>,
    /// Kubeconfig of the cluster, instead of $KUBECONFIG or ~/.kube/config.
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig, instead of the current one.
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// Namespace of the collector in the cluster.
    #[arg(
        long = "collector-namespace",
        value_name = "NAMESPACE",
        env = "PLIMSOLL_NAMESPACE",
        default_value = "plimsoll"
    )]
    within: String,
}

#[derive(Debug, Subcommand)]
enum SizingCommand {
    /// One line for each container of each workload: what is set, what is recommended, how sure.
    ///
    /// The CPU request is the 95th percentile of minute means of the hottest pod; the memory
    /// request is the highest peak of what cannot be reclaimed plus a margin. `-o json` has the
    /// distributions, the evidence and the explanation of every number.
    #[command(after_help = "Examples:
  plimsoll sizing report -n shop
  plimsoll sizing report -l 'app=api,tier!=cache' -o wide
  plimsoll sizing report -o csv > sizing.csv")]
    Report(ReportArgs),
}

#[derive(Debug, Args)]
struct ReportArgs {
    #[command(flatten)]
    collector: Collector,
    /// Only this namespace.
    #[arg(short, long, value_name = "NAMESPACE", value_parser = given)]
    namespace: Option<String>,
    /// Only pods with these labels: `app=api,tier!=cache,zone in (a,b)`.
    #[arg(short = 'l', long, value_name = "SELECTOR", value_parser = selector)]
    selector: Option<String>,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = SizingOutput::Table)]
    output: SizingOutput,
}

/// A selector as it was given, if it is one that says something: asked of no server otherwise.
fn selector(text: &str) -> Result<String, Box<dyn std::error::Error + Send + Sync>> {
    let text = given(text)?;
    crate::inventory::Selector::parse(&text)?;
    Ok(text)
}

/// A text that is not empty. As often as not it is a variable that was not set: whoever asked for one
/// namespace must not be answered with every one.
fn given(text: &str) -> Result<String, NotGiven> {
    let is_blank = text.trim().is_empty();
    (!is_blank).then(|| text.to_owned()).ok_or(NotGiven)
}

/// An option without a value that says anything.
#[derive(Debug, Error)]
#[error("it is empty; without the option all are meant")]
struct NotGiven;

/// Forms of a sizing report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum SizingOutput {
    /// Aligned columns for people.
    Table,
    /// The table with limits, percentiles and the reasons.
    Wide,
    /// The whole document, schema `plimsoll.sizing/v1`.
    Json,
    /// Plain numbers with the unit in the column's name.
    Csv,
    /// The whole document as YAML.
    Yaml,
}

#[derive(Debug, Subcommand)]
enum AuditCommand {
    /// The newest events, oldest of them first; with `--follow` whatever comes after them.
    ///
    /// An event is a request to a metadata or credential endpoint with its answer, a kill for want
    /// of memory, the end of a container, or a loss of records. docs/events.md lists the fields.
    #[command(after_help = "Examples:
  plimsoll audit tail -f
  plimsoll audit tail --class CRED,TOKEN -n shop --lines 100
  plimsoll audit tail -f -o json | jq -r .request.path")]
    Tail(TailArgs),
    /// Events that match, newest first.
    ///
    /// The collector keeps the newest events at hand; older ones are in its audit files.
    #[command(after_help = "Examples:
  plimsoll audit query --since 1h --class CRED
  plimsoll audit query --workload api -n shop --limit 5000 -o json")]
    Query(QueryArgs),
    /// Every record's fate, by stage; exit code 1 if any is unaccounted for.
    ///
    /// At each stage emitted = lost + undecodable + filtered + shed + expired + rejected +
    /// quarantined + delivered + in flight. What is missing in that sum is unaccounted for.
    #[command(after_help = "Examples:
  plimsoll audit accounting
  plimsoll audit accounting -o json > accounting.json || echo 'records are missing'")]
    Accounting(AccountingArgs),
    /// Events of audit files in the terms of a SIEM, a line each.
    ///
    /// Needs no collector. OCSF 1.8 has a place for most of what an event says; the rest is in its `unmapped`. For
    /// OCSF 1.3, which Security Lake takes, what that release does not know is there too. A line that is no event
    /// ends it with exit code 2 and the line's number; what came before it is printed.
    #[command(after_help = "Examples:
  plimsoll audit export --format ocsf-1.8 audit.jsonl.1 audit.jsonl
  cat audit.jsonl.2 audit.jsonl.1 audit.jsonl | plimsoll audit export --format ocsf-1.3 -")]
    Export(audit::ExportArgs),
    /// Whether the chain of audit events is whole; exit code 1 if it is not.
    ///
    /// Finds every event that was altered, taken out, put in, moved, sent twice or kept back, and names it by epoch
    /// and number. docs/security.md says what it proves, and what it cannot see.
    #[command(after_help = "Examples:
  plimsoll audit verify /var/lib/plimsoll/collector/journal/trail
  plimsoll audit verify siem/audit.jsonl.2 siem/audit.jsonl.1 siem/audit.jsonl -o json
  plimsoll audit verify siem/ --against-collector
  plimsoll audit verify --cloudwatch /plimsoll/audit --stream-prefix cluster-1 --region eu-central-1
  aws logs get-log-events --log-group-name /plimsoll/audit --log-stream-name cluster-1/20261201T110000Z-0a1b \\
    --start-from-head --output json | plimsoll audit verify -
  plimsoll audit verify --server https://plimsoll.example:8443")]
    Verify(audit::VerifyArgs),
}

/// Which events.
#[derive(Debug, Args)]
struct Which {
    /// CRED, TOKEN, SECRET_CFG, …, or imds (every metadata request), oom_kill, container_end, loss;
    /// several with commas.
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Only pods of this namespace.
    #[arg(short, long, value_name = "NAMESPACE", value_parser = given)]
    namespace: Option<String>,
    /// Only pods of this workload.
    #[arg(long, value_name = "NAME", value_parser = given)]
    workload: Option<String>,
    /// Not older than this: an RFC 3339 time, or an age such as 90s, 15m, 2h, 1d.
    #[arg(long, value_name = "TIME|AGE", value_parser = given)]
    since: Option<String>,
}

#[derive(Debug, Args)]
struct TailArgs {
    #[command(flatten)]
    collector: Collector,
    #[command(flatten)]
    which: Which,
    /// How many events to begin with.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=5000))]
    lines: u64,
    /// Stay, and print what happens from now on. A collector that stops answering is asked again, at
    /// least every half minute.
    #[arg(short, long)]
    follow: bool,
    /// How to print it; with `--follow`, json is one event a line.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Args)]
struct QueryArgs {
    #[command(flatten)]
    collector: Collector,
    #[command(flatten)]
    which: Which,
    /// Most events.
    #[arg(long, value_name = "N", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=5000))]
    limit: u64,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Args)]
struct AccountingArgs {
    #[command(flatten)]
    collector: Collector,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Subcommand)]
enum ImdsCommand {
    /// Decode a pcap or pcapng file with the agent's own parser: one event for each request, in
    /// order of completion, schema `plimsoll.imds/v1`.
    ///
    /// Link types: Ethernet, Linux cooked (v1 and v2), raw IP, loopback. Secrets are printed as
    /// keyed hashes that hold within one document. Where a capture breaks off, what came before is
    /// printed all the same; the error names the packet and its place in the file, exit code 2.
    /// Packets of other link types are passed over and counted (`skipped`).
    #[command(after_help = "Examples:
  tcpdump -i any -w imds.pcap host 169.254.169.254
  plimsoll imds decode imds.pcap | jq '.events[] | select(.imds_version == \"v1\")'
  zcat imds.pcap.gz | plimsoll imds decode -")]
    Decode(DecodeArgs),
}

#[derive(Debug, Args)]
struct DecodeArgs {
    /// The capture; `-` is standard input.
    file: PathBuf,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = ImdsOutput::Json)]
    output: ImdsOutput,
}

/// Forms of decoded requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ImdsOutput {
    /// The whole document.
    Json,
}

/// Forms of everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Aligned columns for people.
    Table,
    /// The whole document.
    Json,
}

/// Exit codes, a promise to scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Done, and nothing found.
    Success = 0,
    /// The check found something: drift, a gap, an invalid object.
    Found = 1,
    /// Bad usage, or input that cannot be read.
    Usage = 2,
    /// Bad configuration.
    Configuration = 64,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug, Error)]
enum CliError {
    /// The collector did not answer as it should.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A capture that cannot be decoded.
    #[error(transparent)]
    Imds(#[from] imds::DecodeError),
    /// A chain that cannot be looked at.
    #[error(transparent)]
    Verify(#[from] audit::VerifyError),
    /// An audit file that is none.
    #[error(transparent)]
    Export(#[from] audit::ExportError),
    /// A folder that is no journal.
    #[error(transparent)]
    Journal(#[from] journal::Failed),
    /// Our own standard output.
    #[error("writing to standard output")]
    Output(#[from] std::io::Error),
    /// A row that cannot be printed as CSV.
    #[error("writing CSV")]
    Csv(#[from] csv::Error),
    /// A document that cannot be printed.
    #[error("writing JSON")]
    Json(#[from] serde_json::Error),
    /// A document that cannot be printed.
    #[error("writing YAML")]
    Yaml(#[from] serde_saphyr::ser_error::Error),
}

impl CliError {
    /// Whoever read our output has gone, as `head` does: no error.
    fn is_closed_pipe(&self) -> bool {
        let kind = match self {
            Self::Output(error)
            | Self::Imds(imds::DecodeError::Output(error))
            | Self::Export(audit::ExportError::Output(error)) => Some(error.kind()),
            Self::Json(error) => error.io_error_kind(),
            Self::Csv(error) => match error.kind() {
                csv::ErrorKind::Io(error) => Some(error.kind()),
                _ => None,
            },
            Self::Client(_)
            | Self::Imds(_)
            | Self::Export(_)
            | Self::Verify(_)
            | Self::Journal(_)
            | Self::Yaml(_) => None,
        };
        kind == Some(std::io::ErrorKind::BrokenPipe)
    }
}

/// Runs a command line and returns its exit code.
pub fn run(
    args: impl IntoIterator<Item = OsString>,
    out: &mut dyn Write,
    err: &mut dyn Write,
) -> Exit {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(refused) => {
            // Help and version are answers, not errors.
            let (to, exit): (&mut dyn Write, _) = if refused.use_stderr() {
                (err, Exit::Usage)
            } else {
                (out, Exit::Success)
            };
            // Nobody is left to tell if this fails.
            let _ignored: std::io::Result<()> = write!(to, "{}", refused.render());
            return exit;
        }
    };
    match dispatch(&cli.command, out, err) {
        Ok(exit) => exit,
        Err(error) if error.is_closed_pipe() => Exit::Success,
        Err(error) => {
            let _ignored: std::io::Result<()> = writeln!(err, "plimsoll: {}", chain(&error));
            Exit::Usage
        }
    }
}

fn dispatch(command: &Command, out: &mut dyn Write, err: &mut dyn Write) -> Result<Exit, CliError> {
    match command {
        Command::Sizing(SizingCommand::Report(args)) => sizing::report(args, out),
        Command::Audit(AuditCommand::Tail(args)) => audit::tail(args, out, err),
        Command::Audit(AuditCommand::Query(args)) => audit::query(args, out),
        Command::Audit(AuditCommand::Accounting(args)) => audit::accounting(args, out),
        Command::Audit(AuditCommand::Verify(args)) => audit::verify(args, out, err),
        Command::Audit(AuditCommand::Export(args)) => {
            audit::export(&args.files, args.format, out)?;
            Ok(Exit::Success)
        }
        Command::Imds(ImdsCommand::Decode(args)) => {
            let ImdsOutput::Json = args.output;
            for (link, packets) in imds::decode(&args.file, out)?.skipped {
                let links = imds::LINKS;
                let packets = match packets {
                    1 => "1 packet passed over: its".to_owned(),
                    more => format!("{more} packets passed over: their"),
                };
                let _ignored: std::io::Result<()> = writeln!(
                    err,
                    "plimsoll: {packets} link type {link} is not one of {links}"
                );
            }
            Ok(Exit::Success)
        }
        Command::Journal(command) => journal::run(command, out, err),
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut Cli::command(), "plimsoll", &mut script);
            out.write_all(&script)?;
            Ok(Exit::Success)
        }
    }
}

/// Prints a document as it is, on lines of its own.
fn print_json(document: &impl serde::Serialize, out: &mut dyn Write) -> Result<(), CliError> {
    serde_json::to_writer_pretty(&mut *out, document)?;
    writeln!(out)?;
    Ok(())
}

#[cfg(test)]
mod tests;
