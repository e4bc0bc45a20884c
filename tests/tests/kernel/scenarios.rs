//! The scenarios.

use std::{
    collections::BTreeMap,
    fs,
    io::Read as _,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use plimsoll_abi::{
    CGROUP_PATH_BYTES, KIND_CGROUP_MKDIR, KIND_CGROUP_RMDIR, KIND_CONNECT, KIND_SEGMENT,
    OOM_UNKNOWN, PERIOD_NS,
};
use plimsoll_agent::{
    host::{self as facts, HostFacts, btf::Btf},
    probe::{
        LoadError, Options, Outcome, Probe,
        decode::{Record, decode},
        periods::Ledger,
    },
};

use plimsoll_tests::checks::Verdict;

use crate::{
    host::{self, Cgroup, Network, Sysctl},
    imds, measure,
};

/// Does the real thing; panics if what was seen is wrong.
type Scenario = fn() -> Verdict;

/// Every scenario by name.
pub(crate) const ALL: [(&str, Scenario); 14] = [
    ("btf_of_this_kernel", btf_of_this_kernel),
    ("all_programs_attach", all_programs_attach),
    ("all_programs_attach_hardened", all_programs_attach_hardened),
    ("loading_leaves_little_memory", loading_leaves_little_memory),
    ("cgroups_come_and_go", cgroups_come_and_go),
    ("imds_over_ipv4", imds::over_ipv4),
    ("imds_over_ipv6", imds::over_ipv6),
    ("imds_over_a_mapped_address", imds::over_a_mapped_address),
    ("oom_kills_are_seen", oom_kills_are_seen),
    ("cpu_time_by_period", cpu_time_by_period),
    ("cpu_time_without_room", cpu_time_without_room),
    ("rings_count_what_they_lose", rings_count_what_they_lose),
    ("rate_of_the_security_ring", rate_of_the_security_ring),
    ("cost_of_the_hooks", cost_of_the_hooks),
];

/// Loads everything, or says why this host cannot.
pub(crate) fn load(options: Options) -> Result<(Probe, HostFacts), Verdict> {
    if !rustix::process::geteuid().is_root() {
        return Err(Verdict::Skipped("needs root".to_owned()));
    }
    mount_tracefs();
    let facts = facts::read::facts("/sys/fs/cgroup".as_ref());
    let plan = facts::plan(&facts);
    match Probe::load(&plan, options) {
        Ok(probe) => Ok((probe, facts)),
        Err(LoadError::Absent(why)) => Err(Verdict::Skipped(format!(
            "built without kernel programs: {why}"
        ))),
        Err(error) => panic!("{error}: {:?}", std::error::Error::source(&error)),
    }
}

macro_rules! loaded {
    ($options:expr) => {
        match load($options) {
            Ok((probe, facts)) => (probe, facts),
            Err(verdict) => return verdict,
        }
    };
}
pub(crate) use loaded;

/// The agent mounts nothing; a test may.
fn mount_tracefs() {
    let at = Path::new("/sys/kernel/tracing");
    if !at.join("events").is_dir() {
        // If it is refused, the scenarios say which tracepoint is missing.
        rustix::mount::mount(
            "tracefs",
            at,
            "tracefs",
            rustix::mount::MountFlags::empty(),
            None,
        )
        .ok();
    }
}

/// The pure parser on the real thing, which has everything that compilers and pahole emit.
fn btf_of_this_kernel() -> Verdict {
    let Ok(bytes) = fs::read("/sys/kernel/btf/vmlinux") else {
        return Verdict::Skipped("the kernel has no BTF".to_owned());
    };
    let btf = Btf::parse(&bytes).unwrap();
    assert!(btf.has_typedef("btf_trace_sched_switch"));
    assert!(btf.has_typedef("pid_t") && !btf.has_typedef("btf_trace_of_nothing"));
    assert!(!btf.has_typedef("task_struct"), "it is a struct");
    Verdict::Passed
}

fn all_programs_attach() -> Verdict {
    let (probe, _) = loaded!(Options::default());
    for report in probe.reports() {
        assert_eq!(
            report.outcome,
            Outcome::Attached,
            "{}: {}",
            report.name,
            report.outcome
        );
    }
    Verdict::Passed
}

/// With constants blinded, as hardened nodes run.
fn all_programs_attach_hardened() -> Verdict {
    let _hardened = match Sysctl::set("net/core/bpf_jit_harden", "2") {
        Ok(sysctl) => sysctl,
        Err(error) => return Verdict::Skipped(format!("cannot set bpf_jit_harden: {error}")),
    };
    all_programs_attach()
}

/// What loading took is given back: the agent as a whole is to stay below 20 MiB.
fn loading_leaves_little_memory() -> Verdict {
    let (probe, facts) = loaded!(Options::default());
    drop(probe);
    let cgroup = Cgroup::make(&facts.cgroup.v2.unwrap());
    let path = cgroup.path.display().to_string();
    let output = host::workload(&["workload-load", &path])
        .wait_with_output()
        .unwrap();
    let rss_kib: u64 = String::from_utf8(output.stdout).unwrap().parse().unwrap();
    println!("     {rss_kib} KiB");
    assert!(rss_kib < 12 << 10, "{rss_kib} KiB");
    Verdict::Passed
}

fn cgroups_come_and_go() -> Verdict {
    let (mut probe, facts) = loaded!(Options::default());
    let root = facts.cgroup.v2.unwrap();
    let outer = Cgroup::make(&root);
    let long = outer.path.join("n".repeat(200));
    fs::create_dir(&long).unwrap();
    let id = fs::metadata(&long).unwrap().ino();
    fs::remove_dir(&long).unwrap();
    let expected = format!("/{}", long.strip_prefix(&root).unwrap().display());
    assert!(expected.len() < CGROUP_PATH_BYTES);
    let mut seen = Vec::new();
    probe.drain_process(usize::MAX, |bytes| match decode(bytes).unwrap() {
        Record::CgroupMkdir(cgroup, path) if cgroup.header.cgroup_id == id => {
            seen.push((
                KIND_CGROUP_MKDIR,
                cgroup.level,
                String::from_utf8(path.to_vec()).unwrap(),
            ));
        }
        Record::CgroupRmdir(cgroup, path) if cgroup.header.cgroup_id == id => {
            seen.push((
                KIND_CGROUP_RMDIR,
                cgroup.level,
                String::from_utf8(path.to_vec()).unwrap(),
            ));
        }
        _ => {}
    });
    assert_eq!(
        seen,
        [
            (KIND_CGROUP_MKDIR, 2, expected.clone()),
            (KIND_CGROUP_RMDIR, 2, expected)
        ]
    );
    Verdict::Passed
}

/// A process that takes more than its cgroup may have.
fn oom_kills_are_seen() -> Verdict {
    let (mut probe, facts) = loaded!(Options::default());
    let root = facts.cgroup.v2.unwrap();
    let cgroup = Cgroup::make(&root);
    // The limit is set where this host keeps its memory controller.
    let (limited, limit) = match facts.cgroup.v1.get("memory") {
        Some(root) => (Cgroup::make(root), "memory.limit_in_bytes"),
        None if facts.cgroup.v2_controllers.contains("memory") => {
            (Cgroup::make(&root), "memory.max")
        }
        None => return Verdict::Skipped("no memory controller".to_owned()),
    };
    if let Err(error) = fs::write(limited.path.join(limit), "16777216") {
        return Verdict::Skipped(format!("cannot set {limit}: {error}"));
    }
    let path = |cgroup: &Cgroup| cgroup.path.display().to_string();
    let child = host::workload(&["workload-eat", &path(&cgroup), &path(&limited)]);
    let tgid = child.id();
    let output = child.wait_with_output().unwrap();
    assert_eq!(
        std::os::unix::process::ExitStatusExt::signal(&output.status),
        Some(9)
    );
    let mut kills = Vec::new();
    probe.drain_security(usize::MAX, |bytes| {
        if let Record::Oom(oom) = decode(bytes).unwrap()
            && oom.victim_tid == tgid
        {
            kills.push(oom);
        }
    });
    let [oom] = kills[..] else {
        panic!("{kills:#?}")
    };
    assert_eq!(oom.trigger_tgid, tgid);
    let in_v2 = if limit == "memory.max" {
        limited.id
    } else {
        cgroup.id
    };
    assert_eq!(oom.header.cgroup_id, in_v2);
    assert_eq!(oom.ancestors, [in_v2, 0, 0, 0, 0, 0], "a child of the root");
    if facts.tracepoints["oom/mark_victim"]
        .field("anon_rss")
        .is_some()
    {
        // The limit, and what the process had before it joined.
        assert!((15 << 10..=20 << 10).contains(&oom.anon_rss_kib), "{oom:?}");
        assert!(
            oom.total_vm_kib > oom.anon_rss_kib && oom.total_vm_kib != OOM_UNKNOWN,
            "{oom:?}"
        );
        assert!(oom.comm.starts_with(b"kernel-"), "{oom:?}");
    } else {
        assert_eq!(
            (oom.anon_rss_kib, oom.total_vm_kib, oom.comm),
            (OOM_UNKNOWN, OOM_UNKNOWN, [0; 16])
        );
    }
    Verdict::Passed
}

/// A burst of 250 ms, a pause of 150 ms, four times; compared with the scheduler's own account.
fn cpu_time_by_period() -> Verdict {
    let (probe, facts) = loaded!(Options::default());
    let root = facts.cgroup.v2.unwrap();
    let cgroup = Cgroup::make(&root);
    let path = cgroup.path.display().to_string();
    let mut child = host::workload(&["workload-burn", &path, "250", "150", "4"]);
    let mut ledger = Ledger::default();
    let mut used: BTreeMap<u64, u64> = BTreeMap::new();
    let mut read = || {
        let snapshot = probe.snapshot().unwrap();
        assert!(snapshot.settled);
        let gaps = ledger.close(&snapshot, [].into_iter(), |closed| {
            if closed.cgroup_id == cgroup.id {
                for (period, used_ns) in closed.all() {
                    assert_eq!(used.insert(period, used_ns), None, "{closed:?} twice");
                }
            }
        });
        assert_eq!(gaps.missed_periods, 0);
    };
    let mut truth = String::new();
    let mut stdout = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let mut digits = [0; 32];
        let read = stdout.read(&mut digits).unwrap();
        truth.push_str(std::str::from_utf8(&digits[..read]).unwrap());
        truth
    });
    while !reader.is_finished() {
        read();
        std::thread::sleep(Duration::from_millis(300));
    }
    let truth: u64 = reader.join().unwrap().parse().unwrap();
    let total = probe.cpu_use(cgroup.id).unwrap().unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    // Two more periods, so that the last one closes.
    std::thread::sleep(Duration::from_nanos(PERIOD_NS * 3));
    read();

    let sum: u64 = used.values().sum();
    println!(
        "     scheduler {truth} ns, total_ns {}, in {} periods {sum} ns",
        total.total_ns,
        used.len()
    );
    near(total.total_ns, truth, 3);
    near(sum, truth, 3);
    // One thread has one CPU; bursts and pauses are longer than two periods.
    assert!(
        used.values()
            .all(|used_ns| *used_ns <= PERIOD_NS + PERIOD_NS / 100),
        "{used:?}"
    );
    assert!(
        used.values().any(|used_ns| *used_ns < PERIOD_NS / 10),
        "no pause seen: {used:?}"
    );
    Verdict::Passed
}

/// A map with room for one cgroup, which somebody has: what another one uses is in the count of what
/// found no room, and a row that is forgotten is free for others.
fn cpu_time_without_room() -> Verdict {
    let small = Options {
        cgroups: 1,
        ..Options::default()
    };
    let (mut probe, facts) = loaded!(small);
    let begun = Instant::now();
    while probe.snapshot().unwrap().uses.is_empty() {
        assert!(begun.elapsed() < Duration::from_secs(10), "nobody ran");
    }
    let cgroup = Cgroup::make(&facts.cgroup.v2.unwrap());
    let path = cgroup.path.display().to_string();
    let mut child = host::workload(&["workload-burn", &path, "100", "0", "2"]);
    let mut digits = [0; 32];
    let read = child.stdout.as_mut().unwrap().read(&mut digits).unwrap();
    let truth: u64 = std::str::from_utf8(&digits[..read])
        .unwrap()
        .parse()
        .unwrap();
    let snapshot = probe.snapshot().unwrap();
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let [(other, _)] = snapshot.uses[..] else {
        panic!("{} rows", snapshot.uses.len())
    };
    assert_ne!(other, cgroup.id);
    println!("     scheduler {truth} ns, {:?}", snapshot.unbooked);
    assert!(snapshot.unbooked.ns >= truth - truth / 33 && snapshot.unbooked.switches > 0);
    assert!(probe.forget_cgroup(other).unwrap());
    while probe.snapshot().unwrap().uses.is_empty() {
        assert!(begun.elapsed() < Duration::from_mins(1), "the row is lost");
    }
    Verdict::Passed
}

fn near(value: u64, truth: u64, percent: u64) {
    assert!(
        value.abs_diff(truth) <= truth * percent / 100,
        "{value} is not within {percent} % of {truth}"
    );
}

/// Rings of one page that nobody drains: emitted is received and lost, to the record.
fn rings_count_what_they_lose() -> Verdict {
    let small = Options {
        security_ring_bytes: 4096,
        process_ring_bytes: 4096,
        ..Options::default()
    };
    let (mut probe, facts) = loaded!(small);
    let root = facts.cgroup.v2.unwrap();
    let cgroup = Cgroup::make(&root);
    for index in 0..100 {
        let path = cgroup.path.join(index.to_string());
        fs::create_dir(&path).unwrap();
        fs::remove_dir(&path).unwrap();
    }
    let network = Network::make();
    imds::get(
        &network,
        &cgroup,
        "169.254.169.254:80",
        "169.254.169.254:80",
        8000,
    );
    let mut received = BTreeMap::new();
    let mut count = |bytes: &[u8]| {
        let kind = match decode(bytes).unwrap() {
            Record::Connect(_) => KIND_CONNECT,
            Record::Segment(..) => KIND_SEGMENT,
            Record::CgroupMkdir(..) => KIND_CGROUP_MKDIR,
            Record::CgroupRmdir(..) => KIND_CGROUP_RMDIR,
            Record::Oom(_) => plimsoll_abi::KIND_OOM,
        };
        *received.entry(kind).or_insert(0_u64) += 1;
    };
    // What others on this machine do meanwhile is counted as well: read until both agree.
    for _ in 0..20 {
        probe.drain_security(usize::MAX, &mut count);
        probe.drain_process(usize::MAX, &mut count);
    }
    let counters = probe.counters().unwrap();
    println!("     {counters:?}");
    let [security, process] = [
        [KIND_CONNECT, KIND_SEGMENT],
        [KIND_CGROUP_MKDIR, KIND_CGROUP_RMDIR],
    ];
    for kind in security.into_iter().chain(process) {
        let of_kind = counters[usize::from(kind)];
        assert_eq!(
            of_kind.emitted,
            received.get(&kind).copied().unwrap_or(0) + of_kind.lost,
            "kind {kind}"
        );
    }
    assert!(counters[usize::from(KIND_SEGMENT)].lost > 0);
    assert!(counters[usize::from(KIND_CGROUP_MKDIR)].lost > 0);
    assert!(counters[usize::from(KIND_CGROUP_MKDIR)].emitted >= 101);
    Verdict::Passed
}

/// Packets as fast as one sender can, and one reader: prints the rate and what was lost of it. What
/// must hold at any rate is that nothing is lost in silence.
fn rate_of_the_security_ring() -> Verdict {
    let (mut probe, _) = loaded!(Options::default());
    let network = Network::make();
    let namespace = network.imds.clone();
    let sender = std::thread::spawn(move || measure::datagrams(&namespace));
    let mut received = 0_u64;
    let begin = Instant::now();
    while !sender.is_finished() {
        if probe.drain_security(usize::MAX, |_| received += 1) == 0 {
            std::thread::yield_now();
        }
    }
    let elapsed = begin.elapsed();
    sender.join().unwrap();
    for _ in 0..20 {
        probe.drain_security(usize::MAX, |_| received += 1);
    }
    let counters = probe.counters().unwrap();
    let security = [KIND_CONNECT, KIND_SEGMENT].map(|kind| counters[usize::from(kind)]);
    let emitted: u64 = security.iter().map(|of_kind| of_kind.emitted).sum();
    let lost: u64 = security.iter().map(|of_kind| of_kind.lost).sum();
    println!(
        "     {:.0} events/s for {:.1} s, {lost} of {emitted} lost",
        emitted as f64 / elapsed.as_secs_f64(),
        elapsed.as_secs_f64()
    );
    assert_eq!(emitted, received + lost);
    assert!(
        emitted >= 2 * u64::from(measure::DATAGRAMS),
        "each datagram is sent and received: {emitted}"
    );
    Verdict::Passed
}

/// Prints what the hooks cost. That they ran is asserted, the time is not: machines differ.
fn cost_of_the_hooks() -> Verdict {
    let (probe, _) = loaded!(Options::default());
    let costs = match measure::hooks(&probe) {
        Ok(costs) => costs,
        Err(reason) => return Verdict::Skipped(reason),
    };
    for cost in &costs {
        println!(
            "     {}: {:.0} ns per run over {} runs",
            cost.name,
            cost.ns_per_run(),
            cost.runs
        );
        assert!(
            cost.runs > 10_000,
            "{}: the workload did not reach the hook",
            cost.name
        );
    }
    Verdict::Passed
}
