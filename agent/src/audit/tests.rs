//! Kernel records in, events out.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use plimsoll_abi::{
    Connect, DIRECTION_EGRESS, DIRECTION_INGRESS, Header, OOM_UNKNOWN, Oom, SEGMENT_CAPTURE_BYTES,
    SEGMENT_NO_TRANSPORT, Segment,
};
use plimsoll_imds::Key;
use plimsoll_wire::event::{ImdsAccess, OomKill, Process};
use plimsoll_wire::fate::Fates;
use plimsoll_wire::{AuditEvent, Identity};

use super::{Auditor, Limits, Lookup, Task};
use crate::cgroup::path;
use crate::probe::decode::Record;

const MS: u64 = 1_000_000;
/// Unix time of the boot.
const BOOT_NS: u64 = 1_700_000_000_000_000_000;
const SYN: u8 = 2;
const FIN: u8 = 1;
const PUSH: u8 = 8 | 16;
const TOKEN: &str = "AQAEAGhVd0xrZ2JqS3B5bVZ0dGZ2Q1pXbk1LUW9hYnN3w5w==";

/// A node on which tests decide who is there.
#[derive(Default)]
struct Node {
    cgroups: RefCell<HashMap<u64, String>>,
    gone: Cell<bool>,
    victims: HashMap<u32, u64>,
}

impl Node {
    fn with(ids: &[u64]) -> Self {
        let node = Self::default();
        for id in ids {
            node.make(*id);
        }
        node
    }

    fn make(&self, id: u64) {
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
            comm: super::text::comm(task.comm),
            exe: (!gone).then(|| "/usr/bin/curl".to_owned()),
            cmdline: None,
            missing: gone.then(|| "exited".to_owned()),
        }
    }

    fn victim(&self, tgid: u32, _: &[u8]) -> Option<Identity> {
        Some(self.identity(*self.victims.get(&tgid)?, &[], 0))
    }

    fn wall(&self, at_ns: u64) -> u64 {
        BOOT_NS + at_ns
    }
}

/// An auditor and the connection that the next records belong to.
struct Play {
    auditor: Auditor,
    events: Vec<(u64, AuditEvent)>,
    server: SocketAddr,
    client: SocketAddr,
    cookie: u64,
    cgroup: u64,
    up_seq: u32,
    down_seq: u32,
    now_ns: u64,
}

impl Play {
    fn to(server: &str, client: &str) -> Self {
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

    fn imds() -> Self {
        Self::to("169.254.169.254:80", "10.0.0.5:40000")
    }

    fn header(&self, cgroup_id: u64) -> Header {
        Header {
            ktime_ns: self.now_ns,
            cgroup_id,
            ..Header::default()
        }
    }

    fn take(&mut self, record: &Record<'_>, node: &Node) {
        let events = &mut self.events;
        self.auditor
            .take(record, node, &mut |at, event| events.push((at, event)));
        self.check_law();
    }

    fn check_law(&self) {
        for (kind, fates) in self.auditor.fates() {
            assert_eq!(fates.unaccounted(), 0, "{kind}");
        }
    }

    fn connect(&mut self, task_cgroup: u64, tgid: u32, node: &Node) {
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

    fn record(&self, direction: u8, tcp_flags: u8, payload: &[u8]) -> Segment {
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
    fn packet(&mut self, direction: u8, tcp_flags: u8, payload: &[u8], node: &Node) {
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

    fn open(&mut self, node: &Node) -> &mut Self {
        self.packet(DIRECTION_EGRESS, SYN, b"", node);
        self.packet(DIRECTION_INGRESS, SYN | 16, b"", node);
        self
    }

    fn ask(&mut self, text: &str, node: &Node) -> &mut Self {
        self.packet(DIRECTION_EGRESS, PUSH, text.as_bytes(), node);
        self
    }

    fn answer(&mut self, text: &str, node: &Node) -> &mut Self {
        self.packet(DIRECTION_INGRESS, PUSH, text.as_bytes(), node);
        self
    }

    fn wait(&mut self, ms: u64, node: &Node) -> &mut Self {
        self.now_ns += ms * MS;
        let events = &mut self.events;
        self.auditor
            .advance(self.now_ns, node, &mut |at, event| events.push((at, event)));
        self.check_law();
        self
    }

    fn segments(&self) -> Fates {
        self.auditor.fates()[1].1
    }

    #[track_caller]
    fn accesses(&mut self) -> Vec<ImdsAccess> {
        let events = std::mem::take(&mut self.events);
        let access = |(_, event)| match event {
            AuditEvent::Imds(access) => access,
            other => panic!("{other:?}"),
        };
        events.into_iter().map(access).collect()
    }

    /// The only event: `container|pid|fields…`.
    #[track_caller]
    fn only(&mut self, fields: &[&str]) -> (ImdsAccess, String) {
        let mut accesses = self.accesses();
        assert_eq!(accesses.len(), 1, "{accesses:?}");
        let access = accesses.remove(0);
        let text = describe(&access, fields);
        (access, text)
    }
}

fn describe(access: &ImdsAccess, fields: &[&str]) -> String {
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

const FIELDS: [&str; 5] = ["endpoint", "imds_version", "class", "status", "outcome"];
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(path: &str, header: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n{header}\r\n")
}

#[test]
fn versions_and_endpoints() {
    let node = Node::with(&[1]);
    let token = format!("X-aws-ec2-metadata-token: {TOKEN}\r\n");
    let role = "/latest/meta-data/iam/security-credentials/node-role";
    for (server, client, request, expected) in [
        (
            "169.254.169.254:80",
            "10.0.0.5:4000",
            get(role, ""),
            "c1 42 imds v1 CRED 200 ok",
        ),
        (
            "169.254.169.254:80",
            "10.0.0.5:4000",
            get(role, &token),
            "c1 42 imds v2 CRED 200 ok",
        ),
        (
            "[fd00:ec2::254]:80",
            "[2001:db8::5]:4000",
            get("/latest/user-data", &token),
            "c1 42 imds v2 SECRET_CFG 200 ok",
        ),
        (
            "169.254.170.23:80",
            "10.0.0.5:4000",
            get("/v1/credentials", "Authorization: eyJ.e30.x\r\n"),
            "c1 42 pod_identity none CRED 200 ok",
        ),
    ] {
        let mut play = Play::to(server, client);
        play.connect(1, 42, &node);
        play.open(&node).ask(&request, &node);
        assert_eq!(play.segments().in_flight, 1);
        play.answer(OK, &node).wait(10, &node);
        play.packet(DIRECTION_EGRESS, FIN | 16, b"", &node);
        play.packet(DIRECTION_INGRESS, FIN | 16, b"", &node);
        play.wait(10_000, &node);
        assert_eq!(play.events[0].0, BOOT_NS + 1_000 * MS);
        let (access, text) = play.only(&FIELDS);
        assert_eq!(text, expected);
        assert_eq!(access.task_identity, None);
        assert!(!format!("{access:?}").contains("AQAEAGhV"), "{access:?}");
        assert_eq!(play.segments().in_flight, 0);
    }
}

/// The answer to a PUT reaches the socket with hop limit 1, and no bare acknowledgement follows.
#[test]
fn a_token_answer_that_arrived_is_not_blocked() {
    let node = Node::with(&[1]);
    let mut play = Play::imds();
    play.connect(1, 42, &node);
    let put = "PUT /latest/api/token HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n\r\n";
    play.open(&node).ask(put, &node);
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{TOKEN}",
        TOKEN.len()
    );
    play.answer(&answer, &node).wait(5_000, &node);
    assert_eq!(play.only(&FIELDS).1, "c1 42 imds v2 TOKEN 200 ok");
}

#[test]
fn a_connection_older_than_the_agent_has_no_process() {
    let node = Node::with(&[1]);
    let mut play = Play::imds();
    play.ask(&get("/latest/meta-data/", ""), &node)
        .answer(OK, &node);
    let (access, text) = play.only(&FIELDS);
    assert_eq!(text, "c1 - imds v1 ROOT_ENUM 200 ok");
    assert_eq!((access.process, access.task_identity), (None, None));
    assert_eq!(play.auditor.counts().without_process, 1);
}

/// The process and its cgroup are gone before its answer is given up.
#[test]
fn two_hundred_milliseconds_are_enough() {
    let node = Node::with(&[1]);
    node.gone.set(true);
    let mut play = Play::imds();
    play.connect(1, 42, &node);
    play.open(&node).ask(&get("/latest/user-data", ""), &node);
    node.cgroups.borrow_mut().clear();
    play.wait(200, &node);
    assert_eq!((play.events.len(), play.segments().in_flight), (0, 1));
    play.wait(2_000, &node);
    let (access, text) = play.only(&FIELDS);
    assert_eq!(text, "c1 42 imds v1 SECRET_CFG null no_response");
    let process = access.process.unwrap();
    assert_eq!(process.missing.as_deref(), Some("exited"));
    assert_eq!(process.comm.as_deref(), Some("curl"));
    assert_eq!(play.segments().in_flight, 0);
}

/// Credentials that arrive after the timeout are told, with the owner of the request, though the
/// process and its cgroup are gone by then.
#[test]
fn credentials_that_come_late_are_told() {
    let node = Node::with(&[1]);
    let mut play = Play::imds();
    play.connect(1, 42, &node);
    let role = "/latest/meta-data/iam/security-credentials/node-role";
    play.open(&node).ask(&get(role, ""), &node);
    play.wait(2_000, &node);
    node.gone.set(true);
    node.cgroups.borrow_mut().clear();
    play.wait(4_000, &node);
    let body = r#"{"AccessKeyId":"ASIAIOSFODNN7EXAMPLE","SecretAccessKey":"s"}"#;
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    play.answer(&answer, &node);
    assert_eq!(play.events[1].0, BOOT_NS + 7_000 * MS);
    let accesses = play.accesses();
    let fields = ["class", "outcome", "flags", "access_key_id"];
    let texts: Vec<_> = accesses.iter().map(|a| describe(a, &fields)).collect();
    assert_eq!(
        texts,
        [
            "c1 42 CRED no_response [] -",
            r#"c1 42 CRED ok ["late_answer"] ASIAIOSFODNN7EXAMPLE"#,
        ]
    );
    let names: Vec<_> = accesses.iter().map(|a| &a.request["request_id"]).collect();
    assert_eq!(names[0], names[1]);
    assert_eq!(play.segments().in_flight, 0);
}

#[test]
fn a_cgroup_that_is_told_of_late_is_still_named() {
    let node = Node::default();
    let mut play = Play::imds();
    play.open(&node).ask(&get("/latest/user-data", ""), &node);
    node.make(1);
    play.answer(OK, &node);
    assert_eq!(play.only(&[]).1, "c1 -");
}

#[test]
fn the_task_is_named_where_its_cgroup_is_another() {
    let node = Node::with(&[1, 2]);
    let mut play = Play::imds();
    play.connect(2, 42, &node);
    play.open(&node)
        .ask(&get("/latest/user-data", ""), &node)
        .answer(OK, &node);
    let (access, _) = play.only(&[]);
    assert_eq!(access.identity.container_id(), Some("c1"));
    assert_eq!(access.task_identity.unwrap().container_id(), Some("c2"));
}

#[test]
fn a_packet_in_pieces_is_one_request() {
    let node = Node::with(&[1]);
    let mut play = Play::imds();
    play.connect(1, 42, &node);
    let filler = format!("X-Filler: {}\r\n", "a".repeat(3000));
    let request = get(
        "/latest/user-data",
        &format!("{filler}X-aws-ec2-metadata-token: {TOKEN}\r\n"),
    );
    play.open(&node).ask(&request, &node);
    assert_eq!(play.segments().in_flight, 4);
    let body = "b".repeat(5000);
    play.answer(
        &format!("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{body}"),
        &node,
    );
    // On the same connection, behind the pieces of the answer.
    play.ask(&get("/latest/meta-data/", ""), &node)
        .answer(OK, &node);
    let texts: Vec<String> = play
        .accesses()
        .iter()
        .map(|access| describe(access, &FIELDS))
        .collect();
    assert_eq!(
        texts,
        [
            "c1 42 imds v2 SECRET_CFG 200 ok",
            "c1 42 imds v1 ROOT_ENUM 200 ok"
        ]
    );
    assert_eq!(play.segments().in_flight, 0);
}

#[test]
fn interleaved_connections_stay_apart() {
    let node = Node::with(&[1, 2, 3]);
    let mut play = Play::imds();
    let turn = |play: &mut Play, id: u64| {
        play.cookie = 100 + id;
        play.cgroup = id;
        play.client.set_port(40_000 + u16::try_from(id).unwrap());
    };
    let request = get("/latest/user-data", "");
    let (first, second) = request.split_at(20);
    for id in 1..=3 {
        turn(&mut play, id);
        play.connect(id, 40 + u32::try_from(id).unwrap(), &node);
    }
    let start = (play.up_seq, play.down_seq);
    let mut at = [start; 4];
    for text in ["open", first, second, OK] {
        for id in 1..=3_u64 {
            turn(&mut play, id);
            let slot = usize::try_from(id).unwrap();
            (play.up_seq, play.down_seq) = at[slot];
            match text {
                "open" => play.open(&node),
                OK => play.answer(OK, &node),
                text => play.ask(text, &node),
            };
            at[slot] = (play.up_seq, play.down_seq);
        }
    }
    let texts: Vec<String> = play
        .accesses()
        .iter()
        .map(|access| describe(access, &["class"]))
        .collect();
    assert_eq!(
        texts,
        ["c1 41 SECRET_CFG", "c2 42 SECRET_CFG", "c3 43 SECRET_CFG"]
    );
}

#[test]
fn finish_hands_out_what_waits() {
    let node = Node::with(&[1]);
    let mut play = Play::imds();
    play.open(&node)
        .ask(&get("/latest/user-data", ""), &node)
        .ask("GET /half", &node);
    assert_eq!(play.segments().in_flight, 2);
    let events = &mut play.events;
    play.auditor
        .finish(&node, &mut |at, event| events.push((at, event)));
    let outcomes: Vec<String> = play
        .accesses()
        .iter()
        .map(|access| describe(access, &["imds_version", "outcome"]))
        .collect();
    assert_eq!(
        outcomes,
        ["c1 - v1 no_response", "c1 - unknown no_response"]
    );
    assert_eq!(play.segments().in_flight, 0);
}

#[test]
fn tables_are_bounded_and_count_what_falls_out() {
    let node = Node::with(&[1]);
    let mut play = Play::imds();
    let limits = Limits {
        tasks: 2,
        owners: 2,
        ..Limits::default()
    };
    play.auditor = Auditor::new(limits, &Key([1; 32]));
    for cookie in 1..=5 {
        play.cookie = cookie;
        play.connect(1, 42, &node);
    }
    for cookie in 1..=5 {
        play.cookie = cookie;
        play.ask("GET / HTTP/1.1\r\n", &node);
    }
    let counts = play.auditor.counts();
    assert_eq!((counts.tasks_shed, counts.owners_shed), (3, 3));
    assert_eq!(play.auditor.len(), (0, 2, 5));
    assert_eq!(play.segments().in_flight, 2);
    play.wait(30_000, &node);
    assert_eq!(play.accesses().len(), 5);
    assert_eq!(play.auditor.counts().without_owner, 3);
    assert_eq!(play.auditor.counts().without_process, 3);
    assert_eq!(play.segments().in_flight, 0);
}

#[test]
fn what_is_not_tcp_is_passed_over_and_counted() {
    let node = Node::with(&[1]);
    let mut play = Play::imds();
    let udp = Connect {
        protocol: 17,
        ..Connect::default()
    };
    play.take(&Record::Connect(udp), &node);
    let mut record = play.record(DIRECTION_EGRESS, 0, b"x");
    record.protocol = 17;
    play.take(&Record::Segment(record, b"x"), &node);
    record.protocol = 6;
    record.flags = SEGMENT_NO_TRANSPORT;
    play.take(&Record::Segment(record, b"x"), &node);
    let counts = play.auditor.counts();
    assert_eq!(
        (
            counts.connects_not_tcp,
            counts.segments_not_tcp,
            counts.segments_no_transport
        ),
        (1, 1, 1)
    );
    assert!(play.auditor.is_empty());
    assert_eq!((play.segments().emitted, play.segments().filtered), (2, 2));
}

#[test]
fn oom_victims_are_named_by_themselves_or_by_the_trigger() {
    let mut node = Node::with(&[1, 2]);
    node.victims.insert(50, 2);
    let check = |victim_tgid, trigger_tgid, container: &str, is_trigger| {
        let mut play = Play::imds();
        let mut comm = [0; 16];
        comm[..3].copy_from_slice(b"hog");
        let oom = Oom {
            header: play.header(1),
            victim_tgid,
            trigger_tgid,
            anon_rss_kib: 10,
            file_rss_kib: OOM_UNKNOWN,
            shmem_rss_kib: u64::MAX - 1,
            total_vm_kib: 0,
            comm,
        };
        play.take(&Record::Oom(oom), &node);
        let (at, event) = play.events.remove(0);
        assert_eq!(at, BOOT_NS + 1_000 * MS);
        let AuditEvent::OomKill(kill) = event else {
            panic!("{event:?}")
        };
        assert_eq!(kill.identity.container_id(), Some(container));
        let expected = OomKill {
            identity: kill.identity.clone(),
            identity_is_trigger: is_trigger,
            victim_pid: victim_tgid,
            victim_comm: Some("hog".to_owned()),
            anon_rss_bytes: Some(10_240),
            file_rss_bytes: None,
            shmem_rss_bytes: None,
            memory_peak_bytes: None,
            memory_limit_bytes: None,
        };
        assert_eq!(kill, expected);
    };
    check(50, 60, "c2", false);
    check(51, 60, "c1", true);
    check(60, 60, "c1", false);
}
