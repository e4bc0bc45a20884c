use super::*;

fn message(seq: u64, text: &str) -> Message {
    Message {
        seq,
        // 2026-12-01T00:00:00Z and so many hours.
        time_unix_ns: 1_796_083_200_000_000_000 + seq * 3_600_000_000_000,
        uid: format!("n/{seq}"),
        text: text.to_owned(),
    }
}

const ALL: Room = Room {
    events: CALL_EVENTS,
    bytes: 1 << 20,
    most_bytes: 1 << 20,
};

fn of(messages: &[Message], index: &str, room: Room) -> Batch {
    batch(messages, |_| false, &Index::of(index).unwrap(), room)
}

#[test]
fn a_name_of_an_index_is_one_by_elastics_rules() {
    for (name, is) in [
        ("logs-plimsoll-default", true),
        ("audit-%Y.%m.%d", true),
        ("a", true),
        (&"a".repeat(255), true),
        (&"a".repeat(256), false),
        (&format!("{}%Y", "a".repeat(252)), false),
        ("", false),
        ("Audit", false),
        ("a b", false),
        ("a,b", false),
        ("a/b", false),
        ("a\\b", false),
        ("a*", false),
        ("a?", false),
        ("a\"", false),
        ("<a>", false),
        ("a|b", false),
        ("a#", false),
        ("cluster:a", false),
        ("-a", false),
        ("_a", false),
        ("+a", false),
        (".", false),
        ("..", false),
        (".ds-a", false),
        ("a-%H", false),
        ("a%", false),
    ] {
        assert_eq!(Index::of(name).is_some(), is, "{name}");
    }
}

#[test]
fn each_event_has_two_lines_and_the_index_of_its_own_day() {
    let messages = [
        message(1, r#"{"a":1.0}"#),
        message(24, r#"{"é" : "\u0041"}"#),
    ];
    let batch = of(&messages, "audit-%Y.%m.%d", ALL);
    assert_eq!(
        String::from_utf8(batch.body).unwrap(),
        concat!(
            r#"{"create":{"_id":"n/1","_index":"audit-2026.12.01"}}"#,
            "\n{\"a\":1.0}\n",
            r#"{"create":{"_id":"n/24","_index":"audit-2026.12.02"}}"#,
            "\n{\"é\" : \"\\u0041\"}\n",
        )
    );
    assert_eq!(
        (batch.seqs, batch.ids),
        (vec![1, 24], vec!["n/1".into(), "n/24".into()])
    );
}

/// The same text has the same name at every attempt, and another has another.
#[test]
fn what_has_no_name_has_one_of_its_text() {
    let mut messages = [message(1, "{}"), message(2, "{}"), message(3, "{ }")];
    messages[0].uid = String::new();
    messages[1].uid = "x".repeat(513);
    messages[2].uid = String::new();
    let ids = of(&messages, "a", ALL).ids;
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
    assert_eq!(ids[0].len(), 64);
}

#[test]
fn what_is_no_document_is_never_sent() {
    let long = format!(r#"{{"a":"{}"}}"#, "x".repeat(100));
    let texts = [
        "",
        "{}",
        "CEF:0|a",
        "{\"a\":\n1}",
        "{} {}",
        "[1]",
        &long,
        "{}",
    ];
    let messages: Vec<_> = (1..)
        .zip(texts)
        .map(|(seq, text)| message(seq, text))
        .collect();
    let room = Room {
        most_bytes: 100,
        ..ALL
    };
    let batch = of(&messages, "a", room);
    assert_eq!(batch.seqs, [2, 8]);
    let told = batch
        .unsendable
        .iter()
        .map(|one| (one.seq, one.reason.label()));
    let expect = [
        (1, "empty"),
        (3, "invalid"),
        (4, "invalid"),
        (5, "invalid"),
        (6, "invalid"),
        (7, "too_long"),
    ];
    assert_eq!(told.collect::<Vec<_>>(), expect);
}

#[test]
fn a_call_has_what_there_is_room_for_and_one_event_at_the_least() {
    let messages: Vec<_> = (1..=2000).map(|seq| message(seq, "{}")).collect();
    assert_eq!(of(&messages, "a", ALL).seqs.len(), 1000);
    let one = of(&messages[..1], "a", ALL).body.len();
    for (bytes, expect) in [(1, 1), (one, 1), (3 * one, 3), (4 * one - 1, 3)] {
        let room = Room { bytes, ..ALL };
        assert_eq!(of(&messages, "a", room).seqs.len(), expect, "{bytes}");
    }
    let odd = batch(
        &messages[..4],
        |seq| seq % 2 == 0,
        &Index::of("a").unwrap(),
        ALL,
    );
    assert_eq!(odd.seqs, [1, 3]);
}
