//! TLS between the agent's export and the collector: who is taken, who is refused and what both
//! logs say then. A refused record stays in the spool and arrives once the certificate is right.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};

use crate::collector::{Collector, free_port, program, wait_until};
use crate::emitter::{Emitter, Way};

/// The name in the collector's certificate.
const NAME: &str = "collector.test";

/// An authority, with its certificate in a file.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    ca: PathBuf,
}

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let ca = folder.join(format!("{name}.pem"));
        std::fs::write(&ca, params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            ca,
        }
    }

    /// Certificate and key for [`NAME`], valid until the first day of that year.
    fn issue(&self, until: i32) -> (PathBuf, PathBuf) {
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2000, 1, 1);
        params.not_after = rcgen::date_time_ymd(until, 1, 1);
        let key = KeyPair::generate().unwrap();
        let path = self.ca.with_extension(until.to_string());
        let key_path = path.with_extension(format!("{until}.key"));
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        std::fs::write(&path, certificate.pem()).unwrap();
        std::fs::write(&key_path, key.serialize_pem()).unwrap();
        (path, key_path)
    }
}

struct Stage {
    folder: tempfile::TempDir,
    collector: Collector,
    authority: Authority,
}

impl Stage {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            collector: Collector::new(&folder.path().join("collector")),
            authority: Authority::new(folder.path(), "ours"),
            folder,
        }
    }

    /// With a certificate of the collector that is valid until that year.
    fn until(year: i32) -> Self {
        let mut stage = Self::new();
        stage.collector.tls = Some(stage.authority.issue(year));
        stage
    }

    fn way(&self) -> Way {
        Way {
            endpoint: format!("https://127.0.0.1:{}", self.collector.otlp),
            token: self.collector.token(),
            ca: Some(self.authority.ca.clone()),
            server_name: Some(NAME),
            environment: Vec::new(),
        }
    }

    /// Three records over this way are refused with these words in the agent's log (and in the
    /// collector's, if it sees a handshake at all); all of them arrive when collector and way are
    /// right, without the collector's having seen one of them before.
    #[track_caller]
    fn check(mut self, way: &Way, agent_says: &str, collector_says: Option<&str>) {
        let spool = self.folder.path().join("spool");
        self.collector.start();
        wait_until("the collector is ready", || {
            self.collector.refused("tls") == Some(0)
        });
        let emitter = Emitter::start(&spool, way, 1, 3);
        wait_until("the agent says something", || {
            emitter.log().contains(REFUSED)
        });
        let log = emitter.log();
        assert!(log.contains(agent_says), "no {agent_says} in: {log}");
        if let Some(says) = collector_says {
            wait_until(&format!("the collector says {says:?}"), || {
                self.collector.log().contains(says)
            });
            assert!(self.collector.refused("tls") >= Some(1));
            let log = self.collector.log();
            assert_eq!(log.matches("refused: no TLS").count(), 1, "{log}");
        }
        let log = emitter.log();
        assert_eq!(log.matches(agent_says).count(), 1, "said once: {log}");
        assert_eq!(self.collector.written().len(), 0);
        assert_eq!(emitter.kill(), 3, "durable meanwhile");

        self.collector.kill();
        self.collector.tls = Some(self.authority.issue(2100));
        self.collector.start();
        let mut emitter = Emitter::start(&spool, &self.way(), 4, 1);
        wait_until("everything is delivered", || emitter.ended().is_some());
        assert!(emitter.ended().unwrap().success(), "{}", emitter.log());
        wait_until("everything is written", || {
            self.collector.written_once().len() == 4
        });
    }
}

/// What the agent says.
const REFUSED: &str = "collector did not take a batch";
/// What the collector says.
const NOT_TAKEN: &str = "it does not take our certificate (alert ";

#[test]
fn a_foreign_authority_is_not_trusted() {
    let stage = Stage::until(2100);
    let foreign = Authority::new(stage.folder.path(), "foreign");
    let way = Way {
        ca: Some(foreign.ca),
        ..stage.way()
    };
    stage.check(
        &way,
        "invalid peer certificate: UnknownIssuer",
        Some(NOT_TAKEN),
    );
}

#[test]
fn another_servers_name_is_not_taken() {
    let stage = Stage::until(2100);
    let way = Way {
        server_name: Some("other.test"),
        ..stage.way()
    };
    stage.check(
        &way,
        "only valid for DnsName(\\\"collector.test\\\")",
        Some(NOT_TAKEN),
    );
}

#[test]
fn plain_text_is_not_taken_where_tls_is_set_up() {
    let stage = Stage::until(2100);
    let way = Way {
        endpoint: stage.way().endpoint.replace("https", "http"),
        ..stage.way()
    };
    let collector_says = "it does not speak TLS (plain text?)";
    stage.check(&way, REFUSED, Some(collector_says));
}

#[test]
fn tls_does_not_fall_back_to_plain_text() {
    let stage = Stage::new();
    let way = stage.way();
    stage.check(&way, REFUSED, None);
}

/// The agent goes on by itself when the certificate is renewed.
#[test]
fn an_expired_certificate_is_refused_until_it_is_renewed() {
    let mut stage = Stage::until(2001);
    stage.collector.start();
    let spool = stage.folder.path().join("spool");
    let mut emitter = Emitter::start(&spool, &stage.way(), 1, 3);
    wait_until("the agent says why", || {
        emitter.log().contains("certificate expired")
    });
    assert_eq!(stage.collector.written().len(), 0);
    stage.collector.kill();
    stage.collector.tls = Some(stage.authority.issue(2100));
    stage.collector.start();
    wait_until("everything is delivered", || emitter.ended().is_some());
    assert!(emitter.ended().unwrap().success(), "{}", emitter.log());
    assert_eq!(emitter.durable(), 3);
    wait_until("everything is written", || {
        stage.collector.written_once().len() == 3
    });
}

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The agent's own process with its own settings, and not only its export.
#[test]
fn the_agents_process_speaks_tls_with_a_token() {
    let mut stage = Stage::until(2100);
    stage.collector.start();
    let folder = stage.folder.path();
    let config = serde_json::json!({
        "node": "node-1",
        "kernel": {"enabled": false},
        "usage": {"window_s": 1, "startup_s": 0},
        "spool": {"path": folder.join("spool")},
        "export": {
            "endpoint": stage.way().endpoint,
            "token_file": stage.collector.token(),
            "ca_file": stage.authority.ca,
            "server_name": NAME,
        },
        "admin": {"listen": format!("127.0.0.1:{}", free_port())},
    });
    let path = folder.join("agent.yaml");
    std::fs::write(&path, config.to_string()).unwrap();
    let log = std::fs::File::create(folder.join("agent.log")).unwrap();
    let _agent = Killed(
        Command::new(program("plimsoll-agent"))
            .arg("--config")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap(),
    );
    wait_until("the node's heartbeat is written", || {
        let beat =
            |line: &serde_json::Value| line["event"] == "heartbeat" && line["node"] == "node-1";
        stage.collector.written().iter().any(beat)
    });
    assert_eq!(stage.collector.refused("tls"), Some(0));
    let ends = r#"certificate_expiry_seconds{door="ingest"}"#;
    // The first day of 2100.
    assert_eq!(stage.collector.metric(ends), Some(4_102_444_800));
}
