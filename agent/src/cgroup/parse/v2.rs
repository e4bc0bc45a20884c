//! Files of the unified hierarchy.

use super::lines::{DONE, NEXT, each_line, fields, number, words};
use super::{CpuStat, IoStat, MemoryEvents, MemoryStat, ParseError, PressureTotal};

/// `cpu.stat`. `usage_usec` is there without the cpu controller as well; the rest needs it.
pub fn cpu_stat(bytes: &[u8]) -> Result<CpuStat, ParseError> {
    let mut stat = CpuStat::default();
    let mut usage_usec = None;
    let wanted = [
        ("usage_usec", &mut usage_usec),
        ("nr_periods", &mut stat.periods),
        ("nr_throttled", &mut stat.throttled_periods),
        ("throttled_usec", &mut stat.throttled_usec),
    ];
    fields("cpu.stat", bytes, wanted)?;
    stat.usage_ns = usage_usec.map(|usec| usec.saturating_mul(1000));
    Ok(stat)
}

/// `memory.stat`.
pub fn memory_stat(bytes: &[u8]) -> Result<MemoryStat, ParseError> {
    let mut stat = MemoryStat::default();
    let wanted = [
        ("anon", &mut stat.anon_bytes),
        ("file", &mut stat.file_bytes),
        ("inactive_file", &mut stat.inactive_file_bytes),
    ];
    fields("memory.stat", bytes, wanted)?;
    Ok(stat)
}

/// `oom` and `oom_kill` of `memory.events`.
pub fn memory_events(bytes: &[u8]) -> Result<MemoryEvents, ParseError> {
    let mut events = MemoryEvents::default();
    let wanted = [
        ("oom", &mut events.limit_failures),
        ("oom_kill", &mut events.oom_kills),
    ];
    fields("memory.events", bytes, wanted)?;
    Ok(events)
}

/// A file that holds one number: `memory.current`, `memory.peak`, `pids.current`, …. An empty file
/// is `None`.
pub fn single(file: &'static str, bytes: &[u8]) -> Result<Option<u64>, ParseError> {
    let mut value = None;
    each_line(file, bytes, |line| {
        value = Some(number(line, file)?);
        DONE
    })?;
    Ok(value)
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
    each_line(file, bytes, |line| {
        let mut words = words(line);
        let (into, field) = match words.next() {
            Some(b"some") => (&mut totals.some_usec, "some total"),
            Some(b"full") => (&mut totals.full_usec, "full total"),
            _ => return NEXT,
        };
        if let Some(total) = words.find_map(|word| word.strip_prefix(b"total=")) {
            *into = Some(number(total, field)?);
        }
        NEXT
    })?;
    Ok(totals)
}

/// `io.stat`: one line for each device, `8:0 rbytes=… wbytes=… …`. A cgroup that did no IO has an
/// empty file, which is zero bytes and not unknown.
pub fn io_stat(bytes: &[u8]) -> Result<IoStat, ParseError> {
    let mut stat = IoStat::default();
    each_line("io.stat", bytes, |line| {
        for word in words(line) {
            if let Some(value) = word.strip_prefix(b"rbytes=") {
                stat.add_read(number(value, "rbytes")?);
            } else if let Some(value) = word.strip_prefix(b"wbytes=") {
                stat.add_written(number(value, "wbytes")?);
            }
        }
        NEXT
    })?;
    Ok(stat)
}
