//! Kernel records in, events out.

mod play;

use plimsoll_abi::{
    Connect, DIRECTION_EGRESS, DIRECTION_INGRESS, OOM_UNKNOWN, Oom, SEGMENT_NO_TRANSPORT,
};
use plimsoll_imds::Key;
use plimsoll_wire::AuditEvent;
use plimsoll_wire::event::OomKill;

use super::{Auditor, Limits};
use crate::probe::decode::Record;
use play::{Node, Play, describe};

const MS: u64 = 1_000_000;
/// Unix time of the boot.
const BOOT_NS: u64 = 1_700_000_000_000_000_000;
const SYN: u8 = 2;
const FIN: u8 = 1;
const TOKEN: &str = "AQAEAGhVd0xrZ2JqS3B5bVZ0dGZ2Q1pXbk1LUW9hYnN3w5w==";
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

/// EKS Pod Identity runs on the node: a client of the node's network has the service's own address.
#[test]
fn the_services_own_socket_is_no_client() {
    let node = Node::with(&[1]);
    let fetch = get("/v1/credentials", "Authorization: eyJ.e30.x\r\n");
    for (service, caller) in [
        ("169.254.170.23:80", "169.254.170.23:4000"),
        ("[fd00:ec2::23]:80", "[fd00:ec2::23]:4000"),
    ] {
        for is_seen in [true, false] {
            let mut play = Play::to(service, caller);
            if is_seen {
                play.connect(1, 42, &node);
                play.open(&node);
            }
            play.ask(&fetch, &node).answer(OK, &node).wait(5_000, &node);
            let process = if is_seen { "42" } else { "-" };
            let expected = format!("c1 {process} pod_identity none CRED 200 ok");
            assert_eq!(play.only(&FIELDS).1, expected);
            assert_eq!(play.auditor.counts().segments_of_server, 0);
        }
        // The same connection as the service's socket has it.
        let mut play = Play::to(caller, service);
        play.packet(DIRECTION_INGRESS, SYN, b"", &node);
        play.answer(&fetch, &node).ask(OK, &node);
        play.packet(DIRECTION_EGRESS, FIN | 16, b"", &node);
        play.wait(5_000, &node);
        assert_eq!((play.events.len(), play.auditor.len()), (0, (0, 0, 0)));
        let fates = play.segments();
        assert_eq!((fates.emitted, fates.filtered, fates.in_flight), (4, 4, 0));
        assert_eq!(play.auditor.counts().segments_of_server, 4);
    }
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
        .map(|access| describe(access, &["imds_version", "outcome", "reason"]))
        .collect();
    assert_eq!(
        outcomes,
        [
            "c1 - v1 no_response observation_ended",
            "c1 - unknown no_response no_request_line"
        ]
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

/// Whatever the decoder has room for, its connections are known before others are.
#[test]
fn owners_go_with_the_connections_of_the_decoder() {
    for connections in [16, 4096, 50_000, 1_048_576] {
        let limits = Limits::with(plimsoll_imds::Limits {
            connections,
            ..plimsoll_imds::Limits::default()
        });
        assert_eq!(limits.decoder.connections, connections);
        assert!(limits.owners > connections, "{limits:?}");
    }
}

#[test]
fn what_a_socket_held_is_spent_when_it_is_connected_again() {
    let node = Node::with(&[1]);
    let mut play = Play::imds();
    play.open(&node).ask("GET /latest/meta-da", &node);
    assert_eq!(play.segments().in_flight, 1);
    play.connect(1, 50, &node);
    let fates = play.segments();
    assert_eq!((fates.delivered, fates.in_flight), (3, 0));
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
    assert_eq!(play.auditor.len(), (0, 0, 0));
    assert_eq!((play.segments().emitted, play.segments().filtered), (2, 2));
}

#[test]
fn oom_victims_are_named_by_themselves_or_by_the_trigger() {
    let mut node = Node::with(&[1, 2]);
    // Thread 52 is of process 50, and nobody knows of which cgroup 53, a thread of process 60, is.
    node.victims
        .extend([(50, (50, Some(2))), (52, (50, Some(2))), (53, (60, None))]);
    let check = |victim_tid, trigger_tgid, container: &str, is_trigger| {
        let mut play = Play::imds();
        let mut comm = [0; 16];
        comm[..3].copy_from_slice(b"hog");
        let oom = Oom {
            header: play.header(9),
            // Its own cgroup, 9, lies within container 1, and nobody knows it.
            ancestors: [8, 1, 9, 0, 0, 0],
            victim_tid,
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
            victim_pid: match victim_tid {
                52 => 50,
                53 => 60,
                gone => gone,
            },
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
    check(52, 60, "c2", false);
    check(53, 60, "c1", false);
    check(51, 60, "c1", true);
    check(60, 60, "c1", false);
}
