//! The export against a collector in this process: a disk that fails, and a collector that refuses.
#![expect(clippy::disallowed_methods, reason = "tests write token files")]

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
use plimsoll_journal::Files as _;
use plimsoll_journal::testing::CrashStorage;
use plimsoll_wire::event::Loss;
use plimsoll_wire::otlp::{self, id};
use plimsoll_wire::{AuditEvent, Identity};
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;
use tonic::Response;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

use super::*;
use crate::test_log::TestLog;

/// Takes everything, and hands on each number with its event.
struct Collector(mpsc::UnboundedSender<(u64, AuditEvent)>);

#[tonic::async_trait]
impl LogsService for Collector {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let resources = request.into_inner().resource_logs;
        for record in resources
            .into_iter()
            .flat_map(|resource| resource.scope_logs)
            .flat_map(|scope| scope.log_records)
        {
            let seq = id::read(&record.attributes).unwrap().unwrap().seq;
            let event = otlp::logs::decode(&record).unwrap().1;
            self.0.send((seq, event)).unwrap();
        }
        Ok(Response::new(ExportLogsServiceResponse::default()))
    }
}

fn oom(victim_pid: u32) -> AuditEvent {
    AuditEvent::OomKill(plimsoll_wire::event::OomKill {
        identity: Identity::unknown(7),
        identity_is_trigger: false,
        victim_pid,
        victim_comm: None,
        anon_rss_bytes: None,
        file_rss_bytes: None,
        shmem_rss_bytes: None,
        memory_peak_bytes: None,
        memory_limit_bytes: None,
    })
}

/// A disk that returns EIO for one segment: the export goes on behind it, and the collector learns
/// what is missing.
#[tokio::test]
async fn an_unreadable_segment_does_not_end_the_export() {
    let storage = CrashStorage::default();
    let (mut spool, _) =
        Spool::open(CrashStorage::default(), storage.clone(), 1 << 20, "abcd").unwrap();
    for pid in 1..=2000 {
        spool.event(&oom(pid), 1, 1);
        if pid % 100 == 0 {
            spool.commit(1).unwrap();
        }
    }
    let mut names = storage.list().unwrap();
    names.retain(|name| name.starts_with("segment"));
    names.sort_unstable();
    storage.fail_reads(&names[1]);

    let (sender, mut received) = mpsc::unbounded_channel();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let server = tokio::spawn(
        Server::builder()
            .add_service(LogsServiceServer::new(Collector(sender)))
            .serve_with_incoming(incoming),
    );
    let config = config::Export {
        endpoint: format!("http://{address}"),
        ..config::Export::default()
    };
    let (spool, committed) = (Arc::new(Mutex::new(spool)), Arc::new(Notify::new()));
    let exporter =
        Exporter::new(&config, "n1", Arc::clone(&spool), Arc::clone(&committed)).unwrap();
    let status = crate::admin::Status::new(Registry::default());
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    let pulse = status.task("the export of security", exporter.may_wait());
    let task = tokio::spawn(exporter.run(Class::Security, pulse, stop.clone(), abort));

    let mut seen = BTreeSet::new();
    let mut told = None;
    while told.is_none() {
        let (seq, event) = received.recv().await.unwrap();
        seen.insert(seq);
        if seq == 2000 {
            // The main loop's next turn makes the loss a record.
            spool.lock().unwrap().commit(2).unwrap();
            committed.notify_waiters();
        }
        if let AuditEvent::Loss(loss) = event {
            told = Some(loss);
        }
    }
    let missing: Vec<u64> = (1..=2000).filter(|seq| !seen.contains(seq)).collect();
    let loss = Loss {
        stage: "spool".to_owned(),
        lost_class: Class::Security,
        fate: "undecodable".to_owned(),
        count: missing.len() as u64,
        first_seq: missing.first().copied(),
        last_seq: missing.last().copied(),
    };
    assert!(missing.len() > 50, "{}", missing.len());
    assert_eq!(told, Some(loss), "exactly what is missing is told");
    assert_eq!(spool.lock().unwrap().levels()[1].read_errors, 5);

    stop.cancel();
    committed.notify_waiters();
    task.await.unwrap();
    server.abort();
}

#[test]
fn https_without_an_authority_is_refused_at_the_start() {
    let config = config::Export::default();
    assert!(config.endpoint.starts_with("https://") && config.ca_file.is_none());
    let error = endpoint(&config, None).unwrap_err();
    assert!(error.to_string().contains("export.ca_file"), "{error}");
}

/// Takes what comes with one token, and says of each request whether it did.
struct Guarded(mpsc::UnboundedSender<bool>);

#[tonic::async_trait]
impl LogsService for Guarded {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let is_right = request
            .metadata()
            .get("authorization")
            .is_some_and(|token| token == "Bearer right");
        self.0.send(is_right).unwrap();
        if is_right {
            Ok(Response::new(ExportLogsServiceResponse::default()))
        } else {
            Err(Status::unauthenticated("no known bearer token"))
        }
    }
}

/// One event on its way, and what is needed to end it.
struct Sending {
    standing: Arc<Standing>,
    stop: CancellationToken,
    abort: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

fn send_one(config: &config::Export) -> Sending {
    let storage = || CrashStorage::default();
    let (mut spool, _) = Spool::open(storage(), storage(), 1 << 20, "abcd").unwrap();
    spool.event(&oom(1), 1, 1);
    spool.commit(1).unwrap();
    let spool = Arc::new(Mutex::new(spool));
    let exporter = Exporter::new(config, "n1", spool, Arc::default()).unwrap();
    let status = crate::admin::Status::new(Registry::default());
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    let pulse = status.task("the export of security", exporter.may_wait());
    let standing = exporter.standing();
    let sent = exporter.run(Class::Security, pulse, stop.clone(), abort.clone());
    Sending {
        standing,
        stop,
        abort,
        task: tokio::spawn(sent),
    }
}

fn count(standing: &Standing, reason: standing::Reason) -> u64 {
    let of = |&&(class, of, _): &&(Class, standing::Reason, u64)| {
        (class, of) == (Class::Security, reason)
    };
    standing.failures().iter().find(of).unwrap().2
}

/// However often it is tried, a refusal is told once, with what to mend, and shown until it is over.
#[tokio::test]
async fn a_refused_token_is_told_once_and_shown_until_it_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "wrong\n").unwrap();
    let (sender, mut asked) = mpsc::unbounded_channel();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let server = tokio::spawn(
        Server::builder()
            .add_service(LogsServiceServer::new(Guarded(sender)))
            .serve_with_incoming(incoming),
    );
    let log = TestLog::default();
    let logging = log.start();
    let sending = send_one(&config::Export {
        endpoint: format!("http://{address}"),
        token_file: Some(token.clone()),
        ..config::Export::default()
    });
    for _ in 0..3 {
        assert_eq!(asked.recv().await, Some(false));
    }
    let place = format!("http://{address}, export.token_file {}", token.display());
    let shown = format!(
        "export of security: the collector refuses the token: no known bearer token ({place})"
    );
    assert_eq!(sending.standing.degraded(), [shown]);
    assert!(count(&sending.standing, standing::Reason::RefusedToken) >= 2);

    std::fs::write(&token, "right\n").unwrap();
    while asked.recv().await == Some(false) {}
    sending.stop.cancel();
    sending.task.await.unwrap();
    assert!(sending.standing.degraded().is_empty());
    drop(logging);
    let told = log.lines("collector did not take a batch");
    assert_eq!(told.len(), 1, "{told:?}");
    for part in [
        "WARN",
        "refused_token",
        &address.to_string(),
        &format!("export.token_file {}", token.display()),
    ] {
        assert!(told[0].contains(part), "{part} is not in {}", told[0]);
    }
    assert_eq!(log.lines("collector takes records again").len(), 1);
    server.abort();
}

/// Ends a try before it is made, and is no refusal of the collector's.
#[tokio::test]
async fn a_token_file_without_a_token_is_told_as_that() {
    let folder = tempfile::tempdir().unwrap();
    for (content, why) in [
        (None, "No such file or directory"),
        (Some("\n"), "it is empty"),
        (Some("two words"), "it holds white space"),
    ] {
        let token = folder.path().join("token");
        if let Some(content) = content {
            std::fs::write(&token, content).unwrap();
        }
        let sending = send_one(&config::Export {
            endpoint: "http://127.0.0.1:9".to_owned(),
            token_file: Some(token),
            ..config::Export::default()
        });
        while count(&sending.standing, standing::Reason::NoToken) == 0 {
            tokio::task::yield_now().await;
        }
        let shown = sending.standing.degraded();
        assert!(
            shown[0].contains("there is no token to send") && shown[0].contains(why),
            "{shown:?}"
        );
        sending.abort.cancel();
        sending.task.await.unwrap();
    }
}

/// A server, with a certificate of `localhost` if there is one, and what `/readyz` says of an export to it.
async fn shown_of(
    certificate: Option<&rcgen::CertifiedKey<rcgen::KeyPair>>,
    export: impl FnOnce(u16) -> config::Export,
) -> String {
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = incoming.local_addr().unwrap().port();
    let (sender, _asked) = mpsc::unbounded_channel();
    let mut builder = Server::builder();
    if let Some(shown) = certificate {
        let key = shown.signing_key.serialize_pem();
        let identity = tonic::transport::Identity::from_pem(shown.cert.pem(), key);
        let tls = tonic::transport::ServerTlsConfig::new().identity(identity);
        builder = builder.tls_config(tls).unwrap();
    }
    let server = tokio::spawn(
        builder
            .add_service(LogsServiceServer::new(Guarded(sender)))
            .serve_with_incoming(incoming),
    );
    let sending = send_one(&export(port));
    while sending.standing.degraded().is_empty() {
        tokio::task::yield_now().await;
    }
    let told = sending.standing.degraded().remove(0);
    sending.abort.cancel();
    sending.task.await.unwrap();
    server.abort();
    told
}

fn issue() -> rcgen::CertifiedKey<rcgen::KeyPair> {
    rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap()
}

/// Of an export that trusts another certificate, or expects another name.
async fn shown_of_tls(trusts_it: bool, server_name: Option<&str>) -> (String, std::path::PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (other, shown) = (issue(), issue());
    let ca_file = folder.path().join("ca.pem");
    let trusted = if trusts_it { &shown } else { &other };
    std::fs::write(&ca_file, trusted.cert.pem()).unwrap();
    let told = shown_of(Some(&shown), |port| config::Export {
        endpoint: format!("https://localhost:{port}"),
        ca_file: Some(ca_file.clone()),
        server_name: server_name.map(str::to_owned),
        ..config::Export::default()
    });
    let told = told.await;
    assert!(told.contains("no TLS connection can be made: "), "{told}");
    (told, ca_file)
}

#[tokio::test]
async fn tls_on_one_side_alone_is_a_matter_of_the_endpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (shown, ca_file) = (issue(), folder.path().join("ca.pem"));
    std::fs::write(&ca_file, shown.cert.pem()).unwrap();
    for (certificate, scheme) in [(Some(&shown), "http"), (None, "https")] {
        let told = shown_of(certificate, |port| config::Export {
            endpoint: format!("{scheme}://localhost:{port}"),
            ca_file: Some(ca_file.clone()),
            ..config::Export::default()
        });
        let told = told.await;
        assert!(told.contains(", export.endpoint: "), "{told}");
        assert!(!told.contains("export.ca_file"), "{told}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_trusted_is_a_matter_of_the_authorities() {
    let (told, ca_file) = shown_of_tls(false, None).await;
    let setting = format!("export.ca_file {})", ca_file.display());
    assert!(told.ends_with(&setting), "{told}");
}

#[tokio::test]
async fn a_certificate_of_another_name_is_a_matter_of_the_name() {
    let (told, _) = shown_of_tls(true, Some("elsewhere")).await;
    assert!(told.ends_with("export.server_name elsewhere)"), "{told}");
}

/// Takes what comes with the token that counts, and hands on each token that came.
struct Rotating(mpsc::UnboundedSender<String>, Arc<Mutex<&'static str>>);

#[tonic::async_trait]
impl LogsService for Rotating {
    async fn export(
        &self,
        request: Request<ExportLogsServiceRequest>,
    ) -> Result<Response<ExportLogsServiceResponse>, Status> {
        let token = request.metadata().get("authorization").unwrap();
        let token = token.to_str().unwrap().to_owned();
        let is_right = token == *self.1.lock().unwrap();
        self.0.send(token).unwrap();
        if is_right {
            Ok(Response::new(ExportLogsServiceResponse::default()))
        } else {
            Err(Status::unauthenticated("no known bearer token"))
        }
    }
}

/// The kubelet writes a new token, and the collector knows the old one no more: nothing is refused.
#[tokio::test]
async fn a_renewed_token_is_shown_before_the_old_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "old").unwrap();
    let counts = Arc::new(Mutex::new("Bearer old"));
    let (sender, mut shown) = mpsc::unbounded_channel();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = incoming.local_addr().unwrap();
    let service = LogsServiceServer::new(Rotating(sender, Arc::clone(&counts)));
    let server = Server::builder().add_service(service);
    let server = tokio::spawn(server.serve_with_incoming(incoming));
    let storage = || CrashStorage::default();
    let (spool, _) = Spool::open(storage(), storage(), 1 << 20, "abcd").unwrap();
    let (spool, committed) = (Arc::new(Mutex::new(spool)), Arc::new(Notify::new()));
    let config = config::Export {
        endpoint: format!("http://{address}"),
        token_file: Some(token.clone()),
        ..config::Export::default()
    };
    let exporter =
        Exporter::new(&config, "n1", Arc::clone(&spool), Arc::clone(&committed)).unwrap();
    let standing = exporter.standing();
    let status = crate::admin::Status::new(Registry::default());
    let (stop, abort) = (CancellationToken::new(), CancellationToken::new());
    let pulse = status.task("the export of security", exporter.may_wait());
    let task = tokio::spawn(exporter.run(Class::Security, pulse, stop.clone(), abort));
    let send = |pid| {
        let mut spool = spool.lock().unwrap();
        spool.event(&oom(pid), 1, 1);
        spool.commit(1).unwrap();
        drop(spool);
        committed.notify_waiters();
    };
    send(1);
    assert_eq!(shown.recv().await.unwrap(), "Bearer old");
    std::fs::write(&token, "new").unwrap();
    *counts.lock().unwrap() = "Bearer new";
    send(2);
    assert_eq!(shown.recv().await.unwrap(), "Bearer new");
    // Away for a moment, as while somebody writes it: what was read last counts.
    std::fs::remove_file(&token).unwrap();
    send(3);
    assert_eq!(shown.recv().await.unwrap(), "Bearer new");
    stop.cancel();
    task.await.unwrap();
    assert!(standing.failures().iter().all(|(_, _, count)| *count == 0));
    server.abort();
}

/// The authority is exchanged under a running agent; one that is none leaves the one before.
#[tokio::test]
async fn new_authorities_count_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (other, shown) = (issue(), issue());
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, other.cert.pem()).unwrap();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = incoming.local_addr().unwrap().port();
    let (sender, mut asked) = mpsc::unbounded_channel();
    let key = shown.signing_key.serialize_pem();
    let identity = tonic::transport::Identity::from_pem(shown.cert.pem(), key);
    let tls = tonic::transport::ServerTlsConfig::new().identity(identity);
    let service = LogsServiceServer::new(Rotating(sender, Arc::new(Mutex::new("Bearer t"))));
    let mut server = Server::builder().tls_config(tls).unwrap();
    let server = tokio::spawn(server.add_service(service).serve_with_incoming(incoming));
    let token = folder.path().join("token");
    std::fs::write(&token, "t").unwrap();
    let sending = send_one(&config::Export {
        endpoint: format!("https://localhost:{port}"),
        ca_file: Some(ca_file.clone()),
        token_file: Some(token),
        ..config::Export::default()
    });
    let refused = || count(&sending.standing, standing::Reason::Tls);
    while refused() == 0 {
        tokio::task::yield_now().await;
    }
    std::fs::write(&ca_file, "half a certif").unwrap();
    let before = refused();
    while refused() == before {
        tokio::task::yield_now().await;
    }
    std::fs::write(&ca_file, shown.cert.pem()).unwrap();
    assert_eq!(asked.recv().await.unwrap(), "Bearer t");
    sending.stop.cancel();
    sending.task.await.unwrap();
    server.abort();
}

/// A collector that is away makes pauses of up to half a minute, longer than an agent has to end.
#[tokio::test]
async fn the_end_cuts_a_pause_short_and_only_one() {
    let stop = CancellationToken::new();
    let hour = pause(Duration::from_hours(1), &stop);
    let bounded = tokio::time::timeout(Duration::from_mins(1), hour);
    let (ended, ()) = tokio::join!(bounded, async { stop.cancel() });
    assert_eq!(ended.unwrap(), Pause::CutShort);
    let next = pause(Duration::from_millis(1), &stop).await;
    assert_eq!(next, Pause::Whole, "no turning without pause");
}
