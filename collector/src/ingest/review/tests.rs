//! Questions that reach an API server, and answers that are remembered.
#![expect(clippy::disallowed_methods, reason = "a clock has to begin somewhere")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use serde_json::Value;

use super::*;
use crate::cluster::reviews::tests::{ApiServer, recorded};

const NODE: &str = "ip-10-0-4-10.eu-west-1.compute.internal";
/// `{"exp":1000}` in the middle.
const UNTIL_1000: &str = "e30.eyJleHAiOjEwMDB9.x";

struct Asked {
    server: ApiServer,
    reviews: Reviews,
    seconds: Arc<AtomicU64>,
    counts: Counts,
}

impl Asked {
    async fn of(answers: Vec<(u16, Value)>, pods: Pods, now_unix_s: fn() -> u64) -> Self {
        let server = ApiServer::of(answers).await;
        let senders = Senders {
            audience: "plimsoll-collector".to_owned(),
            service_accounts: vec!["plimsoll/plimsoll-agent".to_owned()],
        };
        let seconds = Arc::<AtomicU64>::default();
        let (shown, begin) = (Arc::clone(&seconds), Instant::now());
        let clock = move || begin + Duration::from_secs(shown.load(Ordering::Relaxed));
        let reviews = Reviews::new(
            senders,
            server.reviewer(),
            pods,
            Arc::new(clock),
            now_unix_s,
        );
        Self {
            server,
            reviews,
            seconds,
            counts: Counts::default(),
        }
    }

    async fn node_of(&self, token: &str) -> Result<String, Failure> {
        self.reviews.node_of(token, &self.counts).await
    }

    /// The answer at that time, and how many questions there were by then.
    #[track_caller]
    fn check(&self, questions: usize) {
        assert_eq!(self.server.asked().len(), questions);
    }
}

fn answer(name: &str) -> (u16, Value) {
    (201, recorded(&format!("tokenreview-{name}")))
}

#[tokio::test]
async fn an_accepted_token_counts_for_a_minute_and_a_burst_asks_once() {
    let answers = vec![answer("pod-bound"), answer("node-bound")];
    let asked = Asked::of(answers, Pods::default(), || 100).await;
    let all = tokio::join!(
        asked.node_of(UNTIL_1000),
        asked.node_of(UNTIL_1000),
        asked.node_of(UNTIL_1000)
    );
    let node = Ok(NODE.to_owned());
    assert_eq!(all, (node.clone(), node.clone(), node.clone()));
    asked.check(1);
    asked.seconds.store(59, Ordering::Relaxed);
    assert_eq!(asked.node_of(UNTIL_1000).await, node);
    asked.check(1);
    asked.seconds.store(60, Ordering::Relaxed);
    assert_eq!(asked.node_of(UNTIL_1000).await, node);
    asked.check(2);
    let spec = &asked.server.asked()[0].1;
    assert_eq!(spec["audiences"], serde_json::json!(["plimsoll-collector"]));
}

#[tokio::test]
async fn no_token_counts_beyond_its_own_end() {
    let answers = vec![answer("pod-bound"), answer("expired")];
    let asked = Asked::of(answers, Pods::default(), || 990).await;
    assert!(asked.node_of(UNTIL_1000).await.is_ok());
    asked.seconds.store(9, Ordering::Relaxed);
    assert!(asked.node_of(UNTIL_1000).await.is_ok());
    asked.seconds.store(10, Ordering::Relaxed);
    let refused = asked.node_of(UNTIL_1000).await.unwrap_err();
    assert!(matches!(refused, Failure::Refused(_)), "{refused}");
    asked.check(2);
    let answers = vec![answer("pod-bound"), answer("pod-bound")];
    let endless = Asked::of(answers, Pods::default(), || 0).await;
    assert!(endless.node_of("x").await.is_ok());
    endless.seconds.store(5, Ordering::Relaxed);
    assert!(endless.node_of("x").await.is_ok());
    endless.check(2);
}

#[tokio::test]
async fn a_refusal_counts_for_seconds_and_what_is_no_token_is_not_asked_about() {
    let answers = vec![answer("garbage"), answer("pod-bound")];
    let asked = Asked::of(answers, Pods::default(), || 0).await;
    for _ in 0..3 {
        let refused = asked.node_of(UNTIL_1000).await.unwrap_err();
        assert!(matches!(refused, Failure::Refused(_)), "{refused}");
    }
    asked.check(1);
    asked.seconds.store(5, Ordering::Relaxed);
    assert!(asked.node_of(UNTIL_1000).await.is_ok());
    for none in [String::new(), "a b".to_owned(), "x".repeat(9000)] {
        assert_eq!(
            asked.node_of(&none).await,
            Err(Failure::Refused(Refused::NoToken))
        );
    }
    asked.check(2);
}

#[tokio::test]
async fn no_answer_is_no_refusal_and_is_asked_again_soon() {
    let unavailable = serde_json::json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 503, "reason": "ServiceUnavailable"});
    let answers = vec![(503, unavailable), answer("pod-bound")];
    let asked = Asked::of(answers, Pods::default(), || 0).await;
    for _ in 0..2 {
        let failed = asked.node_of(UNTIL_1000).await.unwrap_err();
        assert!(matches!(failed, Failure::Unavailable(_)), "{failed}");
        asked.check(1);
    }
    asked.seconds.store(1, Ordering::Relaxed);
    assert_eq!(asked.node_of(UNTIL_1000).await, Ok(NODE.to_owned()));
}

#[tokio::test]
async fn a_pod_whose_node_the_server_does_not_say_is_looked_up() {
    let without_node = || {
        let (status, mut answer) = answer("pod-bound");
        let extra = answer["status"]["user"]["extra"].as_object_mut().unwrap();
        extra
            .remove("authentication.kubernetes.io/node-name")
            .unwrap();
        (status, answer)
    };
    let uid = "6d64911c-7a91-4e4f-b112-6572b0c64faa";
    let pods = Pods::new(move |of| (of == uid).then(|| "node-7".to_owned()));
    let asked = Asked::of(vec![without_node()], pods, || 0).await;
    assert_eq!(asked.node_of("x").await, Ok("node-7".to_owned()));
    let asked = Asked::of(vec![without_node()], Pods::default(), || 0).await;
    let unknown = Failure::UnknownPod(uid.to_owned());
    assert_eq!(asked.node_of("x").await, Err(unknown));
}
