//! Invented records as a node sends them, for tests and benches: the same bytes each time.

use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::ResourceMetrics;
use plimsoll_wire::identity::{Qos, Subject};
use plimsoll_wire::otlp::{self, id};
use plimsoll_wire::usage::{CpuUsage, MemoryUsage, Phase, Pressure, Source};
use plimsoll_wire::{AuditEvent, Class, Identity, UsageWindow};

/// The node that sends them.
pub(crate) const NODE: &str = "ip-10-0-12-34.eu-central-1.compute.internal";
const EPOCH: &str = "4f5c7c3a9d0e4b1f8a2b6c5d7e9f0a1b";
const MINUTE_NS: u64 = 60_000_000_000;
/// 1 January 2026.
const BEGIN_UNIX_NS: u64 = 1_767_225_600_000_000_000;

fn stream(class: Class, seq: u64) -> id::StreamId {
    id::StreamId {
        epoch: EPOCH.to_owned(),
        class,
        seq,
    }
}

/// A window as it arrives.
pub(crate) fn metrics(window: &UsageWindow, seq: u64) -> ResourceMetrics {
    let mut message = otlp::metrics::encode(window);
    let resource = message.resource.get_or_insert_default();
    resource
        .attributes
        .extend(id::node_resource(NODE).attributes);
    id::stamp(&mut resource.attributes, &stream(Class::Usage, seq));
    message
}

/// An audit event as it arrives.
pub(crate) fn logs(event: &AuditEvent, seq: u64) -> ResourceLogs {
    let mut record = otlp::logs::encode(event, BEGIN_UNIX_NS + seq);
    id::stamp(&mut record.attributes, &stream(Class::Security, seq));
    ResourceLogs {
        resource: Some(id::node_resource(NODE)),
        scope_logs: vec![ScopeLogs {
            log_records: vec![record],
            ..ScopeLogs::default()
        }],
        ..ResourceLogs::default()
    }
}

/// A container of a pod, as a node with the systemd driver names it.
pub(crate) fn identity(container: u64) -> Identity {
    let pod_uid = format!("8d7c1f60-3b52-4e7a-9c11-{container:012x}");
    let container_id = format!("{container:064x}");
    let slice = pod_uid.replace('-', "_");
    Identity {
        cgroup_id: 4_000 + container,
        cgroup_path: Some(format!(
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice}.slice/cri-containerd-{container_id}.scope"
        )),
        subject: Subject::Container {
            pod_uid,
            container_id,
            runtime: Some("containerd".to_owned()),
            qos: Qos::Burstable,
        },
    }
}

/// A busy minute with every figure that a node can give: load that wanders and bursts, some
/// throttling, memory that grows slowly.
pub(crate) fn minute(container: u64, minute: u64) -> UsageWindow {
    let mut random = Lcg(container.wrapping_mul(0x9e37_79b9) ^ minute);
    let base = 20_000_000 + random.below(150_000_000) + (minute % 30) * 2_000_000;
    let mut cpu = CpuUsage {
        source: Some(Source::CgroupV2),
        used_ns: Some(base * 60),
        periods: Some(600),
        throttled_periods: Some(random.below(40)),
        throttled_usec: Some(random.below(400_000)),
        ..CpuUsage::default()
    };
    for _ in 0..60 {
        let burst = if random.below(20) == 0 { 6 } else { 1 };
        cpu.per_second.add(base * burst / 2 + random.below(base));
    }
    for _ in 0..600 {
        let burst = if random.below(30) == 0 { 10 } else { 1 };
        cpu.per_100ms.add(base * burst / 3 + random.below(base));
    }
    let anon = (180 << 20) + minute * 40_000 + random.below(30 << 20);
    let file = (60 << 20) + random.below(50 << 20);
    let pressure = |random: &mut Lcg| Pressure {
        some_usec: Some(random.below(900_000)),
        full_usec: Some(random.below(90_000)),
    };
    UsageWindow {
        identity: identity(container),
        start_unix_ns: BEGIN_UNIX_NS + minute * MINUTE_NS,
        end_unix_ns: BEGIN_UNIX_NS + (minute + 1) * MINUTE_NS,
        observed_ns: MINUTE_NS - random.below(20_000_000),
        phase: if minute < 2 {
            Phase::Startup
        } else {
            Phase::Steady
        },
        last: false,
        cpu,
        memory: MemoryUsage {
            source: Some(Source::CgroupV2),
            sampled_peak_bytes: Some(anon + file),
            anon_peak_bytes: Some(anon),
            file_peak_bytes: Some(file),
            working_set_peak_bytes: Some(anon + file / 3),
            mean_bytes: Some(anon + file / 2),
            lifetime_peak_bytes: Some(anon + file + (10 << 20)),
            oom_kills: Some(0),
            limit_failures: Some(0),
            limit_bytes: Some(512 << 20),
        },
        cpu_pressure: pressure(&mut random),
        memory_pressure: pressure(&mut random),
        io_pressure: pressure(&mut random),
        io_read_bytes: Some(random.below(1 << 20)),
        io_written_bytes: Some(random.below(1 << 22)),
        pids_peak: Some(12 + random.below(20)),
    }
}

/// Knuth's MMIX generator: the same numbers on every machine, without a dependency.
struct Lcg(u64);

impl Lcg {
    const fn below(&mut self, bound: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}
