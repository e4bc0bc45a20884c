//! The sink against a receiver that ends connections when it likes.

mod receiver;

use self::receiver::{Authority, End, Receiver, Script, put, text, tls};
use super::*;
use crate::sinks::{Message, QuarantineReason, RefusalKind};

const NOW_MS: u64 = 1_790_000_000_000;

/// Where a test expects the connection to end, it is waited for.
const UNTIL_IT_ENDS: Duration = Duration::from_secs(20);

/// Where it is to stay open, nothing is.
const NOT_AT_ALL: Duration = Duration::from_millis(1);

fn messages(seqs: std::ops::RangeInclusive<u64>) -> Vec<Message> {
    seqs.map(|seq| Message {
        seq,
        time_unix_ns: NOW_MS * 1_000_000,
        uid: format!("u{seq}"),
        text: format!("{{\"n\":{seq}}}"),
    })
    .collect()
}

/// The numbers in the events of messages as they came.
fn numbers(received: &[String]) -> Vec<u64> {
    let number = |message: &String| {
        let (_, event) = message.split_once('\u{feff}').unwrap();
        serde_json::from_str::<serde_json::Value>(event).unwrap()["n"].as_u64()
    };
    received.iter().map(|of| number(of).unwrap()).collect()
}

struct Bench {
    folder: tempfile::TempDir,
    authority: Authority,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new(folder.path(), "ca");
        Self { folder, authority }
    }

    /// A receiver called `siem`.
    fn receiver(&self, scripts: &[Script]) -> Receiver {
        Receiver::start(Some(tls(&self.authority.sign("siem"), None)), scripts)
    }

    fn settings(&self, receiver: &Receiver) -> Settings {
        Settings {
            address: receiver.address.to_string(),
            server_name: Some("siem".to_owned()),
            ca_file: Some(self.authority.file.clone()),
            ..Settings::default()
        }
    }

    fn sink(&self, receiver: &Receiver) -> Syslog {
        sink(&self.settings(receiver))
    }
}

fn sink(settings: &Settings) -> Syslog {
    let mut sink = Syslog::new(settings);
    sink.waits = open_waits();
    sink
}

/// The connection stays.
fn open_waits() -> Waits {
    Waits {
        before: NOT_AT_ALL,
        first: NOT_AT_ALL,
        after: NOT_AT_ALL,
        stall: UNTIL_IT_ENDS,
    }
}

/// The other side has ended the connection, or does so now.
fn ending_waits() -> Waits {
    Waits {
        before: UNTIL_IT_ENDS,
        first: UNTIL_IT_ENDS,
        after: UNTIL_IT_ENDS,
        stall: UNTIL_IT_ENDS,
    }
}

/// A runtime that outlives the calls, as the collector's does.
fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

fn told(refused: &Refused) -> String {
    crate::errors::chain(refused)
}

#[test]
fn calls_go_over_one_connection() {
    let (bench, runtime) = (Bench::new(), runtime());
    let receiver = bench.receiver(&[Script::Read]);
    let mut sink = bench.sink(&receiver);
    for (seqs, count) in [(1..=3, 3), (4..=4, 1)] {
        let sent = runtime
            .block_on(sink.send(&messages(seqs), NOW_MS))
            .unwrap();
        let expect = Sent {
            taken: count,
            delivered: count as u64,
            ..Sent::default()
        };
        assert_eq!(sent, expect);
    }
    let nothing = runtime.block_on(sink.send(&[], NOW_MS)).unwrap();
    assert_eq!(nothing, Sent::default());
    runtime.block_on(sink.close());
    assert_eq!(numbers(&receiver.connection()), [1, 2, 3, 4]);
}

#[test]
fn plain_tcp_is_spoken_on_the_same_machine() {
    let runtime = runtime();
    let receiver = Receiver::start(None, &[Script::Read]);
    let mut sink = sink(&Settings {
        address: receiver.address.to_string(),
        tls: false,
        ..Settings::default()
    });
    let sent = runtime
        .block_on(sink.send(&messages(1..=2), NOW_MS))
        .unwrap();
    assert_eq!(sent.delivered, 2);
    runtime.block_on(sink.close());
    assert_eq!(numbers(&receiver.connection()), [1, 2]);
}

#[test]
fn what_is_never_sent_needs_no_receiver() {
    let mut sink = sink(&Settings {
        address: "127.0.0.1:1".to_owned(),
        tls: false,
        ..Settings::default()
    });
    let mut messages = messages(1..=2);
    messages[0].text = String::new();
    messages[1].text = "x".repeat(65_536);
    let sent = runtime().block_on(sink.send(&messages, NOW_MS)).unwrap();
    assert_eq!((sent.taken, sent.delivered), (2, 0));
    let labels: Vec<_> = sent
        .quarantined
        .iter()
        .map(|of| of.reason.label())
        .collect();
    assert_eq!(labels, ["empty", "too_long"]);
    let most = 65_536;
    let told = &sent.quarantined[1].reason;
    assert!(matches!(told, QuarantineReason::TooLong { most: of, .. } if *of == most));
}

#[test]
fn nobody_there_is_told_and_tried_again() {
    let runtime = runtime();
    let receiver = Receiver::start(None, &[]);
    let address = receiver.address.to_string();
    drop(receiver);
    let mut sink = sink(&Settings {
        address: address.clone(),
        tls: false,
        ..Settings::default()
    });
    let refused = runtime
        .block_on(sink.send(&messages(1..=1), NOW_MS))
        .unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Unavailable);
    let expect = format!("connect to the syslog receiver {address}: Connection refused");
    assert!(told(&refused).starts_with(&expect), "{}", told(&refused));
}

/// Closed before a byte is read: nothing was taken, and all comes on the next connection.
#[test]
fn a_receiver_that_closes_before_reading_loses_nothing() {
    let (bench, runtime) = (Bench::new(), runtime());
    let receiver = bench.receiver(&[Script::Close, Script::Read]);
    let mut sink = bench.sink(&receiver);
    let refused = runtime
        .block_on(sink.send(&messages(1..=2), NOW_MS))
        .unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Unavailable, "{}", told(&refused));
    assert!(receiver.connection().is_empty());
    let sent = runtime
        .block_on(sink.send(&messages(1..=2), NOW_MS))
        .unwrap();
    assert_eq!(
        (sent.taken, sent.maybe_twice),
        (2, 0),
        "nothing was written"
    );
    runtime.block_on(sink.close());
    assert_eq!(numbers(&receiver.connection()), [1, 2]);
}

/// It ends within the moment that is waited after a call: the call is not taken, and comes again.
#[test]
fn a_call_that_the_connection_ends_behind_is_sent_again() {
    for script in [
        Script::After(1, End::InOrder),
        Script::After(1, End::Reset),
        Script::After(2, End::InOrder),
    ] {
        let (bench, runtime) = (Bench::new(), runtime());
        let receiver = bench.receiver(&[script, Script::Read]);
        let mut sink = bench.sink(&receiver);
        sink.waits = ending_waits();
        let refused = runtime
            .block_on(sink.send(&messages(1..=2), NOW_MS))
            .unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Unavailable, "{}", told(&refused));
        assert!(told(&refused).starts_with("write to the syslog receiver"));
        receiver.connection();
        sink.waits = open_waits();
        let sent = runtime
            .block_on(sink.send(&messages(1..=3), NOW_MS))
            .unwrap();
        assert_eq!((sent.taken, sent.maybe_twice), (3, 2), "{script:?}");
        runtime.block_on(sink.close());
        assert_eq!(numbers(&receiver.connection()), [1, 2, 3], "{script:?}");
    }
}

/// It ends after the call was taken: what is kept comes again, before anything new.
#[test]
fn what_was_taken_last_is_written_again_on_the_next_connection() {
    for script in [
        Script::WhenTold(3, End::InOrder),
        Script::WhenTold(3, End::Reset),
    ] {
        let (bench, runtime) = (Bench::new(), runtime());
        let receiver = bench.receiver(&[script, Script::Read]);
        let mut sink = bench.sink(&receiver);
        for seqs in [1..=2, 3..=3] {
            runtime
                .block_on(sink.send(&messages(seqs), NOW_MS))
                .unwrap();
        }
        receiver.end();
        assert_eq!(numbers(&receiver.connection()), [1, 2, 3]);
        sink.waits.before = UNTIL_IT_ENDS;
        let sent = runtime
            .block_on(sink.send(&messages(4..=4), NOW_MS))
            .unwrap();
        assert_eq!((sent.taken, sent.delivered, sent.maybe_twice), (1, 1, 3));
        sink.waits.before = NOT_AT_ALL;
        let sent = runtime
            .block_on(sink.send(&messages(5..=5), NOW_MS))
            .unwrap();
        assert_eq!(sent.maybe_twice, 0, "they are told once");
        runtime.block_on(sink.close());
        assert_eq!(
            numbers(&receiver.connection()),
            [1, 2, 3, 4, 5],
            "{script:?}"
        );
    }
}

/// A connection that was seen open a minute after a call has brought it; the last call is kept in any case.
#[test]
fn what_a_connection_outlived_is_not_written_again() {
    let (bench, runtime) = (Bench::new(), runtime());
    let receiver = bench.receiver(&[Script::WhenTold(3, End::InOrder), Script::Read]);
    let mut sink = bench.sink(&receiver);
    for (seqs, now_ms) in [
        (1..=1, NOW_MS),
        (2..=2, NOW_MS + KEPT_MS),
        (3..=3, NOW_MS + KEPT_MS + 1),
    ] {
        runtime
            .block_on(sink.send(&messages(seqs), now_ms))
            .unwrap();
    }
    receiver.end();
    assert_eq!(numbers(&receiver.connection()), [1, 2, 3]);
    sink.waits.before = UNTIL_IT_ENDS;
    // That it ended is seen much later: nobody saw it open in between.
    let later = NOW_MS + 100 * KEPT_MS;
    let sent = runtime
        .block_on(sink.send(&messages(4..=4), later))
        .unwrap();
    assert_eq!(sent.maybe_twice, 2);
    runtime.block_on(sink.close());
    assert_eq!(numbers(&receiver.connection()), [2, 3, 4]);
}

#[test]
fn what_is_kept_is_bounded() {
    let mut kept = Kept::default();
    let call = |bytes: usize| KeptCall {
        bytes: vec![0; bytes],
        once: 1,
        written_unix_ms: NOW_MS,
    };
    for _ in 0..10 {
        kept.push(call(KEPT_BYTES / 4));
    }
    assert_eq!((kept.calls.len(), kept.bytes), (4, KEPT_BYTES));
    kept.push(call(1));
    assert_eq!(kept.calls.len(), 4);
    kept.push(call(2 * KEPT_BYTES));
    assert_eq!(
        kept.calls.len(),
        1,
        "the last one is kept however long it is"
    );
    kept.settle(NOW_MS + 2 * KEPT_MS);
    assert_eq!(kept.bytes, 2 * KEPT_BYTES);
}

/// A call of several times what the kernels hold.
#[test]
fn a_slow_receiver_gets_all_of_it() {
    let (bench, runtime) = (Bench::new(), runtime());
    let receiver = bench.receiver(&[Script::Slow]);
    let mut sink = bench.sink(&receiver);
    let mut all = messages(1..=60);
    for message in &mut all {
        message.text = format!("{{\"n\":{},\"x\":\"{}\"}}", message.seq, "ä".repeat(25_000));
    }
    let mut rest = all.as_slice();
    while !rest.is_empty() {
        let sent = runtime.block_on(sink.send(rest, NOW_MS)).unwrap();
        assert!(sent.taken > 0);
        rest = &rest[sent.taken..];
    }
    runtime.block_on(sink.close());
    assert_eq!(
        numbers(&receiver.connection()),
        (1..=60).collect::<Vec<_>>()
    );
}

/// It takes what the kernels hold, which is less than what is kept.
#[test]
fn a_receiver_that_does_not_read_loses_nothing() {
    let (bench, runtime) = (Bench::new(), runtime());
    let receiver = bench.receiver(&[Script::WhenTold(0, End::Reset), Script::Read]);
    let mut sink = bench.sink(&receiver);
    sink.waits.stall = Duration::from_millis(100);
    let mut all = messages(1..=400);
    for message in &mut all {
        let noise = "x".repeat(60_000);
        message.text = format!("{{\"n\":{},\"x\":\"{noise}\"}}", message.seq);
    }
    let mut taken = 0;
    let refused = loop {
        match runtime.block_on(sink.send(&all[taken..=taken], NOW_MS)) {
            Ok(sent) => taken += sent.taken,
            Err(refused) => break refused,
        }
    };
    assert!(taken > 1, "the kernels took {taken} messages");
    assert_eq!(refused.kind, RefusalKind::Unavailable);
    assert!(told(&refused).contains("timed out"), "{}", told(&refused));
    receiver.end();
    assert!(receiver.connection().is_empty());
    sink.waits = open_waits();
    let upto = taken + 1;
    let sent = runtime
        .block_on(sink.send(&all[taken..upto], NOW_MS))
        .unwrap();
    assert_eq!((sent.taken, sent.maybe_twice), (1, upto as u64));
    runtime.block_on(sink.close());
    let expected: Vec<_> = (1..=upto as u64).collect();
    assert_eq!(numbers(&receiver.connection()), expected);
}

#[test]
fn a_call_that_is_dropped_leaves_no_half_of_a_message_behind() {
    let (bench, runtime) = (Bench::new(), runtime());
    let receiver = bench.receiver(&[Script::Read, Script::Read]);
    let mut sink = bench.sink(&receiver);
    sink.waits = ending_waits();
    let messages = messages(1..=2);
    let receiver = runtime.block_on(async {
        let arrived = tokio::task::spawn_blocking(move || {
            assert!(receiver.message().ends_with(r#"{"n":1}"#));
            receiver
        });
        tokio::select! {
            biased;
            sent = sink.send(&messages, NOW_MS) => panic!("{sent:?}"),
            receiver = arrived => receiver.unwrap(),
        }
    });
    receiver.connection();
    sink.waits = open_waits();
    let sent = runtime.block_on(sink.send(&messages, NOW_MS)).unwrap();
    assert_eq!((sent.taken, sent.maybe_twice), (2, 2));
    runtime.block_on(sink.close());
    assert_eq!(numbers(&receiver.connection()), [1, 2]);
}

#[test]
fn a_receiver_of_another_authority_or_name_gets_nothing() {
    let (bench, runtime) = (Bench::new(), runtime());
    let other = Authority::new(bench.folder.path(), "other");
    let receiver = bench.receiver(&[Script::Read, Script::Read, Script::Read]);
    let settings = bench.settings(&receiver);
    for wrong in [
        Settings {
            ca_file: Some(other.file.clone()),
            ..settings.clone()
        },
        Settings {
            server_name: Some("siem.example.com".to_owned()),
            ..settings.clone()
        },
        // The address's own name.
        Settings {
            server_name: None,
            ..settings
        },
    ] {
        let mut sink = sink(&wrong);
        let refused = runtime
            .block_on(sink.send(&messages(1..=1), NOW_MS))
            .unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Other, "{}", told(&refused));
        assert!(told(&refused).contains("its certificate is not one of server_name's by ca_file"));
        assert!(receiver.connection().is_empty());
    }
}

#[test]
fn a_receiver_that_wants_a_certificate_gets_it() {
    let (bench, runtime) = (Bench::new(), runtime());
    let clients = Authority::new(bench.folder.path(), "clients");
    let config = tls(&bench.authority.sign("siem"), Some(&clients));
    let receiver = Receiver::start(Some(config), &[Script::Read; 3]);
    let settings = bench.settings(&receiver);
    let with = |pair: receiver::Pair| Settings {
        cert_file: Some(pair.cert),
        key_file: Some(pair.key),
        ..settings.clone()
    };
    for wrong in [settings.clone(), with(bench.authority.sign("plimsoll"))] {
        let mut sink = sink(&wrong);
        sink.waits = ending_waits();
        let refused = runtime
            .block_on(sink.send(&messages(1..=1), NOW_MS))
            .unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Denied, "{}", told(&refused));
        assert!(
            told(&refused).contains("it does not take the certificate of cert_file, or wants one")
        );
        assert!(receiver.connection().is_empty());
    }
    let mut sink = sink(&with(clients.sign("plimsoll")));
    runtime
        .block_on(sink.send(&messages(1..=1), NOW_MS))
        .unwrap();
    runtime.block_on(sink.close());
    assert_eq!(numbers(&receiver.connection()), [1]);
}

#[test]
fn certificates_are_read_again_when_they_change() {
    let (bench, runtime) = (Bench::new(), runtime());
    let receiver = bench.receiver(&[Script::Read, Script::Read]);
    let file = bench.folder.path().join("named.pem");
    let settings = Settings {
        ca_file: Some(file.clone()),
        ..bench.settings(&receiver)
    };
    let mut sink = sink(&settings);
    let refused = runtime
        .block_on(sink.send(&messages(1..=1), NOW_MS))
        .unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Other);
    assert!(
        told(&refused).contains("read certificates from "),
        "{}",
        told(&refused)
    );
    let good = text(&bench.authority.file);
    put(&file, &good);
    runtime
        .block_on(sink.send(&messages(1..=1), NOW_MS))
        .unwrap();
    put(&file, "nonsense");
    runtime
        .block_on(sink.send(&messages(2..=2), NOW_MS))
        .unwrap();
    assert_eq!(numbers(&[receiver.message()]), [1]);
    let other = Authority::new(bench.folder.path(), "other");
    put(&file, &format!("{good}{}", text(&other.file)));
    let sent = runtime
        .block_on(sink.send(&messages(3..=3), NOW_MS))
        .unwrap();
    assert_eq!(sent.maybe_twice, 2, "what was on its way comes again");
    assert_eq!(numbers(&receiver.connection()), [2]);
    runtime.block_on(sink.close());
    assert_eq!(numbers(&receiver.connection()), [1, 2, 3]);
}
