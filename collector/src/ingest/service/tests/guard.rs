//! Who comes in with a service account's token, how much, and with whose records.

use plimsoll_wire::Identity;
use plimsoll_wire::event::ContainerEnd;
use plimsoll_wire::identity::{Qos, Subject};
use plimsoll_wire::otlp::metrics;

use super::*;
use crate::cluster::reviews::tests::{ApiServer, recorded};
use crate::ingest::decode::audit_event;
use crate::ingest::review::Senders;
use crate::ingest::store::SINK;

const AGENT_NODE: &str = "ip-10-0-4-10.eu-west-1.compute.internal";

async fn reviewed(server: &ApiServer) -> Receiver {
    let senders = Senders {
        audience: "plimsoll-collector".to_owned(),
        service_accounts: vec!["plimsoll/plimsoll-agent".to_owned()],
    };
    let clock = crate::cluster::reviews::clock();
    let (pods, asks) = (Pods::default(), server.reviewer());
    let reviews = Reviews::new(senders, asks, pods, clock, || 0);
    Receiver::start_with(move |options| options.reviews = Some(Arc::new(reviews))).await
}

/// The code for records of a node with another token than the file's.
async fn send_as(receiver: &Receiver, token: &str, node: &str, seq: u64) -> Result<(), Status> {
    let mut client = tonic::client::Grpc::new(receiver.channel.clone());
    client.ready().await.unwrap();
    let mut request = Request::new(self::request(node, vec![record(seq, |_| {})]));
    let header = format!("Bearer {token}").parse().unwrap();
    request.metadata_mut().insert("authorization", header);
    let path = PathAndQuery::from_static(LOGS);
    let answer: Response<Vec<u8>> = client.unary(request, path, Raw).await?;
    assert!(answer.into_inner().is_empty());
    Ok(())
}

#[tokio::test]
async fn a_service_account_sends_for_the_node_of_its_pod() {
    let server = ApiServer::start(|_, spec| {
        let name = match spec["token"].as_str()? {
            "good" => "pod-bound",
            "bad" => "expired",
            _ => return None,
        };
        Some((201, recorded(&format!("tokenreview-{name}"))))
    })
    .await;
    let receiver = reviewed(&server).await;
    for seq in 1..4 {
        send_as(&receiver, "good", AGENT_NODE, seq).await.unwrap();
    }
    assert_eq!(server.asked().len(), 1);
    let status = send_as(&receiver, "good", "node-1", 4).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let status = send_as(&receiver, "bad", AGENT_NODE, 4).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    assert_eq!(status.message(), "no known bearer token");
    // The script answers that with 418: the server is there, and does not say.
    let status = send_as(&receiver, "what", AGENT_NODE, 4).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let before = server.asked().len();
    assert!(receiver.send(vec![record(1, |_| {})]).await.is_ok());
    assert_eq!(
        server.asked().len(),
        before,
        "a file's token is not asked about"
    );
    for (line, count) in [
        ("ingest_token_reviews_total{outcome=\"accepted\"}", 1),
        ("ingest_token_reviews_total{outcome=\"refused\"}", 1),
        ("ingest_token_reviews_total{outcome=\"unavailable\"}", 1),
        ("ingest_refused_total{reason=\"unauthenticated\"}", 1),
        ("ingest_refused_total{reason=\"review_unavailable\"}", 1),
        ("ingest_tokens_remembered", 3),
    ] {
        receiver.assert_metric(&format!("{line} {count}"));
    }
    receiver.end(4).await;
}

#[tokio::test]
async fn an_address_that_makes_tokens_up_is_told_to_come_later() {
    let server = ApiServer::start(|_, _| Some((201, recorded("tokenreview-garbage")))).await;
    let receiver = reviewed(&server).await;
    let mut refused = 0;
    let status = loop {
        let status = send_as(&receiver, &format!("junk{refused}"), AGENT_NODE, 1).await;
        let status = status.unwrap_err();
        if status.code() != Code::Unauthenticated {
            break status;
        }
        refused += 1;
        assert!(refused < 1000, "there is no bound");
    };
    assert_eq!(status.code(), Code::Unavailable);
    let said = "too many tokens of this address are asked about; again in";
    assert!(status.message().starts_with(said), "{status}");
    receiver.assert_metric("ingest_refused_total{reason=\"too_many_reviews_of_peer\"} 1");
    // A token in a file needs no question.
    assert!(receiver.send(vec![record(1, |_| {})]).await.is_ok());
    receiver.end(1).await;
}

#[tokio::test]
async fn an_api_server_that_is_away_keeps_nobodys_records() {
    let server = ApiServer::of(Vec::new()).await;
    let receiver = reviewed(&server).await;
    drop(server);
    let status = send_as(&receiver, "good", AGENT_NODE, 1).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("API server"), "{status}");
    receiver.end(0).await;
}

#[tokio::test]
async fn a_node_that_sends_too_much_is_told_when_to_come_again() {
    let clock = crate::cluster::reviews::clock()();
    let receiver = Receiver::start_with(|options| {
        options.rate = Rate {
            bytes_per_s: 1 << 20,
            burst_bytes: 1 << 20,
            requests_per_s: 1,
            burst_requests: 2,
        };
        // Time stands.
        options.clock = Arc::new(move || clock);
    })
    .await;
    for seq in 1..3 {
        receiver.send(vec![record(seq, |_| {})]).await.unwrap();
    }
    let status = receiver.send(vec![record(3, |_| {})]).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    let said = "this node sends more than it may; again in 1.0 s";
    assert_eq!(status.message(), said);
    let retry_info = b"type.googleapis.com/google.rpc.RetryInfo";
    let details = status.details();
    let mut found = details.windows(retry_info.len());
    assert!(found.any(|part| part == retry_info), "{details:?}");
    // The delay of one second: fields of one message each, then a varint.
    assert!(details.ends_with(&[0x0a, 0x02, 0x08, 0x01]), "{details:?}");
    receiver.assert_metric("ingest_refused_total{reason=\"rate\"} 1");
}

#[tokio::test]
async fn bytes_are_weighed_as_well() {
    let clock = crate::cluster::reviews::clock()();
    let receiver = Receiver::start_with(|options| {
        options.rate = Rate {
            bytes_per_s: 1 << 10,
            burst_bytes: 1 << 10,
            requests_per_s: 1000,
            burst_requests: 1000,
        };
        options.clock = Arc::new(move || clock);
    })
    .await;
    let long = |record: &mut LogRecord| record.severity_text = "x".repeat(2 << 10);
    receiver
        .send_gzip(LOGS, request("node-1", vec![record(1, long)]))
        .await
        .unwrap();
    let status = receiver.send(vec![record(2, |_| {})]).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
}

fn on_pod(pod_uid: &str) -> Identity {
    Identity {
        subject: Subject::Pod {
            pod_uid: pod_uid.to_owned(),
            qos: Qos::Burstable,
        },
        ..Identity::unknown(7)
    }
}

#[tokio::test]
async fn records_about_a_pod_on_another_node_are_refused_and_told() {
    let receiver = Receiver::start_with(|options| {
        options.pods = Pods::new(|uid| match uid {
            "ours" => Some("node-1".to_owned()),
            "theirs" => Some("node-2".to_owned()),
            _ => None,
        });
    })
    .await;
    let end = |seq: u64, uid: &str| {
        let event = AuditEvent::ContainerEnd(ContainerEnd {
            identity: on_pod(uid),
            started_unix_ns: None,
            cpu_used_ns: None,
            memory_peak_bytes: None,
        });
        record(seq, |record| {
            let attributes = std::mem::take(&mut record.attributes);
            *record = logs::encode(&event, 5);
            record.attributes.extend(attributes);
        })
    };
    let sent = vec![
        end(1, "ours"),
        end(2, "theirs"),
        end(3, "unknown"),
        end(4, "theirs"),
    ];
    let partial = receiver.send(sent.clone()).await.unwrap();
    assert_eq!(partial.rejected, 2);
    assert_eq!(
        partial.message,
        "2 about a pod on another node: pod theirs is on node-2"
    );
    receiver.store.maintain().unwrap();
    // Sent again they are repeats: no number is missing, and nothing counts twice.
    assert_eq!(receiver.send(sent).await.unwrap().rejected, 2);
    receiver.assert_metric(
        "ingest_records_total{class=\"security\",fate=\"rejected_pod_elsewhere\"} 2",
    );
    let streams = receiver.store.streams();
    assert_eq!((streams[0].watermark(), streams[0].missing()), (4, 0));
    let read = receiver.store.hand_out(Class::Security, SINK, 10, 1 << 20);
    let found: Vec<AuditEvent> = read
        .unwrap()
        .records
        .iter()
        .map(|record| audit_event(&record.payload).unwrap())
        .filter(|(id, _, _)| id.node == crate::ingest::dedupe::OWN_NODE)
        .map(|(_, _, event)| event)
        .collect();
    let [AuditEvent::Misplaced(found)] = found.as_slice() else {
        panic!("{found:?}");
    };
    assert_eq!((found.sender.as_str(), found.count), ("node-1", 2));
    assert_eq!(
        (found.pod_uid.as_str(), found.pod_node.as_str()),
        ("theirs", "node-2")
    );
    let fates = receiver.store.counts.fates(Class::Security);
    assert_eq!((fates.rejected, fates.unaccounted()), (2, 0));
    let mut window = crate::history::series::tests::window("c1", 1, 100, 1 << 20);
    window.identity = on_pod("theirs");
    let mut message = metrics::encode(&window);
    let stream = id::StreamId {
        epoch: EPOCH.into(),
        class: Class::Usage,
        seq: 1,
    };
    let attributes = &mut message.resource.as_mut().unwrap().attributes;
    attributes.extend(id::node_resource("node-1").attributes);
    id::stamp(attributes, &stream);
    let asked = ExportMetricsServiceRequest {
        resource_metrics: vec![message],
    };
    let partial = receiver
        .send_raw(METRICS, asked.encode_to_vec())
        .await
        .unwrap();
    assert_eq!(partial.rejected, 1, "{}", partial.message);
    receiver
        .assert_metric("ingest_records_total{class=\"usage\",fate=\"rejected_pod_elsewhere\"} 1");
}
