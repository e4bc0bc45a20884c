//! What of the trail goes to a sink, and in what form.

use plimsoll_wire::event::{Heartbeat, Loss};
use plimsoll_wire::{AuditEvent, Class, RecordId};
use serde_json::{Map, Value, json};

use super::*;
use crate::api::AuditRecord;
use crate::config::sinks::{EventClass, File, Severity};
use crate::ocsf::event;
use crate::trail::chain;

fn record(seq: u64, event: AuditEvent, namespace: Option<&str>) -> AuditRecord {
    let mut names = Map::new();
    names.extend(namespace.map(|name| ("namespace".to_owned(), name.into())));
    AuditRecord {
        time_unix_ns: 1_764_561_234_000_000_000 + seq,
        id: RecordId {
            node: "n".to_owned(),
            epoch: "e".to_owned(),
            class: Class::Security,
            seq,
        },
        event,
        names,
    }
}

fn loss() -> AuditEvent {
    AuditEvent::Loss(Loss {
        stage: "spool".to_owned(),
        lost_class: Class::Security,
        fate: "shed".to_owned(),
        count: 3,
        first_seq: None,
        last_seq: None,
    })
}

fn alive() -> AuditEvent {
    let heartbeat = json!({"version": "0", "boot_id": "b", "kernel": "6", "uptime_s": 1});
    let known = serde_json::from_value::<Heartbeat>(heartbeat);
    known.map_or_else(|_| loss(), AuditEvent::Heartbeat)
}

fn item(seq: u64, epoch: &str, record: &AuditRecord) -> Item {
    let event = serde_json::to_value(event::of(record, "0")).unwrap();
    let event = event.as_object().unwrap().clone();
    Item {
        seq,
        entry: Entry {
            body: chain::seal(event, epoch, seq, &chain::NOTHING).0,
            document: serde_json::to_string(&record.to_document()).unwrap(),
            time_unix_ns: record.time_unix_ns,
            ..Entry::default()
        },
    }
}

fn checkpoint(seq: u64, epoch: &str) -> Item {
    let uid = format!("trail/{epoch}/{seq}");
    let event = json!({"metadata": {"log_name": "checkpoint", "uid": uid}});
    Item {
        seq,
        entry: Entry {
            body: chain::seal(
                event.as_object().unwrap().clone(),
                epoch,
                seq,
                &chain::NOTHING,
            )
            .0,
            ..Entry::default()
        },
    }
}

fn seqs(front: &Front) -> Vec<u64> {
    front.messages.iter().map(|message| message.seq).collect()
}

#[test]
fn what_is_not_for_a_sink_is_filtered_and_checkpoints_never_are() {
    let items = || {
        vec![
            checkpoint(1, "a"),
            item(2, "a", &record(2, loss(), Some("shop"))),
            item(3, "a", &record(3, alive(), None)),
            item(4, "a", &record(4, loss(), None)),
        ]
    };
    let all = front(items(), &Route::default(), Format::Ocsf18, 9);
    assert_eq!(
        (seqs(&all), all.filtered.as_slice(), all.last_seq),
        (vec![1, 2, 3, 4], [].as_slice(), 9)
    );
    let route = Route {
        namespaces: vec!["shop".to_owned()],
        ..Route::default()
    };
    let shop = front(items(), &route, Format::Ocsf18, 9);
    assert_eq!((seqs(&shop), shop.filtered), (vec![1, 2], vec![3, 4]));
    let route = Route {
        classes: vec![EventClass::Loss],
        min_severity: Some(Severity::High),
        ..Route::default()
    };
    let grave = front(items(), &route, Format::Ocsf18, 9);
    assert!(seqs(&grave).starts_with(&[1, 2]));
}

#[test]
fn a_call_is_of_one_epoch() {
    let of = |seq, epoch| item(seq, epoch, &record(seq, loss(), None));
    let items = vec![of(3, "a"), of(4, "a"), of(7, "b"), of(8, "b")];
    let first = front(items, &Route::default(), Format::Ocsf18, 8);
    assert_eq!(
        (first.epoch.as_str(), seqs(&first), first.last_seq),
        ("a", vec![3, 4], 6)
    );
    // Those that are not for the sink part no epochs.
    let route = Route {
        classes: vec![EventClass::Imds],
        ..Route::default()
    };
    let none = front(vec![of(3, "a"), of(7, "b")], &route, Format::Ocsf18, 8);
    assert_eq!(
        (seqs(&none).len(), none.filtered, none.last_seq),
        (0, vec![3, 7], 8)
    );
}

#[test]
fn each_form_is_that_of_the_export() {
    let audit = record(5, loss(), Some("shop"));
    let (item, own) = (item(5, "a", &audit), checkpoint(6, "a"));
    let said = |item: &Item, format| Event::of(&item.entry).text(format);
    let text = |item: &Item, format| match said(item, format) {
        Text::Of(text) => text,
        other => panic!("{other:?}"),
    };
    assert_eq!(text(&item, Format::Ocsf18), item.entry.body);
    let older: Value = serde_json::from_str(&text(&item, Format::Ocsf13)).unwrap();
    assert_eq!(older["metadata"]["version"], "1.3.0");
    assert_eq!(older["unmapped"]["chain"]["seq"], 5);
    let ecs: Value = serde_json::from_str(&text(&item, Format::Ecs)).unwrap();
    assert_eq!(ecs["event"]["id"], audit.id.to_string());
    assert!(text(&item, Format::Cef).starts_with("CEF:0|Plimsoll|"));
    assert_eq!(
        (said(&own, Format::Ecs), said(&own, Format::Cef)),
        (Text::NoneByRule, Text::NoneByRule)
    );
    assert_eq!(text(&own, Format::Ocsf18), own.entry.body);
    // Of a version that writes documents otherwise.
    let mut other = item.entry.clone();
    other.document = "{}".to_owned();
    assert_eq!(Event::of(&other).text(Format::Ecs), Text::Unsayable);
    assert_eq!(Event::of(&item.entry).uid(), audit.id.to_string());
    assert_eq!(Event::of(&own.entry).uid(), "trail/a/6");
}

/// A file is written once, whatever happens between the line and the cursor; and goes on where it was cut.
#[tokio::test]
async fn lines_of_a_file_are_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink {
        name: "lines".to_owned(),
        kind: SinkKind::File(File {
            path: folder.path().join("lines"),
            ..File::default()
        }),
        format: Format::Ocsf18,
        route: Route::default(),
    };
    let open = || {
        let runtime = tokio::runtime::Handle::current();
        Outlet::new(
            sink.clone(),
            folder.path(),
            runtime,
            CancellationToken::new(),
        )
    };
    let items = |seqs: std::ops::RangeInclusive<u64>| {
        seqs.map(|seq| item(seq, "a", &record(seq, loss(), None)))
            .collect::<Vec<_>>()
    };
    let mut outlet = open();
    assert_eq!(outlet.take(items(1..=3), "", 3).unwrap(), Taken::all(3));
    // Killed before the cursor moved: they come again, in parts, and with more.
    drop(outlet);
    let mut outlet = open();
    assert_eq!(outlet.take(items(1..=2), "", 2).unwrap(), Taken::all(2));
    drop(outlet);
    let mut outlet = open();
    assert_eq!(outlet.take(items(1..=5), "", 5).unwrap(), Taken::all(5));
    assert_eq!(outlet.take(items(6..=6), "", 6).unwrap(), Taken::all(6));
    let text = std::fs::read_to_string(folder.path().join("lines/audit.jsonl")).unwrap();
    let there: Vec<u64> = text
        .lines()
        .map(|line| chain::link(line.as_bytes()).unwrap().seq)
        .collect();
    assert_eq!(there, [1, 2, 3, 4, 5, 6]);
}

/// A lane of a sink keeps what can never be taken where the sink does, as much of it, and not at the same time.
#[tokio::test]
async fn a_lane_shares_the_file_of_what_is_kept_apart() {
    let folder = tempfile::tempdir().unwrap();
    let sink = Sink {
        name: "index".to_owned(),
        kind: SinkKind::Elasticsearch(crate::config::sinks::elasticsearch::Elasticsearch::default()),
        format: Format::Ecs,
        route: Route::default(),
    };
    let runtime = tokio::runtime::Handle::current();
    let outlet = Outlet::new(sink, folder.path(), runtime, CancellationToken::new()).keeping(300);
    let lane = outlet.beside().unwrap();
    assert_eq!(lane.apart.path(), outlet.apart.path());
    let message = crate::sinks::Message {
        seq: 7,
        time_unix_ns: 0,
        uid: "u".to_owned(),
        text: "x".repeat(100),
    };
    let reason = crate::sinks::QuarantineReason::Empty;
    let lines = [(&message, &reason)];
    let turn = outlet.apart.turn.lock().unwrap();
    assert!(lane.apart.turn.try_lock().is_err());
    drop(turn);
    outlet.apart.keep(&lines).unwrap();
    let full = lane.apart.keep(&lines).unwrap_err().to_string();
    assert!(full.contains("data.max_quarantine_bytes"), "{full}");
}
