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
fn badly_covered_and_starting_windows_do_not_shape_the_request() {
    let mut usage = Usage::default();
    let mut thin = window("c", 1, 100, 0);
    thin.observed_ns /= 3;
    usage.add(&thin);
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
        mut values in prop::collection::vec((0..400_u64, 0..5_000_u64, 0..1_u64 << 34), 1..60),
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
