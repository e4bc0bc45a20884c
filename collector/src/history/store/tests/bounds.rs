//! How many series there may be, and who goes first.

use super::*;

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
