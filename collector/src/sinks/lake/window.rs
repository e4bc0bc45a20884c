//! Which events go into an object together, and what it is called. Pure.
//!
//! A window is a run of the trail: of one epoch of the chain, of one stretch of time by the times that the trail itself
//! has written down, and of so many events and bytes at the most. Where it begins and ends follows from what is in the
//! trail, and not from when it is looked at: tried again it is the same, under the same names. Only its end may be given
//! by the clock, when nothing came any more; tried again it can only have got longer.

use std::collections::BTreeMap;

use jiff::Timestamp;

/// Events of a window at the most: each takes 40 bytes of memory, and as many again while it is stored.
pub const MAX_ROWS: usize = 200_000;
/// How long after its end by the clock a window is waited for, nanoseconds: what is being written is in by then.
pub const GRACE_NS: u64 = 5_000_000_000;

/// Days between an event and the trail's time from which on the event's own clock is not believed: of one window there
/// are objects of so many days to each side at the most.
pub const MAX_DAYS: u64 = 14;
const DAY_MS: i64 = 86_400_000;

/// What bounds a window.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Its time, nanoseconds.
    pub window_ns: u64,
    /// Bytes of events from which on it is full.
    pub bytes: u64,
}

/// An event of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    /// When it happened, Unix milliseconds.
    pub time_ms: i64,
    /// Its number in its epoch.
    pub seq: u64,
    /// Its class in OCSF 1.3.
    pub class_uid: i64,
    /// Where its text is kept.
    pub offset: u64,
    /// The text's bytes.
    pub len: usize,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Window {
    /// Of its first record: epoch and which stretch of time.
    first: Option<(String, u64, u64)>,
    /// The last record that is in, whether it has a row or not; a number of the trail's journal.
    last_number: u64,
    /// It is over, whatever comes.
    is_closed: bool,
    bytes: u64,
    rows: Vec<Row>,
}

/// Where an object belongs: class, and day of the events; that of the trail where an event's is far from it.
pub type Place = (i64, String);

impl Window {
    /// Whether the record with that number, epoch and time of the trail belongs here. If not, it is over.
    pub fn admits(&mut self, epoch: &str, trail_ns: u64, bounds: Bounds) -> bool {
        let stretch = trail_ns / bounds.window_ns.max(1);
        let (of, at, _) = self
            .first
            .get_or_insert_with(|| (epoch.to_owned(), stretch, trail_ns));
        let is_of = of == epoch && *at == stretch;
        self.is_closed |= !is_of;
        is_of && !self.is_closed
    }

    /// A record is in.
    pub fn pass(&mut self, number: u64) {
        self.last_number = number;
    }

    /// With that row.
    pub fn push(&mut self, row: Row, bounds: Bounds) {
        self.bytes += row.len as u64;
        self.rows.push(row);
        self.is_closed |= self.bytes >= bounds.bytes || self.rows.len() >= MAX_ROWS;
    }

    /// Nothing more comes in. What is being stored must not grow: an object that is there would not have the rest.
    pub const fn close(&mut self) {
        self.is_closed = true;
    }

    /// Whether it is over: closed, or nothing can come any more by this clock. One that was set makes it end early or
    /// late, not never.
    pub fn is_over(&self, now_ns: u64, bounds: Bounds) -> bool {
        self.is_closed || self.wait_ns(now_ns, bounds) == Some(0)
    }

    /// How long until it is over by the clock; `None` while there is nothing in it.
    pub fn wait_ns(&self, now_ns: u64, bounds: Bounds) -> Option<u64> {
        let (_, stretch, first_ns) = self.first.as_ref()?;
        let end = (stretch + 1)
            .saturating_mul(bounds.window_ns)
            .saturating_add(GRACE_NS);
        let is_set_back = first_ns.saturating_sub(now_ns) > GRACE_NS;
        Some(if is_set_back {
            0
        } else {
            end.saturating_sub(now_ns)
        })
    }

    /// Its epoch.
    pub fn epoch(&self) -> &str {
        self.first.as_ref().map_or("", |(epoch, ..)| epoch)
    }

    /// The last record that is in.
    pub const fn last_number(&self) -> u64 {
        self.last_number
    }

    /// Where the next text is kept.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The time by whose day an event is filed. A node says when its events were, and may say anything: without a bound
    /// each would have an object of its own.
    fn filed_ms(&self, time_ms: i64) -> i64 {
        let begin_ns = self.first.as_ref().map_or(0, |(.., first_ns)| *first_ns);
        let trail_ms = i64::try_from(begin_ns / 1_000_000).unwrap_or(i64::MAX);
        let days = |ms: i64| ms.div_euclid(DAY_MS);
        if days(time_ms).abs_diff(days(trail_ms)) > MAX_DAYS {
            trail_ms
        } else {
            time_ms
        }
    }

    /// Its rows by object, each in the order of time, and of number where that is one.
    pub fn objects(&self) -> BTreeMap<Place, Vec<Row>> {
        let mut objects: BTreeMap<Place, Vec<Row>> = BTreeMap::new();
        for row in &self.rows {
            let place = (row.class_uid, day(self.filed_ms(row.time_ms)));
            objects.entry(place).or_default().push(*row);
        }
        for rows in objects.values_mut() {
            rows.sort_unstable();
        }
        objects
    }
}

/// The UTC day of a time, as Security Lake writes it.
pub fn day(time_ms: i64) -> String {
    let time = Timestamp::from_millisecond(time_ms).unwrap_or(Timestamp::UNIX_EPOCH);
    time.strftime("%Y%m%d").to_string()
}

/// The name of an object by what is in it first: with more behind that it is the same one.
pub fn name(epoch: &str, rows: &[Row]) -> String {
    let first = rows.iter().map(|row| row.seq).min().unwrap_or_default();
    format!("{epoch}-{first:020}.zstd.parquet")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const BOUNDS: Bounds = Bounds {
        window_ns: 300 * SECOND,
        bytes: 1000,
    };

    /// A record of the trail: when it was written down, and its row.
    #[derive(Clone, Debug)]
    struct Written {
        epoch: u64,
        trail_ns: u64,
        row: Row,
    }

    fn row(seq: u64, time_ms: i64, class_uid: i64, len: usize) -> Row {
        Row {
            time_ms,
            seq,
            class_uid,
            offset: 0,
            len,
        }
    }

    /// The window behind that number, of what is there.
    fn window(trail: &[Written], from: usize) -> Window {
        let mut window = Window::default();
        for (number, written) in trail.iter().enumerate().skip(from) {
            let epoch = written.epoch.to_string();
            if window.is_closed || !window.admits(&epoch, written.trail_ns, BOUNDS) {
                break;
            }
            window.push(written.row, BOUNDS);
            window.pass(number as u64);
        }
        window
    }

    type Bucket = BTreeMap<(Place, String), Vec<u64>>;

    fn put(bucket: &mut Bucket, window: &Window, most: usize) {
        for (place, rows) in window.objects().into_iter().take(most) {
            let name = name(window.epoch(), &rows);
            let seqs = rows.iter().map(|row| row.seq).collect();
            bucket.insert((place, name), seqs);
        }
    }

    fn any_trail() -> impl Strategy<Value = Vec<Written>> {
        let one = (
            prop_oneof![9 => 0..40_i64, 1 => -400..400_i64],
            prop_oneof![Just(0), Just(4002), Just(6002)],
            1..300_usize,
            -200_000..200_000_i64,
            prop::bool::weighted(0.05),
        );
        prop::collection::vec(one, 1..80).prop_map(|parts| {
            let (mut epoch, mut seq, mut second) = (1, 0, 1_790_000_000_i64);
            let next = |(step, class_uid, len, off_ms, is_new_life)| {
                if is_new_life {
                    (epoch, seq) = (epoch + 1, 0);
                }
                seq += 1;
                second += step;
                Written {
                    epoch,
                    trail_ns: second.unsigned_abs() * SECOND,
                    row: row(seq, second * 1000 + off_ms, class_uid, len),
                }
            };
            parts.into_iter().map(next).collect()
        })
    }

    proptest! {
        /// However often a life ends, and wherever: the same objects with the same events. Where a life ended while the
        /// end of the trail was another, an object that is there has all of it by the next.
        #[test]
        fn any_split_by_kills_gives_the_same_objects(
            trail in any_trail(),
            kills in prop::collection::vec((0..4_usize, any::<prop::sample::Index>()), 0..20),
        ) {
            let mut expect = Bucket::new();
            let mut from = 0;
            while from < trail.len() {
                let window = window(&trail, from);
                put(&mut expect, &window, usize::MAX);
                from = usize::try_from(window.last_number()).unwrap() + 1;
            }
            let (mut bucket, mut from) = (Bucket::new(), 0);
            let mut kills = kills.into_iter();
            while from < trail.len() {
                if let Some((stored, there)) = kills.next() {
                    // Part of it is stored, of what is in the trail by then; the cursor stays.
                    let there = from + 1 + there.index(trail.len() - from);
                    put(&mut bucket, &window(&trail[..there], from), stored);
                    continue;
                }
                let window = window(&trail, from);
                put(&mut bucket, &window, usize::MAX);
                from = usize::try_from(window.last_number()).unwrap() + 1;
            }
            prop_assert_eq!(&bucket, &expect);
            let stored: usize = bucket.values().map(Vec::len).sum();
            prop_assert_eq!(stored, trail.len());
        }

        /// An object is of one class, day and epoch, by time, and bounded.
        #[test]
        fn objects_are_what_security_lake_takes(trail in any_trail()) {
            let mut from = 0;
            let mut names = BTreeSet::new();
            while from < trail.len() {
                let window = window(&trail, from);
                let before_last = window.rows.iter().rev().skip(1).map(|row| row.len as u64);
                prop_assert!(before_last.sum::<u64>() < BOUNDS.bytes);
                for ((class_uid, of), rows) in window.objects() {
                    prop_assert!(rows.iter().all(|row| row.class_uid == class_uid && day(row.time_ms) == of));
                    prop_assert!(rows.is_sorted_by_key(|row| (row.time_ms, row.seq)));
                    prop_assert!(names.insert((class_uid, of, name(window.epoch(), &rows))));
                }
                from = usize::try_from(window.last_number()).unwrap() + 1;
            }
        }
    }

    #[test]
    fn a_window_is_over_by_the_trails_time_or_a_little_after_it_by_the_clock() {
        let mut window = Window::default();
        assert_eq!(window.wait_ns(0, BOUNDS), None);
        // Five minutes past an hour.
        let begin = 1_790_000_100 * SECOND;
        assert!(window.admits("e", begin + 7, BOUNDS));
        let end = begin + 300 * SECOND;
        assert_eq!(window.wait_ns(end, BOUNDS), Some(GRACE_NS));
        assert!(!window.is_over(end + GRACE_NS - 1, BOUNDS));
        assert!(window.is_over(end + GRACE_NS, BOUNDS));
        // A clock that was set back by more than a moment.
        assert!(!window.is_over(begin - SECOND, BOUNDS));
        assert!(window.is_over(begin - 6 * SECOND, BOUNDS));
        assert!(window.admits("e", end - 1, BOUNDS));
        assert!(!window.admits("f", end - 1, BOUNDS));
        assert!(
            window.is_over(begin, BOUNDS),
            "it comes behind another epoch"
        );
        assert!(!window.admits("e", end - 1, BOUNDS));
        let mut window = Window::default();
        assert!(window.admits("e", begin, BOUNDS) && !window.admits("e", end, BOUNDS));
    }

    /// A node's clock decides no more than that.
    #[test]
    fn an_event_far_from_the_trails_time_is_filed_under_the_trails_day() {
        // 20 September 2026, noon.
        let (now_ms, day_ms) = (1_789_905_600_000_i64, 86_400_000_i64);
        let mut window = Window::default();
        assert!(window.admits("e", now_ms.unsigned_abs() * 1_000_000, BOUNDS));
        let far = [
            i64::MIN,
            0,
            now_ms - 15 * day_ms,
            now_ms + 15 * day_ms,
            i64::MAX,
        ];
        let near = [now_ms - 14 * day_ms, now_ms, now_ms + 14 * day_ms];
        for (seq, time_ms) in (1..).zip(far.into_iter().chain(near)) {
            window.push(row(seq, time_ms, 0, 1), BOUNDS);
        }
        let objects = window.objects();
        let counts: Vec<_> = objects
            .iter()
            .map(|((_, day), rows)| (day.as_str(), rows.len()))
            .collect();
        assert_eq!(counts, [("20260906", 1), ("20260920", 6), ("20261004", 1)]);
        let times = objects.values().flatten().map(|row| row.time_ms);
        assert_eq!(times.filter(|time| far.contains(time)).count(), 5);
    }

    #[test]
    fn days_are_utc_and_names_are_of_the_first_number() {
        assert_eq!(day(1_764_547_199_999), "20251130");
        assert_eq!(day(1_764_547_200_000), "20251201");
        assert_eq!(day(-1), "19691231");
        let rows = [row(12, 5, 0, 1), row(7, 9, 0, 1)];
        assert_eq!(name("e", &rows), "e-00000000000000000007.zstd.parquet");
    }
}
