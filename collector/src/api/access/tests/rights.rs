//! What somebody may see, by their rights.

use super::*;

fn ids(document: &str) -> Vec<u64> {
    let document: Value = serde_json::from_str(document).unwrap();
    let events = document["events"].as_array().unwrap();
    let seq = |event: &Value| {
        event["id"]
            .as_str()
            .unwrap()
            .rsplit('/')
            .next()?
            .parse()
            .ok()
    };
    let mut found: Vec<u64> = events.iter().filter_map(seq).collect();
    found.sort_unstable();
    found
}

#[tokio::test]
async fn a_list_has_what_the_caller_may_see_and_nothing_else() {
    let asked = Asked::new().await;
    for (who, path, found) in [
        ("root", "/api/v1/audit", &[1, 2, 3, 4][..]),
        ("alice", "/api/v1/audit", &[1, 3]),
        ("alice", "/api/v1/audit?namespace=shop", &[1, 3]),
        ("alice", "/api/v1/audit?after=0.0", &[1, 3]),
        ("root", "/api/v1/audit?namespace=batch", &[2]),
    ] {
        let (status, body) = asked.as_user(who, path).await;
        assert_eq!(
            (status, ids(&body).as_slice()),
            (200, found),
            "{who} {path}"
        );
    }
    for (path, words) in [
        (
            "/api/v1/audit",
            "bob may not get audit.plimsoll.dev in any namespace",
        ),
        (
            "/api/v1/audit?namespace=shop",
            "bob may not get audit.plimsoll.dev in namespace shop",
        ),
        (
            "/api/v1/sizing",
            "bob may not get sizing.plimsoll.dev in any namespace",
        ),
    ] {
        Asked::says(&asked.as_user("bob", path).await, 403, words);
    }
    let denied = asked
        .as_user("alice", "/api/v1/audit?namespace=batch")
        .await;
    Asked::says(
        &denied,
        403,
        "alice may not get audit.plimsoll.dev in namespace batch",
    );
    let sizing = asked.as_user("alice", "/api/v1/sizing").await;
    Asked::says(&sizing, 200, "\"namespace\":\"shop\"");
    for long in ["", &"x".repeat(64)] {
        let path = format!("/api/v1/sizing?namespace={long}");
        assert_eq!(asked.as_user("bob", &path).await.0, 400, "{long}");
    }
}

#[tokio::test]
async fn namespaces_without_end_are_not_asked_about_one_by_one() {
    let asked = Asked::new().await;
    for seq in 0..=MAX_NAMESPACES as u64 {
        let event = access(seq + 10, NOW, "CRED", &format!("n{seq}"));
        asked.state.audit.arrived(event, 1, NOW);
    }
    let found = asked.as_user("alice", "/api/v1/audit").await;
    Asked::says(
        &found,
        403,
        "there are too many namespaces to ask about one by one",
    );
    assert_eq!(asked.server.asked().len(), 2);
    let one = asked.as_user("alice", "/api/v1/audit?namespace=shop").await;
    assert_eq!(one.0, 200, "{}", one.1);
}

#[tokio::test]
async fn one_object_is_denied_before_it_is_looked_for() {
    let asked = Asked::new().await;
    let found = asked.as_user("alice", "/api/v1/sizing/shop/pod/web").await;
    Asked::says(&found, 200, "\"workload\":\"web\"");
    for (who, path) in [
        ("bob", "/api/v1/sizing/shop/pod/web"),
        ("bob", "/workloads/shop/Pod/web"),
        ("bob", "/api/v1/sizing/shop/pod/none"),
    ] {
        let words = "bob may not get sizing.plimsoll.dev in namespace shop";
        Asked::says(&asked.as_user(who, path).await, 403, words);
    }
    let elsewhere = asked.as_user("alice", "/api/v1/sizing/batch/pod/web").await;
    Asked::says(&elsewhere, 403, "in namespace batch");
    let page = asked.as_user("alice", "/workloads/shop/Pod/web").await;
    Asked::says(&page, 200, "<!DOCTYPE html>");
}

#[tokio::test]
async fn what_is_of_the_whole_fleet_needs_the_right_in_all_namespaces() {
    let asked = Asked::new().await;
    for (path, words) in [
        ("/api/v1/nodes", "get sizing.plimsoll.dev in all namespaces"),
        (
            "/api/v1/accounting",
            "get audit.plimsoll.dev in all namespaces",
        ),
        ("/nodes", "in all namespaces"),
        ("/metrics", "get /metrics"),
    ] {
        Asked::says(&asked.as_user("alice", path).await, 403, words);
        assert_eq!(asked.as_user("root", path).await.0, 200, "{path}");
    }
    let [root, alice] = ["root", "alice"].map(|who| asked.as_user(who, "/"));
    let (root, alice) = (root.await, alice.await);
    Asked::says(&root, 200, "<h2>Nodes</h2>");
    Asked::says(&alice, 200, "/workloads/shop/Pod/web");
    assert!(!alice.1.contains("<h2>Nodes</h2>"), "{}", alice.1);
    let dora = asked.as_user("dora", "/").await;
    Asked::says(&dora, 200, "<h2>Nodes</h2>");
    let law = "records unaccounted for";
    assert!(root.1.contains(law) && !dora.1.contains(law), "{}", dora.1);
    assert_eq!(asked.as_user("dora", "/api/v1/nodes").await.0, 200);
    for path in ["/nodes", "/api/v1/accounting", "/api/v1/audit", "/audit"] {
        assert_eq!(asked.as_user("dora", path).await.0, 403, "{path}");
    }
    let page = asked.as_user("alice", "/audit").await;
    Asked::says(&page, 200, "shop/pod/app");
    assert!(!page.1.contains("batch/pod/app"), "{}", page.1);
    assert_eq!(asked.as_user("bob", "/audit").await.0, 403);
    let all = asked.as_user("root", "/audit").await;
    Asked::says(&all, 200, "batch/pod/app");
}
