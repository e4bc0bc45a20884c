//! The agent's half as a process: `plimsoll-lab emit`, which says what is durable.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::JoinHandle;

use crate::collector::program;

/// Whom to speak to, and how.
#[derive(Clone)]
pub(crate) struct Way {
    pub(crate) endpoint: String,
    pub(crate) token: PathBuf,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) server_name: Option<&'static str>,
    /// In its environment.
    pub(crate) environment: Vec<(String, PathBuf)>,
}

/// A running emitter; killed when dropped.
pub(crate) struct Emitter {
    child: Child,
    durable: Arc<AtomicU32>,
    reader: Option<JoinHandle<()>>,
    log: PathBuf,
}

impl Emitter {
    /// Emits `count` records from `first` on into a spool, and what is in there already.
    pub(crate) fn start(folder: &Path, way: &Way, first: u32, count: u32) -> Self {
        std::fs::create_dir_all(folder).unwrap();
        let log = folder.join("emitter.log");
        let mut command = Command::new(program("plimsoll-lab"));
        command
            .arg("emit")
            .arg("--spool")
            .arg(folder)
            .args(["--endpoint", &way.endpoint])
            .arg("--token-file")
            .arg(&way.token)
            .args(["--first", &first.to_string(), "--count", &count.to_string()])
            .envs(way.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log).unwrap());
        if let Some(ca) = &way.ca {
            command.arg("--ca-file").arg(ca);
        }
        if let Some(name) = way.server_name {
            command.args(["--server-name", name]);
        }
        let mut child = command.spawn().unwrap();
        let durable = Arc::new(AtomicU32::new(first - 1));
        let (said, output) = (Arc::clone(&durable), child.stdout.take().unwrap());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let line = line.unwrap();
                // A line that was cut off by the kill is not said.
                let number = line.strip_prefix("durable ").and_then(|n| n.parse().ok());
                said.store(number.unwrap(), Ordering::Release);
            }
        });
        Self {
            child,
            durable,
            reader: Some(reader),
            log,
        }
    }

    /// The last number that it has said to be durable.
    pub(crate) fn durable(&self) -> u32 {
        self.durable.load(Ordering::Acquire)
    }

    /// SIGKILL; the last number that it had said to be durable.
    pub(crate) fn kill(mut self) -> u32 {
        self.end()
    }

    /// SIGSTOP, or SIGCONT: it is there, and does nothing.
    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap()
    }

    fn end(&mut self) -> u32 {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.durable()
    }
}

impl Drop for Emitter {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
