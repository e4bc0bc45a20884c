//! The sink to Elasticsearch against its double, over HTTP, with the client that it has.
#![expect(
    clippy::disallowed_methods,
    reason = "a runtime for the sink's calls, and files with secrets"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

use plimsoll_collector::config::sinks::elasticsearch::{Auth, Elasticsearch as Settings};
use plimsoll_collector::errors;
use plimsoll_collector::sinks::elasticsearch::Elasticsearch as Sink;
use plimsoll_collector::sinks::{Message, RefusalKind, Refused, Sent};
use plimsoll_tests::authority::Authority;
use plimsoll_tests::elasticsearch::{Elasticsearch, Fault};

const SECRET: &str = "S3CRET-b0a1";
const INDEX: &str = "audit";

struct Rig {
    elastic: Elasticsearch,
    folder: tempfile::TempDir,
    settings: Settings,
    runtime: tokio::runtime::Runtime,
}

impl Rig {
    fn of(elastic: Elasticsearch) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let secret_file = folder.path().join("secret");
        std::fs::write(&secret_file, format!("{SECRET}\n")).unwrap();
        elastic.accept(&format!("ApiKey {SECRET}"));
        let settings = Settings {
            endpoint: elastic.endpoint(),
            index: INDEX.into(),
            secret_file: Some(secret_file),
            ..Settings::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        Self {
            elastic,
            folder,
            settings,
            runtime,
        }
    }

    fn new() -> Self {
        Self::of(Elasticsearch::start().unwrap())
    }

    fn sink(&self) -> Sink {
        Sink::new(&self.settings)
    }

    fn send(&self, sink: &mut Sink, messages: &[Message]) -> Result<Sent, Refused> {
        self.runtime.block_on(sink.send(messages))
    }

    /// Sends until all have their fate, refusals that pass waited out.
    fn send_all(&self, sink: &mut Sink, messages: &[Message]) -> Sent {
        let (mut all, mut idle) = (Sent::default(), 0);
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

    /// Exactly these are in the index, their bytes as they are.
    #[track_caller]
    fn assert_there(&self, messages: &[Message]) {
        let stored = self.elastic.stored();
        let there = &stored[INDEX];
        for message in messages {
            assert_eq!(there.get(&message.uid), Some(&message.text));
        }
        assert_eq!(there.len(), messages.len());
    }
}

fn messages(count: u64) -> Vec<Message> {
    let message = |seq: u64| Message {
        seq,
        time_unix_ns: 1_796_083_200_000_000_000 + seq * 1_000_000,
        uid: format!("node/e/security/{seq}"),
        text: format!(r#"{{"n":{seq}.0,"text":"\u0041é"}}"#),
    };
    (1..=count).map(message).collect()
}

#[test]
fn what_is_stored_is_what_was_sent() {
    for gzip in [false, true] {
        let mut rig = Rig::new();
        rig.settings.gzip = gzip;
        let messages = messages(2500);
        let sent = rig.send_all(&mut rig.sink(), &messages);
        assert_eq!((sent.delivered, sent.maybe_twice), (2500, 0));
        rig.assert_there(&messages);
        let requests = rig.elastic.finish().unwrap();
        assert_eq!(requests.len(), 3);
        assert!(requests.iter().all(|request| request.is_packed == gzip));
        assert!(requests[0].path.starts_with("/_bulk?filter_path="));
    }
}

#[test]
fn each_event_is_there_once_whatever_went_wrong() {
    for fault in [
        Fault::Busy,
        Fault::Unavailable,
        Fault::Internal,
        Fault::BadGateway,
        Fault::CutBefore,
        Fault::CutAfter,
        Fault::UnusableBody,
        Fault::HalfBusy,
        Fault::HalfUnavailable,
        Fault::OneLess,
        Fault::OneMore,
        Fault::Turned,
        Fault::Lie,
    ] {
        let rig = Rig::new();
        rig.elastic.fail(fault, 2);
        let messages = messages(20);
        let sent = rig.send_all(&mut rig.sink(), &messages);
        assert_eq!(
            (sent.delivered, sent.quarantined.len()),
            (20, 0),
            "{fault:?}"
        );
        rig.assert_there(&messages);
        rig.elastic.finish().unwrap();
    }
}

/// One that was made anew does not know what it sent: Elasticsearch does.
#[test]
fn a_second_life_sends_nothing_twice() {
    let rig = Rig::new();
    let messages = messages(20);
    rig.send_all(&mut rig.sink(), &messages[..15]);
    let sent = rig.send_all(&mut rig.sink(), &messages);
    assert_eq!(sent.delivered, 20);
    rig.assert_there(&messages);
}

#[test]
fn only_what_was_refused_is_sent_again() {
    let rig = Rig::new();
    rig.elastic.fail(Fault::HalfBusy, 1);
    let messages = messages(20);
    let mut sink = rig.sink();
    let sent = rig.send(&mut sink, &messages).unwrap();
    assert_eq!(sent.taken, 1, "behind the second one nothing can be told");
    let sent = rig.send(&mut sink, &messages[1..]).unwrap();
    assert_eq!(sent.taken, 19);
    let requests = rig.elastic.finish().unwrap();
    let documents: Vec<_> = requests.iter().map(|request| request.documents).collect();
    assert_eq!(documents, [20, 10]);
}

#[test]
fn an_invalid_event_is_quarantined_with_the_reason_and_the_rest_is_stored() {
    let rig = Rig::new();
    rig.elastic.poison("\"n\":7.0");
    let messages = messages(20);
    let sent = rig.send_all(&mut rig.sink(), &messages);
    assert_eq!((sent.delivered, sent.quarantined.len()), (19, 1));
    assert_eq!(sent.quarantined[0].seq, 7);
    let why = sent.quarantined[0].reason.to_string();
    assert!(
        why.contains("document_parsing_exception: failed to parse field"),
        "{why}"
    );
}

/// It is there under another name, once, and nothing waits for it.
#[test]
fn what_is_in_the_failure_store_is_quarantined_and_not_sent_again() {
    let rig = Rig::new();
    rig.elastic.poison("\"n\":7.0");
    rig.elastic.keep_failures();
    let messages = messages(20);
    let sent = rig.send_all(&mut rig.sink(), &messages);
    assert_eq!((sent.delivered, sent.quarantined.len()), (19, 1));
    let why = sent.quarantined[0].reason.to_string();
    assert!(why.contains("failure store"), "{why}");
    assert_eq!(rig.elastic.failures(), [messages[6].text.as_str()]);
}

#[test]
fn what_an_operator_has_to_mend_waits() {
    let rig = Rig::new();
    let messages = messages(2);
    let mut sink = rig.sink();
    rig.elastic.block(INDEX, true);
    let refused = rig.send(&mut sink, &messages).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Denied);
    assert!(refused.what.contains("blocked for writing"), "{refused}");
    rig.elastic.block(INDEX, false);
    rig.elastic.fail(Fault::Redirect, 1);
    let refused = rig.send(&mut sink, &messages).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Other);
    let path = rig.folder.path().join("secret");
    std::fs::write(&path, "another").unwrap();
    let refused = rig.send(&mut sink, &messages).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Credentials);
    std::fs::remove_file(&path).unwrap();
    let refused = rig.send(&mut sink, &messages).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Credentials);
    let told = errors::chain(&refused);
    assert!(told.contains("read the secret in"), "{told}");
    std::fs::write(&path, SECRET).unwrap();
    assert_eq!(rig.send(&mut sink, &messages).unwrap().delivered, 2);
    let shown = format!("{sink:?} {:?} {refused:?} {told}", rig.settings);
    assert!(!shown.contains(SECRET), "{shown}");
    rig.elastic.finish().unwrap();
}

/// Neither an index that is missing nor a mapping that takes nothing loses anything.
#[test]
fn an_index_that_takes_nothing_is_waited_for() {
    let mut rig = Rig::new();
    let messages = messages(40);
    for (index, kind) in [
        ("missing", RefusalKind::Missing),
        // The events have no @timestamp, and so none is taken after eight.
        ("logs-a-b", RefusalKind::Other),
    ] {
        rig.settings.index = index.into();
        let mut sink = rig.sink();
        let refused = loop {
            match rig.send(&mut sink, &messages) {
                Ok(sent) if sent.taken > 0 => {
                    assert_eq!(sent.quarantined.len(), 8);
                    break rig.send(&mut sink, &messages[8..]).unwrap_err();
                }
                Ok(_) => {}
                Err(refused) => break refused,
            }
        };
        assert_eq!(refused.kind, kind, "{refused}");
    }
    rig.elastic.finish().unwrap();
}

#[test]
fn a_smaller_limit_there_halves_calls_and_one_that_is_too_long_is_quarantined() {
    let rig = Rig::new();
    rig.elastic.set_max_content_bytes(4000);
    let mut messages = messages(200);
    messages[99].text = format!(r#"{{"long":"{}"}}"#, "x".repeat(4000));
    let sent = rig.send_all(&mut rig.sink(), &messages);
    assert_eq!((sent.delivered, sent.quarantined.len()), (199, 1));
    assert_eq!(sent.quarantined[0].seq, 100);
    messages.remove(99);
    rig.assert_there(&messages);
}

#[test]
fn an_index_is_that_of_the_events_own_day() {
    let mut rig = Rig::new();
    rig.settings.index = "audit-%Y.%m.%d".into();
    let mut messages = messages(2);
    messages[1].time_unix_ns -= 3_600_000_000_000;
    rig.send_all(&mut rig.sink(), &messages);
    let indices: Vec<_> = rig.elastic.stored().into_keys().collect();
    assert_eq!(indices, ["audit-2026.11.30", "audit-2026.12.01"]);
}

#[test]
fn it_says_who_it_is_in_each_way() {
    for (auth, username, shown) in [
        (
            Auth::Basic,
            Some("plimsoll"),
            "Basic cGxpbXNvbGw6UzNDUkVULWIwYTE=",
        ),
        (Auth::Bearer, None, "Bearer S3CRET-b0a1"),
    ] {
        let mut rig = Rig::of(Elasticsearch::start().unwrap());
        rig.settings.auth = auth;
        rig.settings.username = username.map(str::to_owned);
        let messages = messages(1);
        let refused = rig.send(&mut rig.sink(), &messages).unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Credentials);
        rig.elastic.accept(shown);
        assert_eq!(rig.send(&mut rig.sink(), &messages).unwrap().delivered, 1);
    }
}

#[test]
fn over_tls_only_one_of_the_authority_has_the_events_and_only_from_us() {
    let (ours, others) = (Authority::new().unwrap(), Authority::new().unwrap());
    let config = ours.server(true).unwrap();
    let mut rig = Rig::of(Elasticsearch::start_tls(config).unwrap());
    let at = |name: &str| rig.folder.path().join(name);
    let (ca, cert, key) = (at("ca"), at("cert"), at("key"));
    std::fs::write(&ca, others.pem()).unwrap();
    let (chain, secret) = ours.leaf("collector").unwrap();
    std::fs::write(&cert, chain).unwrap();
    std::fs::write(&key, secret).unwrap();
    rig.settings.ca_file = Some(ca.clone());
    let messages = messages(3);
    let refused = rig.send(&mut rig.sink(), &messages).unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Other);
    assert!(refused.what.contains("ca_file must hold"), "{refused}");
    std::fs::write(&ca, ours.pem()).unwrap();
    rig.send(&mut rig.sink(), &messages).unwrap_err();
    assert!(rig.elastic.requests().is_empty());
    rig.settings.cert_file = Some(cert);
    rig.settings.key_file = Some(key);
    let sent = rig.send_all(&mut rig.sink(), &messages);
    assert_eq!(sent.delivered, 3);
    rig.elastic.finish().unwrap();
}

/// What is asked that is not served, and a fault that has not happened, fail the test.
#[test]
fn the_double_tells_of_what_should_not_be() {
    let elastic = Elasticsearch::start().unwrap();
    let config = ureq::Agent::config_builder().http_status_as_error(false);
    let agent: ureq::Agent = config.build().into();
    let answer = agent
        .post(format!("{}/audit/_doc", elastic.endpoint()))
        .send("{}");
    assert_eq!(answer.unwrap().status(), 406);
    assert!(
        elastic
            .finish()
            .unwrap_err()
            .to_string()
            .contains("/audit/_doc")
    );
    let elastic = Elasticsearch::start().unwrap();
    elastic.fail(Fault::Busy, 1);
    assert!(elastic.finish().unwrap_err().to_string().contains("[Busy]"));
}
