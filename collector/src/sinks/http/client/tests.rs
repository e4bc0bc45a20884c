#![expect(
    clippy::disallowed_methods,
    reason = "a server that says nothing listens"
)]

use tokio::net::TcpListener;

use super::*;

/// Over one connection of HTTP/2 go all calls: one that is dead must not be taken again.
#[tokio::test]
async fn a_connection_that_says_nothing_is_left() {
    for version in [Version::Http1, Version::Http2] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let mut client = Client::new(&endpoint, Files::default(), version);
        client.call_time = Duration::from_millis(50);
        let mut held = Vec::new();
        for _ in 0..2 {
            let request = Request::post(&endpoint).body(Body::from("a")).unwrap();
            let (failed, accepted) = tokio::join!(client.call(request, 1), async {
                tokio::time::timeout(Duration::from_secs(10), listener.accept()).await
            });
            let failure = failed.unwrap_err();
            assert!(failure.is_in_doubt && failure.help.contains("no answer"));
            held.push(accepted.expect("another connection").unwrap());
        }
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_leave_no_call_in_doubt() {
    let absent = PathBuf::from("/absent/ca");
    let files = Files {
        ca_file: Some(&absent),
        ..Files::default()
    };
    let client = Client::new("https://localhost:1/", files, Version::Http1);
    assert_eq!(client.endpoint(), "https://localhost:1");
    let request = Request::post("https://localhost:1")
        .body(Body::empty())
        .unwrap();
    let failure = client.call(request, 1).await.unwrap_err();
    assert_eq!(
        (failure.kind, failure.is_in_doubt),
        (RefusalKind::Other, false)
    );
    assert!(failure.source.to_string().contains("/absent/ca"));
}
