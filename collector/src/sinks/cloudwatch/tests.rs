//! The sink against a service in memory that keeps the rules of PutLogEvents to the letter.

mod service;

use proptest::prelude::*;

use self::service::{Fault, Service};
use super::*;

const NOW_MS: u64 = 1_790_000_000_000;
const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

fn settings(create_group: bool) -> Settings {
    Settings {
        group: "/plimsoll/prod".into(),
        stream: "eks".into(),
        create_group,
        ..Settings::default()
    }
}

fn sink(service: Service) -> CloudWatch<Service> {
    CloudWatch::with_calls(&settings(false), "0f", service)
}

fn at(seq: u64, time_ms: u64, text: &str) -> Message {
    Message {
        seq,
        time_unix_ns: time_ms * 1_000_000,
        uid: format!("u{seq}"),
        text: text.to_owned(),
    }
}

/// Messages of now, one for each text, numbered from 1.
fn messages(texts: &[&str]) -> Vec<Message> {
    let numbered = (1..).zip(texts);
    numbered.map(|(seq, text)| at(seq, NOW_MS, text)).collect()
}

fn send(sink: &mut CloudWatch<Service>, messages: &[Message]) -> Result<Sent, Refused> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(sink.send(messages, NOW_MS))
}

/// Sends until all messages have their fate, refusals waited out.
fn send_all(sink: &mut CloudWatch<Service>, messages: &[Message]) -> Sent {
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
        all.restamped += sent.restamped;
        all.maybe_twice += sent.maybe_twice;
        all.quarantined.extend(sent.quarantined);
    }
    all
}

fn seqs(quarantined: &[Quarantined]) -> Vec<u64> {
    quarantined.iter().map(|of| of.seq).collect()
}

#[test]
fn one_call_takes_all_that_fits() {
    let mut sink = sink(Service::default());
    assert_eq!(sink.stream(), "eks/0f");
    let sent = send(&mut sink, &messages(&["a", "b", "c"])).unwrap();
    assert_eq!((sent.taken, sent.delivered), (3, 3));
    assert_eq!(
        sent,
        Sent {
            taken: 3,
            delivered: 3,
            ..Sent::default()
        }
    );
    assert_eq!(sink.calls.texts(), ["a", "b", "c"]);
    assert_eq!(sink.calls.log(), ["put"]);
    assert_eq!(send(&mut sink, &[]).unwrap(), Sent::default());
    assert_eq!(sink.calls.log(), ["put"], "nothing is sent for nothing");
}

/// The service throws away the first and the last of a call that it answers with success.
#[test]
fn rejects_are_sent_again_under_the_present_time_and_the_others_are_not() {
    let service = Service {
        retention_ms: DAY_MS,
        ..Service::default()
    };
    let mut sink = sink(service);
    let old = NOW_MS - DAY_MS - HOUR_MS;
    let messages = [
        at(1, old, "old"),
        at(2, old + 2 * HOUR_MS, "good"),
        at(3, old + HOUR_MS - 1, "older than kept"),
        at(4, NOW_MS - 2 * HOUR_MS, "good too"),
    ];
    let sent = send(&mut sink, &messages).unwrap();
    assert_eq!(sent, Sent::default(), "the first has no fate yet");
    assert_eq!(sink.calls.texts(), ["good", "good too"]);
    let sent = send(&mut sink, &messages).unwrap();
    assert_eq!((sent.taken, sent.delivered, sent.restamped), (4, 4, 2));
    assert_eq!(
        sink.calls.texts(),
        ["good", "good too", "old", "older than kept"]
    );
    assert_eq!(sink.calls.times()[2..], [NOW_MS, NOW_MS]);
}

#[test]
fn an_event_of_fifteen_days_ago_or_of_tomorrow_is_taken_at_once() {
    let mut sink = sink(Service::default());
    let messages = [
        at(1, NOW_MS - 15 * DAY_MS, "long ago"),
        at(2, NOW_MS + DAY_MS, "tomorrow"),
        at(3, NOW_MS, "now"),
    ];
    let sent = send(&mut sink, &messages).unwrap();
    assert_eq!((sent.taken, sent.delivered, sent.restamped), (3, 3, 2));
    assert_eq!(sink.calls.times(), [NOW_MS; 3]);
}

/// Five hours ahead: all that is of now is refused as too new, until the answer's date has put it right.
#[test]
fn a_clock_that_is_off_is_known_by_the_dates_of_answers() {
    let service = Service {
        now_ms: NOW_MS - 5 * HOUR_MS,
        ..Service::default()
    };
    let mut sink = sink(service);
    let messages = messages(&["a", "b"]);
    assert_eq!(send(&mut sink, &messages).unwrap(), Sent::default());
    assert_eq!(sink.clock_offset_ms(), -5 * i64::try_from(HOUR_MS).unwrap());
    let sent = send(&mut sink, &messages).unwrap();
    assert_eq!((sent.delivered, sent.restamped), (2, 2));
    assert_eq!(sink.calls.times(), [NOW_MS - 5 * HOUR_MS; 2]);
}

/// Without dates nothing says what the time is: the events wait, and somebody is told.
#[test]
fn what_is_refused_under_the_present_time_waits() {
    let service = Service {
        now_ms: NOW_MS - 5 * HOUR_MS,
        has_no_date: true,
        ..Service::default()
    };
    let mut sink = sink(service);
    let messages = messages(&["a", "b"]);
    assert_eq!(send(&mut sink, &messages).unwrap(), Sent::default());
    let refused = send(&mut sink, &messages).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Other);
    assert!(refused.what.contains("set the clock right"), "{refused}");
    assert!(sink.calls.texts().is_empty());
    sink.calls.now_ms = NOW_MS;
    assert_eq!(send_all(&mut sink, &messages).delivered, 2);
}

#[test]
fn what_can_never_be_sent_is_quarantined_without_a_call() {
    let mut sink = sink(Service::default());
    let long = "x".repeat(limits::MESSAGE_BYTES + 1);
    let sent = send(&mut sink, &messages(&["", &long])).unwrap();
    assert_eq!((sent.taken, sent.delivered), (2, 0));
    let reasons: Vec<_> = sent
        .quarantined
        .iter()
        .map(|of| of.reason.to_string())
        .collect();
    assert_eq!(
        reasons,
        ["it is empty", "it has 1048551 bytes, more than 1048550"]
    );
    assert!(sink.calls.log().is_empty());
    let sent = send(&mut sink, &messages(&["a", "", "b", ""])).unwrap();
    assert_eq!((sent.taken, sent.delivered), (4, 2));
    assert_eq!(seqs(&sent.quarantined), [2, 4]);
    assert_eq!(sink.calls.log(), ["put"]);
}

#[test]
fn the_event_that_makes_a_call_invalid_is_found_and_the_others_are_delivered() {
    for poison in 0..16_usize {
        let mut sink = sink(Service::default());
        let mut texts = vec!["good"; 16];
        texts[poison] = "poison";
        let sent = send_all(&mut sink, &messages(&texts));
        assert_eq!(seqs(&sent.quarantined), [poison as u64 + 1]);
        assert_eq!(sent.delivered, 15);
        let reason = &sent.quarantined[0].reason;
        assert_eq!(reason.to_string(), "invalid event");
        // The whole, each half on the way down, and what is left.
        assert!(sink.calls.log().len() <= 10, "{:?}", sink.calls.log());
    }
}

/// A service that calls everything invalid makes nobody quarantine everything.
#[test]
fn when_nothing_is_valid_the_events_wait() {
    let mut sink = sink(Service::default());
    let texts = vec!["poison"; 40];
    let messages = messages(&texts);
    let mut taken = 0;
    let sends = (0..200).find_map(|_| match send(&mut sink, &messages[taken..]) {
        Ok(sent) => {
            taken += sent.taken;
            None
        }
        Err(refused) => Some(refused),
    });
    let refused = sends.expect("it ends");
    assert_eq!(taken, MAX_QUARANTINED_IN_A_ROW as usize);
    assert_eq!(refused.kind, RefusalKind::Other);
    assert!(send(&mut sink, &messages[taken..]).is_err());
    sink.calls.takes_poison = true;
    let sent = send_all(&mut sink, &messages[taken..]);
    assert_eq!(sent.delivered, 32);
}

#[test]
fn a_missing_stream_is_made_and_the_call_made_again() {
    let service = Service {
        has_stream: false.into(),
        ..Service::default()
    };
    let mut sink = sink(service);
    let sent = send(&mut sink, &messages(&["a"])).unwrap();
    assert_eq!(sent.delivered, 1);
    assert_eq!(sink.calls.log(), ["put", "create stream", "put"]);
}

#[test]
fn a_missing_group_is_made_only_if_that_is_permitted() {
    let service = || Service {
        has_stream: false.into(),
        has_group: false.into(),
        ..Service::default()
    };
    let mut closed = sink(service());
    let refused = send(&mut closed, &messages(&["a"])).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Missing);
    let told = "make log stream eks/0f of log group /plimsoll/prod: the log group is missing: make it, \
                with its retention and key, or set create_group: true";
    assert_eq!(refused.to_string(), told);
    assert_eq!(closed.calls.log(), ["put", "create stream"]);
    let mut open = CloudWatch::with_calls(&settings(true), "0f", service());
    assert_eq!(send(&mut open, &messages(&["a"])).unwrap().delivered, 1);
    let log = [
        "put",
        "create stream",
        "create group",
        "create stream",
        "put",
    ];
    assert_eq!(open.calls.log(), log);
}

/// What was made a moment ago may not be known yet: that goes by.
#[test]
fn a_stream_that_is_missing_once_more_is_waited_for() {
    let service = Service {
        has_stream: false.into(),
        ..Service::default()
    };
    let missing = Fault::Error("ResourceNotFoundException", 400);
    service.will([missing, missing]);
    let mut sink = sink(service);
    let refused = send(&mut sink, &messages(&["a"])).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Unavailable);
    assert_eq!(send(&mut sink, &messages(&["a"])).unwrap().delivered, 1);
    assert_eq!(sink.calls.log(), ["put", "create stream", "put", "put"]);
}

/// Another collector makes stream and group at the same moment.
#[test]
fn who_comes_second_is_fine() {
    for code in [
        "ResourceAlreadyExistsException",
        "OperationAbortedException",
    ] {
        let service = Service {
            has_stream: false.into(),
            has_group: false.into(),
            second_to: Some(code),
            ..Service::default()
        };
        let mut sink = CloudWatch::with_calls(&settings(true), "0f", service);
        assert_eq!(
            send(&mut sink, &messages(&["a"])).unwrap().delivered,
            1,
            "{code}"
        );
    }
}

#[test]
fn a_refusal_takes_nothing_and_says_what_to_do() {
    for (code, status, kind) in [
        ("ThrottlingException", 400, RefusalKind::Throttled),
        ("ServiceUnavailableException", 500, RefusalKind::Unavailable),
        ("AccessDeniedException", 400, RefusalKind::Denied),
        ("ExpiredTokenException", 400, RefusalKind::Credentials),
        ("KMSDisabledException", 400, RefusalKind::Key),
        ("Unheard", 400, RefusalKind::Other),
    ] {
        let service = Service::default();
        service.will([Fault::Error(code, status)]);
        let mut sink = sink(service);
        let messages = messages(&["a"]);
        let refused = send(&mut sink, &messages).unwrap_err();
        assert_eq!(refused.kind, kind, "{code}");
        let about = "put events into log stream eks/0f of log group /plimsoll/prod";
        assert!(refused.what.starts_with(about), "{refused}");
        assert!(refused.source.is_some(), "{code}");
        let sent = send(&mut sink, &messages).unwrap();
        let doubtful = u64::from(status == 500);
        assert_eq!((sent.delivered, sent.maybe_twice), (1, doubtful), "{code}");
    }
}

/// Six minutes off, every signature is too old: credentials are not what is wrong.
#[test]
fn a_refusal_tells_of_a_clock_that_is_off() {
    let service = Service {
        now_ms: NOW_MS - 360_000,
        ..Service::default()
    };
    service.will([Fault::Error("InvalidSignatureException", 400)]);
    let refused = send(&mut sink(service), &messages(&["a"])).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Credentials);
    let told = "; this node's clock differs from its by 360 s";
    assert!(refused.what.ends_with(told), "{refused}");
}

/// Of an answer that is lost or cannot be read nobody knows: what is sent again counts as perhaps twice there.
#[test]
fn after_a_lost_answer_the_same_is_sent_again_and_counted() {
    for fault in [Fault::LostAnswer, Fault::UnreadableAnswer] {
        let service = Service::default();
        service.will([fault]);
        let mut sink = sink(service);
        let messages = messages(&["a", "b"]);
        let refused = send(&mut sink, &messages).unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Unavailable);
        let sent = send(&mut sink, &messages).unwrap();
        assert_eq!((sent.delivered, sent.maybe_twice), (2, 2), "{fault:?}");
        assert_eq!(sink.calls.texts(), ["a", "b", "a", "b"]);
        let sent = send(&mut sink, &[at(3, NOW_MS, "c")]).unwrap();
        assert_eq!(sent.maybe_twice, 0);
    }
}

/// What was taken behind the first message is not sent again after a refusal.
#[test]
fn a_refusal_between_the_parts_of_a_call_costs_nothing() {
    let service = Service {
        retention_ms: DAY_MS,
        ..Service::default()
    };
    let mut sink = sink(service);
    let messages = [
        at(1, NOW_MS - DAY_MS - HOUR_MS, "old"),
        at(2, NOW_MS - 2 * HOUR_MS, "new"),
    ];
    assert_eq!(send(&mut sink, &messages).unwrap(), Sent::default());
    sink.calls.will([Fault::Error("ThrottlingException", 400)]);
    assert!(send(&mut sink, &messages).is_err());
    let sent = send(&mut sink, &messages).unwrap();
    assert_eq!((sent.taken, sent.delivered, sent.restamped), (2, 2, 1));
    assert_eq!(sink.calls.texts(), ["new", "old"]);
}

#[test]
fn a_new_life_has_a_new_stream_and_the_same_one_keeps_what_is_known() {
    let service = Service {
        retention_ms: DAY_MS,
        ..Service::default()
    };
    let mut sink = sink(service);
    let messages = [
        at(1, NOW_MS - DAY_MS - HOUR_MS, "old"),
        at(2, NOW_MS - 2 * HOUR_MS, "new"),
    ];
    assert_eq!(send(&mut sink, &messages).unwrap(), Sent::default());
    sink.begin("0f");
    assert_eq!(send(&mut sink, &[]).unwrap(), Sent::default());
    assert_eq!(send(&mut sink, &messages).unwrap().delivered, 2);
    assert_eq!(sink.calls.texts(), ["new", "old"]);
    sink.begin("10");
    assert_eq!(sink.stream(), "eks/10");
}

/// The loop that sends is a task of its own.
#[test]
fn a_send_can_wait_in_any_thread() {
    fn is_send<T: Send>(_: &T) {}
    let mut sink = CloudWatch::new(&settings(false), "0f");
    is_send(&sink.send(&[], 0));
    let shown = format!("{sink:?}");
    assert!(shown.contains("/plimsoll/prod"), "{shown}");
}

fn any_messages() -> impl Strategy<Value = Vec<Message>> {
    let text = prop_oneof![
        10 => 1..200_usize,
        2 => 100_000..600_000_usize,
        1 => Just(0),
        1 => limits::MESSAGE_BYTES - 1..limits::MESSAGE_BYTES + 3,
    ];
    let age_ms = prop_oneof![
        5 => 0..i64::try_from(DAY_MS).unwrap(),
        1 => -3 * i64::try_from(HOUR_MS).unwrap()..20 * i64::try_from(DAY_MS).unwrap(),
    ];
    let one = (text, age_ms, 1..4_u64, prop::bool::weighted(0.05));
    prop::collection::vec(one, 0..40).prop_map(|parts| {
        let mut seq = 0;
        let next = |(bytes, age_ms, step, is_poison): (usize, i64, u64, bool)| {
            seq += step;
            let mut text = format!("{seq} {}", if is_poison { "poison" } else { "" });
            text.extend(std::iter::repeat_n('x', bytes.saturating_sub(text.len())));
            text.truncate(if bytes == 0 { 0 } else { usize::MAX });
            let time_ms = NOW_MS.checked_add_signed(-age_ms).unwrap();
            at(seq, time_ms, &text)
        };
        parts.into_iter().map(next).collect()
    })
}

fn any_faults() -> impl Strategy<Value = Vec<Fault>> {
    let fault = prop_oneof![
        4 => Just(Fault::None),
        1 => Just(Fault::Error("ThrottlingException", 400)),
        1 => Just(Fault::Error("InternalFailure", 500)),
        1 => Just(Fault::Error("AccessDeniedException", 400)),
        1 => Just(Fault::LostAnswer),
        1 => Just(Fault::UnreadableAnswer),
    ];
    prop::collection::vec(fault, 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever is sent, whatever fails: each message is delivered or, if it can never be, quarantined; none
    /// twice but those that are counted as such; and no call broke a rule, which the service would panic at.
    #[test]
    fn every_message_has_one_fate(
        messages in any_messages(),
        faults in any_faults(),
        retention_days in 1..14_u64,
        clock_off_ms in prop_oneof![Just(0), -6_i64..6].prop_map(|hours| hours * 3_600_000),
    ) {
        let service = Service {
            retention_ms: retention_days * DAY_MS,
            now_ms: NOW_MS.checked_add_signed(clock_off_ms).unwrap(),
            ..Service::default()
        };
        service.will(faults);
        let mut sink = sink(service);
        let sent = send_all(&mut sink, &messages);
        let (mut good, mut bad) = (Vec::new(), Vec::new());
        for message in &messages {
            let is_bad = message.text.contains("poison") || prepare::unsendable(&message.text).is_some();
            if is_bad { bad.push(message.seq) } else { good.push(message) }
        }
        prop_assert_eq!(seqs(&sent.quarantined), bad);
        prop_assert_eq!(sent.delivered, good.len() as u64);
        let there = sink.calls.texts();
        let mut twice = 0;
        for message in good {
            let times = there.iter().filter(|text| **text == message.text).count();
            prop_assert!(times >= 1, "{} is lost", message.seq);
            twice += u64::from(times > 1);
        }
        prop_assert!(twice <= sent.maybe_twice, "{twice} more than {}", sent.maybe_twice);
    }
}
