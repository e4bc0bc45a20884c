#![expect(
    clippy::disallowed_methods,
    reason = "shell: an agent's half with known records, to be killed"
)]
//! `plimsoll-lab emit`: the agent's spool and export with numbered records in place of a kernel.
//!
//! It says on standard output what is durable, once it is: who kills it knows the truth by what was
//! said. Its log goes to standard error, as the agent's does.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use plimsoll_agent::admin::{Pulse, Status};
use plimsoll_agent::config::Export;
use plimsoll_agent::export::{Exporter, SharedSpool};
use plimsoll_agent::spool::Spool;
use plimsoll_agent::telemetry;
use plimsoll_journal::FileStorage;
use plimsoll_wire::event::OomKill;
use plimsoll_wire::{AuditEvent, Class, Identity};
use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// Bytes of the spool at the most: far more than a test writes.
const SPOOL_BYTES: u64 = 64 << 20;
/// Records of one commit at the most.
const GROUP: u32 = 60;
/// One of so many records happened at the beginning of the Unix epoch.
const LATE: u32 = 50;
/// Longest pause between two commits.
const PAUSE_MS: u64 = 10;

/// Where to, and which numbers.
#[derive(Clone, Debug, Args)]
pub struct Emit {
    /// Folder of the spool.
    #[arg(long)]
    pub spool: PathBuf,
    /// The collector.
    #[arg(long)]
    pub endpoint: String,
    /// Name of the node.
    #[arg(long, default_value = "node-1")]
    pub node: String,
    /// File with the bearer token.
    #[arg(long)]
    pub token_file: Option<PathBuf>,
    /// PEM file of the authorities trusted.
    #[arg(long)]
    pub ca_file: Option<PathBuf>,
    /// Name in the collector's certificate.
    #[arg(long)]
    pub server_name: Option<String>,
    /// Number of the first record.
    #[arg(long, default_value_t = 1)]
    pub first: u32,
    /// Records; then it ends as soon as everything is delivered.
    #[arg(long)]
    pub count: u32,
}

impl Emit {
    /// Emits, commits, says `durable N` for each commit, and ends when all is delivered.
    ///
    /// # Errors
    /// The spool or the export refuses.
    pub fn run(&self, say: &dyn Fn(&str)) -> Result<()> {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .context("asking to end with the parent")?;
        telemetry::start_log("info", false);
        let spool = open(&self.spool)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("building a runtime")?;
        let _within = runtime.enter();
        let committed = Arc::new(Notify::new());
        let exporter = Exporter::new(
            &self.export(),
            &self.node,
            Arc::clone(&spool),
            Arc::clone(&committed),
        )?;
        let stop = CancellationToken::new();
        let abort = CancellationToken::new();
        let sent = runtime.spawn(exporter.run(Class::Security, pulse(), stop.clone(), abort));
        self.emit(&spool, &committed, say)?;
        stop.cancel();
        runtime.block_on(sent).context("exporting")?;
        Ok(())
    }

    fn export(&self) -> Export {
        Export {
            endpoint: self.endpoint.clone(),
            token_file: self.token_file.clone(),
            ca_file: self.ca_file.clone(),
            server_name: self.server_name.clone(),
            batch_records: 32,
            ..Export::default()
        }
    }

    fn emit(&self, spool: &SharedSpool, committed: &Notify, say: &dyn Fn(&str)) -> Result<()> {
        let end = self.first.saturating_add(self.count);
        let mut next = self.first;
        while next < end {
            let group = fastrand::u32(1..=GROUP).min(end - next);
            {
                let mut held = spool.lock().unwrap_or_else(PoisonError::into_inner);
                for number in next..next + group {
                    // Some happened long ago, and no service takes them under that time.
                    let time = if number % LATE == 0 { 1 } else { now() };
                    held.event(&record(number), time, 1);
                }
                held.commit(1).context("committing")?;
            }
            next += group;
            say(&format!("durable {}", next - 1));
            committed.notify_waiters();
            // A pace, not a synchronisation: kills are to hit idle and busy moments.
            if fastrand::u32(..4) == 0 {
                std::thread::sleep(Duration::from_millis(fastrand::u64(..PAUSE_MS)));
            }
        }
        Ok(())
    }
}

fn now() -> u64 {
    let since = std::time::SystemTime::UNIX_EPOCH.elapsed();
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

/// The record of that number: it is the victim's process id.
pub fn record(number: u32) -> AuditEvent {
    AuditEvent::OomKill(OomKill {
        identity: Identity::unknown(7),
        identity_is_trigger: false,
        victim_pid: number,
        victim_comm: Some("x".repeat(200)),
        anon_rss_bytes: None,
        file_rss_bytes: None,
        shmem_rss_bytes: None,
        memory_peak_bytes: None,
        memory_limit_bytes: None,
    })
}

/// A pulse that nobody feels: health is the agent's own matter.
pub fn pulse() -> Pulse {
    Status::new(Registry::default()).task("export security", Duration::ZERO)
}

/// The spool in a folder, as the agent opens its own.
///
/// # Errors
/// The disk refuses.
pub fn open(folder: &Path) -> Result<SharedSpool> {
    let storage = |class: Class| {
        let path = folder.join(class.as_str());
        FileStorage::open(&path).with_context(|| format!("opening {}", path.display()))
    };
    let epoch = format!("{:032x}", fastrand::u128(..));
    let (usage, security) = (storage(Class::Usage)?, storage(Class::Security)?);
    let (spool, _) =
        Spool::open(usage, security, SPOOL_BYTES, &epoch).context("opening the spool")?;
    Ok(Arc::new(Mutex::new(spool)))
}
