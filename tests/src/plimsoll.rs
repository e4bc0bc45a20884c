#![expect(
    clippy::disallowed_methods,
    reason = "shell: runs agent and collector and asks them over HTTP"
)]
//! Agent and collector as two processes beside the stage, and the questions that can be asked them.
//!
//! It uses what any user has: configuration files, signals, `/readyz`, `/metrics` and the API.

pub mod ask;
pub mod cluster;
pub mod config;
pub mod read;
pub mod statefulset;

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use self::ask::{Answer, Asker};
use self::config::Settings;
use crate::enter::Enter;

/// Until both say that they are ready. Software emulation loads kernel programs slowly.
const READY_WITHIN: Duration = Duration::from_mins(1);
/// Until a process that was asked to end has ended.
const END_WITHIN: Duration = Duration::from_secs(15);

const AGENT: &str = "plimsoll-agent";
const COLLECTOR: &str = "plimsoll-collector";

/// A running agent and collector; killed when dropped.
#[derive(Debug)]
pub struct Plimsoll {
    settings: Settings,
    collector: Process,
    agent: Process,
}

#[derive(Debug)]
struct Process {
    name: &'static str,
    child: Option<Child>,
    log: PathBuf,
}

impl Plimsoll {
    /// Writes the configuration, starts both, waits until both are ready.
    ///
    /// # Errors
    /// A program is missing, ends at once or does not become ready; with the end of its log.
    pub fn start(settings: Settings) -> Result<Self> {
        settings.write()?;
        let collector = Process::start(COLLECTOR, &settings, &settings.collector())?;
        let agent = Process::start(AGENT, &settings, &settings.agent(&[]))?;
        let mut plimsoll = Self {
            settings,
            collector,
            agent,
        };
        let deadline = Instant::now() + READY_WITHIN;
        plimsoll.wait_collector(deadline)?;
        plimsoll.wait_agent(deadline)?;
        Ok(plimsoll)
    }

    fn wait_collector(&mut self, deadline: Instant) -> Result<()> {
        let url = self.settings.collector_url("/readyz");
        // Health is open to everybody, as the kubelet asks it.
        let kubelet = self.settings.reader().showing(None);
        self.collector.wait_ready(&kubelet, &url, deadline)
    }

    fn wait_agent(&mut self, deadline: Instant) -> Result<()> {
        let url = self.settings.agent_url("/readyz");
        self.agent.wait_ready(&Asker::default(), &url, deadline)
    }

    /// The dashboard's address.
    pub fn dashboard(&self) -> String {
        self.settings.collector_url("/")
    }

    /// A document of the collector's API, such as `/api/v1/sizing`.
    ///
    /// # Errors
    /// No answer, a refusal, or no JSON.
    pub fn api(&self, path: &str) -> Result<Value> {
        let url = self.settings.collector_url(path);
        self.settings.reader().document(&url)
    }

    /// What the collector answers to somebody who shows this token, or none.
    ///
    /// # Errors
    /// No answer.
    pub fn answer(&self, path: &str, token: Option<&str>) -> Result<Answer> {
        let url = self.settings.collector_url(path);
        self.settings.reader().showing(token).ask(&url)
    }

    /// The agent's health and metrics as one document.
    ///
    /// # Errors
    /// No answer.
    pub fn agent(&self) -> Result<Value> {
        let asker = Asker::default();
        let health = asker.text(&self.settings.agent_url("/readyz"))?;
        let metrics = asker.text(&self.settings.agent_url("/metrics"))?;
        let health: Value = serde_json::from_str(&health).unwrap_or(Value::String(health));
        Ok(serde_json::json!({"health": health, "metrics": read::metrics(&metrics)}))
    }

    /// What `plimsoll-agent check` says, where the agent runs and with the rights that it has.
    ///
    /// # Errors
    /// It cannot be run, or prints no JSON.
    pub fn check_agent(&self) -> Result<Value> {
        let enter = self.settings.agent(&["check", "--output", "json"]);
        let output = enter
            .command()?
            .env("NODE_NAME", crate::pods::NODE)
            .output()
            .context("running plimsoll-agent check")?;
        serde_json::from_slice(&output.stdout).with_context(|| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!("plimsoll-agent check printed no JSON: {said}")
        })
    }

    /// Every audit event so far, from the file sink: the record of truth, without a bound.
    ///
    /// # Errors
    /// A file cannot be read.
    pub fn events(&self) -> Result<Vec<Value>> {
        let folder = self.settings.audit_folder();
        let Ok(entries) = std::fs::read_dir(&folder) else {
            return Ok(Vec::new());
        };
        let mut files: Vec<PathBuf> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .collect();
        // `audit.jsonl` is the newest; `audit.jsonl.1` was put aside before it, and so on.
        files.retain(|path| path.to_string_lossy().contains(".jsonl"));
        files.sort();
        files.reverse();
        let mut events = Vec::new();
        for file in files {
            let text = std::fs::read_to_string(&file)
                .with_context(|| format!("reading {}", file.display()))?;
            events.extend(read::lines(&text));
        }
        Ok(events)
    }

    /// Asks the audit events again until `enough` says so.
    ///
    /// # Errors
    /// Not enough within `within`; the last answer's size is in the message.
    pub fn wait_events(
        &self,
        within: Duration,
        enough: impl Fn(&[Value]) -> bool,
    ) -> Result<Vec<Value>> {
        let deadline = Instant::now() + within;
        loop {
            let events = self.events()?;
            if enough(&events) {
                return Ok(events);
            }
            if Instant::now() > deadline {
                bail!(
                    "not seen within {} s, among {} events",
                    within.as_secs(),
                    events.len()
                );
            }
            // An interval of asking, not a synchronisation.
            std::thread::sleep(Duration::from_millis(250));
        }
    }

    /// Ends the agent as the kubelet would; it drains first. The collector stays.
    ///
    /// # Errors
    /// It does not end in time, or not with success.
    pub fn stop_agent(&mut self) -> Result<()> {
        self.agent.stop()
    }

    /// Starts the agent once more, with the same configuration and state, and waits until it is ready.
    ///
    /// # Errors
    /// It ends at once or does not become ready.
    pub fn start_agent(&mut self) -> Result<()> {
        self.agent = Process::start(AGENT, &self.settings, &self.settings.agent(&[]))?;
        self.wait_agent(Instant::now() + READY_WITHIN)
    }

    /// Ends the collector as a drain of its node does; the agent stays.
    ///
    /// # Errors
    /// As [`Plimsoll::stop_agent`].
    pub fn stop_collector(&mut self) -> Result<()> {
        self.collector.stop()
    }

    /// Moves what the ended collector has written to another folder, as its volume comes to another node,
    /// and starts it there at the same address.
    ///
    /// # Errors
    /// The folder cannot be moved, or the collector ends at once or does not become ready.
    pub fn start_collector_at(&mut self, data: PathBuf) -> Result<()> {
        std::fs::rename(&self.settings.data, &data)
            .with_context(|| format!("moving the collector's data to {}", data.display()))?;
        self.settings.data = data;
        self.settings.write_collector()?;
        let enter = self.settings.collector();
        self.collector = Process::start(COLLECTOR, &self.settings, &enter)?;
        self.wait_collector(Instant::now() + READY_WITHIN)
    }

    /// Ends both.
    ///
    /// # Errors
    /// As [`Plimsoll::stop_agent`].
    pub fn stop(mut self) -> Result<()> {
        let agent = self.agent.stop();
        let collector = self.collector.stop();
        agent.and(collector)
    }

    /// What the kernel says of the collector in its container, as `/proc/PID/status` has it.
    ///
    /// # Errors
    /// It does not run in one.
    pub fn collector_status(&self) -> Result<String> {
        let runtime = self.collector.child.as_ref().map(Child::id);
        let runtime = runtime.context("the collector has ended")?;
        let children = format!("/proc/{runtime}/task/{runtime}/children");
        let children =
            std::fs::read_to_string(&children).with_context(|| format!("reading {children}"))?;
        let inside = children.split_whitespace().next();
        let status = format!("/proc/{}/status", inside.context("no container")?);
        std::fs::read_to_string(&status).with_context(|| format!("reading {status}"))
    }

    /// Process id of the agent while it runs.
    pub fn agent_pid(&self) -> Option<u32> {
        self.agent.child.as_ref().map(Child::id)
    }

    /// An error if one of them has ended.
    ///
    /// # Errors
    /// Names it, with the end of its log.
    pub fn check(&mut self) -> Result<()> {
        self.agent.check()?;
        self.collector.check()
    }
}

impl Process {
    /// Through `enter`: it ends with us, however we end.
    fn start(name: &'static str, settings: &Settings, enter: &Enter) -> Result<Self> {
        let log = settings.dir.join(format!("{name}.log"));
        let out =
            std::fs::File::create(&log).with_context(|| format!("making {}", log.display()))?;
        let err = out.try_clone().context("duplicating a log")?;
        let child = enter
            .command()?
            .env("NODE_NAME", crate::pods::NODE)
            .stdout(out)
            .stderr(err)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self {
            name,
            child: Some(child),
            log,
        })
    }

    fn check(&mut self) -> Result<()> {
        let Some(child) = &mut self.child else {
            return Ok(());
        };
        if let Some(status) = child
            .try_wait()
            .with_context(|| format!("waiting for {}", self.name))?
        {
            self.child = None;
            bail!(
                "{} ended: {status}; its last words:\n{}",
                self.name,
                self.last_words()
            );
        }
        Ok(())
    }

    fn wait_ready(&mut self, asker: &Asker, url: &str, deadline: Instant) -> Result<()> {
        loop {
            self.check()?;
            if asker.text(url).is_ok() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!(
                    "{} is not ready at {url}; its last words:\n{}",
                    self.name,
                    self.last_words()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn stop(&mut self) -> Result<()> {
        let Some(mut child) = self.child.take() else {
            return Ok(());
        };
        let pid = i32::try_from(child.id())
            .ok()
            .and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .with_context(|| format!("ending {}", self.name))?;
        }
        let deadline = Instant::now() + END_WITHIN;
        loop {
            if let Some(status) = child
                .try_wait()
                .with_context(|| format!("waiting for {}", self.name))?
            {
                if status.success() {
                    return Ok(());
                }
                bail!(
                    "{} ended with {status}; its last words:\n{}",
                    self.name,
                    self.last_words()
                );
            }
            if Instant::now() > deadline {
                drop(child.kill());
                drop(child.wait());
                bail!(
                    "{} did not end within {} s",
                    self.name,
                    END_WITHIN.as_secs()
                );
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines
            .get(lines.len().saturating_sub(10)..)
            .unwrap_or_default()
            .join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Whether agent and collector programs lie in this folder.
pub fn are_built(programs: &Path) -> bool {
    [AGENT, COLLECTOR]
        .iter()
        .all(|name| programs.join(name).is_file())
}

/// `port` if nobody listens on it, else any free one.
///
/// # Errors
/// The loopback interface has no free port.
pub fn free_port(port: u16) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", port))
        .or_else(|_| TcpListener::bind(("127.0.0.1", 0)))
        .context("looking for a free port")?;
    Ok(listener
        .local_addr()
        .context("looking for a free port")?
        .port())
}
