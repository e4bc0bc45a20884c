//! The messages, read by a parser that is not ours.

use proptest::prelude::*;
use syslog_loose::{Protocol, Variant};

use super::*;

const TIME_NS: u64 = 1_790_000_000_123_456_789;

fn message(text: &str) -> Message {
    Message {
        seq: 7,
        time_unix_ns: TIME_NS,
        uid: "0f-7".to_owned(),
        text: text.to_owned(),
    }
}

/// The message of a frame, whose count is exact.
fn counted(frame: &[u8]) -> &str {
    let (count, message) = std::str::from_utf8(frame).unwrap().split_once(' ').unwrap();
    assert_eq!(count, message.len().to_string());
    message
}

#[test]
fn a_message_is_as_the_rfc_has_it() {
    let text = r#"{"device":{"hostname":"ip-10-0-0-1"},"metadata":{"log_name":"oom_kill"},"severity_id":4,"x":"\\ü]"}"#;
    let frame = frame(&message(text), &Settings::default()).unwrap();
    let expect = format!(
        "<107>1 2026-09-21T14:13:20.123456Z ip-10-0-0-1 plimsoll - oom_kill \
         [plimsoll@32473 uid=\"0f-7\" seq=\"7\"] \u{feff}{text}"
    );
    assert_eq!(counted(&frame), expect);
}

#[test]
fn what_an_event_does_not_say_is_left_out() {
    for text in [
        "CEF:0|Plimsoll|x",
        "{}",
        "[]",
        r#"{"severity_id":"high","metadata":3}"#,
        r#"{"metadata":{"log_name":""}}"#,
    ] {
        let frame = frame(&message(text), &Settings::default()).unwrap();
        let head = counted(&frame).split_once('[').unwrap().0;
        assert_eq!(
            head, "<109>1 2026-09-21T14:13:20.123456Z - plimsoll - - ",
            "{text}"
        );
    }
}

#[test]
fn grades_are_those_of_syslog_and_none_is_an_emergency() {
    for (id, is) in [
        ("0", 5),
        ("1", 6),
        ("2", 5),
        ("3", 4),
        ("4", 3),
        ("5", 2),
        ("6", 1),
        ("99", 5),
        ("-1", 5),
    ] {
        let settings = Settings {
            facility: 23,
            ..Settings::default()
        };
        let text = format!("{{\"severity_id\":{id}}}");
        let frame = frame(&message(&text), &settings).unwrap();
        let expect = format!("<{}>1 ", 23 * 8 + is);
        assert!(counted(&frame).starts_with(&expect), "{id}");
    }
}

#[test]
fn times_have_microseconds_and_are_never_rounded_up() {
    for (ns, expect) in [
        (0, "1970-01-01T00:00:00.000000Z"),
        (999, "1970-01-01T00:00:00.000000Z"),
        (1_999_999_999, "1970-01-01T00:00:01.999999Z"),
        (u64::MAX, "2554-07-21T23:34:33.709551Z"),
    ] {
        assert_eq!(timestamp(ns), expect);
    }
}

#[test]
fn what_is_empty_or_longer_than_is_taken_is_never_sent() {
    let most = 4096;
    let settings = Settings {
        max_message_bytes: most,
        ..Settings::default()
    };
    let empty = counted(&frame(&message("x"), &settings).unwrap()).len() - 1;
    let long = |bytes: usize| "x".repeat(bytes);
    let messages = [
        message(""),
        message(&long(most - empty)),
        message(&long(most - empty + 1)),
        message("x"),
    ];
    let call = call(&messages, &settings);
    assert_eq!((call.taken, call.seqs.len()), (4, 2));
    let reasons: Vec<_> = call.quarantined.into_iter().map(|of| of.reason).collect();
    let bytes = most + 1;
    let too_long = QuarantineReason::TooLong { bytes, most };
    assert_eq!(reasons, [QuarantineReason::Empty, too_long]);
}

#[test]
fn a_call_has_a_mebibyte_at_the_most() {
    let messages: Vec<_> = (0..40).map(|_| message(&"x".repeat(60_000))).collect();
    let first = call(&messages, &Settings::default());
    assert!(first.bytes.len() <= CALL_BYTES);
    assert_eq!((first.taken, first.seqs.len()), (17, 17));
    let settings = Settings {
        max_message_bytes: CALL_BYTES,
        ..Settings::default()
    };
    let one = message(&"x".repeat(CALL_BYTES - 200));
    assert_eq!(call(&[one.clone(), one], &settings).taken, 1);
}

fn any_name() -> impl Strategy<Value = String> {
    prop::collection::vec(any::<char>(), 0..300).prop_map(|chars| chars.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is in an event: the frame is exact, the parser reads what was meant, and the event is as it was.
    #[test]
    fn any_event_comes_through_unaltered(
        noise in any_name(),
        // The parser takes no `:` in these two, which the RFC does.
        hostname in any_name().prop_map(|name| name.replace(':', "")),
        kind in any_name().prop_map(|name| name.replace(':', "")),
        uid in "[ -~äß€]{0,60}",
        seq in any::<u64>(),
        time_unix_ns in 0..4_000_000_000_000_000_000_u64,
        severity_id in -1..8_i64,
        facility in 0..24_u32,
    ) {
        let event = serde_json::json!({
            "device": {"hostname": hostname},
            "metadata": {"log_name": kind, "other": noise},
            "severity_id": severity_id,
        });
        let text = event.to_string();
        let settings = Settings { facility, ..Settings::default() };
        let message = Message { seq, time_unix_ns, uid: uid.clone(), text: text.clone() };
        let frame = frame(&message, &settings).unwrap();
        let sent = counted(&frame);
        let is_unaltered = sent.ends_with(&format!(" \u{feff}{text}"));
        prop_assert!(is_unaltered);
        let parsed = syslog_loose::parse_message(sent, Variant::RFC5424);
        prop_assert!(parsed.protocol == Protocol::RFC5424(1));
        prop_assert_eq!(parsed.appname, Some("plimsoll"));
        prop_assert!(parsed.procid.is_none());
        prop_assert_eq!(parsed.msg.trim_start_matches('\u{feff}'), &text);
        let micros = parsed.timestamp.unwrap().timestamp_micros();
        prop_assert_eq!(u64::try_from(micros).unwrap(), time_unix_ns / 1000);
        prop_assert_eq!(parsed.facility.map(|of| of as u32), Some(facility));
        let [data] = parsed.structured_data.as_slice() else { panic!("{sent}") };
        prop_assert_eq!(data.id, "plimsoll@32473");
        let params: Vec<_> = data.params().map(|(name, value)| (*name, value)).collect();
        prop_assert_eq!(params, [("uid", uid), ("seq", seq.to_string())]);
        for (word, most) in [(parsed.hostname, 255), (parsed.msgid, 32)] {
            let word = word.unwrap_or("-");
            prop_assert!(word.len() <= most && word.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }

    /// Frames are read one behind the other by their counts.
    #[test]
    fn a_call_is_read_back_by_its_counts(texts in prop::collection::vec(any_name(), 0..20)) {
        let messages: Vec<_> = texts.iter().map(|text| message(text)).collect();
        let call = call(&messages, &Settings::default());
        prop_assert_eq!(call.taken, messages.len());
        let (mut rest, mut read) = (call.bytes.as_slice(), Vec::new());
        while !rest.is_empty() {
            let space = rest.iter().position(|byte| *byte == b' ').unwrap();
            let count: usize = std::str::from_utf8(&rest[..space]).unwrap().parse().unwrap();
            let (one, behind) = rest[space + 1..].split_at(count);
            let (_, text) = std::str::from_utf8(one).unwrap().split_once('\u{feff}').unwrap();
            read.push(text.to_owned());
            rest = behind;
        }
        let full: Vec<_> = texts.into_iter().filter(|text| !text.is_empty()).collect();
        prop_assert_eq!(read, full);
    }
}
