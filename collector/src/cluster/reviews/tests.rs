//! An API server that answers from a script and remembers what it was asked; what is not in the script
//! fails the test.
#![expect(
    clippy::disallowed_methods,
    reason = "a server on a socket, with the recorded answers"
)]

use std::collections::VecDeque;
use std::path::Path;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::*;
use crate::cluster::access::{self, Resource, Right};
use crate::cluster::token::{self, User};

/// What the server is asked and what it answers.
type Answers = dyn Fn(&str, &Value) -> Option<(u16, Value)> + Send + Sync;

/// See the module; ends when it is dropped.
pub(crate) struct ApiServer {
    asked: Arc<Mutex<Vec<(String, Value)>>>,
    port: u16,
    _serving: JoinSet<()>,
}

#[derive(Clone)]
struct Script {
    answers: Arc<Answers>,
    asked: Arc<Mutex<Vec<(String, Value)>>>,
}

async fn answer(State(script): State<Script>, request: Request) -> impl IntoResponse {
    let resource = request.uri().path().rsplit('/').next().unwrap().to_owned();
    let is_post = request.method() == "POST";
    let body = axum::body::to_bytes(request.into_body(), 1 << 20)
        .await
        .unwrap();
    let asked: Value = serde_json::from_slice(&body).unwrap();
    script
        .asked
        .lock()
        .unwrap()
        .push((resource.clone(), asked["spec"].clone()));
    let found = (script.answers)(&resource, &asked["spec"]).filter(|_| is_post);
    let unexpected = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 418, "reason": "Unexpected"});
    let (status, answer) = found.unwrap_or((418, unexpected));
    (
        StatusCode::from_u16(status).unwrap(),
        [(header::CONTENT_TYPE, "application/json")],
        answer.to_string(),
    )
}

fn in_turn(answers: Vec<(u16, Value)>) -> Arc<Answers> {
    let answers = Mutex::new(VecDeque::from(answers));
    Arc::new(move |_, _| answers.lock().unwrap().pop_front())
}

impl ApiServer {
    /// Answers whatever `answers` does: the resource's name and the question's `spec` in, status and body
    /// out.
    pub(crate) async fn start(
        answers: impl Fn(&str, &Value) -> Option<(u16, Value)> + Send + Sync + 'static,
    ) -> Self {
        Self::serving(Arc::new(answers), None).await
    }

    /// As [`ApiServer::of`], with TLS.
    pub(crate) async fn with_tls(answers: Vec<(u16, Value)>, shown: crate::tls::Shown) -> Self {
        Self::serving(in_turn(answers), Some(Arc::new(shown))).await
    }

    async fn serving(answers: Arc<Answers>, tls: Option<Arc<crate::tls::Shown>>) -> Self {
        let script = Script {
            answers,
            asked: Arc::default(),
        };
        let asked = Arc::clone(&script.asked);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let router = Router::new().fallback(answer).with_state(script);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let requests = crate::api::Requests::default();
            let bounds = crate::api::Bounds::default();
            let stop = tokio_util::sync::CancellationToken::new();
            crate::api::serve(listener, router, bounds, Arc::new(requests), tls, stop).await;
        });
        Self {
            asked,
            port,
            _serving: serving,
        }
    }

    /// One that answers these in turn, whatever it is asked.
    pub(crate) async fn of(answers: Vec<(u16, Value)>) -> Self {
        Self::serving(in_turn(answers), None).await
    }

    pub(crate) fn client(&self) -> Client {
        let mut config =
            kube::Config::new(format!("http://127.0.0.1:{}", self.port).parse().unwrap());
        config.default_retry = false;
        Client::try_from(config).unwrap()
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn reviewer(&self) -> Reviewer {
        Reviewer::new(self.client())
    }

    /// What it was asked so far: resource and `spec`.
    pub(crate) fn asked(&self) -> Vec<(String, Value)> {
        self.asked.lock().unwrap().clone()
    }
}

/// A recorded answer, as `tokenreview-pod-bound`.
pub(crate) fn recorded(name: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/recorded/kube/auth");
    let text = std::fs::read_to_string(folder.join(format!("{name}.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

#[tokio::test]
async fn a_question_is_asked_as_the_api_server_wants_it() {
    let server = ApiServer::of(vec![
        (201, recorded("tokenreview-pod-bound")),
        (400, recorded("tokenreview-empty-token")),
        (201, recorded("subjectaccessreview-allowed")),
        (422, recorded("subjectaccessreview-invalid")),
    ])
    .await;
    let reviewer = server.reviewer();
    let token = token::prepare("x.y.z", Some("ours")).unwrap();
    let said = reviewer.token(&token).await.unwrap();
    assert_eq!(said.authenticated, Some(true));
    let said = reviewer.token(&token).await.unwrap();
    assert!(
        said.authenticated.is_none() && said.error.is_some(),
        "{said:?}"
    );
    let right = Right::Of(Resource::Sizing, None);
    let access = access::prepare(&User::default(), &right);
    assert!(reviewer.access(&access).await.unwrap().allowed);
    assert!(!reviewer.access(&access).await.unwrap().allowed);
    let asked = server.asked();
    let resources: Vec<&str> = asked
        .iter()
        .map(|(resource, _)| resource.as_str())
        .collect();
    assert_eq!(
        resources,
        [
            "tokenreviews",
            "tokenreviews",
            "subjectaccessreviews",
            "subjectaccessreviews"
        ]
    );
    assert_eq!(asked[0].1, json!({"token": "x.y.z", "audiences": ["ours"]}));
    assert_eq!(reviewer.trouble(), None);
}

#[tokio::test]
async fn no_answer_is_told_apart_from_a_refusal() {
    let forbidden = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 403, "reason": "Forbidden"});
    let server = ApiServer::of(vec![
        (403, forbidden),
        (201, json!({"status": 7})),
        (
            201,
            json!({"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {}}),
        ),
        (201, recorded("tokenreview-garbage")),
    ])
    .await;
    let reviewer = server.reviewer();
    let token = token::prepare("x.y.z", None).unwrap();
    let status = Unavailable::Status {
        code: 403,
        reason: "Forbidden".to_owned(),
    };
    assert_eq!(reviewer.token(&token).await, Err(status));
    assert_eq!(
        reviewer.trouble().as_deref(),
        Some("the API server answers 403 Forbidden")
    );
    for _ in 0..2 {
        assert_eq!(reviewer.token(&token).await, Err(Unavailable::Malformed));
    }
    assert!(reviewer.token(&token).await.is_ok());
    assert_eq!(reviewer.trouble(), None);
    drop(server);
    let gone = reviewer.token(&token).await.unwrap_err();
    assert!(matches!(gone, Unavailable::Unreachable(_)), "{gone:?}");
    assert!(!gone.to_string().contains("x.y.z"), "{gone}");
}

#[tokio::test]
async fn one_that_says_nothing_is_not_waited_for() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let uri = format!("http://{}", listener.local_addr().unwrap());
    let client = Client::try_from(kube::Config::new(uri.parse().unwrap())).unwrap();
    let reviewer = Reviewer::new(client).answering_within(Duration::from_millis(20));
    let token = token::prepare("x.y.z", None).unwrap();
    assert_eq!(reviewer.token(&token).await, Err(Unavailable::Slow));
}

/// What is logged of everything, as text.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_repeats_a_token_whatever_comes_back() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _all = tracing::subscriber::set_default(subscriber);
    // While there is one alone, what other threads meet first is off for this one too.
    let _other = tracing::Dispatch::new(tracing_subscriber::fmt().finish());
    // As a server that says what it was asked, and goes wrong behind it.
    let server = ApiServer::of(vec![
        (201, json!({"spec": {"token": "c2VjcmV0"}, "status": 7})),
        (201, recorded("tokenreview-garbage")),
    ])
    .await;
    let reviewer = server.reviewer();
    let token = token::prepare("c2VjcmV0", None).unwrap();
    assert_eq!(reviewer.token(&token).await, Err(Unavailable::Malformed));
    assert!(reviewer.token(&token).await.is_ok());
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("nobody new can be let in"), "{text}");
    assert!(!text.contains("c2VjcmV0"), "{text}");
}
