//! Which bucket an integer belongs to, without floating point: the same on every machine.
//!
//! All arithmetic is done at [`FINEST`] (2⁴ buckets per octave); a coarser scale is an arithmetic
//! shift of the index, which is exact because buckets include their upper bound.

/// The finest scale; equals [`super::MAX_SCALE`].
const FINEST: u32 = 4;
const PER_OCTAVE: i32 = 1 << FINEST;

/// `floor(2⁶³ · 2^(k/16))`. The true bounds are irrational except for `k = 0`, so an integer lies
/// above a bound exactly if it lies above its floor.
const BOUNDS: [u64; 1 << FINEST] = [
    0x8000_0000_0000_0000,
    0x85AA_C367_CC48_7B14,
    0x8B95_C1E3_EA8B_D6E6,
    0x91C3_D373_AB11_C336,
    0x9837_F051_8DB8_A96F,
    0x9EF5_3260_91A1_11AD,
    0xA5FE_D6A9_B151_38EA,
    0xAD58_3EEA_42A1_4AC6,
    0xB504_F333_F9DE_6484,
    0xBD08_A39F_580C_36BE,
    0xC567_2A11_5506_DADD,
    0xCE24_8C15_1F84_80E3,
    0xD744_FCCA_D69D_6AF4,
    0xE0CC_DEEC_2A94_E111,
    0xEAC0_C6E7_DD24_392E,
    0xF525_7D15_2486_CC2C,
];

/// How far an index of the finest scale is shifted for `scale`.
const fn shift(scale: i8) -> u32 {
    FINEST.saturating_sub_signed(scale as i32)
}

/// Index of the bucket of `value` at `scale`; `None` for zero, which has no bucket.
pub(super) fn index(value: u64, scale: i8) -> Option<i32> {
    let exponent = value.checked_ilog2()?;
    let mantissa = value << (63 - exponent);
    let above = BOUNDS.partition_point(|&bound| bound < mantissa);
    let finest = i32::try_from(exponent * (1 << FINEST) + u32::try_from(above).ok()?).ok()? - 1;
    Some(finest >> shift(scale))
}

/// The first and the last index that an integer can have at `scale`.
pub(super) const fn index_range(scale: i8) -> (i32, i32) {
    (-1, (64 * PER_OCTAVE - 1) >> shift(scale))
}

/// Largest integer that is not above `2^(finest/16)`.
fn floor_power(finest: i64) -> u64 {
    let Ok(finest) = u32::try_from(finest) else {
        return 0;
    };
    let exponent = finest >> FINEST;
    let within = finest & ((1 << FINEST) - 1);
    match BOUNDS.get(within as usize) {
        Some(bound) if exponent < 64 => bound >> (63 - exponent),
        _ => u64::MAX,
    }
}

/// Bounds of bucket `index` at `scale` in integers: above the first, up to and with the second.
pub(super) fn bounds(index: i32, scale: i8) -> (u64, u64) {
    let shift = shift(scale);
    let (below, upto) = (i64::from(index) << shift, (i64::from(index) + 1) << shift);
    (floor_power(below), floor_power(upto))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn powers_of_two_are_upper_bounds() {
        for exponent in 0..64_u32 {
            let value = 1_u64 << exponent;
            let at_zero = index(value, 0).unwrap();
            assert_eq!(at_zero, exponent.cast_signed() - 1, "2^{exponent}");
            for scale in -6..=4 {
                let found = index(value, scale).unwrap();
                if scale >= 0 {
                    assert_eq!(bounds(found, scale).1, value, "2^{exponent} at {scale}");
                }
            }
        }
        assert_eq!(index(0, 4), None);
        assert_eq!(index(u64::MAX, 4), Some(1023));
    }

    #[test]
    fn index_range_holds_the_extremes() {
        for scale in -6..=4 {
            let (first, last) = index_range(scale);
            assert_eq!(index(1, scale), Some(first), "scale {scale}");
            assert_eq!(index(u64::MAX, scale), Some(last), "scale {scale}");
        }
    }

    fn any_magnitude() -> impl Strategy<Value = u64> {
        (1..=u64::MAX, 0..64_u32).prop_map(|(value, shift)| (value >> shift).max(1))
    }

    proptest! {
        #[test]
        fn bounds_contain_their_values(value in any_magnitude(), scale in -6_i8..=4) {
            let (lower, upper) = bounds(index(value, scale).unwrap(), scale);
            prop_assert!(lower < value && value <= upper, "{lower} < {value} <= {upper}");
        }

        #[test]
        fn neighbours_meet(at in -1_i32..1023, scale in -6_i8..=4) {
            let (first, last) = index_range(scale);
            let at = at.clamp(first, last - 1);
            prop_assert_eq!(bounds(at, scale).1, bounds(at + 1, scale).0);
        }
    }
}
