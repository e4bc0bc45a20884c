#![expect(
    clippy::disallowed_methods,
    reason = "shell: runs the demonstration and looks at what it leaves"
)]
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test with a main of its own"
)]
//! `up` where it is not welcome: without root, without BPF, with its port taken; and its end, by
//! signals and by SIGKILL, which must leave nothing behind.
//!
//! What this host cannot do is printed as `SKIP name: reason` and is not counted as passed. A word
//! on the command line selects the tests whose name contains it.

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use plimsoll_tests::scenarios::{Facts, Need};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// A test, and what it cannot do without.
type Test = (&'static str, &'static [Need], fn());

/// Every test.
const ALL: [Test; 6] = [
    (
        "without_root_it_runs_on_procfs_and_says_so",
        &[Need::Root, Need::Programs],
        without_root,
    ),
    (
        "without_bpf_it_runs_on_files_and_says_so",
        &[Need::Root, Need::Programs],
        without_bpf,
    ),
    (
        "ctrl_c_leaves_nothing_behind",
        &[Need::Root, Need::Programs, Need::Namespaces],
        || ends_by(Signal::INT),
    ),
    (
        "sigterm_leaves_nothing_behind",
        &[Need::Root, Need::Programs, Need::Namespaces],
        || ends_by(Signal::TERM),
    ),
    (
        "the_next_run_cleans_up_after_a_killed_one",
        &[Need::Root, Need::Programs, Need::Namespaces],
        cleans_up_after_a_kill,
    ),
    (
        "a_port_that_is_taken_is_named",
        &[Need::Programs],
        port_taken,
    ),
];

/// Until `up` has to be ready, and until it has to be gone.
const READY_WITHIN: Duration = Duration::from_mins(2);
const GONE_WITHIN: Duration = Duration::from_secs(20);

fn main() {
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let facts = Facts::gather(&programs());
    let (mut passed, mut skipped, mut failed) = (0, 0, 0);
    for (name, needs, test) in ALL {
        if filter.as_ref().is_some_and(|word| !name.contains(word)) {
            continue;
        }
        if let Some(reason) = needs.iter().find_map(|need| facts.missing(*need)) {
            skipped += 1;
            println!("SKIP {name}: {reason}");
        } else if catch_unwind(test).is_ok() {
            passed += 1;
            println!("ok   {name}");
        } else {
            failed += 1;
            println!("FAIL {name}");
        }
    }
    println!("up: {passed} passed, {skipped} skipped, {failed} failed");
    std::process::exit(i32::from(failed > 0));
}

/// Where cargo has built the programs.
fn programs() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    test.ancestors().nth(2).unwrap().into()
}

/// `plimsoll-lab up`, with its temporary folder where nobody else's is.
fn up(place: &Path, wrapper: &[&str]) -> Command {
    let lab = programs().join("plimsoll-lab");
    let mut command = match wrapper.split_first() {
        Some((program, words)) => {
            let mut command = Command::new(program);
            command.args(words).arg(lab);
            command
        }
        None => Command::new(lab),
    };
    command
        .arg("up")
        .env("TMPDIR", place)
        .env("HOME", place)
        .current_dir(place)
        .stdin(Stdio::null());
    command
}

/// The document of a run that must end well, with all that it said.
#[track_caller]
fn document(command: &mut Command) -> (Value, String) {
    let Output {
        status,
        stdout,
        stderr,
    } = command
        .args(["--seconds", "5", "-o", "json"])
        .output()
        .unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert!(status.success(), "{status}: {said}");
    (serde_json::from_slice(&stdout).unwrap(), said)
}

fn strings(list: &Value) -> Vec<String> {
    let list = list.as_array().unwrap();
    list.iter()
        .map(|v| v.as_str().unwrap().to_owned())
        .collect()
}

/// What is missing is in the text and in the document, and the books balance.
#[track_caller]
fn check_partial(document: &Value, said: &str, reason: &str) {
    let degraded = strings(&document["agent"]["health"]["degraded"]);
    assert!(degraded.iter().any(|d| d == reason), "{degraded:?}");
    assert!(said.contains(&format!("Degraded: {reason}")), "{said}");
    assert_eq!(document["accounting"]["balanced"], true);
}

/// As anybody: the programs are copied to where that one may read them.
fn without_root() {
    let place = tempfile::tempdir().unwrap();
    let open = std::os::unix::fs::PermissionsExt::from_mode(0o777);
    std::fs::set_permissions(place.path(), open).unwrap();
    let nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--inh-caps=-all",
    ];
    let lab = place.path().join("plimsoll-lab");
    for name in ["plimsoll-lab", "plimsoll-agent", "plimsoll-collector"] {
        std::fs::copy(programs().join(name), place.path().join(name)).unwrap();
    }
    let start = || {
        let (program, words) = nobody.split_first().unwrap();
        let mut command = Command::new(program);
        command
            .args(words)
            .arg(&lab)
            .arg("up")
            .env("TMPDIR", place.path())
            .current_dir(place.path())
            .stdin(Stdio::null());
        command
    };
    let (document, said) = document(&mut start());
    check_partial(&document, &said, "kernel programs: CAP_BPF is missing");
    let missing = strings(&document["stage"]["missing"]);
    assert_eq!(missing.len(), 1, "{missing:?}");
    assert!(
        missing[0].starts_with("sample workloads: only root ") && said.contains(&missing[0]),
        "{missing:?} in {said}"
    );
    // The page says it while it runs, and so does each table.
    let mut live = Live::start(&mut start());
    let page = live.page("nodes", "CAP_BPF is missing");
    assert!(page.contains("partial"), "{page}");
    live.wait_line("Partial: sample workloads, kernel programs");
    live.signal(Signal::TERM);
    assert!(live.end(), "{}", live.said());
    assert_eq!(left_in(place.path(), "plimsoll-up-"), BTreeSet::new());
}

/// As root without the rights to load programs, as in a container.
fn without_bpf() {
    let place = tempfile::tempdir().unwrap();
    let wrapper = [
        "setpriv",
        "--bounding-set=-bpf,-perfmon,-sys_admin",
        "--inh-caps=-bpf,-perfmon,-sys_admin",
    ];
    let before = Left::look(place.path());
    let (document, said) = document(&mut up(place.path(), &wrapper));
    check_partial(&document, &said, "kernel programs: CAP_BPF is missing");
    let missing = strings(&document["stage"]["missing"]);
    for missing in &missing {
        assert!(said.contains(&format!("Without {missing}")), "{said}");
    }
    let network = "metadata service and pod networks: ";
    assert!(
        missing.iter().any(|missing| missing.starts_with(network)),
        "{missing:?}"
    );
    // Files alone are enough for what the pods use.
    let seen = document["sizing"]["recommendations"].as_array().unwrap();
    assert!(!seen.is_empty(), "{document:#}");
    assert_nothing_left(place.path(), &before);
}

fn ends_by(signal: Signal) {
    let place = tempfile::tempdir().unwrap();
    let before = Left::look(place.path());
    let mut live = Live::start(&mut up(place.path(), &[]));
    let during = Left::look(place.path());
    assert_ne!(during.namespaces, before.namespaces, "{}", live.said());
    assert_ne!(during.cgroups, before.cgroups);
    assert_ne!(during.folders, before.folders);
    let children = descendants(live.child.id());
    assert!(children.len() > 5, "{children:?}");
    live.signal(signal);
    assert!(live.end(), "{}", live.said());
    assert_nothing_left(place.path(), &before);
    for pid in children {
        assert!(!is_running(pid), "process {pid} is left");
    }
}

fn cleans_up_after_a_kill() {
    let place = tempfile::tempdir().unwrap();
    let before = Left::look(place.path());
    let mut live = Live::start(&mut up(place.path(), &[]));
    let children = descendants(live.child.id());
    live.signal(Signal::KILL);
    assert!(!live.end());
    // Every process of the stage asked to end with its parent.
    wait_until("the stage's processes have ended", || {
        !children.iter().any(|pid| is_running(*pid))
    });
    let stale = Left::look(place.path());
    assert_ne!(stale.namespaces, before.namespaces, "it took its leave");
    let mut next = Live::start(&mut up(place.path(), &[]));
    let both = Left::look(place.path());
    for namespace in stale.namespaces.difference(&before.namespaces) {
        assert!(!both.namespaces.contains(namespace), "{namespace} is left");
    }
    for folder in stale.folders.difference(&before.folders) {
        assert!(!both.folders.contains(folder), "{folder} is left");
    }
    next.signal(Signal::INT);
    assert!(next.end(), "{}", next.said());
    assert_nothing_left(place.path(), &before);
}

fn port_taken() {
    let place = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let before = Left::look(place.path());
    let output = up(place.path(), &[])
        .args(["--port", &port])
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        said.contains(&format!("--port {port}: 127.0.0.1:{port} is taken")),
        "{said}"
    );
    assert_nothing_left(place.path(), &before);
    // The collector on its own names its setting, with the address.
    let config = place.path().join("collector.yaml");
    let text = format!(
        "data: {{ path: {} }}\nhttp: {{ listen: '127.0.0.1:{port}' }}\ningest: {{ listen: '127.0.0.1:0' }}\n",
        place.path().join("state").display()
    );
    std::fs::write(&config, text).unwrap();
    let output = Command::new(programs().join("plimsoll-collector"))
        .arg("--config")
        .arg(&config)
        .output()
        .unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(
        said.contains("http.listen") && said.contains(&port) && said.contains("in use"),
        "{said}"
    );
}

/// A run without an end of its own; killed when dropped.
struct Live {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
    dashboard: String,
}

impl Live {
    /// Starts it and waits for the dashboard's address.
    fn start(command: &mut Command) -> Self {
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
    fn wait_line(&mut self, start: &str) -> String {
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

    fn said(&self) -> String {
        self.seen.join("\n")
    }

    /// A page of the dashboard, once it contains this.
    #[track_caller]
    fn page(&self, name: &str, contains: &str) -> String {
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

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for its end; whether it was a good one.
    fn end(&mut self) -> bool {
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
fn wait_until(what: &str, mut reached: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !reached() {
        assert!(
            begin.elapsed() < GONE_WITHIN,
            "waited {GONE_WITHIN:?} until {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a run could leave on the machine. Others may run beside: only names of a stage are looked
/// at, and a run's own folder.
#[derive(Debug)]
struct Left {
    namespaces: BTreeSet<String>,
    notes: BTreeSet<String>,
    mounts: BTreeSet<String>,
    cgroups: BTreeSet<String>,
    folders: BTreeSet<String>,
}

impl Left {
    fn look(place: &Path) -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap();
        let root = plimsoll_tests::cgroups::mounted_root().unwrap();
        let mut cgroups = BTreeSet::new();
        walk(&root, &mut cgroups);
        Self {
            namespaces: left_in(Path::new("/run/netns"), "plimsoll-"),
            notes: left_in(Path::new("/run/plimsoll-stage"), ""),
            mounts: mounts
                .lines()
                .filter(|line| line.contains("plimsoll"))
                .map(str::to_owned)
                .collect(),
            cgroups,
            folders: left_in(place, "plimsoll-up-"),
        }
    }

    fn all(&self) -> BTreeSet<String> {
        let kinds = [
            &self.namespaces,
            &self.notes,
            &self.mounts,
            &self.cgroups,
            &self.folders,
        ];
        kinds.into_iter().flatten().cloned().collect()
    }
}

/// Nothing that was not there before is there for good. What a run beside this one makes meanwhile
/// comes and goes: it is not held against it.
#[track_caller]
fn assert_nothing_left(place: &Path, before: &Left) {
    let mut left = Left::look(place).all();
    left.retain(|name| !before.all().contains(name));
    let begin = Instant::now();
    while !left.is_empty() && begin.elapsed() < GONE_WITHIN {
        let now = Left::look(place).all();
        left.retain(|name| now.contains(name));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(left.is_empty(), "left: {left:#?}");
}

fn left_in(folder: &Path, prefix: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with(prefix))
        .collect()
}

/// Cgroups of pods and of the sample host service.
fn walk(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            let name = path.display().to_string();
            if name.contains("kubepods") || name.contains(plimsoll_tests::pods::HOST_SERVICE) {
                found.insert(name);
            }
            walk(&path, found);
        }
    }
}

/// Processes below this one, and below those.
fn descendants(of: u32) -> Vec<u32> {
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

fn stat(pid: u32) -> Option<Vec<String>> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

fn parent(pid: u32) -> Option<u32> {
    stat(pid)?.get(1)?.parse().ok()
}

/// There, and no zombie that waits for its reaper.
fn is_running(pid: u32) -> bool {
    stat(pid).is_some_and(|fields| fields[0] != "Z")
}
