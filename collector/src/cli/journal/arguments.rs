//! What `plimsoll journal` is told.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::super::Output;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum JournalCommand {
    /// How many records there are, and how many of them wait for whom.
    ///
    /// PATH is a journal's folder, a folder of such (an agent's spool), or a collector's data folder. Here and in the
    /// other commands nothing in it is changed, and its process may be running.
    #[command(after_help = "Examples:
  plimsoll journal status /var/lib/plimsoll/collector
  plimsoll journal status /var/lib/plimsoll/agent -o json")]
    Status(At),
    /// Damage and missing numbers, each with its place; exit code 1 if there is any.
    #[command(after_help = "Examples:
  plimsoll journal check /var/lib/plimsoll/collector || echo 'something is missing'")]
    Check(At),
    /// Every record that can be read, a JSON object each, with its number and time; exit code 1 if there is damage or
    /// something is missing, which is told on standard error.
    #[command(after_help = "Examples:
  plimsoll journal export /var/lib/plimsoll/collector/journal/security | jq -c .event
  plimsoll journal export /var/lib/plimsoll/agent/security --from 1200")]
    Export(Exported),
    /// Write what can be read into another folder, under the same numbers; exit code 1 if that is not all.
    ///
    /// The original stays as it is; its process has to be stopped. One that is started on the copy tells what is missing
    /// there.
    #[command(after_help = "Examples:
  plimsoll journal repair /var/lib/plimsoll/collector --into /var/lib/plimsoll/saved")]
    Repair(Saved),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct At {
    /// Folder of a journal or of several.
    pub(super) path: PathBuf,
    /// How to print it.
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    pub(super) output: Output,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Exported {
    /// Folder of a journal or of several.
    pub(super) path: PathBuf,
    /// Only records with this number or a later one, of each journal.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(super) from: u64,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Saved {
    /// Folder of a journal or of several.
    pub(super) path: PathBuf,
    /// Folder to write to: not there yet or empty, and not within PATH.
    #[arg(long, value_name = "FOLDER")]
    pub(super) into: PathBuf,
}
