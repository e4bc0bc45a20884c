//! The agent as a process, with a configuration that cannot be used: every mistake is told, with
//! its place, and nothing was begun by then.
#![expect(
    clippy::disallowed_methods,
    reason = "runs the agent and writes its configuration"
)]
#![expect(
    clippy::unwrap_used,
    reason = "a test says by failing what it expected"
)]

use std::process::Command;

const MISSING: &str = "No such file or directory (os error 2)";

/// Exit code and log, with the folder as DIR.
fn run(folder: &std::path::Path, config: Option<&str>) -> (Option<i32>, String) {
    run_with(folder, config, &[])
}

fn run_with(
    folder: &std::path::Path,
    config: Option<&str>,
    environment: &[(&str, &str)],
) -> (Option<i32>, String) {
    let path = folder.join("agent.yaml");
    let mut agent = Command::new(env!("CARGO_BIN_EXE_plimsoll-agent"));
    if let Some(text) = config {
        std::fs::write(&path, text).unwrap();
        agent.arg("--config").arg(&path);
    }
    agent.envs(environment.iter().copied());
    let output = agent.output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    (
        output.status.code(),
        log.replace(&folder.display().to_string(), "DIR"),
    )
}

#[test]
fn mistakes_end_the_start_with_64_before_anything_is_begun() {
    let folder = tempfile::tempdir().unwrap();
    let spool = folder.path().join("spool");
    let here = folder.path().display();
    let text = format!(
        "spool:\n  path: {}\nhost:\n  proc: {here}/proc\nexport:\n  token_file: {here}/token\n  \
         insecure: \"true\"\n  insecure: false\n",
        spool.display()
    );
    let (code, log) = run(folder.path(), Some(&text));
    assert_eq!(code, Some(64), "{log}");
    let told: Vec<&str> = log
        .lines()
        .map(|line| line.split_once("DIR/agent.yaml").unwrap().1)
        .collect();
    assert_eq!(
        told,
        [
            &format!(
                ":4: host.proc: must be where the host's procfs is mounted: DIR/proc: {MISSING}"
            ),
            ":5: export.ca_file: must be given for https://plimsoll-collector.plimsoll.svc:4317: \
             no authorities are trusted but those in it",
            &format!(
                ":6: export.token_file: must be a file with a token that can be read: DIR/token: {MISSING}"
            ),
            ":7: export.insecure: must be true or false without quotes, not \"true\"",
            ":8: export.insecure: is given twice, first in line 7",
        ]
    );
    assert!(!spool.exists(), "nothing was written");
}

#[test]
fn an_empty_file_and_none_say_what_the_least_is() {
    let folder = tempfile::tempdir().unwrap();
    for (config, name) in [
        (Some(""), "DIR/agent.yaml"),
        (None, "the defaults (no --config)"),
    ] {
        let (code, log) = run(folder.path(), config);
        assert_eq!(code, Some(64), "{log}");
        let told = format!("{name}: export.ca_file: must be given for https://");
        assert!(log.contains(&told) && log.lines().count() == 1, "{log}");
    }
}

#[test]
fn no_filter_of_the_log_hides_why_the_start_failed() {
    let folder = tempfile::tempdir().unwrap();
    let told = "DIR/agent.yaml:1: node: must ";
    for (filter, refused) in [
        ("", None),
        ("OFF", None),
        ("plimsoll_agent=off", None),
        ("Warning", Some("Warning")),
        ("inof", Some("inof")),
    ] {
        let filter = [("PLIMSOLL_LOG", filter)];
        let (code, log) = run_with(folder.path(), Some("node: a b"), &filter);
        assert_eq!(code, Some(64), "{filter:?}: {log}");
        assert!(log.contains(told), "{filter:?}: {log}");
        let why = refused.map(|word| log.contains(&format!("`{word}` is no level")));
        // The other mistake of this text is the missing authority.
        assert_eq!(
            log.lines().count(),
            2 + usize::from(refused.is_some()),
            "{log}"
        );
        assert_ne!(why, Some(false), "{log}");
    }
}

#[test]
fn names_and_folders_from_outside_are_told_with_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let local = "export: { endpoint: 'http://127.0.0.1:1' }\n";
    for (spool, why) in [
        ("/proc/x", "/proc is the kernel's own and takes no files"),
        ("/etc/passwd", "/etc/passwd is none"),
    ] {
        let text = format!("spool: {{ path: {spool} }}\nusage: {{ window_s: 7 }}\n{local}");
        let (code, log) = run_with(folder.path(), Some(&text), &[("NODE_NAME", "x y")]);
        assert_eq!(code, Some(64), "{log}");
        for told in [
            &format!(
                ":1: spool.path: must be a folder that the agent can write to: {spool}: {why}"
            ),
            ":2: usage.window_s: must divide an hour",
            ": node: is not given, and the name from NODE_NAME or the host must ",
        ] {
            assert!(log.contains(told), "{told} is not in {log}");
        }
        assert_eq!(log.lines().count(), 3, "{log}");
    }
}

/// The spool of another user is left alone: not run without, and not told as lost.
#[test]
fn a_spool_of_another_user_is_a_mistake() {
    use std::os::unix::fs::PermissionsExt as _;
    use std::os::unix::process::CommandExt as _;
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let permit = |name: &str, mode| {
        std::fs::set_permissions(at(name), std::fs::Permissions::from_mode(mode)).unwrap();
    };
    std::fs::create_dir_all(at("spool/usage")).unwrap();
    std::fs::write(at("spool/usage/1"), "records").unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_plimsoll-agent"), at("agent")).unwrap();
    let here = folder.path().display();
    let text =
        format!("spool: {{ path: {here}/spool }}\nexport: {{ endpoint: 'http://127.0.0.1:1' }}\n");
    std::fs::write(at("agent.yaml"), text).unwrap();
    permit("", 0o755);
    for (mode, refused) in [(0o755, "spool"), (0o777, "spool/usage/1")] {
        permit("spool", mode);
        permit("spool/usage", mode);
        permit("spool/usage/1", 0o400);
        let mut agent = Command::new(at("agent"));
        agent.arg("--config").arg(at("agent.yaml"));
        if rustix::process::geteuid().is_root() {
            agent.uid(65534).gid(65534);
        } else if mode == 0o755 {
            permit("spool", 0o555);
        }
        let output = agent.output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(64), "{log}");
        let told = format!(": {here}/{refused}: Permission denied");
        assert!(log.contains(&told), "{told} is not in {log}");
        permit("spool", 0o777);
        assert_eq!(std::fs::read_dir(at("spool")).unwrap().count(), 1);
        assert_eq!(std::fs::read_dir(at("spool/usage")).unwrap().count(), 1);
    }
}

/// As with a log on a disk that is full, or behind `head`.
#[test]
fn a_log_that_cannot_be_written_is_no_other_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("agent.yaml");
    std::fs::write(&path, "node: [1]\n").unwrap();
    for format in [None, Some("--log-json")] {
        let full = std::fs::OpenOptions::new()
            .write(true)
            .open("/dev/full")
            .unwrap();
        let status = Command::new(env!("CARGO_BIN_EXE_plimsoll-agent"))
            .arg("--config")
            .arg(&path)
            .args(format)
            .stderr(full)
            .status()
            .unwrap();
        assert_eq!(status.code(), Some(64), "{status}");
    }
}
