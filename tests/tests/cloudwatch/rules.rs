//! Each rule at its limit.

use plimsoll_tests::cloudwatch::CloudWatch;
use serde_json::{Value, json};

use super::client::{Answer, Client};
use super::{GROUP, NOW, STREAM, at, batch, event, messages, put, service};

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

/// The batch is taken, whole.
#[track_caller]
fn taken(client: &Client, body: &Value) {
    let answer = put(client, body);
    assert_eq!(answer.error(), "", "{answer}");
    assert_eq!(answer.json()["rejectedLogEventsInfo"], Value::Null);
    assert!(answer.json()["nextSequenceToken"].is_string(), "{answer}");
}

/// It is not, and nothing of it is stored.
#[track_caller]
fn refused(logs: &CloudWatch, client: &Client, body: &Value, because: &str) {
    let before = logs.stored(GROUP, STREAM).len();
    let answer = put(client, body);
    let told = (answer.status, answer.error());
    assert_eq!(
        told,
        (400, "InvalidParameterException".to_owned()),
        "{answer}"
    );
    assert!(answer.message().contains(because), "{answer}");
    assert_eq!(logs.stored(GROUP, STREAM).len(), before);
}

/// What the answer says was rejected: too old, expired, too new; and how many are stored.
fn rejected(timestamps: &[i64], retention: Option<u32>) -> (Value, usize) {
    let (logs, client) = service();
    logs.set_retention(GROUP, retention).unwrap();
    let answer = put(&client, &at(timestamps));
    assert_eq!(answer.status, 200, "{answer}");
    let stored = logs.stored(GROUP, STREAM).len();
    let [asked] = &logs.requests()[..] else {
        panic!("{:?}", logs.requests());
    };
    assert_eq!((asked.events, asked.stored), (timestamps.len(), stored));
    assert_eq!(asked.stored + asked.rejected, timestamps.len());
    (answer.json()["rejectedLogEventsInfo"].clone(), stored)
}

#[test]
fn a_batch_has_one_to_ten_thousand_events() {
    let (logs, client) = service();
    refused(&logs, &client, &batch([]), "greater than or equal to 1");
    taken(&client, &at(&[NOW]));
    taken(&client, &at(&vec![NOW; 9_999]));
    taken(&client, &at(&vec![NOW; 10_000]));
    refused(
        &logs,
        &client,
        &at(&vec![NOW; 10_001]),
        "less than or equal to 10000",
    );
    assert_eq!(logs.stored(GROUP, STREAM).len(), 20_000);
}

#[test]
fn a_batch_has_a_mebibyte_with_26_bytes_for_each_event() {
    let (logs, client) = service();
    let of = |bytes: usize| {
        let rest = "b".repeat(bytes - 1_000 - 2 * 26);
        batch([event(NOW, &"a".repeat(1_000)), event(NOW, &rest)])
    };
    taken(&client, &of(1_048_575));
    taken(&client, &of(1_048_576));
    refused(&logs, &client, &of(1_048_577), "1048577 bytes");
    let bytes: Vec<usize> = logs.requests().iter().map(|r| r.bytes).collect();
    assert_eq!(bytes, [1_048_575, 1_048_576, 1_048_577]);
}

#[test]
fn a_message_has_one_to_1048550_bytes_of_utf_8() {
    let (logs, client) = service();
    let of = |message: &str| batch([event(NOW, message)]);
    refused(&logs, &client, &of(""), "logEvents.1.member.message");
    taken(&client, &of("a"));
    taken(&client, &of(&"a".repeat(1_048_549)));
    taken(&client, &of(&"a".repeat(1_048_550)));
    refused(
        &logs,
        &client,
        &of(&"a".repeat(1_048_551)),
        "Log event too large",
    );
    taken(&client, &of(&"é".repeat(524_275)));
    refused(
        &logs,
        &client,
        &of(&"é".repeat(524_276)),
        "Log event too large",
    );
    // In JSON six bytes for each, in UTF-8 one: what counts is what it says.
    taken(&client, &of(&"\u{1}".repeat(1_048_550)));
    refused(
        &logs,
        &client,
        &of(&"\u{1}".repeat(1_048_551)),
        "Log event too large",
    );
}

#[test]
fn a_timestamp_is_there_and_not_negative() {
    let (logs, client) = service();
    let without = batch([event(NOW, "m"), json!({"message": "m"})]);
    refused(&logs, &client, &without, "logEvents.2.member.timestamp");
    let without = batch([json!({"timestamp": NOW})]);
    refused(&logs, &client, &without, "logEvents.1.member.message");
    refused(&logs, &client, &at(&[-1]), "greater than or equal to 0");
    let old = put(&client, &at(&[0, 1]));
    assert_eq!(
        old.json()["rejectedLogEventsInfo"],
        json!({"tooOldLogEventEndIndex": 2})
    );
}

#[test]
fn a_timestamp_is_an_integer() {
    let (logs, client) = service();
    for bad in [
        json!(1.5),
        json!("1"),
        json!(true),
        json!([1]),
        json!(u64::MAX),
    ] {
        let answer = put(&client, &batch([json!({"timestamp": bad, "message": "m"})]));
        assert_eq!(answer.error(), "SerializationException", "{bad}");
    }
    assert_eq!(messages(&logs), Vec::<String>::new());
}

#[test]
fn events_are_in_order_of_time() {
    let (logs, client) = service();
    taken(&client, &at(&[NOW - 1, NOW, NOW]));
    refused(&logs, &client, &at(&[NOW, NOW - 1]), "chronological order");
    let too_new = NOW + 3 * HOUR_MS;
    refused(
        &logs,
        &client,
        &at(&[NOW, too_new + 1, too_new]),
        "chronological order",
    );
}

#[test]
fn a_batch_spans_24_hours_of_valid_events() {
    let (logs, client) = service();
    let from = NOW - DAY_MS;
    taken(&client, &at(&[from + 1, NOW]));
    taken(&client, &at(&[from, NOW]));
    refused(&logs, &client, &at(&[from - 1, NOW]), "more than 24 hours");
    // What is rejected is not counted.
    let answer = put(
        &client,
        &at(&[NOW - 20 * DAY_MS, from, NOW, NOW + 3 * HOUR_MS]),
    );
    let told = json!({"tooOldLogEventEndIndex": 1, "tooNewLogEventStartIndex": 3});
    assert_eq!(answer.json()["rejectedLogEventsInfo"], told);
    assert_eq!(logs.stored(GROUP, STREAM).len(), 6);
}

#[test]
fn two_hours_ahead_is_the_limit() {
    let limit = NOW + 2 * HOUR_MS;
    assert_eq!(rejected(&[limit - 1], None), (Value::Null, 1));
    assert_eq!(rejected(&[limit], None), (Value::Null, 1));
    let first = |index: usize| json!({"tooNewLogEventStartIndex": index});
    assert_eq!(rejected(&[limit + 1], None), (first(0), 0));
    assert_eq!(
        rejected(&[limit, limit + 1, limit + 2], None),
        (first(1), 1)
    );
}

#[test]
fn fourteen_days_is_the_limit() {
    let limit = NOW - 14 * DAY_MS;
    assert_eq!(rejected(&[limit + 1], None), (Value::Null, 1));
    assert_eq!(rejected(&[limit], None), (Value::Null, 1));
    let end = |index: usize| json!({"tooOldLogEventEndIndex": index});
    assert_eq!(rejected(&[limit - 1], None), (end(1), 0));
    assert_eq!(
        rejected(&[limit - 3, limit - 2, limit - 1, limit], None),
        (end(3), 1)
    );
}

#[test]
fn what_is_neither_too_old_nor_too_new_is_stored() {
    let (logs, client) = service();
    let events = [
        event(NOW - 15 * DAY_MS, "too old"),
        event(NOW - 1, "a"),
        event(NOW, "b"),
        event(NOW + 3 * HOUR_MS, "too new"),
    ];
    put(&client, &batch(events));
    assert_eq!(messages(&logs), ["a", "b"]);
}

#[test]
fn retention_is_the_limit_where_it_is_shorter() {
    let limit = NOW - 3 * DAY_MS;
    assert_eq!(rejected(&[limit + 1], Some(3)), (Value::Null, 1));
    assert_eq!(rejected(&[limit], Some(3)), (Value::Null, 1));
    let expired = json!({"expiredLogEventEndIndex": 1});
    assert_eq!(rejected(&[limit - 1], Some(3)), (expired, 0));
    let both = json!({"tooOldLogEventEndIndex": 1, "expiredLogEventEndIndex": 2});
    assert_eq!(
        rejected(&[NOW - 15 * DAY_MS, limit - 1, limit], Some(3)),
        (both, 1)
    );
    let too_old = json!({"tooOldLogEventEndIndex": 1});
    assert_eq!(rejected(&[NOW - 15 * DAY_MS, NOW], Some(30)), (too_old, 1));
}

#[test]
fn the_clock_is_the_tests() {
    let (logs, client) = service();
    taken(&client, &at(&[NOW]));
    logs.advance_ms(14 * DAY_MS);
    taken(&client, &at(&[NOW]));
    logs.advance_ms(1);
    let answer = put(&client, &at(&[NOW]));
    assert_eq!(
        answer.json()["rejectedLogEventsInfo"]["tooOldLogEventEndIndex"],
        1
    );
    // A client can tell by how much its own is wrong.
    logs.set_now_ms(0);
    let date = put(&client, &at(&[NOW]));
    assert_eq!(date.header("date"), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
    let stored = logs.stored(GROUP, STREAM);
    let ingested: Vec<i64> = stored.iter().map(|e| e.ingestion_ms).collect();
    assert_eq!(ingested, [NOW, NOW + 14 * DAY_MS]);
}

#[test]
fn the_machines_clock_is_the_default() {
    let logs = CloudWatch::start().unwrap();
    let begin = logs.now_ms();
    assert!(begin > 1_700_000_000_000, "{begin}");
    logs.advance_ms(1_000);
    assert!(logs.now_ms() >= begin + 1_000);
}

#[test]
fn a_sequence_token_is_ignored_and_a_batch_twice_is_there_twice() {
    let (logs, client) = service();
    let mut body = at(&[NOW]);
    for token in [json!("49590302"), json!("no token"), json!(null)] {
        body["sequenceToken"] = token;
        taken(&client, &body);
    }
    assert_eq!(messages(&logs), ["m", "m", "m"]);
}

/// What each operation that creates says of a name.
fn created(client: &Client, group: &str, stream: Option<&str>) -> Answer {
    match stream {
        None => client.call("CreateLogGroup", &json!({"logGroupName": group})),
        Some(stream) => {
            let body = json!({"logGroupName": group, "logStreamName": stream});
            client.call("CreateLogStream", &body)
        }
    }
}

#[test]
fn groups_have_names_of_512_characters() {
    let (_logs, client) = service();
    let long = |length| "g".repeat(length);
    for good in ["g", "/a/B_c-d.e#1", "aws", &long(511), &long(512)] {
        assert_eq!(created(&client, good, None).error(), "", "{good}");
    }
    for bad in ["", "a b", "a:b", "a*b", "ä", "aws/g", "aws/", &long(513)] {
        let answer = created(&client, bad, None);
        assert_eq!(answer.error(), "InvalidParameterException", "{bad}");
    }
}

#[test]
fn streams_have_names_of_512_characters() {
    let (logs, client) = service();
    let long = |length| "é".repeat(length);
    for good in ["s", "a/b c", "[$LATEST]", &long(511), &long(512)] {
        assert_eq!(created(&client, GROUP, Some(good)).error(), "", "{good}");
    }
    for bad in ["", "a:b", "*", &long(513)] {
        let answer = created(&client, GROUP, Some(bad));
        assert_eq!(answer.error(), "InvalidParameterException", "{bad}");
        let mut body = at(&[NOW]);
        body["logStreamName"] = bad.into();
        refused(&logs, &client, &body, "logStreamName");
    }
}

#[test]
fn what_is_missing_is_named() {
    let (_logs, client) = service();
    let no_group = "The specified log group does not exist.";
    let no_stream = "The specified log stream does not exist.";
    let mut body = at(&[NOW]);
    body["retentionInDays"] = 3.into();
    body["logStreamName"] = "none".into();
    for operation in ["PutLogEvents", "GetLogEvents", "DeleteLogStream"] {
        let answer = client.call(operation, &body);
        let told = (answer.error(), answer.message());
        assert_eq!(
            told,
            ("ResourceNotFoundException".to_owned(), no_stream.to_owned())
        );
    }
    body["logGroupName"] = "none".into();
    for operation in [
        "PutLogEvents",
        "GetLogEvents",
        "DeleteLogStream",
        "DeleteLogGroup",
        "CreateLogStream",
        "PutRetentionPolicy",
    ] {
        let answer = client.call(operation, &body);
        let told = (answer.error(), answer.message());
        assert_eq!(
            told,
            ("ResourceNotFoundException".to_owned(), no_group.to_owned())
        );
    }
    for (member, operation) in [
        ("logGroupName", "PutLogEvents"),
        ("logStreamName", "PutLogEvents"),
        ("logEvents", "PutLogEvents"),
        ("logGroupName", "CreateLogGroup"),
        ("logStreamName", "CreateLogStream"),
        ("retentionInDays", "PutRetentionPolicy"),
    ] {
        let mut body = at(&[NOW]);
        body["retentionInDays"] = 3.into();
        body.as_object_mut().unwrap().remove(member);
        let answer = client.call(operation, &body);
        assert_eq!(
            answer.error(),
            "InvalidParameterException",
            "{operation} {member}"
        );
        assert!(answer.message().contains(member), "{answer}");
    }
}

#[test]
fn what_is_wrong_with_a_batch_is_told_before_what_is_missing() {
    let (_logs, client) = service();
    let mut body = batch([]);
    body["logGroupName"] = "none".into();
    assert_eq!(put(&client, &body).error(), "InvalidParameterException");
}

#[test]
fn what_is_there_is_not_created_twice() {
    let (_logs, client) = service();
    for (stream, what) in [(None, "group"), (Some(STREAM), "stream")] {
        let answer = created(&client, GROUP, stream);
        assert_eq!(answer.error(), "ResourceAlreadyExistsException");
        let told = format!("The specified log {what} already exists");
        assert_eq!(answer.message(), told);
    }
}

#[test]
fn retention_is_one_of_its_numbers_of_days() {
    let (logs, client) = service();
    let retain = |days: Value| {
        let body = json!({"logGroupName": GROUP, "retentionInDays": days});
        client.call("PutRetentionPolicy", &body).error()
    };
    assert_eq!(retain(json!(2)), "InvalidParameterException");
    assert_eq!(retain(json!(0)), "InvalidParameterException");
    assert_eq!(retain(json!("1")), "SerializationException");
    assert_eq!(retain(json!(1)), "");
    put(&client, &at(&[NOW - DAY_MS - 1, NOW - DAY_MS]));
    assert_eq!(logs.stored(GROUP, STREAM).len(), 1);
}

#[test]
fn what_is_deleted_is_gone_and_remembered() {
    let (logs, client) = service();
    logs.create_stream(GROUP, "other").unwrap();
    taken(&client, &at(&[NOW]));
    let stream = json!({"logGroupName": GROUP, "logStreamName": STREAM});
    assert_eq!(client.call("DeleteLogStream", &stream).error(), "");
    assert_eq!(
        put(&client, &at(&[NOW])).error(),
        "ResourceNotFoundException"
    );
    assert_eq!(client.call("CreateLogStream", &stream).error(), "");
    assert_eq!(messages(&logs), Vec::<String>::new());
    taken(&client, &at(&[NOW]));
    let group = json!({"logGroupName": GROUP});
    assert_eq!(client.call("DeleteLogGroup", &group).error(), "");
    assert_eq!(logs.groups(), Vec::<String>::new());
    let gone = logs.deleted();
    let of: Vec<usize> = gone.iter().map(|(_, _, event)| event.request).collect();
    assert_eq!(of, [0, 4]);
}

#[test]
fn a_protected_group_is_not_deleted() {
    let (logs, client) = service();
    let body = json!({"logGroupName": "kept", "deletionProtectionEnabled": true});
    assert_eq!(client.call("CreateLogGroup", &body).error(), "");
    let answer = client.call("DeleteLogGroup", &json!({"logGroupName": "kept"}));
    assert_eq!(answer.error(), "ValidationException");
    assert_eq!(logs.groups(), [GROUP, "kept"]);
}

#[test]
fn a_bad_entity_is_told_and_its_events_are_stored() {
    let (logs, client) = service();
    let mut body = at(&[NOW]);
    body["entity"] = json!({"keyAttributes": {"Type": "Service", "Name": "plimsoll"}});
    taken(&client, &body);
    body["entity"]["keyAttributes"]["Colour"] = "red".into();
    let answer = put(&client, &body);
    let told = json!({"errorType": "InvalidKeyAttributes"});
    assert_eq!(answer.json()["rejectedEntityInfo"], told);
    assert_eq!(messages(&logs), ["m", "m"]);
}
