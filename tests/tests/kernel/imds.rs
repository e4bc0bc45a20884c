//! Metadata requests: the hooks pass on who connected and every byte.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpListener,
    time::Duration,
};

use plimsoll_abi::{Connect, DIRECTION_EGRESS, DIRECTION_INGRESS, Segment};
use plimsoll_agent::probe::{
    Options,
    decode::{Record, decode},
};
use plimsoll_tests::checks::Verdict;

use crate::{
    host::{self, Cgroup, Network},
    scenarios::{load, loaded},
    workload,
};

pub(crate) fn over_ipv4() -> Verdict {
    imds("169.254.169.254:80", "169.254.169.254:80", 4, 2)
}

pub(crate) fn over_ipv6() -> Verdict {
    imds("[fd00:ec2::254]:80", "[fd00:ec2::254]:80", 6, 10)
}

/// An IPv6 socket that speaks IPv4: only `connect6` sees it connect, and its packets are IPv4.
pub(crate) fn over_a_mapped_address() -> Verdict {
    imds("[::ffff:169.254.169.254]:80", "169.254.169.254:80", 4, 10)
}

/// Bytes of the answer's body.
const BODY: usize = 3000;

fn answer() -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {BODY}\r\n\r\n").into_bytes();
    answer.extend((b'A'..=b'Y').cycle().take(BODY));
    answer
}

/// One connection from a pod: who connected, and every byte of both directions by sequence number.
fn imds(address: &str, server: &'static str, ip_version: u8, family: u16) -> Verdict {
    let (mut probe, facts) = loaded!(Options::default());
    let cgroup = Cgroup::make(&facts.cgroup.v2.unwrap());
    let network = Network::make();
    // Goes out in packets of ten segments and more, before segmentation: longer than any request.
    let request_bytes = 60_000;
    let tgid = get(&network, &cgroup, address, server, request_bytes);

    let mut connects: Vec<Connect> = Vec::new();
    let mut segments: Vec<(Segment, Vec<u8>)> = Vec::new();
    probe.drain_security(usize::MAX, |bytes| match decode(bytes).unwrap() {
        Record::Connect(connect) if connect.header.cgroup_id == cgroup.id => connects.push(connect),
        Record::Segment(segment, payload) if segment.header.cgroup_id == cgroup.id => {
            segments.push((segment, payload.to_vec()));
        }
        _ => {}
    });
    let [connect] = connects[..] else {
        panic!("{connects:#?}")
    };
    assert_eq!(
        (connect.tgid, connect.tid, connect.uid, connect.gid),
        (tgid, tgid, 0, 0)
    );
    assert_eq!(
        (connect.dport, connect.family, connect.protocol),
        (80, family, 6)
    );
    assert_eq!(connect.ancestors, [cgroup.id, 0, 0, 0, 0, 0]);
    assert!(connect.comm.starts_with(b"kernel-"), "{:?}", connect.comm);

    let mut peer = connect.daddr;
    if family == 10 && ip_version == 4 {
        peer = [0; 16];
        peer[..4].copy_from_slice(&connect.daddr[12..]);
    }
    for (segment, _) in &segments {
        assert_eq!(
            (segment.ip_version, segment.protocol, segment.flags),
            (ip_version, 6, 0)
        );
        assert_eq!(
            (segment.cookie, segment.ancestors),
            (connect.cookie, connect.ancestors)
        );
        assert!(segment.hop_limit >= 63);
        let egress = segment.direction == DIRECTION_EGRESS;
        assert_eq!(if egress { segment.dport } else { segment.sport }, 80);
        assert_eq!(if egress { segment.daddr } else { segment.saddr }, peer);
        // Nothing but what carries something.
        assert!(
            segment.payload_len > 0 || segment.tcp_flags & 0b111 != 0,
            "{segment:?}"
        );
    }
    assert_eq!(
        stream(&segments, DIRECTION_EGRESS),
        workload::request(request_bytes)
    );
    assert_eq!(stream(&segments, DIRECTION_INGRESS), answer());
    let syns = segments
        .iter()
        .filter(|(segment, _)| segment.tcp_flags & 2 != 0)
        .count();
    assert_eq!(syns, 2, "one SYN each way");
    Verdict::Passed
}

/// The bytes of one direction, put together by sequence number.
fn stream(segments: &[(Segment, Vec<u8>)], direction: u8) -> Vec<u8> {
    let mine = || {
        segments
            .iter()
            .filter(|(segment, _)| segment.direction == direction)
    };
    let syn = mine()
        .find(|(segment, _)| segment.tcp_flags & 2 != 0)
        .unwrap();
    let mut bytes = BTreeMap::new();
    for (segment, payload) in mine() {
        assert_eq!(segment.payload_len, segment.captured_len);
        for (index, byte) in (0_u32..).zip(payload) {
            bytes.insert(
                segment
                    .seq
                    .wrapping_add(index)
                    .wrapping_sub(syn.0.seq.wrapping_add(1)),
                *byte,
            );
        }
    }
    assert_eq!(
        bytes.keys().copied().collect::<Vec<_>>(),
        (0..u32::try_from(bytes.len()).unwrap()).collect::<Vec<_>>()
    );
    bytes.into_values().collect()
}

/// Serves one request in the metadata namespace to a workload in the pod's; its process id.
pub(crate) fn get(
    network: &Network,
    cgroup: &Cgroup,
    address: &str,
    server: &'static str,
    bytes: usize,
) -> u32 {
    let namespace = network.imds.clone();
    let (ready, listening) = std::sync::mpsc::channel();
    let server = std::thread::spawn(move || {
        host::enter(&namespace);
        let listener = TcpListener::bind(server).unwrap();
        ready.send(()).unwrap();
        let (mut stream, _) = listener.accept().unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        while !request.ends_with(b"\r\n\r\n") {
            let read = stream.read(&mut buffer).unwrap();
            assert!(read > 0, "the request ended early");
            request.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(&answer()).unwrap();
    });
    listening.recv().unwrap();
    let path = cgroup.path.display().to_string();
    let child = host::workload(&[
        "workload-get",
        &path,
        &network.pod,
        address,
        &bytes.to_string(),
    ]);
    let tgid = child.id();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        answer().len().to_string()
    );
    server.join().unwrap();
    tgid
}
