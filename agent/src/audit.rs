//! Security records of the kernel become audit events: metadata requests and OOM kills.
//!
//! ```text
//!  Connect ─▶ sockets (cookie ─▶ process, cgroup)   ─┐
//!  Segment ─▶ plimsoll_imds::Decoder ─▶ ImdsEvent   ─┴─▶ AuditEvent::Imds
//!  Oom     ─▶ victim's cgroup                       ───▶ AuditEvent::OomKill
//! ```
//!
//! Pure: identities come from a function, process facts from a [`Processes`], time as an argument.
//! It does not know rings, spool or wire. Each record has one fate here: a connect or a segment is
//! used up (`filtered`) by what it becomes part of, an OOM record goes on (`delivered`); nothing
//! stays `in_flight`, because requests that wait for an answer are no longer records
//! ([`Auditor::waiting`]).

pub mod process;
mod sockets;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use plimsoll_abi as abi;
use plimsoll_imds::{ConnKey, Decoder, Direction, ImdsEvent, Key, Limits, Segment, Stats, Taken};
use plimsoll_wire::event::{AuditEvent, ImdsAccess, OomKill, Process};
use plimsoll_wire::fate::Fates;
use plimsoll_wire::identity::Identity;
use sockets::{Socket, Sockets};

/// IP protocol number of TCP.
const TCP: u8 = 6;

/// Names a cgroup: its id, its ancestors (root's children first, zeros at the end), and when it was
/// seen (`CLOCK_MONOTONIC`, nanoseconds).
pub type Resolve<'a> = &'a dyn Fn(u64, &[u64], u64) -> Identity;

/// What is known of processes beyond the kernel's records.
pub trait Processes {
    /// Executable, command line; what is missing is said to be missing.
    fn describe(&self, pid: u32) -> Process;
    /// Id of the process's cgroup, if it is still there.
    fn cgroup_id(&self, pid: u32) -> Option<u64>;
}

/// Why a record was used up or left out; label of `filtered`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Filtered {
    /// Connects whose process facts were kept.
    pub joined: u64,
    /// Segments that became part of a request or answer.
    pub assembled: u64,
    /// Segments without payload.
    pub no_payload: u64,
    /// Retransmissions.
    pub repeated: u64,
    /// Segments far from the connection's window.
    pub outside: u64,
    /// Segments and connects of other protocols or addresses.
    pub not_metadata: u64,
    /// Segments whose transport header could not be read.
    pub no_transport: u64,
}

impl Filtered {
    /// All of them, with the reason as it is called in metrics.
    pub const fn by_reason(&self) -> [(&'static str, u64); 7] {
        [
            ("joined", self.joined),
            ("assembled", self.assembled),
            ("no_payload", self.no_payload),
            ("repeated", self.repeated),
            ("outside", self.outside),
            ("not_metadata", self.not_metadata),
            ("no_transport", self.no_transport),
        ]
    }
}

/// The audit state of one node.
#[derive(Debug)]
pub struct Auditor {
    decoder: Decoder,
    sockets: Sockets,
    filtered: Filtered,
    received: u64,
    delivered: u64,
}

impl Auditor {
    /// `key`: secret of the hashes, new for each boot.
    pub fn new(limits: Limits, key: &Key) -> Self {
        Self {
            decoder: Decoder::new(limits, key),
            sockets: Sockets::default(),
            filtered: Filtered::default(),
            received: 0,
            delivered: 0,
        }
    }

    /// What became of the records taken.
    pub fn fates(&self) -> Fates {
        let filtered = self
            .filtered
            .by_reason()
            .iter()
            .map(|(_, count)| count)
            .sum();
        Fates {
            emitted: self.received,
            filtered,
            delivered: self.delivered,
            ..Fates::default()
        }
    }

    /// `filtered`, by reason.
    pub const fn filtered(&self) -> Filtered {
        self.filtered
    }

    /// Counts of the decoder.
    pub const fn decoder_stats(&self) -> Stats {
        self.decoder.stats()
    }

    /// Requests that wait for their answer.
    pub const fn waiting(&self) -> u64 {
        self.decoder.waiting()
    }

    /// Sockets forgotten to make room for others.
    pub const fn sockets_evicted(&self) -> u64 {
        self.sockets.evicted()
    }

    /// A task connects: keeps who it is. Call it as soon as the record comes, while the process is
    /// likely still there.
    pub fn connect(&mut self, record: &abi::Connect, processes: &dyn Processes) {
        self.received += 1;
        let mut process = processes.describe(record.tgid);
        process.uid = Some(record.uid);
        process.comm = comm(&record.comm).or(process.comm);
        process.cmdline = process
            .cmdline
            .map(|line| redact(&line, self.decoder.redactor()));
        let socket = self.sockets.at(record.cookie);
        socket.process = Some(process);
        socket.task = Some((record.header.cgroup_id, record.ancestors));
        self.filtered.joined += 1;
    }

    /// A packet: `payload` is the captured part. Events that it completes are given to `out` with
    /// the monotonic time of their request.
    pub fn segment(
        &mut self,
        record: &abi::Segment,
        payload: &[u8],
        resolve: Resolve<'_>,
        out: &mut impl FnMut(u64, AuditEvent),
    ) {
        self.received += 1;
        if record.flags & abi::SEGMENT_NO_TRANSPORT != 0 {
            self.filtered.no_transport += 1;
            return;
        }
        if record.protocol != TCP {
            self.filtered.not_metadata += 1;
            return;
        }
        self.sockets.at(record.cookie).owner = Some((record.header.cgroup_id, record.ancestors));
        let segment = convert(record, payload);
        let sockets = &self.sockets;
        let taken = self.decoder.push(&segment, &mut |event| {
            out(event.time_ns, join(event, sockets, resolve));
        });
        let counter = match taken {
            Taken::Used => &mut self.filtered.assembled,
            Taken::NoPayload => &mut self.filtered.no_payload,
            Taken::Repeated => &mut self.filtered.repeated,
            Taken::Outside => &mut self.filtered.outside,
            Taken::NotEndpoint => &mut self.filtered.not_metadata,
        };
        *counter += 1;
    }

    /// The OOM killer chose a victim.
    pub fn oom(
        &mut self,
        record: &abi::Oom,
        processes: &dyn Processes,
        resolve: Resolve<'_>,
    ) -> (u64, AuditEvent) {
        self.received += 1;
        self.delivered += 1;
        let victim = processes.cgroup_id(record.victim_tgid);
        let cgroup_id = victim.unwrap_or(record.header.cgroup_id);
        let bytes = |kib: u64| (kib != abi::OOM_UNKNOWN).then(|| kib.saturating_mul(1024));
        let kill = OomKill {
            identity: resolve(cgroup_id, &[], record.header.ktime_ns),
            identity_is_trigger: victim.is_none(),
            victim_pid: record.victim_tgid,
            victim_comm: comm(&record.comm),
            anon_rss_bytes: bytes(record.anon_rss_kib),
            file_rss_bytes: bytes(record.file_rss_kib),
            shmem_rss_bytes: bytes(record.shmem_rss_kib),
        };
        (record.header.ktime_ns, AuditEvent::OomKill(kill))
    }

    /// Time passes (`CLOCK_MONOTONIC`, nanoseconds): requests without answer are given up.
    pub fn advance(
        &mut self,
        now_ns: u64,
        resolve: Resolve<'_>,
        out: &mut impl FnMut(u64, AuditEvent),
    ) {
        let sockets = &self.sockets;
        self.decoder.advance(now_ns, &mut |event| {
            out(event.time_ns, join(event, sockets, resolve));
        });
    }

    /// The agent stops: what waits is handed out as what it is by now.
    pub fn finish(&mut self, resolve: Resolve<'_>, out: &mut impl FnMut(u64, AuditEvent)) {
        let sockets = &self.sockets;
        self.decoder
            .finish(&mut |event| out(event.time_ns, join(event, sockets, resolve)));
    }
}

/// A monotonic time as wall-clock time, given one moment on both clocks. Unix nanoseconds.
pub const fn wall_ns(monotonic_ns: u64, now_monotonic_ns: u64, now_unix_ns: u64) -> u64 {
    if monotonic_ns <= now_monotonic_ns {
        now_unix_ns.saturating_sub(now_monotonic_ns - monotonic_ns)
    } else {
        now_unix_ns.saturating_add(monotonic_ns - now_monotonic_ns)
    }
}

fn join(event: ImdsEvent, sockets: &Sockets, resolve: Resolve<'_>) -> AuditEvent {
    let ConnKey::Cookie(cookie) = event.key else {
        return access(event, None, None, None);
    };
    let Some(Socket {
        process,
        task,
        owner,
    }) = sockets.get(cookie)
    else {
        return access(event, None, None, None);
    };
    let name =
        |(id, ancestors): &(u64, [u64; abi::ANCESTORS])| resolve(*id, ancestors, event.time_ns);
    let other_task = task
        .as_ref()
        .filter(|(id, _)| owner.is_none_or(|(owner, _)| owner != *id));
    let (owner, task) = (owner.as_ref().map(name), other_task.map(name));
    access(event, owner, process.clone(), task)
}

fn access(
    event: ImdsEvent,
    identity: Option<Identity>,
    process: Option<Process>,
    task_identity: Option<Identity>,
) -> AuditEvent {
    // A struct of plain fields always becomes an object.
    let request = match serde_json::to_value(event) {
        Ok(serde_json::Value::Object(request)) => request,
        _ => serde_json::Map::new(),
    };
    AuditEvent::Imds(ImdsAccess {
        identity: identity.unwrap_or_else(|| Identity::unknown(0)),
        process,
        task_identity,
        request,
    })
}

fn convert<'a>(record: &abi::Segment, payload: &'a [u8]) -> Segment<'a> {
    let end = |bytes: &[u8; 16], port| SocketAddr::new(address(bytes, record.ip_version), port);
    let flag = |bit: u8| record.tcp_flags & bit != 0;
    let direction = if record.direction == abi::DIRECTION_EGRESS {
        Direction::Request
    } else {
        Direction::Response
    };
    Segment {
        key: ConnKey::Cookie(record.cookie),
        direction,
        seq: record.seq,
        ack: flag(0x10).then_some(record.ack),
        syn: flag(0x02),
        fin: flag(0x01),
        rst: flag(0x04),
        fragment: record.flags & abi::SEGMENT_FRAGMENT != 0,
        hop_limit: Some(record.hop_limit),
        payload,
        payload_len: record.payload_len,
        time_ns: record.header.ktime_ns,
        src: end(&record.saddr, record.sport),
        dst: end(&record.daddr, record.dport),
    }
}

fn address(bytes: &[u8; 16], ip_version: u8) -> IpAddr {
    if ip_version == 6 {
        return Ipv6Addr::from(*bytes).into();
    }
    let [a, b, c, d, ..] = *bytes;
    Ipv4Addr::new(a, b, c, d).into()
}

fn comm(bytes: &[u8; 16]) -> Option<String> {
    let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    (!name.is_empty()).then(|| String::from_utf8_lossy(name).into_owned())
}

/// Bytes of command line that an event carries.
const CMDLINE_BYTES: usize = 256;

fn redact(line: &str, redactor: &plimsoll_imds::Redactor) -> String {
    redactor.text(
        line.as_bytes(),
        &plimsoll_imds::redact::Secrets::default(),
        CMDLINE_BYTES,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Table;

    impl Processes for Table {
        fn describe(&self, pid: u32) -> Process {
            let cmdline = Some(
                "curl -H X-aws-ec2-metadata-token:AQAEAGhVd0xrZ2JqS3B5bVZ0dGZ2Q1pXbk1LUQ== x"
                    .into(),
            );
            Process {
                pid,
                exe: Some("/usr/bin/curl".into()),
                cmdline,
                ..Process::default()
            }
        }
        fn cgroup_id(&self, pid: u32) -> Option<u64> {
            (pid == 7).then_some(70)
        }
    }

    fn resolve(id: u64, _: &[u64], _: u64) -> Identity {
        Identity::unknown(id)
    }

    fn auditor() -> Auditor {
        Auditor::new(Limits::default(), &Key([3; 32]))
    }

    fn segment(direction: u8, seq: u32, tcp_flags: u8, len: usize, ktime_ns: u64) -> abi::Segment {
        let mut imds = [0; 16];
        imds[..4].copy_from_slice(&[169, 254, 169, 254]);
        let mut pod = [0; 16];
        pod[..4].copy_from_slice(&[10, 0, 0, 5]);
        let egress = direction == abi::DIRECTION_EGRESS;
        abi::Segment {
            header: abi::Header {
                ktime_ns,
                cgroup_id: 50,
                ..abi::Header::default()
            },
            cookie: 9,
            saddr: if egress { pod } else { imds },
            daddr: if egress { imds } else { pod },
            sport: if egress { 4000 } else { 80 },
            dport: if egress { 80 } else { 4000 },
            seq,
            payload_len: u32::try_from(len).unwrap(),
            tcp_flags,
            direction,
            ip_version: 4,
            protocol: 6,
            ..abi::Segment::default()
        }
    }

    #[test]
    fn a_request_with_its_process() {
        let mut auditor = auditor();
        let mut events = Vec::new();
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"curl");
        let connect = abi::Connect {
            cookie: 9,
            tgid: 42,
            uid: 1000,
            comm,
            ..abi::Connect::default()
        };
        auditor.connect(&connect, &Table);
        let ask = b"GET /latest/meta-data/iam/security-credentials/r HTTP/1.1\r\n\r\n";
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let mut push = |record: abi::Segment, payload: &[u8]| {
            auditor.segment(&record, payload, &resolve, &mut |at, event| {
                events.push((at, event))
            });
        };
        push(segment(abi::DIRECTION_EGRESS, 9, 0x02, 0, 1), b"");
        push(segment(abi::DIRECTION_EGRESS, 10, 0x18, ask.len(), 2), ask);
        push(segment(abi::DIRECTION_EGRESS, 10, 0x18, ask.len(), 3), ask);
        push(
            segment(abi::DIRECTION_INGRESS, 70, 0x18, answer.len(), 4),
            answer,
        );
        push(
            abi::Segment {
                protocol: 17,
                ..segment(abi::DIRECTION_EGRESS, 0, 0, 0, 5)
            },
            b"",
        );
        let [(2, AuditEvent::Imds(access))] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(access.identity.cgroup_id, 50);
        assert_eq!(access.task_identity, Some(Identity::unknown(0)));
        let process = access.process.as_ref().unwrap();
        assert_eq!(
            (process.pid, process.uid, process.comm.as_deref()),
            (42, Some(1000), Some("curl"))
        );
        assert!(!process.cmdline.as_ref().unwrap().contains("AQAEAGhV"));
        assert_eq!(access.request["imds_version"], "v1");
        assert_eq!(access.request["status"], 200);
        let filtered = auditor.filtered();
        assert_eq!(
            (
                filtered.joined,
                filtered.assembled,
                filtered.repeated,
                filtered.not_metadata
            ),
            (1, 3, 1, 1)
        );
        assert_eq!(auditor.fates().unaccounted(), 0);
        assert_eq!(auditor.waiting(), 0);
    }

    #[test]
    fn silence_is_an_event_too() {
        let mut auditor = auditor();
        let mut events = 0;
        let ask = b"GET / HTTP/1.1\r\n\r\n";
        let record = segment(abi::DIRECTION_EGRESS, 10, 0x18, ask.len(), 2);
        auditor.segment(&record, ask, &resolve, &mut |_, _| events += 1);
        assert_eq!((events, auditor.waiting()), (0, 1));
        auditor.advance(3_000_000_000, &resolve, &mut |_, _| events += 1);
        assert_eq!((events, auditor.waiting()), (1, 0));
    }

    #[test]
    fn oom_kills_name_the_victim_if_it_is_still_there() {
        let mut auditor = auditor();
        for (victim_tgid, cgroup_id, identity_is_trigger) in [(7, 70, false), (8, 50, true)] {
            let header = abi::Header {
                cgroup_id: 50,
                ..abi::Header::default()
            };
            let record = abi::Oom {
                header,
                victim_tgid,
                anon_rss_kib: 4,
                file_rss_kib: abi::OOM_UNKNOWN,
                ..abi::Oom::default()
            };
            let (_, event) = auditor.oom(&record, &Table, &resolve);
            let AuditEvent::OomKill(kill) = event else {
                panic!("{event:?}")
            };
            assert_eq!(
                (kill.identity.cgroup_id, kill.identity_is_trigger),
                (cgroup_id, identity_is_trigger)
            );
            assert_eq!(
                (kill.anon_rss_bytes, kill.file_rss_bytes),
                (Some(4096), None)
            );
        }
        assert_eq!(auditor.fates().unaccounted(), 0);
    }

    #[test]
    fn wall_time() {
        assert_eq!(wall_ns(90, 100, 1_000), 990);
        assert_eq!(wall_ns(110, 100, 1_000), 1_010);
        assert_eq!(wall_ns(0, 100, 50), 0);
    }
}
