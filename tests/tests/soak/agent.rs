//! The agent itself, with a tree of files in place of a node: what it sends are its heartbeats.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal};

use crate::collector::{program, wait_until};

/// A running agent; killed when dropped.
pub(crate) struct Agent {
    folder: PathBuf,
    environment: Vec<(String, PathBuf)>,
    child: Option<Child>,
}

impl Agent {
    /// It sends to that port, as that node.
    pub(crate) fn new(
        folder: &Path,
        node: &str,
        otlp: u16,
        token: &Path,
        environment: Vec<(String, PathBuf)>,
    ) -> Self {
        std::fs::create_dir_all(folder.join("cgroup/system.slice/a.service")).unwrap();
        std::fs::create_dir_all(folder.join("proc/self")).unwrap();
        std::fs::write(folder.join("cgroup/cgroup.controllers"), "").unwrap();
        let config = serde_json::json!({
            "node": node,
            "host": {"proc": folder.join("proc"), "cgroup": folder.join("cgroup")},
            "kernel": {"enabled": false},
            "spool": {"path": folder.join("spool")},
            "export": {
                "endpoint": format!("http://127.0.0.1:{otlp}"),
                "token_file": token,
            },
            "admin": {"listen": "127.0.0.1:0"},
        });
        std::fs::write(folder.join("agent.yaml"), config.to_string()).unwrap();
        let mut agent = Self {
            folder: folder.to_owned(),
            environment,
            child: None,
        };
        agent.start();
        agent
    }

    fn start(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.folder.join("agent.log"))
            .unwrap();
        let child = Command::new(program("plimsoll-agent"))
            .arg("--config")
            .arg(self.folder.join("agent.yaml"))
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
    }

    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    pub(crate) fn kill_and_start(&mut self) {
        self.kill();
        self.start();
    }

    /// As a drain ends it: it sends what it has.
    pub(crate) fn terminate(&mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        rustix::process::kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        wait_until("the agent has ended", || {
            child.try_wait().unwrap().is_some()
        });
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.kill();
    }
}
