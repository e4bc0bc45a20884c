#![expect(
    clippy::disallowed_methods,
    reason = "shell: runs collector, agents and receivers, and spoils their files"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test with a main of its own, which says by failing what it expected"
)]
//! The whole way of an event, with everything that goes wrong on it at once: agents, collector and receivers are
//! killed at random, the disk fills up, bits of journals turn over, clocks are set, services fail. Afterwards each
//! record that was said to be durable is everywhere, or told to be lost; what is there twice is the same twice; the
//! books balance, and the chain is whole.
//!
//! `PLIMSOLL_SOAK_KILLS=500 cargo test -p plimsoll-tests --test soak` for a long run, `PLIMSOLL_SOAK_SEED` for another
//! course of it. A word on the command line selects the runs whose name contains it. What this machine cannot do (a
//! file system of its own needs root or user namespaces, another clock needs `target/faketime`, a receiver of syslog
//! `target/rsyslog`; `.ci/run` unpacks both) is left out and said.

#[path = "soak/agent.rs"]
mod agent;
#[path = "soak/books.rs"]
mod books;
#[path = "soak/clock.rs"]
mod clock;
#[path = "delivery/collector.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod collector;
#[path = "soak/course.rs"]
mod course;
#[path = "delivery/emitter.rs"]
#[expect(dead_code, reason = "shared with another test")]
mod emitter;
#[path = "soak/flips.rs"]
mod flips;
#[path = "soak/places.rs"]
mod places;
#[path = "syslog/rsyslog.rs"]
#[expect(dead_code, reason = "shared with another test")]
mod rsyslog;
#[path = "soak/volume.rs"]
mod volume;

use std::process::ExitCode;

use plimsoll_tests::checks::{self, Verdict};

use crate::course::Course;

/// Kills of a run: in a whole `cargo xtask test`, and in one that is to be short.
const KILLS: u32 = 50;
const FEW_KILLS: u32 = 10;

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let has_volume = volume::separate();
    let kills = number("PLIMSOLL_SOAK_KILLS").unwrap_or_else(|| {
        let is_long = std::env::var_os("PLIMSOLL_TEST_LONG").is_some();
        if is_long { KILLS } else { FEW_KILLS }
    });
    let seed = u64::from(number("PLIMSOLL_SOAK_SEED").unwrap_or(20_261_201));
    let run = |flips: bool| {
        move || {
            Course::new(seed, kills, flips, has_volume).run();
            Verdict::Passed
        }
    };
    let all = [
        ("soak_without_damage_loses_nothing", run(false)),
        ("soak_with_damage_tells_all_that_is_lost", run(true)),
    ];
    checks::run("soak", all, filter.as_deref())
}

fn number(name: &str) -> Option<u32> {
    std::env::var(name).ok()?.parse().ok()
}
