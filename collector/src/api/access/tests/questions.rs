//! How often the API server is asked, and how much is logged.

use super::*;

#[tokio::test]
async fn questions_are_asked_once_in_their_time() {
    let asked = Asked::new().await;
    for _ in 0..3 {
        assert_eq!(
            asked
                .as_user("alice", "/api/v1/sizing/shop/pod/web")
                .await
                .0,
            200
        );
        assert_eq!(asked.as_user("bob", "/api/v1/nodes").await.0, 403);
    }
    assert_eq!(asked.server.asked().len(), 4);
    assert_eq!((asked.decided("allowed"), asked.decided("denied")), (3, 3));
    assert_eq!(asked.requests.answers_remembered(), 4);
    asked.seconds.store(30, Ordering::Relaxed);
    assert_eq!(
        asked
            .as_user("alice", "/api/v1/sizing/shop/pod/web")
            .await
            .0,
        200
    );
    let questions = asked.server.asked();
    assert_eq!(questions.len(), 6);
    let (_, spec) = &questions[1];
    assert_eq!(spec["user"], "alice");
    assert_eq!(spec["uid"], "a5ea9f1f-387d-4651-a300-19cf47220b2e");
    assert_eq!(spec["groups"][2], "system:authenticated");
    let pod = "authentication.kubernetes.io/pod-name";
    assert_eq!(spec["extra"][pod], json!(["plimsoll-agent-4q46r"]));
}

#[tokio::test]
async fn an_api_server_that_does_not_answer_lets_nobody_in() {
    let asked = Asked::new().await;
    // The script does not know that one's rights.
    let found = asked.as_user("carol", "/api/v1/nodes").await;
    Asked::says(&found, 503, "the API server does not say now");
    assert!(!found.1.contains("418"), "{}", found.1);
    assert_eq!(asked.decided("unavailable"), 1);
    // Whose rights are remembered is let in until they end.
    assert_eq!(asked.as_user("root", "/api/v1/nodes").await.0, 200);
    let Asked { server, state, .. } = asked;
    drop(server);
    let ask = async |who: &str| {
        let request = Request::get("/api/v1/nodes")
            .header("authorization", format!("Bearer {}", token(who)))
            .body(Body::empty())
            .unwrap();
        let response = router(Arc::clone(&state)).oneshot(request).await;
        response.unwrap().status().as_u16()
    };
    assert_eq!((ask("root").await, ask("alice").await), (200, 503));
}

#[tokio::test]
async fn strangers_write_so_many_lines_a_minute() {
    let asked = Asked::new().await;
    let rules = asked.state.access.as_ref().unwrap();
    for _ in 0..LINES_A_MINUTE {
        assert_eq!(rules.line(&rules.strangers), Some(0));
    }
    for _ in 0..7 {
        assert_eq!(rules.line(&rules.strangers), None);
    }
    assert_eq!(rules.line(&rules.denials), Some(0), "they have their own");
    asked.seconds.store(60, Ordering::Relaxed);
    assert_eq!(rules.line(&rules.strangers), Some(7), "left out");
    assert_eq!(rules.line(&rules.strangers), Some(0));
}
