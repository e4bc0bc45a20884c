//! AWS's client against answers on a loopback address, each written out as it goes over the wire.
#![expect(clippy::disallowed_methods, reason = "a server of answers listens")]

use std::sync::Mutex;

use aws_sdk_cloudwatchlogs::config::{Credentials, SharedCredentialsProvider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::sinks::cloudwatch::CloudWatch;
use crate::sinks::cloudwatch::interpret::Cause;
use crate::sinks::{RefusalKind, Refused, Sent};

const DATE: &str = "Tue, 15 Sep 2026 12:00:00 GMT";
const NOW_MS: u64 = 1_789_473_600_000;

/// Requests as they came: the operation and the body.
type Heard = Arc<Mutex<Vec<(String, String)>>>;

/// A server that gives one answer after the other, each on a connection of its own; then it is gone.
async fn server(answers: Vec<String>) -> (String, Heard, tokio::task::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Heard::default();
    let requests = Arc::clone(&heard);
    let task = tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let request = read(&mut stream).await;
            requests.lock().unwrap().push(request);
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    (format!("http://{address}"), heard, task)
}

async fn read(stream: &mut tokio::net::TcpStream) -> (String, String) {
    let mut bytes = Vec::new();
    loop {
        stream.read_buf(&mut bytes).await.unwrap();
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let field = |name: &str| {
            let mut lines = head.lines().filter_map(|line| line.split_once(": "));
            let found = lines.find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_owned())
        };
        let length: usize = field("content-length").unwrap().parse().unwrap();
        if body.len() >= length {
            assert!(field("authorization").unwrap().contains("/eu-west-1/logs/"));
            let target = field("x-amz-target").unwrap();
            let operation = target.rsplit('.').next().unwrap().to_owned();
            return (operation, body.to_owned());
        }
    }
}

fn http(status: u16, more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} x\r\ndate: {DATE}\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n{body}"
    )
}

fn error(code: &str) -> String {
    let kind = "content-type: application/x-amz-json-1.1\r\n";
    let body = format!(r#"{{"__type":"{code}","message":"because of it"}}"#);
    http(400, kind, &body)
}

/// A client of this address with credentials that nobody has.
fn client(endpoint: &str, has_credentials: bool) -> Client {
    let settings = Settings {
        endpoint: Some(endpoint.to_owned()),
        ..Settings::default()
    };
    let credentials = if has_credentials {
        let ours = Credentials::new("AKIDEXAMPLE", "not-a-secret", None, None, "tests");
        SharedCredentialsProvider::new(ours)
    } else {
        SharedCredentialsProvider::new(Nobody)
    };
    let aws = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(credentials)
        .region(Region::new("eu-west-1"));
    Client::with_aws(&settings, &aws.build())
}

#[derive(Debug)]
struct Nobody;

impl aws_credential_types::provider::ProvideCredentials for Nobody {
    fn provide_credentials<'a>(
        &'a self,
    ) -> aws_credential_types::provider::future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        let none = Err(CredentialsError::not_loaded("there are none"));
        aws_credential_types::provider::future::ProvideCredentials::ready(none)
    }
}

fn sink(client: Client) -> CloudWatch {
    let settings = Settings {
        group: "/g".into(),
        stream: "s".into(),
        create_group: true,
        ..Settings::default()
    };
    CloudWatch::with_calls(&settings, "e", client)
}

fn messages(count: u64) -> Vec<Message> {
    let one = |seq| Message {
        seq,
        time_unix_ns: (NOW_MS - seq) * 1_000_000,
        uid: format!("u{seq}"),
        text: format!("{{\"n\":{seq}}}"),
    };
    (1..=count).map(one).collect()
}

async fn answered(answers: Vec<String>) -> (Result<Sent, Refused>, Vec<(String, String)>) {
    let (endpoint, heard, task) = server(answers).await;
    let mut sink = sink(client(&endpoint, true));
    let sent = sink.send(&messages(3), NOW_MS).await;
    task.await.unwrap();
    let heard = heard.lock().unwrap().clone();
    (sent, heard)
}

#[tokio::test]
async fn events_go_out_in_order_and_the_stream_is_made() {
    let (sent, heard) = answered(vec![
        error("ResourceNotFoundException"),
        error("ResourceNotFoundException"),
        http(200, "", "{}"),
        error("ResourceAlreadyExistsException"),
        http(200, "", r#"{"nextSequenceToken":"1"}"#),
    ])
    .await;
    assert_eq!(sent.unwrap().delivered, 3);
    let operations: Vec<_> = heard
        .iter()
        .map(|(operation, _)| operation.as_str())
        .collect();
    assert_eq!(
        operations,
        [
            "PutLogEvents",
            "CreateLogStream",
            "CreateLogGroup",
            "CreateLogStream",
            "PutLogEvents"
        ]
    );
    let body: serde_json::Value = serde_json::from_str(&heard[4].1).unwrap();
    assert_eq!(
        body,
        serde_json::json!({
            "logGroupName": "/g",
            "logStreamName": "s/e",
            "logEvents": [
                {"timestamp": NOW_MS - 3, "message": "{\"n\":3}"},
                {"timestamp": NOW_MS - 2, "message": "{\"n\":2}"},
                {"timestamp": NOW_MS - 1, "message": "{\"n\":1}"},
            ],
        })
    );
}

/// Sent by time, the third comes first: it is what the place 0 means.
#[tokio::test]
async fn rejects_are_read_by_their_places() {
    let body =
        r#"{"rejectedLogEventsInfo":{"tooOldLogEventEndIndex":1,"expiredLogEventEndIndex":0}}"#;
    let (sent, _) = answered(vec![http(200, "", body)]).await;
    assert_eq!(sent.unwrap().delivered, 2);
    let body = r#"{"rejectedLogEventsInfo":{"tooNewLogEventStartIndex":2}}"#;
    let (sent, _) = answered(vec![http(200, "", body)]).await;
    assert_eq!(sent.unwrap(), Sent::default());
}

#[tokio::test]
async fn a_success_without_a_readable_body_is_none() {
    for body in ["", "<html>", "{\"rejected", "[]"] {
        let (sent, _) = answered(vec![http(200, "", body)]).await;
        let refused = sent.unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Unavailable, "{body:?}");
        assert!(refused.what.starts_with("read the answer"), "{refused}");
    }
    let cut = http(200, "", "{}").replace("length: 2", "length: 200");
    let (sent, _) = answered(vec![cut]).await;
    assert!(sent.unwrap_err().what.starts_with("read the answer"));
}

async fn failed(answer: Option<String>, has_credentials: bool) -> (Failure, Option<i64>) {
    let (endpoint, _, task) = server(answer.into_iter().collect()).await;
    if !has_credentials {
        task.abort();
    }
    let client = client(&endpoint, has_credentials);
    let messages = messages(1);
    let none = std::collections::BTreeSet::new();
    let now = i64::try_from(NOW_MS).unwrap();
    let batch = crate::sinks::cloudwatch::prepare::batch(&messages, |_| false, &none, 1, now);
    let reply = client.put("/g", "s", &messages, &batch).await;
    let Answer::Failed(failure) = reply.answer else {
        panic!("{reply:?}");
    };
    (failure, reply.date_unix_ms)
}

#[tokio::test]
async fn errors_are_known_by_name_status_and_date() {
    let (failure, date) = failed(Some(error("ThrottlingException")), true).await;
    assert_eq!(failure.cause(), Cause::Refusal(RefusalKind::Throttled));
    assert_eq!(failure.message.as_deref(), Some("because of it"));
    assert_eq!(date, Some(i64::try_from(NOW_MS).unwrap()));
    assert!(!failure.is_in_doubt);
    let busy = http(503, "retry-after: 7\r\n", "busy");
    let (failure, _) = failed(Some(busy), true).await;
    assert_eq!(failure.cause(), Cause::Refusal(RefusalKind::Unavailable));
    assert_eq!(
        (failure.status, failure.retry_after_ms),
        (Some(503), Some(7000))
    );
    assert!(failure.is_in_doubt);
}

#[tokio::test]
async fn a_connection_that_ends_leaves_doubt_and_one_that_never_was_does_not() {
    let (failure, date) = failed(Some(String::new()), true).await;
    assert_eq!(failure.cause(), Cause::Refusal(RefusalKind::Unavailable));
    assert!(failure.is_in_doubt && date.is_none(), "{failure:?}");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let mut sink = sink(client(&endpoint, true));
    let refused = sink.send(&messages(1), NOW_MS).await.unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Unavailable);
    let (endpoint, _, task) = server(vec![http(200, "", "{}")]).await;
    sink.calls = client(&endpoint, true);
    let sent = sink.send(&messages(1), NOW_MS).await.unwrap();
    assert_eq!((sent.delivered, sent.maybe_twice), (1, 0));
    task.await.unwrap();
}

/// Told as what it is, and no word of credentials where there are some.
#[tokio::test]
async fn without_credentials_nothing_is_sent() {
    let (failure, _) = failed(None, false).await;
    assert!(failure.is_without_credentials && !failure.is_in_doubt);
    assert_eq!(failure.cause(), Cause::Refusal(RefusalKind::Credentials));
    let shown = format!("{:?}", client("http://127.0.0.1:1", true));
    assert!(!shown.contains("AKIDEXAMPLE"), "{shown}");
}

#[test]
fn dates_are_read_as_http_writes_them() {
    assert_eq!(unix_ms(DATE), Some(i64::try_from(NOW_MS).unwrap()));
    assert_eq!(unix_ms("today"), None);
}
