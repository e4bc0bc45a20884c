//! kube's own client as a second opinion: it sees just what the server holds.

use std::collections::BTreeSet;
use std::pin::pin;

use k8s_openapi::api::apps::v1::ReplicaSet;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Config, ResourceExt};
use plimsoll_tests::apiserver::{
    ApiServer, Fault, On, Options, Request, Rule, Token, User, after, recorded,
};
use serde_json::json;
use tokio_stream::{Stream, StreamExt};

pub(crate) async fn client(kubeconfig: &str) -> Client {
    let kubeconfig = Kubeconfig::from_yaml(kubeconfig).unwrap();
    let options = KubeConfigOptions::default();
    let config = Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    Client::try_from(config).unwrap()
}

fn cluster(options: Options) -> ApiServer {
    let server = ApiServer::start(options).unwrap();
    server.load_recorded().unwrap();
    server
}

fn recorded_names(list: &str) -> BTreeSet<String> {
    let list = recorded::list(list).unwrap();
    let items = list["items"].as_array().unwrap().iter();
    let name = |m: &serde_json::Value| {
        format!(
            "{}/{}",
            m["namespace"].as_str().unwrap_or_default(),
            m["name"].as_str().unwrap()
        )
    };
    items.map(|item| name(&item["metadata"])).collect()
}

pub(crate) fn named<K: ResourceExt>(object: &K) -> String {
    format!(
        "{}/{}",
        object.namespace().unwrap_or_default(),
        object.name_any()
    )
}

/// What a watcher tells until it has the whole list; errors are passed over.
pub(crate) async fn initial<K, S>(stream: &mut S) -> BTreeSet<String>
where
    K: ResourceExt,
    S: Stream<Item = Result<Event<K>, watcher::Error>> + Unpin,
{
    let mut names = BTreeSet::new();
    loop {
        match stream.next().await.unwrap() {
            Ok(Event::Init) => names.clear(),
            Ok(Event::InitApply(object)) => assert!(names.insert(named(&object)), "twice"),
            Ok(Event::InitDone) => return names,
            Ok(Event::Apply(_) | Event::Delete(_)) => panic!("before the list is whole"),
            Err(_) => {}
        }
    }
}

/// Waits for the next thing that happens.
pub(crate) async fn next<K, S>(stream: &mut S) -> (&'static str, String)
where
    K: ResourceExt,
    S: Stream<Item = Result<Event<K>, watcher::Error>> + Unpin,
{
    loop {
        match stream.next().await.unwrap() {
            Ok(Event::Apply(object)) => return ("apply", named(&object)),
            Ok(Event::Delete(object)) => return ("delete", named(&object)),
            Ok(_) => return ("begins anew", String::new()),
            Err(_) => {}
        }
    }
}

fn pod(name: &str) -> serde_json::Value {
    json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": "shop"},
        "spec": {"containers": [{"name": "main"}]}, "status": {"phase": "Pending"}})
}

async fn sees_what_is_held(options: Options, config: watcher::Config) {
    let server = cluster(options);
    let client = client(&server.kubeconfig()).await;
    let pods = Api::<Pod>::all(client.clone());
    let mut stream = pin!(watcher(pods, config.clone()));
    assert_eq!(initial(&mut stream).await, recorded_names("pods.json"));
    server.apply(pod("new")).unwrap();
    assert_eq!(next(&mut stream).await, ("apply", "shop/new".to_owned()));
    server.delete("", "pods", "shop", "new").unwrap();
    assert_eq!(next(&mut stream).await, ("delete", "shop/new".to_owned()));

    let sets = Api::<PartialObjectMeta<ReplicaSet>>::all(client.clone());
    let mut stream = pin!(watcher(sets, config.clone()));
    assert_eq!(
        initial(&mut stream).await,
        recorded_names("replicasets.json")
    );

    let nodes = Api::<Node>::all(client);
    let mut stream = pin!(watcher(nodes, config));
    assert_eq!(initial(&mut stream).await, recorded_names("nodes.json"));
    server.finish().unwrap();
}

#[tokio::test]
async fn a_streaming_list_is_what_is_held() {
    let config = watcher::Config::default().streaming_lists();
    sees_what_is_held(Options::default(), config).await;
}

#[tokio::test]
async fn pages_and_a_watch_over_tls_are_what_is_held() {
    let options = Options {
        tls: true,
        watch_list: false,
        ..Options::default()
    };
    sees_what_is_held(options, watcher::Config::default().page_size(7)).await;
}

/// Between two pages something happens: the list is of one moment, and the watch tells the rest.
#[tokio::test]
async fn pages_are_of_one_moment() {
    let server = cluster(Options::default());
    let client = client(&server.kubeconfig()).await;
    let pods = Api::<Pod>::all(client);
    let first = pods.list(&ListParams::default().limit(10)).await.unwrap();
    server.apply(pod("zz-late")).unwrap();
    server.delete("", "pods", "shop", "cache-0").unwrap();
    let mut names: BTreeSet<_> = first.iter().map(named).collect();
    let mut token = first.metadata.continue_.clone();
    while let Some(next) = token {
        let page = pods
            .list(&ListParams::default().limit(10).continue_token(&next))
            .await
            .unwrap();
        assert_eq!(
            page.metadata.resource_version,
            first.metadata.resource_version
        );
        names.extend(page.iter().map(named));
        token = page.metadata.continue_;
    }
    assert_eq!(names, recorded_names("pods.json"));
    let version = first.metadata.resource_version.unwrap();
    let events = pods
        .watch(&kube::api::WatchParams::default(), &version)
        .await
        .unwrap();
    let mut events = pin!(events);
    let added = events.next().await.unwrap().unwrap();
    assert!(matches!(added, kube::api::WatchEvent::Added(pod) if pod.name_any() == "zz-late"));
    let deleted = events.next().await.unwrap().unwrap();
    assert!(matches!(deleted, kube::api::WatchEvent::Deleted(pod) if pod.name_any() == "cache-0"));
}

/// The client begins anew when it must, and only then.
#[tokio::test]
async fn a_watcher_lives_through_what_is_scripted() {
    let server = cluster(Options::default());
    let watch = |skip| On::watch("/api/v1/pods").skip(skip);
    server.fault(On::list("/api/v1/pods").skip(1), Fault::gone());
    server.fault(watch(0), Fault::closed());
    server.fault(watch(0), Fault::Reset(after(1)));
    server.fault(watch(0), Fault::gone_event(0));
    let client = client(&server.kubeconfig()).await;
    let config = watcher::Config::default().page_size(30);
    let mut stream = pin!(watcher(Api::<Pod>::all(client), config));
    assert_eq!(initial(&mut stream).await, recorded_names("pods.json"));
    server.apply(pod("one")).unwrap();
    assert_eq!(next(&mut stream).await, ("apply", "shop/one".to_owned()));
    assert_eq!(next(&mut stream).await.0, "begins anew");
    assert!(initial(&mut stream).await.contains("shop/one"));
    server.apply(pod("two")).unwrap();
    assert_eq!(next(&mut stream).await, ("apply", "shop/two".to_owned()));
    server.finish().unwrap();
}

/// What a line that cannot be read does to kube's watcher: an error for two of three, nothing for
/// one that ends too early, and in no case a new list. What the line told is not told again.
#[tokio::test]
async fn a_watcher_passes_over_lines_that_it_cannot_read() {
    for (fault, errors) in [
        (Fault::bad_json(0), 1),
        (Fault::wrong_types(0, "v1", "Pod"), 1),
        (Fault::cut_line(0), 0),
    ] {
        let server = cluster(Options::default());
        server.fault(On::watch("/api/v1/pods"), fault);
        let client = client(&server.kubeconfig()).await;
        let config = watcher::Config::default();
        let mut stream = pin!(watcher(Api::<Pod>::all(client), config));
        initial(&mut stream).await;
        server.apply(pod("one")).unwrap();
        let mut seen = 0;
        loop {
            match stream.next().await.unwrap() {
                Err(_) => seen += 1,
                Ok(Event::Apply(pod)) => break assert_eq!(pod.name_any(), "one"),
                Ok(_) => panic!("it begins anew"),
            }
        }
        assert_eq!(seen, errors);
        server.finish().unwrap();
    }
}

#[tokio::test]
async fn reviews_tell_what_the_test_said() {
    let server = ApiServer::start(Options::default()).unwrap();
    let agent = User::service_account("plimsoll-agent", "plimsoll-agent")
        .on_node("node-a", "n-uid")
        .in_pod("agent-x", "p-uid");
    server.token("good", Token::valid(agent, "plimsoll-collector"));
    server.allow(
        Rule::group("team")
            .may("get", "plimsoll.dev", "sizing")
            .within("shop"),
    );
    let client = client(&server.kubeconfig()).await;
    let reviews = Api::<TokenReview>::all(client.clone());
    let review = |token: &str| TokenReview {
        spec: TokenReviewSpec {
            audiences: Some(vec!["plimsoll-collector".to_owned()]),
            token: Some(token.to_owned()),
        },
        ..TokenReview::default()
    };
    let ask = async |token: &str| {
        let told = reviews
            .create(&PostParams::default(), &review(token))
            .await
            .unwrap();
        told.status.unwrap()
    };
    let good = ask("good").await;
    assert_eq!(good.authenticated, Some(true));
    let extra = good.user.unwrap().extra.unwrap();
    assert_eq!(extra["authentication.kubernetes.io/node-name"], ["node-a"]);
    server.token("good", Token::expired());
    let error = ask("good").await.error.unwrap();
    assert_eq!(
        error,
        "[invalid bearer token, service account token has expired]"
    );
    assert_eq!(ask("unknown").await.error.unwrap(), "invalid bearer token");

    let access = Api::<SubjectAccessReview>::all(client);
    let may = async |namespace: Option<&str>| {
        let review = SubjectAccessReview {
            spec: SubjectAccessReviewSpec {
                user: Some("alice".to_owned()),
                groups: Some(vec!["team".to_owned()]),
                resource_attributes: Some(ResourceAttributes {
                    verb: Some("get".to_owned()),
                    group: Some("plimsoll.dev".to_owned()),
                    resource: Some("sizing".to_owned()),
                    namespace: namespace.map(str::to_owned),
                    ..ResourceAttributes::default()
                }),
                ..SubjectAccessReviewSpec::default()
            },
            ..SubjectAccessReview::default()
        };
        let told = access
            .create(&PostParams::default(), &review)
            .await
            .unwrap();
        told.status.unwrap().allowed
    };
    assert!(may(Some("shop")).await);
    assert!(!may(Some("other")).await);
    assert!(!may(None).await);
    server.finish().unwrap();
}

/// The token in a file is rotated while the client runs: kube reads it again after a while, and a
/// client that begins shows the new one.
#[tokio::test]
async fn a_token_that_is_rotated_is_good_no_more() {
    let server = cluster(Options::default());
    let collector = User::service_account("plimsoll", "plimsoll-collector");
    let is = Token::valid(collector, plimsoll_tests::apiserver::API_AUDIENCE);
    server.token("first", is.clone());
    let config = |token: &str| server.kubeconfig_of(&json!({"token": token}));
    let first = Api::<Pod>::all(client(&config("first")).await);
    let second = Api::<Pod>::all(client(&config("second")).await);
    server
        .until("nothing", <[Request]>::is_empty)
        .await
        .unwrap();
    let code = |error: kube::Error| match error {
        kube::Error::Api(status) => status.code,
        other => panic!("{other}"),
    };
    first.list(&ListParams::default()).await.unwrap();
    assert_eq!(
        second
            .list(&ListParams::default())
            .await
            .map_err(code)
            .unwrap_err(),
        401
    );
    server.token("second", is);
    server.token("first", Token::expired());
    assert_eq!(
        first
            .list(&ListParams::default())
            .await
            .map_err(code)
            .unwrap_err(),
        401
    );
    second.list(&ListParams::default()).await.unwrap();
    server.finish().unwrap();
}
