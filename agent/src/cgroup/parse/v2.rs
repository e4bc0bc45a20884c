//! Files of the unified hierarchy.

use super::lines::{Field, fields, lines, number, words};
use super::{CpuStat, IoStat, MemoryStat, ParseError, PressureTotal};

/// `cpu.stat`. `usage_usec` is there without the cpu controller as well; the rest needs it.
pub fn cpu_stat(bytes: &[u8]) -> Result<CpuStat, ParseError> {
    let mut stat = CpuStat::default();
    let mut usage_usec = None;
    fields(
        "cpu.stat",
        bytes,
        &mut [
            Field {
                name: "usage_usec",
                into: &mut usage_usec,
            },
            Field {
                name: "nr_periods",
                into: &mut stat.periods,
            },
            Field {
                name: "nr_throttled",
                into: &mut stat.throttled_periods,
            },
            Field {
                name: "throttled_usec",
                into: &mut stat.throttled_usec,
            },
        ],
    )?;
    stat.usage_ns = usage_usec.map(|usec| usec.saturating_mul(1000));
    Ok(stat)
}

/// `memory.stat`.
pub fn memory_stat(bytes: &[u8]) -> Result<MemoryStat, ParseError> {
    let mut stat = MemoryStat::default();
    fields(
        "memory.stat",
        bytes,
        &mut [
            Field {
                name: "anon",
                into: &mut stat.anon_bytes,
            },
            Field {
                name: "file",
                into: &mut stat.file_bytes,
            },
            Field {
                name: "inactive_file",
                into: &mut stat.inactive_file_bytes,
            },
        ],
    )?;
    Ok(stat)
}

/// `oom_kill` of `memory.events`: processes of this cgroup and below that were killed.
pub fn memory_events(bytes: &[u8]) -> Result<Option<u64>, ParseError> {
    let mut oom_kill = None;
    fields(
        "memory.events",
        bytes,
        &mut [Field {
            name: "oom_kill",
            into: &mut oom_kill,
        }],
    )?;
    Ok(oom_kill)
}

/// A file that holds one number: `memory.current`, `memory.peak`, `pids.current`, …. An empty file
/// is `None`.
pub fn single(file: &'static str, bytes: &[u8]) -> Result<Option<u64>, ParseError> {
    match lines(bytes).next() {
        None => Ok(None),
        Some((line, text)) => number(text).map(Some).ok_or(ParseError {
            file,
            line,
            field: file,
        }),
    }
}

/// `pids.current`.
pub fn pids(bytes: &[u8]) -> Result<Option<u64>, ParseError> {
    single("pids.current", bytes)
}

/// `memory.max`: `None` where it says `max`.
pub fn memory_max(bytes: &[u8]) -> Result<Option<u64>, ParseError> {
    if bytes.starts_with(b"max") {
        Ok(None)
    } else {
        single("memory.max", bytes)
    }
}

/// `cpu.pressure`, `memory.pressure`, `io.pressure`: the totals; the averages are ours to make.
pub fn pressure(file: &'static str, bytes: &[u8]) -> Result<PressureTotal, ParseError> {
    let mut totals = PressureTotal::default();
    for (line, text) in lines(bytes) {
        let mut words = words(text);
        let (into, field) = match words.next() {
            Some(b"some") => (&mut totals.some_usec, "some total"),
            Some(b"full") => (&mut totals.full_usec, "full total"),
            _ => continue,
        };
        if let Some(total) = words.find_map(|word| word.strip_prefix(b"total=")) {
            *into = Some(number(total).ok_or(ParseError { file, line, field })?);
        }
    }
    Ok(totals)
}

/// `io.stat`: one line for each device, `8:0 rbytes=… wbytes=… …`. A cgroup that did no IO has an
/// empty file, which is zero bytes and not unknown.
pub fn io_stat(bytes: &[u8]) -> Result<IoStat, ParseError> {
    let mut stat = IoStat::default();
    for (line, text) in lines(bytes) {
        for word in words(text) {
            let (into, value, field) = if let Some(value) = word.strip_prefix(b"rbytes=") {
                (&mut stat.read_bytes, value, "rbytes")
            } else if let Some(value) = word.strip_prefix(b"wbytes=") {
                (&mut stat.written_bytes, value, "wbytes")
            } else {
                continue;
            };
            let value = number(value).ok_or(ParseError {
                file: "io.stat",
                line,
                field,
            })?;
            *into = into.saturating_add(value);
        }
    }
    Ok(stat)
}
