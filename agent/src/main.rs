//! `plimsoll-agent`: see `plimsoll_agent::run`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use plimsoll_agent::{causes, config, run, telemetry};

/// Bad configuration (`EX_CONFIG` is 78, but 64 is what this project promises).
const EXIT_CONFIG: u8 = 64;

/// Watches one node: what its containers use, and who reads the metadata service.
///
/// Ends with 0 after SIGTERM or SIGINT, with 64 for a configuration that cannot be used (every
/// mistake is named, with its place), with 1 for everything else. What this host does not allow is
/// switched off and said in the log, in /readyz and to the collector.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// Configuration file (YAML); docs/configuration.md lists every setting.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Name of this node, where the configuration does not say it.
    #[arg(long, env = "NODE_NAME", value_name = "NAME")]
    node: Option<String>,
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
    let config = match config::file::read(arguments.config.as_deref(), arguments.node.as_deref()) {
        Ok(config) => config,
        Err(mistakes) => {
            run::write_termination_log(&mistakes);
            for mistake in mistakes.0 {
                telemetry::last_words(&mistake);
            }
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    match runtime.block_on(run(config)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    telemetry::last_words(&causes::chain(error));
    run::write_termination_log(error);
    ExitCode::FAILURE
}
