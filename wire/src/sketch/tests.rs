use proptest::prelude::*;

use super::*;

fn of(values: &[u64]) -> Sketch {
    let mut sketch = Sketch::default();
    for &value in values {
        sketch.add(value);
    }
    sketch
}

fn merged(a: &Sketch, b: &Sketch) -> Sketch {
    let mut sum = a.clone();
    sum.merge(b);
    sum
}

fn values() -> impl Strategy<Value = Vec<u64>> {
    let any_magnitude =
        (any::<u64>(), 0..=64_u32).prop_map(|(value, by)| value.checked_shr(by).unwrap_or(0));
    let usual = 0..4_000_000_000_u64;
    prop::collection::vec(prop_oneof![any_magnitude, usual], 0..200)
}

#[test]
fn knows_simple_facts() {
    let sketch = of(&[0, 0, 1, 2, 3, 1000]);
    assert_eq!(
        (sketch.count(), sketch.sum(), sketch.zero_count()),
        (6, 1006, 2)
    );
    assert_eq!((sketch.min(), sketch.max()), (Some(0), Some(1000)));
    assert_eq!(sketch.quantile(0.0), Some(0));
    assert_eq!(sketch.quantile(0.5), Some(1), "rank 3 of 6");
    assert_eq!(sketch.quantile(1.0), Some(1000));
}

#[test]
fn empty_is_unknown_not_zero() {
    let empty = Sketch::default();
    assert_eq!((empty.min(), empty.max()), (None, None));
    assert_eq!(empty.quantile(0.5), None);
    assert_eq!(of(&[1]).quantile(f64::NAN), None);
}

#[test]
fn widening_halves_the_resolution_only_as_far_as_needed() {
    assert_eq!(of(&[1, 1 << 19]).scale(), 4);
    assert_eq!(of(&[1, 1 << 30]).scale(), 3);
    let whole = of(&[1, u64::MAX]);
    assert_eq!(whole.scale(), 2);
    assert!(whole.bucket_counts().len() <= MAX_BUCKETS);
    assert_eq!(whole.sum(), u64::MAX, "saturates");
}

#[test]
fn hostile_parts_are_refused_by_name() {
    let good = of(&[5, 9, 0]);
    let check = |change: &dyn Fn(&mut Parts<'_>), want: &str| {
        let mut parts = good.parts();
        change(&mut parts);
        assert_eq!(Sketch::from_parts(parts).unwrap_err().to_string(), want);
    };
    check(&|p| p.scale = 5, "scale 5 is not within -6 and 4");
    check(
        &|p| p.scale = i32::MIN,
        "scale -2147483648 is not within -6 and 4",
    );
    check(
        &|p| p.bucket_counts = &[1; 321],
        "321 buckets, at most 320 are kept",
    );
    check(
        &|p| p.offset = i32::MAX,
        "bucket 2147483660 at scale 4 holds no 64-bit integer",
    );
    check(
        &|p| p.offset = -2,
        "bucket -2 at scale 4 holds no 64-bit integer",
    );
    check(
        &|p| p.count = 4,
        "buckets and zeros add up to 3, the count says 4",
    );
    check(
        &|p| p.min = Some(1),
        "minimum 1 does not lie in the first filled bucket",
    );
    check(
        &|p| p.max = Some(900),
        "maximum 900 does not lie in the last filled bucket",
    );
    check(
        &|p| p.sum = 28,
        "sum 28 is impossible for 3 values of 0 to 9",
    );
}

#[test]
fn absent_extremes_come_from_the_buckets() {
    let sketch = of(&[1000, 2000]);
    let back = Sketch::from_parts(Parts {
        min: None,
        max: None,
        ..sketch.parts()
    })
    .unwrap();
    let (min, max) = (back.min().unwrap(), back.max().unwrap());
    assert!(
        (957..=1000).contains(&min) && (2000..=2090).contains(&max),
        "{min} {max}"
    );
}

#[test]
fn json_is_checked_as_well() {
    let sketch = of(&[0, 7, 7_000_000_000]);
    let text = serde_json::to_string(&sketch).unwrap();
    assert_eq!(serde_json::from_str::<Sketch>(&text).unwrap(), sketch);
    let empty = serde_json::to_string(&Sketch::default()).unwrap();
    assert_eq!(
        serde_json::from_str::<Sketch>(&empty).unwrap(),
        Sketch::default()
    );
    let forged = text.replace("\"count\":3", "\"count\":4");
    assert!(
        serde_json::from_str::<Sketch>(&forged)
            .unwrap_err()
            .to_string()
            .contains("add up to 3")
    );
}

proptest! {
    #[test]
    fn merge_is_commutative_and_equals_adding(a in values(), b in values()) {
        let (left, right) = (merged(&of(&a), &of(&b)), merged(&of(&b), &of(&a)));
        prop_assert_eq!(&left, &right);
        let all: Vec<u64> = a.iter().chain(&b).copied().collect();
        prop_assert_eq!(left, of(&all));
    }

    #[test]
    fn merge_is_associative(a in values(), b in values(), c in values(), coarse in 0_i8..4) {
        let (a, b, mut c) = (of(&a), of(&b), of(&c));
        c.coarsen_to(c.scale() - coarse);
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &merged(&c, &b)), merged(&merged(&c, &a), &b));
    }

    #[test]
    fn the_empty_sketch_changes_nothing(a in values()) {
        let a = of(&a);
        prop_assert_eq!(merged(&a, &Sketch::default()), a.clone());
        prop_assert_eq!(merged(&Sketch::default(), &a), a);
    }

    #[test]
    fn order_and_repeats_do_not_matter(mut a in values(), n in 0_u64..5) {
        let forwards = of(&a);
        a.reverse();
        prop_assert_eq!(&forwards, &of(&a));
        let (mut once, mut many) = (Sketch::default(), Sketch::default());
        for &value in &a {
            once.add_n(value, n);
            (0..n).for_each(|_| many.add(value));
        }
        prop_assert_eq!(once, many);
    }

    #[test]
    fn counts_are_kept(a in values()) {
        let sketch = of(&a);
        prop_assert_eq!(sketch.count(), a.len() as u64);
        let bucketed: u64 = sketch.buckets().map(|bucket| bucket.count).sum();
        prop_assert_eq!(bucketed + sketch.zero_count(), sketch.count());
        prop_assert!(sketch.bucket_counts().len() <= MAX_BUCKETS);
        prop_assert_eq!(sketch.min(), a.iter().min().copied());
        prop_assert_eq!(sketch.max(), a.iter().max().copied());
    }

    #[test]
    fn quantiles_are_within_half_a_bucket(mut a in values(), percent in 0_u32..=100) {
        prop_assume!(!a.is_empty());
        let sketch = of(&a);
        a.sort_unstable();
        let rank = (percent as usize * a.len()).div_ceil(100).max(1);
        let truth = a[rank - 1];
        let found = sketch.quantile(f64::from(percent) / 100.0).unwrap();
        let half_width = (2_f64.powf(2_f64.powi(-i32::from(sketch.scale()))) - 1.0) / 2.0;
        let allowed = (truth as f64 * half_width).ceil() + 1.0;
        prop_assert!((found.abs_diff(truth) as f64) <= allowed, "{found} for {truth}, allowed {allowed}");
    }

    #[test]
    fn parts_come_back_the_same(a in values()) {
        let sketch = of(&a);
        prop_assert_eq!(Sketch::from_parts(sketch.parts()), Ok(sketch));
    }

    #[test]
    fn any_parts_are_refused_or_usable(
        scale in prop_oneof![-8..8_i32, any::<i32>()],
        zero_count in prop_oneof![0..3_u64, any::<u64>()],
        offset in prop_oneof![-3..1100_i32, any::<i32>()],
        counts in prop::collection::vec(prop_oneof![0..3_u64, any::<u64>()], 0..330),
        lie in 0..4_u64, sum in any::<u64>(), min in any::<Option<u64>>(), max in any::<Option<u64>>(),
    ) {
        let count = counts.iter().fold(zero_count, |n, c| n.saturating_add(*c)).saturating_add(lie / 3);
        let parts = Parts { scale, zero_count, offset, bucket_counts: &counts, count, sum, min, max };
        if let Ok(mut sketch) = Sketch::from_parts(parts) {
            sketch.quantile(0.5);
            sketch.merge(&of(&[1, u64::MAX]));
            prop_assert!(sketch.count() >= count);
        }
    }
}
