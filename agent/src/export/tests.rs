//! The export against a collector in this process and a disk that fails.

use std::collections::BTreeSet;

use opentelemetry_proto::tonic::collector::logs::v1::logs_service_server::{
    LogsService, LogsServiceServer,
};
use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse,
};
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
    let error = endpoint(&config).unwrap_err();
    assert!(error.to_string().contains("export.ca_file"), "{error}");
}
