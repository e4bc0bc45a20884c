//! Large clusters: what a pod takes in memory, and that pods which come and go fast are all known.

use std::time::Duration;

use allocation_counter::measure;
use plimsoll_collector::inventory::{Index, Moment, parse};
use plimsoll_tests::apiserver::fleet::{Churn, Fleet, Stage};
use plimsoll_tests::apiserver::{ApiServer, Options};
use serde_json::Value;

use super::rig::Rig;

/// Pods that are weighed; each takes the same whatever their number.
const PODS: u32 = 4_000;
/// The promise: bytes that a pod takes in the index, its share of what all have in common included.
const MOST_BYTES: i64 = 2048;

/// Two containers, six labels, an owner and two addresses each.
#[test]
fn a_pod_takes_no_more_memory_than_was_promised() {
    let fleet = Fleet::new(PODS / 50, PODS);
    let objects: Vec<_> = (0..PODS)
        .map(|number| {
            let (_, recipe) = fleet.pod(number, Stage::Running);
            let value: Value = serde_json::from_str(&recipe.whole()).unwrap();
            parse::one("v1", "Pod", value).unwrap()
        })
        .collect();
    let mut index = Index::default();
    let taken = measure(|| {
        for object in &objects {
            index.apply(object, Moment::default());
        }
    });
    assert_eq!(index.pods(), PODS as usize);
    let each = taken.bytes_current / i64::from(PODS);
    assert!(
        (400..MOST_BYTES).contains(&each),
        "{each} bytes for each pod"
    );
    // And all of it is given back.
    let left = measure(|| drop(index)).bytes_current + taken.bytes_current;
    assert_eq!(left, 0, "bytes are left");
}

#[test]
fn pods_that_come_and_go_fast_are_all_known() {
    let server = ApiServer::start(Options::default()).unwrap();
    let fleet = Fleet::new(20, 1_000);
    fleet.load(&server).unwrap();
    let rig = Rig::watching(server);
    rig.until_synced();
    rig.until("all pods are known", |index| index.pods() == 1_000);
    let mut churn = Churn::new(&rig.server, fleet);
    let made = churn.run(200, Duration::from_secs(5)).unwrap() as usize;
    // Of those that went, the last is still terminating.
    rig.until("all that came and went is known", |index| {
        index.gone() == made - 1 && index.pods() == 1_000 + 1
    });
    let index = rig.index.get();
    for number in 0..1_000 + u32::try_from(made).unwrap() - 2 {
        let (_, recipe) = fleet.pod(number, Stage::Running);
        let mut text = String::from("{");
        recipe.metadata(&mut text);
        text.push('}');
        let meta: Value = serde_json::from_str(&text).unwrap();
        let found = index.lookup(meta["uid"].as_str().unwrap(), None);
        assert_eq!(found.unwrap().pod, meta["name"].as_str().unwrap());
    }
    drop(index);
    rig.finish();
}
