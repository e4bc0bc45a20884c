//! A sample allocates nothing: what a round needs was made when its containers were added, so the
//! agent's memory does not grow with time and the allocator is no part of the cost of a second.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "a test that writes a tree of files, and says by failing what it expected"
)]

use std::fs;
use std::path::{Path, PathBuf};

use allocation_counter::{AllocationInfo, measure};
use plimsoll_agent::cgroup::fs::Roots;
use plimsoll_agent::usage::sampler::{Options, Sampler};

const SECOND: u64 = 1_000_000_000;
const CONTAINERS: u64 = 20;
/// Rounds that are counted: two minutes, so that everything that is read seldom is read often.
const ROUNDS: u64 = 120;
const PRESSURE: &str = "some avg10=0.00 avg60=0.00 avg300=0.00 total=7\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n";
const V2: [(&str, &str); 11] = [
    (
        "cpu.stat",
        "usage_usec 500\nnr_periods 9\nnr_throttled 2\nthrottled_usec 40\n",
    ),
    ("memory.current", "104857600\n"),
    ("memory.peak", "204857600\n"),
    ("memory.max", "max\n"),
    ("memory.events", "oom 1\noom_kill 1\n"),
    (
        "memory.stat",
        "anon 50000000\nfile 40000000\ninactive_file 4857600\n",
    ),
    ("io.stat", "259:0 rbytes=4096 wbytes=512 rios=1 wios=1\n"),
    ("pids.current", "5\n"),
    ("cpu.pressure", PRESSURE),
    ("memory.pressure", PRESSURE),
    ("io.pressure", PRESSURE),
];

fn path(container: u64) -> String {
    format!("/kubepods.slice/kubepods-poda{container}.slice/cri-containerd-c{container}.scope")
}

fn folder(root: &Path, container: u64) -> PathBuf {
    root.join(path(container).trim_start_matches('/'))
}

/// A tree of containers; each has these files.
fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().unwrap();
    for container in 0..CONTAINERS {
        let folder = folder(root.path(), container);
        fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            fs::write(folder.join(name), text).unwrap();
        }
    }
    root
}

fn sampler(root: &Path, proc: &Path, max_descriptors: usize) -> Sampler {
    let roots = Roots {
        unified: Some(root.to_owned()),
        ..Roots::default()
    };
    let options = Options {
        max_descriptors,
        proc_root: proc.to_owned(),
        ..Options::default()
    };
    let mut sampler = Sampler::new(roots, options);
    for container in 0..CONTAINERS {
        assert!(
            sampler
                .add_young(container, &path(container), SECOND)
                .unwrap()
        );
    }
    sampler
}

/// Allocations of `rounds` seconds from the second `from` on, after the first rounds have made
/// what is used again; each second is a sample and ten ticks.
fn measured(sampler: &mut Sampler, from: u64, rounds: u64) -> AllocationInfo {
    measure(|| {
        for second in from..from + rounds {
            let now = second * SECOND;
            for tick in 0..10 {
                sampler.look_at_young(now + tick * SECOND / 10, |_, bytes| assert!(bytes > 0));
            }
            let round = sampler.sample_all(|| now, |id| Some(id * 7));
            assert_eq!(round.samples.len() as u64, CONTAINERS);
            assert!(round.samples.iter().all(|sample| sample.memory.is_some()));
        }
    })
}

#[test]
fn the_counter_counts() {
    let info = measure(|| drop(std::hint::black_box(vec![1_u8; 100])));
    assert_eq!((info.count_total, info.count_current), (1, 0));
}

/// With open files, and with files that are opened for each read.
#[test]
fn a_round_allocates_nothing() {
    let root = tree(&V2);
    for max_descriptors in [10_000, 3, 0] {
        let mut sampler = sampler(root.path(), Path::new("/nowhere"), max_descriptors);
        measured(&mut sampler, 1, 3);
        let info = measured(&mut sampler, 4, ROUNDS);
        assert_eq!(
            (info.count_total, info.bytes_total),
            (0, 0),
            "{max_descriptors} descriptors: {info:?}"
        );
        assert!(sampler.counters().memory_stats >= CONTAINERS * ROUNDS / 5);
        assert_eq!(
            sampler.take_problem().map(|problem| problem.to_string()),
            None
        );
    }
}

/// The young are looked at without allocating as well, as long as they are young.
#[test]
fn a_look_at_the_young_allocates_nothing() {
    let root = tree(&V2);
    let mut sampler = sampler(root.path(), Path::new("/nowhere"), 10_000);
    sampler.look_at_young(SECOND, |_, _| {});
    let info = measure(|| {
        for tick in 1..10 {
            sampler.look_at_young(SECOND + tick * SECOND / 10, |_, _| {});
        }
    });
    assert_eq!(sampler.counters().young_looks, 10 * CONTAINERS);
    assert_eq!(info.count_total, 0, "{info:?}");
}

/// Without a memory controller: the walk for cgroups within a container, every five seconds,
/// allocates and gives it all back; between two walks nothing is allocated.
#[test]
fn processes_are_added_up_without_growing() {
    let root = tree(&[
        ("cpu.stat", "usage_usec 500\n"),
        ("cgroup.procs", "12\n13\n"),
    ]);
    let proc = tempfile::tempdir().unwrap();
    for pid in ["12", "13"] {
        fs::create_dir_all(proc.path().join(pid)).unwrap();
        let status = "Name:\ta\nRssAnon:\t 10 kB\nRssFile:\t 20 kB\nRssShmem:\t 1 kB\n";
        fs::write(proc.path().join(pid).join("status"), status).unwrap();
    }
    let mut sampler = sampler(root.path(), proc.path(), 10_000);
    measured(&mut sampler, 1, 11);
    let between = measured(&mut sampler, 12, 4);
    assert_eq!(between.count_total, 0, "{between:?}");
    let long = measured(&mut sampler, 16, ROUNDS);
    assert_eq!((long.count_current, long.bytes_current), (0, 0), "{long:?}");
}
