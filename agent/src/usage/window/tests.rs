use plimsoll_wire::usage::Source;
use proptest::prelude::*;

use super::*;
use crate::cgroup::parse::{CpuStat, MemoryEvents, MemoryStat};
use crate::usage::sample::{CpuSample, MemorySample};

const S: u64 = SECOND_NS;
/// 2027-01-15 08:00:00 UTC, a whole minute.
const EIGHT: u64 = 1_800_000_000 * S;

fn cpu(at_mono_ns: u64, usage_ns: u64) -> Sample {
    let stat = CpuStat {
        usage_ns: Some(usage_ns),
        ..CpuStat::default()
    };
    Sample {
        cpu: Some(CpuSample {
            source: Source::CgroupV2,
            stat,
        }),
        ..Sample::empty(1, at_mono_ns)
    }
}

fn memory(at_mono_ns: u64, current: u64, stat: Option<(u64, u64, u64)>) -> Sample {
    let stat = stat.map(|(anon, file, inactive_file)| MemoryStat {
        anon_bytes: Some(anon),
        file_bytes: Some(file),
        inactive_file_bytes: Some(inactive_file),
    });
    let memory = MemorySample {
        source: Source::CgroupV2,
        current_bytes: Some(current),
        peak_bytes: None,
        stat,
        limit_bytes: Some(1000),
        events: events(0),
    };
    Sample {
        memory: Some(memory),
        ..Sample::empty(1, at_mono_ns)
    }
}

fn events(kills: u64) -> MemoryEvents {
    MemoryEvents {
        oom_kills: Some(kills),
        limit_failures: Some(kills),
    }
}

/// Monotonic time `n` seconds is `EIGHT + n` seconds.
fn timeline() -> Timeline {
    Timeline::new(0, EIGHT)
}

fn windows(started: Option<u64>) -> Windows {
    Windows::new(Identity::unknown(1), started, Spec::default())
}

/// Start and end in seconds after eight, observed milliseconds, CPU milliseconds, number of
/// one-second values, `S`tartup or `-`, `last`.
fn show(windows: &[UsageWindow]) -> Vec<String> {
    let show = |w: &UsageWindow| {
        let s = |at: u64| (at.cast_signed() - EIGHT.cast_signed()) / S.cast_signed();
        let used = w
            .cpu
            .used_ns
            .map_or("?".to_owned(), |ns| (ns / 1_000_000).to_string());
        let phase = if w.phase == Phase::Startup { "S" } else { "-" };
        let last = if w.last { " last" } else { "" };
        let (from, to) = (s(w.start_unix_ns), s(w.end_unix_ns));
        format!(
            "{from}..{to} {}ms cpu {used}ms n {} {phase}{last}",
            w.observed_ns / 1_000_000,
            w.cpu.per_second.count()
        )
    };
    windows.iter().map(show).collect()
}

#[test]
fn cuts_at_whole_minutes_and_splits_what_straddles() {
    let (mut windows, mut closed) = (windows(None), Vec::new());
    for n in 0..=130 {
        // Samples at .5: the one at 60.5 covers both windows; half a core.
        windows.add(&cpu(n * S + S / 2, n * S / 2), &timeline(), &mut closed);
    }
    let life = windows.finish(&mut closed);
    assert_eq!(
        show(&closed),
        [
            "0..60 59500ms cpu 29750ms n 59 -",
            "60..120 60000ms cpu 30000ms n 60 -",
            "120..130 10500ms cpu 5250ms n 11 - last",
        ]
    );
    assert_eq!(life.cpu_used_ns, Some(65 * S));
    assert_eq!(closed[1].cpu.per_second.quantile(0.5), Some(S / 2));
    assert_eq!(closed[2].end_unix_ns, EIGHT + 130 * S + S / 2);
    assert!(closed[1].coverage() > 0.999);
}

#[test]
fn a_sample_at_the_very_end_stays_in_its_window() {
    let (mut windows, mut closed) = (windows(None), Vec::new());
    windows.add(&cpu(59 * S, 0), &timeline(), &mut closed);
    windows.add(&cpu(60 * S, 100_000_000), &timeline(), &mut closed);
    assert_eq!(closed, []);
    windows.finish(&mut closed);
    assert_eq!(show(&closed), ["0..60 1000ms cpu 100ms n 1 - last"]);
}

#[test]
fn start_up_is_kept_apart_by_whole_windows() {
    let started = 30 * S;
    let (mut windows, mut closed) = (windows(Some(started)), Vec::new());
    for n in 1..=270 {
        windows.add(&cpu(started + n * S, n * S), &timeline(), &mut closed);
    }
    windows.finish(&mut closed);
    assert_eq!(
        show(&closed),
        [
            "0..60 30000ms cpu 30000ms n 30 S",
            "60..120 60000ms cpu 60000ms n 60 S",
            "120..180 60000ms cpu 60000ms n 60 S",
            "180..240 60000ms cpu 60000ms n 60 -",
            "240..300 60000ms cpu 60000ms n 60 - last",
        ]
    );
}

#[test]
fn a_container_of_200_ms_has_its_cpu_time() {
    let started = 10 * S;
    let (mut windows, mut closed) = (windows(Some(started)), Vec::new());
    let only = Sample {
        ebpf_cpu_ns: Some(70_000_000),
        ..Sample::empty(1, started + S / 5)
    };
    assert_eq!(
        windows.add(&only, &timeline(), &mut closed),
        Booked::default()
    );
    let life = windows.finish(&mut closed);
    assert_eq!(show(&closed), ["0..10 200ms cpu 70ms n 0 S last"]);
    assert_eq!(closed[0].cpu.source, Some(Source::Ebpf));
    assert_eq!(life.cpu_used_ns, Some(70_000_000));
}

#[test]
fn nothing_known_is_none_and_not_zero() {
    let (mut windows, mut closed) = (windows(None), Vec::new());
    windows.add(&Sample::empty(1, S), &timeline(), &mut closed);
    windows.add(&Sample::empty(1, 2 * S), &timeline(), &mut closed);
    assert_eq!(windows.finish(&mut closed), Life::default());
    let window = &closed[0];
    assert_eq!(
        (window.observed_ns, window.cpu.used_ns, window.cpu.periods),
        (S, None, None)
    );
    assert_eq!(window.memory, MemoryUsage::default());
    assert_eq!(
        (window.cpu_pressure, window.pids_peak),
        (Pressure::default(), None)
    );
}

#[test]
fn memory_peaks_by_kind() {
    let (mut windows, mut closed) = (windows(None), Vec::new());
    windows.add(
        &memory(S, 300, Some((100, 150, 50))),
        &timeline(),
        &mut closed,
    );
    windows.add(&memory(2 * S, 700, None), &timeline(), &mut closed);
    windows.add(
        &memory(3 * S, 500, Some((200, 120, 20))),
        &timeline(),
        &mut closed,
    );
    let life = windows.finish(&mut closed);
    let found = &closed[0].memory;
    let want = MemoryUsage {
        source: Some(Source::CgroupV2),
        sampled_peak_bytes: Some(700),
        lifetime_peak_bytes: None,
        anon_peak_bytes: Some(200),
        file_peak_bytes: Some(150),
        working_set_peak_bytes: Some(480),
        mean_bytes: Some(500),
        // Of the time before the first sample nothing is known.
        oom_kills: Some(0),
        limit_failures: Some(0),
        limit_bytes: Some(1000),
    };
    assert_eq!(*found, want);
    assert_eq!(life.memory_peak_bytes, Some(700));
}

#[test]
fn a_peak_between_samples_is_the_windows_and_the_lifes() {
    let (mut windows, mut closed) = (windows(None), Vec::new());
    windows.add_memory_peak(800);
    windows.add(&memory(S, 300, None), &timeline(), &mut closed);
    windows.add_memory_peak(900);
    let life = windows.finish(&mut closed);
    let found = &closed[0].memory;
    assert_eq!(
        (found.sampled_peak_bytes, found.lifetime_peak_bytes),
        (Some(300), Some(900))
    );
    assert_eq!(life.memory_peak_bytes, Some(900));
}

/// Kills, failures at the limit, the limit and the kernel's peak.
fn killed(windows: Windows) -> (Option<u64>, Option<u64>, Option<u64>, Option<u64>) {
    let mut closed = Vec::new();
    windows.finish(&mut closed);
    let [window] = closed.as_slice() else {
        panic!("{closed:?}");
    };
    let memory = &window.memory;
    (
        memory.oom_kills,
        memory.limit_failures,
        memory.limit_bytes,
        memory.lifetime_peak_bytes,
    )
}

#[test]
fn a_kill_that_ends_the_container_is_in_its_last_window() {
    let at_death = MemoryNow {
        peak_bytes: Some(990),
        limit_bytes: Some(1000),
        events: events(1),
    };
    let nothing = MemoryNow::default();
    for (now, want) in [
        (at_death, (Some(1), Some(1), Some(1000), Some(990))),
        // Its files went too soon: that no limit had been reached before says nothing.
        (nothing, (Some(1), None, Some(1000), None)),
    ] {
        let (mut windows, mut closed) = (windows(Some(0)), Vec::new());
        for second in 1..=2 {
            windows.add(&memory(second * S, 50, None), &timeline(), &mut closed);
        }
        windows.oom_killed(&now, 2 * S + S / 3, &timeline());
        assert_eq!(killed(windows), want);
    }
    // Before its first sample.
    let mut young = windows(Some(S));
    young.oom_killed(&at_death, S + S / 3, &timeline());
    assert_eq!(killed(young), (Some(1), Some(1), Some(1000), Some(990)));
}

#[test]
fn a_kill_that_the_container_survives_counts_once() {
    let after = |kills| {
        let mut sample = memory(3 * S, 50, None);
        sample.memory.as_mut().unwrap().events = events(kills);
        sample
    };
    let read = MemoryNow {
        events: events(1),
        ..MemoryNow::default()
    };
    for (now, then, want) in [
        (Some(read), 1, 1),
        (Some(read), 2, 2),
        (Some(MemoryNow::default()), 1, 1),
        (Some(MemoryNow::default()), 2, 2),
        (None, 2, 2),
    ] {
        let (mut windows, mut closed) = (windows(None), Vec::new());
        for second in 1..=2 {
            windows.add(&memory(second * S, 50, None), &timeline(), &mut closed);
        }
        if let Some(now) = now {
            windows.oom_killed(&now, 2 * S + S / 3, &timeline());
        }
        windows.add(&after(then), &timeline(), &mut closed);
        let (kills, failures, ..) = killed(windows);
        assert_eq!(
            (kills, failures),
            (Some(want), Some(then)),
            "{now:?} {then}"
        );
    }
}

/// The interval in which it fell is booked where it lies, in one window each.
#[test]
fn a_kill_before_the_first_sample_opens_no_window_twice() {
    let (mut windows, mut closed) = (windows(Some(59 * S)), Vec::new());
    let now = MemoryNow::default();
    windows.oom_killed(&now, 60 * S + S / 10, &timeline());
    windows.add(&memory(60 * S + S / 2, 50, None), &timeline(), &mut closed);
    windows.add(&memory(61 * S, 50, None), &timeline(), &mut closed);
    windows.finish(&mut closed);
    let starts: Vec<_> = closed.iter().map(|window| window.start_unix_ns).collect();
    assert_eq!(starts, [EIGHT + 60 * S]);
}

#[test]
fn a_container_that_was_only_seen_empty_has_no_peak() {
    let (mut windows, mut closed) = (windows(None), Vec::new());
    windows.add(&memory(S, 0, None), &timeline(), &mut closed);
    assert_eq!(windows.finish(&mut closed).memory_peak_bytes, None);
}

#[test]
fn periods_of_100_ms_have_a_distribution_of_their_own() {
    let (mut windows, mut closed) = (windows(None), Vec::new());
    windows.add(&cpu(S, 0), &timeline(), &mut closed);
    windows.add_periods(100_000_000, 1);
    windows.add_periods(0, 9);
    windows.add(&cpu(2 * S, 100_000_000), &timeline(), &mut closed);
    windows.finish(&mut closed);
    let cpu = &closed[0].cpu;
    assert_eq!(
        (
            cpu.per_100ms.count(),
            cpu.per_100ms.zero_count(),
            cpu.per_100ms.max()
        ),
        (10, 9, Some(S))
    );
    assert_eq!(
        cpu.per_second.max(),
        Some(S / 10),
        "the second does not show the burst"
    );
}

#[test]
fn resets_and_gaps_are_told_and_booked_nowhere() {
    let (mut windows, mut closed) = (windows(None), Vec::new());
    windows.add(&cpu(10 * S, 100), &timeline(), &mut closed);
    assert_eq!(
        windows
            .add(&cpu(9 * S, 200), &timeline(), &mut closed)
            .reset,
        Some(Reset::TimeNotRising)
    );
    assert_eq!(
        windows
            .add(&cpu(11 * S, 50), &timeline(), &mut closed)
            .fallen,
        1
    );
    let other = Sample {
        inode: 2,
        ..cpu(12 * S, 9000)
    };
    assert_eq!(
        windows.add(&other, &timeline(), &mut closed).reset,
        Some(Reset::OtherInode)
    );
    let late = Sample {
        inode: 2,
        ..cpu(5000 * S, 9900)
    };
    assert!(windows.add(&late, &timeline(), &mut closed).gap);
    let life = windows.finish(&mut closed);
    assert_eq!(life.cpu_used_ns, None);
    assert_eq!(
        show(&closed),
        [
            "0..60 1000ms cpu ?ms n 0 -",
            "4980..5000 0ms cpu ?ms n 0 - last"
        ]
    );
}

/// A tick is some milliseconds late, and a round of many containers reads one of them sooner or later.
#[test]
fn every_interval_that_can_be_configured_gives_one_second_values() {
    for interval_ms in [500_u64, 1000, 2000] {
        let (mut windows, mut closed) = (windows(None), Vec::new());
        for (n, late_ms) in (0..=20).zip([0, 60, 20, 90].into_iter().cycle()) {
            let at_ms = 1000 + n * interval_ms + late_ms;
            windows.add(&cpu(at_ms * 1_000_000, n * S), &timeline(), &mut closed);
        }
        windows.finish(&mut closed);
        let values = closed.iter().map(|window| window.cpu.per_second.count());
        assert_eq!(values.sum::<u64>(), 20, "{interval_ms} ms");
    }
}

#[test]
fn a_late_sample_counts_but_is_no_one_second_value() {
    let (mut windows, mut closed) = (windows(None), Vec::new());
    windows.add(&cpu(0, 0), &timeline(), &mut closed);
    windows.add(&cpu(90 * S, 9 * S), &timeline(), &mut closed);
    windows.finish(&mut closed);
    assert_eq!(
        show(&closed),
        [
            "0..60 60000ms cpu 6000ms n 0 -",
            "60..90 30000ms cpu 3000ms n 0 - last"
        ]
    );
}

/// Runs an hour at 1 Hz; at each (second, step) the wall clock jumps. Gives the windows.
fn with_clock_steps(steps: &[(u64, i64)], seconds: u64, spec: Spec) -> Vec<UsageWindow> {
    let mut wall = EIGHT + 20 * S;
    let mut timeline = Timeline::new(0, wall);
    let (mut windows, mut closed) = (Windows::new(Identity::unknown(1), None, spec), Vec::new());
    for n in 0..=seconds {
        for (_, step) in steps.iter().filter(|(at, _)| *at == n) {
            wall = wall.checked_add_signed(step * S.cast_signed()).unwrap();
        }
        timeline.remeasure(n * S, wall);
        windows.add(&cpu(n * S, n * S / 4), &timeline, &mut closed);
        wall += S;
    }
    windows.finish(&mut closed);
    closed
}

#[track_caller]
fn check_order(windows: &[UsageWindow], seconds: u64, length_ns: u64) {
    for window in windows {
        assert_eq!(window.start_unix_ns % length_ns, 0);
        assert!(
            window.start_unix_ns < window.end_unix_ns
                && window.end_unix_ns <= window.start_unix_ns + length_ns
        );
        let most = u128::from(length_ns) * 16 / 15 + 1000;
        assert!(
            u128::from(window.observed_ns) <= most,
            "{} observed",
            window.observed_ns
        );
    }
    for pair in windows.windows(2) {
        assert!(
            pair[0].end_unix_ns <= pair[1].start_unix_ns,
            "{:?}",
            show(pair)
        );
    }
    let used: u64 = windows.iter().filter_map(|window| window.cpu.used_ns).sum();
    let observed: u64 = windows.iter().map(|window| window.observed_ns).sum();
    assert_eq!((used, observed), (seconds * S / 4, seconds * S));
}

#[test]
fn clock_steps_neither_overlap_nor_reverse_windows() {
    for step in [3600, -3600, 30, -30, 1, -1] {
        let found = with_clock_steps(&[(100, step)], 1800, Spec::default());
        check_order(&found, 1800, 60 * S);
        let there_and_back = with_clock_steps(&[(100, step), (700, -step)], 1800, Spec::default());
        check_order(&there_and_back, 1800, 60 * S);
    }
    assert_eq!(
        show(&with_clock_steps(&[(100, 3600)], 200, Spec::default())),
        [
            "0..60 40000ms cpu 10000ms n 40 -",
            "60..120 59000ms cpu 14750ms n 59 -",
            "3660..3720 1000ms cpu 250ms n 1 -",
            "3720..3780 60000ms cpu 15000ms n 60 -",
            "3780..3820 40000ms cpu 10000ms n 40 - last",
        ]
    );
}

proptest! {
    #[test]
    fn any_clock_keeps_windows_in_order(
        steps in prop::collection::vec((0..400_u64, -7200..7200_i64), 0..8), length in 1..120_u64,
    ) {
        let spec = Spec { length_ns: length * S, ..Spec::default() };
        check_order(&with_clock_steps(&steps, 400, spec), 400, length * S);
    }
}
