//! How requests and answers look on the wire, and who is let in.

use std::io::Write as _;

use plimsoll_tests::cloudwatch::{CloudWatch, Outcome};
use serde_json::json;

use super::{GROUP, NOW, STREAM, at, batch, event, messages, put, service};

#[test]
fn answers_are_aws_json_with_an_id_and_the_type_of_an_error() {
    let (_logs, client) = service();
    let good = put(&client, &at(&[NOW]));
    let bad = put(&client, &batch([]));
    for answer in [&good, &bad] {
        assert_eq!(
            answer.header("content-type"),
            Some("application/x-amz-json-1.1")
        );
        assert!(answer.header("x-amzn-requestid").is_some());
    }
    assert_ne!(
        good.header("x-amzn-requestid"),
        bad.header("x-amzn-requestid")
    );
    assert_eq!(good.header("x-amzn-errortype"), None);
    assert_eq!(
        bad.header("x-amzn-errortype"),
        Some("InvalidParameterException")
    );
    let members: Vec<String> = bad.json().as_object().unwrap().keys().cloned().collect();
    assert_eq!(members, ["__type", "message"]);
    // What has nothing to tell has no body.
    let body = json!({"logGroupName": "new"});
    assert_eq!(client.call("CreateLogGroup", &body).text, "");
}

#[test]
fn what_is_not_served_is_unknown_and_fails_the_end() {
    let (logs, client) = service();
    let answer = client.call("DescribeLogGroups", &json!({"logGroupName": GROUP}));
    assert_eq!(
        (answer.status, answer.error()),
        (400, "UnknownOperationException".to_owned())
    );
    let told = logs.finish().unwrap_err().to_string();
    assert!(told.contains("DescribeLogGroups"), "{told}");
}

#[test]
fn a_request_of_another_content_type_or_target_is_unknown() {
    let (logs, client) = service();
    let body = at(&[NOW]).to_string();
    for (header, value) in [
        ("content-type", "application/json"),
        ("x-amz-target", "Logs_20140327.PutLogEvents"),
        ("x-amz-target", "PutLogEvents"),
        ("x-amz-target", ""),
    ] {
        let mut headers = client.headers("PutLogEvents");
        headers.retain(|(name, _)| *name != header);
        headers.push((header, value.to_owned()));
        let answer = client.send(&headers, body.as_bytes()).unwrap();
        assert_eq!(
            answer.error(),
            "UnknownOperationException",
            "{header}: {value}"
        );
    }
    assert_eq!(messages(&logs), Vec::<String>::new());
}

#[test]
fn a_body_that_is_no_such_json_is_a_serialization_error() {
    let (logs, client) = service();
    let headers = client.headers("PutLogEvents");
    let surrogate = at(&[NOW]).to_string().replace("\"m\"", r#""\ud800""#);
    let array = format!(r#"{{"logEvents":[[{NOW},"m"]]}}"#);
    let bad: [&[u8]; 6] = [
        b"",
        b"{",
        b"[]",
        b"\"x\"",
        b"{\"logEvents\":{}}",
        b"{\"a\":\"\xff\"}",
    ];
    for body in bad
        .into_iter()
        .chain([surrogate.as_bytes(), array.as_bytes()])
    {
        let answer = client.send(&headers, body).unwrap();
        let told = (answer.status, answer.error());
        assert_eq!(told, (400, "SerializationException".to_owned()), "{body:?}");
    }
    // Members that nobody knows are passed over.
    let mut more = at(&[NOW]);
    more["unknown"] = json!({"a": [1]});
    assert_eq!(put(&client, &more).error(), "");
    assert_eq!(messages(&logs), ["m"]);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packer.write_all(bytes).unwrap();
    packer.finish().unwrap()
}

#[test]
fn bodies_may_be_packed_with_gzip() {
    let (logs, client) = service();
    let send = |encoding: &str, body: &[u8]| {
        let mut headers = client.headers("PutLogEvents");
        headers.push(("content-encoding", encoding.to_owned()));
        client.send(&headers, body).unwrap()
    };
    let packed = gzip(at(&[NOW]).to_string().as_bytes());
    assert_eq!(send("gzip", &packed).error(), "");
    assert_eq!(messages(&logs), ["m"]);
    let cut = &packed[..packed.len() - 9];
    assert_eq!(send("gzip", cut).error(), "SerializationException");
    assert_eq!(send("gzip", b"{}").error(), "SerializationException");
    assert_eq!(send("br", b"{}").status, 415);
    // The rules hold for what was packed, and so does the limit of a body.
    let large = batch([event(NOW, &"a".repeat(1_048_551))]).to_string();
    let answer = send("gzip", &gzip(large.as_bytes()));
    assert!(answer.message().contains("Log event too large"), "{answer}");
    let bomb = gzip(&vec![b' '; 16 * 1024 * 1024 + 1]);
    assert_eq!(send("gzip", &bomb).status, 413);
    assert_eq!(messages(&logs).len(), 1);
}

#[test]
fn a_body_without_end_is_refused() {
    let (_logs, client) = service();
    let body = vec![b' '; 16 * 1024 * 1024 + 1];
    // Either the answer comes, or the connection ends while the rest is still being sent.
    if let Ok(answer) = client.send(&client.headers("PutLogEvents"), &body) {
        assert_eq!(answer.status, 413);
    }
}

#[test]
fn who_does_not_sign_is_not_let_in() {
    let (logs, client) = service();
    let body = at(&[NOW]).to_string();
    let without = |header: &str| {
        let mut headers = client.headers("PutLogEvents");
        headers.retain(|(name, _)| *name != header);
        let answer = client.send(&headers, body.as_bytes()).unwrap();
        assert_eq!(answer.status, 400);
        answer.error()
    };
    assert_eq!(
        without("authorization"),
        "MissingAuthenticationTokenException"
    );
    assert_eq!(without("x-amz-date"), "IncompleteSignatureException");
    assert_eq!(messages(&logs), Vec::<String>::new());
}

#[test]
fn keys_regions_and_tokens_are_checked() {
    let (logs, mut client) = service();
    let body = at(&[NOW]);
    logs.set_region("us-east-1");
    assert_eq!(put(&client, &body).error(), "InvalidSignatureException");
    client.region = "us-east-1".to_owned();
    assert_eq!(put(&client, &body).error(), "");
    logs.accept_keys(&["AKIDOTHER"]);
    assert_eq!(put(&client, &body).error(), "UnrecognizedClientException");
    client.key = "AKIDOTHER".to_owned();
    client.token = Some("session-1".to_owned());
    assert_eq!(put(&client, &body).error(), "");
    logs.expire_token("session-1");
    assert_eq!(put(&client, &body).error(), "ExpiredTokenException");
    client.token = Some("session-2".to_owned());
    assert_eq!(put(&client, &body).error(), "");
    logs.set_secret("AKIDOTHER", "secret");
    assert_eq!(put(&client, &body).error(), "InvalidSignatureException");
    let keys: Vec<String> = logs.requests().into_iter().map(|r| r.access_key).collect();
    let (first, second) = ("AKIDEXAMPLE", "AKIDOTHER");
    assert_eq!(keys, [&[first; 3][..], &[second; 4]].concat());
    assert_eq!(messages(&logs).len(), 3);
}

#[test]
fn what_was_asked_is_recorded() {
    let (logs, client) = service();
    put(&client, &batch([event(NOW, "abc"), event(NOW, "é")]));
    put(&client, &at(&[NOW, NOW + 8_000_000]));
    put(&client, &batch([]));
    let requests = logs.finish().unwrap();
    let of = |n: usize| {
        let r = &requests[n];
        assert_eq!((r.group.as_str(), r.stream.as_str()), (GROUP, STREAM));
        assert_eq!(
            (r.target.as_str(), r.at_ms),
            ("Logs_20140328.PutLogEvents", NOW)
        );
        (r.events, r.bytes, r.stored, r.rejected, r.outcome.clone())
    };
    let answered = |status, error: Option<&str>| Outcome::Answered {
        status,
        error: error.map(str::to_owned),
    };
    assert_eq!(of(0), (2, 3 + 2 + 2 * 26, 2, 0, answered(200, None)));
    assert_eq!(of(1), (2, 2 + 2 * 26, 1, 1, answered(200, None)));
    let error = answered(400, Some("InvalidParameterException"));
    assert_eq!(of(2), (0, 0, 0, 0, error));
}

#[test]
fn it_ends_when_it_is_dropped() {
    let logs = CloudWatch::start().unwrap();
    assert!(logs.address().ip().is_loopback());
    let client = super::Client::new(&logs.endpoint());
    client.call("CreateLogGroup", &json!({"logGroupName": "g"}));
    drop(logs);
    let body = json!({"logGroupName": "g"});
    assert!(client.try_call("CreateLogGroup", &body).is_err());
}
