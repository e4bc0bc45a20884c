//! A disk that fails, while requests come and at the end.

use super::*;

type Fault = (&'static str, fn(&CrashStorage));

#[tokio::test]
async fn a_disk_that_refuses_is_a_reason_to_send_again() {
    let receiver = Receiver::start().await;
    assert_eq!(
        receiver.send(vec![record(1, |_| {})]).await.unwrap(),
        Partial::default()
    );
    let faults: [Fault; 3] = [
        ("no room", |disk| disk.set_room(Some(disk.used()))),
        ("a failing write", |disk| disk.fail_writes(1)),
        ("a failing sync", |disk| disk.fail_syncs(1)),
    ];
    for (at, (what, fault)) in faults.into_iter().enumerate() {
        let seq = at as u64 + 2;
        fault(&receiver.disk);
        let status = receiver.send(vec![record(seq, |_| {})]).await.unwrap_err();
        assert_eq!(
            status.code(),
            Code::Unavailable,
            "{what}: OTLP sends it again"
        );
        receiver.disk.set_room(None);
        let again = receiver.send(vec![record(seq, |_| {})]).await.unwrap();
        assert_eq!(again, Partial::default(), "{what}");
        let fates = receiver.store.counts.fates(Class::Security);
        assert_eq!((fates.delivered, fates.in_flight), (seq, 0), "{what}");
    }
    let held = receiver
        .store
        .held(Class::Security, crate::ingest::store::SINK);
    assert_eq!(held.entered, 4, "nothing came twice");
    receiver.assert_metric("ingest_refused_total{reason=\"journal\"} 3");
    receiver.end(4).await;
}

/// What was acknowledged is on disk, and what was seen is written in room that was taken before: a full
/// disk is no failure then. A record that was never acknowledged and cannot be written, or a checkpoint
/// that cannot, is one.
#[tokio::test]
async fn the_end_on_a_full_disk_fails_only_if_something_could_not_be_written() {
    let full: fn(&CrashStorage) = |disk| disk.set_room(Some(disk.used()));
    let faults: [(Fault, bool, bool); 3] = [
        (("no room", full), false, true),
        (("no room for a record", full), true, false),
        (
            ("no checkpoint", |disk| disk.fail_writes(100)),
            false,
            false,
        ),
    ];
    for ((what, fault), is_sent, ends_well) in faults {
        let receiver = Receiver::start().await;
        receiver.send(vec![record(1, |_| {})]).await.unwrap();
        receiver.store.maintain().unwrap();
        receiver.send(vec![record(2, |_| {})]).await.unwrap();
        fault(&receiver.disk);
        if is_sent {
            receiver.send(vec![record(3, |_| {})]).await.unwrap_err();
        }
        receiver.stop.cancel();
        drop(receiver.channel);
        let ended = receiver.serving.await.unwrap();
        assert_eq!(ended.is_ok(), ends_well, "{what}: {ended:?}");
        // Power goes too: what was acknowledged is there, and known.
        let disk = receiver.disk.crash(|_| 0);
        disk.set_room(None);
        let store = store_on(&disk);
        let held = store.held(Class::Security, crate::ingest::store::SINK);
        assert_eq!(held.waiting, 2, "{what}");
    }
}
