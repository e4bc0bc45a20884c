#![expect(
    clippy::disallowed_methods,
    reason = "shell: runs the demonstration and looks at what it leaves"
)]
#![expect(clippy::unwrap_used, reason = "a test with a main of its own")]
//! `up` where it is not welcome: without root, without BPF, with its port taken; and its end, by
//! signals and by SIGKILL, which must leave nothing behind.
//!
//! What this host cannot do is printed as `SKIP name: reason` and is not counted as passed. A word
//! on the command line selects the tests whose name contains it.

#[path = "up/left.rs"]
mod left;
#[path = "up/live.rs"]
mod live;

use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};

use left::{Left, assert_nothing_left, left_in};
use live::{Live, descendants, is_running, wait_until};
use plimsoll_tests::checks::{self, Verdict};
use plimsoll_tests::scenarios::{Facts, Need};
use rustix::process::Signal;
use serde_json::Value;

/// A test, and what it cannot do without.
type Test = (&'static str, &'static [Need], fn());

/// Every test.
const ALL: [Test; 7] = [
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
        "a_pipe_that_is_closed_ends_it_and_leaves_nothing_behind",
        &[Need::Root, Need::Programs, Need::Namespaces],
        ends_by_a_closed_pipe,
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

fn main() -> ExitCode {
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-'));
    let facts = Facts::gather(&programs());
    let checks = ALL.map(|(name, needs, test)| {
        let missing = needs.iter().find_map(|need| facts.missing(*need));
        let check = move || {
            if let Some(reason) = missing {
                return Verdict::Skipped(reason.to_owned());
            }
            test();
            Verdict::Passed
        };
        (name, check)
    });
    checks::run("up", checks, filter.as_deref())
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
    // Files alone are enough for what the pods use, and what runs outside of them.
    for list in ["recommendations", "hosts"] {
        let seen = document["sizing"][list].as_array().unwrap();
        assert!(!seen.is_empty(), "{document:#}");
    }
    let unit = &document["sizing"]["hosts"][0]["unit"];
    assert!(unit.as_str().unwrap().ends_with(".service"), "{unit}");
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

/// As with `up | head -1`.
fn ends_by_a_closed_pipe() {
    let place = tempfile::tempdir().unwrap();
    let before = Left::look(place.path());
    let mut command = up(place.path(), &[]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut first)
        .unwrap();
    let during = Left::look(place.path());
    assert_ne!(during.folders, before.folders, "{first}");
    wait_until("it has ended", || child.try_wait().unwrap().is_some());
    let status = child.wait().unwrap();
    assert!(status.success(), "{status}");
    assert_nothing_left(place.path(), &before);
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
