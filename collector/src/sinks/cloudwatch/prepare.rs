//! One call of PutLogEvents out of the messages at the front. Pure.

use std::collections::BTreeSet;

use super::limits::{
    CALL_BYTES, CALL_EVENTS, EVENT_BYTES, MESSAGE_BYTES, NEWEST_MARGIN_MS, NEWEST_MS,
    OLDEST_MARGIN_MS, OLDEST_MS, SPAN_MS,
};
use crate::sinks::{Message, QuarantineReason};

/// An event of a call: which message, and the time that CloudWatch files it under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// Unix milliseconds.
    pub timestamp_ms: i64,
    /// The message's number in the trail.
    pub seq: u64,
    /// Its place among the messages that the call was made of.
    pub at: usize,
    /// The time is the present one, as its own would be refused.
    pub is_restamped: bool,
}

/// What is sent in one call: by time, and by number where the time is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    /// The events in the order in which they are sent.
    pub events: Vec<Event>,
    /// What they count, bytes.
    pub bytes: usize,
}

/// Why a message is never sent, if it is not.
pub fn unsendable(text: &str) -> Option<QuarantineReason> {
    match text.len() {
        0 => Some(QuarantineReason::Empty),
        bytes if bytes > MESSAGE_BYTES => Some(QuarantineReason::TooLong {
            bytes,
            most: MESSAGE_BYTES,
        }),
        _ => None,
    }
}

/// The time that a message is sent under, and whether that is `now_ms` and not its own: because its own is
/// (nearly) out of what is taken.
pub fn timestamp(time_unix_ns: u64, now_ms: i64) -> (i64, bool) {
    let own = i64::try_from(time_unix_ns / 1_000_000).unwrap_or(i64::MAX);
    let oldest = now_ms.saturating_sub(OLDEST_MS - OLDEST_MARGIN_MS);
    let newest = now_ms.saturating_add(NEWEST_MS - NEWEST_MARGIN_MS);
    if (oldest..=newest).contains(&own) {
        (own, false)
    } else {
        (now_ms.max(0), true)
    }
}

/// As many messages from the front as fit into one call, `most` at the most. Those that have their fate already
/// (`is_settled`) and those that can never be sent are passed over; the others are a run without gaps.
/// `restamp` has the numbers of those whose own time was refused.
pub fn batch(
    messages: &[Message],
    is_settled: impl Fn(u64) -> bool,
    restamp: &BTreeSet<u64>,
    most: usize,
    now_ms: i64,
) -> Batch {
    let mut batch = Batch::default();
    let (mut first, mut last) = (i64::MAX, i64::MIN);
    for (at, message) in messages.iter().enumerate() {
        if is_settled(message.seq) || unsendable(&message.text).is_some() {
            continue;
        }
        let (own, is_out) = timestamp(message.time_unix_ns, now_ms);
        let is_restamped = is_out || restamp.contains(&message.seq);
        let timestamp_ms = if is_restamped { now_ms.max(0) } else { own };
        let bytes = batch.bytes + message.text.len() + EVENT_BYTES;
        let (from, to) = (first.min(timestamp_ms), last.max(timestamp_ms));
        let is_full = batch.events.len() >= most.min(CALL_EVENTS);
        if is_full || bytes > CALL_BYTES || to - from > SPAN_MS {
            break;
        }
        (first, last, batch.bytes) = (from, to, bytes);
        batch.events.push(Event {
            timestamp_ms,
            seq: message.seq,
            at,
            is_restamped,
        });
    }
    batch.events.sort_unstable();
    batch
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW_MS: i64 = 1_790_000_000_000;
    const DAY_MS: i64 = 86_400_000;

    fn message(seq: u64, time_ms: i64, bytes: usize) -> Message {
        Message {
            seq,
            time_unix_ns: u64::try_from(time_ms).unwrap() * 1_000_000 + 999_999,
            uid: seq.to_string(),
            text: "x".repeat(bytes),
        }
    }

    fn of(messages: &[Message]) -> Batch {
        batch(messages, |_| false, &BTreeSet::new(), usize::MAX, NOW_MS)
    }

    #[test]
    fn a_call_has_ten_thousand_events_at_the_most() {
        let messages: Vec<_> = (0..10_001).map(|seq| message(seq, NOW_MS, 1)).collect();
        for (given, taken) in [(9999, 9999), (10_000, 10_000), (10_001, 10_000)] {
            assert_eq!(of(&messages[..given]).events.len(), taken);
        }
        let most = |most| batch(&messages, |_| false, &BTreeSet::new(), most, NOW_MS);
        for few in [1, 2, 9999] {
            assert_eq!(most(few).events.len(), few);
        }
    }

    #[test]
    fn a_call_has_a_mebibyte_at_the_most_with_26_bytes_for_each_event() {
        for (second, taken) in [(523_999, 2), (524_000, 2), (524_001, 1)] {
            // 26 + 524,524 + 26 + 524,000 = 1,048,576
            let batch = of(&[message(0, NOW_MS, 524_524), message(1, NOW_MS, second)]);
            assert_eq!(batch.events.len(), taken, "{second}");
            assert!(batch.bytes <= 1_048_576);
        }
    }

    #[test]
    fn a_message_fills_a_call_at_the_most_and_is_not_empty() {
        for (bytes, is_sent) in [
            (0, false),
            (1, true),
            (1_048_549, true),
            (1_048_550, true),
            (1_048_551, false),
        ] {
            let text = "x".repeat(bytes);
            assert_eq!(unsendable(&text).is_none(), is_sent, "{bytes}");
            let batch = of(&[message(0, NOW_MS, bytes)]);
            assert_eq!(batch.events.len(), usize::from(is_sent), "{bytes}");
        }
        // Bytes, not characters.
        assert!(unsendable(&"ä".repeat(524_275)).is_none());
        assert!(unsendable(&"ä".repeat(524_276)).is_some());
    }

    #[test]
    fn a_call_spans_a_day_at_the_most_in_either_direction() {
        for (apart, taken) in [(DAY_MS - 1, 2), (DAY_MS, 2), (DAY_MS + 1, 1)] {
            for apart in [-apart, apart] {
                let from = NOW_MS - 3 * DAY_MS;
                let batch = of(&[message(0, from, 1), message(1, from + apart, 1)]);
                assert_eq!(batch.events.len(), taken, "{apart}");
            }
        }
    }

    #[test]
    fn a_time_out_of_what_is_taken_is_the_present_one() {
        let (oldest, newest) = (
            NOW_MS - 14 * DAY_MS + 3_600_000,
            NOW_MS + 7_200_000 - 300_000,
        );
        for (time, is_restamped) in [
            (0, true),
            (oldest - 1, true),
            (oldest, false),
            (oldest + 1, false),
            (newest - 1, false),
            (newest, false),
            (newest + 1, true),
        ] {
            let expect = if is_restamped { NOW_MS } else { time };
            let ns = u64::try_from(time).unwrap() * 1_000_000;
            assert_eq!(timestamp(ns, NOW_MS), (expect, is_restamped), "{time}");
        }
        assert_eq!(timestamp(u64::MAX, NOW_MS), (NOW_MS, true));
        // A node's clock from before the epoch of its own; the present is not negative either.
        assert_eq!(timestamp(u64::MAX, -5), (0, true));
        let refused = BTreeSet::from([7]);
        let messages = [message(6, NOW_MS - 5, 1), message(7, NOW_MS - 9, 1)];
        let batch = batch(&messages, |_| false, &refused, 9, NOW_MS);
        let sent = batch.events.iter();
        let sent: Vec<_> = sent.map(|event| (event.seq, event.timestamp_ms)).collect();
        assert_eq!(sent, [(6, NOW_MS - 5), (7, NOW_MS)]);
    }

    #[test]
    fn events_go_by_time_and_of_one_time_by_number() {
        let times = [5, 3, 5, 3, 4];
        let messages: Vec<_> = (0..)
            .zip(times)
            .map(|(seq, time)| message(seq, NOW_MS + time, 1))
            .collect();
        let batch = of(&messages);
        let order: Vec<_> = batch.events.iter().map(|event| event.seq).collect();
        assert_eq!(order, [1, 3, 4, 0, 2]);
        for event in &batch.events {
            assert_eq!(messages[event.at].seq, event.seq);
        }
    }

    fn any_messages() -> impl Strategy<Value = Vec<Message>> {
        let bytes = prop_oneof![
            8 => 1..300_usize,
            3 => 100_000..400_000_usize,
            1 => Just(0),
            1 => MESSAGE_BYTES - 1..MESSAGE_BYTES + 2,
        ];
        let age_ms = prop_oneof![
            6 => -DAY_MS..DAY_MS,
            2 => 0..20 * DAY_MS,
            1 => Just(14 * DAY_MS),
        ];
        let one = (bytes, age_ms, 1..4_u64);
        prop::collection::vec(one, 0..60).prop_map(|parts| {
            let mut seq = 0;
            let next = |(bytes, age_ms, step)| {
                seq += step;
                message(seq, NOW_MS - age_ms, bytes)
            };
            parts.into_iter().map(next).collect()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Call by call, everything is sent once, in runs, and no call breaks a rule.
        #[test]
        fn calls_keep_the_limits_and_lose_nothing(messages in any_messages()) {
            let mut rest = messages.as_slice();
            let mut seen = Vec::new();
            while !rest.is_empty() {
                let batch = of(rest);
                let bytes = |event: &Event| rest[event.at].text.len() + EVENT_BYTES;
                prop_assert!(batch.events.len() <= CALL_EVENTS);
                prop_assert_eq!(batch.bytes, batch.events.iter().map(bytes).sum::<usize>());
                prop_assert!(batch.bytes <= CALL_BYTES);
                prop_assert!(batch.events.is_sorted_by_key(|event| (event.timestamp_ms, event.seq)));
                if let (Some(first), Some(last)) = (batch.events.first(), batch.events.last()) {
                    prop_assert!(last.timestamp_ms - first.timestamp_ms <= SPAN_MS);
                    prop_assert!(first.timestamp_ms >= NOW_MS - OLDEST_MS);
                    prop_assert!(last.timestamp_ms <= NOW_MS + NEWEST_MS);
                }
                // A run from the front: what it leaves out can never be sent.
                let reach = batch.events.iter().map(|event| event.at + 1).max();
                let reach = reach.unwrap_or(rest.len());
                let mut run: Vec<u64> = batch.events.iter().map(|event| event.seq).collect();
                run.sort_unstable();
                let sendable = rest[..reach].iter().filter(|of| unsendable(&of.text).is_none());
                prop_assert_eq!(&run, &sendable.map(|of| of.seq).collect::<Vec<_>>());
                seen.extend(run);
                rest = &rest[reach..];
            }
            let sendable = messages.iter().filter(|of| unsendable(&of.text).is_none());
            prop_assert_eq!(seen, sendable.map(|of| of.seq).collect::<Vec<_>>());
        }
    }
}
