//! Reading back: pages, tokens, and what is not found yet.

use plimsoll_tests::cloudwatch::{CloudWatch, Fault, Operation, Times};
use serde_json::{Value, json};

use super::{Client, GROUP, NOW, STREAM, batch, event, messages, put, service};

fn get(client: &Client, more: &Value) -> (Vec<String>, Value) {
    let mut body = json!({"logGroupName": GROUP, "logStreamName": STREAM, "startFromHead": true});
    let members = more.as_object().unwrap().clone();
    body.as_object_mut().unwrap().extend(members);
    let answer = client.call("GetLogEvents", &body);
    assert_eq!(answer.error(), "", "{answer}");
    let answer = answer.json();
    let message = |e: &Value| e["message"].as_str().unwrap().to_owned();
    let events = answer["events"].as_array().unwrap().iter();
    (events.map(message).collect(), answer)
}

/// Until the token does not change any more.
fn whole(client: &Client, limit: usize) -> Vec<String> {
    let (mut all, mut token) = (Vec::new(), Value::Null);
    loop {
        let (events, answer) = get(client, &json!({"limit": limit, "nextToken": token}));
        all.extend(events);
        if answer["nextForwardToken"] == token {
            return all;
        }
        token = answer["nextForwardToken"].clone();
    }
}

fn filled(messages: &[&str]) -> (CloudWatch, Client) {
    let (logs, client) = service();
    let events = messages.iter().enumerate();
    let timed = events.map(|(n, m)| event(NOW + i64::try_from(n).unwrap(), m));
    put(&client, &batch(timed));
    (logs, client)
}

#[test]
fn pages_are_the_whole_stream_in_order_of_time() {
    let (logs, client) = filled(&["b", "c", "d"]);
    put(&client, &batch([event(NOW - 1, "a")]));
    assert_eq!(messages(&logs), ["b", "c", "d", "a"]);
    for limit in 1..=5 {
        assert_eq!(whole(&client, limit), ["a", "b", "c", "d"]);
    }
    let (_, answer) = get(&client, &json!({}));
    let first = json!({"timestamp": NOW - 1, "message": "a", "ingestionTime": NOW});
    assert_eq!(answer["events"][0], first);
}

#[test]
fn an_empty_page_is_not_the_end() {
    let (logs, client) = filled(&["a", "b"]);
    logs.fail(Operation::GetLogEvents, Fault::EmptyPage, Times::Next(2));
    let (events, first) = get(&client, &json!({}));
    assert_eq!(events, Vec::<String>::new());
    let token = json!({"nextToken": first["nextForwardToken"]});
    let (events, second) = get(&client, &token);
    assert_eq!(events, Vec::<String>::new());
    assert_ne!(second["nextForwardToken"], first["nextForwardToken"]);
    logs.fail(Operation::GetLogEvents, Fault::EmptyPage, Times::Next(3));
    assert_eq!(whole(&client, 1), ["a", "b"]);
    logs.finish().unwrap();
}

#[test]
fn what_was_stored_just_now_is_found_after_so_many_reads() {
    let (logs, client) = filled(&["a"]);
    logs.lag(2);
    put(&client, &batch([event(NOW + 1, "b")]));
    logs.lag(0);
    put(&client, &batch([event(NOW + 2, "c")]));
    assert_eq!(messages(&logs), ["a", "b", "c"]);
    assert_eq!(get(&client, &json!({})).0, ["a", "c"]);
    assert_eq!(get(&client, &json!({})).0, ["a", "c"]);
    assert_eq!(get(&client, &json!({})).0, ["a", "b", "c"]);
}

#[test]
fn what_comes_later_is_found_from_the_last_token() {
    let (_logs, client) = filled(&["a"]);
    let (_, end) = get(&client, &json!({}));
    let token = json!({"nextToken": end["nextForwardToken"]});
    assert_eq!(get(&client, &token).0, Vec::<String>::new());
    put(&client, &batch([event(NOW + 1, "b")]));
    assert_eq!(get(&client, &token).0, ["b"]);
}

#[test]
fn without_a_head_the_newest_are_given() {
    let (_logs, client) = filled(&["a", "b", "c"]);
    let (events, answer) = get(&client, &json!({"startFromHead": false, "limit": 2}));
    assert_eq!(events, ["b", "c"]);
    let before = json!({"nextToken": answer["nextBackwardToken"]});
    assert_eq!(get(&client, &before).0, ["a"]);
}

#[test]
fn a_time_and_a_limit_narrow_it() {
    let (_logs, client) = filled(&["a", "b", "c"]);
    let of = |more: Value| get(&client, &more).0;
    assert_eq!(of(json!({"startTime": NOW + 1})), ["b", "c"]);
    assert_eq!(of(json!({"endTime": NOW + 1})), ["a"]);
    assert_eq!(of(json!({"startTime": NOW + 1, "endTime": NOW + 2})), ["b"]);
    assert_eq!(of(json!({"limit": 1})), ["a"]);
    assert_eq!(of(json!({"limit": 10_000})).len(), 3);
    let stream = json!({"logGroupName": GROUP, "logStreamName": STREAM});
    for (member, bad) in [
        ("limit", json!(0)),
        ("limit", json!(-1)),
        ("limit", json!(10_001)),
        ("nextToken", json!("none")),
    ] {
        let mut body = stream.clone();
        body[member] = bad;
        let answer = client.call("GetLogEvents", &body);
        assert_eq!(answer.error(), "InvalidParameterException", "{body}");
    }
}

#[test]
fn a_page_has_a_mebibyte() {
    let (_logs, client) = service();
    let half = "x".repeat(524_262);
    for n in 0..3 {
        put(&client, &batch([event(NOW + n, &half)]));
    }
    let (events, _) = get(&client, &json!({}));
    assert_eq!(events.len(), 2);
    assert_eq!(whole(&client, 10_000).len(), 3);
}

fn describe(client: &Client, more: &Value) -> (Vec<String>, Value) {
    let mut body = json!({"logGroupName": GROUP});
    body.as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    let answer = client.call("DescribeLogStreams", &body);
    assert_eq!(answer.error(), "", "{answer}");
    let answer = answer.json();
    let streams = answer["logStreams"].as_array().unwrap().iter();
    let name = |stream: &Value| stream["logStreamName"].as_str().unwrap().to_owned();
    (streams.map(name).collect(), answer)
}

#[test]
fn streams_are_described_by_name_in_pages_of_fifty() {
    let (logs, client) = service();
    for n in 0..60 {
        logs.create_stream(GROUP, &format!("many/{n:02}")).unwrap();
    }
    let (first, answer) = describe(&client, &json!({"logStreamNamePrefix": "many/"}));
    assert_eq!((first.len(), first[0].as_str()), (50, "many/00"));
    let next = json!({"logStreamNamePrefix": "many/", "nextToken": answer["nextToken"]});
    let (second, answer) = describe(&client, &next);
    assert_eq!((second.len(), second[9].as_str()), (10, "many/59"));
    assert!(answer.get("nextToken").is_none());
    let (one, _) = describe(&client, &json!({"limit": 1}));
    assert_eq!(one, [STREAM]);
    let (last, _) = describe(&client, &json!({"limit": 1, "descending": true}));
    assert_eq!(last, ["many/59"]);
    put(&client, &batch([event(NOW - 5, "a"), event(NOW, "b")]));
    let (_, answer) = describe(&client, &json!({"logStreamNamePrefix": STREAM}));
    let told = &answer["logStreams"][0];
    assert_eq!(told["firstEventTimestamp"], NOW - 5);
    assert_eq!(
        (&told["lastEventTimestamp"], &told["lastIngestionTime"]),
        (&json!(NOW), &json!(NOW))
    );
    for (member, bad) in [
        ("limit", json!(0)),
        ("limit", json!(51)),
        ("nextToken", json!("none")),
        ("orderBy", json!("Size")),
    ] {
        let answer = client.call(
            "DescribeLogStreams",
            &json!({"logGroupName": GROUP, member: bad}),
        );
        assert_eq!(answer.error(), "InvalidParameterException", "{member}");
    }
    let body =
        json!({"logGroupName": GROUP, "orderBy": "LastEventTime", "logStreamNamePrefix": "m"});
    let answer = client.call("DescribeLogStreams", &body);
    assert_eq!(answer.error(), "InvalidParameterException");
    let answer = client.call("DescribeLogStreams", &json!({"logGroupName": "/none"}));
    assert_eq!(answer.error(), "ResourceNotFoundException");
}

#[test]
fn what_is_masked_is_read_by_whoever_may() {
    let (logs, client) = filled(&["a secret b"]);
    logs.mask("secret");
    assert_eq!(get(&client, &json!({})).0, ["a ****** b"]);
    assert_eq!(get(&client, &json!({"unmask": true})).0, ["a secret b"]);
    assert_eq!(messages(&logs), ["a secret b"]);
}
