//! A node on which tests decide who is there, and a connection played to an auditor.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use plimsoll_abi::{
    Connect, DIRECTION_EGRESS, DIRECTION_INGRESS, Header, SEGMENT_CAPTURE_BYTES, Segment,
};
use plimsoll_imds::Key;
use plimsoll_wire::event::{ImdsAccess, Process};
use plimsoll_wire::fate::Fates;
use plimsoll_wire::{AuditEvent, Identity};

use super::super::{Auditor, Limits, Lookup, Task, Victim, text};
use super::{BOOT_NS, FIN, MS, SYN};
use crate::cgroup::path;
use crate::probe::decode::Record;

const PUSH: u8 = 8 | 16;

/// A node on which tests decide who is there.
#[derive(Default)]
pub(super) struct Node {
    pub(super) cgroups: RefCell<HashMap<u64, String>>,
    pub(super) gone: Cell<bool>,
    /// By thread: the process, and its cgroup where that can be told.
    pub(super) victims: HashMap<u32, (u32, Option<u64>)>,
}

impl Node {
    pub(super) fn with(ids: &[u64]) -> Self {
        let node = Self::default();
        for id in ids {
            node.make(*id);
        }
        node
    }

    pub(super) fn make(&self, id: u64) {
        let path = format!("/kubepods.slice/kubepods-poda{id}.slice/cri-containerd-c{id}.scope");
        self.cgroups.borrow_mut().insert(id, path);
    }
}

impl Lookup for Node {
    fn identity(&self, cgroup_id: u64, ancestors: &[u64], _: u64) -> Identity {
        let cgroups = self.cgroups.borrow();
        [cgroup_id]
            .iter()
            .chain(ancestors.iter().rev())
            .find_map(|id| Some(path::identity(*id, cgroups.get(id)?)))
            .unwrap_or(Identity::unknown(cgroup_id))
    }

    fn process(&self, task: Task<'_>) -> Process {
        let gone = self.gone.get();
        Process {
            pid: task.tgid,
            uid: Some(task.uid),
            comm: text::comm(task.comm),
            exe: (!gone).then(|| "/usr/bin/curl".to_owned()),
            cmdline: None,
            missing: gone.then(|| "exited".to_owned()),
        }
    }

    fn victim(&self, tid: u32, _: &[u8]) -> Victim {
        let known = self.victims.get(&tid);
        Victim {
            tgid: known.map(|(tgid, _)| *tgid),
            identity: known.and_then(|(_, id)| Some(self.identity((*id)?, &[], 0))),
        }
    }

    fn wall(&self, at_ns: u64) -> u64 {
        BOOT_NS + at_ns
    }
}

/// An auditor and the connection that the next records belong to.
pub(super) struct Play {
    pub(super) auditor: Auditor,
    pub(super) events: Vec<(u64, AuditEvent)>,
    pub(super) server: SocketAddr,
    pub(super) client: SocketAddr,
    pub(super) cookie: u64,
    pub(super) cgroup: u64,
    pub(super) up_seq: u32,
    pub(super) down_seq: u32,
    pub(super) now_ns: u64,
}

impl Play {
    pub(super) fn to(server: &str, client: &str) -> Self {
        Self {
            auditor: Auditor::new(Limits::default(), &Key([1; 32])),
            events: Vec::new(),
            server: server.parse().unwrap(),
            client: client.parse().unwrap(),
            cookie: 100,
            cgroup: 1,
            up_seq: 1000,
            down_seq: 9000,
            now_ns: 1_000 * MS,
        }
    }

    pub(super) fn imds() -> Self {
        Self::to("169.254.169.254:80", "10.0.0.5:40000")
    }

    pub(super) fn header(&self, cgroup_id: u64) -> Header {
        Header {
            ktime_ns: self.now_ns,
            cgroup_id,
            ..Header::default()
        }
    }

    pub(super) fn take(&mut self, record: &Record<'_>, node: &Node) {
        let events = &mut self.events;
        self.auditor
            .take(record, node, &mut |at, event| events.push((at, event)));
        self.check_law();
    }

    pub(super) fn check_law(&self) {
        for (kind, fates) in self.auditor.fates() {
            assert_eq!(fates.unaccounted(), 0, "{kind}");
        }
    }

    pub(super) fn connect(&mut self, task_cgroup: u64, tgid: u32, node: &Node) {
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"curl");
        let connect = Connect {
            header: self.header(task_cgroup),
            cookie: self.cookie,
            tgid,
            tid: tgid,
            uid: 1000,
            protocol: 6,
            comm,
            ..Connect::default()
        };
        self.take(&Record::Connect(connect), node);
    }

    pub(super) fn record(&self, direction: u8, tcp_flags: u8, payload: &[u8]) -> Segment {
        let wire = |ip: IpAddr| match ip {
            IpAddr::V4(v4) => {
                let mut bytes = [0; 16];
                bytes[..4].copy_from_slice(&v4.octets());
                bytes
            }
            IpAddr::V6(v6) => v6.octets(),
        };
        let (src, dst, seq, ack) = if direction == DIRECTION_EGRESS {
            (self.client, self.server, self.up_seq, self.down_seq)
        } else {
            (self.server, self.client, self.down_seq, self.up_seq)
        };
        let len = u32::try_from(payload.len()).unwrap();
        Segment {
            header: self.header(self.cgroup),
            cookie: self.cookie,
            saddr: wire(src.ip()),
            daddr: wire(dst.ip()),
            sport: src.port(),
            dport: dst.port(),
            seq,
            ack,
            payload_len: len,
            captured_len: len,
            tcp_flags,
            direction,
            ip_version: if src.is_ipv4() { 4 } else { 6 },
            protocol: 6,
            // The answer to a token request has the hop limit that is configured.
            hop_limit: if direction == DIRECTION_INGRESS {
                1
            } else {
                64
            },
            ..Segment::default()
        }
    }

    /// A packet as the hook emits it: in pieces of at most the capture length.
    pub(super) fn packet(&mut self, direction: u8, tcp_flags: u8, payload: &[u8], node: &Node) {
        let pieces: Vec<&[u8]> = if payload.is_empty() {
            vec![&[]]
        } else {
            payload.chunks(SEGMENT_CAPTURE_BYTES).collect()
        };
        for (index, piece) in pieces.iter().enumerate() {
            let last = index + 1 == pieces.len();
            let flags = if last { tcp_flags } else { tcp_flags & 16 };
            let record = self.record(direction, flags, piece);
            self.take(&Record::Segment(record, piece), node);
            let seq = if direction == DIRECTION_EGRESS {
                &mut self.up_seq
            } else {
                &mut self.down_seq
            };
            *seq += record.payload_len + u32::from(flags & (SYN | FIN) != 0);
        }
    }

    pub(super) fn open(&mut self, node: &Node) -> &mut Self {
        self.packet(DIRECTION_EGRESS, SYN, b"", node);
        self.packet(DIRECTION_INGRESS, SYN | 16, b"", node);
        self
    }

    pub(super) fn ask(&mut self, text: &str, node: &Node) -> &mut Self {
        self.packet(DIRECTION_EGRESS, PUSH, text.as_bytes(), node);
        self
    }

    pub(super) fn answer(&mut self, text: &str, node: &Node) -> &mut Self {
        self.packet(DIRECTION_INGRESS, PUSH, text.as_bytes(), node);
        self
    }

    pub(super) fn wait(&mut self, ms: u64, node: &Node) -> &mut Self {
        self.now_ns += ms * MS;
        let events = &mut self.events;
        self.auditor
            .advance(self.now_ns, node, &mut |at, event| events.push((at, event)));
        self.check_law();
        self
    }

    pub(super) fn segments(&self) -> Fates {
        self.auditor.fates()[1].1
    }

    #[track_caller]
    pub(super) fn accesses(&mut self) -> Vec<ImdsAccess> {
        let events = std::mem::take(&mut self.events);
        let access = |(_, event)| match event {
            AuditEvent::Imds(access) => access,
            other => panic!("{other:?}"),
        };
        events.into_iter().map(access).collect()
    }

    /// The only event: `container|pid|fields…`.
    #[track_caller]
    pub(super) fn only(&mut self, fields: &[&str]) -> (ImdsAccess, String) {
        let mut accesses = self.accesses();
        assert_eq!(accesses.len(), 1, "{accesses:?}");
        let access = accesses.remove(0);
        let text = describe(&access, fields);
        (access, text)
    }
}

pub(super) fn describe(access: &ImdsAccess, fields: &[&str]) -> String {
    let mut words = vec![
        access.identity.container_id().unwrap_or("?").to_owned(),
        access
            .process
            .as_ref()
            .map_or("-".to_owned(), |process| process.pid.to_string()),
    ];
    words.extend(fields.iter().map(|field| match access.request.get(*field) {
        Some(serde_json::Value::String(text)) => text.clone(),
        other => other.map_or("-".to_owned(), ToString::to_string),
    }));
    words.join(" ")
}
