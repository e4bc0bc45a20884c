#![expect(
    clippy::missing_panics_doc,
    reason = "a panic is what the fuzzer looks for"
)]
//! Every door through which foreign bytes come in, as functions that take any bytes and must
//! return.
//!
//! `tests/fuzz` hands them to libFuzzer; `tests/tests/fuzz.rs` to a short, seeded loop on the
//! stable toolchain. Where a text is expected, bytes that are not UTF-8 are replaced.

use std::borrow::Cow;

use plimsoll_agent as agent;
use plimsoll_collector as collector;
use plimsoll_imds::{Decoder, Direction, Key, Limits};
use plimsoll_journal::testing::CrashStorage;
use plimsoll_journal::{Journal, Options, Storage as _};
use prost::Message as _;

use crate::imds_cases;

mod seeds;

/// A door.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Name of the target in `tests/fuzz`.
    pub name: &'static str,
    /// What is called.
    pub run: fn(&[u8]),
    /// Valid input to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Mutations that the short loop tries.
    pub turns: u32,
}

/// All of them.
pub const TARGETS: [Target; 12] = [
    target("imds_decode", imds_decode, seeds::imds, 20_000),
    target("abi_decode", abi_decode, seeds::abi, 100_000),
    target("cgroup_parse", cgroup_parse, seeds::cgroup_files, 20_000),
    target("cgroup_path", cgroup_path, seeds::cgroup_paths, 50_000),
    target("btf_parse", btf_parse, seeds::btf, 50_000),
    target(
        "tracepoint_format",
        tracepoint_format,
        seeds::format,
        20_000,
    ),
    target("journal_scan", journal_scan, seeds::journal, 5_000),
    target("otlp_decode", otlp_decode, seeds::otlp, 20_000),
    target("inventory_parse", inventory_parse, seeds::inventory, 1_500),
    target("quantity", quantity, seeds::quantities, 100_000),
    target("config_parse", config_parse, seeds::config, 1_500),
    target("pcap_decode", pcap_decode, seeds::pcap, 3_000),
];

const fn target(
    name: &'static str,
    run: fn(&[u8]),
    seeds: fn() -> Vec<Vec<u8>>,
    turns: u32,
) -> Target {
    Target {
        name,
        run,
        seeds,
        turns,
    }
}

/// The bytes were taken or refused: both are fine.
fn tried(_: impl Sized) {}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// Segments: two bytes of flags and length, two of sequence, then the payload; see
/// [`seeds`](self). Every request must become one event, and every late answer another.
pub fn imds_decode(bytes: &[u8]) {
    let limits = Limits {
        connections: 3,
        connection_bytes: 4096,
        ..Limits::default()
    };
    let mut decoder = Decoder::new(limits, &Key([9; 32]));
    let mut events = 0;
    let mut rest = bytes;
    let mut now_ns = 0_u64;
    while let [flags, len, low, high, tail @ ..] = rest {
        let (payload, after) = tail.split_at((usize::from(*len) * 4).min(tail.len()));
        rest = after;
        let direction = if flags & 1 == 0 {
            Direction::Request
        } else {
            Direction::Response
        };
        now_ns += if flags & 0x80 == 0 { 1000 } else { 700_000_000 };
        let seq = u32::from(u16::from_le_bytes([*low, *high]));
        let key = u64::from(flags >> 5 & 3);
        let mut segment = imds_cases::segment(key, direction, seq, payload, now_ns);
        segment.syn = flags & 2 != 0;
        segment.fin = flags & 4 != 0;
        segment.rst = flags & 8 != 0;
        segment.ack = (flags & 16 != 0).then(|| seq.wrapping_mul(3));
        decoder.push(&segment, &mut |_| events += 1);
    }
    decoder.advance(now_ns + 10_000_000_000, &mut |_| events += 1);
    decoder.finish(&mut |_| events += 1);
    let stats = decoder.stats();
    assert_eq!(stats.requests + stats.late_answers, stats.events);
    assert_eq!(stats.events, events);
}

/// Records of the kernel.
pub fn abi_decode(bytes: &[u8]) {
    if let Ok(agent::probe::decode::Record::Segment(segment, payload)) =
        agent::probe::decode::decode(bytes)
    {
        assert_eq!(segment.captured_len as usize, payload.len());
    }
}

/// Files of cgroups and processes.
pub fn cgroup_parse(bytes: &[u8]) {
    use agent::cgroup::parse;
    tried(parse::cpu_stat(bytes));
    tried(parse::cpu_stat_v1(bytes));
    tried(parse::cpuacct_usage(bytes));
    tried(parse::memory_stat(bytes));
    tried(parse::memory_stat_v1(bytes));
    tried(parse::memory_events(bytes));
    tried(parse::memory_max(bytes));
    tried(parse::memory_limit_v1(bytes));
    tried(parse::oom_control(bytes));
    tried(parse::pressure("cpu.pressure", bytes));
    tried(parse::io_stat(bytes));
    tried(parse::blkio(bytes));
    tried(parse::pids(bytes));
    tried(parse::status_resident(bytes));
    tried(parse::cgroup_procs(bytes, &mut Vec::new()));
}

/// Paths of cgroups: whoever may make cgroups chooses them.
pub fn cgroup_path(bytes: &[u8]) {
    let path = text(bytes);
    let identity = agent::cgroup::path::identity(7, &path);
    assert_eq!(identity.cgroup_path.as_deref(), Some(&*path));
    agent::cgroup::path::ends_with_unit(&path);
}

/// The kernel's type information.
pub fn btf_parse(bytes: &[u8]) {
    if let Ok(btf) = agent::host::btf::Btf::parse(bytes) {
        btf.has_typedef("task");
    }
}

/// Tracepoint layouts.
pub fn tracepoint_format(bytes: &[u8]) {
    if let Ok(format) = agent::host::format::EventFormat::parse(&text(bytes)) {
        format.number("pid", 4);
        format.data_loc("comm");
    }
}

/// A segment file of the journal. Whatever it holds, the journal opens, gives back what it says it
/// has, and goes on.
pub fn journal_scan(bytes: &[u8]) {
    const NAME: &str = "segment-000000000001.plj";
    let mut storage = CrashStorage::default();
    let written = storage
        .create(NAME)
        .and_then(|()| storage.write_at(NAME, 0, bytes));
    assert!(written.is_ok(), "{written:?}");
    let options = Options::new(1, &["reader"], "abcd".to_owned());
    let Ok((mut journal, recovery)) = Journal::open(storage, options) else {
        return;
    };
    let limit = bytes.len() + 1;
    let read = journal
        .read(1, limit, usize::MAX)
        .map(|batch| batch.records.len() as u64);
    assert_eq!(read.ok(), Some(recovery.records));
    let appended = journal
        .append(b"next", 1)
        .and_then(|seq| journal.sync().map(|synced| (seq, synced)));
    if let Ok((seq, synced)) = appended {
        assert_eq!(seq, synced);
    }
}

/// What agents send, as the collector gets it.
pub fn otlp_decode(bytes: &[u8]) {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
    use plimsoll_wire::otlp;
    if let Ok(request) = ExportLogsServiceRequest::decode(bytes) {
        let scopes = request.resource_logs.iter().flat_map(|r| &r.scope_logs);
        for record in scopes.flat_map(|scope| &scope.log_records) {
            tried(otlp::logs::decode(record));
            tried(otlp::id::read(&record.attributes));
        }
    }
    if let Ok(request) = ExportMetricsServiceRequest::decode(bytes) {
        for message in &request.resource_metrics {
            tried(otlp::metrics::decode(message));
            tried(otlp::id::node(message.resource.as_ref()));
        }
    }
}

/// Kubernetes objects.
pub fn inventory_parse(bytes: &[u8]) {
    let parsed = collector::inventory::parse::parse("objects.yaml", &text(bytes));
    let mut index = collector::inventory::Index::default();
    for object in &parsed.objects {
        index.apply(object, plimsoll_collector::inventory::Moment::default());
    }
}

/// Kubernetes quantities.
pub fn quantity(bytes: &[u8]) {
    let text = text(bytes);
    tried(collector::inventory::quantity::parse_millicores(&text));
    tried(collector::inventory::quantity::parse_bytes(&text));
}

/// Both configurations.
pub fn config_parse(bytes: &[u8]) {
    let text = text(bytes);
    tried(agent::config::Config::parse("agent.yaml", &text));
    tried(collector::config::Config::parse("collector.yaml", &text));
}

/// Captures. What comes out is one JSON document, or nothing and an error.
pub fn pcap_decode(bytes: &[u8]) {
    let mut out = Vec::new();
    let result = collector::cli::imds::decode_from("fuzz.pcap", bytes, &Key([9; 32]), &mut out);
    assert!(
        result.is_err() && out.is_empty()
            || serde_json::from_slice::<serde_json::Value>(&out).is_ok(),
        "{result:?}"
    );
}
