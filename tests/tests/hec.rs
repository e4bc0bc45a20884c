//! The collector's sink to Splunk against the double, over HTTP: what is delivered is what was sent,
//! whatever goes wrong. And the double's own rules, by a client that keeps none.
#![expect(
    clippy::disallowed_methods,
    reason = "shell: a runtime and files of its own"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

use std::sync::Arc;

use plimsoll_collector::config::sinks::hec::Hec as Settings;
use plimsoll_collector::sinks::hec::Hec as Sink;
use plimsoll_collector::sinks::{Message, RefusalKind, Refused, Sent};
use plimsoll_tests::hec::{Fault, Hec, Token};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;

const TOKEN: &str = "8b1d9c2e-token";

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

/// A sink of a double, and what both live in.
struct Rig {
    splunk: Hec,
    folder: tempfile::TempDir,
    settings: Settings,
    runtime: tokio::runtime::Runtime,
}

impl Rig {
    fn of(splunk: Hec, has_acks: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let token_file = folder.path().join("token");
        std::fs::write(&token_file, TOKEN).unwrap();
        let indexes = vec!["audit".to_owned()];
        splunk.add_token(
            TOKEN,
            Token {
                has_acks,
                indexes,
                ..Token::default()
            },
        );
        let settings = Settings {
            endpoint: splunk.endpoint(),
            token_file: Some(token_file),
            index: Some("audit".into()),
            source: Some("plimsoll".into()),
            acknowledgement: has_acks,
            ..Settings::default()
        };
        let runtime = runtime();
        Self {
            splunk,
            folder,
            settings,
            runtime,
        }
    }

    fn new(has_acks: bool) -> Self {
        Self::of(Hec::start().unwrap(), has_acks)
    }

    fn sink(&self) -> Sink {
        Sink::new(&self.settings)
    }

    fn send(&self, sink: &mut Sink, messages: &[Message]) -> Result<Sent, Refused> {
        self.runtime.block_on(sink.send(messages, 0))
    }

    /// Sends until all have their fate, refusals that pass waited out.
    fn send_all(&self, sink: &mut Sink, messages: &[Message]) -> Sent {
        let mut all = Sent::default();
        let mut idle = 0;
        while all.taken < messages.len() {
            let sent = match self.send(sink, &messages[all.taken..]) {
                Ok(sent) => sent,
                Err(refused) => {
                    assert!(refused.kind.is_passing(), "{refused}: {:?}", refused.source);
                    Sent::default()
                }
            };
            idle = if sent.taken == 0 { idle + 1 } else { 0 };
            assert!(idle < 50, "no end of calls that take nothing");
            all.taken += sent.taken;
            all.delivered += sent.delivered;
            all.maybe_twice += sent.maybe_twice;
            all.quarantined.extend(sent.quarantined);
        }
        all
    }
}

fn messages(count: u64) -> Vec<Message> {
    let message = |seq: u64| Message {
        seq,
        time_unix_ns: 1_790_000_000_000_000_000 + seq * 1_000_000,
        uid: format!("u{seq}"),
        text: format!(r#"{{"n":{seq}.0,"text":"\u0041é"}}"#),
    };
    (1..=count).map(message).collect()
}

/// Each message is stored, its bytes as they are, and how many are stored more than once.
fn twice(splunk: &Hec, messages: &[Message]) -> u64 {
    let stored = splunk.stored();
    let times = messages.iter().map(|message| {
        let of = stored.iter().filter(|stored| stored.event == message.text);
        of.clone()
            .for_each(|stored| assert_eq!(stored.time_ms, message.time_unix_ns / 1_000_000));
        of.count()
    });
    let times: Vec<_> = times.collect();
    assert!(times.iter().all(|times| *times > 0), "lost: {times:?}");
    times.into_iter().map(|times| u64::from(times > 1)).sum()
}

#[test]
fn what_is_stored_is_what_was_sent() {
    for gzip in [false, true] {
        let mut rig = Rig::new(false);
        rig.settings.gzip = gzip;
        let messages = messages(2500);
        let sent = rig.send_all(&mut rig.sink(), &messages);
        assert_eq!((sent.delivered, sent.maybe_twice), (2500, 0));
        let stored = rig.splunk.stored();
        let texts: Vec<_> = stored.iter().map(|stored| &stored.event).collect();
        assert_eq!(
            texts,
            messages
                .iter()
                .map(|message| &message.text)
                .collect::<Vec<_>>()
        );
        assert_eq!(stored[0].index.as_deref(), Some("audit"));
        assert_eq!(stored[0].source.as_deref(), Some("plimsoll"));
        assert_eq!((&stored[0].host, &stored[0].sourcetype), (&None, &None));
        let requests = rig.splunk.finish().unwrap();
        assert_eq!(requests.len(), 3);
        assert!(requests.iter().all(|request| request.is_packed == gzip));
    }
}

#[test]
fn nothing_is_lost_and_nothing_twice_that_is_not_said_to_be() {
    for has_acks in [false, true] {
        for (fault, is_twice) in [
            (Fault::Busy, false),
            (Fault::TooMany, false),
            (Fault::Internal, false),
            (Fault::BadGateway, false),
            (Fault::CutBefore, false),
            (Fault::CutAfter, true),
            (Fault::UnusableBody, true),
        ] {
            let rig = Rig::new(has_acks);
            rig.splunk.fail(fault, 2);
            let messages = messages(20);
            let sent = rig.send_all(&mut rig.sink(), &messages);
            assert_eq!(sent.delivered, 20, "{fault:?}");
            let twice = twice(&rig.splunk, &messages);
            assert_eq!(twice > 0, is_twice, "{fault:?}");
            assert!(twice <= sent.maybe_twice, "{fault:?}");
            rig.splunk.finish().unwrap();
        }
    }
}

#[test]
fn an_invalid_event_is_quarantined_and_the_rest_is_stored() {
    for (has_acks, unnamed) in [(false, 0), (false, 30), (true, 0), (true, 30)] {
        let rig = Rig::new(has_acks);
        rig.splunk.poison("\"n\":7.0");
        // As many as it takes to find it.
        rig.splunk.fail(Fault::Unnamed, unnamed);
        let messages = messages(20);
        let sent = rig.send_all(&mut rig.sink(), &messages);
        assert_eq!((sent.delivered, sent.quarantined.len()), (19, 1));
        assert_eq!(sent.quarantined[0].seq, 7);
        let good: Vec<_> = messages
            .into_iter()
            .filter(|message| message.seq != 7)
            .collect();
        assert!(twice(&rig.splunk, &good) <= sent.maybe_twice);
        assert_eq!(rig.splunk.skipped(), 0);
    }
}

#[test]
fn what_an_operator_has_to_mend_waits() {
    let rig = Rig::new(false);
    let messages = messages(2);
    let mut sink = rig.sink();
    let indexes = vec!["other".to_owned()];
    let disabled = Token {
        is_disabled: true,
        ..Token::default()
    };
    for (token, kind) in [
        (
            Token {
                indexes,
                ..Token::default()
            },
            RefusalKind::Missing,
        ),
        (disabled, RefusalKind::Credentials),
        (
            Token {
                has_acks: true,
                ..Token::default()
            },
            RefusalKind::Other,
        ),
    ] {
        rig.splunk.add_token(TOKEN, token);
        let refused = rig.send(&mut sink, &messages).unwrap_err();
        assert_eq!(refused.kind, kind, "{refused}");
    }
    std::fs::write(rig.folder.path().join("token"), "another").unwrap();
    let refused = rig.send(&mut sink, &messages).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Credentials);
    rig.splunk.fail(Fault::Redirect, 1);
    let refused = rig.send(&mut sink, &messages).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Other);
    assert!(rig.splunk.stored().is_empty());
    rig.splunk.add_token("another", Token::default());
    assert_eq!(rig.send(&mut sink, &messages).unwrap().delivered, 2);
    rig.splunk.finish().unwrap();
}

#[test]
fn a_smaller_limit_there_halves_calls() {
    let rig = Rig::new(false);
    rig.splunk.set_max_content_bytes(2000);
    let messages = messages(200);
    let sent = rig.send_all(&mut rig.sink(), &messages);
    assert_eq!((sent.delivered, sent.maybe_twice), (200, 0));
    assert_eq!(twice(&rig.splunk, &messages), 0);
}

#[test]
fn events_count_once_they_are_acknowledged() {
    let rig = Rig::new(true);
    rig.splunk.set_looks(2);
    rig.splunk.fail_ack(Fault::Busy, 1);
    let messages = messages(3);
    let mut sink = rig.sink();
    let refused = rig.send(&mut sink, &messages).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Throttled);
    assert_eq!(
        rig.splunk.stored().len(),
        3,
        "they are stored, and not told yet"
    );
    let sent = rig.send_all(&mut sink, &messages);
    assert_eq!((sent.delivered, sent.maybe_twice), (3, 0));
    let requests = rig.splunk.finish().unwrap();
    let channels = requests
        .iter()
        .map(|request| request.channel.as_deref().unwrap());
    let channels: std::collections::BTreeSet<_> = channels.collect();
    assert_eq!(channels.len(), 1);
}

#[test]
fn what_is_not_acknowledged_is_sent_again() {
    for fault in [Fault::LostBehind, Fault::NeverAcknowledged] {
        let mut rig = Rig::new(true);
        rig.settings.ack_timeout_s = 1;
        rig.splunk.fail(fault, 1);
        let messages = messages(3);
        let mut sink = rig.sink();
        let refused = rig.send(&mut sink, &messages).unwrap_err();
        assert!(
            refused.what.contains("not acknowledged within 1 s"),
            "{refused}"
        );
        let sent = rig.send_all(&mut sink, &messages);
        assert_eq!((sent.delivered, sent.maybe_twice), (3, 3));
        assert!(twice(&rig.splunk, &messages) <= 3);
        rig.splunk.finish().unwrap();
    }
}

/// An authority of one's own, and what a server of localhost has of it.
fn authority() -> (String, rustls::ServerConfig) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let leaf = params.signed_by(&key, &authority).unwrap();
    let secret = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config =
        rustls::ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![leaf.der().clone()], secret)
            .unwrap();
    (authority.pem(), config)
}

#[test]
fn over_tls_only_one_of_the_authority_has_the_events() {
    let (own, config) = authority();
    let (other, _) = authority();
    let mut rig = Rig::of(Hec::start_tls(config).unwrap(), true);
    let path = rig.folder.path().join("ca.crt");
    rig.settings.ca_file = Some(path.clone());
    std::fs::write(&path, other).unwrap();
    let messages = messages(3);
    let refused = rig.send(&mut rig.sink(), &messages).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Other);
    assert!(rig.splunk.requests().is_empty());
    std::fs::write(&path, own).unwrap();
    let sent = rig.send_all(&mut rig.sink(), &messages);
    assert_eq!((sent.delivered, sent.maybe_twice), (3, 0));
    rig.splunk.finish().unwrap();
}

/// A client that sends what it is told; status and body of the answer.
fn post(splunk: &Hec, path: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent: ureq::Agent = config.build().into();
    let mut request = agent.post(format!("{}{path}", splunk.endpoint()));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = request.send(body).unwrap();
    (
        answer.status().as_u16(),
        answer.body_mut().read_to_string().unwrap(),
    )
}

const JSON: (&str, &str) = ("content-type", "application/json");
const GOOD: (&str, &str) = ("authorization", "Splunk t");

#[test]
fn an_object_without_event_is_skipped_in_silence_and_fails_the_test() {
    let splunk = Hec::start().unwrap();
    splunk.add_token("t", Token::default());
    let body = r#"{"time":1,"event":{}}{"time":2}"#;
    let (status, said) = post(&splunk, "/services/collector/event", &[JSON, GOOD], body);
    assert_eq!(
        (status, said.as_str()),
        (200, r#"{"code":0,"text":"Success"}"#)
    );
    assert_eq!((splunk.stored().len(), splunk.skipped()), (1, 1));
    assert!(
        splunk
            .finish()
            .unwrap_err()
            .to_string()
            .contains("1 objects")
    );
}

#[test]
fn the_double_refuses_by_splunks_numbers() {
    let splunk = Hec::start().unwrap();
    splunk.add_token("t", Token::default());
    splunk.add_token(
        "a",
        Token {
            has_acks: true,
            ..Token::default()
        },
    );
    let acks = ("authorization", "Splunk a");
    let channel = (
        "x-splunk-request-channel",
        "00000000-0000-4000-8000-000000000000",
    );
    let no_channel = ("x-splunk-request-channel", "mine");
    let event = r#"{"time":1,"event":{}}"#;
    for (path, headers, body, expect) in [
        ("event", &[JSON][..], event, (401, 2)),
        (
            "event",
            &[JSON, ("authorization", "Bearer t")],
            event,
            (401, 3),
        ),
        (
            "event",
            &[JSON, ("authorization", "Splunk x")],
            event,
            (403, 4),
        ),
        ("event", &[JSON, GOOD], "", (400, 5)),
        ("event", &[JSON, GOOD], "{", (400, 6)),
        ("event", &[JSON, acks], event, (400, 10)),
        ("event", &[JSON, acks, no_channel], event, (400, 11)),
        ("event", &[JSON, acks, channel], event, (200, 0)),
        ("ack", &[JSON, GOOD, channel], r#"{"acks":[0]}"#, (400, 14)),
    ] {
        let path = format!("/services/collector/{path}");
        let (status, said) = post(&splunk, &path, headers, body);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((status, said["code"].as_i64()), (expect.0, Some(expect.1)));
    }
    let ask = || {
        post(
            &splunk,
            "/services/collector/ack",
            &[JSON, acks, channel],
            r#"{"acks":[0,1]}"#,
        )
        .1
    };
    assert_eq!(ask(), r#"{"acks":{"0":true,"1":false}}"#);
    assert_eq!(
        ask(),
        r#"{"acks":{"0":false,"1":false}}"#,
        "what was told is forgotten"
    );
    assert_eq!(
        post(&splunk, "/services/collector", &[JSON, GOOD], event).0,
        404
    );
    assert!(
        splunk
            .finish()
            .unwrap_err()
            .to_string()
            .contains("unexpected calls")
    );
}

#[test]
fn a_call_can_be_held_and_a_fault_must_happen() {
    let splunk = Hec::start().unwrap();
    splunk.add_token("t", Token::default());
    splunk.fail(Fault::Held, 1);
    splunk.fail(Fault::Busy, 1);
    let event = r#"{"time":1,"event":{}}"#;
    std::thread::scope(|scope| {
        let call = scope.spawn(|| post(&splunk, "/services/collector/event", &[JSON, GOOD], event));
        while splunk.stored().is_empty() {
            std::thread::yield_now();
        }
        assert_eq!(splunk.requests()[0].answer, None);
        while !call.is_finished() {
            splunk.release();
            std::thread::yield_now();
        }
        assert_eq!(call.join().unwrap().0, 200);
    });
    assert!(splunk.finish().unwrap_err().to_string().contains("[Busy]"));
}
