//! `plimsoll-collector`: see `plimsoll_collector::run`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use plimsoll_collector::config::file;
use plimsoll_collector::{errors, run, telemetry};

/// Bad configuration.
const EXIT_CONFIG: u8 = 64;

/// Receives what the agents see, names it, keeps it, and shows it.
///
/// Ends with 0 after SIGTERM or SIGINT, with 64 for a configuration that cannot be used (every
/// mistake is named, with its place), with 1 for everything else.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// Configuration file (YAML); docs/configuration.md lists every setting.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// What to log: a level (off, error, warn, info, debug, trace), or `module=level` pairs. Why the
    /// program ends is always told.
    #[arg(
        long,
        env = "PLIMSOLL_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    log: String,
    /// Log JSON lines.
    #[arg(long)]
    log_json: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::start_log(&arguments.log, arguments.log_json);
    let config = match file::read(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(mistakes) => {
            for mistake in mistakes.0 {
                telemetry::last_words(&mistake);
            }
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let ended = runtime.block_on(run(config));
    // A plugin of the kubeconfig that does not end is not waited for: all that is to be kept is on disk by now.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    telemetry::last_words(&errors::chain(error));
    ExitCode::FAILURE
}
