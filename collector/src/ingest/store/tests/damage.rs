//! Records that a disk gives back otherwise: each is told once, over all lives.

use super::*;

/// Flips a byte in the middle of the journal's record `seq`.
fn damage(disk: &CrashStorage, class: Class, needle: &[u8]) {
    let mut folder = disk.folder(class.as_str());
    for name in folder.list().unwrap() {
        let mut bytes = vec![0; usize::try_from(folder.len(&name).unwrap()).unwrap()];
        folder.read_at(&name, 0, &mut bytes).unwrap();
        if let Some(at) = bytes.windows(needle.len()).position(|part| part == needle) {
            folder.write_at(&name, at as u64, b"?").unwrap();
            folder.sync(&name).unwrap();
            return;
        }
    }
    panic!("the record is not there");
}

#[test]
fn damage_is_counted_and_told_once_over_all_lives() {
    for class in Class::ALL {
        let disk = CrashStorage::default();
        let store = open(&disk, 1 << 30);
        for seq in 1..=5 {
            send(&store, class, seq..seq + 1, 10);
        }
        let needle = match class {
            Class::Usage => window(&record_id("n", class, 3)),
            Class::Security => oom(&record_id("n", class, 3), 10),
        };
        damage(&disk, class, &needle);
        let reader = if class == Class::Usage { HISTORY } else { SINK };
        let mut disk = disk.crash(|_| 0);
        for life in 0..4 {
            let store = open(&disk, 1 << 30);
            let lost = u64::from(life == 0);
            assert_eq!(
                store.held(class, reader).lost,
                lost,
                "{class:?}, life {life}"
            );
            let (emitted, fates) = reader_balance(&store, class, reader);
            assert_eq!(emitted, fates);
            let expected = Loss {
                stage: "journal".into(),
                lost_class: class,
                fate: "lost".into(),
                count: 1,
                first_seq: Some(3),
                last_seq: Some(3),
            };
            assert_eq!(told(&store), [expected], "{class:?}, life {life}");
            assert_law(&store);
            // A life with upkeep and one without, a clean end and a crash.
            if life == 1 {
                store.maintain().unwrap();
            }
            disk = if life == 2 {
                disk.copy()
            } else {
                disk.crash(|_| 0)
            };
        }
    }
}

/// A start does not look into files that were sealed, so that each life's reader comes upon it anew.
#[test]
fn damage_in_a_sealed_file_is_told_once_while_its_reader_stands_still() {
    for (has_checkpoint, fate) in [(true, "undecodable"), (false, "lost")] {
        let disk = CrashStorage::default();
        let store = open(&disk, 1 << 20);
        for seq in 1..=300 {
            send(&store, Class::Security, seq..seq + 1, 1000);
        }
        assert!(segments(&disk, Class::Security).len() > 4);
        if has_checkpoint {
            store.maintain().unwrap();
        }
        damage(
            &disk,
            Class::Security,
            &oom(&record_id("n", Class::Security, 60), 1000),
        );
        let mut disk = disk.crash(|_| 0);
        for life in 0..4 {
            let store = open(&disk, 1 << 20);
            let lost = u64::from(life == 0 && !has_checkpoint);
            assert_eq!(store.held(Class::Security, SINK).lost, lost);
            store.hand_out(Class::Security, SINK, 100, 1 << 20).unwrap();
            store.put_back(Class::Security, SINK).unwrap();
            store.maintain().unwrap();
            let expected = Loss {
                stage: "journal".into(),
                lost_class: Class::Security,
                fate: fate.into(),
                count: 1,
                first_seq: Some(60),
                last_seq: Some(60),
            };
            assert_eq!(told(&store), [expected], "life {life}");
            assert_law(&store);
            disk = if life == 2 {
                disk.copy()
            } else {
                disk.crash(|_| 0)
            };
        }
    }
}

#[test]
fn damage_that_a_reader_finds_is_told_too() {
    let disk = CrashStorage::default();
    let store = open(&disk, 1 << 30);
    for seq in 1..=5 {
        send(&store, Class::Security, seq..seq + 1, 10);
    }
    damage(
        &disk,
        Class::Security,
        &oom(&record_id("n", Class::Security, 2), 10),
    );
    assert_eq!(events(&store, 1).len(), 4);
    store.maintain().unwrap();
    let told = told(&store);
    let [loss] = told.as_slice() else {
        panic!("{told:?}");
    };
    assert_eq!(
        (loss.fate.as_str(), loss.count, loss.first_seq),
        ("undecodable", 1, Some(2))
    );
}
