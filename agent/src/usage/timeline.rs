//! Monotonic time shown as wall-clock time that never goes back.
//!
//! Samples are taken and subtracted in monotonic time; windows are aligned to the wall clock, whose
//! distance to the monotonic clock is measured again and again. Where the two have parted:
//!
//! * The wall clock went forward: the timeline follows at once. What lies between is not covered.
//! * The wall clock went back: the timeline does not, for that time has been reported already. It
//!   stays ahead and runs 1/16 slower until the wall clock has caught up (8 minutes for 30 s, 16
//!   hours for an hour). Windows meanwhile hold up to 1/15 more monotonic time than their length;
//!   their `observed_ns` is monotonic, so rates stay exact.
//!
//! An event has no neighbour that it may not overlap, and is compared with other people's logs: it is
//! stamped with the wall clock as it was last measured ([`Timeline::stamp`]), also where that went
//! back. The order of events is that of their numbers, not of their times.
//!
//! A suspended machine is a wall clock that goes forward: CLOCK_MONOTONIC, in which the kernel stamps
//! its records, stands still meanwhile.
//!
//! It has no clock: whoever measures hands both readings in.

/// How much slower the timeline runs while it is ahead.
const SLEW: i128 = 16;

/// See the module.
#[expect(clippy::struct_field_names, reason = "units in names")]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Wall clock minus monotonic clock at the last measurement.
    offset_ns: i128,
    /// The last measurement, monotonic.
    measured_ns: u64,
    /// How far the timeline was ahead of the wall clock then.
    ahead_ns: u64,
}

impl Timeline {
    /// From the two clocks, read together.
    pub fn new(mono_ns: u64, wall_unix_ns: u64) -> Self {
        Self {
            offset_ns: i128::from(wall_unix_ns) - i128::from(mono_ns),
            measured_ns: mono_ns,
            ahead_ns: 0,
        }
    }

    /// Takes in a new measurement. Earlier ones than the last are ignored.
    pub fn remeasure(&mut self, mono_ns: u64, wall_unix_ns: u64) {
        if mono_ns < self.measured_ns {
            return;
        }
        let ahead_ns = self.wall_at(mono_ns).saturating_sub(wall_unix_ns);
        *self = Self {
            ahead_ns,
            ..Self::new(mono_ns, wall_unix_ns)
        };
    }

    /// The wall-clock time to show for a monotonic time, Unix nanoseconds. Never falls as `mono_ns`
    /// and the measurements rise.
    pub fn wall_at(&self, mono_ns: u64) -> u64 {
        let wall = i128::from(mono_ns) + self.offset_ns + i128::from(self.ahead_at(mono_ns));
        u64::try_from(wall.max(0)).unwrap_or(u64::MAX)
    }

    /// The wall clock's time of an event at a monotonic time, by the last measurement, Unix
    /// nanoseconds. Falls where the wall clock went back.
    pub fn stamp(&self, mono_ns: u64) -> u64 {
        let wall = i128::from(mono_ns) + self.offset_ns;
        u64::try_from(wall.max(0)).unwrap_or(u64::MAX)
    }

    /// How far the timeline is ahead of the wall clock.
    fn ahead_at(&self, mono_ns: u64) -> u64 {
        let since = i128::from(mono_ns.saturating_sub(self.measured_ns));
        u64::try_from((i128::from(self.ahead_ns) - since / SLEW).max(0)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = 1_000_000_000;

    #[test]
    fn follows_forwards_at_once_and_backwards_slowly() {
        let mut timeline = Timeline::new(100 * S, 5000 * S);
        assert_eq!(timeline.wall_at(101 * S), 5001 * S);
        timeline.remeasure(110 * S, 8610 * S);
        assert_eq!(
            (timeline.wall_at(110 * S), timeline.ahead_at(110 * S)),
            (8610 * S, 0)
        );
        timeline.remeasure(120 * S, 8590 * S);
        assert_eq!(
            (timeline.wall_at(120 * S), timeline.ahead_at(120 * S)),
            (8620 * S, 30 * S)
        );
        assert_eq!(
            timeline.stamp(120 * S),
            8590 * S,
            "an event has the clock's time"
        );
        assert_eq!(timeline.wall_at(136 * S), 8635 * S, "16 s take 15 s");
        assert_eq!(timeline.stamp(136 * S), 8606 * S);
        timeline.remeasure(136 * S, 8606 * S);
        assert_eq!(
            timeline.wall_at((136 + 16 * 29) * S),
            8606 * S + 16 * 29 * S,
            "caught up"
        );
        assert_eq!(
            timeline.wall_at((136 + 16 * 30) * S),
            8606 * S + 16 * 30 * S
        );
    }

    proptest! {
        #[test]
        fn never_falls(steps in prop::collection::vec((0..20 * S, -4000..4000_i64, any::<bool>()), 1..100)) {
            let (mut mono, mut wall) = (S, 1_800_000_000 * S);
            let mut timeline = Timeline::new(mono, wall);
            let mut shown = 0;
            for (by, step_s, measured) in steps {
                mono += by;
                wall = (wall + by).checked_add_signed(step_s * S.cast_signed()).unwrap();
                if measured {
                    timeline.remeasure(mono, wall);
                    prop_assert!(timeline.wall_at(mono) >= wall);
                }
                prop_assert!(timeline.wall_at(mono) >= shown);
                shown = timeline.wall_at(mono);
            }
        }
    }
}
