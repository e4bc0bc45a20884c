#![expect(
    clippy::disallowed_methods,
    reason = "tests write files and make cgroups"
)]

use std::fs;
use std::path::Path;

use plimsoll_wire::usage::Source;

use super::*;
use crate::usage::clock;

mod gone;
mod young;

const S: u64 = 1_000_000_000;
const PATH: &str = "/kubepods.slice/kubepods-poda1.slice/cri-containerd-c1.scope";

fn put(root: &Path, files: &[(&str, &str)]) {
    let folder = root.join(PATH.trim_start_matches('/'));
    fs::create_dir_all(&folder).unwrap();
    for (name, text) in files {
        fs::write(folder.join(name), text).unwrap();
    }
}

const PRESSURE: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";

/// What a container on kernel 6.1 or 6.12 with all controllers shows.
fn put_v2(root: &Path) {
    put(
        root,
        &[
            ("cgroup.procs", "12\n"),
            (
                "cpu.stat",
                "usage_usec 500\nuser_usec 400\nsystem_usec 100\nnr_periods 9\nnr_throttled 2\nthrottled_usec 40\n",
            ),
            ("memory.current", "104857600\n"),
            ("memory.peak", "204857600\n"),
            ("memory.max", "max\n"),
            (
                "memory.events",
                "low 0\nhigh 0\nmax 0\noom 2\noom_kill 1\noom_group_kill 0\n",
            ),
            (
                "memory.stat",
                "anon 50000000\nfile 40000000\nkernel 1000\nshmem 0\ninactive_file 4857600\nactive_file 1\n",
            ),
            (
                "io.stat",
                "259:0 rbytes=4096 wbytes=512 rios=1 wios=1 dbytes=0 dios=0\n",
            ),
            ("pids.current", "5\n"),
            ("cpu.pressure", PRESSURE),
            ("memory.pressure", PRESSURE),
            ("io.pressure", PRESSURE),
        ],
    );
}

fn sampler(roots: Roots, max_descriptors: usize, proc_root: &Path) -> Sampler {
    let options = Options {
        max_descriptors,
        proc_root: proc_root.to_owned(),
        ..Options::default()
    };
    Sampler::new(roots, options)
}

fn one(sampler: &mut Sampler, at_ns: u64) -> Sample {
    let round = sampler.sample_all(|| at_ns, |_| None);
    assert_eq!((round.samples.len(), round.gone), (1, [].as_slice()));
    round.samples[0]
}

fn unified(root: &Path) -> Roots {
    Roots {
        unified: Some(root.to_owned()),
        ..Roots::default()
    }
}

#[test]
fn reads_every_group_with_and_without_open_files() {
    let root = tempfile::tempdir().unwrap();
    put_v2(root.path());
    let mut found = Vec::new();
    // 8 files and the folder; then 3 files; then the folder alone.
    for (budget, open) in [(1000, 9), (3, 4), (0, 1)] {
        let mut sampler = sampler(unified(root.path()), budget, Path::new("/nowhere"));
        assert!(sampler.add(7, PATH).unwrap());
        assert!(!sampler.add(7, PATH).unwrap());
        assert_eq!(sampler.len(), (1, open), "budget {budget}");
        found.push(one(&mut sampler, 100));
        assert!(sampler.remove(7));
        assert_eq!(sampler.len(), (0, 0));
        assert!(sampler.take_problem().is_none());
    }
    assert_eq!((found[0], found[1]), (found[1], found[2]));
    let Sample {
        cpu: Some(cpu),
        memory: Some(memory),
        io: Some(io),
        ..
    } = found[0]
    else {
        panic!("{:?}", found[0]);
    };
    assert_eq!(
        (cpu.source, cpu.stat.usage_ns, cpu.stat.throttled_periods),
        (Source::CgroupV2, Some(500_000), Some(2))
    );
    assert_eq!(
        (memory.source, memory.current_bytes),
        (Source::CgroupV2, Some(104_857_600))
    );
    assert_eq!(
        (memory.events.oom_kills, memory.events.limit_failures),
        (Some(1), Some(2))
    );
    assert_eq!(
        (memory.peak_bytes, memory.limit_bytes),
        (Some(204_857_600), None)
    );
    assert_eq!(memory.stat.unwrap().inactive_file_bytes, Some(4_857_600));
    assert_eq!(
        (io.read_bytes, io.written_bytes, found[0].pids),
        (4096, 512, Some(5))
    );
    assert_eq!(found[0].io_pressure.unwrap().full_usec, Some(3));
}

#[test]
fn memory_stat_is_read_seldom() {
    let root = tempfile::tempdir().unwrap();
    put_v2(root.path());
    let mut sampler = sampler(unified(root.path()), 100, Path::new("/nowhere"));
    sampler.add(8, PATH).unwrap();
    for second in 1..=11 {
        if second == 3 {
            put(
                root.path(),
                &[
                    ("memory.current", "204857600\n"),
                    ("memory.max", "300000000\n"),
                ],
            );
        }
        let memory = one(&mut sampler, second * S).memory.unwrap();
        let read = matches!(second, 1 | 3 | 8);
        assert_eq!(
            (memory.stat.is_some(), memory.peak_bytes.is_some()),
            (read, read),
            "second {second}"
        );
        assert_eq!(
            memory.limit_bytes,
            if second < 3 { None } else { Some(300_000_000) }
        );
    }
    assert_eq!(
        sampler.counters(),
        Counters {
            samples: 11,
            memory_stats: 3,
            // Nine files each second, and three more with each reading of memory.stat.
            files: FileCounts {
                read: 11 * 8 + 3 * 3,
                parsed: 11 * 8 + 3 * 3,
                ..FileCounts::default()
            },
            ..Counters::default()
        }
    );
}

#[test]
fn a_bad_file_costs_its_own_group_only() {
    let root = tempfile::tempdir().unwrap();
    put_v2(root.path());
    put(
        root.path(),
        &[("pids.current", "many\n"), ("io.pressure", "")],
    );
    let mut sampler = sampler(unified(root.path()), 100, Path::new("/nowhere"));
    sampler.add(7, PATH).unwrap();
    let sample = one(&mut sampler, S);
    assert_eq!(
        (
            sample.pids,
            sample.cpu.is_some(),
            sampler.counters().files.malformed
        ),
        (None, true, 1)
    );
    let problem = sampler.take_problem().unwrap();
    let cause = std::error::Error::source(&problem).unwrap().to_string();
    assert_eq!(
        (problem.to_string().as_str(), cause.as_str()),
        (
            "cgroup 7",
            "pids.current line 1: pids.current is not a number below 2^64"
        )
    );
}

#[test]
fn version_1_of_the_same_path_stands_in() {
    let base = tempfile::tempdir().unwrap();
    let tree = |name: &str| base.path().join(name);
    put(
        &tree("unified"),
        &[
            ("cpu.stat", "usage_usec 500\n"),
            ("cpu.pressure", PRESSURE),
            ("cgroup.procs", ""),
        ],
    );
    put(
        &tree("cpu"),
        &[(
            "cpu.stat",
            "nr_periods 9\nnr_throttled 2\nthrottled_time 40000\n",
        )],
    );
    put(&tree("cpuacct"), &[("cpuacct.usage", "500123\n")]);
    put(
        &tree("memory"),
        &[
            ("memory.usage_in_bytes", "1000\n"),
            ("memory.max_usage_in_bytes", "2000\n"),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
            (
                "memory.oom_control",
                "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
            ),
            (
                "memory.stat",
                "cache 1\ntotal_cache 400\ntotal_rss 600\ntotal_inactive_file 100\n",
            ),
        ],
    );
    put(&tree("pids"), &[("pids.current", "3\n")]);
    put(
        &tree("blkio"),
        &[(
            "blkio.throttle.io_service_bytes_recursive",
            "8:0 Read 5\n8:0 Write 6\nTotal 11\n",
        )],
    );
    let hybrid = Roots {
        unified: Some(tree("unified")),
        memory: Some(tree("memory")),
        cpu: Some(tree("cpu")),
        cpuacct: Some(tree("cpuacct")),
        blkio: Some(tree("blkio")),
        pids: Some(tree("pids")),
    };
    let only_v1 = Roots {
        unified: None,
        ..hybrid.clone()
    };
    for (roots, source, usage_ns) in [
        (hybrid, Source::CgroupV2, 500_000),
        (only_v1, Source::CgroupV1, 500_123),
    ] {
        let mut sampler = sampler(roots, 100, Path::new("/nowhere"));
        sampler.add(7, PATH).unwrap();
        let sample = one(&mut sampler, S);
        let (cpu, memory) = (sample.cpu.unwrap(), sample.memory.unwrap());
        assert_eq!((cpu.source, cpu.stat.usage_ns), (source, Some(usage_ns)));
        assert_eq!(
            (cpu.stat.throttled_periods, cpu.stat.throttled_usec),
            (Some(2), Some(40))
        );
        assert_eq!(
            (memory.source, memory.current_bytes, memory.peak_bytes),
            (Source::CgroupV1, Some(1000), Some(2000))
        );
        assert_eq!(
            (memory.events.oom_kills, memory.events.limit_failures),
            (Some(4), None)
        );
        assert_eq!(memory.limit_bytes, None);
        assert_eq!(memory.stat.unwrap().anon_bytes, Some(600));
        assert_eq!(
            (sample.pids, sample.io.unwrap().written_bytes),
            (Some(3), 6)
        );
        assert_eq!(sample.cpu_pressure.is_some(), source == Source::CgroupV2);
    }
}

/// What is wrong is told by the name that the file has.
#[test]
fn a_bad_file_of_version_1_is_called_by_its_own_name() {
    let base = tempfile::tempdir().unwrap();
    let fine = [
        ("memory.usage_in_bytes", "1000\n"),
        ("memory.max_usage_in_bytes", "2000\n"),
    ];
    let roots = Roots {
        memory: Some(base.path().to_owned()),
        ..Roots::default()
    };
    for (name, _) in fine {
        put(base.path(), &fine);
        put(base.path(), &[(name, "many\n")]);
        let mut sampler = sampler(roots.clone(), 0, Path::new("/nowhere"));
        sampler.add_young(7, PATH, S).unwrap();
        for looks in [false, true] {
            if looks {
                sampler.look_at_young(S, |_, _| {});
            } else {
                one(&mut sampler, S);
            }
            let told = sampler.take_problem().map(|it| crate::causes::chain(&it));
            let want = format!("cgroup 7: {name} line 1: {name} is not a number below 2^64");
            let is_read = !looks || name == "memory.max_usage_in_bytes";
            assert_eq!(told, is_read.then_some(want));
        }
    }
}

#[test]
fn processes_stand_in_for_a_memory_controller() {
    let (root, proc) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    put(
        root.path(),
        &[
            ("cpu.stat", "usage_usec 500\n"),
            ("cgroup.procs", "12\n13\n"),
        ],
    );
    let nested = root
        .path()
        .join(PATH.trim_start_matches('/'))
        .join("init.scope");
    fs::create_dir_all(&nested).unwrap();
    fs::write(nested.join("cgroup.procs"), "14\n15\n").unwrap();
    let process = |pid: u32, text: &str| {
        fs::create_dir_all(proc.path().join(pid.to_string())).unwrap();
        fs::write(proc.path().join(format!("{pid}/status")), text).unwrap();
    };
    process(
        12,
        "Name:\ta\nRssAnon:\t 10 kB\nRssFile:\t 20 kB\nRssShmem:\t 1 kB\n",
    );
    process(13, "Name:\tzombie\n");
    process(
        14,
        "Name:\tb\nRssAnon:\t 100 kB\nRssFile:\t 200 kB\nRssShmem:\t 0 kB\n",
    );
    // 15 ended before its status was read.
    let mut sampler = sampler(unified(root.path()), 100, proc.path());
    sampler.add(7, PATH).unwrap();
    let memory = one(&mut sampler, S).memory.unwrap();
    assert_eq!(
        (memory.source, memory.current_bytes),
        (Source::Procfs, Some(331 * 1024))
    );
    let stat = memory.stat.unwrap();
    assert_eq!(
        (stat.anon_bytes, stat.file_bytes, stat.inactive_file_bytes),
        (Some(110 * 1024), Some(221 * 1024), None)
    );
    // A process in a namespace that we cannot see into: the sum would be too low.
    fs::write(nested.join("cgroup.procs"), "14\n0\n").unwrap();
    assert_eq!(one(&mut sampler, 2 * S).memory, None);
    // Nobody is in it yet, or only who has ended: that is not zero bytes.
    for procs in ["", "13\n", "15\n"] {
        fs::write(nested.join("cgroup.procs"), procs).unwrap();
        put(root.path(), &[("cgroup.procs", "")]);
        assert_eq!(one(&mut sampler, 3 * S).memory, None, "{procs}");
    }
}

#[test]
fn our_own_accounting_is_beside_the_files() {
    let root = tempfile::tempdir().unwrap();
    put_v2(root.path());
    let mut sampler = sampler(unified(root.path()), 100, Path::new("/nowhere"));
    sampler.add(7, PATH).unwrap();
    let round = sampler.sample_all(|| S, |id| (id == 7).then_some(44));
    assert_eq!(round.samples[0].ebpf_cpu_ns, Some(44));
}
