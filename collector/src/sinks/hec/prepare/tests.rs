//! Calls, to the byte.

use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

use super::*;
use crate::sinks::http::packed;

fn message(seq: u64, text: &str) -> Message {
    Message {
        seq,
        time_unix_ns: 1_790_000_000_012_999_999,
        uid: seq.to_string(),
        text: text.to_owned(),
    }
}

fn messages(texts: &[&str]) -> Vec<Message> {
    let numbered = (1..).zip(texts);
    numbered.map(|(seq, text)| message(seq, text)).collect()
}

const ROOM: Room = Room {
    events: CALL_EVENTS,
    bytes: 1_000_000,
    most_bytes: 1_000_000,
};

fn bare() -> Envelope {
    Envelope::new(&Settings::default())
}

fn body(texts: &[&str], envelope: &Envelope) -> String {
    let batch = batch(&messages(texts), |_| false, envelope, ROOM);
    String::from_utf8(batch.body).unwrap()
}

#[test]
fn objects_stand_one_behind_the_other_with_their_events_as_they_are() {
    let settings = Settings {
        source: Some("a \"b\"".into()),
        sourcetype: Some("plimsoll:ocsf".into()),
        index: Some("audit".into()),
        host: Some("h".into()),
        ..Settings::default()
    };
    let envelope = Envelope::new(&settings);
    assert_eq!(
        body(&[r#"{"b":1.0,"a":"\u0041"}"#, "{}"], &envelope),
        concat!(
            r#"{"time":1790000000.012,"source":"a \"b\"","sourcetype":"plimsoll:ocsf","index":"audit","host":"h","#,
            r#""event":{"b":1.0,"a":"\u0041"}}"#,
            r#"{"time":1790000000.012,"source":"a \"b\"","sourcetype":"plimsoll:ocsf","index":"audit","host":"h","#,
            r#""event":{}}"#,
        )
    );
    assert_eq!(
        body(&["{}"], &bare()),
        r#"{"time":1790000000.012,"event":{}}"#
    );
}

/// A text ends no object but its own.
#[test]
fn what_is_no_object_is_a_string() {
    for text in [
        "CEF:0|Plimsoll|a=\"b\"",
        r#"{"a":1"#,
        r#"{"a":1},"index":"other","event":{}"#,
        r#"{"a":1}{"event":2}"#,
        "[1]",
        "7",
        " ",
    ] {
        let body: Value = serde_json::from_str(&body(&[text], &bare())).unwrap();
        assert_eq!(body["event"], text);
        assert_eq!(body.as_object().unwrap().len(), 2, "{body}");
    }
}

#[test]
fn times_have_milliseconds() {
    for (ns, expect) in [
        (0, "0.000"),
        (999_999, "0.000"),
        (1_000_000, "0.001"),
        (1_050_000_000, "1.050"),
        (u64::MAX, "18446744073.709"),
    ] {
        let message = Message {
            time_unix_ns: ns,
            ..message(1, "{}")
        };
        let batch = batch(&[message], |_| false, &bare(), ROOM);
        let body = String::from_utf8(batch.body).unwrap();
        assert_eq!(body, format!("{{\"time\":{expect},\"event\":{{}}}}"));
    }
}

#[test]
fn a_call_has_so_many_bytes_and_events_at_the_most() {
    let three = messages(&["{}", "{}", "{}"]);
    let one = body(&["{}"], &bare()).len();
    for (bytes, events, taken) in [
        (3 * one, 9, 3),
        (3 * one - 1, 9, 2),
        (2 * one, 9, 2),
        (one, 9, 1),
        // The first is sent whatever was learnt.
        (1, 9, 1),
        (3 * one, 2, 2),
        (3 * one, 1, 1),
    ] {
        let room = Room {
            events,
            bytes,
            most_bytes: 1_000_000,
        };
        let batch = batch(&three, |_| false, &bare(), room);
        assert_eq!(batch.seqs.len(), taken, "{bytes} {events}");
        assert_eq!(batch.body.len(), taken * one);
    }
    let many: Vec<_> = (0..1001).map(|seq| message(seq, "{}")).collect();
    let room = Room {
        events: usize::MAX,
        ..ROOM
    };
    assert_eq!(batch(&many, |_| false, &bare(), room).seqs.len(), 1000);
}

#[test]
fn what_can_never_be_sent_is_passed_over_with_its_reason() {
    let long = format!("{{\"a\":\"{}\"}}", "x".repeat(100));
    let room = Room {
        most_bytes: 100,
        bytes: 100,
        ..ROOM
    };
    let batch = batch(
        &messages(&["", "{}", &long, "{}"]),
        |_| false,
        &bare(),
        room,
    );
    assert_eq!(batch.seqs, [2, 4]);
    let too_long = QuarantineReason::TooLong {
        bytes: long.len(),
        most: 68,
    };
    let expect = [(1, QuarantineReason::Empty), (3, too_long)];
    assert_eq!(
        batch.unsendable,
        expect.map(|(seq, reason)| Quarantined { seq, reason })
    );
}

#[test]
fn channels_are_uuids() {
    assert_eq!(channel(0), "00000000-0000-4000-8000-000000000000");
    assert_eq!(channel(u128::MAX), "ffffffff-ffff-4fff-bfff-ffffffffffff");
    assert_eq!(
        channel(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        "01234567-89ab-4def-8123-456789abcdef"
    );
}

#[test]
fn a_question_has_the_numbers_and_a_packed_body_is_the_body() {
    assert_eq!(question([3, 14]), br#"{"acks":[3,14]}"#);
    let body = b"{\"event\":{}}".repeat(1000);
    let small = packed(&body);
    assert!(small.len() * 10 < body.len());
    let mut back = Vec::new();
    let mut decoder = flate2::read::GzDecoder::new(small.as_slice());
    std::io::Read::read_to_end(&mut decoder, &mut back).unwrap();
    assert_eq!(back, body);
}

/// An object as Splunk reads it, its event's bytes as they came.
#[derive(serde::Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    event: &'a RawValue,
}

proptest! {
    /// Nothing is lost or altered, nothing is out of order, and the limits are kept.
    #[test]
    fn calls_have_all_messages_as_they_are(
        texts in prop::collection::vec(prop_oneof![
            8 => "[a-zé\"\\\\\u{1}]{0,60}".prop_map(|text| serde_json::json!({"a": text}).to_string()),
            1 => "\\PC{0,40}",
            1 => Just(String::new()),
        ], 0..60),
        passed in prop::collection::btree_set(0_u64..60, 0..20),
        events in 1..20_usize,
        bytes in 1..400_usize,
        most_bytes in 60..400_usize,
    ) {
        let messages: Vec<_> = (0..).zip(&texts).map(|(seq, text)| message(seq, text)).collect();
        let room = Room { events, bytes: bytes.min(most_bytes), most_bytes };
        let mut done = passed.clone();
        let mut sent = Vec::new();
        loop {
            let batch = batch(&messages, |seq| done.contains(&seq), &bare(), room);
            prop_assert!(batch.seqs.len() <= events);
            prop_assert!(batch.body.len() <= most_bytes);
            prop_assert!(batch.body.len() <= room.bytes || batch.seqs.len() == 1);
            prop_assert!(batch.seqs.is_sorted());
            let objects = serde_json::Deserializer::from_slice(&batch.body).into_iter::<Object<'_>>();
            let found: Vec<_> = objects.map(|object| object.unwrap().event.get().to_owned()).collect();
            prop_assert_eq!(found.len(), batch.seqs.len());
            for (seq, found) in batch.seqs.iter().zip(found) {
                let text = &messages[usize::try_from(*seq).unwrap()].text;
                let is_same = *text == found || serde_json::from_str::<Value>(&found).unwrap() == **text;
                prop_assert!(is_same, "{text} {found}");
                prop_assert!(done.insert(*seq), "{seq} twice");
                sent.push(*seq);
            }
            for Quarantined { seq, reason } in batch.unsendable {
                let text = &messages[usize::try_from(seq).unwrap()].text;
                prop_assert_eq!(reason == QuarantineReason::Empty, text.is_empty());
                prop_assert!(done.insert(seq), "{seq} twice");
            }
            if batch.seqs.is_empty() {
                break;
            }
        }
        prop_assert!(sent.is_sorted());
        prop_assert!(messages.iter().all(|message| done.contains(&message.seq)));
    }
}
