//! The sink against an index in memory.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::interpret::{Answer, Reply};
use super::*;
use crate::sinks::http::Failure;

/// What goes wrong with a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Refused with this status.
    Refused(u16),
    /// Stored, and nobody hears of it.
    LostAnswer,
    /// Stored, and the answer is none.
    Unreadable,
    /// Each other event is refused with this status.
    Half(u16),
    /// The last event is stored, and not told.
    OneLess,
    /// Told in the wrong order.
    Turned,
    /// The call cannot be read, if it has this word.
    NoCall(&'static str),
}

#[derive(Debug, Default)]
struct Service {
    most_bytes: Mutex<Option<usize>>,
    faults: Mutex<VecDeque<Fault>>,
    stored: Mutex<BTreeMap<String, String>>,
    /// Events of each call.
    calls: Mutex<Vec<usize>>,
}

fn answer(status: u16, body: &str) -> Reply {
    Reply::Answered(Answer {
        status,
        body: body.as_bytes().to_vec(),
        retry_after_ms: None,
    })
}

impl Service {
    fn will(&self, faults: impl IntoIterator<Item = Fault>) {
        self.faults.lock().unwrap().extend(faults);
    }

    fn create(&self, id: &str, text: &str) -> Value {
        let item = |status: u16, class: &str| json!({"create": {"_id": id, "status": status, "error": {"type": class, "reason": "no"}}});
        if text.contains("poison") {
            return item(400, "document_parsing_exception");
        }
        let mut stored = self.stored.lock().unwrap();
        if let Some(there) = stored.get(id) {
            assert_eq!(there, text, "the same name is the same event");
            return item(409, "version_conflict_engine_exception");
        }
        stored.insert(id.to_owned(), text.to_owned());
        json!({"create": {"_id": id, "status": 201}})
    }

    fn serve(&self, body: &str, fault: Fault) -> Reply {
        assert!(body.ends_with('\n'));
        let lines: Vec<_> = body.lines().collect();
        self.calls.lock().unwrap().push(lines.len() / 2);
        if self
            .most_bytes
            .lock()
            .unwrap()
            .is_some_and(|most| body.len() > most)
        {
            return answer(413, "");
        }
        match fault {
            Fault::Refused(status) => return answer(status, "{}"),
            Fault::NoCall(word) if body.contains(word) => {
                return answer(400, r#"{"error":{"type":"x_content_parse_exception"}}"#);
            }
            _ => {}
        }
        let mut items: Vec<_> = lines
            .chunks(2)
            .enumerate()
            .map(|(at, two)| {
                let action: Value = serde_json::from_str(two[0]).unwrap();
                let id = action["create"]["_id"].as_str().unwrap();
                match fault {
                    Fault::Half(status) if at % 2 == 0 => {
                        json!({"create": {"_id": id, "status": status, "error": {"type": "x", "reason": "y"}}})
                    }
                    _ => self.create(id, two[1]),
                }
            })
            .collect();
        match fault {
            Fault::OneLess => {
                items.pop();
            }
            Fault::Turned => items.reverse(),
            _ => {}
        }
        let errors = items.iter().any(|item| item["create"]["status"] != 201);
        answer(200, &json!({"errors": errors, "items": items}).to_string())
    }
}

impl Calls for Service {
    async fn post(&self, body: Vec<u8>) -> Reply {
        let fault = self.faults.lock().unwrap().pop_front();
        let fault = fault.unwrap_or(Fault::None);
        let reply = self.serve(std::str::from_utf8(&body).unwrap(), fault);
        match fault {
            Fault::LostAnswer => Reply::Failed(Failure {
                kind: RefusalKind::Unavailable,
                help: String::new(),
                is_in_doubt: true,
                source: "lost".into(),
            }),
            Fault::Unreadable => answer(200, "<html>"),
            _ => reply,
        }
    }
}

fn sink(most_bytes: Option<usize>) -> Elasticsearch<Service> {
    let settings = Settings {
        endpoint: "https://es:9200".into(),
        index: "audit".into(),
        max_content_bytes: 65_536,
        ..Settings::default()
    };
    let service = Service {
        most_bytes: Mutex::new(most_bytes),
        ..Service::default()
    };
    Elasticsearch::with_calls(&settings, service)
}

/// Messages, one for each text, numbered from 1.
fn messages(texts: &[&str]) -> Vec<Message> {
    let message = |(seq, text): (u64, &&str)| Message {
        seq,
        time_unix_ns: seq,
        uid: format!("u{seq}"),
        text: json!({"n": seq, "text": text}).to_string(),
    };
    (1..).zip(texts).map(message).collect()
}

fn send(sink: &mut Elasticsearch<Service>, messages: &[Message]) -> Result<Sent, Refused> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(sink.send(messages))
}

/// Sends until all messages have their fate, refusals waited out.
fn send_all(sink: &mut Elasticsearch<Service>, messages: &[Message]) -> Sent {
    let (mut all, mut idle) = (Sent::default(), 0);
    while all.taken < messages.len() {
        let sent = send(sink, &messages[all.taken..]).unwrap_or_default();
        idle = if sent.taken == 0 { idle + 1 } else { 0 };
        assert!(idle < 100, "no end of calls that take nothing");
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
fn only_what_was_refused_is_sent_again() {
    let mut sink = sink(None);
    let messages = messages(&["a", "b", "c", "d"]);
    sink.calls.will([Fault::Half(429), Fault::Half(503)]);
    let refused = send(&mut sink, &messages).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Throttled);
    assert!(refused.what.contains("(2 of 4 events wait)"), "{refused}");
    let refused = send(&mut sink, &messages).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Unavailable);
    let sent = send(&mut sink, &messages).unwrap();
    assert_eq!((sent.taken, sent.delivered), (4, 4));
    assert_eq!(*sink.calls.calls.lock().unwrap(), [4, 2, 1]);
}

#[test]
fn what_is_there_already_is_delivered() {
    for fault in [
        Fault::LostAnswer,
        Fault::Unreadable,
        Fault::OneLess,
        Fault::Turned,
    ] {
        let mut sink = sink(None);
        let messages = messages(&["a", "b"]);
        sink.calls.will([fault]);
        let refused = send(&mut sink, &messages).unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Unavailable, "{fault:?}");
        let sent = send(&mut sink, &messages).unwrap();
        assert_eq!((sent.delivered, sent.maybe_twice), (2, 0), "{fault:?}");
        assert_eq!(sink.calls.stored.lock().unwrap().len(), 2);
    }
}

#[test]
fn an_invalid_event_is_quarantined_with_the_reason() {
    let mut sink = sink(None);
    let sent = send(&mut sink, &messages(&["a", "poison", "c"])).unwrap();
    assert_eq!((sent.taken, sent.delivered, seqs(&sent)), (3, 2, vec![2]));
    let why = sent.quarantined[0].reason.to_string();
    assert_eq!(why, "status 400: document_parsing_exception: no");
    assert_eq!(*sink.calls.calls.lock().unwrap(), [3]);
}

#[test]
fn nine_invalid_events_in_a_row_are_no_events_fault() {
    let mut sink = sink(None);
    let messages = messages(&["poison"; 20]);
    let sent = send(&mut sink, &messages).unwrap();
    assert_eq!((sent.taken, sent.quarantined.len()), (8, 8));
    let refused = send(&mut sink, &messages[8..]).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Other);
    assert!(refused.what.contains("mapping"), "{refused}");
}

#[test]
fn a_call_that_cannot_be_read_is_halved_until_the_event_is_found() {
    let mut sink = sink(None);
    sink.calls.will([Fault::NoCall("odd"); 20]);
    let texts: Vec<_> = (0..30).map(|n| if n == 17 { "odd" } else { "a" }).collect();
    let sent = send_all(&mut sink, &messages(&texts));
    assert_eq!((sent.delivered, seqs(&sent)), (29, vec![18]));
}

#[test]
fn a_call_that_is_too_large_is_halved_and_the_size_is_kept() {
    let mut sink = sink(Some(1000));
    let sent = send_all(&mut sink, &messages(&["a"; 100]));
    assert_eq!(sent.delivered, 100);
    assert!(sink.calls.calls.lock().unwrap().len() <= 20);
    sink.calls.stored.lock().unwrap().clear();
    let long = "x".repeat(1000);
    let sent = send_all(&mut sink, &messages(&["a", &long, "b"]));
    assert_eq!((sent.delivered, seqs(&sent)), (2, vec![2]));
}

#[test]
fn a_call_may_be_as_long_as_ever_after_many_that_were_taken() {
    let mut sink = sink(Some(1000));
    send_all(&mut sink, &messages(&["a"; 100]));
    assert!(sink.room.bytes < sink.room.most_bytes);
    *sink.calls.most_bytes.lock().unwrap() = None;
    for _ in 0..200 {
        send_all(&mut sink, &messages(&["a"]));
    }
    assert_eq!(sink.room.bytes, sink.room.most_bytes);
}

#[test]
fn a_refusal_takes_nothing_and_says_what_to_do() {
    for (status, kind, what) in [
        (401, RefusalKind::Credentials, "look at auth"),
        (403, RefusalKind::Denied, "create_doc"),
        (404, RefusalKind::Missing, "look at the address"),
        (307, RefusalKind::Other, "set endpoint"),
        (
            503,
            RefusalKind::Unavailable,
            "Elasticsearch at https://es:9200",
        ),
    ] {
        let mut sink = sink(None);
        sink.calls.will([Fault::Refused(status)]);
        let messages = messages(&["a"]);
        let refused = send(&mut sink, &messages).unwrap_err();
        assert_eq!(refused.kind, kind);
        assert!(refused.what.contains(what), "{refused}");
        assert_eq!(send(&mut sink, &messages).unwrap().delivered, 1);
    }
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        3 => Just(Fault::None),
        1 => Just(Fault::Refused(503)),
        1 => Just(Fault::Refused(429)),
        2 => Just(Fault::Half(429)),
        1 => Just(Fault::Half(503)),
        1 => Just(Fault::LostAnswer),
        1 => Just(Fault::Unreadable),
        1 => Just(Fault::OneLess),
        1 => Just(Fault::Turned),
    ]
}

proptest! {
    /// Whatever goes wrong: all good events are there once, and the bad ones are quarantined.
    #[test]
    fn nothing_is_lost(
        kinds in prop::collection::vec(prop_oneof![12 => Just("a"), 2 => Just("long"), 1 => Just("poison")], 1..60),
        faults in prop::collection::vec(fault(), 0..12),
        most_bytes in prop::option::of(30_000..60_000_usize),
    ) {
        let long = "x".repeat(20_000);
        let texts: Vec<_> = kinds.iter().map(|kind| if *kind == "long" { long.as_str() } else { kind }).collect();
        let messages = messages(&texts);
        let mut sink = sink(most_bytes);
        sink.calls.will(faults);
        let sent = send_all(&mut sink, &messages);
        let (bad, good): (Vec<_>, Vec<_>) = messages.iter().partition(|message| message.text.contains("poison"));
        prop_assert_eq!(seqs(&sent), bad.iter().map(|message| message.seq).collect::<Vec<_>>());
        let stored = sink.calls.stored.lock().unwrap();
        prop_assert_eq!(stored.len(), good.len());
        for message in good {
            prop_assert_eq!(stored.get(&message.uid), Some(&message.text));
        }
    }
}
