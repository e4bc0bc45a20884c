//! Generated clusters as a client sees them.

use std::collections::BTreeSet;
use std::pin::pin;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Node, Pod};
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Client, Resource};
use plimsoll_tests::apiserver::fleet::{Churn, Fleet};
use plimsoll_tests::apiserver::{ApiServer, Options};
use serde_json::Value;
use tokio_stream::StreamExt;

use super::clients::{client, initial, named};
use super::get;

async fn uids<K>(client: &Client) -> (BTreeSet<String>, BTreeSet<String>)
where
    K: Resource<DynamicType = ()> + Clone + std::fmt::Debug + serde::de::DeserializeOwned,
{
    let list = Api::<K>::all(client.clone())
        .list(&kube::api::ListParams::default())
        .await
        .unwrap();
    let uid = |object: &K| object.meta().uid.clone().unwrap();
    let owners = list
        .iter()
        .flat_map(|o| o.meta().owner_references.clone().unwrap_or_default());
    let owners = owners.map(|owner| owner.uid).collect();
    (list.iter().map(uid).collect(), owners)
}

#[tokio::test]
async fn every_kind_is_whole_and_every_owner_is_there() {
    let server = ApiServer::start(Options::default()).unwrap();
    Fleet::new(20, 1_000).load(&server).unwrap();
    let client = client(&server.kubeconfig()).await;
    let (pods, owners) = uids::<Pod>(&client).await;
    assert_eq!(pods.len(), 1_000);
    let (sets, deployments) = uids::<ReplicaSet>(&client).await;
    let (jobs, cronjobs) = uids::<Job>(&client).await;
    let (daemons, _) = uids::<DaemonSet>(&client).await;
    assert_eq!(daemons.len(), 10);
    let all: BTreeSet<_> = [&sets, &jobs, &daemons]
        .into_iter()
        .flatten()
        .cloned()
        .collect();
    assert!(owners.is_subset(&all));
    assert!(deployments == uids::<Deployment>(&client).await.0);
    assert!(cronjobs == uids::<CronJob>(&client).await.0);
    assert_eq!(uids::<Node>(&client).await.0.len(), 20);
    assert!(!uids::<Namespace>(&client).await.0.is_empty());
    server.finish().unwrap();
}

/// What a watch told of a thousand events is what is there after them.
#[tokio::test]
async fn churn_is_told_event_by_event() {
    let server = ApiServer::start(Options::default()).unwrap();
    let fleet = Fleet::new(20, 1_000);
    fleet.load(&server).unwrap();
    let client = client(&server.kubeconfig()).await;
    let config = watcher::Config::default().streaming_lists();
    let mut stream = pin!(watcher(Api::<Pod>::all(client), config));
    let mut held = initial(&mut stream).await;
    let mut churn = Churn::new(&server, fleet);
    let before = server.version();
    for _ in 0..200 {
        churn.step().unwrap();
    }
    // The first steps have fewer before them.
    let events = server.version() - before;
    assert_eq!(events, 200 * 5 - 1 - 2 - 1);
    for _ in 0..events {
        match stream.next().await.unwrap().unwrap() {
            Event::Apply(pod) => held.insert(named(&pod)),
            Event::Delete(pod) => held.remove(&named(&pod)),
            _ => panic!("the watch began anew"),
        };
    }
    let list: Value = serde_json::from_str(&get(&server, "/api/v1/pods").body).unwrap();
    let items = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| &item["metadata"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let now: BTreeSet<_> = items
        .map(|m| format!("{}/{}", text(&m["namespace"]), text(&m["name"])))
        .collect();
    assert_eq!(held, now);
    assert_eq!(held.len(), 1_001);
    server.finish().unwrap();
}
