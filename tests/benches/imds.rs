//! How fast requests to the metadata service are decoded, on one core: the best of some rounds, by
//! the clock and by the CPU time of this process.
//!
//! Prints one line of JSON, and writes it to `$PLIMSOLL_BENCH_DIR` where that is set.
#![expect(clippy::disallowed_methods, reason = "shell: writes the figures")]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a bench says by failing what it expected, and prints its figures"
)]

use plimsoll_tests::bench::imds::{Speed, decode};
use serde_json::json;

const REQUESTS: u32 = 100_000;
const ROUNDS: usize = 7;

fn main() {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if !chosen.is_empty() && !chosen.iter().any(|part| "imds".contains(part.as_str())) {
        return;
    }
    let rounds: Vec<Speed> = (0..ROUNDS).map(|_| decode(REQUESTS)).collect();
    let best = |of: fn(&Speed) -> f64| rounds.iter().map(of).fold(0.0, f64::max);
    let figures = json!({
        "requests": REQUESTS,
        "events": rounds[0].events,
        "bytes": rounds[0].bytes,
        "megabytes_per_second": best(|speed| speed.per_second(speed.bytes) / 1e6),
        "megabytes_per_cpu_second": best(|speed| speed.per_cpu_second(speed.bytes) / 1e6),
        "requests_per_cpu_second": best(|speed| speed.per_cpu_second(speed.events)),
    });
    println!("bench imds {figures}");
    if let Some(folder) = std::env::var_os("PLIMSOLL_BENCH_DIR") {
        let file = std::path::Path::new(&folder).join("imds.json");
        std::fs::write(file, figures.to_string()).unwrap();
    }
}
