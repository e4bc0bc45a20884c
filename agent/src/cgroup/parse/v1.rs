//! Files of the version 1 hierarchies that say the same as those of version 2.

use super::lines::{NEXT, each_line, fields, number, words};
use super::{CpuStat, IoStat, MemoryEvents, MemoryStat, ParseError, v2};

/// The kernel prints "no limit" as the largest multiple of a page below 2⁶³; a limit of an exbibyte
/// is none either, whatever the page size.
const UNLIMITED_BYTES: u64 = 1 << 60;

/// `cpuacct.usage`: nanoseconds.
pub fn cpuacct_usage(bytes: &[u8]) -> Result<Option<u64>, ParseError> {
    v2::single("cpuacct.usage", bytes)
}

/// `cpu.stat` of the cpu hierarchy: throttling only, with its time in nanoseconds.
pub fn cpu_stat_v1(bytes: &[u8]) -> Result<CpuStat, ParseError> {
    let mut stat = CpuStat::default();
    let mut throttled_ns = None;
    let wanted = [
        ("nr_periods", &mut stat.periods),
        ("nr_throttled", &mut stat.throttled_periods),
        ("throttled_time", &mut throttled_ns),
    ];
    fields("cpu.stat", bytes, wanted)?;
    stat.throttled_usec = throttled_ns.map(|ns| ns / 1000);
    Ok(stat)
}

/// `memory.stat`: the hierarchical figures, since a nested cgroup belongs to its container.
pub fn memory_stat_v1(bytes: &[u8]) -> Result<MemoryStat, ParseError> {
    let mut stat = MemoryStat::default();
    let wanted = [
        ("total_rss", &mut stat.anon_bytes),
        ("total_cache", &mut stat.file_bytes),
        ("total_inactive_file", &mut stat.inactive_file_bytes),
    ];
    fields("memory.stat", bytes, wanted)?;
    Ok(stat)
}

/// `oom_kill` of `memory.oom_control` (since 4.13).
pub fn oom_control(bytes: &[u8]) -> Result<MemoryEvents, ParseError> {
    let mut events = MemoryEvents::default();
    let wanted = [("oom_kill", &mut events.oom_kills)];
    fields("memory.oom_control", bytes, wanted)?;
    Ok(events)
}

/// `memory.limit_in_bytes`: `None` where there is none.
pub fn memory_limit_v1(bytes: &[u8]) -> Result<Option<u64>, ParseError> {
    Ok(v2::single("memory.limit_in_bytes", bytes)?.filter(|limit| *limit < UNLIMITED_BYTES))
}

/// `blkio.throttle.io_service_bytes_recursive`: `8:0 Read 4096` and so on, then `Total 4096`.
pub fn blkio(bytes: &[u8]) -> Result<IoStat, ParseError> {
    let mut stat = IoStat::default();
    let file = "blkio.throttle.io_service_bytes_recursive";
    each_line(file, bytes, |line| {
        let mut words = words(line).skip(1);
        match (words.next(), words.next()) {
            (Some(b"Read"), Some(value)) => stat.add_read(number(value, "Read")?),
            (Some(b"Write"), Some(value)) => stat.add_written(number(value, "Write")?),
            _ => {}
        }
        NEXT
    })?;
    Ok(stat)
}
