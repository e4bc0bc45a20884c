#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "shell: serves an invented fleet to a browser"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "invented numbers stay small"
)]
//! The dashboard with an invented fleet, for work on its looks:
//! `cargo run -p plimsoll-collector --example dashboard -- 8080`, then open the address it prints.

use std::fmt::Write as _;
use std::sync::Arc;

use anyhow::Context as _;
use plimsoll_collector::api::{ApiState, AuditRecord, AuditRing, StageRow, router, unix_ns};
use plimsoll_collector::history::{Entry, History, Limits};
use plimsoll_collector::inventory::{Index, IndexReader, parse};
use plimsoll_collector::join::join;
use plimsoll_wire::event::{Heartbeat, ImdsAccess, Loss, OomKill, Process};
use plimsoll_wire::fate::Fates;
use plimsoll_wire::identity::{Qos, Subject};
use plimsoll_wire::usage::{CpuUsage, MemoryUsage, Phase, Pressure, Source};
use plimsoll_wire::{AuditEvent, Class, Identity, RecordId, UsageWindow, stage};

const MINUTE_NS: u64 = 60_000_000_000;
const MIB: u64 = 1 << 20;

/// One kind of workload of the invented fleet.
struct Shape {
    namespace: &'static str,
    kind: &'static str,
    name: &'static str,
    container: &'static str,
    replicas: u64,
    request_m: u64,
    request_mib: u64,
    limit_mib: u64,
    /// Base use, millicores; burst, millicores; share of seconds in a burst; memory, MiB.
    use_m: f64,
    burst_m: f64,
    burst_share: f64,
    memory_mib: u64,
}

#[rustfmt::skip]
const FLEET: &[Shape] = &[
    Shape { namespace: "shop", kind: "Deployment", name: "api", container: "app", replicas: 4, request_m: 1000, request_mib: 1024, limit_mib: 2048, use_m: 180.0, burst_m: 1900.0, burst_share: 0.06, memory_mib: 410 },
    Shape { namespace: "shop", kind: "Deployment", name: "api", container: "envoy", replicas: 4, request_m: 100, request_mib: 128, limit_mib: 256, use_m: 35.0, burst_m: 160.0, burst_share: 0.05, memory_mib: 72 },
    Shape { namespace: "shop", kind: "Deployment", name: "checkout", container: "app", replicas: 2, request_m: 250, request_mib: 256, limit_mib: 256, use_m: 310.0, burst_m: 900.0, burst_share: 0.1, memory_mib: 251 },
    Shape { namespace: "shop", kind: "StatefulSet", name: "postgres", container: "postgres", replicas: 1, request_m: 2000, request_mib: 8192, limit_mib: 8192, use_m: 640.0, burst_m: 2600.0, burst_share: 0.08, memory_mib: 3900 },
    Shape { namespace: "shop", kind: "Deployment", name: "images", container: "resize", replicas: 3, request_m: 0, request_mib: 0, limit_mib: 0, use_m: 90.0, burst_m: 3200.0, burst_share: 0.03, memory_mib: 220 },
    Shape { namespace: "data", kind: "CronJob", name: "nightly-report", container: "report", replicas: 1, request_m: 4000, request_mib: 4096, limit_mib: 4096, use_m: 1400.0, burst_m: 3900.0, burst_share: 0.3, memory_mib: 2800 },
    Shape { namespace: "data", kind: "StatefulSet", name: "kafka", container: "broker", replicas: 3, request_m: 1000, request_mib: 6144, limit_mib: 6144, use_m: 760.0, burst_m: 1500.0, burst_share: 0.1, memory_mib: 5200 },
    Shape { namespace: "ops", kind: "DaemonSet", name: "node-exporter", container: "exporter", replicas: 3, request_m: 100, request_mib: 64, limit_mib: 128, use_m: 6.0, burst_m: 80.0, burst_share: 0.02, memory_mib: 21 },
    Shape { namespace: "ops", kind: "Deployment", name: "prometheus", container: "prometheus", replicas: 1, request_m: 1500, request_mib: 4096, limit_mib: 6144, use_m: 520.0, burst_m: 2200.0, burst_share: 0.04, memory_mib: 3300 },
    Shape { namespace: "kube-system", kind: "DaemonSet", name: "aws-node", container: "aws-node", replicas: 3, request_m: 25, request_mib: 0, limit_mib: 0, use_m: 4.0, burst_m: 45.0, burst_share: 0.02, memory_mib: 60 },
    Shape { namespace: "kube-system", kind: "Deployment", name: "coredns", container: "coredns", replicas: 2, request_m: 100, request_mib: 70, limit_mib: 170, use_m: 14.0, burst_m: 130.0, burst_share: 0.03, memory_mib: 38 },
];

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let port: u16 = std::env::args()
        .nth(1)
        .map_or(Ok(8080), |port| port.parse())
        .context("the port")?;
    let folder = std::env::temp_dir().join(format!("plimsoll-dashboard-{}", std::process::id()));
    let now = unix_ns() / MINUTE_NS * MINUTE_NS;
    let index = IndexReader::fixed(index());
    let history = History::open(&folder.join("history.redb"), Limits::default())?;
    history.apply(&windows(now), &index)?;
    let size = history.stats();
    println!(
        "{} series, {} bytes each",
        size.series,
        size.bytes / size.series.max(1)
    );
    let ring = AuditRing::default();
    events(&ring, &index.get(), now);
    let state = ApiState::new(Arc::new(history), Arc::new(ring)).with_accounting(Arc::new(rows));
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .context("listening")?;
    println!("http://{}/", listener.local_addr()?);
    axum::serve(listener, router(Arc::new(state)))
        .with_graceful_shutdown(async {
            // Without a signal handler the page serves until it is killed.
            let _ended = tokio::signal::ctrl_c().await;
        })
        .await
        .context("serving")?;
    std::fs::remove_dir_all(&folder).context("removing the invented history")
}

fn pod_uid(shape: &Shape, replica: u64) -> String {
    let sum: u64 = shape.name.bytes().map(u64::from).sum();
    format!("{sum:08x}-0000-4000-8000-{replica:012x}")
}

fn container_id(shape: &Shape, replica: u64) -> String {
    let sum = shape
        .name
        .bytes()
        .chain(shape.container.bytes())
        .fold(7_u64, |h, b| h.wrapping_mul(131) + u64::from(b));
    format!("{sum:016x}{replica:048x}")
}

fn pod_name(shape: &Shape, replica: u64) -> String {
    match shape.kind {
        "Deployment" => format!("{}-7d9c6b5f4-{replica:05x}", shape.name),
        _ => format!("{}-{replica}", shape.name),
    }
}

/// The inventory goes through the same YAML as a real one.
fn index() -> Index {
    let mut text = String::new();
    for shape in FLEET.iter().filter(|shape| shape.container != "envoy") {
        for replica in 0..shape.replicas {
            let siblings: Vec<&Shape> = FLEET
                .iter()
                .filter(|s| (s.namespace, s.name) == (shape.namespace, shape.name))
                .collect();
            let _ignored: std::fmt::Result = write!(
                text,
                "---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: {}\n  namespace: {}\n  uid: {}\n  labels: {{app: {}}}\n  ownerReferences: [{{apiVersion: apps/v1, kind: {}, name: {}, uid: x, controller: true}}]\nspec:\n  nodeName: {}\n  containers:\n",
                pod_name(shape, replica),
                shape.namespace,
                pod_uid(shape, replica),
                shape.name,
                shape.kind,
                shape.name,
                node(replica),
            );
            for s in &siblings {
                let _ignored: std::fmt::Result = writeln!(
                    text,
                    "  - name: {}\n    image: x\n    resources: {}",
                    s.container,
                    resources(s)
                );
            }
            text.push_str("status:\n  containerStatuses:\n");
            for s in &siblings {
                let _ignored: std::fmt::Result = writeln!(
                    text,
                    "  - {{name: {}, containerID: \"containerd://{}\", image: x, imageID: x, ready: true, restartCount: 0}}",
                    s.container,
                    container_id(s, replica)
                );
            }
        }
    }
    let mut index = Index::default();
    let parsed = parse::parse("invented.yaml", &text);
    assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
    for object in &parsed.objects {
        index.apply(object, plimsoll_collector::inventory::Moment::default());
    }
    index
}

fn resources(shape: &Shape) -> String {
    let mut parts = Vec::new();
    if shape.request_m > 0 {
        let memory = if shape.request_mib > 0 {
            format!(", memory: {}Mi", shape.request_mib)
        } else {
            String::new()
        };
        parts.push(format!("requests: {{cpu: {}m{memory}}}", shape.request_m));
    }
    if shape.limit_mib > 0 {
        let cpu = if shape.name == "checkout" {
            "cpu: \"1\", "
        } else {
            ""
        };
        parts.push(format!("limits: {{{cpu}memory: {}Mi}}", shape.limit_mib));
    }
    format!("{{{}}}", parts.join(", "))
}

fn node(replica: u64) -> String {
    format!("ip-10-0-{}-17.eu-central-1.compute.internal", replica % 3)
}

fn identity(shape: &Shape, replica: u64) -> Identity {
    Identity {
        cgroup_id: 4000 + replica,
        cgroup_path: None,
        subject: Subject::Container {
            pod_uid: pod_uid(shape, replica),
            container_id: container_id(shape, replica),
            runtime: Some("containerd".to_owned()),
            qos: Qos::Burstable,
        },
    }
}

fn windows(now: u64) -> Vec<Entry> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut entries = Vec::new();
    for minute in (1..=200_u64).rev() {
        for shape in FLEET {
            for replica in 0..shape.replicas {
                // A young workload and a gap in the record, so that both are seen.
                if (shape.name == "images" && minute > 25)
                    || (shape.name == "kafka" && (90..110).contains(&minute))
                {
                    continue;
                }
                let window = window(shape, replica, now - minute * MINUTE_NS, &mut random);
                entries.push(Entry {
                    seq: entries.len() as u64 + 1,
                    node: node(replica),
                    window,
                });
            }
        }
        entries.push(Entry {
            seq: entries.len() as u64 + 1,
            node: node(0),
            window: kubelet(now - minute * MINUTE_NS),
        });
    }
    entries
}

fn kubelet(start: u64) -> UsageWindow {
    let shape = FLEET.last().map_or(&FLEET[0], |shape| shape);
    let mut window = window(shape, 0, start, &mut fastrand::Rng::with_seed(start));
    window.identity.subject = Subject::Host {
        unit: "system.slice/kubelet.service".to_owned(),
    };
    window
}

fn window(shape: &Shape, replica: u64, start: u64, random: &mut fastrand::Rng) -> UsageWindow {
    let hot = if replica == 2 { 1.8 } else { 1.0 };
    let wave = 1.0 + 0.35 * ((start / MINUTE_NS) as f64 / 40.0).sin();
    let mut cpu = CpuUsage {
        source: Some(Source::CgroupV2),
        ..CpuUsage::default()
    };
    let mut used = 0;
    for _ in 0..60 {
        let noise = 0.6 + random.f64() * 0.8;
        let burst = random.f64() < shape.burst_share;
        let millicores = if burst {
            shape.burst_m * (0.5 + random.f64() / 2.0)
        } else {
            shape.use_m * noise
        } * wave
            * hot;
        let ns = (millicores * 1e6) as u64;
        used += ns;
        cpu.per_second.add(ns);
        for _ in 0..10 {
            cpu.per_100ms
                .add((millicores * (0.2 + random.f64() * 1.6) * 1e6) as u64);
        }
    }
    cpu.used_ns = Some(used);
    if shape.name == "checkout" {
        (cpu.periods, cpu.throttled_periods, cpu.throttled_usec) =
            (Some(600), Some(random.u64(20..60)), Some(900_000));
    }
    let jitter = |share: f64| (shape.memory_mib as f64 * share) as u64 * MIB;
    let peak = jitter((0.9 + random.f64() * 0.1) * wave.sqrt());
    let kills = u64::from(shape.name == "checkout" && (start / MINUTE_NS).is_multiple_of(97));
    let memory = MemoryUsage {
        source: Some(Source::CgroupV2),
        sampled_peak_bytes: Some(peak + peak / 5),
        lifetime_peak_bytes: Some(peak + peak / 4),
        anon_peak_bytes: Some(peak * 7 / 10),
        file_peak_bytes: Some(peak * 4 / 10),
        working_set_peak_bytes: Some(peak),
        mean_bytes: Some(peak * 9 / 10),
        oom_kills: Some(kills),
        limit_failures: Some(kills),
        limit_bytes: (shape.limit_mib > 0).then_some(shape.limit_mib * MIB),
    };
    UsageWindow {
        identity: identity(shape, replica),
        start_unix_ns: start,
        end_unix_ns: start + MINUTE_NS,
        observed_ns: MINUTE_NS - random.u64(0..2_000_000_000),
        phase: Phase::Steady,
        last: false,
        cpu,
        memory,
        cpu_pressure: Pressure {
            some_usec: Some(random.u64(0..900_000)),
            full_usec: Some(random.u64(0..200_000)),
        },
        memory_pressure: Pressure {
            some_usec: Some(random.u64(0..9_000)),
            full_usec: Some(0),
        },
        io_pressure: Pressure {
            some_usec: Some(random.u64(0..400_000)),
            full_usec: Some(random.u64(0..300_000)),
        },
        io_read_bytes: Some(random.u64(0..40 * MIB)),
        io_written_bytes: Some(random.u64(0..90 * MIB)),
        pids_peak: Some(random.u64(4..60)),
    }
}

/// Class, method, path, version, status, outcome, flags.
type Request = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Option<u64>,
    &'static str,
    &'static [&'static str],
);

#[rustfmt::skip]
const REQUESTS: &[(usize, &str, Request)] = &[
    (0, "api", ("TOKEN", "PUT", "/latest/api/token", "v2", Some(200), "ok", &[])),
    (0, "api", ("CRED_LIST", "GET", "/latest/meta-data/iam/security-credentials/", "v2", Some(200), "ok", &[])),
    (0, "api", ("CRED", "GET", "/latest/meta-data/iam/security-credentials/node-role", "v2", Some(200), "ok", &[])),
    (4, "convert", ("CRED", "GET", "/latest/meta-data/iam/security-credentials/node-role", "v1", Some(200), "ok", &["bad_host"])),
    (4, "convert", ("SECRET_CFG", "GET", "/latest/user-data", "v1", Some(404), "not_found", &[])),
    (2, "java", ("TOKEN", "PUT", "/latest/api/token", "v2", None, "hop_limit_blocked", &[])),
    (5, "python3", ("CRED", "GET", "/v1/credentials", "none", Some(200), "ok", &[])),
    (9, "aws-vpc-cni", ("NETWORK", "GET", "/latest/meta-data/network/interfaces/macs/", "v2", Some(200), "ok", &[])),
    (9, "aws-vpc-cni", ("TOPOLOGY", "GET", "/latest/meta-data/placement/availability-zone", "v2", Some(200), "ok", &[])),
    (7, "node_exporter", ("LIFECYCLE", "GET", "/latest/meta-data/spot/instance-action", "v2", Some(404), "not_found", &[])),
];

fn events(ring: &AuditRing, index: &Index, now: u64) {
    let mut random = fastrand::Rng::with_seed(3);
    let record = |seq: u64, time_unix_ns: u64, event: AuditEvent| {
        let names = match &event {
            AuditEvent::Imds(access) => join(&access.identity, index).to_map(),
            AuditEvent::OomKill(kill) => join(&kill.identity, index).to_map(),
            _ => serde_json::Map::new(),
        };
        let id = RecordId {
            node: node(seq),
            epoch: "0f".repeat(16),
            class: Class::Security,
            seq,
        };
        ring.push(AuditRecord {
            time_unix_ns,
            id,
            event,
            names,
        });
    };
    for seq in 1..=240_u64 {
        let (shape, comm, (class, method, path, version, status, outcome, flags)) =
            REQUESTS[random.usize(..REQUESTS.len())];
        let request = serde_json::json!({
            "endpoint": "imds", "method": method, "path": path, "imds_version": version, "class": class,
            "status": status, "outcome": outcome, "flags": flags,
        });
        let process = Process {
            pid: random.u32(900..60_000),
            uid: Some(1000),
            comm: Some(comm.to_owned()),
            exe: Some(format!("/usr/bin/{comm}")),
            cmdline: Some(format!("/usr/bin/{comm} --serve")),
            missing: None,
        };
        let access = ImdsAccess {
            identity: identity(&FLEET[shape], random.u64(..FLEET[shape].replicas)),
            process: (seq % 17 != 0).then_some(process),
            task_identity: None,
            request: request.as_object().cloned().unwrap_or_default(),
        };
        record(
            seq,
            now - (240 - seq) * 11_000_000_000,
            AuditEvent::Imds(access),
        );
    }
    let kill = OomKill {
        identity: identity(&FLEET[2], 0),
        identity_is_trigger: false,
        victim_pid: 4711,
        victim_comm: Some("java".to_owned()),
        anon_rss_bytes: Some(248 * MIB),
        file_rss_bytes: Some(3 * MIB),
        shmem_rss_bytes: None,
        memory_peak_bytes: Some(512 << 20),
        memory_limit_bytes: Some(512 << 20),
    };
    record(241, now - 90_000_000_000, AuditEvent::OomKill(kill));
    let loss = Loss {
        stage: stage::SECURITY_RING.to_owned(),
        lost_class: Class::Security,
        fate: "lost".to_owned(),
        count: 12,
        first_seq: None,
        last_seq: None,
    };
    record(242, now - 400_000_000_000, AuditEvent::Loss(loss));
    for replica in 0..3 {
        let beat = Heartbeat {
            agent_started_unix_ns: now - 200 * MINUTE_NS,
            boot_id: "boot".to_owned(),
            version: "0.1.0".to_owned(),
            kernel: if replica == 1 { "6.12.37" } else { "6.1.141" }.to_owned(),
            stages: Vec::new(),
            degraded: if replica == 1 {
                vec!["cpu_throttling: this cgroup has no quota controller".to_owned()]
            } else {
                Vec::new()
            },
            containers: 9 + replica,
            agent_cpu_ns: Some(71_000_000_000),
            agent_rss_bytes: Some(14 * MIB),
            ends: false,
        };
        record(
            243 + replica,
            now - if replica == 2 {
                900_000_000_000
            } else {
                4_000_000_000
            },
            AuditEvent::Heartbeat(beat),
        );
    }
}

fn rows() -> Vec<StageRow> {
    let row = |node: Option<u64>, stage: &str, class: &str, fates: Fates| StageRow {
        node: node.map(self::node),
        stage: stage.to_owned(),
        class: class.to_owned(),
        destination: node.is_none().then(|| "file".to_owned()),
        fates,
    };
    let mut rows = Vec::new();
    for n in 0..3 {
        rows.push(row(
            Some(n),
            stage::SECURITY_RING,
            "security",
            Fates {
                emitted: 9_012,
                lost: 12,
                delivered: 9_000,
                ..Fates::default()
            },
        ));
        rows.push(row(
            Some(n),
            stage::SPOOL,
            "security",
            Fates {
                emitted: 912,
                undecodable: 3,
                delivered: 905,
                in_flight: 4,
                ..Fates::default()
            },
        ));
        rows.push(row(
            Some(n),
            stage::SPOOL,
            "usage",
            Fates {
                emitted: 5_400,
                shed: 40,
                delivered: 5_350,
                in_flight: 10,
                ..Fates::default()
            },
        ));
    }
    rows.push(row(
        None,
        stage::JOURNAL,
        "security",
        Fates {
            emitted: 2_715,
            delivered: 2_715,
            ..Fates::default()
        },
    ));
    rows
}
