//! The sink over OTLP against its double, over gRPC and HTTP, with the client that it has.
#![expect(
    clippy::disallowed_methods,
    reason = "a runtime for the sink's calls, and files with secrets"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

use plimsoll_collector::config::sinks::otlp::{Otlp as Settings, Protocol as Spoken};
use plimsoll_collector::errors;
use plimsoll_collector::sinks::otlp::Otlp as Sink;
use plimsoll_collector::sinks::{Message, RefusalKind, Refused, Sent};
use plimsoll_tests::authority::Authority;
use plimsoll_tests::otlp::{Fault, Manner, Otlp, Protocol};

const BOTH: [Protocol; 2] = [Protocol::Grpc, Protocol::Http];

struct Rig {
    otel: Otlp,
    folder: tempfile::TempDir,
    settings: Settings,
    runtime: tokio::runtime::Runtime,
}

impl Rig {
    fn of(protocol: Protocol, otel: Otlp) -> Self {
        let settings = Settings {
            endpoint: otel.endpoint(),
            protocol: match protocol {
                Protocol::Grpc => Spoken::Grpc,
                Protocol::Http => Spoken::Http,
            },
            ..Settings::default()
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        Self {
            otel,
            folder: tempfile::tempdir().unwrap(),
            settings,
            runtime,
        }
    }

    fn new(protocol: Protocol) -> Self {
        Self::of(protocol, Otlp::start(protocol).unwrap())
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
                    // What is no answer of OTLP may be somebody's to look at.
                    let waits = refused.kind.is_passing() || refused.kind == RefusalKind::Other;
                    assert!(waits, "{}", errors::chain(&refused));
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

    /// Each is stored with its bytes, what is stored twice is the same twice; how many are.
    #[track_caller]
    fn twice(&self, messages: &[Message]) -> u64 {
        let stored = self.otel.stored();
        let mut twice = 0;
        for message in messages {
            let of: Vec<_> = stored
                .iter()
                .filter(|one| one.uid() == message.uid)
                .collect();
            let first = of
                .first()
                .unwrap_or_else(|| panic!("{} is lost", message.seq));
            assert_eq!(first.body(), message.text);
            assert_eq!(first.record.time_unix_nano, message.time_unix_ns);
            assert!(of.iter().all(|one| one == first));
            twice += u64::from(of.len() > 1);
        }
        twice
    }
}

fn messages(count: u64) -> Vec<Message> {
    let message = |seq: u64| Message {
        seq,
        time_unix_ns: 1_796_083_200_000_000_000 + seq,
        uid: format!("node/e/security/{seq}"),
        text: format!(
            r#"{{"device":{{"hostname":"n-{}"}},"n":{seq}.0,"severity_id":3,"text":"\u0041é"}}"#,
            seq % 3
        ),
    };
    (1..=count).map(message).collect()
}

#[test]
fn what_is_stored_is_what_was_sent() {
    for protocol in BOTH {
        for gzip in [false, true] {
            let mut rig = Rig::new(protocol);
            rig.settings.gzip = gzip;
            rig.settings.cluster_name = Some("prod".into());
            let messages = messages(1200);
            let sent = rig.send_all(&mut rig.sink(), &messages);
            assert_eq!((sent.delivered, sent.maybe_twice), (1200, 0));
            assert_eq!(rig.twice(&messages), 0);
            let stored = rig.otel.stored();
            assert_eq!(stored.len(), 1200);
            assert_eq!(stored[0].resource("k8s.node.name"), Some("n-1"));
            assert_eq!(stored[0].resource("k8s.cluster.name"), Some("prod"));
            assert_eq!(stored[0].record.severity_number, 13);
            let requests = rig.otel.finish().unwrap();
            let records: Vec<_> = requests.iter().map(|request| request.records).collect();
            assert_eq!(records, [512, 512, 176]);
            assert!(requests.iter().all(|request| request.is_packed == gzip));
        }
    }
}

#[test]
fn nothing_is_lost_and_nothing_twice_that_is_not_said_to_be() {
    for protocol in BOTH {
        for (fault, is_twice) in [
            (Fault::Busy, false),
            (Fault::Unavailable, false),
            (Fault::BadGateway, false),
            (Fault::CutBefore, false),
            (Fault::CutAfter, true),
            (Fault::UnusableBody, true),
            (Fault::Overcount, true),
            (Fault::Warning, false),
        ] {
            let rig = Rig::new(protocol);
            rig.otel.fail(fault, 1);
            let messages = messages(20);
            let sent = rig.send_all(&mut rig.sink(), &messages);
            assert_eq!(sent.delivered, 20, "{protocol:?} {fault:?}");
            let twice = rig.twice(&messages);
            assert_eq!(twice > 0, is_twice, "{protocol:?} {fault:?}");
            assert!(twice <= sent.maybe_twice, "{protocol:?} {fault:?}");
            rig.otel.finish().unwrap();
        }
    }
}

#[test]
fn a_rejected_record_is_quarantined_and_the_rest_is_stored() {
    for protocol in BOTH {
        for manner in [Manner::Counts, Manner::Refuses] {
            let rig = Rig::new(protocol);
            rig.otel.poison("\"n\":7.0", manner);
            let messages = messages(100);
            let sent = rig.send_all(&mut rig.sink(), &messages);
            assert_eq!((sent.delivered, sent.quarantined.len()), (99, 1));
            assert_eq!(sent.quarantined[0].seq, 7);
            let good: Vec<_> = messages.into_iter().filter(|one| one.seq != 7).collect();
            let twice = rig.twice(&good);
            assert!(twice <= sent.maybe_twice);
            assert_eq!(twice > 0, manner == Manner::Counts);
            let why = sent.quarantined[0].reason.to_string();
            assert!(why.contains("not as"), "{why}");
            assert!(rig.otel.finish().unwrap().len() <= 15);
        }
    }
}

#[test]
fn what_an_operator_has_to_mend_waits() {
    for protocol in BOTH {
        let mut rig = Rig::new(protocol);
        let headers = rig.folder.path().join("headers");
        std::fs::write(&headers, "authorization=Bearer%20S3CRET-1").unwrap();
        rig.settings.headers_file = Some(headers.clone());
        rig.otel.accept("authorization", "Bearer S3CRET-2");
        let messages = messages(2);
        let mut sink = rig.sink();
        let refused = rig.send(&mut sink, &messages).unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Credentials, "{refused}");
        std::fs::write(&headers, "authorization: Bearer").unwrap();
        let refused = rig.send(&mut sink, &messages).unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Credentials);
        assert!(errors::chain(&refused).contains("must be written NAME=VALUE"));
        std::fs::write(&headers, "authorization=Bearer%20S3CRET-2,x-a=b").unwrap();
        for fault in [Fault::Exhausted, Fault::Internal, Fault::Redirect] {
            rig.otel.fail(fault, 1);
            let refused = rig.send(&mut sink, &messages).unwrap_err();
            assert_eq!(refused.kind, RefusalKind::Other, "{fault:?}");
        }
        let sent = rig.send(&mut sink, &messages).unwrap();
        assert_eq!(sent.delivered, 2);
        let shown = format!("{sink:?} {:?} {refused:?}", rig.settings);
        assert!(!shown.contains("S3CRET"), "{shown}");
        rig.otel.finish().unwrap();
    }
}

#[test]
fn a_smaller_limit_there_halves_calls_and_one_that_is_too_long_is_quarantined() {
    for protocol in BOTH {
        let rig = Rig::new(protocol);
        rig.otel.set_max_bytes(10_000);
        let mut messages = messages(200);
        messages[99].text = "x".repeat(10_000);
        let sent = rig.send_all(&mut rig.sink(), &messages);
        assert_eq!(
            (sent.delivered, sent.quarantined.len()),
            (199, 1),
            "{protocol:?}"
        );
        assert_eq!(sent.quarantined[0].seq, 100);
        messages.remove(99);
        assert_eq!((rig.twice(&messages), sent.maybe_twice), (0, 0));
    }
}

#[test]
fn over_tls_only_one_of_the_authority_has_the_events_and_only_from_us() {
    for protocol in BOTH {
        let (ours, others) = (Authority::new().unwrap(), Authority::new().unwrap());
        let config = ours.server(true).unwrap();
        let mut rig = Rig::of(protocol, Otlp::start_tls(protocol, config).unwrap());
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
        assert!(rig.otel.requests().is_empty());
        rig.settings.cert_file = Some(cert);
        rig.settings.key_file = Some(key);
        let sent = rig.send_all(&mut rig.sink(), &messages);
        assert_eq!((sent.delivered, rig.twice(&messages)), (3, 0));
        rig.otel.finish().unwrap();
    }
}

/// A receiver that is away, and then there.
#[test]
fn nobody_there_is_waited_out() {
    for protocol in BOTH {
        let mut rig = Rig::new(protocol);
        let there = rig.settings.endpoint.clone();
        rig.settings.endpoint = "http://127.0.0.1:9".into();
        let messages = messages(1);
        let refused = rig.send(&mut rig.sink(), &messages).unwrap_err();
        assert_eq!(refused.kind, RefusalKind::Unavailable, "{refused}");
        rig.settings.endpoint = there;
        let sent = rig.send(&mut rig.sink(), &messages).unwrap();
        assert_eq!((sent.delivered, sent.maybe_twice), (1, 0));
    }
}
