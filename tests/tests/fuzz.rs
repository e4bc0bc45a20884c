#![expect(
    clippy::disallowed_methods,
    reason = "shell: reads cases that were found, writes seeds for libFuzzer"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]
//! A short, seeded walk around valid input, for every door that foreign bytes come through. Inputs
//! that once broke one lie in `tests/fuzz/cases/TARGET/` and are tried first.

use std::collections::BTreeMap;
use std::panic::catch_unwind;
use std::path::Path;

use fastrand::Rng;
use plimsoll_tests::fuzz::TARGETS;

/// Longest input.
const BYTES: usize = 16 * 1024;
/// Inputs that are mutated further.
const POOL: usize = 64;

/// Names a folder for the seeds, as libFuzzer takes them: a folder for each target.
const CORPUS: &str = "PLIMSOLL_FUZZ_CORPUS";

/// What was found once, by target.
fn cases() -> BTreeMap<String, Vec<Vec<u8>>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/cases");
    let list = |path: &Path| {
        let entries = std::fs::read_dir(path).into_iter().flatten();
        entries.map(|entry| entry.unwrap()).collect::<Vec<_>>()
    };
    let of_target = |entry: std::fs::DirEntry| {
        let files = list(&entry.path());
        (
            entry.file_name().into_string().unwrap(),
            files
                .iter()
                .map(|file| std::fs::read(file.path()).unwrap())
                .collect(),
        )
    };
    list(&folder).into_iter().map(of_target).collect()
}

fn write_seeds(folder: &Path) {
    for target in TARGETS {
        let folder = folder.join(target.name);
        std::fs::create_dir_all(&folder).unwrap();
        for (index, seed) in (target.seeds)().iter().enumerate() {
            std::fs::write(folder.join(format!("seed-{index}")), seed).unwrap();
        }
    }
}

/// Flips, overwrites, inserts, deletes, repeats or splices in one to four places.
fn mutate(rng: &mut Rng, pool: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = rng.choice(pool).cloned().unwrap_or_default();
    for _ in 0..rng.usize(1..5) {
        let at = rng.usize(0..=bytes.len());
        let len = rng.usize(0..=(bytes.len() - at).min(64));
        match rng.u8(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.u8(0..8),
            1 if at < bytes.len() => {
                bytes[at] = rng
                    .choice(b"\x00\xff\x7f\x80 \n09-.:%/")
                    .copied()
                    .unwrap_or(0);
            }
            2 => bytes.insert(at, rng.u8(..)),
            3 => drop(bytes.drain(at..at + len)),
            4 => {
                let again = bytes[at..at + len].to_vec();
                drop(bytes.splice(at..at, again));
            }
            5 => {
                let other = rng.choice(pool).cloned().unwrap_or_default();
                let from = rng.usize(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            _ => bytes.truncate(at),
        }
    }
    bytes.truncate(BYTES);
    bytes
}

#[test]
fn no_bytes_break_a_decoder() {
    if let Some(folder) = std::env::var_os(CORPUS) {
        write_seeds(Path::new(&folder));
    }
    let mut cases = cases();
    for target in TARGETS {
        let mut rng = Rng::with_seed(0x0066_757a);
        let mut pool = (target.seeds)();
        assert!(!pool.is_empty(), "{}", target.name);
        pool.extend(cases.remove(target.name).unwrap_or_default());
        for seed in &pool {
            (target.run)(seed);
        }
        for turn in 0..target.turns {
            let bytes = mutate(&mut rng, &pool);
            let outcome = catch_unwind(|| (target.run)(&bytes));
            assert!(
                outcome.is_ok(),
                "{}, turn {turn}: {:?}",
                target.name,
                bytes.escape_ascii().to_string()
            );
            // Walk away from the seeds now and then.
            if turn % 64 == 0 && pool.len() < POOL {
                pool.push(bytes);
            }
        }
    }
    assert!(cases.is_empty(), "no such target: {:?}", cases.keys());
}
