//! Connections over their bounds, and those that do not do their part.

use super::*;

/// A message whose end does not come holds room for its time and no longer, and keeps no other out.
#[tokio::test]
async fn a_message_that_dribbles_in_is_broken_off() {
    let within = Duration::from_millis(200);
    let receiver = Receiver::start_with(|options| options.request_within = within).await;
    let mut client = tonic::client::Grpc::new(receiver.channel.clone());
    client.ready().await.unwrap();
    let mut endless = Request::new(tokio_stream::pending::<Vec<u8>>());
    let token = "Bearer secret".parse().unwrap();
    endless.metadata_mut().insert("authorization", token);
    let path = PathAndQuery::from_static(LOGS);
    let dribbling = client.client_streaming::<_, Vec<u8>, Vec<u8>, _>(endless, path, Raw);
    let (dribbled, sent) = tokio::join!(dribbling, receiver.send(vec![record(1, |_| {})]));
    assert_eq!(sent.unwrap(), Partial::default());
    let status = dribbled.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
    receiver.assert_metric("ingest_refused_total{reason=\"slow\"} 1");
    assert_eq!(receiver.store.counts.in_hand_bytes(), 0);
    receiver.end(1).await;
}

/// Reads until the receiver has closed the connection.
async fn closed(address: SocketAddr) {
    use tokio::io::AsyncReadExt as _;
    let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
    // What HTTP/2 says at its beginning may come first; a reset is an end too.
    drop(client.read_to_end(&mut Vec::new()).await);
}

#[tokio::test]
async fn connections_over_a_bound_are_refused_and_counted() {
    for (max_connections, reason) in [
        (1, "too_many_connections"),
        (4, "too_many_connections_of_peer"),
    ] {
        let receiver =
            Receiver::start_with(|options| options.max_connections = max_connections).await;
        assert_eq!(
            receiver.send(vec![record(1, |_| {})]).await.unwrap(),
            Partial::default()
        );
        assert_eq!(receiver.store.counts.connections(), 1);
        closed(receiver.address).await;
        receiver.assert_metric(&format!("ingest_refused_total{{reason=\"{reason}\"}} 1"));
        receiver.end(1).await;
    }
}

/// Of one address a few may be open that have shown no token; one that has is none of them.
#[tokio::test]
async fn strangers_of_one_address_have_a_share_of_their_own() {
    let max_connections = 2 * STRANGER_SHARE;
    let receiver = Receiver::start_with(|options| options.max_connections = max_connections).await;
    assert_eq!(
        receiver.send(vec![record(1, |_| {})]).await.unwrap(),
        Partial::default()
    );
    let mut strangers = Vec::new();
    for _ in 0..2 {
        let stranger = tokio::net::TcpStream::connect(receiver.address).await;
        strangers.push(stranger.unwrap());
    }
    closed(receiver.address).await;
    receiver.assert_metric("ingest_refused_total{reason=\"too_many_connections_of_peer\"} 1");
    assert_eq!(receiver.store.counts.connections(), 3);
    assert_eq!(
        receiver.send(vec![record(2, |_| {})]).await.unwrap(),
        Partial::default()
    );
    drop(strangers);
    receiver.end(2).await;
}

#[tokio::test]
async fn a_connection_that_shows_no_token_is_let_go() {
    let within = Some(Duration::from_secs(1));
    let receiver = Receiver::start_with(|options| options.pace.known_within = within).await;
    assert_eq!(
        receiver.send(vec![record(1, |_| {})]).await.unwrap(),
        Partial::default()
    );
    closed(receiver.address).await;
    // And not the one that did.
    receiver.assert_metric("ingest_refused_total{reason=\"silent\"} 1");
    receiver.end(1).await;
}

/// Nobody restarts the collector for it, and no request waits for the file.
#[tokio::test]
async fn a_token_file_that_is_gone_is_noticed_and_so_is_its_return() {
    let receiver = Receiver::start().await;
    let file = receiver.folder.path().join("token");
    let send = || receiver.send(vec![record(1, |_| {})]);
    assert_eq!(send().await.unwrap(), Partial::default());
    receiver.assert_metric("ingest_tokens_unusable 0");
    std::fs::remove_file(&file).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_mins(1);
    let refusal = loop {
        if let Err(refusal) = send().await {
            break refusal;
        }
        assert!(std::time::Instant::now() < deadline, "still let in");
    };
    assert_eq!(refusal.code(), Code::Unauthenticated);
    // Shown right after it counts.
    let shown = async |count: i64| {
        while receiver.store.counts.unusable_tokens() != count {
            assert!(std::time::Instant::now() < deadline, "not shown: {count}");
            tokio::task::yield_now().await;
        }
    };
    shown(1).await;
    std::fs::write(&file, "secret").unwrap();
    while send().await.is_err() {
        assert!(std::time::Instant::now() < deadline, "still kept out");
    }
    shown(0).await;
    receiver.end(1).await;
}
