use super::*;
use crate::FileStorage;
use crate::frame::{HEADER_LEN, Kind};
use crate::testing::CrashStorage;

mod model;
mod no_room;
mod sealed;

fn options() -> Options {
    Options {
        segment_bytes: 2000,
        max_pending_bytes: 4000,
        ..Options::new(1, &["reader"], "e".repeat(32))
    }
}

fn open(storage: &CrashStorage) -> (Journal<CrashStorage>, Recovery) {
    Journal::open(storage.clone(), options()).unwrap()
}

fn seqs(journal: &mut Journal<CrashStorage>, from: u64) -> Vec<u64> {
    journal
        .read(from, 1000, 1 << 20)
        .unwrap()
        .records
        .iter()
        .map(|record| record.seq)
        .collect()
}

#[test]
fn goes_on_where_it_stopped_on_a_real_disk() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        Journal::open(
            FileStorage::open(&folder.path().join("a/b")).unwrap(),
            options(),
        )
        .unwrap()
    };
    let (mut journal, recovery) = open();
    assert_eq!(recovery, Recovery::default());
    for number in 1..=80_u64 {
        assert_eq!(journal.append(&number.to_le_bytes(), 5).unwrap(), number);
    }
    assert_eq!(
        journal.read(1, 10, 1000).unwrap(),
        Batch::default(),
        "nothing is read before it is durable"
    );
    assert_eq!(journal.sync().unwrap(), 80);
    journal.set_cursor("reader", 40).unwrap();
    journal.sync_positions().unwrap();
    drop(journal);

    let (mut journal, recovery) = open();
    assert_eq!(
        (recovery.records, recovery.damaged, recovery.missing),
        (80, 0, vec![])
    );
    assert_eq!(journal.cursor("reader"), Some(40));
    assert_eq!(journal.epoch(), "e".repeat(32));
    assert_eq!(journal.append(b"next", 6).unwrap(), 81);
    journal.sync().unwrap();
    let batch = journal.read(79, 10, 1000).unwrap();
    assert_eq!(
        batch
            .records
            .iter()
            .map(|record| record.seq)
            .collect::<Vec<_>>(),
        [79, 80, 81]
    );
    assert_eq!(batch.records[0].payload, 79_u64.to_le_bytes());
}

#[test]
fn passed_segments_are_removed_and_numbers_live_on() {
    let storage = CrashStorage::default();
    let (mut journal, _) = open(&storage);
    for round in 0..20 {
        journal.append(&[round; 500], 0).unwrap();
        journal.sync().unwrap();
    }
    let before = storage.used() - positions::FILE_LEN as u64;
    journal.set_cursor("reader", 20).unwrap();
    journal.sync_positions().unwrap();
    assert!(storage.used() - (positions::FILE_LEN as u64) < before / 2);
    let (mut journal, recovery) = open(&storage.crash(|_| 0));
    assert_eq!(recovery.missing, []);
    assert_eq!(journal.append(b"x", 0).unwrap(), 21);
}

#[test]
fn shed_takes_the_oldest_and_says_which() {
    let storage = CrashStorage::default();
    let (mut journal, _) = open(&storage);
    for _ in 0..8 {
        journal.append(&[7; 500], 0).unwrap();
        journal.sync().unwrap();
    }
    journal.set_cursor("reader", 1).unwrap();
    let shed = journal.shed_oldest().unwrap().unwrap();
    assert_eq!((shed.first_seq, shed.last_seq, shed.count), (2, 4, 3));
    assert_eq!(seqs(&mut journal, 1), [5, 6, 7, 8]);
    while journal.shed_oldest().unwrap().is_some() {}
    let (mut journal, recovery) = open(&storage.crash(|_| 0));
    assert_eq!(
        recovery.missing,
        [(2, 8)],
        "not yet written down by the owner"
    );
    assert_eq!(journal.append(b"x", 0).unwrap(), 9);
}

#[test]
fn an_unreadable_segment_is_given_up_and_the_rest_is_read() {
    let storage = CrashStorage::default();
    let (mut journal, _) = open(&storage);
    for _ in 1..=60 {
        journal.append(&[7; 100], 0).unwrap();
        journal.sync().unwrap();
    }
    let mut names = storage.list().unwrap();
    names.sort_unstable();
    names.retain(|name| name.starts_with("segment"));
    assert!(names.len() > 3, "{names:?}");
    storage.fail_reads(&names[1]);
    let first = seqs(&mut journal, 1);
    let next = first.len() as u64 + 1;
    assert_eq!(
        first,
        (1..next).collect::<Vec<_>>(),
        "what comes before goes out"
    );
    let error = journal.read(next, 1000, 1 << 20).unwrap_err();
    assert!(error.to_string().contains(&names[1]), "{error}");
    let given_up = journal.give_up_segment(next);
    let [(from, to)] = given_up[..] else {
        panic!("{given_up:?}");
    };
    assert_eq!(from, next);
    assert_eq!(seqs(&mut journal, next), (to + 1..=60).collect::<Vec<_>>());
    assert_eq!(journal.count_after(0), 60 - (to - from + 1));
    journal.set_cursor("reader", 60).unwrap();
    assert_eq!(journal.give_up_segment(61), []);
}

#[test]
fn a_segment_that_is_cut_short_from_outside_ends_there() {
    let mut storage = CrashStorage::default();
    let (mut journal, _) = open(&storage);
    for _ in 0..5 {
        journal.append(&[7; 100], 1).unwrap();
    }
    journal.sync().unwrap();
    let name = "segment-000000000001.plj";
    let len = storage.len(name).unwrap();
    storage.truncate(name, len - 150).unwrap();
    let batch = journal.read(1, 1000, 1 << 20).unwrap();
    assert_eq!((batch.records.len(), batch.damaged), (3, vec![(4, 5)]));
}

#[test]
fn numbers_of_an_unreadable_segment_are_not_used_again() {
    let storage = CrashStorage::default();
    let (mut journal, _) = open(&storage);
    let mut last = 0;
    for _ in 0..40 {
        last = journal.append(&[7; 100], 1).unwrap();
        journal.sync().unwrap();
    }
    let mut names = storage.list().unwrap();
    names.retain(|name| name.starts_with("segment"));
    names.sort_unstable();
    storage.fail_reads(names.last().unwrap());
    let (journal, recovery) = open(&storage);
    assert_eq!(recovery.unreadable, names[names.len() - 1..]);
    assert!(journal.next_seq() > last, "{}", journal.next_seq());
    assert_eq!(
        recovery.missing.last().map(|(_, to)| *to),
        Some(journal.next_seq() - 1)
    );
}

#[test]
fn positions_that_cannot_be_read_now_are_left_as_they_are() {
    let storage = CrashStorage::default();
    let (mut journal, _) = open(&storage);
    for _ in 0..10 {
        journal.append(&[7; 100], 1).unwrap();
    }
    journal.sync().unwrap();
    journal.set_cursor("reader", 7).unwrap();
    journal.sync_positions().unwrap();
    storage.fail_reads(positions::FILE);
    let (_, recovery) = open(&storage);
    assert!(recovery.positions_lost);
    // The same disk, readable again.
    let (journal, recovery) = open(&storage.copy());
    assert!(!recovery.positions_lost);
    assert_eq!(journal.cursor("reader"), Some(7));
}

#[test]
fn a_failed_sync_is_never_trusted_again() {
    let storage = CrashStorage::default();
    let (mut journal, _) = open(&storage);
    journal.append(b"one", 0).unwrap();
    journal.sync().unwrap();
    journal.append(b"two", 0).unwrap();
    storage.fail_syncs(1);
    assert!(journal.sync().is_err());
    assert_eq!(journal.durable_seq(), 1);
    assert_eq!(journal.sync().unwrap(), 2);
    for storage in [storage.crash(|_| 0), storage.copy()] {
        let (mut journal, recovery) = open(&storage);
        assert_eq!(recovery.missing, []);
        assert_eq!(seqs(&mut journal, 1), [1, 2]);
    }
}

#[test]
fn a_full_disk_keeps_what_it_has_and_takes_more_later() {
    let storage = CrashStorage::default();
    let (mut journal, _) = open(&storage);
    journal.append(&[1; 300], 0).unwrap();
    journal.sync().unwrap();
    storage.set_room(Some(storage.used()));
    journal.append(&[2; 300], 0).unwrap();
    assert!(journal.sync().unwrap_err().is_disk_full());
    journal.set_cursor("reader", 1).unwrap();
    journal.sync_positions().unwrap();
    let held = std::iter::repeat_with(|| journal.append(&[3; 300], 0))
        .take_while(Result::is_ok)
        .count();
    assert!((5..20).contains(&held), "bounded in memory");
    storage.set_room(None);
    assert_eq!(journal.sync().unwrap(), 2 + held as u64);
    assert_eq!(seqs(&mut journal, 2).len(), 1 + held);
}

#[test]
fn a_disk_that_is_full_of_what_was_read_makes_room_by_itself() {
    let storage = CrashStorage::default();
    let (mut journal, _) = open(&storage);
    for _ in 0..3 {
        journal.append(&[1; 300], 0).unwrap();
    }
    journal.sync().unwrap();
    storage.set_room(Some(storage.used()));
    journal.append(&[2; 300], 0).unwrap();
    journal.set_cursor("reader", 2).unwrap();
    assert!(journal.sync().unwrap_err().is_disk_full(), "3 is unread");
    journal.set_cursor("reader", 3).unwrap();
    assert_eq!(journal.sync().unwrap(), 4);
    // The same for one that was just opened, and its numbers go on.
    let (mut journal, recovery) = open(&storage.crash(|_| 0));
    assert_eq!(recovery.missing, []);
    assert_eq!(seqs(&mut journal, 1), [4]);
    journal.set_cursor("reader", 4).unwrap();
    let used = journal.storage_mut().used();
    journal.storage_mut().set_room(Some(used));
    journal.append(&[3; 100], 0).unwrap();
    assert_eq!(journal.sync().unwrap(), 5);
    assert_eq!(seqs(&mut journal, 1), [5]);
}

#[test]
fn what_the_last_sync_may_have_torn_is_told_apart() {
    let storage = CrashStorage::default();
    let open = |storage: &CrashStorage| {
        let two = Options {
            cursors: vec!["reader".into(), "other".into()],
            ..options()
        };
        Journal::open(storage.clone(), two).unwrap()
    };
    let (mut journal, _) = open(&storage);
    for now in [10, 20, 30] {
        for _ in 0..3 {
            journal.append(&[7; 100], now).unwrap();
        }
        journal.sync().unwrap();
    }
    let name = storage
        .list()
        .unwrap()
        .into_iter()
        .find(|name| name.starts_with("segment"))
        .unwrap();
    // Records 5 and 8: the payloads of their frames.
    let start = HEADER_LEN + 32;
    for seq in [5, 8] {
        let at = start + (seq - 1) * (HEADER_LEN + 100) + HEADER_LEN + 50;
        let mut storage = storage.clone();
        storage.write_at(&name, at as u64, b"?").unwrap();
    }
    let (mut journal, recovery) = open(&storage);
    assert_eq!(recovery.missing, [(5, 5), (8, 8)]);
    assert_eq!(recovery.unsure_from, 7, "the third sync may have been torn");
    // A cursor has passed it: it was there.
    journal.set_cursor("reader", 8).unwrap();
    journal.sync_positions().unwrap();
    // Nobody has told it, and by now it is known to be gone for good.
    let (mut journal, recovery) = open(&storage);
    assert_eq!(recovery.missing, []);
    assert_eq!(recovery.untold, [(5, 5), (8, 8)]);
    journal.mark_told(&recovery.untold);
    journal.sync_positions().unwrap();
    let (_, recovery) = open(&storage);
    assert_eq!((recovery.missing, recovery.untold), (vec![], vec![]));
}

/// Want of descriptors or of permission says nothing about what is on the disk.
#[test]
fn what_this_process_may_not_read_is_no_damage() {
    let storage = CrashStorage::default();
    let (mut journal, _) = open(&storage);
    for _ in 0..40 {
        journal.append(&[7; 100], 5).unwrap();
        journal.sync().unwrap();
    }
    journal.set_cursor("reader", 4).unwrap();
    journal.sync_positions().unwrap();
    drop(journal);
    let [emfile, eacces, eperm] = [24, 13, 1];
    for (file, errno) in [
        ("segment", emfile),
        ("segment", eperm),
        ("positions", eacces),
    ] {
        storage.deny(Some((file, errno)));
        let error = Journal::open(storage.clone(), options()).unwrap_err();
        assert!(error.is_of_process(), "{error:?}");
    }
    storage.deny(None);
    let (journal, recovery) = open(&storage);
    assert_eq!((recovery.records, recovery.missing), (40, vec![]));
    assert_eq!(journal.cursor("reader"), Some(4));
}

#[test]
fn a_torn_position_file_leaves_the_last_good_one() {
    let storage = CrashStorage::default();
    let (mut journal, _) = open(&storage);
    for seq in 1..=3 {
        journal.append(b"x", seq).unwrap();
    }
    journal.sync().unwrap();
    journal.set_cursor("reader", 1).unwrap();
    journal.sync_positions().unwrap();
    journal.set_cursor("reader", 2).unwrap();
    storage.fail_writes(2);
    for _ in 0..2 {
        assert!(journal.sync_positions().is_err());
        let found = open(&storage.crash(|_| 0)).0.cursor("reader");
        assert_eq!(found, Some(1), "both attempts went to the same slot");
    }
    journal.sync_positions().unwrap();
    assert_eq!(open(&storage.crash(|_| 0)).0.cursor("reader"), Some(2));
}
