//! A backlog on a real disk: how long a start takes, from a cold page cache and from a warm one, and how much memory
//! it and the drain after it need. `PLIMSOLL_BENCH_GIB` says how much there is, 1 GiB by default.
//!
//! Prints one line of JSON, and writes it to `$PLIMSOLL_BENCH_DIR` where that is set. A name that is not this one's as
//! argument leaves it out.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: measures time and memory, fills a folder, writes the figures"
)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a bench says by failing what it expected, and prints its figures"
)]

use std::fs::{self, File};
use std::path::Path;
use std::time::{Duration, Instant};

use plimsoll_journal::{FileStorage, Journal, Options};
use rustix::fs::Advice;
use serde_json::{Value, json};

const RECORD_BYTES: usize = 1024;
const READER: &str = "reader";

fn main() {
    let chosen: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if !chosen.is_empty() && !chosen.iter().any(|part| "backlog".contains(part.as_str())) {
        return;
    }
    let figures = backlog();
    println!("bench backlog {figures}");
    if let Some(folder) = std::env::var_os("PLIMSOLL_BENCH_DIR") {
        let file = Path::new(&folder).join("backlog.json");
        fs::write(file, figures.to_string()).unwrap();
    }
}

fn open(folder: &Path) -> Journal<FileStorage> {
    let options = Options::new(1, &[READER], "ab".repeat(16));
    Journal::open(FileStorage::open(folder).unwrap(), options)
        .unwrap()
        .0
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let began = Instant::now();
    let done = work();
    (done, began.elapsed())
}

/// Most memory that this process had since the last [`forget_peak`], KiB.
fn peak_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.unwrap().trim().strip_suffix("kB").unwrap();
    number.trim().parse().unwrap()
}

fn forget_peak() {
    // proc(5): 5 sets the peak to what is resident now.
    fs::write("/proc/self/clear_refs", "5").unwrap();
}

/// Leaves nothing of the files in the page cache.
fn chill(folder: &Path) -> u64 {
    let mut segments = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let file = File::open(entry.unwrap().path()).unwrap();
        rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        segments += 1;
    }
    segments - 1
}

fn backlog() -> Value {
    let gib = std::env::var("PLIMSOLL_BENCH_GIB").ok();
    let gib: u64 = gib.map_or(1, |gib| gib.parse().unwrap());
    let records = (gib << 30) / RECORD_BYTES as u64;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut journal = open(folder);
    let (last, writing) = timed(|| {
        let payload = [b'x'; RECORD_BYTES];
        for at in 1..=records {
            journal.append(&payload, at).unwrap();
            if at % 1000 == 0 {
                journal.sync().unwrap();
            }
        }
        journal.sync().unwrap()
    });
    let stats = journal.stats();
    journal.sync_positions().unwrap();
    drop(journal);
    let segments = chill(folder);
    forget_peak();
    let (journal, cold) = timed(|| open(folder));
    let opening_kib = peak_kib();
    assert_eq!((journal.stats().records, last), (records, records));
    drop(journal);
    let (mut journal, warm) = timed(|| open(folder));
    chill(folder);
    forget_peak();
    let (read, draining) = timed(|| {
        let mut cursor = 0;
        let mut read = 0;
        while cursor < last {
            let batch = journal.read(cursor + 1, 1000, 1 << 20).unwrap();
            read += batch.records.len() as u64;
            cursor = batch.records.last().unwrap().seq;
            journal.set_cursor(READER, cursor).unwrap();
            journal.sync_positions().unwrap();
        }
        read
    });
    assert_eq!(read, records);
    let rate = |took: Duration| (records as f64 / took.as_secs_f64()).round();
    let ms = |took: Duration| (took.as_secs_f64() * 1e5).round() / 100.0;
    json!({
        "bytes": stats.bytes,
        "records": records,
        "segments": segments,
        "written_per_second": rate(writing),
        "open_cold_ms": ms(cold),
        "open_warm_ms": ms(warm),
        "open_peak_kib": opening_kib,
        "drained_per_second": rate(draining),
        "drain_peak_kib": peak_kib(),
    })
}
