#![expect(
    clippy::disallowed_methods,
    reason = "shell: starts rsyslog and looks whether it is there"
)]
#![expect(clippy::unwrap_used, reason = "a test with a main of its own")]
//! The collector's sink to syslog beside rsyslog, which others run: over TLS, with certificates on both sides.
//!
//! Needs rsyslog in `target/rsyslog`, where `.ci/run` unpacks it:
//!
//! ```sh
//! mkdir -p target/rsyslog/packages && cd target/rsyslog/packages
//! apt-get download rsyslog rsyslog-gnutls libestr0 libfastjson4
//! for package in *.deb; do dpkg -x "$package" ..; done
//! ```
//!
//! Without it one line is printed, `SKIP syslog to rsyslog: reason`. A word on the command line selects the
//! cases whose name contains it.

#[path = "syslog/rsyslog.rs"]
mod rsyslog;

use std::collections::BTreeSet;
use std::process::ExitCode;

use plimsoll_collector::config::sinks::Syslog as Settings;
use plimsoll_collector::sinks::syslog::Syslog;
use plimsoll_collector::sinks::{Message, RefusalKind};
use plimsoll_tests::checks::{self, Verdict};
use rsyslog::{Place, Programs};
use tokio::runtime::Runtime;

const NOW_MS: u64 = 1_790_000_000_123;

type Case = fn(&Programs) -> Verdict;

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let Some(programs) = Programs::find() else {
        let skip = || Verdict::Skipped("needs rsyslog in target/rsyslog".to_owned());
        return checks::run("syslog", [("syslog to rsyslog", skip)], None);
    };
    let cases: [(&str, Case); 3] = [
        (
            "every_message_arrives_once_and_unaltered",
            every_message_arrives_once_and_unaltered,
        ),
        (
            "a_receiver_that_is_killed_gets_all_of_it",
            a_receiver_that_is_killed_gets_all_of_it,
        ),
        (
            "who_has_no_certificate_sends_nothing",
            who_has_no_certificate_sends_nothing,
        ),
    ];
    let programs = &programs;
    let all = cases.map(|(name, case)| (name, move || case(programs)));
    checks::run("syslog", all, filter.as_deref())
}

fn every_message_arrives_once_and_unaltered(programs: &Programs) -> Verdict {
    let place = Place::new();
    let rsyslog = programs.start(&place, 0);
    let mut messages: Vec<_> = (1..=500).map(message).collect();
    messages[249].text = event(250, &"ä]\\u0000".repeat(5_000));
    assert!(messages[249].text.len() > 40_000);
    let (mut sink, runtime) = (Syslog::new(&settings(&place, rsyslog.port)), runtime());
    let mut rest = messages.as_slice();
    while !rest.is_empty() {
        // As a sink is called: what has come by then.
        let sent = runtime.block_on(sink.send(&rest[..rest.len().min(200)], NOW_MS));
        rest = &rest[sent.unwrap().taken..];
    }
    runtime.block_on(sink.close());
    let received: Vec<_> = messages.iter().map(|_| rsyslog.line()).collect();
    let expected = messages.iter().map(|message| {
        let (seq, text) = (message.seq, &message.text);
        format!(
            "13.3 2026-09-21T14:13:20.123456Z ip-10-0-0-1 plimsoll - imds \
             [plimsoll@32473 uid=\"\\\"{seq}\\]\" seq=\"{seq}\"] {text}"
        )
    });
    for (received, expected) in received.iter().zip(expected) {
        assert_eq!(received.replacen('\u{feff}', "", 1), expected);
    }
    assert_eq!(rsyslog.end(), Vec::<String>::new(), "nothing came twice");
    Verdict::Passed
}

/// It is killed while messages are on their way: what was taken is written again, and nothing is missing.
fn a_receiver_that_is_killed_gets_all_of_it(programs: &Programs) -> Verdict {
    let place = Place::new();
    let first = programs.start(&place, 0);
    let port = first.port;
    let (mut sink, runtime) = (Syslog::new(&settings(&place, port)), runtime());
    let messages: Vec<_> = (1..=300).map(message).collect();
    let mut taken = 0;
    for upto in [100, 200] {
        let sent = runtime.block_on(sink.send(&messages[taken..upto], NOW_MS));
        taken += sent.unwrap().taken;
    }
    let mut received = first.kill();
    let second = programs.start(&place, port);
    let mut maybe_twice = 0;
    for _ in 0..10 {
        match runtime.block_on(sink.send(&messages[taken..], NOW_MS)) {
            Ok(sent) => {
                taken += sent.taken;
                maybe_twice += sent.maybe_twice;
            }
            Err(refused) => assert_eq!(refused.kind, RefusalKind::Unavailable, "{refused:?}"),
        }
        if taken == messages.len() {
            break;
        }
    }
    assert_eq!((taken, maybe_twice), (messages.len(), 200));
    runtime.block_on(sink.close());
    for _ in &messages {
        received.push(second.line());
    }
    let missing: Vec<_> = messages
        .iter()
        .filter(|message| !received.iter().any(|line| line.ends_with(&message.text)))
        .collect();
    assert!(missing.is_empty(), "{missing:?}");
    let again: BTreeSet<_> = second.end().into_iter().collect();
    assert!(again.is_empty(), "{again:?}");
    Verdict::Passed
}

fn who_has_no_certificate_sends_nothing(programs: &Programs) -> Verdict {
    let place = Place::new();
    let rsyslog = programs.start(&place, 0);
    let mut sink = Syslog::new(&Settings {
        cert_file: None,
        key_file: None,
        ..settings(&place, rsyslog.port)
    });
    let refused = runtime().block_on(sink.send(&[message(1)], NOW_MS));
    let refused = refused.unwrap_err();
    // gnutls ends the connection with an alert or without one.
    let is_told = matches!(refused.kind, RefusalKind::Denied | RefusalKind::Unavailable);
    assert!(is_told, "{refused:?}");
    let lines = rsyslog.end();
    assert!(
        !lines.iter().any(|line| line.contains("plimsoll")),
        "{lines:?}"
    );
    Verdict::Passed
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap()
}

fn event(seq: u64, noise: &str) -> String {
    format!(
        r#"{{"device":{{"hostname":"ip-10-0-0-1"}},"metadata":{{"log_name":"imds"}},"n":{seq},"severity_id":4,"x":"{noise}"}}"#
    )
}

fn message(seq: u64) -> Message {
    Message {
        seq,
        time_unix_ns: NOW_MS * 1_000_000 + 456_789,
        uid: format!("\"{seq}]"),
        text: event(seq, "<13>1 ü \\n\\\" %msg%"),
    }
}

fn settings(place: &Place, port: u16) -> Settings {
    Settings {
        address: format!("127.0.0.1:{port}"),
        server_name: Some("siem".to_owned()),
        ca_file: Some(place.at("ca.pem")),
        cert_file: Some(place.at("plimsoll.pem")),
        key_file: Some(place.at("plimsoll.key")),
        ..Settings::default()
    }
}
