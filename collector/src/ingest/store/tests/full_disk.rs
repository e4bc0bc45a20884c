//! A disk without room, and one that fails: what is told, what is set free, when it takes again.

use super::*;

#[test]
fn what_the_full_journal_sheds_is_told_even_on_a_full_disk() {
    let disk = CrashStorage::default();
    let bound = 1 << 20;
    let store = open(&disk, bound);
    send(&store, Class::Usage, 1..200, 0);
    // What is told must itself be read, or told again when it is shed.
    for round in 0..20 {
        send(
            &store,
            Class::Security,
            1 + round * 10..11 + round * 10,
            9_000,
        );
        disk.set_room(Some(disk.used()));
        store.maintain().unwrap();
        disk.set_room(None);
    }
    store.maintain().unwrap();
    let told = told(&store);
    for (class, reader) in [(Class::Usage, HISTORY), (Class::Security, SINK)] {
        let held = store.held(class, reader);
        assert!(held.shed > 0, "{class:?}: nothing was shed");
        let of_class: u64 = told
            .iter()
            .filter(|loss| loss.lost_class == class && loss.fate == "shed")
            .map(|loss| loss.count)
            .sum();
        assert_eq!(of_class, held.shed, "{class:?}: {told:?}");
        let (emitted, fates) = reader_balance(&store, class, reader);
        assert_eq!(emitted, fates);
    }
    let bytes: u64 = Class::ALL
        .iter()
        .map(|class| store.stats(*class).bytes)
        .sum();
    assert!(bytes < bound + 10_000, "{bytes} bytes");
    // The collector's own numbers have no holes but those it shed.
    assert!(store.streams().iter().all(|stream| stream.missing() == 0));
    let before = told.len();
    let disk = disk.crash(|_| 0);
    assert_eq!(self::told(&open(&disk, bound)).len(), before, "told once");
}

/// Several segments go, the cursors reach the disk, and then the process is gone before it could tell.
#[test]
fn what_was_shed_and_not_told_is_told_by_the_next_life() {
    for class in Class::ALL {
        let disk = CrashStorage::default();
        let store = open(&disk, 1 << 20);
        for seq in 0..100 {
            send(&store, class, 1 + seq * 60..61 + seq * 60, 400);
        }
        let mut inner = store.lock();
        inner.hold_bound(class, 0).unwrap();
        inner.journal(class).sync_positions().unwrap();
        drop(inner);
        let reader = if class == Class::Usage { HISTORY } else { SINK };
        let shed = store.held(class, reader).shed;
        assert!(shed > 200, "{shed}");
        let mut disk = disk.crash(|_| 0);
        for life in 0..3 {
            let store = open(&disk, 1 << 20);
            let told: u64 = told(&store).iter().map(|loss| loss.count).sum();
            assert_eq!(told, shed, "{class:?}, life {life}");
            assert_law(&store);
            disk = disk.crash(|_| 0);
        }
    }
}

#[test]
fn a_loss_is_told_in_room_that_was_held_for_it() {
    let disk = CrashStorage::default();
    let store = open(&disk, 16 << 20);
    send(&store, Class::Security, 1..3, 10);
    disk.set_room(Some(disk.used()));
    let mut inner = store.lock();
    inner.begin(
        &[
            Recovery {
                missing: vec![(1, 4)],
                unsure_from: 9,
                ..Recovery::default()
            },
            Recovery::default(),
        ],
        7,
    );
    drop(inner);
    assert_eq!(told(&store).len(), 1);
    assert_eq!(told(&open(&disk.crash(|_| 0), 16 << 20)).len(), 1);
}

#[test]
fn a_full_disk_sets_itself_free_when_readers_go_on() {
    let disk = CrashStorage::default();
    let store = open(&disk, 1 << 30);
    let mut seq = 1;
    let refused = loop {
        let records = vec![incoming("n", Class::Security, seq, 60_000)];
        match store.commit(&[arrival(Class::Security, records)]) {
            Ok(_) => seq += 1,
            Err(error) => break error,
        }
        if seq == 100 {
            disk.set_room(Some(disk.used() + 500_000));
        }
    };
    assert!(refused.is_disk_full());
    assert!(
        store.maintain().is_err(),
        "the disk is still full of what nobody has read"
    );
    let durable = store.stats(Class::Security).last_seq.unwrap();
    store.settle(Class::Security, SINK, durable - 1).unwrap();
    // The record that waits cannot be written, and the room is set free all the same.
    drop(store.maintain());
    let records = vec![incoming("n", Class::Security, seq, 60_000)];
    let outcome = store
        .commit(&[arrival(Class::Security, records)])
        .expect("there is room again");
    assert_eq!(
        outcome[0].duplicates, 1,
        "it waited, and is durable with this answer"
    );
    assert_law(&store);
    let fates = store.counts.fates(Class::Security);
    assert_eq!((fates.delivered, fates.in_flight), (seq, 0));
}

#[test]
fn a_refusal_is_told_when_it_begins_when_its_kind_changes_and_when_it_ends() {
    let full = |file: &str| StoreError::File {
        doing: "write",
        path: file.into(),
        source: std::io::ErrorKind::StorageFull.into(),
    };
    let fails = StoreError::File {
        doing: "write",
        path: "seen".into(),
        source: std::io::ErrorKind::TimedOut.into(),
    };
    let [one, other, fails] = [full("one"), full("other"), fails].map(|error| Refusal::of(&error));
    assert_ne!(one, other);
    for (before, now, expect) in [
        (None, None, None),
        (None, Some(&one), Some(Turn::Refuses)),
        (Some(&one), Some(&other), None),
        (Some(&other), Some(&fails), Some(Turn::Refuses)),
        (Some(&fails), Some(&fails), None),
        (Some(&fails), None, Some(Turn::TakesAgain)),
    ] {
        assert_eq!(turn(before, now), expect, "{before:?} -> {now:?}");
    }
}

/// Nobody may be let in while it refuses: it has to find out by itself that it could take again.
#[test]
fn what_keeps_requests_out_is_told_until_the_disk_takes_again() {
    let disk = CrashStorage::default();
    let store = open(&disk, 16 << 20);
    let try_send = |seq: u64| {
        let record = incoming("n", Class::Security, seq, 100);
        store.commit(&[arrival(Class::Security, vec![record])])
    };
    try_send(1).unwrap();
    store.maintain().unwrap();
    assert_eq!(store.refuses(), None);

    disk.set_room(Some(disk.used()));
    try_send(2).unwrap_err();
    let why = store.refuses().unwrap();
    assert!(
        why.starts_with("the journal's disk is full: security journal: "),
        "{why}"
    );
    store.maintain().ok();
    assert!(store.refuses().is_some(), "the disk is still full");
    disk.set_room(None);
    store.maintain().unwrap();
    assert_eq!(store.refuses(), None);
    try_send(2).unwrap();

    disk.fail_writes(1);
    try_send(3).unwrap_err();
    let why = store.refuses().unwrap();
    assert!(why.starts_with("the journal cannot be written: "), "{why}");
    try_send(3).unwrap();
    assert_eq!(store.refuses(), None);
    let used = disk.used();
    store.maintain().unwrap();
    assert!(
        disk.used() <= used + 4096,
        "the probe leaves nothing behind"
    );
}

/// The journal would grow without a word while records are taken.
#[test]
fn upkeep_that_fails_is_told_until_it_goes_well() {
    let disk = CrashStorage::default();
    let store = open(&disk, 16 << 20);
    send(&store, Class::Security, 1..3, 10);
    assert_eq!(store.upkeep_fails(), None);
    disk.fail_writes(100);
    store.maintain().unwrap_err();
    let why = store.upkeep_fails().unwrap();
    // With the causes.
    assert!(why.contains(": "), "{why}");
    disk.fail_writes(0);
    store.maintain().unwrap();
    assert_eq!(store.upkeep_fails(), None);
}
