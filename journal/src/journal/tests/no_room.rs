//! A disk without any room: what is gone can be written down all the same.

use super::*;

/// The disk is full to the last byte, the oldest is shed, and the process ends before anything could be told.
#[test]
fn what_was_shed_is_written_down_without_room() {
    let disk = CrashStorage::default();
    let fill = || disk.set_room(Some(disk.used()));
    let again = || Journal::open(disk.clone(), options()).unwrap();
    let (mut journal, _) = again();
    journal.sync_positions().unwrap();
    for now in 0..100 {
        journal.append(&[7; 300], now).unwrap();
        journal.sync().unwrap();
    }
    fill();
    journal.append(&[7; 1900], 100).unwrap();
    journal.append(&[7; 1900], 100).unwrap();
    let refused = journal.sync().unwrap_err();
    assert!(refused.is_disk_full(), "{refused}");
    let mut last = 0;
    for _ in 0..2 {
        let shed = journal.shed_oldest().unwrap().unwrap();
        fill();
        journal.note_untold((shed.first_seq, shed.last_seq));
        journal.set_cursor("reader", shed.last_seq).unwrap();
        journal.sync_positions().unwrap();
        last = shed.last_seq;
    }
    drop(journal);
    let (mut journal, recovery) = again();
    assert_eq!(recovery.untold, [(1, last)]);
    // These two never were durable; a part of them may be there.
    let (first, _) = recovery.missing[0];
    assert!(first > 100 && recovery.missing.len() == 1);
    assert_eq!(journal.cursor("reader"), Some(last));
    let read = journal.read(last + 1, 1000, 1 << 20).unwrap();
    assert_eq!(read.records.len() as u64, first - 1 - last);
    journal.mark_told(&recovery.untold);
    journal.mark_told(&recovery.missing);
    journal.sync_positions().unwrap();
    drop(journal);
    assert_eq!(again().1.untold, []);
}
