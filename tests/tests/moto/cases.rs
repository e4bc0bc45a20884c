//! The requests that both services are asked, each case in a group of its own.

use serde_json::{Value, json};

/// The stream of every case that does not name another.
pub(crate) const STREAM: &str = "stream";

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Both keep the machine's clock, which goes on between them: as far from a limit as that.
const NEAR_MS: i64 = 600_000;

/// One request; what it does not say of group and stream is that of its case.
pub(crate) struct Step {
    pub(crate) operation: &'static str,
    pub(crate) body: Value,
    /// Whether it is sent as gzip.
    pub(crate) packed: bool,
}

/// Requests in order, and what is stored then.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// At that time, Unix milliseconds.
    pub(crate) steps: fn(i64) -> Vec<Step>,
}

fn step(operation: &'static str, body: Value) -> Step {
    Step {
        operation,
        body,
        packed: false,
    }
}

fn bare(operation: &'static str) -> Step {
    step(operation, json!({}))
}

/// What comes before: a group and a stream.
fn there(steps: impl IntoIterator<Item = Step>) -> Vec<Step> {
    let created = [bare("CreateLogGroup"), bare("CreateLogStream")];
    created.into_iter().chain(steps).collect()
}

fn put(events: &[(i64, &str)]) -> Step {
    let event = |(t, m): &(i64, &str)| json!({"timestamp": t, "message": m});
    let events: Vec<Value> = events.iter().map(event).collect();
    step("PutLogEvents", json!({"logEvents": events}))
}

fn with(mut step: Step, member: &str, value: impl Into<Value>) -> Step {
    step.body[member] = value.into();
    step
}

fn many(now: i64, count: usize) -> Step {
    put(&vec![(now, "m"); count])
}

fn sized(now: i64, bytes: usize) -> Step {
    put(&[(now, &"m".repeat(bytes))])
}

/// Every case.
pub(crate) const ALL: &[Case] = &[
    Case {
        name: "batches_are_stored_and_read_in_pages",
        steps: |now| {
            there([
                put(&[(now, "a"), (now + 1, "b"), (now + 2, "c")]),
                put(&[(now + 3, "d"), (now + 4, "é ☃"), (now + 5, "{\"f\": 1}")]),
                put(&[(now + 6, "g")]),
            ])
        },
    },
    Case {
        name: "an_empty_stream_has_an_end",
        steps: |_| there([]),
    },
    Case {
        name: "events_of_one_time",
        steps: |now| there([put(&[(now, "a"), (now, "b")])]),
    },
    Case {
        name: "a_batch_twice_is_stored_twice",
        steps: |now| there([put(&[(now, "a")]), put(&[(now, "a")])]),
    },
    Case {
        name: "a_sequence_token_is_ignored",
        steps: |now| there([with(put(&[(now, "a")]), "sequenceToken", "49590302")]),
    },
    Case {
        name: "a_packed_batch",
        steps: |now| {
            let packed = Step {
                packed: true,
                ..put(&[(now, "a"), (now, "é")])
            };
            there([packed])
        },
    },
    Case {
        name: "a_batch_that_is_not_in_order",
        steps: |now| there([put(&[(now, "a"), (now - 1, "b")])]),
    },
    Case {
        name: "ten_thousand_events",
        steps: |now| there([many(now, 10_000)]),
    },
    Case {
        name: "the_largest_message",
        steps: |now| there([sized(now, 1_048_550)]),
    },
    Case {
        name: "within_24_hours",
        steps: |now| there([put(&[(now - DAY_MS, "a"), (now, "b")])]),
    },
    Case {
        name: "as_new_as_can_be",
        steps: |now| there([put(&[(now + 2 * HOUR_MS - NEAR_MS, "a")])]),
    },
    Case {
        name: "as_old_as_can_be",
        steps: |now| there([put(&[(now - 14 * DAY_MS + NEAR_MS, "a")])]),
    },
    Case {
        name: "the_last_one_is_too_new",
        steps: |now| there([put(&[(now, "a"), (now + 2 * HOUR_MS + NEAR_MS, "b")])]),
    },
    Case {
        name: "no_group",
        steps: |now| {
            vec![
                put(&[(now, "a")]),
                bare("CreateLogStream"),
                bare("DeleteLogStream"),
                bare("DeleteLogGroup"),
                step("PutRetentionPolicy", json!({"retentionInDays": 1})),
            ]
        },
    },
    Case {
        name: "no_stream",
        steps: |now| {
            vec![
                bare("CreateLogGroup"),
                put(&[(now, "a")]),
                bare("DeleteLogStream"),
            ]
        },
    },
    Case {
        name: "what_is_there_is_not_created",
        steps: |_| there([bare("CreateLogGroup"), bare("CreateLogStream")]),
    },
    Case {
        name: "a_stream_that_is_deleted_and_created_again",
        steps: |now| {
            there([
                put(&[(now, "a")]),
                bare("DeleteLogStream"),
                put(&[(now, "b")]),
                bare("CreateLogStream"),
                put(&[(now, "c")]),
            ])
        },
    },
    Case {
        name: "a_group_that_is_deleted_and_created_again",
        steps: |now| {
            there([
                put(&[(now, "a")]),
                bare("DeleteLogGroup"),
                put(&[(now, "b")]),
                bare("CreateLogGroup"),
                bare("CreateLogStream"),
                put(&[(now, "c")]),
            ])
        },
    },
    Case {
        name: "days_of_retention",
        steps: |now| {
            there([
                step("PutRetentionPolicy", json!({"retentionInDays": 3})),
                put(&[(now - 2 * DAY_MS, "a")]),
            ])
        },
    },
    Case {
        name: "the_longest_name_of_a_group",
        steps: |_| {
            let long = |length| json!({"logGroupName": "g".repeat(length)});
            there([
                step("CreateLogGroup", long(512)),
                step("CreateLogGroup", long(513)),
            ])
        },
    },
    Case {
        name: "the_longest_name_of_a_stream",
        steps: |_| {
            there([with(
                bare("CreateLogStream"),
                "logStreamName",
                "s".repeat(512),
            )])
        },
    },
    Case {
        name: "a_limit_of_events_to_read",
        steps: |_| there([step("GetLogEvents", json!({"limit": 10_001}))]),
    },
    // What moto is known to do otherwise.
    Case {
        name: "some_are_too_old",
        steps: |now| {
            let limit = now - 14 * DAY_MS - NEAR_MS;
            there([put(&[(limit, "a"), (limit, "b"), (limit, "c"), (now, "d")])])
        },
    },
    Case {
        name: "two_are_too_new",
        steps: |now| {
            let limit = now + 2 * HOUR_MS + NEAR_MS;
            there([put(&[(now, "a"), (limit, "b"), (limit + 1, "c")])])
        },
    },
    Case {
        name: "too_many_events",
        steps: |now| there([many(now, 10_001)]),
    },
    Case {
        name: "too_large_a_batch",
        steps: |now| {
            let half = "m".repeat(1_000_000);
            there([put(&[(now, &half), (now, &half)])])
        },
    },
    Case {
        name: "too_large_a_message",
        steps: |now| there([put(&[(now, &"é".repeat(600_000))])]),
    },
    Case {
        name: "more_than_24_hours",
        steps: |now| there([put(&[(now - DAY_MS - 1_000, "a"), (now, "b")])]),
    },
    Case {
        name: "no_events",
        steps: |_| there([put(&[])]),
    },
    Case {
        name: "an_empty_message",
        steps: |now| there([put(&[(now, "")])]),
    },
    Case {
        name: "past_retention",
        steps: |now| {
            there([
                step("PutRetentionPolicy", json!({"retentionInDays": 1})),
                put(&[(now - 2 * DAY_MS, "a")]),
            ])
        },
    },
    Case {
        name: "days_that_cannot_be_retained",
        steps: |_| there([step("PutRetentionPolicy", json!({"retentionInDays": 2}))]),
    },
    Case {
        name: "names_of_streams_that_cannot_be",
        steps: |_| {
            let long = "s".repeat(513);
            let names = ["a:b", "a*b", &long, ""];
            there(names.map(|name| with(bare("CreateLogStream"), "logStreamName", name)))
        },
    },
    Case {
        name: "names_of_groups_that_cannot_be",
        steps: |_| {
            let names = ["a b", "a:b", "aws/a", ""];
            there(names.map(|name| with(bare("CreateLogGroup"), "logGroupName", name)))
        },
    },
    Case {
        name: "a_negative_timestamp",
        steps: |_| there([put(&[(-1, "a")])]),
    },
    Case {
        name: "no_timestamp",
        steps: |_| {
            there([step(
                "PutLogEvents",
                json!({"logEvents": [{"message": "a"}]}),
            )])
        },
    },
    Case {
        name: "a_bad_entity",
        steps: |now| {
            there([with(
                put(&[(now, "a")]),
                "entity",
                json!({"keyAttributes": {"Colour": "red"}}),
            )])
        },
    },
    Case {
        name: "an_operation_that_is_none",
        steps: |_| there([bare("PutLogEvent")]),
    },
    Case {
        name: "streams_are_described_by_name",
        steps: |_| {
            let named = |name| with(bare("CreateLogStream"), "logStreamName", name);
            let some = with(bare("DescribeLogStreams"), "logStreamNamePrefix", "a/");
            there([
                named("b"),
                named("a/2"),
                named("a/1"),
                bare("DescribeLogStreams"),
                with(bare("DescribeLogStreams"), "limit", 2),
                some,
            ])
        },
    },
    Case {
        name: "streams_of_no_group",
        steps: |_| vec![bare("DescribeLogStreams")],
    },
    Case {
        name: "more_streams_than_a_page_has",
        steps: |_| there([with(bare("DescribeLogStreams"), "limit", 51)]),
    },
    Case {
        name: "streams_of_a_prefix_by_time",
        steps: |_| {
            let by_time = with(bare("DescribeLogStreams"), "orderBy", "LastEventTime");
            there([with(by_time, "logStreamNamePrefix", "a")])
        },
    },
    Case {
        name: "streams_in_an_order_that_is_none",
        steps: |_| there([with(bare("DescribeLogStreams"), "orderBy", "Size")]),
    },
];
