//! The client against answers on a loopback address, each written out as it goes over the wire.
#![expect(clippy::disallowed_methods, reason = "a server of answers listens")]

use std::io::Write as _;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::version::{TLS12, TLS13};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::sinks::hec::Hec;
use crate::sinks::hec::interpret::{self, Outcome};
use crate::sinks::{Message, Refused};

const TAKEN: &str = r#"{"text":"Success","code":0}"#;

/// A request as it came: its head in small letters, and its body.
type Heard = (String, Vec<u8>);

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Option<Heard> {
    let mut bytes = Vec::new();
    loop {
        let Ok(1..) = stream.read_buf(&mut bytes).await else {
            return None;
        };
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let mut lines = head.lines().filter_map(|line| line.split_once(": "));
        let length = lines.find(|(name, _)| *name == "content-length");
        let length: usize = length.unwrap().1.parse().unwrap();
        if bytes.len() >= end + 4 + length {
            return Some((head, bytes.split_off(end + 4)));
        }
    }
}

async fn serve(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), answer: &str) -> Option<Heard> {
    let heard = read(stream).await;
    stream.write_all(answer.as_bytes()).await.ok()?;
    stream.shutdown().await.ok()?;
    heard
}

/// A server that gives one answer after the other, each on a connection of its own, and what it heard.
async fn server(
    answers: Vec<String>,
    tls: Option<TlsAcceptor>,
) -> (u16, tokio::task::JoinHandle<Vec<Heard>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let task = tokio::spawn(async move {
        let mut heard = Vec::new();
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            heard.extend(match &tls {
                None => serve(&mut stream, &answer).await,
                Some(tls) => match tls.accept(stream).await {
                    Ok(mut stream) => serve(&mut stream, &answer).await,
                    Err(_) => None,
                },
            });
        }
        heard
    });
    (port, task)
}

fn http(status: u16, more: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} x\r\nconnection: close\r\ncontent-length: {length}\r\n{more}\r\n{body}"
    )
}

/// A folder with a token in it, and the settings of a sink that shows it.
fn settings(port: u16) -> (tempfile::TempDir, Settings) {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "S3CRET-1\n").unwrap();
    let settings = Settings {
        endpoint: format!("http://127.0.0.1:{port}"),
        token_file: Some(token),
        ..Settings::default()
    };
    (folder, settings)
}

fn message() -> Message {
    Message {
        seq: 1,
        time_unix_ns: 1_000_000_000,
        uid: "u".into(),
        text: r#"{"a":1}"#.into(),
    }
}

/// What a sink of these settings is told of one message.
async fn refused(settings: &Settings) -> Refused {
    Hec::new(settings).send(&[message()], 0).await.unwrap_err()
}

fn told(error: &Refused) -> String {
    crate::errors::chain(error)
}

#[tokio::test]
async fn a_request_is_as_splunk_wants_it() {
    let (port, task) = server(vec![http(200, "", TAKEN)], None).await;
    let (_folder, settings) = settings(port);
    let sent = Hec::new(&settings).send(&[message()], 0).await.unwrap();
    assert_eq!(sent.delivered, 1);
    let [(head, body)] = &task.await.unwrap()[..] else {
        panic!("one request");
    };
    assert!(
        head.starts_with("post /services/collector/event http/1.1\r\n"),
        "{head}"
    );
    for line in [
        "authorization: splunk s3cret-1",
        "content-type: application/json",
        &format!("host: 127.0.0.1:{port}"),
    ] {
        assert!(head.lines().any(|found| found == line), "{line}: {head}");
    }
    assert!(
        !head.contains("channel") && !head.contains("content-encoding"),
        "{head}"
    );
    assert_eq!(body, br#"{"time":1.000,"event":{"a":1}}"#);
}

#[tokio::test]
async fn calls_are_packed_and_asked_after_in_their_channel() {
    let taken = r#"{"text":"Success","code":0,"ackId":4}"#;
    let acks = r#"{"acks":{"4":true}}"#;
    let (port, task) = server(vec![http(200, "", taken), http(200, "", acks)], None).await;
    let (_folder, settings) = settings(port);
    let settings = Settings {
        gzip: true,
        acknowledgement: true,
        ..settings
    };
    let sent = Hec::new(&settings).send(&[message()], 0).await.unwrap();
    assert_eq!(sent.delivered, 1);
    let heard = task.await.unwrap();
    let bodies = heard.iter().map(|(head, body)| {
        assert!(head.contains("\r\ncontent-encoding: gzip"), "{head}");
        let mut text = String::new();
        let mut decoder = flate2::read::GzDecoder::new(body.as_slice());
        std::io::Read::read_to_string(&mut decoder, &mut text).unwrap();
        text
    });
    assert_eq!(
        bodies.collect::<Vec<_>>(),
        [r#"{"time":1.000,"event":{"a":1}}"#, r#"{"acks":[4]}"#]
    );
    let channels = heard.iter().map(|(head, _)| {
        let mut lines = head.lines();
        let line = lines.find_map(|line| line.strip_prefix("x-splunk-request-channel: "));
        line.unwrap().to_owned()
    });
    let channels: Vec<_> = channels.collect();
    assert!(channels[0] == channels[1] && channels[0].len() == 36);
    let path = format!("post /services/collector/ack?channel={} ", channels[0]);
    assert!(heard[1].0.starts_with(&path), "{}", heard[1].0);
}

/// The next call has the new one, and nothing that can be shown has either.
#[tokio::test]
async fn a_token_is_read_anew_and_never_shown() {
    let answers = vec![
        http(403, "", r#"{"text":"Invalid token","code":4}"#),
        http(200, "", TAKEN),
    ];
    let (port, task) = server(answers, None).await;
    let (folder, settings) = settings(port);
    let mut sink = Hec::new(&settings);
    let refused = sink.send(&[message()], 0).await.unwrap_err();
    assert_eq!(refused.kind, RefusalKind::Credentials);
    std::fs::write(folder.path().join("token"), "S3CRET-2").unwrap();
    assert_eq!(sink.send(&[message()], 0).await.unwrap().delivered, 1);
    let heard = task.await.unwrap();
    assert!(heard[1].0.contains("splunk s3cret-2"), "{}", heard[1].0);
    let shown = format!("{sink:?} {refused:?} {}", told(&refused));
    assert!(!shown.contains("S3CRET"), "{shown}");
    let header = sink.calls.token.header().unwrap();
    assert!(header.is_sensitive() && !format!("{header:?}").contains("S3CRET"));
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let (folder, settings) = settings(1);
    let path = folder.path().join("token");
    for text in ["", " \n", "two words", "a\nb", "ä", &"x".repeat(5000)] {
        std::fs::write(&path, text).unwrap();
        let refused = refused(&settings).await;
        assert_eq!(refused.kind, RefusalKind::Credentials, "{text:?}");
        assert!(
            told(&refused).contains("(token_file)"),
            "{}",
            told(&refused)
        );
        let said: Vec<_> = unusable(&settings)
            .into_iter()
            .map(|(setting, _)| setting)
            .collect();
        assert_eq!(said, ["token_file"], "{text:?}");
    }
    std::fs::remove_file(&path).unwrap();
    assert_eq!(refused(&settings).await.kind, RefusalKind::Credentials);
    let none = Settings {
        token_file: None,
        token_env: Some("PLIMSOLL_TEST_NO_SUCH_VARIABLE".into()),
        ..settings
    };
    let refused = refused(&none).await;
    assert_eq!(refused.kind, RefusalKind::Credentials);
    assert!(told(&refused).contains("PLIMSOLL_TEST_NO_SUCH_VARIABLE (token_env)"));
    // The environment of the tests has this one, and its value is a token's.
    let some = TokenSource::Environment("CARGO_PKG_NAME".into());
    assert_eq!(some.header().unwrap(), "Splunk plimsoll-collector");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = http(307, "location: http://127.0.0.1:1/\r\n", "");
    let (port, task) = server(vec![elsewhere], None).await;
    let (_folder, settings) = settings(port);
    let refused = refused(&settings).await;
    assert_eq!(refused.kind, RefusalKind::Other);
    assert!(refused.what.contains("set endpoint"), "{refused}");
    assert_eq!(task.await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_it_asks_for_and_long_answers_are_read() {
    let long = "x".repeat(ANSWER_BYTES + 1);
    for (answer, retry_after_ms) in [
        (http(503, "retry-after: 7\r\n", ""), Some(7000)),
        (http(429, "retry-after: soon\r\n", ""), None),
        (http(502, "", &long), None),
        (http(200, "", &long), None),
    ] {
        let (port, task) = server(vec![answer], None).await;
        let (_folder, settings) = settings(port);
        let refused = refused(&settings).await;
        assert!(refused.kind.is_passing(), "{refused}");
        assert_eq!(refused.retry_after_ms, retry_after_ms);
        task.await.unwrap();
    }
}

#[tokio::test]
async fn a_connection_that_ends_leaves_doubt_and_one_that_never_was_does_not() {
    let cut = http(200, "", TAKEN).replace("length: 27", "length: 270");
    for (answer, is_in_doubt) in [
        (Some(String::new()), true),
        (Some(cut), true),
        (None, false),
    ] {
        let (port, task) = server(answer.clone().into_iter().collect(), None).await;
        if answer.is_none() {
            task.await.unwrap();
        }
        let (_folder, settings) = settings(port);
        let reply = Client::new(&settings).post(None, b"{}".to_vec()).await;
        let Outcome::Refused(refusal) = interpret::of_events(reply) else {
            panic!("{answer:?}");
        };
        assert_eq!(refusal.kind, RefusalKind::Unavailable);
        assert_eq!(refusal.is_in_doubt, is_in_doubt, "{answer:?}: {refusal:?}");
    }
}

/// An authority, and an acceptor with a certificate of it for this name.
fn authority(
    name: &str,
    versions: &[&'static rustls::SupportedProtocolVersion],
) -> (String, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let leaf = params.signed_by(&key, &authority).unwrap();
    let secret = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], secret)
        .unwrap();
    (authority.pem(), TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn an_authority_of_ones_own_is_trusted_over_tls_1_2_and_1_3() {
    for version in [&TLS12, &TLS13] {
        let (ca, acceptor) = authority("localhost", &[version]);
        let (port, task) = server(vec![http(200, "", TAKEN)], Some(acceptor)).await;
        let (folder, mut settings) = settings(port);
        let path = folder.path().join("ca.crt");
        std::fs::write(&path, ca).unwrap();
        settings.endpoint = format!("https://localhost:{port}");
        settings.ca_file = Some(path);
        assert!(unusable(&settings).is_empty());
        let sent = Hec::new(&settings).send(&[message()], 0).await.unwrap();
        assert_eq!(sent.delivered, 1);
        assert_eq!(task.await.unwrap().len(), 1);
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_name_is_not_trusted() {
    for (name, is_same) in [("localhost", false), ("splunk.example.com", true)] {
        let (own, acceptor) = authority(name, &[&TLS13]);
        let (other, _) = authority(name, &[&TLS13]);
        let (port, task) = server(vec![http(200, "", TAKEN)], Some(acceptor)).await;
        let (folder, mut settings) = settings(port);
        let path = folder.path().join("ca.crt");
        std::fs::write(&path, if is_same { own } else { other }).unwrap();
        settings.endpoint = format!("https://localhost:{port}");
        settings.ca_file = Some(path);
        let refused = refused(&settings).await;
        assert_eq!(refused.kind, RefusalKind::Other, "{}", told(&refused));
        assert!(refused.what.contains("ca_file must hold"), "{refused}");
        assert!(
            task.await.unwrap().is_empty(),
            "no request, and no token in it"
        );
    }
}

#[tokio::test]
async fn without_ca_file_the_systems_authorities_count() {
    let (_, acceptor) = authority("localhost", &[&TLS13]);
    let (port, task) = server(vec![http(200, "", TAKEN)], Some(acceptor)).await;
    let (_folder, mut settings) = settings(port);
    settings.endpoint = format!("https://localhost:{port}");
    assert_eq!(refused(&settings).await.kind, RefusalKind::Other);
    assert!(task.await.unwrap().is_empty());
}

#[tokio::test]
async fn authorities_are_read_again_when_they_change() {
    let (own, acceptor) = authority("localhost", &[&TLS13]);
    let (other, _) = authority("localhost", &[&TLS13]);
    let answers = vec![String::new(), http(200, "", TAKEN)];
    let (port, task) = server(answers, Some(acceptor)).await;
    let (folder, mut settings) = settings(port);
    let path = folder.path().join("ca.crt");
    std::fs::write(&path, other).unwrap();
    settings.endpoint = format!("https://localhost:{port}");
    settings.ca_file = Some(path.clone());
    let mut sink = Hec::new(&settings);
    sink.send(&[message()], 0).await.unwrap_err();
    let new = folder.path().join("new");
    let mut file = std::fs::File::create(&new).unwrap();
    file.write_all(own.as_bytes()).unwrap();
    std::fs::rename(&new, &path).unwrap();
    let sent = sink.send(&[message()], 0).await.unwrap();
    assert_eq!((sent.delivered, sent.maybe_twice), (1, 0));
    task.await.unwrap();
    std::fs::write(&path, "no certificate").unwrap();
    let refused = sink.send(&[message()], 0).await.unwrap_err();
    assert!(told(&refused).contains("(ca_file)"), "{}", told(&refused));
    let said = unusable(&settings);
    assert_eq!(said[0].0, "ca_file");
}
