//! The sink against a collector in memory that keeps Splunk's rules to the letter.

mod service;

use proptest::prelude::*;

use self::service::{Fault, Names, Service};
use super::*;
use crate::sinks::Quarantined;

fn settings(acknowledgement: bool) -> Settings {
    Settings {
        endpoint: "https://splunk:8088".into(),
        acknowledgement,
        max_content_bytes: 65_536,
        ..Settings::default()
    }
}

fn sink(service: Service) -> Hec<Service> {
    Hec::with_calls(&settings(service.has_acks), service)
}

/// Messages, one for each text, numbered from 1.
fn messages(texts: &[&str]) -> Vec<Message> {
    let numbered = (1..).zip(texts);
    let message = |(seq, text): (u64, &&str)| Message {
        seq,
        time_unix_ns: seq * 1_000_000,
        uid: format!("u{seq}"),
        text: serde_json::json!({"n": seq, "text": text}).to_string(),
    };
    numbered.map(message).collect()
}

fn send(sink: &mut Hec<Service>, messages: &[Message]) -> Result<Sent, Refused> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(sink.send(messages, 0))
}

/// Sends until all messages have their fate, refusals waited out.
fn send_all(sink: &mut Hec<Service>, messages: &[Message]) -> Sent {
    let mut rest = messages;
    let mut all = Sent::default();
    let mut idle = 0;
    while !rest.is_empty() {
        let sent = send(sink, rest).unwrap_or_default();
        idle = if sent.taken == 0 { idle + 1 } else { 0 };
        assert!(idle < 100, "no end of calls that take nothing");
        let told = usize::try_from(sent.delivered).unwrap() + sent.quarantined.len();
        assert_eq!(sent.taken, told, "each has one fate");
        rest = &rest[sent.taken..];
        all.taken += sent.taken;
        all.delivered += sent.delivered;
        all.maybe_twice += sent.maybe_twice;
        all.quarantined.extend(sent.quarantined);
    }
    all
}

fn seqs(quarantined: &[Quarantined]) -> Vec<u64> {
    quarantined.iter().map(|one| one.seq).collect()
}

fn texts(messages: &[Message]) -> Vec<String> {
    messages
        .iter()
        .map(|message| message.text.clone())
        .collect()
}

#[test]
fn one_call_delivers_what_fits() {
    let mut sink = sink(Service::default());
    let messages = messages(&["a", "b"]);
    let sent = send(&mut sink, &messages).unwrap();
    let expect = Sent {
        taken: 2,
        delivered: 2,
        ..Sent::default()
    };
    assert_eq!(sent, expect);
    assert_eq!(sink.calls.stored(), texts(&messages));
    assert_eq!(send(&mut sink, &[]).unwrap(), Sent::default());
    assert_eq!(sink.calls.calls(), [2]);
}

#[test]
fn what_can_never_be_sent_is_quarantined_without_a_call() {
    let mut sink = sink(Service::default());
    let long = "x".repeat(65_536);
    let mut messages = messages(&["", &long]);
    messages[0].text = String::new();
    let sent = send(&mut sink, &messages).unwrap();
    let labels: Vec<_> = sent
        .quarantined
        .iter()
        .map(|one| one.reason.label())
        .collect();
    assert_eq!((sent.taken, labels), (2, vec!["empty", "too_long"]));
    assert_eq!(sink.calls.calls(), [0; 0]);
}

#[test]
fn a_refusal_takes_nothing_and_says_what_to_do() {
    for (fault, kind, what) in [
        (
            Fault::Refused(403, 4),
            RefusalKind::Credentials,
            "the token is not known",
        ),
        (
            Fault::Refused(400, 7),
            RefusalKind::Missing,
            "make the index",
        ),
        (
            Fault::Refused(503, 9),
            RefusalKind::Throttled,
            "send events to Splunk at https://splunk:8088",
        ),
        (
            Fault::Refused(400, 10),
            RefusalKind::Other,
            "set acknowledgement: true",
        ),
        (Fault::Unreadable, RefusalKind::Unavailable, "not believed"),
    ] {
        let mut sink = sink(Service::default());
        sink.calls.will([fault]);
        let messages = messages(&["a"]);
        let refused = send(&mut sink, &messages).unwrap_err();
        assert_eq!(refused.kind, kind);
        assert!(refused.what.contains(what), "{refused}");
        assert!(refused.source.is_some());
        assert_eq!(send(&mut sink, &messages).unwrap().delivered, 1);
    }
}

#[test]
fn what_may_be_there_already_is_counted_when_it_is_sent_again() {
    for (fault, twice) in [
        (Fault::LostAnswer, 2),
        (Fault::Unreadable, 2),
        (Fault::Refused(500, 8), 2),
        (Fault::Refused(429, 26), 0),
        (Fault::Refused(403, 1), 0),
    ] {
        let mut sink = sink(Service::default());
        sink.calls.will([fault]);
        let sent = send_all(&mut sink, &messages(&["a", "b"]));
        assert_eq!((sent.delivered, sent.maybe_twice), (2, twice), "{fault:?}");
    }
}

#[test]
fn an_event_that_is_named_is_tried_alone_and_the_rest_is_delivered() {
    let mut sink = sink(Service::default());
    let messages = messages(&["a", "b", "poison", "d", "e"]);
    let sent = send_all(&mut sink, &messages);
    assert_eq!((sent.delivered, seqs(&sent.quarantined)), (4, vec![3]));
    assert_eq!(sink.calls.calls(), [5, 1, 4]);
    // Those before it were in, and are so twice.
    assert_eq!(sent.maybe_twice, 2);
    let why = sent.quarantined[0].reason.to_string();
    assert_eq!(why, "HTTP status 400: no (code 6)");
}

#[test]
fn an_event_is_found_if_its_name_is_wrong_or_there_is_none() {
    for names in [Names::From1, Names::Falsely, Names::Not] {
        let mut sink = sink(Service {
            names,
            ..Service::default()
        });
        let texts: Vec<_> = (0..100)
            .map(|n| if n == 61 { "poison" } else { "a" })
            .collect();
        let sent = send_all(&mut sink, &messages(&texts));
        assert_eq!(
            (sent.delivered, seqs(&sent.quarantined)),
            (99, vec![62]),
            "{names:?}"
        );
        assert!(
            sink.calls.calls().len() < 20,
            "{names:?}: {:?}",
            sink.calls.calls()
        );
    }
}

#[test]
fn nine_invalid_events_in_a_row_are_no_events_fault() {
    for names in [Names::From0, Names::Not] {
        let mut sink = sink(Service {
            names,
            ..Service::default()
        });
        let messages = messages(&["poison"; 20]);
        let mut rest = &messages[..];
        let refused = loop {
            match send(&mut sink, rest) {
                Ok(sent) => rest = &rest[sent.taken..],
                Err(refused) => break refused,
            }
        };
        assert_eq!(rest.len(), 12, "eight are quarantined");
        assert_eq!(refused.kind, RefusalKind::Other);
        assert!(
            refused.what.contains("any of the last 8 events"),
            "{refused}"
        );
    }
}

/// Each is found though no call with the rest was ever taken.
#[test]
fn many_invalid_events_among_good_ones_are_all_found() {
    let texts: Vec<_> = (0..300)
        .map(|n| if n % 10 == 9 { "poison" } else { "a" })
        .collect();
    let mut sink = sink(Service::default());
    let messages = messages(&texts);
    let mut rest = &messages[..];
    let mut quarantined = 0;
    while !rest.is_empty() {
        let sent = send(&mut sink, rest).unwrap();
        rest = &rest[sent.taken..];
        quarantined += sent.quarantined.len();
    }
    assert_eq!(quarantined, 30);
}

#[test]
fn a_call_that_is_too_large_is_halved_and_the_size_is_kept() {
    let mut sink = sink(Service {
        most_bytes: 1000,
        ..Service::default()
    });
    let texts = vec!["a"; 100];
    let sent = send_all(&mut sink, &messages(&texts));
    assert_eq!((sent.delivered, sent.maybe_twice), (100, 0));
    assert!(sink.calls.calls().len() <= 12, "{:?}", sink.calls.calls());
    let long = "x".repeat(1000);
    let sent = send_all(&mut sink, &messages(&["a", &long, "b"]));
    assert_eq!((sent.delivered, seqs(&sent.quarantined)), (2, vec![2]));
}

#[test]
fn an_event_counts_once_it_is_acknowledged() {
    let mut sink = sink(Service::acknowledging(4));
    let sent = send(&mut sink, &messages(&["a", "b"])).unwrap();
    assert_eq!((sent.taken, sent.delivered, sent.maybe_twice), (2, 2, 0));
    assert_eq!(*sink.calls.waits.lock().unwrap(), [100, 200, 400]);
    assert_eq!(sink.calls.channels().len(), 1);
    assert_eq!(sink.calls.calls(), [2]);
}

/// So many calls wait, not more, and what was acknowledged behind one that waits is told in order.
#[test]
fn several_calls_wait_at_a_time() {
    let mut sink = sink(Service::acknowledging(12));
    let text = "x".repeat(40_000);
    let texts = vec![text.as_str(); 12];
    let messages = messages(&texts);
    sink.calls.will([Fault::NeverIndexed]);
    let refused = send(&mut sink, &messages).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Unavailable);
    assert!(
        refused
            .what
            .contains("1 events are not acknowledged within 60 s"),
        "{refused}"
    );
    // One that waits for ever leaves room for the others.
    assert_eq!(sink.calls.calls().len(), 12);
    let sent = send(&mut sink, &messages).unwrap();
    assert_eq!((sent.taken, sent.delivered, sent.maybe_twice), (12, 12, 1));
    assert_eq!(sink.calls.calls().len(), 13);
}

#[test]
fn at_the_most_eight_calls_wait() {
    let mut sink = sink(Service::acknowledging(u32::MAX));
    let text = "x".repeat(40_000);
    let texts = vec![text.as_str(); 12];
    send(&mut sink, &messages(&texts)).unwrap_err();
    assert_eq!(sink.calls.calls(), [1; 8]);
}

#[test]
fn what_is_lost_behind_the_answer_is_sent_again() {
    for fault in [Fault::Lost, Fault::NeverIndexed] {
        let mut sink = sink(Service::acknowledging(2));
        sink.calls.will([fault]);
        let messages = messages(&["a"]);
        let refused = send(&mut sink, &messages).unwrap_err();
        assert!(refused.what.contains("sent again"), "{refused}");
        let sent = send(&mut sink, &messages).unwrap();
        assert_eq!((sent.delivered, sent.maybe_twice), (1, 1));
        assert!(sink.calls.stored().contains(&messages[0].text));
    }
}

/// A number that was given before could be another call's: nothing is believed of it.
#[test]
fn a_collector_that_begins_anew_acknowledges_nothing_that_it_does_not_have() {
    let mut sink = sink(Service::acknowledging(3));
    let text = "x".repeat(40_000);
    let messages = messages(&[&text, &text, &text]);
    sink.calls.will([Fault::Lost, Fault::Restart]);
    let refused = send(&mut sink, &messages).unwrap_err();
    assert!(refused.what.contains("count anew"), "{refused}");
    let sent = send_all(&mut sink, &messages);
    assert_eq!((sent.delivered, sent.maybe_twice), (3, 2));
    assert_eq!(sink.calls.channels().len(), 2);
    assert!(
        texts(&messages)
            .iter()
            .all(|text| sink.calls.stored().contains(text))
    );
}

#[test]
fn a_question_that_fails_is_asked_again() {
    let mut sink = sink(Service::acknowledging(1));
    let messages = messages(&["a"]);
    sink.calls
        .failing
        .lock()
        .unwrap()
        .extend([(503, 9), (403, 4)]);
    for kind in [RefusalKind::Throttled, RefusalKind::Credentials] {
        let refused = send(&mut sink, &messages).unwrap_err();
        assert_eq!(refused.kind, kind);
        assert!(refused.what.starts_with("ask after events"), "{refused}");
    }
    let sent = send(&mut sink, &messages).unwrap();
    assert_eq!((sent.delivered, sent.maybe_twice), (1, 0));
    assert_eq!(sink.calls.calls(), [1], "it was sent once");
}

#[test]
fn a_channel_that_is_invalid_is_left() {
    let mut sink = sink(Service::acknowledging(1));
    let before = sink.channel.clone();
    sink.calls.will([Fault::Refused(400, 11)]);
    let messages = messages(&["a"]);
    let refused = send(&mut sink, &messages).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Unavailable);
    assert_ne!(sink.channel, before);
    assert_eq!(send(&mut sink, &messages).unwrap().maybe_twice, 0);
}

/// Each try comes twice, so it has one event until somebody mends it.
#[test]
fn a_token_without_acknowledgement_is_told() {
    let mut sink = Hec::with_calls(&settings(true), Service::default());
    let messages = messages(&["a", "b", "c"]);
    for _ in 0..3 {
        let refused = send(&mut sink, &messages).unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Other);
        assert!(
            refused.what.contains("set acknowledgement: false"),
            "{refused}"
        );
    }
    assert_eq!(sink.calls.calls(), [3, 1, 1]);
    sink.calls.has_acks = true;
    let sent = send_all(&mut sink, &messages);
    assert_eq!((sent.delivered, sent.maybe_twice), (3, 3));
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::None),
        1 => Just(Fault::Refused(503, 9)),
        1 => Just(Fault::Refused(429, 26)),
        1 => Just(Fault::LostAnswer),
        1 => Just(Fault::Unreadable),
        1 => Just(Fault::NeverIndexed),
        1 => Just(Fault::Restart),
    ]
}

proptest! {
    /// Whatever goes wrong: all good events are there, the bad ones are quarantined, and none is there twice that
    /// is not said to be.
    #[test]
    fn nothing_is_lost(
        kinds in prop::collection::vec(prop_oneof![12 => Just("a"), 2 => Just("long"), 1 => Just("poison")], 1..60),
        faults in prop::collection::vec(fault(), 0..12),
        lost in any::<bool>(),
        has_acks in any::<bool>(),
        looks in 1..4_u32,
        names in prop_oneof![Just(Names::From0), Just(Names::From1), Just(Names::Falsely), Just(Names::Not)],
        stores_before in any::<bool>(),
        most_bytes in prop_oneof![Just(usize::MAX), 30_000..60_000_usize],
    ) {
        let long = "x".repeat(20_000);
        let texts: Vec<_> = kinds.iter().map(|kind| if *kind == "long" { long.as_str() } else { kind }).collect();
        let messages = messages(&texts);
        let service = Service { has_acks, looks, names, stores_before, most_bytes, ..Service::default() };
        service.will(faults);
        if has_acks && lost {
            service.will([Fault::Lost]);
        }
        let mut sink = sink(service);
        let sent = send_all(&mut sink, &messages);
        let (bad, good): (Vec<_>, Vec<_>) = messages.iter().partition(|message| message.text.contains("poison"));
        let bad: Vec<_> = bad.iter().map(|message| message.seq).collect();
        prop_assert_eq!(seqs(&sent.quarantined), bad);
        prop_assert_eq!(sent.delivered, good.len() as u64);
        let there = sink.calls.stored();
        let mut twice = 0;
        for message in good {
            let times = there.iter().filter(|text| **text == message.text).count();
            prop_assert!(times >= 1, "{} is lost", message.seq);
            twice += u64::from(times > 1);
        }
        prop_assert!(twice <= sent.maybe_twice, "{twice} more than {}", sent.maybe_twice);
    }
}
