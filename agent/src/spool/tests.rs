//! The spool against the disk double that fails, fills and crashes.

use plimsoll_journal::testing::CrashStorage;
use plimsoll_wire::Identity;
use plimsoll_wire::event::OomKill;
use proptest::prelude::*;

use super::*;

const NOW: u64 = 1_700_000_000_000_000_000;

fn oom(victim_pid: u32) -> AuditEvent {
    AuditEvent::OomKill(OomKill {
        identity: Identity::unknown(7),
        identity_is_trigger: false,
        victim_pid,
        victim_comm: None,
        anon_rss_bytes: None,
        file_rss_bytes: None,
        shmem_rss_bytes: None,
        memory_peak_bytes: None,
        memory_limit_bytes: None,
    })
}

/// A payload that fills the spool faster than a real window does.
fn big_usage(spool: &mut Spool<CrashStorage>) {
    spool.append(Class::Usage, &[7; 8192], NOW);
}

fn open(usage: &CrashStorage, security: &CrashStorage, max_bytes: u64) -> Spool<CrashStorage> {
    Spool::open(
        usage.clone(),
        security.clone(),
        max_bytes,
        "0123456789abcdef",
    )
    .unwrap()
    .0
}

fn fresh(max_bytes: u64) -> Spool<CrashStorage> {
    open(
        &CrashStorage::default(),
        &CrashStorage::default(),
        max_bytes,
    )
}

#[track_caller]
fn assert_lawful(spool: &Spool<CrashStorage>) {
    for stage in spool.fates() {
        assert_eq!(stage.fates.unaccounted(), 0, "{stage:?}");
    }
}

fn of(spool: &Spool<CrashStorage>, class: Class) -> Fates {
    spool
        .fates()
        .into_iter()
        .find(|stage| stage.class == class.as_str())
        .unwrap()
        .fates
}

fn events(spool: &mut Spool<CrashStorage>) -> Vec<AuditEvent> {
    let batch = spool.next_batch(Class::Security, 10_000, 1 << 30).unwrap();
    let decode = |payload: &[u8]| {
        let record = opentelemetry_proto::tonic::logs::v1::LogRecord::decode(payload).unwrap();
        otlp::logs::decode(&record).unwrap().1
    };
    batch
        .records
        .iter()
        .map(|(_, payload)| decode(payload))
        .collect()
}

#[test]
fn a_life_that_delivered_nothing_leaves_its_positions() {
    let (usage, security) = (CrashStorage::default(), CrashStorage::default());
    let mut spool = open(&usage, &security, 1 << 20);
    spool.event(&oom(1), NOW, NOW);
    spool.commit(NOW).unwrap();
    drop(spool);
    let (spool, recoveries) =
        Spool::open(usage.copy(), security.copy(), 1 << 20, "another").unwrap();
    assert_eq!(of(&spool, Class::Security).in_flight, 1);
    assert!(recoveries.iter().all(|recovery| !recovery.positions_lost));
    assert_eq!(spool.epoch(Class::Usage), "0123456789abcdef");
}

#[test]
fn what_is_committed_goes_out_in_order_until_it_is_acknowledged() {
    let mut spool = fresh(1 << 20);
    for pid in 1..=3 {
        spool.event(&oom(pid), NOW, NOW);
    }
    assert_eq!(
        spool
            .next_batch(Class::Security, 10, 1 << 20)
            .unwrap()
            .records
            .len(),
        0,
        "not durable yet"
    );
    spool.commit(NOW).unwrap();
    assert_eq!(events(&mut spool), [oom(1), oom(2), oom(3)]);
    spool.acknowledge(Class::Security, 2, 0).unwrap();
    assert_eq!(events(&mut spool), [oom(3)]);
    let fates = of(&spool, Class::Security);
    assert_eq!((fates.emitted, fates.delivered, fates.in_flight), (3, 2, 1));
}

/// Whatever refuses in the midst of shedding: what is no longer there is shed, and told.
#[test]
fn shedding_keeps_the_law_on_a_disk_that_refuses() {
    type Fault = fn(&CrashStorage, u32);
    let faults: [(&str, Fault); 4] = [
        ("sync of the folder", CrashStorage::fail_dir_syncs),
        ("removal", CrashStorage::fail_removes),
        ("sync", CrashStorage::fail_syncs),
        ("write", CrashStorage::fail_writes),
    ];
    for (name, fault) in faults {
        let (usage, security) = (CrashStorage::default(), CrashStorage::default());
        let mut spool = open(&usage, &security, 1 << 20);
        for round in 0..400 {
            big_usage(&mut spool);
            fault(&usage, u32::from(round % 3 == 0) * 2);
            drop(spool.commit(NOW));
            assert_lawful(&spool);
        }
        fault(&usage, 0);
        // What one commit sheds, the next one tells.
        spool.commit(NOW).unwrap();
        spool.commit(NOW).unwrap();
        assert_lawful(&spool);
        let shed = of(&spool, Class::Usage).shed;
        assert!(shed > 0, "{name}");
        let told = events(&mut spool).into_iter().map(|event| match event {
            AuditEvent::Loss(loss) => loss.count,
            other => panic!("{other:?}"),
        });
        assert_eq!(told.sum::<u64>(), shed, "{name}");
    }
}

/// What was acknowledged stays in its file for a while, and is no longer waited for.
#[test]
fn the_age_is_that_of_the_oldest_record_that_waits() {
    let (usage, security) = (CrashStorage::default(), CrashStorage::default());
    let mut spool = open(&usage, &security, 1 << 20);
    let oldest = |spool: &Spool<CrashStorage>| spool.levels()[1].oldest_unix_ns;
    assert_eq!(oldest(&spool), None);
    for seq in 1..=300 {
        spool.event(&oom(1), NOW, NOW + seq);
        assert_eq!(oldest(&spool), Some(NOW + 1), "not durable yet");
    }
    spool.commit(NOW).unwrap();
    for seq in [0, 1, 2, 150, 298, 299] {
        spool.acknowledge(Class::Security, seq, 0).unwrap();
        assert_eq!(oldest(&spool), Some(NOW + seq + 1), "{seq}");
    }
    let again = open(&usage.copy(), &security.copy(), 1 << 20);
    assert_eq!(oldest(&again), Some(NOW + 300), "another life");
    spool.acknowledge(Class::Security, 300, 0).unwrap();
    assert_eq!(oldest(&spool), None);
    spool.event(&oom(1), NOW, NOW + 999);
    assert_eq!(oldest(&spool), Some(NOW + 999));
    // A disk that does not say it: something older stands in.
    security.fail_reads("segment-000000000001.plj");
    spool.commit(NOW).unwrap();
    let bound = oldest(&spool).unwrap();
    assert!(bound <= NOW + 999 && bound > NOW);
}

#[test]
fn usage_is_shed_before_security_and_a_record_says_so() {
    let mut spool = fresh(1 << 20);
    for pid in 1..=50 {
        spool.event(&oom(pid), NOW, NOW);
    }
    for _ in 0..400 {
        big_usage(&mut spool);
        spool.commit(NOW).unwrap();
    }
    assert!(spool.levels().iter().map(|level| level.bytes).sum::<u64>() <= (1 << 20) + 8192 + 100);
    let usage = of(&spool, Class::Usage);
    assert!(usage.shed > 100, "{usage:?}");
    assert_eq!(of(&spool, Class::Security).shed, 0);
    spool.commit(NOW).unwrap();
    let told: u64 = events(&mut spool)
        .iter()
        .filter_map(|event| match event {
            AuditEvent::Loss(loss) if loss.lost_class == Class::Usage && loss.fate == "shed" => {
                Some(loss.count)
            }
            _ => None,
        })
        .sum();
    assert_eq!(told, usage.shed, "every shed record is told exactly once");
    assert_lawful(&spool);
}

#[test]
fn a_full_disk_costs_usage_first_and_nothing_uncounted() {
    let (usage, security) = (CrashStorage::default(), CrashStorage::default());
    let mut spool = open(&usage, &security, 1 << 30);
    big_usage(&mut spool);
    spool.commit(NOW).unwrap();
    // Room for a position slot, not for a record.
    security.set_room(Some(security.used()));
    usage.set_room(Some(usage.used() + 500));
    spool.event(&oom(1), NOW, NOW);
    let error = spool.commit(NOW).unwrap_err();
    assert!(error.is_disk_full() && spool.is_failing(), "{error}");
    assert!(of(&spool, Class::Usage).shed > 0, "usage made room");
    assert_eq!(of(&spool, Class::Security).shed, 0);
    security.set_room(None);
    usage.set_room(None);
    spool.commit(NOW).unwrap();
    assert!(!spool.is_failing());
    assert!(
        events(&mut spool).contains(&oom(1)),
        "held in memory meanwhile"
    );
    assert_lawful(&spool);
}

#[test]
fn a_refused_record_is_counted_and_told() {
    let mut spool = fresh(1 << 20);
    spool.event(&oom(1), NOW, NOW);
    spool.event(&oom(2), NOW, NOW);
    spool.commit(NOW).unwrap();
    spool.acknowledge(Class::Security, 2, 1).unwrap();
    spool.commit(NOW).unwrap();
    let fates = of(&spool, Class::Security);
    assert_eq!((fates.delivered, fates.rejected), (1, 1));
    assert!(
        matches!(events(&mut spool).as_slice(), [AuditEvent::Loss(loss)] if loss.fate == "rejected" && loss.count == 1)
    );
    assert_lawful(&spool);
}

#[test]
fn what_the_disk_cannot_read_is_skipped_counted_and_told() {
    let storage = CrashStorage::default();
    let mut spool = open(&CrashStorage::default(), &storage, 1 << 20);
    for pid in 1..=2000 {
        spool.event(&oom(pid), NOW, NOW);
        if pid % 100 == 0 {
            spool.commit(NOW).unwrap();
        }
    }
    let mut names = plimsoll_journal::Files::list(&storage).unwrap();
    names.retain(|name| name.starts_with("segment"));
    names.sort_unstable();
    assert!(names.len() > 2, "{names:?}");
    storage.fail_reads(&names[0]);
    assert!(spool.next_batch(Class::Security, 10, 1 << 20).is_err());
    let skipped = spool.skip_unreadable(Class::Security);
    assert!(skipped >= 100, "{skipped}");
    spool.commit(NOW).unwrap();
    let left = events(&mut spool);
    assert_eq!(left.len() as u64, 2000 - skipped + 1);
    assert!(matches!(left.last(), Some(AuditEvent::Loss(loss))
            if (loss.fate.as_str(), loss.count, loss.first_seq) == ("undecodable", skipped, Some(1))));
    assert_eq!(of(&spool, Class::Security).undecodable, skipped);
    assert_eq!(spool.levels()[1].read_errors, 1);
    assert_lawful(&spool);
}

/// The losses that are on record: fate, class and count.
fn losses(spool: &mut Spool<CrashStorage>) -> Vec<(String, Class, u64)> {
    events(spool)
        .into_iter()
        .filter_map(|event| match event {
            AuditEvent::Loss(loss) => Some((loss.fate, loss.lost_class, loss.count)),
            _ => None,
        })
        .collect()
}

#[test]
fn what_was_shed_and_told_is_not_told_again_by_the_next_life() {
    let (usage, security) = (CrashStorage::default(), CrashStorage::default());
    let mut spool = open(&usage, &security, 1 << 20);
    for _ in 0..200 {
        big_usage(&mut spool);
        spool.commit(NOW).unwrap();
    }
    spool.commit(NOW).unwrap();
    let told = losses(&mut spool);
    assert!(!told.is_empty());
    let mut spool = open(&usage.crash(|_| 0), &security.crash(|_| 0), 1 << 20);
    spool.commit(NOW).unwrap();
    assert_eq!(losses(&mut spool), told);
}

/// The cursor is on disk, the record of what it passed is not: a kill in between loses no word.
#[test]
fn what_was_shed_and_not_told_is_told_by_the_next_life() {
    let (usage, security) = (CrashStorage::default(), CrashStorage::default());
    let mut spool = open(&usage, &security, 1 << 20);
    for _ in 0..100 {
        big_usage(&mut spool);
        spool.commit(NOW).unwrap();
    }
    let before = spool.shed_total();
    assert!(spool.shed(Class::Usage).unwrap());
    spool.usage.journal.sync_positions().unwrap();
    let shed = spool.shed_total() - before;
    for _ in 0..3 {
        let mut spool = open(&usage.crash(|_| 0), &security.crash(|_| 0), 1 << 20);
        spool.commit(NOW).unwrap();
        assert_eq!(
            losses(&mut spool),
            [("lost".to_owned(), Class::Usage, shed)]
        );
    }
}

#[test]
fn damage_is_told_by_one_of_the_lives_that_meet_it() {
    let storage = CrashStorage::default();
    let mut spool = open(&CrashStorage::default(), &storage, 1 << 20);
    for pid in 1..=50 {
        spool.event(&oom(pid), NOW, NOW);
    }
    spool.commit(NOW).unwrap();
    assert!(storage.flip_bit(|below| below / 2));
    for lives in 1..=3 {
        let mut spool = open(&CrashStorage::default(), &storage, 1 << 20);
        spool.commit(NOW).unwrap();
        let told = losses(&mut spool);
        spool.commit(NOW).unwrap();
        assert_eq!(told.len(), 1, "life {lives}: {told:?}");
    }
}

#[test]
fn a_loss_of_another_stage_waits_for_room_instead_of_being_shed() {
    let security = CrashStorage::default();
    let mut spool = open(&CrashStorage::default(), &security, 1 << 30);
    security.set_room(Some(security.used()));
    let mut pid = 0;
    while of(&spool, Class::Security).shed == 0 {
        pid += 1;
        assert!(pid < 1_000_000);
        spool.event(&oom(pid), NOW, NOW);
    }
    let loss = AuditEvent::Loss(Loss {
        stage: "security_ring".to_owned(),
        lost_class: Class::Security,
        fate: "lost".to_owned(),
        count: 5000,
        first_seq: None,
        last_seq: None,
    });
    spool.event(&loss, NOW, NOW);
    assert!(spool.commit(NOW).is_err());
    security.set_room(None);
    spool.commit(NOW).unwrap();
    spool.commit(NOW).unwrap();
    let batch = spool
        .next_batch(Class::Security, 1_000_000, 1 << 30)
        .unwrap();
    let last = batch.last_seq().unwrap();
    spool
        .acknowledge(Class::Security, last.saturating_sub(10), 0)
        .unwrap();
    assert!(events(&mut spool).contains(&loss));
    assert_lawful(&spool);
}

#[derive(Clone, Debug)]
enum Action {
    Usage(u8),
    Security(u8),
    Commit,
    Deliver {
        security: bool,
        max: u8,
        rejected: u8,
    },
    FailSync,
    Room(Option<u32>),
    Reopen,
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        4 => (1..20_u8).prop_map(Action::Usage),
        4 => (1..20_u8).prop_map(Action::Security),
        4 => Just(Action::Commit),
        3 => (any::<bool>(), 1..30_u8, 0..3_u8)
            .prop_map(|(security, max, rejected)| Action::Deliver { security, max, rejected }),
        1 => Just(Action::FailSync),
        1 => proptest::option::of(0..300_000_u32).prop_map(Action::Room),
        1 => Just(Action::Reopen),
    ];
    proptest::collection::vec(action, 1..80)
}

proptest! {
    /// The law holds after each action, whatever the disk does.
    #[test]
    fn nothing_is_unaccounted(actions in actions()) {
        let (usage, security) = (CrashStorage::default(), CrashStorage::default());
        let mut spool = open(&usage, &security, 1 << 20);
        for action in actions {
            match action {
                Action::Usage(times) => (0..times).for_each(|_| big_usage(&mut spool)),
                Action::Security(times) => (0..times).for_each(|pid| spool.event(&oom(pid.into()), NOW, NOW)),
                Action::Commit => drop(spool.commit(NOW)),
                Action::Deliver { security, max, rejected } => {
                    let class = if security { Class::Security } else { Class::Usage };
                    if let Ok(batch) = spool.next_batch(class, max.into(), 1 << 20)
                        && let Some(last) = batch.last_seq()
                    {
                        drop(spool.acknowledge(class, last, rejected.into()));
                    }
                }
                Action::FailSync => usage.fail_syncs(1),
                Action::Room(room) => {
                    security.set_room(room.map(u64::from));
                    usage.set_room(room.map(u64::from));
                }
                Action::Reopen => {
                    security.set_room(None);
                    usage.set_room(None);
                    spool = open(&usage, &security, 1 << 20);
                }
            }
            for stage in spool.fates() {
                prop_assert_eq!(stage.fates.unaccounted(), 0, "{:?}", stage);
            }
        }
    }
}
