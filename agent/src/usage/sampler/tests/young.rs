//! The young, whose peak is read between samples.
#![expect(clippy::disallowed_methods, reason = "tests write files")]

use super::super::young::{MAX_YOUNG_LOOKS, YOUNG_NS};
use super::*;
use crate::cgroup::parse::MemoryEvents;
use crate::usage::sample::MemoryNow;

fn looks(sampler: &mut Sampler, at_ns: u64) -> Vec<(u64, u64)> {
    let mut seen = Vec::new();
    sampler.look_at_young(at_ns, |id, bytes| seen.push((id, bytes)));
    seen
}

#[test]
fn the_memory_peak_of_the_young_is_read_with_each_tick() {
    let root = tempfile::tempdir().unwrap();
    put_v2(root.path());
    put(root.path(), &[("memory.peak", "0\n")]);
    let mut sampler = sampler(unified(root.path()), 100, Path::new("/nowhere"));
    assert!(sampler.add_young(7, PATH, S).unwrap());
    assert_eq!(sampler.len(), (1, 10), "the peak is open as well");
    assert_eq!(looks(&mut sampler, S), [], "nobody has entered it yet");
    for tick in 1..20 {
        let text = format!("{}\n", tick * 4096);
        put(root.path(), &[("memory.peak", &text)]);
        let now = S + tick * S / 10;
        assert_eq!(looks(&mut sampler, now), [(7, tick * 4096)]);
    }
    // The last look of its youth; from then on the samples do.
    assert_eq!(looks(&mut sampler, S + YOUNG_NS).len(), 1);
    assert_eq!(looks(&mut sampler, S + YOUNG_NS + S / 10), []);
    assert_eq!(sampler.len(), (1, 9));
    assert_eq!(
        one(&mut sampler, 4 * S).memory.unwrap().peak_bytes,
        Some(19 * 4096)
    );
    assert_eq!(sampler.counters().young_looks, 21);
    assert!(sampler.remove(7));
    assert_eq!(sampler.len(), (0, 0));
}

#[test]
fn the_young_take_turns_and_the_gone_drop_out() {
    let root = tempfile::tempdir().unwrap();
    put_v2(root.path());
    let mut sampler = sampler(unified(root.path()), 0, Path::new("/nowhere"));
    let many = MAX_YOUNG_LOOKS as u64 + 100;
    for id in 0..many {
        sampler.add_young(id, PATH, S).unwrap();
    }
    let first = looks(&mut sampler, S);
    let second = looks(&mut sampler, S);
    assert_eq!(
        (first.len(), second.len()),
        (MAX_YOUNG_LOOKS, MAX_YOUNG_LOOKS)
    );
    assert_eq!(
        second[0].0, MAX_YOUNG_LOOKS as u64,
        "goes on where it stopped"
    );
    // Removed from the tree: no look is spent on it again.
    fs::remove_dir_all(root.path().join("kubepods.slice")).unwrap();
    for _ in 0..2 {
        assert_eq!(looks(&mut sampler, S), []);
    }
    assert_eq!(
        sampler.counters().young_looks,
        2 * MAX_YOUNG_LOOKS as u64 + many
    );
    assert_eq!(looks(&mut sampler, S), []);
    assert_eq!(
        sampler.counters().young_looks,
        2 * MAX_YOUNG_LOOKS as u64 + many
    );
    assert_eq!(sampler.counters().files.unreadable, 0);
}

#[test]
fn without_a_controller_no_peak_is_claimed_until_there_is_one() {
    let root = tempfile::tempdir().unwrap();
    put(
        root.path(),
        &[("cpu.stat", "usage_usec 500\n"), ("cgroup.procs", "")],
    );
    let mut sampler = sampler(unified(root.path()), 100, Path::new("/nowhere"));
    sampler.add_young(7, PATH, S).unwrap();
    assert_eq!(looks(&mut sampler, S), []);
    assert_eq!(
        (sampler.memory_now(7), sampler.counters().young_looks),
        (MemoryNow::default(), 0)
    );
    // The runtime switches the controller on after it made the folder.
    put_v2(root.path());
    assert_eq!(looks(&mut sampler, S), [(7, 204_857_600)]);
    assert_eq!(sampler.len(), (1, 10));
    let events = MemoryEvents {
        oom_kills: Some(1),
        limit_failures: Some(2),
    };
    let now = MemoryNow {
        peak_bytes: Some(204_857_600),
        limit_bytes: None,
        events,
    };
    assert_eq!(sampler.memory_now(7), now);
    assert_eq!(
        one(&mut sampler, 2 * S).memory.unwrap().source,
        Source::CgroupV2
    );
}

#[test]
fn a_kernel_without_a_peak_gives_what_is_in_use() {
    let root = tempfile::tempdir().unwrap();
    put_v2(root.path());
    fs::remove_file(
        root.path()
            .join(PATH.trim_start_matches('/'))
            .join("memory.peak"),
    )
    .unwrap();
    put(root.path(), &[("memory.max", "300000000\n")]);
    let mut sampler = sampler(unified(root.path()), 100, Path::new("/nowhere"));
    sampler.add_young(7, PATH, S).unwrap();
    assert_eq!(looks(&mut sampler, S), [(7, 104_857_600)]);
    let now = sampler.memory_now(7);
    assert_eq!(
        (now.peak_bytes, now.limit_bytes),
        (Some(104_857_600), Some(300_000_000))
    );
}
