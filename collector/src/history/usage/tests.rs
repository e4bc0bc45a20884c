use super::*;
use crate::history::series::tests::window;
use proptest::prelude::*;

#[test]
fn a_window_is_taken_apart() {
    let mut usage = Usage::default();
    let mut first = window("c", 1, 100, 64 << 20);
    first.cpu.throttled_periods = Some(30);
    first.cpu.periods = Some(600);
    usage.add(&first);
    assert_eq!(usage.minute_means.max(), Some(100_000_000));
    assert_eq!(usage.throttling.share(), Some(0.05));
    assert_eq!(usage.coverage(), Some(1.0));
    assert_eq!(usage.memory_working_set.max_bytes, None);
    assert_eq!(
        usage.recent,
        [Point {
            end_unix_s: 120,
            mean_millicores: Some(100),
            max_millicores: Some(100),
            memory_kib: Some(64 << 10),
            throttled_permille: Some(50),
        }]
    );
}

#[test]
fn pictures_round_up_as_numbers_do() {
    let mut usage = Usage::default();
    let mut little = window("c", 1, 0, 1);
    little.cpu.used_ns = Some(400_000 * 60);
    little.cpu.per_second = Sketch::default();
    little.cpu.per_second.add_n(400_000, 60);
    little.cpu.throttled_periods = Some(1);
    little.cpu.periods = Some(100_000);
    usage.add(&little);
    let point = usage.recent[0];
    assert_eq!(
        [
            point.mean_millicores,
            point.max_millicores,
            point.memory_kib,
            point.throttled_permille
        ],
        [Some(1); 4]
    );
}

#[test]
fn hours_of_the_day_are_those_with_samples() {
    let mut usage = Usage::default();
    // 00:01, 00:59 and the same a day later; then a minute without a sample.
    for minute in [1, 59, 24 * 60 + 1, 24 * 60 + 59] {
        usage.add(&window("c", minute, 10, 1));
    }
    let mut blind = window("c", 3 * 60, 10, 1);
    blind.observed_ns = 0;
    usage.add(&blind);
    assert_eq!(usage.hours_of_day(), 1);
    let mut other = Usage::default();
    other.add(&window("c", 23 * 60, 10, 1));
    usage.merge(&other);
    assert_eq!(usage.day_hours, 1 | 1 << 23);
}

#[test]
fn days_are_those_with_samples_and_the_newest() {
    let day = 24 * 60;
    let mut usage = Usage::default();
    for n in (0..20).rev() {
        usage.add(&window("c", n * day, 10, 1));
        usage.add(&window("c", n * day + 600, 10, 1));
    }
    let mut blind = window("c", 30 * day, 10, 1);
    blind.observed_ns = 0;
    usage.add(&blind);
    assert_eq!(usage.days, (6..20).collect::<Vec<u32>>());
    // The collector's clock was ahead when they came.
    let noon = |day: u64| (day * 24 + 12) * 3600 * 1_000_000_000;
    usage.forget_after(noon(10), noon(10));
    assert_eq!(usage.days, [6, 7, 8, 9, 10]);
}

#[test]
fn badly_covered_and_starting_windows_do_not_shape_the_request() {
    let mut usage = Usage::default();
    let mut thin = window("c", 1, 100, 0);
    thin.observed_ns /= 3;
    usage.add(&thin);
    assert_eq!(usage.recent[0].mean_millicores, None, "nor the picture");
    let mut starting = window("c", 2, 900, 0);
    starting.phase = Phase::Startup;
    usage.add(&starting);
    assert!(usage.minute_means.is_empty());
    assert_eq!(usage.startup_minute_means.count(), 1);
    assert_eq!((usage.windows, usage.startup_windows), (2, 1));
}

proptest! {
    #[test]
    fn merging_any_split_in_any_order_is_adding_all(
        mut values in prop::collection::vec((0..40_000_u64, 0..5_000_u64, 0..1_u64 << 34), 1..60),
        cut in 0..60_usize,
    ) {
        values.sort_unstable();
        values.dedup_by_key(|v| v.0);
        let windows: Vec<_> = values.iter().map(|(at, cpu, mem)| window("c", *at, *cpu, *mem)).collect();
        let cut = cut.min(windows.len());
        let sum = |windows: &[UsageWindow]| {
            let mut usage = Usage::default();
            for window in windows {
                usage.add(window);
            }
            usage
        };
        let (all, left, right) = (sum(&windows), sum(&windows[..cut]), sum(&windows[cut..]));
        let mut there = left.clone();
        there.merge(&right);
        let mut back = right;
        back.merge(&left);
        prop_assert_eq!(&there, &all);
        prop_assert_eq!(&back, &all);
        prop_assert!(all.recent.len() <= RECENT_WINDOWS);
        let text = serde_json::to_string(&all).unwrap();
        prop_assert_eq!(serde_json::from_str::<Usage>(&text).unwrap(), all);
    }
}
