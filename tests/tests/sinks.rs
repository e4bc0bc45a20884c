//! The collector's sinks against the services that they send to, over HTTP, with the client that they have.
#![expect(
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

use std::collections::BTreeMap;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use plimsoll_collector::config::sinks::CloudWatch as Settings;
use plimsoll_collector::sinks::cloudwatch::CloudWatch as Sink;
use plimsoll_collector::sinks::{Message, RefusalKind, Refused, Sent};
use plimsoll_tests::cloudwatch::{CloudWatch, Fault, Operation, REGION, Times};

const NOW_MS: i64 = 1_800_000_000_000;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
const GROUP: &str = "/plimsoll/audit";
const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "not-a-secret";
const STREAM: &str = "eks/0f";

/// Sends refused at the most until everything is there.
const MAX_REFUSED: usize = 60;

fn service() -> CloudWatch {
    let logs = CloudWatch::start().unwrap();
    logs.set_now_ms(NOW_MS);
    logs.create_group(GROUP).unwrap();
    logs.set_secret(KEY, SECRET);
    logs
}

fn sink(logs: &CloudWatch, create_group: bool) -> Sink {
    let settings = Settings {
        group: GROUP.to_owned(),
        stream: "eks".to_owned(),
        region: Some(REGION.to_owned()),
        endpoint: Some(logs.endpoint()),
        create_group,
    };
    let ours = Credentials::new(KEY, SECRET, None, None, "tests");
    let aws = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .credentials_provider(SharedCredentialsProvider::new(ours))
        .region(Region::new(REGION));
    Sink::with_aws(&settings, "0f", &aws.build())
}

fn message(seq: u64, time_ms: i64, text: String) -> Message {
    Message {
        seq,
        time_unix_ns: u64::try_from(time_ms).unwrap() * 1_000_000,
        uid: format!("u{seq}"),
        text,
    }
}

/// Messages of these ages, each with its number in it.
fn aged(ages_ms: &[i64]) -> Vec<Message> {
    let one = |(seq, age_ms): (u64, &i64)| {
        message(seq, NOW_MS - age_ms, format!("{{\"uid\":\"u{seq}\"}}"))
    };
    (1..).zip(ages_ms).map(one).collect()
}

async fn send(sink: &mut Sink, messages: &[Message]) -> Result<Sent, Refused> {
    sink.send(messages, u64::try_from(NOW_MS).unwrap()).await
}

/// Sends until all have their fate; what was refused is sent again at once.
async fn send_all(sink: &mut Sink, messages: &[Message]) -> (Sent, Vec<RefusalKind>) {
    let (mut rest, mut all, mut refusals) = (messages, Sent::default(), Vec::new());
    while !rest.is_empty() {
        assert!(refusals.len() < MAX_REFUSED, "{refusals:?}");
        match send(sink, rest).await {
            Ok(sent) => {
                rest = rest.get(sent.taken..).unwrap();
                all.taken += sent.taken;
                all.delivered += sent.delivered;
                all.restamped += sent.restamped;
                all.maybe_twice += sent.maybe_twice;
                all.quarantined.extend(sent.quarantined);
            }
            Err(refused) => refusals.push(refused.kind),
        }
    }
    (all, refusals)
}

/// How often each text is stored.
fn stored(logs: &CloudWatch) -> BTreeMap<String, u64> {
    let mut times = BTreeMap::new();
    for event in logs.stored(GROUP, STREAM) {
        *times.entry(event.message).or_default() += 1;
    }
    times
}

/// Everything is there once, or as often as the sink says that it may be.
#[track_caller]
fn assert_there(logs: &CloudWatch, messages: &[Message], sent: &Sent) {
    let stored = stored(logs);
    for message in messages {
        assert!(
            stored.contains_key(&message.text),
            "{} is lost",
            message.seq
        );
    }
    assert_eq!(stored.len(), messages.len(), "nothing else is there");
    let twice = stored.values().filter(|times| **times > 1).count();
    assert!(twice as u64 <= sent.maybe_twice, "{twice} are there twice");
}

#[tokio::test]
async fn a_backlog_of_every_size_and_age_arrives_whole() {
    let logs = service();
    let mut sink = sink(&logs, false);
    let mut random = fastrand::Rng::with_seed(1);
    let messages: Vec<_> = (1..=400)
        .map(|seq| {
            let bytes = match random.u32(..20) {
                0 => 1_048_540,
                1..4 => random.usize(100_000..600_000),
                _ => random.usize(20..2000),
            };
            let age_ms = random.i64(-3 * HOUR_MS..16 * DAY_MS);
            message(seq, NOW_MS - age_ms, format!("{seq} {}", "x".repeat(bytes)))
        })
        .collect();
    let (sent, refusals) = send_all(&mut sink, &messages).await;
    assert_eq!((sent.delivered, sent.maybe_twice), (400, 0));
    assert!(sent.restamped > 0 && sent.quarantined.is_empty());
    assert!(refusals.is_empty(), "{refusals:?}");
    assert_there(&logs, &messages, &sent);
    let requests = logs.finish().unwrap();
    assert!(requests.iter().all(|request| request.rejected == 0));
}

#[tokio::test]
async fn a_call_is_as_large_as_it_may_be() {
    let logs = service();
    let mut sink = sink(&logs, false);
    let messages: Vec<_> = (1..=10_001)
        .map(|seq| message(seq, NOW_MS, seq.to_string()))
        .collect();
    assert_eq!(send(&mut sink, &messages).await.unwrap().taken, 10_000);
    assert_eq!(send(&mut sink, &messages[10_000..]).await.unwrap().taken, 1);
    let full = [
        message(1, NOW_MS, "x".repeat(524_288 - 26)),
        message(2, NOW_MS, "y".repeat(524_288 - 26)),
        message(3, NOW_MS, "z".to_owned()),
    ];
    assert_eq!(send(&mut sink, &full).await.unwrap().taken, 2);
    let requests = logs.finish().unwrap();
    assert_eq!(requests.last().unwrap().bytes, 1_048_576);
}

/// A day is kept: five that are older are thrown away out of a call that succeeds.
#[tokio::test]
async fn what_the_group_does_not_keep_any_more_is_kept_under_the_present_time() {
    let logs = service();
    logs.set_retention(GROUP, Some(1)).unwrap();
    let mut sink = sink(&logs, false);
    let ages: Vec<i64> = (0..10)
        .map(|at| DAY_MS + HOUR_MS / 2 - at * HOUR_MS / 10)
        .collect();
    let messages = aged(&ages);
    let (sent, refusals) = send_all(&mut sink, &messages).await;
    assert_eq!((sent.delivered, sent.restamped, refusals.len()), (10, 5, 0));
    assert_there(&logs, &messages, &sent);
    let events = logs.stored(GROUP, STREAM);
    assert_eq!(
        events
            .iter()
            .filter(|event| event.timestamp_ms == NOW_MS)
            .count(),
        5
    );
    let requests = logs.finish().unwrap();
    assert_eq!(
        requests
            .iter()
            .map(|request| request.rejected)
            .sum::<usize>(),
        5
    );
}

#[tokio::test]
async fn fifteen_days_of_outage_lose_nothing() {
    let logs = service();
    let mut sink = sink(&logs, false);
    let ages: Vec<i64> = (0..15 * 24).rev().map(|hours| hours * HOUR_MS).collect();
    let messages = aged(&ages);
    let (sent, refusals) = send_all(&mut sink, &messages).await;
    assert_eq!((sent.delivered, refusals.len()), (360, 0));
    assert_there(&logs, &messages, &sent);
    logs.finish().unwrap();
}

#[tokio::test]
async fn every_fault_ends_in_full_delivery() {
    for (fault, kind, is_in_doubt) in [
        (Fault::throttling(), RefusalKind::Throttled, false),
        (Fault::too_many_requests(), RefusalKind::Throttled, false),
        (Fault::service_unavailable(), RefusalKind::Unavailable, true),
        (Fault::internal_failure(), RefusalKind::Unavailable, true),
        (Fault::bad_gateway(), RefusalKind::Unavailable, true),
        (Fault::access_denied(), RefusalKind::Denied, false),
        (Fault::expired_token(), RefusalKind::Credentials, false),
        (
            Fault::unrecognized_client(),
            RefusalKind::Credentials,
            false,
        ),
        (Fault::invalid_signature(), RefusalKind::Credentials, false),
        (Fault::kms_disabled(), RefusalKind::Key, false),
        (Fault::kms_key_invalid(), RefusalKind::Key, false),
        (Fault::limit_exceeded(), RefusalKind::Other, false),
        (Fault::CutBefore, RefusalKind::Unavailable, true),
        (Fault::CutAfter, RefusalKind::Unavailable, true),
        (Fault::unusable_body(), RefusalKind::Unavailable, true),
        (Fault::no_body(), RefusalKind::Unavailable, true),
        (Fault::html(), RefusalKind::Unavailable, true),
    ] {
        let logs = service();
        let mut sink = sink(&logs, false);
        logs.fail(Operation::PutLogEvents, fault.clone(), Times::Next(2));
        let messages = aged(&[3, 2, 1]);
        let (sent, refusals) = send_all(&mut sink, &messages).await;
        assert_eq!(refusals, [kind; 2], "{fault:?}");
        let maybe_twice = if is_in_doubt { 3 } else { 0 };
        assert_eq!(
            (sent.delivered, sent.maybe_twice),
            (3, maybe_twice),
            "{fault:?}"
        );
        assert_there(&logs, &messages, &sent);
        logs.finish().unwrap();
    }
}

#[tokio::test]
async fn poison_is_found_and_nothing_else_is_held_up() {
    let logs = service();
    logs.poison("u37\"");
    logs.poison("u111\"");
    logs.poison("u112\"");
    let mut sink = sink(&logs, false);
    let messages = aged(&[1; 200]);
    let (sent, refusals) = send_all(&mut sink, &messages).await;
    let poison: Vec<u64> = sent.quarantined.iter().map(|of| of.seq).collect();
    assert_eq!((poison, refusals.len()), (vec![37, 111, 112], 0));
    let good: Vec<_> = messages
        .into_iter()
        .filter(|of| ![37, 111, 112].contains(&of.seq))
        .collect();
    assert_there(&logs, &good, &sent);
    logs.finish().unwrap();
}

#[tokio::test]
async fn a_deleted_stream_is_made_anew_and_a_deleted_group_waited_for() {
    let logs = service();
    let mut closed = sink(&logs, false);
    let messages = aged(&[2, 1]);
    assert_eq!(
        send(&mut closed, &messages[..1]).await.unwrap().delivered,
        1
    );
    logs.delete_stream(GROUP, STREAM).unwrap();
    assert_eq!(
        send(&mut closed, &messages[1..]).await.unwrap().delivered,
        1
    );
    logs.delete_group(GROUP).unwrap();
    let refused = send(&mut closed, &messages).await.unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Missing);
    let mut open = sink(&logs, true);
    logs.fail(
        Operation::CreateLogGroup,
        Fault::operation_aborted(),
        Times::Next(1),
    );
    let (sent, refusals) = send_all(&mut open, &messages).await;
    assert_eq!((sent.delivered, refusals.len()), (2, 1));
    assert_eq!(stored(&logs).len(), 2);
    logs.finish().unwrap();
}

/// A node's clock five hours ahead, and a service that is down.
#[tokio::test]
async fn events_of_the_future_and_a_service_that_is_away() {
    let logs = service();
    let mut sink = sink(&logs, false);
    let messages = aged(&[-5 * HOUR_MS, 0]);
    logs.set_down(true);
    let refused = send(&mut sink, &messages).await.unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Unavailable);
    logs.set_down(false);
    let (sent, _) = send_all(&mut sink, &messages).await;
    assert_eq!((sent.delivered, sent.restamped), (2, 1));
    assert_there(&logs, &messages, &sent);
    logs.finish().unwrap();
}

/// This machine is five hours ahead of the service: known by the dates of its answers.
#[tokio::test]
async fn a_clock_that_is_off_loses_nothing() {
    let logs = service();
    logs.advance_ms(-5 * HOUR_MS);
    let mut sink = sink(&logs, false);
    let messages = aged(&[HOUR_MS, 0]);
    let (sent, refusals) = send_all(&mut sink, &messages).await;
    assert_eq!((sent.delivered, sent.restamped, refusals.len()), (2, 2, 0));
    assert_eq!(sink.clock_offset_ms(), -5 * HOUR_MS);
    assert_there(&logs, &messages, &sent);
    logs.finish().unwrap();
}
