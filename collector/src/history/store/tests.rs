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
fn index(ids: &[&str]) -> IndexReader {
    owned(ids, |_| "kind: StatefulSet, name: web".to_owned())
}

/// As [`index`], with an owner for each.
fn owned(ids: &[&str], owner: impl Fn(&str) -> String) -> IndexReader {
    let mut index = crate::inventory::Index::default();
    for id in ids {
        let owner = owner(id);
        let text = format!(
            "apiVersion: v1
kind: Pod
metadata:
  name: web-{id}
  namespace: shop
  uid: pod-{id}
  ownerReferences: [{{apiVersion: apps/v1, {owner}, uid: s, controller: true}}]
spec: {{containers: [{{name: app, image: a}}]}}
status:
  containerStatuses: [{{name: app, containerID: \"containerd://{id}\", image: a, imageID: a, ready: true, restartCount: 0}}]
"
        );
        for object in &parse::parse("t", &text).objects {
            index.apply(object, crate::inventory::Moment::default());
        }
    }
    IndexReader::fixed(index)
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
    let none = IndexReader::default();
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

/// What a kill leaves behind is the file as it is, without the closing of the store.
#[test]
fn a_store_that_was_never_closed_has_every_batch_it_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 100);
    for seq in 1..=20 {
        history
            .apply(
                &[entry(2 * seq - 1, "a", seq), entry(2 * seq, "b", seq)],
                &IndexReader::default(),
            )
            .unwrap();
        let left = dir.path().join(format!("killed-{seq}.redb"));
        std::fs::copy(dir.path().join("state/history.redb"), &left).unwrap();
        let found = History::open(&left, Limits::default()).unwrap();
        assert_eq!(found.cursor(), history.cursor());
        assert_eq!(found.snapshot(), history.snapshot());
    }
}

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
            .apply(
                &[entry(seq, &format!("c{seq:02}"), seq)],
                &IndexReader::default(),
            )
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

/// What each container's series came to, folds included.
fn windows_of(history: &History) -> BTreeMap<String, u64> {
    let series = history.snapshot().into_iter();
    series
        .map(|(key, series)| (key, series.usage.windows))
        .collect()
}

#[test]
fn workloads_without_end_stay_within_the_bound_and_are_counted() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 10);
    let ids: Vec<String> = (0..40).map(|n| format!("c{n:02}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let index = owned(&ids, |id| format!("kind: Job, name: once-{id}"));
    for (seq, id) in (1..).zip(&ids) {
        let mut entry = entry(seq, id, seq);
        entry.window.last = true;
        history.apply(&[entry], &index).unwrap();
        assert!(history.stats().series <= 10, "{:?}", history.stats());
    }
    let stats = history.stats();
    assert_eq!((stats.folded, stats.series + stats.expired), (0, 40));
    let kept = windows_of(&history);
    assert!(
        ids[40 - kept.len()..]
            .iter()
            .all(|id| kept.contains_key(&format!("c/pod-{id}/{id}"))),
        "the newest stay: {kept:?}"
    );
}

/// Two pods of each of many workloads: folding alone cannot make room.
#[test]
fn earlier_pods_expire_when_there_is_nothing_left_to_fold() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 10);
    let ids: Vec<String> = (0..60).map(|n| format!("c{n:02}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let index = owned(&ids, |id| {
        format!(
            "kind: Job, name: w{}",
            id.trim_start_matches('c').parse::<u64>().unwrap() / 2
        )
    });
    let entries: Vec<Entry> = (1..)
        .zip(&ids)
        .map(|(seq, id)| {
            let mut entry = entry(seq, id, seq);
            entry.window.last = true;
            entry
        })
        .collect();
    let applied = history.apply(&entries, &index).unwrap();
    assert_eq!((applied.folded, applied.expired), (60, 21));
    let kept = windows_of(&history);
    assert_eq!(kept.values().copied().collect::<Vec<_>>(), [2; 9]);
    assert!(kept.contains_key("w/shop/Job/w29/app"), "{kept:?}");
    drop(history);
    assert_eq!(
        windows_of(&open(&dir, 10)),
        kept,
        "what expired is gone from the disk"
    );
}

#[test]
fn what_reports_is_never_folded_and_newcomers_are_turned_away() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 10);
    let ids: Vec<String> = (0..12).map(|n| format!("c{n:02}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let index = index(&ids);
    let mut seqs = 1..;
    for minute in 0..3 {
        let entries: Vec<Entry> = ids
            .iter()
            .zip(&mut seqs)
            .map(|(id, seq)| entry(seq, id, minute))
            .collect();
        let applied = history.apply(&entries, &index).unwrap();
        assert_eq!((applied.applied, applied.rejected), (10, 2), "{minute}");
        assert_eq!((applied.folded, applied.expired), (0, 0), "{minute}");
    }
    let reporting = windows_of(&history);
    assert_eq!(reporting.values().copied().collect::<Vec<_>>(), [3; 10]);
    assert!(reporting.keys().all(|key| key.starts_with("c/")));
    let stats = history.stats();
    assert_eq!((stats.applied, stats.rejected, stats.full), (30, 6, true));
    let trouble = stats.trouble().unwrap();
    assert!(trouble.contains("10 containers report"), "{trouble}");

    // Two end: there is room for those who waited.
    for id in &ids[..2] {
        let mut end = entry(seqs.next().unwrap(), id, 4);
        end.window.last = true;
        history.apply(&[end], &index).unwrap();
    }
    let newcomer = entry(seqs.next().unwrap(), ids[11], 4);
    let applied = history.apply(&[newcomer], &index).unwrap();
    assert_eq!((applied.rejected, applied.folded), (0, 2));
    assert_eq!(history.stats().trouble(), None);
}

#[test]
fn a_clock_that_is_ahead_makes_nobody_else_look_silent() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 10);
    let ids: Vec<String> = (0..11).map(|n| format!("c{n:02}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let index = index(&ids);
    let now = unix_ns() / 60_000_000_000;
    for (seq, id) in (1..).zip(&ids[..10]) {
        // The last of them lives ten years from now.
        let minute = now + u64::from(seq == 10) * 5_256_000;
        history.apply(&[entry(seq, id, minute)], &index).unwrap();
    }
    let applied = history.apply(&[entry(11, ids[10], now)], &index).unwrap();
    assert_eq!((applied.rejected, applied.folded), (1, 0));
    assert_eq!(history.stats().series, 10);
}

#[test]
fn a_foreign_file_is_refused_with_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("history.redb");
    std::fs::write(&path, b"not a database").unwrap();
    let error = History::open(&path, Limits::default()).err().unwrap();
    assert!(error.to_string().contains("history.redb"), "{error}");

    let (history, why) = History::open_or_set_aside(&path, Limits::default()).unwrap();
    assert!(why.is_some());
    assert_eq!(
        std::fs::read(dir.path().join("history.redb.unreadable")).unwrap(),
        b"not a database"
    );
    history
        .apply(&[entry(1, "a", 0)], &IndexReader::default())
        .unwrap();

    // A store in use is not a broken one.
    assert!(History::open_or_set_aside(&path, Limits::default()).is_err());
    drop(history);
    let (history, why) = History::open_or_set_aside(&path, Limits::default()).unwrap();
    assert!(why.is_none());
    assert_eq!(history.cursor(), 1);
}

/// Writes values past the store, as another version or a failing disk would.
fn tamper(dir: &tempfile::TempDir, change: impl FnOnce(&redb::WriteTransaction)) {
    let db = Database::create(dir.path().join("state/history.redb")).unwrap();
    let transaction = db.begin_write().unwrap();
    change(&transaction);
    transaction.commit().unwrap();
}

#[test]
fn a_store_of_the_first_format_is_read_and_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 100);
    let batch = [entry(1, "a", 0), entry(2, "b", 0)];
    history.apply(&batch, &index(&["a"])).unwrap();
    let before = history.snapshot();
    drop(history);
    tamper(&dir, |transaction| {
        let mut table = transaction.open_table(SERIES).unwrap();
        for (key, series) in &before {
            let json = serde_json::to_vec(series.as_ref()).unwrap();
            table.insert(key.as_str(), json.as_slice()).unwrap();
        }
        let mut meta = transaction.open_table(META).unwrap();
        meta.remove(FORMAT_KEY).unwrap();
        transaction.delete_table(ORIGIN).unwrap();
    });
    let history = open(&dir, 100);
    assert_eq!(history.snapshot(), before);
    assert!(
        !history.follow("epoch").unwrap(),
        "never tied: the cursor holds"
    );
    assert_eq!(history.cursor(), 2);
    let old = history.stats().bytes;
    history
        .apply(&[entry(3, "a", 1), entry(4, "b", 1)], &index(&["a"]))
        .unwrap();
    assert!(history.stats().bytes < old / 2);
    assert!(history.follow("another").unwrap());
    assert_eq!(history.cursor(), 0);
    drop(history);
    let history = open(&dir, 100);
    assert!(!history.follow("another").unwrap());
    assert_eq!((history.cursor(), history.stats().series), (0, 2));
}

#[test]
fn a_store_of_a_newer_format_is_refused_and_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("state/history.redb");
    drop(open(&dir, 100));
    tamper(&dir, |transaction| {
        let mut meta = transaction.open_table(META).unwrap();
        meta.insert(FORMAT_KEY, FORMAT + 1).unwrap();
    });
    for _ in 0..2 {
        let error = History::open_or_set_aside(&path, Limits::default()).err();
        let text = error.unwrap().to_string();
        assert!(text.contains("format 3"), "{text}");
    }
}

#[test]
fn a_corrupt_series_is_counted_and_the_rest_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 100);
    let batch = [entry(1, "a", 0), entry(2, "b", 0)];
    history.apply(&batch, &IndexReader::default()).unwrap();
    let keys: Vec<String> = history.snapshot().into_iter().map(|(key, _)| key).collect();
    drop(history);
    tamper(&dir, |transaction| {
        let mut table = transaction.open_table(SERIES).unwrap();
        let mut bytes = table
            .get(keys[0].as_str())
            .unwrap()
            .unwrap()
            .value()
            .to_vec();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x40;
        table.insert(keys[0].as_str(), bytes.as_slice()).unwrap();
    });
    let history = open(&dir, 100);
    assert_eq!(
        (history.stats().series, history.stats().undecodable),
        (1, 1)
    );
    // The container goes on, as a new series.
    history
        .apply(&[entry(3, "a", 1)], &IndexReader::default())
        .unwrap();
    assert_eq!(history.snapshot()[0].1.usage.windows, 1);
    drop(history);
    assert_eq!(open(&dir, 100).stats().undecodable, 0);
}

/// A node whose clock is far ahead: what it runs ends, and makes room for others.
#[test]
fn a_node_with_a_clock_ahead_does_not_fill_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 10);
    let now = || unix_ns() / 60_000_000_000;
    let year = 365 * 24 * 60;
    let none = IndexReader::default();
    for seq in 0..10 {
        let ahead = entry(2 * seq + 1, &format!("ahead-{seq}"), now() + year);
        let mut end = entry(2 * seq + 2, &format!("ahead-{seq}"), now() - 1);
        end.window.last = true;
        history.apply(&[ahead, end], &none).unwrap();
    }
    let series = history.snapshot();
    assert_eq!(series.len(), 10);
    for (key, series) in &series {
        assert!(series.ended, "{key}");
        assert!(series.usage.last_unix_ns.unwrap() <= unix_ns(), "{key}");
    }
    let applied = history
        .apply(&[entry(21, "new", now() - 1)], &none)
        .unwrap();
    assert_eq!((applied.applied, applied.rejected), (1, 0));
    assert!(
        history
            .snapshot()
            .iter()
            .any(|(key, _)| key.ends_with("/new"))
    );
}

/// With windows of an hour, what reports has mostly not done so for minutes; it is not folded.
#[test]
fn what_reports_once_an_hour_keeps_its_place() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 10);
    let ids: Vec<String> = (0..11).map(|n| format!("c{n:02}")).collect();
    let index = index(&ids.iter().map(String::as_str).collect::<Vec<_>>());
    let mut folded = 0;
    for (seq, id) in (1..).zip(&ids) {
        let mut entry = entry(seq, id, 1000 + 5 * seq);
        entry.window.start_unix_ns = entry.window.end_unix_ns - 3_600_000_000_000;
        let applied = history.apply(&[entry], &index).unwrap();
        folded += applied.folded;
    }
    assert_eq!(folded, 0);
    assert_eq!(
        (history.snapshot().len(), history.stats().rejected),
        (10, 1)
    );
}
