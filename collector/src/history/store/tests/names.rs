//! Whose a series is: names that come late, owners that go first, nodes that speak of others' pods.

use super::*;

#[test]
fn a_late_name_repairs_the_past_and_a_deleted_pod_keeps_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 100);
    history
        .apply(&[entry(1, "a", 0)], &IndexReader::default())
        .unwrap();
    assert!(history.snapshot()[0].1.name_pending);
    assert_eq!(history.rejoin(&index(&["a"])).unwrap(), 1);
    assert_eq!(history.rejoin(&index(&["a"])).unwrap(), 0);
    assert_eq!(history.rejoin(&IndexReader::default()).unwrap(), 0);
    history
        .apply(&[entry(2, "a", 1)], &IndexReader::default())
        .unwrap();
    let series = &history.snapshot()[0].1;
    assert_eq!(series.names.as_ref().unwrap().pod, "web-a");
    assert!(!series.name_pending);
}

/// An index that is told all, in which the pod of `a` is on node-a and its ReplicaSet has or has not a Deployment.
fn told(with_owner: bool) -> IndexReader {
    let pod = "{apiVersion: v1, kind: Pod, metadata: {name: web-a, namespace: shop, uid: pod-a, ownerReferences: [{apiVersion: apps/v1, kind: ReplicaSet, name: r, uid: r, controller: true}]}, spec: {nodeName: node-a, containers: [{name: app, image: a}]}, status: {containerStatuses: [{name: app, containerID: 'containerd://a', image: a, imageID: a, ready: true, restartCount: 0}]}}";
    let owner = "{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: r, namespace: shop, ownerReferences: [{apiVersion: apps/v1, kind: Deployment, name: web, uid: d, controller: true}]}}";
    let mut index = crate::inventory::Index::default();
    index.follow("", "Pod");
    index.follow("apps", "ReplicaSet");
    for text in [pod, owner].into_iter().take(1 + usize::from(with_owner)) {
        let parsed = parse::parse("t", text);
        assert_eq!(parsed.problems, []);
        index.apply(&parsed.objects[0], crate::inventory::Moment::default());
    }
    IndexReader::fixed(index)
}

/// Between the end of a ReplicaSet and that of its last pod, and while all is listed anew.
#[test]
fn what_has_its_workload_does_not_lose_it_to_a_name_that_is_pending() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 100);
    let workload = || {
        let series = Arc::clone(&history.snapshot()[0].1);
        (
            series.names.as_ref().unwrap().workload.kind.clone(),
            series.name_pending,
        )
    };
    let apply = |seq, index: &IndexReader| history.apply(&[entry(seq, "a", seq)], index).unwrap();
    apply(1, &told(false));
    assert_eq!(workload(), ("ReplicaSet".to_owned(), true));
    assert_eq!(history.rejoin(&told(true)).unwrap(), 1);
    assert_eq!(workload(), ("Deployment".to_owned(), false));
    assert_eq!(history.rejoin(&told(false)).unwrap(), 0);
    apply(2, &told(false));
    assert_eq!(workload(), ("Deployment".to_owned(), false));
}

/// A node may speak of a pod of another while the index does not know it, or no longer.
#[test]
fn a_node_writes_nothing_into_what_another_has_told() {
    let from = |seq, node: &str| Entry {
        node: node.to_owned(),
        ..entry(seq, "a", seq)
    };
    let check = |senders: [&str; 4], index: &IndexReader| {
        let dir = tempfile::tempdir().unwrap();
        let history = open(&dir, 100);
        let none = IndexReader::default();
        let [first, second, third, fourth] = senders;
        let batch = [from(1, first), from(2, second)];
        assert_eq!(history.apply(&batch, index).unwrap().applied, 2);
        // Which node has a series is known after a restart as well.
        drop(history);
        let history = open(&dir, 100);
        let batch = [from(3, third), from(4, fourth)];
        assert_eq!(history.apply(&batch, &none).unwrap().applied, 2);
        let named = |series: &Series| series.names.is_some();
        let of = history.snapshot();
        of.iter()
            .map(|(_, of)| (of.node.clone(), of.usage.windows, named(of)))
            .collect::<Vec<_>>()
    };
    let expected = |its: u64, stranger_s: u64, is_named| {
        [
            ("node-a".to_owned(), its, is_named),
            ("node-b".to_owned(), stranger_s, false),
        ]
    };
    let found = check(["node-a", "node-b", "node-b", "node-a"], &told(true));
    assert_eq!(found, expected(2, 2, true));
    // The stranger was first.
    let mut found = check(["node-b", "node-a", "node-a", "node-a"], &told(true));
    found.sort();
    assert_eq!(found, expected(3, 1, true));
    // Files may leave the node out: the first has the names.
    let found = check(["node-a", "node-b", "node-a", "node-b"], &index(&["a"]));
    assert_eq!(found, expected(2, 2, true));
}
