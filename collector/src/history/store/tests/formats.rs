//! Files of other formats, foreign ones and damaged ones.

use super::*;

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
