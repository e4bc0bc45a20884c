//! Any event and any window that there can be.

use crate::event::{AgentNotice, AgentState, Misplaced};
use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;

use super::*;

fn qos() -> impl Strategy<Value = Qos> {
    prop_oneof![
        Just(Qos::Guaranteed),
        Just(Qos::Burstable),
        Just(Qos::BestEffort)
    ]
}

fn identity() -> impl Strategy<Value = Identity> {
    let subject = prop_oneof![
        (".*", ".*", option::of(".*"), qos()).prop_map(|(pod_uid, container_id, runtime, qos)| {
            Subject::Container {
                pod_uid,
                container_id,
                runtime,
                qos,
            }
        }),
        (".*", qos()).prop_map(|(pod_uid, qos)| Subject::Pod { pod_uid, qos }),
        ".*".prop_map(|unit| Subject::Host { unit }),
        Just(Subject::Unknown),
    ];
    (any::<u64>(), option::of(".*"), subject).prop_map(|(cgroup_id, cgroup_path, subject)| {
        Identity {
            cgroup_id,
            cgroup_path,
            subject,
        }
    })
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        any::<u64>().prop_map(Into::into),
        any::<f64>().prop_map(Into::into),
        ".*".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Into::into),
            btree_map(".*", inner, 0..4)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn process() -> impl Strategy<Value = Process> {
    let text = || option::of(".*");
    (
        any::<u32>(),
        any::<Option<u32>>(),
        text(),
        text(),
        text(),
        text(),
    )
        .prop_map(|(pid, uid, comm, exe, cmdline, missing)| Process {
            pid,
            uid,
            comm,
            exe,
            cmdline,
            missing,
        })
}

pub(super) fn class() -> impl Strategy<Value = Class> {
    prop_oneof![Just(Class::Usage), Just(Class::Security)]
}

fn fates() -> impl Strategy<Value = Fates> {
    any::<[u64; 3]>().prop_map(|[emitted, lost, delivered]| Fates {
        emitted,
        lost,
        delivered,
        ..Fates::default()
    })
}

pub(super) fn event() -> impl Strategy<Value = AuditEvent> {
    let imds = (
        identity(),
        option::of(process()),
        option::of(identity()),
        btree_map(".*", json(), 0..4),
    )
        .prop_map(|(identity, process, task_identity, request)| {
            AuditEvent::Imds(ImdsAccess {
                identity,
                process,
                task_identity,
                request: request.into_iter().collect(),
            })
        });
    let oom = (
        identity(),
        any::<(bool, u32, [Option<u64>; 5])>(),
        option::of(".*"),
    )
        .prop_map(
            |(identity, (identity_is_trigger, victim_pid, bytes), victim_comm)| {
                let [anon, file, shmem, memory_peak_bytes, memory_limit_bytes] = bytes;
                AuditEvent::OomKill(OomKill {
                    identity,
                    identity_is_trigger,
                    victim_pid,
                    victim_comm,
                    anon_rss_bytes: anon,
                    file_rss_bytes: file,
                    shmem_rss_bytes: shmem,
                    memory_peak_bytes,
                    memory_limit_bytes,
                })
            },
        );
    let end = (identity(), any::<[Option<u64>; 3]>()).prop_map(
        |(identity, [started_unix_ns, cpu_used_ns, memory_peak_bytes])| {
            AuditEvent::ContainerEnd(ContainerEnd {
                identity,
                started_unix_ns,
                cpu_used_ns,
                memory_peak_bytes,
            })
        },
    );
    let loss = (
        ".*",
        class(),
        ".*",
        any::<(u64, Option<u64>, Option<u64>)>(),
    )
        .prop_map(|(stage, lost_class, fate, (count, first_seq, last_seq))| {
            AuditEvent::Loss(Loss {
                stage,
                lost_class,
                fate,
                count,
                first_seq,
                last_seq,
            })
        });
    let misplaced =
        (".*", ".*", ".*", any::<u64>()).prop_map(|(sender, pod_uid, pod_node, count)| {
            AuditEvent::Misplaced(Misplaced {
                sender,
                pod_uid,
                pod_node,
                count,
            })
        });
    let stage = (".*", ".*", fates()).prop_map(|(stage, class, fates)| StageFates {
        stage,
        class,
        fates,
    });
    let heartbeat = (
        any::<(u64, u64, Option<u64>, Option<u64>)>(),
        vec(stage, 0..3),
        [".*", ".*", ".*"],
        vec(".*", 0..3),
    )
        .prop_map(
            |((started, containers, cpu, rss), stages, [boot_id, version, kernel], degraded)| {
                AuditEvent::Heartbeat(Heartbeat {
                    agent_started_unix_ns: started,
                    boot_id,
                    version,
                    kernel,
                    stages,
                    degraded,
                    containers,
                    agent_cpu_ns: cpu,
                    agent_rss_bytes: rss,
                    ends: false,
                })
            },
        );
    prop_oneof![imds, oom, end, loss, misplaced, notice(), heartbeat]
}

/// A count as machines have them: the wire's integers are signed, its CPU time a double.
fn count() -> impl Strategy<Value = Option<u64>> {
    option::of(0..1u64 << 50)
}

fn sketch() -> impl Strategy<Value = Sketch> {
    vec(prop_oneof![Just(0), 1..1u64 << 36], 0..70).prop_map(|values| {
        let mut sketch = Sketch::default();
        for value in values {
            sketch.add(value);
        }
        sketch
    })
}

fn source() -> impl Strategy<Value = Option<Source>> {
    option::of(prop_oneof![
        Just(Source::CgroupV2),
        Just(Source::CgroupV1),
        Just(Source::Ebpf),
        Just(Source::Procfs)
    ])
}

pub(super) fn window() -> impl Strategy<Value = UsageWindow> {
    let cpu = (
        source(),
        sketch(),
        sketch(),
        [count(), count(), count(), count()],
    )
        .prop_map(
            |(
                source,
                per_second,
                per_100ms,
                [used_ns, periods, throttled_periods, throttled_usec],
            )| {
                CpuUsage {
                    source,
                    used_ns,
                    per_second,
                    per_100ms,
                    periods,
                    throttled_periods,
                    throttled_usec,
                }
            },
        );
    let memory = (source(), vec(count(), 9)).prop_map(|(source, c)| MemoryUsage {
        source,
        sampled_peak_bytes: c[0],
        lifetime_peak_bytes: c[1],
        anon_peak_bytes: c[2],
        file_peak_bytes: c[3],
        working_set_peak_bytes: c[4],
        mean_bytes: c[5],
        oom_kills: c[6],
        limit_failures: c[7],
        limit_bytes: c[8],
    });
    let frame = (any::<[u64; 3]>(), any::<[bool; 2]>());
    (identity(), frame, cpu, memory, vec(count(), 9)).prop_map(
        |(
            identity,
            ([start_unix_ns, end_unix_ns, observed_ns], [startup, last]),
            cpu,
            memory,
            c,
        )| {
            let pressure = |at: usize| Pressure {
                some_usec: c[at],
                full_usec: c[at + 1],
            };
            UsageWindow {
                identity,
                start_unix_ns,
                end_unix_ns,
                observed_ns,
                phase: if startup {
                    Phase::Startup
                } else {
                    Phase::Steady
                },
                last,
                cpu,
                memory,
                cpu_pressure: pressure(0),
                memory_pressure: pressure(2),
                io_pressure: pressure(4),
                io_read_bytes: c[6],
                io_written_bytes: c[7],
                pids_peak: c[8],
            }
        },
    )
}

fn notice() -> impl Strategy<Value = AuditEvent> {
    (
        [".*", ".*"],
        any::<(u64, u64, Option<u64>, Option<u64>)>(),
        prop_oneof![
            Just(AgentState::Silent),
            Just(AgentState::Back),
            Just(AgentState::Left),
            Just(AgentState::Rewound),
        ],
    )
        .prop_map(
            |([agent_node, epoch], (last_seq, heard_unix_ns, silent_s, seq), state)| {
                AuditEvent::Agent(AgentNotice {
                    agent_node,
                    state,
                    epoch,
                    last_seq,
                    heard_unix_ns,
                    silent_s,
                    seq,
                })
            },
        )
}
