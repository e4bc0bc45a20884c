use proptest::prelude::*;

use super::*;

const NOW: i64 = 1_800_000_000_000;

fn at(timestamps: &[i64]) -> Vec<InputEvent> {
    let event = |t: &i64| InputEvent::new(*t, "m");
    timestamps.iter().map(event).collect()
}

fn refusal(batch: &[InputEvent]) -> Option<String> {
    match judge(batch, NOW, None) {
        Verdict::Refused(error) => {
            assert_eq!(
                (error.kind.as_str(), error.status),
                ("InvalidParameterException", 400)
            );
            Some(error.message)
        }
        Verdict::Taken { stored, rejected } => {
            assert_eq!((stored, rejected), (0..batch.len(), Rejected::default()));
            None
        }
    }
}

#[track_caller]
fn refused(batch: &[InputEvent], because: &str) {
    let message = refusal(batch).unwrap_or_default();
    assert!(message.contains(because), "{message:?}");
}

#[track_caller]
fn taken(batch: &[InputEvent]) {
    assert_eq!(refusal(batch), None);
}

/// Of sorted timestamps: (stored, too old, expired, too new).
fn placed(
    timestamps: &[i64],
    retention: Option<u32>,
) -> (Range<usize>, Option<usize>, Option<usize>, Option<usize>) {
    match judge(&at(timestamps), NOW, retention) {
        Verdict::Taken { stored, rejected } => (
            stored,
            rejected.too_old_end,
            rejected.expired_end,
            rejected.too_new_start,
        ),
        Verdict::Refused(error) => panic!("{error:?}"),
    }
}

#[test]
fn a_batch_has_one_to_ten_thousand_events() {
    refused(&[], "greater than or equal to 1");
    taken(&at(&[NOW]));
    taken(&at(&vec![NOW; 9_999]));
    taken(&at(&vec![NOW; 10_000]));
    refused(&at(&vec![NOW; 10_001]), "less than or equal to 10000");
}

#[test]
fn a_batch_has_a_mebibyte_with_26_bytes_for_each_event() {
    let of = |bytes: usize| {
        // Two events, the second with what the first leaves.
        let first = InputEvent::new(NOW, "a".repeat(1_000));
        let second = InputEvent::new(NOW, "b".repeat(bytes - 1_000 - 2 * 26));
        [first, second]
    };
    assert_eq!(charged_bytes(&of(1_048_576)), 1_048_576);
    taken(&of(1_048_575));
    taken(&of(1_048_576));
    refused(&of(1_048_577), "1048577 bytes exceeds limit of 1048576");
    refused(&of(2 * 1_048_576), "exceeds limit");
}

#[test]
fn a_message_has_one_to_1048550_bytes_of_utf_8() {
    let of = |message: String| [InputEvent::new(NOW, message)];
    refused(
        &of(String::new()),
        "logEvents.1.member.message' failed to satisfy",
    );
    taken(&of("a".to_owned()));
    taken(&of("a".repeat(1_048_549)));
    taken(&of("a".repeat(1_048_550)));
    refused(&of("a".repeat(1_048_551)), "Log event too large: 1048577");
    // Bytes, not characters: two for each.
    taken(&of("é".repeat(524_275)));
    refused(&of("é".repeat(524_276)), "Log event too large");
}

#[test]
fn a_timestamp_and_a_message_must_be_there() {
    let without = [
        InputEvent::new(NOW, "m"),
        InputEvent {
            timestamp: None,
            ..InputEvent::new(NOW, "m")
        },
    ];
    refused(&without, "logEvents.2.member.timestamp");
    let without = InputEvent {
        message: None,
        ..InputEvent::new(NOW, "m")
    };
    refused(&[without], "logEvents.1.member.message");
}

#[test]
fn a_timestamp_is_not_negative() {
    refused(&at(&[-1]), "greater than or equal to 0");
    assert_eq!(placed(&[0], None), (1..1, Some(1), None, None));
    assert_eq!(placed(&[1], None), (1..1, Some(1), None, None));
}

#[test]
fn events_are_in_order_of_time_and_may_share_one() {
    taken(&at(&[NOW - 1, NOW, NOW]));
    refused(&at(&[NOW, NOW - 1]), "chronological order");
    // What would be rejected counts too.
    refused(
        &at(&[NOW, NOW + AHEAD_MS_AT_MOST + 2, NOW + AHEAD_MS_AT_MOST + 1]),
        "chronological order",
    );
}

#[test]
fn a_batch_spans_24_hours() {
    let day = 86_400_000;
    taken(&at(&[NOW - day + 1, NOW]));
    taken(&at(&[NOW - day, NOW]));
    refused(&at(&[NOW - day - 1, NOW]), "more than 24 hours");
}

#[test]
fn the_span_is_that_of_valid_events() {
    let (old, new) = (NOW - 15 * DAY_MS, NOW + 3 * HOUR_MS);
    assert_eq!(
        placed(&[old, NOW - 86_400_000, NOW, new], None),
        (1..3, Some(1), None, Some(3))
    );
    let past = at(&[old, NOW - 86_400_001, NOW, new]);
    assert!(matches!(judge(&past, NOW, None), Verdict::Refused(_)));
    // What the group does not retain counts: the reference speaks of 14 days alone.
    let expired = at(&[NOW - 86_400_001, NOW]);
    assert!(matches!(judge(&expired, NOW, Some(1)), Verdict::Refused(_)));
    assert_eq!(
        placed(&[NOW - 86_400_001, NOW - 86_400_000, NOW - 1], Some(1)),
        (1..3, None, Some(1), None)
    );
}

#[test]
fn two_hours_ahead_is_taken_and_a_millisecond_more_is_too_new() {
    let limit = NOW + 7_200_000;
    assert_eq!(placed(&[limit - 1], None), (0..1, None, None, None));
    assert_eq!(placed(&[limit], None), (0..1, None, None, None));
    assert_eq!(placed(&[limit + 1], None), (0..0, None, None, Some(0)));
    // The index is that of the first one.
    assert_eq!(
        placed(&[limit, limit + 1, limit + 2], None),
        (0..1, None, None, Some(1))
    );
}

#[test]
fn fourteen_days_is_taken_and_a_millisecond_more_is_too_old() {
    let limit = NOW - 1_209_600_000;
    assert_eq!(placed(&[limit + 1], None), (0..1, None, None, None));
    assert_eq!(placed(&[limit], None), (0..1, None, None, None));
    assert_eq!(placed(&[limit - 1], None), (1..1, Some(1), None, None));
    // The index is that after the last one.
    assert_eq!(
        placed(&[limit - 3, limit - 2, limit - 1, limit], None),
        (3..4, Some(3), None, None)
    );
}

#[test]
fn what_the_group_does_not_retain_has_expired() {
    let limit = NOW - 3 * 86_400_000;
    assert_eq!(placed(&[limit + 1], Some(3)), (0..1, None, None, None));
    assert_eq!(placed(&[limit], Some(3)), (0..1, None, None, None));
    assert_eq!(placed(&[limit - 1], Some(3)), (1..1, None, Some(1), None));
    assert_eq!(
        placed(&[NOW - 15 * DAY_MS, limit - 1, limit], Some(3)),
        (2..3, Some(1), Some(2), None)
    );
    // A long retention does not make 14 days longer, nor the index another one.
    assert_eq!(
        placed(&[NOW - 15 * DAY_MS, NOW], Some(30)),
        (1..2, Some(1), None, None)
    );
    assert_eq!(
        placed(&[NOW - 15 * DAY_MS, NOW], Some(14)),
        (1..2, Some(1), None, None)
    );
}

#[test]
fn a_clock_at_either_end_of_time_decides_too() {
    for now in [i64::MIN, 0, i64::MAX] {
        for timestamp in [0, i64::MAX] {
            let verdict = judge(&at(&[timestamp]), now, Some(u32::MAX));
            assert!(matches!(verdict, Verdict::Taken { .. }), "{verdict:?}");
        }
    }
}

/// Near the limits, and anywhere.
fn offset() -> impl Strategy<Value = i64> {
    let near = |limit: i64| (limit - 3..=limit + 3).boxed();
    prop_oneof![
        near(0),
        near(AHEAD_MS_AT_MOST),
        near(-AGE_MS_AT_MOST),
        near(-SPAN_MS_AT_MOST),
        near(-3 * DAY_MS),
        -20 * DAY_MS..3 * HOUR_MS,
    ]
}

/// The rules said once more, event by event.
fn is_valid(offset: i64, retention: Option<u32>) -> bool {
    let retained = retention.is_none_or(|days| offset >= -(i64::from(days) * 86_400_000));
    (-1_209_600_000..=7_200_000).contains(&offset) && retained
}

proptest! {
    #[test]
    fn each_event_is_stored_or_rejected_for_its_own_time(
        mut offsets in prop::collection::vec(offset(), 1..30),
        retention in prop::sample::select(vec![None, Some(1), Some(3), Some(14), Some(30)]),
        sorted in prop::bool::weighted(0.9),
    ) {
        if sorted {
            offsets.sort_unstable();
        }
        let batch = at(&offsets.iter().map(|o| NOW + o).collect::<Vec<_>>());
        let valid: Vec<i64> = offsets.iter().copied().filter(|o| is_valid(*o, retention)).collect();
        let within: Vec<i64> = offsets.iter().copied().filter(|o| is_valid(*o, None)).collect();
        let span = within.last().zip(within.first()).map_or(0, |(last, first)| last - first);
        match judge(&batch, NOW, retention) {
            Verdict::Refused(_) => prop_assert!(!offsets.is_sorted() || span > 86_400_000),
            Verdict::Taken { stored, rejected } => {
                prop_assert!(offsets.is_sorted() && span <= 86_400_000);
                prop_assert_eq!(&offsets[stored.clone()], &valid[..]);
                for (index, offset) in offsets.iter().enumerate() {
                    prop_assert_eq!(stored.contains(&index), is_valid(*offset, retention));
                }
                // What a client makes of the answer is what was stored.
                let begin = rejected.too_old_end.max(rejected.expired_end).unwrap_or(0);
                let end = rejected.too_new_start.unwrap_or(offsets.len());
                prop_assert_eq!(begin..end, stored);
            }
        }
    }

    #[test]
    fn weight_alone_decides_about_a_batch_of_one_time(
        sizes in prop::collection::vec(1_usize..300_000, 1..8),
    ) {
        let batch: Vec<_> = sizes.iter().map(|n| InputEvent::new(NOW, "x".repeat(*n))).collect();
        let weight: usize = sizes.iter().map(|n| n + 26).sum();
        let taken = matches!(judge(&batch, NOW, None), Verdict::Taken { .. });
        prop_assert_eq!(taken, weight <= 1_048_576);
        prop_assert_eq!(charged_bytes(&batch), weight);
    }
}
