//! Events of ours: each kind, of every kind of subject, and each request that the decoder's cases hold.

use fastrand::Rng;
use plimsoll_collector::api::AuditRecord;
use plimsoll_collector::ocsf::event;
use plimsoll_imds::{Decoder, Direction, Key, Limits};
use plimsoll_tests::imds_cases::{case, segment};
use plimsoll_wire::event::{
    AgentNotice, AgentState, ContainerEnd, Heartbeat, ImdsAccess, Loss, Misplaced, OomKill, Process,
};
use plimsoll_wire::identity::{Qos, Subject};
use plimsoll_wire::{AuditEvent, Class, Identity, RecordId};
use serde_json::{Map, Value, json};

/// Each kind of event, of every kind of subject; and each request that the decoder's cases hold.
pub(crate) fn records() -> Vec<AuditRecord> {
    let container = |pod_uid: &str| Subject::Container {
        pod_uid: pod_uid.to_owned(),
        container_id: "3f1c9a".repeat(10),
        runtime: Some("containerd".to_owned()),
        qos: Qos::Burstable,
    };
    let subjects = [
        container("5a3f7f0e-2a55-4d62-9f77-1d8f0e0c1a11"),
        container(&"0f".repeat(16)),
        Subject::Pod {
            pod_uid: "5a3f7f0e-2a55-4d62-9f77-1d8f0e0c1a11".to_owned(),
            qos: Qos::Guaranteed,
        },
        Subject::Host {
            unit: "kubelet.service".to_owned(),
        },
        Subject::Unknown,
    ];
    let named = json!({"subject": "shop/api-7c9d/api", "namespace": "shop", "pod": "api-7c9d", "container": "api",
        "workload_kind": "Deployment", "workload_name": "api", "service_account": "api", "host_network": true});
    let pending = json!({"subject": "pod/5a3f7f0e/3f1c9a", "name_pending": true});
    let mut events = vec![
        AuditEvent::Loss(loss(Class::Security, u64::MAX)),
        AuditEvent::Loss(loss(Class::Usage, 3)),
        AuditEvent::Misplaced(Misplaced {
            sender: "n".to_owned(),
            pod_uid: "u".to_owned(),
            pod_node: "m".to_owned(),
            count: 2,
        }),
        AuditEvent::Heartbeat(heartbeat()),
    ];
    for subject in subjects {
        let identity = Identity {
            cgroup_id: 7,
            cgroup_path: Some("/kubepods/x".to_owned()),
            subject,
        };
        for identity_is_trigger in [false, true] {
            events.push(AuditEvent::OomKill(OomKill {
                identity_is_trigger,
                ..kill(identity.clone())
            }));
        }
        for started_unix_ns in [None, Some(1_764_000_000_000_000_000), Some(u64::MAX)] {
            events.push(AuditEvent::ContainerEnd(ContainerEnd {
                identity: identity.clone(),
                started_unix_ns,
                cpu_used_ns: Some(5),
                memory_peak_bytes: None,
            }));
        }
        for (request, process) in requests().into_iter().zip(processes().into_iter().cycle()) {
            events.push(AuditEvent::Imds(ImdsAccess {
                identity: identity.clone(),
                process,
                task_identity: Some(Identity::unknown(3)),
                request,
            }));
        }
    }
    events.extend(
        [
            AgentState::Silent,
            AgentState::Back,
            AgentState::Left,
            AgentState::Rewound,
        ]
        .map(|state| {
            AuditEvent::Agent(AgentNotice {
                agent_node: "n".to_owned(),
                state,
                epoch: "e".to_owned(),
                last_seq: 7,
                heard_unix_ns: 1_764_000_000_000_000_000,
                silent_s: (state == AgentState::Silent).then_some(23),
                seq: (state == AgentState::Rewound).then_some(5),
            })
        }),
    );
    let records = events.into_iter().zip([named, pending].into_iter().cycle());
    let records = records
        .enumerate()
        .map(|(seq, (event, names))| AuditRecord {
            time_unix_ns: 1_764_561_234_123_456_789,
            id: RecordId {
                node: "ip-10-0-1-23.eu-west-1.compute.internal".to_owned(),
                epoch: "e".repeat(32),
                class: Class::Security,
                seq: (seq as u64) << 26,
            },
            event,
            names: names.as_object().unwrap().clone(),
        });
    records.collect()
}

/// What the decoder makes of requests and answers of every kind, and of what is neither.
fn requests() -> Vec<Map<String, Value>> {
    let mut rng = Rng::with_seed(0x6f63_7366);
    let mut sent: Vec<Vec<u8>> = (0..400).map(|_| case(&mut rng).request).collect();
    let role = b"GET /latest/meta-data/iam/security-credentials/node HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n";
    sent.extend([
        role.to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00".to_vec(),
        b"\0\x01\x02\r\n\r\n".to_vec(),
    ]);
    sent.push(b"BREW /pot HTTP/1.1\r\n\r\n".to_vec());
    for method in ["PATCH", "HEAD", "DELETE", "OPTIONS"] {
        let path = "/latest/meta-data/iam/security-credentials/node";
        let head = format!("{method} {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n");
        sent.push(head.into_bytes());
    }
    let credentials = "{\"Code\":\"Success\",\"AccessKeyId\":\"ASIAEXAMPLE\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"2026-12-01T00:00:00Z\"}";
    let answers = ["200 OK", "401 Unauthorized", "404 Not Found", "500 Oops"].map(|status| {
        let length = credentials.len();
        format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{credentials}")
    });
    let mut decoder = Decoder::new(Limits::default(), &Key([5; 32]));
    let mut events = Vec::new();
    let mut key = 0;
    for sent in &sent {
        for answer in answers.iter().map(String::as_bytes).chain([&b""[..]]) {
            key += 1;
            let mut push = |direction, payload: &[u8], syn| {
                let mut segment =
                    segment(key, direction, 1000 - u32::from(syn), payload, key * 1000);
                segment.syn = syn;
                decoder.push(&segment, &mut |event| events.push(event));
            };
            push(Direction::Request, b"", true);
            push(Direction::Response, b"", true);
            push(Direction::Request, sent, false);
            if !answer.is_empty() {
                push(Direction::Response, answer, false);
            }
        }
    }
    decoder.finish(&mut |event| events.push(event));
    let requests = events
        .iter()
        .map(|event| serde_json::to_value(event).unwrap());
    let mut requests: Vec<_> = requests
        .map(|request| request.as_object().unwrap().clone())
        .collect();
    // What a node sends that is not itself any more: of other types, beyond every bound, with members of its own.
    let strange = [
        json!({}),
        json!({"src": {"ip": "x", "port": 70_000, "more": 1}, "dst": 3, "status": 4_294_967_296_u64, "path": 7,
            "outcome": "ok", "class": "CRED", "endpoint": "imds"}),
        json!({"src": {"ip": "::1"}, "status": "200", "user_agent": [], "latency_ns": u64::MAX, "ratio": 1.5,
            "huge": -0.0, "imds_version": "none", "flags": "none", "outcome": "", "method": ""}),
        json!({"outcome": "hop_limit_blocked", "evidence": "silence", "method": "PUT", "path": "/latest/api/token"}),
    ];
    requests.extend(strange.map(|request| request.as_object().unwrap().clone()));
    requests
}

fn processes() -> Vec<Option<Process>> {
    let known = Process {
        pid: 41822,
        uid: Some(1000),
        comm: Some("curl".to_owned()),
        exe: Some("/usr/bin/curl".to_owned()),
        cmdline: Some("curl http://169.254.169.254/".to_owned()),
        missing: None,
    };
    let gone = Process {
        pid: 41823,
        missing: Some("exited".to_owned()),
        ..Process::default()
    };
    vec![Some(known), Some(gone), None]
}

fn loss(lost_class: Class, count: u64) -> Loss {
    Loss {
        stage: "journal".to_owned(),
        lost_class,
        fate: "shed".to_owned(),
        count,
        first_seq: Some(1),
        last_seq: None,
    }
}

fn kill(identity: Identity) -> OomKill {
    OomKill {
        identity,
        identity_is_trigger: false,
        victim_pid: 4_194_304,
        victim_comm: None,
        anon_rss_bytes: Some(1 << 40),
        file_rss_bytes: None,
        shmem_rss_bytes: None,
        memory_peak_bytes: Some(1 << 40),
        memory_limit_bytes: None,
    }
}

fn heartbeat() -> Heartbeat {
    Heartbeat {
        agent_started_unix_ns: 1,
        boot_id: "b".to_owned(),
        version: "0.1.0".to_owned(),
        kernel: "6.12.40".to_owned(),
        stages: Vec::new(),
        degraded: vec!["exec: not asked for".to_owned()],
        containers: 3,
        agent_cpu_ns: None,
        agent_rss_bytes: Some(5 << 20),
        ends: false,
    }
}

pub(crate) fn events() -> impl Iterator<Item = (AuditRecord, Value)> {
    records().into_iter().map(|record| {
        let event = serde_json::to_value(event::of(&record, "0.1.0")).unwrap();
        (record, event)
    })
}
