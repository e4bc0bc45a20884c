//! Files that were sealed: what a start believes of them, and what it reads all the same.

use super::*;
use crate::frame::{Found, Scan};
use crate::storage::read_file;

const RECORDS: u64 = 200;

/// Records of 300 bytes, six or seven to a file, with a new time every ten.
fn folder() -> CrashStorage {
    let storage = CrashStorage::default();
    let (mut journal, _) = open(&storage);
    for seq in 1..=RECORDS {
        journal.append(&[7; 300], seq / 10).unwrap();
        journal.sync().unwrap();
    }
    journal.sync_positions().unwrap();
    storage
}

fn names(storage: &CrashStorage) -> Vec<String> {
    let mut names = storage.list().unwrap();
    names.retain(|name| name.starts_with("segment"));
    names.sort_unstable();
    names
}

fn bytes(storage: &CrashStorage, name: &str) -> Vec<u8> {
    read_file(storage, name, u64::MAX).unwrap()
}

/// Where the end frame of a file begins, and the record that lies in its middle.
fn places(storage: &CrashStorage, name: &str) -> (u64, u64, u64) {
    let bytes = bytes(storage, name);
    let (mut end, mut records) = (0, Vec::new());
    for found in Scan::new(&bytes) {
        match found {
            Found::Frame { offset, header, .. } if header.kind == Kind::End => end = offset as u64,
            Found::Frame { offset, header, .. } if header.kind == Kind::Record => {
                records.push((offset as u64, header.seq));
            }
            _ => {}
        }
    }
    let (offset, seq) = records[records.len() / 2];
    (end, offset, seq)
}

fn overwrite(storage: &CrashStorage, name: &str, offset: u64) {
    let mut storage = storage.clone();
    storage.write_at(name, offset, b"?").unwrap();
    storage.sync(name).unwrap();
}

/// As they were left by a version that wrote no end.
fn without_ends(storage: &CrashStorage) {
    let mut storage = storage.clone();
    for name in names(&storage) {
        let (end, ..) = places(&storage, &name);
        if end > 0 {
            let held = bytes(&storage, &name);
            let cut = Scan::new(&held).find_map(|found| match found {
                Found::Blank { offset, .. } => Some(offset as u64),
                _ => None,
            });
            storage.truncate(&name, cut.unwrap_or(end)).unwrap();
            storage.sync(&name).unwrap();
        }
    }
}

#[test]
fn a_start_reads_one_sector_of_each_file_that_was_sealed() {
    let storage = folder();
    let files = names(&storage).len() as u64;
    assert!(files > 20);
    let newest = storage.len(names(&storage).last().unwrap()).unwrap();
    storage.take_bytes_read();
    let (mut journal, recovery) = open(&storage);
    let most = files * 512 + newest + positions::FILE_LEN as u64;
    assert!(storage.take_bytes_read() <= most);
    assert_eq!((recovery.records, recovery.missing), (RECORDS, vec![]));
    assert_eq!(journal.count_after(120), 80);
    assert_eq!(journal.stats().oldest_unix_ns, Some(0));
    assert_eq!(
        journal.stats().bytes,
        storage.used() - positions::FILE_LEN as u64
    );
    assert_eq!(seqs(&mut journal, 1), (1..=RECORDS).collect::<Vec<_>>());
    // The newest is sealed as well by then: it is not written again.
    storage.take_bytes_read();
    open(&storage);
    assert!(storage.take_bytes_read() <= files * 512 + positions::FILE_LEN as u64);
}

#[test]
fn what_older_versions_left_is_read_once_and_sealed() {
    let storage = folder();
    let whole = open(&storage.copy()).1;
    without_ends(&storage);
    let before = storage.used();
    let (mut journal, recovery) = open(&storage);
    assert_eq!(recovery, whole);
    assert_eq!(seqs(&mut journal, 1), (1..=RECORDS).collect::<Vec<_>>());
    let files = names(&storage).len() as u64;
    assert!(storage.used() >= before + files * 512);
    storage.take_bytes_read();
    assert_eq!(open(&storage.crash(|_| 0)).1, whole);
    let sectors = files * 512 + positions::FILE_LEN as u64;
    let crashed = storage.crash(|_| 0);
    open(&crashed);
    assert!(crashed.take_bytes_read() <= sectors);
}

/// A start does not look for it, whoever comes there tells its numbers, and no later life tells them again.
#[test]
fn damage_in_a_sealed_file_is_told_by_its_reader_and_once() {
    let storage = folder();
    let name = &names(&storage)[5];
    let (_, offset, seq) = places(&storage, name);
    overwrite(&storage, name, offset + 60);
    for _ in 0..2 {
        let (mut journal, recovery) = open(&storage);
        assert_eq!((recovery.missing, recovery.damaged), (vec![], 0));
        let batch = journal.read(1, 1000, 1 << 20).unwrap();
        assert_eq!(batch.damaged, [(seq, seq)]);
        assert_eq!(journal.untold(&batch.damaged), [(seq, seq)], "not on disk");
        assert_eq!(journal.count_after(0), RECORDS - 1);
    }
    let (mut journal, _) = open(&storage);
    let found = journal.read(1, 1000, 1 << 20).unwrap().damaged;
    journal.mark_told(&found);
    journal.sync_positions().unwrap();
    for storage in [storage.crash(|_| 0), storage.copy()] {
        let (mut journal, _) = open(&storage);
        let found = journal.read(1, 1000, 1 << 20).unwrap().damaged;
        assert_eq!(found, [(seq, seq)]);
        assert_eq!(journal.untold(&found), []);
    }
    // Nor if a start reads that file after all, and damage beside it is told then.
    let (end, ..) = places(&storage, name);
    overwrite(&storage, name, end + 50);
    let name = &names(&storage)[6];
    let (end, offset, other) = places(&storage, name);
    overwrite(&storage, name, end + 50);
    overwrite(&storage, name, offset + 60);
    let (_, recovery) = open(&storage);
    assert_eq!(recovery.missing, [(other, other)]);
    // Passed, it is nothing to remember.
    journal = open(&storage).0;
    journal.set_cursor("reader", seq).unwrap();
    journal.sync_positions().unwrap();
    assert_eq!(journal.untold(&[(seq, seq)]), [(seq, seq)]);
}

#[test]
fn a_file_that_does_not_agree_with_its_end_is_read() {
    let storage = folder();
    let name = &names(&storage)[5];
    let (end, offset, seq) = places(&storage, name);
    overwrite(&storage, name, offset + 60);
    let len = storage.len(name).unwrap();
    let longer = storage.copy();
    overwrite(&longer, name, len + 600);
    let mut shorter = storage.copy();
    shorter.truncate(name, len - 1).unwrap();
    shorter.sync(name).unwrap();
    let damaged = storage.copy();
    overwrite(&damaged, name, end + 45);
    for storage in [longer, shorter, damaged] {
        let (mut journal, recovery) = open(&storage);
        assert_eq!(recovery.missing, [(seq, seq)]);
        assert_eq!(journal.read(1, 1000, 1 << 20).unwrap().damaged, []);
        assert_eq!(journal.count_after(0), RECORDS - 1);
        // It says the same each time: no end is put on what is damaged.
        assert_eq!(open(&storage).1, recovery);
    }
    let mut other = storage.copy();
    let sealed = bytes(&storage, name);
    let at = usize::try_from(end).unwrap();
    let mut seal = Seal::decode(&sealed[at..], len, 1).unwrap();
    seal.epoch = "f".repeat(32);
    other.write_at(name, end, &seal.encode(1)).unwrap();
    assert_eq!(open(&other).1.missing, [(seq, seq)]);
}

/// The end frame alone knows how far the numbers went.
#[test]
fn zeros_in_the_place_of_the_last_records_give_no_number_out_again() {
    let storage = folder();
    let next = {
        let (journal, _) = open(&storage);
        journal.next_seq()
    };
    let mut storage = storage.clone();
    storage.remove(positions::FILE).unwrap();
    let name = names(&storage).pop().unwrap();
    let (end, offset, seq) = places(&storage, &name);
    let gone = usize::try_from(end - offset).unwrap();
    storage.write_at(&name, offset, &vec![0; gone]).unwrap();
    storage.write_at(&name, end + 512, &[0]).unwrap();
    for _ in 0..2 {
        let (journal, recovery) = open(&storage);
        assert_eq!(recovery.missing, [(seq, next - 1)]);
        assert_eq!(journal.next_seq(), next);
        drop(journal);
        storage.remove(positions::FILE).unwrap();
    }
}

/// The start of a file is not read again for each batch.
#[test]
fn small_batches_of_a_sealed_file_read_it_about_once() {
    let storage = CrashStorage::default();
    let big = Options {
        segment_bytes: 2 << 20,
        max_pending_bytes: 2 << 20,
        ..options()
    };
    let (mut journal, _) = Journal::open(storage.clone(), big.clone()).unwrap();
    for _ in 0..4 {
        for _ in 0..1000 {
            journal.append(&[7; 1000], 0).unwrap();
        }
        journal.sync().unwrap();
    }
    let (mut journal, _) = Journal::open(storage.clone(), big).unwrap();
    storage.take_bytes_read();
    let (mut from, mut batches) = (1, 0);
    while from <= 4000 {
        from = journal
            .read(from, 200, 1 << 20)
            .unwrap()
            .records
            .last()
            .unwrap()
            .seq
            + 1;
        batches += 1;
    }
    assert_eq!(batches, 20);
    let read = storage.take_bytes_read();
    // At most what is fetched at once, and a mark's distance, besides.
    let most = 4_200_000 + batches * (512 << 10);
    assert!(read < most, "{read}");
    assert_eq!(journal.time_after(3990), Some(0));
}
