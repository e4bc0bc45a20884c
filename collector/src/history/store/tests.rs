use super::*;
use crate::history::series::tests::window;
use crate::inventory::parse;

fn entry(seq: u64, id: &str, minute: u64) -> Entry {
    Entry {
        seq,
        node: "node-a".to_owned(),
        window: window(id, minute, 100, 1 << 20),
    }
}

/// An inventory in which container `id` is `app` of pod `web-<id>` of StatefulSet `web`.
fn index(ids: &[&str]) -> Index {
    let mut index = Index::default();
    for id in ids {
        let text = format!(
            "apiVersion: v1
kind: Pod
metadata:
  name: web-{id}
  namespace: shop
  uid: pod-{id}
  ownerReferences: [{{apiVersion: apps/v1, kind: StatefulSet, name: web, uid: s, controller: true}}]
spec: {{containers: [{{name: app, image: a}}]}}
status:
  containerStatuses: [{{name: app, containerID: \"containerd://{id}\", image: a, imageID: a, ready: true, restartCount: 0}}]
"
        );
        for object in &parse::parse("t", &text).objects {
            index.apply(object);
        }
    }
    index
}

fn open(dir: &tempfile::TempDir, max_series: usize) -> History {
    History::open(
        &dir.path().join("state/history.redb"),
        Limits {
            max_series,
            ..Limits::default()
        },
    )
    .unwrap()
}

#[test]
fn a_window_counts_once_however_often_it_is_given() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 100);
    let batch = [entry(1, "a", 0), entry(2, "a", 1), entry(3, "b", 0)];
    let none = Index::default();
    assert_eq!(history.apply(&batch[..2], &none).unwrap().applied, 2);
    let again = history.apply(&batch, &none).unwrap();
    assert_eq!((again.applied, again.repeated), (1, 2));
    assert_eq!(history.cursor(), 3);
    let windows: Vec<u64> = history
        .snapshot()
        .iter()
        .map(|(_, s)| s.usage.windows)
        .collect();
    assert_eq!(windows, [2, 1]);
}

#[test]
fn what_was_applied_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let before = {
        let history = open(&dir, 100);
        history
            .apply(&[entry(1, "a", 0), entry(2, "b", 0)], &index(&["a"]))
            .unwrap();
        history.snapshot()
    };
    let history = open(&dir, 100);
    assert_eq!(history.snapshot(), before);
    assert_eq!(history.stats().cursor, 2);
    assert!(history.stats().bytes > 0);
}

#[test]
fn a_late_name_repairs_the_past_and_a_deleted_pod_keeps_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 100);
    history
        .apply(&[entry(1, "a", 0)], &Index::default())
        .unwrap();
    assert!(history.snapshot()[0].1.name_pending);
    assert_eq!(history.rejoin(&index(&["a"])).unwrap(), 1);
    assert_eq!(history.rejoin(&index(&["a"])).unwrap(), 0);
    assert_eq!(history.rejoin(&Index::default()).unwrap(), 0);
    history
        .apply(&[entry(2, "a", 1)], &Index::default())
        .unwrap();
    let series = &history.snapshot()[0].1;
    assert_eq!(series.names.as_ref().unwrap().pod, "web-a");
    assert!(!series.name_pending);
}

#[test]
fn beyond_the_bound_ended_pods_are_folded_and_keep_their_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 10);
    let ids: Vec<String> = (0..30).map(|n| format!("c{n:02}")).collect();
    let index = index(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let mut folded = 0;
    for (seq, id) in (1..).zip(&ids) {
        let mut entry = entry(seq, id, seq);
        entry.window.last = true;
        let applied = history.apply(&[entry], &index).unwrap();
        assert_eq!(applied.expired, 0);
        folded += applied.folded;
    }
    let snapshot = history.snapshot();
    assert!(snapshot.len() <= 10, "{} series", snapshot.len());
    assert_eq!(
        snapshot.iter().map(|(_, s)| s.usage.windows).sum::<u64>(),
        30
    );
    let (_, earlier) = snapshot
        .iter()
        .find(|(key, _)| key == "w/shop/StatefulSet/web/app")
        .unwrap();
    assert_eq!(earlier.folded, folded);
}

#[test]
fn nameless_series_expire_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 10);
    for seq in 1..=15 {
        history
            .apply(&[entry(seq, &format!("c{seq:02}"), seq)], &Index::default())
            .unwrap();
    }
    let stats = history.stats();
    assert_eq!(stats.series + stats.expired, 15);
    assert!(stats.series <= 10);
    assert!(
        history
            .snapshot()
            .iter()
            .any(|(key, _)| key.ends_with("c15")),
        "the newest must stay"
    );
}

#[test]
fn a_foreign_file_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.redb");
    std::fs::write(&path, b"not a database").unwrap();
    let error = History::open(&path, Limits::default()).err().unwrap();
    assert!(error.to_string().contains("history.redb"), "{error}");
}
