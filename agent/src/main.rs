//! `plimsoll-agent`: see `plimsoll_agent::run`.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use plimsoll_agent::config::Config;
use plimsoll_agent::{causes, check, config, run, telemetry};

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
    #[command(subcommand)]
    command: Option<Command>,
    /// Configuration file (YAML); docs/configuration.md lists every setting.
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Name of this node, where the configuration does not say it.
    #[arg(long, env = "NODE_NAME", value_name = "NAME", global = true)]
    node: Option<String>,
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
    /// Say what this host offers, which kernel programs would be attached, which files and folders of
    /// the settings can be used, and what would be missing.
    ///
    /// Attaches nothing and needs no right of its own. Without --config it looks at the places of the
    /// defaults, and judges no other setting. Ends with 0, or with 1 if something is missing.
    Check {
        /// How to print it.
        #[arg(short, long, value_enum, default_value = "text")]
        output: Output,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// Lines for people.
    Text,
    /// One JSON document.
    Json,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    telemetry::start_log(&arguments.log, arguments.log_json);
    if let (Some(Command::Check { output }), None) = (&arguments.command, &arguments.config) {
        return show(&Config::default(), *output);
    }
    let node = arguments.node.as_deref();
    let read = match (&arguments.command, &arguments.config) {
        // What it names on the host is part of what is told.
        (Some(Command::Check { .. }), Some(path)) => config::file::read_alone(path, node),
        (_, path) => config::file::read(path.as_deref(), node),
    };
    let config = match read {
        Ok(config) => config,
        Err(mistakes) => {
            run::write_termination_log(&mistakes);
            for mistake in mistakes.0 {
                telemetry::last_words(&mistake);
            }
            return ExitCode::from(EXIT_CONFIG);
        }
    };
    if let Some(Command::Check { output }) = arguments.command {
        return show(&config, output);
    }
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

fn show(config: &Config, output: Output) -> ExitCode {
    let check = check::of_this_host(config);
    let text = match output {
        Output::Text => Ok(check.to_string()),
        Output::Json => serde_json::to_string_pretty(&check).map(|text| text + "\n"),
    };
    let written = text
        .map_err(io::Error::from)
        .and_then(|text| io::stdout().write_all(text.as_bytes()));
    match written {
        Err(error) => failed(&error),
        Ok(()) if check.is_complete() => ExitCode::SUCCESS,
        Ok(()) => ExitCode::FAILURE,
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    telemetry::last_words(&causes::chain(error));
    run::write_termination_log(error);
    ExitCode::FAILURE
}
