//! The words of `plimsoll audit export` and `verify`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::super::{Collector, Output};

#[derive(Debug, Args)]
pub(in super::super) struct ExportArgs {
    /// Audit files, in the order in which they are to be printed; `-` is standard input.
    #[arg(required = true)]
    pub(in super::super) files: Vec<PathBuf>,
    /// In which terms.
    #[arg(long, value_enum)]
    pub(in super::super) format: ExportFormat,
}

#[derive(Debug, Args)]
pub(in super::super) struct VerifyArgs {
    /// Files of events, oldest first, each line one event in OCSF 1.8; a folder of such files; or the folder
    /// journal/trail of a collector; or objects of a sink to Security Lake (*.parquet), or a folder of such at any
    /// depth, which are read with --at-least-once. `-` is standard input. Without any, the collector is asked for its last links.
    pub(in super::super) paths: Vec<PathBuf>,
    #[command(flatten)]
    pub(in super::super) cloudwatch: CloudWatchArgs,
    #[command(flatten)]
    pub(in super::super) collector: Collector,
    /// Ask the collector how far its chain is, and hold the files against that.
    #[arg(long)]
    pub(in super::super) against_collector: bool,
    /// The events come from where each is delivered at least once and in no order, as CloudWatch Logs: identical
    /// copies and another order are no findings. So it is with --cloudwatch, and with what the AWS command line has
    /// printed of a log.
    #[arg(long)]
    pub(in super::super) at_least_once: bool,
    /// The chain should be going on: that its end is older than half a minute is a finding.
    #[arg(long)]
    pub(in super::super) live: bool,
    /// The public key that signs the first checkpoint given, hexadecimal: from an earlier report (`next_key`).
    #[arg(long, value_name = "HEX")]
    pub(in super::super) key: Option<String>,
    /// A link that must be there: the head of an earlier report, or what /api/v1/audit/chain says.
    #[arg(long, value_name = "EPOCH:NUMBER:HASH")]
    pub(in super::super) head: Option<String>,
    /// What to print.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(in super::super) output: Output,
}

/// A log group to read the chain from, with the credentials that AWS's tools find (environment, profile, role).
#[derive(Debug, Args)]
pub(in super::super) struct CloudWatchArgs {
    /// Read the chain from this log group of CloudWatch Logs.
    #[arg(long, value_name = "GROUP", conflicts_with = "paths")]
    pub(in super::super) cloudwatch: Option<String>,
    /// Of the group's streams those whose names begin so: `stream` of the sink. All without.
    #[arg(long, value_name = "PREFIX", requires = "cloudwatch")]
    pub(in super::super) stream_prefix: Option<String>,
    /// This stream of the group; can be given again.
    #[arg(
        long = "stream",
        value_name = "STREAM",
        requires = "cloudwatch",
        conflicts_with = "stream_prefix"
    )]
    pub(in super::super) streams: Vec<String>,
    /// The group's Region, instead of AWS_REGION or that of the profile.
    #[arg(long, requires = "cloudwatch")]
    pub(in super::super) region: Option<String>,
    /// Where the service is, if not at the Region's own address.
    #[arg(long, value_name = "URL", requires = "cloudwatch")]
    pub(in super::super) endpoint_url: Option<String>,
    /// Profile of AWS's files, instead of AWS_PROFILE.
    #[arg(long, value_name = "NAME", requires = "cloudwatch")]
    pub(in super::super) profile: Option<String>,
    /// Ask for events without what data protection masks, which needs logs:Unmask: what is masked is not whole.
    #[arg(long, requires = "cloudwatch")]
    pub(in super::super) unmask: bool,
}

/// Terms that events are told in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in super::super) enum ExportFormat {
    /// Open Cybersecurity Schema Framework 1.8.0.
    #[value(name = "ocsf-1.8")]
    Ocsf18,
    /// Open Cybersecurity Schema Framework 1.3.0.
    #[value(name = "ocsf-1.3")]
    Ocsf13,
    /// Elastic Common Schema 9.4.0.
    Ecs,
    /// ArcSight's Common Event Format, version 0: text, and not all of an event.
    Cef,
}
