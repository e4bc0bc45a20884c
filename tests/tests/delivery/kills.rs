//! Both sides are processes, and both are killed with SIGKILL at random moments.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::collector::{Collector, wait_until};
use crate::emitter::{Emitter, Way};

/// Kills of either side: in a whole run, and in one that is to be short.
const KILLS: u32 = 200;
const FEW_KILLS: u32 = 20;
/// Set by `cargo xtask test` without `--fast`.
const LONG: &str = "PLIMSOLL_TEST_LONG";
/// Numbers that one life of the emitter may use.
pub(crate) const LIFE: u32 = 1_000_000;

#[test]
fn nothing_durable_is_lost_or_doubled_by_kills_of_either_side() {
    let folder = tempfile::tempdir().unwrap();
    let mut collector = Collector::new(&folder.path().join("collector"));
    collector.start();
    let way = Way {
        endpoint: format!("http://127.0.0.1:{}", collector.otlp),
        token: collector.token(),
        ca: None,
        server_name: None,
        environment: Vec::new(),
    };
    let spool = folder.path().join("spool");
    let mut dice = fastrand::Rng::with_seed(20_261_124);
    // By life: how many records were said to be durable.
    let mut durable = BTreeMap::new();
    let planned = match std::env::var_os(LONG) {
        Some(_) => KILLS,
        None => FEW_KILLS,
    };
    let (mut kills, mut life) = (0, 0);
    let mut emitter = Emitter::start(&spool, &way, 1, LIFE);
    while kills < planned {
        // Where it happens is left to chance: while one starts, recovers, syncs, sends or idles.
        std::thread::sleep(Duration::from_millis(dice.u64(..100)));
        kills += 1;
        // Mostly the emitter: its life is shorter than the way to the audit file.
        if dice.u32(..3) == 0 {
            collector.kill();
            collector.start();
        } else {
            durable.insert(life, emitter.kill() - life * LIFE);
            life += 1;
            emitter = Emitter::start(&spool, &way, life * LIFE + 1, LIFE);
        }
    }
    durable.insert(life, emitter.kill() - life * LIFE);
    let said: u32 = durable.values().sum();
    assert!(said > planned, "nearly nothing was emitted: {durable:?}");
    let mut rest = Emitter::start(&spool, &way, 1, 0);
    wait_until("the spool is emptied", || rest.ended().is_some());
    assert!(rest.ended().unwrap().success(), "{}", rest.log());
    wait_until("the journal is emptied", || collector.is_idle());

    let (written, torn) = read(&collector);
    assert_each_once(written, &durable);
    assert_accounted(&collector, &torn);
}

/// What stands in the audit file: of each life the numbers of its records, and the numbers in the
/// spool that never were durable.
pub(crate) fn read(collector: &Collector) -> (BTreeMap<u32, Vec<u32>>, Vec<RangeInclusive<u64>>) {
    let mut written: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    let mut torn = Vec::new();
    for line in collector.written_once().values() {
        // A kill in the middle of a write leaves a record that never was durable. Its number is
        // not used again, and the next life says so.
        if line["event"] == "loss" {
            assert_eq!(
                (line["stage"].as_str(), line["fate"].as_str()),
                (Some("spool"), Some("undecodable")),
                "something was lost: {line}"
            );
            let seq = |name: &str| line[name].as_u64().unwrap();
            torn.push(seq("first_seq")..=seq("last_seq"));
            continue;
        }
        // Two agents of one node, or one that is silent: what the collector says of them is its own.
        if line["event"] == "agent" {
            continue;
        }
        assert_eq!(line["event"], "oom_kill", "{line}");
        let number = u32::try_from(line["victim_pid"].as_u64().unwrap()).unwrap() - 1;
        written
            .entry(number / LIFE)
            .or_default()
            .push(number % LIFE);
    }
    (written, torn)
}

/// `durable`: by life, how many records were said to be.
pub(crate) fn assert_each_once(mut written: BTreeMap<u32, Vec<u32>>, durable: &BTreeMap<u32, u32>) {
    for (life, numbers) in &mut written {
        numbers.sort_unstable();
        // What was durable but not said yet may be there too, but with no gap before it.
        let expected: Vec<u32> = (0..u32::try_from(numbers.len()).unwrap()).collect();
        assert_eq!(*numbers, expected, "life {life}: each once, without a gap");
    }
    for (life, said) in durable {
        let there = written.get(life).map_or(0, Vec::len);
        assert!(
            there >= *said as usize,
            "life {life}: {said} durable, {there} written"
        );
    }
}

/// Every number that is missing was told of.
pub(crate) fn assert_accounted(collector: &Collector, torn: &[RangeInclusive<u64>]) {
    let accounting = collector.get("/api/v1/accounting").unwrap();
    assert_eq!(accounting["balanced"], true, "{accounting:#}");
    for gap in accounting["gaps"].as_array().unwrap() {
        for range in gap["ranges"].as_array().unwrap() {
            let (from, to) = (range[0].as_u64().unwrap(), range[1].as_u64().unwrap());
            assert!(
                torn.iter()
                    .any(|told| told.contains(&from) && told.contains(&to)),
                "{from} to {to} is missing and not told: {torn:?}, {accounting:#}"
            );
        }
    }
}
