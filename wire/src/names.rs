//! Every OTLP name that agent and collector exchange, in one place.
//!
//! *Convention* means OpenTelemetry's semantic conventions define the name; the others are ours and
//! begin with `plimsoll.`.

/// Instrumentation scope of everything the agent sends.
pub const SCOPE: &str = "plimsoll";

// Resource attributes: where, and who.

/// Node name. Convention.
pub const K8S_NODE_NAME: &str = "k8s.node.name";
/// Pod UID. Convention.
pub const K8S_POD_UID: &str = "k8s.pod.uid";
/// Container id as the runtime gave it. Convention.
pub const CONTAINER_ID: &str = "container.id";
/// `containerd`, `cri-o`, `docker`. Convention.
pub const CONTAINER_RUNTIME_NAME: &str = "container.runtime.name";
/// `container`, `pod`, `host`, `unknown`.
pub const SUBJECT_KIND: &str = "plimsoll.subject.kind";
/// `guaranteed`, `burstable`, `best_effort`, from the cgroup path.
pub const QOS: &str = "plimsoll.qos";
/// Unit or folder of a host service.
pub const UNIT: &str = "plimsoll.unit";
/// Cgroup id: an inode number.
pub const CGROUP_ID: &str = "plimsoll.cgroup.id";
/// Cgroup path below the root.
pub const CGROUP_PATH: &str = "plimsoll.cgroup.path";

// The record's own name: with the node's it is the record id.

/// Life of the spool, random hex.
pub const EPOCH: &str = "plimsoll.epoch";
/// Stream: `usage` or `security`.
pub const CLASS: &str = "plimsoll.class";
/// Number within the stream.
pub const SEQ: &str = "plimsoll.seq";

// A window's frame.

/// Begin, Unix nanoseconds.
pub const WINDOW_START: &str = "plimsoll.window.start_unix_ns";
/// End, Unix nanoseconds.
pub const WINDOW_END: &str = "plimsoll.window.end_unix_ns";
/// Time covered by samples, nanoseconds.
pub const WINDOW_OBSERVED: &str = "plimsoll.window.observed_ns";
/// `startup` or `steady`.
pub const WINDOW_PHASE: &str = "plimsoll.window.phase";
/// No further window follows directly.
pub const WINDOW_LAST: &str = "plimsoll.window.last";
/// Where CPU time came from: `cgroup_v2`, `cgroup_v1`, `ebpf`, `procfs`.
pub const CPU_SOURCE: &str = "plimsoll.cpu.source";
/// Where memory figures came from, as for [`CPU_SOURCE`].
pub const MEMORY_SOURCE: &str = "plimsoll.memory.source";

// Metrics. Sums are deltas over the window, gauges are of the window.

/// CPU time, seconds. Convention.
pub const CPU_TIME: &str = "container.cpu.time";
/// Use over one-second samples, distribution, ns/s.
pub const CPU_PER_SECOND: &str = "plimsoll.container.cpu.usage.1s";
/// Use over 100 ms periods, distribution, ns/s.
pub const CPU_PER_100MS: &str = "plimsoll.container.cpu.usage.100ms";
/// `cpu.stat nr_periods`.
pub const CPU_PERIODS: &str = "plimsoll.container.cpu.periods";
/// `cpu.stat nr_throttled`.
pub const CPU_THROTTLED_PERIODS: &str = "plimsoll.container.cpu.throttled_periods";
/// `cpu.stat throttled_usec`.
pub const CPU_THROTTLED_TIME: &str = "plimsoll.container.cpu.throttled_time";
/// Mean of `memory.current`, bytes. Convention.
pub const MEMORY_USAGE: &str = "container.memory.usage";
/// Highest `memory.current` sampled. The conventions have no peaks.
pub const MEMORY_PEAK: &str = "plimsoll.container.memory.usage.peak";
/// `memory.peak`.
pub const MEMORY_LIFETIME_PEAK: &str = "plimsoll.container.memory.usage.lifetime_peak";
/// Highest anonymous memory.
pub const MEMORY_ANON_PEAK: &str = "plimsoll.container.memory.anon.peak";
/// Highest page cache.
pub const MEMORY_FILE_PEAK: &str = "plimsoll.container.memory.file.peak";
/// Highest working set (the convention's `container.memory.working_set` is a momentary value).
pub const MEMORY_WORKING_SET_PEAK: &str = "plimsoll.container.memory.working_set.peak";
/// OOM kills.
pub const MEMORY_OOM_KILLS: &str = "plimsoll.container.memory.oom_kills";
/// `memory.events oom`.
pub const MEMORY_LIMIT_FAILURES: &str = "plimsoll.container.memory.limit_failures";
/// `memory.max`.
pub const MEMORY_LIMIT: &str = "plimsoll.container.memory.limit";
/// Pressure, some, CPU.
pub const CPU_PRESSURE_SOME: &str = "plimsoll.container.cpu.pressure.some";
/// Pressure, full, CPU.
pub const CPU_PRESSURE_FULL: &str = "plimsoll.container.cpu.pressure.full";
/// Pressure, some, memory.
pub const MEMORY_PRESSURE_SOME: &str = "plimsoll.container.memory.pressure.some";
/// Pressure, full, memory.
pub const MEMORY_PRESSURE_FULL: &str = "plimsoll.container.memory.pressure.full";
/// Pressure, some, IO.
pub const IO_PRESSURE_SOME: &str = "plimsoll.container.io.pressure.some";
/// Pressure, full, IO.
pub const IO_PRESSURE_FULL: &str = "plimsoll.container.io.pressure.full";
/// Bytes read. The convention's `container.disk.io` needs a device, which is summed up here.
pub const IO_READ: &str = "plimsoll.container.io.read";
/// Bytes written.
pub const IO_WRITTEN: &str = "plimsoll.container.io.written";
/// Highest number of tasks.
pub const PIDS_PEAK: &str = "plimsoll.container.pids.peak";
