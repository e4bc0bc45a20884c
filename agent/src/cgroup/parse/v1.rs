//! Files of the version 1 hierarchies that say the same as those of version 2.

use super::lines::{Field, fields, lines, number, words};
use super::{CpuStat, IoStat, MemoryStat, ParseError, v2};

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
    fields(
        "cpu.stat",
        bytes,
        &mut [
            Field {
                name: "nr_periods",
                into: &mut stat.periods,
            },
            Field {
                name: "nr_throttled",
                into: &mut stat.throttled_periods,
            },
            Field {
                name: "throttled_time",
                into: &mut throttled_ns,
            },
        ],
    )?;
    stat.throttled_usec = throttled_ns.map(|ns| ns / 1000);
    Ok(stat)
}

/// `memory.stat`: the hierarchical figures, since a nested cgroup belongs to its container.
pub fn memory_stat_v1(bytes: &[u8]) -> Result<MemoryStat, ParseError> {
    let mut stat = MemoryStat::default();
    fields(
        "memory.stat",
        bytes,
        &mut [
            Field {
                name: "total_rss",
                into: &mut stat.anon_bytes,
            },
            Field {
                name: "total_cache",
                into: &mut stat.file_bytes,
            },
            Field {
                name: "total_inactive_file",
                into: &mut stat.inactive_file_bytes,
            },
        ],
    )?;
    Ok(stat)
}

/// `oom_kill` of `memory.oom_control` (since 4.13).
pub fn oom_control(bytes: &[u8]) -> Result<Option<u64>, ParseError> {
    let mut oom_kill = None;
    fields(
        "memory.oom_control",
        bytes,
        &mut [Field {
            name: "oom_kill",
            into: &mut oom_kill,
        }],
    )?;
    Ok(oom_kill)
}

/// `memory.limit_in_bytes`: `None` where there is none.
pub fn memory_limit_v1(bytes: &[u8]) -> Result<Option<u64>, ParseError> {
    Ok(v2::single("memory.limit_in_bytes", bytes)?.filter(|limit| *limit < UNLIMITED_BYTES))
}

/// `blkio.throttle.io_service_bytes_recursive`: `8:0 Read 4096` and so on, then `Total 4096`.
pub fn blkio(bytes: &[u8]) -> Result<IoStat, ParseError> {
    let mut stat = IoStat::default();
    for (line, text) in lines(bytes) {
        let mut words = words(text);
        let (Some(_device), Some(operation), Some(value)) =
            (words.next(), words.next(), words.next())
        else {
            continue;
        };
        let (into, field) = match operation {
            b"Read" => (&mut stat.read_bytes, "Read"),
            b"Write" => (&mut stat.written_bytes, "Write"),
            _ => continue,
        };
        let file = "blkio.throttle.io_service_bytes_recursive";
        let value = number(value).ok_or(ParseError { file, line, field })?;
        *into = into.saturating_add(value);
    }
    Ok(stat)
}
