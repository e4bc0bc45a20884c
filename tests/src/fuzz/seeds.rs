//! Valid input of every target.

use fastrand::Rng;
use plimsoll_agent::probe::decode::Record;
use plimsoll_journal::frame;
use plimsoll_wire::identity::Subject;
use plimsoll_wire::{AuditEvent, Identity};
use prost::Message as _;

use crate::imds_cases::{case, deliver};

fn texts(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

/// Conversations in the notation of [`super::imds_decode`].
pub(super) fn imds() -> Vec<Vec<u8>> {
    let mut rng = Rng::with_seed(3);
    let answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    (0..16_u8)
        .map(|index| {
            let request = case(&mut rng).request;
            let mut bytes = vec![2 | index << 5, 0, 99, 0, 3 | index << 5, 0, 99, 0];
            for (at, piece) in deliver(&mut rng, &request) {
                let at = u16::try_from(at + 100).unwrap_or(0).to_le_bytes();
                for (turn, part) in piece.chunks(1020).enumerate() {
                    let at = u16::from_le_bytes(at) + u16::try_from(turn * 1020).unwrap_or(0);
                    push(&mut bytes, index << 5 & 0x60, at, part);
                }
            }
            push(&mut bytes, 1 | index << 5 & 0x60, 100, answer);
            bytes
        })
        .collect()
}

/// A piece whose length is a multiple of four: what is missing is filled with blanks.
fn push(bytes: &mut Vec<u8>, flags: u8, at: u16, part: &[u8]) {
    let words = part.len().div_ceil(4);
    bytes.extend([flags, u8::try_from(words).unwrap_or(u8::MAX)]);
    bytes.extend(at.to_le_bytes());
    bytes.extend_from_slice(part);
    bytes.resize(bytes.len() + words * 4 - part.len(), b' ');
}

/// One record of each kind, built from zeros.
pub(super) fn abi() -> Vec<Vec<u8>> {
    let sizes = [(1_u16, 144_usize), (2, 152), (3, 88), (4, 40), (5, 40)];
    sizes
        .into_iter()
        .map(|(kind, len)| {
            let mut bytes = vec![0; len];
            let head = [
                &plimsoll_abi::ABI_VERSION.to_ne_bytes()[..],
                &kind.to_ne_bytes(),
                &u32::try_from(len).unwrap_or(0).to_ne_bytes(),
            ]
            .concat();
            for (byte, value) in bytes.iter_mut().zip(head) {
                *byte = value;
            }
            bytes
        })
        .filter(|bytes| {
            plimsoll_agent::probe::decode::decode(bytes).is_ok_and(|_: Record<'_>| true)
        })
        .collect()
}

pub(super) fn cgroup_files() -> Vec<Vec<u8>> {
    texts(&[
        "usage_usec 12\nuser_usec 6\nsystem_usec 6\nnr_periods 3\nnr_throttled 1\nthrottled_usec 9\n",
        "anon 4096\nfile 8192\ninactive_file 4096\n",
        "low 0\nhigh 0\nmax 1\noom 1\noom_kill 1\n",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n",
        "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n",
        "max\n",
        "8:0 Read 12\n8:0 Write 1\nTotal 13\n",
        "Name:\ta\nRssAnon:\t  10 kB\nRssFile:\t 5 kB\nRssShmem:\t 0 kB\n",
        "1\n2\n0\n",
    ])
}

pub(super) fn cgroup_paths() -> Vec<Vec<u8>> {
    texts(&[
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0f3c1f7e_5d0a_4a0c_9f57_0d5e6c0b8a11.slice/cri-containerd-3b1f.scope",
        "/kubepods/besteffort/pod0f3c1f7e-5d0a-4a0c-9f57-0d5e6c0b8a11/3b1f/init.scope",
        "/system.slice/kubelet.service",
        "/",
    ])
}

/// An `int` and a `struct task` with one member.
pub(super) fn btf() -> Vec<Vec<u8>> {
    let strings = b"\0int\0task\0pid\0";
    let types: [u32; 10] = [1, 1 << 24, 4, 32, 5, 4 << 24 | 1, 4, 10, 1, 0];
    let types: Vec<u8> = types.into_iter().flat_map(u32::to_ne_bytes).collect();
    let types_len = u32::try_from(types.len()).unwrap_or(0);
    let strings_len = u32::try_from(strings.len()).unwrap_or(0);
    let mut bytes = 0xeb9f_u16.to_ne_bytes().to_vec();
    bytes.extend([1, 0]);
    for word in [24, 0, types_len, types_len, strings_len] {
        bytes.extend(word.to_ne_bytes());
    }
    bytes.extend(types);
    bytes.extend_from_slice(strings);
    vec![bytes]
}

pub(super) fn format() -> Vec<Vec<u8>> {
    texts(&[
        "name: mark_victim\nID: 609\nformat:\n\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;\n\n\tfield:int pid;\toffset:8;\tsize:4;\tsigned:1;\n\tfield:__data_loc char[] comm;\toffset:12;\tsize:4;\tsigned:0;\n\nprint fmt: \"pid=%d\", REC->pid\n",
    ])
}

pub(super) fn journal() -> Vec<Vec<u8>> {
    let mut bytes = Vec::new();
    frame::encode(&mut bytes, frame::Kind::Start, 1, 1, 5, b"abcd");
    for seq in 1..6 {
        frame::encode(&mut bytes, frame::Kind::Record, 1, seq, 5, b"some payload");
    }
    vec![bytes]
}

pub(super) fn otlp() -> Vec<Vec<u8>> {
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
    use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
    let event = AuditEvent::OomKill(plimsoll_wire::event::OomKill {
        identity: Identity {
            cgroup_id: 7,
            cgroup_path: Some("/a".to_owned()),
            subject: Subject::Host {
                unit: "a".to_owned(),
            },
        },
        identity_is_trigger: false,
        victim_pid: 1,
        victim_comm: None,
        anon_rss_bytes: Some(5),
        file_rss_bytes: None,
        shmem_rss_bytes: None,
        memory_peak_bytes: None,
        memory_limit_bytes: None,
    });
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(plimsoll_wire::otlp::id::node_resource("node-1")),
            scope_logs: vec![ScopeLogs {
                log_records: vec![plimsoll_wire::otlp::logs::encode(&event, 5)],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    vec![request.encode_to_vec(), Vec::new()]
}

pub(super) fn inventory() -> Vec<Vec<u8>> {
    texts(&[
        "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\n  namespace: x\n  uid: u-1\nspec:\n  containers:\n  - name: app\n    resources:\n      requests: {cpu: 100m, memory: 1Gi}\n---\napiVersion: v1\nkind: List\nitems: []\n",
        "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"x\"}}",
    ])
}

pub(super) fn quantities() -> Vec<Vec<u8>> {
    texts(&[
        "100m",
        "1.5",
        "1Gi",
        "12e6",
        "1E",
        "0.5Ti",
        "-1",
        "128974848",
    ])
}

pub(super) fn config() -> Vec<Vec<u8>> {
    texts(&[
        "",
        "usage:\n  window_s: 60\n  rescan_s: 30\n",
        "listen: 127.0.0.1:8080\n",
    ])
}

/// A request in raw IPv4, in both formats' first bytes.
pub(super) fn pcap() -> Vec<Vec<u8>> {
    let mut rng = Rng::with_seed(4);
    let mut file = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    file.extend([2, 0, 4, 0]);
    for word in [0_u32, 0, 65535, 101] {
        file.extend(word.to_le_bytes());
    }
    let request = case(&mut rng).request;
    let len = request.len() + 40;
    let [high, low] = u16::try_from(len).unwrap_or(0).to_be_bytes();
    let mut packet = vec![0x45, 0, high, low, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 5];
    packet.extend([169, 254, 169, 254, 0x9c, 0x40, 0, 80]);
    packet.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x18, 1, 0, 0, 0, 0, 0]);
    packet.extend(request);
    let len = u32::try_from(packet.len()).unwrap_or(0);
    for word in [1_700_000_000, 0, len, len] {
        file.extend(word.to_le_bytes());
    }
    file.extend(packet);
    let section: [u32; 7] = [0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28];
    let interface: [u32; 5] = [1, 20, 101, 0, 20];
    let simple: [u32; 5] = [3, 20, 4, 0x45, 20];
    let newer = section.into_iter().chain(interface).chain(simple);
    vec![file, newer.flat_map(u32::to_le_bytes).collect()]
}
