//! The engineer's and the CI's command line; see `plimsoll_collector::cli`.

use std::io;
use std::process::ExitCode;

fn main() -> ExitCode {
    let (mut out, mut err) = (io::stdout().lock(), io::stderr().lock());
    plimsoll_collector::cli::run(std::env::args_os(), &mut out, &mut err).into()
}
