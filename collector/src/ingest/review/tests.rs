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
        Self::from(ApiServer::of(answers).await, pods, now_unix_s)
    }

    fn from(server: ApiServer, pods: Pods, now_unix_s: fn() -> u64) -> Self {
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
        self.node_from(1, token).await
    }

    /// The same for a token that comes from 10.0.0.`host`.
    async fn node_from(&self, host: u8, token: &str) -> Result<String, Failure> {
        let from = Some([10, 0, 0, host].into());
        self.reviews.node_of(token, from, &self.counts).await
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

fn is_spent(found: &Result<String, Failure>) -> bool {
    matches!(found, Err(Failure::Spent(_)))
}

#[tokio::test]
async fn tokens_that_are_made_up_use_up_the_share_of_their_address_alone() {
    let server = ApiServer::start(|_, spec| {
        let is_good = spec["token"].as_str()?.starts_with("good");
        let name = if is_good { "pod-bound" } else { "garbage" };
        Some(answer(name))
    })
    .await;
    let asked = Asked::from(server, Pods::default(), || 0);
    let node = Ok(NODE.to_owned());
    assert_eq!(asked.node_of("good").await, node);
    for junk in 0..OF_ADDRESS.a_minute {
        let refused = asked.node_of(&format!("junk{junk}")).await.unwrap_err();
        assert!(matches!(refused, Failure::Refused(_)), "{refused}");
    }
    let questions = 1 + usize::try_from(OF_ADDRESS.a_minute).unwrap();
    asked.check(questions);
    let wait = Failure::Spent(Spent(Duration::from_secs(1)));
    assert_eq!(asked.node_of("junk").await, Err(wait));
    assert!(is_spent(&asked.node_of("good-and-new").await));
    asked.check(questions);
    // What was good is so, from there as well, and is asked about again when its time is up.
    assert_eq!(asked.node_of("good").await, node);
    asked.check(questions);
    assert_eq!(asked.node_from(2, "good-and-new").await, node);
    asked.check(questions + 1);
    asked.seconds.store(1, Ordering::Relaxed);
    assert!(!is_spent(&asked.node_of("junk").await));
    assert!(is_spent(&asked.node_of("junk-too").await));
    asked.seconds.store(5, Ordering::Relaxed);
    for junk in 0..4 {
        assert!(!is_spent(&asked.node_of(&format!("more{junk}")).await));
    }
    assert!(is_spent(&asked.node_of("junk-too").await));
    let questions = asked.server.asked().len();
    assert_eq!(asked.node_of("good").await, node, "its five seconds are up");
    asked.check(questions + 1);
}

/// After it all agents of an address come at once, and it has few questions open for those who are not known.
#[tokio::test]
async fn who_was_known_before_an_outage_needs_no_share_of_an_address_after_it() {
    let answers = Arc::new(AtomicU64::new(1));
    let works = Arc::clone(&answers);
    let server = ApiServer::start(move |_, asked| {
        let is_good = asked["token"] == "good";
        Some(match (is_good, works.load(Ordering::Relaxed)) {
            (true, 0) => (503, Value::Null),
            (true, _) => answer("node-bound"),
            (false, _) => answer("garbage"),
        })
    })
    .await;
    let asked = Asked::from(server, Pods::default(), || 0);
    assert_eq!(asked.node_of("good").await, Ok(NODE.to_owned()));
    answers.store(0, Ordering::Relaxed);
    asked.seconds.store(5, Ordering::Relaxed);
    for _ in 0..2 {
        let failed = asked.node_of("good").await.unwrap_err();
        assert!(matches!(failed, Failure::Unavailable(_)), "{failed}");
        asked.check(2);
    }
    answers.store(1, Ordering::Relaxed);
    for junk in 0..OF_ADDRESS.a_minute {
        assert!(!is_spent(&asked.node_of(&format!("junk{junk}")).await));
    }
    assert!(is_spent(&asked.node_of("junk").await));
    let failed = asked.node_of("good").await.unwrap_err();
    assert!(matches!(failed, Failure::Unavailable(_)), "not asked again");
    // A second gives the address one question back, and somebody else has it.
    asked.seconds.store(6, Ordering::Relaxed);
    assert!(!is_spent(&asked.node_of("other").await));
    assert_eq!(asked.node_of("good").await, Ok(NODE.to_owned()));
}

#[tokio::test]
async fn many_nodes_behind_one_address_come_in() {
    let server = ApiServer::start(|_, _| Some(answer("pod-bound"))).await;
    let asked = Asked::from(server, Pods::default(), || 0);
    for token in 0..2 * OF_ADDRESS.a_minute {
        let found = asked.node_of(&format!("good{token}")).await;
        assert_eq!(found, Ok(NODE.to_owned()));
    }
}

#[tokio::test]
async fn one_address_has_few_questions_open() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let client = kube::Client::try_from(kube::Config::new(uri.parse().unwrap())).unwrap();
    let within = Duration::from_millis(20);
    let reviewer = Reviewer::new(client).answering_within(within);
    let senders = Senders {
        audience: "plimsoll-collector".to_owned(),
        service_accounts: Vec::new(),
    };
    let clock = crate::cluster::reviews::clock();
    let reviews = Reviews::new(senders, reviewer, Pods::default(), clock, || 0);
    let (reviews, mut asking) = (Arc::new(reviews), tokio::task::JoinSet::new());
    for token in 0..=OF_ADDRESS.open {
        let reviews = Arc::clone(&reviews);
        asking.spawn(async move {
            let (token, from) = (format!("x{token}"), Some([10, 0, 0, 1].into()));
            reviews.node_of(&token, from, &Counts::default()).await
        });
    }
    let found = asking.join_all().await;
    let spent = found.iter().filter(|found| is_spent(found)).count();
    assert_eq!(spent, 1, "{found:?}");
}
