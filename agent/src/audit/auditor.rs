//! The core: records in, events out, and what became of each record.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use plimsoll_abi as abi;
use plimsoll_imds::{ConnKey, Decoder, Direction, Endpoint, ImdsEvent, Key, Segment, Stats, Taken};
use plimsoll_wire::event::{ImdsAccess, OomKill, Process};
use plimsoll_wire::fate::Fates;
use plimsoll_wire::{AuditEvent, Identity};

use super::bounded::Bounded;
use super::text;
use super::{Lookup, Task};
use crate::probe::decode::Record;

/// Bounds of an [`Auditor`]; the decoder has its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Tasks that have connected and sent nothing yet.
    pub tasks: usize,
    /// Connections whose owner is remembered. A connection that is quiet for long is forgotten by
    /// the decoder and not here, so this is to be more than the decoder's bound.
    pub owners: usize,
    /// Those of the decoder.
    pub decoder: plimsoll_imds::Limits,
}

/// Owners remembered for each connection that the decoder has room for.
const OWNERS_EACH: usize = 4;

impl Limits {
    /// Those that go with a decoder's.
    pub fn with(decoder: plimsoll_imds::Limits) -> Self {
        Self {
            tasks: 4096,
            owners: decoder.connections.saturating_mul(OWNERS_EACH),
            decoder,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::with(plimsoll_imds::Limits::default())
    }
}

/// Cumulative counts. What the decoder made of the segments is in [`Auditor::decoder`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Connect records taken.
    pub connects: u64,
    /// Of these, the ones of other protocols than TCP: passed over.
    pub connects_not_tcp: u64,
    /// Of these, the ones whose task is remembered for what its connection sends: used up.
    pub connects_kept: u64,
    /// Segment records taken.
    pub segments: u64,
    /// Of these, the ones of other protocols than TCP: passed over.
    pub segments_not_tcp: u64,
    /// Of these, the ones whose transport header could not be reached: later fragments.
    pub segments_no_transport: u64,
    /// Of these, the ones of a service's own socket: where service and client are on one node both ends
    /// of a connection have the service's address.
    pub segments_of_server: u64,
    /// Of these, the ones that tell nothing new: bare acknowledgements, repetitions.
    pub segments_passed: u64,
    /// Of these, the ones that an event was made of: of an answer, of the opening or end of a
    /// connection, or of a request that is over, having been held for it.
    pub segments_spent: u64,
    /// OOM records taken.
    pub ooms: u64,
    /// Metadata events handed out.
    pub imds_events: u64,
    /// Of these, the ones whose connection was opened by nobody we know.
    pub without_process: u64,
    /// Of these, the ones whose owner had been forgotten for want of room.
    pub without_owner: u64,
    /// OOM events handed out.
    pub oom_events: u64,
    /// Tasks forgotten to make room, before they sent anything.
    pub tasks_shed: u64,
    /// Owners forgotten to make room.
    pub owners_shed: u64,
}

/// Who called `connect()`.
#[derive(Clone, Debug)]
struct Opener {
    process: Process,
    cgroup_id: u64,
    identity: Identity,
}

/// Whose connection it is.
#[derive(Debug)]
struct Owner {
    identity: Identity,
    cgroup_id: u64,
    ancestors: [u64; abi::ANCESTORS],
    first_ns: u64,
    last_ns: u64,
    opener: Option<Opener>,
    /// Request segments since the connection's last event.
    held: u64,
}

impl Owner {
    /// The index may have learned of the cgroup only after the segment.
    fn resolve_again(&mut self, lookup: &dyn Lookup) {
        if self.identity.cgroup_id != self.cgroup_id || self.identity.cgroup_path.is_none() {
            self.identity = lookup.identity(self.cgroup_id, &self.ancestors, self.first_ns);
        }
    }
}

/// How often owners are searched for segments of requests that will not become events any more.
const SWEEP_NS: u64 = 1_000_000_000;
/// Events for which room is kept from one record to the next.
const KEPT_EVENTS: usize = 64;
/// Where IMDS and EKS Pod Identity listen.
const SERVICE_PORT: u16 = 80;
/// IPPROTO_TCP, and the socket protocol of Multipath TCP, which is TCP on the wire.
const TCP: [u32; 2] = [6, 262];
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// See the [module](super).
#[derive(Debug)]
pub struct Auditor {
    limits: Limits,
    decoder: Decoder,
    /// By cookie.
    tasks: Bounded<u64, Opener>,
    owners: Bounded<ConnKey, Owner>,
    next_sweep_ns: u64,
    ready: Vec<ImdsEvent>,
    counts: Counts,
}

impl Auditor {
    /// An auditor that has seen nothing; `key` is that of the token hashes.
    pub fn new(limits: Limits, key: &Key) -> Self {
        Self {
            limits,
            decoder: Decoder::new(limits.decoder, key),
            tasks: Bounded::new(limits.tasks),
            owners: Bounded::new(limits.owners),
            next_sweep_ns: 0,
            ready: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// Takes a record; events that it completes go to `out` with their time, Unix nanoseconds.
    /// Cgroup records are not ours.
    pub fn take(
        &mut self,
        record: &Record<'_>,
        lookup: &dyn Lookup,
        out: &mut dyn FnMut(u64, AuditEvent),
    ) {
        match record {
            Record::Connect(connect) => self.connect(connect, lookup),
            Record::Segment(segment, payload) => self.segment(segment, payload, lookup, out),
            Record::Oom(oom) => self.oom(oom, lookup, out),
            Record::CgroupMkdir(..) | Record::CgroupRmdir(..) => {}
        }
    }

    /// Time passes (CLOCK_MONOTONIC): requests without answer are given up. Call it each second.
    pub fn advance(
        &mut self,
        now_ns: u64,
        lookup: &dyn Lookup,
        out: &mut dyn FnMut(u64, AuditEvent),
    ) {
        let Self { decoder, ready, .. } = self;
        decoder.advance(now_ns, &mut |event| ready.push(event));
        self.hand_out(lookup, out);
        if now_ns < self.next_sweep_ns {
            return;
        }
        self.next_sweep_ns = now_ns.saturating_add(SWEEP_NS);
        // The decoder has given up a connection by then, with all events that were in it.
        let over_ns = self.limits.decoder.forget_ns().saturating_add(SWEEP_NS);
        for owner in self.owners.values_mut() {
            if owner.held > 0 && now_ns.saturating_sub(owner.last_ns) >= over_ns {
                self.counts.segments_spent += owner.held;
                owner.held = 0;
            }
        }
    }

    /// The end: what still waits is handed out as what it is by now.
    pub fn finish(&mut self, lookup: &dyn Lookup, out: &mut dyn FnMut(u64, AuditEvent)) {
        let Self { decoder, ready, .. } = self;
        decoder.finish(&mut |event| ready.push(event));
        self.hand_out(lookup, out);
        for owner in self.owners.values_mut() {
            self.counts.segments_spent += owner.held;
            owner.held = 0;
        }
    }

    /// Cumulative counts.
    pub const fn counts(&self) -> Counts {
        self.counts
    }

    /// What the decoder made of the segments.
    pub const fn decoder(&self) -> Stats {
        self.decoder.stats()
    }

    /// Rows of the tables now: tasks, owners, connections of the decoder.
    pub fn len(&self) -> (usize, usize, usize) {
        (
            self.tasks.len(),
            self.owners.len(),
            self.decoder.connections(),
        )
    }

    /// What became of the records taken, by kernel kind: delivered in an event, or filtered because
    /// they tell nothing, or held in a request that is not finished. Each is counted where it
    /// happens; what is held is what the owners hold.
    pub fn fates(&self) -> [(&'static str, Fates); 3] {
        let counts = &self.counts;
        let connects = Fates {
            emitted: counts.connects,
            filtered: counts.connects_not_tcp,
            delivered: counts.connects_kept,
            ..Fates::default()
        };
        let segments = Fates {
            emitted: counts.segments,
            filtered: counts.segments_not_tcp
                + counts.segments_no_transport
                + counts.segments_of_server
                + counts.segments_passed,
            delivered: counts.segments_spent,
            in_flight: self.owners.values().map(|owner| owner.held).sum(),
            ..Fates::default()
        };
        let ooms = Fates {
            emitted: counts.ooms,
            delivered: counts.oom_events,
            ..Fates::default()
        };
        [("connect", connects), ("segment", segments), ("oom", ooms)]
    }

    fn connect(&mut self, connect: &abi::Connect, lookup: &dyn Lookup) {
        self.counts.connects += 1;
        if !TCP.contains(&connect.protocol) {
            self.counts.connects_not_tcp += 1;
            return;
        }
        let at_ns = connect.header.ktime_ns;
        let opener = Opener {
            process: lookup.process(Task {
                tgid: connect.tgid,
                tid: connect.tid,
                uid: connect.uid,
                comm: &connect.comm,
                at_ns,
            }),
            cgroup_id: connect.header.cgroup_id,
            identity: lookup.identity(connect.header.cgroup_id, &connect.ancestors, at_ns),
        };
        // A socket may be connected again, by another task.
        self.forget(ConnKey::Cookie(connect.cookie));
        let fallen = self.tasks.insert(connect.cookie, opener);
        self.counts.connects_kept += 1;
        self.counts.tasks_shed += u64::from(fallen.is_some());
    }

    fn segment(
        &mut self,
        record: &abi::Segment,
        payload: &[u8],
        lookup: &dyn Lookup,
        out: &mut dyn FnMut(u64, AuditEvent),
    ) {
        self.counts.segments += 1;
        if u32::from(record.protocol) != TCP[0] {
            self.counts.segments_not_tcp += 1;
            return;
        }
        if record.flags & abi::SEGMENT_NO_TRANSPORT != 0 {
            self.counts.segments_no_transport += 1;
            return;
        }
        let segment = convert(record, payload);
        if self.is_servers(record.cookie, &segment) {
            self.counts.segments_of_server += 1;
            return;
        }
        self.own(record, segment.key, lookup);
        let Self { decoder, ready, .. } = self;
        let taken = decoder.push(&segment, &mut |event| ready.push(event));
        let waits = taken == Taken::Used
            && segment.direction == Direction::Request
            && segment.payload_len > 0;
        match self.owners.get_mut(segment.key) {
            Some(owner) if waits => owner.held += 1,
            _ if taken == Taken::Used => self.counts.segments_spent += 1,
            _ => self.counts.segments_passed += 1,
        }
        self.hand_out(lookup, out);
    }

    /// Whether a segment is of the socket that a service took a connection with. EKS Pod Identity runs on
    /// the node, and Linux gives a connection to an address of its own that address as its source: a
    /// client of the node's network and the service both have a peer at the service's address. The
    /// client called `connect()`, or speaks to the service's port.
    fn is_servers(&self, cookie: u64, segment: &Segment<'_>) -> bool {
        let (near, far) = segment.ends();
        let at_both_ends = Endpoint::of(near.ip()).is_some() && Endpoint::of(far.ip()).is_some();
        at_both_ends
            && far.port() != SERVICE_PORT
            && self.tasks.get(cookie).is_none()
            && self
                .owners
                .get(segment.key)
                .is_none_or(|owner| owner.opener.is_none())
    }

    /// Makes sure that the connection has an owner before the decoder may speak of it.
    fn own(&mut self, record: &abi::Segment, key: ConnKey, lookup: &dyn Lookup) {
        let at_ns = record.header.ktime_ns;
        if let Some(owner) = self.owners.touch(key) {
            owner.last_ns = owner.last_ns.max(at_ns);
            owner.resolve_again(lookup);
            return;
        }
        if record.payload_len == 0 && record.tcp_flags & SYN == 0 {
            // The end of a connection that nobody speaks of any more.
            return;
        }
        let cgroup_id = record.header.cgroup_id;
        let owner = Owner {
            identity: lookup.identity(cgroup_id, &record.ancestors, at_ns),
            cgroup_id,
            ancestors: record.ancestors,
            first_ns: at_ns,
            last_ns: at_ns,
            opener: self.tasks.remove(record.cookie),
            held: 0,
        };
        if let Some(fallen) = self.owners.insert(key, owner) {
            self.counts.segments_spent += fallen.held;
            self.counts.owners_shed += 1;
        }
    }

    fn forget(&mut self, key: ConnKey) {
        if let Some(owner) = self.owners.remove(key) {
            self.counts.segments_spent += owner.held;
        }
    }

    fn hand_out(&mut self, lookup: &dyn Lookup, out: &mut dyn FnMut(u64, AuditEvent)) {
        let mut ready = std::mem::take(&mut self.ready);
        for event in ready.drain(..) {
            let access = self.access(&event, lookup);
            self.counts.imds_events += 1;
            self.counts.without_process += u64::from(access.process.is_none());
            out(lookup.wall(event.time_ns), AuditEvent::Imds(access));
        }
        // Keeps room for an ordinary turn, and not for the largest burst so far.
        ready.shrink_to(KEPT_EVENTS);
        self.ready = ready;
    }

    fn access(&mut self, event: &ImdsEvent, lookup: &dyn Lookup) -> ImdsAccess {
        let request = match serde_json::to_value(event) {
            Ok(serde_json::Value::Object(request)) => request,
            // The event is a struct of strings and numbers.
            _ => serde_json::Map::new(),
        };
        let Some(owner) = self.owners.get_mut(event.key) else {
            self.counts.without_owner += 1;
            return ImdsAccess {
                identity: Identity::unknown(0),
                process: None,
                task_identity: None,
                request,
            };
        };
        owner.resolve_again(lookup);
        self.counts.segments_spent += owner.held;
        owner.held = 0;
        let opener = owner.opener.as_ref();
        ImdsAccess {
            identity: owner.identity.clone(),
            process: opener.map(|opener| opener.process.clone()),
            task_identity: opener
                .filter(|opener| opener.cgroup_id != owner.cgroup_id)
                .map(|opener| opener.identity.clone()),
            request,
        }
    }

    fn oom(&mut self, oom: &abi::Oom, lookup: &dyn Lookup, out: &mut dyn FnMut(u64, AuditEvent)) {
        self.counts.ooms += 1;
        let at_ns = oom.header.ktime_ns;
        let victim = lookup.victim(oom.victim_tid, &oom.comm);
        let victim_pid = victim.tgid.unwrap_or(oom.victim_tid);
        let identity_is_trigger = victim.identity.is_none() && victim_pid != oom.trigger_tgid;
        let of_trigger = || lookup.identity(oom.header.cgroup_id, &oom.ancestors, at_ns);
        let bytes = |kib: u64| {
            (kib != abi::OOM_UNKNOWN)
                .then(|| kib.checked_mul(1024))
                .flatten()
        };
        let kill = OomKill {
            identity: victim.identity.unwrap_or_else(of_trigger),
            identity_is_trigger,
            victim_pid,
            victim_comm: text::comm(&oom.comm),
            anon_rss_bytes: bytes(oom.anon_rss_kib),
            file_rss_bytes: bytes(oom.file_rss_kib),
            shmem_rss_bytes: bytes(oom.shmem_rss_kib),
            // In the files of the container, which the main loop has open.
            memory_peak_bytes: None,
            memory_limit_bytes: None,
        };
        out(lookup.wall(at_ns), AuditEvent::OomKill(kill));
        self.counts.oom_events += 1;
    }
}

/// A kernel record in the decoder's words. The hooks match the peer's address, so what goes out is
/// a request. An answer that reaches the client's socket has arrived whatever its hop limit says,
/// and the hooks pass no bare acknowledgement that would prove it: its hop limit is left out.
fn convert<'a>(record: &abi::Segment, payload: &'a [u8]) -> Segment<'a> {
    let end = |address: &[u8; 16], port: u16| SocketAddr::new(ip(record.ip_version, address), port);
    let src = end(&record.saddr, record.sport);
    let dst = end(&record.daddr, record.dport);
    let direction = if record.direction == abi::DIRECTION_EGRESS {
        Direction::Request
    } else {
        Direction::Response
    };
    let (client, server) = match direction {
        Direction::Request => (src, dst),
        Direction::Response => (dst, src),
    };
    let flag = |bit: u8| record.tcp_flags & bit != 0;
    Segment {
        key: match record.cookie {
            0 => ConnKey::Ends { client, server },
            cookie => ConnKey::Cookie(cookie),
        },
        direction,
        seq: record.seq,
        ack: flag(ACK).then_some(record.ack),
        syn: flag(SYN),
        fin: flag(FIN),
        rst: flag(RST),
        fragment: record.flags & abi::SEGMENT_FRAGMENT != 0,
        hop_limit: (direction == Direction::Request).then_some(record.hop_limit),
        payload,
        payload_len: record.payload_len,
        time_ns: record.header.ktime_ns,
        src,
        dst,
    }
}

fn ip(version: u8, address: &[u8; 16]) -> IpAddr {
    if version == 4 {
        let [a, b, c, d, ..] = *address;
        Ipv4Addr::new(a, b, c, d).into()
    } else {
        Ipv6Addr::from(*address).into()
    }
}
