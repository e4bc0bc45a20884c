//! How often the API server is asked, and how much is logged.

use super::rules::OF_ADDRESS;
use super::*;
use crate::api::lines::LINES_A_MINUTE;
use crate::cluster::shares::{Share, Shares};

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
    let rules = asked.state.access.as_ref().unwrap();
    for _ in 1..LINES_A_MINUTE {
        assert_eq!(rules.line(&rules.undecided), Some(0));
    }
    assert_eq!(rules.line(&rules.undecided), None, "one told of carol");
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
    // How we are is told all the same.
    let request =
        Request::get("/readyz").header("authorization", format!("Bearer {}", token("alice")));
    let request = request.body(Body::empty()).unwrap();
    let response = router(Arc::clone(&state)).oneshot(request).await.unwrap();
    assert_eq!(response.status().as_u16(), 200);
}

/// Nobody asked for the accounting, which the overview leaves out.
#[tokio::test]
async fn what_a_page_leaves_out_is_no_denial() {
    let asked = Asked::new().await;
    assert_eq!(asked.as_user("alice", "/").await.0, 200);
    assert_eq!(
        asked.server.asked().len(),
        5,
        "whose token, and four rights"
    );
    assert_eq!((asked.decided("allowed"), asked.decided("denied")), (1, 0));
}

#[test]
fn the_log_names_the_namespaces_that_were_shown() {
    let of = |count: usize| some_of(&(0..count).map(|n| format!("n{n:03}")).collect());
    assert_eq!(of(0), "any namespace");
    assert_eq!(of(1), "namespace n000");
    assert_eq!(of(3), "namespaces n000, n001, n002");
    assert!(of(MAX_TOLD + 7).ends_with(", n049 and 7 more"));
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

#[tokio::test]
async fn tokens_that_are_made_up_use_up_the_share_of_their_address_alone() {
    let asked = Asked::new().await;
    assert_eq!(asked.as_user("root", "/api/v1/nodes").await.0, 200);
    let stranger = async |host: u8, n: u32| {
        let header = format!("Bearer {}{n}", token("stranger"));
        let headers = [("authorization", &*header)];
        asked.ask_from(host, "/api/v1/nodes", &headers).await
    };
    for n in 0..OF_ADDRESS.a_minute {
        assert_eq!(stranger(1, n).await.0, 401);
    }
    let questions = asked.server.asked().len();
    let (status, headers, body) = stranger(1, 1000).await;
    let too_many = "too many unknown tokens came from this address";
    Asked::says(&(status, body), 429, too_many);
    assert_eq!(headers["retry-after"], "1");
    assert_eq!(asked.decided("limited"), 1);
    assert_eq!(asked.as_user("alice", "/api/v1/nodes").await.0, 429);
    assert_eq!(asked.server.asked().len(), questions);
    assert_eq!(stranger(2, 1000).await.0, 401, "another address");
    // Who was known is, and is asked about again when the time is up.
    assert_eq!(asked.as_user("root", "/api/v1/nodes").await.0, 200);
    asked.seconds.store(30, Ordering::Relaxed);
    for n in 0..30 {
        assert_eq!(stranger(1, 2000 + n).await.0, 401);
    }
    assert_eq!(stranger(1, 3000).await.0, 429);
    let questions = asked.server.asked().len();
    assert_eq!(asked.as_user("root", "/api/v1/nodes").await.0, 200);
    assert_eq!(asked.server.asked().len(), questions + 2);
}

#[tokio::test]
async fn one_user_asks_for_so_many_rights_a_minute() {
    let few = Share {
        open: 1,
        a_minute: 10,
    };
    let asked = Asked::with(|rules| {
        rules.of_users = Shares::new(few, Arc::clone(&rules.clock));
    })
    .await;
    let path = |n: u32| format!("/api/v1/sizing/n{n}/pod/web");
    for n in 0..10 {
        assert_eq!(asked.as_user("bob", &path(n)).await.0, 403);
    }
    let questions = asked.server.asked().len();
    let header = format!("Bearer {}", token("bob"));
    let bearer = ("authorization", &*header);
    let (status, headers, body) = asked.ask(&path(10), &[bearer]).await;
    Asked::says(
        &(status, body),
        429,
        "bob asks for too many namespaces at a time",
    );
    assert_eq!(headers["retry-after"], "6");
    let page = [bearer, ("accept", "text/html")];
    let (status, headers, body) = asked.ask("/workloads/n10/Pod/web", &page).await;
    Asked::says(&(status, body), 429, "<!DOCTYPE html>");
    assert_eq!(headers["retry-after"], "6");
    assert_eq!(asked.as_user("bob", &path(3)).await.0, 403, "remembered");
    assert_eq!(asked.decided("limited"), 2);
    // Another token of the same user has no share of its own; another user has.
    let other = format!("Bearer {}2", token("bob"));
    let other = [("authorization", &*other)];
    assert_eq!(asked.ask(&path(10), &other).await.0, 429);
    assert_eq!(asked.server.asked().len(), questions + 1, "whose token");
    let alice = asked.as_user("alice", "/api/v1/sizing/shop/pod/web").await;
    assert_eq!(alice.0, 200, "{}", alice.1);
    asked.seconds.store(6, Ordering::Relaxed);
    assert_eq!(asked.as_user("bob", &path(10)).await.0, 403);
    assert_eq!(asked.as_user("bob", &path(11)).await.0, 429);
}
