//! The bytes that the kernel programs write and the agent reads.
//!
//! ```text
//!  ring record = Header (32 B) + the fixed record of its kind + (for some kinds) `len` bytes of tail
//! ```
//!
//! Rules: `repr(C)`, explicit padding, no `bool`, `enum`, `Option` or pointer; a kind is a `u16`;
//! sizes are asserted here at compile time and lengths are checked exactly by the decoder. Numbers
//! are in the machine's own byte order: kernel and agent are one machine. Addresses and ports keep
//! network order where the field says so.
//!
//! This crate knows nothing of aya, of allocation or of what a record means.
#![no_std]
#![forbid(unsafe_code)]

/// Version of every layout below; the loader passes it to nobody, the object and the agent are
/// built together, and a record with another version is `undecodable`.
pub const ABI_VERSION: u16 = 2;

/// A task of interest called `connect()`: [`Connect`]. Security ring.
pub const KIND_CONNECT: u16 = 1;
/// A packet to or from a metadata endpoint: [`Segment`] + captured payload. Security ring.
pub const KIND_SEGMENT: u16 = 2;
/// The OOM killer chose a victim: [`Oom`]. Security ring (rare, and evidence).
pub const KIND_OOM: u16 = 3;
/// A cgroup was made: [`Cgroup`] + path. Process ring.
pub const KIND_CGROUP_MKDIR: u16 = 4;
/// A cgroup was removed: [`Cgroup`] + path. Process ring.
pub const KIND_CGROUP_RMDIR: u16 = 5;
/// One more than the highest kind; the length of the counter array.
pub const KINDS: usize = 6;

/// Bytes of payload that one [`Segment`] carries at most.
pub const SEGMENT_CAPTURE_BYTES: usize = 1024;
/// Bytes of path that one [`Cgroup`] carries at most, without the final NUL. Kubernetes paths are
/// some 200 bytes long; nested container managers add to that.
pub const CGROUP_PATH_BYTES: usize = 1024;
/// How many ancestors of a cgroup a record names: levels 1 to 6 below the root.
pub const ANCESTORS: usize = 6;

/// Length of one CPU accounting period.
pub const PERIOD_NS: u64 = 100_000_000;
/// Periods that the kernel keeps per cgroup (3.2 s): the agent must read more often than that.
pub const PERIOD_SLOTS: usize = 32;

/// First bytes of every ring record.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Header {
    /// [`ABI_VERSION`].
    pub version: u16,
    /// One of the `KIND_` constants.
    pub kind: u16,
    /// Length of the whole record in bytes, header included.
    pub len: u32,
    /// CPU on which the hook ran.
    pub cpu: u32,
    /// Zero.
    pub pad: u32,
    /// `bpf_ktime_get_ns()`: CLOCK_MONOTONIC, nanoseconds.
    pub ktime_ns: u64,
    /// The cgroup v2 id (inode of the directory) that the record is about: of the task for
    /// [`Connect`], of the socket for [`Segment`], of the directory itself for [`Cgroup`], of the
    /// task that ran out of memory for [`Oom`].
    pub cgroup_id: u64,
}

/// A task connects to a metadata endpoint: binds a socket cookie to who opened it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Connect {
    /// See [`Header`].
    pub header: Header,
    /// `bpf_get_socket_cookie()`: never reused before reboot.
    pub cookie: u64,
    /// cgroup ids of levels 1..=6, root's children first; 0 where there is none.
    pub ancestors: [u64; ANCESTORS],
    /// Process id in the initial namespace.
    pub tgid: u32,
    /// Thread id in the initial namespace.
    pub tid: u32,
    /// Real user id as the initial namespace sees it (`bpf_get_current_uid_gid()`): a set-user-id
    /// program has another effective one.
    pub uid: u32,
    /// Real group id as the initial namespace sees it.
    pub gid: u32,
    /// Destination, network order; IPv4 uses the first four bytes and leaves the others zero.
    pub daddr: [u8; 16],
    /// Destination port, host order.
    pub dport: u16,
    /// 2 (`AF_INET`) or 10 (`AF_INET6`).
    pub family: u16,
    /// `IPPROTO_TCP` (6), `IPPROTO_UDP` (17), …
    pub protocol: u32,
    /// Task name, NUL padded, any bytes.
    pub comm: [u8; 16],
}

/// The packet went out of the pod.
pub const DIRECTION_EGRESS: u8 = 0;
/// The packet came in to the pod.
pub const DIRECTION_INGRESS: u8 = 1;

/// IP fragment: ports and sequence are only meaningful in the first one.
pub const SEGMENT_FRAGMENT: u16 = 1;
/// The header chain could not be walked to the transport header.
pub const SEGMENT_NO_TRANSPORT: u16 = 2;

/// One packet to or from a metadata endpoint, with the first bytes of its payload behind it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Segment {
    /// See [`Header`]. The cgroup is the *socket's*: in a packet hook "current" is anybody.
    pub header: Header,
    /// `bpf_get_socket_cookie()`.
    pub cookie: u64,
    /// Ancestors of the socket's cgroup, as in [`Connect`].
    pub ancestors: [u64; ANCESTORS],
    /// Source address as on the wire, IPv4 in the first four bytes.
    pub saddr: [u8; 16],
    /// Destination address as on the wire.
    pub daddr: [u8; 16],
    /// Source port, host order.
    pub sport: u16,
    /// Destination port, host order.
    pub dport: u16,
    /// TCP sequence number of the first payload byte (of the SYN itself for a SYN), host order.
    pub seq: u32,
    /// TCP acknowledgement number, host order.
    pub ack: u32,
    /// Length of the transport payload on the wire, bytes.
    pub payload_len: u32,
    /// How many of them follow this record (at most [`SEGMENT_CAPTURE_BYTES`]).
    pub captured_len: u32,
    /// `SEGMENT_FRAGMENT`, `SEGMENT_NO_TRANSPORT`.
    pub flags: u16,
    /// TCP flags byte (FIN 1, SYN 2, RST 4, PSH 8, ACK 16).
    pub tcp_flags: u8,
    /// [`DIRECTION_EGRESS`] or [`DIRECTION_INGRESS`].
    pub direction: u8,
    /// 4 or 6.
    pub ip_version: u8,
    /// IP protocol number of the transport.
    pub protocol: u8,
    /// IPv4 TTL or IPv6 hop limit.
    pub hop_limit: u8,
    /// Zero.
    pub pad: [u8; 5],
}

/// A cgroup directory of the v2 hierarchy appeared or vanished; its path follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Cgroup {
    /// See [`Header`].
    pub header: Header,
    /// Depth below the root (the root is 0).
    pub level: u32,
    /// Bytes of path that follow, without NUL; a longer path is cut, so this equals
    /// [`CGROUP_PATH_BYTES`] then.
    pub path_len: u32,
}

/// The field was not in this kernel's tracepoint.
pub const OOM_UNKNOWN: u64 = u64::MAX;

/// The OOM killer marked a victim. `header.cgroup_id` is the cgroup of the task whose allocation
/// failed, which need not be the victim's.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Oom {
    /// See [`Header`].
    pub header: Header,
    /// Ancestors of the cgroup in the header, as in [`Connect`].
    pub ancestors: [u64; ANCESTORS],
    /// Thread id of the marked task, initial namespace: nearly always the first of its process and
    /// then the process id as well, but any thread that was about to end may be marked.
    pub victim_tid: u32,
    /// Process that was allocating, initial namespace.
    pub trigger_tgid: u32,
    /// Victim's virtual size in KiB, or [`OOM_UNKNOWN`].
    pub total_vm_kib: u64,
    /// Victim's anonymous resident memory in KiB, or [`OOM_UNKNOWN`].
    pub anon_rss_kib: u64,
    /// Victim's file-backed resident memory in KiB, or [`OOM_UNKNOWN`].
    pub file_rss_kib: u64,
    /// Victim's shared resident memory in KiB, or [`OOM_UNKNOWN`].
    pub shmem_rss_kib: u64,
    /// Victim's task name, NUL padded; all zero where the kernel does not say it.
    pub comm: [u8; 16],
}

/// Per CPU and kind; summed by the agent. Cumulative since load.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct Counters {
    /// Records that a hook wanted to emit, counted before the ring was asked.
    pub emitted: u64,
    /// Of these, the ones for which the ring had no room.
    pub lost: u64,
}

/// CPU time of one cgroup, kept by the `sched_switch` program. Hash value, keyed by cgroup id.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct CpuUse {
    /// Nanoseconds on any CPU since the cgroup was first seen, up to the last switch or settling of
    /// each CPU.
    pub total_ns: u64,
    /// How many times a task of the cgroup was switched out.
    pub switches: u64,
    /// Number (`ktime / PERIOD_NS`) of the period that the slot of the same index holds.
    pub period: [u64; PERIOD_SLOTS],
    /// Nanoseconds used in that period, on all CPUs together.
    pub used_ns: [u64; PERIOD_SLOTS],
}

impl Default for CpuUse {
    fn default() -> Self {
        Self {
            total_ns: 0,
            switches: 0,
            period: [0; PERIOD_SLOTS],
            used_ns: [0; PERIOD_SLOTS],
        }
    }
}

/// Up to when one CPU's time is booked. Element of a per-CPU array.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(
    feature = "user",
    derive(
        zerocopy::FromBytes,
        zerocopy::IntoBytes,
        zerocopy::Immutable,
        zerocopy::KnownLayout
    )
)]
pub struct OnCpu {
    /// `bpf_ktime_get_ns()` of the last switch or settling on this CPU; 0 before the first.
    pub since_ns: u64,
    /// Thread whose time was booked then, initial namespace; 0 is the idle task.
    pub tid: u32,
    /// Zero.
    pub pad: u32,
    /// Switches whose time could not be booked because the map of cgroups was full.
    pub unbooked: u64,
    /// The nanoseconds of those.
    pub unbooked_ns: u64,
}

const _: () = {
    assert!(size_of::<Header>() == 32);
    assert!(size_of::<Connect>() == 32 + 8 + 48 + 16 + 16 + 8 + 16);
    assert!(size_of::<Segment>() == 32 + 8 + 48 + 32 + 4 + 16 + 4 + 8);
    assert!(size_of::<Cgroup>() == 40);
    assert!(size_of::<Oom>() == 32 + 48 + 8 + 32 + 16);
    assert!(size_of::<Counters>() == 16);
    assert!(size_of::<CpuUse>() == 16 + 2 * 8 * PERIOD_SLOTS);
    assert!(size_of::<OnCpu>() == 32);
    assert!(align_of::<Segment>() == 8);
};
