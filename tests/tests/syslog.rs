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

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use plimsoll_collector::config::sinks::Syslog as Settings;
use plimsoll_collector::sinks::syslog::Syslog;
use plimsoll_collector::sinks::{Message, RefusalKind};
use plimsoll_tests::checks::{self, Verdict};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use tokio::runtime::Runtime;

/// More than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);

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
    let (mut sink, runtime) = (Syslog::new(&place.settings(rsyslog.port)), runtime());
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
    let (mut sink, runtime) = (Syslog::new(&place.settings(port)), runtime());
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
        ..place.settings(rsyslog.port)
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

/// Certificates and what else rsyslog needs, in a folder.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, "tests");
        let key = KeyPair::generate().unwrap();
        place.write("ca.pem", &params.self_signed(&key).unwrap().pem());
        let issuer = Issuer::new(params, key);
        for name in ["siem", "plimsoll"] {
            let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
            let key = KeyPair::generate().unwrap();
            let signed = params.signed_by(&key, &issuer).unwrap();
            place.write(&format!("{name}.pem"), &signed.pem());
            place.write(&format!("{name}.key"), &key.serialize_pem());
        }
        place
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.at(name), text).unwrap();
    }

    fn settings(&self, port: u16) -> Settings {
        Settings {
            address: format!("127.0.0.1:{port}"),
            server_name: Some("siem".to_owned()),
            ca_file: Some(self.at("ca.pem")),
            cert_file: Some(self.at("plimsoll.pem")),
            key_file: Some(self.at("plimsoll.key")),
            ..Settings::default()
        }
    }

    /// It takes clients of the authority, and says each message as a line.
    fn configuration(&self, port: u16) -> String {
        let at = |name: &str| self.at(name).display().to_string();
        let mut text = String::new();
        let _infallible = write!(
            text,
            "global(processInternalMessages=\"on\" maxMessageSize=\"128k\" workDirectory=\"{}\"\n\
             \x20 parser.escapeControlCharactersOnReceive=\"off\" defaultNetstreamDriver=\"gtls\"\n\
             \x20 defaultNetstreamDriverCAFile=\"{}\" defaultNetstreamDriverCertFile=\"{}\"\n\
             \x20 defaultNetstreamDriverKeyFile=\"{}\")\n\
             module(load=\"imtcp\" streamDriver.mode=\"1\" streamDriver.authMode=\"x509/certvalid\")\n\
             input(type=\"imtcp\" address=\"127.0.0.1\" port=\"{port}\" listenPortFileName=\"{}\")\n",
            self.folder.path().display(),
            at("ca.pem"),
            at("siem.pem"),
            at("siem.key"),
            at("port"),
        );
        text.push_str(
            "template(name=\"line\" type=\"string\" string=\"%syslogfacility%.%syslogseverity% \
             %timereported:::date-rfc3339% %hostname% %app-name% %procid% %msgid% %structured-data% %msg%\\n\")\n\
             action(type=\"omfile\" file=\"/dev/stdout\" template=\"line\")\n",
        );
        text
    }
}

/// Where rsyslog was unpacked.
struct Programs {
    rsyslogd: PathBuf,
    libraries: PathBuf,
}

impl Programs {
    fn find() -> Option<Self> {
        let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
        // `-M` takes no relative path.
        let root = tests.parent()?.join("target/rsyslog").canonicalize().ok()?;
        let rsyslogd = root.join("usr/sbin/rsyslogd");
        let mut libraries = std::fs::read_dir(root.join("usr/lib")).ok()?.flatten();
        let libraries = libraries.find(|of| of.path().join("rsyslog/lmnsd_gtls.so").is_file())?;
        rsyslogd.is_file().then_some(Self {
            rsyslogd,
            libraries: libraries.path(),
        })
    }

    /// On that port, or of 0 on one of its own choice.
    fn start(&self, place: &Place, port: u16) -> Rsyslog {
        place.write("rsyslog.conf", &place.configuration(port));
        let mut child = Command::new(&self.rsyslogd)
            .args(["-n", "-iNONE", "-f"])
            .arg(place.at("rsyslog.conf"))
            .arg("-M")
            .arg(self.libraries.join("rsyslog"))
            .env("LD_LIBRARY_PATH", &self.libraries)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let (told, lines) = channel();
        let said = BufReader::new(child.stdout.take().unwrap()).lines();
        std::thread::spawn(move || {
            for line in said.map_while(Result::ok) {
                if told.send(line).is_err() {
                    break;
                }
            }
        });
        let mut rsyslog = Rsyslog {
            child,
            lines,
            port: 0,
        };
        // Its first words come once it listens.
        let first = rsyslog.lines.recv_timeout(PATIENCE).unwrap();
        assert!(first.ends_with(" start"), "{first}");
        let port = std::fs::read_to_string(place.at("port")).unwrap();
        rsyslog.port = port.trim().parse().unwrap();
        rsyslog
    }
}

/// A server of ours; it ends with this.
struct Rsyslog {
    child: Child,
    lines: Receiver<String>,
    port: u16,
}

impl Rsyslog {
    fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap()
    }

    /// Ends it in order. What it said and nobody has read yet, but for its own words.
    fn end(mut self) -> Vec<String> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap();
        let rest = self.lines.iter();
        rest.filter(|line| !line.contains(" rsyslogd ")).collect()
    }

    /// Ends it at once.
    fn kill(mut self) -> Vec<String> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.lines.iter().collect()
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
