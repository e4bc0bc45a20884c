use super::*;
use crate::history::series::tests::window;
use crate::inventory::parse;

mod bounds;
mod formats;
mod names;

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

/// As redb takes nothing more after a failed write, nor does a disk that was full when the store was opened give it.
#[test]
fn a_store_that_could_not_be_written_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let history = open(&dir, 100);
    let none = IndexReader::default();
    history.apply(&[entry(1, "a", 0)], &none).unwrap();
    let full = || {
        let error = std::io::Error::from(std::io::ErrorKind::StorageFull);
        write_error(redb::Error::Io(error))
    };
    assert!(full().is_of_disk());
    let failing = std::io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error());
    assert!(read_error(redb::Error::Io(failing)).is_of_disk());
    let foreign = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
    assert!(!write_error(redb::Error::Io(foreign)).is_of_disk());
    let mut writer = history.writer.lock().unwrap();
    history.write(&mut writer, |_| Err(full())).unwrap_err();
    assert!(writer.is_none());
    drop(writer);
    assert_eq!(history.snapshot().len(), 1, "it is still shown");
    let again = [entry(1, "a", 0), entry(2, "b", 0)];
    let applied = history.apply(&again, &none).unwrap();
    assert_eq!((applied.applied, applied.repeated), (1, 1));
    assert_eq!((history.stats().applied, history.cursor()), (2, 2));
    // As at a start on a full disk.
    let late = History {
        path: history.path.clone(),
        limits: Limits::default(),
        writer: Mutex::new(None),
        state: RwLock::default(),
    };
    late.follow("a journal").unwrap_err();
    drop(history);
    late.follow("a journal").unwrap();
    assert_eq!((late.snapshot().len(), late.cursor()), (2, 2));
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
