//! The protobuf messages, and the way to and from them. Pure.
//!
//! The newest windows are kept in columns: neighbours are alike, and a number then takes one or two
//! bytes. A value that may be absent is stored plus one, so that 0 stands for absent.

use plimsoll_wire::Sketch;
use plimsoll_wire::sketch::Parts;
use plimsoll_wire::usage::Source;
use prost::Message;

use super::EncodingError;
use crate::history::hottest::Hottest;
use crate::history::series::Series;
use crate::history::usage::{
    MAX_DAYS, Peaks, Point, Stalls, Throttling, Usage, add_day, day_of, hour_bit,
};

#[derive(Clone, PartialEq, Message)]
pub(super) struct SeriesRow {
    #[prost(string, tag = "1")]
    node: String,
    /// JSON of `Identity`.
    #[prost(bytes = "vec", tag = "2")]
    identity: Vec<u8>,
    /// JSON of `Names`.
    #[prost(bytes = "vec", optional, tag = "3")]
    names: Option<Vec<u8>>,
    #[prost(bool, tag = "4")]
    name_pending: bool,
    #[prost(bool, tag = "5")]
    ended: bool,
    #[prost(uint64, tag = "6")]
    folded: u64,
    #[prost(message, optional, tag = "7")]
    usage: Option<UsageRow>,
    #[prost(message, optional, tag = "8")]
    hottest: Option<HottestRow>,
}

#[derive(Clone, PartialEq, Message)]
struct HottestRow {
    #[prost(string, tag = "1")]
    pod: String,
    #[prost(uint64, tag = "2")]
    ns_per_s: u64,
    #[prost(uint64, tag = "3")]
    means: u64,
    #[prost(bool, tag = "4")]
    startup: bool,
}

#[derive(Clone, PartialEq, Message)]
struct UsageRow {
    #[prost(uint64, optional, tag = "1")]
    first_unix_ns: Option<u64>,
    #[prost(uint64, optional, tag = "2")]
    last_unix_ns: Option<u64>,
    #[prost(uint64, tag = "3")]
    windows: u64,
    #[prost(uint64, tag = "4")]
    startup_windows: u64,
    #[prost(uint64, tag = "5")]
    span_ns: u64,
    #[prost(uint64, tag = "6")]
    observed_ns: u64,
    #[prost(uint32, repeated, tag = "7")]
    cpu_sources: Vec<u32>,
    #[prost(message, optional, tag = "8")]
    minute_means: Option<SketchRow>,
    #[prost(message, optional, tag = "9")]
    per_second: Option<SketchRow>,
    #[prost(message, optional, tag = "10")]
    per_100ms: Option<SketchRow>,
    #[prost(message, optional, tag = "11")]
    startup_minute_means: Option<SketchRow>,
    #[prost(message, optional, tag = "12")]
    startup_per_second: Option<SketchRow>,
    #[prost(uint64, optional, tag = "13")]
    cpu_used_ns: Option<u64>,
    /// Windows, periods, throttled periods, throttled microseconds.
    #[prost(uint64, repeated, tag = "14")]
    throttling: Vec<u64>,
    /// Some, full, observed; of CPU, memory, IO.
    #[prost(uint64, repeated, tag = "15")]
    pressure: Vec<u64>,
    #[prost(uint32, repeated, tag = "16")]
    memory_sources: Vec<u32>,
    #[prost(message, optional, tag = "17")]
    memory_sampled: Option<PeaksRow>,
    #[prost(message, optional, tag = "18")]
    memory_anon: Option<PeaksRow>,
    #[prost(message, optional, tag = "19")]
    memory_file: Option<PeaksRow>,
    #[prost(message, optional, tag = "20")]
    memory_working_set: Option<PeaksRow>,
    #[prost(uint64, optional, tag = "21")]
    memory_lifetime_max_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "22")]
    oom_kills: Option<u64>,
    #[prost(uint64, optional, tag = "23")]
    oom_limit_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "24")]
    io_read_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "25")]
    io_written_bytes: Option<u64>,
    #[prost(uint64, optional, tag = "26")]
    pids_peak: Option<u64>,
    #[prost(message, optional, tag = "27")]
    recent: Option<RecentRow>,
    /// One bit an hour; 0 in rows that are older than it.
    #[prost(uint32, tag = "28")]
    day_hours: u32,
    /// 0 in rows that are older than it.
    #[prost(uint64, tag = "29")]
    longest_ns: u64,
    /// Empty in rows that are older than it.
    #[prost(uint32, repeated, tag = "30")]
    days: Vec<u32>,
}

#[derive(Clone, PartialEq, Message)]
struct PeaksRow {
    #[prost(uint64, optional, tag = "1")]
    max_bytes: Option<u64>,
    #[prost(message, optional, tag = "2")]
    windows: Option<SketchRow>,
}

/// The total count is not stored: it is the sum of the others.
#[derive(Clone, PartialEq, Message)]
struct SketchRow {
    #[prost(sint32, tag = "1")]
    scale: i32,
    #[prost(uint64, tag = "2")]
    zero_count: u64,
    #[prost(sint32, tag = "3")]
    offset: i32,
    #[prost(uint64, repeated, tag = "4")]
    counts: Vec<u64>,
    #[prost(uint64, tag = "5")]
    sum: u64,
    #[prost(uint64, optional, tag = "6")]
    min: Option<u64>,
    #[prost(uint64, optional, tag = "7")]
    max: Option<u64>,
}

/// Columns of equal length.
#[derive(Clone, PartialEq, Message)]
struct RecentRow {
    /// Seconds since the point before; of the first, since 1970.
    #[prost(uint64, repeated, tag = "1")]
    end_s: Vec<u64>,
    #[prost(uint64, repeated, tag = "2")]
    mean_millicores: Vec<u64>,
    #[prost(uint64, repeated, tag = "3")]
    max_millicores: Vec<u64>,
    #[prost(uint64, repeated, tag = "4")]
    memory_kib: Vec<u64>,
    #[prost(uint64, repeated, tag = "5")]
    throttled_permille: Vec<u64>,
}

impl SeriesRow {
    pub(super) fn of(series: &Series) -> Result<Self, EncodingError> {
        Ok(Self {
            node: series.node.clone(),
            identity: serde_json::to_vec(&series.identity)?,
            names: series.names.as_ref().map(serde_json::to_vec).transpose()?,
            name_pending: series.name_pending,
            ended: series.ended,
            folded: series.folded,
            usage: Some(UsageRow::of(&series.usage)),
            hottest: series.hottest.as_ref().map(|hottest| HottestRow {
                pod: hottest.pod.clone(),
                ns_per_s: hottest.ns_per_s,
                means: hottest.means,
                startup: hottest.startup,
            }),
        })
    }

    pub(super) fn into_series(self) -> Result<Series, EncodingError> {
        let names = self.names.as_deref().map(serde_json::from_slice);
        Ok(Series {
            node: self.node,
            identity: serde_json::from_slice(&self.identity)?,
            names: names.transpose()?,
            name_pending: self.name_pending,
            ended: self.ended,
            folded: self.folded,
            hottest: self.hottest.map(|row| Hottest {
                pod: row.pod,
                ns_per_s: row.ns_per_s,
                means: row.means,
                startup: row.startup,
            }),
            usage: self.usage.unwrap_or_default().into_usage()?,
        })
    }
}

impl UsageRow {
    fn of(usage: &Usage) -> Self {
        let t = usage.throttling;
        let stalls = [usage.cpu_pressure, usage.memory_pressure, usage.io_pressure];
        Self {
            first_unix_ns: usage.first_unix_ns,
            last_unix_ns: usage.last_unix_ns,
            windows: usage.windows,
            startup_windows: usage.startup_windows,
            span_ns: usage.span_ns,
            observed_ns: usage.observed_ns,
            cpu_sources: source_numbers(&usage.cpu_sources),
            minute_means: SketchRow::of(&usage.minute_means),
            per_second: SketchRow::of(&usage.per_second),
            per_100ms: SketchRow::of(&usage.per_100ms),
            startup_minute_means: SketchRow::of(&usage.startup_minute_means),
            startup_per_second: SketchRow::of(&usage.startup_per_second),
            cpu_used_ns: usage.cpu_used_ns,
            throttling: vec![t.windows, t.periods, t.throttled_periods, t.throttled_usec],
            pressure: stalls
                .iter()
                .flat_map(|s| [s.some_usec, s.full_usec, s.observed_ns])
                .collect(),
            memory_sources: source_numbers(&usage.memory_sources),
            memory_sampled: PeaksRow::of(&usage.memory_sampled),
            memory_anon: PeaksRow::of(&usage.memory_anon),
            memory_file: PeaksRow::of(&usage.memory_file),
            memory_working_set: PeaksRow::of(&usage.memory_working_set),
            memory_lifetime_max_bytes: usage.memory_lifetime_max_bytes,
            oom_kills: usage.oom_kills,
            oom_limit_bytes: usage.oom_limit_bytes,
            io_read_bytes: usage.io_read_bytes,
            io_written_bytes: usage.io_written_bytes,
            pids_peak: usage.pids_peak,
            recent: Some(RecentRow::of(&usage.recent)),
            day_hours: usage.day_hours,
            days: usage.days.clone(),
            longest_ns: usage.longest_ns,
        }
    }

    fn into_usage(self) -> Result<Usage, EncodingError> {
        let [cpu_pressure, memory_pressure, io_pressure] = stalls(&self.pressure)?;
        let recent = self.recent.unwrap_or_default().points()?;
        let day_hours = match self.day_hours {
            // All that a row without them can say.
            0 => recent.iter().fold(0, |hours, point| {
                hours | hour_bit(point.end_unix_s.saturating_sub(1))
            }),
            known if known < 1 << 24 => known,
            _ => return Err(EncodingError::Part("hours of the day")),
        };
        Ok(Usage {
            day_hours,
            days: days(self.days, &recent)?,
            longest_ns: self.longest_ns,
            first_unix_ns: self.first_unix_ns,
            last_unix_ns: self.last_unix_ns,
            windows: self.windows,
            startup_windows: self.startup_windows,
            span_ns: self.span_ns,
            observed_ns: self.observed_ns,
            cpu_sources: sources(&self.cpu_sources)?,
            minute_means: sketch(self.minute_means)?,
            per_second: sketch(self.per_second)?,
            per_100ms: sketch(self.per_100ms)?,
            startup_minute_means: sketch(self.startup_minute_means)?,
            startup_per_second: sketch(self.startup_per_second)?,
            cpu_used_ns: self.cpu_used_ns,
            throttling: throttling(&self.throttling)?,
            cpu_pressure,
            memory_pressure,
            io_pressure,
            memory_sources: sources(&self.memory_sources)?,
            memory_sampled: peaks(self.memory_sampled)?,
            memory_anon: peaks(self.memory_anon)?,
            memory_file: peaks(self.memory_file)?,
            memory_working_set: peaks(self.memory_working_set)?,
            memory_lifetime_max_bytes: self.memory_lifetime_max_bytes,
            oom_kills: self.oom_kills,
            oom_limit_bytes: self.oom_limit_bytes,
            io_read_bytes: self.io_read_bytes,
            io_written_bytes: self.io_written_bytes,
            pids_peak: self.pids_peak,
            recent,
        })
    }
}

/// In order, each once. A row without them can say only those of its newest windows.
fn days(days: Vec<u32>, recent: &[Point]) -> Result<Vec<u32>, EncodingError> {
    if days.len() > MAX_DAYS || !days.is_sorted_by(|a, b| a < b) {
        return Err(EncodingError::Part("days"));
    }
    let mut known = days;
    if known.is_empty() {
        for point in recent {
            add_day(&mut known, day_of(point.end_unix_s.saturating_sub(1)));
        }
    }
    Ok(known)
}

/// Absent where nothing was measured, as in the series.
fn throttling(numbers: &[u64]) -> Result<Throttling, EncodingError> {
    match *numbers {
        [] => Ok(Throttling::default()),
        [windows, periods, throttled_periods, throttled_usec] => Ok(Throttling {
            windows,
            periods,
            throttled_periods,
            throttled_usec,
        }),
        _ => Err(EncodingError::Part("throttling")),
    }
}

fn stalls(numbers: &[u64]) -> Result<[Stalls; 3], EncodingError> {
    match numbers.as_chunks() {
        ([], []) => Ok([Stalls::default(); 3]),
        ([cpu, memory, io], []) => Ok([cpu, memory, io].map(
            |[some_usec, full_usec, observed_ns]| Stalls {
                some_usec: *some_usec,
                full_usec: *full_usec,
                observed_ns: *observed_ns,
            },
        )),
        _ => Err(EncodingError::Part("pressure")),
    }
}

/// These numbers are on disk: never to be given another meaning.
const SOURCES: [(u32, Source); 4] = [
    (1, Source::CgroupV2),
    (2, Source::CgroupV1),
    (3, Source::Ebpf),
    (4, Source::Procfs),
];

fn source_numbers(sources: &[Source]) -> Vec<u32> {
    let number = |source: &Source| SOURCES.iter().find(|(_, known)| known == source);
    sources.iter().filter_map(number).map(|(n, _)| *n).collect()
}

fn sources(numbers: &[u32]) -> Result<Vec<Source>, EncodingError> {
    let source = |number: &u32| {
        let known = SOURCES.iter().find(|(known, _)| known == number);
        known.map(|(_, source)| *source)
    };
    // One of each at the most.
    if numbers.len() > SOURCES.len() {
        return Err(EncodingError::Part("sources"));
    }
    numbers
        .iter()
        .map(|number| source(number).ok_or(EncodingError::Part("sources")))
        .collect()
}

impl PeaksRow {
    fn of(peaks: &Peaks) -> Option<Self> {
        (*peaks != Peaks::default()).then(|| Self {
            max_bytes: peaks.max_bytes,
            windows: SketchRow::of(&peaks.windows),
        })
    }
}

fn peaks(row: Option<PeaksRow>) -> Result<Peaks, EncodingError> {
    let row = row.unwrap_or_default();
    Ok(Peaks {
        max_bytes: row.max_bytes,
        windows: sketch(row.windows)?,
    })
}

impl SketchRow {
    fn of(sketch: &Sketch) -> Option<Self> {
        (*sketch != Sketch::default()).then(|| Self {
            scale: i32::from(sketch.scale()),
            zero_count: sketch.zero_count(),
            offset: sketch.offset(),
            counts: sketch.bucket_counts().to_vec(),
            sum: sketch.sum(),
            min: sketch.min(),
            max: sketch.max(),
        })
    }
}

fn sketch(row: Option<SketchRow>) -> Result<Sketch, EncodingError> {
    let Some(row) = row else {
        return Ok(Sketch::default());
    };
    let count = row
        .counts
        .iter()
        .fold(row.zero_count, |sum, count| sum.saturating_add(*count));
    Ok(Sketch::from_parts(Parts {
        scale: row.scale,
        zero_count: row.zero_count,
        offset: row.offset,
        bucket_counts: &row.counts,
        count,
        sum: row.sum,
        min: row.min,
        max: row.max,
    })?)
}

impl RecentRow {
    fn of(points: &[Point]) -> Self {
        let column = |value: fn(&Point) -> Option<u64>| {
            let stored = |point| value(point).map_or(0, |known| known.saturating_add(1));
            points.iter().map(stored).collect()
        };
        let mut before = 0;
        let since_before = |point: &Point| {
            let since = point.end_unix_s.saturating_sub(before);
            before = point.end_unix_s;
            since
        };
        Self {
            end_s: points.iter().map(since_before).collect(),
            mean_millicores: column(|point| point.mean_millicores),
            max_millicores: column(|point| point.max_millicores),
            memory_kib: column(|point| point.memory_kib),
            throttled_permille: column(|point| point.throttled_permille),
        }
    }

    fn points(&self) -> Result<Vec<Point>, EncodingError> {
        let columns = [
            &self.mean_millicores,
            &self.max_millicores,
            &self.memory_kib,
            &self.throttled_permille,
        ];
        if columns
            .iter()
            .any(|column| column.len() != self.end_s.len())
        {
            return Err(EncodingError::Part("columns of the newest windows"));
        }
        let [means, maxima, memory, throttled] = columns.map(|column| column.iter());
        let mut points: Vec<Point> = Vec::with_capacity(self.end_s.len());
        for ((((since, mean), max), memory), throttled) in self
            .end_s
            .iter()
            .zip(means)
            .zip(maxima)
            .zip(memory)
            .zip(throttled)
        {
            let end_unix_s = match points.last() {
                Some(_) if *since == 0 => None,
                Some(before) => before.end_unix_s.checked_add(*since),
                None => Some(*since),
            };
            points.push(Point {
                end_unix_s: end_unix_s.ok_or(EncodingError::Part("times of the newest windows"))?,
                mean_millicores: mean.checked_sub(1),
                max_millicores: max.checked_sub(1),
                memory_kib: memory.checked_sub(1),
                throttled_permille: throttled.checked_sub(1),
            });
        }
        Ok(points)
    }
}
