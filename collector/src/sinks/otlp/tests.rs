//! The sink against a receiver in memory.

use std::collections::VecDeque;
use std::sync::Mutex;

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use proptest::prelude::*;
use prost::Message as _;
use tonic::Code;

use super::interpret::{Answer, Reply};
use super::*;
use crate::sinks::http::Failure;

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Refused with this code; nothing is stored.
    Refused(Code),
    /// Stored, and nobody hears of it.
    LostAnswer,
    /// Stored, and the answer is none.
    Unreadable,
    /// Stored, and more are said to be rejected than there are.
    TooMany,
    /// Stored, with something to say of it.
    Warned,
    /// The first one is rejected, though nothing is wrong with it.
    Whim,
}

/// How it meets a record that it does not take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    /// It takes the others, and says how many it did not.
    Counts,
    /// It takes none.
    Refuses,
}

#[derive(Debug)]
struct Service {
    manner: Manner,
    most_bytes: usize,
    faults: Mutex<VecDeque<Fault>>,
    stored: Mutex<Vec<LogRecord>>,
    /// Records of each call.
    calls: Mutex<Vec<usize>>,
}

fn text(record: &LogRecord) -> &str {
    match &record.body.as_ref().unwrap().value {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    }
}

fn refused(code: Code) -> Reply {
    Reply::Grpc {
        code,
        message: "no".to_owned(),
        details: Vec::new(),
        body: Vec::new(),
    }
}

fn said(rejected: usize, words: &str) -> Reply {
    let partial_success = Some(ExportLogsPartialSuccess {
        rejected_log_records: i64::try_from(rejected).unwrap(),
        error_message: words.to_owned(),
    });
    Reply::Http(Answer {
        status: 200,
        is_protobuf: true,
        body: ExportLogsServiceResponse { partial_success }.encode_to_vec(),
        retry_after_ms: None,
    })
}

impl Service {
    fn will(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    fn calls(&self) -> Vec<usize> {
        self.calls.lock().unwrap().clone()
    }

    fn times(&self, message: &Message) -> usize {
        let stored = self.stored.lock().unwrap();
        stored
            .iter()
            .filter(|one| text(one) == message.text)
            .count()
    }

    fn serve(&self, message: &[u8], fault: Fault) -> Reply {
        let request = ExportLogsServiceRequest::decode(message).unwrap();
        let scopes = request
            .resource_logs
            .into_iter()
            .flat_map(|of| of.scope_logs);
        let records: Vec<_> = scopes.flat_map(|scope| scope.log_records).collect();
        assert!(!records.is_empty(), "a call without records");
        self.calls.lock().unwrap().push(records.len());
        if message.len() > self.most_bytes {
            return Reply::Http(Answer {
                status: 413,
                ..Answer::default()
            });
        }
        if let Fault::Refused(code) = fault {
            return refused(code);
        }
        let count = records.len();
        let mut good = records;
        if fault == Fault::Whim {
            good.remove(0);
        }
        good.retain(|record| !text(record).contains("poison"));
        if good.len() < count && self.manner == Manner::Refuses {
            return refused(Code::InvalidArgument);
        }
        let rejected = count - good.len();
        self.stored.lock().unwrap().extend(good);
        match fault {
            Fault::TooMany => said(count + 1, "all"),
            Fault::Warned => said(rejected, "soon"),
            _ => said(rejected, ""),
        }
    }
}

impl Calls for Service {
    async fn export(&self, message: Vec<u8>) -> Reply {
        let fault = self.faults.lock().unwrap().pop_front();
        let fault = fault.unwrap_or(Fault::None);
        let reply = self.serve(&message, fault);
        match fault {
            Fault::LostAnswer => Reply::Failed(Failure {
                kind: RefusalKind::Unavailable,
                help: String::new(),
                is_in_doubt: true,
                source: "lost".into(),
            }),
            Fault::Unreadable => Reply::Http(Answer {
                status: 200,
                body: b"<html>".to_vec(),
                ..Answer::default()
            }),
            _ => reply,
        }
    }
}

fn sink(manner: Manner, most_bytes: usize) -> Otlp<Service> {
    let settings = Settings {
        endpoint: "https://otel:4317".into(),
        max_request_bytes: 65_536,
        ..Settings::default()
    };
    let service = Service {
        manner,
        most_bytes,
        faults: Mutex::default(),
        stored: Mutex::default(),
        calls: Mutex::default(),
    };
    Otlp::with_calls(&settings, service)
}

/// Messages, one for each text, numbered from 1.
fn messages(texts: &[&str]) -> Vec<Message> {
    let message = |(seq, text): (u64, &&str)| Message {
        seq,
        time_unix_ns: seq,
        uid: format!("u{seq}"),
        text: serde_json::json!({"n": seq, "text": text}).to_string(),
    };
    (1..).zip(texts).map(message).collect()
}

fn send(sink: &mut Otlp<Service>, messages: &[Message]) -> Result<Sent, Refused> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(sink.send(messages))
}

/// Sends until all messages have their fate, refusals waited out.
fn send_all(sink: &mut Otlp<Service>, messages: &[Message]) -> Sent {
    let (mut all, mut idle) = (Sent::default(), 0);
    while all.taken < messages.len() {
        let sent = send(sink, &messages[all.taken..]).unwrap_or_default();
        idle = if sent.taken == 0 { idle + 1 } else { 0 };
        assert!(idle < 64, "no end of calls that take nothing");
        let told = usize::try_from(sent.delivered).unwrap() + sent.quarantined.len();
        assert_eq!(sent.taken, told, "each has one fate");
        all.taken += sent.taken;
        all.delivered += sent.delivered;
        all.maybe_twice += sent.maybe_twice;
        all.quarantined.extend(sent.quarantined);
    }
    all
}

fn seqs(sent: &Sent) -> Vec<u64> {
    sent.quarantined.iter().map(|one| one.seq).collect()
}

#[test]
fn one_call_delivers_what_fits() {
    let mut sink = sink(Manner::Counts, usize::MAX);
    sink.calls.will([Fault::Warned]);
    let sent = send(&mut sink, &messages(&["a", "b"])).unwrap();
    assert_eq!((sent.taken, sent.delivered, sent.maybe_twice), (2, 2, 0));
    assert_eq!(sink.calls.calls(), [2]);
    assert_eq!(sink.warned.as_deref(), Some("soon"));
}

/// Nobody says which it is: it is in the one call that is rejected whole.
#[test]
fn a_record_that_is_rejected_among_others_is_found() {
    for manner in [Manner::Counts, Manner::Refuses] {
        let mut sink = sink(manner, usize::MAX);
        let texts: Vec<_> = (0..100)
            .map(|n| if n == 61 { "poison" } else { "a" })
            .collect();
        let messages = messages(&texts);
        let sent = send_all(&mut sink, &messages);
        assert_eq!((sent.delivered, seqs(&sent)), (99, vec![62]), "{manner:?}");
        assert!(sink.calls.calls().len() <= 15, "{:?}", sink.calls.calls());
        let good = || messages.iter().filter(|one| one.seq != 62);
        assert!(good().all(|one| (1..=8).contains(&sink.calls.times(one))));
        let twice = good().filter(|one| sink.calls.times(one) > 1).count();
        assert!(twice as u64 <= sent.maybe_twice);
        assert_eq!(sent.maybe_twice > 0, manner == Manner::Counts);
        let same = sink.calls.stored.lock().unwrap();
        let first = same
            .iter()
            .find(|one| text(one) == messages[0].text)
            .unwrap();
        let again = same.iter().filter(|one| text(one) == messages[0].text);
        assert!(again.into_iter().all(|one| one == first), "the same record");
    }
}

/// What was taken once and is rejected for no reason the next time is quarantined or delivered, never lost.
#[test]
fn a_receiver_that_judges_otherwise_each_time_loses_nothing() {
    let mut sink = sink(Manner::Counts, usize::MAX);
    sink.calls.will([Fault::Whim; 5]);
    let messages = messages(&["a"; 16]);
    let sent = send_all(&mut sink, &messages);
    let quarantined = seqs(&sent);
    for message in &messages {
        let is_there = sink.calls.times(message) > 0;
        assert!(
            is_there || quarantined.contains(&message.seq),
            "{} is lost",
            message.seq
        );
    }
}

#[test]
fn few_that_are_all_rejected_are_quarantined_and_many_are_no_events_fault() {
    for manner in [Manner::Counts, Manner::Refuses] {
        let mut sink = sink(manner, usize::MAX);
        let few = messages(&["poison"; 3]);
        let sent = send_all(&mut sink, &few);
        assert_eq!(seqs(&sent), [1, 2, 3], "{manner:?}");
        let mut sink = super::tests::sink(manner, usize::MAX);
        let many = messages(&["poison"; 20]);
        let mut rest = &many[..];
        let mut steps = 0;
        let refused = loop {
            match send(&mut sink, rest) {
                Ok(sent) => rest = &rest[sent.taken..],
                Err(refused) => break refused,
            }
            steps += 1;
            assert!(steps < 100);
        };
        assert_eq!(rest.len(), 12, "eight are quarantined");
        assert_eq!(refused.kind, RefusalKind::Other);
        assert!(
            refused.what.contains("any of the last 8 events"),
            "{refused}"
        );
    }
}

#[test]
fn many_that_are_rejected_among_good_ones_are_all_found() {
    for manner in [Manner::Counts, Manner::Refuses] {
        let mut sink = sink(manner, usize::MAX);
        let texts: Vec<_> = (0..300)
            .map(|n| if n % 10 == 9 { "poison" } else { "a" })
            .collect();
        let messages = messages(&texts);
        let sent = send_all(&mut sink, &messages);
        assert_eq!(
            (sent.delivered, sent.quarantined.len()),
            (270, 30),
            "{manner:?}"
        );
        let most = messages
            .iter()
            .map(|message| sink.calls.times(message))
            .max();
        assert!(most <= Some(10), "{manner:?}: one came {most:?} times");
    }
}

/// A run of them among as many good ones is no reason to wait: the receiver takes events.
#[test]
fn many_that_are_rejected_in_a_row_are_quarantined_where_most_are_taken() {
    let mut sink = sink(Manner::Counts, usize::MAX);
    let texts: Vec<_> = (0..80)
        .map(|n| if (10..40).contains(&n) { "poison" } else { "a" })
        .collect();
    let sent = send_all(&mut sink, &messages(&texts));
    assert_eq!((sent.delivered, sent.quarantined.len()), (50, 30));
    assert!(sink.calls.calls().len() < 20, "{:?}", sink.calls.calls());
}

#[test]
fn what_may_be_there_already_is_counted_when_it_is_sent_again() {
    for (fault, twice) in [
        (Fault::LostAnswer, 2),
        (Fault::Unreadable, 2),
        (Fault::TooMany, 2),
        (Fault::Refused(Code::Unavailable), 2),
        (Fault::Refused(Code::ResourceExhausted), 0),
        (Fault::Refused(Code::Unauthenticated), 0),
    ] {
        let mut sink = sink(Manner::Counts, usize::MAX);
        sink.calls.will([fault]);
        let messages = messages(&["a", "b"]);
        send(&mut sink, &messages).unwrap_err();
        let sent = send(&mut sink, &messages).unwrap();
        assert_eq!((sent.delivered, sent.maybe_twice), (2, twice), "{fault:?}");
    }
}

#[test]
fn a_refusal_says_what_to_do() {
    for (code, kind, what) in [
        (
            Code::Unauthenticated,
            RefusalKind::Credentials,
            "headers_file",
        ),
        (Code::PermissionDenied, RefusalKind::Denied, "may not"),
        (
            Code::Unimplemented,
            RefusalKind::Missing,
            "look at endpoint, protocol",
        ),
        (Code::ResourceExhausted, RefusalKind::Other, "limits"),
        (
            Code::Internal,
            RefusalKind::Other,
            "nothing to be tried again",
        ),
        (
            Code::Unavailable,
            RefusalKind::Unavailable,
            "OTLP at https://otel:4317",
        ),
    ] {
        let mut sink = sink(Manner::Counts, usize::MAX);
        sink.calls.will([Fault::Refused(code)]);
        let refused = send(&mut sink, &messages(&["a"])).unwrap_err();
        assert_eq!(refused.kind, kind);
        assert!(refused.what.contains(what), "{refused}");
    }
}

#[test]
fn a_call_that_is_too_large_is_halved_and_the_size_is_kept() {
    let mut sink = sink(Manner::Counts, 3000);
    let sent = send_all(&mut sink, &messages(&["a"; 100]));
    assert_eq!((sent.delivered, sent.maybe_twice), (100, 0));
    assert!(sink.calls.calls().len() <= 20, "{:?}", sink.calls.calls());
    let long = "x".repeat(3000);
    let sent = send_all(&mut sink, &messages(&["a", &long, "b"]));
    assert_eq!((sent.delivered, seqs(&sent)), (2, vec![2]));
}

#[test]
fn a_call_may_be_as_long_as_ever_after_many_that_were_taken() {
    let mut sink = sink(Manner::Counts, 3000);
    send_all(&mut sink, &messages(&["a"; 100]));
    assert!(sink.room.bytes < sink.room.most_bytes);
    sink.calls.most_bytes = usize::MAX;
    for _ in 0..200 {
        send_all(&mut sink, &messages(&["a"]));
    }
    assert_eq!(sink.room.bytes, sink.room.most_bytes);
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        4 => Just(Fault::None),
        1 => Just(Fault::Refused(Code::Unavailable)),
        1 => Just(Fault::Refused(Code::ResourceExhausted)),
        1 => Just(Fault::LostAnswer),
        1 => Just(Fault::Unreadable),
        1 => Just(Fault::TooMany),
        1 => Just(Fault::Warned),
    ]
}

proptest! {
    /// Whatever goes wrong: all good events are there, the bad ones are quarantined, and none is there twice that
    /// is not said to be.
    #[test]
    fn nothing_is_lost(
        kinds in prop::collection::vec(prop_oneof![12 => Just("a"), 2 => Just("long"), 1 => Just("poison")], 1..60),
        faults in prop::collection::vec(fault(), 0..12),
        manner in prop_oneof![Just(Manner::Counts), Just(Manner::Refuses)],
        most_bytes in prop_oneof![Just(usize::MAX), 30_000..60_000_usize],
    ) {
        let long = "x".repeat(20_000);
        let texts: Vec<_> = kinds.iter().map(|kind| if *kind == "long" { long.as_str() } else { kind }).collect();
        let messages = messages(&texts);
        let mut sink = sink(manner, most_bytes);
        sink.calls.will(faults);
        let sent = send_all(&mut sink, &messages);
        let (bad, good): (Vec<_>, Vec<_>) = messages.iter().partition(|message| message.text.contains("poison"));
        prop_assert_eq!(seqs(&sent), bad.iter().map(|message| message.seq).collect::<Vec<_>>());
        prop_assert_eq!(sent.delivered, good.len() as u64);
        let mut twice = 0;
        for message in good {
            let times = sink.calls.times(message);
            prop_assert!(times >= 1, "{} is lost", message.seq);
            twice += u64::from(times > 1);
        }
        prop_assert!(twice <= sent.maybe_twice, "{twice} more than {}", sent.maybe_twice);
    }
}
