//! `plimsoll-collector`: see `plimsoll_collector::run`.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use plimsoll_collector::config::{Config, file};
use plimsoll_collector::{api, errors, probe, run, telemetry};

/// Bad configuration.
const EXIT_CONFIG: u8 = 64;

/// Receives what the agents see, names it, keeps it, and shows it.
///
/// Ends with 0 after SIGTERM or SIGINT, with 64 for a configuration that cannot be used (every
/// mistake is named, with its place), with 1 for everything else.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file (YAML); docs/configuration.md lists every setting.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// What to log: a level (off, error, warn, info, debug, trace), or `module=level` pairs. Why the
    /// program ends is always told.
    #[arg(
        long,
        env = "PLIMSOLL_LOG",
        default_value = "info",
        value_name = "FILTER",
        global = true
    )]
    log: String,
    /// Log JSON lines.
    #[arg(long, global = true)]
    log_json: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Say what is wrong with the configuration, every mistake with its place, and change nothing.
    CheckConfig {
        /// Send a marked event to each sink, and say what became of it; exit code 1 if one refuses it.
        #[arg(long)]
        probe: bool,
    },
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
    if let Some(Command::CheckConfig { probe: false }) = arguments.command {
        let sinks = config.sinks().len();
        return told(&format!("the configuration is sound, with {sinks} sinks"));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    if arguments.command.is_some() {
        return runtime.block_on(probe_all(&config));
    }
    let ended = runtime.block_on(run(config));
    // A plugin of the kubeconfig that does not end is not waited for: all that is to be kept is on disk by now.
    runtime.shutdown_background();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

/// Asks each sink, one after the other.
async fn probe_all(config: &Config) -> ExitCode {
    let mut ended = ExitCode::SUCCESS;
    for sink in config.sinks() {
        let line = match probe::probe(&sink, api::unix_ns()).await {
            Ok(where_it_is) => format!("{}: {where_it_is}", sink.name),
            Err(refused) => {
                ended = ExitCode::FAILURE;
                format!("{}: refused: {}", sink.name, errors::chain(&refused))
            }
        };
        if told(&line) == ExitCode::FAILURE {
            return ExitCode::FAILURE;
        }
    }
    ended
}

/// On standard output.
fn told(line: &str) -> ExitCode {
    match writeln!(io::stdout(), "{line}") {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn failed(error: &(dyn std::error::Error + 'static)) -> ExitCode {
    telemetry::last_words(&errors::chain(error));
    ExitCode::FAILURE
}
