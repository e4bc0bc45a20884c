//! A run of `up` under way, and the processes below it.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Until `up` has to be ready, and until it has to be gone.
const READY_WITHIN: Duration = Duration::from_mins(2);
pub(crate) const GONE_WITHIN: Duration = Duration::from_secs(20);

/// A run without an end of its own; killed when dropped.
pub(crate) struct Live {
    pub(crate) child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    dashboard: String,
}

impl Live {
    /// Starts it and waits for the dashboard's address.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = child.stdout.take().unwrap();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                // Nobody reads any more when a test has failed.
                drop(sender.send(line));
            }
        });
        let mut live = Self {
            child,
            lines,
            seen: Vec::new(),
            dashboard: String::new(),
        };
        live.dashboard = live.wait_line("Dashboard: ").replace("Dashboard: ", "");
        live
    }

    #[track_caller]
    pub(crate) fn wait_line(&mut self, start: &str) -> String {
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("it did not say {start:?}: {}", self.said());
            };
            self.seen.push(line.clone());
            if line.trim_start().starts_with(start) {
                return line;
            }
        }
    }

    pub(crate) fn said(&self) -> String {
        self.seen.join("\n")
    }

    /// A page of the dashboard, once it contains this.
    #[track_caller]
    pub(crate) fn page(&self, name: &str, contains: &str) -> String {
        let url = format!("{}{name}", self.dashboard);
        let mut text = String::new();
        wait_until(&format!("{url} contains {contains:?}"), || {
            let answer = ureq::get(&url).call().ok();
            text = answer
                .and_then(|mut answer| answer.body_mut().read_to_string().ok())
                .unwrap_or_default();
            text.contains(contains)
        });
        text
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; whether it was a good one.
    pub(crate) fn end(&mut self) -> bool {
        let mut status = None;
        let child = &mut self.child;
        wait_until("it has ended", || {
            status = child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().success()
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[track_caller]
pub(crate) fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(
            begin.elapsed() < GONE_WITHIN,
            "waited {GONE_WITHIN:?} until {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Processes below this one, and below those.
pub(crate) fn descendants(of: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid: u32| Some((pid, parent(pid)?)))
        .collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(pid) = found.get(next).copied() {
        next += 1;
        found.extend(parents.iter().filter(|(_, p)| *p == pid).map(|(c, _)| c));
    }
    found.split_off(1)
}

pub(crate) fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

pub(crate) fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// There, and no zombie that waits for its reaper.
pub(crate) fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z")
}
