//! The agent as a process that is told to end before it has begun.
#![expect(
    clippy::disallowed_methods,
    reason = "runs the agent, makes its folders and signals it"
)]

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn a_signal_that_comes_during_the_start_is_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let here = folder.path().display();
    let cgroup = folder.path().join("cgroup");
    std::fs::create_dir(&cgroup).unwrap();
    // Whoever reads this waits for somebody who writes: the agent stands still in its start.
    let gate = cgroup.join("cgroup.controllers");
    mknodat(CWD, &gate, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let config = folder.path().join("agent.yaml");
    let text = format!(
        "spool:\n  path: {here}/spool\nhost:\n  cgroup: {here}/cgroup\nkernel:\n  enabled: false\n\
         admin:\n  listen: 127.0.0.1:0\nexport:\n  endpoint: http://127.0.0.1:1\n  drain_ms: 100\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut agent = Command::new(env!("CARGO_BIN_EXE_plimsoll-agent"))
        .arg("--config")
        .arg(&config)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // An agent that ended early lets us go all the same.
    let (mut log, exit) = (agent.stderr.take().unwrap(), gate.clone());
    let ended = std::thread::spawn(move || {
        let mut text = String::new();
        log.read_to_string(&mut text).unwrap();
        let way = OFlags::RDONLY | OFlags::NONBLOCK;
        drop(rustix::fs::open(&exit, way, Mode::empty()));
        text
    });
    // Opened once the agent reads.
    let mut controllers = std::fs::OpenOptions::new().write(true).open(&gate).unwrap();
    let pid = Pid::from_child(&agent);
    kill_process(pid, Signal::TERM).unwrap();
    controllers.write_all(b"cpu memory\n").unwrap_or(());
    drop(controllers);
    let status = agent.wait().unwrap();
    assert_eq!(
        status.code(),
        Some(0),
        "{status}\n{}",
        ended.join().unwrap()
    );
}
